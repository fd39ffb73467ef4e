"""What of a frozen selection is no longer as it was frozen, and by what it was compared."""

import os
from collections.abc import Iterator, Sequence
from itertools import batched
from typing import Any

import sqlalchemy as sa

from catalog.checks import place_read, rots
from catalog.cohorts import AT_ONCE, BATCH, frozen_series
from catalog.containers import archive_of, state_of
from catalog.database import Catalog
from catalog.errors import words_of
from catalog.models import checks, cohort_items, cohorts, files, instances, series
from catalog.objects import is_remote
from catalog.places import State
from catalog.query import find_series
from catalog.records import CohortChange, CohortRecord, Compared
from catalog.scan import openable


def changes(
    catalog: Catalog, record: CohortRecord, *, asked: bool = True, look: bool = True
) -> list[CohortChange]:
    """Return what is no longer as it was frozen, an instance each.

    Parameters
    ----------
    asked
        Whether its question is asked again: series it finds now, and no longer.
    look
        Whether the files are looked at, too; else it is as of the last index.

    Raises
    ------
    QuestionError
        If the question is not understood.
    """
    found = None
    if asked and record.question is not None:
        now = find_series(catalog, where=record.question.where, **record.question.matching)
        found = {each.series_instance_uid for each in now}
    with catalog.reading() as connection:
        cohort = _cohort(connection, record)
        changed = []
        for each in _as_they_are(connection, cohort):
            state = _state(each, found, look=look)
            if state is not None:
                changed.append(
                    CohortChange(state[0], each.series_instance_uid, each.sop_instance_uid, state[1])
                )
        frozen = set(frozen_series(connection, cohort))
        for some in batched(sorted(frozen if found is None else frozen & found), AT_ONCE):
            changed += _added(connection, cohort, some, "its series has it now")
        for some in batched(sorted(found - frozen if found else ()), AT_ONCE):
            changed += _added(connection, cohort, some, "the question finds its series now")
        return changed


def compared(catalog: Catalog, record: CohortRecord) -> Compared:
    """Return by what the instances were compared that can be read here."""
    is_whole = sa.and_(cohort_items.c.content_digest != "", files.c.content_digest.is_not(None))
    statement = (
        sa.select(sa.func.count(sa.case((is_whole, 1))), sa.func.count())
        .select_from(cohort_items)
        .join(instances, instances.c.sop_instance_uid == cohort_items.c.sop_instance_uid)
        .join(files, files.c.id == place_read())
    )
    with catalog.reading() as connection:
        of_cohort = statement.where(cohort_items.c.cohort == _cohort(connection, record))
        whole, every = connection.execute(of_cohort).one()
    return Compared(whole, every - whole)


def series_to_read(catalog: Catalog, record: CohortRecord, *, again: bool = False) -> list[str]:
    """Return the series of a cohort with whole files to compare; all of them to read everything again."""
    is_whole = [] if again else [cohort_items.c.content_digest != ""]
    with catalog.reading() as connection:
        return frozen_series(connection, _cohort(connection, record), *is_whole)


def _cohort(connection: sa.Connection, record: CohortRecord) -> int:
    """Row of a cohort; one that no cohort has where it is gone."""
    return connection.scalar(sa.select(cohorts.c.id).where(cohorts.c.name == record.name)) or 0


