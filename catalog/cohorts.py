"""Frozen selections: which instances, by which question, under which approval."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import date, datetime
from itertools import batched
from typing import Any

import sqlalchemy as sa

from catalog import manifest
from catalog.attributes import BY_COLUMN
from catalog.checks import place_read
from catalog.database import Catalog
from catalog.errors import CohortError, NotFoundError
from catalog.matching import attribute_named
from catalog.models import cohort_items, cohorts, files, instances, series
from catalog.query import find_series
from catalog.records import CohortItem, CohortRecord, Question, SeriesRecord
from catalog.where import BESIDE, FINDING, names_in

TELLING = frozenset({
    "patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "accession_number",
    "study_id", "referring_physician_name",
})  # fmt: skip
"""Attributes that tell who a patient is: a question that names one does not leave with a manifest."""

_TECHNICAL_GROUPS = frozenset({"0018", "0028", "5200"})
"""Acquisition, image, functional groups: of the elements without a column only theirs may leave."""
_ITEM = tuple(each.name for each in fields(CohortItem))
AT_ONCE = 500
"""Values in one IN list, series in one portion."""
BATCH = 5_000
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
    last_day = may_freeze(catalog, name, approval=approval, expires=expires, today=now.date())
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


def may_freeze(
    catalog: Catalog, name: str, *, approval: str, expires: date | str | None, today: date
) -> date | None:
    """Refuse what can be refused before any file is read; return the last day of the approval.

    Raises
    ------
    CohortError
        If there is a cohort of that name, or the approval is none or has ended.
    """
    last_day = manifest.check_expires(expires)
    if last_day is not None and last_day < today:
        raise CohortError(f"the approval ended on {last_day}; freeze a cohort under one that is valid")
    if last_day is not None and not manifest.check_approval(approval):
        raise CohortError("a last day belongs to an approval; give its number, too: approval='EK 2026/123'")
    with catalog.reading() as connection:
        if _row(connection, manifest.check_name(name)) is not None:
            raise _taken(name)
    return last_day


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
            replace(head, name=name),
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
            row.version, _going_out(row.question), row.approval, row.expires, row.frozen,
            _items(connection, row.id),
        )  # fmt: skip
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
        uids = [] if row is None else frozen_series(connection, row.id)
    return [
        each
        for some in batched(uids, AT_ONCE)
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
        "instances": 0, "digest": "", "hashed": 0, "version": head.version,
    }  # fmt: skip
    try:
        key = connection.execute(sa.insert(cohorts).values(values)).inserted_primary_key
    except sa.exc.IntegrityError:
        raise _taken(head.name) from None
    number, counts = int(key[0]) if key else 0, {"series": 0, "instances": 0, "hashed": 0}
    written = _written(connection, number, items, counts)
    try:
        texts = manifest.cohort_texts(
            head.version, _going_out(question), head.approval, head.expires, head.frozen, written
        )
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
        counts["instances"], digest, counts["hashed"], head.version,
    )  # fmt: skip


def _written(
    connection: sa.Connection, cohort: int, items: Iterable[CohortItem], counts: dict[str, int]
) -> Iterator[CohortItem]:
    """Write items as they come, and hand them on; they are counted, too."""
    before = ""
    for some in batched(items, BATCH):
        connection.execute(
            sa.insert(cohort_items),
            [{"cohort": cohort} | {name: getattr(each, name) for name in _ITEM} for each in some],
        )
        counts["instances"] += len(some)
        for each in some:
            counts["hashed"] += bool(each.content_digest)
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
    for some in batched(uids, AT_ONCE):
        rows = connection.execute(_with_its_file(some)).all()
        unread = set(some) - {row.series_instance_uid for row in rows}
        if unread:
            raise NotFoundError(f"series {min(unread)} is not in the catalog, or cannot be read any more")
        yield from sorted((CohortItem(*row) for row in rows), key=_order)


def _order(item: CohortItem) -> tuple[str, str]:
    return item.series_instance_uid, item.sop_instance_uid


def _with_its_file(uids: Sequence[str]) -> sa.Select[Any]:
    """What is kept of each instance that can be read, in the order of the fields of `CohortItem`."""
    return (
        sa.select(
            series.c.series_instance_uid,
            instances.c.sop_instance_uid,
            instances.c.header_digest,
            files.c.size,
            sa.func.coalesce(files.c.content_digest, ""),
        )
        .select_from(series)
        .join(instances, instances.c.series == series.c.id)
        .join(files, files.c.id == place_read())
        .where(series.c.series_instance_uid.in_(uids))
    )


def _items(connection: sa.Connection, cohort: int) -> Iterator[CohortItem]:
    statement = (
        sa.select(*(cohort_items.c[name] for name in _ITEM))
        .where(cohort_items.c.cohort == cohort)
        .order_by(cohort_items.c.series_instance_uid, cohort_items.c.sop_instance_uid)
    )
    for row in connection.execute(statement.execution_options(yield_per=BATCH)):
        yield CohortItem(*row)


def frozen_series(connection: sa.Connection, cohort: int, *conditions: sa.ColumnElement[bool]) -> list[str]:
    """Series of a cohort by the row of it, by UID; those of items for which something holds."""
    uid = cohort_items.c.series_instance_uid
    statement = sa.select(uid).where(cohort_items.c.cohort == cohort, *conditions).distinct().order_by(uid)
    return list(connection.scalars(statement))


def _row(connection: sa.Connection, name: object) -> sa.Row[Any] | None:
    text = name if isinstance(name, str) and name.isprintable() else ""
    return connection.execute(sa.select(cohorts).where(cohorts.c.name == text)).first()


def _of_row(row: sa.Row[Any]) -> CohortRecord:
    return CohortRecord(
        row.name, _question(row.question), row.approval, row.expires, row.frozen, row.series, row.instances,
        row.digest, row.hashed, row.version,
    )  # fmt: skip
