import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines import measure


def values_of(rows: list[dict]) -> dict:
    return {row["name"]: row["value"] for row in rows}


def test_a_voxel_s_volume_is_the_product_of_its_edges():
    assert measure.voxel_volume_mm3(np.diag([0.7, 0.8, 2.5, 1.0])) == pytest.approx(1.4)


def test_a_mirrored_grid_has_a_positive_volume():
    assert measure.voxel_volume_mm3(np.diag([-0.7, 0.8, 2.5, 1.0])) == pytest.approx(1.4)


def test_a_tilted_gantry_s_voxel_is_base_times_height():
    sheared = np.diag([1.0, 1.0, 2.0, 1.0])
    sheared[1, 2] = 0.6  # planes slide along the rows' axis: the height between them stays 2 mm
    assert measure.voxel_volume_mm3(sheared) == pytest.approx(2.0)


def test_a_mask_s_volume_is_voxel_count_times_voxel_volume():
    mask = np.zeros((4, 5, 6), bool)
    mask[1:3, 2:4, 1:4] = True
    moments = measure.moments_by_label([(np.zeros(mask.shape), mask)])[1]
    rows = measure.rows(moments, unit="HU", affine_lps=np.diag([0.5, 0.5, 4.0, 1.0]))
    assert {row["name"]: row["value"] for row in rows}["volume"] == 12.0


def test_known_values_give_known_moments():
    moments = measure.Moments.of(np.array([2, 4, 4, 4, 5, 5, 7, 9], np.int16))
    assert (moments.mean, moments.standard_deviation) == (5.0, 2.0)
    assert (moments.minimum, moments.maximum, moments.count) == (2.0, 9.0, 8)


def test_values_that_are_no_number_count_as_voxels_and_in_no_statistic():
    moments = measure.Moments.of(np.array([1.0, math.nan, 3.0]))
    assert (moments.count, moments.finite, moments.mean) == (3, 2, 2.0)
    assert [row["name"] for row in measure.rows(measure.Moments(), unit="HU", affine_lps=None)] == ["voxels"]


@given(
    arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(-2000, 3000, width=32)),
    st.integers(0, 40),
)
def test_moments_of_parts_add_up_to_those_of_the_whole(values, cut):
    whole = measure.Moments.of(values)
    summed = measure.Moments.of(values[:cut]) + measure.Moments.of(values[cut:])
    assert summed.count == whole.count
    assert summed.mean == pytest.approx(whole.mean, abs=1e-6)
    assert summed.squares == pytest.approx(whole.squares, rel=1e-6, abs=1e-3)
    assert (summed.minimum, summed.maximum) == (whole.minimum, whole.maximum)


def test_each_label_has_its_own_moments_across_blocks():
    values = np.array([[1.0, 10.0], [3.0, 30.0]])
    labels = np.array([[1, 7], [1, 7]], np.uint8)
    moments = measure.moments_by_label(zip(values, labels, strict=True))
    assert {label: each.mean for label, each in moments.items()} == {1: 2.0, 7: 20.0}


def test_background_has_no_moments():
    assert measure.moments_by_label([(np.ones((2, 2)), np.zeros((2, 2), bool))]) == {}


def test_rows_carry_units_and_leave_the_volume_out_where_there_is_no_geometry():
    moments = measure.Moments.of(np.array([10.0, 20.0]))
    rows = measure.rows(moments, unit="HU", affine_lps=np.diag([1.0, 1.0, 3.0, 1.0]))
    assert values_of(rows)["volume"] == 6.0
    assert {row["name"]: row["unit"] for row in rows}["mean"] == "HU"
    assert "volume" not in values_of(measure.rows(moments, unit="HU", affine_lps=None))
