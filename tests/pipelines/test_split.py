"""How one series falls into parts."""

from dataclasses import replace

import pytest

from catalog.records import InstanceRecord
from pipelines.axes.repeats import Axis
from pipelines.axes.split import Part, split

AXIAL, SAGITTAL, CORONAL = (1.0, 0, 0, 0, 1, 0), (0.0, 1, 0, 0, 0, -1), (1.0, 0, 0, 0, 0, -1)


def image(number: int, z: float = 0.0, **changes: object) -> InstanceRecord:
    record = InstanceRecord(
        sop_instance_uid=f"1.2.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        series_instance_uid="1.2.3",
        study_instance_uid="1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        path="",
        header_digest="",
        pixel_data=None,
        instance_number=number,
        rows=4,
        columns=6,
        bits_stored=12,
        photometric_interpretation="MONOCHROME2",
        image_position_patient=(0.0, 0.0, z),
        image_orientation_patient=AXIAL,
        pixel_spacing=(0.5, 0.25),
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def shape(parts: tuple[Part, ...]) -> list[tuple[str, int]]:
    return [("volume" if part.grid else "stack", len(part.instances)) for part in parts]


def test_a_plain_series_is_one_volume_without_a_label() -> None:
    (part,) = split([image(number, z=number) for number in (3, 1, 2)])
    assert part.grid is not None
    assert [each.instance_number for each in part.instances] == [1, 2, 3]
    assert (part.label, part.reason) == ("", "")


def test_no_images_have_no_parts() -> None:
    assert split([]) == ()


def test_a_localizer_in_three_orientations_is_set_apart_from_the_volume() -> None:
    scouts = [
        image(number, image_orientation_patient=orientation, rows=8)
        for number, orientation in ((1, AXIAL), (2, SAGITTAL), (3, CORONAL))
    ]
    parts = split([*scouts, *(image(10 + index, z=index) for index in range(5))])
    assert shape(parts) == [("volume", 5), ("stack", 1), ("stack", 1), ("stack", 1)]
    assert [part.label for part in parts] == [
        "axial, 4 rows x 6 columns",
        "axial, 8 rows x 6 columns",
        "sagittal, 8 rows x 6 columns",
        "coronal, 8 rows x 6 columns",
    ]
    assert {part.reason for part in parts[1:]} == {"one plane only"}


@pytest.mark.parametrize(
    ("attribute", "values", "axis"),
    [
        ("temporal_position_identifier", (1, 2), Axis("temporal_position", "", (1.0, 2.0))),
        ("acquisition_number", (7, 9), Axis("temporal_position", "", (1.0, 2.0))),
        ("acquisition_time", ("101500.1", "101502"), Axis("time", "s", (0.0, 1.9))),
        ("content_time", ("101500", "101502"), Axis("time", "s", (0.0, 2.0))),
        ("trigger_time", (0.0, 45.5), Axis("time", "s", (0.0, 0.0455))),
        ("echo_time", (2.5, 30.0), Axis("echo_time", "ms", (2.5, 30.0))),
        ("diffusion_b_value", (0.0, 1000.0), Axis("b_value", "s/mm2", (0.0, 1000.0))),
        ("kvp", (80.0, 140.0), Axis("kvp", "kV", (80.0, 140.0))),
    ],
)
def test_repeated_positions_become_an_axis_named_for_what_varies(
    attribute: str, values: tuple[object, object], axis: Axis
) -> None:
    images = [
        image(1 + index * 4 + place, z=place, **{attribute: value})
        for index, value in enumerate(values)
        for place in range(4)
    ]
    (part,) = split(images)
    assert (part.reason, part.label, part.axes) == ("", "", (axis,))
    found = [getattr(each, attribute) for each in part.instances]
    assert sorted([found[:4], found[4:]], key=str) == sorted([[value] * 4 for value in values], key=str)


SCAN = {
    "acquisition_time": "101500", "acquisition_number": 1, "repetition_time": 2500.0,
    "number_of_temporal_positions": 3, "acquisition_duration": 7.5,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"acquisition_duration": 15.0},
        {"acquisition_duration": None},
        {"number_of_temporal_positions": 4, "acquisition_duration": 10.0},
        {"repetition_time": None},
        {"repetition_time": 0.0, "acquisition_duration": 0.0},
    ],
)
def test_repetitions_are_seconds_only_where_they_took_as_long_as_the_acquisition(
    changes: dict[str, object],
) -> None:
    def scan(**more: object) -> list[InstanceRecord]:
        return [image(1 + 4 * time + z, z=z, **(SCAN | more)) for time in range(3) for z in range(4)]

    (sure,), (unsure,) = split(scan()), split(scan(**changes))
    assert sure.axes == (Axis("time", "s", (0.0, 2.5, 5.0), "Repetition Time (0018,0080)"),)
    assert unsure.axes == (Axis("temporal_position", "", (1.0, 2.0, 3.0)),)


