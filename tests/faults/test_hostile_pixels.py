"""Pixel data that lie: each is a reason in words, and memory follows the file and never a header's claim."""

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from catalog.database import Catalog
from catalog.index import index_paths
from catalog.query import find_series, instances_of
from pipelines import phantoms
from pipelines.decoding.codecs import CODECS
from pipelines.decoding.pixels import DEFLATED_IMAGE_FRAME, JPEG_XL_LOSSLESS
from pipelines.ingest import Ingested, ingest_series
from pipelines.volumes import stored_values

ROOT = Path(__file__).resolve().parents[2]
ROWS, COLUMNS = 32, 24

TAGS = {
    "SamplesPerPixel": 0x00280002, "NumberOfFrames": 0x00280008, "Rows": 0x00280010, "Columns": 0x00280011,
    "BitsAllocated": 0x00280100, "BitsStored": 0x00280101, "HighBit": 0x00280102,
}  # fmt: skip


def element(keyword: str, vr: bytes, value: bytes) -> bytes:
    tag = TAGS[keyword]
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def us(keyword: str, value: int) -> bytes:
    return element(keyword, b"US", struct.pack("<H", value))


def with_element(content: bytes, keyword: str, new: bytes) -> bytes:
    """The bytes of a file with another element in place of one of its header, or before Rows."""
    start = content.find(struct.pack("<HH", TAGS[keyword] >> 16, TAGS[keyword] & 0xFFFF), 132)
    if start < 0:
        start = end = content.find(struct.pack("<HH", 0x28, 0x10), 132)
    else:
        end = start + 8 + struct.unpack_from("<H", content, start + 6)[0]
    return content[:start] + new + content[end:]


def ingested(folder: Path, home: Path) -> Ingested:
    """By the real index and the real ingest; the one series of a folder."""
    home.mkdir(exist_ok=True)
    catalog = Catalog(home / "catalog.sqlite")
    try:
        index_paths(catalog, [folder])
        (series,) = find_series(catalog)
        return ingest_series(series, instances_of(catalog, series.series_instance_uid), home / "arrays")
    finally:
        catalog.close()


@pytest.mark.parametrize(
    ("keyword", "new", "reason"),
    [
        ("Rows", us("Rows", 0), "no pixels: 0 rows"),
        ("Rows", us("Rows", 65535), "pixel data are cut: 1,536 bytes"),
        ("Rows", element("Rows", b"UL", struct.pack("<L", 65536 + ROWS)), "promises 1 frames of together"),
        ("Rows", element("Rows", b"SS", struct.pack("<h", -8)), "no pixels: -8 rows"),
        ("Rows", element("Rows", b"US", b""), "no pixels: 0 rows"),
        ("Rows", element("Rows", b"LO", b"thirty"), "no pixels: 0 rows"),
        ("Columns", element("Columns", b"UL", struct.pack("<L", 2**32 - 1)), "exceeds 1024 MiB"),
        ("NumberOfFrames", element("NumberOfFrames", b"IS", b"2147483647"), "2147483647 frames of together"),
        ("NumberOfFrames", element("NumberOfFrames", b"IS", b"-1"), "-1 frames"),
        ("NumberOfFrames", element("NumberOfFrames", b"IS", b"1e9 "), "1000000000 frames of together"),
        ("SamplesPerPixel", us("SamplesPerPixel", 65535), "65535 samples per pixel"),
        ("BitsAllocated", us("BitsAllocated", 0), "0 bits allocated"),
        ("BitsAllocated", us("BitsAllocated", 65535), "65535 bits allocated"),
        ("BitsAllocated", us("BitsAllocated", 24), "24 bits allocated"),
        ("BitsStored", us("BitsStored", 65535), "65535 bits stored"),
        ("HighBit", us("HighBit", 65535), "high bit 65535"),
    ],
)
def test_7_a_header_that_cannot_be_is_a_rejection_with_the_reason(
    tmp_path: Path, keyword: str, new: bytes, reason: str
) -> None:
    (path,) = phantoms.write_series(tmp_path / "archive", planes=1, rows=ROWS, columns=COLUMNS).paths
    path.write_bytes(with_element(path.read_bytes(), keyword, new))
    found = ingested(tmp_path / "archive", tmp_path / "bench")
    assert found.arrays == ()
    (rejected,) = found.rejected
    assert reason in rejected.reason


