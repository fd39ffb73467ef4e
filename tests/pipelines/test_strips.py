"""Strips of a waveform: nothing of a curve is lost between its samples and what is drawn."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import dask.array as da
import numpy as np
import pydicom
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import QuestionError
from pipelines.objects.waveform_annotations import annotations_of
from pipelines.objects.waveforms import read_waveforms
from pipelines.presentation import strips as module
from pipelines.presentation.paper import describe, drawing
from pipelines.presentation.strips import (
    TILE_COLUMNS,
    TILE_SAMPLES,
    envelope,
    strips_of,
    tile_of,
)


def ecg(values: np.ndarray, hertz: float = 1000, unit: str = "uV", **attrs: object) -> xr.DataArray:
    names = [f"Lead {number}" for number in range(1, len(values) + 1)]
    coords = {
        "channel": names,
        "time": np.arange(values.shape[1]) / hertz,
        "units": ("channel", [unit] * len(values)),
    }
    return xr.DataArray(values, dims=("channel", "time"), coords=coords, attrs=attrs, name="waveform")


@given(st.integers(1, 4), st.integers(1, 300), st.integers(0, 10), st.integers(0, 2**32 - 1), st.booleans())
def test_every_extreme_of_every_channel_is_in_the_envelope(
    channels: int, samples: int, level: int, seed: int, with_gaps: bool
) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(channels, samples))
    if with_gaps:
        values[random.random(values.shape) < 0.3] = np.nan
    step = 1 << level
    low, high = envelope(values, step)
    assert low.shape == (channels, -(-samples // step))
    for column in range(low.shape[1]):
        part = values[:, column * step : (column + 1) * step].astype(np.float32)
        for channel in range(channels):
            finite = part[channel][np.isfinite(part[channel])]
            expected = [finite.min(), finite.max()] if finite.size else [np.nan, np.nan]
            assert np.array_equal([low[channel, column], high[channel, column]], expected, equal_nan=True)


def test_a_peak_of_one_sample_in_a_day_is_in_the_tile_that_shows_it_and_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three channels of 24 hours at 250 Hz, of which no more than the bound is ever read at once."""
    count, at = 24 * 3600 * 250, 13_579_247
    zeros = da.zeros((3, count), chunks=(3, 1 << 20))
    spike = da.map_blocks(
        lambda block, block_info=None: _spiked(block, block_info, at), zeros, dtype=np.float64
    )
    holter = xr.DataArray(spike, dims=("channel", "time"), attrs={"units": "mV"})
    largest = 0
    plain = module.read

    def watched(array: xr.DataArray, start: int, stop: int) -> np.ndarray:
        nonlocal largest
        values = plain(array, start, stop)
        largest = max(largest, values.nbytes)
        return values

    monkeypatch.setattr(module, "read", watched)
    monkeypatch.setattr(module, "READ_BYTES", 1 << 22)
    for level in (0, 5, 10, 17, 20):
        length = min(TILE_COLUMNS << level, TILE_SAMPLES)
        low, high = tile_of(holter, level, at // length)
        assert low.shape == high.shape == (3, -(-length // (1 << level)))
        assert np.argwhere(high).tolist() == [[1, at % length >> level]]
        assert high.max() == 5
        assert not low.any() or level == 0
    assert largest <= 1 << 22


def _spiked(block: np.ndarray, block_info: dict | None, at: int) -> np.ndarray:
    if not block_info:
        return block
    first, last = block_info[0]["array-location"][1]
    block = block.copy()
    if first <= at < last:
        block[1, at - first] = 5.0
    return block


def test_tiles_of_a_level_are_the_whole_recording_and_there_are_no_others() -> None:
    values = np.random.default_rng(3).normal(size=(2, 5000))
    for level in (0, 1, 3):
        tiles = -(-5000 // (TILE_COLUMNS << level))
        columns = np.concatenate([tile_of(ecg(values), level, each) for each in range(tiles)], axis=2)
        assert np.array_equal(columns, envelope(values, 1 << level))
        with pytest.raises(QuestionError, match=f"it has {tiles}"):
            tile_of(ecg(values), level, tiles)
    assert np.array_equal(tile_of(ecg(values), 0, 0)[0], values[:, :TILE_COLUMNS].astype(np.float32))
    with pytest.raises(QuestionError, match="levels run from 0 to 20, not 21"):
        tile_of(ecg(values), 21, 0)


def test_an_ecg_is_drawn_at_25_mm_a_second_and_10_mm_a_millivolt() -> None:
    strips = strips_of(ecg(np.zeros((3, 2000))))
    assert (strips.paper.mm_per_s, strips.paper.mm_per_mv) == (25, 10)
    assert [(each.unit, each.per_mm, each.center) for each in strips.channels] == [("uV", 100, 0)] * 3
    assert (strips.start_s, strips.stop_s, strips.frequency_hz) == (0, 2, pytest.approx(1000))
    assert strips_of(ecg(np.zeros((3, 9)), unit="mV")).channels[0].per_mm == pytest.approx(0.1)
    eeg = strips_of(ecg(np.zeros((20, 9)), modality="EEG"))
    assert (eeg.paper.mm_per_s, eeg.channels[0].per_mm) == (30, 10)


def test_what_is_no_voltage_fits_its_strip_and_a_voltage_far_from_zero_stays_on_paper() -> None:
    pressure = 90 + 30 * np.sin(np.arange(4000) / 100)[None]
    (channel,) = strips_of(ecg(pressure, unit="mm[Hg]")).channels
    assert not channel.is_voltage
    assert (channel.per_mm, channel.center) == (5, pytest.approx(90, abs=0.1))
    (channel,) = strips_of(ecg(np.full((1, 100), 250_000.0))).channels
    assert (channel.per_mm, channel.center) == (100, 250_000)
    assert strips_of(ecg(np.full((1, 9), np.nan), unit="1")).channels[0].per_mm > 0


def test_one_lead_and_leads_in_the_other_order_are_waveforms_and_images_are_none() -> None:
    waveform = ecg(np.arange(8.0).reshape(2, 4))
    assert [each.name for each in strips_of(waveform.isel(channel=1)).channels] == ["Lead 2"]
    assert [each.name for each in strips_of(waveform.T).channels] == ["Lead 1", "Lead 2"]
    with pytest.raises(QuestionError, match=r"not of \{'z': 2, 'y': 2\}"):
        strips_of(xr.DataArray(np.zeros((2, 2)), dims=("z", "y")))
    assert strips_of(waveform.drop_vars("time")).frequency_hz == 1
    assert strips_of(waveform.drop_vars("time").assign_attrs(sampling_frequency_hz=250.0)).stop_s == 4 / 250
    with pytest.raises(QuestionError, match="uneven steps"):
        strips_of(waveform.isel(time=[0, 1, 3]))


def test_the_still_picture_has_the_curve_where_it_was_measured() -> None:
    """A pulse of 1 mV from 0.4 to 0.6 s is 10 mm high and 5 mm wide."""
    values = np.zeros((1, 1000))
    values[0, 400:600] = 1000
    array = ecg(values)
    strips = strips_of(array)
    picture = ElementTree.fromstring(drawing(array, strips))
    paths = [each.get("d", "") for each in picture.iter("{http://www.w3.org/2000/svg}path")]
    pulse, curve = paths[2:]
    assert pulse == "M1 12.5h1v-10h5v10h1"
    points = [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", curve)]
    high = [x - 9 for x, y in points if y == pytest.approx(2.5)]
    assert {y for _, y in points} <= {2.5, 12.5}
    assert (min(high), max(high)) == (pytest.approx(10, abs=0.25), pytest.approx(15, abs=0.25))
    assert describe(strips, 1) == "1 strip, 25 mm/s, 10 mm/mV: 1 s"


def test_names_of_channels_are_text_in_the_picture() -> None:
    array = ecg(np.zeros((1, 50)))
    array = array.assign_coords(channel=['<script>alert("x")</script>'])
    text = drawing(array, strips_of(array))
    assert "<script" not in text
    assert '<script>alert("x")</script>' in "".join(ElementTree.fromstring(text).itertext())


def test_the_real_ecg_says_where_each_wave_begins(shared_data: Path) -> None:
    path = shared_data / "objects/waveform/waveform_ecg.dcm"
    ds = pydicom.dcmread(path)
    rhythm, median_beat = read_waveforms(path)
    found = annotations_of(ds, rhythm)
    assert len(found) == 77
    assert [each.text for each in found[:3]] == ["RITMO SINUSALE", "ECG NORMALE", "RR Interval 982 ms"]
    assert all(each.start_s is None for each in found[:11])
    assert [(each.text, each.start_s, each.channels) for each in found[11:13]] == [
        ("P Onset", pytest.approx(0.298), ()),
        ("P Onset", pytest.approx(0.324), ()),
    ]
    assert annotations_of(ds, median_beat) == []
    assert len(drawing(rhythm, strips_of(rhythm, found))) < 400_000


def item(**attributes: object) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def said(**attributes: object) -> list[tuple[float | None, float | None, tuple[int, ...]]]:
    ds = item(
        AcquisitionDateTime="20260131120000",
        WaveformAnnotationSequence=[item(UnformattedTextValue="x", **attributes)],
    )
    waveform = ecg(np.zeros((4, 2000)), multiplex_group=2, sampling_frequency_hz=1000.0)
    return [(each.start_s, each.stop_s, each.channels) for each in annotations_of(ds, waveform)]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"TemporalRangeType": "POINT", "ReferencedSamplePositions": 1}, [(0, None, ())]),
        (
            {"TemporalRangeType": "MULTIPOINT", "ReferencedSamplePositions": [101, 201]},
            [(0.1, None, ()), (0.2, None, ())],
        ),
        ({"TemporalRangeType": "SEGMENT", "ReferencedTimeOffsets": ["0.5", "0.75"]}, [(0.5, 0.75, ())]),
        (
            {"TemporalRangeType": "MULTISEGMENT", "ReferencedSamplePositions": [1, 11, 21, 31]},
            [(0, 0.01, ()), (0.02, 0.03, ())],
        ),
        ({"TemporalRangeType": "BEGIN", "ReferencedSamplePositions": 1001}, [(1, 1.999, ())]),
        ({"TemporalRangeType": "END", "ReferencedSamplePositions": 1001}, [(0, 1, ())]),
        ({"TemporalRangeType": "POINT", "ReferencedDateTime": "20260131120001.5"}, [(1.5, None, ())]),
        ({"ReferencedWaveformChannels": [2, 1, 2, 4]}, [(None, None, (0, 3))]),
        ({"ReferencedWaveformChannels": [2, 0]}, [(None, None, ())]),
        ({"ReferencedWaveformChannels": [1, 0]}, []),
        ({"ReferencedDateTime": "20260131120001+0100"}, [(None, None, ())]),
    ],
)  # fmt: skip
def test_annotations_are_where_the_standard_says(
    attributes: dict[str, object], expected: list[tuple[float, float | None, tuple[int, ...]]]
) -> None:
    assert said(**attributes) == [
        (
            start if start is None else pytest.approx(start),
            stop if stop is None else pytest.approx(stop),
            channels,
        )
        for start, stop, channels in expected
    ]
