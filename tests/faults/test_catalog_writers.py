"""Several processes at one catalog: whole transactions, nobody locked out, conflicts told or done again."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from catalog import database
from catalog.database import Catalog
from catalog.errors import CatalogError, ConflictError
from catalog.index import index_paths
from catalog.query import find_series
from pipelines import phantoms

PLANES, FOLDERS = 5, 6


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for number in range(FOLDERS):
        phantoms.write_series(
            folder / str(number), planes=PLANES, seed=number, study=str(number // 2), rows=8, columns=8
        )
    return folder


@contextmanager
def started(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process; it has said that it is ready, and goes on with the next line it is given."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def go(*processes: subprocess.Popen[str]) -> list[str]:
    """Let all go on at once, and return what they said until each had ended well."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return said


def rows(catalog: Catalog) -> list[Any]:
    """Every file with what it stands for, without the numbers of rows."""
    with catalog.reading() as connection:
        asked = sa.text(
            "SELECT f.folder, f.name, f.state, i.sop_instance_uid, i.header_digest, s.series_instance_uid,"
            " s.modality, t.study_instance_uid, p.identity,"
            " (SELECT count(*) FROM instance_headers h WHERE h.instance = i.id)"
            " FROM files f LEFT JOIN instances i ON f.instance = i.id LEFT JOIN series s ON i.series = s.id"
            " LEFT JOIN studies t ON s.study = t.id LEFT JOIN patients p ON t.patient = p.id"
        )
        return sorted(map(tuple, connection.execute(asked)))


# --- SQLite ----------------------------------------------------------------------------------------------


