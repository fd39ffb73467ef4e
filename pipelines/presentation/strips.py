"""Channels over time as strips on millimetre paper: what a viewer has to know, and pieces of the curves.

A curve is given at levels, as a pyramid of an image: a column of level `n` is the least and the greatest of
2ⁿ samples, so that no peak is lost however long the recording; level 0 is the samples. Columns come in tiles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr

from catalog.errors import QuestionError
from pipelines.blocks import HERE
from pipelines.objects.waveform_annotations import WaveformAnnotation

type Envelope = npt.NDArray[np.float32]
"""Shape (2, channel, column): the least of each column, then the greatest; NaN where there are no samples."""

TILE_COLUMNS = 1024
TILE_SAMPLES = 1 << 20
"""At most of a channel in a tile: those of high levels have fewer columns."""
HIGHEST_LEVEL = 20
READ_BYTES = 32 << 20
"""Of samples that are in memory at once."""
MOST_ANNOTATIONS = 10_000
"""That a page is told of."""

_MILLIVOLTS = {"nV": 1e-6, "uV": 1e-3, "mV": 1.0, "V": 1e3}
_LOOKED_AT = 1 << 17
"""Samples from which the scale of what is no voltage is chosen."""
_BAND_MM = (8.0, 25.0)
"""Height of a strip: no less, no more."""
_ALL_BANDS_MM = 180.0
_SAME_RATE, _UNEVEN = 1e-6, 0.01


@dataclass(frozen=True, slots=True)
class Paper:
    """How fast the paper runs and how far a curve goes."""

    mm_per_s: float
    mm_per_mv: float


PAPER: Mapping[str, Paper] = {"EEG": Paper(30, 100)}
"""By Modality (0008,0060); all others are drawn as an ECG is."""
ECG = Paper(25, 10)


@dataclass(frozen=True, slots=True)
class Channel:
    """One strip."""

    name: str
    unit: str
    """UCUM; empty for `1`."""
    is_voltage: bool
    per_mm: float
    """Of the unit, on paper as `Strips.paper` has it."""
    center: float
    """Value in the middle of the strip, in the unit."""


@dataclass(frozen=True, slots=True)
class Strips:
    """A waveform as a viewer needs to know it."""

    channels: tuple[Channel, ...]
    start_s: float
    """Of the first sample, from the start of the acquisition."""
    frequency_hz: float
    samples: int
    paper: Paper
    band_mm: float
    """Height of a strip."""
    label: str
    annotations: tuple[WaveformAnnotation, ...]
    note: str
    """What a reader should know of the annotations; empty for nothing."""

    @property
    def stop_s(self) -> float:
        """End of the last sample."""
        return self.start_s + self.samples / self.frequency_hz

    def as_json(self) -> dict[str, Any]:
        """As plain values, for the browser."""
        return asdict(self) | {"tile_columns": TILE_COLUMNS, "tile_samples": TILE_SAMPLES}


def is_waveform(array: xr.DataArray) -> bool:
    """Whether an array is made of channels over time, or of one of them."""
    return set(array.dims) in ({"channel", "time"}, {"time"})


def traces(array: xr.DataArray) -> xr.DataArray:
    """The same array with dimensions (channel, time).

    Raises
    ------
    QuestionError
        If it is no waveform, has nothing in it, or its samples do not come at one rate.
    """
    if not is_waveform(array) or 0 in array.shape:
        raise QuestionError(f"strips are drawn of (channel, time), not of {dict(array.sizes)}")
    return (array if "channel" in array.dims else array.expand_dims("channel")).transpose("channel", "time")


def strips_of(array: xr.DataArray, annotations: Sequence[WaveformAnnotation] = (), note: str = "") -> Strips:
    """Describe a waveform.

    Parameters
    ----------
    array
        (channel, time) or (time), as `Bench.volume` gives it, or computed of that.
    annotations
        What is said of it.
    note
        What a reader should know of them.

    Raises
    ------
    QuestionError
        As `traces`.
    """
    array = traces(array)
    start_s, frequency_hz = _rate(array)
    paper = PAPER.get(str(array.attrs.get("modality") or ""), ECG)
    low, high = _BAND_MM
    band_mm = min(max(_ALL_BANDS_MM / array.sizes["channel"], low), high)
    looked_at = read(array, 0, min(_LOOKED_AT, array.sizes["time"]))
    if len(annotations) > MOST_ANNOTATIONS:
        note = f"{note} the first {MOST_ANNOTATIONS:,} of {len(annotations):,} annotations".strip()
    return Strips(
        channels=tuple(
            _channel(name, unit, values, paper, band_mm)
            for name, unit, values in zip(_names(array), _units(array), looked_at, strict=True)
        ),
        start_s=start_s,
        frequency_hz=frequency_hz,
        samples=array.sizes["time"],
        paper=paper,
        band_mm=band_mm,
        label=str(array.attrs.get("label") or ""),
        annotations=tuple(annotations[:MOST_ANNOTATIONS]),
        note=note,
    )


def tile_of(array: xr.DataArray, level: int, tile: int) -> Envelope:
    """Read one tile of a level, from 0; memory is bounded, however long the recording.

    Raises
    ------
    QuestionError
        If there is no such level or tile.
    """
    if not 0 <= level <= HIGHEST_LEVEL:
        raise QuestionError(f"levels run from 0 to {HIGHEST_LEVEL}, not {level}")
    step = 1 << level
    length = min(TILE_COLUMNS * step, TILE_SAMPLES)
    start, end = tile * length, array.sizes["time"]
    if not 0 <= start < end:
        raise QuestionError(f"there is no tile {tile} at level {level}: it has {-(-end // length)}")
    stop = min(start + length, end)
    piece = 1 << max(0, (READ_BYTES // (8 * array.sizes["channel"])).bit_length() - 1)
    within = min(step, piece)
    columns = [envelope(read(array, at, min(at + piece, stop)), within) for at in range(start, stop, piece)]
    low, high = np.concatenate(columns, axis=2)
    return np.stack([_reduced(np.fmin, low, step // within), _reduced(np.fmax, high, step // within)])


def envelope(values: npt.NDArray[Any], step: int) -> Envelope:
    """The least and the greatest of each `step` samples of (channel, sample); the last may have fewer."""
    return np.stack([_reduced(each, values, step) for each in (np.fmin, np.fmax)]).astype(np.float32)


def read(array: xr.DataArray, start: int, stop: int) -> npt.NDArray[np.float64]:
    """Samples of every channel of (channel, time), in the thread that asks."""
    with dask.config.set(scheduler=HERE):
        return np.asarray(array.isel(time=slice(start, stop)).to_numpy(), np.float64)


def _reduced(by: np.ufunc, values: npt.NDArray[Any], step: int) -> npt.NDArray[Any]:
    """Every `step` values of a channel made one; NaN gives way to any number."""
    return np.asarray(by.reduceat(values, np.arange(0, values.shape[1], step), axis=1))


def _rate(array: xr.DataArray) -> tuple[float, float]:
    """Start in s and samples a second, by the coordinate `time`; else by numbers of samples."""
    count = array.sizes["time"]
    known = float(array.attrs.get("sampling_frequency_hz") or 0.0)
    if "time" not in array.coords or count < 2:
        return 0.0, known or 1.0
    values = array.coords["time"].values
    step = float(values[-1] - values[0]) / (count - 1)
    is_as_read = step > 0 and abs(step * known - 1) < _SAME_RATE  # spares looking at each of millions
    if not is_as_read and (not step > 0 or np.abs(np.diff(values) - step).max() > _UNEVEN * step):
        raise QuestionError("strips are drawn of samples at one rate: the coordinate time has uneven steps")
    return float(values[0]), known if is_as_read else 1 / step


def _names(array: xr.DataArray) -> list[str]:
    if "channel" in array.coords:
        return [str(each) for each in array.coords["channel"].values]
    return [f"channel {number}" for number in range(1, array.sizes["channel"] + 1)]


def _units(array: xr.DataArray) -> list[str]:
    coordinate = array.coords.get("units")
    count = array.sizes["channel"]
    if coordinate is not None and coordinate.ndim <= 1:
        units = np.broadcast_to(np.ravel(coordinate.values), (count,)).tolist()
    else:
        units = [str(array.attrs.get("units") or "")] * count
    return ["" if str(each) == "1" else str(each) for each in units]


def _channel(name: str, unit: str, values: npt.NDArray[np.float64], paper: Paper, band_mm: float) -> Channel:
    finite = values[np.isfinite(values)]
    middle = float(np.median(finite)) if finite.size else 0.0
    if unit in _MILLIVOLTS:
        per_mm = 1 / (paper.mm_per_mv * _MILLIVOLTS[unit])
        return Channel(name, unit, True, per_mm, 0.0 if abs(middle) <= per_mm * band_mm / 2 else middle)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return Channel(name, unit, False, _round_up((high - low) / (band_mm - 2)), (low + high) / 2)


def _round_up(value: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    if not 0 < value < np.inf:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(each * power for each in (1, 2, 5, 10) if each * power >= value * (1 - 1e-9)))
