"""When each frame of a multi-frame image was taken: seconds from the first frame (PS3.3 C.7.6.5); no I/O."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from catalog.errors import HeaderError
from catalog.window import name_of

CONTRADICTION = 0.1
"""By how much of the rate Frame Time and Cine Rate may differ before the difference is mentioned."""


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """Times of the frames of one instance, or the reason why there are none."""

    values: tuple[float, ...] | None
    """Seconds from the first frame, one a frame; frames of several detectors may share a time."""
    source: str
    """The attribute they come from, by name and tag; empty where there are none."""
    reason: str = ""
    """Why there are no times, or what in the file contradicts them; empty where there is nothing to say."""
    delay_s: float = 0.0
    """Frame Delay (0018,1066): from Content Time to the first frame."""


def frame_times_s(ds: Dataset, frames: int) -> FrameTimes:
    """Return the times of the frames of an instance in seconds from the first frame.

    Frame Increment Pointer (0028,0009) says which attribute holds; without it, or where the attribute it
    names is absent, the first that is there of Frame Time Vector, Frame Time, Cine Rate and Recommended
    Display Frame Rate does. One that is there and makes no sense is not replaced by a guess.

    Parameters
    ----------
    ds
        The header; pixel data are not looked at.
    frames
        How many there are; Number of Frames (0028,0008) is not trusted.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # departures that pydicom would warn of are tolerated here
            return _frame_times(ds, frames)
    except HeaderError as error:
        return FrameTimes(None, "", str(error))
    except Exception as error:  # whatever pydicom stumbles over in hostile bytes is a fault of the file
        return FrameTimes(None, "", f"the times of the frames cannot be read: {type(error).__name__}")


def _frame_times(ds: Dataset, frames: int) -> FrameTimes:
    named = _pointed_at(ds)
    candidates = [*(keyword for keyword in named if keyword in _READERS), *_IN_ORDER]
    keyword = next((each for each in candidates if _is_there(ds, each)), None)
    others = ", ".join(_name(each) for each in named if each not in _READERS)
    if others and (keyword is None or keyword not in named):
        return FrameTimes(None, "", f"the frames differ by {others}, not by time")
    if keyword is None:
        return FrameTimes(None, "", "the file does not say when its frames were taken (PS3.3 C.7.6.5)")
    values = _READERS[keyword](ds, frames)
    if len(values) != frames or not all(map(math.isfinite, values)):
        raise HeaderError(f"{_name(keyword)} gives no finite time for each of {frames} frames")
    lacking = next((each for each in named if each in _READERS and not _is_there(ds, each)), None)
    remark = f"Frame Increment Pointer names {_name(lacking)}, which is absent" if lacking else ""
    reasons = [each for each in (remark, _contradiction(ds, keyword)) if each]
    return FrameTimes(values, _name(keyword), "; ".join(reasons), _number(ds, "FrameDelay", 0.0) / 1000)


def _pointed_at(ds: Dataset) -> tuple[str, ...]:
    """Keywords of the attributes that Frame Increment Pointer names, or their tags where there is none."""
    value = ds.get("FrameIncrementPointer")
    tags = [] if value is None else list(value) if isinstance(value, Sequence) else [value]
    return tuple(keyword_for_tag(int(tag)) or name_of(int(tag)) for tag in tags)


def _contradiction(ds: Dataset, keyword: str) -> str:
    """What Cine Rate says against Frame Time, in words."""
    if keyword != "FrameTime" or not _is_there(ds, "CineRate"):
        return ""
    time, rate = _number(ds, "FrameTime"), _number(ds, "CineRate")
    if abs(rate - 1000 / time) <= max(1.0, CONTRADICTION * 1000 / time):
        return ""
    return f"{_name('FrameTime')} is {time:g} ms, but {_name('CineRate')} {rate:g} frames a second"


# --- one reader for each attribute -----------------------------------------------------------------------


def _from_frame_time(ds: Dataset, frames: int) -> tuple[float, ...]:
    return _evenly(_positive(ds, "FrameTime", "ms") / 1000, frames)


def _from_rate(keyword: str) -> Callable[[Dataset, int], tuple[float, ...]]:
    return lambda ds, frames: _evenly(1 / _positive(ds, keyword, "frames a second"), frames)


def _from_vector(ds: Dataset, frames: int) -> tuple[float, ...]:
    """Increments between frames; the first is always 0 (PS3.3 C.7.6.5.1.2)."""
    name, value = _name("FrameTimeVector"), ds["FrameTimeVector"].value
    increments = [float(each) for each in (value if isinstance(value, Sequence) else [value])]
    if len(increments) != frames:
        raise HeaderError(f"{name} has {len(increments)} entries for {frames} frames")
    for index, increment in enumerate(increments[1:], 1):
        if not increment > 0:
            raise HeaderError(f"{name} has the increment {increment:g} ms before frame {index + 1}")
    return tuple(each / 1000 for each in accumulate((0.0, *increments[1:])))


