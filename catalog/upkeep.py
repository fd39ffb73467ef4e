"""Rows of patients, studies and series say what their files say, after some were read again or are gone."""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from catalog.among import among
from catalog.attributes import BY_COLUMN, Attribute, Kind, Level
from catalog.models import (
    files,
    header_keys,
    header_values,
    header_varying,
    instances,
    patients,
    remotes,
    series,
    studies,
    study_origins,
)
from catalog.places import State
from catalog.records import Value
from catalog.said import TABLES, keep, scalar, series_below
from catalog.saying import VARYING, corrected_by_log, key_of_column, said_by_file

_ABOVE = series.join(studies, studies.c.id == series.c.study).join(
    patients, patients.c.id == studies.c.patient
)
_FILED_UNDER = frozenset({"patient_id", "issuer_of_patient_id", "patient_name"})
"""What tells patients apart: their row has it as long as it is there."""


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
    rows: dict[Level, set[int]] = {level: set(left.get(level, ())) for level in TABLES}
    above = sa.select(series.c.id, studies.c.id, patients.c.id).select_from(_ABOVE)
    for one, study, patient in connection.execute(above.where(among(series.c.id, of_series))):
        rows[Level.SERIES].add(one)
        rows[Level.STUDY].add(study)
        rows[Level.PATIENT].add(patient)
    for level in TABLES:
        for row in sorted(rows[level]):
            _settle_row(connection, level, row)


def _settle_row(connection: sa.Connection, level: Level, row: int) -> None:
    table = TABLES[level]
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
    table = TABLES[attribute.level]
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
    if now is not None and connection.scalar(of_files.where(said == scalar(now))) is not None:
        return now
    found = connection.scalar(of_files.where(said.is_not(None)).order_by(instances.c.id))
    return int(found) if attribute.kind is Kind.INTEGER and found is not None else found
