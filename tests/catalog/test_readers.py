"""Headers that other processes read: the catalog is the same, whoever reads, and whatever becomes of them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import index, readers
from catalog.content import Contents
from catalog.database import Catalog
from catalog.headers import read_header
from catalog.index import index_paths
from catalog.models import metadata
from catalog.readers import children, pack, read_ahead, read_packed, unpack
from catalog.records import InstanceHeader, Unreadable, as_dict
from pipelines import phantoms
from workbench.cluster import reading_on


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Series whose files are not in order of their series, copies, a conflict, and what is no DICOM."""
    folder = tmp_path / "archive"
    for number in range(6):
        phantoms.write_series(folder / f"s{number}", planes=5, seed=number, patient_id=f"P{number % 3}")
    mixed = folder / "mixed"
    mixed.mkdir()
    for number, path in enumerate(sorted(folder.glob("s[0-3]/*"))):
        ds = pydicom.dcmread(path)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.99.{number}"
        ds.ImageComments = f"comment {number % 4}"
        if number % 3 == 0:
            del ds.ImageType
        ds.save_as(mixed / f"{number % 7}-{number}.dcm")
    first, second = sorted((folder / "s0").iterdir())[:2]
    shutil.copy(first, folder / "copy.dcm")
    ds = pydicom.dcmread(second)
    ds.PatientComments = "another"
    ds.save_as(folder / "zz-conflict.dcm")
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "cut.dcm").write_bytes(first.read_bytes()[:300])
    return folder


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few files are many batches, and all of them worth a process."""
    monkeypatch.setattr(index, "BATCH", 7)
    monkeypatch.setattr(index, "SMALL", 0)
    monkeypatch.setattr(readers, "FEWEST", 1)


def everything(catalog: Catalog) -> dict[str, list[Any]]:
    """Every row that an index writes, numbers of rows included."""
    tables = set(metadata.tables) - {"index_reports", "alembic_version"}
    with catalog.reading() as connection:
        return {
            name: sorted(map(repr, connection.execute(sa.select(metadata.tables[name]))))
            for name in sorted(tables)
        }


def in_this_process(catalog: Catalog, archive: Path, tmp_path: Path) -> tuple[dict[str, list[Any]], Any]:
    """The rows that one process makes, in a catalog of its own of the same kind."""
    if catalog.engine.dialect.name == "sqlite":
        other = Catalog(tmp_path / "one.sqlite")
        try:
            report = index_paths(other, [archive])
            return everything(other), report
        finally:
            other.close()
    report = index_paths(catalog, [archive])
    rows = everything(catalog)
    names = ", ".join(sorted(set(metadata.tables)))
    with catalog.transaction() as connection:
        connection.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    return rows, report


def alike(first: Any, second: Any) -> bool:
    """Whether two reports say the same, but for how long it took."""
    return bool(as_dict(first) | {"seconds": 0} == as_dict(second) | {"seconds": 0})


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("workers", [2, 3])
def test_children_give_the_rows_that_one_process_gives(
    catalog: Catalog, archive: Path, tmp_path: Path, workers: int
) -> None:
    expected, report = in_this_process(catalog, archive, tmp_path)

    assert alike(index_paths(catalog, [archive], workers=workers), report)
    assert everything(catalog) == expected
    again = index_paths(catalog, [archive], workers=workers)
    assert again.added == again.updated == 0
    assert everything(catalog) == expected


@pytest.mark.usefixtures("small_batches")
def test_dask_workers_give_the_rows_that_one_process_gives(
    catalog: Catalog, archive: Path, tmp_path: Path, scheduler: str
) -> None:
    expected, report = in_this_process(catalog, archive, tmp_path)

    with Client(scheduler, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        assert alike(index_paths(catalog, [archive], workers=2, submit=reading_on(client)), report)
    assert everything(catalog) == expected


@pytest.mark.usefixtures("small_batches")
def test_a_cut_file_that_a_whole_one_replaces_is_read_with_what_was_written_meanwhile(
    catalog: Catalog, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    phantoms.write_series(folder / "m", planes=9)
    whole = sorted((folder / "m").iterdir())[8]
    cut = folder / "z.dcm"
    cut.write_bytes(whole.read_bytes()[:-100])
    moved = tmp_path / "later"
    moved.mkdir()
    shutil.move(whole, moved / "whole.dcm")
    index_paths(catalog, [folder])
    shutil.move(moved / "whole.dcm", folder / "a.dcm")

    report = index_paths(catalog, [folder], workers=2)

    assert [each.path for each in report.conflicts] == [str(cut)]


@pytest.mark.usefixtures("small_batches")
def test_a_child_that_is_killed_is_replaced_and_its_files_are_read_again(
    sqlite_catalog: Catalog, archive: Path, tmp_path: Path
) -> None:
    expected, report = in_this_process(sqlite_catalog, archive, tmp_path)
    killed: list[int] = []

    def kill(done: int, _total: int | None) -> None:
        for each in child_ids():
            if done and len(killed) < 3 and each not in killed:
                os.kill(each, signal.SIGKILL)
                killed.append(each)

    assert alike(index_paths(sqlite_catalog, [archive], workers=2, progress=kill), report)
    assert everything(sqlite_catalog) == expected
    assert len(killed) == 3


def child_ids() -> list[int]:
    """Children of this process."""
    found = []
    for each in [each for task in Path("/proc/self/task").glob("*/children") for each in _words(task)]:
        with suppress(OSError):  # it has ended meanwhile
            if b"catalog.readers" in Path(f"/proc/{each}/cmdline").read_bytes():
                found.append(int(each))
    return found


def _words(path: Path) -> list[str]:
    with suppress(OSError):  # a thread that has ended
        return path.read_text().split()
    return []


@pytest.mark.usefixtures("small_batches")
def test_readers_that_always_die_leave_the_work_to_the_session(
    sqlite_catalog: Catalog, archive: Path, tmp_path: Path
) -> None:
    expected, report = in_this_process(sqlite_catalog, archive, tmp_path)

    def dead(_paths: list[str]) -> Future[bytes]:
        answer: Future[bytes] = Future()
        answer.set_exception(RuntimeError("the worker is gone"))
        return answer

    assert alike(index_paths(sqlite_catalog, [archive], workers=2, submit=dead), report)
    assert everything(sqlite_catalog) == expected


@pytest.mark.usefixtures("small_batches")
def test_ctrl_c_ends_the_children_and_keeps_whole_batches(sqlite_catalog: Catalog, archive: Path) -> None:
    def interrupt(done: int, _total: int | None) -> None:
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_paths(sqlite_catalog, [archive], workers=2, progress=interrupt)
    assert child_ids() == []

    report = index_paths(sqlite_catalog, [archive], workers=2)
    assert report.unchanged
    assert report.unchanged + report.added + len(report.rejected) == report.files


def test_children_end_with_a_session_that_is_killed(tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "archive", planes=3)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from catalog.readers import children\n"
        "with children(1) as submit:\n"
        "    submit([str(each) for each in Path(sys.argv[1]).iterdir()]).result()\n"
        "    print(flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "archive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as session:
        assert session.stdout is not None
        session.stdout.readline()
        tasks = Path(f"/proc/{session.pid}/task").glob("*/children")
        (child,) = [int(each) for task in tasks for each in task.read_text().split()]
        ended = os.pidfd_open(child)
        session.kill()
    try:
        assert wait_for_end(ended)
    finally:
        os.close(ended)


def wait_for_end(descriptor: int) -> bool:
    """Whether a process ends within a while."""
    import select

    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(30_000))


def test_what_a_reader_cannot_open_is_read_by_the_session(tmp_path: Path) -> None:
    assert unpack(read_packed([str(tmp_path / "only-the-session-sees-it.dcm")])) == {}


def test_every_shared_header_comes_through_as_it_was(shared_data: Path) -> None:
    contents = Contents()
    paths = [str(path) for path in sorted(shared_data.rglob("*")) if path.is_file()]
    read = [read_header(path, contents) for path in paths]
    came = unpack(pack(read))

    for each in read:
        if isinstance(each, Unreadable):
            assert each.reason.startswith("cannot be") or came[each.path] == each
            continue
        other = came[each.path]
        assert isinstance(other, InstanceHeader)
        assert {name: getattr(other, name) for name in other.__slots__ if name != "content"} == {
            name: getattr(each, name) for name in each.__slots__ if name != "content"
        }
        assert (each.content and each.content.document()) == (other.content and other.content.document())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 9), max_size=30), ahead=st.integers(1, 4))
def test_batches_come_in_order_and_no_more_of_them_than_was_said_are_given_out(
    sizes: list[int], ahead: int
) -> None:
    given_out: list[int] = []
    taken: list[int] = []
    with ThreadPoolExecutor(2) as threads:

        def submit(paths: list[str]) -> Future[bytes]:
            given_out.append(len(paths))
            assert len(given_out) - len(taken) <= ahead + 1
            return threads.submit(pack, [Unreadable(path, "is empty") for path in paths])

        batches = [
            [f"{number}/{each}" for each in range(readers.FEWEST * (size % 2) + size)]
            for number, size in enumerate(sizes)
        ]
        for batch, headers in read_ahead(batches, list, submit, ahead):
            if len(batch) >= readers.FEWEST:
                taken.append(len(batch))
                assert list(headers) == batch
            else:
                assert not headers
    assert taken == given_out


def test_large_answers_are_not_heaped_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "HELD_BYTES", 1000)
    given_out: list[int] = []

    def submit(paths: list[str]) -> Future[bytes]:
        given_out.append(len(paths))
        answer: Future[bytes] = Future()
        answer.set_result(pack(Unreadable(path, "is empty" * 100) for path in paths))
        return answer

    batches: Iterator[list[str]] = iter([[str(each) for each in range(60)]] * 5)
    for number, _ in enumerate(read_ahead(batches, list, submit, 4), start=1):
        assert len(given_out) == number


def test_a_child_answers_with_what_this_process_would(shared_data: Path) -> None:
    paths = [str(path) for path in sorted((shared_data / "modalities").rglob("*")) if path.is_file()]
    with children(1) as submit:
        answers: Sequence[bytes] = [submit(paths).result() for _ in range(2)]
    assert unpack(answers[0]).keys() == unpack(read_packed(paths)).keys() != set()
    assert unpack(answers[1]).keys() == unpack(answers[0]).keys()
