"""Experiments: a researcher's table, kept as it was written, and the series that its rows mean.

A row is joined to series by what it has of series, study, accession number, patient or subject of a clinical
trial; the date of the study, the time point of the trial and the like narrow it down. The join is made anew
with every opening, so that it follows the archive.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import Any

import sqlalchemy as sa

from catalog.database import Catalog
from catalog.errors import NotFoundError, SheetError
from catalog.models import (
    experiment_rows,
    experiments,
    header_keys,
    header_values,
    patients,
    series,
    studies,
)
from catalog.query import find_series
from catalog.records import SeriesRecord
from catalog.sheet import JOINS, NARROWING, Sheet, dates, nearest, text_of_cell, typed
from catalog.visits import Arranged, Claim, Said, arrange, label

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_AT_ONCE = 100
"""Values in one question."""
_BATCH = 5_000

_SUBJECT, _TIME_POINT, _TIME_POINT_WORDS = "00120040", "00120050", "00120051"
_SPECIES, _STRAIN = "00102202.00080104", "00100212"
_KEYS = (_SUBJECT, _TIME_POINT, _TIME_POINT_WORDS, _SPECIES, _STRAIN)


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    """An experiment as it was recorded."""

    name: str
    recorded: datetime
    sheet: Sheet
    meaning: Mapping[str, str]
    """One of `catalog.sheet.MEANINGS` to the column that has it."""


@dataclass(frozen=True, slots=True)
class Joined:
    """An experiment with its series as they are now."""

    arranged: Arranged
    series: Mapping[str, SeriesRecord]
    """Of its visits, by Series Instance UID."""


def record_experiment(
    catalog: Catalog, name: str, sheet: Sheet, meaning: Mapping[str, str], *, now: datetime
) -> ExperimentRecord:
    """Keep a table under a name, in the place of the one that had it; the same again changes nothing.

    Raises
    ------
    SheetError
        If the name is none, or the table has no rows.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SheetError(
            "the name of an experiment has 1 to 64 letters, digits, dots, hyphens and underscores, and "
            "begins with a letter or a digit: pig-liver"
        )
    if not sheet.rows:
        raise SheetError("the table has no rows below its heading")
    values = {
        "recorded": now, "columns": list(sheet.columns), "meaning": dict(meaning), "notes": list(sheet.notes)
    }  # fmt: skip
    with catalog.transaction() as connection:
        before = _read(connection, name)
        if before is not None and (before.sheet, before.meaning) == (sheet, meaning):
            return before
        number = connection.scalar(sa.select(experiments.c.id).where(experiments.c.name == name))
        if number is None:
            key = connection.execute(sa.insert(experiments).values(name=name, **values)).inserted_primary_key
            number = int(key[0]) if key else 0
        else:
            connection.execute(sa.update(experiments).where(experiments.c.id == number).values(**values))
            connection.execute(sa.delete(experiment_rows).where(experiment_rows.c.experiment == number))
        for some in batched(zip(sheet.numbers, sheet.rows, strict=True), _BATCH):
            connection.execute(
                sa.insert(experiment_rows),
                [{"experiment": number, "number": at, "cells": list(cells)} for at, cells in some],
            )
    return ExperimentRecord(name, now, sheet, dict(meaning))


def find_experiment(catalog: Catalog, name: str) -> ExperimentRecord:
    """Return an experiment by its name.

    Raises
    ------
    NotFoundError
        If there is none of that name; names those that there are.
    """
    with catalog.reading() as connection:
        found = _read(connection, name) if isinstance(name, str) and name.isprintable() else None
        if found is not None:
            return found
        known = list(connection.scalars(sa.select(experiments.c.name).order_by(experiments.c.name)))
    there = f"there is {', '.join(known[:20])}" if known else "there is none yet"
    raise NotFoundError(
        f"no experiment {str(name)[:64]!r}{nearest(str(name), known)}; {there}. "
        "`workbench experiment NAME --table FILE` records one"
    )


def list_experiments(catalog: Catalog) -> list[ExperimentRecord]:
    """Every experiment, by name."""
    with catalog.reading() as connection:
        names = list(connection.scalars(sa.select(experiments.c.name).order_by(experiments.c.name)))
        return [each for name in names if (each := _read(connection, name)) is not None]


