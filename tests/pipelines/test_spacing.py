"""Pixels of projections have a distance in mm, and say where it holds; they have no place in the patient."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from catalog.errors import GeometryError
from pipelines import phantoms
from pipelines.axes.spacing import spacing_of
from pipelines.export import to_nifti
from pipelines.planes import planes_of
from pipelines.verify import verify_array
from pipelines.volumes import open_array, stored_values


def header(**attributes: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in ({"Modality": "DX"} | attributes).items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("attributes", "spacing", "holds"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "at the detector, by Imager"),
        (
            {"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1]},
            (0.2, 0.1),
            "at the detector, by Pixel",
        ),
        (
            {"PixelSpacing": [0.15, 0.1], "ImagerPixelSpacing": [0.2, 0.1]},
            (0.15, 0.1),
            "calibrated in a way that is not said",
        ),
        (
            {"PixelSpacing": [0.15, 0.1], "PixelSpacingCalibrationType": "GEOMETRY"},
            (0.15, 0.1),
            "calibrated for the magnification",
        ),
        (
            {
                "PixelSpacing": [0.2, 0.1],
                "ImagerPixelSpacing": [0.2, 0.1],
                "PixelSpacingCalibrationType": "FIDUCIAL",
            },
            (0.2, 0.1),
            "calibrated by an object of known size",
        ),
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "at the detector or calibrated, the file does not say"),
        ({"PixelSpacing": [0.2, 0.1], "Modality": "NM"}, (0.2, 0.1), "in the plane of the image"),
        (
            {"PixelSpacing": [0, 0.1], "ImagerPixelSpacing": [0.2, 0.1]},
            (0.2, 0.1),
            "at the detector, by Imager",
        ),
    ],
)
def test_the_header_says_where_a_spacing_holds(
    attributes: dict[str, Any], spacing: tuple[float, float], holds: str
) -> None:
    found = spacing_of(header(**attributes))
    assert found is not None
    assert (found.rows, found.columns) == spacing
    assert found.holds.startswith(holds)


@pytest.mark.parametrize("value", [None, [0.2], [0.2, 0.0], [-0.2, 0.1], [0.1, 0.1, 0.1]])
def test_what_makes_no_sense_is_no_spacing(value: Any) -> None:
    assert spacing_of(header(PixelSpacing=value)) is None


@pytest.mark.parametrize(
    ("file", "rows", "columns", "holds"),
    [
        ("modalities/mg_overlay_jpegll.dcm", 0.085, 0.085, "at the detector, by Imager Pixel Spacing"),
        ("modalities/dx_small.dcm", 1.2, 1.201199999999, "at the detector, by Pixel Spacing"),
        ("dicomdir/77654033/CR1/6154", 0.1, 0.1, "at the detector, by Imager Pixel Spacing"),
        ("modalities/nm_wholebody_j2k.dcm", 2.26, 2.26, "in the plane of the image, by Pixel Spacing"),
    ],
)
def test_real_projections_have_millimetres_and_no_place(
    indexed: Any, shared_data: Path, tmp_path: Path, file: str, rows: float, columns: float, holds: str
) -> None:
    (series,) = indexed(shared_data / file)
    record = series.array
    image = open_array(record)
    np.testing.assert_allclose(image.y, np.arange(image.sizes["y"]) * rows)
    np.testing.assert_allclose(image.x, np.arange(image.sizes["x"]) * columns)
    assert image.attrs["spacing"].startswith(holds)
    assert image.x.attrs == {"units": "mm", "spacing": image.attrs["spacing"]}
    np.testing.assert_array_equal(stored_values(record).x, image.x)
    for asked in ("affine_lps", "spacing_mm", "positions_lps_mm"):
        with pytest.raises(GeometryError, match="no place in the patient"):
            getattr(image.dicom, asked)
    with pytest.raises(GeometryError):
        image.dicom.to_regular()
    with pytest.raises(GeometryError):
        to_nifti(image, tmp_path / "flat.nii")
    assert {each.image_position_patient for each in planes_of(record)} == {None}
    assert verify_array(record, series.instances).mismatches == ()


def test_planes_that_lost_their_place_are_not_resampled_by_their_spacing(
    indexed: Any, tmp_path: Path
) -> None:
    study = phantoms.write_series(tmp_path / "a", planes=2)
    for path in study.paths:
        ds = pydicom.dcmread(path)
        ds.ImagePositionPatient = None
        ds.save_as(path)
    (series,) = indexed(tmp_path / "a")
    stack = open_array(series.array)
    assert stack.x.attrs["spacing"].startswith("in the plane of the image")
    with pytest.raises(GeometryError, match="no place in the patient"):
        stack.dicom.to_regular()


def test_images_of_unequal_spacing_have_no_coordinates(indexed: Any, tmp_path: Path) -> None:
    study = phantoms.write_series(tmp_path / "a", planes=2)
    for number, path in enumerate(study.paths, 1):
        ds = pydicom.dcmread(path)
        ds.Modality, ds.ImagePositionPatient, ds.PixelSpacing = "DX", None, None
        ds.ImagerPixelSpacing = [0.1 * number, 0.1]
        ds.save_as(path)
    (series,) = indexed(tmp_path / "a")
    assert {"y", "x"}.isdisjoint(open_array(series.array).coords)
