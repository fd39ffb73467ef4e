"""Planes that form no regular volume keep their places, and become one when somebody asks for it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import GeometryError
from pipelines import phantoms, volumes
from pipelines.axes.lattice import Raster
from pipelines.axes.resampling import resampled, sampling
from pipelines.export import to_nifti
from pipelines.volumes import open_array

TILTED = "volumes/ct_head_tilt_ge_28"
RAMP = np.array([3.0, 5.0, 2.0])
"""Change of the value per mm along x, y and z."""


def ramp(positions_lps_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return positions_lps_mm @ RAMP + 900


def voxels(volume: xr.DataArray) -> npt.NDArray[np.float64]:
    """Position of each voxel of a regular volume, LPS mm."""
    z, y, x = np.indices(volume.shape)
    return np.asarray(volume.dicom.to_lps(np.stack([x, y, z], axis=-1)))


@pytest.fixture
def stacked(indexed: Any, tmp_path: Path) -> Any:
    """A series of planes at positions, whose values are linear in the patient."""

    def write(positions: Sequence[Sequence[float]]) -> xr.DataArray:
        y, x = np.indices((12, 10))
        pixels = np.stack([2.0 * x, 2.0 * y, np.zeros_like(x)], axis=-1)
        stored = np.array([ramp(pixels + position) for position in positions])
        phantom = phantoms.write_series(
            tmp_path / "s", stored=stored.astype(np.uint16), spacing=(2.0, 2.0), distance=3.0, intercept=0.0
        )
        assert np.array_equal(phantom.stored, stored)
        for path, position in zip(phantom.paths, positions, strict=True):
            ds = pydicom.dcmread(path)
            ds.ImagePositionPatient = [float(each) for each in position]
            ds.save_as(path)
        (series,) = indexed(tmp_path / "s")
        return open_array(series.array)

    return write


LEANING = [(0, k, 3 * k) for k in range(6)]
UNEQUAL = [(0, 0, z) for z in (0, 2, 7, 8, 12)]
LEANING_UNEQUAL = [(0, -z, 2 * z) for z in (0, 2, 3, 6, 10)]
WITH_A_GAP = [(0, 0, z) for z in (0, 3, 6, 12, 15)]


@pytest.mark.parametrize("positions", [LEANING, UNEQUAL, LEANING_UNEQUAL, WITH_A_GAP])
def test_planes_keep_their_positions_and_have_no_affine(
    stacked: Any, positions: Sequence[Sequence[float]], tmp_path: Path
) -> None:
    stack = stacked(positions)
    assert (stack.dims, stack.attrs["kind"]) == (("frame", "y", "x"), "stack")
    np.testing.assert_array_equal(stack.dicom.positions_lps_mm, positions)
    np.testing.assert_array_equal(stack.z_lps_mm, [each[2] for each in positions])
    np.testing.assert_array_equal(stack.distance_mm, [each[2] - positions[0][2] for each in positions])
    np.testing.assert_array_equal(stack.y, np.arange(12) * 2.0)
    assert stack.attrs["pixel_spacing"] == [2.0, 2.0]
    with pytest.raises(GeometryError, match=r"no regular volume: .*(slice distance|leans).*to_regular"):
        _ = stack.dicom.affine_lps
    with pytest.raises(GeometryError, match="NIfTI holds regular volumes"):
        to_nifti(stack, tmp_path / "no.nii")
    assert json.loads(json.dumps(stack.attrs)) == stack.attrs


@pytest.mark.parametrize("positions", [LEANING, UNEQUAL, LEANING_UNEQUAL, WITH_A_GAP])
@pytest.mark.parametrize("spacing_mm", [None, 1.5, (0.7, 2.0, 3.0)])
def test_what_is_linear_in_the_patient_stays_exactly_so(
    stacked: Any, positions: Sequence[Sequence[float]], spacing_mm: Any
) -> None:
    stack = stacked(positions)
    volume = stack.dicom.to_regular(spacing_mm)
    assert (volume.dims, volume.attrs["kind"]) == (("z", "y", "x"), "volume")
    assert volume.chunks is not None
    z, y, x = volume.dicom.spacing_mm
    wanted = (np.median(np.diff(stack.distance_mm)), 2.0, 2.0) if spacing_mm is None else spacing_mm
    assert (z, y, x) == pytest.approx(np.broadcast_to(wanted, 3))
    values, expected = volume.to_numpy(), ramp(voxels(volume))
    inside = np.isfinite(values)
    np.testing.assert_allclose(values[inside], expected[inside], atol=1e-3)
    assert inside.mean() > 0.5
    assert inside.all() == (positions in (UNEQUAL, WITH_A_GAP))
    assert volume.attrs["resampled"].startswith(f"linearly from {len(positions)} planes (")
    assert "reason" not in volume.attrs
    assert json.loads(json.dumps(volume.attrs)) == volume.attrs
    with pytest.raises(GeometryError, match="no longer knows its source"):
        _ = volume.dicom.sources


def test_the_geometry_follows_what_was_cut_out_of_the_stack(stacked: Any) -> None:
    cut = stacked(LEANING_UNEQUAL)[1:, ::-2, 3:]
    volume = cut.dicom.to_regular(1.0, fill_value=-5)
    values, expected = volume.to_numpy(), ramp(voxels(volume))
    inside = values != -5
    assert inside.any()
    np.testing.assert_allclose(values[inside], expected[inside], atol=1e-3)
    np.testing.assert_allclose(cut[::-1].dicom.to_regular(1.0, fill_value=-5), values)


def test_a_regular_volume_comes_back_as_it_is_unless_another_spacing_is_asked_for(
    indexed: Any, ct: phantoms.Phantom
) -> None:
    (series,) = indexed(ct.paths[0].parent)
    volume = open_array(series.array)
    assert volume.dicom.to_regular() is volume
    again = volume.dicom.to_regular(volume.dicom.spacing_mm)
    np.testing.assert_allclose(again.dicom.affine_lps, volume.dicom.affine_lps, atol=1e-9)
    np.testing.assert_array_equal(again, volume)
    uneven = volume[[0, 1, 2, 5]]
    np.testing.assert_array_equal(uneven.dicom.positions_lps_mm[:, 2], [30, 32.5, 35, 42.5])
    np.testing.assert_array_equal(uneven.dicom.to_regular()[:3], volume[:3])
    half = volume.dicom.to_regular(1.25)
    assert half.shape[0] == 15


def test_what_cannot_be_resampled_says_why(stacked: Any) -> None:
    stack = stacked(UNEQUAL)
    with pytest.raises(GeometryError, match="2 planes are too few"):
        stack[:2].dicom.to_regular()
    with pytest.raises(GeometryError, match="several planes at one position"):
        stack[[0, 1, 1, 2]].dicom.to_regular()
    with pytest.raises(GeometryError, match="spacing_mm is one number"):
        stack.dicom.to_regular((1.0, 2.0))
    with pytest.raises(GeometryError, match="spacing_mm is one number"):
        stack.dicom.to_regular(-1.0)
    with pytest.raises(GeometryError, match="ask for a larger spacing_mm"):
        stack.dicom.to_regular((3, 0.00105, 3))
    with pytest.raises(GeometryError, match="pick one row of planes"):
        stack.transpose("y", "frame", "x").dicom.to_regular()
    with pytest.raises(GeometryError, match="lost its coordinate y"):
        stack.drop_vars("y").dicom.to_regular()
    with pytest.raises(GeometryError, match="has no place in the patient"):
        stack.drop_vars("x_lps_mm").dicom.to_regular()


def test_a_chunk_reads_the_planes_around_it_alone(stacked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.axes.resampling.SLAB_BYTES", 2 * 12 * 10 * 4)
    read = volumes._Values.__getitem__
    asked: list[Any] = []

    def watched(values: Any, key: Any) -> npt.NDArray[Any]:
        asked.append(key[0])
        return read(values, key)

    monkeypatch.setattr(volumes._Values, "__getitem__", watched)
    volume = stacked(UNEQUAL).dicom.to_regular(1.0)
    assert not asked
    volume[9].compute(scheduler="synchronous")
    assert {(key.start, key.stop) for key in asked} == {(3, 5)}


def test_a_real_tilted_and_unequal_series_becomes_regular(indexed: Any, shared_data: Path) -> None:
    answer = json.loads((shared_data / "answers" / "volumes.json").read_text())[TILTED]
    (series,) = indexed(shared_data / TILTED / "dicom")
    stack = open_array(series.array)
    positions = np.array(answer["slice_positions_lps_mm"])
    np.testing.assert_allclose(stack.dicom.positions_lps_mm, positions, atol=1e-3)
    assert np.diff(stack.distance_mm).min() == pytest.approx(answer["slice_distance_mm_min"], abs=1e-3)
    volume = stack.dicom.to_regular()
    row, column = np.reshape(answer["iop"], (2, 3))
    affine = volume.dicom.affine_lps
    np.testing.assert_allclose(affine[:3, 0] / np.linalg.norm(affine[:3, 0]), row, atol=1e-5)
    np.testing.assert_allclose(affine[:3, 1] / np.linalg.norm(affine[:3, 1]), column, atol=1e-5)
    assert affine[:3, 2] @ row == pytest.approx(0, abs=1e-4)
    assert affine[:3, 2] @ column == pytest.approx(0, abs=1e-4)
    # A pixel of the first plane lies in the first plane of the volume, moved along the columns alone.
    first = stack[0].to_numpy()
    (x, y, z) = volume.dicom.to_index(positions[0])
    assert (x, z) == pytest.approx((0, 0), abs=1e-3)
    assert y > 50
    rows = np.arange(volume.shape[1]) - y
    expected = np.stack([np.interp(rows, np.arange(512), line) for line in first.T], axis=1)
    inside = (rows >= 0) & (rows <= 511)
    np.testing.assert_allclose(volume[0].to_numpy()[inside], expected[inside], atol=0.6)
    assert np.isnan(volume[0].to_numpy()[~inside]).all()


def test_broken_series_stay_stacks_and_two_planes_are_never_a_volume(indexed: Any, shared_data: Path) -> None:
    stacks = [open_array(series.array) for series in indexed(shared_data / "broken" / "series_slicecount")]
    assert [each.attrs["kind"] for each in stacks] == ["stack"]
    with pytest.raises(GeometryError, match="2 planes are too few"):
        stacks[0].dicom.to_regular()


# --- any place -------------------------------------------------------------------------------------------

ANGLES, MM = st.floats(-np.pi, np.pi), st.floats(0.1, 20)


@given(ANGLES, ANGLES, st.tuples(MM, MM), st.lists(MM, min_size=2, max_size=6), st.data())
def test_any_parallel_planes_are_resampled_without_moving_anything(
    a: float, b: float, spacing: tuple[float, float], gaps: list[float], data: st.DataObject
) -> None:
    row = np.array([np.cos(a), np.sin(a), 0])
    column = np.cos(b) * np.array([-np.sin(a), np.cos(a), 0]) + np.sin(b) * np.array([0, 0, 1])
    raster = Raster(4, 5, (*row.tolist(), *column.tolist()), spacing)
    heights = np.concatenate([[0], np.cumsum(gaps)])
    lean = st.floats(-2, 2).map(lambda tangent: tangent if abs(tangent) > 0.1 else 0.0)  # less is rounding
    aside = data.draw(st.tuples(lean, lean))
    positions = (
        np.array([10, 20, 30])
        + np.outer(heights, raster.normal)
        + np.outer(heights * aside[0], row)
        + np.outer(heights * aside[1], column)
    )
    r, c = np.indices((4, 5))
    pixels = r[..., None] * spacing[0] * column + c[..., None] * spacing[1] * row
    values = np.array([ramp(pixels + position) for position in positions])
    wanted = data.draw(st.one_of(st.none(), st.tuples(*[st.floats(2, 20)] * 3)))
    grid = sampling(positions, raster, wanted)
    found = resampled(values, grid, fill_value=np.nan).compute()
    affine = np.array(grid.lattice.affine_lps)
    z, y, x = np.indices(found.shape)
    expected = ramp(np.stack([x, y, z], axis=-1) @ affine[:3, :3].T + affine[:3, 3])
    inside = np.isfinite(found)
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-6, atol=1e-3)
    assert inside[0].any() or wanted is not None  # a coarse grid may step over small planes
