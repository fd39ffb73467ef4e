"""Modality values to what a screen shows: windows, montages, overlays, PNG; on values, no I/O."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog.errors import StepError

type Gray = npt.NDArray[np.uint8]
type Colour = tuple[int, int, int]

_LARGEST = 255.0


def window(values: npt.ArrayLike, *, center: float, width: float) -> Gray:
    """Apply a linear VOI window; any shape in, 0 to 255 of that shape out (PS3.3 C.11.2.1.2.1).

    Values that are no numbers become 0.

    Raises
    ------
    StepError
        If the width is below 1, the smallest that the standard allows.
    """
    if not width >= 1:
        raise StepError(f"Window Width (0028,1051) must be at least 1, got {width}")
    # The equation of the standard; with width 1 it is a threshold at center - 0.5.
    scaled = np.asarray(values, np.float32) - np.float32(center - 0.5)
    if width > 1:
        scaled = scaled / np.float32(width - 1) + np.float32(0.5)
    else:
        scaled = (scaled > 0).astype(np.float32)
    shown: Gray = np.rint(np.nan_to_num(np.clip(scaled, 0, 1)) * np.float32(_LARGEST)).astype(np.uint8)
    return shown


def full_range(values: npt.ArrayLike) -> tuple[float, float]:
    """Return center and width of the window that shows every finite value."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return 0.5, 1.0
    smallest, largest = float(finite.min()), float(finite.max())
    return (smallest + largest + 1) / 2, max(largest - smallest + 1, 1.0)


def montage(planes: npt.NDArray[np.uint8], *, columns: int | None = None, gap: int = 1) -> Gray:
    """Lay planes out in rows, the first at the upper left; the gaps are black.

    Parameters
    ----------
    planes
        Shape (planes, rows, columns) or, for colour, (planes, rows, columns, 3).
    columns
        Planes in a row; about as many as rows when left out.
    gap
        Pixels between planes.
    """
    count, height, width = planes.shape[:3]
    across = columns or max(1, math.ceil(math.sqrt(count)))
    down = math.ceil(count / across)
    size = (down * (height + gap) - gap, across * (width + gap) - gap, *planes.shape[3:])
    image = np.zeros(size, np.uint8)
    for index, plane in enumerate(planes):
        top, left = index // across * (height + gap), index % across * (width + gap)
        image[top : top + height, left : left + width] = plane
    return image


def overlay(
    gray: Gray, mask: npt.NDArray[np.bool_], *, colour: Colour = (255, 80, 40), opacity: float = 0.45
) -> Gray:
    """Lay a mask over gray values; any shape in, the same shape with a last axis of red, green, blue out."""
    image = np.repeat(gray[..., np.newaxis], 3, axis=-1).astype(np.float32)
    tint = np.asarray(colour, np.float32)
    image[mask] = (1 - opacity) * image[mask] + opacity * tint
    return np.rint(image).astype(np.uint8)


def resized(image: Gray, rows: int, columns: int) -> Gray:
    """Make an image smaller by the mean of what becomes one pixel, or larger by linear interpolation.

    Parameters
    ----------
    image
        Shape (rows, columns), or (rows, columns, 3) for colour.
    """
    scaled = _along(_along(image, 0, rows), 1, columns)
    fitted: Gray = np.rint(scaled).astype(np.uint8)
    return fitted


def _along(values: npt.NDArray[Any], axis: int, size: int) -> npt.NDArray[np.float32]:
    count = values.shape[axis]
    shape = [1] * values.ndim
    shape[axis] = size
    if size <= count:
        edges = np.linspace(0, count, size + 1).astype(np.intp)
        sums = np.add.reduceat(values, edges[:-1], axis=axis, dtype=np.float32)
        return np.asarray(sums / np.diff(edges).reshape(shape), np.float32)
    centres = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    before = np.minimum(centres.astype(np.intp), max(count - 2, 0))
    part = (centres - before).astype(np.float32).reshape(shape)
    after = np.minimum(before + 1, count - 1)
    between = values.take(before, axis) * (1 - part) + values.take(after, axis) * part
    return np.asarray(between, np.float32)


def to_png(image: Gray) -> bytes:
    """Encode an image as PNG; shape (rows, columns), or (rows, columns, 3) for colour."""
    import imagecodecs

    return bytes(imagecodecs.png_encode(np.ascontiguousarray(image), level=6))
