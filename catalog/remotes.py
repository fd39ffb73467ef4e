"""Series that are known from elsewhere: what a bucket or a PACS tells of them, without a file here."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import batched

import sqlalchemy as sa

from catalog.ahead import Ahead
from catalog.attributes import PATIENT, SERIES, STUDY
from catalog.corrections import reapply_studies
from catalog.database import CACHE_KIB, Catalog
from catalog.doubts import settle
from catalog.errors import NotFoundError
from catalog.matching import is_storable
from catalog.models import patients, remotes, series, studies
from catalog.records import Progress, RemoteReport, RemoteSeries, no_progress
from catalog.staging import forget_unchanged, known, stage, told, write
from catalog.told import SAID, Columns, Sifted, columns_of, sifted
from catalog.tombstones import deleted_rows, doubt_deleted

BATCH = 20_000
"""Series in one transaction."""
_FILLING_KIB = 64_000


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
        Whether these are all: rows of the source for other series are then taken away in the end, unless
        some were told without their UID.
    """
    batches = map(sifted, map(columns_of, batched(told, BATCH)))
    return _record_all(catalog, source, batches, complete=complete)


def record_columns(
    catalog: Catalog,
    source: str,
    batches: Iterable[Columns],
    *,
    complete: bool = False,
    progress: Progress = no_progress,
) -> RemoteReport:
    """The same for batches of columns, each recorded in a transaction of its own.

    They are made in a thread, the next while one is written; they must not wait for anybody.
    """
    with Ahead(map(sifted, batches)) as ahead:
        return _record_all(
            catalog, source, ahead, complete=complete, progress=progress, meanwhile=ahead.begin
        )


def _record_all(
    catalog: Catalog,
    source: str,
    batches: Iterable[Sifted],
    *,
    complete: bool,
    progress: Progress = no_progress,
    meanwhile: Callable[[], None] = lambda: None,
) -> RemoteReport:
    report, named = RemoteReport(source), array("q")
    with catalog.reading() as connection:
        of_source = sa.select(sa.func.max(remotes.c.id)).where(remotes.c.source == source)
        last = connection.scalar(of_source) or 0
    with _roomy(catalog):
        for sound in batches:
            with catalog.transaction() as connection:
                _take_room(connection, _FILLING_KIB)
                stage(connection, sound)
                meanwhile()  # from here on there are long statements
                report = _plus(report, _record(connection, source, sound, named))
            progress(report.series, None)
        are_all_named = all(each.path for each in report.rejected)  # else any row may be one of those
        withdrawn = _withdraw(catalog, source, named, last) if complete and last and are_all_named else 0
        settle(catalog)
    return replace(report, withdrawn=withdrawn)


def _record(connection: sa.Connection, source: str, sound: Sifted, named: "array[int]") -> RemoteReport:
    there = known(connection, source)
    before = [(row, same) for row, same in there if row is not None]
    named.extend(row for row, _ in before)
    named.extend(_rows_of(connection, source, [each.path for each in sound.rejected]))
    series, unchanged = len(sound.digests), sum(same for _, same in before)
    if unchanged:
        forget_unchanged(connection, source)
    if unchanged < series:
        write(connection, source, sound, are_new=not there)
        of_studies = sa.select(studies.c.id).where(
            studies.c.study_instance_uid.in_(sa.select(told.c.study_instance_uid))
        )
        if reapply_studies(connection, of_studies):
            doubt_deleted(connection)
    return RemoteReport(
        source, series - len(before), len(before) - unchanged, unchanged + sound.twice, sound.rejected
    )


@contextmanager
def _roomy(catalog: Catalog) -> Iterator[None]:
    """Give the memory back in the end, however it ends."""
    try:
        yield
    finally:
        with catalog.reading() as connection:
            _take_room(connection, CACHE_KIB)


def _take_room(connection: sa.Connection, kib: int) -> None:
    """More pages in memory, where SQLite writes: entries of an index come in no order."""
    if connection.dialect.name == "sqlite":
        for schema in ("main", "temp"):
            connection.exec_driver_sql(f"PRAGMA {schema}.cache_size = -{kib}")


def _rows_of(connection: sa.Connection, source: str, uids: Iterable[str]) -> list[int]:
    """Rows of `remotes` that a source has for series."""
    found: list[int] = []
    for some in batched(filter(is_storable, uids), BATCH):
        statement = sa.select(remotes.c.id).join(series, series.c.id == remotes.c.series)
        found += connection.scalars(
            statement.where(remotes.c.source == source, series.c.series_instance_uid.in_(some))
        )
    return found


def _withdraw(catalog: Catalog, source: str, named: "array[int]", last: int) -> int:
    """Take away the rows of a source, up to the last there was, that are not named; those of series stay."""
    of_source = (
        sa.select(remotes.c.id)
        .where(remotes.c.source == source, remotes.c.id <= last)
        .execution_options(yield_per=BATCH)
    )
    kept = set(named)
    with catalog.reading() as connection:
        gone = [row for row in connection.scalars(of_source) if row not in kept]
    for some in batched(gone, BATCH):
        with catalog.transaction() as connection:
            connection.execute(sa.delete(remotes).where(remotes.c.id.in_(some)))
    return len(gone)


def remote_of(catalog: Catalog, series_instance_uid: str) -> RemoteSeries | None:
    """Return what a source elsewhere tells of a series; of several sources, the one that told first.

    `None` where none does, or it was deleted; values are those of its rows in the catalog.

    Raises
    ------
    NotFoundError
        If the catalog has no such series.
    """
    of_series = sa.select(series.c.id).where(series.c.series_instance_uid == series_instance_uid)
    statement = sa.select(remotes).where(
        remotes.c.series == of_series.scalar_subquery(), remotes.c.series.not_in(deleted_rows())
    )
    with catalog.reading() as connection:
        row = connection.execute(statement.order_by(remotes.c.id).limit(1)).mappings().first()
        if row is not None:
            return RemoteSeries(
                _values(connection, row["series"]), row["source"], **{name: row[name] for name in SAID}
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
