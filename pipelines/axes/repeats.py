"""Volumes at one place in the patient, joined along what varies: time, echo, b-value; no I/O.

The axes, outermost first, are the attributes of `FACTORS` that vary and of which every value occurs equally
often; what is left over is one more axis, in the order of time. It is called `b_value` or `echo_time` where
one of these varies unevenly, as in a diffusion scan with one volume without gradient; `phase` where the heart
beats, in % of the cycle or in ms from the R wave; `time`, in seconds, where the instances say when they were
taken, or it is sure that a volume was in each repetition; and `temporal_position`, from 1, where nothing else
is known. Dimensions that an enhanced object names are axes by their index, from 1.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from pydicom.valuerep import DT

from catalog.records import InstanceRecord

DAY = "19000101"
"""For a time without its date."""
COUNTED = "temporal_position"
"""Name of an axis of which nothing but the order is known."""
NO_DIRECTION = (math.nan,) * 3
"""Of a volume without gradient."""

type Volume = tuple[InstanceRecord, ...]
type Measure = Callable[[InstanceRecord], float | None]


@dataclass(frozen=True, slots=True)
class Axis:
    """What a volume repeats along."""

    name: str
    unit: str
    """UCUM; empty for a count."""
    values: tuple[float, ...]
    source: str = ""
    """The attribute the values were made from, where they stand in no attribute themselves."""


@dataclass(frozen=True, slots=True)
class Along:
    """What else is known of each volume."""

    name: str
    unit: str
    values: tuple[tuple[float, ...], ...]
    """One row of numbers a volume, in the order of the volumes."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Volumes in the order of their axes, the last axis fastest."""

    volumes: tuple[Volume, ...]
    axes: tuple[Axis, ...]
    along: tuple[Along, ...]


FACTORS: tuple[tuple[str, str, Measure], ...] = (
    ("echo_time", "ms", lambda image: image.echo_time),
    ("b_value", "s/mm2", lambda image: image.diffusion_b_value),
    ("inversion_time", "ms", lambda image: image.inversion_time),
    ("flip_angle", "deg", lambda image: image.flip_angle),
    ("kvp", "kV", lambda image: image.kvp),
)
"""Attributes that are axes of their own ..."""
UNEVEN = FACTORS[:2]
"""... and those of them that are one even where some values occur more often than others."""

KNOWN_BETTER = frozenset({
    "temporal_position", "temporal_position_time_offset", "time_slot", "frame_acquisition_date_time",
    "frame_reference_date_time", "frame_acquisition_number", "nominal_cardiac_trigger_delay_time",
    "actual_cardiac_trigger_delay_time", "nominal_percentage_of_cardiac_phase", "trigger_time",
    "effective_echo_time", "inversion_times", "diffusion_b_value", "diffusion_gradient_orientation",
    "diffusion_gradient_direction_sequence", "mr_diffusion_sequence", "diffusion_directionality",
})  # fmt: skip
"""Dimensions of an enhanced object of which the frames tell more than an index: they are no axes by it."""
REPETITION_TOLERANCE = 0.01
"""How far Acquisition Duration may be from all repetitions together, as a part of it."""


def join(volumes: Sequence[Volume]) -> Repeats:
    """Order volumes of one place and name the axes along which they repeat.

    Parameters
    ----------
    volumes
        Two or more, of the same planes.
    """
    rest = sorted(volumes, key=_order)
    axes: list[Axis] = []
    groups: list[list[Volume]] = [list(rest)]
    dimensions = [each for each in _dimensions(rest) if each[0] not in KNOWN_BETTER]
    for name, unit, measure in (*FACTORS, *dimensions):
        values = _even(groups, measure)
        if values:
            axes.append(Axis(name, unit, values))
            groups = [
                [each for each in group if _of(each, measure) == value]
                for group in groups
                for value in values
            ]
    if len(groups[0]) > 1:
        axes.append(_remaining(groups[0], is_only=not axes))
    ordered = tuple(volume for group in groups for volume in group)
    names = {axis.name for axis in axes}
    named = names | {f"{name}_index" for name, *_ in dimensions if name in names}
    return Repeats(ordered, tuple(axes), tuple(each for each in _along(ordered) if each.name not in named))


