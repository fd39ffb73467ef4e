"""Where the frames of an object lie: a regular lattice of planes, gaps allowed, or why not; no I/O.

Objects that are made of images (SEG, parametric maps, dose) leave planes out where there is nothing; the
lattice has them nevertheless. Positions are LPS, in mm (PS3.3 C.7.6.2.1.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.errors import GeometryError
from pipelines.geometry import (
    COSINE_TOLERANCE,
    FARTHEST_MM,
    PLANE_TOLERANCE,
    PLANE_TOLERANCE_MM,
    SAME_POSITION_MM,
    SHEAR_TOLERANCE,
    Affine,
    Vector,
)

LARGEST_PLANES = 20_000
"""A lattice of more planes, those in the gaps included, is a fault of the file."""


@dataclass(frozen=True, slots=True)
class Raster:
    """What all frames of an object have in common (PS3.3 C.7.6.16.2.1, C.7.6.16.2.4)."""

    rows: int
    columns: int
    orientation: tuple[float, ...]
    """Cosines of the rows, then of the columns (0020,0037)."""
    pixel_spacing: tuple[float, ...]
    """Between rows, then between columns, mm (0028,0030)."""
    distances_mm: tuple[float, ...] = ()
    """What the header says of the distance of planes, to be tried in this order."""

    def __post_init__(self) -> None:
        if len(self.orientation) != 6 or len(self.pixel_spacing) != 2 or not min(self.pixel_spacing) > 0:
            raise GeometryError("no usable orientation or pixel spacing")
        row, column = np.reshape(self.orientation, (2, 3))
        products = np.array([row @ row - 1, column @ column - 1, row @ column])
        if not np.abs(products).max() <= 2 * COSINE_TOLERANCE:
            raise GeometryError("direction cosines that are no unit vectors at a right angle")

    @property
    def normal(self) -> Vector:
        """Unit vector, row cosines × column cosines; shape (3,)."""
        cross = np.cross(self.orientation[:3], self.orientation[3:])
        return np.asarray(cross / np.linalg.norm(cross), np.float64)


@dataclass(frozen=True, slots=True)
class Lattice:
    """A regular grid of voxels in the patient, and the plane in which each frame lies."""

    affine_lps: Affine
    """4 × 4, from (column, row, plane) index to LPS mm of the voxel's centre."""
    shape: tuple[int, int, int]
    """Planes, rows, columns."""
    planes: tuple[int, ...]
    """For each position that was given, its plane."""

    dims = ("z", "y", "x")

    def coordinates(self) -> dict[str, Any]:
        """Coordinates z, y, x as those of `pipelines.volumes`: the origin plus index times spacing, mm."""
        affine = np.array(self.affine_lps)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        return {
            dim: (dim, affine[axis, 3] + np.arange(count) * spacing[axis], {"units": "mm"})
            for axis, (dim, count) in enumerate(zip("xyz", self.shape[::-1], strict=True))
        }

    def attributes(self) -> dict[str, Any]:
        """`affine_lps`, and `direction` in the order z, y, x, as those of `pipelines.volumes`."""
        affine = np.array(self.affine_lps)
        direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        return {"kind": "volume", "affine_lps": affine.tolist(), "direction": np.flip(direction).tolist()}


def lattice(positions_lps_mm: Sequence[Sequence[float]], raster: Raster) -> Lattice:
    """Find the lattice of planes in which all positions lie; several frames may lie in one plane.

    The distance is the first of those the header names of which all positions are a multiple, else the
    smallest there is between two planes.

    Raises
    ------
    GeometryError
        If there is none: the reason, in words.
    """
    positions = _checked(positions_lps_mm)
    normal = raster.normal
    first = positions[(positions @ normal).argmin()]
    offsets = positions - first
    along = offsets @ normal
    aside = np.linalg.norm(offsets - np.outer(along, normal), axis=1)
    leaning = aside > np.maximum(SHEAR_TOLERANCE * along, PLANE_TOLERANCE_MM)
    if leaning.any():
        raise GeometryError(
            f"planes lie up to {aside.max():.2f} mm beside the normal through the first (tilt)"
        )
    distance = _distance(along, raster.distances_mm)
    planes = np.rint(along / distance).astype(int)
    count = int(planes.max()) + 1
    if count > LARGEST_PLANES:
        raise GeometryError(f"{count:,} planes of {distance:g} mm, more than {LARGEST_PLANES:,}")
    return Lattice(
        _affine(raster, first, normal * distance),
        (count, raster.rows, raster.columns),
        tuple(int(each) for each in planes),
    )


def _checked(positions_lps_mm: Sequence[Sequence[float]]) -> Vector:
    if not positions_lps_mm or any(len(each) != 3 for each in positions_lps_mm):
        raise GeometryError("frames without a plane position")
    positions = np.array(positions_lps_mm, np.float64)
    if not np.abs(positions).max() <= FARTHEST_MM:
        raise GeometryError("plane positions beyond a kilometre, or no numbers")
    return positions


