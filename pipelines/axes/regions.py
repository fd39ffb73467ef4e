"""Regions of an ultrasound image and what their pixels measure (PS3.3 C.8.5.5); no I/O."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydicom import Dataset

from catalog.errors import HeaderError

REGION_LIMIT = 1024
"""How many regions of an image are looked at; real ones have fewer than ten."""

_SPATIAL_FORMATS = ("none", "2D", "M-mode", "spectral", "waveform", "graphics")
"""C.8.5.5.1.1."""
_DATA_TYPES = (
    "none", "tissue", "color flow", "PW spectral Doppler", "CW spectral Doppler", "Doppler mean trace",
    "Doppler mode trace", "Doppler max trace", "volume trace", None, "ECG trace", "pulse trace",
    "phonocardiogram trace", "gray bar", "color bar", "integrated backscatter", "area trace",
    "d(area)/dt", "other physiological input",
)  # fmt: skip
"""C.8.5.5.1.2."""
_UNITS = ("", "%", "dB", "cm", "s", "Hz", "dB/s", "cm/s", "cm2", "cm2/s", "cm3", "cm3/s", "deg")
"""C.8.5.5.1.15."""
MEASURES = frozenset(_UNITS[1:])
"""Units that make a coordinate."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What the pixels of a row or of a column measure."""

    values: npt.NDArray[np.float64]
    """Of each pixel's centre, from left to right or from top to bottom."""
    units: str
    """`cm`, `s`, `cm/s` and so on; empty where the file has none."""


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of a region, x to the right or y downwards."""

    first: int
    """First pixel of the region, from 0 at the left or top of the image."""
    last: int
    """Its last pixel, which still belongs to it."""
    units: str
    delta: float
    """Physical value from one pixel to the next; often negative for velocities."""
    reference_pixel: int
    """Counted from the first pixel of the region, and maybe outside of it."""
    reference_value: float
    """Physical value at the reference pixel."""

    @property
    def axis(self) -> Axis:
        """Physical values of the pixels of the region."""
        steps = np.arange(self.last - self.first + 1, dtype=np.float64) - self.reference_pixel
        return Axis(self.reference_value + steps * self.delta, self.units)

    def within(self, count: int) -> "Direction":
        """The direction in an image of so many pixels; real files name the pixel after the last one, too."""
        return replace(self, last=count - 1) if self.last == count > self.first else self


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the image with one calibration."""

    spatial_format: str
    """`2D`, `M-mode`, `spectral`, `waveform`, `graphics` or `none`."""
    data_type: str
    """`tissue`, `color flow`, `PW spectral Doppler`, `ECG trace` and so on."""
    y: Direction
    x: Direction


@dataclass(frozen=True, slots=True)
class Calibration:
    """Physical coordinates of a whole image, or the reason why it has none."""

    y: Axis | None
    x: Axis | None
    reason: str = ""


