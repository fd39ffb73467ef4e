"""What keeps the images of a part from being a volume, as findings of a small vocabulary; no I/O."""

from collections.abc import Sequence

import numpy as np

from catalog.records import Finding, InstanceRecord
from pipelines import geometry
from pipelines.axes.makers import maker
from pipelines.axes.split import Part
from pipelines.geometry import Vector

MISSING_AT_MOST = 100
"""Slices in one gap; beyond that it is another stack."""
NAMED_AT_MOST = 3
"""Gaps that are named."""


def faults_of(part: Part, number: int) -> list[Finding]:
    """Return what is wrong with the geometry of a part; nothing of a volume.

    Parameters
    ----------
    number
        Of the part, from 0.
    """
    first = part.instances[0]
    if part.grid is not None:
        return []
    if part.are_copies:
        return [Finding(first.series_instance_uid, "duplicate_planes", part.reason, number)]
    if first.obstacle and maker(first):
        return [Finding(first.series_instance_uid, "private_dialect", first.obstacle, number)]
    if part.axes or not _are_parallel(part.instances):
        return []
    ordered = [part.instances[index] for index in geometry.plane_order(part.instances)]
    positions, normal = geometry.positions_lps_mm(ordered), geometry.normal(ordered[0])
    along = positions @ normal
    gaps = np.diff(along)
    is_repeated = gaps <= geometry.SAME_POSITION_MM
    found = [("duplicate_planes", part.reason)] if is_repeated.any() else []
    kept = np.concatenate(([True], ~is_repeated))
    if kept.sum() >= geometry.MINIMUM_PLANES:
        found += _spacing(along[kept])
        found += _tilt(positions[kept], normal)
    return [Finding(first.series_instance_uid, kind, words, number) for kind, words in found]


def _are_parallel(images: Sequence[InstanceRecord]) -> bool:
    first = images[0]
    return (
        len(images) > 1
        and all(geometry.is_placed(each) for each in images)
        and all(geometry.same_orientation(first, each) for each in images)
    )


def _spacing(along_mm: Vector) -> list[tuple[str, str]]:
    """Whether gaps are one spacing, whole multiples of it, or neither."""
    gaps = np.diff(along_mm)
    steps = np.rint(gaps / gaps.min())
    spacing = float(gaps.sum() / steps.sum())
    tolerance = max(geometry.PLANE_TOLERANCE * spacing, geometry.PLANE_TOLERANCE_MM)
    if np.abs(gaps - steps * spacing).max() > tolerance or steps.max() > MISSING_AT_MOST:
        return [("unequal_spacing", f"slice distance varies from {gaps.min():.2f} to {gaps.max():.2f} mm")]
    missing = int(steps.sum()) - len(steps)
    if not missing:
        return []
    at = [f"{steps[each] - 1:.0f} after plane {each}" for each in np.flatnonzero(steps > 1)]
    more = f" and {len(at) - NAMED_AT_MOST} more gaps" if len(at) > NAMED_AT_MOST else ""
    named = ", ".join(at[:NAMED_AT_MOST]) + more
    return [("missing_slices", f"{missing} of {int(steps.sum()) + 1} slices {spacing:.2f} mm apart: {named}")]


def _tilt(positions_lps_mm: Vector, normal: Vector) -> list[tuple[str, str]]:
    step = positions_lps_mm[-1] - positions_lps_mm[0]
    along = float(step @ normal)
    aside = float(np.linalg.norm(step - along * normal))
    if aside <= geometry.SHEAR_TOLERANCE * along:
        return []
    degrees = np.degrees(np.arctan2(aside, along))
    return [("tilt", f"the stack leans {degrees:.1f} degrees from the slice normal")]