def test_22_P1_every_connection_of_sqlite_has_the_pragmas_that_make_it_durable(
    sqlite_catalog: Catalog, archive: Path
) -> None:
    asked: list[tuple[Any, ...]] = []

    def look(connection: sa.Connection) -> None:
        names = ("journal_mode", "synchronous", "foreign_keys")
        cursor = connection.connection.cursor()
        asked.append(tuple(cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in names))

    sa.event.listen(sqlite_catalog.engine, "begin", look)
    index_paths(sqlite_catalog, [archive])
    find_series(sqlite_catalog)
    threads = [threading.Thread(target=find_series, args=[sqlite_catalog]) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(asked) > 10
    assert set(asked) == {("wal", 2, 1)}  # 2 is FULL


HOLDER = """
import sys
from catalog.database import Catalog
catalog = Catalog(sys.argv[1])
with catalog.transaction():
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_34_a_second_writer_waits_for_the_first_and_then_writes(
    sqlite_catalog: Catalog, archive: Path, tmp_path: Path
) -> None:
    with started(HOLDER, tmp_path / "catalog.sqlite") as holder:
        found: list[int] = []
        second = threading.Thread(target=lambda: found.append(index_paths(sqlite_catalog, [archive]).added))
        second.start()
        assert find_series(sqlite_catalog) == []  # who reads does not wait
        go(holder)
        second.join(timeout=60)

    assert found == [PLANES * FOLDERS]


def test_34_a_writer_that_waited_too_long_says_who_holds_the_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0.1)
    catalog = Catalog(tmp_path / "catalog.sqlite")
    with started(HOLDER, tmp_path / "catalog.sqlite") as holder:
        who = rf"process {holder.pid} \(.+\)" if Path("/proc/locks").exists() else "another process"
        with (
            pytest.raises(CatalogError, match=rf"was held by {who} for more than 0.1 s; do the same again"),
            catalog.transaction(),
        ):
            pass
        go(holder)
    with catalog.transaction():
        pass
    catalog.close()


# --- many readers ----------------------------------------------------------------------------------------


WRITER = """
import sys
from catalog import index
from catalog.database import Catalog
index.BATCH = int(sys.argv[3])
catalog = Catalog(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
report = index.index_paths(catalog, sys.argv[2].split(":"))
print(report.added + report.updated + report.unchanged, len(report.rejected))
"""

READER = """
import sys
import sqlalchemy as sa
from catalog.database import Catalog
from catalog.models import files, instances
from catalog.query import find_series
catalog = Catalog(sys.argv[1])
planes, wanted = map(int, sys.argv[2:])
print("ready", flush=True)
sys.stdin.readline()
looks = there = 0
while there < wanted:
    with catalog.reading() as connection:
        counts = [sa.select(sa.func.count()).select_from(each) for each in (files, instances)]
        there, again = map(connection.scalar, counts)
    assert there == again and there % planes == 0, (there, again)
    assert all(each.instances == planes for each in find_series(catalog))
    looks += 1
print(looks)
"""


def test_34_readers_see_whole_transactions_and_are_never_locked_out_while_one_writes(
    catalog_url: str, archive: Path
) -> None:
    Catalog(catalog_url).close()
    total = PLANES * FOLDERS
    with (
        started(WRITER, catalog_url, archive, PLANES) as writer,
        started(READER, catalog_url, PLANES, total) as one,
        started(READER, catalog_url, PLANES, total) as other,
    ):
        said = go(writer, one, other)

    assert said[0] == f"{total} 0\n"
    assert all(int(looks) >= 1 for looks in said[1:])


def test_34_what_is_asked_in_one_reading_is_answered_of_one_state(catalog: Catalog, archive: Path) -> None:
    every = sa.text("SELECT count(*) FROM files")
    with catalog.reading() as connection:
        assert connection.scalar(every) == 0
        index_paths(catalog, [archive])
        assert connection.scalar(every) == 0
    with catalog.reading() as connection:
        assert connection.scalar(every) == PLANES * FOLDERS


# --- two writers -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mirrored(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same instances once more, their folders and files in the opposite order."""
    folder = tmp_path_factory.mktemp("mirrored")
    for path in archive.glob("*/*"):
        of_folder = folder / f"{FOLDERS - int(path.parent.name)}"
        of_folder.mkdir(exist_ok=True)
        (of_folder / f"{PLANES - int(path.stem)}.dcm").write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("batches", [(4, 7), (500, 500)])
def test_34_two_processes_that_index_the_same_instances_in_opposite_order_end_in_the_same_rows(
    catalog_url: str, archive: Path, mirrored: Path, tmp_path: Path, batches: tuple[int, int]
) -> None:
    one_after_another = Catalog(tmp_path / "whole.sqlite")
    index_paths(one_after_another, [archive, mirrored])
    Catalog(catalog_url).close()
    with (
        started(WRITER, catalog_url, archive, batches[0]) as one,
        started(WRITER, catalog_url, mirrored, batches[1]) as other,
        started(WRITER, catalog_url, f"{mirrored}:{archive}", batches[1]) as both,
    ):
        said = go(one, other, both)

    total = PLANES * FOLDERS
    assert said == [f"{total} 0\n", f"{total} 0\n", f"{2 * total} 0\n"]
    catalog = Catalog(catalog_url)
    assert rows(catalog) == rows(one_after_another)
    assert index_paths(catalog, [archive, mirrored]).unchanged == 2 * total
    catalog.close()
    one_after_another.close()


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> Iterator[Catalog]:
    """A catalog in PostgreSQL."""
    opened = Catalog(request.getfixturevalue("postgresql").database())
    yield opened
    opened.close()


def address(catalog: Catalog) -> str:
    return catalog.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def wait_until(connection: psycopg.Connection[Any], asked: str) -> None:
    """Ask until it is so; every question is a way to the server and back."""
    for _ in range(100_000):
        found = connection.execute(asked).fetchone()
        if found is not None and found[0]:
            return
    pytest.fail(f"it never became true: {asked}")


IS_WAITING = (
    "SELECT count(*) > 0 FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
)


@pytest.mark.postgresql
def test_34_a_batch_that_postgresql_ends_in_a_deadlock_is_written_again(
    shared: Catalog, archive: Path
) -> None:
    index_paths(shared, [archive])
    before = rows(shared)
    for path in archive.glob("*/*"):
        path.touch()  # read and written again, though nothing else has changed
    uid = "series_instance_uid"  # in whose order the index holds them
    lock = f"UPDATE series SET modality = modality WHERE {uid} = (SELECT {{}}({uid}) FROM series)"
    with (
        psycopg.connect(address(shared)) as other,
        psycopg.connect(address(shared), autocommit=True) as watch,
    ):
        other.execute("SET deadlock_timeout = '1h'")  # so that it is the index that finds the deadlock
        other.execute(lock.format("max"))
        reports: list[Any] = []
        index = threading.Thread(target=lambda: reports.append(index_paths(shared, [archive])))
        index.start()
        wait_until(watch, IS_WAITING)
        other.execute(lock.format("min"))  # has it only when the index was undone
        other.commit()
        index.join(timeout=60)
        deadlocks = "SELECT deadlocks > 0 FROM pg_stat_database WHERE datname = current_database()"
        watch.execute("SELECT pg_stat_force_next_flush()")
        wait_until(watch, deadlocks)

    assert [(each.updated, each.rejected) for each in reports] == [(PLANES * FOLDERS, ())]
    assert rows(shared) == before


@pytest.mark.postgresql
@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_34_a_conflict_that_nobody_repeats_is_told_in_words(shared: Catalog, state: str) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'of Geheim^Gerda' USING ERRCODE = '{state}'; END $$"
    with (
        pytest.raises(
            ConflictError, match="another process changed the same rows at the same time"
        ) as caught,
        shared.transaction() as connection,
    ):
        connection.exec_driver_sql(raising)
    assert "Gerda" not in str(caught.value)


@pytest.mark.postgresql
def test_34_the_isolation_of_a_transaction_is_not_left_to_the_server(shared: Catalog) -> None:
    with psycopg.connect(address(shared), autocommit=True) as connection:
        name = shared.engine.url.database
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    shared.engine.dispose()
    asked = sa.text("SHOW transaction_isolation")
    for _ in range(2):  # the connection of a reading is given to who writes, and back
        with shared.transaction() as connection:
            assert connection.scalar(asked) == "read committed"
        with shared.reading() as connection:
            assert connection.scalar(asked) == "repeatable read"


# --- the database goes away ------------------------------------------------------------------------------


def at_step(wanted: int, do: Callable[[], None]) -> Callable[[int, int | None], None]:
    def progress(done: int, _total: int | None) -> None:
        if done == wanted:
            do()

    return progress


@pytest.mark.postgresql
@pytest.mark.parametrize("step", [0, 1, 7, PLANES * FOLDERS])
def test_34_a_server_that_cuts_the_connection_is_told_in_words_and_nothing_is_half_there(
    shared: Catalog, archive: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr("catalog.index.BATCH", PLANES)
    others = "pid <> pg_backend_pid() AND datname = current_database()"

    def cut() -> None:
        with psycopg.connect(address(shared), autocommit=True) as connection:
            ended = f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {others}"
            assert connection.execute(ended).fetchall() != []

    with pytest.raises(
        CatalogError, match="was cut off by its server; what was written whole is kept, do the"
    ):
        index_paths(shared, [archive], progress=at_step(step, cut))

    assert {each.instances for each in find_series(shared)} <= {PLANES}
    report = index_paths(shared, [archive])
    assert report.added + report.unchanged == PLANES * FOLDERS
    assert len(find_series(shared)) == FOLDERS


# --- the disk is full ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path, missing: Callable[[str], Any]) -> Iterator[Path]:
    """A file system of its own with 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False).returncode:
        missing("a small file system cannot be mounted: run the tests as root, in a container that may mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_26_P8_an_index_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    small_disk: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.index.BATCH", PLANES)
    catalog = Catalog(small_disk / "catalog.sqlite")
    ballast = small_disk / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    with pytest.raises(CatalogError, match="cannot grow, its disk is full; make room and do the same again"):
        index_paths(catalog, [archive], progress=at_step(PLANES + 1, fill))
    assert [each.instances for each in find_series(catalog)] == [PLANES]

    ballast.unlink()
    report = index_paths(catalog, [archive])
    assert (report.added, report.unchanged) == (PLANES * (FOLDERS - 1), PLANES)
    assert [each.instances for each in find_series(catalog)] == [PLANES] * FOLDERS
    with catalog.reading() as connection:
        assert connection.scalar(sa.text("PRAGMA integrity_check")) == "ok"
    catalog.close()
