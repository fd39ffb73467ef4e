"""What the frames of one multi-frame image differ by, as axes and coordinates; no I/O.

Nuclear medicine counts its frames by vectors that Frame Increment Pointer (0028,0009) names (PS3.3 C.8.4.8):
energy window, detector, rotation and so on. Where they form a full grid each becomes an axis. Angiography
says by how much its C-arm turned for each frame (C.8.7.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag

from pipelines.axes.repeats import Axis

VECTORS = {
    "EnergyWindowVector": "energy_window",
    "DetectorVector": "detector",
    "PhaseVector": "phase",
    "RotationVector": "rotation",
    "RRIntervalVector": "rr_interval",
    "TimeSlotVector": "time_slot",
    "SliceVector": "slice",
    "AngularViewVector": "angular_view",
    "TimeSliceVector": "time_slice",
}
"""Keyword to the name of the axis; its values are the numbers of the file, from 1."""
INCREMENTS = {
    "PositionerPrimaryAngleIncrement": ("positioner_primary_angle_increment", "deg"),
    "PositionerSecondaryAngleIncrement": ("positioner_secondary_angle_increment", "deg"),
    "TableVerticalIncrement": ("table_vertical_increment", "mm"),
    "TableLateralIncrement": ("table_lateral_increment", "mm"),
    "TableLongitudinalIncrement": ("table_longitudinal_increment", "mm"),
}
"""Keyword to coordinate and unit. The numbers of the file: some makers count from the frame before, some from
the first."""

_TIMES = (("time_slot",), ("time_slice",))
"""Along which frames have a time in seconds already."""

type Vector = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Grid:
    """Vectors that together number all frames in their order, the last one fastest."""

    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    """Of each axis."""


def vectors_of(ds: Dataset, frames: int) -> dict[str, Vector]:
    """Name of the axis to one number a frame, for each vector that is pointed at and varies."""
    found = {}
    for tag in _several(ds.get("FrameIncrementPointer")):
        keyword = keyword_for_tag(tag)
        numbers = _several(ds.get(keyword)) if keyword in VECTORS else []
        if len(numbers) == frames and len(set(numbers)) > 1:
            found[VECTORS[keyword]] = np.array(numbers, np.int64)
    return found


def grid_of(vectors: dict[str, Vector]) -> Grid | None:
    """Return the axes of a full grid in the order of the frames; `None` where the frames form none."""
    if not vectors:
        return None
    frames = len(next(iter(vectors.values())))
    axes = {name: np.unique(vector, return_inverse=True) for name, vector in vectors.items()}
    for names in permutations(axes):
        shape = tuple(len(axes[name][0]) for name in names)
        if int(np.prod(shape)) != frames:
            return None
        numbers = np.ravel_multi_index(tuple(axes[name][1] for name in names), shape)
        if np.array_equal(numbers, np.arange(frames)):
            return Grid(names, tuple(tuple(axes[name][0].tolist()) for name in names))
    return None


def with_frame_axes(stack: xr.DataArray, ds: Dataset) -> xr.DataArray:
    """Give the frames of one instance, along the first dimension, the axes and coordinates of its header."""
    frames, leading = stack.sizes[stack.dims[0]], stack.dims[0]
    for keyword, (name, unit) in INCREMENTS.items():
        values = _several(ds.get(keyword))
        if len(values) == frames > 1:
            stack = stack.assign_coords({name: (leading, np.array(values, np.float64), {"units": unit})})
    vectors = vectors_of(ds, frames)
    grid = grid_of(vectors)
    if grid is None or (leading == "time" and grid.names in _TIMES):
        return stack.assign_coords({name: (leading, vector) for name, vector in vectors.items()})
    return _unfolded(stack, grid)


def with_repeats(stack: xr.DataArray, axes: Sequence[Axis]) -> xr.DataArray:
    """Give the frames of one plane, along the first dimension, the several axes along which it repeats."""
    if len(axes) < 2:
        return stack
    unfolded = _unfolded(stack, Grid(tuple(axis.name for axis in axes), tuple(axis.values for axis in axes)))
    for axis in axes:
        attrs = {"units": axis.unit} | ({"source": axis.source} if axis.source else {})
        unfolded.coords[axis.name].attrs.update(attrs)
    return unfolded


def _unfolded(stack: xr.DataArray, grid: Grid) -> xr.DataArray:
    """The first dimension as those of a grid."""
    leading, shape = stack.dims[0], tuple(len(each) for each in grid.values)
    coordinates: dict[str, Any] = {}
    for name, each in stack.drop_vars("frame", errors="ignore").coords.items():
        dims, values = each.dims, each.values
        if leading in dims:
            dims, values = _reduced((*grid.names, *dims[1:]), values.reshape(*shape, *values.shape[1:]))
        coordinates[str(name)] = (dims, values, each.attrs)
    coordinates |= {
        name: (name, np.array(values)) for name, values in zip(grid.names, grid.values, strict=True)
    }
    return xr.DataArray(
        stack.data.reshape(*shape, *stack.shape[1:]),
        dims=(*grid.names, *stack.dims[1:]),
        coords=coordinates,
        attrs=stack.attrs,
        name=stack.name,
    )


def _reduced(dims: tuple[Any, ...], values: npt.NDArray[Any]) -> tuple[tuple[Any, ...], npt.NDArray[Any]]:
    """A coordinate of numbers without the dimensions along which it does not change."""
    for axis in reversed(range(values.ndim)):
        first = values.take([0], axis)
        if values.dtype.kind == "f" and values.ndim > 1 and (values == first).all():
            values, dims = first.squeeze(axis), (*dims[:axis], *dims[axis + 1 :])
    return dims, values


def _several(value: Any) -> Sequence[Any]:
    if value in (None, ""):
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
