"""Makes local files of instances that lie elsewhere, in a folder with a limit: the least recently used go.

A file is named by a digest of where it came from and what it was there; no name from outside is in a path.
"""

import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import batched
from pathlib import Path

import sqlalchemy as sa

from catalog import locks
from catalog.containers import Entry, entries_at, is_elsewhere
from catalog.database import Catalog
from catalog.durable import file_digest, write_parts
from catalog.errors import HeaderError
from catalog.identifiers import digest_of_texts
from catalog.models import files
from catalog.records import InstanceRecord
from catalog.scan import storable

PIECE = 1 << 20
"""Bytes that are copied at once."""
_AT_ONCE = 400


@dataclass(frozen=True, slots=True)
class Local:
    """Instances with files of this machine."""

    instances: tuple[InstanceRecord, ...]
    failures: Mapping[str, str] = field(default_factory=dict)
    """SOP Instance UID of each that could not be fetched, and why; it keeps its address."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Path of each fetched file to where it came from."""

    def address(self, path: str) -> str:
        """Where a file lies in the archive."""
        return self.addresses.get(path, path)


@dataclass(frozen=True, slots=True)
class _Wanted:
    instance: InstanceRecord
    size: int
    mtime_ns: int
    content_digest: str | None

    @property
    def name(self) -> str:
        its = (self.instance.path, str(self.size), str(self.mtime_ns), self.instance.header_digest)
        return f"{digest_of_texts(its)}.dcm"


class Fetched:
    """The local files of what lies elsewhere.

    Parameters
    ----------
    catalog
        Knows what the instances were when they were indexed.
    folder
        Made when it is wanted.
    limit
        Bytes that it holds when nobody is at work with it; what is in use is never removed.
    """

    def __init__(self, catalog: Catalog, folder: Path, limit: int) -> None:
        self._catalog, self._folder, self._limit = catalog, folder, limit

    @contextmanager
    def local(self, instances: Sequence[InstanceRecord]) -> Iterator[Local]:
        """Give instances whose paths can be opened, as long as the context lasts.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        elsewhere = [each for each in instances if is_elsewhere(each.path)]
        if not elsewhere:
            yield Local(tuple(instances))
            return
        self.trim()
        with locks.shared(self._folder):
            yield self._fetched(instances, self._wanted(elsewhere))

    def trim(self) -> int:
        """Remove the least recently used files beyond the limit, unless somebody uses any; returns bytes."""
        if not self._folder.is_dir():
            return 0
        removed = 0
        try:
            with locks.alone(self._folder, wait=False):
                there = [(each.stat(), each) for each in self._folder.iterdir() if each.name != locks.LOCK]
                there.sort(key=lambda each: each[0].st_atime_ns, reverse=True)
                held = 0
                for status, each in there:
                    held += status.st_size
                    if held > self._limit or each.suffix != ".dcm":
                        each.unlink(missing_ok=True)
                        removed += status.st_size
        except BlockingIOError:
            return 0
        return removed

    def _fetched(self, instances: Sequence[InstanceRecord], wanted: dict[str, _Wanted]) -> Local:
        found: dict[str, Path] = {}
        missing: dict[str, _Wanted] = {}
        for address, each in wanted.items():
            path = self._folder / each.name
            try:
                os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
            except FileNotFoundError:
                missing[address] = each
            else:
                found[address] = path
        reasons: dict[str, str] = {}
        for address, entry in entries_at(list(missing)):
            try:
                found[address] = self._copy(missing[address], entry)
            except HeaderError as error:
                reasons[address] = str(error)
        records = tuple(
            replace(each, path=str(found[each.path])) if each.path in found else each for each in instances
        )
        failures = {
            each.sop_instance_uid: reasons.get(each.path, "is not where it was indexed; index it again")
            for each in instances
            if is_elsewhere(each.path) and each.path not in found
        }
        return Local(records, failures, {str(path): address for address, path in found.items()})

    def _copy(self, wanted: _Wanted, entry: Entry | HeaderError) -> Path:
        if isinstance(entry, HeaderError):
            raise entry
        if entry.fault:
            raise HeaderError(entry.fault)
        if (entry.stream.size, entry.stream.mtime_ns) != (wanted.size, wanted.mtime_ns):
            raise HeaderError("has changed since it was indexed; index it again")
        path = self._folder / wanted.name
        write_parts(path, pieces(entry))
        if wanted.content_digest is not None and file_digest(path) != wanted.content_digest:
            path.unlink()
            raise HeaderError("has other bytes than were indexed, while its size and time are the same")
        return path

    def _wanted(self, instances: Sequence[InstanceRecord]) -> dict[str, _Wanted]:
        by_place = {storable(each.path): each for each in instances}
        found: dict[str, _Wanted] = {}
        with self._catalog.reading() as connection:
            for some in batched(by_place, _AT_ONCE):
                keys = [tuple(each.rsplit("/", 1)) for each in some]
                rows = connection.execute(
                    sa.select(
                        files.c.folder, files.c.name, files.c.size, files.c.mtime_ns, files.c.content_digest
                    ).where(sa.tuple_(files.c.folder, files.c.name).in_(keys))
                )
                for row in rows:
                    instance = by_place[f"{row.folder}/{row.name}"]
                    found[instance.path] = _Wanted(instance, row.size, row.mtime_ns, row.content_digest)
        return found


def pieces(entry: Entry) -> Iterator[bytes]:
    """Bytes of an entry, piece by piece; neither more nor fewer than it declares, and those it declares.

    Raises
    ------
    HeaderError
        If they are others.
    """
    size, crc = 0, 0
    while part := entry.stream.read(PIECE):
        size, crc = size + len(part), zlib.crc32(part, crc)
        if size > entry.stream.size:
            break
        yield part
    if size != entry.stream.size:
        raise HeaderError(
            f"is damaged in its archive: it declares {entry.stream.size:,} bytes and has others"
        )
    if entry.crc is not None and crc != entry.crc:
        raise HeaderError("is damaged in its archive: its checksum is another")
