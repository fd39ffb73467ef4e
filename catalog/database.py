"""The engine of a catalog and its one transaction: SQLite beside the arrays, PostgreSQL when shared."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from catalog.migrations import migrate

BUSY_TIMEOUT_SECONDS = 60
"""How long a short transaction waits for the writer before it."""


class Catalog:
    """An open catalog; hand it to the functions of `catalog.index`, `catalog.query`, `catalog.outbox`.

    Opening brings the schema to this version's and refuses a newer one.

    Parameters
    ----------
    url
        The path of an SQLite file, or an address such as `postgresql://user@host/name`.

    Raises
    ------
    catalog.errors.SchemaError
        If the catalog was written by a newer workbench.
    """

    def __init__(self, url: str | Path) -> None:
        self.engine = _engine(str(url))
        try:
            migrate(self.engine)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Read and write; committed at the end, rolled back on any exception (Ctrl-C too)."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Read one consistent state without waiting for, or holding up, a writer."""
        with self.engine.connect().execution_options(reading=True) as connection:
            yield connection

    def close(self) -> None:
        """Give up the connections."""
        self.engine.dispose()


def _engine(url: str) -> sa.Engine:
    if url.startswith(("postgresql:", "postgres:")):
        return sa.create_engine("postgresql+psycopg:" + url.partition(":")[2])
    engine = sa.create_engine(
        url if "://" in url else f"sqlite:///{url}", connect_args={"timeout": BUSY_TIMEOUT_SECONDS}
    )
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver starts no transaction of its own; _begin_sqlite does
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an acknowledged commit survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    connection.create_function("casefold", 1, _casefold, deterministic=True)


def _casefold(text: str | None) -> str | None:
    return text.casefold() if text is not None else None  # SQLite's own lower() knows ASCII only


def _begin_sqlite(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    # A writer takes its lock at once: one that reads first and then writes could not wait for another.
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
