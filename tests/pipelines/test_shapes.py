"""Regions grown from a point against SciPy's components in space, and shapes between drawn planes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from pipelines.shapes import fill_between, grow

SHAPE = (6, 7, 8)


@given(
    arrays.arrays(np.int16, SHAPE, elements=st.integers(0, 3)),
    st.tuples(*(st.integers(0, size - 1) for size in SHAPE)),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_a_region_is_what_hangs_together_with_its_seed_in_space(
    values: Any, seed: tuple[int, int, int], low: int, high: int
) -> None:
    pieces, _ = ndimage.label((values >= low) & (values <= high))
    wanted = (pieces == pieces[seed]) & (pieces > 0)
    found = np.zeros(SHAPE, np.bool_)
    for at, shape in grow(values.__getitem__, len(values), seed, low, high).items():
        found[at] = shape
    assert np.array_equal(found, wanted)


def test_a_region_reads_only_the_planes_it_comes_to_each_once() -> None:
    values = np.zeros((1000, 16, 16), np.float32)
    values[480:520, 4:9, 4:9] = 5
    read: list[int] = []

    def plane(at: int) -> Any:
        read.append(at)
        return values[at]

    region = grow(plane, len(values), (500, 6, 6), 4, 6)
    assert sorted(region) == list(range(480, 520))
    assert sorted(read) == list(range(479, 521))


def test_what_is_no_number_belongs_to_no_region() -> None:
    values = np.full((1, 4, 4), np.nan)
    assert grow(values.__getitem__, 1, (0, 1, 1), -np.inf, np.inf) == {}


def ball(radius_mm: float, z: float, spacing: tuple[float, float], center: tuple[float, float]) -> Any:
    rows, columns = np.mgrid[0:120, 0:150]
    square = ((rows - center[0]) * spacing[0]) ** 2 + ((columns - center[1]) * spacing[1]) ** 2
    return square <= radius_mm**2 - z**2


def test_between_planes_of_a_cone_lie_its_own_sections() -> None:
    spacing = (0.8, 0.6)
    positions = [0.0, 1.0, 2.5, 4.0, 6.0, 9.0, 10.0]  # not one as far as the next
    cone = [ball(5 + 2 * z, 0, spacing, (60, 75)) for z in positions]
    found = fill_between({0: cone[0], 6: cone[6]}, positions, spacing)
    assert sorted(found) == [1, 2, 3, 4, 5]
    for at, shape in found.items():
        assert abs(int(shape.sum()) - int(cone[at].sum())) < 0.03 * cone[at].sum()
        assert (shape ^ cone[at]).sum() < 0.05 * cone[at].sum()


def test_every_fourth_plane_of_a_ball_gives_back_the_ball() -> None:
    spacing, positions = (0.8, 0.6), [z * 1.0 for z in range(-24, 25)]
    planes = [ball(25, z, spacing, (60, 75)) for z in positions]
    drawn = {at: planes[at] for at in range(0, 49, 4)}
    found = drawn | fill_between(drawn, positions, spacing)
    ours, whole = np.stack([found[at] for at in range(49)]), np.stack(planes)
    dice = 2 * (ours & whole).sum() / (ours.sum() + whole.sum())
    assert dice > 0.98


def test_a_shape_that_moves_beside_itself_is_on_the_way_in_between() -> None:
    one = np.zeros((40, 80), np.bool_)
    one[10:20, 5:15] = True
    found = fill_between({0: one, 4: np.roll(one, 40, axis=1)}, range(5), (1, 1))
    for at in (1, 2, 3):
        assert np.array_equal(found[at], np.roll(one, 10 * at, axis=1))


@pytest.mark.parametrize("drawn", [{}, {3: True}, {3: True, 4: True}, {3: True, 7: False}])
def test_where_there_is_nothing_between_nothing_is_filled(drawn: dict[int, bool]) -> None:
    shapes = {at: np.full((4, 4), is_there) for at, is_there in drawn.items()}
    assert fill_between(shapes, range(10), (1, 1)) == {}
