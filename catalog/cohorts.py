"""Frozen selections: which instances, by which question, under which approval; what has changed since."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import batched
from typing import Any

import sqlalchemy as sa

from catalog import manifest
from catalog.attributes import BY_COLUMN
from catalog.containers import archive_of, state_of
from catalog.database import Catalog
from catalog.errors import CohortError, NotFoundError, words_of
from catalog.matching import attribute_named
from catalog.models import cohort_items, cohorts, files, instances, series
from catalog.objects import is_remote
from catalog.places import State
from catalog.query import find_series
from catalog.records import CohortChange, CohortItem, CohortRecord, Question, SeriesRecord
from catalog.scan import openable
from catalog.where import BESIDE, FINDING, names_in

TELLING = frozenset({
    "patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "accession_number",
    "study_id", "referring_physician_name",
})  # fmt: skip
"""Attributes that tell who a patient is: a question that names one does not leave with a manifest."""

_TECHNICAL_GROUPS = frozenset({"0018", "0028", "5200"})
"""Acquisition, image, functional groups: of the elements without a column only theirs may leave."""
_AT_ONCE = 500
"""Values in one IN list, series in one portion."""
_BATCH = 5_000
"""Rows that are written or fetched together."""


def freeze(
    catalog: Catalog,
    name: str,
    series_instance_uids: Iterable[str],
    *,
    question: Question | None = None,
    approval: str = "",
    expires: date | str | None = None,
    now: datetime,
) -> CohortRecord:
    """Put every instance of some series that can be read on record, in one transaction.

    Raises
    ------
    CohortError
        If there is a cohort of that name, nothing to freeze, or the approval has ended.
    QuestionError
        If the question is not understood.
    """
    last_day = manifest.check_expires(expires)
    if last_day is not None and last_day < now.date():
        raise CohortError(f"the approval ended on {last_day}; freeze a cohort under one that is valid")
    if last_day is not None and not manifest.check_approval(approval):
        raise CohortError("a last day belongs to an approval; give its number, too: approval='EK 2026/123'")
    _names(question)
    uids = sorted(set(series_instance_uids))
    if not uids:
        raise CohortError(f"cohort {manifest.check_name(name)!r} would be empty: no series was found")
    with catalog.transaction() as connection:
        return _record(
            connection,
            manifest.ManifestHead(
                manifest.check_name(name), question, manifest.check_approval(approval), last_day, now, ""
            ),
            _readable(connection, uids),
        )


def take_in(catalog: Catalog, chunks: Iterator[str], *, name: str | None = None) -> CohortRecord:
    """Put the cohort of a manifest on record; one that is there with the same digest stays as it is.

    Parameters
    ----------
    chunks
        The text of the manifest, in pieces.
    name
        Another name than it has there.

    Raises
    ------
    CohortError
        If it is no manifest, was altered, or another cohort has its name.
    """
    with catalog.transaction() as connection:
        head, items = manifest.parse_manifest(chunks)
        _names(head.question)
        name = manifest.check_name(name or head.name)
        there = _row(connection, name)
        if there is not None and there.digest == head.digest:
            return _of_row(there)
        return _record(
            connection,
            manifest.ManifestHead(name, head.question, head.approval, head.expires, head.frozen, head.digest),
            items,
        )


def find_cohort(catalog: Catalog, name: str) -> CohortRecord:
    """Return a cohort by its name, once its digest was found to be right.

    Raises
    ------
    NotFoundError
        If there is none of that name.
    CohortError
        If its rows are not those that were frozen.
    """
    with catalog.reading() as connection:
        row = _row(connection, name)
        if row is None:
            known = list(connection.scalars(sa.select(cohorts.c.name).order_by(cohorts.c.name).limit(20)))
            there = ", ".join(known) or "none yet"
            raise NotFoundError(f"no cohort {str(name)[:64]!r}; `workbench cohort list` has: {there}")
        texts = manifest.cohort_texts(
            _going_out(row.question), row.approval, row.expires, row.frozen, _items(connection, row.id)
        )
        digest = manifest.digest_of_cohort(texts)
        if (digest, manifest.digest_of_question(row.question)) != (row.digest, row.question_digest):
            raise CohortError(
                f"cohort {name!r} is not what was frozen: its rows in the catalog were altered; import it "
                "again from its manifest under another name"
            )
        return _of_row(row)


def list_cohorts(catalog: Catalog) -> list[CohortRecord]:
    """Every cohort by name; their digests are not looked at."""
    with catalog.reading() as connection:
        return [_of_row(row) for row in connection.execute(sa.select(cohorts).order_by(cohorts.c.id))]


def items_of(catalog: Catalog, name: str) -> Iterator[CohortItem]:
    """Instances of a cohort, by the UIDs of series and instance, as they are fetched."""
    with catalog.reading() as connection:
        row = _row(connection, name)
        if row is not None:
            yield from _items(connection, row.id)


def series_of(catalog: Catalog, name: str) -> list[SeriesRecord]:
    """Series of a cohort that can be read here, by UID, as they are now."""
    with catalog.reading() as connection:
        row = _row(connection, name)
        uids = [] if row is None else _series_uids(connection, row.id)
    return [
        each
        for some in batched(uids, _AT_ONCE)
        for each in sorted(
            find_series(catalog, series_instance_uid=list(some)), key=lambda each: each.series_instance_uid
        )
    ]


def manifest_of(catalog: Catalog, record: CohortRecord) -> Iterator[bytes]:
    """Return the manifest of a cohort in parts; a question that tells of a patient is left out."""
    with catalog.reading() as connection:
        row = _row(connection, record.name)
        if row is not None:
            items = _items(connection, row.id)
            yield from manifest.format_manifest(record, _going_out(row.question), items)


def leaves(question: Question | None) -> bool:
    """Whether a question goes out with a manifest."""
    return question is not None and all(map(_is_technical, _names(question)))


# --- what has changed ------------------------------------------------------------------------------------


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
        row = _row(connection, record.name)
        if row is None:
            return []
        changed = []
        for each in _as_they_are(connection, row.id):
            state = _state(each, found, look=look)
            if state is not None:
                changed.append(
                    CohortChange(state[0], each.series_instance_uid, each.sop_instance_uid, state[1])
                )
        frozen = set(_series_uids(connection, row.id))
        for some in batched(sorted(frozen if found is None else frozen & found), _AT_ONCE):
            changed += _added(connection, row.id, some, "its series has it now")
        for some in batched(sorted(found - frozen if found else ()), _AT_ONCE):
            changed += _added(connection, row.id, some, "the question finds its series now")
        return changed


def _as_they_are(connection: sa.Connection, cohort: int) -> Iterator[sa.Row[Any]]:
    """Every item with what the catalog knows of it today, and the file it would be read from."""
    place = files.alias()
    first_place = (
        sa.select(sa.func.min(place.c.id))
        .where(place.c.instance == instances.c.id, place.c.state == State.INDEXED.value)
        .scalar_subquery()
    )
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
            instances.c.header_digest.label("digest_now"),
            series.c.series_instance_uid.label("series_now"),
            is_deleted.label("is_deleted"),
            *(files.c[name] for name in ("folder", "name", "size", "mtime_ns")),
        )
        .select_from(cohort_items)
        .outerjoin(instances, instances.c.sop_instance_uid == cohort_items.c.sop_instance_uid)
        .outerjoin(series, series.c.id == instances.c.series)
        .outerjoin(files, files.c.id == first_place)
        .where(cohort_items.c.cohort == cohort)
        .order_by(cohort_items.c.series_instance_uid, cohort_items.c.sop_instance_uid)
    )
    yield from connection.execute(statement.execution_options(yield_per=_BATCH))


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
    if row.digest_now != row.header_digest:
        return "changed", "its header is another"
    if row.series_now != row.series_instance_uid:
        return "changed", f"it is in series {row.series_now}"
    if found is not None and row.series_instance_uid not in found:
        return "removed", "the question no longer finds its series"
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
    is_frozen = (
        sa.select(sa.literal(1))
        .where(
            cohort_items.c.cohort == cohort, cohort_items.c.sop_instance_uid == instances.c.sop_instance_uid
        )
        .exists()
    )
    rows = connection.execute(_of_series(uids).where(~is_frozen))
    for each in sorted((row.series_instance_uid, row.sop_instance_uid) for row in rows):
        yield CohortChange("added", *each, reason)


# --- rows ------------------------------------------------------------------------------------------------


def _names(question: Question | None) -> set[str]:
    """Columns that a question names; raises where it is none."""
    if question is None:
        return set()
    named = {attribute_named(name).column for name in question.matching}
    return named | (names_in(question.where) if question.where and question.where.strip() else set())


def _is_technical(name: str) -> bool:
    """Whether what a question names tells nothing of a patient: most columns, and few groups of the rest."""
    if name in BY_COLUMN or name in BESIDE or name == FINDING.column:
        return name not in TELLING
    return all(step[:4] in _TECHNICAL_GROUPS for step in name.split("."))


def _going_out(question: str) -> str:
    """Return what of a kept question is in the manifest and the digest."""
    return question if leaves(_question(question)) else ""


def _question(text: str) -> Question | None:
    return manifest.question_of(json.loads(text)) if text else None


def _record(
    connection: sa.Connection, head: manifest.ManifestHead, items: Iterable[CohortItem]
) -> CohortRecord:
    if _row(connection, head.name) is not None:
        raise _taken(head.name)
    question = manifest.question_text(head.question)
    values = {
        "name": head.name, "question": question, "question_digest": manifest.digest_of_question(question),
        "approval": head.approval, "expires": head.expires, "frozen": head.frozen, "series": 0,
        "instances": 0, "digest": "",
    }  # fmt: skip
    try:
        key = connection.execute(sa.insert(cohorts).values(values)).inserted_primary_key
    except sa.exc.IntegrityError:
        raise _taken(head.name) from None
    number, counts = int(key[0]) if key else 0, {"series": 0, "instances": 0}
    written = _written(connection, number, items, counts)
    try:
        texts = manifest.cohort_texts(_going_out(question), head.approval, head.expires, head.frozen, written)
        digest = manifest.digest_of_cohort(texts)
    except sa.exc.IntegrityError:
        raise CohortError("no manifest of a cohort: an instance is there twice") from None
    if not counts["instances"]:
        raise CohortError(f"cohort {head.name!r} would be empty: none of its instances can be read")
    if head.digest and head.digest != digest:
        raise CohortError(
            "the manifest was altered: what it holds has another digest than it says; ask for it again"
        )
    connection.execute(sa.update(cohorts).where(cohorts.c.id == number).values(digest=digest, **counts))
    return CohortRecord(
        head.name, head.question, head.approval, head.expires, head.frozen, counts["series"],
        counts["instances"], digest,
    )  # fmt: skip


def _written(
    connection: sa.Connection, cohort: int, items: Iterable[CohortItem], counts: dict[str, int]
) -> Iterator[CohortItem]:
    """Write items as they come, and hand them on; they are counted, too."""
    before = ""
    for some in batched(items, _BATCH):
        connection.execute(
            sa.insert(cohort_items),
            [
                {
                    "cohort": cohort, "series_instance_uid": each.series_instance_uid,
                    "sop_instance_uid": each.sop_instance_uid, "header_digest": each.header_digest,
                }
                for each in some
            ],
        )  # fmt: skip
        counts["instances"] += len(some)
        for each in some:
            counts["series"] += each.series_instance_uid != before
            before = each.series_instance_uid
            yield each


def _taken(name: str) -> CohortError:
    return CohortError(
        f"there is a cohort {name!r}, and what is frozen is never changed; give another name, such as "
        f"{f'{name[:62]}-2'!r}"
    )


def _readable(connection: sa.Connection, uids: Sequence[str]) -> Iterator[CohortItem]:
    """Instances of series that can be read, in the order of their UIDs."""
    for some in batched(uids, _AT_ONCE):
        rows = connection.execute(_of_series(some)).all()
        unread = set(some) - {row.series_instance_uid for row in rows}
        if unread:
            raise NotFoundError(f"series {min(unread)} is not in the catalog, or cannot be read any more")
        yield from sorted((CohortItem(*row) for row in rows), key=_order)


def _order(item: CohortItem) -> tuple[str, str]:
    return item.series_instance_uid, item.sop_instance_uid


def _of_series(uids: Sequence[str]) -> sa.Select[Any]:
    can_be_read = (
        sa.select(sa.literal(1))
        .where(files.c.instance == instances.c.id, files.c.state == State.INDEXED.value)
        .exists()
    )
    return (
        sa.select(series.c.series_instance_uid, instances.c.sop_instance_uid, instances.c.header_digest)
        .join(series, series.c.id == instances.c.series)
        .where(series.c.series_instance_uid.in_(uids), can_be_read)
    )


def _items(connection: sa.Connection, cohort: int) -> Iterator[CohortItem]:
    names = ("series_instance_uid", "sop_instance_uid", "header_digest")
    statement = (
        sa.select(*(cohort_items.c[name] for name in names))
        .where(cohort_items.c.cohort == cohort)
        .order_by(cohort_items.c.series_instance_uid, cohort_items.c.sop_instance_uid)
    )
    for row in connection.execute(statement.execution_options(yield_per=_BATCH)):
        yield CohortItem(*row)


def _series_uids(connection: sa.Connection, cohort: int) -> list[str]:
    uid = cohort_items.c.series_instance_uid
    statement = sa.select(uid).where(cohort_items.c.cohort == cohort).distinct().order_by(uid)
    return list(connection.scalars(statement))


def _row(connection: sa.Connection, name: object) -> sa.Row[Any] | None:
    text = name if isinstance(name, str) and name.isprintable() else ""
    return connection.execute(sa.select(cohorts).where(cohorts.c.name == text)).first()


def _of_row(row: sa.Row[Any]) -> CohortRecord:
    return CohortRecord(
        row.name, _question(row.question), row.approval, row.expires, row.frozen, row.series, row.instances,
        row.digest,
    )  # fmt: skip
