"""Frames of an enhanced multi-frame object as images of their own (PS3.3 C.7.6.16); no I/O.

What a functional group says of a frame takes the place of the attribute of that name of the instance, so that
frames sort, split and repeat as single images do.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydicom import Dataset, uid
from pydicom.datadict import keyword_for_tag

from catalog.attributes import snake_case
from catalog.errors import HeaderError
from catalog.records import InstanceRecord

type Group = tuple[str, ...]
"""Keywords of nested sequences, of which the first items count, and of the attribute in the last one."""


def _number(value: Any) -> float:
    return float(value)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(float(each) for each in value)


def _first_number(value: Any) -> float:
    return float(value) if isinstance(value, int | float | str) else float(value[0])


def _words(value: Any) -> str:
    return value if isinstance(value, str) else "\\".join(map(str, value))


def _time_of_day(value: Any) -> str:
    """Of a DT its time, without the offset from UTC; of a TM all of it."""
    text = str(value).split("+")[0].split("-")[0]
    return text if len(text.split(".")[0]) <= 6 else text[8:]


_FRAME_TYPES = tuple(
    (sequence, "FrameType")
    for sequence in (
        "MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence",
        "XRay3DFrameTypeSequence", "USImageDescriptionSequence",
    )
)  # fmt: skip


def _converted(keyword: str) -> tuple[Group, ...]:
    """Where a Legacy Converted object keeps an attribute of the single image (PS3.3 A.70)."""
    return (
        ("UnassignedPerFrameConvertedAttributesSequence", keyword),
        ("UnassignedSharedConvertedAttributesSequence", keyword),
    )


FRAME_ATTRIBUTES: Mapping[str, tuple[Callable[[Any], Any], tuple[Group, ...]]] = {
    "image_position_patient": (
        _numbers,
        (
            ("PlanePositionSequence", "ImagePositionPatient"),
            ("PlanePositionVolumeSequence", "ImagePositionVolume"),
        ),
    ),
    "image_orientation_patient": (
        _numbers,
        (
            ("PlaneOrientationSequence", "ImageOrientationPatient"),
            ("PlaneOrientationVolumeSequence", "ImageOrientationVolume"),
        ),
    ),
    "pixel_spacing": (_numbers, (("PixelMeasuresSequence", "PixelSpacing"),)),
    "slice_thickness": (_number, (("PixelMeasuresSequence", "SliceThickness"),)),
    "rescale_slope": (_number, (("PixelValueTransformationSequence", "RescaleSlope"),)),
    "rescale_intercept": (_number, (("PixelValueTransformationSequence", "RescaleIntercept"),)),
    "rescale_type": (str, (("PixelValueTransformationSequence", "RescaleType"),)),
    "image_type": (_words, (("ImageDataTypeSequence", "DataType"), *_FRAME_TYPES)),
    "echo_time": (
        _number,
        (("MREchoSequence", "EffectiveEchoTime"), *_converted("EchoTime")),
    ),
    "inversion_time": (
        _first_number,
        (("MRModifierSequence", "InversionTimes"), *_converted("InversionTime")),
    ),
    "flip_angle": (
        _number,
        (("MRTimingAndRelatedParametersSequence", "FlipAngle"), *_converted("FlipAngle")),
    ),
    "diffusion_b_value": (
        _number,
        (("MRDiffusionSequence", "DiffusionBValue"), *_converted("DiffusionBValue")),
    ),
    "diffusion_gradient_orientation": (
        _numbers,
        (
            ("MRDiffusionSequence", "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation"),
            *_converted("DiffusionGradientOrientation"),
        ),
    ),
    "nominal_percentage_of_cardiac_phase": (
        _number,
        (("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),),
    ),
    "nominal_interval": (
        _number,
        (("CardiacSynchronizationSequence", "RRIntervalTimeNominal"), *_converted("NominalInterval")),
    ),
    "cardiac_number_of_images": (int, _converted("CardiacNumberOfImages")),
    "trigger_time": (
        _number,
        (
            ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
            *_converted("TriggerTime"),
        ),
    ),
    "temporal_position_identifier": (
        int,
        (
            ("FrameContentSequence", "TemporalPositionIndex"),
            *_converted("TemporalPositionIdentifier"),
        ),
    ),
    "temporal_position_time_offset": (
        _number,
        (("TemporalPositionSequence", "TemporalPositionTimeOffset"),),
    ),
    "repetition_time": (
        _number,
        (("MRTimingAndRelatedParametersSequence", "RepetitionTime"), *_converted("RepetitionTime")),
    ),
    "kvp": (_number, (("CTXRayDetailsSequence", "KVP"), *_converted("KVP"))),
    "acquisition_number": (int, _converted("AcquisitionNumber")),
    "acquisition_date": (
        lambda value: str(value)[:8],
        (
            ("FrameContentSequence", "FrameAcquisitionDateTime"),
            *_converted("AcquisitionDate"),
        ),
    ),
    "acquisition_time": (
        _time_of_day,
        (
            ("FrameContentSequence", "FrameAcquisitionDateTime"),
            *_converted("AcquisitionTime"),
        ),
    ),
}
"""Field of an instance record to how it is read and where it stands, in the frame's groups or the shared."""


