"""Brings the catalog up to date with archives: idempotent, in short transactions, one group for every file.

A batch of files is looked up, read and decided without a lock, then written in one transaction. Whatever ends
a run leaves whole batches; the next run goes on where they end.
"""

import itertools
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import batched, groupby
from pathlib import Path

import sqlalchemy as sa

from catalog.archives import (
    Pair,
    Reading,
    finish,
    is_archive,
    known_archive,
    mark_gone_objects,
    read_objects,
)
from catalog.containers import archive_of, is_container, opened
from catalog.content import Contents
from catalog.database import Catalog
from catalog.documents import note_documents
from catalog.doubts import settle as settle_doubts
from catalog.errors import CatalogError, ConflictError, HeaderError
from catalog.findings import record_indexed
from catalog.headers import read_header
from catalog.models import files, index_reports, instances
from catalog.objects import is_archive_name, is_remote, listed
from catalog.orthanc import BESIDE
from catalog.places import Group, Instance, Outcome, Place, State, decide, reject
from catalog.readers import Headers, Submit, children, read_ahead
from catalog.records import (
    IndexReport,
    InstanceHeader,
    Progress,
    Rejection,
    Unreadable,
    as_dict,
    no_progress,
)
from catalog.scan import Found, Scan, names_in, openable, storable
from catalog.upsert import Changes, OvertakenError, look_up, mark_vanished, place_of, write

BATCH = 500
"""Files in one transaction ..."""
ATTEMPTS = 20
"""How often a batch is looked at again where another process was faster."""
BATCH_BYTES = 1 << 30
"""... and their bytes, as the headers of large objects, of many frames, are large themselves."""
SMALL = 1_000
"""Files that are read here before a child process had started."""


def index_paths(
    catalog: Catalog,
    paths: Sequence[str | Path],
    *,
    workers: int = 1,
    submit: Submit | None = None,
    progress: Progress = no_progress,
) -> IndexReport:
    """Read archives into the catalog; a second run changes nothing and says so.

    However many read the headers, this process alone writes, and what is in the catalog then is the same.

    Parameters
    ----------
    catalog
        An open catalog.
    paths
        Folders, which are walked, and files.
    workers
        Processes that read headers: from two on children of this one, unless there are few files.
    submit
        Gives files to the workers of a cluster, as many as `workers` says, instead of children; it is called
        with paths, and what it returns gives what `catalog.readers.read_packed` returned for them.
    progress
        Called after every file.

    Raises
    ------
    catalog.errors.NotFoundError
        If a path does not exist; then nothing was done.
    """
    started = time.monotonic()
    given = [str(each) for each in paths]
    remote = [each for each in given if is_remote(each)]
    scan = Scan([each for each in given if not is_remote(each)])
    total = scan.count()
    progress(0, total)
    tally = Tally()
    contents = Contents()
    for address in remote:
        tally.add(_index_objects(catalog, address, contents, partial(_step, progress, total, tally.seen)))
    with ExitStack() as stack:
        if submit is None and workers > 1 and total > SMALL:
            submit = stack.enter_context(children(workers))
        batches = stack.enter_context(closing(_read(catalog, _batches(scan), submit, workers)))
        for looked, headers in batches:
            archives: list[Found] = []
            step = partial(_step, progress, total, tally.seen)
            if tally.conflicts:  # a file of an earlier batch may have taken the stead of one of this
                looked = replace(looked, rows=None)
            tally.add(_index(catalog, looked, headers, contents, archives, step))
            for each in archives:
                step = partial(_step, progress, total, tally.seen)
                tally.add(_index_archive(catalog, each, contents, step))
    for root in scan.held:
        tally.vanished += _mark_vanished(catalog, root)
    settle_doubts(catalog)
    report = tally.report(time.monotonic() - started)
    with catalog.transaction() as connection:
        connection.execute(index_reports.insert().values(finished=datetime.now(UTC), report=as_dict(report)))
    return report


