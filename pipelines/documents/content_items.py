"""The content tree of a structured report as text that can be read (PS3.3 section C.17.3); no I/O.

A line an item, two spaces deeper for each level: `Finding: Mass`, `Diameter: 3.2 mm`, a container its name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID

from catalog.words import TEXT_LIMIT

_INDENT = "  "
DEEPEST = 40
"""Levels that are indented; an item below stands as deep as these."""


def text_of(ds: Dataset) -> str:
    """Return the text of a structured report, of one that is very long the beginning."""
    lines: list[str] = []
    size = 0
    for depth, item in _items(ds):
        line = _line(item)
        if not line:
            continue
        indent = _INDENT * min(depth, DEEPEST)
        lines.append(indent + line.replace("\n", f"\n{indent}{_INDENT}"))
        size += len(lines[-1]) + 1
        if size > TEXT_LIMIT:
            break
    return "\n".join(lines)


def meaning(ds: Dataset, keyword: str) -> str:
    """Return the meaning of a code, else its value; empty where there is none (PS3.3 section 8.3)."""
    codes = ds.get(keyword) or ()
    for code in codes:
        values = (code.get(each) for each in ("CodeMeaning", "CodeValue", "LongCodeValue", "URNCodeValue"))
        return next((str(each) for each in values if each), "")
    return ""


def _items(ds: Dataset) -> Iterator[tuple[int, Dataset]]:
    """Items of the tree, each with its depth, in the order in which they are read."""
    waiting = [(0, ds)]
    while waiting:
        depth, item = waiting.pop()
        yield depth, item
        waiting += [(depth + 1, each) for each in reversed(item.get("ContentSequence") or ())]


def _line(item: Dataset) -> str:
    name = meaning(item, "ConceptNameCodeSequence")
    value = _VALUES.get(str(item.get("ValueType") or ""), _nothing)(item)
    if reference := item.get("ReferencedContentItemIdentifier"):
        value = "see item " + ".".join(map(str, reference if _is_many(reference) else [reference]))
    return f"{name}: {value}" if name and value else name or value


def _is_many(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _nothing(_item: Dataset) -> str:
    return ""


def _of(keyword: str) -> Callable[[Dataset], str]:
    def value(item: Dataset) -> str:
        found = item.get(keyword)
        return "" if found is None else str(found)

    return value


def _number(item: Dataset) -> str:
    for measured in item.get("MeasuredValueSequence") or ():
        value = measured.get("NumericValue")
        numbers = value if _is_many(value) else [value]
        unit = _unit(measured)
        return " ".join([*(str(each) for each in numbers if each is not None), *([unit] if unit else [])])
    return meaning(item, "NumericValueQualifierCodeSequence")


def _unit(measured: Dataset) -> str:
    """As it is written in UCUM; `no units` says nothing (1 is the unit of what has none)."""
    for code in measured.get("MeasurementUnitsCodeSequence") or ():
        unit = str(code.get("CodeValue") or "")
        return "" if unit in ("1", "{no units}") else unit
    return ""


def _reference(item: Dataset) -> str:
    """What the item shows or names: the kind of object and its UID."""
    for each in item.get("ReferencedSOPSequence") or ():
        kind = UID(str(each.get("ReferencedSOPClassUID") or "")).name.removesuffix(" Storage")
        return f"{kind} {each.get('ReferencedSOPInstanceUID') or ''}".strip()
    return ""


def _graphic(item: Dataset) -> str:
    return str(item.get("GraphicType") or item.get("TemporalRangeType") or "").lower()


_VALUES: Mapping[str, Callable[[Dataset], str]] = {
    "TEXT": _of("TextValue"),
    "CODE": lambda item: meaning(item, "ConceptCodeSequence"),
    "NUM": _number,
    "DATETIME": _of("DateTime"),
    "DATE": _of("Date"),
    "TIME": _of("Time"),
    "UIDREF": _of("UID"),
    "PNAME": _of("PersonName"),
    "IMAGE": _reference,
    "COMPOSITE": _reference,
    "WAVEFORM": _reference,
    "SCOORD": _graphic,
    "SCOORD3D": _graphic,
    "TCOORD": _graphic,
}
"""How the value of each type of item is written (PS3.3 table C.17.3-7); a container has none."""
