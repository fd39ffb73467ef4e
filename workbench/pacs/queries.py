"""Answers C-FIND from the catalog, at every level of both information models (PS3.4 annex C)."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.events import Event

from catalog.attributes import BY_KEYWORD, Level
from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.query import find_level

LEVELS = {"PATIENT": Level.PATIENT, "STUDY": Level.STUDY, "SERIES": Level.SERIES, "IMAGE": Level.INSTANCE}
"""Query/Retrieve Level (0008,0052) (PS3.4 C.6)."""

PENDING = 0xFF00
_SUCCESS, _CANCELLED, _NOT_ITS_CLASS = 0x0000, 0xFE00, 0xA900
"""Status codes (PS3.4 table C.4-1)."""


def answers(catalog: Catalog, event: Event, ae_title: str) -> Iterator[tuple[int, Dataset | None]]:
    """Yield what a C-FIND finds, and how it ends; what it cannot be asked is a status."""
    try:
        level, matching, keywords = question_of(event.identifier)
        rows = find_level(catalog, level, matching, columns=keywords)
    except (QuestionError, KeyError, AttributeError):
        yield _NOT_ITS_CLASS, None
        return
    for row in rows:
        if event.is_cancelled:
            yield _CANCELLED, None
            return
        yield PENDING, _answer(event.identifier, row, ae_title)
    yield _SUCCESS, None


def question_of(identifier: Dataset) -> tuple[Level, dict[str, Any], list[str]]:
    """Return the level of a question, what is matched, and the keywords of what is to be returned.

    Raises
    ------
    KeyError, AttributeError
        If it names no level of the model.
    """
    level = LEVELS[identifier.QueryRetrieveLevel]
    asked = [element for element in identifier if element.keyword in BY_KEYWORD]
    asked = [element for element in asked if element.keyword != "SpecificCharacterSet"]
    matching = {element.keyword: _key(element.value) for element in asked if not element.is_empty}
    return level, matching, [element.keyword for element in asked]


def _key(value: Any) -> Any:
    return [str(each) for each in value] if isinstance(value, list | tuple) else str(value)


def _answer(identifier: Dataset, row: Mapping[str, Any], ae_title: str) -> Dataset:
    match = Dataset()
    match.SpecificCharacterSet = "ISO_IR 192"
    match.QueryRetrieveLevel = identifier.QueryRetrieveLevel
    match.RetrieveAETitle = ae_title
    for element in identifier:
        if element.keyword in BY_KEYWORD and element.keyword != "SpecificCharacterSet":
            value = row.get(BY_KEYWORD[element.keyword].column)
            setattr(match, element.keyword, "" if value is None else value)
    return match
