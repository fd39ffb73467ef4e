"""A researcher's own table: its cells as they were written, what its columns mean, numbers and dates in them.

A comma, semicolon or tab between cells, a decimal comma, a byte order mark and empty lines are what programs
for tables write; none of them is an error. No I/O.
"""

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches

from catalog.errors import SheetError

type Cell = str | int | float | bool | None
"""What stands in a cell; `None` where it is empty."""

MOST_ROWS = 200_000
MOST_COLUMNS = 500
LONGEST_CELL = 10_000
"""Characters."""
MOST_BYTES = 256 << 20
"""Of a file."""

JOINS = (
    "series_instance_uid",
    "study_instance_uid",
    "accession_number",
    "clinical_trial_subject_id",
    "patient_id",
)
"""Attributes by which series are found, the narrowest first ..."""
NARROWING = (
    "study_date", "clinical_trial_time_point_id", "modality", "series_number", "series_description",
    "protocol_name", "body_part_examined", "laterality", "study_description",
)  # fmt: skip
"""... and those that only narrow what was found."""
ROLES = ("subject", "time_point", "arm", "intervention", "species", "strain")
"""What else a column may mean."""
MEANINGS = (*ROLES, *JOINS, *NARROWING)

_SAME = {
    "subject": "subject subjectid animal animalid animalnumber patient proband participant mouse rat pig "
    "sheep tier tiernr tiernummer versuchstier clinicaltrialsubjectid",
    "time_point": "timepoint timepointid visit session zeitpunkt visite clinicaltrialtimepointid "
    "longitudinaltemporaloffsetfromevent",
    "arm": "arm group studyarm treatmentgroup gruppe",
    "intervention": "intervention treatment procedure eingriff behandlung",
    "species": "species patientspeciesdescription tierart spezies",
    "strain": "strain straindescription breed patientbreeddescription stamm rasse",
    "series_instance_uid": "seriesinstanceuid seriesuid",
    "study_instance_uid": "studyinstanceuid studyuid",
    "accession_number": "accessionnumber accession",
    "clinical_trial_subject_id": "clinicaltrialsubjectid",
    "patient_id": "patientid pid",
    "study_date": "studydate untersuchungsdatum",
}  # fmt: skip
_BY_NAME: dict[str, list[str]] = {}
for _meaning, _names in _SAME.items():
    for _name in _names.split():
        _BY_NAME.setdefault(_name, []).append(_meaning)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table as it was written: every column, every row that is not empty."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: tuple[int, ...]
    """Of the rows, as a program for tables counts them: the heading is row 1."""
    notes: tuple[str, ...] = ()
    """What was read otherwise than it stands there."""

    def __post_init__(self) -> None:
        if not self.columns:
            raise SheetError("the table is empty; its first row has the names of the columns")
        if len(self.columns) > MOST_COLUMNS or len(self.rows) > MOST_ROWS:
            raise SheetError(
                f"the table has {len(self.columns):,} columns and {len(self.rows):,} rows; one of an "
                f"experiment has at most {MOST_COLUMNS:,} and {MOST_ROWS:,}"
            )
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise SheetError(f"the table has two columns {twice[0][:64]!r}; give one of them another name")
        for number, row in zip(self.numbers, self.rows, strict=True):
            for name, cell in zip(self.columns, row, strict=True):
                if isinstance(cell, str) and (len(cell) > LONGEST_CELL or _UNSTORABLE.search(cell)):
                    raise SheetError(
                        f"row {number} has in column {name[:64]!r} what is no text of a table: characters "
                        f"that no text has, or more than {LONGEST_CELL:,}"
                    )


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


# --- the text of a file ----------------------------------------------------------------------------------

_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_DELIMITERS = ";\t,|"
_END = "\ue000"
"""A line after the last, which is a row of its own where no quote is open."""
_SAID = re.compile(r'\s*"?sep=(.)"?\s*')