def _from_time_slots(ds: Dataset, frames: int) -> tuple[float, ...]:
    """Gated NM: the time slot of each frame within the cardiac cycle (PS3.3 C.8.4.11, C.8.4.14)."""
    slots = _vector(ds, "TimeSlotVector", frames)
    intervals = [item for gate in ds.get("GatedInformationSequence", ()) for item in _intervals(gate)]
    if len(intervals) != 1:
        raise HeaderError(f"{len(intervals)} R-R intervals, each with time slots of its own")
    return _from_first([(slot - 1) * _positive(intervals[0], "FrameTime", "ms") / 1000 for slot in slots])


def _intervals(gate: Dataset) -> Sequence[Dataset]:
    return gate.get("DataInformationSequence") or ()


def _from_time_slices(ds: Dataset, frames: int) -> tuple[float, ...]:
    """Dynamic NM: phases of equal frames with pauses between them (PS3.3 C.8.4.8, C.8.4.14)."""
    slices = _vector(ds, "TimeSliceVector", frames)
    phases = _vector(ds, "PhaseVector", frames) if _is_there(ds, "PhaseVector") else (1,) * frames
    items = list(ds.get("PhaseInformationSequence") or ())
    if max(phases) > len(items):
        raise HeaderError(f"{_name('PhaseInformationSequence')} has no phase {max(phases)}")
    starts, steps = _starts_and_steps_ms(items)
    return _from_first([
        (starts[phase - 1] + (number - 1) * steps[phase - 1]) / 1000
        for phase, number in zip(phases, slices, strict=True)
    ])  # fmt: skip


def _starts_and_steps_ms(phases: Sequence[Dataset]) -> tuple[list[float], list[float]]:
    """When each phase starts, and from frame to frame in it; Phase Delay is the time before a phase."""
    starts, steps, now = [], [], 0.0
    for phase in phases:
        duration = _positive(phase, "ActualFrameDuration", "ms")
        pause, delay = (_number(phase, each, 0.0) for each in ("PauseBetweenFrames", "PhaseDelay"))
        if pause < 0 or delay < 0:
            raise HeaderError("a phase has a negative pause or delay")
        starts.append(now + delay)
        steps.append(duration + pause)
        now = starts[-1] + _positive(phase, "NumberOfFramesInPhase", "frames") * steps[-1] - pause
    return starts, steps


_READERS: dict[str, Callable[[Dataset, int], tuple[float, ...]]] = {
    "TimeSlotVector": _from_time_slots,
    "TimeSliceVector": _from_time_slices,
    "FrameTimeVector": _from_vector,
    "FrameTime": _from_frame_time,
    "CineRate": _from_rate("CineRate"),
    "RecommendedDisplayFrameRate": _from_rate("RecommendedDisplayFrameRate"),
}
_IN_ORDER = ("FrameTimeVector", "FrameTime", "CineRate", "RecommendedDisplayFrameRate")


# --- numbers ---------------------------------------------------------------------------------------------


def _is_there(ds: Dataset, keyword: str) -> bool:
    return ds.get(keyword) not in (None, "", [])


def _number(ds: Dataset, keyword: str, default: float = math.nan) -> float:
    value: Any = ds.get(keyword)
    return default if value in (None, "") else float(value)


def _positive(ds: Dataset, keyword: str, unit: str) -> float:
    number = _number(ds, keyword)
    if math.isnan(number):
        raise HeaderError(f"{_name(keyword)} is absent or no number")
    if not 0 < number < math.inf:
        raise HeaderError(f"{_name(keyword)} is {number:g} {unit}")
    return number


def _vector(ds: Dataset, keyword: str, frames: int) -> tuple[int, ...]:
    """One number from 1 a frame."""
    value = ds[keyword].value
    numbers = tuple(int(each) for each in (value if isinstance(value, Sequence) else [value]))
    if len(numbers) != frames:
        raise HeaderError(f"{_name(keyword)} has {len(numbers)} entries for {frames} frames")
    if min(numbers) < 1:
        raise HeaderError(f"{_name(keyword)} has the entry {min(numbers)}")
    return numbers


def _evenly(step: float, frames: int) -> tuple[float, ...]:
    return tuple(index * step for index in range(frames))


def _from_first(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(value - min(values) for value in values)


def _name(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    return keyword if tag is None else name_of(tag)
