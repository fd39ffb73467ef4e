"""Reads the file set of a DICOMDIR: which files its directory records name (PS3.3 annex F, PS3.10 section 8).

The records are taken one after the other as they stand in the file: their offsets, which may lead in circles,
are not followed. A File ID is a text from outside: what it names must lie below the folder of the DICOMDIR.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from catalog import guard
from catalog.elements import elements_of, items_of
from catalog.errors import HeaderError
from catalog.scan import plain_name

COMPONENTS = 8
"""Folders and name of a File ID at most (PS3.10 section 8.2.1); deeper ones are tolerated twice as deep."""

_RECORDS, _FILE_ID, _IN_USE = 0x00041220, 0x00041500, 0x00041410


@dataclass(frozen=True, slots=True)
class FileSet:
    """What a DICOMDIR names."""

    paths: tuple[str, ...]
    """Files that are there, in the order of their records, each once."""
    faults: tuple[str, ...]
    """What is wrong with the others, in words."""


def read_file_set(path: str) -> FileSet:
    """Read which files a DICOMDIR names.

    Raises
    ------
    HeaderError
        If it is no readable DICOMDIR.
    """
    head = guard.scan(path, (), keep=True)
    if head.data_set is None:
        raise HeaderError("is a DICOMDIR of more than 64 MiB; index the folder that it lies in")
    records = elements_of(head.data_set, head.transfer_syntax_uid, inflated=True).get(_RECORDS)
    if records is None:
        raise HeaderError("is named DICOMDIR and has no directory records; index the folder that it lies in")
    folder = _Folder(os.path.realpath(Path(path).parent))
    found: dict[str, None] = {}
    missing, outside = (
        _Some("that are not there"),
        _Some("that lie outside of its folder; they were not read"),
    )
    for item in items_of(records):
        file_id, in_use = item.get(_FILE_ID), item.get(_IN_USE)
        if file_id is None or not file_id.value.strip(b" \0") or (in_use and in_use.value == b"\0\0"):
            continue
        parts = [each.strip(" \0") for each in file_id.value.decode("latin-1").split("\\")]
        if not _is_harmless(parts):
            outside.add(parts)
        elif (real := folder.find(parts)) is None:
            missing.add(parts)
        elif not Path(real).is_relative_to(folder.path):
            outside.add(parts)
        else:
            found[real] = None
    return FileSet(tuple(found), tuple(each.words for each in (missing, outside) if each.count))


def _is_harmless(parts: list[str]) -> bool:
    return len(parts) <= 2 * COMPONENTS and not any(
        each in ("", ".", "..") or set("/\0:") & set(each) for each in parts
    )


@dataclass(slots=True)
class _Some:
    """How many of some kind, and the first of them."""

    kind: str
    count: int = 0
    first: str = ""

    def add(self, parts: list[str]) -> None:
        self.first = self.first or "\\".join(parts)[:200]
        self.count += 1

    @property
    def words(self) -> str:
        return f"the DICOMDIR names {self.count:,} files {self.kind}, the first is {self.first!r}"


@dataclass(slots=True)
class _Folder:
    """Finds files below a folder whose names differ in case, version or a final point (ISO 9660)."""

    path: str
    _known: dict[str, dict[str, str]] = field(default_factory=dict)

    def find(self, parts: list[str]) -> str | None:
        """Real path of a file; `None` where there is none."""
        at = self.path
        for number, part in enumerate(parts):
            there = self._names(at)
            name = there.get(part) or there.get(plain_name(part))
            if name is None:
                return None
            at = os.path.join(at, name)  # noqa: PTH118
            is_folder = number < len(parts) - 1
            if is_folder != Path(at).is_dir():
                return None
        return os.path.realpath(at)

    def _names(self, folder: str) -> dict[str, str]:
        if folder not in self._known:
            self._known[folder] = dict(_listed(folder))
        return self._known[folder]


def _listed(folder: str) -> Iterator[tuple[str, str]]:
    try:
        names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208
    except OSError:
        return
    yield from ((plain_name(each), each) for each in names)
    yield from ((each, each) for each in names)  # a name as it stands comes first
