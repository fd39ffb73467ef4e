"""What people draw on images: handles and outlines in the patient, measured on the values of the array."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from catalog.identifiers import new_uid
from pipelines.measure import Moments
from pipelines.presentation.scene import Scene, to_pixels

type Numbers = npt.NDArray[np.float64]
type Points = tuple[tuple[float, float, float], ...]

_AREAS = ("ellipse", "circle", "rectangle", "freehand", "spline", "livewire")
_LINES = ("length", "bidirectional")


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that was drawn."""

    kind: str
    """Name of the tool that draws it."""
    points: Points
    """Its handles: LPS mm; (column, row, plane) × spacing where the images have no place in the patient."""
    outline: Points = ()
    """Of what is drawn along a curve; likewise."""
    is_closed: bool = False
    index: tuple[int, ...] = ()
    """The plane it lies on, from 0 along each axis before rows and columns; none on another section."""
    normal: tuple[float, ...] = ()
    """Of the plane it lies in."""
    text: str = ""
    uid: str = field(default_factory=new_uid)
    sop_instance_uid: str = ""
    """Of the image it lies on."""
    where: str = ""
    """The same for people."""
    length_mm: float | None = None
    """Of a line, or the long axis; `None` where nothing says how far pixels are apart."""
    angle_deg: float | None = None
    area_mm2: float | None = None
    pixels: int | None = None
    """Pixels whose centre lies inside."""
    mean: float | None = None
    standard_deviation: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    """Of the values."""
    holds: str = ""
    """Where lengths hold: `patient`, at the detector, or in pixels only."""
    author: str = ""
    """Who drew it; empty where it is not saved."""
    created: datetime | None = None
    changed: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """What the browser needs to draw it."""
        names = ("uid", "kind", "points", "outline", "is_closed", "index", "normal", "text")
        values = asdict(self)
        return {name: _listed(values[name]) for name in names}


def mark_of(drawn: Mapping[str, Any], array: xr.DataArray, scene: Scene) -> Mark:
    """Measure what the browser says was drawn.

    The mean and the others are of the modality values of the pixels whose centre lies inside, of one plane.
    """
    index = tuple(int(each) for each in drawn["index"])
    points, outline = (_points(drawn[name]) for name in ("points", "outline"))
    kind = str(drawn["kind"])
    where = ", ".join(f"{axis.name} {at}" for axis, at in zip(scene.axes, index, strict=False))
    mark: dict[str, Any] = {
        "kind": kind,
        "points": points,
        "outline": outline,
        "is_closed": bool(drawn["is_closed"]),
        "index": index,
        "normal": tuple(float(each) for each in drawn["normal"]),
        "text": str(drawn["text"]),
        "uid": str(drawn["uid"]),
        "sop_instance_uid": image_of(scene, index),
        "where": where or "section",
        "unit": scene.unit,
        "holds": scene.spacing_holds or "pixels",
    }
    mark |= _geometry(kind, np.array(points, np.float64), np.array(outline, np.float64), scene)
    if index and kind in (*_AREAS, "probe"):
        mark |= _statistics(kind, points, outline, array, scene, index)
    return Mark(**mark)


def image_of(scene: Scene, index: Sequence[int]) -> str:
    """SOP Instance UID of the image a plane is of; empty where there is no such plane, or nobody knows."""
    uids, shape = scene.sop_instance_uids, scene.shape
    fits = len(index) == len(shape) and all(0 <= at < size for at, size in zip(index, shape, strict=True))
    if not uids or not fits:
        return ""
    return uids[0] if len(uids) == 1 else uids[int(np.ravel_multi_index(tuple(index), shape))]


def _geometry(kind: str, points: Numbers, outline: Numbers, scene: Scene) -> dict[str, Any]:
    """Lengths in mm and angles, of the handles in the order in which the tools keep them."""
    found: dict[str, Any] = {}
    if kind == "angle" and len(points) == 3:  # one end, the vertex, the other end
        found["angle_deg"] = _between(points[0] - points[1], points[2] - points[1])
    if kind == "cobb" and len(points) == 4:  # two lines, of which the direction does not count
        angle = _between(points[1] - points[0], points[3] - points[2])
        found["angle_deg"] = min(angle, 180 - angle)
    if scene.pixel_spacing is None:
        return found
    if kind in _LINES and len(points) >= 2:
        pairs = [points[at : at + 2] for at in range(0, len(points) - 1, 2)]
        found["length_mm"] = max(float(np.linalg.norm(one - other)) for one, other in pairs)
    if kind in _AREAS:
        found["area_mm2"] = _area(kind, points, outline)
    return found


def _between(one: Numbers, other: Numbers) -> float:
    sizes = float(np.linalg.norm(one) * np.linalg.norm(other))
    return math.degrees(math.acos(max(-1.0, min(1.0, float(one @ other) / sizes)))) if sizes else 0.0


