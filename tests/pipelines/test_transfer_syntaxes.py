"""Every transfer syntax of still images: a file in it becomes an array, and other libraries see the same."""

import hashlib
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import imagecodecs
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate

from catalog.headers import read_header
from catalog.records import InstanceHeader, InstanceRecord
from pipelines import phantoms
from pipelines.decoding.codecs import CODECS
from pipelines.decoding.frames import open_frames
from pipelines.decoding.pixels import (
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED,
    ENCAPSULATED_UNCOMPRESSED,
    JPEG_XL,
    JPEG_XL_JPEG_RECOMPRESSION,
    JPEG_XL_LOSSLESS,
    NATIVE,
    VIDEO_CODECS,
    PixelDescription,
)
from pipelines.volumes import stored_values

type Image = npt.NDArray[Any]

ROWS, COLUMNS = 40, 52
NEEDED = (
    "sop_instance_uid", "sop_class_uid", "series_instance_uid", "study_instance_uid", "rows", "columns",
    "samples_per_pixel", "photometric_interpretation", "bits_allocated", "bits_stored", "high_bit",
    "pixel_representation",
)  # fmt: skip


def smooth(bits: int) -> Image:
    """A slope with a little noise, as lossy codecs like it; `bits` used."""
    noise = np.random.default_rng(0).integers(0, 1 + (1 << bits - 6), (ROWS, COLUMNS))
    slope = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)) * ((1 << bits) * 3 // 4 // (ROWS + COLUMNS))
    return (slope + noise).astype(np.uint8 if bits == 8 else np.uint16)


def deflated(image: Image) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(image.tobytes()) + stream.flush()


def rle(image: Image) -> bytes:
    """RLE Lossless (PS3.5 annex G), rows of each byte packed by themselves."""
    segments = []
    for shift in (8, 0):
        rows = (image >> shift).astype(np.uint8)
        packed = b"".join(bytes(imagecodecs.packbits_encode(row.tobytes())) for row in rows)
        segments.append(packed + b"\0" * (len(packed) % 2))
    header = np.zeros(16, "<u4")
    header[:3] = 2, 64, 64 + len(segments[0])
    return header.tobytes() + b"".join(segments)


def jpeg(image: Image, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(image, 95, **options))


def j2k(image: Image, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(image, codecformat="j2k", **options))


type Encoding = tuple[Callable[[Image], bytes], int, int]

ENCODINGS: dict[str, Encoding] = {
    ENCAPSULATED_UNCOMPRESSED: (lambda image: image.tobytes(), 12, 0),
    DEFLATED_IMAGE_FRAME: (deflated, 12, 0),
    uid.RLELossless: (rle, 12, 0),
    uid.JPEGBaseline8Bit: (jpeg, 8, 8),
    uid.JPEGExtended12Bit: (lambda image: jpeg(image, bitspersample=12), 12, 60),
    uid.JPEGLossless: (lambda image: jpeg(image, lossless=True, predictor=4, bitspersample=12), 12, 0),
    uid.JPEGLosslessSV1: (lambda image: jpeg(image, lossless=True, predictor=1, bitspersample=12), 12, 0),
    uid.JPEGLSLossless: (lambda image: bytes(imagecodecs.jpegls_encode(image)), 12, 0),
    uid.JPEGLSNearLossless: (lambda image: bytes(imagecodecs.jpegls_encode(image, 3)), 12, 3),
    uid.JPEG2000Lossless: (lambda image: j2k(image, level=0, reversible=True), 12, 0),
    uid.JPEG2000: (lambda image: j2k(image, level=60, reversible=False, bitspersample=12), 12, 20),
    uid.HTJ2KLossless: (lambda image: bytes(imagecodecs.htj2k_encode(image, reversible=True)), 12, 0),
    uid.HTJ2KLosslessRPCL: (
        lambda image: bytes(imagecodecs.htj2k_encode(image, reversible=True, prog_order="RPCL")), 12, 0,
    ),
    uid.HTJ2K: (lambda image: bytes(imagecodecs.htj2k_encode(image, reversible=False)), 12, 60),
    JPEG_XL_LOSSLESS: (lambda image: bytes(imagecodecs.jpegxl_encode(image, lossless=True)), 12, 0),
    JPEG_XL_JPEG_RECOMPRESSION: (lambda image: bytes(imagecodecs.jpegxl_encode_jpeg(jpeg(image))), 8, 8),
    JPEG_XL: (lambda image: bytes(imagecodecs.jpegxl_encode(image, distance=1.0)), 8, 16),
}  # fmt: skip
"""How an image of so many bits is encoded, and how far a decoded value may be off; 0 is lossless."""

STAND_INS = {
    DEFLATED_IMAGE_FRAME: uid.JPEG2000Lossless, JPEG_XL_LOSSLESS: uid.HTJ2KLossless,
    JPEG_XL_JPEG_RECOMPRESSION: uid.HTJ2KLossless, JPEG_XL: uid.HTJ2KLossless,
}  # fmt: skip
"""What pydicom 3.0 can write in place of transfer syntaxes it does not know."""


def write(folder: Path, transfer_syntax: str, image: Image, encoded: bytes) -> Path:
    (path,) = phantoms.write_series(folder, planes=1, rows=ROWS, columns=COLUMNS).paths
    ds = pydicom.dcmread(path)
    bits = image.dtype.itemsize * 8
    ds.BitsAllocated, ds.BitsStored = bits, min(bits, 12)
    ds.HighBit = ds.BitsStored - 1
    stand_in = STAND_INS.get(transfer_syntax, uid.UID(transfer_syntax))
    ds.file_meta.TransferSyntaxUID = stand_in
    ds.PixelData = encapsulate([encoded])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.save_as(path, enforce_file_format=True)
    written = transfer_syntax.encode().ljust(len(stand_in), b"\0")
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), written, 1))
    return path


