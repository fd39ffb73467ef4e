"""Strips drawn on millimetre paper as SVG: the still picture of a waveform, for where there is no viewer."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import xarray as xr
from markupsafe import escape

from pipelines.presentation.strips import Envelope, Strips, envelope, read, traces

SECONDS = 10.0
"""At most that are drawn."""
PULSE_S, PULSE_MV = 0.2, 1.0
"""Of the calibration pulse before each voltage."""
_PULSE_MM = 9.0
"""Width of what stands before the curves."""
_AXIS_MM = 6.0
_COLUMNS_PER_MM = 4
_LIGHT = {"paper": "#fffafa", "fine": "#f6d5d5", "coarse": "#e8a5a5", "ink": "#111"}


def drawing(array: xr.DataArray, strips: Strips) -> str:
    """Draw the beginning of a waveform, in millimetres; no free text of the header is in it."""
    seconds = min(SECONDS, strips.samples / strips.frequency_hz)
    width = _PULSE_MM + seconds * strips.paper.mm_per_s
    height = _AXIS_MM + strips.band_mm * len(strips.channels)
    count = max(1, min(strips.samples, round(seconds * strips.frequency_hz)))
    step = max(1, int(count / (seconds * strips.paper.mm_per_s * _COLUMNS_PER_MM)))
    columns = envelope(read(traces(array), 0, count), step)
    body = [
        f'<rect width="{width:g}" height="{height:g}" fill="{_LIGHT["paper"]}"/>',
        _lines(width, height, 1, _LIGHT["fine"], 0.1),
        _lines(width, height, 5, _LIGHT["coarse"], 0.2),
        *_axis(strips, seconds, height),
        *_curves(strips, columns, step),
    ]
    size = f'width="{width:g}mm" height="{height:g}mm" viewBox="0 0 {width:g} {height:g}"'
    words = escape(describe(strips, seconds))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{words}" '
        f'font-family="sans-serif" font-size="3"><title>{words}</title>{"".join(body)}</svg>'
    )


def describe(strips: Strips, seconds: float) -> str:
    """Say in a sentence what is drawn."""
    count = len(strips.channels)
    whole = strips.samples / strips.frequency_hz
    what = f"{count} strip{'' if count == 1 else 's'}, {strips.paper.mm_per_s:g} mm/s"
    if any(each.is_voltage for each in strips.channels):
        what += f", {strips.paper.mm_per_mv:g} mm/mV"
    return f"{what}: {seconds:.4g} s" + (f" of {whole:.6g} s" if whole > seconds else "")


def _lines(width: float, height: float, mm: int, colour: str, thick: float) -> str:
    down = "".join(f"M{x} 0V{height:g}" for x in range(0, int(width) + 1, mm))
    across = "".join(f"M0 {y}H{width:g}" for y in range(0, int(height) + 1, mm))
    return f'<path d="{down}{across}" stroke="{colour}" stroke-width="{thick}" fill="none"/>'


def _axis(strips: Strips, seconds: float, height: float) -> Iterator[str]:
    for second in range(int(seconds) + 1):
        x = _PULSE_MM + second * strips.paper.mm_per_s
        words = f"{strips.start_s + second:g}" + (" s" if second == 0 else "")
        yield f'<text x="{x:g}" y="{height - 1.5:g}" fill="{_LIGHT["ink"]}">{words}</text>'


def _curves(strips: Strips, columns: Envelope, step: int) -> Iterator[str]:
    mm = step / strips.frequency_hz * strips.paper.mm_per_s
    for number, channel in enumerate(strips.channels):
        middle = strips.band_mm * (number + 0.5)
        if channel.is_voltage:
            yield _pulse(middle, strips)
        heights = middle - (columns[:, number] - channel.center) / channel.per_mm
        yield _path(_points(heights, mm))
        words = escape(f"{channel.name}" + (f" / {channel.unit}" if channel.unit else ""))
        top = strips.band_mm * number + 3
        yield f'<text x="{_PULSE_MM + 1:g}" y="{top:g}" fill="{_LIGHT["ink"]}">{words}</text>'


def _pulse(middle: float, strips: Strips) -> str:
    wide, high = PULSE_S * strips.paper.mm_per_s, PULSE_MV * strips.paper.mm_per_mv
    high = min(high, strips.band_mm)  # that of an EEG would leave its strip
    return _path(f"M1 {middle:g}h1v{-high:g}h{wide:g}v{high:g}h1")


def _path(points: str) -> str:
    ink = _LIGHT["ink"]
    return f'<path d="{points}" stroke="{ink}" stroke-width="0.25" fill="none" stroke-linejoin="round"/>'


def _points(heights: npt.NDArray[np.float32], mm: float) -> str:
    """From the least to the greatest of each column; what is no number is a gap."""
    found, pen = [], "M"
    for at, (low, high) in enumerate(heights.T.tolist()):
        if low != low:
            pen = "M"
            continue
        x = _PULSE_MM + at * mm
        found.append(f"{pen}{x:.2f} {low:.2f}" + (f"V{high:.2f}" if high != low else ""))
        pen = "L"
    return "".join(found)
