"""What a harvest asks for, an item a row of a table or a day of a question; how one is made narrower.

No I/O.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Self

from catalog.errors import QuestionError, SheetError
from catalog.identifiers import digest, is_uid
from catalog.sheet import Sheet, dates, meanings, text_of_cell

UNIQUE = ("series_instance_uid", "study_instance_uid", "accession_number")
"""Attributes one of which a row must have, the narrowest first ..."""
NARROWING = ("patient_id", "study_date", "modality")
"""... and those that only narrow what it finds."""
MOST_DAYS = 40_000
SECONDS_OF_A_DAY = 24 * 60 * 60
SHORTEST_SECONDS = 60
"""The narrowest part of a day that a node is asked for."""

_DATES = re.compile(r"(\d{8})(?:(-)(\d{8})?)?")
_TIMES = re.compile(r"(\d\d)(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)\.999999")
_WILD = re.compile(r"[*?\\]")


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a harvest."""

    matching: Mapping[str, str]
    """Columns of attributes to what they shall match."""
    label: str
    """What a person knows it by: the accession number of the row, or the day."""
    row: int | None = None
    """Of the table, as a program for tables counts."""

    @property
    def key(self) -> str:
        """What it is known by in the journal: the same question is the same item, in whichever table."""
        return digest(repr(sorted(self.matching.items())).encode())[:32]

    @property
    def place(self) -> str:
        """Where it stands, without anything of a patient."""
        return f"row {self.row}" if self.row is not None else self.label


@dataclass(frozen=True, slots=True)
class Plan:
    """All questions of a harvest, and how they are put."""

    node: str
    items: tuple[Item, ...]
    refused: tuple[tuple[int, str], ...] = ()
    """Rows that cannot be asked for, with the reason."""
    hours: str = ""
    """Hours of the day in which the node is asked; any where it is empty."""
    rate: float | None = None
    """Megabytes a second, on average."""
    ingest: bool = False
    """Whether the pixel data are written into Zarr, too."""
    answers: int | None = None
    """How many studies or series the node answers at most, where it ends there without a word."""

    def as_json(self) -> dict[str, Any]:
        """The plan as it stands in the journal."""
        items = [[dict(each.matching), each.label, each.row] for each in self.items]
        return {
            "node": self.node, "items": items, "refused": [list(each) for each in self.refused],
            "hours": self.hours, "rate": self.rate, "ingest": self.ingest,
            "answers": self.answers,
        }  # fmt: skip

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Self:
        """The plan that was written by `as_json`."""
        return cls(
            found["node"],
            tuple(Item(matching, label, row) for matching, label, row in found["items"]),
            tuple((row, reason) for row, reason in found["refused"]),
            found["hours"],
            found["rate"],
            found["ingest"],
            found["answers"],
        )


# --- by a table ------------------------------------------------------------------------------------------


def items_of_sheet(
    sheet: Sheet, match: Mapping[str, str] | None = None
) -> tuple[tuple[Item, ...], tuple[tuple[int, str], ...]]:
    """Return an item for each row of a table, each question once; and the rows that cannot be asked for.

    A row has an accession number, or a UID of a study or series; Patient ID, study date and modality only
    narrow what it finds.

    Parameters
    ----------
    match
        Column to meaning, where the names of columns do not say it, as `catalog.sheet.meanings` takes it.

    Raises
    ------
    SheetError
        If no column has any of them.
    """
    meaning = meanings(sheet.columns, match)
    unique = next((each for each in UNIQUE if each in meaning), None)
    if unique is None:
        raise SheetError(
            "no column says which studies are wanted: name one accession_number, study_instance_uid or "
            "series_instance_uid, or say which it is: match={'column': 'accession_number'}"
        )
    asked = [each for each in (*UNIQUE, *NARROWING) if each in meaning]
    columns = {each: [row[sheet.columns.index(meaning[each])] for row in sheet.rows] for each in asked}
    texts = {each: [text_of_cell(cell) for cell in cells] for each, cells in columns.items()}
    if "study_date" in texts:
        days = dates(columns["study_date"])
        texts["study_date"] = [day or text for day, text in zip(days, texts["study_date"], strict=True)]
    items: dict[str, Item] = {}
    refused = []
    for at, number in enumerate(sheet.numbers):
        said = {name: values[at] for name, values in texts.items() if values[at]}
        if reason := _fault(said, unique):
            refused.append((number, reason))
            continue
        item = Item(said, said[unique], number)
        items.setdefault(item.key, item)
    return tuple(items.values()), tuple(refused)


def _fault(said: Mapping[str, str], unique: str) -> str:
    """Why a row cannot be asked for; a wildcard would ask for what nobody named."""
    if unique not in said:
        return f"it has no {unique}"
    for name, value in said.items():
        if _WILD.search(value):
            return f"its {name} has a wildcard or a backslash"
        if name.endswith("_uid") and not is_uid(value):
            return f"its {name} is no UID"
        if name == "study_date" and _day(value) is None:
            return "its study_date is no date"
    return ""


# --- by a question ---------------------------------------------------------------------------------------


def items_of_question(matching: Mapping[str, str], today: date) -> tuple[Item, ...]:
    """Return an item for each day of the study dates of a question.

    Parameters
    ----------
    matching
        Columns of attributes to what they shall match; `study_date` is a day or a range of them. One that
        does not end, ends today.

    Raises
    ------
    QuestionError
        If there is no range of dates, or it has no beginning.
    """
    said = _DATES.fullmatch(matching.get("study_date", ""))
    first = _day(said[1]) if said else None
    last = None if said is None else first if said[2] is None else today if said[3] is None else _day(said[3])
    if first is None or last is None or last < first or (last - first).days >= MOST_DAYS:
        raise QuestionError(
            "a harvest is a table, or a question with the days of its studies: StudyDate=20260101-20260131"
        )
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return tuple(Item({**matching, "study_date": f"{day:%Y%m%d}"}, f"{day:%Y%m%d}") for day in days)


def is_over(item: Item, asked_on: date) -> bool:
    """Whether a day was over when it was asked for; whatever else an item is about, it was."""
    day = _day(item.matching.get("study_date", "")) if item.row is None else None
    return day is None or asked_on > day


def parts_of(matching: Mapping[str, str]) -> tuple[dict[str, str], ...]:
    """Return a question about a day as two, each of one half of its time; none where it cannot be narrower.

    Studies without a time (0008,0030) are in neither: a node matches what is not there with no range
    (PS3.4 C.2.2.2.5).
    """
    if _day(matching.get("study_date", "")) is None:
        return ()
    first, last = 0, SECONDS_OF_A_DAY
    if "study_time" in matching:
        found = _TIMES.fullmatch(matching["study_time"])
        if found is None:
            return ()
        first = _second(*found.groups()[:3])
        last = _second(*found.groups()[3:]) + 1
    if last - first < 2 * SHORTEST_SECONDS:
        return ()
    middle = (first + last) // 2
    return tuple(
        {**matching, "study_time": f"{_time(begin)}-{_time(end - 1)}.999999"}
        for begin, end in ((first, middle), (middle, last))
    )


def _second(hours: str, minutes: str, seconds: str) -> int:
    return (int(hours) * 60 + int(minutes)) * 60 + int(seconds)


def _time(second: int) -> str:
    return f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) if re.fullmatch(r"\d{8}", text) else None
    except ValueError:
        return None
