"""One array over another: whether it may be, and where its voxels lie beside those of the other; no I/O."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from catalog.errors import QuestionError
from pipelines.objects.segmentations import label_array
from pipelines.presentation.scene import Scene

LARGEST_BYTES = 512 << 20
"""Of an array that is laid over another: a page holds all of its planes."""

type Matrix = tuple[tuple[float, ...], ...]
"""4 × 4, row by row."""


def single(array: xr.DataArray) -> xr.DataArray:
    """One value for every voxel of (z, y, x): segments that do not overlap become labels.

    Raises
    ------
    QuestionError
        If it is in colour, or has axes of which one must be picked.
    catalog.errors.StepError
        If segments overlap, or are fractions.
    """
    if "segment" in array.dims:
        array = label_array(array)
    if "channel" in array.dims:
        raise QuestionError(f"array {array.name!r} is in colour; what is laid over an image has one value")
    more = [str(each) for each in array.dims if each not in ("z", "frame", "y", "x")]
    if more or not {"y", "x"} <= set(array.dims):
        raise QuestionError(
            f"array {array.name!r} has dimensions {array.dims}; what is laid over an image has (z, y, x)"
            + "".join(f": pick one by isel({each}=…)" for each in more[:1])
        )
    return array.transpose(..., "y", "x")


def is_of_labels(array: xr.DataArray) -> bool:
    """Whether values stand for something, so that between two of them there is none."""
    return array.dtype.kind in "bui"


def placed(array: xr.DataArray, base: Scene, transform: npt.ArrayLike | None = None) -> Matrix:
    """Where the voxels of an array lie beside what is shown: (column, row, plane) index to LPS mm there.

    Parameters
    ----------
    array
        As `single` gives it, with an affine.
    base
        What is shown.
    transform
        4 × 4, from the array's LPS mm to those of what is shown, as Frame of Reference Transformation Matrix
        (3006,00C6); it takes the place of a common frame of reference.

    Raises
    ------
    QuestionError
        If what is shown has no place in a patient, both lie in different frames of reference or in unknown
        ones without a transform, or the transform is none.
    catalog.errors.GeometryError
        If the array has no affine: the reason, and what gives it one.
    """
    if not base.positions_lps_mm:
        raise QuestionError("what is shown has no place in a patient: nothing can be laid over it")
    affine = array.dicom.affine_lps
    if transform is not None:
        affine = checked(transform) @ affine
    elif not _is_common(array.attrs, base):
        raise QuestionError(
            f"array {array.name!r} lies in another frame of reference than what is shown, or in one that is "
            "not known; give transform=…, what bench.registration(series) gives, or the 4 × 4 matrix from "
            "its LPS mm to those of what is shown"
        )
    return as_matrix(affine)


def checked(transform: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return an affine transform as an array.

    Raises
    ------
    QuestionError
        If it is no 4 × 4 matrix of numbers with the last row 0, 0, 0, 1, or cannot be undone.
    """
    try:
        matrix = np.asarray(transform, np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise QuestionError("a transform is 4 × 4 numbers, from LPS mm to LPS mm, its last row 0, 0, 0, 1")
    if abs(np.linalg.det(matrix)) < 1e-6:
        raise QuestionError("the transform makes a volume flat, and cannot be undone")
    return matrix


def as_matrix(values: npt.NDArray[np.float64] | Sequence[Sequence[float]]) -> Matrix:
    """Plain numbers of a matrix."""
    return tuple(tuple(float(each) + 0.0 for each in row) for row in values)


def _is_common(attrs: dict[str, Any], base: Scene) -> bool:
    frame, series = (str(attrs.get(each) or "") for each in ("frame_of_reference_uid", "series_instance_uid"))
    if frame and base.frame_of_reference_uid:
        return frame == base.frame_of_reference_uid
    return bool(series) and series == base.series_instance_uid
