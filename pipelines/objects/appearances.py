"""How a presentation state has images shown: window, shades, turns, the part that is seen (PS3.3 A.33)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from catalog.errors import HeaderError
from pipelines.objects.file import items_of, named, numbers, open_object
from pipelines.objects.references import planes_of, referred
from pipelines.presentation.appearance import Appearance, Polygon
from pipelines.presentation.scene import Scene

PRESENTATION_STATES = tuple(f"1.2.840.10008.5.1.4.1.1.11.{number}" for number in (1, 2, 3, 4))
"""Grayscale, Color, Pseudo-Color and Blending Softcopy Presentation State."""
CORNERS_AT_MOST = 10_000
"""Of a polygon that shutters an image."""

_ROUND = 180
"""Corners of what stands for a circle: less than a tenth of a pixel beside one of 512 pixels."""


def read_appearance(path: str | Path, scene: Scene) -> Appearance | None:
    """Read how a presentation state has the images of an array shown; `None` where it is of others.

    Read are Softcopy VOI LUT (PS3.3 C.11.8), but no table, Presentation LUT Shape (C.11.6), Spatial
    Transformation (C.10.6), Displayed Area (C.10.4; whatever its size mode, it is shown as large as it fits)
    and Display Shutter (C.7.6.11), but no bitmap. Of several windows and areas the first is taken that is for
    one of the images of the array.

    Parameters
    ----------
    scene
        Of the array: `pipelines.presentation.scene.scene_of`.

    Raises
    ------
    HeaderError
        If the file is no presentation state, or says what no image can be shown like.
    """
    with named(path):
        ds = open_object(path, PRESENTATION_STATES, "a presentation state").ds
        here = {uid for uid, _ in planes_of(scene)}
        about = {
            referred(image)[0]
            for series in items_of(ds, "ReferencedSeriesSequence")
            for image in items_of(series, "ReferencedImageSequence")
        }
        if about and not about & here:
            return None
        return Appearance(
            window=_window(ds, here),
            is_inverted=_INVERTED.get(str(ds.get("PresentationLUTShape") or "")),
            rotation=_rotation(ds),
            is_flipped=str(ds.get("ImageHorizontalFlip") or "") == "Y",
            area=_area(ds, scene, here),
            shutter=tuple(_shutter(ds)),
        )


_INVERTED: Mapping[str, bool] = {"IDENTITY": False, "INVERSE": True}


def _for(ds: Dataset, keyword: str, here: set[str]) -> Iterator[Dataset]:
    """Items that are for images of the array: such as name one of them, or none at all."""
    for item in items_of(ds, keyword):
        images = {referred(each)[0] for each in items_of(item, "ReferencedImageSequence")}
        if not images or images & here:
            yield item


def _window(ds: Dataset, here: set[str]) -> tuple[float, float] | None:
    for item in _for(ds, "SoftcopyVOILUTSequence", here):
        centers, widths = (numbers(item.get(name)) for name in ("WindowCenter", "WindowWidth"))
        if centers and widths and widths[0] > 0:
            return centers[0], widths[0]
    return None


def _rotation(ds: Dataset) -> int:
    degrees, *more = numbers(ds.get("ImageRotation")) or (0.0,)
    if more or not math.isfinite(degrees) or degrees % 90:
        raise HeaderError(
            f"turns images by {degrees:g} degrees: Image Rotation (0070,0042) is 0, 90, 180 or 270"
        )
    return int(degrees) % 360


def _area(ds: Dataset, scene: Scene, here: set[str]) -> tuple[float, float, float, float] | None:
    """The corners are those of the turned image, in columns and rows, from 1, of the image as it came."""
    for item in _for(ds, "DisplayedAreaSelectionSequence", here):
        names = ("DisplayedAreaTopLeftHandCorner", "DisplayedAreaBottomRightHandCorner")
        corners = [numbers(item.get(name)) for name in names]
        if any(len(each) != 2 or not all(map(math.isfinite, each)) for each in corners):
            raise HeaderError("has a displayed area (0070,005A) without two corners")
        (left, right), (top, bottom) = (sorted(pair) for pair in zip(*corners, strict=True))
        found = (left - 1, top - 1, right, bottom)
        return None if found == (0, 0, scene.columns, scene.rows) else found
    return None


def _shutter(ds: Dataset) -> Iterator[Polygon]:
    shapes = ds.get("ShutterShape") or ()
    for shape in [shapes] if isinstance(shapes, str) else shapes:
        if (made := _SHAPES.get(str(shape))) is not None:
            yield made(ds)


def _of_shutter(ds: Dataset, keyword: str, count: int) -> Sequence[float]:
    found = numbers(ds.get(keyword))
    if len(found) != count or not all(map(math.isfinite, found)):
        raise HeaderError(f"has a shutter whose {keyword} are not {count} numbers")
    return found


def _rectangle(ds: Dataset) -> Polygon:
    """What lies on an edge is shown: the standard does not say, and nothing is hidden that might be meant."""
    names = ("ShutterLeftVerticalEdge", "ShutterRightVerticalEdge", "ShutterUpperHorizontalEdge",
             "ShutterLowerHorizontalEdge")  # fmt: skip
    left, right, top, bottom = (_of_shutter(ds, name, 1)[0] for name in names)
    return ((left - 1, top - 1), (right, top - 1), (right, bottom), (left - 1, bottom))


def _circle(ds: Dataset) -> Polygon:
    row, column = _of_shutter(ds, "CenterOfCircularShutter", 2)
    (radius,) = _of_shutter(ds, "RadiusOfCircularShutter", 1)
    turns = [2 * math.pi * each / _ROUND for each in range(_ROUND)]
    return tuple(
        (column - 0.5 + radius * math.cos(turn), row - 0.5 + radius * math.sin(turn)) for turn in turns
    )


def _polygon(ds: Dataset) -> Polygon:
    values = numbers(ds.get("VerticesOfThePolygonalShutter"))
    if len(values) < 6 or len(values) % 2 or not all(map(math.isfinite, values)):
        raise HeaderError("has a shutter whose polygon has no three corners")
    if len(values) > 2 * CORNERS_AT_MOST:
        raise HeaderError(f"has a shutter of more than {CORNERS_AT_MOST:,} corners")
    rows, columns = values[0::2], values[1::2]
    return tuple((column - 0.5, row - 0.5) for row, column in zip(rows, columns, strict=True))


_SHAPES: Mapping[str, Callable[[Dataset], Polygon]] = {
    "RECTANGULAR": _rectangle,
    "CIRCULAR": _circle,
    "POLYGONAL": _polygon,
}
"""Of Shutter Shape (0018,1600); a bitmap is none."""
