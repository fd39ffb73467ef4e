"""One file as it comes in: written, counted and hashed part by part, with room left on its disk."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Buffer
from contextlib import suppress
from pathlib import Path

STRIDE = 16 << 20
"""Bytes after which the space is looked at again, and the disk is set to work."""
_BUFFER = 1 << 18


class Incoming:
    """A file as it comes in: written, counted and hashed part by part; gone unless it is taken.

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
        self._looked = 0
        leave_free(folder, reserve)
        self._file = self.path.open("xb", buffering=_BUFFER)

    def write(self, part: Buffer) -> None:
        """Write on."""
        self._file.write(part)
        self._sha.update(part)
        self.size += memoryview(part).nbytes
        if self.size - self._looked >= STRIDE:
            leave_free(self.path.parent, self._reserve)
            self._set_to_work()

    def sync(self) -> str:
        """Wait until every byte is on the disk; return SHA-256 of all of them."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._sha.hexdigest()

    def discard(self) -> None:
        """Leave nothing."""
        with suppress(OSError):  # what a full disk did not take
            self._file.close()
        if not self.kept:
            self.path.unlink(missing_ok=True)

    def _set_to_work(self) -> None:
        """Have the disk begin with what is there, so that the last wait is short and memory stays flat."""
        if hasattr(os, "posix_fadvise"):
            length = self.size - self._looked
            os.posix_fadvise(self._file.fileno(), max(self._looked, STRIDE), length, os.POSIX_FADV_DONTNEED)
        self._looked = self.size


def leave_free(folder: Path, reserve: int) -> None:
    """Raise OSError (ENOSPC) where fewer than `reserve` bytes are free on the disk of a folder."""
    if shutil.disk_usage(folder).free < reserve:
        raise OSError(errno.ENOSPC, "fewer bytes are free than are to stay free", str(folder))
