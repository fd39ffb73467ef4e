"""What a waveform object says of its own curves: its Waveform Annotation Sequence (PS3.3 C.10.10)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import xarray as xr
from pydicom import Dataset
from pydicom.valuerep import DT

from pipelines.objects.file import numbers

_PAIRS = ("SEGMENT", "MULTISEGMENT")
_OPEN = ("BEGIN", "END")


@dataclass(frozen=True, slots=True)
class WaveformAnnotation:
    """One item of the sequence, at one of the places it names."""

    text: str
    """Its name, its value and the unit of that: `QT Interval 368 ms`."""
    start_s: float | None
    """From the start of the acquisition, as the coordinate `time`; `None` where it names no place in time."""
    stop_s: float | None
    """Where it is a stretch; `None` for a point."""
    channels: tuple[int, ...]
    """Those it is about, from 0; none for all of them."""
    group: int
    """Annotation Group Number (0040,A180)."""


def annotations_of(ds: Dataset, waveform: xr.DataArray) -> list[WaveformAnnotation]:
    """Return what is said of one multiplex group, in the order of time, what has no place in time first.

    Parameters
    ----------
    ds
        Header of the object.
    waveform
        The group as `read_waveforms` gives it; its attribute `multiplex_group` is the one that is meant.
    """
    number = waveform.attrs.get("multiplex_group")
    found = [
        each
        for item in ds.get("WaveformAnnotationSequence") or ()
        if (channels := _channels(item, number)) is not None
        for each in _placed(item, channels, waveform, ds)
    ]
    return sorted(found, key=lambda each: float("-inf") if each.start_s is None else each.start_s)


def _channels(item: Dataset, number: int | None) -> tuple[int, ...] | None:
    """Channels of this group that an item is about, `()` for all; `None` where it is about another group.

    Referenced Waveform Channels (0040,A0B0) are pairs of group and channel, channel 0 being the whole group
    (C.10.10.1.1); some devices write group 0 for the whole object.
    """
    values = [int(each) for each in numbers(item.get("ReferencedWaveformChannels"))]
    pairs = list(zip(values[::2], values[1::2], strict=False))
    here = [channel for group, channel in pairs if group in (0, number)]
    if pairs and not here:
        return None
    return () if 0 in here else tuple(channel - 1 for channel in here)


def _placed(
    item: Dataset, channels: tuple[int, ...], waveform: xr.DataArray, ds: Dataset
) -> Iterator[WaveformAnnotation]:
    text, group = _text(item), int(item.get("AnnotationGroupNumber") or 0)
    points = _seconds(item, waveform, ds)
    if not points:
        yield WaveformAnnotation(text, None, None, channels, group)
        return
    kind = str(item.get("TemporalRangeType") or "POINT")
    for start, stop in _ranges(kind, points, waveform):
        yield WaveformAnnotation(text, start, stop, channels, group)


def _ranges(kind: str, points: Sequence[float], waveform: xr.DataArray) -> list[tuple[float, float | None]]:
    """Points, or pairs that are stretches, of Temporal Range Type (0040,A130)."""
    if kind in _PAIRS:
        return list(zip(points[::2], points[1::2], strict=False))
    if kind in _OPEN:
        time = waveform.coords["time"].values
        first, last = float(time[0]), float(time[-1])
        return [(each, max(each, last)) if kind == "BEGIN" else (min(each, first), each) for each in points]
    return [(each, None) for each in points]


def _seconds(item: Dataset, waveform: xr.DataArray, ds: Dataset) -> list[float]:
    """When, by one of the three attributes that say so: sample numbers from 1, offsets, or date and time."""
    if samples := numbers(item.get("ReferencedSamplePositions")):
        start = float(waveform.coords["time"].values[0])
        frequency = float(waveform.attrs["sampling_frequency_hz"])
        return [start + (each - 1) / frequency for each in samples]
    if offsets := numbers(item.get("ReferencedTimeOffsets")):
        return list(offsets)
    began = _moment(ds.get("AcquisitionDateTime"))
    moments = [_moment(each) for each in _several(item.get("ReferencedDateTime"))]
    if began is None or any(
        each is None or (each.tzinfo is None) != (began.tzinfo is None) for each in moments
    ):
        return []
    return [(each - began).total_seconds() for each in moments if each is not None]


def _moment(value: Any) -> datetime | None:
    try:
        return DT(value) if value else None
    except (TypeError, ValueError):
        return None


def _several(value: Any) -> list[Any]:
    if not value:
        return []
    return [value] if isinstance(value, str) else list(value)


def _text(item: Dataset) -> str:
    words = [
        _meaning(item.get("ConceptNameCodeSequence")),
        _meaning(item.get("ConceptCodeSequence")),
        str(item.get("UnformattedTextValue") or ""),
        " ".join(f"{each:g}" for each in numbers(item.get("NumericValue"))),
        _code(item.get("MeasurementUnitsCodeSequence")),
    ]
    return " ".join(each for each in words if each) or "annotation"


def _meaning(items: Any) -> str:
    return str(items[0].get("CodeMeaning") or items[0].get("CodeValue") or "") if items else ""


def _code(items: Any) -> str:
    unit = str(items[0].get("CodeValue") or "") if items else ""
    return "" if unit == "1" else unit
