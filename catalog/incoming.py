"""One file as it comes in: written, counted and hashed part by part, with room left on its disk."""

import errno
import hashlib
import os
import secrets
from collections.abc import Buffer
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from catalog.room import STRIDE, leave_free

_BUFFER = 64 << 10
"""Bytes that are put together; longer parts are written as they come."""
_PIECE = 1 << 20
"""Bytes that are read back at once to be hashed."""


class Incoming:
    """A file as it comes in; gone unless it is taken.

    What comes after the first stride is hashed by a thread of its own, out of the file: SHA-256 takes as long
    as receiving and writing together.

    Raises
    ------
    OSError
        On opening and writing, with `ENOSPC` before the disk is full: `reserve` bytes stay free.
    """

    def __init__(self, folder: Path, reserve: int) -> None:
        self.token = secrets.token_hex(8)
        self.path = folder / f"{self.token}.partial"
        self.size = 0
        self.kept = False
        """Whether its name must stay for the next sweep, as nobody can say what became of it."""
        self._reserve = reserve
        self._sha = hashlib.sha256()
        self._hashing: ThreadPoolExecutor | None = None
        self._hashed: list[Future[None]] = []
        self._looked = 0
        leave_free(folder, reserve)
        self._file = self.path.open("x+b", buffering=_BUFFER)

    def write(self, part: Buffer) -> None:
        """Write on."""
        self._file.write(part)
        if self._hashing is None:
            self._sha.update(part)
        self.size += memoryview(part).nbytes
        if self.size - self._looked >= STRIDE:
            leave_free(self.path.parent, self._reserve)
            self.flush()

    def flush(self) -> None:
        """Have every byte on its way to the disk, and to its digest."""
        self._file.flush()
        start, length = self._looked, self.size - self._looked
        if self._hashing is not None:
            self._hashed.append(self._hashing.submit(self._hash, start, length))
        elif self.size >= STRIDE:
            self._hashing = ThreadPoolExecutor(1, "digest")
        if length and hasattr(os, "posix_fadvise"):  # the last wait is short then
            os.posix_fadvise(self._file.fileno(), start, length, os.POSIX_FADV_DONTNEED)
        self._looked = self.size

    def sync(self) -> str:
        """Wait until every byte is on the disk; return SHA-256 of all of them."""
        self.flush()
        os.fsync(self._file.fileno())
        for each in self._hashed:
            each.result()
        self._close()
        return self._sha.hexdigest()

    def discard(self) -> None:
        """Leave nothing."""
        with suppress(OSError):  # what a full disk did not take
            self._close()
        if not self.kept:
            self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._hashing is not None:
            self._hashing.shutdown(cancel_futures=True)
        self._file.close()

    def _hash(self, start: int, length: int) -> None:
        buffer = memoryview(bytearray(min(length, _PIECE)))
        end = start + length
        while start < end:
            piece = buffer[: end - start]
            count = os.preadv(self._file.fileno(), [piece], start)
            if not count:
                raise OSError(errno.EIO, "a file that comes in has become shorter")
            self._sha.update(piece[:count])
            start += count