# --- memory ----------------------------------------------------------------------------------------------

MEASURE = """
import json, os, re, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from catalog.database import Catalog
from catalog.index import index_paths
from catalog.query import find_series, instances_of
from pipelines.ingest import ingest_series
def mib(process):
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path(f"/proc/{process}/status").read_text())[1]) // 1024
catalog = Catalog(sys.argv[3] + "/catalog.sqlite")
index_paths(catalog, [sys.argv[2]])
reasons, arrays = [], []
for series in find_series(catalog):
    instances = instances_of(catalog, series.series_instance_uid)
    found = ingest_series(series, instances, Path(sys.argv[3], "a"), threads=1)
    reasons += [(Path(each.path).stem, each.reason) for each in found.rejected]
    arrays += [each.shape for each in found.arrays]
children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
print(json.dumps([dict(reasons), arrays, mib("self"), [mib(each) for each in children]]))
"""
"""Index and ingest a folder in a process of its own; the most memory that it and its children had."""


def measured(archive: Path, home: Path) -> tuple[dict[str, str], list[list[int]], int]:
    """Reasons by the names of the files, shapes of arrays, and MiB of the largest of its processes."""
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, ROOT, archive, home], capture_output=True, text=True, check=True
    )
    reasons, arrays, own, children = json.loads(done.stdout)
    return reasons, arrays, max(own, *children)


def write(path: Path, value: bytes, *, transfer_syntax: str, **changes: Any) -> None:
    """One file with whatever stands in its pixel data; encapsulated in one fragment a frame."""
    phantom = phantoms.write_series(path.parent.parent / "source", planes=1, rows=ROWS, columns=COLUMNS)
    ds = pydicom.dcmread(phantom.paths[0])
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = phantoms.known_uid(path.stem, "instance")
    ds.SeriesInstanceUID = phantoms.known_uid(path.stem, "series")
    for keyword, attribute in changes.items():
        setattr(ds, keyword, attribute)
    stand_in = transfer_syntax if uid.UID(transfer_syntax).is_transfer_syntax else STAND_IN[transfer_syntax]
    ds.file_meta.TransferSyntaxUID = stand_in
    path.parent.mkdir(parents=True, exist_ok=True)
    if transfer_syntax == uid.DeflatedExplicitVRLittleEndian:
        ds.PixelData = value
        ds.save_as(path, enforce_file_format=True)
        return
    ds.PixelData = item(b"") + item(value) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.save_as(path, enforce_file_format=True)
    written = transfer_syntax.encode().ljust(len(stand_in), b"\0")
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), written, 1))


STAND_IN = {DEFLATED_IMAGE_FRAME: uid.JPEG2000Lossless, JPEG_XL_LOSSLESS: uid.HTJ2KLossless}
"""What pydicom 3.0 writes in their place, of the same length."""


