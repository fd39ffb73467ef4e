"""The Dask cluster of a bench: what Ctrl-C and a worker that dies do to it, and to an index it reads."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from distributed import Client, KilledWorker, get_task_stream

import workbench
from catalog import index, readers
from catalog.index import index_paths
from catalog.query import find_instances
from catalog.records import as_dict
from pipelines import phantoms
from workbench.cluster import local_cluster, reading_on
from workbench.session import Bench

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="dask starts no subprocess cluster there")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with local_cluster(1) as cluster, Client(cluster, set_as_default=False) as connected:
        connected.wait_for_workers(1, timeout=60)
        connected.submit(os.getpid).result()  # its keeper knows of it, too
        yield connected


def test_ctrl_c_does_not_reach_the_processes_that_keep_the_workers(client: Client) -> None:
    (keeper,) = client.run(os.getppid).values()
    (worker,) = client.run(os.getpid).values()
    for each in (keeper, worker):
        os.kill(each, signal.SIGINT)
    assert client.submit(os.getpid, pure=False).result(timeout=30) == worker


def test_a_step_that_ends_its_worker_is_tried_twice(client: Client, tmp_path: Path) -> None:
    def end(folder: str) -> None:
        Path(folder, uuid4().hex).touch()
        os._exit(1)

    error = client.submit(end, str(tmp_path), pure=False).exception(timeout=120)
    assert isinstance(error, KilledWorker)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of series that is read in many batches, each of them worth a worker."""
    monkeypatch.setattr(index, "BATCH", 5)
    monkeypatch.setattr(readers, "FEWEST", 1)
    for number in range(12):
        phantoms.write_series(tmp_path / "many" / f"{number:02}", planes=5, seed=number, study=str(number))
    (tmp_path / "many" / "note.txt").write_text("no DICOM")
    return tmp_path / "many"


def counts(report: Any) -> dict[str, Any]:
    """What a report says, but for how long it took."""
    return {key: value for key, value in as_dict(report).items() if key != "seconds"}


def test_an_index_through_the_session_is_read_by_the_workers_of_its_cluster(
    bench: Bench, many: Path, tmp_path: Path
) -> None:
    with get_task_stream(client=bench.client) as stream:  # type: ignore[no-untyped-call]
        indexed = bench.index(many, cluster=True, quiet=True)
    with workbench.open(tmp_path / "alone") as alone:
        expected = alone.index(many, workers=1, quiet=True)
        rows = [(each.path, each.header_digest) for each in find_instances(alone.catalog)]

    assert sum("read_packed" in str(each["key"]) for each in stream.data) == 13
    assert counts(indexed.report) == counts(expected.report)
    assert indexed.report.added == 60
    assert [(each.path, each.header_digest) for each in find_instances(bench.catalog)] == rows


def test_a_worker_that_is_killed_in_the_middle_of_an_index_loses_nothing(
    bench: Bench, many: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill(done: int, _total: int | None) -> None:
        if done > 10 and not killed:
            killed.extend(bench.client.run(os.getpid).values())  # type: ignore[no-untyped-call]
            os.kill(killed[0], signal.SIGKILL)

    report = index_paths(bench.catalog, [many], workers=2, submit=reading_on(bench.client), progress=kill)
    with workbench.open(tmp_path / "alone") as alone:
        expected = alone.index(many, workers=1, quiet=True).report
        rows = [(each.path, each.header_digest) for each in find_instances(alone.catalog)]

    assert killed
    assert counts(report) == counts(expected)
    assert [each.path for each in report.rejected] == [str(many / "note.txt")]
    assert [(each.path, each.header_digest) for each in find_instances(bench.catalog)] == rows
    assert bench.index(many, cluster=True, quiet=True).report.unchanged == 60
