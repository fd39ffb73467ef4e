"""Opens archives (ZIP, TAR, packed TAR) where they lie, and goes through their entries in small memory.

An entry has an address, `/archive/disk.zip!/sub/name`, which is never opened as a path. What lies or explodes
is a reason that names the entry.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from catalog import objects, orthanc, tars, zips
from catalog.errors import HeaderError, words_of
from catalog.objects import is_remote
from catalog.signatures import look_of
from catalog.window import Read, Stream
from catalog.zips import ReadAt

MARK = "!"
"""What stands behind the name of an archive in the address of what is in it."""
ENTRIES_AT_MOST = 2_000_000
"""Entries of one archive that are looked at."""

_DOCUMENTS = frozenset({"[Content_Types].xml", "mimetype", "META-INF/", "META-INF/MANIFEST.MF"})
"""First entries of documents of Word, Excel and OpenDocument and of Java programs, which are ZIP archives."""
_CACHED = 100_000
"""Entries of an archive whose directory is kept for the next look."""


@dataclass(frozen=True, slots=True)
class Container:
    """The bytes of an archive that is open."""

    address: str
    read: ReadAt
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, whose bytes are read before the next one comes."""

    folder: str
    """Address of the archive with `!`, and of the folder within."""
    name: str
    stream: Stream
    digest: "Digest | None" = None
    """Of all its bytes, once they were read; only where they come by anyway."""
    fault: str = ""
    crc: int | None = None
    """CRC-32 of all its bytes, where the archive has one."""


def is_container(magic: bytes) -> bool:
    """Whether a file that begins so may be an archive."""
    packed = any(magic.startswith(begins) for begins, _ in tars.UNPACKERS)
    is_known = packed or magic.startswith((b"PK\3\4", b"PK\5\6")) or tars.is_tar(magic)
    return is_known or orthanc.is_compressed(magic)


