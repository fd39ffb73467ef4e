"""Where the planes of a series lie in the patient, and whether they form one regular volume; no I/O.

Positions are in the patient coordinate system, LPS, in mm (PS3.3 C.7.6.2.1.1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog.errors import GeometryError
from catalog.identifiers import short_uid
from catalog.records import InstanceRecord

type Vector = npt.NDArray[np.float64]
type Affine = tuple[tuple[float, ...], ...]

MINIMUM_PLANES = 3
"""Two planes have one distance, and nothing that shows it to be regular."""
COSINE_TOLERANCE = 1e-3
"""How far direction cosines may be from unit length, from a right angle, and from those of another plane."""
SPACING_TOLERANCE_MM = 1e-3
"""How far the Pixel Spacing of two planes of one volume may differ."""
PLANE_TOLERANCE = 0.01
"""How far a plane may lie from its place in the grid, as a part of the slice distance ..."""
PLANE_TOLERANCE_MM = 0.01
"""... or in mm, whichever is more: positions are often written with two decimals."""
SHEAR_TOLERANCE = 2e-3
"""Largest tangent of the angle between the stack axis and the slice normal (0.11 degrees)."""
SAME_POSITION_MM = 1e-3
"""Planes nearer than this lie at one position."""
FARTHEST_MM = 1e6
"""A position beyond a kilometre is a fault of the file."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid of voxels in the patient."""

    affine_lps: Affine
    """4 × 4, from (column, row, plane) index to LPS mm of the voxel's centre."""
    shape: tuple[int, int, int]
    """Planes, rows, columns."""
    order: tuple[int, ...]
    """Of the instances given, which is plane 0, 1, 2 ... along the normal."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why planes form no regular volume, and the instances that show it."""

    reason: str
    sop_instance_uids: tuple[str, ...]


def grid(instances: Sequence[InstanceRecord]) -> Grid:
    """Order planes along their normal and check that they form one regular volume.

    The normal is the cross product of the row and column cosines, so (column, row, plane) is right-handed.

    Raises
    ------
    GeometryError
        If they do not; the text has the reason and names the instances that show it.
    """
    fault = find_fault(instances)
    if fault is not None:
        named = ", ".join(short_uid(uid) for uid in fault.sop_instance_uids[:4])
        raise GeometryError(f"{fault.reason} (instances {named}); open the series as a stack of frames")
    order = plane_order(instances)
    ordered = [instances[index] for index in order]
    first = ordered[0]
    return Grid(
        affine_lps=_affine(first, positions_lps_mm(ordered)),
        shape=(len(ordered), first.rows or 0, first.columns or 0),
        order=order,
    )


def find_fault(instances: Sequence[InstanceRecord]) -> Fault | None:
    """Return the first reason why planes, in any order, form no regular volume; `None` if they form one."""
    if not instances:
        return Fault("no planes", ())
    for check in _CHECKS:
        fault = check(instances)
        if fault is not None:
            return fault
    ordered = [instances[index] for index in plane_order(instances)]
    return _two_at_one_position(ordered) or _irregular_stack(ordered)


def is_placed(instance: InstanceRecord) -> bool:
    """Whether an instance has a usable position, orientation and Pixel Spacing (PS3.3 C.7.6.2)."""
    return (
        _are_numbers(instance.image_position_patient, 3)
        and _are_numbers(instance.image_orientation_patient, 6)
        and _are_numbers(instance.pixel_spacing, 2)
        and min(instance.pixel_spacing or (0.0,)) > 0
        and _are_cosines(instance.image_orientation_patient or ())
    )


def normal(instance: InstanceRecord) -> Vector:
    """Return the unit normal of a placed plane: row cosines × column cosines; shape (3,)."""
    row, column = _cosines(instance)
    cross = np.cross(row, column)
    return np.asarray(cross / np.linalg.norm(cross), np.float64)


def positions_lps_mm(instances: Sequence[InstanceRecord]) -> Vector:
    """Return Image Position (Patient) of placed planes; shape (planes, 3), LPS mm."""
    return np.array([each.image_position_patient for each in instances], np.float64).reshape(-1, 3)


def plane_order(instances: Sequence[InstanceRecord]) -> tuple[int, ...]:
    """Return the indices of placed, parallel planes in order along their normal.

    Planes at one position follow each other by SOP Instance UID, so the order never depends on the input's.
    """
    along = positions_lps_mm(instances) @ normal(min(instances, key=lambda each: each.sop_instance_uid))
    return tuple(
        sorted(range(len(instances)), key=lambda index: (along[index], instances[index].sop_instance_uid))
    )


def same_orientation(a: InstanceRecord, b: InstanceRecord) -> bool:
    """Whether two placed planes are parallel and turned alike within the plane."""
    return _are_near(a.image_orientation_patient, b.image_orientation_patient, COSINE_TOLERANCE)


def same_spacing(a: InstanceRecord, b: InstanceRecord) -> bool:
    """Whether two placed planes have one Pixel Spacing."""
    return _are_near(a.pixel_spacing, b.pixel_spacing, SPACING_TOLERANCE_MM)


def orientation_name(instance: InstanceRecord) -> str:
    """Return `axial`, `coronal` or `sagittal` where a placed plane is within 0.8 of it, else `oblique`."""
    along = np.abs(normal(instance))
    axis = int(along.argmax())
    return ("sagittal", "coronal", "axial")[axis] if along[axis] > 0.8 else "oblique"


# --- checks, in the order in which a person would name the fault -----------------------------------------


