"""Series that are known from elsewhere: what a bucket or a PACS tells of them, without a file here."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from itertools import batched
from operator import attrgetter

import sqlalchemy as sa

from catalog.attributes import PATIENT, SERIES, STUDY, Kind
from catalog.database import Catalog
from catalog.doubts import settle
from catalog.errors import NotFoundError
from catalog.identifiers import digest, is_uid
from catalog.matching import is_storable
from catalog.models import instances, patients, remotes, series, studies, upserting
from catalog.records import Rejection, RemoteReport, RemoteSeries
from catalog.upsert import write_series

BATCH = 10_000
"""Series in one transaction."""
_NUMBERS = frozenset(each.column for each in (*STUDY, *SERIES) if each.kind in (Kind.INTEGER, Kind.REAL))
_LARGEST = 2**63
_SAID = ("address", "instances", "bytes", "collection", "analysis_result", "license", "doi")


def record_remotes(
    catalog: Catalog, source: str, told: Iterable[RemoteSeries], *, complete: bool = False
) -> RemoteReport:
    """Record what a source tells of series; what it told before and is the same is not written again.

    Rows of patients, studies and series that a file here tells of keep what they say, and what they lack is
    filled in; where no instance of a study is here, the source is right.

    Parameters
    ----------
    source
        Its name: `idc`, or the address of a node; it counts for every row.
    told
        Any number of series; they are taken in batches, each in a transaction of its own.
    complete
        Whether these are all: rows of the source for other series are then taken away in the end.
    """
    report, named = RemoteReport(source), set[str]()
    for some in batched(told, BATCH):
        with catalog.transaction() as connection:
            report = _plus(report, _record(connection, source, some))
        if complete:
            named.update(map(_uid, some))
    withdrawn = _withdraw(catalog, source, named) if complete else 0
    settle(catalog)
    return replace(report, withdrawn=withdrawn)


def _withdraw(catalog: Catalog, source: str, named: Set[str]) -> int:
    """Take away the rows of a source for series that are not named; those of the series stay."""
    uid = series.c.series_instance_uid
    known = (
        sa.select(remotes.c.id, uid)
        .join(series, series.c.id == remotes.c.series)
        .where(remotes.c.source == source)
        .execution_options(yield_per=BATCH)
    )
    with catalog.reading() as connection:
        gone = [row.id for row in connection.execute(known) if row.series_instance_uid not in named]
    for some in batched(gone, BATCH):
        with catalog.transaction() as connection:
            connection.execute(sa.delete(remotes).where(remotes.c.id.in_(some)))
    return len(gone)


def remote_of(catalog: Catalog, series_instance_uid: str) -> RemoteSeries | None:
    """Return what a source elsewhere tells of a series; of several sources, the one that told first.

    `None` where none does; values are those of its rows in the catalog.

    Raises
    ------
    NotFoundError
        If the catalog has no such series.
    """
    of_series = sa.select(series.c.id).where(series.c.series_instance_uid == series_instance_uid)
    statement = sa.select(remotes).where(remotes.c.series == of_series.scalar_subquery())
    with catalog.reading() as connection:
        row = connection.execute(statement.order_by(remotes.c.id).limit(1)).mappings().first()
        if row is not None:
            return RemoteSeries(
                _values(connection, row["series"]), row["source"], **{name: row[name] for name in _SAID}
            )
        if connection.scalar(of_series) is None:
            raise NotFoundError(f"no series {series_instance_uid} in the catalog")
    return None


def _values(connection: sa.Connection, row: int) -> dict[str, str | int | float | None]:
    columns = [
        table.c[each.column]
        for table, attributes in ((patients, PATIENT), (studies, STUDY), (series, SERIES))
        for each in attributes
    ]
    found = connection.execute(
        sa.select(*columns)
        .select_from(series)
        .join(studies, studies.c.id == series.c.study)
        .join(patients, patients.c.id == studies.c.patient)
        .where(series.c.id == row)
    ).mappings()
    return {name: value for name, value in next(found).items() if value is not None}


def _plus(report: RemoteReport, more: RemoteReport) -> RemoteReport:
    return replace(
        report,
        added=report.added + more.added,
        updated=report.updated + more.updated,
        unchanged=report.unchanged + more.unchanged,
        rejected=report.rejected + more.rejected,
    )


def _record(connection: sa.Connection, source: str, told: Sequence[RemoteSeries]) -> RemoteReport:
    rejected: list[Rejection] = []
    sound: dict[str, RemoteSeries] = {}  # of one told twice, the last one counts
    for each in told:
        if reason := _fault(each):
            rejected.append(Rejection(_uid(each)[:64], reason))
        else:
            sound[_uid(each)] = each
    twice = len(told) - len(rejected) - len(sound)
    known = _known(connection, source, list(sound))
    digests = {uid: _digest(each) for uid, each in sound.items()}
    new = [each for uid, each in sound.items() if known.get(uid) != digests[uid]]
    here = _with_instances(connection, [str(each.values["study_instance_uid"]) for each in new])
    for overwrite in (True, False):
        some = [each for each in new if (each.values["study_instance_uid"] in here) is not overwrite]
        _write(connection, source, some, digests, overwrite=overwrite)
    updated = sum(_uid(each) in known for each in new)
    return RemoteReport(source, len(new) - updated, updated, len(sound) - len(new) + twice, tuple(rejected))


def _uid(told: RemoteSeries) -> str:
    return str(told.values.get("series_instance_uid") or "")


def _fault(told: RemoteSeries) -> str:
    """Why a series cannot be recorded; empty where it can."""
    values = told.values
    for name in ("series_instance_uid", "study_instance_uid"):
        if not is_uid(str(values.get(name) or "")):
            return f"its {name} is no UID"
    for name in _NUMBERS & values.keys():
        value = values[name]
        if value is not None and not (isinstance(value, int | float) and abs(value) < _LARGEST):
            return f"its {name} is no number"
    texts = [each for each in (*values.values(), *_said(told)) if isinstance(each, str)]
    return "" if is_storable("".join(texts)) else "a value of it is no text"


def _digest(told: RemoteSeries) -> str:
    values = sorted((name, value) for name, value in told.values.items() if value is not None)
    return digest(repr((values, _said(told))).encode())[:32]


_said = attrgetter(*_SAID)


def _known(connection: sa.Connection, source: str, uids: Sequence[str]) -> Mapping[str, str]:
    found = connection.execute(
        sa.select(series.c.series_instance_uid, remotes.c.digest)
        .join(remotes, remotes.c.series == series.c.id)
        .where(remotes.c.source == source, series.c.series_instance_uid.in_(uids))
    )
    return {row.series_instance_uid: row.digest for row in found}


def _with_instances(connection: sa.Connection, study_uids: Sequence[str]) -> set[str]:
    """Those of the studies that a file here tells of."""
    there = (
        sa.select(sa.literal(1))
        .select_from(series)
        .join(instances, instances.c.series == series.c.id)
        .where(series.c.study == studies.c.id)
        .correlate(studies)
        .exists()
    )
    of_study = studies.c.study_instance_uid
    found = connection.scalars(sa.select(of_study).where(of_study.in_(list(set(study_uids))), there))
    return set(found)


def _write(
    connection: sa.Connection,
    source: str,
    told: Sequence[RemoteSeries],
    digests: Mapping[str, str],
    *,
    overwrite: bool,
) -> None:
    if not told:
        return
    ids, _ = write_series(connection, [each.values for each in told], overwrite=overwrite)
    rows = [
        {"series": row, "source": source, "digest": digests[_uid(each)]}
        | dict(zip(_SAID, _said(each), strict=True))
        for row, each in zip(ids, told, strict=True)
    ]
    insert = upserting(connection, remotes)
    written = {name: insert.excluded[name] for name in (*_SAID, "digest")}
    connection.execute(insert.on_conflict_do_update(index_elements=["series", "source"], set_=written), rows)
