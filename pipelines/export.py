"""Volumes to files of other programs: NIfTI-1."""

import secrets
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import xarray as xr

from catalog.errors import ExportError, GeometryError, StepError
from pipelines import accessor as accessor  # gives `volume.dicom`
from pipelines.objects.segmentations import label_array

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ENDINGS = (".nii", ".nii.gz")
_SCANNER, _ALIGNED = 1, 2
"""Codes of qform and sform: coordinates of the scanner, and any others (NIfTI-1, NIFTI_XFORM_*)."""


def to_nifti(volume: xr.DataArray, path: Path, *, overwrite: bool = False) -> Path:
    """Write a volume as NIfTI-1, in the order (column, row, plane), its affine turned from LPS to RAS.

    Axes along which it repeats are the fourth and further dimensions; evenly spaced times keep their step in
    seconds, and the step of all others is 0, which is unknown.

    Segments that do not overlap become one array of segment numbers; those that do, and fractions, stay one
    volume each.

    A volume whose slope and intercept are the same for all planes keeps its stored values and their type,
    with both numbers in the header; any other array is written as it is.

    Raises
    ------
    OSError
        If it cannot be written; then there is no such file, or the one that was there before.
    ExportError
        If the name of the file does not end in `.nii` or `.nii.gz`, or there is such a file and it was not
        said to overwrite it.
    GeometryError
        If it is a stack, or what was cut out of a volume is no regular grid.
    """
    if not path.name.endswith(_ENDINGS):
        raise ExportError(f"a NIfTI file ends in {' or '.join(_ENDINGS)}, and {path} does not")
    if path.exists() and not overwrite:
        raise ExportError(f"{path} is there already; give another name, or say to overwrite it")
    if tuple(volume.dims[-3:]) != ("z", "y", "x"):
        reason = f"its dimensions are {', '.join(map(str, volume.dims))}, not z, y, x"
        if volume.attrs.get("kind") == "stack":
            reason = volume.attrs.get("reason", reason)
        raise GeometryError(f"NIfTI holds regular volumes, and this is none: {reason}")
    volume = _labels(volume)
    affine_ras = _LPS_TO_RAS @ volume.dicom.affine_lps
    values, slope, intercept = _stored(volume)
    image: Any = nibabel.Nifti1Image(values.transpose(), affine_ras)  # type: ignore[no-untyped-call]
    image.header.set_slope_inter(slope, intercept)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4 : volume.ndim + 1] = 0.0  # unknown: what is no time has no step in seconds
    if volume.dims[-4:-3] == ("time",):
        image.header["pixdim"][4] = _step(volume.coords["time"].values)
    code = _ALIGNED if "coordinate_system" in volume.attrs else _SCANNER
    image.set_qform(affine_ras, code=code)
    image.set_sform(affine_ras, code=code)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{secrets.token_hex(4)}.{path.name}")  # nibabel goes by the ending
    try:
        nibabel.save(image, partial)
        partial.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)
    return path


def _labels(volume: xr.DataArray) -> xr.DataArray:
    """Segment numbers where the segments allow it; anything else as it is."""
    if volume.dims[0] != "segment" or volume.dtype != np.bool_:
        return volume
    try:
        return label_array(volume)
    except StepError:  # they overlap
        return volume


def _step(times: npt.NDArray[Any]) -> float:
    """Distance of evenly spaced times; 0, which is unknown, where they are not."""
    steps = np.diff(times)
    return float(steps[0]) if len(steps) and np.allclose(steps, steps[0], rtol=1e-3) else 0.0


def _stored(volume: xr.DataArray) -> tuple[npt.NDArray[Any], float, float]:
    """Stored values with slope and intercept, or the values as they are with 1 and 0."""
    values = volume.to_numpy()
    if values.dtype == np.bool_:
        return values.astype(np.uint8), 1.0, 0.0
    encoding = volume.encoding
    if not {"dtype", "scale_factor", "add_offset"} <= encoding.keys():
        return values, 1.0, 0.0
    slope, intercept = (values.dtype.type(encoding[name]) for name in ("scale_factor", "add_offset"))
    stored = np.rint((values.astype(np.float64) - float(intercept)) / float(slope)).astype(encoding["dtype"])
    is_same = np.array_equal(stored.astype(values.dtype) * slope + intercept, values)
    return (stored, float(slope), float(intercept)) if is_same else (values, 1.0, 0.0)
