"""One small picture of any array, as a table of contents shows it; nothing to be measured or read from.

A volume shows its middle axial, coronal and sagittal plane in true proportion; what has a leading axis shows
its middle plane along that; frames show some of them; channels of a waveform show their curves.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from pipelines.presentation.display import montage

type Picture = npt.NDArray[np.uint8]
"""Shape (rows, columns), or (rows, columns, 3) for red, green and blue."""

TILE = 160
"""Rows and columns that one plane takes at most, in pixels."""
MOST_TILES = 6
GAP = 4
"""Pixels between planes."""
_PLANE = ("y", "x")
_ENDS = (0.1, 99.9)
"""Percentiles of the values that are shown black and white."""


def preview(array: xr.DataArray, *, tile: int = TILE) -> Picture:
    """Draw an array small; reads only the planes that are shown.

    Parameters
    ----------
    array
        As `Bench.volume` gives it: (..., y, x), (..., y, x, channel) or (channel, time).
    tile
        Rows and columns that one plane takes at most.
    """
    if "y" not in array.dims:
        return _curves(array, tile)
    if "channel" in array.dims:
        return _frames(array, tile)
    if "z" in array.dims and len(array.dims) > 3:
        return _frames(array.isel(z=array.sizes["z"] // 2), tile)
    if "z" in array.dims and min(array.sizes[dim] for dim in "zyx") > 1:
        return _orthogonal(array, tile)
    return _frames(array, tile)


def _orthogonal(volume: xr.DataArray, tile: int) -> Picture:
    """Axial, coronal and sagittal, the last two with the last plane on top, as for a patient seen upright."""
    spacing = {dim: _spacing(volume, dim) for dim in "zyx"}
    views = []
    for across, flipped in (("z", False), ("y", True), ("x", True)):
        plane = volume.isel({across: volume.sizes[across] // 2})
        down, right = plane.dims
        values = plane.to_numpy()[::-1] if flipped else plane.to_numpy()
        views.append((values, (spacing[str(down)], spacing[str(right)])))
    low, high = _range(np.concatenate([values.ravel() for values, *_ in views]))
    tiles = [_fitted(_gray(values, low, high), mm, tile) for values, mm in views]
    return montage(np.stack(tiles), columns=3, gap=GAP)


def _frames(array: xr.DataArray, tile: int) -> Picture:
    leading = [dim for dim in array.dims if dim not in (*_PLANE, "channel")]
    flat = array.stack(frame_of_preview=leading) if leading else array.expand_dims("frame_of_preview")
    flat = flat.transpose("frame_of_preview", ...)
    count = flat.sizes["frame_of_preview"]
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_TILES)).round().astype(int))
    planes = flat.isel(frame_of_preview=chosen).to_numpy()
    if "channel" not in array.dims:
        planes = _gray(planes, *_range(planes))
    units = {array.coords[dim].attrs.get("units") for dim in "yx" if dim in array.coords}
    mm = (_spacing(array, "y"), _spacing(array, "x")) if len(units) == 1 else (1.0, 1.0)
    tiles = np.stack([_fitted(plane, mm, tile) for plane in planes])
    return montage(tiles, columns=min(len(tiles), 3), gap=GAP)


def _curves(waveform: xr.DataArray, tile: int) -> Picture:
    """Channels below each other, from the least to the greatest value in each column."""
    channels = waveform.to_numpy().reshape(-1, waveform.sizes[waveform.dims[-1]])[:MOST_TILES]
    width, height = 3 * tile, max(8, tile // 4)
    edges = np.linspace(0, channels.shape[1], width + 1).astype(int)
    picture = np.zeros((height * len(channels), width), np.uint8)
    for number, channel in enumerate(channels):
        finite = np.nan_to_num(channel)
        low, high = float(finite.min()), float(finite.max())
        rows = ((height - 3) * (1 - (finite - low) / ((high - low) or 1.0)) + 1).astype(int) + number * height
        for column, (start, stop) in enumerate(pairwise(edges)):
            part = rows[start : max(stop, start + 1)]
            picture[part.min() : part.max() + 1, column] = 255
    return picture


def _spacing(array: xr.DataArray, dim: str) -> float:
    """Distance of neighbours, 1 where it is not known."""
    if dim not in array.coords or array.sizes[dim] < 2:
        return 1.0
    values: Any = array.coords[dim].values
    return abs(float(values[-1] - values[0])) / (len(values) - 1) or 1.0


def _range(values: npt.NDArray[Any]) -> tuple[float, float]:
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if finite.size == 0 or finite.dtype == bool:
        return 0.0, 1.0
    low, high = (float(each) for each in np.percentile(finite, _ENDS))
    return (low, high) if high > low else (float(finite.min()), float(finite.max()))


def _gray(values: npt.NDArray[Any], low: float, high: float) -> Picture:
    scaled = (np.nan_to_num(values.astype(np.float32), nan=low) - low) / ((high - low) or 1.0)
    gray: Picture = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return gray


def _fitted(plane: Picture, spacing_mm: tuple[float, float], tile: int) -> Picture:
    """The plane in true proportion in the middle of a black square, by the nearest pixel."""
    height, width = plane.shape[0] * spacing_mm[0], plane.shape[1] * spacing_mm[1]
    scale = tile / max(height, width)
    rows, columns = (max(1, min(tile, round(size * scale))) for size in (height, width))
    y = (np.arange(rows) + 0.5) * plane.shape[0] / rows
    x = (np.arange(columns) + 0.5) * plane.shape[1] / columns
    square = np.zeros((tile, tile, *plane.shape[2:]), np.uint8)
    top, left = (tile - rows) // 2, (tile - columns) // 2
    square[top : top + rows, left : left + columns] = plane[y.astype(int)[:, None], x.astype(int)]
    return square
