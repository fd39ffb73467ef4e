"""Frame access: every frame of every real file, and files that lie about where their frames are."""

import csv
import hashlib
import struct
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate, encapsulate_extended

from catalog import guard
from catalog.errors import DecodeError
from catalog.headers import read_header
from catalog.records import InstanceHeader, InstanceRecord, PixelData
from pipelines import phantoms
from pipelines.decoding.frames import open_frames
from pipelines.decoding.pixels import PixelDescription

LOSSY_JPEG = {
    "cine/us_jpeg_34fr.dcm", "cine/us_ybr_jpeg_30fr.dcm", "cine/xa_jpeg_96fr.dcm",
    "modalities/op_jpegll.dcm", "modalities/xc_jpeg_icon.dcm",
    "transfer_syntax/enhanced_ct_encapsulation/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm",
    *(f"objects/wsi_cmu1/level-{level}.dcm" for level in (
        "0-frames-0-30", "1-frames-0-9", "2-frames-0-4", "3-frames-0-1", "4-frames-0-1", "5-frames-0-1",
        "6-frames-0-1", "7-frames-0-1", "8-frames-0-1", "9-frames-0-1", "10-frames-0-1", "11-frames-0-1",
    )),
}  # fmt: skip
"""The standard leaves the rounding of lossy JPEG to the decoder; libjpeg-turbo's is not the answer's."""

_NUMBERS = ("image_position_patient", "image_orientation_patient", "pixel_spacing")
_FIELDS = {each.name for each in fields(InstanceRecord)} - {*_NUMBERS, "window_center", "window_width"}


def record_of(path: Path) -> InstanceRecord | None:
    """What the catalog would know of a file, without a catalog; no geometry."""
    header = read_header(path)
    if not isinstance(header, InstanceHeader):
        return None
    return InstanceRecord(
        **{name: value for name, value in header.values.items() if name in _FIELDS},  # type: ignore[arg-type]
        transfer_syntax_uid=header.transfer_syntax_uid,
        path=str(path),
        header_digest=header.header_digest,
        pixel_data=header.pixel_data,
    )


def pixels_of(record: InstanceRecord) -> np.ndarray[Any, Any]:
    description = PixelDescription.of(record)
    frames = np.empty((description.frames, *description.shape), description.dtype)
    with open_frames(record) as source:
        for index, frame in enumerate(frames):
            source.load(index, frame)
    return frames