def _as_they_are(connection: sa.Connection, cohort: int) -> Iterator[sa.Row[Any]]:
    """Every item with what the catalog knows of it today, and the file it would be read from."""
    buried = files.alias()
    is_deleted = (
        sa.select(sa.literal(1))
        .where(buried.c.instance == instances.c.id, buried.c.state == State.DELETED.value)
        .exists()
    )
    statement = (
        sa.select(
            cohort_items.c.series_instance_uid,
            cohort_items.c.sop_instance_uid,
            cohort_items.c.header_digest,
            cohort_items.c.size.label("size_then"),
            cohort_items.c.content_digest,
            instances.c.header_digest.label("digest_now"),
            files.c.content_digest.label("content_now"),
            checks.c.reason.label("rot"),
            series.c.series_instance_uid.label("series_now"),
            is_deleted.label("is_deleted"),
            *(files.c[name] for name in ("folder", "name", "size", "mtime_ns")),
        )
        .select_from(cohort_items)
        .outerjoin(instances, instances.c.sop_instance_uid == cohort_items.c.sop_instance_uid)
        .outerjoin(series, series.c.id == instances.c.series)
        .outerjoin(files, files.c.id == place_read())
        .outerjoin(checks, rots(checks, files))
        .where(cohort_items.c.cohort == cohort)
        .order_by(cohort_items.c.series_instance_uid, cohort_items.c.sop_instance_uid)
    )
    yield from connection.execute(statement.execution_options(yield_per=BATCH))


def _state(row: sa.Row[Any], found: set[str] | None, *, look: bool) -> tuple[str, str] | None:
    """What is to be said of an item, and why; the gravest first."""
    if row.digest_now is None:
        return "missing", "this catalog does not know it; index the archive that has it"
    if row.folder is None and row.is_deleted:
        return "deleted", "its series was deleted; `workbench corrections` says by whom and why"
    if row.folder is None:
        return "unreadable", "at the last index none of its files could be read"
    state = _look(row) if look else None
    if state is not None:
        return state
    state = _bytes(row)
    if state is not None:
        return state
    if row.series_now != row.series_instance_uid:
        return "changed", f"it is in series {row.series_now}"
    if found is not None and row.series_instance_uid not in found:
        return "removed", "the question no longer finds its series"
    return None


def _bytes(row: sa.Row[Any]) -> tuple[str, str] | None:
    """What is to be said of the bytes of an item, as the catalog knows them."""
    if row.rot is not None:
        return "changed", f"its file was read again and is rotten: {row.rot}"
    if row.digest_now != row.header_digest:
        return "changed", "its header is another"
    if row.size_then not in (None, row.size):
        words = f"its file has {row.size:,} bytes and had {row.size_then:,}, under the same header"
        return "changed", words
    if row.content_digest and row.content_now not in (None, row.content_digest):
        return "changed", "its pixels, or what stands after them, are others, under the same header"
    return None


def _look(row: sa.Row[Any]) -> tuple[str, str] | None:
    path = openable(f"{row.folder.rstrip('/')}/{row.name}")
    if is_remote(path):  # one request each: what the last index saw counts
        return None
    try:
        size, mtime_ns = state_of(path)
    except OSError as error:
        return "unreadable", f"its file cannot be read: {words_of(error)}"
    if size not in (None, row.size) or mtime_ns != row.mtime_ns:
        return "changed", "its file was written after the last index; index it again"
    return (
        None
        if os.access(archive_of(row.folder) or path, os.R_OK)
        else ("unreadable", "its file cannot be read: permission denied")
    )


def _added(
    connection: sa.Connection, cohort: int, uids: Sequence[str], reason: str
) -> Iterator[CohortChange]:
    can_be_read = (
        sa.select(sa.literal(1))
        .where(files.c.instance == instances.c.id, files.c.state == State.INDEXED.value)
        .exists()
    )
    is_frozen = (
        sa.select(sa.literal(1))
        .where(
            cohort_items.c.cohort == cohort, cohort_items.c.sop_instance_uid == instances.c.sop_instance_uid
        )
        .exists()
    )
    rows = connection.execute(
        sa.select(series.c.series_instance_uid, instances.c.sop_instance_uid)
        .join(series, series.c.id == instances.c.series)
        .where(series.c.series_instance_uid.in_(uids), can_be_read, ~is_frozen)
    )
    for each in sorted((row.series_instance_uid, row.sop_instance_uid) for row in rows):
        yield CohortChange("added", *each, reason)