def _read(connection: sa.Connection, name: str) -> ExperimentRecord | None:
    row = connection.execute(sa.select(experiments).where(experiments.c.name == name)).first()
    if row is None:
        return None
    of_it = (
        sa.select(experiment_rows.c.number, experiment_rows.c.cells)
        .where(experiment_rows.c.experiment == row.id)
        .order_by(experiment_rows.c.number)
    )
    rows = connection.execute(of_it).all()
    sheet = Sheet(
        tuple(row.columns), tuple(tuple(each.cells) for each in rows), tuple(each.number for each in rows),
        tuple(row.notes),
    )  # fmt: skip
    return ExperimentRecord(name, row.recorded, sheet, row.meaning)


# --- the join --------------------------------------------------------------------------------------------


def join(catalog: Catalog, record: ExperimentRecord) -> Joined:
    """Return the visits of an experiment with the series that are here now."""
    sheet, meaning = record.sheet, record.meaning
    columns = {name: typed([row[at] for row in sheet.rows]) for at, name in enumerate(sheet.columns)}
    wanted = _wanted(sheet, meaning)
    found = _found(catalog, wanted)
    headers = _headers(catalog, {uid for all_ in found.values() for uid in all_})
    known: dict[str, SeriesRecord] = {}
    claims = []
    for at, number in enumerate(sheet.numbers):
        values = {name: cells[at] for name, cells in columns.items()}
        named, words = wanted[number]
        fitting, reason = _fitting(named, found.get(number, {}), headers) if not words else ([], words)
        fitting = _at_time_point(fitting, values, meaning, headers)
        known |= {each.series_instance_uid: each for each in fitting}
        uids = tuple(each.series_instance_uid for each in fitting)
        claims.append(Claim(number, values, uids, reason))
    said = {uid: _said(each, headers.get(uid, {})) for uid, each in known.items()}
    arranged = arrange(claims, meaning, said)
    return Joined(arranged, {uid: known[uid] for uid in arranged.values})


type _Named = Mapping[str, str]
"""What a row says of the series it means, by attribute."""


def _wanted(sheet: Sheet, meaning: Mapping[str, str]) -> dict[int, tuple[_Named, str]]:
    """For each row what it names of series, or why that cannot be understood."""
    cells = {
        attribute: [row[sheet.columns.index(meaning[attribute])] for row in sheet.rows]
        for attribute in (*JOINS, *NARROWING)
        if attribute in meaning
    }
    texts = {name: [text_of_cell(cell) for cell in column] for name, column in cells.items()}
    if "study_date" in cells:
        texts["study_date"] = [
            read or (text and f"?{text}")
            for read, text in zip(dates(cells["study_date"]), texts["study_date"], strict=True)
        ]
    wanted: dict[int, tuple[_Named, str]] = {}
    for at, number in enumerate(sheet.numbers):
        named = {name: column[at] for name, column in texts.items() if column[at]}
        words = ""
        if not set(named) & set(JOINS):
            empty = " and ".join(repr(meaning[name]) for name in JOINS if name in meaning)
            words = f"its cells of {empty} are empty: nothing tells which series it is about"
        elif named.get("study_date", "").startswith("?"):
            words = (
                f"its {meaning['study_date']!r} is no date, or could be two; write it as 2026-01-31, or as "
                "31.1.2026"
            )
        wanted[number] = (named, words)
    return wanted


def _found(catalog: Catalog, wanted: Mapping[int, tuple[_Named, str]]) -> dict[int, dict[str, SeriesRecord]]:
    """Series that each row means by the narrowest of what it names."""
    rows: dict[str, dict[str, list[int]]] = {}
    for number, (named, words) in wanted.items():
        narrowest = next((name for name in JOINS if name in named), None)
        if narrowest is not None and not words:
            rows.setdefault(narrowest, {}).setdefault(named[narrowest], []).append(number)
    found: dict[int, dict[str, SeriesRecord]] = {}
    for attribute, by_value in rows.items():
        for some in batched(sorted(by_value), _AT_ONCE):
            for value, record in _ask(catalog, attribute, some):
                for number in by_value.get(value, ()):
                    found.setdefault(number, {})[record.series_instance_uid] = record
    return found