def _distance(along: Vector, candidates: Sequence[float]) -> float:
    """The distance of planes; `along` is measured from the first."""
    gaps = np.diff(np.sort(along))
    gaps = gaps[gaps > SAME_POSITION_MM]
    stated = [each for each in candidates if SAME_POSITION_MM < each <= FARTHEST_MM]
    if gaps.size == 0:
        if not stated:
            raise GeometryError(
                "one plane only, and neither the distance nor the thickness of planes is named"
            )
        return stated[0]
    # Averaged over the whole stack, as positions are often written with two decimals.
    smallest = float(along.max() / max(np.rint(along.max() / gaps.min()), 1))
    for distance in (*stated, smallest):
        beside = np.abs(along - np.rint(along / distance) * distance)
        if beside.max() <= max(PLANE_TOLERANCE * distance, PLANE_TOLERANCE_MM):
            return distance
    raise GeometryError(
        f"plane distances from {gaps.min():.2f} to {gaps.max():.2f} mm are no multiples of one distance"
    )


def _affine(raster: Raster, origin: Vector, step: Vector) -> Affine:
    between_rows, between_columns = raster.pixel_spacing
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(raster.orientation[:3], between_columns)
    affine[:3, 1] = np.multiply(raster.orientation[3:], between_rows)
    affine[:3, 2], affine[:3, 3] = step, origin
    return tuple(tuple(float(value) + 0.0 for value in line) for line in affine)  # + 0.0: no negative zero


# --- planes that are no lattice --------------------------------------------------------------------------


def placed_coordinates(
    dim: str, positions_lps_mm: Sequence[Sequence[float]], raster: Raster
) -> dict[str, Any]:
    """Where parallel planes that follow each other along `dim` lie.

    `x_lps_mm`, `y_lps_mm` and `z_lps_mm` are those of each plane's first pixel, `distance_mm` is along the
    normal from the first plane, and `y` and `x` are within the plane, from its first pixel.
    """
    positions, units = np.array(positions_lps_mm, np.float64), {"units": "mm"}
    lines = dict(zip("xyz", positions.T, strict=True))
    between_rows, between_columns = raster.pixel_spacing
    return {f"{axis}_lps_mm": (dim, line, units) for axis, line in lines.items()} | {
        "distance_mm": (dim, (positions - positions[0]) @ raster.normal, units),
        "y": ("y", np.arange(raster.rows) * between_rows, units),
        "x": ("x", np.arange(raster.columns) * between_columns, units),
    }


@dataclass(frozen=True, slots=True)
class Stack:
    """Planes one after the other, and why they are no lattice."""

    reason: str
    shape: tuple[int, int, int]
    """Planes, rows, columns."""
    planes: tuple[int, ...]
    """For each frame, its plane."""
    raster: Raster | None = None
    """`None` where the planes have no place in the patient."""
    positions_lps_mm: tuple[tuple[float, ...], ...] = ()
    """Of each plane; empty where they have none."""

    dims = ("frame", "y", "x")

    def coordinates(self) -> dict[str, Any]:
        """Coordinate `frame` and, where positions are known, those that `pipelines.volumes` gives a stack."""
        found: dict[str, Any] = {"frame": np.arange(self.shape[0])}
        if self.raster is None or not self.positions_lps_mm:
            return found
        return found | placed_coordinates("frame", self.positions_lps_mm, self.raster)

    def attributes(self) -> dict[str, Any]:
        """`kind` and `reason`, as those of `pipelines.volumes`; orientation and spacing where known."""
        found: dict[str, Any] = {"kind": "stack", "reason": self.reason}
        if self.raster is not None:
            found["image_orientation_patient"] = list(self.raster.orientation)
            found["pixel_spacing"] = list(self.raster.pixel_spacing)
        return found


def stack(
    keys: Sequence[tuple[Any, ...]], reason: str, rows: int, columns: int, raster: Raster | None = None
) -> Stack:
    """Lay planes one after the other as they first come; frames with one key lie in one plane.

    Parameters
    ----------
    keys
        Of each frame: with a `raster` its position in LPS mm, else whatever tells planes apart.
    """
    if raster is None:
        rounded = list(keys)
    else:
        rounded = [tuple(round(x / SAME_POSITION_MM) for x in key) for key in keys]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(rounded))}
    first = dict(zip(reversed(rounded), reversed(keys), strict=True))
    return Stack(
        reason,
        (len(numbers), rows, columns),
        tuple(numbers[key] for key in rounded),
        raster,
        () if raster is None else tuple(tuple(float(x) for x in first[key]) for key in numbers),
    )
