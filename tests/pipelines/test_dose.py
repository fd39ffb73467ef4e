from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage

from catalog.errors import DecodeError, GeometryError, HeaderError
from pipelines.objects.dose import plane_positions_lps_mm, read_dose

STORED = np.random.default_rng(0).integers(0, 2**31, (4, 3, 5), dtype=np.uint32)
AXIAL = (1, 0, 0, 0, 1, 0)


def write_dose(path: Path, stored: np.ndarray = STORED, **attributes: Any) -> Path:
    """Write a dose grid of 2 mm × 3 mm pixels at (-10, -20, 30); attributes of None are left out."""
    ds = pydicom.Dataset()
    for keyword, value in {
        "SOPClassUID": RTDoseStorage,
        "SOPInstanceUID": "2.25.1",
        "StudyInstanceUID": "2.25.2",
        "SeriesInstanceUID": "2.25.3",
        "FrameOfReferenceUID": "2.25.4",
        "Modality": "RTDOSE",
        "ImagePositionPatient": [-10, -20, 30],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [3, 2],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "NumberOfFrames": len(stored),
        "Rows": stored.shape[1],
        "Columns": stored.shape[2],
        "BitsAllocated": stored.itemsize * 8,
        "BitsStored": stored.itemsize * 8,
        "HighBit": stored.itemsize * 8 - 1,
        "PixelRepresentation": 0,
        "DoseUnits": "GY",
        "DoseType": "PHYSICAL",
        "DoseSummationType": "PLAN",
        "GridFrameOffsetVector": [0, 2.5, 5, 7.5][: len(stored)],
        "DoseGridScaling": "2.5e-8",
        "PixelData": stored.tobytes(),
        **attributes,
    }.items():
        if value is not None:
            setattr(ds, keyword, value)
    if "PixelData" in ds:
        ds["PixelData"].VR = "OW"
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    return path


def test_the_real_dose_has_the_values_that_pydicom_sees(shared_data):
    path = shared_data / "objects/rt_small/rtdose.dcm"
    ds = pydicom.dcmread(path)
    found = read_dose(path)
    assert found.attrs["units"] == "relative"
    assert np.array_equal(found.values, ds.pixel_array * float(ds.DoseGridScaling))
    assert found.dicom.spacing_mm == pytest.approx((5, 10, 10))
    assert found.dicom.to_lps((0, 0, 14)) == pytest.approx((189.43125, 199.43125, -761.87 + 14 * 5))


def test_dose_is_in_gray_on_its_grid(tmp_path):
    found = read_dose(write_dose(tmp_path / "dose.dcm"))
    assert found.dims == ("z", "y", "x")
    assert np.array_equal(found.values, STORED * 2.5e-8)
    assert found.attrs["units"] == "Gy"
    assert found.attrs["dose_summation_type"] == "PLAN"
    expected = [[2, 0, 0, -10], [0, 3, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]]
    assert np.allclose(found.dicom.affine_lps, expected)
    assert found.dicom.frame_of_reference_uid == "2.25.4"


def test_16_bits_become_float32(tmp_path):
    stored = (STORED % 65536).astype(np.uint16)
    found = read_dose(write_dose(tmp_path / "dose.dcm", stored, DoseGridScaling="0.001"))
    assert found.dtype == np.float32
    assert np.allclose(found.values, stored * 0.001)


def test_offsets_may_be_positions_along_z(tmp_path):
    path = write_dose(tmp_path / "dose.dcm", GridFrameOffsetVector=[30, 32.5, 35, 37.5])
    assert read_dose(path).coords["z"].values.tolist() == [30, 32.5, 35, 37.5]


def test_planes_against_the_normal_are_turned_round(tmp_path):
    found = read_dose(write_dose(tmp_path / "dose.dcm", GridFrameOffsetVector=[0, -2.5, -5, -7.5]))
    assert found.coords["z"].values.tolist() == [22.5, 25, 27.5, 30]
    assert np.array_equal(found.values, STORED[::-1] * 2.5e-8)