def test_images_of_several_types_stay_apart() -> None:
    images = [
        image(1 + index * 4 + place, z=place, image_type=kind)
        for index, kind in enumerate(("ORIGINAL\\M", "ORIGINAL\\P"))
        for place in range(4)
    ]
    parts = split(images)
    assert shape(parts) == [("volume", 4)] * 2
    assert [part.label for part in parts] == ["type ORIGINAL/M", "type ORIGINAL/P"]


def test_echoes_within_time_points_give_two_axes() -> None:
    images = [
        image(number, z=place, echo_time=echo, temporal_position_identifier=time)
        for number, (time, echo, place) in enumerate(
            ((time, echo, place) for time in (1, 2, 3) for place in range(4) for echo in (10.0, 20.0)),
            start=1,
        )
    ]
    (part,) = split(images)
    assert part.axes == (
        Axis("echo_time", "ms", (10.0, 20.0)),
        Axis("temporal_position", "", (1.0, 2.0, 3.0)),
    )
    assert [(each.echo_time, each.temporal_position_identifier) for each in part.instances[::4]] == [
        (echo, time) for echo in (10.0, 20.0) for time in (1, 2, 3)
    ]


def test_a_diffusion_scan_has_its_b_values_and_directions_beside_each_volume() -> None:
    gradients = [(0.0, None), (1000.0, (1.0, 0.0, 0.0)), (1000.0, (0.0, 1.0, 0.0))]
    images = [
        image(
            1 + 4 * time + place,
            z=place,
            diffusion_b_value=b_value,
            diffusion_gradient_orientation=direction,
            acquisition_number=time,
        )
        for time, (b_value, direction) in enumerate(gradients)
        for place in range(4)
    ]
    (part,) = split(images)
    assert part.axes == (Axis("b_value", "s/mm2", (0.0, 1000.0, 1000.0)),)
    (along,) = part.along
    assert (along.name, along.values[1:]) == ("gradient_direction", ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    assert all(number != number for number in along.values[0])


@pytest.mark.parametrize("plane_by_plane", [False, True])
def test_instance_numbers_separate_where_nothing_else_does(plane_by_plane: bool) -> None:
    order = [(time, place) for time in range(3) for place in range(4)]
    if plane_by_plane:
        order.sort(key=lambda pair: pair[::-1])
    images = [image(number, z=place) for number, (_, place) in enumerate(order, start=1)]
    (part,) = split(images)
    assert part.axes == (Axis("temporal_position", "", (1.0, 2.0, 3.0)),)
    assert [order[(each.instance_number or 0) - 1] for each in part.instances] == [
        (time, place) for time in range(3) for place in range(4)
    ]


def test_a_scan_that_was_stopped_keeps_its_whole_volumes() -> None:
    images = [image(1 + time * 5 + place, z=place) for time in range(3) for place in range(5)][:-3]
    parts = split(images)
    assert shape(parts) == [("volume", 10), ("stack", 2)]
    assert len(parts[0].axes[0].values) == 2
    timed = [
        replace(each, temporal_position_identifier=(each.instance_number or 0) // 6 + 1) for each in images
    ]
    assert [len(part.instances) for part in split(timed)][-1] == 2


def test_a_lost_plane_never_moves_images_into_another_time_point() -> None:
    images = [image(1 + place * 3 + time, z=place) for place in range(5) for time in range(3)]
    del images[4]
    (part,) = split(images)
    assert part.grid is None
    assert part.reason == (
        "14 images at 5 positions, and nothing that sets their order; "
        "at one position lie instance 1 (1.2.1), instance 2 (1.2.2), instance 3 (1.2.3)"
    )


@pytest.mark.parametrize("number", [0, 5, 20])
def test_a_copy_of_one_plane_is_set_apart_from_the_volume(number: int) -> None:
    images = [image(each, z=each, acquisition_time="101500") for each in range(1, 11)]
    copy = replace(images[4], sop_instance_uid="1.2.99", instance_number=number)
    parts = split([copy, *images])
    assert shape(parts) == [("volume", 10), ("stack", 1)]
    surplus = images[4] if number == 0 else copy
    assert parts[1].instances == (surplus,)
    assert split([*images[::-1], copy]) == parts


def test_copies_within_a_series_over_time_leave_it_whole() -> None:
    images = [
        image(1 + time * 5 + z, z=z, acquisition_time=f"10150{time}") for time in range(3) for z in range(5)
    ]
    parts = split([*images, replace(images[7], sop_instance_uid="1.2.99")])
    assert shape(parts) == [("volume", 15), ("stack", 1)]
    assert parts[0].axes == (Axis("time", "s", (0.0, 1.0, 2.0)),)
    assert (parts[1].label, parts[1].reason) == (
        "copies",
        "second images of planes that the volume has already: instance 8 (1.2.99)",
    )


def test_images_that_may_be_a_second_acquisition_are_no_copies() -> None:
    images = [image(1 + z, z=z) for z in range(4)]
    others = [replace(each, sop_instance_uid=f"{each.sop_instance_uid}.1") for each in images[:2]]
    (part,) = split([*images, *others])
    assert part.reason.startswith("6 images at 4 positions, and nothing that sets their order; at one")
    unlike = replace(images[1], sop_instance_uid="1.2.99", instance_number=2, content_time="101500")
    assert [each.grid is not None for each in split([*images, unlike])] == [True, False]


@pytest.mark.parametrize(
    ("attribute", "values", "axis"),
    [
        ("trigger_time", (98.0, 97.0, 96.0), Axis("time", "s", (0.0, 0.001, 0.002))),
        ("acquisition_time", ("101502", "101500", "101501"), Axis("time", "s", (0.0, 1.0, 2.0))),
        ("inversion_time", (50.0, 900.0, 150.0), Axis("inversion_time", "ms", (50.0, 150.0, 900.0))),
        ("echo_time", (30.0, 20.0, 10.0), Axis("echo_time", "ms", (10.0, 20.0, 30.0))),
        ("diffusion_b_value", (1000.0, 0.0, 500.0), Axis("b_value", "s/mm2", (0.0, 500.0, 1000.0))),
        ("instance_number", (3, 1, 2), Axis("temporal_position", "", (1.0, 2.0, 3.0))),
    ],
)
def test_many_images_of_one_plane_have_an_axis_named_for_what_varies(
    attribute: str, values: tuple[object, ...], axis: Axis
) -> None:
    (part,) = split([image(number, **{attribute: value}) for number, value in enumerate(values, 1)])
    assert (part.grid, part.reason) == (None, "one plane only, 3 images of it")
    assert part.axes == (axis,)
    assert [getattr(each, attribute) for each in part.instances] == sorted(values)  # type: ignore[type-var]


def test_phases_of_the_heart_at_one_plane_are_phases() -> None:
    images = [image(n, trigger_time=40.0 * n, nominal_interval=900.0) for n in (3, 1, 2)]
    (part,) = split(images)
    assert part.axes == (Axis("phase", "ms", (40.0, 80.0, 120.0)),)


def test_two_planes_that_repeat_are_two_parts_with_axes() -> None:
    images = [
        image(1 + echo * 2 + place, z=place, echo_time=10.0 * (echo + 1))
        for echo in range(8)
        for place in (0, 1)
    ]
    parts = split(images)
    assert [part.label for part in parts] == ["plane 1 of 2", "plane 2 of 2"]
    for z, part in enumerate(parts):
        assert part.axes == (Axis("echo_time", "ms", tuple(10.0 * (echo + 1) for echo in range(8))),)
        assert {each.image_position_patient for each in part.instances} == {(0.0, 0.0, float(z))}


def test_images_of_one_plane_that_nothing_tells_apart_have_no_axis() -> None:
    (part,) = split([image(number, instance_number=1) for number in (2, 1)])
    assert (part.axes, part.reason) == ((), "one plane only, 2 images of it")
    assert [each.sop_instance_uid for each in part.instances] == ["1.2.1", "1.2.2"]


def test_images_of_one_plane_of_two_types_stay_apart() -> None:
    images = [image(n, image_type="ORIGINAL\\" + "MP"[n % 2], echo_time=float(n // 2)) for n in range(6)]
    parts = split(images)
    assert [part.label for part in parts] == ["type ORIGINAL/M", "type ORIGINAL/P"]
    assert [part.axes[0].name for part in parts] == ["echo_time"] * 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_type": "ORIGINAL\\PRIMARY\\M\\MOSAIC"}, "mosaic: several planes tiled in one image"),
        ({"samples_per_pixel": 3, "photometric_interpretation": "RGB"}, "colour images"),
        ({"photometric_interpretation": "PALETTE COLOR"}, "colour images"),
        ({"image_position_patient": None}, "no usable position, orientation or pixel spacing in the patient"),
    ],
)
def test_images_that_are_no_planes_become_a_stack_with_the_reason(
    changes: dict[str, object], reason: str
) -> None:
    (part,) = split([image(number, z=number, **changes) for number in range(1, 5)])
    assert (part.grid, part.reason) == (None, reason)


def test_each_multi_frame_object_is_a_part_of_its_own() -> None:
    parts = split([image(number, number_of_frames=10) for number in (1, 2)])
    assert [part.reason for part in parts] == ["multi-frame object of 10 frames"] * 2
    assert [part.label for part in parts] == ["instance 1", "instance 2"]


def test_images_of_other_size_or_bits_are_other_parts_and_labels_stay_unique() -> None:
    images = [
        *(image(number, z=number) for number in range(1, 4)),
        *(image(10 + number, z=number, bits_stored=16) for number in range(1, 4)),
        *(image(20 + number, z=number, rescale_type="OD") for number in range(1, 4)),
    ]
    parts = split(images)
    assert shape(parts) == [("volume", 3)] * 3
    assert len({part.label for part in parts}) == 3
