"""Values over time inside a mark, against NumPy on arrays whose answer is known."""

import numpy as np
import pytest
import xarray as xr

from pipelines import curves
from pipelines.curves import columns_of, curves_of
from pipelines.marks import Mark
from pipelines.presentation.scene import scene_of

RECTANGLE = ((2.0, 1.0, 0.0), (5.0, 1.0, 0.0), (2.0, 4.0, 0.0), (5.0, 4.0, 0.0))
"""Two corners along each edge, in (column, row, plane): images without a place in a patient."""


def dynamic(*, units: str = "s") -> xr.DataArray:
    rng = np.random.default_rng(7)
    values = rng.normal(100, 20, (6, 3, 8, 9)).astype(np.float32)
    seconds = xr.Variable("time", [0.0, 1.5, 3.0, 7.0, 9.0, 12.0], {"units": units})
    return xr.DataArray(values, dims=("time", "z", "y", "x"), coords={"time": seconds})


@pytest.mark.parametrize("block", [1, 30, curves.BLOCK])
def test_the_mean_inside_an_outline_is_that_of_numpy_at_every_time(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(curves, "BLOCK", block)
    array = dynamic()
    mark = Mark("rectangle", RECTANGLE, index=(2, 1), text="liver")
    (curve,) = curves_of([mark], array, scene_of(array))
    inside = array.isel(z=1).values[:, 1:4, 2:5]
    assert curve.means == pytest.approx(inside.mean(axis=(1, 2), dtype=np.float64))
    assert curve.seconds == (0.0, 1.5, 3.0, 7.0, 9.0, 12.0)
    assert (curve.name, curve.unit) == ("liver", "s")


def test_a_probe_is_its_pixel_and_what_encloses_nothing_has_no_curve() -> None:
    array = dynamic()
    probe = Mark("probe", ((3.2, 2.4, 0.0),), index=(0, 2))
    line = Mark("length", RECTANGLE[:2], index=(0, 2))
    section = Mark("rectangle", RECTANGLE)
    beside = Mark("probe", ((30.0, 2.0, 0.0),), index=(0, 2))
    (curve,) = curves_of([probe, line, section, beside], array, scene_of(array))
    assert curve.means == pytest.approx(array.isel(z=2, y=2, x=3).values)


def test_values_that_are_not_finite_are_passed_over() -> None:
    array = dynamic()
    array[0, 1, 1, 2] = np.nan
    array[1, 1] = np.nan
    (curve,) = curves_of([Mark("rectangle", RECTANGLE, index=(0, 1))], array, scene_of(array))
    assert curve.means[0] == pytest.approx(np.nanmean(array.isel(z=1, time=0).values[1:4, 2:5]))
    assert curve.means[1] is None


def test_an_array_without_time_has_none() -> None:
    array = dynamic().isel(time=0)
    assert curves_of([Mark("rectangle", RECTANGLE, index=(1,))], array, scene_of(array)) == []


def test_names_that_come_again_get_numbers() -> None:
    array = dynamic()
    marks = [Mark("rectangle", RECTANGLE, index=(0, each)) for each in range(3)]
    assert list(columns_of(curves_of(marks, array, scene_of(array)))) == [
        "rectangle",
        "rectangle (2)",
        "rectangle (3)",
    ]
