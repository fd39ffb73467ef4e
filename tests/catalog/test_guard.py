"""Hostile files: each gets a reason in words, quickly and in small memory."""

import os
import resource
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest

from catalog import guard
from catalog.errors import HeaderError
from catalog.headers import read_dataset, read_header
from catalog.records import InstanceHeader, Unreadable

PREFIX = bytes(128) + b"DICM"
UIDS = ((0x00080018, b"1.2.3\0"), (0x0020000D, b"1.2.30"), (0x0020000E, b"1.2.31"))
UNDEFINED = 0xFFFFFFFF
MIB = 1 << 20


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    group, number = tag >> 16, tag & 0xFFFF
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return struct.pack("<HH2sHL", group, number, vr, 0, length) + value
    return struct.pack("<HH2sH", group, number, vr, length) + value


def plain(tag: int, length: int) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length)


def meta(transfer_syntax_uid: bytes = b"1.2.840.10008.1.2.1") -> bytes:
    return PREFIX + explicit(0x00020010, b"UI", transfer_syntax_uid + b"\0" * (len(transfer_syntax_uid) % 2))


def data_set(*more: bytes) -> bytes:
    return b"".join(explicit(tag, b"UI", value) for tag, value in UIDS) + b"".join(more)


def deflated(*parts: bytes, then: bytes = b"", times: int = 0) -> bytes:
    """Some parts, then one many times over."""
    packer = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    packed = [packer.compress(part) for part in parts]
    packed += [packer.compress(then) for _ in range(times)]
    return b"".join(packed) + packer.flush()


@contextmanager
def small_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    finally:
        tracemalloc.stop()


