"""Slices of reconstructed nuclear medicine, SPECT, as planes with a place in the patient; no I/O.

One instance holds them all: Slice Vector (0054,0080) numbers the frames, Detector Information Sequence
(0054,0022) says where the first slice lies (PS3.3 C.8.4.11), and Spacing Between Slices (0018,0088) leads
along the normal of its rows and columns from there, backwards where it is negative (C.8.4.15).
"""

import warnings
from dataclasses import replace
from typing import Any

from pydicom import Dataset, uid

from catalog.errors import HeaderError
from catalog.records import InstanceRecord
from pipelines import geometry
from pipelines.axes.cine import frame_times_s
from pipelines.axes.frame_axes import Vector, vectors_of

RECONSTRUCTED = frozenset({"RECON TOMO", "RECON GATED TOMO"})
"""Value 3 of Image Type (0008,0008) (PS3.3 C.8.4.9.1.1)."""
_AXES = frozenset({"slice", "time_slot", "rr_interval"})
"""By what frames of these kinds are numbered (C.8.4.8.1.1)."""


def is_reconstructed(image: InstanceRecord) -> bool:
    """Whether the frames of an image are slices that were reconstructed from nuclear medicine."""
    kind = (image.image_type or "").split("\\")[2:3]
    return image.sop_class_uid == uid.NuclearMedicineImageStorage and not RECONSTRUCTED.isdisjoint(kind)


def slices_of(image: InstanceRecord, ds: Dataset) -> tuple[InstanceRecord, ...]:
    """One record for each frame, with its place; frames of several time slots lie at one place.

    The image as it is, with the reason as its obstacle, where the header does not place them.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # departures that pydicom would warn of are tolerated here
            return _slices(image, ds)
    except HeaderError as error:
        reason = str(error)
    except Exception as error:  # whatever pydicom stumbles over in hostile bytes is a fault of the file
        reason = f"their place cannot be read: {type(error).__name__}"
    return (replace(image, obstacle=f"reconstructed slices without a place in the patient: {reason}"),)


def _slices(image: InstanceRecord, ds: Dataset) -> tuple[InstanceRecord, ...]:
    count = image.number_of_frames or 1
    vectors = vectors_of(ds, count)
    numbers = _checked(vectors, count)
    first = replace(image, **_first_slice(ds))
    if not geometry.is_placed(first):
        raise HeaderError("no usable position, orientation or pixel spacing")
    distance = float(ds.get("SpacingBetweenSlices") or 0)
    if not geometry.SAME_POSITION_MM < abs(distance) <= geometry.FARTHEST_MM:
        raise HeaderError(f"Spacing Between Slices (0018,0088) is {distance:g} mm")
    (origin,), step = geometry.positions_lps_mm([first]), geometry.normal(first) * distance
    others = {name: vector for name, vector in vectors.items() if name != "slice"}
    times: list[dict[str, Any]] = _triggers(ds, count) if "time_slot" in others else [{}] * count
    return tuple(
        replace(
            first,
            frame_index=index,
            image_position_patient=tuple((origin + step * (int(number) - 1)).tolist()),
            dimension_indices=tuple((name, int(vector[index])) for name, vector in sorted(others.items())),
            **times[index],
        )
        for index, number in enumerate(numbers)
    )


def _checked(vectors: dict[str, Vector], count: int) -> Vector:
    """Slice Vector, where every slice there is occurs once in each time slot."""
    if "slice" not in vectors:
        raise HeaderError("Frame Increment Pointer (0028,0009) names no Slice Vector (0054,0080) of them")
    unknown = sorted(set(vectors) - _AXES)
    if unknown:
        raise HeaderError(f"frames differ by {', '.join(unknown)}, too")
    numbers = vectors["slice"]
    slices = int(numbers.max())
    columns = [vector.tolist() for vector in vectors.values()]
    slots = set(zip(*(vector.tolist() for name, vector in vectors.items() if name != "slice"), strict=True))
    if numbers.min() != 1 or len(set(numbers.tolist())) != slices:
        raise HeaderError("Slice Vector (0054,0080) leaves slices out")
    if slices < geometry.MINIMUM_PLANES:
        raise HeaderError(f"{slices} slices only")
    each_once = len(set(zip(*columns, strict=True))) == count
    if not each_once or slices * (len(slots) or 1) != count:
        raise HeaderError("not every slice occurs once in each time slot")
    return numbers


def _first_slice(ds: Dataset) -> dict[str, Any]:
    """Position and orientation of the first slice, which all detectors that have one must agree on."""
    found = {
        (_numbers(item, "ImagePositionPatient"), _numbers(item, "ImageOrientationPatient"))
        for item in ds.get("DetectorInformationSequence") or ()
        if item.get("ImagePositionPatient")
    }
    if len(found) != 1:
        raise HeaderError(f"{len(found) or 'no'} positions in Detector Information Sequence (0054,0022)")
    ((position, orientation),) = found
    return {"image_position_patient": position, "image_orientation_patient": orientation}


def _numbers(item: Dataset, keyword: str) -> tuple[float, ...]:
    return tuple(float(each) for each in item.get(keyword) or ())


def _triggers(ds: Dataset, count: int) -> list[dict[str, Any]]:
    """When in the beat of the heart each frame was taken, in ms, where the header says it."""
    times = frame_times_s(ds, count).values
    if times is None:
        return [{}] * count
    last = max(times) * 1000
    return [{"trigger_time": round(time * 1000, 6), "nominal_interval": last} for time in times]
