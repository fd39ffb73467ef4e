"""ECG and other waveforms as channels over time, in physical units (PS3.3 C.10.9)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian

from catalog.errors import DecodeError, HeaderError
from pipelines.objects.file import DicomObject, named, numbers, open_object

WAVEFORM_STORAGE = frozenset(
    f"1.2.840.10008.5.1.4.1.1.9.{each}"
    for each in (1.1, 1.2, 1.3, 1.4, 2.1, 3.1, 4.1, 4.2, 5.1, 6.1, 6.2, 7.1, 7.2, 7.3, 7.4, 8.1)
)
"""SOP classes of waveforms: ECG, hemodynamic, electrophysiology, respiratory, EEG, EMG, audio ..."""

SAMPLES = {
    ("SB", 8): "i1", ("UB", 8): "u1", ("SS", 16): "i2", ("US", 16): "u2",
    ("SL", 32): "i4", ("UL", 32): "u4", ("SV", 64): "i8", ("UV", 64): "u8",
}  # fmt: skip
"""Waveform Sample Interpretation (5400,1006) and Bits Allocated (5400,1004) to a type (C.10.9.1.5)."""
COMPANDED = {"MB": "mu-law", "AB": "A-law"}
"""8 bits in a logarithmic code (ITU-T G.711), which is not decoded."""


def read_waveforms(path: str | Path) -> list[xr.DataArray]:
    """Read every multiplex group of a waveform object; each of shape (channel, time), float64.

    A value is sample × Channel Sensitivity × its Correction Factor + Channel Baseline, in Channel Sensitivity
    Units (C.10.9.1.4); samples that equal Waveform Padding Value are NaN. A channel without a sensitivity
    has its samples as they are, and the unit `1`.

    Coordinates are `channel` (label or source, such as `Lead II`), `time` in s from the start of the
    acquisition (Multiplex Group Time Offset (0018,1068) and Sampling Frequency (003A,001A)), `units` (UCUM)
    of each channel and, where one is late, `skew_s`. The attribute `units` is there where all agree;
    `multiplex_group` is the number of the group, from 1, by which annotations name it.

    Raises
    ------
    HeaderError
        If the file is no waveform object, or its samples are not described or companded.
    DecodeError
        If there are fewer samples than the header says.
    """
    with named(path):
        found = open_object(path, WAVEFORM_STORAGE, "a waveform object")
        groups = list(found.ds.get("WaveformSequence") or ())
        if not groups:
            raise HeaderError("has no Waveform Sequence (5400,0100)")
        return [_group(found, item, index) for index, item in enumerate(groups, start=1)]


def _group(found: DicomObject, item: Dataset, number: int) -> xr.DataArray:
    which = f"multiplex group {number}"
    channels, count = (
        int(item.get(keyword) or 0) for keyword in ("NumberOfWaveformChannels", "NumberOfWaveformSamples")
    )
    definitions = list(item.get("ChannelDefinitionSequence") or ())
    if channels < 1 or count < 1 or len(definitions) != channels:
        raise HeaderError(
            f"{which} has {channels} channels, {len(definitions)} of them defined, and {count} samples"
        )
    samples, absent = _samples(item, which, (count, channels), found.instance.transfer_syntax_uid)
    values = _physical(samples, definitions)
    if absent is not None:
        values[np.equal(samples.T, absent)] = np.nan
    return xr.DataArray(
        values,
        dims=("channel", "time"),
        coords=_coordinates(item, definitions, count, which),
        attrs=found.attributes() | {"multiplex_group": number} | _said(item, definitions),
        name="waveform",
    )


def _samples(
    item: Dataset, which: str, shape: tuple[int, int], transfer_syntax_uid: str
) -> tuple[npt.NDArray[Any], Any]:
    """Samples as they stand in the file, shape (samples, channels), and the value that means none."""
    interpretation = str(item.get("WaveformSampleInterpretation") or "")
    bits = int(item.get("WaveformBitsAllocated") or 0)
    if interpretation in COMPANDED:
        raise HeaderError(
            f"{which} is companded by {COMPANDED[interpretation]} ({interpretation}), which is not decoded; "
            "convert it to SS with a tool that does"
        )
    if (interpretation, bits) not in SAMPLES:
        raise HeaderError(
            f"{which} has samples of {interpretation[:16]!r} in {bits} bits, which is not defined"
        )
    big_endian = transfer_syntax_uid == ExplicitVRBigEndian
    dtype = np.dtype(SAMPLES[interpretation, bits]).newbyteorder(">" if big_endian else "<")
    data, needed = bytes(item.get("WaveformData") or b""), shape[0] * shape[1] * dtype.itemsize
    if len(data) < needed:
        raise DecodeError(f"{which} is cut: {len(data):,} bytes of the {needed:,} that its header promises")
    samples = np.frombuffer(data, dtype, shape[0] * shape[1]).reshape(shape)
    padding = item.get("WaveformPaddingValue")
    if isinstance(padding, bytes) and len(padding) >= dtype.itemsize:
        padding = np.frombuffer(padding, dtype, 1)[0]
    return samples, padding if isinstance(padding, int | np.integer) else None


def _physical(samples: npt.NDArray[Any], definitions: Sequence[Dataset]) -> npt.NDArray[np.float64]:
    factors, baselines = [], []
    for item in definitions:
        correction = _one(item, "ChannelSensitivityCorrectionFactor", 1.0)
        factors.append(_one(item, "ChannelSensitivity", 1.0) * correction)
        baselines.append(_one(item, "ChannelBaseline", 0.0))
    values = samples.T.astype(np.float64) * np.array(factors)[:, np.newaxis]
    return np.asarray(values + np.array(baselines)[:, np.newaxis])


def _coordinates(item: Dataset, definitions: Sequence[Dataset], count: int, which: str) -> dict[str, Any]:
    frequency = _one(item, "SamplingFrequency", 0.0)
    if not 0 < frequency < np.inf:
        raise HeaderError(f"{which} has no usable Sampling Frequency (003A,001A)")
    start = _one(item, "MultiplexGroupTimeOffset", 0.0) / 1000  # ms
    skews = [_skew(each, frequency) for each in definitions]
    coordinates: dict[str, Any] = {
        "channel": [_name(each, index) for index, each in enumerate(definitions, start=1)],
        "time": ("time", start + np.arange(count) / frequency, {"units": "s"}),
        "units": ("channel", [_units(each) for each in definitions]),
    }
    if any(skews):
        coordinates["skew_s"] = ("channel", skews, {"units": "s"})
    return coordinates


def _skew(item: Dataset, frequency: float) -> float:
    """How much later than the group a channel was sampled, s; one of two attributes says so (C.10.9.1.4)."""
    return _one(item, "ChannelTimeSkew", _one(item, "ChannelSampleSkew", 0.0) / frequency)


def _name(item: Dataset, index: int) -> str:
    source = (item.get("ChannelSourceSequence") or (Dataset(),))[0].get("CodeMeaning")
    return str(item.get("ChannelLabel") or source or f"channel {index}")


def _units(item: Dataset) -> str:
    codes = item.get("ChannelSensitivityUnitsSequence") or ()
    return str(codes[0].get("CodeValue") or "1") if codes and "ChannelSensitivity" in item else "1"


def _said(item: Dataset, definitions: Sequence[Dataset]) -> dict[str, Any]:
    units = {_units(each) for each in definitions}
    said: dict[str, Any] = {
        "sampling_frequency_hz": _one(item, "SamplingFrequency", 0.0),
        "label": str(item.get("MultiplexGroupLabel") or ""),
        "originality": str(item.get("WaveformOriginality") or ""),
        "units": units.pop() if len(units) == 1 else "",
    }
    return {name: value for name, value in said.items() if value}


def _one(item: Dataset, keyword: str, absent: float) -> float:
    found = numbers(item.get(keyword))
    return found[0] if found else absent
