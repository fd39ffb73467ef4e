"""Room on a disk: so much of it stays free, whatever comes in, that databases and people can go on."""

import errno
import shutil
from pathlib import Path

STRIDE = 16 << 20
"""Bytes after which the space is looked at again."""


def leave_free(folder: Path, reserve: int) -> None:
    """Raise OSError (ENOSPC) where fewer than `reserve` bytes are free on the disk of a folder."""
    if shutil.disk_usage(folder).free < reserve:
        raise OSError(errno.ENOSPC, "fewer bytes are free than are to stay free", str(folder))


class Room:
    """Looks at the space of a disk while files are written there, at once and after each stride.

    Raises
    ------
    OSError
        On making it and on taking, with `ENOSPC` before the disk is full: `reserve` bytes stay free.
    """

    def __init__(self, folder: Path, reserve: int) -> None:
        self._folder, self._reserve, self._unseen = folder, reserve, 0
        leave_free(folder, reserve)

    def take(self, size: int) -> None:
        """Count bytes that are about to be written."""
        self._unseen += size
        if self._unseen >= STRIDE:
            leave_free(self._folder, self._reserve)
            self._unseen = 0
