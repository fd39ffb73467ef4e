"""Bytes on the disk: whole and durable before they have a name, so that a row may follow; known by a digest.

What is being written stands beside its final name as `….partial`. A crash leaves that, never half a file.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Buffer, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_BUFFER = 256 << 10


def write(target: Path, content: Buffer) -> None:
    """Write a file whole; it has its name, also after a power cut, when this returns.

    A file of that name is replaced. Two writers at a time do not disturb each other: the later one stays.

    Raises
    ------
    OSError
        If the folder cannot be written; then there is no such file, or the one that was there before.
    """
    write_parts(target, (content,))


def write_parts(target: Path, parts: Iterable[Buffer]) -> None:
    """Write a file as `write` does, its content part by part; whatever the parts raise leaves no file."""
    _write(Partial(target), parts)


def write_beside(target: Path, parts: Iterable[Buffer]) -> Path:
    """Write a file as `write_parts` does, but where other bytes have the name they keep it: return the name.

    Raises
    ------
    OSError
        As `write`.
    """
    file = Partial(target)
    _write(file, parts, ready=file.step_aside)
    return file.target


def _write(file: "Partial", parts: Iterable[Buffer], ready: Callable[[], None] = lambda: None) -> None:
    try:
        with _naming(file.target):
            for content in parts:
                file.write(content)
        ready()
        file.publish()
    except BaseException:
        file.discard()
        raise


class Partial:
    """A file that is being written; it has its name, whole and durable, once it is published.

    Raises
    ------
    OSError
        As `write`, by each method; what is not published afterwards is to be discarded.
    """

    def __init__(self, target: Path) -> None:
        make_folder(target.parent)
        self.target = target
        self._partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
        with _naming(target):
            self._file = self._partial.open("xb", buffering=_BUFFER)
        self._is_durable = False

    def write(self, content: Buffer) -> None:
        """Write some bytes at the end."""
        with _naming(self.target):
            self._file.write(content)

    def close(self) -> None:
        """Write no more; the disk begins with what is there, so that waiting for it later takes less."""
        with _naming(self.target):
            self._file.flush()
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self._file.close()

    def step_aside(self) -> None:
        """Take another name, with the digest, where other bytes have the wanted one: they keep it.

        To be called when all is written.
        """
        with _naming(self.target):
            if not self.target.exists():
                return
            if not self._file.closed:
                self._file.flush()
            digest = file_digest(self._partial)
            if file_digest(self.target) != digest:
                self.target = self.target.with_stem(f"{self.target.stem}-{digest[:16]}")

    def publish(self) -> None:
        """Give the file its name, which it has also after a power cut."""
        publish_files((self,))

    def sync(self) -> None:
        """Wait until its bytes are on the disk; no more are written then."""
        if self._is_durable:
            return
        with _naming(self.target):
            if not self._file.closed:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
            else:
                sync(self._partial)
        self._is_durable = True

    def rename(self) -> None:
        """Give it its name."""
        with _naming(self.target):
            self._partial.replace(self.target)

    def discard(self) -> None:
        """Leave nothing of it."""
        with suppress(OSError):
            self._file.close()  # which writes what it holds
        self._partial.unlink(missing_ok=True)


def sync_files(files: Sequence[Partial]) -> None:
    """Wait until the bytes of finished files are on the disk.

    The newest is waited for first: what a file system writes for it covers the others, most of which cost
    little then.

    Raises
    ------
    OSError
        If that fails.
    """
    for file in reversed(files):
        file.sync()


def publish_files(files: Sequence[Partial]) -> None:
    """Give finished files their names, which they have also after a power cut.

    All their bytes are waited for first: names that change in between would have the file system begin anew.

    Raises
    ------
    OSError
        If that fails; files that are not there under their names are to be discarded.
    """
    sync_files(files)
    for file in files:
        file.rename()
    for folder in dict.fromkeys(file.target.parent for file in files):
        sync(folder)


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """A write names no file, or one of ours, where a person asked for this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(target), None
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there; their names survive a power cut, too."""
    if folder.is_dir():
        return
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync(each.parent)


def publish(partial: Path, folder: Path) -> None:
    """Give a finished folder, all of it durable, its final name; one that stood there makes way for it.

    Raises
    ------
    OSError
        If the folder above cannot be written.
    """
    sync_tree(partial)
    if folder.exists():
        aside = partial.with_name(f"{partial.name}-before")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    partial.rename(folder)
    sync(folder.parent)


def sync_tree(folder: Path) -> None:
    """Wait until everything below a folder is on the disk, and the folder itself."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
