"""RT Dose: dose in Gy on its grid in the patient (PS3.3 A.18, C.8.8.3)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydicom import Dataset

from catalog.errors import GeometryError, HeaderError
from pipelines.axes.lattice import Lattice, Raster, Stack, lattice, stack
from pipelines.decoding.pixels import PixelDescription
from pipelines.geometry import FARTHEST_MM, PLANE_TOLERANCE_MM, Vector
from pipelines.objects.file import DicomObject, frames_array, named, numbers, open_object

RT_DOSE_STORAGE = "1.2.840.10008.5.1.4.1.1.481.2"

UNITS = {"GY": "Gy", "RELATIVE": "relative"}
"""Dose Units (3004,0002); `relative` is a part of whatever the plan refers to, never Gy."""


def read_dose(path: str | Path) -> xr.DataArray:
    """Open a dose lazily: stored value × Dose Grid Scaling (3004,000E), shape (z, y, x).

    Values are float32, or float64 where 32 bits are stored; the attribute `units` is `Gy` or `relative`.
    Planes go along the normal whatever their order in the file. Where Grid Frame Offset Vector (3004,000C) is
    unequally spaced or cannot be understood, `frame` stands for z, the attribute `reason` says why, and the
    coordinates `x_lps_mm`, `y_lps_mm` and `z_lps_mm` have the positions of the planes if they are known.
    Attributes also name `dose_type`, `dose_summation_type`, `affine_lps`, `frame_of_reference_uid`, UIDs and
    the plans.

    Raises
    ------
    HeaderError
        If the file is no RT Dose, has no grid (only a histogram), no scaling or no units.
    DecodeError
        If its pixel data are cut or of another kind than its header says.
    """
    with named(path):
        return _read(open_object(path, (RT_DOSE_STORAGE,), "RT Dose"))


def plane_positions_lps_mm(
    position: Sequence[float], orientation: Sequence[float], offsets: Sequence[float]
) -> Vector:
    """Positions of dose planes by Grid Frame Offset Vector (PS3.3 C.8.8.3.2); shape (planes, 3), LPS mm.

    Offsets that begin with 0 are relative to Image Position (Patient), along row × column cosines; those that
    begin with its z, of axial planes, are z coordinates in the patient.

    Raises
    ------
    GeometryError
        If they begin with neither.
    """
    origin = np.asarray(position, np.float64)
    normal = np.cross(orientation[:3], orientation[3:])
    along = np.asarray(offsets, np.float64)
    if abs(along[0]) <= PLANE_TOLERANCE_MM:
        return np.asarray(origin + np.outer(along, normal))
    is_axial = bool(np.abs(np.abs(normal) - (0, 0, 1)).max() < 1e-3)
    if is_axial and abs(along[0] - origin[2]) <= PLANE_TOLERANCE_MM:
        return np.asarray(origin + np.outer(along - origin[2], (0, 0, 1)))
    raise GeometryError(
        "Grid Frame Offset Vector begins neither with 0 nor with z of Image Position (Patient)"
    )


def _read(found: DicomObject) -> xr.DataArray:
    ds = found.ds
    description = PixelDescription.of(found.instance) if "Rows" in ds else None
    if description is None:
        raise HeaderError("has no dose grid; it holds histograms or points alone")
    scaling = numbers(ds.get("DoseGridScaling"))
    if len(scaling) != 1 or not 0 < scaling[0] < np.inf:
        raise HeaderError("has no usable Dose Grid Scaling (3004,000E)")
    units = UNITS.get(str(ds.get("DoseUnits") or ""))
    if units is None:
        raise HeaderError("has no Dose Units (3004,0002) of GY or RELATIVE")
    place = _place(found)
    frame_index = np.full(place.shape[0], -1, np.intp)
    frame_index[list(place.planes)] = np.arange(found.frames)
    if found.frames != place.shape[0] or frame_index.min() < 0:
        raise HeaderError("has several dose planes at one position, or gaps between them")
    dtype = np.float32 if description.bits_allocated < 32 else np.float64
    values = frames_array(found.instance, frame_index, dtype, rescale=(scaling[0], 0.0))
    array = xr.DataArray(values, dims=place.dims, coords=place.coordinates(), name="dose")
    attributes = found.attributes() | place.attributes() | {"units": units} | _said(ds)
    return array.assign_attrs(attributes)


def _place(found: DicomObject) -> Lattice | Stack:
    ds, rows, columns = found.ds, found.instance.rows or 0, found.instance.columns or 0
    offsets = numbers(ds.get("GridFrameOffsetVector")) or ((0.0,) if found.frames == 1 else ())
    if len(offsets) != found.frames:
        raise HeaderError(
            f"has {found.frames:,} frames and {len(offsets):,} values in Grid Frame Offset Vector"
        )
    positions: list[tuple[float, ...]] = []
    raster = None
    try:
        raster, distances = _raster(found, rows, columns), np.abs(np.diff(offsets))
        origin = found.instance.image_position_patient or ()
        if len(origin) != 3 or not np.abs([*origin, *offsets]).max() <= FARTHEST_MM:
            raise GeometryError("no usable Image Position (Patient) or plane offsets")
        positions = [
            tuple(each) for each in plane_positions_lps_mm(origin, raster.orientation, offsets).tolist()
        ]
        if len(distances) and np.ptp(distances) > max(PLANE_TOLERANCE_MM, 0.01 * float(distances.max())):
            raise GeometryError(f"plane distances from {distances.min():.2f} to {distances.max():.2f} mm")
        return lattice(positions, raster)
    except GeometryError as error:
        if positions:
            return stack(positions, str(error), rows, columns, raster)
        return stack([(index,) for index in range(found.frames)], str(error), rows, columns)


def _raster(found: DicomObject, rows: int, columns: int) -> Raster:
    instance = found.instance
    thickness = () if found.frames > 1 or instance.slice_thickness is None else (instance.slice_thickness,)
    orientation, spacing = instance.image_orientation_patient or (), instance.pixel_spacing or ()
    return Raster(rows, columns, orientation, spacing, thickness)


def _said(ds: Dataset) -> dict[str, Any]:
    plans = [
        str(item.get("ReferencedSOPInstanceUID") or "") for item in ds.get("ReferencedRTPlanSequence") or ()
    ]
    said: dict[str, Any] = {
        "dose_type": str(ds.get("DoseType") or ""),
        "dose_summation_type": str(ds.get("DoseSummationType") or ""),
        "plan_sop_instance_uids": [uid for uid in plans if uid],
    }
    return {name: value for name, value in said.items() if value}
