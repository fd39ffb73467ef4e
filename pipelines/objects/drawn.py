"""Marks out of objects: Measurement Reports, presentation states and structure sets, whoever wrote them."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from catalog.errors import GeometryError, HeaderError
from catalog.identifiers import is_uid, new_uid
from pipelines.encode.algorithm import SCHEME
from pipelines.graphics import Graphic, GraphicType, mark_in_patient, mark_of_polygons, mark_on_image
from pipelines.marks import Mark
from pipelines.objects.appearances import PRESENTATION_STATES
from pipelines.objects.file import items_of, named, numbers, open_object
from pipelines.objects.references import Planes, planes_of, referred
from pipelines.objects.structures import RT_STRUCTURE_SET_STORAGE, structures_of
from pipelines.presentation.scene import Scene
from pipelines.validate.content_tree import Concept, children, concept, tree

REPORTS = tuple(f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (22, 33, 34))
"""Enhanced, Comprehensive and Comprehensive 3D SR."""
MARKS_AT_MOST = 100_000

_GROUP: Concept = ("125007", "DCM")
_TOOL: Concept = ("drawn-with", SCHEME)
_TRACKING_UID: Concept = ("112040", "DCM")
_COMMENT: Concept = ("121106", "DCM")
_PERSON: Concept = ("121008", "DCM")

_OF_TYPE: Mapping[str, GraphicType] = {
    "POINT": "POINT", "POLYLINE": "POLYLINE", "POLYGON": "POLYLINE", "INTERPOLATED": "POLYLINE",
    "CIRCLE": "CIRCLE", "ELLIPSE": "ELLIPSE",
}  # fmt: skip
"""Graphic Type (0070,0023) to what a mark is made of; clouds of points and volumes are none."""


def read_marks(path: str | Path, scene: Scene) -> list[Mark]:
    """Read what is drawn in an object on the images of an array; what lies on other images is passed over.

    A mark of ours comes back as the tool drew it, but splines and livewires, which come back as the line they
    drew; others' graphics become the tool that draws such. `author` is who the object says observed.

    Parameters
    ----------
    scene
        Of the array: `pipelines.presentation.scene.scene_of`.

    Raises
    ------
    HeaderError
        If the file is no report, presentation state or structure set, or its graphics are none.
    """
    with named(path):
        ds = open_object(path, _READERS, "a report, a presentation state or a structure set").ds
        marks = []
        try:
            for mark in _READERS[str(ds.SOPClassUID)](ds, scene, planes_of(scene)):
                marks.append(mark)
                if len(marks) > MARKS_AT_MOST:
                    raise HeaderError(f"has more than {MARKS_AT_MOST:,} marks")
        except GeometryError as error:
            raise HeaderError(f"has a graphic that is none: {error}") from None
        return marks


# --- reports ---------------------------------------------------------------------------------------------


def _of_report(ds: Dataset, scene: Scene, planes: Planes) -> Iterator[Mark]:
    author = next((_name(each.get("PersonName")) for each in children(ds, _PERSON)), "")
    for _, group in tree(ds):
        if concept(group) != _GROUP:
            continue
        items = [each for _, each in tree(group) if str(each.get("ValueType")) in ("SCOORD", "SCOORD3D")]
        kind = next((concept(each, "ConceptCodeSequence")[0] for each in children(group, _TOOL)), "")
        uid = next((str(each.get("UID") or "") for each in children(group, _TRACKING_UID)), "")
        text = next((str(each.get("TextValue") or "") for each in children(group, _COMMENT)), "")
        rest = {"uid": uid if is_uid(uid) else new_uid(), "text": text, "author": author}
        yield from _of_items(items, kind, scene, planes, rest)


def _of_items(
    items: Sequence[Dataset], kind: str, scene: Scene, planes: Planes, rest: Mapping[str, str]
) -> Iterator[Mark]:
    """The mark of the coordinates of one group."""
    flat = [each for each in items if str(each.ValueType) == "SCOORD"]
    if flat:
        places = [_image_of(each) for each in flat]
        index = planes.get(places[0])
        graphics = [each for item in flat if (each := _graphic(item, 2)) is not None]
        if index is not None and graphics and len(set(places)) == 1:
            yield mark_on_image(kind, graphics, scene, index, **rest)
        return
    here = [
        each
        for each in items
        if str(each.get("ReferencedFrameOfReferenceUID") or "") == scene.frame_of_reference_uid
    ]
    graphics = [each for item in here if (each := _graphic(item, 3)) is not None]
    if graphics and scene.frame_of_reference_uid:
        yield mark_in_patient(kind, graphics, scene, **rest)


def _image_of(item: Dataset) -> tuple[str, int]:
    """The image that coordinates were selected from (PS3.3 C.18.6): its UID, and the frame, from 1."""
    for image in children(item):
        for reference in image.get("ReferencedSOPSequence") or ():
            return referred(reference)
    return "", 1


def _graphic(item: Dataset, dimensions: int) -> Graphic | None:
    kind = _OF_TYPE.get(str(item.get("GraphicType") or ""))
    values = numbers(item.get("GraphicData"))
    if kind is None or not values:
        return None
    if len(values) % dimensions or not all(map(math.isfinite, values)):
        raise HeaderError("has Graphic Data (0070,0022) that are not points")
    return Graphic(kind, np.array(values, np.float64).reshape(-1, dimensions))


# --- presentation states ---------------------------------------------------------------------------------


def _of_state(ds: Dataset, scene: Scene, planes: Planes) -> Iterator[Mark]:
    author = _name(ds.get("ContentCreatorName"))
    together: dict[tuple[str, tuple[int, ...]], tuple[str, str, list[Graphic]]] = {}
    for number, annotation in enumerate(ds.get("GraphicAnnotationSequence") or ()):
        kind = str(annotation.get("GraphicLayer") or "").lower()
        texts = [
            str(each.get("UnformattedTextValue") or "") for each in items_of(annotation, "TextObjectSequence")
        ]
        for image in items_of(annotation, "ReferencedImageSequence"):
            index = planes.get(referred(image))
            for at, item in enumerate(items_of(annotation, "GraphicObjectSequence")):
                graphic = _graphic(item, 2) if str(item.get("GraphicAnnotationUnits")) == "PIXEL" else None
                if index is None or graphic is None:
                    continue
                uid = str(item.get("TrackingUID") or "")
                key = (uid if is_uid(uid) else f"{number} {at}", index)
                _, _, graphics = together.setdefault(key, (kind, texts[0] if texts else "", []))
                graphics.append(graphic)
    for (uid, index), (kind, text, graphics) in together.items():
        rest = {"uid": uid if is_uid(uid) else new_uid(), "text": text, "author": author}
        yield mark_on_image(kind, graphics, scene, index, **rest)


# --- structure sets --------------------------------------------------------------------------------------


def _of_structures(ds: Dataset, scene: Scene, _planes: Planes) -> Iterator[Mark]:
    """A mark for each region that was drawn as one, else for each contour; of one a description tells."""
    author = _name(ds.get("OperatorsName"))
    for structure in structures_of(ds):
        if structure.frame_of_reference_uid not in (scene.frame_of_reference_uid, None):
            continue
        lines = [
            (each.geometric_type.startswith("CLOSED"), each.points_lps_mm)
            for each in structure.contours
            if len(each.points_lps_mm)
        ]
        ours = re.fullmatch(r"([a-z]{1,16}) ([0-9.]{1,64})", structure.description)
        if ours and lines:
            text = "" if structure.name == f"{ours[1]} {structure.number}" else structure.name
            yield mark_of_polygons(ours[1], lines, scene, uid=ours[2], text=text, author=author)
            continue
        for line in lines:
            yield mark_of_polygons("", [line], scene, uid=new_uid(), text=structure.name, author=author)


# --- what all have in common -----------------------------------------------------------------------------


def _name(value: object) -> str:
    """A person's name as one types it: without the carets of what is empty."""
    return str(value or "").strip().rstrip("^")


_READERS: Mapping[str, Callable[[Dataset, Scene, Planes], Iterator[Mark]]] = {
    **dict.fromkeys(REPORTS, _of_report),
    **dict.fromkeys(PRESENTATION_STATES, _of_state),
    RT_STRUCTURE_SET_STORAGE: _of_structures,
}
