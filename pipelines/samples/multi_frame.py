"""Volumes in one object of many frames, placed by functional groups."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pydicom.data
from pydicom import uid
from pydicom.dataset import Dataset

from pipelines import phantoms
from pipelines.phantoms import known_uid
from pipelines.samples.parts import (
    dataset,
    head,
    placed,
    rewrite,
    save,
    set_frames,
)

type Gray = npt.NDArray[np.uint16]


def mr_enhanced(folder: Path) -> None:
    """A classic MR series in one Legacy Converted Enhanced MR object (PS3.3 A.71)."""
    from highdicom.legacy import LegacyConvertedEnhancedMRImage

    phantom = phantoms.write_series(
        folder / "classic", stored=head((16, 96, 96), noise=10), modality="MR", description="MR, enhanced",
        intercept=0.0, study="samples", spacing=(2.0, 2.0), distance=3.0,
    )  # fmt: skip
    rewrite(phantom.paths, WindowCenter=500, WindowWidth=1000)
    converted = LegacyConvertedEnhancedMRImage(
        legacy_datasets=[pydicom.dcmread(path) for path in phantom.paths],
        series_instance_uid=known_uid("samples", "enhanced"),
        series_number=1,
        sop_instance_uid=known_uid("samples", "enhanced", "instance"),
        instance_number=1,
        transfer_syntax_uid=uid.ExplicitVRLittleEndian,
    )
    converted.save_as(folder / "enhanced.dcm", enforce_file_format=True)
    converted._db_con.close()  # highdicom has no public way to close it
    shutil.rmtree(folder / "classic")


def tomosynthesis(folder: Path) -> None:
    """Planes through a breast, in one multi-frame object."""
    count, rows, columns = 12, 160, 96
    frames = np.full((count, rows, columns), 300, np.uint16)
    y, x = np.ogrid[:rows, :columns]
    breast = (x / 80) ** 2 + ((y - 80) / 75) ** 2 <= 1
    frames[:, breast] = 700
    frames[5:8, (x - 35) ** 2 + (y - 60) ** 2 <= 16] = 1500
    ds = dataset(uid.BreastTomosynthesisImageStorage, "MG", "breast tomosynthesis")
    ds.ImageType = ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]
    ds.ImageLaterality, ds.BodyPartExamined = "R", "BREAST"
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [0.5, 0.5], 4.0, 4.0
    orientation.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [placed(index, [-4.0 * index, 0.0, 0.0]) for index in range(count)]
    set_frames(ds, frames, bits=12)
    save(ds, folder)


def ct_enhanced(folder: Path) -> None:
    """Enhanced CT with a slope in each frame (PS3.3 A.38)."""
    ds = _object(uid.EnhancedCTImageStorage, "CT", "CT, enhanced")
    frames = phantoms.sphere((16, 96, 96), (2.0, 1.0, 1.0), radius_mm=18, body=1064, noise=15)
    groups = [placed(index, [0.0, 0.0, 2.0 * index]) for index in range(len(frames))]
    for group in groups:
        group.PixelValueTransformationSequence = [_transformation(1.0, -1024.0, "HU")]
    _save_object(ds, folder, frames, groups)


def pet_enhanced(folder: Path) -> None:
    """Enhanced PET over three times, a slope for each (PS3.3 A.56)."""
    ds = _object(uid.EnhancedPETImageStorage, "PT", "PET, enhanced")
    base = head((10, 96, 96))
    groups = []
    for time in range(3):
        for plane in range(len(base)):
            group = placed(plane, [0.0, 0.0, 4.0 * plane])
            group.FrameContentSequence[0].TemporalPositionIndex = time + 1
            group.FrameContentSequence[0].FrameAcquisitionDateTime = f"2026010510{15 + time}00.000"
            group.PixelValueTransformationSequence = [_transformation(2.0 + time, 0.0, "BQML")]
            groups.append(group)
    _save_object(ds, folder, np.concatenate([base] * 3), groups)


def us_volume(folder: Path) -> None:
    """An ultrasound volume that moves, in a frame of reference of its own (PS3.3 A.59)."""
    ds = _object(uid.EnhancedUSVolumeStorage, "US", "ultrasound volume")
    ds.VolumeFrameOfReferenceUID = known_uid("samples", "ultrasound volume")
    ds.UltrasoundAcquisitionGeometry = "APEX"
    frames, groups = [], []
    for time in range(4):
        frames.append(
            phantoms.sphere(
                (10, 96, 96), (3.0, 1.0, 1.0), radius_mm=12 + time, inside=3000, body=900, noise=80
            )
        )
        for plane in range(10):
            group, position, offset, kind = Dataset(), Dataset(), Dataset(), Dataset()
            position.ImagePositionVolume = [0.0, 0.0, 3.0 * plane]
            offset.TemporalPositionTimeOffset, kind.DataType = 0.2 * time, "TISSUE_INTENSITY"
            group.PlanePositionVolumeSequence, group.TemporalPositionSequence = [position], [offset]
            group.ImageDataTypeSequence = [kind]
            groups.append(group)
    shared, orientation = ds.SharedFunctionalGroupsSequence[0], Dataset()
    orientation.ImageOrientationVolume = [1, 0, 0, 0, 1, 0]
    del shared.PlaneOrientationSequence
    shared.PlaneOrientationVolumeSequence = [orientation]
    _save_object(ds, folder, np.concatenate(frames), groups)


def concatenation(folder: Path) -> None:
    """One enhanced CT whose frames are in three instances (PS3.3 C.7.6.16)."""
    frames = phantoms.sphere((15, 96, 96), (2.0, 1.0, 1.0), radius_mm=18, body=1064, noise=15)
    for number in range(3):
        ds = _object(uid.EnhancedCTImageStorage, "CT", "CT, concatenation", number)
        ds.ConcatenationUID = known_uid("samples", "concatenation")
        ds.InConcatenationNumber, ds.InConcatenationTotalNumber = number + 1, 3
        ds.ConcatenationFrameOffsetNumber = first = 5 * number
        groups = [placed(index, [0.0, 0.0, 2.0 * index]) for index in range(first, first + 5)]
        for group in groups:
            group.PixelValueTransformationSequence = [_transformation(1.0, -1024.0, "HU")]
        _save_object(ds, folder, frames[first : first + 5], groups, name=f"{number}.dcm")


def _object(sop_class: str, modality: str, description: str, instance: int = 0) -> Dataset:
    """An object without frames, whose planes are axial."""
    ds = dataset(sop_class, modality, description, instance)
    for keyword in ("AcquisitionTime", "AcquisitionDate", "RescaleType"):
        if keyword in ds:
            delattr(ds, keyword)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1.0, 1.0], 2.0
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence = [shared]
    return ds


def _transformation(slope: float, intercept: float, units: str) -> Dataset:
    item = Dataset()
    item.RescaleSlope, item.RescaleIntercept, item.RescaleType = slope, intercept, units
    return item


def _save_object(
    ds: Dataset, folder: Path, frames: Gray, groups: Sequence[Dataset], *, name: str = "0000.dcm"
) -> None:
    ds.PerFrameFunctionalGroupsSequence = groups
    set_frames(ds, frames, bits=12)
    save(ds, folder, name=name)
