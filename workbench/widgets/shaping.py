"""Paints what the values or other planes tell: a region grown from a point, shapes between drawn planes."""

from collections.abc import Sequence

import numpy as np

from catalog.errors import QuestionError
from pipelines.presentation.scene import Scene, check_index, to_pixels
from pipelines.shapes import fill_between, grow
from pipelines.store.masks import Index
from workbench.widgets.painting import LARGEST_LABEL, Painting


def grow_region(
    painting: Painting, scene: Scene, index: Index, at: tuple[int, int], low: float, high: float, number: int
) -> dict[Index, int]:
    """Paint a label where values from `low` to `high` hang together with a pixel; return how much, by plane.

    Planes of a volume are neighbours, frames of a time axis are not. What has a label keeps it.

    Parameters
    ----------
    index
        The plane, along each axis before rows and columns, from 0.
    at
        Row and column.

    Raises
    ------
    QuestionError
        If there is no such pixel, or its value is outside the range.
    """
    _check(scene, index, number)
    row, column = at
    if not (0 <= row < scene.rows and 0 <= column < scene.columns):
        raise QuestionError(f"there is no pixel in row {row} and column {column} (from 0)")
    *leading, plane = index
    is_stack = scene.axes[-1].name != "time"
    first, count = (0, scene.shape[-1]) if is_stack else (plane, 1)
    region = grow(
        lambda number: painting.values((*leading, first + number)),
        count,
        (plane - first, row, column),
        low,
        high,
    )
    if not region:
        raise QuestionError(f"the value there is outside of {low:g} to {high:g} {scene.unit}".rstrip())
    return painting.add(number, {(*leading, first + each): flags for each, flags in region.items()})


def interpolate(painting: Painting, scene: Scene, leading: Index, number: int) -> dict[Index, int]:
    """Paint a label on the planes between those that have it; return how many voxels on each.

    What has a label keeps it (`pipelines.shapes.fill_between`).

    Raises
    ------
    QuestionError
        If no plane lies between two that have the label.
    """
    _check(scene, (*leading, 0), number)
    drawn = painting.flags(number, leading)
    between = fill_between(drawn, _positions_mm(scene), scene.pixel_spacing or (1.0, 1.0))
    if not between:
        raise QuestionError(f"segment {number} has no gap: draw it on two planes that are not neighbours")
    return painting.add(number, {(*leading, at): flags for at, flags in between.items()})


def pixel_of(scene: Scene, index: Index, point: Sequence[float]) -> tuple[Index, tuple[int, int]]:
    """The plane and the (row, column) that a position is nearest to.

    Parameters
    ----------
    index
        The plane it was pointed at on, where nothing says where planes lie.
    point
        LPS mm; (column, row, plane) × spacing where images have no place in the patient.
    """
    plane = index[-1]
    if scene.is_volume:
        positions = np.array(scene.positions_lps_mm)
        normal = np.cross(*np.reshape(scene.orientation, (2, 3)))
        plane = int(np.abs((positions - np.array(point)) @ normal).argmin())
    column, row = (round(each) for each in to_pixels(scene, plane, [point])[0].tolist())
    return (*index[:-1], plane), (row, column)


def _check(scene: Scene, index: Index, number: int) -> None:
    check_index(scene, index)
    if scene.samples != 1:
        raise QuestionError("colours are not painted on")
    if not 0 < number <= LARGEST_LABEL:
        raise QuestionError(f"a segment has a number from 1 to {LARGEST_LABEL}")


def _positions_mm(scene: Scene) -> list[float]:
    """Where planes lie along the stack; their numbers where nothing says that."""
    if not scene.positions_lps_mm:
        return [float(each) for each in range(scene.shape[-1])]
    positions = np.array(scene.positions_lps_mm)
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    return [0.0, *np.cumsum(steps).tolist()]