def parse_csv(content: bytes) -> Sheet:
    """Return the table of a file of separated values, whichever separator, encoding and line ends it has.

    Raises
    ------
    SheetError
        If it is no table; names the row.
    """
    text, notes = _decoded(content)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return Sheet((), (), ())
    said = _SAID.fullmatch(lines[first])
    if said:
        lines[first] = ""
        first = next((number for number, line in enumerate(lines) if line.strip()), first)
    delimiter = said[1] if said else _delimiter(lines[first:])
    records = list(_records([*lines, _END], delimiter))
    last, row = records.pop()
    if row != [_END]:
        raise SheetError(
            f"a quote in row {last} is never closed, all rows after it are in its cell; close it"
        )
    (_, header), *rest = records
    width = max((at + 1 for _, row in records for at, cell in enumerate(row) if cell.strip()), default=0)
    columns = tuple(
        (header[at].strip() if at < len(header) else "") or f"column {at + 1}" for at in range(width)
    )
    rows = tuple(tuple(_cell(row[at] if at < len(row) else "") for at in range(width)) for _, row in rest)
    return Sheet(columns, rows, tuple(number for number, _ in rest), notes)


def _decoded(content: bytes) -> tuple[str, tuple[str, ...]]:
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding), ()
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise SheetError("the table is no text; save it as CSV in UTF-8") from None
        text = content.decode("cp1252", errors="replace")
        return text, ("the file is not in UTF-8; it was read as Windows-1252, as Excel writes it",)


def _delimiter(lines: Sequence[str]) -> str:
    """The character that cuts the heading and the rows after it into the most, and as many, cells."""

    def likeness(delimiter: str) -> tuple[int, int]:
        some = [row for _, row in _records([*lines[:50], ""], delimiter)]
        alike = sum(len(row) == len(some[0]) for row in some)
        return (alike if len(some[0]) > 1 else 0, len(some[0]))

    return max(_DELIMITERS, key=likeness)


def _records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with their numbers."""
    csv.field_size_limit(MOST_BYTES)
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=False)
    try:
        for number, row in enumerate(reader, start=1):
            if any(cell.strip() for cell in row):
                yield number, row
    except csv.Error as error:
        raise SheetError(f"the table cannot be read as CSV: {error}") from None


def _cell(text: str) -> Cell:
    return text.strip() or None


# --- numbers and dates -----------------------------------------------------------------------------------

_WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,14})")
_POINT = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,3})?")
_COMMA = re.compile(r"[+-]?(0|[1-9]\d{0,2}(\.\d{3})+|[1-9]\d*)(,\d+)?([eE][+-]?\d{1,3})?")


def typed(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells of one column as numbers, where all that are not empty are; `1,5` is 1.5.

    Numbers with leading zeros are names, and stay texts.
    """
    texts = [cell for cell in cells if isinstance(cell, str)]
    if len(texts) < sum(cell is not None for cell in cells) or not texts:
        return list(cells)
    if all(_WHOLE.fullmatch(text) for text in texts):
        return [None if cell is None else int(str(cell)) for cell in cells]
    if all(_POINT.fullmatch(text) for text in texts):
        return [None if cell is None else _finite(str(cell)) for cell in cells]
    if all(_COMMA.fullmatch(text) for text in texts):
        plain = (None if cell is None else str(cell).replace(".", "").replace(",", ".") for cell in cells)
        return [None if text is None else _finite(text) for text in plain]
    return list(cells)


def _finite(text: str) -> Cell:
    number = float(text)
    return number if math.isfinite(number) else text