type _Batch = list[Found | Rejection]
type _Rows = Mapping[tuple[str, str], Place]


@dataclass(frozen=True, slots=True)
class _Looked:
    """A batch that was looked up ahead."""

    batch: _Batch
    changed: list[str]
    """Paths of what is to be read."""
    rows: _Rows | None
    """Those of all its files, where nothing is to be read: they need not be looked up again."""


def _read(
    catalog: Catalog, batches: Iterable[_Batch], submit: Submit | None, workers: int
) -> Generator[tuple[_Looked, Headers]]:
    """Every batch with the headers that others read of it while the one before was written."""
    if submit is None:
        return ((_Looked(batch, [], None), {}) for batch in batches)
    looked = (_look(catalog, batch) for batch in batches)
    return read_ahead(looked, lambda each: each.changed, submit, workers + 1)


def _look(catalog: Catalog, batch: _Batch) -> _Looked:
    found = [each for each in batch if isinstance(each, Found)]
    with catalog.reading() as connection:
        rows = _known(connection, found)
    changed = [each.path for each in found if not _is_known(each, _row_of(each, rows))]
    return _Looked(batch, changed, None if changed else rows)


def _batches(scan: Iterable[Found | Rejection]) -> Iterator[_Batch]:
    """Cut what was found into batches that are read before they are written."""
    batch: _Batch = []
    size = 0
    for each in scan:
        batch.append(each)
        size += each.size if isinstance(each, Found) else 0
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def last_report(catalog: Catalog) -> IndexReport | None:
    """Return the report of the last run that came to its end, or `None`."""
    with catalog.reading() as connection:
        found = connection.scalar(
            sa.select(index_reports.c.report).order_by(index_reports.c.id.desc()).limit(1)
        )
    if found is None:
        return None
    rejections = {key: tuple(Rejection(**each) for each in found[key]) for key in ("rejected", "conflicts")}
    return IndexReport(**found | rejections | {"vanished": tuple(found["vanished"])})


@dataclass(slots=True)
class Tally:
    """Counts of a run, or of one batch."""

    counts: dict[Group, int] = field(default_factory=lambda: dict.fromkeys(Group, 0))
    duplicates: int = 0
    moved: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    conflicts: list[Rejection] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """Count of files."""
        return sum(self.counts.values())

    def count(self, outcome: Outcome) -> None:
        """Take in what became of one file."""
        self.duplicates += outcome.duplicate
        self.moved += outcome.moved
        for place in outcome.replaced:
            if place.id is not None:  # else it is counted as one of this batch
                self.conflicts.append(Rejection(place.path, place.reason))
                self.rejected.append(self.conflicts[-1])
        if outcome.group is Group.REJECTED or outcome.place.state is State.CONFLICT:
            rejection = Rejection(outcome.place.path, outcome.place.reason)
            self.reject(rejection)
            if outcome.place.state is State.CONFLICT:
                self.conflicts.append(rejection)
        else:
            self.counts[outcome.group] += 1

    def reject(self, rejection: Rejection) -> None:
        """Take in something that is no file of its own."""
        self.counts[Group.REJECTED] += 1
        self.rejected.append(rejection)

    def add(self, other: "Tally") -> None:
        """Take in a batch."""
        for group, count in other.counts.items():
            self.counts[group] += count
        self.duplicates += other.duplicates
        self.moved += other.moved
        self.rejected += other.rejected
        self.conflicts += other.conflicts
        self.vanished += other.vanished

    def report(self, seconds: float) -> IndexReport:
        """Return the counts as they are reported, rejections in the order of their paths.

        A cut file that was found unchanged in an earlier batch than the whole one is also counted there.
        """
        return IndexReport(
            self.counts[Group.ADDED],
            self.counts[Group.UPDATED],
            self.counts[Group.UNCHANGED],
            _counted(_each_once(self.rejected)),
            self.duplicates,
            self.moved,
            tuple(self.vanished),
            _each_once(self.conflicts),
            seconds,
        )


