"""How values run over time where somebody drew: the mean inside a mark, frame by frame."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from pipelines.marks import Mark, pixels_inside
from pipelines.presentation.scene import Scene

BLOCK = 16_000_000
"""Values that are read at a time."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The mean inside one mark over time."""

    uid: str
    """Of the mark."""
    name: str
    """For people: its text, else what kind of mark it is."""
    seconds: tuple[float, ...]
    """When each frame was taken; its number where nothing says that."""
    unit: str
    """Of the times; empty for numbers of frames."""
    means: tuple[float | None, ...]
    """In the unit of the array; `None` where no pixel has a finite value."""


def curves_of(marks: Iterable[Mark], array: xr.DataArray, scene: Scene) -> list[Curve]:
    """Return a curve for each outline and probe that lies on a plane, of an array with more than one time.

    Parameters
    ----------
    array
        (…, time, …, y, x) in modality values; other axes are held where the mark lies.
    """
    found = next((at for at, axis in enumerate(scene.axes) if axis.name == "time" and axis.size > 1), None)
    if found is None or scene.samples != 1:
        return []
    axis = scene.axes[found]
    is_timed = all(isinstance(each, int | float) for each in axis.values) and len(axis.values) == axis.size
    seconds = tuple(map(float, axis.values)) if is_timed else tuple(map(float, range(axis.size)))
    curves = []
    for mark in marks:
        inside = pixels_inside(mark.kind, mark.points, mark.outline, scene, mark.index)
        if inside is None or not inside.any():
            continue
        where = {
            each.name: at
            for each, at in zip(scene.axes, mark.index, strict=True)
            if each.name != axis.name and each.name in array.dims
        }
        means = _means(array.isel(where), axis.name, inside)
        curves.append(Curve(mark.uid, mark.text or mark.kind, seconds, axis.unit if is_timed else "", means))
    return curves


def _means(array: xr.DataArray, name: str, inside: npt.NDArray[np.bool_]) -> tuple[float | None, ...]:
    """Mean of the finite values inside, for each index along one axis of (that axis, y, x)."""
    rows, columns = np.nonzero(inside)
    box: dict[str, Any] = {
        "y": slice(rows.min(), rows.max() + 1),
        "x": slice(columns.min(), columns.max() + 1),
    }
    inside = inside[box["y"], box["x"]]
    cut = array.isel(box).transpose(name, "y", "x")
    step = max(1, BLOCK // inside.size)
    found: list[float | None] = []
    for first in range(0, cut.sizes[name], step):
        values = cut.isel({name: slice(first, first + step)}).to_numpy()[:, inside]
        found += [_mean(each) for each in values]
    return tuple(found)


def _mean(values: npt.NDArray[Any]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else None


def columns_of(curves: Sequence[Curve]) -> dict[str, tuple[float | None, ...]]:
    """Return the means by names that differ: a name that comes again gets a number."""
    columns: dict[str, tuple[float | None, ...]] = {}
    for each in curves:
        number = sum(name == each.name or name.startswith(f"{each.name} (") for name in columns)
        columns[f"{each.name} ({number + 1})" if number else each.name] = each.means
    return columns