MULTI_FRAME = frozenset((
    uid.EnhancedCTImageStorage, uid.EnhancedMRImageStorage, uid.EnhancedMRColorImageStorage,
    uid.EnhancedPETImageStorage, uid.EnhancedUSVolumeStorage, uid.LegacyConvertedEnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage, uid.LegacyConvertedEnhancedPETImageStorage,
    uid.EnhancedXAImageStorage, uid.EnhancedXRFImageStorage, uid.XRay3DAngiographicImageStorage,
    uid.XRay3DCraniofacialImageStorage, uid.BreastTomosynthesisImageStorage,
    uid.BreastProjectionXRayImageStorageForPresentation, uid.BreastProjectionXRayImageStorageForProcessing,
    uid.OphthalmicTomographyImageStorage,
    uid.IntravascularOpticalCoherenceTomographyImageStorageForPresentation,
    uid.IntravascularOpticalCoherenceTomographyImageStorageForProcessing,
))  # fmt: skip
"""SOP classes that describe their frames in functional groups, even where there is one frame only."""


@dataclass(frozen=True, slots=True)
class Concatenation:
    """Which part of a multi-frame object an instance holds (PS3.3 C.7.6.16.2.2.4)."""

    uid: str
    number: int
    """From 1."""
    total: int | None
    """Of parts, where it is known."""
    first_frame: int | None
    """Frames of the object before those of this part, where it is known."""


def concatenation_of(ds: Dataset) -> Concatenation | None:
    """Which part of an object an instance is; `None` where it is all of it.

    Raises
    ------
    HeaderError
        If it names a concatenation and does not say which part it is.
    """
    if not ds.get("ConcatenationUID"):
        return None
    try:
        total, first = (
            ds.get(keyword) for keyword in ("InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber")
        )
        return Concatenation(
            str(ds.ConcatenationUID),
            int(ds.InConcatenationNumber),
            None if total is None else int(total),
            None if first is None else int(first),
        )
    except (AttributeError, TypeError, ValueError):
        raise HeaderError("is part of a concatenation and does not say which (0020,9162)") from None


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
            is_volume = any("PlanePositionVolumeSequence" in each for each in (*shared, *own[:1]))
            if is_volume:
                image = replace(image, volume_frame_of_reference_uid=_volume_uid(ds))
            dimensions = _dimensions(ds)
            return tuple(
                replace(
                    image,
                    frame_index=index,
                    dimension_indices=_indices(own[index : index + 1], dimensions),
                    **_begin_of_dynamic_scan(own[index : index + 1])
                    | _attributes([*own[index : index + 1], *shared]),
                )
                for index in range(image.number_of_frames or 1)
            )
    except Exception as error:  # whatever pydicom stumbles over in hostile bytes is a fault of the file
        raise HeaderError(f"functional groups cannot be read: {type(error).__name__}") from None


_PLACES = frozenset({
    "StackID", "InStackPositionNumber", "ImagePositionPatient", "ImageOrientationPatient",
    "ImagePositionVolume", "ImageOrientationVolume",
})  # fmt: skip
"""Dimensions that say where a frame lies; position and orientation say it better."""


def _dimensions(ds: Dataset) -> tuple[tuple[int, str], ...]:
    """Place in Dimension Index Values and name of each dimension, but those of place and private ones."""
    items = list(ds.get("DimensionIndexSequence") or ())
    keywords = [keyword_for_tag(int(item.get("DimensionIndexPointer") or 0)) for item in items]
    return tuple(
        (number, snake_case(keyword))
        for number, keyword in enumerate(keywords)
        if keyword and keyword not in _PLACES
    )


def _indices(own: list[Dataset], dimensions: tuple[tuple[int, str], ...]) -> tuple[tuple[str, int], ...]:
    if not dimensions:
        return ()
    value = _value(own, ("FrameContentSequence", "DimensionIndexValues"))
    indices = [value] if isinstance(value, int) else list(value or ())
    return tuple((name, int(indices[number])) for number, name in dimensions if number < len(indices))


def _volume_uid(ds: Dataset) -> str | None:
    """Volume Frame of Reference UID (0020,9312) of an ultrasound volume."""
    return str(ds.get("VolumeFrameOfReferenceUID") or "") or None


def _begin_of_dynamic_scan(own: list[Dataset]) -> dict[str, Any]:
    """When Philips began the temporal position of a frame, in seconds: (2005,xxA0) in (2005,xx0F)."""
    try:
        item = own[0].private_block(0x2005, "Philips MR Imaging DD 005")[0x0F].value[0]
        begin = float(item.private_block(0x2005, "Philips MR Imaging DD 001")[0xA0].value)
    except (LookupError, AttributeError, TypeError, ValueError):  # no such element, or not as Philips has it
        return {}
    return {"temporal_position_time_offset": begin} if math.isfinite(begin) else {}


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
