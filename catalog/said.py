"""What files say of their patient, study and series, where it is other than what stands in those rows.

A row has one value of a column, and a file may say another one, or none. What it says is kept like what it
says beside the columns (`catalog.contents`), under a key of its own kind, `@` and the tag: of a series as its
first header says it, of an instance as it differs. Where there is no such key, a file says what the row says,
so that a series of which all files agree costs nothing.

That holds as long as a row stays the same. Whoever changes one lets the series below it keep what they said
first (`keep`); and what no file says any more leaves its row (`settle`). The UIDs of study and series are
told by their rows alone, as they are what a file was filed under.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from catalog.among import among
from catalog.attributes import BY_COLUMN, Attribute, Kind, Level
from catalog.key_rows import rows_of_keys
from catalog.models import (
    files,
    header_keys,
    header_values,
    header_varying,
    instance_headers,
    instances,
    patients,
    remotes,
    series,
    studies,
    study_origins,
    upserting,
)
from catalog.places import State
from catalog.records import LONGEST_TEXT, Scalar, Value, Values
from catalog.saying import VARYING, corrected_by_log, key_of_column, said_by_file

_TABLES = {Level.PATIENT: patients, Level.STUDY: studies, Level.SERIES: series}
_ABOVE = series.join(studies, studies.c.id == series.c.study).join(
    patients, patients.c.id == studies.c.patient
)
_FILED_UNDER = frozenset({"patient_id", "issuer_of_patient_id", "patient_name"})
"""What tells patients apart: their row has it as long as it is there."""

type Said = dict[str, Scalar | None]
"""Column to what is said under it; `None` is nothing."""


def said_in(values: Mapping[str, Value]) -> Said:
    """Return what the values of a header, or of rows, say of patient, study and series."""
    return {name: _scalar(values.get(name)) for name in VARYING}


def _scalar(value: Value) -> Scalar | None:
    if isinstance(value, str):
        return value[:LONGEST_TEXT] or None
    return value


def rows_say(connection: sa.Connection, of_series: Iterable[int]) -> dict[int, Said]:
    """Return what stands in the rows of series, and in those of their studies and patients."""
    columns = [_TABLES[each.level].c[name] for name, each in VARYING.items()]
    found = connection.execute(
        sa.select(series.c.id, *columns).select_from(_ABOVE).where(among(series.c.id, of_series))
    ).mappings()
    return {row["id"]: said_in({name: row[name] for name in VARYING}) for row in found}


def differing(said: Said, as_said: Mapping[str, Scalar | None]) -> dict[str, Values | None]:
    """Return under their keys what is said otherwise than elsewhere; `None` is under those of nothing."""
    return {
        key_of_column(name): None if value is None else (value,)
        for name, value in said.items()
        if value != as_said[name]
    }


def keep(
    connection: sa.Connection, of_series: sa.Select[Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Let series say what their rows said, where they relied on it, as those say something else from now on.

    Parameters
    ----------
    connection
        In the transaction that changes the rows.
    of_series
        Rows of `series` below the row that changes.
    before, now
        Its columns; the others of `before` are not looked at.
    """
    changed = {
        key_of_column(name): _scalar(before[name])
        for name in VARYING
        if name in now and name in before and _scalar(before[name]) != _scalar(now[name])
    }
    if not changed:
        return
    ids = rows_of_keys(connection, changed)
    has_header = (
        sa.select(sa.literal(1))
        .select_from(instances.join(instance_headers, instance_headers.c.instance == instances.c.id))
        .where(instances.c.series == series.c.id)
        .correlate(series)
        .exists()
    )
    # none of another series may come between, nor go: their rows are held by who changes the one above
    rows = list(connection.scalars(sa.select(series.c.id).where(series.c.id.in_(of_series), has_header)))
    kept = [mark(row, ids[key], value) for row in rows for key, value in changed.items()]
    if kept:
        connection.execute(upserting(connection.dialect, header_values).on_conflict_do_nothing(), kept)


def mark(of_series: int, key: int, value: Scalar | None) -> dict[str, Any]:
    """A row of `header_values`: what the files of a series say under a key, unless they say it themselves."""
    is_text = isinstance(value, str)
    number = None if value is None or is_text else float(value)
    text = value if is_text else None
    return {"series": of_series, "key": key, "place": 0, "number": number, "text": text}


def series_of_files(connection: sa.Connection, rows: Iterable[int]) -> set[int]:
    """Return the series whose instances lie in some files."""
    statement = sa.select(instances.c.series).join(files, files.c.instance == instances.c.id)
    return set(connection.scalars(statement.where(among(files.c.id, rows)).distinct()))


