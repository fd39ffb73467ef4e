"""Distance of pixels in an image without a place in the patient, and where it holds (PS3.3 10.7); no I/O.

A projection has one distance at the detector, and another one at each depth of the patient.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from pydicom import Dataset

PROJECTIONS = frozenset({"CR", "DX", "IO", "MG", "PX", "RF", "RG", "XA"})
"""Modalities (0008,0060) whose rays spread."""

_CALIBRATED = {
    "GEOMETRY": "calibrated for the magnification at a depth in the patient",
    "FIDUCIAL": "calibrated by an object of known size, at its depth in the patient",
}
"""Of Pixel Spacing Calibration Type (0028,0A02); 10.7.1.2."""
_TOLERANCE = 1e-6
"""As a part of the spacing: numbers may be written with fewer decimals."""


@dataclass(frozen=True, slots=True)
class Spacing:
    """Distances between pixels, in mm, and where they hold."""

    rows: float
    """From one row to the next."""
    columns: float
    holds: str
    """In words."""


def spacing_of(ds: Dataset) -> Spacing | None:
    """Spacing of an image; `None` where it has none that makes sense.

    Pixel Spacing (0028,0030) comes first; where there is none, Imager Pixel Spacing (0018,1164) does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # departures that pydicom would warn of are tolerated here
        pixel, imager = (_pair(ds, keyword) for keyword in ("PixelSpacing", "ImagerPixelSpacing"))
    found = pixel or imager
    return None if found is None else Spacing(*found, _holds(ds, pixel, imager))


def _holds(ds: Dataset, pixel: tuple[float, float] | None, imager: tuple[float, float] | None) -> str:
    if pixel is None:
        return "at the detector, by Imager Pixel Spacing (0018,1164)"
    kind = _CALIBRATED.get(str(ds.get("PixelSpacingCalibrationType") or "").strip())
    if kind is not None:
        return f"{kind}, by Pixel Spacing (0028,0030)"
    if imager is not None:
        if np.allclose(pixel, imager, rtol=_TOLERANCE, atol=0):
            return "at the detector, by Pixel Spacing (0028,0030) and Imager Pixel Spacing (0018,1164)"
        return "calibrated in a way that is not said, by Pixel Spacing (0028,0030)"
    if ds.get("Modality") in PROJECTIONS:
        return "at the detector or calibrated, the file does not say which, by Pixel Spacing (0028,0030)"
    return "in the plane of the image, by Pixel Spacing (0028,0030)"


def _pair(ds: Dataset, keyword: str) -> tuple[float, float] | None:
    try:
        value = ds.get(keyword)
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
            return None
        rows, columns = (float(each) for each in value)
    except Exception:  # whatever pydicom stumbles over in hostile bytes is no spacing
        return None
    return (rows, columns) if 0 < rows < math.inf and 0 < columns < math.inf else None


def with_spacing(image: xr.DataArray, ds: Dataset) -> xr.DataArray:
    """Give an image coordinates in mm along y and x, from its first pixel; `spacing` says where they hold.

    They are no place in the patient. An image with coordinates of its own comes back as it is, and so does
    ultrasound with regions, of which each has a calibration of its own.
    """
    if "SequenceOfUltrasoundRegions" in ds or not {"y", "x"}.isdisjoint(image.coords):
        return image
    found = spacing_of(ds)
    if found is None:
        return image
    attrs = {"units": "mm", "spacing": found.holds}
    lines = {
        dim: (dim, np.arange(image.sizes[dim]) * step, attrs)
        for dim, step in (("y", found.rows), ("x", found.columns))
    }
    spaced: xr.DataArray = image.assign_coords(lines).assign_attrs(spacing=found.holds)
    return spaced
