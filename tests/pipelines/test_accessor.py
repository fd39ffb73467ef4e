"""`volume.dicom` follows what was cut out of a volume."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from catalog.errors import GeometryError
from pipelines import accessor, phantoms
from pipelines.volumes import open_array

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)


@pytest.fixture
def volume(indexed: Any, tmp_path: Any) -> xr.DataArray:
    phantoms.write_series(tmp_path / "o", orientation=OBLIQUE, planes=9)
    (series,) = indexed(tmp_path / "o")
    return open_array(series.array)


def test_positions_and_indices_are_inverse(volume: xr.DataArray) -> None:
    indices = np.random.default_rng(0).uniform(-5, 40, (10, 4, 3))
    positions = volume.dicom.to_lps(indices)
    np.testing.assert_allclose(volume.dicom.to_index(positions), indices, atol=1e-9)
    np.testing.assert_allclose(volume.dicom.to_lps((0, 0, 0)), (-10, -20, 30))
    np.testing.assert_allclose(volume.dicom.to_lps((2, 0, 0)), (-10 + 1.4 * 0.8, -20 + 1.4 * 0.6, 30))
    assert volume.dicom.spacing_mm == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.parametrize(
    "key",
    [
        np.s_[2:7],
        np.s_[:, 3:, 5:20],
        np.s_[::2, ::-1, ::3],
        np.s_[4:5, 10:11, ::-2],
        np.s_[3],
        np.s_[1:4, 7, 9],
    ],
)
def test_the_affine_is_that_of_the_voxels_that_are_left(volume: xr.DataArray, key: Any) -> None:
    index = np.empty(volume.shape, object)
    for z, y, x in np.ndindex(*volume.shape):
        index[z, y, x] = (x, y, z)
    left = volume[key]
    first = np.asarray(index[key]).ravel()[0]
    np.testing.assert_allclose(left.dicom.to_lps((0, 0, 0)), volume.dicom.to_lps(first), atol=1e-9)
    last_index = [left.sizes.get(dim, 1) - 1 for dim in "xyz"]
    last = np.asarray(index[key]).ravel()[-1]
    np.testing.assert_allclose(left.dicom.to_lps(last_index), volume.dicom.to_lps(last), atol=1e-9)


def test_transposing_does_not_move_the_volume(volume: xr.DataArray) -> None:
    np.testing.assert_allclose(volume.transpose("x", "z", "y").dicom.affine_lps, volume.dicom.affine_lps)


def test_what_has_no_regular_grid_says_why(volume: xr.DataArray) -> None:
    with pytest.raises(GeometryError, match="not evenly spaced along z"):
        _ = volume[[0, 1, 3]].dicom.affine_lps
    with pytest.raises(GeometryError, match="lost its coordinate y"):
        _ = volume.drop_vars("y").dicom.affine_lps
    with pytest.raises(GeometryError, match="empty along x"):
        _ = volume[:, :, :0].dicom.affine_lps
    with pytest.raises(GeometryError, match="attributes were dropped"):
        _ = volume.drop_attrs().dicom.affine_lps
    with pytest.raises(GeometryError, match="one plane only"):
        _ = xr.DataArray(np.zeros((1, 2, 2)), attrs={"reason": "one plane only"}).dicom.affine_lps


def test_sources_are_those_of_the_planes_that_are_left(volume: xr.DataArray) -> None:
    assert len(volume.dicom.sources) == 9
    assert volume[3:5].dicom.sources == volume.dicom.sources[3:5]
    assert volume[3].dicom.sources == volume.dicom.sources[3:4]
    assert volume.dicom.series_instance_uid == volume.attrs["series_instance_uid"]
    assert volume.dicom.frame_of_reference_uid == volume.attrs["frame_of_reference_uid"]
    with pytest.raises(GeometryError, match="no longer knows"):
        _ = volume.drop_vars("sop_instance_uid").dicom.sources


def test_a_window_stays_lazy_and_keeps_the_place(volume: xr.DataArray) -> None:
    shown = volume.dicom.window(40, 400)
    assert shown.chunks == volume.chunks
    assert shown.dtype == np.uint8
    assert "units" not in shown.attrs
    assert volume.attrs["units"] == "HU"
    np.testing.assert_allclose(shown.dicom.affine_lps, volume.dicom.affine_lps)
    assert accessor.DicomAccessor(shown).spacing_mm == volume.dicom.spacing_mm