def _step(progress: Progress, total: int, before: int, count: int) -> None:
    progress(before + count, max(total, before + count))


def _counted(rejections: Sequence[Rejection]) -> tuple[Rejection, ...]:
    """Tell what Orthanc keeps beside its instances as one, with their count."""
    beside = [each for each in rejections if each.reason == BESIDE]
    if len(beside) < 2:
        return tuple(rejections)
    one = Rejection(beside[0].path, f"{BESIDE}; so are {len(beside) - 1:,} more")
    return (one, *(each for each in rejections if each.reason != BESIDE))


def _each_once(rejections: Sequence[Rejection]) -> tuple[Rejection, ...]:
    last = {each.path: each for each in rejections}
    return tuple(last[path] for path in sorted(last))


def _index(
    catalog: Catalog,
    looked: _Looked,
    ahead: Headers,
    contents: Contents,
    archives: list[Found],
    step: Callable[[int], None],
) -> Tally:
    """Index a batch, but for what is an archive: that is added to `archives`."""
    tally, batch, looked_up = Tally(), looked.batch, looked.rows
    for each in batch:
        if isinstance(each, Rejection):
            tally.reject(each)
    found = [each for each in batch if isinstance(each, Found)]
    for attempt in itertools.count(1):
        if looked_up is None:
            with catalog.reading() as connection:
                rows: _Rows = _known(connection, found)
        else:
            rows, looked_up = looked_up, None
        known = [each for each in found if _is_unchanged(each, _row_of(each, rows), _ARCHIVES)]
        archives += known
        found = [each for each in found if each not in known]
        changed = [each for each in found if not _is_unchanged(each, _row_of(each, rows))]
        step(len(batch) - len(changed))
        headers = []
        for each in changed:
            headers.append(ahead.get(each.path) or read_header(each.path, contents))
            step(len(batch) - len(changed) + len(headers))
        entered = [
            each
            for each, header in zip(changed, headers, strict=True)
            if isinstance(header, Unreadable) and _is_archive(each.path)
        ]
        archives += entered
        if entered:
            kept = [pair for pair in zip(changed, headers, strict=True) if pair[0] not in entered]
            changed, headers = [pair[0] for pair in kept], [pair[1] for pair in kept]
            found = [each for each in found if each not in entered]
        try:
            outcomes = settle(catalog, changed, headers, rows)
        except (OvertakenError, ConflictError, sa.exc.IntegrityError) as error:
            _give_up_after(attempt, error)
            ahead = {}  # another process indexed some of these files meanwhile: look again
            continue
        break
    replaced = {(place.folder, place.name) for each in outcomes for place in each.replaced}
    read = {(each.folder, each.name) for each in changed} if replaced else set()
    again = [each for each in found if (storable(each.folder), storable(each.name)) in replaced]
    unread = [each for each in again if (each.folder, each.name) not in read]
    tally.counts[Group.UNCHANGED] += len(found) - len(changed) - len(unread)
    for outcome in outcomes:
        tally.count(outcome)
    return tally


def _is_archive(path: str) -> bool:
    try:
        with opened(path) as file:
            return is_container(file.read(0, 512))
    except HeaderError:
        return False


def _index_archive(
    catalog: Catalog, archive: Found, contents: Contents, step: Callable[[int], None]
) -> Tally:
    """Index the entries of an archive; unless it has changed, nothing of it is read."""
    tally = Tally()
    known = known_archive(catalog, archive)
    if known is not None:
        tally.counts[Group.UNCHANGED], faults = known
        for each in faults:
            tally.reject(each)
        step(tally.seen)
        return tally
    reading = Reading(archive, contents)
    for batch in batched(reading, BATCH):
        for outcome in _settle_again(catalog, batch):
            tally.count(outcome)
        step(tally.seen)
    tally.vanished += finish(catalog, archive, reading)
    for each in reading.faults:
        tally.reject(each)
    return tally


