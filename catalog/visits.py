"""The visits of an experiment: every subject at every time point, with the series that a table's rows claim.

A row says of which subject, time point and arm its series are. What is expected is every subject of the table
at every time point of it. A series that rows of two visits claim is in neither, as it would be counted twice.
No I/O.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from catalog.sheet import Cell, text_of_cell

type Values = Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of the table, and what it found."""

    number: int
    """As a program for tables counts: the heading is row 1."""
    values: Values
    """By column, numbers as numbers."""
    series: tuple[str, ...] = ()
    """Series Instance UIDs."""
    reason: str = ""
    """Why it found none."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the header of a series says of its subject and time point; empty where it says nothing."""

    patient_id: str = ""
    species: str = ""
    """(0010,2201) Patient Species Description, or the meaning of its code (0010,2202)."""
    strain: str = ""
    """(0010,0212) Strain Description, or (0010,2292) Patient Breed Description."""
    time_points: tuple[str, ...] = ()
    """(0012,0050) Clinical Trial Time Point ID and (0012,0051) its description."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One subject at one time point."""

    subject: Cell
    time_point: Cell
    arm: Cell = None
    values: Values = field(default_factory=dict)
    """Columns in which all of its rows agree; species and strain of the headers where the table has none."""
    series: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    reason: str = ""
    """Why it is missing; empty where it has a series."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What of a table could not be taken as it stands."""

    row: int | None
    words: str


@dataclass(frozen=True, slots=True)
class Arranged:
    """An experiment, joined."""

    subjects: tuple[Cell, ...]
    time_points: tuple[Cell, ...]
    """One of them is `None` where the table has no time points."""
    visits: tuple[Visit, ...]
    """Every subject at every time point."""
    values: Mapping[str, Values]
    """Of each series of a visit, by its UID: the row that claims it."""
    problems: tuple[Problem, ...] = ()

    @property
    def missing(self) -> tuple[Visit, ...]:
        """Visits without a series."""
        return tuple(each for each in self.visits if not each.series)


def arrange(claims: Sequence[Claim], meaning: Mapping[str, str], said: Mapping[str, Said]) -> Arranged:
    """Return the visits of a table.

    Parameters
    ----------
    claims
        Its rows, with the series that each found.
    meaning
        Meaning to column, as `catalog.sheet.meanings` has it.
    said
        What the headers of all series that were found say.
    """
    problems: list[Problem] = []
    rows = [_prefilled(each, meaning, said) for each in _each_once(claims, problems)]
    placed = [(each, place) for each in rows if (place := _place(each, meaning, said, problems)) is not None]
    subjects, time_points = _labels(place[0] for _, place in placed), _labels(place[1] for _, place in placed)
    by_visit: dict[tuple[Hashable, Hashable], list[Claim]] = {}
    for each, (subject, time_point) in placed:
        by_visit.setdefault((label(subject), label(time_point)), []).append(each)
    contested = _contested(by_visit, problems)
    arms = {key: _one(_of(each, meaning, "arm") for each in group) for key, group in by_visit.items()}
    visits = []
    for subject in subjects:
        of_subject = [arms[key] for key in by_visit if key[0] == label(subject)]
        for time_point in time_points:
            key = (label(subject), label(time_point))
            visits.append(_visit(subject, time_point, by_visit.get(key, ()), contested))
            arm = arms[key] if key in arms else _one(of_subject)
            visits[-1] = replace(visits[-1], arm=arm)
    values: dict[str, Values] = {}
    for each in rows:
        for uid in each.series:
            if uid not in contested:
                values.setdefault(uid, each.values)
    problems += [Problem(each.number, each.reason) for each in rows if not each.series]
    problems.sort(key=lambda each: (each.row is None, each.row or 0))
    return Arranged(subjects, time_points, tuple(visits), values, tuple(problems))


def label(cell: Cell) -> Hashable:
    """Return what tells subjects and time points apart: 7, 7.0 and `7` are one, and so are `A` and `a`."""
    return " ".join(text_of_cell(cell).casefold().split())


def _each_once(claims: Iterable[Claim], problems: list[Problem]) -> list[Claim]:
    seen: dict[tuple[Cell, ...], int] = {}
    kept = []
    for each in claims:
        first = seen.setdefault(tuple(each.values.values()), each.number)
        if first == each.number:
            kept.append(each)
        else:
            problems.append(Problem(each.number, f"repeats row {first}; it is counted once"))
    return kept


