"""Geometry and splitting hold for every order of the input and every place in the patient."""

from random import Random

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from catalog.records import InstanceRecord
from pipelines.axes.split import split
from pipelines.geometry import find_fault, grid

ANGLES = st.floats(-np.pi, np.pi)
DISTANCES = st.floats(0.05, 50)
COORDINATES = st.floats(-2000, 2000)


def rotation(a: float, b: float, c: float) -> npt.NDArray[np.float64]:
    """Turn about z, then y, then x."""
    turns = []
    for axis, angle in ((2, a), (1, b), (0, c)):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[one, one] = turn[other, other] = np.cos(angle)
        turn[other, one], turn[one, other] = np.sin(angle), -np.sin(angle)
        turns.append(turn)
    return turns[2] @ turns[1] @ turns[0]


@st.composite
def stacks(draw: st.DrawFn) -> tuple[list[InstanceRecord], npt.NDArray[np.float64]]:
    """A regular stack in order along its normal, and its affine."""
    turned = rotation(draw(ANGLES), draw(ANGLES), draw(ANGLES))
    between_columns, between_rows, distance = (draw(DISTANCES) for _ in range(3))
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.diag([between_columns, between_rows, distance])
    affine[:3, 3] = [draw(COORDINATES) for _ in range(3)]
    planes = [
        InstanceRecord(
            sop_instance_uid=f"1.2.{index + 1}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
            series_instance_uid="1.2.3",
            study_instance_uid="1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            path="",
            header_digest="",
            pixel_data=None,
            instance_number=index + 1,
            rows=4,
            columns=6,
            image_position_patient=tuple((affine @ [0, 0, index, 1])[:3].tolist()),
            image_orientation_patient=tuple(turned[:, :2].T.ravel().tolist()),
            pixel_spacing=(between_rows, between_columns),
        )
        for index in range(draw(st.integers(3, 12)))
    ]
    return planes, affine


@given(stacks(), st.randoms(use_true_random=False))
def test_any_order_of_a_regular_stack_gives_its_affine(
    stack: tuple[list[InstanceRecord], npt.NDArray[np.float64]], random: Random
) -> None:
    planes, affine = stack
    shuffled = list(planes)
    random.shuffle(shuffled)
    found = grid(shuffled)
    assert [shuffled[index] for index in found.order] == planes
    np.testing.assert_allclose(found.affine_lps, affine, atol=1e-6)


@given(stacks(), st.data())
def test_a_stack_without_an_inner_plane_is_never_a_volume(
    stack: tuple[list[InstanceRecord], npt.NDArray[np.float64]], data: st.DataObject
) -> None:
    planes, _ = stack
    del planes[data.draw(st.integers(1, len(planes) - 2))]
    assert find_fault(planes) is not None


@st.composite
def series(draw: st.DrawFn) -> list[InstanceRecord]:
    """Any mixture of sizes, places, times and instance numbers, with whatever is missing."""

    def maybe(strategy: st.SearchStrategy[object]) -> object:
        return draw(st.one_of(st.none(), strategy))

    orientations = st.sampled_from([(1.0, 0, 0, 0, 1, 0), (0.0, 1, 0, 0, 0, -1), (1.0, 0, 0, 1, 0, 0)])
    heights = st.sampled_from([0.0, 1.0, 2.0, 3.0, 5.0])
    return [
        InstanceRecord(
            sop_instance_uid=f"1.2.{index + 1}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
            series_instance_uid="1.2.3",
            study_instance_uid="1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            path="",
            header_digest="",
            pixel_data=None,
            instance_number=maybe(st.integers(0, 20)),  # type: ignore[arg-type]
            rows=draw(st.sampled_from([4, 8])),
            columns=6,
            number_of_frames=maybe(st.sampled_from([1, 5])),  # type: ignore[arg-type]
            image_position_patient=maybe(st.tuples(st.just(0.0), st.just(0.0), heights)),  # type: ignore[arg-type]
            image_orientation_patient=maybe(orientations),  # type: ignore[arg-type]
            pixel_spacing=(0.5, 0.25),
            acquisition_number=maybe(st.integers(1, 3)),  # type: ignore[arg-type]
            echo_time=maybe(st.sampled_from([10.0, 20.0])),  # type: ignore[arg-type]
            temporal_position_identifier=maybe(st.integers(1, 3)),  # type: ignore[arg-type]
            diffusion_b_value=maybe(st.sampled_from([0.0, 1000.0])),  # type: ignore[arg-type]
            diffusion_gradient_orientation=maybe(st.sampled_from([(1.0, 0, 0), (0.0, 1, 0)])),  # type: ignore[arg-type]
            trigger_time=maybe(st.sampled_from([0.0, 40.0])),  # type: ignore[arg-type]
            nominal_interval=maybe(st.just(900.0)),  # type: ignore[arg-type]
            in_concatenation_number=maybe(st.integers(1, 2)),  # type: ignore[arg-type]
            obstacle=draw(st.sampled_from(["", "", "", "part 2 of 3 of its concatenation is missing"])),
        )
        for index in range(draw(st.integers(0, 16)))
    ]


@given(series(), st.randoms(use_true_random=False))
def test_parts_do_not_depend_on_the_order_of_the_input(images: list[InstanceRecord], random: Random) -> None:
    parts = split(images)
    shuffled = list(images)
    random.shuffle(shuffled)
    assert split(shuffled) == parts


@given(series())
def test_every_image_is_in_one_part_and_every_part_says_what_it_is(images: list[InstanceRecord]) -> None:
    parts = split(images)
    uids = [each.sop_instance_uid for part in parts for each in part.instances]
    assert sorted(uids) == sorted(each.sop_instance_uid for each in images)
    assert all((part.grid is None) == bool(part.reason) for part in parts)
    if len(parts) > 1:
        assert len({part.label for part in parts}) == len(parts)
    for part in parts:
        if part.grid is not None:
            assert part.grid.order == tuple(range(len(part.instances)))
            assert len({each.image_position_patient for each in part.instances}) == len(part.instances)