def _unplaced(instances: Sequence[InstanceRecord]) -> Fault | None:
    lacking = tuple(each.sop_instance_uid for each in instances if not is_placed(each))
    return Fault("no usable position, orientation or pixel spacing", lacking) if lacking else None


def _unequal_size(instances: Sequence[InstanceRecord]) -> Fault | None:
    first = instances[0]
    return _unlike(
        instances,
        lambda each: (each.rows, each.columns) == (first.rows, first.columns),
        "images of unequal size",
    )


def _unequal_orientation(instances: Sequence[InstanceRecord]) -> Fault | None:
    return _unlike(
        instances, lambda each: same_orientation(instances[0], each), "planes of several orientations"
    )


def _unequal_spacing(instances: Sequence[InstanceRecord]) -> Fault | None:
    return _unlike(
        instances, lambda each: same_spacing(instances[0], each), "planes of unequal pixel spacing"
    )


def _too_few(instances: Sequence[InstanceRecord]) -> Fault | None:
    if len(instances) >= MINIMUM_PLANES:
        return None
    reason = ("one plane only", "two planes only, their distance is not confirmed by a third")[
        len(instances) - 1
    ]
    return Fault(reason, tuple(each.sop_instance_uid for each in instances))


_CHECKS: tuple[Callable[[Sequence[InstanceRecord]], Fault | None], ...] = (
    _unplaced,
    _unequal_size,
    _unequal_orientation,
    _unequal_spacing,
    _too_few,
)


def _two_at_one_position(ordered: Sequence[InstanceRecord]) -> Fault | None:
    distances = np.linalg.norm(np.diff(positions_lps_mm(ordered), axis=0), axis=1)
    at = int(distances.argmin())
    if distances[at] > SAME_POSITION_MM:
        return None
    uids = (ordered[at].sop_instance_uid, ordered[at + 1].sop_instance_uid)
    return Fault("several planes at one position", uids)


def _irregular_stack(ordered: Sequence[InstanceRecord]) -> Fault | None:
    positions, along_normal = positions_lps_mm(ordered), normal(ordered[0])
    step = _step(positions)
    expected = positions[0] + np.outer(np.arange(len(positions)), step)
    deviation = float(np.linalg.norm(positions - expected, axis=1).max())
    along = float(step @ along_normal)
    aside = float(np.linalg.norm(step - along * along_normal))
    gaps = np.diff(positions @ along_normal)
    reasons = []
    if deviation > max(PLANE_TOLERANCE * float(np.linalg.norm(step)), PLANE_TOLERANCE_MM):
        reasons.append(_spacing_words(float(gaps.min()), float(gaps.max()), deviation))
    if aside > SHEAR_TOLERANCE * along:
        degrees = np.degrees(np.arctan2(aside, along))
        reasons.append(f"the stack leans {degrees:.1f} degrees from the slice normal (gantry tilt)")
    if not reasons:
        return None
    worst = int(np.abs(gaps - np.median(gaps)).argmax())
    return Fault("; ".join(reasons), tuple(each.sop_instance_uid for each in ordered[worst : worst + 2]))


def _spacing_words(smallest: float, largest: float, deviation: float) -> str:
    if f"{smallest:.2f}" != f"{largest:.2f}":
        return f"slice distance varies from {smallest:.2f} to {largest:.2f} mm"
    return f"planes lie up to {deviation:.2f} mm beside a straight, regular stack"


def _unlike(
    instances: Sequence[InstanceRecord], is_like: Callable[[InstanceRecord], bool], reason: str
) -> Fault | None:
    other = next((each for each in instances if not is_like(each)), None)
    if other is None:
        return None
    return Fault(reason, (instances[0].sop_instance_uid, other.sop_instance_uid))


# --- vectors ---------------------------------------------------------------------------------------------


def _affine(first: InstanceRecord, positions: Vector) -> Affine:
    row, column = _cosines(first)
    between_rows, between_columns = first.pixel_spacing or (0.0, 0.0)
    affine = np.eye(4)
    # Row cosines point along a row, that is to the next column (PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1).
    affine[:3, 0], affine[:3, 1] = row * between_columns, column * between_rows
    affine[:3, 2], affine[:3, 3] = _step(positions), positions[0]
    return tuple(tuple(float(value) + 0.0 for value in line) for line in affine)  # + 0.0: no negative zero


def _step(positions: Vector) -> Vector:
    return np.asarray((positions[-1] - positions[0]) / (len(positions) - 1), np.float64)


def _cosines(instance: InstanceRecord) -> tuple[Vector, Vector]:
    row, column = np.array(instance.image_orientation_patient, np.float64).reshape(2, 3)
    return row, column


def _are_near(a: tuple[float, ...] | None, b: tuple[float, ...] | None, tolerance: float) -> bool:
    # Plain numbers: a series has thousands of planes, and an array for each would take most of the time.
    return all(abs(one - other) <= tolerance for one, other in zip(a or (), b or (), strict=True))


def _are_numbers(values: tuple[float, ...] | None, count: int) -> bool:
    return values is not None and len(values) == count and all(abs(each) <= FARTHEST_MM for each in values)


def _are_cosines(values: tuple[float, ...]) -> bool:
    row, column = values[:3], values[3:]
    wanted = ((row, row, 1.0), (column, column, 1.0), (row, column, 0.0))
    return all(
        abs(sum(one * other for one, other in zip(a, b, strict=True)) - product) <= 2 * COSINE_TOLERANCE
        for a, b, product in wanted
    )
