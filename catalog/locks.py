"""Locks between processes: a file that is held, by several or by one, until the holder ends, in any way."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalog.durable import make_folder

LOCK = ".lock"
"""Name of the lock of a folder."""


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Be at work in a folder, beside others who are; made when it is not there.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    with _held(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Be the only one at work in a folder; made when it is not there.

    Raises
    ------
    BlockingIOError
        If another is at work there, and nobody wants to wait.
    OSError
        If the folder cannot be written.
    """
    with _held(folder, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
        yield


def is_held(folder: Path) -> bool:
    """Whether somebody is at work in a folder; nothing is made where there is none."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _held(folder: Path, operation: int) -> Iterator[None]:
    descriptor = _opened(folder)
    try:
        fcntl.flock(descriptor, operation)
        while not _is_at(descriptor, folder / LOCK):  # its holder before removed the folder meanwhile
            os.close(descriptor)
            descriptor = _opened(folder)
            fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    while True:
        make_folder(folder)
        try:
            return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


_WRITERS_BYTE = "120"
"""Of the index of SQLite's log, whose lock makes the writer (https://www.sqlite.org/walformat.html)."""


def writer_of(path: str) -> str:
    """Say who writes an SQLite file, as far as Linux tells: `process 123 (python)`."""
    try:
        node = Path(f"{path}-shm").stat()
        device = f"{os.major(node.st_dev):02x}:{os.minor(node.st_dev):02x}:{node.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[-3:] == [device, _WRITERS_BYTE, _WRITERS_BYTE] and "->" not in fields:
                name = Path(f"/proc/{fields[-4]}/comm").read_text().strip()
                return f"process {fields[-4]} ({name})"
    except OSError:
        pass  # there is no such file elsewhere, and a process may end
    return "another process"