def _area(kind: str, points: Numbers, outline: Numbers) -> float:
    def length(one: int, other: int) -> float:
        return float(np.linalg.norm(points[one] - points[other]))

    match kind:
        case "ellipse":  # bottom, top, left, right
            return math.pi * length(0, 1) * length(2, 3) / 4
        case "circle":  # centre, a point of the edge
            return math.pi * length(0, 1) ** 2
        case "rectangle":  # two corners along each edge
            return length(0, 1) * length(0, 2)
    crosses = (
        np.cross(outline[:-1] - outline[0], outline[1:] - outline[0])
        if len(outline) > 2
        else np.zeros((1, 3))
    )
    return float(np.linalg.norm(crosses.sum(axis=0))) / 2


def _statistics(
    kind: str, points: Points, outline: Points, array: xr.DataArray, scene: Scene, index: Sequence[int]
) -> dict[str, Any]:
    where = {axis.name: at for axis, at in zip(scene.axes, index, strict=True) if axis.name in array.dims}
    inside = pixels_inside(kind, points, outline, scene, index)
    if inside is None:
        return {}
    rows, columns = np.nonzero(inside)
    if rows.size == 0 or scene.samples == 3:
        return {"pixels": int(rows.size)}
    box = {"y": slice(rows.min(), rows.max() + 1), "x": slice(columns.min(), columns.max() + 1)}
    values = array.isel(where | box).transpose("y", "x").to_numpy()
    moments = Moments.of(values[inside[box["y"], box["x"]]])
    if not moments.finite:
        return {"pixels": moments.count}
    return {
        "pixels": moments.count, "mean": moments.mean, "standard_deviation": moments.standard_deviation,
        "minimum": moments.minimum, "maximum": moments.maximum,
    }  # fmt: skip


def pixels_inside(
    kind: str, points: Points, outline: Points, scene: Scene, index: Sequence[int]
) -> npt.NDArray[np.bool_] | None:
    """Pixels of a plane whose centre lies inside an outline, or the one that a probe lies on.

    Shape (rows, columns); `None` of what encloses nothing, lies on no plane of the array or beside the image.
    """
    if kind not in (*_AREAS, "probe") or len(index) != len(scene.axes):
        return None
    handles, edge = (to_pixels(scene, index[-1], each) for each in (points, outline))
    if not (np.isfinite(handles).all() and np.isfinite(edge).all()):
        return None
    if kind != "probe":
        return _inside(kind, handles, edge, scene)
    column, row = np.rint(handles[0]).astype(int)
    if not (0 <= row < scene.rows and 0 <= column < scene.columns):
        return None
    inside = np.zeros((scene.rows, scene.columns), np.bool_)
    inside[row, column] = True
    return inside


def _inside(kind: str, handles: Numbers, edge: Numbers, scene: Scene) -> npt.NDArray[np.bool_]:
    """Pixels whose centre lies inside, shape (rows, columns)."""
    columns, rows = np.meshgrid(np.arange(scene.columns), np.arange(scene.rows))
    match kind:
        case "ellipse":
            center = handles.mean(axis=0)
            up, right = (handles[1] - handles[0]) / 2, (handles[3] - handles[2]) / 2
            along = np.linalg.inv(np.stack([right, up], axis=1))
            u = along[0, 0] * (columns - center[0]) + along[0, 1] * (rows - center[1])
            v = along[1, 0] * (columns - center[0]) + along[1, 1] * (rows - center[1])
            return np.asarray(u**2 + v**2 <= 1)
        case "circle":
            row_mm, column_mm = scene.pixel_spacing or (1.0, 1.0)
            radius = math.hypot(*((handles[1] - handles[0]) * (column_mm, row_mm)))
            dx, dy = (columns - handles[0][0]) * column_mm, (rows - handles[0][1]) * row_mm
            return np.asarray(dx**2 + dy**2 <= radius**2)
        case "rectangle":
            edge = handles[[0, 1, 3, 2]]
    return _in_polygon(columns, rows, edge)


def _in_polygon(
    columns: npt.NDArray[np.int_], rows: npt.NDArray[np.int_], edge: Numbers
) -> npt.NDArray[np.bool_]:
    """Even-odd rule; a rectangle's own edge counts as inside."""
    inside = np.zeros(columns.shape, np.bool_)
    for (x, y), (next_x, next_y) in zip(edge, np.roll(edge, -1, axis=0), strict=True):
        if y == next_y:
            continue
        crossing = (y > rows) != (next_y > rows)
        inside ^= crossing & (columns < (next_x - x) * (rows - y) / (next_y - y) + x)
    return inside


def _points(values: Sequence[Sequence[float]]) -> Points:
    return tuple((float(x), float(y), float(z)) for x, y, z in values)


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, tuple | list) else value
