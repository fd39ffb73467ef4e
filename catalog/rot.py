"""Reads a file again and tells rot from change: the same size and time, and other bytes.

The bytes come from the disk, not from what the system still holds of them in memory.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from datetime import datetime

from catalog import guard
from catalog.checks import Check, Due, Soundness
from catalog.containers import entry_at, is_elsewhere, state_of
from catalog.errors import HeaderError, words_of
from catalog.fetch import pieces

BLOCK = 1 << 20
"""Bytes that are read at once."""

_PUT_BACK = "put back a copy of it, then `workbench scrub` sees that it is good"


def reread(due: Due, *, checked: datetime, spend: Callable[[int], None]) -> Check:
    """Read a whole file and compare it with what is recorded of it; a bad file is a value.

    Where no digest of the whole file is recorded, the header is compared, and the digest is in the check.

    Parameters
    ----------
    spend
        Told every count of bytes that was read; it may wait.
    """
    digest = None
    try:
        compare = _compare_entry if is_elsewhere(due.path) else _compare
        state, reason, digest = compare(due, spend)
    except (FileNotFoundError, NotADirectoryError):
        state, reason = Soundness.VANISHED, "is gone; index its folder again"
    except OSError as error:
        state, reason = Soundness.UNREADABLE, f"cannot be read: {words_of(error)}"
    return Check(due.path, state, reason, checked, due, digest)


def _compare(due: Due, spend: Callable[[int], None]) -> tuple[Soundness, str, str | None]:
    descriptor = os.open(due.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not _is_as_indexed(descriptor, due):
            return _changed()
        _forget(descriptor)
        digest, size = _digest(descriptor, spend)
        reason = _difference(due, digest, size)
        if not _is_as_indexed(descriptor, due):  # somebody wrote meanwhile
            return _changed()
        _forget(descriptor)
    finally:
        os.close(descriptor)
    if reason:
        return Soundness.ROT, f"{reason}, while its size and time are the same; {_PUT_BACK}", None
    return Soundness.SOUND, "", digest


def _compare_entry(due: Due, spend: Callable[[int], None]) -> tuple[Soundness, str, str | None]:
    """The same for an entry of an archive, which is unpacked on the way."""
    if state_of(due.path)[1] != due.mtime_ns:
        return _changed()
    try:
        with entry_at(due.path) as entry:
            sha, size = hashlib.sha256(), 0
            for part in pieces(entry):
                sha.update(part)
                size += len(part)
                spend(len(part))
        reason = _difference(due, sha.hexdigest(), size)
    except HeaderError as error:
        reason = str(error)
    if state_of(due.path)[1] != due.mtime_ns:  # somebody wrote meanwhile
        return _changed()
    if reason:
        return Soundness.ROT, f"{reason}, while the time of its archive is the same; {_PUT_BACK}", None
    return Soundness.SOUND, "", sha.hexdigest()


def _is_as_indexed(descriptor: int, due: Due) -> bool:
    found = os.fstat(descriptor)
    is_same = (found.st_size, found.st_mtime_ns) == (due.size, due.mtime_ns)
    return is_same and stat.S_ISREG(found.st_mode)


def _changed() -> tuple[Soundness, str, None]:
    return Soundness.CHANGED, "has another size or time than was indexed; index its folder again", None


def _forget(descriptor: int) -> None:
    """Have the next read come from the disk, and leave the memory to others."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _digest(descriptor: int, spend: Callable[[int], None]) -> tuple[str, int]:
    sha, block, size = hashlib.sha256(), bytearray(BLOCK), 0
    while count := os.readv(descriptor, [block]):
        sha.update(memoryview(block)[:count])
        size += count
        spend(count)
    return sha.hexdigest(), size


def _difference(due: Due, digest: str, size: int) -> str:
    """What differs, in words; empty where nothing does."""
    if due.content_digest == digest:
        return ""
    if size != due.size:
        return f"{size:,} of its {due.size:,} bytes can be read"
    header = _header_digest(due.path)
    if due.header_digest is not None and header != due.header_digest:
        return "bytes of its header have changed"
    return "" if due.content_digest is None else "bytes of its pixel data, or after them, have changed"


def _header_digest(path: str) -> str | None:
    try:
        if is_elsewhere(path):
            with entry_at(path) as entry:
                return guard.scan(entry.stream, ()).digest
        return guard.scan(path, ()).digest
    except HeaderError:
        return None
