"""Windows that a viewer offers: VOI LUTs, sigmoids and exact windows show what a header wants."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence

from pipelines.presentation.colour import shown
from pipelines.presentation.scene import scene_of
from pipelines.presentation.windows import (
    Window,
    exact,
    header_windows,
    linear,
    preset_windows,
    windows_of_values,
)


def header(**attributes: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def table(first: int, shades: list[int], bits: int = 12, **attributes: Any) -> Dataset:
    item = header(LUTDescriptor=[len(shades), first, bits], **attributes)
    item.add_new("LUTData", "US", shades)
    return item


def drawn(window: Window, values: Any) -> Any:
    """What a viewer draws, 0 to 255: linear between the points of a curve."""
    low, high = window.center - window.width / 2, window.center + window.width / 2 - 1
    curve = window.curve or (0.0, 1.0)
    return 255 * np.interp(values, np.linspace(low, high, len(curve)), curve)


@given(st.integers(-2000, 2000), st.lists(st.integers(0, 4095), min_size=2, max_size=200).map(sorted))
def test_a_voi_lut_is_drawn_as_it_is_printed(first: int, shades: list[int]) -> None:
    ds = header(VOILUTSequence=Sequence([table(first, shades, LUTExplanation="CONTRAST")]))
    (window,) = header_windows(ds)
    assert window.name == "CONTRAST"
    assert (window.center - window.width / 2, window.width) == (first, len(shades))
    ends = np.array([first - 50, first, first + len(shades) - 1, first + 999])
    assert np.abs(drawn(window, ends) - shown(ends, ds)).max() <= 1


@pytest.mark.parametrize(
    ("function", "center", "width"),
    [("SIGMOID", 40, 400), ("SIGMOID", -600.5, 3), ("LINEAR_EXACT", 0.5, 0.25), ("LINEAR", 40, 400)],
)
def test_a_function_of_the_header_is_drawn_as_the_standard_has_it(
    function: str, center: float, width: float
) -> None:
    ds = header(WindowCenter=center, WindowWidth=width, VOILUTFunction=function)
    (window,) = header_windows(ds)
    values = np.linspace(center - 3 * width, center + 3 * width, 1001)
    assert np.abs(drawn(window, values) - shown(values, ds)).max() <= 1.5


def test_tables_go_before_windows_and_what_cannot_be_applied_is_left_out() -> None:
    tables = [table(0, [0, 4095]), table(0, [0, 1], bits=33), header(LUTExplanation="empty")]
    ds = header(VOILUTSequence=Sequence(tables), WindowCenter=[40, 50, 60], WindowWidth=[400, 0, 80])
    ds.WindowCenterWidthExplanation = ["soft"]
    assert [each.name for each in header_windows(ds)] == ["VOI LUT 1", "soft", "header 3"]
    assert header_windows(header(WindowCenter=1, WindowWidth=9, VOILUTFunction="CUBIC")) == [
        Window(1, 9, "header 1")
    ]


def test_windows_of_pet_are_those_of_suv_and_of_unknown_values_those_of_what_is_there() -> None:
    assert preset_windows("PT", "g/ml{SUVbw}")
    assert not preset_windows("PT", "Bq/ml")
    low, whole = windows_of_values(np.arange(101.0))
    assert (low.center, low.width) == (50.5, 99)  # from 1 to 99, by PS3.3 C.11.2.1.2.1
    assert (whole.center, whole.width) == (50.5, 101)


def test_of_fractions_a_window_ends_where_it_is_said_to() -> None:
    assert exact(Window(40, 400, "soft")) == Window(39.5, 399, "soft")
    assert linear(39.5, 399) == (40, 400)
    suv = xr.DataArray(
        np.linspace(0, 8, 64, dtype=np.float32).reshape(1, 8, 8),
        dims=("z", "y", "x"),
        attrs={"modality": "PT", "units": "g/ml{SUVbw}"},
    )
    first = scene_of(suv).windows[0]
    assert (first.center - first.width / 2, first.center + first.width / 2, first.name) == (0, 5, "0 to 5")
    (small,) = (
        each for each in scene_of(suv.drop_attrs() / 1000).windows if each.name.startswith("full range")
    )
    assert (small.center, small.width) == pytest.approx((0.004, 0.008))
