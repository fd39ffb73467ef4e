"""23: `kill -9` at any point of an index run: the next run completes to the state of an uninterrupted one."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from catalog.database import Catalog
from catalog.index import index_paths
from pipelines import phantoms
from tests.faults.killing import points, victims

CODE = """
from catalog import index
from catalog.database import Catalog

def work(catalog, archive):
    index.BATCH = 7
    index.index_paths(Catalog(catalog), [archive])
"""
STEPS = """
import sys
from catalog import index
from catalog.database import Catalog
index.BATCH = 7
def progress(done, total):
    print(done, flush=True)
    sys.stdin.readline()
index.index_paths(Catalog(sys.argv[1]), [sys.argv[2]], progress=progress)
"""
CALLS = {"pwrite64": 6, "fdatasync": 5, "openat": 5}
"""What changes the catalog, or reads the archive, and at how many calls of each it is killed."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for number in range(4):
        phantoms.write_series(
            folder / str(number), planes=8, seed=number, study=str(number), rows=8, columns=8
        )
    (folder / "2" / "note.txt").write_text("no DICOM")
    return folder


def state(catalog: Catalog) -> Any:
    with catalog.reading() as connection:
        if connection.dialect.name == "sqlite":
            assert connection.scalar(sa.text("PRAGMA integrity_check")) == "ok"
            assert connection.execute(sa.text("PRAGMA foreign_key_check")).all() == []
        return sorted(
            map(
                str,
                connection.execute(
                    sa.text(
                        "SELECT f.folder, f.name, f.state, i.sop_instance_uid, s.series_instance_uid"
                        " FROM files f LEFT JOIN instances i ON f.instance = i.id"
                        " LEFT JOIN series s ON i.series = s.id"
                    )
                ),
            )
        )


@pytest.mark.parametrize("call", CALLS)
def test_23_P8_a_killed_run_is_completed_by_the_next(
    strace: str, fresh: Path, archive: Path, tmp_path: Path, call: str
) -> None:
    whole = Catalog(tmp_path / "whole.db")
    index_paths(whole, [archive])
    made: list[Path] = []

    def anew() -> list[str]:
        made.append(tmp_path / f"{len(made)}.db")
        shutil.copy(fresh, made[-1])
        return [str(made[-1]), str(archive)]

    left = set()
    with victims(strace, CODE, [*CALLS]) as indexing:
        ended = indexing.run(anew())
        assert ended.code == 0
        for point in points(ended.calls[call], CALLS[call]):
            indexing.killed(anew, call, point)
            killed = Catalog(made[-1])
            report = index_paths(killed, [archive])
            assert report.added + report.updated + report.unchanged == 32
            assert state(killed) == state(whole)
            left.add(report.added)
            killed.close()
    assert len(left) > 1, "it was killed before and after some of the batches"
    whole.close()


@pytest.mark.parametrize("step", [1, 8, 13, 29, 33])
def test_23_P8_a_run_killed_between_two_files_is_completed_by_the_next_on_both_databases(
    archive: Path, tmp_path: Path, catalog_url: str, step: int
) -> None:
    whole = Catalog(tmp_path / "whole.db")
    index_paths(whole, [archive])
    command = [sys.executable, "-c", STEPS, catalog_url, str(archive)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        for number in range(step):
            assert run.stdout.readline(), "it ended before the step that was asked for"
            if number + 1 < step:
                run.stdin.write("\n")
                run.stdin.flush()
        run.kill()  # while it waits at this step
        assert run.wait(timeout=30) == -signal.SIGKILL

    killed = Catalog(catalog_url)
    report = index_paths(killed, [archive])
    assert report.added + report.updated + report.unchanged == 32
    assert state(killed) == state(whole)
    killed.close()
    whole.close()
