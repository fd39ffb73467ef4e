"""Rows of a QIDO answer (DICOM JSON, PS3.18 annex F) as values of the catalog's columns."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from catalog.attributes import Attribute, Kind
from catalog.records import Value

JSON = "application/dicom+json"
"""Media type of DICOM JSON."""

type Row = Mapping[str, Any]
"""Tag as eight hexadecimal digits to an object with `vr` and `Value`, as the peer wrote it."""

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def rows_in(content: bytes) -> list[Row]:
    """Return the rows of an answer.

    Raises
    ------
    ValueError
        If it is no array of objects in JSON.
    """
    try:
        rows = json.loads(content.decode("utf-8-sig"), parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("no array of objects")
    return rows


def row_in(content: bytes) -> Row:
    """Return the one data set of an answer, alone or as the only one of an array.

    Raises
    ------
    ValueError
        If it is none in JSON.
    """
    (row,) = rows_in(content if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[" else b"[%b]" % content)
    return row


def items(row: Row, tag: int) -> list[Row]:
    """The items of a sequence."""
    return [each for each in _values(row, tag) if isinstance(each, dict)]


def text(row: Row, tag: int) -> str | None:
    """The text of an element, its values joined by backslashes as in a file; `None` where it has none."""
    found = [_text(each) for each in _values(row, tag)]
    return "\\".join(found).strip(" \0") or None


def number(row: Row, tag: int) -> int | None:
    """The first value of an element as a whole number; `None` where it is none."""
    found = _number(text(row, tag), int)
    return found if isinstance(found, int) else None


def values(row: Row, attributes: Sequence[Attribute]) -> dict[str, Value]:
    """What a row says of attributes, by column; what it does not say, or cannot be read, is not there."""
    found = {each.column: _value(row, each) for each in attributes}
    return {name: value for name, value in found.items() if value is not None}


def _value(row: Row, attribute: Attribute) -> Value:
    said = text(row, attribute.tag)
    match attribute.kind:
        case Kind.INTEGER:
            return _number(said, int)
        case Kind.REAL:
            return _number(said, float)
        case Kind.TEXT | Kind.NUMBERS:
            return said


def _values(row: Row, tag: int) -> Sequence[Any]:
    element = row.get(f"{tag:08X}") or row.get(f"{tag:08x}")
    found = element.get("Value") if isinstance(element, dict) else None
    return found if isinstance(found, list) else ()


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool() | None | list():
            return ""
        case int() | float():
            return str(value)
        case dict():  # a person's name, by its component groups (PS3.5 section 6.2.1)
            groups = [value.get(group) for group in _GROUPS]
            return "=".join(each if isinstance(each, str) else "" for each in groups).rstrip("=")
    return ""


def _number(said: str | None, kind: type[int] | type[float]) -> int | float | None:
    try:
        return kind(said or "")
    except ValueError:
        return None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
