"""Parallel planes that form no regular volume, resampled into one: linearly, a few planes at a time; no I/O.

The grid has the rows, columns and normal of the planes. Between two planes a voxel is interpolated along the
line that joins equal pixels of both, so a stack that leans, as with gantry tilt, is straightened as a shear.
What is linear in the patient stays exactly as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import delayed
from scipy import ndimage  # type: ignore[import-untyped]

from catalog.errors import GeometryError
from pipelines.axes.lattice import LARGEST_PLANES, Lattice, Raster
from pipelines.geometry import MINIMUM_PLANES, PLANE_TOLERANCE_MM, SAME_POSITION_MM, Vector

SLAB_BYTES = 32 << 20
"""What the planes of one chunk of the result take, unless a single one takes more."""
_NEAR = 1e-6
"""Indices so near to a whole number, or to the edge, are there; rounding of positions is smaller."""

type Numbers = tuple[float, ...]
type Spacing = float | Sequence[float] | None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Where each voxel of a regular grid lies between the pixels of planes."""

    lattice: Lattice
    below: tuple[int, ...]
    """For each plane of the grid, the plane at it or next below it ..."""
    weights: Numbers
    """... and how much of the plane above that is in it."""
    starts: tuple[tuple[float, float], ...]
    """For each plane of the grid, row and column in the planes of its first pixel."""
    steps: tuple[float, float]
    """Rows and columns of the planes from one row, or column, of the grid to the next."""


def sampling(positions_lps_mm: Vector, raster: Raster, spacing_mm: Spacing = None) -> Sampling:
    """Lay a regular grid over parallel planes; it holds all their pixels and ends with the last plane.

    Parameters
    ----------
    positions_lps_mm
        Of the first pixel of each plane, in order along their normal; shape (planes, 3).
    spacing_mm
        Of the grid along z, y and x, or one number for all; left out, the median distance of the planes and
        their own pixel spacing.

    Raises
    ------
    GeometryError
        If there are fewer than three planes, two lie at one position, or the grid would be too large.
    """
    if len(positions_lps_mm) < MINIMUM_PLANES:
        raise GeometryError(f"{len(positions_lps_mm)} planes are too few to be resampled into a volume")
    row, column = np.reshape(raster.orientation, (2, 3))
    offsets = positions_lps_mm - positions_lps_mm[0]
    along = offsets @ raster.normal
    gaps = np.diff(along)
    if gaps.min() <= SAME_POSITION_MM:
        raise GeometryError(
            "several planes at one position cannot be resampled into one volume; "
            "pick one of each position, as stack.isel(frame=[...]), by distance_mm and sop_instance_uid"
        )
    z, y, x = _spacing(spacing_mm, (float(np.median(gaps)), *raster.pixel_spacing))
    aside = np.stack([_aside(offsets @ column), _aside(offsets @ row)], axis=1)  # mm along y and x
    extent = np.ptp(aside, axis=0) + (np.array([raster.rows, raster.columns]) - 1) * raster.pixel_spacing
    counts = [
        int(length / step + _NEAR) + 1 for length, step in ((along[-1], z), *zip(extent, (y, x), strict=True))
    ]
    if max(counts) > LARGEST_PLANES:
        raise GeometryError(f"a volume of {counts} voxels is too large; ask for a larger spacing_mm")
    heights = np.arange(counts[0]) * z
    below = np.clip(np.searchsorted(along, heights + _NEAR * z, side="right") - 1, 0, len(along) - 2)
    weights = np.clip(_snapped((heights - along[below]) / gaps[below]), 0, 1)
    at = aside[below] + weights[:, None] * (aside[below + 1] - aside[below])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * x, column * y, raster.normal * z
    affine[:3, 3] = positions_lps_mm[0] + np.stack([column, row], axis=1) @ aside.min(axis=0)
    starts = _snapped((aside.min(axis=0) - at) / raster.pixel_spacing)
    return Sampling(
        Lattice(
            tuple(tuple(float(each) + 0.0 for each in line) for line in affine),
            (counts[0], counts[1], counts[2]),
            (),
        ),
        tuple(int(each) for each in below),
        tuple(float(each) for each in weights),
        tuple((float(a), float(b)) for a, b in starts),
        (y / raster.pixel_spacing[0], x / raster.pixel_spacing[1]),
    )