def test_the_pixels_of_every_real_file_have_the_digest_of_the_answer(shared_data: Path) -> None:
    with (shared_data / "answers" / "files.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["sha256_pixels"]]
    equal, other, unreadable = 0, set(), set()
    for row in rows:
        record = record_of(shared_data / row["path"])
        if record is None:
            unreadable.add(row["path"])
        elif hashlib.sha256(pixels_of(record).tobytes()).hexdigest().startswith(row["sha256_pixels"]):
            equal += 1
        else:
            other.add(row["path"])
    assert other <= LOSSY_JPEG
    assert equal == len(rows) - len(other) - len(unreadable)
    assert len(unreadable) <= 5  # without UIDs they have no place in the catalog; see the next test


@pytest.mark.parametrize("name", ["HTJ2KLossless_08_RGB", "JLSL_RGB_ILV2", "JLSN_RGB_ILV0"])
def test_files_without_uids_still_decode(shared_data: Path, name: str) -> None:
    path = shared_data / "transfer_syntax" / "single" / f"{name}.dcm"
    with (shared_data / "answers" / "files.csv").open() as file:
        (answer,) = [row for row in csv.DictReader(file) if row["path"].endswith(f"{name}.dcm")]
    ds = pydicom.dcmread(path, force=True)
    head = guard.scan(path, ())
    record = InstanceRecord(
        "1.2.1", "1.2.2", "1.2.3", "1.2.4", answer["ts"], str(path), head.digest, head.pixel_data,
        rows=ds.Rows, columns=ds.Columns, samples_per_pixel=ds.SamplesPerPixel, bits_allocated=8,
        photometric_interpretation=ds.PhotometricInterpretation,
    )  # fmt: skip
    assert hashlib.sha256(pixels_of(record).tobytes()).hexdigest().startswith(answer["sha256_pixels"])


# --- multi-frame files made here -------------------------------------------------------------------------


def multi_frame(
    path: Path, value: bytes, *, frames: int, transfer_syntax: str, **changes: object
) -> InstanceRecord:
    """A file of frames of 4 rows and 6 columns with whatever stands in its pixel data."""
    phantom = phantoms.write_series(path.parent / "source", planes=3, rows=4, columns=6)
    ds = pydicom.dcmread(phantom.paths[0])
    ds.NumberOfFrames = frames
    for keyword, attribute in changes.items():
        setattr(ds, keyword, attribute)
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    ds.PixelData = value
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = uid.UID(transfer_syntax).is_encapsulated
    ds.save_as(path, enforce_file_format=True)
    record = record_of(path)
    assert record is not None
    return record


def rle(plane: np.ndarray[Any, Any]) -> bytes:
    high, low = (plane >> 8).astype(np.uint8).tobytes(), (plane & 255).astype(np.uint8).tobytes()
    runs = [bytes([len(segment) - 1]) + segment + b"\0" for segment in (high, low)]
    header = struct.pack("<16L", 2, 64, 64 + len(runs[0]), *[0] * 13)
    return header + runs[0] + runs[1]


PLANES = np.random.default_rng(0).integers(0, 4096, (3, 4, 6)).astype(np.uint16)


def item(value: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + len(value).to_bytes(4, "little") + value


END = b"\xfe\xff\xdd\xe0\0\0\0\0"


@pytest.mark.parametrize("layout", ["table", "no table", "two fragments each", "no delimiter"])
def test_encapsulated_frames_are_found_with_and_without_an_offset_table(tmp_path: Path, layout: str) -> None:
    encoded = [rle(plane) for plane in PLANES]
    match layout:
        case "table" | "no table":
            value = encapsulate(encoded, has_bot=layout == "table")
        case "two fragments each":
            value = encapsulate(encoded, has_bot=True, fragments_per_frame=2)
        case _:
            value = encapsulate(encoded)
    record = multi_frame(tmp_path / "m.dcm", value, frames=3, transfer_syntax=uid.RLELossless)
    if layout == "no delimiter":
        content = Path(record.path).read_bytes()
        Path(record.path).write_bytes(content[: -len(END)])
    assert np.array_equal(pixels_of(record), PLANES)


def test_the_ranges_of_the_frames_cover_every_byte_of_the_pixel_data(tmp_path: Path) -> None:
    value = encapsulate([rle(plane) for plane in PLANES], has_bot=True, fragments_per_frame=2)
    record = multi_frame(tmp_path / "m.dcm", value, frames=3, transfer_syntax=uid.RLELossless)
    with open_frames(record) as frames:
        sources = b"".join(frames.source(index) for index in range(3))
    assert record.pixel_data is not None
    assert sources == Path(record.path).read_bytes()[record.pixel_data.offset :]


def test_native_frames_are_read_one_by_one(tmp_path: Path) -> None:
    value = PLANES.astype("<u2").tobytes()
    record = multi_frame(tmp_path / "m.dcm", value, frames=3, transfer_syntax=uid.ExplicitVRLittleEndian)
    assert np.array_equal(pixels_of(record), PLANES)
    with open_frames(record) as frames:
        assert frames.source(1) == PLANES[1].tobytes()


def test_frames_of_single_bits_follow_each_other_within_bytes(tmp_path: Path) -> None:
    bits = np.random.default_rng(1).integers(0, 2, (3, 3, 7)).astype(np.uint8)
    record = multi_frame(
        tmp_path / "m.dcm", np.packbits(bits.ravel(), bitorder="little").tobytes(), frames=3,
        transfer_syntax=uid.ExplicitVRLittleEndian, Rows=3, Columns=7,
        BitsAllocated=1, BitsStored=1, HighBit=0,
    )  # fmt: skip
    assert np.array_equal(pixels_of(record), bits)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "pixel data are"),
        (END, "the encapsulated pixel data are empty"),
        (item(b"") + END, "have no fragment"),
        (item(b"") + item(b"ab") * 5 + END, "5 fragments for 3 frames, and no offset table"),
        (item(struct.pack("<3L", 0, 9, 20)) + item(b"ab") * 4 + END, "does not point at fragments in order"),
        (item(struct.pack("<3L", 0, 20, 10)) + item(b"ab") * 4 + END, "does not point at fragments in order"),
        (item(b"") + b"abcdefgh", "no item where one should begin"),
        (item(b"") + b"\xfe\xff\x00\xe0\xff\xff\xff\x7f", "reaches beyond the file"),
    ],
)
def test_an_encapsulation_that_lies_is_an_error_with_the_reason(
    tmp_path: Path, value: bytes, reason: str
) -> None:
    record = multi_frame(tmp_path / "m.dcm", encapsulate([b"ab"]), frames=3, transfer_syntax=uid.RLELossless)
    assert record.pixel_data is not None
    content = Path(record.path).read_bytes()[: record.pixel_data.offset]
    Path(record.path).write_bytes(content + value)
    with pytest.raises(DecodeError, match=reason if value else "pixel data|no item"), open_frames(record):
        pass


