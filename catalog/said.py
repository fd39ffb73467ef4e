"""What files say of their patient, study and series, where it is other than what stands in those rows.

A row has one value of a column, and a file may say another one, or none. What it says is kept like what it
says beside the columns (`catalog.contents`), under a key of its own kind, `@` and the tag: of a series as its
first header says it, of an instance as it differs. Where there is no such key, a file says what the row says,
so that a series of which all files agree costs nothing.

That holds as long as a row stays the same. Whoever changes one lets the series below it keep what they said
first (`keep`); and what no file says any more leaves its row (`catalog.upkeep`). The UIDs of study and series
are told by their rows alone, as they are what a file was filed under.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from catalog.among import among
from catalog.attributes import Level
from catalog.key_rows import rows_of_keys
from catalog.models import (
    files,
    header_values,
    instance_headers,
    instances,
    patients,
    series,
    studies,
    upserting,
)
from catalog.records import LONGEST_TEXT, Scalar, Value, Values
from catalog.saying import VARYING, key_of_column

TABLES = {Level.PATIENT: patients, Level.STUDY: studies, Level.SERIES: series}
_ABOVE = series.join(studies, studies.c.id == series.c.study).join(
    patients, patients.c.id == studies.c.patient
)

type Said = dict[str, Scalar | None]
"""Column to what is said under it; `None` is nothing."""


def said_in(values: Mapping[str, Value]) -> Said:
    """Return what the values of a header, or of rows, say of patient, study and series."""
    return {name: scalar(values.get(name)) for name in VARYING}


def scalar(value: Value) -> Scalar | None:
    """Return a value as it is kept; `None` is nothing, as an empty text is."""
    if isinstance(value, str):
        return value[:LONGEST_TEXT] or None
    return value


def rows_say(connection: sa.Connection, of_series: Iterable[int]) -> dict[int, Said]:
    """Return what stands in the rows of series, and in those of their studies and patients."""
    columns = [TABLES[each.level].c[name] for name, each in VARYING.items()]
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
        key_of_column(name): scalar(before[name])
        for name in VARYING
        if name in now and name in before and scalar(before[name]) != scalar(now[name])
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


def series_below(level: Level, row: int) -> sa.Select[Any]:
    """Series of a row of a level."""
    found = sa.select(series.c.id)
    if level is Level.SERIES:
        return found.where(series.c.id == row)
    if level is Level.STUDY:
        return found.where(series.c.study == row)
    return found.join(studies, studies.c.id == series.c.study).where(studies.c.patient == row)


def series_of_files(connection: sa.Connection, rows: Iterable[int]) -> set[int]:
    """Return the series whose instances lie in some files."""
    statement = sa.select(instances.c.series).join(files, files.c.instance == instances.c.id)
    return set(connection.scalars(statement.where(among(files.c.id, rows)).distinct()))
