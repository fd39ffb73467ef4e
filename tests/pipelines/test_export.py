"""Volumes as NIfTI; real series are compared with reference NIfTI in test_volumes."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from catalog.errors import GeometryError
from pipelines import phantoms
from pipelines.export import to_nifti
from pipelines.volumes import open_array


@pytest.fixture
def volume(indexed: Any, ct: phantoms.Phantom) -> Any:
    (series,) = indexed(ct.paths[0].parent)
    return open_array(series.array)


def test_stored_values_keep_their_type_with_slope_and_intercept_in_the_header(
    volume: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    image: Any = nibabel.load(to_nifti(volume, tmp_path / "new" / "ct.nii.gz"))
    assert image.get_data_dtype() == np.uint16
    assert (image.dataobj.slope, image.dataobj.inter) == (1.0, -1024.0)
    assert np.array_equal(np.asarray(image.dataobj).T, ct.modality_values)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_the_affine_turns_from_lps_to_ras_in_both_forms(
    volume: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    image: Any = nibabel.load(to_nifti(volume[2:, ::-1], tmp_path / "ct.nii"))
    expected = np.diag([-1, -1, 1, 1]) @ volume[2:, ::-1].dicom.affine_lps
    for affine, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(affine, expected, atol=1e-4)


def test_results_of_arithmetic_are_written_as_they_are(volume: Any, tmp_path: Path) -> None:
    half: Any = nibabel.load(to_nifti(volume / 3, tmp_path / "half.nii"))
    assert half.get_data_dtype() == np.float32
    assert np.array_equal(np.asarray(half.dataobj).T, volume / 3)
    mask: Any = nibabel.load(to_nifti((volume > 100).assign_attrs(volume.attrs), tmp_path / "mask.nii"))
    assert mask.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(mask.dataobj).T, volume > 100)


def test_values_that_were_replaced_under_an_old_encoding_are_not_rounded(volume: Any, tmp_path: Path) -> None:
    altered = volume.copy(data=volume.to_numpy() + np.float32(0.5))
    altered.encoding = volume.encoding
    image: Any = nibabel.load(to_nifti(altered, tmp_path / "altered.nii"))
    assert np.array_equal(np.asarray(image.dataobj).T, altered)


def test_a_stack_is_refused_with_its_reason(indexed: Any, tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "two", planes=2)
    (series,) = indexed(tmp_path / "two")
    with pytest.raises(GeometryError, match=r"NIfTI holds regular volumes.*two planes only"):
        to_nifti(open_array(series.array), tmp_path / "no.nii")
    assert not (tmp_path / "no.nii").exists()


def test_a_single_plane_of_a_volume_is_no_volume(volume: Any, tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="its dimensions are"):
        to_nifti(volume[0], tmp_path / "no.nii")


@pytest.mark.parametrize(
    ("keyword", "values", "name", "step"),
    [
        ("DiffusionBValue", (0.0, 1000.0), "b_value", 0),
        ("EchoTime", (10, 20), "echo_time", 0),
        ("AcquisitionNumber", (1, 2), "temporal_position", 0),
        ("AcquisitionTime", ("101500", "101502.5"), "time", 2.5),
    ],
)
def test_only_times_have_a_step_in_seconds(
    indexed: Any, tmp_path: Path, keyword: str, values: tuple[Any, ...], name: str, step: float
) -> None:
    for number, value in enumerate(values):
        series = phantoms.write_series(tmp_path / "d" / f"{number}", planes=3, modality="MR")
        for path in series.paths:
            ds = pydicom.dcmread(path)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID}.{number}"
            ds.AcquisitionTime = ds.ContentTime = "101500"
            ds.InstanceNumber += 10 * number
            setattr(ds, keyword, value)
            ds.save_as(path)
    (found,) = indexed(tmp_path / "d")
    volume = open_array(found.array)
    assert volume.dims == (name, "z", "y", "x")
    header = nibabel.load(to_nifti(volume, tmp_path / "v.nii")).header  # type: ignore[attr-defined]
    assert header["pixdim"][4] == step
    assert header.get_xyzt_units() == ("mm", "sec")