def text_of_cell(cell: Cell) -> str:
    """Return what an attribute would say: `7`, also of 7.0; empty where there is nothing."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell == int(cell):
        return str(int(cell))
    return str(cell).strip()


_ISO = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ].*)?")
_GERMAN = re.compile(r"(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4}|\d\d)(?:\s.*)?")
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?:\s.*)?")


def dates(cells: Iterable[Cell]) -> list[str | None]:
    """Return dates as DICOM has them (PS3.5 section 6.2), of one column; `None` for what is none.

    `2026-01-31`, `20260131`, `31.1.2026`. With slashes, day and month are told apart where one date of the
    column can only be read in one way; else none of them is a date.
    """
    texts = [text_of_cell(cell) for cell in cells]
    slashed = [tuple(map(int, found.groups())) for text in texts if (found := _SLASHED.fullmatch(text))]
    day_first = any(first > 12 for first, _, _ in slashed)
    month_first = any(second > 12 for _, second, _ in slashed)
    slashes_order = None if day_first == month_first else "day" if day_first else "month"
    return [_date(text, slashes_order) for text in texts]


def _date(text: str, order: str | None) -> str | None:
    if found := _ISO.fullmatch(text):
        year, month, day = map(int, found.groups())
    elif found := _GERMAN.fullmatch(text):
        day, month, year = map(int, found.groups())
        year += 2000 if year < 70 else 1900 if year < 100 else 0
    elif order and (found := _SLASHED.fullmatch(text)):
        first, second, year = map(int, found.groups())
        day, month = (first, second) if order == "day" else (second, first)
    else:
        return None
    try:
        return date(year, month, day).strftime("%Y%m%d")
    except ValueError:
        return None


# --- what columns mean -----------------------------------------------------------------------------------


def meanings(columns: Sequence[str], match: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the column of each meaning: those of well-known names, and those that are said.

    Parameters
    ----------
    match
        Column to meaning, one of `MEANINGS`: `{"Tier-Nr": "subject", "Aufnahme": "accession_number"}`.

    Raises
    ------
    SheetError
        If a column is not there, two have one meaning, or none tells which series a row is about; names the
        nearest.
    """
    found = _said(columns, match or {})
    said = frozenset(found)
    for column in columns:
        for meaning in _BY_NAME.get(normalised(column), ()):
            if meaning in said:
                continue
            if meaning in found and meaning not in ("subject", "time_point", "strain"):
                raise SheetError(
                    f"columns {found[meaning][:64]!r} and {column[:64]!r} could both be {meaning}; say "
                    f"which: match={{{column[:64]!r}: {meaning!r}}}"
                )
            found.setdefault(meaning, column)
    if not set(found) & set(JOINS):
        raise SheetError(
            f"no column tells which series a row is about; the table has {', '.join(columns)[:300]}"
            f"{_misspelled(columns)}. Name one series_instance_uid, study_instance_uid, accession_number or "
            "patient_id, or say which it is: match={'column': 'patient_id'}"
        )
    if "patient_id" in found:
        found.setdefault("subject", found["patient_id"])
    return found


def _said(columns: Sequence[str], match: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(match, Mapping):
        raise SheetError(
            f"match says what columns mean, match={{'Tier-Nr': 'subject'}}; it is no {type(match).__name__}"
        )
    found: dict[str, str] = {}
    for column, meaning in match.items():
        if column not in columns:
            raise SheetError(f"the table has no column {str(column)[:64]!r}{nearest(str(column), columns)}")
        meant = meaning_named(meaning)
        if meant in found:
            raise SheetError(f"columns {found[meant][:64]!r} and {column[:64]!r} cannot both be {meant}")
        found[meant] = column
    return found


def meaning_named(name: object) -> str:
    """Return one of `MEANINGS`, by its name or keyword.

    Raises
    ------
    SheetError
        If there is none of that name; names the nearest.
    """
    for meaning in MEANINGS:
        if normalised(str(name)) == normalised(meaning):
            return meaning
    raise SheetError(
        f"a column cannot mean {str(name)[:64]!r}{nearest(str(name), MEANINGS)}; it means one of "
        f"{', '.join(MEANINGS)}"
    )


def unused(columns: Sequence[str], found: Mapping[str, str]) -> list[str]:
    """Say of columns without a meaning which may be misspelled ones."""
    known = list(dict.fromkeys(_BY_NAME))
    said = []
    for column in set(columns) - set(found.values()):
        alike = get_close_matches(normalised(column), known, n=1, cutoff=0.85)
        meant = [each for name in alike for each in _BY_NAME[name] if each not in found]
        if meant:
            said.append(f"column {column[:64]!r} has no meaning; was {meant[0]} meant?")
    return sorted(said)


def _misspelled(columns: Sequence[str]) -> str:
    names = {name: meaning for name, all_ in _BY_NAME.items() for meaning in all_ if meaning in JOINS}
    for column in columns:
        if alike := get_close_matches(normalised(column), list(names), n=1, cutoff=0.75):
            return f" (is {column[:64]!r} {names[alike[0]]}?)"
    return ""


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which name may have been meant; empty where none is near."""
    there = {normalised(each): each for each in names}
    alike = get_close_matches(normalised(name), list(there), n=1, cutoff=0.6)
    return f"; did you mean {there[alike[0]]!r}?" if alike else ""


def normalised(name: str) -> str:
    """A name without regard to case, blanks and punctuation: `Patient ID` is `patient_id`."""
    return "".join(each for each in name.casefold() if each.isalnum())
