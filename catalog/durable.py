"""Bytes on the disk: whole and durable before they have a name, so that a row may follow; known by a digest.

What is being written stands beside its final name as `….partial`. A crash leaves that, never half a file.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Buffer, Iterable
from pathlib import Path


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
    make_folder(target.parent)
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            for content in parts:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename, error.filename2 = (
                str(target),
                None,
            )  # a write names no file, and a person asked for this one
        raise
    sync(target.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there; their names survive a power cut, too."""
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