def _index_objects(catalog: Catalog, address: str, contents: Contents, step: Callable[[int], None]) -> Tally:
    """Index what lies below an address of a server; of an object that has not changed nothing is read."""
    tally, seen = Tally(), set[int]()
    for batch in batched(listed(address), BATCH):
        seen |= {hash((storable(each.folder), storable(each.name))) for each in batch}
        archives = [each for each in batch if is_archive_name(each.name)]
        found = [each for each in batch if not is_archive_name(each.name)]
        with catalog.reading() as connection:
            rows = _known(connection, found)
        changed = [each for each in found if not _is_unchanged(each, _row_of(each, rows))]
        tally.counts[Group.UNCHANGED] += len(found) - len(changed)
        for outcome in _settle_again(catalog, list(read_objects(changed, contents))):
            tally.count(outcome)
        for each in archives:
            tally.add(_index_archive(catalog, each, contents, lambda _: None))
        step(tally.seen)
    tally.vanished += mark_gone_objects(catalog, address, seen)
    return tally


def _settle_again(catalog: Catalog, batch: Sequence[Pair]) -> list[Outcome]:
    """Settle entries that were read, again and again where another process was faster."""
    found, headers = [pair[0] for pair in batch], [pair[1] for pair in batch]
    for attempt in itertools.count(1):
        with catalog.reading() as connection:
            rows = _known(connection, found)
        try:
            return settle(catalog, found, headers, rows)
        except (OvertakenError, ConflictError, sa.exc.IntegrityError) as error:
            _give_up_after(attempt, error)
    raise AssertionError("it ends with a result or an error")


def _give_up_after(attempt: int, error: Exception) -> None:
    """Go on unless one batch was overtaken too often: by then it is no matter of chance."""
    if attempt >= ATTEMPTS:
        raise CatalogError(
            f"other processes changed the same files of the catalog {ATTEMPTS} times while they were read; "
            "do the same again when they are done"
        ) from error


def settle(
    catalog: Catalog,
    changed: Sequence[Found],
    headers: Sequence[InstanceHeader | Unreadable],
    rows: Mapping[tuple[str, str], Place],
    *,
    newest_counts: Collection[str] = (),
) -> list[Outcome]:
    """Decide on files that were read and write what is new, in one transaction.

    Parameters
    ----------
    catalog
        An open catalog.
    changed, headers
        The files and what was read of each, in the same order.
    rows
        Those of the files that were known, by folder and name.
    newest_counts
        Paths of files that count where their SOP Instance UID is known with other bytes.

    Raises
    ------
    OvertakenError
        If another process wrote some of them meanwhile; nothing is written then.
    """
    uids = {_uid(each) for each in headers if isinstance(each, InstanceHeader)}
    known = {}
    if uids:
        with catalog.reading() as connection:
            known = look_up(connection, uids)
    _refuse_if_overtaken(changed, known, rows)
    digests = {uid: instance.header_digest for uid, instance in known.items()}
    outcomes = []
    for found, header in zip(changed, headers, strict=True):
        match header:
            case Unreadable(_, reason):
                outcomes.append(reject(found, reason))
            case InstanceHeader():
                uid = _uid(header)
                instance = known.setdefault(uid, Instance(uid, header.header_digest))
                before, counts = _row_of(found, rows), found.path in newest_counts
                outcomes.append(decide(found, header, before, instance, newest_counts=counts))
    places = [each.place for each in outcomes if each.place != rows.get((each.place.folder, each.place.name))]
    places += [each.compared for each in outcomes if each.compared is not None]
    places += [place for each in outcomes for place in each.replaced if place not in places]
    emptied = [each.moved_from.id for each in outcomes if each.moved_from is not None]
    if places or emptied:
        named = {row.sop_instance_uid for row in rows.values() if row.sop_instance_uid is not None}
        with catalog.transaction() as connection:
            write(connection, Changes(known, digests, places, emptied))
            record_indexed(connection, known.keys() | named)
            note_documents(connection, known.values())
    return outcomes