def reason(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with small_memory():
        found = read_header(path)
        assert isinstance(found, Unreadable), found
        with pytest.raises(HeaderError):
            read_dataset(path)
    return found.reason


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hostile.dcm"


def test_a_deflate_bomb_is_stopped_at_the_limit(file: Path) -> None:
    bomb = meta(b"1.2.840.10008.1.2.1.99") + deflated(
        data_set(), explicit(0x00291010, b"OB", b"", 300 * MIB), then=bytes(MIB), times=300
    )
    assert len(bomb) < 2 * MIB

    assert "more than 64 MiB before its pixel data" in reason(file, bomb)


def test_a_deflate_bomb_of_many_small_elements_is_stopped(file: Path) -> None:
    block = explicit(0x00291010, b"LO", b"") * 100_000
    bomb = meta(b"1.2.840.10008.1.2.1.99") + deflated(data_set(), then=block, times=100)

    assert "more than 1,000,000 elements" in reason_of(file, bomb)


def test_a_deflated_data_set_that_is_none_has_a_reason(file: Path) -> None:
    assert "cannot be inflated" in reason(file, meta(b"1.2.840.10008.1.2.1.99") + b"\xff" * 100)


def test_a_deflated_data_set_before_large_pixel_data_is_read_without_inflating_them(file: Path) -> None:
    pixels = explicit(0x7FE00010, b"OW", b"", 200 * MIB)
    file.write_bytes(
        meta(b"1.2.840.10008.1.2.1.99") + deflated(data_set(), pixels, then=bytes(MIB), times=200)
    )

    with small_memory():
        header = read_header(file)
        assert isinstance(header, InstanceHeader)
        assert header.pixel_data is None
        assert read_dataset(file).SOPInstanceUID == "1.2.3"


@pytest.mark.parametrize("depth", [65, 5_000])
def test_sequences_nested_too_deeply_are_refused(file: Path, depth: int) -> None:
    nest = explicit(0x00400275, b"SQ", b"", UNDEFINED) + plain(0xFFFEE000, UNDEFINED)

    assert "deeper than 64" in reason(file, meta() + data_set(nest * depth))


def test_sequences_nested_in_defined_lengths_are_refused_before_pydicom(file: Path) -> None:
    inner = b""
    for _ in range(200):
        item = plain(0xFFFEE000, len(inner)) + inner
        inner = explicit(0x00400275, b"SQ", item)
    file.write_bytes(meta() + data_set(inner))

    assert isinstance(read_header(file), InstanceHeader)  # passed over by their length
    with pytest.raises(HeaderError, match="deeper than 64"):
        read_dataset(file)


def test_sequences_nested_as_deep_as_allowed_are_read(file: Path) -> None:
    depth = guard.DEPTH_LIMIT - 1
    nest = (explicit(0x00400275, b"SQ", b"", UNDEFINED) + plain(0xFFFEE000, UNDEFINED)) * depth
    ends = (plain(0xFFFEE00D, 0) + plain(0xFFFEE0DD, 0)) * depth
    file.write_bytes(meta() + data_set(nest + ends))

    assert isinstance(read_header(file), InstanceHeader)
    assert read_dataset(file).SOPInstanceUID == "1.2.3"


def test_an_element_that_declares_four_gigabytes_is_refused_unread(file: Path) -> None:
    text = reason(file, meta() + data_set(explicit(0x00291010, b"OB", b"ab", 0xFFFFFFFE)))

    assert text == "is cut or damaged: (0029,1010) declares 4,294,967,294 bytes, the file has 2"


def test_a_header_longer_than_the_limit_is_refused(file: Path) -> None:
    with file.open("wb") as hostile:
        hostile.write(meta() + data_set(explicit(0x00291010, b"OB", b"", 300 * MIB)))
        hostile.truncate(hostile.tell() + 300 * MIB)  # a sparse file

    found = read_header(file)

    assert isinstance(found, Unreadable)
    assert "more than 256 MiB before its pixel data" in found.reason


def test_a_large_private_value_is_passed_over_in_small_memory(file: Path) -> None:
    with file.open("wb") as large:
        large.write(meta() + data_set(explicit(0x00291010, b"OB", b"", 150 * MIB)))
        large.truncate(large.tell() + 150 * MIB)
        large.seek(0, os.SEEK_END)
        large.write(explicit(0x7FE00010, b"OW", b"\1\2"))

    with small_memory():
        header = read_header(file)

    assert isinstance(header, InstanceHeader)
    assert header.pixel_data is not None
    assert header.pixel_data.offset == file.stat().st_size - 2


def test_millions_of_elements_are_refused(file: Path) -> None:
    many = explicit(0x00291010, b"LO", b"") * (guard.ELEMENT_LIMIT + 10_000)

    assert "more than 1,000,000 elements" in reason_of(file, meta() + data_set(many))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (PREFIX, "ends after the DICOM prefix; there is no data set"),
        (meta(), "ends before its data set begins"),
        (PREFIX + os.urandom(8) + b"\xff" * 500, ""),
        (b"\x1f\x8b\x08" + bytes(200), "looks like a gzip archive"),
        (b"%PDF-1.4 " + bytes(200), "looks like a PDF document"),
        (b"\x5c\x01" + bytes(342) + b"n+1\0" + bytes(99), "looks like a NIfTI image"),
        (b"only a note\n", "looks like text"),
        (meta() + data_set()[:-3], "SeriesInstanceUID (0020,000E) declares 6 bytes, the file has 3"),
        (meta() + data_set() + b"\x28\0\x10", "is cut in the middle of an element's tag or length"),
        (meta() + explicit(0x00400275, b"SQ", plain(0xFFFEE000, 99), UNDEFINED), "declares 99 bytes"),
        (meta() + explicit(0x00400275, b"SQ", bytes(8), UNDEFINED), "no item where one should begin"),
        (meta() + data_set(explicit(0x00000002, b"UI", b"12")), "tag of group 0000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_reason_says_what_is_wrong(file: Path, content: bytes, words: str) -> None:
    assert words in reason(file, content)


@pytest.mark.parametrize(
    "uid", [b"../../etc/x ", b"1.2/3 ", b"1..2", b"1.2.", b" " * 2 + b"x y ", b"1" * 200]
)
def test_1_a_uid_that_could_be_a_path_is_refused(file: Path, uid: bytes) -> None:
    content = meta() + explicit(0x00080018, b"UI", uid) + data_set()[14:]

    assert reason_of(file, content) == "has a SOPInstanceUID (0008,0018) that is no UID (PS3.5 section 9.1)"


def reason_of(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    found = read_header(path)
    return found.reason if isinstance(found, Unreadable) else ""


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (0, "has no SOPInstanceUID (0008,0018)"),
        (1, "has no StudyInstanceUID (0020,000D)"),
        (2, "has no SeriesInstanceUID (0020,000E)"),
    ],
)
def test_a_missing_uid_is_named(file: Path, index: int, words: str) -> None:
    rest = b"".join(explicit(tag, b"UI", value) for tag, value in UIDS[:index] + UIDS[index + 1 :])

    assert reason_of(file, meta() + rest) == words


def test_a_uid_only_in_the_meta_header_is_taken_with_a_deviation(file: Path) -> None:
    head = PREFIX + explicit(0x00020003, b"UI", b"1.2.99") + meta()[132:]
    file.write_bytes(head + data_set()[14:])

    header = read_header(file)

    assert isinstance(header, InstanceHeader)
    assert header.values["sop_instance_uid"] == "1.2.99"
    assert any("taken from MediaStorageSOPInstanceUID" in each for each in header.deviations)


def test_cut_pixel_data_are_a_deviation_not_a_rejection(file: Path) -> None:
    file.write_bytes(meta() + data_set(explicit(0x7FE00010, b"OW", b"abcd", 1_000)))

    header = read_header(file)

    assert isinstance(header, InstanceHeader)
    assert header.deviations == ("PixelData (7FE0,0010) is cut: it declares 1,000 bytes, the file has 4",)
    assert header.pixel_data is not None
    assert file.read_bytes()[header.pixel_data.offset :] == b"abcd"


def test_zeros_after_the_data_set_are_tolerated(file: Path) -> None:
    file.write_bytes(meta() + data_set() + bytes(300))

    header = read_header(file)

    assert isinstance(header, InstanceHeader)
    assert header.deviations == ("zero bytes follow the data set",)


@pytest.mark.parametrize(
    ("preamble", "words"),
    [
        (b"MZ\x90\0", "a Windows program"),
        (b"\x7fELF\2\1\1", "a Linux program"),
        (b"\xcf\xfa\xed\xfe", "a macOS program"),
        (b"#!/bin/sh\n", "a script"),
        (b"II*\0\x08\0\0\0", "a TIFF image, which PS3.10 section 7.1 allows"),
        (b"MM\0*\0\0\0\x08", "a TIFF image, which PS3.10 section 7.1 allows"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<html>", "a page of markup"),
    ],
)
def test_9_a_preamble_that_makes_the_file_something_else_is_a_deviation(
    file: Path, preamble: bytes, words: str
) -> None:
    file.write_bytes(preamble.ljust(128, b"\0") + meta()[128:] + data_set())

    header = read_header(file)

    assert isinstance(header, InstanceHeader)
    assert header.deviations == (f"preamble is that of {words}",)


@pytest.mark.parametrize("preamble", [bytes(128), b"\0MZ" + bytes(125), b"any words of a maker".ljust(128)])
def test_any_other_preamble_is_none(file: Path, preamble: bytes) -> None:
    file.write_bytes(preamble + meta()[128:] + data_set())

    header = read_header(file)

    assert isinstance(header, InstanceHeader)
    assert header.deviations == ()


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(HeaderError, match="is no regular file"):
            guard.scan(path, ())


def test_a_path_that_cannot_be_opened_has_a_reason(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / ("x" * 300), "a\0b"):
        found = read_header(path)
        assert isinstance(found, Unreadable)
        assert "cannot be opened" in found.reason


def test_no_descriptor_is_left_open(file: Path) -> None:
    file.write_bytes(b"no DICOM")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        for _ in range(300):
            read_header(file)
        assert isinstance(found := read_header(file), Unreadable)
        assert "looks like text" in found.reason
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "libx264"), ("mov", "mpeg2video"), ("mpegts", "libx265"), ("vob", "mpeg2video"),
        ("mpeg2video", "mpeg2video"), ("h264", "libx264"), ("hevc", "libx265"),
    ],
)  # fmt: skip
def test_a_plain_video_says_who_opens_it(tmp_path: Path, container: str, codec: str) -> None:
    path = tmp_path / "surgery"
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        output.mux(stream.encode())
    expected = "is no DICOM; it looks like a video, which bench.video(path) opens where it lies"
    assert reason_of(path, path.read_bytes()) == expected


def test_what_looks_like_nothing_known_is_just_no_dicom(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(1, 200)) * 4)
    with pytest.raises(HeaderError, match=r"^is no DICOM$"):
        guard.scan(tmp_path / "file", ())
