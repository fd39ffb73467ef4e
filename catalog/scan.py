"""Walks archives: every file of the given folders, in a stable order, one folder in memory at a time."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import HeaderError, NotFoundError, QuestionError, words_of
from catalog.records import Rejection


@dataclass(frozen=True, slots=True)
class Found:
    """One regular file of an archive, or an entry of one that is a file itself."""

    folder: str
    name: str
    size: int
    mtime_ns: int
    digest: str | None = None
    """Of all its bytes, where they were read."""

    @property
    def path(self) -> str:
        """Where to open it."""
        return f"{self.folder.rstrip('/')}/{self.name}"  # counts: this runs for every file


class Scan:
    """The files and folders under some paths; iterate over it for every file, each once.

    Folders are known by their real path. A link to a folder outside is followed, once; a link to a folder
    that is walked anyway, a loop among them, is not.

    Parameters
    ----------
    paths
        Folders and files.

    Raises
    ------
    NotFoundError
        If one of the paths does not exist or cannot be reached.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self.roots: list[str] = []
        """Real paths that hold everything found; links add to it while the scan goes on."""
        for path in sorted(_real(path) for path in paths):
            self._add_root(path)

    def __iter__(self) -> Iterator[Found | Rejection]:
        for root in self.roots:  # grows meanwhile
            if not Path(root).is_dir():
                yield from self._of_file(root)
                continue
            for folder, names in self._folders(root):
                if isinstance(names, Rejection):
                    yield names
                    continue
                for name in names:
                    yield _look(folder, name)

    def count(self) -> int:
        """How many files and unreadable folders there are now."""
        counted = 0
        for root in self.roots:
            if Path(root).is_dir():
                counted += sum(
                    1 if isinstance(names, Rejection) else len(names) for _, names in self._folders(root)
                )
            else:
                counted += sum(1 for _ in self._of_file(root))
        return counted

    @property
    def held(self) -> list[str]:
        """Paths under which files may have vanished: the roots, and the folders of file sets."""
        return [os.path.dirname(each) if self._is_file_set(each) else each for each in self.roots]  # noqa: PTH120

    def _of_file(self, root: str) -> Iterator[Found | Rejection]:
        """A file, or the files that it names where it is a DICOMDIR."""
        if not self._is_file_set(root):
            yield _look(*os.path.split(root))
            return
        from catalog.dicomdir import read_file_set  # with pydicom, which a question does not load

        try:
            named = read_file_set(root)
        except HeaderError as error:
            yield Rejection(root, str(error))
            return
        for path in named.paths:
            if not any(is_within(path, each) for each in self.roots):
                yield _look(*os.path.split(path))
        for fault in named.faults:
            yield Rejection(root, fault)

    def _is_file_set(self, root: str) -> bool:
        return plain_name(root) == "dicomdir" and Path(root).is_file()

    def _folders(self, root: str) -> Iterator[tuple[str, list[str] | Rejection]]:
        ahead = [root]
        while ahead:
            folder = ahead.pop()
            folders: list[str] = []
            names: list[str] = []
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        elif entry.is_symlink() and entry.is_dir():
                            self._add_root(os.path.realpath(entry.path))
                        else:
                            names.append(entry.name)
            except OSError as error:
                words = words_of(error)
                yield folder, Rejection(folder, f"is a folder that cannot be read: {words}")
                continue
            yield folder, sorted(names)
            ahead += sorted((each for each in folders if each not in self.roots), reverse=True)

    def _add_root(self, path: str) -> None:
        if not any(is_within(path, root) for root in self.roots):
            self.roots.append(path)


def names_in(folder: str) -> set[str] | None:
    """Names of the files of a folder, none where it is gone; `None` where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError:
        return None


def is_within(path: str, root: str) -> bool:
    """Whether a path is a folder or lies somewhere below it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def storable(path: str) -> str:
    """Return a path as a column can hold it: bytes that are no UTF-8 become characters for private use.

    Python stands each such byte for by a lone surrogate, which no database takes.
    """
    return path if path.isascii() else path.translate(_TO_PRIVATE_USE)


def openable(path: str) -> str:
    """Undo `storable`."""
    return path if path.isascii() else path.translate(_FROM_PRIVATE_USE)


_TO_PRIVATE_USE = {0xDC00 + byte: 0xF700 + byte for byte in range(0x80, 0x100)}
_FROM_PRIVATE_USE = {private: surrogate for surrogate, private in _TO_PRIVATE_USE.items()}


def place_of(given: object) -> str | Path:
    """Return what is to be read as it was given; of `file:///folder` the path.

    Raises
    ------
    QuestionError
        If it is neither a path nor an address.
    """
    if not isinstance(given, str | os.PathLike):
        raise QuestionError(f"what is read is a path or an address, not {type(given).__name__}; {_READ}")
    text = os.fsdecode(given)
    if isinstance(given, str) and text.startswith("file://"):
        host, _, path = text.removeprefix("file://").partition("/")
        if host in ("", "localhost"):
            return os.fsdecode(
                _PERCENT.sub(lambda found: bytes.fromhex(found[1].decode()), os.fsencode(f"/{path}"))
            )
    return text if isinstance(given, str) else Path(text)


_READ = "folders, files, s3://bucket/prefix, http(s)://host/file and pacs://NODE can be read"
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def _real(path: str | Path) -> str:
    if not str(path):
        raise NotFoundError("an empty path names no folder; give '.' for the current one")
    try:
        return os.path.realpath(path, strict=True)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        if found := _ADDRESS.match(str(path)):  # it may hold a password
            raise NotFoundError(
                f"no {found[1][:20]}:// address is read; {_READ}; nothing was indexed"
            ) from None
        raise NotFoundError(f"{path} does not exist; nothing was indexed") from None
    except OSError as error:
        words = words_of(error)
        raise NotFoundError(f"{path} cannot be reached: {words}; nothing was indexed") from None


def plain_name(path: str) -> str:
    """Name of a file as ISO 9660 means it: without a version, a final point, or case."""
    return os.path.basename(path).partition(";")[0].rstrip(".").casefold()  # noqa: PTH119


def _look(folder: str, name: str) -> Found | Rejection:
    path = os.path.join(folder, name)  # noqa: PTH118 (counts: this runs for every file)
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError as error:
        return Rejection(path, f"cannot be read: {words_of(error)}")
    if not stat.S_ISREG(found.st_mode):
        return Rejection(path, "is no regular file")
    return Found(folder, name, found.st_size, found.st_mtime_ns)
