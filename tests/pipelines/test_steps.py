import dask
import numpy as np
import pytest
import xarray as xr

from pipelines.steps.statistics import statistics
from pipelines.steps.threshold import threshold


@pytest.fixture
def volume() -> xr.DataArray:
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    return xr.DataArray(
        values, dims=("z", "y", "x"), coords={"sop_instance_uid": ("z", ["1.1", "1.2"])},
        attrs={"units": "HU", "affine_lps": np.diag([0.5, 0.5, 2.0, 1.0]).tolist()}, name="ct",
    )  # fmt: skip


def refuse(*_arguments, **_keywords):
    raise AssertionError("something was computed")


def test_threshold_is_strict_on_both_sides(volume):
    mask = threshold(volume, above=3, below=6)
    assert np.flatnonzero(mask).tolist() == [4, 5]
    assert threshold(volume, above=21).sum() == 2


def test_threshold_keeps_the_geometry_and_names_the_mask(volume):
    mask = threshold(volume, above=0)
    assert (mask.name, mask.dtype, mask.attrs) == ("mask", bool, volume.attrs)
    assert mask["sop_instance_uid"].values.tolist() == ["1.1", "1.2"]


def test_threshold_computes_nothing(volume):
    with dask.config.set(scheduler=refuse):
        mask = threshold(volume.chunk(z=1), above=0)
    assert mask.chunks is not None
    assert mask.sum() == 23


def test_a_voxel_without_a_value_is_in_no_mask(volume):
    volume[0, 0, 0] = np.nan
    assert not threshold(volume, above=-1)[0, 0, 0]


@pytest.mark.parametrize("chunked", [False, True])
def test_statistics_are_those_of_all_voxels(volume, chunked):
    rows = {row["name"]: row for row in statistics(volume.chunk(z=1, y=2) if chunked else volume)}
    assert rows["voxels"]["value"] == 24
    assert rows["volume"] == {"name": "volume", "value": 12.0, "unit": "mm3"}
    assert rows["mean"] == {"name": "mean", "value": pytest.approx(11.5), "unit": "HU"}
    assert rows["standard deviation"]["value"] == pytest.approx(np.arange(24).std())
    assert (rows["minimum"]["value"], rows["maximum"]["value"]) == (0, 23)


def test_statistics_above_a_value_leave_the_others_out(volume):
    rows = {row["name"]: row["value"] for row in statistics(volume, above=21)}
    assert (rows["voxels"], rows["mean"], rows["volume"]) == (2, 22.5, 1.0)