def regions(ds: Dataset) -> tuple[Region, ...]:
    """Read the regions of an image in the order of the file; none where it has no sequence of them.

    Raises
    ------
    HeaderError
        If a region lacks what the standard requires of it or contradicts itself; the text says which.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # departures that pydicom would warn of are tolerated here
            items = list(ds.get("SequenceOfUltrasoundRegions") or ())[:REGION_LIMIT]
            return tuple(_region(item, number) for number, item in enumerate(items, 1))
    except HeaderError:
        raise
    except Exception as error:  # whatever pydicom stumbles over in hostile bytes is a fault of the file
        raise HeaderError(f"ultrasound regions cannot be read: {type(error).__name__}") from None


def calibration(found: Sequence[Region], *, rows: int, columns: int) -> Calibration:
    """Return coordinates along y and x for all pixels, where one region that measures spans the whole image.

    That is the 2D region, if there is one: its lines are in cm. An image without a 2D region takes those of
    its only other one, say the seconds and cm/s of a spectrum.
    """
    flat = [each for each in found if each.spatial_format == "2D"]
    candidates = flat or list(found)
    if len(candidates) != 1:
        kind = "2D regions" if flat else "regions, none of them 2D" if found else "regions"
        return _none(f"{len(candidates) or 'no'} {kind}; coordinates of the whole image need exactly one")
    (region,) = candidates
    what = f"its {region.spatial_format} region"
    units = (region.y.units, region.x.units)
    if not all(each in MEASURES for each in units) or (flat and units != ("cm", "cm")):
        words = " and ".join(each or "no unit" for each in units)
        return _none(f"{what} is calibrated in {words}{', not in cm' if flat else ''}")
    y, x = region.y.within(rows), region.x.within(columns)
    for name, direction, count in (("rows", y, rows), ("columns", x, columns)):
        box = f"{what} takes {name} {direction.first} to {direction.last} of {count}"
        if direction.last >= count:
            return _none(f"{box}: the calibration is that of another size")
        if (direction.first, direction.last) != (0, count - 1):
            return _none(f"{box}, and its calibration holds in the region alone")
    return Calibration(y.axis, x.axis)


def _none(reason: str) -> Calibration:
    return Calibration(None, None, reason)


def _region(item: Dataset, number: int) -> Region:
    x, y = (_direction(item, *names, number) for names in (("X", "X0", "X1"), ("Y", "Y0", "Y1")))
    spatial_format = _word(_SPATIAL_FORMATS, int(item.RegionSpatialFormat), "spatial format")
    return Region(spatial_format, _word(_DATA_TYPES, int(item.RegionDataType), "data type"), y, x)


def _direction(item: Dataset, letter: str, low: str, high: str, number: int) -> Direction:
    first, last = int(item[f"RegionLocationMin{low}"].value), int(item[f"RegionLocationMax{high}"].value)
    if not 0 <= first <= last < 1 << 16:
        raise HeaderError(f"ultrasound region {number} reaches from {first} to {last} along {letter.lower()}")
    units = _word(_UNITS, int(item[f"PhysicalUnits{letter}Direction"].value), "unit")
    delta = float(item[f"PhysicalDelta{letter}"].value)
    reference = float(item.get(f"ReferencePixelPhysicalValue{letter}") or 0)
    if not (math.isfinite(delta) and math.isfinite(reference)) or (units and delta == 0):
        raise HeaderError(f"ultrasound region {number} has {delta:g} {units} a pixel along {letter.lower()}")
    return Direction(first, last, units, delta, int(item.get(f"ReferencePixel{low}") or 0), reference)


def _word(words: Sequence[str | None], code: int, what: str) -> str:
    word = words[code] if 0 <= code < len(words) else None
    return f"unknown {what} {code}" if word is None else word


# --- on arrays -------------------------------------------------------------------------------------------


def with_calibration(image: xr.DataArray, ds: Dataset) -> xr.DataArray:
    """Give an ultrasound image coordinates along y and x, where one region calibrates all of it.

    Lengths are in mm as those of any array, seconds and cm/s as they stand. Else the attribute `calibration`
    has the reason, and `cut_out` makes arrays of the regions; an image without regions comes back as it is.
    """
    if "SequenceOfUltrasoundRegions" not in ds or not {"y", "x"}.isdisjoint(image.coords):
        return image
    try:
        found = calibration(regions(ds), rows=image.sizes["y"], columns=image.sizes["x"])
    except HeaderError as error:
        found = _none(str(error))
    if found.y is None or found.x is None:
        return image.assign_attrs(calibration=found.reason)
    lines = {dim: _line(dim, axis, in_mm=True) for dim, axis in (("y", found.y), ("x", found.x))}
    calibrated: xr.DataArray = image.assign_coords(lines)
    return calibrated


_OF_A_PLACE = (
    "affine_lps", "direction", "image_orientation_patient", "pixel_spacing", "spacing", "calibration",
)  # fmt: skip
"""Attributes of the whole image that do not hold of a region."""


def cut_out(image: xr.DataArray, region: Region) -> xr.DataArray:
    """Return the pixels of a region, lazily, with coordinates in its own units: cm, s, cm/s and so on.

    They count from where the file has its reference pixel. A direction without a unit has no coordinate.
    What the whole image knows of a place in the patient is left out.

    Raises
    ------
    HeaderError
        If the region reaches beyond the image.
    """
    directions = {"y": region.y.within(image.sizes["y"]), "x": region.x.within(image.sizes["x"])}
    for dim, direction in directions.items():
        if direction.last >= image.sizes[dim]:
            raise HeaderError(
                f"the region reaches to pixel {direction.last} along {dim}, and the image has "
                f"{image.sizes[dim]}: its calibration is that of another size"
            )
    cut = image.isel({dim: slice(each.first, each.last + 1) for dim, each in directions.items()})
    gone = [
        name for name in cut.coords
        if name in ("y", "x", "z", "distance_mm") or str(name).endswith("_lps_mm")
    ]  # fmt: skip
    axes = {dim: each.axis for dim, each in directions.items() if each.units in MEASURES}
    calibrated: xr.DataArray = cut.drop_vars(gone).assign_coords(
        {dim: _line(dim, axis) for dim, axis in axes.items()}
    )
    calibrated.attrs = {name: value for name, value in cut.attrs.items() if name not in _OF_A_PLACE}
    return calibrated.assign_attrs(spatial_format=region.spatial_format, data_type=region.data_type)


def _line(
    dim: str, axis: Axis, *, in_mm: bool = False
) -> tuple[str, npt.NDArray[np.float64], dict[str, str]]:
    if in_mm and axis.units == "cm":
        return dim, axis.values * 10, {"units": "mm"}
    return dim, axis.values, {"units": axis.units}