def stored_of(indexed: Any, path: Path) -> Image:
    (series,) = indexed(path)
    values: Image = stored_values(series.array).to_numpy()[0]
    return values


def test_there_is_an_image_in_every_encapsulated_transfer_syntax() -> None:
    assert ENCODINGS.keys() == ENCAPSULATED


def test_the_documentation_names_the_library_of_each() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "transfer-syntaxes.md").read_text()
    rows = dict(re.findall(r"\| ([\d.]+) \| (.+) \|", text))
    assert rows.keys() == NATIVE | ENCAPSULATED | VIDEO_CODECS.keys()
    for transfer_syntax, codec in CODECS.items():
        assert rows[transfer_syntax].startswith(f"{codec.library}, `{codec.function.replace(':', '.')}`")


@pytest.mark.parametrize("transfer_syntax", ENCODINGS)
def test_a_file_becomes_an_array_of_its_values(indexed: Any, tmp_path: Path, transfer_syntax: str) -> None:
    encode, bits, tolerance = ENCODINGS[transfer_syntax]
    image = smooth(bits)
    path = write(tmp_path / "archive", transfer_syntax, image, encode(image))
    stored = stored_of(indexed, path)
    assert stored.dtype == image.dtype
    assert np.abs(stored.astype(int) - image).max() <= tolerance


# --- agreement -------------------------------------------------------------------------------------------


SECOND: dict[str, tuple[Callable[[bytes], Any], int]] = {
    uid.JPEGLossless: (imagecodecs.ljpeg_decode, 0),
    uid.JPEGLosslessSV1: (imagecodecs.jpegsof3_decode, 0),
    uid.HTJ2KLossless: (imagecodecs.jpeg2k_decode, 0),
    uid.HTJ2KLosslessRPCL: (imagecodecs.jpeg2k_decode, 0),
    uid.HTJ2K: (imagecodecs.jpeg2k_decode, 1),
}
"""liblj92, jpegsof3 and OpenJPEG, and how far they may be off."""
BY_PYDICOM = {
    uid.RLELossless: 0, uid.JPEGBaseline8Bit: 1, uid.JPEGLSLossless: 0, uid.JPEGLSNearLossless: 0,
    uid.JPEG2000Lossless: 0, uid.JPEG2000: 1,
}  # fmt: skip
"""What pydicom decodes with the plugins that are installed, and how far they may be off."""
BY_DJXL = {JPEG_XL_LOSSLESS: 0, JPEG_XL_JPEG_RECOMPRESSION: 1, JPEG_XL: 1}
"""What Debian's `djxl` decodes, which is another version of the only library there is."""


def by_djxl(folder: Path, encoded: bytes) -> Image:
    """Decode JPEG XL to a portable gray map, which holds big-endian samples after three words."""
    (folder / "image.jxl").write_bytes(encoded)
    subprocess.run(["djxl", folder / "image.jxl", folder / "image.pgm"], check=True, capture_output=True)
    kind, columns, rows, most, samples = (folder / "image.pgm").read_bytes().split(maxsplit=4)
    assert kind == b"P5"
    return np.frombuffer(samples, "u1" if int(most) < 256 else ">u2").reshape(int(rows), int(columns))


