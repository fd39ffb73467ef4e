"""Answers C-FIND from the catalog, at every level of both information models (PS3.4 annex C)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from catalog.attributes import BY_KEYWORD, Level, snake_case
from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.query import find_level, is_above
from catalog.related import RELATED
from workbench.pacs.wire.failures import WireError

LEVELS = {"PATIENT": Level.PATIENT, "STUDY": Level.STUDY, "SERIES": Level.SERIES, "IMAGE": Level.INSTANCE}
"""Query/Retrieve Level (0008,0052) (PS3.4 C.6)."""

PENDING, PENDING_WITHOUT_SOME_KEYS = 0xFF00, 0xFF01
_SUCCESS, _CANCELLED, _NOT_ITS_CLASS, _CANNOT_PROCESS = 0x0000, 0xFE00, 0xA900, 0xC000
"""Status codes (PS3.4 table C.4-1)."""

_OF_THE_ANSWER = frozenset({"SpecificCharacterSet", "QueryRetrieveLevel", "RetrieveAETitle"})
"""What every answer has, whatever was asked for."""
_MATCHED = BY_KEYWORD.keys() | {"ModalitiesInStudy"}


@dataclass(frozen=True, slots=True)
class Question:
    """What a C-FIND asks."""

    level: Level
    matching: dict[str, Any]
    """What is matched, by keyword."""
    returned: list[str]
    """Keywords of what is to be returned."""
    is_supported: bool
    """Whether every key is returned, and matched where it has a value."""


def answers(
    catalog: Catalog,
    identifier: Dataset,
    ae_title: str,
    is_cancelled: Callable[[], bool],
    *,
    with_patients: bool,
) -> Iterator[tuple[int, Dataset | None]]:
    """Yield what a C-FIND finds, and how it ends; what it cannot be asked is a status.

    Parameters
    ----------
    with_patients
        Whether its model has patients as a level: Study Root has not (PS3.4 C.6.2.1).
    """
    try:
        question = question_of(identifier, with_patients=with_patients)
        rows = find_level(catalog, question.level, question.matching, columns=question.returned)
        pending = PENDING if question.is_supported else PENDING_WITHOUT_SOME_KEYS
        for row in rows:
            if is_cancelled():
                yield _CANCELLED, None
                return
            yield pending, _answer(identifier.QueryRetrieveLevel, question.returned, row, ae_title)
    except QuestionError:
        yield _NOT_ITS_CLASS, None
    except WireError:
        raise
    except Exception:  # whatever the catalog stumbles over is an answer, and the association goes on
        yield _CANNOT_PROCESS, None
    else:
        yield _SUCCESS, None


def question_of(identifier: Dataset, *, with_patients: bool) -> Question:
    """Return what an identifier asks; a key that is not supported is left out (PS3.4 C.2.2.1.3).

    Raises
    ------
    catalog.errors.QuestionError
        If it names no level of the model, or a value cannot be read.
    """
    try:
        elements = list(identifier)
        level = LEVELS[identifier.QueryRetrieveLevel]
    except (
        Exception
    ) as error:  # whatever a parser stumbles over in the bytes of a peer is the fault of the bytes
        raise QuestionError("the level is none of the model, or a value cannot be read") from error
    if level is Level.PATIENT and not with_patients:
        raise QuestionError("the level is none of the model")
    keys = [each for each in elements if each.keyword not in _OF_THE_ANSWER and each.tag.element != 0]
    matching = {
        each.keyword: _key(each.value) for each in keys if each.keyword in _MATCHED and not each.is_empty
    }
    returned = [each.keyword for each in keys if _is_returned(each, level)]
    unmatched = [each for each in keys if not each.is_empty and each.keyword not in _MATCHED]
    return Question(level, matching, returned, len(returned) == len(keys) and not unmatched)


def _is_returned(key: DataElement, level: Level) -> bool:
    """Whether rows of a level have an attribute, or series tell it of them."""
    if key.keyword in RELATED:
        of = RELATED[key.keyword].level
        return of is None or is_above(of, level)
    return key.keyword in BY_KEYWORD and is_above(BY_KEYWORD[key.keyword].level, level)


def _key(value: Any) -> Any:
    return [str(each) for each in value] if isinstance(value, MultiValue) else str(value)


def _answer(level: str, returned: list[str], row: Mapping[str, Any], ae_title: str) -> Dataset:
    match = Dataset()
    match.SpecificCharacterSet = "ISO_IR 192"
    match.QueryRetrieveLevel = level
    match.RetrieveAETitle = ae_title
    for keyword in returned:
        value = row.get(snake_case(keyword))
        setattr(match, keyword, "" if value is None else value)
    return match