def _of(volume: Volume, measure: Measure) -> float | None:
    """Value of a volume; `None` where its planes disagree."""
    values = {measure(image) for image in volume}
    return values.pop() if len(values) == 1 else None


def _even(groups: Sequence[Sequence[Volume]], measure: Measure) -> tuple[float, ...]:
    """The values, in order, of an attribute that every group has equally often; none where it is no axis."""
    found: set[tuple[float, ...]] = set()
    for group in groups:
        values = [_of(volume, measure) for volume in group]
        counts = Counter(values)
        known = sorted(value for value in counts if value is not None)
        if None in counts or len(known) < 2 or len(set(counts.values())) > 1:
            return ()
        found.add(tuple(known))
    return found.pop() if len(found) == 1 else ()


def _remaining(volumes: Sequence[Volume], *, is_only: bool) -> Axis:
    for name, unit, measure in UNEVEN:
        values = [_of(volume, measure) for volume in volumes]
        numbers = tuple(value for value in values if value is not None)
        if len(set(numbers)) > 1 and len(numbers) == len(values):
            return Axis(name, unit, numbers)
    phases = _phases(volumes)
    if phases is not None:
        return phases
    seconds = seconds_of(volumes)
    if seconds is not None:
        return Axis("time", "s", seconds)
    repetition = _repetition_time_s(volumes) if is_only else None
    if repetition is not None:
        times = tuple(round(number * repetition, 6) for number in range(len(volumes)))
        return Axis("time", "s", times, "Repetition Time (0018,0080)")
    return Axis(COUNTED, "", tuple(float(number + 1) for number in range(len(volumes))))


def _phases(volumes: Sequence[Volume]) -> Axis | None:
    """Phases of the heart: Nominal Percentage of Cardiac Phase (0020,9241), or Trigger Time within one beat.

    Trigger Time (0018,1060), in ms, is one only where the images say that they are of the heart, and only as
    long as it stays within Nominal Interval (0018,1062): others count the time of a whole scan in it. Planes
    may be triggered at times of their own; the median stands for the volume.
    """
    percentages = [_of(volume, lambda image: image.nominal_percentage_of_cardiac_phase) for volume in volumes]
    known = tuple(each for each in percentages if each is not None)
    if len(known) == len(volumes) and _rise(known):
        return Axis("phase", "%", known)
    images = [image for volume in volumes for image in volume]
    if not all(image.trigger_time is not None and _is_of_a_heart(image) for image in images):
        return None
    times = tuple(median(image.trigger_time or 0.0 for image in volume) for volume in volumes)
    return Axis("phase", "ms", times) if _rise(times) else None


def _rise(values: Sequence[float]) -> bool:
    return all(earlier < later for earlier, later in pairwise(values))


def _is_of_a_heart(image: InstanceRecord) -> bool:
    interval = image.nominal_interval or 0.0
    within = interval <= 0 or (image.trigger_time or 0.0) <= interval
    return within and (interval > 0 or (image.cardiac_number_of_images or 0) > 1)


# --- time ------------------------------------------------------------------------------------------------


def seconds_of(volumes: Sequence[Volume]) -> tuple[float, ...] | None:
    """Seconds of each volume from the first one on, by the first source that gives ever later times.

    Temporal Position Time Offset (0020,930D); Acquisition Date and Time (0008,0022), (0008,0032); Trigger
    Time (0018,1060), which is in ms; Content Time (0008,0033).
    """
    for clock in (_offset, _acquired, _triggered, _made):
        times = [_earliest(volume, clock) for volume in volumes]
        known = [at for at in times if at is not None]
        if len(known) == len(times) and all(earlier < later for earlier, later in pairwise(known)):
            return tuple(round(at - known[0], 6) for at in known)
    return None


