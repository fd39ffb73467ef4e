"""OME-Zarr 0.5 multiscales of an array: its axes, and for each level scale and translation; no I/O.

OME-Zarr has axes in the order time, channel or custom, space, at most one of each of the first three. What
a volume repeats along (`echo_time`, `b_value`, frames) is a custom axis, which has no type; a second one is
of type channel. Axes that cannot be brought into this form have no multiscales. Values with the channel last
are no image of OME-Zarr either: they have multiscales once they have levels, the first of which is a copy
with the channel before the rows. OME-Zarr 0.5 has no rotation: translation and scale are along the array's
own axes.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from pipelines.axes.repeats import Axis

SPACE = ("z", "y", "x")
CHANNEL = "channel"
COARSEST = 128
"""Rows and columns of the coarsest level have no more."""
ALIKE = 1.5
"""An axis is halved while its steps are no longer than so many times the shortest."""

NAME = re.compile(r"level-\d+(-[0-9a-f]{8})?")
"""Of the folder of a level."""
EVEN = 1e-3
"""By how much steps may differ, as a part of the longest, to count as even."""

type Affine = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Level:
    """One level beside the stored values, as the group's attributes tell of it."""

    name: str
    """Folder in the group, itself a group with `values`."""
    factors: tuple[int, ...]
    """How many stored values make one, along each axis of the stored values."""
    shape: tuple[int, ...]
    """In the order of the stored values."""
    shard_bytes: tuple[int, ...]
    metadata_digest: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError("a level is a folder inside the group of its array")

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build it from parsed attributes; `KeyError`, `TypeError` or `ValueError` where they are damaged."""
        factors, shape, sizes = (
            tuple(map(int, content[name])) for name in ("factors", "shape", "shard_bytes")
        )
        return cls(str(content["name"]), factors, shape, sizes, str(content["metadata_digest"]))


@dataclass(frozen=True, slots=True)
class Spaced:
    """Where the stored values lie, along each of their axes."""

    dims: tuple[str, ...]
    steps: tuple[float, ...]
    starts: tuple[float, ...]
    measured: frozenset[str]
    """Axes whose steps have a unit; those of the others are 1, from 0: one index after the other."""

    @classmethod
    def of(
        cls,
        dims: Sequence[str],
        *,
        affine_lps: Affine | None,
        pixel_spacing_mm: Sequence[float] | None,
        axes: Sequence[Axis],
    ) -> Self:
        """Take millimetres from the affine, or for a stack of equal planes from Pixel Spacing (0028,0030)."""
        even = {axis.name: (_step(axis), axis.values[0]) for axis in axes}
        known = {name: (step, start) for name, (step, start) in even.items() if step is not None}
        if affine_lps is not None:
            columns = list(zip(*affine_lps, strict=True))
            for number, dim in enumerate(reversed(SPACE)):
                known[dim] = math.hypot(*columns[number][:3]), columns[3][number]
        elif pixel_spacing_mm is not None and len(pixel_spacing_mm) == 2 and min(pixel_spacing_mm) > 0:
            known |= {dim: (step, 0.0) for dim, step in zip(("y", "x"), pixel_spacing_mm, strict=True)}
        steps, starts = zip(*(known.get(dim, (1.0, 0.0)) for dim in dims), strict=True)
        return cls(tuple(dims), steps, starts, frozenset(known))


def _step(axis: Axis) -> float | None:
    """Distance of evenly spaced values; `None` where they are not, as OME-Zarr knows no other axes."""
    steps = [later - earlier for earlier, later in pairwise(axis.values)]
    if not steps or min(steps) <= 0 or max(steps) - min(steps) > EVEN * max(steps):
        return None
    return math.fsum(steps) / len(steps)


def channel_first(dims: Sequence[str]) -> tuple[int, ...]:
    """Order in which OME-Zarr has the axes of stored values: the channel stands before the rows."""
    order = [number for number, dim in enumerate(dims) if dim != CHANNEL]
    if CHANNEL in dims:
        order.insert(len(order) - 2, dims.index(CHANNEL))
    return tuple(order)


def multiscales(spaced: Spaced, values: str, levels: Sequence[Level]) -> dict[str, Any]:
    """Return the attribute `ome` of a group; nothing where OME-Zarr has no form for its axes.

    Parameters
    ----------
    values
        Name of the stored values in their group.
    levels
        Beside them, from fine to coarse.
    """
    order = channel_first(spaced.dims)
    axes = _axes([spaced.dims[number] for number in order], spaced.measured)
    datasets = [_dataset(spaced, order, f"{each.name}/{values}", each.factors) for each in levels]
    if CHANNEL not in spaced.dims:
        datasets.insert(0, _dataset(spaced, order, values, (1,) * len(spaced.dims)))
    if axes is None or not datasets:
        return {}
    return {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}}


def _axes(dims: Sequence[str], measured: Collection[str]) -> list[dict[str, str]] | None:
    """Axes as OME-Zarr has them, or `None` where it has no form for them."""
    custom = [dim for dim in dims if dim not in (*SPACE, CHANNEL, "time")]
    free = [CHANNEL] if CHANNEL not in dims and len(custom) == 2 else []
    if "time" in dims[1:] or len(custom) - len(free) > 1 or len(dims) > 5:
        return None
    kinds: dict[str, dict[str, str]] = {
        "time": {"type": "time"} | ({"unit": "second"} if "time" in measured else {}),
        CHANNEL: {"type": "channel"},
        **{dim: {"type": "space"} | ({"unit": "millimeter"} if dim in measured else {}) for dim in SPACE},
        **{dim: {"type": kind} for dim, kind in zip(custom[1:], free, strict=True)},
    }
    return [{"name": dim, **kinds.get(dim, {})} for dim in dims]


def _dataset(spaced: Spaced, order: Sequence[int], path: str, factors: Sequence[int]) -> dict[str, Any]:
    """A value of a level lies in the middle of those that it was made of."""
    scale = [spaced.steps[number] * factors[number] for number in order]
    middle = [spaced.starts[number] + (factors[number] - 1) / 2 * spaced.steps[number] for number in order]
    transformations: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(middle):
        transformations.append({"type": "translation", "translation": middle})
    return {"path": path, "coordinateTransformations": transformations}


def halvings(
    shape: Sequence[int], spaced: Spaced, *, has_equal_planes: bool, coarsest: int = COARSEST
) -> list[tuple[int, ...]]:
    """Factors of each level along each axis, from fine to coarse; none where the array is small already.

    Rows and columns are halved until they have `coarsest` or fewer. So are planes of a volume, but only while
    they are as close as the pixels are, and if they can be averaged: they have one rescale slope.
    """
    allowed = {"y", "x", *(("z",) if has_equal_planes else ())}
    factors, levels = [1] * len(shape), []
    while any(
        math.ceil(size / factor) > coarsest
        for dim, size, factor in zip(spaced.dims, shape, factors, strict=True)
        if dim in ("y", "x")
    ):
        steps = {
            number: spaced.steps[number] * factors[number]
            for number, dim in enumerate(spaced.dims)
            if dim in allowed and math.ceil(shape[number] / factors[number]) > 1
        }
        for number, step in steps.items():
            if step <= ALIKE * min(steps.values()):
                factors[number] *= 2
        levels.append(tuple(factors))
    return levels