def test_relative_offsets_go_along_the_normal_of_any_plane(tmp_path):
    found = read_dose(write_dose(tmp_path / "dose.dcm", ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))
    assert found.dicom.to_lps((0, 0, 2)) == pytest.approx((-15, -20, 30))


def test_one_plane_needs_a_thickness_for_its_grid(tmp_path):
    one = {"stored": STORED[:1], "GridFrameOffsetVector": None, "NumberOfFrames": None}
    found = read_dose(write_dose(tmp_path / "dose.dcm", SliceThickness=4, **one))
    assert found.dicom.spacing_mm == pytest.approx((4, 3, 2))
    found = read_dose(write_dose(tmp_path / "dose.dcm", **one))
    assert found.dims == ("frame", "y", "x")
    assert "one plane only" in found.attrs["reason"]


def test_unequal_distances_keep_the_position_of_each_plane(tmp_path):
    found = read_dose(write_dose(tmp_path / "dose.dcm", GridFrameOffsetVector=[0, 2, 4, 9]))
    assert found.dims == ("frame", "y", "x")
    assert found.attrs["reason"] == "plane distances from 2.00 to 5.00 mm"
    assert found.coords["z_lps_mm"].values.tolist() == [30, 32, 34, 39]
    assert np.array_equal(found.values, STORED * 2.5e-8)
    with pytest.raises(GeometryError, match="plane distances from"):
        _ = found.dicom.affine_lps


def test_offsets_that_begin_anywhere_have_no_meaning(tmp_path):
    found = read_dose(write_dose(tmp_path / "dose.dcm", GridFrameOffsetVector=[11, 12, 13, 14]))
    assert "begins neither with 0 nor" in found.attrs["reason"]
    assert "z_lps_mm" not in found.coords


def test_offsets_along_z_are_of_axial_planes_alone():
    with pytest.raises(GeometryError, match="neither"):
        plane_positions_lps_mm((-10, -20, 30), (0, 1, 0, 0, 0, -1), (30, 32))
    assert plane_positions_lps_mm((1, 2, 30), AXIAL, (30, 28)).tolist() == [[1, 2, 30], [1, 2, 28]]


@pytest.mark.parametrize(
    ("attributes", "error", "words"),
    [
        ({"DoseGridScaling": None}, HeaderError, "no usable Dose Grid Scaling"),
        ({"DoseGridScaling": "0"}, HeaderError, "no usable Dose Grid Scaling"),
        ({"DoseUnits": "RADS"}, HeaderError, "no Dose Units"),
        ({"GridFrameOffsetVector": None}, HeaderError, "4 frames and 0 values"),
        ({"GridFrameOffsetVector": [0, 0, 2, 4]}, HeaderError, None),
        ({"NumberOfFrames": 400}, HeaderError, "400 frames and 4 values"),
        ({"Rows": None, "Columns": None, "PixelData": None}, HeaderError, "no dose grid"),
        ({"PixelData": b"\0\0"}, DecodeError, "pixel data are cut"),
        ({"PixelData": None}, DecodeError, "has no pixel data"),
        ({"SOPClassUID": "1.2.3"}, HeaderError, "not RT Dose"),
    ],
)
def test_what_is_no_dose_grid_is_refused_in_words(tmp_path, attributes, error, words):
    path = write_dose(tmp_path / "dose.dcm", **attributes)
    with pytest.raises(error, match=words):
        read_dose(path)


@pytest.mark.parametrize(
    "attributes", [{"ImagePositionPatient": None}, {"PixelSpacing": None}, {"ImageOrientationPatient": None}]
)
def test_a_dose_without_a_place_is_a_stack(tmp_path, attributes):
    found = read_dose(write_dose(tmp_path / "dose.dcm", **attributes))
    assert found.dims == ("frame", "y", "x")
    assert found.attrs["reason"].startswith("no usable")
    assert np.array_equal(found.values, STORED * 2.5e-8)


def test_a_file_cut_anywhere_gives_words(tmp_path):
    path = write_dose(tmp_path / "dose.dcm")
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises((HeaderError, DecodeError)):
            read_dose(path)
