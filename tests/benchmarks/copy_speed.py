"""Rows a second into PostgreSQL by COPY, as the index writes them, against INSERT.

`python tests/benchmarks/copy_speed.py [rows]` starts a server of its own with its default settings. Written
are places of files, where nothing or the same is there already; a batch of the index is a transaction.
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import batched
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import psycopg
import sqlalchemy as sa

from catalog.bulk import insert_rows
from catalog.database import Catalog
from catalog.index import BATCH
from catalog.models import files, upserting

REPEATS = 3
KEY = ("folder", "name")

type Row = dict[str, Any]
type Write = Callable[[sa.Connection, Sequence[Row]], None]


@contextmanager
def server() -> Iterator[str]:
    """Address of a database on a server that ends with it."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path has at most 107 bytes
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        owner = {"user": "postgres", "group": "postgres"}
        shutil.chown(folder, "postgres", "postgres")
    options = ["-A", "trust", "-U", "bench", "-E", "UTF8", "--locale=C.UTF-8"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([programs[-1], "-D", folder / "data", *options], check=True, **quiet, **owner)
    program = programs[-1].with_name("postgres")
    command = [program, "-D", folder / "data", "-k", folder, "-c", "listen_addresses="]
    with subprocess.Popen(command, **quiet, **owner) as process:
        address = f"postgresql://bench@/postgres?host={folder}"
        try:
            for attempt in range(300):
                try:
                    psycopg.connect(address).close()
                    break
                except psycopg.OperationalError:
                    if process.poll() is not None or attempt == 299:
                        raise
                    sleep(0.1)
            yield address
        finally:
            process.send_signal(signal.SIGINT)  # its fast way, which waits for nobody
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def rows_of(count: int) -> list[Row]:
    """Places as the index writes them."""
    return [
        {
            "folder": f"/archive/hospital/{number // 250:06}", "name": f"{number:08}.dcm",
            "size": 526_000 + number, "mtime_ns": 1_790_000_000_000_000_000 + number, "state": "indexed",
            "reason": "", "instance": None, "pixel_tag": 0x7FE00010, "pixel_vr": "OW",
            "pixel_offset": 1_500, "pixel_length": 524_288, "content_digest": None,
        }
        for number in range(count)
    ]  # fmt: skip


def copied(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """As the index does."""
    insert_rows(connection, files, rows, key=KEY, update=True)


def one_by_one(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """One statement, executed for each row, which the driver sends in a pipeline."""
    connection.execute(_upsert(connection, rows[0]), rows)


def of_many(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """One statement with all rows in it, its text made once."""
    values = {f"{name}_m{number}": value for number, row in enumerate(rows) for name, value in row.items()}
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.execute(_text(connection, rows), values)


_texts: dict[int, str] = {}


def _text(connection: sa.Connection, rows: Sequence[Row]) -> str:
    if len(rows) not in _texts:
        compiled = _upsert(connection, rows[0]).values(list(rows)).compile(dialect=connection.dialect)
        _texts[len(rows)] = str(compiled)
    return _texts[len(rows)]


def _upsert(connection: sa.Connection, row: Row) -> sa.Insert:
    insert = upserting(connection.dialect, files)
    changed = {name: insert.excluded[name] for name in row if name not in KEY}
    return insert.on_conflict_do_update(index_elements=KEY, set_=changed)


def per_second(catalog: Catalog, rows: Sequence[Row], write: Write) -> float:
    """Rows a second, all batches."""
    started = perf_counter()
    for batch in batched(rows, BATCH):
        with catalog.transaction() as connection:
            write(connection, batch)
    return len(rows) / (perf_counter() - started)


def main(count: int = 50_000) -> None:
    """Print the table."""
    ways = {"COPY": copied, "INSERT of many rows": of_many, "INSERT, one row each": one_by_one}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    rows = rows_of(count)
    with server() as address:
        catalog = Catalog(address)
        for _ in range(REPEATS):
            for name, write in ways.items():
                with catalog.transaction() as connection:
                    connection.execute(sa.text("TRUNCATE files CASCADE"))
                rates[name].append((per_second(catalog, rows, write), per_second(catalog, rows, write)))
        catalog.close()
    lines = [f"{count:,} rows into PostgreSQL, {BATCH} a transaction", f"  {'':<24}{'new':>10}{'there':>10}"]
    for name, taken in rates.items():
        new, there = (statistics.median(each) for each in zip(*taken, strict=True))
        lines.append(f"  {name:<24}{new:>10,.0f}{there:>10,.0f} rows/s")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
