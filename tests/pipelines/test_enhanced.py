"""Enhanced, legacy converted, tomosynthesis and ultrasound objects, and objects in several instances."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import Dataset, uid

from pipelines import phantoms
from pipelines.export import to_nifti
from pipelines.phantoms import known_uid
from pipelines.planes import planes_of
from pipelines.verify import verify_array
from pipelines.volumes import open_array, stored_values

STORED = np.random.default_rng(3).integers(0, 4096, (12, 6, 8)).astype(np.uint16)


def group(**items: dict[str, Any]) -> Dataset:
    """A functional group: sequence keyword to the attributes of its one item."""
    ds = Dataset()
    for keyword, attributes in items.items():
        item = Dataset()
        for name, value in attributes.items():
            setattr(item, name, value)
        setattr(ds, keyword, [item])
    return ds


def write(
    path: Path,
    sop_class: str,
    frames: npt.NDArray[np.uint16],
    own: Sequence[Dataset],
    shared: Dataset,
    **attributes: Any,
) -> None:
    """Write a multi-frame object with functional groups."""
    ds = phantoms.header(attributes.pop("Modality", "MR"), sop_class=sop_class)
    for keyword in ("ImagePositionPatient", "RescaleType", "AcquisitionTime", "AcquisitionDate"):
        if keyword in ds:
            delattr(ds, keyword)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = known_uid("study", "e"), known_uid("series", "e")
    ds.SOPInstanceUID, ds.FrameOfReferenceUID = known_uid("instance", path), known_uid("patient", "e")
    ds.StudyDescription, ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "e", "e", 1, 1
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], list(own)
    ds.Rows, ds.Columns = frames.shape[1:]
    ds.NumberOfFrames, ds.SamplesPerPixel, ds.PhotometricInterpretation = len(frames), 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = frames.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    path.parent.mkdir(exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


SHARED = group(
    PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    PixelMeasuresSequence={"PixelSpacing": [0.5, 0.25], "SliceThickness": 2},
)


def at(z: float, **more: dict[str, Any]) -> Dataset:
    return group(PlanePositionSequence={"ImagePositionPatient": [-3, -4, z]}, **more)


def assert_round_trip(series: Any, record: Any) -> None:
    """Every frame is in the array as it is in its instance, and verified."""
    assert verify_array(record, series.instances).mismatches == ()
    sources = {each.sop_instance_uid: pydicom.dcmread(each.path) for each in series.instances}
    for plane in planes_of(record):
        ds = sources[plane.sop_instance_uid]
        frames = ds.pixel_array.reshape(-1, *plane.stored.shape)
        assert np.array_equal(plane.stored, frames[plane.frame_index])
        groups = ds.PerFrameFunctionalGroupsSequence[plane.frame_index]
        (position,) = groups.get("PlanePositionSequence") or groups.PlanePositionVolumeSequence
        assert plane.image_position_patient == tuple(next(iter(position)).value)


# --- kinds -----------------------------------------------------------------------------------------------


def test_enhanced_ct_with_a_slope_in_each_frame(indexed: Any, tmp_path: Path) -> None:
    own = [
        at(30 - 2.5 * index, PixelValueTransformationSequence={
            "RescaleSlope": 1 + index, "RescaleIntercept": -1024, "RescaleType": "HU"
        })
        for index in range(12)
    ]  # fmt: skip
    write(tmp_path / "d" / "0", uid.EnhancedCTImageStorage, STORED, own, SHARED, Modality="CT")
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert (volume.dims, volume.attrs["units"]) == (("z", "y", "x"), "HU")
    slopes = np.arange(12, 0, -1)[:, None, None]
    assert np.array_equal(volume, STORED[::-1] * slopes - 1024.0)
    np.testing.assert_allclose(volume.dicom.positions_lps_mm[:, 2], 2.5 + 2.5 * np.arange(12))
    assert_round_trip(series, series.array)


def test_enhanced_pet_over_time(indexed: Any, tmp_path: Path) -> None:
    own = [
        at(3.0 * plane, FrameContentSequence={
            "TemporalPositionIndex": time + 1, "FrameAcquisitionDateTime": f"2026010510{15 + time}00.000"
        }, PixelValueTransformationSequence={
            "RescaleSlope": 2.0 + time, "RescaleIntercept": 0, "RescaleType": "BQML"
        })
        for time in range(3) for plane in range(4)
    ]  # fmt: skip
    write(tmp_path / "d" / "0", uid.EnhancedPETImageStorage, STORED, own, SHARED, Modality="PT")
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert (volume.dims, volume.shape) == (("time", "z", "y", "x"), (3, 4, 6, 8))
    assert volume.time.values.tolist() == [0, 60, 120]
    assert volume.attrs["units"] == "BQML"
    assert np.array_equal(volume, STORED.reshape(3, 4, 6, 8) * np.arange(2, 5)[:, None, None, None])


def test_breast_tomosynthesis_has_its_planes_along_z(indexed: Any, tmp_path: Path) -> None:
    shared = group(
        PlaneOrientationSequence={"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
        PixelMeasuresSequence={"PixelSpacing": [0.1, 0.1], "SliceThickness": 1},
        XRay3DFrameTypeSequence={"FrameType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]},
    )
    own = [group(PlanePositionSequence={"ImagePositionPatient": [index, 5, 9]}) for index in range(12)]
    storage = uid.BreastTomosynthesisImageStorage
    write(tmp_path / "d" / "0", storage, STORED, own, shared, Modality="MG")
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert (volume.dims, volume.dicom.spacing_mm) == (("z", "y", "x"), pytest.approx((1, 0.1, 0.1)))
    np.testing.assert_allclose(
        volume.dicom.to_lps((0, 0, 0)), (11, 5, 9)
    )  # the normal of RCC points to the left
    assert_round_trip(series, series.array)


def test_planes_of_tomosynthesis_in_single_frame_instances(indexed: Any, tmp_path: Path) -> None:
    for index in range(4):
        write(
            tmp_path / "d" / f"{index}", uid.BreastTomosynthesisImageStorage, STORED[index : index + 1],
            [at(2.0 * index)], SHARED, Modality="MG", InstanceNumber=4 - index,
        )  # fmt: skip
    (series,) = indexed(tmp_path / "d")
    assert series.array.kind == "volume"
    assert np.array_equal(stored_values(series.array), STORED[:4])
    assert_round_trip(series, series.array)


def test_an_ultrasound_volume_lies_in_a_frame_of_reference_of_its_own(indexed: Any, tmp_path: Path) -> None:
    shared = group(
        PlaneOrientationVolumeSequence={"ImageOrientationVolume": [1, 0, 0, 0, 1, 0]},
        PixelMeasuresSequence={"PixelSpacing": [0.5, 0.25], "SliceThickness": 1},
    )
    own = [
        group(
            PlanePositionVolumeSequence={"ImagePositionVolume": [0, 0, 1.5 * plane]},
            TemporalPositionSequence={"TemporalPositionTimeOffset": 0.2 * time},
            ImageDataTypeSequence={"DataType": "TISSUE_INTENSITY"},
        )
        for time in range(3)
        for plane in range(4)
    ]
    write(
        tmp_path / "d" / "0", uid.EnhancedUSVolumeStorage, STORED, own, shared, Modality="US",
        VolumeFrameOfReferenceUID=known_uid("volume"), UltrasoundAcquisitionGeometry="APEX",
    )  # fmt: skip
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert (volume.dims, volume.shape) == (("time", "z", "y", "x"), (3, 4, 6, 8))
    np.testing.assert_allclose(volume.time, [0, 0.2, 0.4])
    assert volume.attrs["coordinate_system"] == "volume"
    assert volume.dicom.frame_of_reference_uid == known_uid("volume")
    assert volume.dicom.spacing_mm == pytest.approx((1.5, 0.5, 0.25))
    image: Any = nibabel.load(to_nifti(volume, tmp_path / "us.nii"))
    assert image.get_sform(coded=True)[1] == 2  # no coordinates of a scanner
    assert_round_trip(series, series.array)


def test_tissue_and_flow_of_one_ultrasound_volume_are_two_parts(indexed: Any, tmp_path: Path) -> None:
    shared = group(
        PlaneOrientationVolumeSequence={"ImageOrientationVolume": [1, 0, 0, 0, 1, 0]},
        PixelMeasuresSequence={"PixelSpacing": [0.5, 0.25]},
    )
    own = [
        group(
            PlanePositionVolumeSequence={"ImagePositionVolume": [0, 0, 1.5 * plane]},
            ImageDataTypeSequence={"DataType": data_type},
        )
        for data_type in ("TISSUE_INTENSITY", "FLOW_POWER")
        for plane in range(6)
    ]
    write(
        tmp_path / "d" / "0", uid.EnhancedUSVolumeStorage, STORED, own, shared, Modality="US",
        VolumeFrameOfReferenceUID=known_uid("volume"),
    )  # fmt: skip
    (series,) = indexed(tmp_path / "d")
    found = {each.label: stored_values(each).to_numpy() for each in series.ingest().arrays}
    assert set(found) == {"type FLOW_POWER", "type TISSUE_INTENSITY"}
    assert np.array_equal(found["type TISSUE_INTENSITY"], STORED[:6])


def test_a_legacy_converted_series_is_the_volume_of_the_classic_one(indexed: Any, tmp_path: Path) -> None:
    from highdicom.legacy import LegacyConvertedEnhancedCTImage, LegacyConvertedEnhancedMRImage

    for modality, convert in (("CT", LegacyConvertedEnhancedCTImage), ("MR", LegacyConvertedEnhancedMRImage)):
        phantom = phantoms.write_series(tmp_path / modality, modality=modality, seed=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted: Any = convert(
                legacy_datasets=[pydicom.dcmread(path) for path in phantom.paths[::-1]],
                series_instance_uid=known_uid("converted", modality),
                series_number=1,
                sop_instance_uid=known_uid("converted", modality, "instance"),
                instance_number=1,
                transfer_syntax_uid=uid.ExplicitVRLittleEndian,
            )
        (tmp_path / f"c{modality}").mkdir()
        converted.save_as(tmp_path / f"c{modality}" / "0.dcm", enforce_file_format=True)
        converted._db_con.close()  # highdicom has no public way to close it
        series = next(
            each for each in indexed(tmp_path / f"c{modality}")
            if each.series.series_instance_uid == known_uid("converted", modality)
        )  # fmt: skip
        volume = open_array(series.array)
        assert np.array_equal(volume, phantom.modality_values)
        np.testing.assert_allclose(volume.dicom.affine_lps, phantom.affine_lps, atol=1e-6)


def test_dimensions_that_an_object_names_are_axes(indexed: Any, tmp_path: Path) -> None:
    pointers = []
    for keyword in ("InStackPositionNumber", "RespiratoryCyclePosition"):
        item = Dataset()
        item.DimensionIndexPointer = pydicom.datadict.tag_for_keyword(keyword)
        pointers.append(item)
    own = [
        at(2.5 * plane, FrameContentSequence={"DimensionIndexValues": [plane + 1, cycle + 1]})
        for plane in range(4)
        for cycle in range(3)
    ]
    write(
        tmp_path / "d" / "0", uid.EnhancedMRImageStorage, STORED, own, SHARED, DimensionIndexSequence=pointers
    )
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert (volume.dims, volume.shape) == (
        ("respiratory_cycle_position", "z", "y", "x"),
        (3, 4, 6, 8),
    )
    assert "respiratory_cycle_position_index" not in volume.coords
    assert volume.respiratory_cycle_position.values.tolist() == [1, 2, 3]
    assert np.array_equal(stored_values(series.array), STORED.reshape(4, 3, 6, 8).swapaxes(0, 1))


def test_inversion_times_and_flip_angles_are_axes(indexed: Any, tmp_path: Path) -> None:
    own = [
        at(
            2.5 * plane,
            MRModifierSequence={"InversionTimes": [time]},
            MRTimingAndRelatedParametersSequence={"FlipAngle": angle},
        )
        for time in (900.0, 150.0)
        for angle in (5.0, 35.0)
        for plane in range(3)
    ]
    write(tmp_path / "d" / "0", uid.EnhancedMRImageStorage, STORED, own, SHARED)
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert volume.dims == ("inversion_time", "flip_angle", "z", "y", "x")
    assert volume.inversion_time.values.tolist() == [150, 900]
    assert volume.flip_angle.values.tolist() == [5, 35]
    assert np.array_equal(stored_values(series.array), STORED.reshape(2, 2, 3, 6, 8)[::-1])


# --- concatenations --------------------------------------------------------------------------------------


def concatenation(
    folder: Path, sizes: Sequence[int] = (5, 4, 3), total: int | None = 3, **changes: Any
) -> None:
    """One object of 12 planes whose frames are in several instances."""
    first = 0
    for number, size in enumerate(sizes, 1):
        attributes = {
            "ConcatenationUID": known_uid("concatenation"),
            "InConcatenationNumber": number,
            "ConcatenationFrameOffsetNumber": first,
        }
        if total is not None:
            attributes["InConcatenationTotalNumber"] = total
        frames = range(first, first + size)
        write(
            folder / f"{number}", uid.EnhancedCTImageStorage, STORED[first : first + size],
            [at(2.5 * index) for index in frames], SHARED, Modality="CT", **attributes | changes,
        )  # fmt: skip
        first += size


def test_the_parts_of_a_concatenation_are_one_volume(indexed: Any, tmp_path: Path) -> None:
    concatenation(tmp_path / "d")
    (series,) = indexed(tmp_path / "d")
    record = series.array
    assert (record.kind, record.shape, record.sources) == ("volume", (12, 6, 8), 3)
    assert np.array_equal(stored_values(record), STORED)
    assert_round_trip(series, record)


def test_parts_without_places_follow_each_other_by_their_numbers(indexed: Any, tmp_path: Path) -> None:
    concatenation(tmp_path / "d", total=None, PerFrameFunctionalGroupsSequence=[])
    (series,) = indexed(tmp_path / "d")
    assert np.array_equal(stored_values(series.array), STORED)


@pytest.mark.parametrize(("missing", "words"), [
    ((2,), "part 2 of 3"), ((3,), "part 3 of 3"), ((1, 2), "part 1, 2 of 3"),
])  # fmt: skip
def test_an_incomplete_concatenation_is_no_volume_and_says_which_part_is_missing(
    indexed: Any, tmp_path: Path, missing: tuple[int, ...], words: str
) -> None:
    concatenation(tmp_path / "d")
    for number in missing:
        (tmp_path / "d" / f"{number}").unlink()
    (series,) = indexed(tmp_path / "d")
    record = series.array
    assert record.kind == "stack"
    assert record.reason == f"{words} of its concatenation is missing"
    assert_round_trip(series, record)


def test_a_concatenation_that_contradicts_itself_says_so(indexed: Any, tmp_path: Path) -> None:
    concatenation(tmp_path / "d", total=2, InConcatenationNumber=1)
    (series,) = indexed(tmp_path / "d")
    assert series.array.reason == "part 2 of 2 of its concatenation is missing"
    concatenation(
        tmp_path / "e", sizes=(6, 6), total=2, ConcatenationFrameOffsetNumber=0, SeriesInstanceUID="2.25.9"
    )
    other = next(each for each in indexed(tmp_path / "e") if each.series.series_instance_uid == "2.25.9")
    assert other.array.reason == "part 2 of 2 of its concatenation does not go on after frame 6"


# --- over time -------------------------------------------------------------------------------------------


NOWHERE = group(FrameAnatomySequence={"FrameLaterality": "U"})


def taken(*times: str) -> list[Dataset]:
    return [group(FrameContentSequence={"FrameAcquisitionDateTime": f"20260105{each}"}) for each in times]


@pytest.mark.parametrize(
    ("own", "attributes", "expected"),
    [
        (taken("101500.00", "101500.10", "101500.30"), {"CineRate": 5}, [0, 0.1, 0.3]),
        (taken("101500", "101500", "101500"), {"CineRate": 5}, [0, 0.2, 0.4]),
        ([Dataset()] * 3, {"FrameTime": 40, "FrameIncrementPointer": 0x00181063}, [0, 0.04, 0.08]),
        (taken("235959.5", "235959.9", "235959.95"), {}, [0, 0.4, 0.45]),
    ],
)
def test_enhanced_angiography_has_seconds(
    indexed: Any, tmp_path: Path, own: Any, attributes: dict[str, Any], expected: list[float]
) -> None:
    write(
        tmp_path / "d" / "0", uid.EnhancedXAImageStorage, STORED[:3], own, NOWHERE, Modality="XA",
        ImageOrientationPatient=None, **attributes,
    )  # fmt: skip
    (series,) = indexed(tmp_path / "d")
    image = open_array(series.array)
    assert image.dims == ("time", "y", "x")
    np.testing.assert_allclose(image.time, expected)
    assert image.time.attrs["units"] == "s"
    assert np.array_equal(stored_values(series.array), STORED[:3])
    assert verify_array(series.array, series.instances).mismatches == ()


def test_two_runs_of_enhanced_angiography_in_one_series_are_two_parts(indexed: Any, tmp_path: Path) -> None:
    for number in (1, 2):
        write(
            tmp_path / "d" / f"{number}", uid.EnhancedXAImageStorage, STORED[:3], [Dataset()] * 3, NOWHERE,
            Modality="XA", ImageOrientationPatient=None, CineRate=10 * number, InstanceNumber=number,
        )  # fmt: skip
    (series,) = indexed(tmp_path / "d")
    parts = series.ingest().arrays
    assert [part.label for part in parts] == ["instance 1", "instance 2"]
    assert [open_array(part).time.values[1].item() for part in parts] == [0.1, 0.05]


def test_planes_at_several_places_are_no_times(indexed: Any, tmp_path: Path) -> None:
    own = [at(z) for z in (0, 2, 7, 8)]
    write(
        tmp_path / "d" / "0", uid.EnhancedCTImageStorage, STORED[:4], own, SHARED, Modality="CT", CineRate=10
    )
    (series,) = indexed(tmp_path / "d")
    assert open_array(series.array).dims == ("frame", "y", "x")


def test_true_colour_frames_with_functional_groups_have_seconds(indexed: Any, tmp_path: Path) -> None:
    storage, colours = uid.MultiFrameTrueColorSecondaryCaptureImageStorage, STORED[:6].astype(np.uint8)
    write(
        tmp_path / "d" / "0", storage, STORED[:2], [Dataset()] * 2, NOWHERE, Modality="OT", SamplesPerPixel=3,
        PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8, BitsStored=8, HighBit=7,
        FrameTime=250, FrameIncrementPointer=0x00181063, PixelData=colours.tobytes(),
    )  # fmt: skip
    (series,) = indexed(tmp_path / "d")
    image = open_array(series.array)
    assert image.dims == ("time", "y", "x", "channel")
    assert image.time.values.tolist() == [0, 0.25]
    assert np.array_equal(image, colours.reshape(2, 6, 8, 3))
