"""Copies of an SQLite catalog as it was before its schema was changed: whole, beside it, never deleted by us.

A copy is made by SQLite's online backup while the one who changes the schema holds the database against every
other writer. What is being copied stands there as `….partial`; a crash leaves that, and no copy.
"""

import errno
import os
import re
import secrets
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from catalog.durable import file_digest, sync
from catalog.errors import CatalogError, words_of

_PAGES = 4096
"""Copied between two looks at whether a person wants to end it."""
_TIME = "%Y%m%dT%H%M%SZ"
_NAME = r"\.schema-(?P<revision>\w+)\.(?P<at>\d{8}T\d{6}Z)\.backup(?P<partial>\.[0-9a-f]{8}\.partial)?"


@dataclass(frozen=True, slots=True)
class Backup:
    """A catalog as it was."""

    path: Path
    revision: str
    """Of its schema."""
    at: datetime
    """When it was copied, in UTC."""
    bytes: int


def back_up(database: Path, revision: str, at: datetime) -> Path:
    """Copy a catalog beside itself; durable, and as open to others as the catalog, when this returns.

    One that is there and has the same bytes, of a change that came to nothing, is taken for it.

    Parameters
    ----------
    database
        An SQLite file that nobody but the caller may write meanwhile; the caller has written nothing yet.
    revision
        Of its schema.

    Returns
    -------
    Path
        The copy: `NAME.schema-REVISION.TIME.backup`, the time in UTC.

    Raises
    ------
    CatalogError
        If there is no room for it, or it cannot be written; then there is no such copy.
    """
    target = database.with_name(f"{database.name}.schema-{revision}.{at.astimezone(UTC):{_TIME}}.backup")
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    before = [each for each in backups(database) if each.revision == revision]
    try:
        _copy(database, partial)
        for each in before:
            if each.bytes == partial.stat().st_size and file_digest(each.path) == file_digest(partial):
                return each.path
        if target.exists():
            raise FileExistsError(errno.EEXIST, "there is another of this second", str(target))
        partial.rename(target)
        sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        why = words_of(error) if isinstance(error, OSError) else str(error)
        raise CatalogError(
            f"the catalog {database} has schema {revision} of an older workbench and was left as it is: "
            f"before it is changed it is copied to {target.parent}, and that failed: {why}. Mend that, then "
            "open it again"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return target


def _copy(database: Path, partial: Path) -> None:
    # The catalog is opened by SQLite alone: closing it by other means would end the locks of this process.
    with closing(sqlite3.connect(database)) as source:
        pages, each = (source.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        free = shutil.disk_usage(database.parent).free
        if free < pages * each:
            raise OSError(errno.ENOSPC, f"it takes {pages * each:,} bytes, and {free:,} are free")
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(partial)) as target:
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")  # waited for below, once
            source.backup(target, pages=_PAGES, progress=lambda *_: None)
    whose = database.stat()
    with suppress(PermissionError):  # it is then of whoever changes the schema
        os.chown(partial, whose.st_uid, whose.st_gid)
    partial.chmod(whose.st_mode & 0o777)
    sync(partial)


def backups(database: Path) -> list[Backup]:
    """Copies that stand beside a catalog, the newest first."""
    found = [
        Backup(path, said["revision"], _moment(said["at"]), path.stat().st_size)
        for path, said in _beside(database)
        if not said["partial"]
    ]
    return sorted(found, key=lambda each: (each.at, each.revision), reverse=True)


def unfinished(database: Path) -> list[Path]:
    """What a crash left of copies that were being made, or one that is being made."""
    return [path for path, said in _beside(database) if said["partial"]]


def how_back(database: Path, backup: Path) -> str:
    """Say how to go back to a copy."""
    return (
        f"to go back: end what uses the catalog, move {database.name}, {database.name}-wal and "
        f"{database.name}-shm out of {database.parent} (all three, or what came later is written into the "
        f"copy), copy {backup.name} to {database.name}, and use the release that wrote it"
    )


def _beside(database: Path) -> list[tuple[Path, re.Match[str]]]:
    named = re.compile(re.escape(database.name) + _NAME)
    found = ((path, named.fullmatch(path.name)) for path in sorted(database.parent.iterdir()))
    return [(path, said) for path, said in found if said]


def _moment(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
