"""Marks as graphics of the standard, and back: points, polylines, circles and ellipses.

The same four make up spatial coordinates of reports (PS3.3 C.18.6, C.18.9) and graphics of presentation
states (C.10.5); polygons alone those of structure sets (C.8.8.6). On an image points are column and row with
the corner of the first pixel at 0, 0, so that its centre is 0.5, 0.5; elsewhere they are LPS mm.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from catalog.errors import EncodeError, GeometryError
from catalog.identifiers import is_uid
from pipelines.geometry import FARTHEST_MM
from pipelines.marks import Mark, image_of
from pipelines.presentation.scene import Scene, to_pixels, to_positions

type Numbers = npt.NDArray[np.float64]
type GraphicType = Literal["POINT", "POLYLINE", "CIRCLE", "ELLIPSE"]

CURVES = ("freehand", "spline", "livewire")
"""Kinds that are their outline."""
AREAS = ("ellipse", "circle", "rectangle")
"""Kinds that are a closed shape by their handles."""
_PAIRS = ("bidirectional", "cobb")
"""Kinds of two lines."""

SAGITTA_MM = 0.01
"""How far a polygon may run beside the curve it stands for."""
SAME_MM = 0.1
"""How near a polygon runs to the shape that it is said to be."""
BESIDE_MM = 0.05
"""How far from a plane something may lie that lies on it."""
_RIGHT_ANGLE = 1e-6
_CENTRE = 0.5
"""Of the first pixel, in columns and rows."""


@dataclass(frozen=True, slots=True)
class Graphic:
    """One graphic of a mark."""

    kind: GraphicType
    points: Numbers
    """Shape (points, 2): column and row on an image; or (points, 3): LPS mm. Of a polyline the first is the
    last again where it is closed; of a circle the centre and a point of its edge; of an ellipse the ends of
    the major axis, then those of the minor axis."""

    def __post_init__(self) -> None:
        least, most = _COUNTS[self.kind]
        shape = self.points.shape
        if len(shape) != 2 or shape[1] not in (2, 3) or not least <= shape[0] <= most:
            raise GeometryError(f"a {self.kind} of {shape[0] if shape else 0} points is none")
        if not np.abs(self.points).max() <= FARTHEST_MM:
            raise GeometryError(f"a {self.kind} has points beyond a kilometre, or no numbers")


_COUNTS = {"POINT": (1, 1), "POLYLINE": (2, 1 << 20), "CIRCLE": (2, 2), "ELLIPSE": (4, 4)}
_FORMS: Mapping[str, Sequence[tuple[GraphicType, int]]] = {
    "length": (("POLYLINE", 2),), "arrow": (("POLYLINE", 2),), "angle": (("POLYLINE", 3),),
    "bidirectional": (("POLYLINE", 2),) * 2, "cobb": (("POLYLINE", 2),) * 2, "probe": (("POINT", 1),),
    "rectangle": (("POLYLINE", 5),), "ellipse": (("ELLIPSE", 4),),
}  # fmt: skip
"""Kinds and the graphics they are made of."""


def mark_uid(mark: Mark) -> str:
    """UID of a mark by which objects track it (PS3.16 TID 4108): its own, or derived of its UUID."""
    if is_uid(mark.uid):
        return mark.uid
    try:
        return f"2.25.{int(mark.uid.replace('-', ''), 16)}"
    except ValueError:
        raise EncodeError(f"mark {mark.uid!r} has neither a UID nor a UUID") from None


# --- a mark as graphics ----------------------------------------------------------------------------------


def on_image(mark: Mark, scene: Scene) -> tuple[Graphic, ...] | None:
    """Graphics on the image a mark lies on; `None` where it lies on none, or reaches beyond its edge."""
    if not mark.index or not image_of(scene, mark.index):
        return None
    plane = mark.index[-1]
    handles, outline = (to_pixels(scene, plane, each) + _CENTRE for each in (mark.points, mark.outline))
    row_mm, column_mm = scene.pixel_spacing or (1.0, 1.0)
    graphics = _graphics(mark, handles, outline, np.array([column_mm, row_mm]))
    size = (scene.columns, scene.rows)
    inside = all(np.all((_extent(each) >= 0) & (_extent(each) <= size)) for each in graphics)
    return graphics if inside else None


def in_patient(mark: Mark, scene: Scene) -> tuple[Graphic, ...]:
    """Graphics of a mark in the patient.

    Raises
    ------
    EncodeError
        If the images have no place in a patient.
    """
    if not scene.positions_lps_mm or not scene.frame_of_reference_uid:
        raise EncodeError(
            f"mark {mark.uid} reaches beyond its image, or lies on none, and the images have no place in the "
            "patient: draw it within the image"
        )
    handles, outline = (np.array(each, np.float64).reshape(-1, 3) for each in (mark.points, mark.outline))
    return _graphics(mark, handles, outline, np.ones(3), normal=_normal(mark, scene))


def polygons(mark: Mark, scene: Scene) -> list[tuple[bool, Numbers]]:
    """Lines of a mark in the patient, shape (points, 3) LPS mm each, and whether each is closed."""
    handles = np.array(mark.points, np.float64).reshape(-1, 3)
    if mark.kind in ("ellipse", "circle"):
        return [(True, _round(mark.kind, handles, _normal(mark, scene)))]
    graphics = in_patient(mark, scene)
    return [(_is_closed(each.points), _opened(each.points)) for each in graphics]


def _graphics(
    mark: Mark, handles: Numbers, outline: Numbers, mm: Numbers, normal: Numbers | None = None
) -> tuple[Graphic, ...]:
    """Take a mark apart.

    Parameters
    ----------
    mm
        Size of a step along each axis of the points.
    normal
        Of the plane, where points are LPS mm.
    """
    least = {"ellipse": 4, "rectangle": 4, "circle": 2, "angle": 3, "probe": 1, **dict.fromkeys(_PAIRS, 4)}
    if mark.kind not in CURVES and len(handles) < least.get(mark.kind, 1):
        raise EncodeError(f"mark {mark.uid}, a {mark.kind}, has {len(handles)} points only")
    match mark.kind:
        case "ellipse":
            return (_ellipse(handles),)
        case "circle":
            return (_circle(handles, mm, normal),)
        case "rectangle":
            return (Graphic("POLYLINE", handles[[0, 1, 3, 2, 0]]),)
        case "bidirectional" | "cobb":
            return Graphic("POLYLINE", handles[:2]), Graphic("POLYLINE", handles[2:4])
        case "probe":
            return (Graphic("POINT", handles[:1]),)
    line = outline if len(outline) else handles
    if mark.is_closed and len(outline) > 2 and not _is_closed(line):
        line = np.concatenate([line, line[:1]])
    if len(line) == 0:
        raise EncodeError(f"mark {mark.uid}, a {mark.kind}, has no points")
    return (Graphic("POLYLINE" if len(line) > 1 else "POINT", line),)


def _ellipse(handles: Numbers) -> Graphic:
    """Ends of the axes, the major one first; handles are bottom, top, left, right."""
    centre = handles[:4].mean(axis=0)
    down, right = _principal((handles[0] - handles[1]) / 2, (handles[3] - handles[2]) / 2)
    pairs = [(centre + down, centre - down), (centre - right, centre + right)]
    if np.linalg.norm(right) > np.linalg.norm(down):
        pairs.reverse()
    return Graphic("ELLIPSE", np.array([*pairs[0], *pairs[1]]))


def _circle(handles: Numbers, mm: Numbers, normal: Numbers | None) -> Graphic:
    centre, edge = handles[0], handles[1]
    if normal is not None:
        one = edge - centre
        other = np.cross(normal, one)
        return Graphic("ELLIPSE", np.array([centre + one, centre - one, centre - other, centre + other]))
    if math.isclose(mm[0], mm[1], rel_tol=1e-6):
        return Graphic("CIRCLE", handles[:2])
    across, down = np.diag(float(np.linalg.norm((edge - centre) * mm)) / mm)
    pairs = [(centre + across, centre - across), (centre + down, centre - down)]
    if np.linalg.norm(down) > np.linalg.norm(across):
        pairs.reverse()
    return Graphic("ELLIPSE", np.array([*pairs[0], *pairs[1]]))


def _round(kind: str, handles: Numbers, normal: Numbers) -> Numbers:
    """Points of an ellipse or a circle; they begin at the first handle, and a quarter on is the next."""
    if kind == "ellipse":
        centre = handles.mean(axis=0)
        one, other = handles[0] - centre, handles[2] - centre
    else:
        centre, one = handles[0], handles[1] - handles[0]
        other = np.cross(normal, one)
    radius = float(max(np.linalg.norm(one), np.linalg.norm(other), SAGITTA_MM))
    count = math.ceil(math.pi / math.acos(1 - SAGITTA_MM / max(radius, 2 * SAGITTA_MM)) / 4) * 4
    turn = np.linspace(0, 2 * math.pi, max(count, 16), endpoint=False)[:, np.newaxis]
    return np.asarray(centre + np.cos(turn) * one + np.sin(turn) * other)


def _principal(one: Numbers, other: Numbers) -> tuple[Numbers, Numbers]:
    """Half axes of the ellipse of which two half diameters are given; each near the one it stands for."""
    product = float(np.linalg.norm(one) * np.linalg.norm(other))
    if abs(float(one @ other)) <= _RIGHT_ANGLE * product:
        return one, other
    directions, lengths, _ = np.linalg.svd(np.stack([one, other], axis=1), full_matrices=False)
    first, second = (directions * lengths).T
    if abs(float(first @ one)) * np.linalg.norm(second) < abs(float(second @ one)) * np.linalg.norm(first):
        first, second = second, first
    return first * np.sign(first @ one or 1.0), second * np.sign(second @ other or 1.0)


def _extent(graphic: Graphic) -> Numbers:
    """Least and largest coordinates of a graphic."""
    points = graphic.points
    if graphic.kind == "CIRCLE":
        radius = np.linalg.norm(points[1] - points[0])
        return np.array([points[0] - radius, points[0] + radius])
    if graphic.kind == "ELLIPSE":
        centre = points.mean(axis=0)
        reach = np.hypot(*(np.abs(points[[0, 2]] - centre)))
        return np.array([centre - reach, centre + reach])
    return np.array([points.min(axis=0), points.max(axis=0)])


def _normal(mark: Mark, scene: Scene) -> Numbers:
    if len(mark.normal) == 3 and np.any(mark.normal):
        given = np.array(mark.normal, np.float64)
        return np.asarray(given / np.linalg.norm(given))
    rows, columns = np.reshape(scene.orientation or (1, 0, 0, 0, 1, 0), (2, 3))
    return np.cross(rows, columns)


def _is_closed(line: Numbers) -> bool:
    return len(line) > 2 and bool(np.allclose(line[0], line[-1], atol=1e-6))


def _opened(line: Numbers) -> Numbers:
    return line[:-1] if _is_closed(line) else line


# --- graphics as a mark ----------------------------------------------------------------------------------


def mark_on_image(
    kind: str, graphics: Sequence[Graphic], scene: Scene, index: tuple[int, ...], **rest: Any
) -> Mark:
    """Return the mark of graphics on an image.

    Parameters
    ----------
    kind
        Of the tool that drew it; guessed by the graphics where it is empty.
    index
        Of the plane, along each axis of the scene.
    """
    placed = [
        Graphic(each.kind, to_positions(scene, index[-1], each.points[:, :2] - _CENTRE)) for each in graphics
    ]
    rows, columns = np.reshape(scene.orientation or (1, 0, 0, 0, 1, 0), (2, 3))
    normal = tuple(np.cross(rows, columns).tolist())
    return _mark(kind, placed, columns, index=index, normal=normal, **rest)


def mark_in_patient(kind: str, graphics: Sequence[Graphic], scene: Scene, **rest: Any) -> Mark:
    """Return the mark of graphics in the patient; on a plane of the array where it lies on one."""
    plane = _plane_of(np.concatenate([each.points for each in graphics]), scene)
    rows, columns = np.reshape(scene.orientation or (1, 0, 0, 0, 1, 0), (2, 3))
    on_plane = plane is not None and len(scene.axes) == 1
    across = np.cross(rows, columns) if on_plane else _plane_normal(graphics)
    found: dict[str, Any] = {"normal": tuple(across.tolist())} if across is not None else {}
    found |= {"index": (plane,)} if on_plane else {}
    return _mark(kind, list(graphics), columns, **(found | rest))


def mark_of_polygons(kind: str, lines: Sequence[tuple[bool, Numbers]], scene: Scene, **rest: Any) -> Mark:
    """Return the mark of lines in the patient; it is the `kind` it is said to be if they run as that does."""
    (is_closed, points), count = lines[0], len(lines[0][1])
    if kind in AREAS and is_closed and len(lines) == 1 and count % 4 == 0:
        quarter = count // 4
        handles = points[[0, 2 * quarter, quarter, 3 * quarter]]
        if kind == "circle":
            handles = np.array([points.mean(axis=0), points[0]])
        if kind == "rectangle":
            handles = points[[0, 1, 3, 2]]
        plain = mark_in_patient("", [Graphic("POLYLINE", points)], scene, **rest)
        said = replace(plain, kind=kind, points=_listed(handles), outline=(), normal=_turning(points))
        drawn = [line for _, line in polygons(said, scene)]
        if drawn[0].shape == points.shape and np.abs(drawn[0] - points).max() <= SAME_MM:
            return replace(said, normal=plain.normal or said.normal)
    graphics = [
        Graphic("POLYLINE" if len(line) > 1 else "POINT", np.concatenate([line, line[: int(closed)]]))
        for closed, line in lines
    ]
    return mark_in_patient("" if kind in AREAS else kind, graphics, scene, **rest)


def _mark(kind: str, graphics: Sequence[Graphic], columns: Numbers, **rest: Any) -> Mark:
    kind = kind if _fits(kind, graphics) else _guessed(graphics)
    first = graphics[0]
    found: dict[str, Any] = {}
    if kind in CURVES:  # control points are in no object: what is drawn comes back as a line
        line = first.points
        is_closed = _is_closed(line)
        found = {"outline": _listed(_opened(line)), "is_closed": is_closed}
        found["points"] = () if is_closed else _listed(line[[0, -1]])
        kind = "freehand"
    elif first.kind == "ELLIPSE":
        centre = first.points.mean(axis=0)
        one, other = ((first.points[at] - first.points[at + 1]) / 2 for at in (0, 2))
        one, other = _principal(one, other)
        if kind == "circle":
            found = {"points": _listed(np.array([centre, centre + one]))}
        else:
            down, right = _down_and_right(one, other, columns)
            found = {"points": _listed(centre + np.array([down, -down, -right, right]))}
    elif kind == "rectangle":
        found = {"points": _listed(first.points[[0, 1, 3, 2]])}
    else:
        found = {"points": _listed(np.concatenate([each.points for each in graphics]))}
    return Mark(kind, **(found | rest))


def _fits(kind: str, graphics: Sequence[Graphic]) -> bool:
    """Whether graphics can be what somebody says that they are."""
    first = graphics[0]
    if kind in CURVES:
        return len(graphics) == 1 and first.kind == "POLYLINE"
    if kind == "circle":
        return len(graphics) == 1 and first.kind in ("CIRCLE", "ELLIPSE")
    return kind in _FORMS and [(each.kind, len(each.points)) for each in graphics] == [*_FORMS[kind]]


def _down_and_right(one: Numbers, other: Numbers, columns: Numbers) -> tuple[Numbers, Numbers]:
    """Which of two half axes points down the columns, and which across; both towards larger numbers."""
    if abs(float(other @ columns)) * np.linalg.norm(one) > abs(float(one @ columns)) * np.linalg.norm(other):
        return other, -one
    return one, -other


def _guessed(graphics: Sequence[Graphic]) -> str:
    """Kind of what somebody else's software drew."""
    first = graphics[0]
    if _fits("bidirectional", graphics):
        return "bidirectional"
    match first.kind:
        case "ELLIPSE":
            return "ellipse"
        case "CIRCLE":
            return "circle"
        case "POINT":
            return "probe"
    if _is_closed(first.points) or len(first.points) > 3:
        return "freehand"
    return "length" if len(first.points) == 2 else "angle"


def _plane_of(points: Numbers, scene: Scene) -> int | None:
    """The plane of a stack on which all points lie."""
    if not scene.positions_lps_mm:
        return None
    rows, columns = np.reshape(scene.orientation, (2, 3))
    normal = np.cross(rows, columns)
    offsets = np.array(scene.positions_lps_mm) @ normal
    depths = points @ normal
    plane = int(np.abs(offsets - depths.mean()).argmin())
    return plane if float(np.abs(depths - offsets[plane]).max()) <= BESIDE_MM else None


def _turning(points: Numbers) -> tuple[float, ...]:
    """Normal about which the points of a polygon turn to the left."""
    arms = points - points.mean(axis=0)
    return tuple(np.cross(arms, np.roll(arms, -1, axis=0)).sum(axis=0).tolist())


def _plane_normal(graphics: Sequence[Graphic]) -> Numbers | None:
    """Normal of the plane of three points and more; a line lies in many."""
    points = np.concatenate([each.points for each in graphics])
    _, spread, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    if len(points) < 3 or spread[1] < BESIDE_MM:
        return None
    return np.asarray(axes[2]) if len(axes) > 2 else np.cross(axes[0], axes[1])


def _listed(points: Numbers) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(x), float(y), float(z)) for x, y, z in points)