def _repetition_time_s(volumes: Sequence[Volume]) -> float | None:
    """Repetition Time, where it is sure that a volume was taken in each; `None` where it is not.

    All images were taken by one acquisition, the volumes are as many as Number of Temporal Positions
    (0020,0105) says, and as many repetitions take as long as the acquisition did (0018,9073), or GE's
    (0019,xx5A). So neither a scan of several shots nor one that was cut off or began with dummies is one.
    """
    images = [image for volume in volumes for image in volume]
    known = {
        (
            image.repetition_time,
            image.acquisition_duration,
            image.number_of_temporal_positions,
            image.acquisition_number,
            image.acquisition_time,
        )
        for image in images
    }
    if len(known) > 1:
        return None
    ((repetition_ms, duration, positions, *_),) = known
    if not repetition_ms or not duration or min(repetition_ms, duration) <= 0 or positions != len(volumes):
        return None
    seconds = repetition_ms / 1000
    is_whole = abs(duration - positions * seconds) <= REPETITION_TOLERANCE * duration
    return seconds if is_whole else None


def times_of_frames(frames: Sequence[InstanceRecord]) -> tuple[Axis, ...]:
    """When the frames of an object, in their order, were taken, if each says so and all show one place."""
    are_frames = all(each.frame_index is not None and each.mosaic is None for each in frames)
    if len(frames) < 2 or not are_frames or len({each.image_position_patient for each in frames}) > 1:
        return ()
    seconds = seconds_of([(frame,) for frame in frames])
    return () if seconds is None else (Axis("time", "s", seconds),)


def _earliest(volume: Volume, clock: Measure) -> float | None:
    return min((at for image in volume if (at := clock(image)) is not None), default=None)


def _offset(image: InstanceRecord) -> float | None:
    return image.temporal_position_time_offset


def _acquired(image: InstanceRecord) -> float | None:
    return _moment(image.acquisition_date, image.acquisition_time)


def _triggered(image: InstanceRecord) -> float | None:
    return None if image.trigger_time is None else image.trigger_time / 1000


def _made(image: InstanceRecord) -> float | None:
    return _moment(image.acquisition_date, image.content_time)


def _moment(date: str | None, time: str | None) -> float | None:
    """Seconds since a fixed day; DA and TM as in PS3.5 section 6.2."""
    if not time:
        return None
    try:
        moment: Any = DT(f"{date or DAY}{time.replace(':', '')}")
    except ValueError:
        return None
    return float((moment.replace(tzinfo=None) - datetime(1900, 1, 1)).total_seconds())  # noqa: DTZ001  (local times)


def _order(volume: Volume) -> tuple[float | str, ...]:
    first = min(volume, key=_serial)
    return (
        first.temporal_position_identifier or 0,
        first.temporal_position_time_offset or 0.0,
        first.nominal_percentage_of_cardiac_phase or 0.0,
        _earliest(volume, _acquired) or 0.0,
        first.trigger_time or 0.0,
        first.acquisition_number or 0,
        _earliest(volume, _made) or 0.0,
        *_serial(first),
    )


def _serial(image: InstanceRecord) -> tuple[int, str, int]:
    return image.instance_number or 0, image.sop_instance_uid, image.frame_index or 0


# --- what stands beside ----------------------------------------------------------------------------------


def _along(volumes: Sequence[Volume]) -> list[Along]:
    """Attributes that every volume has and that vary from volume to volume."""
    found = []
    dimensions = [(f"{name}_index", unit, measure) for name, unit, measure in _dimensions(volumes)]
    for name, unit, measure in (*FACTORS, *dimensions):
        values = [_of(volume, measure) for volume in volumes]
        numbers = tuple((value,) for value in values if value is not None)
        if len(numbers) == len(values) and len(set(numbers)) > 1:
            found.append(Along(name, unit, numbers))
    directions = [_direction(volume) for volume in volumes]
    if any(each is not None for each in directions):
        found.append(Along("gradient_direction", "", tuple(each or NO_DIRECTION for each in directions)))
    return found


def _dimensions(volumes: Sequence[Volume]) -> Iterator[tuple[str, str, Measure]]:
    """The index along each dimension that an enhanced object names (PS3.3 C.7.6.17)."""

    def measure(name: str) -> Measure:
        return lambda image: dict(image.dimension_indices).get(name)

    for name, _ in volumes[0][0].dimension_indices:
        yield name.removesuffix("_index"), "", measure(name)


def _direction(volume: Volume) -> tuple[float, ...] | None:
    """Diffusion Gradient Orientation (0018,9089) in the patient; `None` where planes have none or differ."""
    directions = {image.diffusion_gradient_orientation for image in volume}
    direction = directions.pop()
    return direction if not directions and direction is not None and len(direction) == 3 else None