@contextmanager
def opened(path: str) -> Iterator[Container]:
    """Open the file of an archive.

    Raises
    ------
    HeaderError
        If it cannot be read.
    """
    if is_remote(path):
        with _remote(path) as container:
            yield container
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        what = words_of(error) if isinstance(error, OSError) else "not a path"
        raise HeaderError(f"cannot be opened: {what}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise HeaderError("is no regular file")
        yield Container(
            path, lambda at, count: os.pread(descriptor, count, at), found.st_size, found.st_mtime_ns
        )
    except OSError as error:
        raise HeaderError(f"cannot be read: {words_of(error)}") from None
    finally:
        os.close(descriptor)


@contextmanager
def _remote(address: str) -> Iterator[Container]:
    try:
        with objects.opened(address) as each:
            yield Container(address, each.read, each.size, each.stamp)
    except OSError as error:
        raise HeaderError(f"cannot be read: {words_of(error)}") from None


def entries(container: Container) -> Iterator[Entry]:
    """Go through the entries of an archive that are no folders; each name comes once.

    Raises
    ------
    HeaderError
        If it is damaged, or explodes; what came before stands.
    """
    magic = container.read(0, tars.BLOCK_SIZE)
    if orthanc.is_compressed(magic):
        found = _of_orthanc(container)
    else:
        found = _of_zip(container) if magic.startswith(b"PK") else _of_tar(container, magic)
    seen: set[int] = set()
    for count, each in enumerate(found, start=1):
        if count > ENTRIES_AT_MOST:
            raise HeaderError(f"has more than {ENTRIES_AT_MOST:,} entries; the others were not read")
        key = hash((each.folder, each.name))
        if key in seen:
            each = replace(each, fault="is a second entry of this name in its archive; the first one is read")
        seen.add(key)
        yield each


def split(path: str) -> tuple[str, str] | None:
    """Return the archive and the address of the entry's folder of an address; `None` for a plain path."""
    position = path.find(f"{MARK}/")
    while position >= 0:
        archive = path[:position]
        if objects.is_archive_name(archive) if is_remote(path) else Path(archive).is_file():
            return archive, path
        position = path.find(f"{MARK}/", position + 1)
    return None


def is_elsewhere(path: str) -> bool:
    """Whether an address is no path that can be opened."""
    return is_remote(path) or (f"{MARK}/" in path and split(path) is not None)


def state_of(path: str) -> tuple[int | None, int]:
    """Return size and time of a file, for an entry only the time, which is that of its archive.

    Raises
    ------
    OSError
        If it is gone or out of reach.
    """
    within = split(path)
    if is_remote(path):
        with objects.opened(path if within is None else within[0]) as each:
            return each.size if within is None else None, each.stamp
    if within is not None:
        return None, os.stat(within[0]).st_mtime_ns  # noqa: PTH116
    found = os.stat(path)  # noqa: PTH116  # a million paths: no objects
    return found.st_size, found.st_mtime_ns


def archive_of(folder: str) -> str | None:
    """Return the archive in which a folder lies, if there is such a file."""
    found = split(f"{folder}/")
    return found[0] if found is not None else None


@contextmanager
def entry_at(path: str) -> Iterator[Entry]:
    """Open one entry by its address.

    Raises
    ------
    HeaderError
        If there is no such archive or entry, or it cannot be read.
    """
    found = split(path)
    if found is None and is_remote(path):
        with opened(path) as container:
            yield _whole(container)
        return
    if found is None:
        raise HeaderError("lies in an archive that is gone")
    folder, _, name = path.rpartition("/")
    with opened(found[0]) as container:
        yield _find(container, folder, name)


def entries_at(paths: Sequence[str]) -> Iterator[tuple[str, Entry | HeaderError]]:
    """Open several entries by their addresses, one pass an archive; in any order, each read before the next.

    What is not there does not come; an archive that cannot be read is the error for all that it should hold.
    """
    by_archive: dict[str, set[str]] = {}
    for path in paths:
        if (found := split(path)) is not None:
            by_archive.setdefault(found[0], set()).add(path)
        elif is_remote(path):
            try:
                with opened(path) as container:
                    yield path, _whole(container)
            except HeaderError as error:
                yield path, error
    for archive, wanted in by_archive.items():
        try:
            with opened(archive) as container:
                for path, entry in _those(container, wanted):
                    wanted.discard(path)
                    yield path, entry
        except HeaderError as error:
            yield from ((path, error) for path in wanted)


def _whole(container: Container) -> Entry:
    """An object as the one entry of itself."""
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        part = container.read(position, count)
        position += len(part)
        return part

    folder, _, name = container.address.rpartition("/")
    return Entry(folder, name, Stream(read, container.size, container.mtime_ns))


def _those(container: Container, wanted: set[str]) -> Iterator[tuple[str, Entry]]:
    if container.read(0, 2) == b"PK":
        for path in sorted(wanted):
            folder, _, name = path.rpartition("/")
            yield path, _find(container, folder, name)
        return
    left = len(wanted)
    for each in entries(container):
        path = f"{each.folder}/{each.name}"
        if path in wanted:
            yield path, each
            left -= 1
            if not left:
                return


def _find(container: Container, folder: str, name: str) -> Entry:
    if container.read(0, 2) == b"PK":
        known = _directory(container.address, container.size, container.mtime_ns)
        if known is not None and (entry := known.get((folder, name))) is not None:
            return _zip_entry(container, entry, folder, name, _Budget(container.size))
    for each in entries(container):
        if (each.folder, each.name) == (folder, name):
            return each
    raise HeaderError("is no longer in its archive")


@lru_cache(maxsize=2)
def _directory(address: str, size: int, mtime_ns: int) -> dict[tuple[str, str], zips.Entry] | None:
    """The directory of a ZIP archive as it was at a time; `None` where it is large."""
    found: dict[tuple[str, str], zips.Entry] = {}
    with opened(address) as container:
        for each in zips.entries(container.read, container.size):
            if len(found) == _CACHED:
                return None
            placed = _placed(address, each.name)
            if not isinstance(placed, str):
                found.setdefault(placed, each)
    return found


def _of_zip(container: Container) -> Iterator[Entry]:
    budget = _Budget(container.size)
    for count, each in enumerate(zips.entries(container.read, container.size)):
        if count == 0 and each.name in _DOCUMENTS:
            raise HeaderError(
                "is a ZIP archive that is a document or a program (Word, Excel, OpenDocument, Java)"
            )
        placed = _placed(container.address, each.name)
        if isinstance(placed, str):
            yield _faulty(container, each.name, each.size, placed)
        elif not each.name.endswith(("/", "\\")):
            yield _zip_entry(container, each, *placed, budget)
            budget.check(each.name)


def _zip_entry(container: Container, entry: zips.Entry, folder: str, name: str, budget: "_Budget") -> Entry:
    try:
        read = budget.counting(zips.stream(container.read, entry))
    except HeaderError as error:
        return Entry(folder, name, Stream(_nothing, entry.size, container.mtime_ns), fault=str(error))
    return Entry(folder, name, Stream(read, entry.size, container.mtime_ns), crc=entry.crc)


def _of_tar(container: Container, magic: bytes) -> Iterator[Entry]:
    first = tars.opened(container.read, magic)
    if not tars.is_tar(_block(first)):
        raise HeaderError(
            f"looks like {look_of(magic) or 'an archive'}, and no TAR archive is in it; "
            "unpack it and index what it holds"
        )
    source = tars.opened(container.read, magic)
    is_packed = isinstance(source, tars.Packed)
    for each in tars.members(source, container.size):
        placed = _placed(container.address, each.name)
        if isinstance(placed, str):
            yield _faulty(container, each.name, each.size, placed)
            continue
        digest = Digest(each.read) if is_packed else None
        read = each.read if digest is None else digest.read
        stream = Stream(read, each.size, container.mtime_ns)
        yield Entry(*placed, stream, digest, each.fault)


def _of_orthanc(container: Container) -> Iterator[Entry]:
    """The one entry of a compressed file of an Orthanc."""
    if not orthanc.is_attachment(container.address):
        raise HeaderError("is no DICOM")
    size = orthanc.size_of(container.read)
    source = tars.Packed(tars.Source(container.read, orthanc.PREFIX), orthanc.unpacker)
    first = source.read(1)
    if first in (b"{", b"["):
        raise HeaderError(orthanc.BESIDE)

    def read(count: int) -> bytes:
        nonlocal first
        part, first = first or source.read(count), b""
        return part

    yield Entry(f"{container.address}{MARK}", "dicom", Stream(read, size, container.mtime_ns))


def _block(source: tars.Source | tars.Packed) -> bytes:
    content = b""
    while len(content) < tars.BLOCK_SIZE and (part := source.read(tars.BLOCK_SIZE - len(content))):
        content += part
    return content


def _faulty(container: Container, name: str, size: int, fault: str) -> Entry:
    """An entry whose name is no place in the archive; it is on record under a name that is one."""
    harmless = name.replace("/", "∕").replace("\0", "␀")[:200]
    return Entry(
        f"{container.address}{MARK}", harmless, Stream(_nothing, size, container.mtime_ns), fault=fault
    )


def _nothing(_: int) -> bytes:
    return b""


def _placed(address: str, name: str) -> tuple[str, str] | str:
    """Folder and name of an entry, or why its name is none."""
    parts = (name if "/" in name else name.replace("\\", "/")).split("/")
    if "\0" in name:
        return "has a name with a zero byte in its archive; it was not read"
    if ".." in parts or parts[0].endswith(":") or (parts[0] == "" and len(parts) > 1):
        return "has a name that leads out of its archive; it was not read"
    kept = [each for each in parts if each not in ("", ".")]
    if not kept:
        return (
            (f"{address}{MARK}", "") if name.endswith("/") else "has no name in its archive; it was not read"
        )
    return "/".join([f"{address}{MARK}", *kept[:-1]]), kept[-1]


class _Budget:
    """How much an archive may unpack to, counted as it is unpacked."""

    __slots__ = ("_size", "_unpacked")

    def __init__(self, size: int) -> None:
        self._size, self._unpacked = size, 0

    def counting(self, read: Read) -> Read:
        def counted(count: int) -> bytes:
            part = read(count)
            self._unpacked += len(part)
            if self._is_spent:
                raise HeaderError(_EXPLODES)
            return part

        return counted

    @property
    def _is_spent(self) -> bool:
        return self._unpacked > tars.FREE and self._unpacked > tars.RATIO_LIMIT * self._size

    def check(self, name: str) -> None:
        if self._is_spent:
            raise HeaderError(f"{_EXPLODES}, in its entry {name!r}")


_EXPLODES = f"unpacks to more than {tars.RATIO_LIMIT} times its archive's size; it was read no further"


class Digest:
    """SHA-256 of bytes that are read."""

    __slots__ = ("_read", "_sha")

    def __init__(self, read: Read) -> None:
        self._read, self._sha = read, hashlib.sha256()

    def read(self, count: int) -> bytes:
        """Read on."""
        part = self._read(count)
        self._sha.update(part)
        return part

    def finish(self) -> str:
        """Read what is left, and return the digest of everything."""
        while self.read(1 << 20):
            pass
        return self._sha.hexdigest()