def _ask(catalog: Catalog, attribute: str, values: Sequence[str]) -> Iterable[tuple[str, SeriesRecord]]:
    if attribute == "clinical_trial_subject_id":
        quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
        records = find_series(catalog, where=f"ClinicalTrialSubjectID in ({quoted})")
        headers = _headers(catalog, {each.series_instance_uid for each in records})
        for each in records:
            for text in headers[each.series_instance_uid].get(_SUBJECT, ()):
                yield text, each
        return
    plain = [value for value in values if not re.search(r"[*?\\]", value) and len(value) <= _LONGEST]
    matching: dict[str, Any] = {attribute: plain}
    for each in find_series(catalog, **matching) if plain else ():
        yield str(getattr(each, attribute)), each


_LONGEST = 64
"""Characters of UID, LO and SH (PS3.5 section 6.2)."""


def _fitting(
    named: _Named, found: Mapping[str, SeriesRecord], headers: Mapping[str, Mapping[str, Sequence[str]]]
) -> tuple[list[SeriesRecord], str]:
    """Those of the found series that are as the row says in everything, or what they fail by."""
    left, by = list(found.values()), next(name for name in JOINS if name in named)
    if not left:
        return [], f"no series here has its {by}"
    for name, text in named.items():
        fitting = [
            each
            for each in left
            if label(text) in _labels_of(each, name, headers.get(each.series_instance_uid, {}))
        ]
        if not fitting:
            return [], f"of {len(left):,} series with its {by} none has its {name}"
        left = fitting
    return left, ""


def _labels_of(record: SeriesRecord, name: str, header: Mapping[str, Sequence[str]]) -> set[object]:
    of_header = {
        "clinical_trial_subject_id": (_SUBJECT,),
        "clinical_trial_time_point_id": (_TIME_POINT, _TIME_POINT_WORDS),
    }
    if name in of_header:
        return {label(text) for key in of_header[name] for text in header.get(key, ())}
    return {label(getattr(record, name))}


def _at_time_point(
    found: list[SeriesRecord],
    values: Mapping[str, object],
    meaning: Mapping[str, str],
    headers: Mapping[str, Mapping[str, Sequence[str]]],
) -> list[SeriesRecord]:
    """Those of the row's time point, where headers of a trial tell it and the table narrows no further."""
    narrow = {"series_instance_uid", "study_instance_uid", "accession_number", "study_date"}
    if "time_point" not in meaning or narrow & set(meaning):
        return found
    wanted = label(values[meaning["time_point"]])  # type: ignore[arg-type]  # a cell
    at = [
        each
        for each in found
        if wanted
        in _labels_of(each, "clinical_trial_time_point_id", headers.get(each.series_instance_uid, {}))
    ]
    return at or found


def _said(record: SeriesRecord, header: Mapping[str, Sequence[str]]) -> Said:
    def first(*keys: str) -> str:
        return next((header[key][0] for key in keys if header.get(key)), "")

    return Said(
        record.patient_id, first("species", _SPECIES), first(_STRAIN, "breed"),
        tuple(header.get(_TIME_POINT, ())) + tuple(header.get(_TIME_POINT_WORDS, ())),
    )  # fmt: skip


def _headers(catalog: Catalog, uids: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """What headers of series say of subject, trial, species and strain, by key."""
    found: dict[str, dict[str, list[str]]] = {uid: {} for uid in uids}
    of_patient = (
        sa.select(
            series.c.series_instance_uid,
            patients.c.patient_species_description.label("species"),
            patients.c.patient_breed_description.label("breed"),
        )
        .join(studies, series.c.study == studies.c.id)
        .join(patients, studies.c.patient == patients.c.id)
    )
    of_header = (
        sa.select(series.c.series_instance_uid, header_keys.c.key, header_values.c.text)
        .join(header_values, header_values.c.series == series.c.id)
        .join(header_keys, header_keys.c.id == header_values.c.key)
        .where(header_keys.c.key.in_(_KEYS), header_values.c.text.is_not(None))
        .order_by(header_values.c.place)
    )
    with catalog.reading() as connection:
        for some in batched(sorted(found), _AT_ONCE * 5):
            mine = series.c.series_instance_uid.in_(some)
            for uid, species, breed in connection.execute(of_patient.where(mine)):
                found[uid] |= {"species": [species or ""], "breed": [breed or ""]}
            for uid, key, text in connection.execute(of_header.where(mine)):
                found[uid].setdefault(key, []).append(text)
    return {uid: {key: texts for key, texts in each.items() if any(texts)} for uid, each in found.items()}