def _spacing(wanted: Spacing, default: Numbers) -> Numbers:
    if wanted is None:
        return default
    found = np.broadcast_to(np.asarray(wanted, np.float64), 3) if np.size(wanted) in (1, 3) else np.zeros(3)
    if not (np.isfinite(found).all() and found.min() > SAME_POSITION_MM):
        raise GeometryError("spacing_mm is one number of mm above 0, or three: along z, y and x")
    return tuple(float(each) for each in found)


def _aside(mm: Vector) -> Vector:
    """How far planes are moved within their plane; not at all where it is no more than rounding."""
    return np.zeros_like(mm) if np.abs(mm).max() <= PLANE_TOLERANCE_MM else mm


def _snapped(indices: Vector) -> Vector:
    nearest = np.rint(indices)
    return np.where(np.abs(indices - nearest) <= _NEAR, nearest, indices)


# --- values ----------------------------------------------------------------------------------------------


def resampled(values: Any, grid: Sampling, *, fill_value: float) -> da.Array:
    """Interpolate planes on a grid, lazily: a chunk of the result reads the planes around it and no others.

    Parameters
    ----------
    values
        Shape (planes, rows, columns), the planes in the order in which the grid was laid over them.
    fill_value
        Of voxels beyond the edges of the planes.

    Returns
    -------
    dask.array.Array
        Of the grid's shape; float32, or float64 where the values need it.
    """
    shape = grid.lattice.shape
    dtype = np.result_type(values.dtype, np.float32)
    depth = max(1, SLAB_BYTES // (shape[1] * shape[2] * dtype.itemsize))
    planes = da.asarray(values)  # type: ignore[no-untyped-call]  # dask leaves it untyped
    slab: Callable[..., Any] = delayed(_slab, pure=True)
    parts = []
    for first in range(0, shape[0], depth):
        chosen = range(first, min(first + depth, shape[0]))
        needed = sorted({each for k in chosen for each in _needed(grid, k)})
        number = {plane: index for index, plane in enumerate(needed)}
        sources = planes[_as_slice(needed)]
        parts.append(
            da.from_delayed(  # type: ignore[no-untyped-call]
                slab(
                    sources,
                    [tuple(number[each] for each in _needed(grid, k)) for k in chosen],
                    [grid.weights[k] for k in chosen],
                    [grid.starts[k] for k in chosen],
                    grid.steps,
                    shape[1:],
                    fill_value,
                    dtype,
                ),
                shape=(len(chosen), *shape[1:]),
                dtype=dtype,
            )
        )
    joined: da.Array = da.concatenate(parts)  # type: ignore[no-untyped-call]
    return joined


def _needed(grid: Sampling, plane: int) -> tuple[int, ...]:
    below, weight = grid.below[plane], grid.weights[plane]
    return (below,) if weight == 0 else (below + 1,) if weight == 1 else (below, below + 1)


def _as_slice(numbers: Sequence[int]) -> Any:
    """A slice where they follow each other, so that Dask reads no more chunks than it must."""
    return (
        slice(numbers[0], numbers[-1] + 1) if numbers[-1] - numbers[0] + 1 == len(numbers) else list(numbers)
    )


def _slab(
    sources: npt.NDArray[Any],
    planes: Sequence[tuple[int, ...]],
    weights: Sequence[float],
    starts: Sequence[tuple[float, float]],
    steps: tuple[float, float],
    shape: tuple[int, int],
    fill_value: float,
    dtype: np.dtype[Any],
) -> npt.NDArray[Any]:
    out = np.empty((len(planes), *shape), dtype)
    for target, around, weight, start in zip(out, planes, weights, starts, strict=True):
        plane = sources[around[0]].astype(np.float64)
        if len(around) == 2:
            plane += weight * (sources[around[1]] - plane)
        target[...] = _within(plane, start, steps, shape, fill_value)
    return out


def _within(
    plane: npt.NDArray[np.float64],
    start: tuple[float, float],
    steps: tuple[float, float],
    shape: tuple[int, int],
    fill_value: float,
) -> npt.NDArray[np.float64]:
    """Values of a plane at rows and columns between its own, and the fill value beyond its edges."""
    moved: npt.NDArray[np.float64] = ndimage.affine_transform(
        plane, steps, offset=start, output_shape=shape, order=1, mode="nearest"
    )
    for axis, (first, step, count) in enumerate(zip(start, steps, shape, strict=True)):
        at = first + np.arange(count) * step
        beyond = (at < -_NEAR) | (at > plane.shape[axis] - 1 + _NEAR)
        moved[(slice(None),) * axis + (beyond,)] = fill_value
    return moved
