"""The copy of a catalog before its schema is changed: as it was, whole or not there, and kept."""

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog import migrations
from catalog.backup import back_up, backups, how_back, unfinished
from catalog.database import Catalog
from catalog.errors import CatalogError, SchemaError
from tests.catalog.test_released_schemas import REVISIONS, check, make

OLDER = REVISIONS[-2]
AT = datetime(2026, 11, 25, 3, 12, 28, tzinfo=UTC)


def dump(path: Path) -> list[str]:
    """All that is in a database, as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A catalog of the schema before this one, in a folder of its own."""
    path = tmp_path / "bench [1]" / "catalog.sqlite"
    path.parent.mkdir()
    make(str(path), OLDER)
    path.chmod(0o640)
    return path


def names(catalog: Path) -> set[str]:
    return {each.name for each in catalog.parent.iterdir()}


def test_a_catalog_of_an_older_schema_is_kept_as_it_was(
    older: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, began = dump(older), datetime.now(UTC)

    with caplog.at_level(logging.WARNING):
        Catalog(older).close()

    (kept,) = backups(older)
    assert dump(kept.path) == before
    assert kept.revision == OLDER
    assert kept.path.name == f"catalog.sqlite.schema-{OLDER}.{kept.at:%Y%m%dT%H%M%SZ}.backup"
    assert timedelta(0) <= kept.at - began.replace(microsecond=0) < timedelta(minutes=1)
    assert kept.path.stat().st_mode & 0o777 == 0o640
    assert unfinished(older) == []
    (said,) = (each.getMessage() for each in caplog.records)
    assert (
        f"from schema {OLDER} to {migrations.HEAD}; as it was it is kept at {kept.path}; to go back" in said
    )


def test_what_stands_in_the_log_of_the_database_is_in_the_copy(older: Path) -> None:
    with closing(sqlite3.connect(older)) as writer:  # its last change is in the -wal file alone
        writer.execute("INSERT INTO header_keys (id, key) VALUES (99, '00990099')")
        writer.commit()
        Catalog(older).close()

    with closing(sqlite3.connect(backups(older)[0].path)) as copy:
        assert copy.execute("SELECT key FROM header_keys WHERE id = 99").fetchall() == [("00990099",)]


def test_who_goes_back_as_it_is_said_has_the_older_catalog_and_may_go_forth_again(older: Path) -> None:
    before = dump(older)
    Catalog(older).close()
    (kept,) = backups(older)

    said = how_back(older, kept.path)
    for name in ("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"):
        assert name in said
        (older.parent / name).unlink(missing_ok=True)
    shutil.copy(kept.path, older)

    assert dump(older) == before
    check(str(older), OLDER)
    assert [each.path for each in backups(older)] == [kept.path]  # the same bytes are not kept twice


def test_a_catalog_of_this_schema_a_new_one_and_a_newer_one_are_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    Catalog(path).close()
    Catalog(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(SchemaError):
        Catalog(path)
    assert backups(path) == []


def test_older_copies_stay_and_the_newest_comes_first(older: Path) -> None:
    first = back_up(older, OLDER, AT)
    assert back_up(older, OLDER, AT + timedelta(days=1)) == first
    with closing(sqlite3.connect(older)) as connection:
        connection.execute("INSERT INTO header_keys (id, key) VALUES (99, '00990099')")
        connection.commit()

    with pytest.raises(CatalogError, match="there is another of this second"):
        back_up(older, OLDER, AT)
    second = back_up(older, OLDER, AT + timedelta(days=2))

    assert [each.path for each in backups(older)] == [second, first]
    assert unfinished(older) == []


def test_a_copy_is_of_the_catalog_it_is_named_after_alone(older: Path) -> None:
    back_up(older, OLDER, AT)
    other = older.with_name("catalog.sqlite2")
    make(str(other), OLDER)
    assert backups(other) == []


def test_where_the_copy_cannot_be_named_nothing_is_changed(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, there = dump(older), names(older)

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.rename", refused)
    with pytest.raises(CatalogError, match=r"left as it is: .* failed: operation not permitted\. Mend that"):
        Catalog(older)
    assert (dump(older), names(older)) == (before, there)


KILLED = """
import os, signal, sys
from catalog.database import Catalog
import alembic.command

path = sys.argv[1]
EVENTS = {"open", "os.rename", "os.chmod", "os.chown", "os.remove", "sqlite3.connect"}
left = 0

def watch(event, args):
    global left
    if left and event in EVENTS and ".backup" in str(args):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
for killed in range(1, 100):
    child = os.fork()
    if not child:
        left = killed
        Catalog(path).close()
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended == 0:
        break
    assert ended == -signal.SIGKILL, ended
    print(*sorted(name for name in os.listdir(os.path.dirname(path)) if name.endswith(".backup")), sep=",")
"""
"""A copy that is killed before each of its calls of the system; prints what passes for a copy after each."""


def test_a_copy_that_is_killed_before_any_of_its_calls_is_none_and_is_made_by_the_next(older: Path) -> None:
    before = dump(older)

    out = subprocess.run([sys.executable, "-c", KILLED, older], capture_output=True, text=True, check=False)

    assert out.returncode == 0, out.stderr
    lines = out.stdout.splitlines()
    assert len(lines) >= 5
    assert lines[0] == ""
    (kept,) = backups(older)
    assert {line for line in lines if line} <= {kept.path.name}
    assert dump(kept.path) == before
    check(str(older), OLDER)
    assert unfinished(older)  # for the doctor to remove


@pytest.fixture
def small_disk(tmp_path: Path, missing: Callable[[str], Any]) -> Iterator[Path]:
    """A file system of its own with 1.5 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", folder], check=False).returncode:
        missing("a small file system cannot be mounted: run the tests as root, in a container that may mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_without_room_for_the_copy_nothing_is_changed(small_disk: Path, older: Path) -> None:
    path, ballast = small_disk / "catalog.sqlite", small_disk / "ballast"
    shutil.copy(older, path)
    before, there = dump(path), names(path)
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 128 * 1024))  # its log needs some

    with pytest.raises(CatalogError, match=r"that failed: it takes [\d,]+ bytes, and [\d,]+ are free\. Mend"):
        Catalog(path)
    assert (dump(path), names(path) - {"ballast"}) == (before, there)

    ballast.unlink()
    check(str(path), OLDER)
    assert len(backups(path)) == 1


def test_the_bytes_are_on_the_disk_before_the_copy_has_its_name(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        calls.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').resolve().suffix}")
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        calls.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    back_up(older, OLDER, AT)
    assert calls == ["fsync .partial", "rename", "fsync "]
