"""Keeps what is wrong with series as rows: deviations that the index met, geometry that ingest found.

What the index finds belongs to an instance and is made anew with it; what ingest finds belongs to a series,
and is made anew with every ingest of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import batched
from typing import Any

import sqlalchemy as sa

from catalog.among import among
from catalog.bulk import insert_rows
from catalog.conflicts import SAYS_ANOTHER
from catalog.database import Catalog
from catalog.models import files, findings, instances, patients, series, studies
from catalog.places import State
from catalog.records import Finding
from catalog.vocabulary import kind_named

_INDEX, _INGEST = "index", "ingest"
_AT_ONCE = 500
"""Values in one IN list."""
_NOT_WHOLE = "is not whole"
_OTHER_PATIENT = "is known under another patient"


def find_findings(
    catalog: Catalog, *, kind: str | None = None, series_instance_uids: Sequence[str] | None = None
) -> list[Finding]:
    """Return what is wrong, by patient and series, kind and instance.

    Raises
    ------
    QuestionError
        If there is no such kind.
    """
    statement = (
        sa.select(
            series.c.series_instance_uid,
            findings.c.kind,
            findings.c.words,
            findings.c.part,
            instances.c.sop_instance_uid,
            patients.c.patient_id,
            findings.c.id,
        )
        .select_from(findings.join(series, findings.c.series == series.c.id))
        .join(studies, series.c.study == studies.c.id)
        .join(patients, studies.c.patient == patients.c.id)
        .outerjoin(instances, findings.c.instance == instances.c.id)
    )
    if kind is not None:
        statement = statement.where(findings.c.kind == kind_named(kind))
    with catalog.reading() as connection:
        rows = list(_rows(connection, statement, series_instance_uids))
    return [Finding(**{name: row[name] for name in _FIELDS}) for row in sorted(rows, key=_order)]


_FIELDS = tuple(each.name for each in fields(Finding))


def _rows(
    connection: sa.Connection, statement: sa.Select[Any], uids: Sequence[str] | None
) -> Iterator[sa.RowMapping]:
    if uids is None:
        yield from connection.execute(statement).mappings()
        return
    for some in batched(dict.fromkeys(uids), _AT_ONCE):
        of_series = statement.where(series.c.series_instance_uid.in_(some))
        yield from connection.execute(of_series).mappings()


def _order(row: sa.RowMapping) -> tuple[object, ...]:
    """By patient, series, kind; what belongs to no part or instance before what does."""
    part = -1 if row["part"] is None else row["part"]
    uid = row["sop_instance_uid"] or ""
    return row["patient_id"] or "", row["series_instance_uid"], row["kind"], part, uid, row["id"]


def record_ingested(connection: sa.Connection, series_row: int, found: Sequence[Finding]) -> None:
    """Put what an ingest found in the place of what the one before found, within a transaction."""
    of_series = findings.c.series == series_row
    connection.execute(findings.delete().where(of_series, findings.c.origin == _INGEST))
    ids = _ids(connection, [each.sop_instance_uid for each in found if each.sop_instance_uid])
    rows = [
        {"series": series_row, "part": each.part, "instance": ids.get(each.sop_instance_uid or ""),
         "origin": _INGEST, "kind": kind_named(each.kind), "words": each.words}
        for each in found
    ]  # fmt: skip
    if rows:
        connection.execute(findings.insert(), rows)


def _ids(connection: sa.Connection, uids: Sequence[str]) -> dict[str, int]:
    found = connection.execute(
        sa.select(instances.c.sop_instance_uid, instances.c.id).where(
            among(instances.c.sop_instance_uid, uids)
        )
    )
    return {row.sop_instance_uid: row.id for row in found}


def record_indexed(connection: sa.Connection, uids: Iterable[str]) -> None:
    """Make anew what the rows of these instances and their files say is wrong, within a transaction."""
    written = connection.execute(
        sa.select(instances.c.id, instances.c.series, instances.c.deviations).where(
            among(instances.c.sop_instance_uid, uids)
        )
    ).all()
    ids = [row.id for row in written]
    connection.execute(findings.delete().where(among(findings.c.instance, ids), findings.c.origin == _INDEX))
    rows = [
        _indexed(row.series, row.id, _kind(words), words)
        for row in written
        if row.deviations
        for words in row.deviations.split("\n")
    ]
    in_conflict = (
        sa.select(instances.c.id, instances.c.series, files.c.reason)
        .join(instances, files.c.instance == instances.c.id)
        .where(among(files.c.instance, ids), files.c.state == State.CONFLICT.value)
        .order_by(files.c.id)
    )
    rows += [
        _indexed(row.series, row.id, _kind_of_conflict(row.reason), row.reason)
        for row in connection.execute(in_conflict)
    ]
    insert_rows(connection, findings, rows)


def _indexed(series_id: int, instance: int, kind: str, words: str) -> dict[str, object]:
    return {"series": series_id, "instance": instance, "origin": _INDEX, "kind": kind, "words": words}


def _kind_of_conflict(reason: str) -> str:
    if _NOT_WHOLE in reason:
        return "cut_file"
    return "correction" if SAYS_ANOTHER in reason else "conflict"


def _kind(words: str) -> str:
    return "several_patients" if words.endswith(_OTHER_PATIENT) else "deviation"
