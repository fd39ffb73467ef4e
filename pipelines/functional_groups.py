"""What a multi-frame object says of each of its frames (PS3.3 C.7.6.16.1.2); no I/O."""

import warnings
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset

from catalog.errors import HeaderError


@dataclass(frozen=True, slots=True)
class FrameAttributes:
    """Place and rescale of one frame."""

    position_lps_mm: tuple[float, ...] | None = None
    rescale_slope: float | None = None
    rescale_intercept: float | None = None


def frame_attributes(ds: Dataset, frames: int) -> tuple[FrameAttributes, ...]:
    """Read the functional groups of each frame, or those shared by all frames where it has none of its own.

    Attributes that are absent are `None`; an object without functional groups has none at all.

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
            return tuple(_attributes([*own[index : index + 1], *shared]) for index in range(frames))
    except Exception as error:  # whatever pydicom stumbles over in hostile bytes is a fault of the file
        raise HeaderError(f"functional groups cannot be read: {type(error).__name__}") from None


def _attributes(groups: list[Dataset]) -> FrameAttributes:
    position = _first(groups, "PlanePositionSequence", "ImagePositionPatient")
    slope = _first(groups, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _first(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    return FrameAttributes(
        None if position is None else tuple(float(each) for each in position),
        None if slope is None else float(slope),
        None if intercept is None else float(intercept),
    )


def _first(groups: list[Dataset], sequence: str, keyword: str) -> Any:
    items = (item for group in groups for item in (group.get(sequence) or ())[:1])
    return next((item[keyword].value for item in items if keyword in item), None)
