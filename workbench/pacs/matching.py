r"""What a node is asked: keys of one level and of those above, as they go out (PS3.4 C.2.2.2). No I/O.

| kind      | written                                    | goes out                                       |
| --------- | ------------------------------------------ | ---------------------------------------------- |
| universal | `None`, an empty text, `*`                 | an empty key                                   |
| list      | several values, a text `1.2\1.3` of UIDs   | one key of UIDs; of others a question each     |
| range     | `(low, high)`, a text `low-high`           | dates whole: `202601-` begins with its 1st     |
| wildcard  | a text with `*` and `?`                    | as it is, for the VRs that have wildcards      |
| sequence  | keys of its item by keyword                | a sequence with one item                       |
| single    | anything else                              | as it is                                       |
"""

import calendar
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import product
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from catalog.attributes import PATIENT, SERIES, STUDY, Attribute, Kind, Level
from catalog.errors import QuestionError
from catalog.matching import attribute_named, date_text_of

type Key = str | Mapping[Attribute, Key]
"""What an attribute shall match; of a sequence, the keys of its one item."""
type Keys = Mapping[Attribute, Key]

LEVELS = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.INSTANCE)
"""From above to below (PS3.4 C.6)."""
PLURALS = {
    Level.PATIENT: "patients", Level.STUDY: "studies", Level.SERIES: "series", Level.INSTANCE: "instances",
}  # fmt: skip
UNIQUE = {
    Level.PATIENT: attribute_named("PatientID"),
    Level.STUDY: attribute_named("StudyInstanceUID"),
    Level.SERIES: attribute_named("SeriesInstanceUID"),
    Level.INSTANCE: attribute_named("SOPInstanceUID"),
}
"""The unique key of each level."""
QUESTIONS_AT_MOST = 64
"""Questions that lists of values may make."""

MODALITIES_IN_STUDY = Attribute("ModalitiesInStudy", 0x00080061, "CS", Level.STUDY, Kind.TEXT, many=True)
COUNTS = {
    Level.PATIENT: (
        Attribute("NumberOfPatientRelatedStudies", 0x00201200, "IS", Level.PATIENT, Kind.INTEGER),
        Attribute("NumberOfPatientRelatedSeries", 0x00201202, "IS", Level.PATIENT, Kind.INTEGER),
        Attribute("NumberOfPatientRelatedInstances", 0x00201204, "IS", Level.PATIENT, Kind.INTEGER),
    ),
    Level.STUDY: (
        Attribute("NumberOfStudyRelatedSeries", 0x00201206, "IS", Level.STUDY, Kind.INTEGER),
        Attribute("NumberOfStudyRelatedInstances", 0x00201208, "IS", Level.STUDY, Kind.INTEGER),
    ),
    Level.SERIES: (
        Attribute("NumberOfSeriesRelatedInstances", 0x00201209, "IS", Level.SERIES, Kind.INTEGER),
    ),
    Level.INSTANCE: (),
}  # fmt: skip
"""Attributes that only a query has (PS3.4 C.3.4)."""
_OF_INSTANCES = (
    "SOPInstanceUID", "SOPClassUID", "InstanceNumber", "ContentDate", "ContentTime", "AcquisitionNumber",
    "ImageType", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
)  # fmt: skip
RETURNED = {
    Level.PATIENT: (*PATIENT, *COUNTS[Level.PATIENT]),
    Level.STUDY: (*STUDY, MODALITIES_IN_STUDY, *COUNTS[Level.STUDY]),
    Level.SERIES: (*SERIES, *COUNTS[Level.SERIES]),
    Level.INSTANCE: tuple(map(attribute_named, _OF_INSTANCES)),
}
"""What is asked for at each level, matched or not."""

