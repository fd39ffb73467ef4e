"""23: `kill -9` while remote series are recorded, on both databases: a batch is whole or not there."""

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from catalog.database import Catalog
from catalog.idc import index_idc
from catalog.query import count_series

COUNT, BATCH = 2_000, 300
STATEMENTS = {"sqlite": 6, "postgresql": 4}
"""That insert, of a batch: patients, studies, series, remotes; in SQLite what was told and the texts, too."""
CODE = f"""
import sys
from pathlib import Path
import sqlalchemy as sa
from catalog import idc
from catalog.database import Catalog
idc.BATCH = {BATCH}
catalog = Catalog(sys.argv[1])
left = int(sys.argv[2])
def stop(connection, cursor, statement, parameters, context, executemany):
    global left
    if statement.startswith("INSERT INTO"):
        left -= 1
        if not left:
            print("now", flush=True)
            sys.stdin.readline()
sa.event.listen(catalog.engine, "after_cursor_execute", stop)
idc.index_idc(catalog, Path(sys.argv[3]))
"""


@pytest.mark.parametrize("statement", [1, 3, 9, 20, 27])
def test_23_P8_what_was_killed_in_a_batch_is_the_old_or_the_new(
    tmp_path: Path, catalog_url: str, statement: int
) -> None:
    path = tmp_path / "index.parquet"
    numbers = range(COUNT)
    columns = {
        "SeriesInstanceUID": [f"1.2.{each}" for each in numbers],
        "StudyInstanceUID": [f"1.3.{each // 7}" for each in numbers],
        "PatientID": [f"P{each // 70}" for each in numbers],
        "Modality": ["CT" for _ in numbers],
    }
    pq.write_table(pa.table(columns), path)
    command = [sys.executable, "-c", CODE, catalog_url, str(statement), str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)

    catalog = Catalog(catalog_url)
    with catalog.reading() as connection:
        kind = connection.dialect.name
        if kind == "sqlite":
            assert connection.scalar(sa.text("PRAGMA integrity_check")) == "ok"
            assert connection.execute(sa.text("PRAGMA foreign_key_check")).all() == []
        for table in ("series", "series_texts", "remotes"):
            there = connection.scalar(sa.text(f"SELECT count(*) FROM {table}"))
            assert there % BATCH == 0
            assert there == (statement - 1) // STATEMENTS[kind] * BATCH
        if kind == "sqlite":  # PostgreSQL has its triggers doubt each, and they are looked up
            assert connection.scalar(sa.text("SELECT count(*) FROM doubts")) == 0
    report = index_idc(catalog, path)
    assert (report.added, report.unchanged) == (COUNT - there, there)
    assert count_series(catalog, modality="CT") == COUNT
    catalog.close()