@pytest.mark.parametrize("offsets", [(0, 0, 0), (2**63, 2**64 - 1, 5), (64, 0, 128)])
def test_an_extended_offset_table_that_lies_is_not_followed(tmp_path: Path, offsets: tuple[int, ...]) -> None:
    value, _, _ = encapsulate_extended([rle(plane) for plane in PLANES])
    table = struct.pack("<3Q", *offsets)
    record = multi_frame(
        tmp_path / "m.dcm", value, frames=3, transfer_syntax=uid.RLELossless,
        ExtendedOffsetTable=table, ExtendedOffsetTableLengths=table,
    )  # fmt: skip
    assert np.array_equal(pixels_of(record), PLANES)


def test_a_basic_offset_table_is_not_needed_where_every_frame_is_one_fragment(tmp_path: Path) -> None:
    value = item(struct.pack("<3L", 7, 2**32 - 1, 0)) + b"".join(item(rle(plane)) for plane in PLANES) + END
    record = multi_frame(tmp_path / "m.dcm", value, frames=3, transfer_syntax=uid.RLELossless)
    assert np.array_equal(pixels_of(record), PLANES)


def test_a_file_cut_anywhere_in_its_fragments_is_never_taken_for_whole(tmp_path: Path) -> None:
    value = encapsulate([rle(plane) for plane in PLANES], has_bot=True)
    record = multi_frame(tmp_path / "m.dcm", value, frames=3, transfer_syntax=uid.RLELossless)
    assert record.pixel_data is not None
    content = Path(record.path).read_bytes()
    for size in range(record.pixel_data.offset, len(content) - len(END)):
        Path(record.path).write_bytes(content[:size])
        with pytest.raises(DecodeError), open_frames(record):
            pass


def test_the_frame_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    good, bad = rle(PLANES[0]), rle(PLANES[1])[:70]
    value = encapsulate([good, bad, good], has_bot=True)
    record = multi_frame(tmp_path / "m.dcm", value, frames=3, transfer_syntax=uid.RLELossless)
    out = np.empty((3, *PLANES.shape[1:]), "<u2")
    with open_frames(record) as frames:
        with pytest.raises(DecodeError, match="frame 2 of 3: RLE Lossless: "):
            frames.load_all(range(3), out)
        frames.load(2, out[2])
    assert np.array_equal(out[2], PLANES[0])


def test_more_frames_than_bytes_is_an_error_before_anything_is_allocated(tmp_path: Path) -> None:
    record = multi_frame(
        tmp_path / "m.dcm", PLANES.tobytes(), frames=2**31 - 1, transfer_syntax=uid.ExplicitVRLittleEndian
    )
    with pytest.raises(DecodeError, match="pixel data are cut: 144 bytes"), open_frames(record):
        pass


# --- files that changed ----------------------------------------------------------------------------------


def test_a_header_that_changed_since_the_index_is_noticed_wherever_it_changed(ct: phantoms.Phantom) -> None:
    record = record_of(ct.paths[0])
    assert record is not None
    assert record.pixel_data is not None
    content = ct.paths[0].read_bytes()
    reserved = range(
        record.pixel_data.offset - 6, record.pixel_data.offset - 4
    )  # no information (PS3.5 7.1.2)
    for position in range(0, record.pixel_data.offset, 7):
        if position in reserved:
            continue
        altered = bytearray(content)
        altered[position] ^= 1
        ct.paths[0].write_bytes(altered)
        with pytest.raises(DecodeError, match="changed since it was indexed"), open_frames(record):
            pass


def test_files_that_are_gone_or_have_no_pixels_say_so(ct: phantoms.Phantom) -> None:
    record = record_of(ct.paths[0])
    assert record is not None
    with (
        pytest.raises(DecodeError, match="no such file"),
        open_frames(replace(record, path=record.path + "x")),
    ):
        pass
    with pytest.raises(DecodeError, match="has no pixel data"), open_frames(replace(record, pixel_data=None)):
        pass
    short = replace(record, pixel_data=PixelData(0x7FE00010, "OW", 10**9, 10))
    with pytest.raises(DecodeError, match="changed since"), open_frames(short):
        pass


def test_a_deflated_file_is_inflated_no_further_than_its_frames(tmp_path: Path, ct: phantoms.Phantom) -> None:
    ds = pydicom.dcmread(ct.paths[0])
    ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    ds.DataSetTrailingPadding = bytes(50_000_000)
    path = tmp_path / "deflated.dcm"
    ds.save_as(path, enforce_file_format=True)
    record = record_of(path)
    assert record is not None
    assert np.array_equal(pixels_of(record)[0], ct.stored[0])
