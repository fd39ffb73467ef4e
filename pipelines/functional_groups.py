"""Frames of an enhanced multi-frame object as images of their own (PS3.3 C.7.6.16); no I/O.

What a functional group says of a frame takes the place of the attribute of that name of the instance, so that
frames sort, split and repeat as single images do.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydicom import Dataset

from catalog.errors import HeaderError
from catalog.records import InstanceRecord

type Group = tuple[str, ...]
"""Keywords of nested sequences, of which the first items count, and of the attribute in the last one."""


def _number(value: Any) -> float:
    return float(value)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(float(each) for each in value)


def _words(value: Any) -> str:
    return value if isinstance(value, str) else "\\".join(map(str, value))


def _from_day(value: Any) -> str:
    return str(value)[8:].split("+")[0].split("-")[0]


FRAME_ATTRIBUTES: Mapping[str, tuple[Callable[[Any], Any], tuple[Group, ...]]] = {
    "image_position_patient": (_numbers, (("PlanePositionSequence", "ImagePositionPatient"),)),
    "image_orientation_patient": (_numbers, (("PlaneOrientationSequence", "ImageOrientationPatient"),)),
    "pixel_spacing": (_numbers, (("PixelMeasuresSequence", "PixelSpacing"),)),
    "slice_thickness": (_number, (("PixelMeasuresSequence", "SliceThickness"),)),
    "rescale_slope": (_number, (("PixelValueTransformationSequence", "RescaleSlope"),)),
    "rescale_intercept": (_number, (("PixelValueTransformationSequence", "RescaleIntercept"),)),
    "rescale_type": (str, (("PixelValueTransformationSequence", "RescaleType"),)),
    "image_type": (
        _words,
        (
            ("MRImageFrameTypeSequence", "FrameType"),
            ("CTImageFrameTypeSequence", "FrameType"),
            ("PETFrameTypeSequence", "FrameType"),
        ),
    ),
    "echo_time": (_number, (("MREchoSequence", "EffectiveEchoTime"),)),
    "diffusion_b_value": (_number, (("MRDiffusionSequence", "DiffusionBValue"),)),
    "diffusion_gradient_orientation": (
        _numbers,
        (("MRDiffusionSequence", "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation"),),
    ),
    "trigger_time": (_number, (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),)),
    "temporal_position_identifier": (int, (("FrameContentSequence", "TemporalPositionIndex"),)),
    "acquisition_date": (
        lambda value: str(value)[:8],
        (("FrameContentSequence", "FrameAcquisitionDateTime"),),
    ),
    "acquisition_time": (_from_day, (("FrameContentSequence", "FrameAcquisitionDateTime"),)),
}
"""Field of an instance record to how it is read and where it stands, in the frame's groups or the shared."""


def is_enhanced(ds: Dataset) -> bool:
    """Whether an object describes its frames in functional groups."""
    return "PerFrameFunctionalGroupsSequence" in ds or "SharedFunctionalGroupsSequence" in ds


def frames_of(image: InstanceRecord, ds: Dataset) -> tuple[InstanceRecord, ...]:
    """One record for each frame, with `frame_index`; what is absent from the groups stays as in the instance.

    Raises
    ------
    HeaderError
        If a functional group cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # departures that pydicom would warn of are tolerated here
            shared = list(ds.get("SharedFunctionalGroupsSequence") or ())[:1]
            own = list(ds.get("PerFrameFunctionalGroupsSequence") or ())
            return tuple(
                replace(image, frame_index=index, **_attributes([*own[index : index + 1], *shared]))
                for index in range(image.number_of_frames or 1)
            )
    except Exception as error:  # whatever pydicom stumbles over in hostile bytes is a fault of the file
        raise HeaderError(f"functional groups cannot be read: {type(error).__name__}") from None


def _attributes(groups: list[Dataset]) -> dict[str, Any]:
    found = {}
    for name, (read, places) in FRAME_ATTRIBUTES.items():
        value = next((value for place in places if (value := _value(groups, place)) is not None), None)
        if value is not None:
            found[name] = read(value)
    return found


def _value(groups: list[Dataset], place: Group) -> Any:
    """Value of the first group that has it; `None` where it is absent or empty."""
    sequences, keyword = place[:-1], place[-1]
    for item in groups:
        for sequence in sequences:
            items = item.get(sequence)
            if not items:
                break
            item = items[0]
        else:
            if keyword in item and item[keyword].value not in (None, ""):
                return item[keyword].value
    return None