def _prefilled(claim: Claim, meaning: Mapping[str, str], said: Mapping[str, Said]) -> Claim:
    """With species and strain of the headers, where the table says nothing."""
    filled = dict(claim.values)
    for role, name in (("species", "patient_species_description"), ("strain", "strain_description")):
        column = meaning.get(role, name)
        if filled.get(column) is None:
            found = {getattr(said[uid], role) for uid in claim.series if uid in said} - {""}
            if len(found) == 1:
                filled[column] = found.pop()
    return replace(claim, values=filled)


def _place(
    claim: Claim, meaning: Mapping[str, str], said: Mapping[str, Said], problems: list[Problem]
) -> tuple[Cell, Cell] | None:
    """Subject and time point of a row; `None` where it names none."""
    subject = _of(claim, meaning, "subject")
    if "subject" not in meaning:  # then it is the patient of the series
        subject = _one(said[uid].patient_id or None for uid in claim.series if uid in said)
    time_point = _of(claim, meaning, "time_point")
    for role, cell in (("subject", subject), ("time_point", time_point)):
        if cell is None and (role == "subject" or role in meaning):
            words = f"its cell of {meaning[role]!r} is empty" if role in meaning else "no subject is known"
            if claim.series or role in meaning:
                problems.append(Problem(claim.number, f"{words}: it is in no visit"))
            return None
    return subject, time_point


def _of(claim: Claim, meaning: Mapping[str, str], role: str) -> Cell:
    return claim.values.get(meaning[role]) if role in meaning else None


def _one(cells: Iterable[Cell]) -> Cell:
    """What all say, where they agree."""
    there = {label(cell): cell for cell in cells if cell is not None}
    return next(iter(there.values())) if len(there) == 1 else None


def _labels(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Each once: numbers by size, anything else in the order of the table."""
    there: dict[Hashable, Cell] = {}
    for cell in cells:
        there.setdefault(label(cell), cell)
    numbers = [cell for cell in there.values() if isinstance(cell, int | float)]
    return tuple(sorted(numbers)) if len(numbers) == len(there) else tuple(there.values())


def _contested(
    by_visit: Mapping[tuple[Hashable, Hashable], Sequence[Claim]], problems: list[Problem]
) -> dict[str, tuple[int, ...]]:
    """Series that rows of several visits claim, with those rows; rows of one visit may share a series."""
    claimed: dict[str, dict[tuple[Hashable, Hashable], list[int]]] = {}
    for key, group in by_visit.items():
        for each in group:
            for uid in each.series:
                claimed.setdefault(uid, {}).setdefault(key, []).append(each.number)
    contested = {}
    for uid, visits in claimed.items():
        rows = sorted(number for numbers in visits.values() for number in numbers)
        if len(visits) > 1:
            contested[uid] = tuple(rows)
            words = f"series {uid} is claimed by {_rows(rows)}, of different visits; it is in none of them"
            problems.append(Problem(rows[0], words))
        elif len(rows) > 1:
            words = (
                f"series {uid} is claimed by {_rows(rows)} of one visit; the values of row {rows[0]} count"
            )
            problems.append(Problem(rows[0], words))
    return contested


def _rows(numbers: Sequence[int]) -> str:
    shown = [str(each) for each in numbers[:6]] + (["…"] if len(numbers) > 6 else [])
    return f"rows {', '.join(shown[:-1])} and {shown[-1]}"


def _visit(
    subject: Cell, time_point: Cell, group: Sequence[Claim], contested: Mapping[str, tuple[int, ...]]
) -> Visit:
    found = dict.fromkeys(uid for each in group for uid in each.series)
    series = tuple(uid for uid in found if uid not in contested)
    reason = ""
    if not group:
        reason = "the table has no row of it"
    elif not found:
        reason = next(each.reason for each in group)
    elif not series:
        others = sorted(
            {number for uid in found for number in contested[uid]} - {each.number for each in group}
        )
        reason = (
            f"its series are claimed by row {others[0]}, too; tell them apart by study_date, "
            "study_instance_uid or accession_number"
        )
    names = dict.fromkeys(name for each in group for name in each.values)
    values = {name: _one_or_none([each.values.get(name) for each in group]) for name in names}
    return Visit(subject, time_point, None, values, series, tuple(each.number for each in group), reason)


def _one_or_none(cells: Sequence[Cell]) -> Cell:
    return cells[0] if all(cell == cells[0] for cell in cells) else None