def _refuse_if_overtaken(
    changed: Sequence[Found], known: Mapping[str, Instance], rows: Mapping[tuple[str, str], Place]
) -> None:
    read = {(storable(each.folder), storable(each.name)) for each in changed}
    for instance in known.values():
        for place in instance.places:
            key = (place.folder, place.name)
            if key in read and place != rows.get(key):
                raise OvertakenError


def _uid(header: InstanceHeader) -> str:
    return str(header.values["sop_instance_uid"])


def _row_of(found: Found, rows: Mapping[tuple[str, str], Place]) -> Place | None:
    return rows.get((storable(found.folder), storable(found.name))) if rows else None


def _is_known(found: Found, row: Place | None) -> bool:
    """Whether there is nothing to read, of a file or of an archive."""
    return _is_unchanged(found, row, _SETTLED | _ARCHIVES)


_SETTLED = frozenset({State.INDEXED, State.QUARANTINED})
_ARCHIVES = frozenset({State.ARCHIVE})


def _is_unchanged(found: Found, row: Place | None, states: frozenset[State] = _SETTLED) -> bool:
    return (
        row is not None and row.state in states and (row.size, row.mtime_ns) == (found.size, found.mtime_ns)
    )


def _known(connection: sa.Connection, found: Sequence[Found]) -> dict[tuple[str, str], Place]:
    """Rows of the files, by folder and name; the names of one folder are consecutive in a batch."""
    rows: dict[tuple[str, str], Place] = {}
    for folder, group in groupby(found, key=lambda each: storable(each.folder)):
        names = [storable(each.name) for each in group]
        statement = (
            sa.select(files, instances.c.sop_instance_uid)
            .outerjoin(instances, files.c.instance == instances.c.id)
            .where(files.c.folder == folder, files.c.name >= min(names), files.c.name <= max(names))
        )
        rows |= {
            (row.folder, row.name): place_of(row, row.sop_instance_uid)
            for row in connection.execute(statement)
        }
    return rows


def _mark_vanished(catalog: Catalog, root: str) -> list[str]:
    """Note which known files under a root are no longer there, and return their paths."""
    vanished: list[str] = []
    for folder in _known_folders(catalog, storable(root)):
        archive = archive_of(openable(folder))
        if archive is not None and is_archive(catalog, archive):
            continue  # which of its entries are gone was told when it was read
        with catalog.reading() as connection:
            rows = connection.execute(
                sa.select(files.c.id, files.c.name, files.c.state, instances.c.sop_instance_uid)
                .outerjoin(instances, files.c.instance == instances.c.id)
                .where(files.c.folder == folder, files.c.state != State.VANISHED.value)
            ).all()
        names = names_in(openable(folder))
        if names is None:
            continue
        gone = [row for row in rows if openable(row.name) not in names]
        for some in batched(gone, BATCH):
            with catalog.transaction() as connection:
                mark_vanished(connection, [row.id for row in some])
                in_conflict = {row.sop_instance_uid for row in some if row.state == State.CONFLICT.value}
                record_indexed(connection, in_conflict)
        vanished += [str(Path(openable(folder), openable(row.name))) for row in gone]
    return vanished


def _known_folders(catalog: Catalog, root: str) -> Iterator[str]:
    """Folders with known files from a root down, one look-up in the order of their index for each."""
    yield root
    below = root.rstrip("/") + "/"
    folder: str | None = below
    while True:
        with catalog.reading() as connection:
            folder = connection.scalar(
                sa.select(sa.func.min(files.c.folder)).where(
                    files.c.folder > folder, files.c.folder < below[:-1] + chr(ord("/") + 1)
                )
            )
        if folder is None:
            return
        yield folder
