"""The way back: each plane of an array as its source instance has it, stored values and place in the patient.

What is read here are the numbers that went in, not those that the affine of a volume gives.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from catalog.errors import NotFoundError
from catalog.records import ArrayRecord
from pipelines.decoding.pixels import Stored
from pipelines.store.arrays import Planes
from pipelines.volumes import checked_block, stored_values


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane of an array."""

    sop_instance_uid: str
    frame_index: int
    """From 0 within the instance; of a mosaic, the number of the tile."""
    stored: Stored
    """Stored values; shape (rows, columns[, samples])."""
    image_position_patient: tuple[float, ...] | None
    """(0020,0032), LPS mm, or that of the frame; `None` where the source has none."""
    image_orientation_patient: tuple[float, ...] | None
    """(0020,0037), cosines of the rows, then of the columns."""
    pixel_spacing: tuple[float, ...] | None
    """(0028,0030), between rows, then between columns, mm."""
    rescale_slope: float
    rescale_intercept: float


def read_plane(record: ArrayRecord, number: int) -> Plane:
    """Read one plane of an array, numbered from 0 with the last axis before the rows running fastest.

    Raises
    ------
    NotFoundError
        If the array has no such plane.
    ArrayError
        If the array is absent, incomplete or altered since it was written.
    """
    planes, values = checked_block(record).planes, stored_values(record)
    count = len(planes.sop_instance_uids)
    if not 0 <= number < count:
        raise NotFoundError(f"array {record.path} has planes 0 to {count - 1}, not {number}")
    return _plane(planes, values, number)


def planes_of(record: ArrayRecord) -> Iterator[Plane]:
    """Read the planes of an array one by one, in their order; errors as `read_plane`."""
    planes, values = checked_block(record).planes, stored_values(record)
    for number in range(len(planes.sop_instance_uids)):
        yield _plane(planes, values, number)


def _plane(planes: Planes, values: xr.DataArray, number: int) -> Plane:
    leading = values.shape[: values.ndim - (3 if "channel" in values.dims else 2)]
    return Plane(
        sop_instance_uid=planes.sop_instance_uids[number],
        frame_index=planes.frame_indices[number],
        stored=values[np.unravel_index(number, leading)].to_numpy(),
        image_position_patient=planes.positions_lps_mm[number],
        image_orientation_patient=planes.orientation(number),
        pixel_spacing=planes.pixel_spacing_mm(number),
        rescale_slope=planes.rescale_slopes[number],
        rescale_intercept=planes.rescale_intercepts[number],
    )
