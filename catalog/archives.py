"""Brings the rows of an archive's entries up to date; one whose file has not changed is not read."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import batched
from typing import Any

import sqlalchemy as sa

from catalog.containers import MARK, Container, Entry, entries, opened, split
from catalog.content import Contents
from catalog.database import Catalog
from catalog.errors import HeaderError
from catalog.extent import shortfall
from catalog.findings import record_indexed
from catalog.headers import read_header
from catalog.models import files, instances, upserting
from catalog.orthanc import BESIDE, is_attachment
from catalog.places import State
from catalog.records import InstanceHeader, Rejection, Unreadable
from catalog.scan import Found, openable, storable
from catalog.upsert import mark_vanished
from catalog.window import BLOCK, Stream

REASONS_AT_MOST = 1000
"""Entries of one archive without DICOM that have a row and a reason each; the others are counted."""
CONNECTIONS = 16
"""Objects that are asked for at a time."""
_AT_ONCE = 500

type Pair = tuple[Found, InstanceHeader | Unreadable]


class Reading:
    """The headers of an archive's entries, one after the other; iterate over it once.

    Parameters
    ----------
    found
        The file of the archive.
    contents
        What makes the content beside the columns.
    """

    def __init__(self, found: Found, contents: Contents) -> None:
        self._found, self._contents = found, contents
        self._unreadable = 0
        self.seen: set[int] = set()
        """Hashes of folder and name of every entry."""
        self.faults: list[Rejection] = []
        """What is wrong with the archive as a whole."""
        self.is_whole = True
        """Whether its entries could be gone through at all, to their end or to what is damaged."""

    def __iter__(self) -> Iterator[Pair]:
        address = self._found.path
        try:
            with opened(address) as container:
                for entry in entries(container):
                    pair = self._read(entry)
                    self.seen.add(hash((storable(entry.folder), storable(entry.name))))
                    if self._is_told(pair):
                        yield pair
        except HeaderError as error:
            self.faults.append(Rejection(address, str(error)))
            self.is_whole = not str(error).startswith("cannot be")
        more = self._unreadable - REASONS_AT_MOST
        if more > 0:
            self.faults.append(Rejection(address, f"has {more:,} more entries that are no readable DICOM"))

    def _read(self, entry: Entry) -> Pair:
        stream = entry.stream
        found = Found(entry.folder, entry.name, stream.size, stream.mtime_ns)
        if entry.fault:
            return found, Unreadable(found.path, entry.fault)
        header = read_header(found.path, self._contents, stream=stream)
        if isinstance(header, Unreadable) and header.reason.endswith(" archive"):
            words = f"{header.reason}; an archive in an archive is not entered, unpack the outer one"
            return found, Unreadable(found.path, words)
        if entry.name == "dicom" and is_attachment(self._found.path) and _is_cut_off(header):
            return found, Unreadable(found.path, BESIDE)
        digest = entry.digest.finish() if entry.digest and isinstance(header, InstanceHeader) else None
        return Found(entry.folder, entry.name, stream.size, stream.mtime_ns, digest), header

    def _is_told(self, pair: Pair) -> bool:
        self._unreadable += isinstance(pair[1], Unreadable)
        return isinstance(pair[1], InstanceHeader) or self._unreadable <= REASONS_AT_MOST


def known_archive(catalog: Catalog, found: Found) -> tuple[int, list[Rejection]] | None:
    """Return what is known of an archive that has not changed: entries that are well, and the others.

    `None` where it has to be read.
    """
    with catalog.reading() as connection:
        row = connection.execute(
            sa.select(files.c.size, files.c.mtime_ns, files.c.state, files.c.reason).where(
                files.c.folder == storable(found.folder), files.c.name == storable(found.name)
            )
        ).first()
        if row is None or (row.size, row.mtime_ns, row.state) != (
            found.size, found.mtime_ns, State.ARCHIVE.value,
        ):  # fmt: skip
            return None
        well = connection.scalar(
            sa.select(sa.func.count())
            .select_from(files)
            .where(_within(found.path), files.c.state.in_([State.INDEXED.value, State.DELETED.value]))
        )
        others = connection.execute(
            sa.select(files.c.folder, files.c.name, files.c.state, files.c.reason)
            .where(_within(found.path), files.c.state.in_([State.REJECTED.value, State.CONFLICT.value]))
            .order_by(files.c.folder, files.c.name)
        )
        faults = [Rejection(openable(f"{each.folder}/{each.name}"), each.reason) for each in others]
    faults += [Rejection(found.path, each) for each in row.reason.split("\n") if each]
    return int(well or 0), faults


def is_archive(catalog: Catalog, path: str) -> bool:
    """Whether a file on record is an archive, as far as is known."""
    folder, _, name = storable(path).rpartition("/")
    with catalog.reading() as connection:
        state = connection.scalar(
            sa.select(files.c.state).where(files.c.folder == (folder or "/"), files.c.name == name)
        )
    return state in (State.ARCHIVE.value, State.REJECTED.value)


def _is_cut_off(header: InstanceHeader | Unreadable) -> bool:
    """Whether a header of an image has no pixel data."""
    if isinstance(header, Unreadable) or header.pixel_data is not None:
        return False
    return shortfall(header) is not None


def read_objects(found: Sequence[Found], contents: Contents) -> Iterator[Pair]:
    """Read the headers of objects, the first bytes of several at a time; a network that fails ends it."""
    with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="objects") as executor:
        for each, start in zip(found, executor.map(lambda each: _start(each.path), found), strict=True):
            yield each, _header(each, start, contents)


def _start(address: str) -> bytes | HeaderError:
    """The first bytes of an object, where most headers end."""
    try:
        with opened(address) as container:
            return container.read(0, 4 * BLOCK)
    except HeaderError as error:
        return error


def _header(found: Found, start: bytes | HeaderError, contents: Contents) -> InstanceHeader | Unreadable:
    if isinstance(start, HeaderError):
        return Unreadable(found.path, str(start))
    position = 0
    with ExitStack() as stack:
        container: Container | None = None

        def read(count: int) -> bytes:
            nonlocal position, container
            part = start[position : position + count]
            if not part and position < found.size:
                container = container or stack.enter_context(opened(found.path))
                part = container.read(position, count)
            position += len(part)
            return part

        stream = Stream(read, found.size, found.mtime_ns)
        return read_header(found.path, contents, stream=stream)


def mark_gone_objects(catalog: Catalog, address: str, seen: set[int]) -> list[str]:
    """Note which objects below an address are gone, and what lay in them; returns their addresses."""
    gone = []
    for each in _gone(catalog, _below(address), seen):
        within = split(f"{each.folder}/{each.name}")
        if within is None or hash(tuple(within[0].rsplit("/", 1))) not in seen:
            gone.append(each)
    for some in batched(gone, _AT_ONCE):
        with catalog.transaction() as connection:
            mark_vanished(connection, [each.id for each in some])
            of_conflict = {each.sop_instance_uid for each in some if each.state == State.CONFLICT.value}
            record_indexed(connection, of_conflict)
    return [openable(f"{each.folder}/{each.name}") for each in gone]


def finish(catalog: Catalog, found: Found, reading: Reading) -> list[str]:
    """Note that an archive was read, and which of its entries are gone; returns their addresses."""
    reason = "\n".join(each.reason for each in reading.faults)
    row = {
        "folder": storable(found.folder), "name": storable(found.name), "size": found.size,
        "mtime_ns": found.mtime_ns, "reason": reason, "instance": None, "content_digest": None,
        "state": (State.ARCHIVE if reading.is_whole else State.REJECTED).value,
    }  # fmt: skip
    gone = list(_gone(catalog, _within(found.path), reading.seen)) if reading.is_whole else []
    for some in batched(gone, _AT_ONCE):
        with catalog.transaction() as connection:
            mark_vanished(connection, [each.id for each in some])
            of_conflict = {each.sop_instance_uid for each in some if each.state == State.CONFLICT.value}
            record_indexed(connection, of_conflict)
    with catalog.transaction() as connection:
        insert = upserting(connection.dialect, files)
        written = {name: insert.excluded[name] for name in row if name not in ("folder", "name")}
        connection.execute(insert.on_conflict_do_update(index_elements=["folder", "name"], set_=written), row)
    return [openable(f"{each.folder}/{each.name}") for each in gone]


def _gone(
    catalog: Catalog, where: sa.ColumnElement[bool], seen: set[int]
) -> Iterator[sa.Row[*tuple[Any, ...]]]:
    last = 0
    while True:
        with catalog.reading() as connection:
            rows = connection.execute(
                sa.select(
                    files.c.id, files.c.folder, files.c.name, files.c.state, instances.c.sop_instance_uid
                )
                .outerjoin(instances, files.c.instance == instances.c.id)
                .where(where, files.c.state != State.VANISHED.value, files.c.id > last)
                .order_by(files.c.id)
                .limit(20 * _AT_ONCE)
            ).all()
        if not rows:
            return
        last = rows[-1].id
        yield from (each for each in rows if hash((each.folder, each.name)) not in seen)


def _within(address: str) -> sa.ColumnElement[bool]:
    """Rows of what is in an archive."""
    return _below(f"{address}{MARK}")


def _below(address: str) -> sa.ColumnElement[bool]:
    folder = storable(address.rstrip("/"))
    below = sa.and_(files.c.folder >= f"{folder}/", files.c.folder < f"{folder}{chr(ord('/') + 1)}")
    return sa.or_(files.c.folder == folder, below)
