"""Rows that a Measurement Report must have and nobody else looks for (PS3.16 TID 1500 and what it includes).

A row is a concept that must stand below an item, under a condition; each that is missing is named.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from pipelines.validate.content_tree import Concept, children, concept, tree

DCM = "DCM"
_GROUP: Concept = ("125007", DCM)
_DEVICE, _PERSON = ("121007", DCM), ("121006", DCM)
_OBSERVER_TYPE: Concept = ("121005", DCM)
_VOLUMETRIC, _PLANAR = "1411", "1410"


@dataclass(frozen=True, slots=True)
class Row:
    """One mandatory row of a template."""

    name: str
    """As the receipt has it: template, row, meaning."""
    any_of: tuple[Concept, ...]
    """Concept names of which one must be there."""
    value: Callable[[Dataset], bool]
    """Whether an item of that concept says something."""


def _coded(item: Dataset) -> bool:
    return concept(item, "ConceptCodeSequence") != ("", "")


def _text(item: Dataset) -> bool:
    return bool(str(item.get("TextValue") or "").strip())


def _uid(item: Dataset) -> bool:
    return bool(item.get("UID"))


def _person(item: Dataset) -> bool:
    return bool(str(item.get("PersonName") or ""))


def _referred(item: Dataset) -> bool:
    return bool(item.get("ReferencedSOPSequence"))


def _any(_item: Dataset) -> bool:
    return True


_ROOT_ROWS: Sequence[Row] = (
    Row("TID 1500 row 2, Language of Content Item and Descendants", (("121049", DCM),), _coded),
    Row("TID 1500 row 4, Procedure reported", (("121058", DCM),), _coded),
    Row(
        "TID 1500 row 6, 10 or 12, Imaging or Derived Imaging Measurements or Qualitative Evaluations",
        (("126010", DCM), ("126011", DCM), ("C0034375", "UMLS")),
        lambda item: bool(item.get("ContentSequence")),
    ),
)

_OBSERVER_ROWS: dict[Concept, Sequence[Row]] = {
    _DEVICE: (Row("TID 1004 row 1, Device Observer UID", (("121012", DCM),), _uid),),
    _PERSON: (Row("TID 1003 row 1, Person Observer Name", (("121008", DCM),), _person),),
}

_GROUP_ROWS: Sequence[Row] = (
    Row("Tracking Identifier", (("112039", DCM),), _text),
    Row("Tracking Unique Identifier", (("112040", DCM),), _uid),
)

_REGION: dict[str, Sequence[Row]] = {
    _VOLUMETRIC: (
        Row(
            "Referenced Segment, Image Region, Volume Surface, Region in Space or map",
            (
                ("121191", DCM),
                ("121214", DCM),
                ("111030", DCM),
                ("121231", DCM),
                ("130488", DCM),
                ("121200", DCM),
            ),
            _any,
        ),
        Row(
            "Source Series or Source Image for Segmentation",
            (("121232", DCM), ("121233", DCM)),
            lambda item: _uid(item) or _referred(item),
        ),
    ),
    _PLANAR: (
        Row(
            "Image Region, Referenced Segmentation Frame, Region in Space or map",
            (("111030", DCM), ("121214", DCM), ("121191", DCM), ("130488", DCM), ("121200", DCM)),
            _any,
        ),
    ),
}


def missing_rows(ds: Dataset) -> Iterator[str]:
    """Name each mandatory row of TID 1500 that a report lacks; a report of another template has none."""
    if not _claims(ds, "1500"):
        return
    title, scheme = concept(ds)
    if (title, scheme) == ("", ""):
        yield "TID 1500 row 1, the title, has no concept name"
    yield from _absent(ds, _ROOT_ROWS, "")
    yield from _observer(ds)
    for place, item in tree(ds):
        if concept(item) == _GROUP:
            yield from _group(place, item)
        if str(item.get("ValueType")) == "NUM":
            yield from _number(place, item)


def _observer(ds: Dataset) -> Iterator[str]:
    """TID 1001 by TID 1002: a type of observer that is not said is a person."""
    stated = [concept(each, "ConceptCodeSequence") for each in children(ds, _OBSERVER_TYPE)]
    context = children(ds, relationship="HAS OBS CONTEXT")
    if not context:
        yield "TID 1500 row 3, Observation Context (TID 1001), is missing"
        return
    for kind in stated or [_PERSON]:
        yield from _absent(ds, _OBSERVER_ROWS.get(kind, ()), "")


def _group(place: str, group: Dataset) -> Iterator[str]:
    template = next((each for each in (_VOLUMETRIC, _PLANAR) if _claims(group, each)), "1501")
    where = f" of the measurement group at {place} (TID {template})"
    yield from _absent(group, (*_GROUP_ROWS, *_REGION.get(template, ())), where)
    if not any(str(each.get("ValueType")) in {"NUM", "CODE", "TEXT"} for each in _findings(group)):
        yield f"a measurement or qualitative evaluation{where} is missing"


def _findings(group: Dataset) -> list[Dataset]:
    return children(group, relationship="CONTAINS")


def _number(place: str, item: Dataset) -> Iterator[str]:
    """TID 300 row 1: a number with its unit, or why there is none (PS3.3 C.18.1)."""
    values = item.get("MeasuredValueSequence") or ()
    if concept(item) == ("", ""):
        yield f"TID 300 row 1, the concept name of the measurement at {place}, is missing"
    if not values:
        if concept(item, "NumericValueQualifierCodeSequence") == ("", ""):
            yield f"TID 300 row 1, the value of the measurement at {place}, is missing"
        return
    for value in values:
        if value.get("NumericValue") is None:
            yield f"TID 300 row 1, the value of the measurement at {place}, is missing"
        if concept(value, "MeasurementUnitsCodeSequence") == ("", ""):
            yield f"TID 300 row 1, the unit of the measurement at {place}, is missing"


def _absent(item: Dataset, rows: Sequence[Row], where: str) -> Iterator[str]:
    for row in rows:
        found = [each for wanted in row.any_of for each in children(item, wanted)]
        found += _by_reference(item, row)
        if not found:
            yield f"{row.name}{where}, is missing"
        elif not any(row.value(each) for each in found):
            yield f"{row.name}{where}, says nothing"


def _by_reference(item: Dataset, row: Row) -> list[Dataset]:
    """A surface, volume or region may be there by its coordinates alone (TID 1410, 1411)."""
    if row.value is not _any:
        return []
    return [each for each in children(item) if str(each.get("ValueType")) in {"SCOORD", "SCOORD3D"}]


def _claims(item: Dataset, template: str) -> bool:
    return any(
        str(each.get("TemplateIdentifier")) == template and str(each.get("MappingResource")) == "DCMR"
        for each in item.get("ContentTemplateSequence") or ()
    )
