"""A coarse picture of a plane has few of its values, each where it lies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import QuestionError
from workbench.server.coarse import STEPS, coarse, step_of


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(STEPS), st.sampled_from(["u1", "<i2", "<f4"]))
def test_each_pixel_is_the_value_in_the_middle_of_those_it_stands_for(
    rows: int, columns: int, step: int, dtype: str
) -> None:
    plane = np.arange(rows * columns).reshape(rows, columns).astype(dtype)
    picture = coarse(plane, step)
    assert picture.shape == (-(-rows // step), -(-columns // step))
    assert picture.dtype == plane.dtype
    for (row, column), value in np.ndenumerate(picture):
        at = min(row * step + step // 2, rows - 1), min(column * step + step // 2, columns - 1)
        assert value == plane[at]
        assert row * step <= at[0] < (row + 1) * step
        assert column * step <= at[1] < (column + 1) * step


def test_colours_stay_together() -> None:
    plane = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    assert np.array_equal(coarse(plane, 4), plane[[[2], [5]], [2]])


def test_what_is_not_said_is_the_plane_itself() -> None:
    assert step_of("") == 1
    assert [step_of(str(each)) for each in STEPS] == list(STEPS)


@pytest.mark.parametrize("said", ["0", "1", "3", "-2", "64", "02", "2.0", "x", " 2", "٢"])
def test_another_step_is_refused(said: str) -> None:
    with pytest.raises(QuestionError, match="one of 2, 4, 8, 16, 32"):
        step_of(said)
