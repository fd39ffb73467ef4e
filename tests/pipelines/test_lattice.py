import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import GeometryError
from pipelines.axes.lattice import LARGEST_PLANES, Raster, lattice, stack


def raster(*distances_mm: float, orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)) -> Raster:
    return Raster(4, 5, orientation, (0.8, 0.7), distances_mm)


def axial(*z: float) -> list[tuple[float, float, float]]:
    return [(-10.0, -20.0, each) for each in z]


def test_planes_that_are_left_out_are_planes_of_the_lattice():
    found = lattice(axial(30, 32.5, 40), raster())
    assert found.planes == (0, 1, 4)
    assert found.shape == (5, 4, 5)
    assert np.allclose(found.affine_lps, [[0.7, 0, 0, -10], [0, 0.8, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])


def test_the_stated_distance_shows_gaps_between_all_planes():
    assert lattice(axial(0, 6, 12), raster(3.0)).planes == (0, 2, 4)


def test_a_stated_distance_that_does_not_fit_is_passed_over():
    assert lattice(axial(0, 5, 10), raster(3.0, 4.0)).planes == (0, 1, 2)


def test_one_plane_takes_its_distance_from_the_header():
    assert lattice(axial(7), raster(2.0)).affine_lps[2] == (0, 0, 2, 7)


@pytest.mark.parametrize(
    ("positions", "distances_mm", "words"),
    [
        (axial(0, 1, 2.5), (), "plane distances from 1.00 to 1.50 mm are no multiples"),
        (axial(7), (), "one plane only"),
        ([(0, 0, 0), (0, 2, 5), (0, 4, 10)], (), "4.00 mm beside the normal"),
        ([], (), "without a plane position"),
        ([(0, 0, 0), ()], (), "without a plane position"),
        (axial(0, float("nan")), (), "no numbers"),
        (axial(0, 1e7), (), "beyond a kilometre"),
        (axial(0, 1, LARGEST_PLANES + 1), (), "20,002 planes"),
    ],
)
def test_what_is_no_lattice_is_told_in_words(positions, distances_mm, words):
    with pytest.raises(GeometryError, match=words):
        lattice(positions, raster(*distances_mm))


@pytest.mark.parametrize(
    ("orientation", "spacing"),
    [
        ((1, 0, 0), (1, 1)),
        ((1, 0, 0, 0, 1, 0), (1,)),
        ((1, 0, 0, 0, 1, 0), (0, 1)),
        ((1, 0, 0, 1, 0, 0), (1, 1)),
        ((2, 0, 0, 0, 1, 0), (1, 1)),
        ((float("nan"),) * 6, (1, 1)),
    ],
)
def test_a_raster_that_is_none_is_refused(orientation, spacing):
    with pytest.raises(GeometryError):
        Raster(4, 5, orientation, spacing)


def test_frames_at_one_position_share_a_plane_of_a_stack():
    found = stack([(0, 0, 5), (0, 0, 1), (0, 0, 5)], "why", 4, 5, raster())
    assert found.planes == (0, 1, 0)
    assert found.positions_lps_mm == ((0, 0, 5), (0, 0, 1))
    assert found.coordinates()["z_lps_mm"][1].tolist() == [5, 1]
    assert found.attributes()["reason"] == "why"
    assert found.attributes()["pixel_spacing"] == [0.8, 0.7]


@st.composite
def placed_planes(draw):
    angles = draw(st.tuples(*[st.floats(-3, 3)] * 3))
    cos, sin = np.cos(angles), np.sin(angles)
    about_z = np.array([[cos[0], -sin[0], 0], [sin[0], cos[0], 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cos[1], -sin[1]], [0, sin[1], cos[1]]])
    turned = about_z @ about_x
    numbers = draw(st.lists(st.integers(0, 60), min_size=2, max_size=12))
    distance = draw(st.floats(0.3, 10))
    origin = np.array(draw(st.tuples(*[st.floats(-300, 300)] * 3)))
    positions = [tuple(origin + turned[:, 2] * distance * each) for each in (0, 1, *numbers)]
    return positions, (*turned[:, 0], *turned[:, 1]), (0, 1, *numbers)


@given(placed_planes())
def test_every_position_lies_where_the_lattice_says(planes):
    positions, orientation, numbers = planes
    found = lattice(positions, raster(orientation=orientation))
    assert found.planes == numbers
    affine = np.array(found.affine_lps)
    there = affine[:3, 3] + np.outer(found.planes, affine[:3, 2])
    assert np.allclose(there, positions, atol=1e-6)
    assert np.linalg.det(affine[:3, :3]) > 0
