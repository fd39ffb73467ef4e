"""Shapes for a mask: grown from a point, and filled in between planes that were drawn; pure."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage  # type: ignore[import-untyped]

type Flags = npt.NDArray[np.bool_]
type Numbers = npt.NDArray[np.float64]


def grow(
    plane: Callable[[int], npt.NDArray[Any]],
    count: int,
    seed: tuple[int, int, int],
    low: float,
    high: float,
) -> dict[int, Flags]:
    """Return what hangs together with a voxel by faces, of voxels whose values are from `low` to `high`.

    Planes are read once, where the region comes to, one at a time: memory holds two flags for each voxel of
    those it came to.

    Parameters
    ----------
    plane
        Gives the values (rows, columns) of a plane.
    count
        How many planes there are.
    seed
        Plane, row, column, from 0.

    Returns
    -------
    dict
        Number of a plane to what of it belongs to the region; empty where the seed itself has another value.
    """
    inside: dict[int, Flags] = {}
    """Whether each value of a plane is in the range."""
    region: dict[int, Flags] = {}

    def allowed(at: int) -> Flags:
        if at not in inside:
            values = plane(at)
            inside[at] = (values >= low) & (values <= high)
        return inside[at]

    at, row, column = seed
    first = np.zeros_like(allowed(at))
    first[row, column] = True
    waiting = [(at, first)]
    while waiting:
        at, seeds = waiting.pop()
        pieces, _ = ndimage.label(allowed(at))
        reached = np.unique(pieces[seeds])
        new = np.isin(pieces, reached[reached > 0])
        if at in region:
            new &= ~region[at]
        if new.any():
            region[at] = region[at] | new if at in region else new
            waiting += [(other, new) for other in (at - 1, at + 1) if 0 <= other < count]
    return region


def fill_between(
    drawn: Mapping[int, Flags], positions_mm: Sequence[float], spacing_mm: tuple[float, float]
) -> dict[int, Flags]:
    """Return the shapes on the planes between those that were drawn (shape-based interpolation).

    The distance to the edge, negative outside, runs linearly from one drawn plane to the next, and what is
    positive is inside (Raya and Udupa, IEEE Trans Med Imaging 9(1), 1990). Where two shapes do not overlap,
    their centres are first brought to one another, so that what lies between is on the way.

    Parameters
    ----------
    drawn
        Number of a plane to its shape (rows, columns).
    positions_mm
        Where each plane lies along the stack.
    spacing_mm
        Between rows, then between columns.

    Returns
    -------
    dict
        Number of each plane between two drawn ones to its shape.
    """
    numbers = sorted(at for at, shape in drawn.items() if shape.any())
    found: dict[int, Flags] = {}
    for low, high in pairwise(numbers):
        if high - low < 2:
            continue
        centres = [np.array(ndimage.center_of_mass(drawn[each])) for each in (low, high)]
        apart = centres[1] - centres[0] if not (drawn[low] & drawn[high]).any() else np.zeros(2)
        depths = [_depth(drawn[each], spacing_mm) for each in (low, high)]
        way = positions_mm[high] - positions_mm[low]
        for at in range(low + 1, high):
            share = (positions_mm[at] - positions_mm[low]) / way if way else (at - low) / (high - low)
            below, above = _moved(depths[0], apart * share), _moved(depths[1], -apart * (1 - share))
            found[at] = (1 - share) * below + share * above > 0
    return found


def _depth(shape: Flags, spacing_mm: tuple[float, float]) -> Numbers:
    """How far each pixel lies inside the edge, mm; negative outside. The edge runs halfway between pixels."""
    inside = ndimage.distance_transform_edt(shape, sampling=spacing_mm)
    outside = ndimage.distance_transform_edt(~shape, sampling=spacing_mm)
    return np.asarray(inside - outside, np.float64)


def _moved(depth: Numbers, by: npt.NDArray[np.float64]) -> Numbers:
    return np.asarray(ndimage.shift(depth, by, order=1, mode="nearest"), np.float64) if by.any() else depth
