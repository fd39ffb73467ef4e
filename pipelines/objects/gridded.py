"""Labels of a segmentation on the grid of the array they were drawn on: the same voxels again."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from catalog.errors import ArrayError, GeometryError, StepError
from pipelines.encode.algorithm import LABEL
from pipelines.objects.segmentations import label_array

BESIDE = 0.05
"""How far a voxel may lie from the one it is, as a part of their distance."""


def on_grid(segmentation: xr.DataArray, volume: xr.DataArray) -> xr.DataArray:
    """Put the labels of a segmentation into the planes of an array, 0 elsewhere; no voxel is resampled.

    Segments that were made of labels of a mask get those labels again. Planes are found by their place in the
    patient, or by their image where they have none.

    Parameters
    ----------
    segmentation
        As `pipelines.objects.segmentations.read_segmentation` gives it.
    volume
        (z, y, x) or (frame, y, x); its values are not read.

    Raises
    ------
    GeometryError
        If voxels of the segmentation are not voxels of the array.
    StepError
        If segments overlap or are fractions, or the array has other dimensions.
    """
    if volume.ndim != 3 or volume.dims[1:] != ("y", "x"):
        raise StepError(f"a segmentation is put on planes (z, y, x), not on {volume.dims}")
    labels = label_array(segmentation)
    if labels.shape[1:] != volume.shape[1:]:
        raise GeometryError(
            f"the segmentation has planes of {labels.shape[1]} × {labels.shape[2]} pixels, the array of "
            f"{volume.shape[1]} × {volume.shape[2]}; resample one onto the other"
        )
    values = _relabelled(labels.to_numpy(), segmentation.attrs.get("segments") or {})
    out = np.zeros(volume.shape, values.dtype)
    for plane, where in enumerate(_planes(labels, volume)):
        out[where] = np.where(values[plane] > 0, values[plane], out[where])
    mask = volume.copy(data=out).rename("mask").drop_encoding()
    mask.attrs = {name: value for name, value in mask.attrs.items() if name != "units"}
    return mask.assign_attrs(labels=_names(segmentation))


def _planes(labels: xr.DataArray, volume: xr.DataArray) -> list[int]:
    """Which plane of the array each plane of the labels is."""
    try:
        mine, theirs = labels.dicom, volume.dicom
        frames = {mine.frame_of_reference_uid, theirs.frame_of_reference_uid} - {None}
        if len(frames) > 1:
            raise GeometryError("the segmentation lies in another frame of reference; register it first")
        positions, raster = mine.positions_lps_mm, mine.raster
        there, grid = theirs.positions_lps_mm, theirs.raster
    except ArrayError:
        return _by_image(labels, volume)
    except GeometryError:
        if "affine_lps" in labels.attrs:
            raise
        return _by_image(labels, volume)
    steps = np.array(grid.pixel_spacing)
    if not (
        np.allclose(raster.orientation, grid.orientation, atol=1e-4)
        and np.allclose(raster.pixel_spacing, steps, rtol=1e-4)
    ):
        raise GeometryError("the pixels of the segmentation lie otherwise; resample it onto the array")
    distance = np.linalg.norm(positions[:, np.newaxis] - there[np.newaxis], axis=2)
    nearest = distance.argmin(axis=1)
    beside = distance[np.arange(len(nearest)), nearest]
    if beside.max() > BESIDE * steps.min():
        raise GeometryError(
            f"a plane of the segmentation lies {beside.max():.3g} mm from the nearest of the array; "
            "resample it onto the array"
        )
    return [int(each) for each in nearest]


def _by_image(labels: xr.DataArray, volume: xr.DataArray) -> list[int]:
    if "sop_instance_uid" not in labels.coords or "sop_instance_uid" not in volume.coords:
        raise GeometryError("nothing says on which planes of the array the segmentation lies")
    there = {str(uid): at for at, uid in enumerate(np.atleast_1d(volume.coords["sop_instance_uid"].values))}
    uids = [str(each) for each in np.atleast_1d(labels.coords["sop_instance_uid"].values)]
    missing = [uid for uid in uids if uid not in there]
    if missing:
        raise GeometryError(f"{len(missing)} planes of the segmentation are none of the array's images")
    return [there[uid] for uid in uids]


def _original(segments: dict[str, Any]) -> dict[int, int]:
    """Segment number to the label that it was in a mask."""
    found = {}
    for number, said in segments.items():
        label = re.fullmatch(rf"{LABEL}(\d{{1,5}})", str(said.get("description") or ""))
        found[int(number)] = int(label[1]) if label else int(number)
    labels = list(found.values())
    is_usable = len(set(labels)) == len(labels) and all(0 < each < 1 << 16 for each in labels)
    return found if is_usable else {number: number for number in found}


def _relabelled(values: npt.NDArray[Any], segments: dict[str, Any]) -> npt.NDArray[Any]:
    original = _original(segments)
    most = max([*original.values(), int(values.max(initial=0)), 1])
    table = np.arange(max([*original, int(values.max(initial=0))], default=0) + 1, dtype=np.uint32)
    for number, label in original.items():
        table[number] = label
    return np.asarray(table[values].astype(np.uint8 if most < 1 << 8 else np.uint16))


def _names(segmentation: xr.DataArray) -> dict[int, str]:
    original = _original(segmentation.attrs.get("segments") or {})
    names = segmentation.attrs.get("labels") or {}
    return {label: str(names.get(number) or "") for number, label in original.items()}
