"""The total pixel matrix of a slide image: its size, and its place on the slide (PS3.3 C.8.12); no I/O."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from catalog.errors import GeometryError, HeaderError
from catalog.records import InstanceRecord

LONGEST_SIDE = 1 << 21
"""Pixels along a side of a total pixel matrix; a slide of 75 mm at 0.1 µm has 750,000."""
FARTHEST_MM = 1000.0
"""Nothing lies further from the origin of a slide, which is 76 mm long."""

_COSINE_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class PixelMatrix:
    """The pixels of a total pixel matrix on the slide: what images of one level have in common."""

    rows: int
    columns: int
    tile_rows: int
    tile_columns: int
    spacing_mm: tuple[float, float] | None
    """Between rows, then between columns."""
    orientation: tuple[float, ...] | None
    """Image Orientation (Slide): cosines of the rows, then of the columns."""
    origin_mm: tuple[float, float] | None
    """X and Y of the centre of the first pixel in the slide coordinate system."""
    reason: str = ""
    """Why it has no place on the slide, or only a size; empty where it has."""

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.rows // self.tile_rows), -(-self.columns // self.tile_columns)

    @property
    def affine_slide(self) -> npt.NDArray[np.float64] | None:
        """3 × 3, from (column, row, 1) to X, Y in mm of the slide coordinate system; `None` if unknown."""
        if self.spacing_mm is None or self.orientation is None or self.origin_mm is None:
            return None
        along_row, along_column = np.array(self.orientation[:2]), np.array(self.orientation[3:5])
        affine = np.eye(3)
        affine[:2, 0] = along_row * self.spacing_mm[1]
        affine[:2, 1] = along_column * self.spacing_mm[0]
        affine[:2, 2] = self.origin_mm
        return affine

    def coordinates(self) -> dict[str, Any]:
        """Of the pixels' centres along `y` and `x`, in mm, and the same in the slide coordinate system.

        A coordinate is the position on the slide along the columns or the rows, so that the levels of a
        pyramid and whatever lies on the same slide can be cut by the same millimetres. Where the place is not
        known, they count from the corner of the matrix.
        """
        if self.spacing_mm is None:
            return {}
        affine = self.affine_slide
        found: dict[str, Any] = {}
        for dim, count, mm, axis in zip(
            "yx", (self.rows, self.columns), self.spacing_mm, (1, 0), strict=True
        ):
            start = mm / 2 if affine is None else float(affine[:2, 2] @ affine[:2, axis]) / mm
            found[dim] = (dim, start + np.arange(count) * mm, {"units": "mm"})
        return found if affine is None else found | _on_the_slide(affine, self.rows, self.columns)


def _on_the_slide(affine: npt.NDArray[np.float64], rows: int, columns: int) -> dict[str, Any]:
    """X and Y of the slide along the one dimension that each depends on; none where the image is turned."""
    found = {}
    for axis, name in enumerate(("x_slide_mm", "y_slide_mm")):
        steps = {"x": (affine[axis, 0], columns), "y": (affine[axis, 1], rows)}
        dim = max(steps, key=lambda each: abs(steps[each][0]))
        step, count = steps.pop(dim)
        ((other, _),) = steps.values()
        if abs(other) > _COSINE_TOLERANCE * abs(step):
            return {}
        found[name] = (dim, affine[axis, 2] + step * np.arange(count), {"units": "mm"})
    return found


def pixel_matrix(ds: Dataset, instance: InstanceRecord) -> PixelMatrix:
    """Read the total pixel matrix of an instance.

    Raises
    ------
    HeaderError
        If it has no size, or none that a slide can have.
    """
    tile_rows, tile_columns = instance.rows or 0, instance.columns or 0
    rows, columns = (
        int(ds.get(keyword) or 0) for keyword in ("TotalPixelMatrixRows", "TotalPixelMatrixColumns")
    )
    if (rows, columns) == (0, 0) and (instance.number_of_frames or 1) == 1:
        rows, columns = tile_rows, tile_columns
    if not (0 < rows <= LONGEST_SIDE and 0 < columns <= LONGEST_SIDE and tile_rows > 0 and tile_columns > 0):
        raise HeaderError(
            f"has a total pixel matrix of {rows:,} x {columns:,} in tiles of {tile_rows:,} x "
            f"{tile_columns:,}; a side may have up to {LONGEST_SIDE:,} pixels"
        )
    reason = ""
    spacing = orientation = origin = None
    try:
        spacing = _spacing_mm(ds, rows, columns)
        orientation = _orientation(ds)
        origin = _origin_mm(ds)
    except GeometryError as error:
        reason = str(error)
    return PixelMatrix(rows, columns, tile_rows, tile_columns, spacing, orientation, origin, reason)


def _spacing_mm(ds: Dataset, rows: int, columns: int) -> tuple[float, float]:
    """Pixel Spacing (0028,0030), or else the size of the imaged volume by its pixels (C.8.12.4)."""
    measures = first_group(ds, "PixelMeasuresSequence")
    spacing = numbers(measures.get("PixelSpacing")) if measures is not None else ()
    if len(spacing) != 2:
        size = (*numbers(ds.get("ImagedVolumeHeight")), *numbers(ds.get("ImagedVolumeWidth")))
        spacing = (size[0] / rows, size[1] / columns) if len(size) == 2 else ()
    if len(spacing) != 2 or not all(0 < each < FARTHEST_MM for each in spacing):
        raise GeometryError("no usable Pixel Spacing (0028,0030), nor the size of the imaged volume")
    return spacing[0], spacing[1]


def _orientation(ds: Dataset) -> tuple[float, ...]:
    cosines = numbers(ds.get("ImageOrientationSlide"))
    if len(cosines) != 6:
        raise GeometryError("no Image Orientation (Slide) (0048,0102)")
    rows, columns = np.array(cosines[:3]), np.array(cosines[3:])
    products = np.array([rows @ rows - 1, columns @ columns - 1, rows @ columns, rows[2], columns[2]])
    if not np.abs(products).max() <= _COSINE_TOLERANCE:
        raise GeometryError("Image Orientation (Slide) (0048,0102) are not two directions across the slide")
    return cosines


def _origin_mm(ds: Dataset) -> tuple[float, float]:
    items = ds.get("TotalPixelMatrixOriginSequence") or ()
    found = [numbers(items[0].get(f"{axis}OffsetInSlideCoordinateSystem")) if items else () for axis in "XY"]
    if any(len(each) != 1 or not abs(each[0]) <= FARTHEST_MM for each in found):
        raise GeometryError(
            "no usable Total Pixel Matrix Origin (0048,0008); mm count from the corner of the matrix"
        )
    return found[0][0], found[1][0]


# --- numbers and functional groups -----------------------------------------------------------------------


def numbers(value: Any) -> tuple[float, ...]:
    """The numbers of an attribute; none where it is absent, empty or not finite."""
    if value in (None, ""):
        return ()
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    found = tuple(float(each) for each in values)
    return found if all(map(math.isfinite, found)) else ()


def first_group(ds: Dataset, keyword: str) -> Dataset | None:
    """A functional group of all frames, or else that of the first one."""
    return next(_items(ds, keyword), None)


def _items(ds: Dataset, keyword: str) -> Iterator[Dataset]:
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for groups in (ds.get(sequence) or ())[:1]:
            yield from (groups.get(keyword) or ())[:1]
