"""Every way in which bits stand in native pixel data, from the file through index and ingest to the array."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import Dataset, uid
from pydicom.sequence import Sequence

from pipelines import phantoms
from pipelines.verify import verify_array
from pipelines.volumes import open_array, stored_values

SHAPE = (3, 5, 7)


def series(
    folder: Path, words: npt.NDArray[Any], *, syntax: str = uid.ExplicitVRLittleEndian, **attributes: Any
) -> list[Path]:
    """Write planes of words, shape (planes, rows, columns), in the byte order of the transfer syntax."""
    phantom = phantoms.write_series(folder, planes=len(words), rows=words.shape[1], columns=words.shape[2])
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    for path, plane in zip(phantom.paths, words, strict=True):
        ds = pydicom.dcmread(path)
        ds.BitsAllocated = words.dtype.itemsize * 8
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        del ds.PixelData, ds.RescaleSlope, ds.RescaleIntercept
        content = plane.astype(plane.dtype.newbyteorder(order)).tobytes()
        keyword = {"f4": "FloatPixelData", "f8": "DoubleFloatPixelData"}.get(words.dtype.str[1:], "PixelData")
        setattr(ds, keyword, content + b"\0" * (len(content) % 2))
        if keyword == "PixelData":
            ds["PixelData"].VR = "OW" if words.dtype.itemsize > 1 else "OB"
        ds.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(path, ds, little_endian=order == "<", implicit_vr=False, overwrite=True)
    return list(phantom.paths)


def words(dtype: str) -> npt.NDArray[Any]:
    """Every bit of them used."""
    rng = np.random.default_rng(7)
    size = np.dtype(dtype).itemsize
    return rng.integers(0, 256, (*SHAPE, size), np.uint8).view(dtype)[..., 0]


def expected(pixels: npt.NDArray[Any], *, stored: int, high: int, signed: bool) -> npt.NDArray[Any]:
    """The values by arithmetic on whole numbers, without shifts of a type."""
    values = np.array(
        [(int(each) >> (high - stored + 1)) % (1 << stored) for each in pixels.ravel()], dtype=object
    ).reshape(pixels.shape)
    return np.where(values >= 1 << (stored - 1), values - (1 << stored), values) if signed else values


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize(
    ("dtype", "stored", "high", "signed"),
    [
        ("u1", 8, 7, False),
        ("u1", 8, 7, True),
        ("u1", 5, 4, False),
        ("u1", 6, 6, True),
        ("u2", 16, 15, False),
        ("u2", 16, 15, True),
        ("u2", 12, 11, False),
        ("u2", 12, 11, True),
        ("u2", 12, 15, False),
        ("u2", 10, 12, True),
        ("u2", 8, 7, False),
        ("u2", 1, 0, False),
        ("u4", 32, 31, False),
        ("u4", 32, 31, True),
        ("u4", 24, 23, True),
        ("u4", 20, 27, False),
    ],
)
def test_whole_numbers_of_any_bits_are_the_values_that_arithmetic_gives(
    indexed: Any, tmp_path: Path, syntax: str, dtype: str, stored: int, high: int, signed: bool
) -> None:
    pixels = words(f"<{dtype}")
    series(
        tmp_path / "a",
        pixels,
        syntax=syntax,
        BitsStored=stored,
        HighBit=high,
        PixelRepresentation=int(signed),
    )
    (found,) = indexed(tmp_path / "a")
    record = found.array
    wanted = expected(pixels, stored=stored, high=high, signed=signed)
    assert np.array_equal(stored_values(record).to_numpy().astype(object), wanted)
    values = open_array(record)
    assert np.array_equal(values.to_numpy().astype(np.float64), wanted.astype(np.float64))
    assert values.dtype == (np.float64 if dtype == "u4" else np.float32)
    assert not verify_array(record, found.instances).mismatches


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_floating_point_pixels_keep_every_bit(indexed: Any, tmp_path: Path, dtype: str) -> None:
    pixels = words(dtype)
    pixels[0, 0, :4] = [np.nan, np.inf, -0.0, np.finfo(dtype).tiny]
    folder = tmp_path / "a"
    for path in series(folder, pixels):
        ds = pydicom.dcmread(path)
        for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
            delattr(ds, keyword)
        ds.save_as(path)
    (found,) = indexed(folder)
    record = found.array
    assert record.dtype == np.dtype(dtype).name
    assert stored_values(record).to_numpy().tobytes() == pixels.tobytes()
    np.testing.assert_array_equal(open_array(record).to_numpy(), pixels)
    assert not verify_array(record, found.instances).mismatches


def test_frames_of_single_bits_begin_within_bytes(indexed: Any, tmp_path: Path) -> None:
    bits = np.random.default_rng(9).random((4, 5, 7)) > 0.5
    (path,) = series(tmp_path / "a", words("<u2")[:1])
    ds = pydicom.dcmread(path)
    ds.SOPClassUID = uid.MultiFrameSingleBitSecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.NumberOfFrames = 1, 1, 0, 4
    packed = np.packbits(bits, bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    ds["PixelData"].VR = "OB"
    ds.save_as(path)
    (found,) = indexed(path)
    record = found.array
    assert record.dtype == "uint8"
    assert np.array_equal(stored_values(record), bits)
    assert np.array_equal(stored_values(record), pydicom.dcmread(path).pixel_array)
    assert not verify_array(record, found.instances).mismatches


def test_padding_stays_in_the_values(indexed: Any, tmp_path: Path) -> None:
    pixels = words("<i2")
    pixels[:, 0] = -2000
    folder = tmp_path / "a"
    for path in series(folder, pixels.view("<u2"), BitsStored=16, HighBit=15, PixelRepresentation=1):
        ds = pydicom.dcmread(path)
        ds.add_new("PixelPaddingValue", "SS", -2000)
        ds.save_as(path)
    (found,) = indexed(folder)
    volume = open_array(found.array)
    assert np.array_equal(volume, pixels)
    assert volume.dicom.attributes.PixelPaddingValue == -2000


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_an_icon_is_not_taken_for_the_image(indexed: Any, tmp_path: Path, syntax: str) -> None:
    pixels = words("<u2") & 0xFFF
    icon = Dataset()
    icon.SamplesPerPixel, icon.PhotometricInterpretation, icon.Rows, icon.Columns = 1, "MONOCHROME2", 5, 7
    icon.BitsAllocated, icon.BitsStored, icon.HighBit, icon.PixelRepresentation = 8, 8, 7, 0
    icon.PixelData = bytes(range(35)) + b"\0"
    icon["PixelData"].VR = "OB"
    folder = tmp_path / "a"
    for path in series(folder, pixels):
        ds = pydicom.dcmread(path)
        ds.IconImageSequence = Sequence([icon])
        ds.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(
            path, ds, implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=True, overwrite=True
        )
    (found,) = indexed(folder)
    record = found.array
    assert np.array_equal(stored_values(record), pixels)
    assert "IconImageSequence" not in open_array(record).dicom.attributes