# --- what no file says any more --------------------------------------------------------------------------


def settle(connection: sa.Connection, of_series: Collection[int], left: Mapping[Level, set[int]]) -> None:
    """Let rows say what their files say, after some of those were read again, or are gone.

    A value stays as long as one file that can be read says it; else that of the first file which says
    something takes its place, or none does. What a source elsewhere tells stays, and what a correction gave.

    Parameters
    ----------
    connection
        In the transaction that wrote them.
    of_series
        Those they are of.
    left
        Rows of patients and studies that something was put under another of.
    """
    if not of_series and not any(left.values()):
        return
    rows: dict[Level, set[int]] = {level: set(left.get(level, ())) for level in _TABLES}
    above = sa.select(series.c.id, studies.c.id, patients.c.id).select_from(_ABOVE)
    for one, study, patient in connection.execute(above.where(among(series.c.id, of_series))):
        rows[Level.SERIES].add(one)
        rows[Level.STUDY].add(study)
        rows[Level.PATIENT].add(patient)
    for level in _TABLES:
        for row in sorted(rows[level]):
            _settle_row(connection, level, row)


def _settle_row(connection: sa.Connection, level: Level, row: int) -> None:
    table = _TABLES[level]
    below = series_below(level, row)
    names = _otherwise(connection, level, below)
    if not names or _is_told_elsewhere(connection, below):
        return
    there = (
        connection.execute(
            sa.select(*(table.c[name] for name in names))
            .where(table.c.id == row)
            .with_for_update(key_share=True)
        )
        .mappings()
        .one()
    )
    new = {name: _said_now(connection, BY_COLUMN[name], row, there[name]) for name in names}
    changed = {name: value for name, value in new.items() if value != there[name]}
    if changed:
        keep(connection, below, dict(there), changed)
        connection.execute(table.update().where(table.c.id == row).values(**changed))


def series_below(level: Level, row: int) -> sa.Select[Any]:
    """Series of a row of a level."""
    found = sa.select(series.c.id)
    if level is Level.SERIES:
        return found.where(series.c.id == row)
    if level is Level.STUDY:
        return found.where(series.c.study == row)
    return found.join(studies, studies.c.id == series.c.study).where(studies.c.patient == row)


def _otherwise(connection: sa.Connection, level: Level, below: sa.Select[Any]) -> list[str]:
    """Columns of a level under which a series says something else than its rows."""
    names = {
        key_of_column(name): name
        for name, each in VARYING.items()
        if each.level is level and name not in _FILED_UNDER
    }
    key, value, varying = header_keys.c, header_values.c, header_varying.c
    has_mark = sa.select(value.key).where(value.key == key.id, value.series.in_(below)).exists()
    varies = sa.select(varying.key).where(varying.key == key.id, varying.series.in_(below)).exists()
    found = connection.scalars(
        sa.select(key.key).where(among(key.key, names), sa.or_(has_mark, varies)).order_by(key.id)
    )
    return [names[each] for each in found]


def _is_told_elsewhere(connection: sa.Connection, below: sa.Select[Any]) -> bool:
    return connection.scalar(sa.select(remotes.c.id).where(remotes.c.series.in_(below)).limit(1)) is not None


def _said_now(connection: sa.Connection, attribute: Attribute, row: int, now: Value) -> Value:
    """Return what a row has under a column: as it is, where a file says so, else what the first file says."""
    table = _TABLES[attribute.level]
    said = said_by_file(attribute)
    has_place = (
        sa.select(sa.literal(1))
        .where(files.c.instance == instances.c.id, files.c.state == State.INDEXED.value)
        .correlate(instances)
        .exists()
    )
    of_files = (
        sa.select(said)
        .select_from(_ABOVE.join(instances, instances.c.series == series.c.id))
        .where(table.c.id == row, has_place)
        .limit(1)
    )
    if connection.scalar(sa.select(of_files.exists())) is not True:
        return now  # nothing of it can be read: it says what it said when there was something
    if attribute.level is Level.PATIENT:
        log = connection.scalar(
            sa.select(sa.literal(1))
            .select_from(studies)
            .where(studies.c.patient == row, corrected_by_log(attribute))
            .limit(1)
        )
        if log is not None:
            return now
        moved = sa.select(study_origins.c.study).where(study_origins.c.patient != studies.c.patient)
        of_files = of_files.where(studies.c.id.not_in(moved.correlate(studies)))
    if now is not None and connection.scalar(of_files.where(said == _scalar(now))) is not None:
        return now
    found = connection.scalar(of_files.where(said.is_not(None)).order_by(instances.c.id))
    return int(found) if attribute.kind is Kind.INTEGER and found is not None else found