def item(value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return b"\xfe\xff\x00\xe0" + len(value).to_bytes(4, "little") + value


def deflated(count: int) -> bytes:
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [stream.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join((*parts, stream.flush()))


EMPTY = np.zeros((ROWS, COLUMNS), np.uint16)


def with_size(codestream: bytes, rows: int, columns: int) -> bytes:
    """JPEG 2000 whose SIZ says another size of the image and its one tile (ISO 15444-1 A.5.1)."""
    at = codestream.index(b"\xff\x4f\xff\x51") + 8
    size = struct.pack(">8L", columns, rows, 0, 0, columns, rows, 0, 0)
    return codestream[:at] + size + codestream[at + 32 :]


def j2k() -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(EMPTY, level=0, reversible=True, codecformat="j2k"))


def rle_runs() -> bytes:
    """Two segments of nothing but the longest runs."""
    segment = b"\x81\0" * 2000
    return struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2


LIMIT_MIB = 300
HUGE = {"Rows": 20_000, "Columns": 10_000}
LARGE = {"Rows": 4_000, "Columns": 4_000}
BOMBS: dict[str, tuple[Callable[[], bytes], str, dict[str, int], str]] = {
    "JPEG 2000": (lambda: with_size(j2k(), 20_000, 10_000), uid.JPEG2000Lossless, HUGE, "claim"),
    "JPEG 2000 within the limit": (lambda: with_size(j2k(), 4_000, 4_000), uid.JPEG2000Lossless, LARGE, ""),
    "RLE": (rle_runs, uid.RLELossless, HUGE, "claim"),
    "RLE within the limit": (rle_runs, uid.RLELossless, LARGE, "decoded to 512,000 bytes"),
    "JPEG XL": (
        lambda: bytes(imagecodecs.jpegxl_encode(EMPTY, lossless=True)),
        JPEG_XL_LOSSLESS, LARGE, "JPEG XL",
    ),
    "deflated frame": (lambda: deflated(400 << 20), DEFLATED_IMAGE_FRAME, HUGE, "claim"),
    "deflated data set": (lambda: bytes(400 << 20), uid.DeflatedExplicitVRLittleEndian, HUGE, "claim"),
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured where Linux tells of it")
def test_7_small_files_that_claim_huge_frames_take_little_memory(tmp_path: Path) -> None:
    for name, (value, transfer_syntax, changes, _) in BOMBS.items():
        path = tmp_path / "archive" / f"{name}.dcm"
        write(path, value(), transfer_syntax=transfer_syntax, **changes)
        assert path.stat().st_size < 1 << 20
    reasons, arrays, most = measured(tmp_path / "archive", tmp_path / "bench")
    for name, (_, _, _, reason) in BOMBS.items():
        assert reason in reasons.get(name, ""), name
    assert len(arrays) + len(reasons) == len(BOMBS)
    assert most < LIMIT_MIB


# --- decoders --------------------------------------------------------------------------------------------

FRAME = b"__import__('numpy').full((32, 24), 7, 'u2')"
CRASHES = {
    "killed": (b"__import__('os').kill(__import__('os').getpid(), 9)", r"crashed (SIGKILL)"),
    "segfault": (b"__import__('ctypes').string_at(0)", "crashed (SIGSEGV)"),
    "hungry": (b"bytearray(1 << 40)", "MiB of memory"),
    "fault": (b"1 / 0", "division by zero"),
    "no frame": (b"'text'", "something else than a frame"),
}


def test_8_a_decoder_that_crashes_costs_one_instance_and_the_series_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a codec whose frames are expressions: the child evaluates them."""
    codec = replace(CODECS[uid.JPEGLSLossless], function="builtins:eval", header=lambda _: None)
    monkeypatch.setitem(CODECS, uid.JPEGLSLossless, codec)
    paths = phantoms.write_series(tmp_path / "archive", planes=8, rows=ROWS, columns=COLUMNS).paths
    for path, frame in zip(
        paths, [FRAME, *(crash for crash, _ in CRASHES.values()), FRAME, FRAME], strict=True
    ):
        ds = pydicom.dcmread(path)
        ds.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
        ds.PixelData = encapsulate([frame + b" " * (len(frame) % 2)])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        ds.save_as(path, enforce_file_format=True)
    found = ingested(tmp_path / "archive", tmp_path / "bench")
    reasons = {each.path: each.reason for each in found.rejected}
    assert len(reasons) == len(CRASHES)
    for path, (_, reason) in zip(paths[1:], CRASHES.values(), strict=False):
        assert reason in reasons[str(path)]
    assert sum(len(stored_values(array)) for array in found.arrays) == 3
    assert all((stored_values(array) == 7).all() for array in found.arrays)