_BESIDE = {
    name: each
    for each in (MODALITIES_IN_STUDY, *(one for some in COUNTS.values() for one in some))
    for name in (each.keyword, each.column)
}
_MODALITY = attribute_named("Modality")
_WILDCARD_VRS = frozenset(["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
_UIDS = re.compile(r"[0-9.]{1,64}(\\[0-9.]{1,64})*")
_TIMES = re.compile(r"[0-9:.]*-?[0-9:.]*")
_DATE_TIMES = re.compile(r"[0-9.+-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FORMS = {"DA": "%Y%m%d", "TM": "%H%M%S", "DT": "%Y%m%d%H%M%S"}
_SHORTEST_DATE, _WHOLE_DATE = 4, 8


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One question: a level, and keys of it and of the levels above."""

    level: Level
    keys: Keys

    def at(self, *levels: Level) -> dict[Attribute, Key]:
        """Keys of some levels."""
        return {each: key for each, key in self.keys.items() if each.level in levels}


def level_named(name: str) -> Level:
    """Return a level by its name; `image` is that of instances.

    Raises
    ------
    catalog.errors.QuestionError
        If there is no such level.
    """
    known = {each.value: each for each in LEVELS} | {"image": Level.INSTANCE}
    found = known.get(str(name).lower().removesuffix("s")) or known.get(str(name).lower())
    if found is None:
        found = {plural: level for level, plural in PLURALS.items()}.get(str(name).lower())
    if found is None:
        raise QuestionError(f"a node is asked for patient, study, series or instance, not {str(name)[:32]!r}")
    return found


def inquiries_of(level: Level, matching: Mapping[str, Any]) -> list[Inquiry]:
    """Return the questions that together find what is meant: one, or one for each of a list's values.

    Parameters
    ----------
    matching
        Attributes by keyword or column name to what they shall match. Of attributes that the catalog has no
        column for, the keyword of the standard; they are taken to be of the level that is asked.

    Raises
    ------
    catalog.errors.QuestionError
        If a name or a value is none that can be asked at this level.
    """
    choices: list[tuple[Attribute, list[Key]]] = []
    for name, value in matching.items():
        attribute = _at_level(_attribute(name, level), level)
        choices.append((attribute, _keys(attribute, value)))
    questions = list(product(*(keys for _, keys in choices)))
    if len(questions) > QUESTIONS_AT_MOST:
        raise QuestionError(
            f"lists of values make {len(questions):,} questions, {QUESTIONS_AT_MOST} at most are put: give "
            "fewer values, or a wildcard"
        )
    names = [attribute for attribute, _ in choices]
    return [Inquiry(level, dict(zip(names, keys, strict=True))) for keys in questions]


def asked_of(matching: Mapping[str, Any]) -> dict[Attribute, str]:
    """Return the attributes of a question for series, that is one question, by keyword or column name.

    Raises
    ------
    catalog.errors.QuestionError
        If a name is no attribute of patient, study and series that the catalog keeps, or matches a list.
    """
    asked: dict[Attribute, str] = {}
    for name, value in matching.items():
        attribute = _at_level(attribute_named(name), Level.SERIES)
        key, *more = _keys(attribute, value)
        if more or not isinstance(key, str):
            raise QuestionError(f"{attribute.keyword} matches one value here, not a list")
        asked[attribute] = key
    return asked


def _attribute(name: str, level: Level) -> Attribute:
    if name in _BESIDE:
        return _BESIDE[name]
    try:
        found = attribute_named(name)
    except QuestionError:
        tag = tag_for_keyword(name) if isinstance(name, str) else None
        if tag is None:
            raise
        return Attribute(name, tag, dictionary_VR(tag), level, Kind.TEXT)
    if found.tag < 0x00080000:
        raise QuestionError(f"{found.keyword} is of files, and no node is asked for it")
    return found


def _at_level(attribute: Attribute, level: Level) -> Attribute:
    if LEVELS.index(attribute.level) <= LEVELS.index(level):
        return attribute
    if attribute is _MODALITY and level is Level.STUDY:
        return MODALITIES_IN_STUDY
    raise QuestionError(
        f"{attribute.keyword} is of the level of {PLURALS[attribute.level]}; ask for "
        f"{PLURALS[attribute.level]} to match it"
    )


def _keys(attribute: Attribute, value: Any) -> list[Key]:
    """The one key of a value, or that of each value of a list."""
    if not isinstance(value, list | set | frozenset):
        return [key_of(attribute, value)]
    each_of = [key_of(attribute, each) for each in value]
    if not each_of or "" in each_of:
        return [""]
    if attribute.vr == "UI":
        return ["\\".join(dict.fromkeys(str(each) for each in each_of))]
    return list(each_of)


def key_of(attribute: Attribute, value: Any) -> Key:
    """Return one key as it goes out.

    Raises
    ------
    catalog.errors.QuestionError
        If the attribute cannot be matched with such a value.
    """
    if isinstance(value, Mapping) or attribute.vr == "SQ":
        return _of_item(attribute, value)
    if isinstance(value, tuple):
        return _range(attribute, value)
    text = _text(attribute, value)
    if text in ("", "*", "**"):
        return ""
    if "\\" in text and attribute.vr != "UI":
        raise QuestionError(f"{attribute.keyword} is matched with one value, without a backslash in it")
    if attribute.vr not in _WILDCARD_VRS and any(each in text for each in "*?"):
        raise QuestionError(f"{attribute.keyword} is matched without wildcards (PS3.4 C.2.2.2.4)")
    return _CHECKS.get(attribute.vr, _as_it_is)(attribute, text)


def _of_item(attribute: Attribute, value: Any) -> Key:
    if value is None or value == "":
        return {} if attribute.vr == "SQ" else ""
    if attribute.vr != "SQ" or not isinstance(value, Mapping):
        raise QuestionError(
            f"{attribute.keyword}: keys of an item match a sequence, and a sequence them alone"
        )
    inside: dict[Attribute, Key] = {}
    for name, each in value.items():
        found = _attribute(name, attribute.level)
        inside[found] = key_of(found, each)
    return inside


def _text(attribute: Attribute, value: Any) -> str:
    match value:
        case None:
            return ""
        case datetime() | date() | time():
            form = _FORMS.get(attribute.vr)
            if form is None or (isinstance(value, time) and attribute.vr != "TM"):
                raise QuestionError(f"{attribute.keyword} is not matched with a {type(value).__name__}")
            return value.strftime(form)
        case str():
            text = value.strip(" ")
        case int() | float() if not isinstance(value, bool):
            text = str(value)
        case _:
            raise QuestionError(f"{attribute.keyword} is not matched with a {type(value).__name__}")
    if _CONTROL.search(text):
        raise QuestionError(f"{attribute.keyword} is matched with a text without control characters")
    return text


def _range(attribute: Attribute, ends: tuple[Any, ...]) -> str:
    if attribute.vr not in _FORMS or len(ends) != 2:
        raise QuestionError(f"{attribute.keyword}: a range (low, high) is of dates and times")
    low, high = (_text(attribute, each) for each in ends)
    key = key_of(attribute, f"{low}-{high}") if low or high else ""
    assert isinstance(key, str)
    return key


def _date(attribute: Attribute, text: str) -> str:
    if "-" not in text:
        return date_text_of(attribute, text).replace(".", "")
    low, _, high = text.partition("-")
    ends = [
        date_text_of(attribute, each, is_bound=True).replace(".", "") if each else "" for each in (low, high)
    ]
    return f"{_first_day(ends[0])}-{_last_day(ends[1])}"


def _first_day(text: str) -> str:
    return text + "0101"[len(text) - _SHORTEST_DATE :] if text else ""


def _last_day(text: str) -> str:
    """The end of the year or month: dates of a question are whole on the wire (PS3.5 section 6.2)."""
    if not text or len(text) == _WHOLE_DATE:
        return text
    month = text[_SHORTEST_DATE:] or "12"
    if not 1 <= int(month) <= 12 or not int(text[:_SHORTEST_DATE]):
        raise QuestionError("a month of a range of dates is none")
    return (
        f"{text[:_SHORTEST_DATE]}{month}{calendar.monthrange(int(text[:_SHORTEST_DATE]), int(month))[1]:02}"
    )


type _Check = Callable[[Attribute, str], str]


def _checked(pattern: re.Pattern[str], what: str) -> _Check:
    def check(attribute: Attribute, text: str) -> str:
        if not pattern.fullmatch(text):
            raise QuestionError(f"{attribute.keyword} is matched with {what}")
        return text

    return check


def _as_it_is(_attribute: Attribute, text: str) -> str:
    return text


_CHECKS: Mapping[str, _Check] = {
    "DA": _date,
    "TM": _checked(_TIMES, "a time such as 0930, or a range 0800-1200"),
    "DT": _checked(_DATE_TIMES, "a moment such as 20260131093000, or a range of two"),
    "UI": _checked(_UIDS, "UIDs"),
}


def beyond_ascii(keys: Iterable[Key]) -> list[str]:
    """Texts of keys that are not of the default repertoire."""
    found: list[str] = []
    for each in keys:
        if isinstance(each, str):
            found += [each] * (not each.isascii())
        else:
            found += beyond_ascii(each.values())
    return found
