"""Frames of an enhanced object as images of their own."""

import pytest
from pydicom import Dataset

from catalog.errors import HeaderError
from catalog.records import InstanceRecord
from pipelines.axes.functional_groups import frames_of, is_enhanced
from pipelines.axes.split import split


def group(**items: object) -> Dataset:
    """A functional group: sequence keyword to the attributes of its one item."""
    ds = Dataset()
    for keyword, attributes in items.items():
        item = Dataset()
        for name, value in attributes.items():  # type: ignore[attr-defined]
            setattr(item, name, value)
        setattr(ds, keyword, [item])
    return ds


def enhanced(planes: int, times: int) -> tuple[InstanceRecord, Dataset]:
    ds = Dataset()
    ds.SharedFunctionalGroupsSequence = [
        group(
            PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
            PixelMeasuresSequence={"PixelSpacing": [0.5, 0.25], "SliceThickness": 2},
            MRImageFrameTypeSequence={"FrameType": ["ORIGINAL", "PRIMARY", "T1", "NONE"]},
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        group(
            PlanePositionSequence={"ImagePositionPatient": [0, 0, 3.0 * plane]},
            PixelValueTransformationSequence={"RescaleSlope": 1 + time, "RescaleIntercept": -plane},
            FrameContentSequence={
                "TemporalPositionIndex": time + 1,
                "FrameAcquisitionDateTime": f"202601051015{10 + 2 * time:02}.5",
            },
        )
        for plane in range(planes)
        for time in range(times)
    ]
    record = InstanceRecord(
        sop_instance_uid="1.2.3.4",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4.1",
        series_instance_uid="1.2.3",
        study_instance_uid="1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        path="",
        header_digest="",
        pixel_data=None,
        rows=4,
        columns=6,
        number_of_frames=planes * times,
    )
    return record, ds


def test_frames_of_a_dynamic_scan_become_volumes_over_time() -> None:
    record, ds = enhanced(planes=4, times=3)
    assert is_enhanced(ds)
    (part,) = split(frames_of(record, ds))
    assert part.reason == ""
    (axis,) = part.axes
    assert (axis.name, axis.unit, axis.values) == ("time", "s", (0.0, 2.0, 4.0))
    assert [each.frame_index for each in part.instances] == [
        plane * 3 + time for time in range(3) for plane in range(4)
    ]
    assert {(each.rescale_slope, each.slice_thickness) for each in part.instances[:4]} == {(1.0, 2.0)}
    assert part.instances[0].image_type == "ORIGINAL\\PRIMARY\\T1\\NONE"
    assert part.grid is not None
    assert part.grid.affine_lps[2][2] == pytest.approx(3.0)


def test_a_group_of_the_frame_comes_before_the_shared_one() -> None:
    record, ds = enhanced(planes=3, times=1)
    ds.PerFrameFunctionalGroupsSequence[1].PixelMeasuresSequence = [Dataset()]
    ds.PerFrameFunctionalGroupsSequence[1].PixelMeasuresSequence[0].PixelSpacing = [9, 9]
    assert [each.pixel_spacing for each in frames_of(record, ds)] == [(0.5, 0.25), (9.0, 9.0), (0.5, 0.25)]


def test_frames_without_groups_of_their_own_keep_what_the_instance_says() -> None:
    record, ds = enhanced(planes=3, times=1)
    del ds.PerFrameFunctionalGroupsSequence
    frames = frames_of(record, ds)
    assert [each.frame_index for each in frames] == [0, 1, 2]
    assert {each.image_position_patient for each in frames} == {None}
    (part,) = split(frames)
    assert part.reason == "no usable position, orientation or pixel spacing in the patient"


def test_groups_that_cannot_be_read_are_an_error_in_words() -> None:
    record, ds = enhanced(planes=3, times=1)
    ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].add_new(0x00200032, "LO", ["a", "b"])
    with pytest.raises(HeaderError, match="functional groups cannot be read"):
        frames_of(record, ds)