def test_all_that_is_decoded_is_compared() -> None:
    assert {*SECOND, *BY_PYDICOM, *BY_DJXL, uid.JPEGExtended12Bit} == CODECS.keys()


@pytest.mark.parametrize("transfer_syntax", BY_DJXL)
def test_debians_jpeg_xl_sees_the_same(
    indexed: Any, tmp_path: Path, missing: Callable[[str], NoReturn], transfer_syntax: str
) -> None:
    if shutil.which("djxl") is None:
        missing("djxl decodes JPEG XL: install it (Debian: apt install libjxl-tools)")
    encode, bits, _ = ENCODINGS[transfer_syntax]
    encoded = encode(smooth(bits))
    path = write(tmp_path / "archive", transfer_syntax, smooth(bits), encoded)
    other = by_djxl(tmp_path, encoded)
    stored = stored_of(indexed, path)
    assert stored.std() > 30
    assert np.abs(stored.astype(int) - other).max() <= BY_DJXL[transfer_syntax]


@pytest.mark.parametrize("transfer_syntax", [*SECOND, *BY_PYDICOM, uid.JPEGExtended12Bit])
def test_another_library_sees_the_same(
    indexed: Any, tmp_path: Path, missing: Callable[[str], NoReturn], transfer_syntax: str
) -> None:
    encode, bits, _ = ENCODINGS[transfer_syntax]
    image = smooth(bits)
    encoded = encode(image)
    path = write(tmp_path / "archive", transfer_syntax, image, encoded)
    if transfer_syntax in SECOND:
        decode, off = SECOND[transfer_syntax]
        other = np.asarray(decode(encoded))
    elif transfer_syntax in BY_PYDICOM:
        other, off = pydicom.dcmread(path).pixel_array, BY_PYDICOM[transfer_syntax]
    else:
        if (dcmdjpeg := shutil.which("dcmdjpeg")) is None:
            missing("dcmdjpeg decodes JPEG of 12 bits: install DCMTK (Debian: apt install dcmtk)")
        subprocess.run([dcmdjpeg, path, tmp_path / "plain.dcm"], check=True)
        other, off = pydicom.dcmread(tmp_path / "plain.dcm").pixel_array, 1
    assert np.abs(stored_of(indexed, path).astype(int) - other).max() <= off


@pytest.mark.parametrize(
    ("transfer_syntax", "reason"),
    [
        ("1.2.840.10008.1.2.4.94", "on a server"),
        ("1.2.840.10008.1.2.4.205", "on a server"),
        ("1.2.840.10008.1.2.7.1", "a stream on a network"),
        ("1.2.840.10008.1.2.4.93", "JPEG 2000 Part 2"),
        ("1.2.840.10008.1.2.6.1", "not one of still images"),
    ],
)
def test_a_transfer_syntax_that_nobody_decodes_says_why(
    indexed: Any, tmp_path: Path, transfer_syntax: str, reason: str
) -> None:
    path = write(tmp_path / "archive", transfer_syntax, smooth(12), b"anything")
    (series,) = indexed(path)
    found = series.ingest()
    assert found.arrays == ()
    assert reason in found.rejected[0].reason


def test_the_same_image_in_nine_files_and_seven_syntaxes_has_the_same_pixels(shared_data: Path) -> None:
    folder = shared_data / "transfer_syntax" / "same_mosaic_9_syntaxes" / "dicom"
    images: dict[str, bytes] = {}
    syntaxes = set()
    for path in sorted(folder.iterdir()):
        header = read_header(path)
        assert isinstance(header, InstanceHeader)
        known = {name: header.values.get(name) for name in NEEDED}
        record = InstanceRecord(
            **known,  # type: ignore[arg-type]
            transfer_syntax_uid=header.transfer_syntax_uid,
            path=str(path),
            header_digest=header.header_digest,
            pixel_data=header.pixel_data,
        )
        description = PixelDescription.of(record)
        frame = np.empty(description.shape, description.dtype)
        with open_frames(record) as frames:
            frames.load(0, frame)
        images[path.name] = frame.tobytes()
        syntaxes.add(header.transfer_syntax_uid)
    assert (len(images), len(syntaxes), len(set(images.values()))) == (9, 7, 1)
    assert hashlib.sha256(images.popitem()[1]).hexdigest().startswith("e4943a308aba1b65")
