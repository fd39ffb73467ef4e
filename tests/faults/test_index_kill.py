"""`kill -9` at any point of an index run: the next run completes to the state of an uninterrupted one."""

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

CODE = """
import sys
from catalog import index
from catalog.database import Catalog
index.BATCH = 7
catalog = Catalog(sys.argv[1])
def progress(done, total):
    print(done, flush=True)
    sys.stdin.readline()
index.index_paths(catalog, [sys.argv[2]], progress=progress)
"""


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


@pytest.mark.parametrize("steps", [1, 8, 13, 29, 33])
def test_a_killed_run_is_completed_by_the_next(archive: Path, tmp_path: Path, steps: int) -> None:
    whole = Catalog(tmp_path / "whole.db")
    index_paths(whole, [archive])
    run = subprocess.Popen(
        [sys.executable, "-c", CODE, tmp_path / "killed.db", archive],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdin is not None
    assert run.stdout is not None
    with run.stdin, run.stdout:
        for _ in range(steps):
            run.stdout.readline()
            run.stdin.write("\n")
            run.stdin.flush()
        run.kill()  # somewhere in what comes after
        assert run.wait(timeout=30) in (-signal.SIGKILL, 0)

    killed = Catalog(tmp_path / "killed.db")
    report = index_paths(killed, [archive])

    assert report.added + report.updated + report.unchanged == 32
    assert state(killed) == state(whole)
    killed.close()
    whole.close()
