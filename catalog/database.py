"""The engine of a catalog and its one transaction: SQLite beside the arrays, PostgreSQL when shared."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from catalog.errors import CatalogError, ConflictError, SettingsError
from catalog.interruption import interruptible
from catalog.locks import writer_of
from catalog.migrations import file_of, migrate

BUSY_TIMEOUT_SECONDS = 60
"""How long a short transaction waits for the writer before it."""

CACHE_KIB = 32_000
"""Pages of SQLite in memory, a connection; its own 2 MB do not hold the upper pages of the indexes."""


class Catalog:
    """An open catalog; hand it to the functions of `catalog.index`, `catalog.query`, `catalog.outbox`.

    Opening brings the schema to this version's and refuses a newer one. An SQLite file of an older schema is
    copied beside itself first, as it was (`catalog.backup`).

    Parameters
    ----------
    url
        The path of an SQLite file, or an address such as `postgresql://user@host/name`.

    Raises
    ------
    catalog.errors.SchemaError
        If the catalog was written by a newer workbench.
    catalog.errors.CatalogError
        If it cannot be read or written, so do both kinds of transaction; or if there is no room to copy it.
    catalog.errors.SettingsError
        If the address is none of a catalog, or its driver is not installed.
    """

    def __init__(self, url: str | Path) -> None:
        self.engine = _engine(str(url))
        try:
            with self._in_words():
                migrate(self.engine)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Read and write; committed at the end, rolled back on any exception (Ctrl-C too)."""
        with self._in_words(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Read one consistent state, however many questions, without waiting for, or holding up, a writer."""
        with (
            self._in_words(),
            self.engine.connect().execution_options(**self._reading) as connection,
            interruptible(connection),
        ):
            yield connection

    @property
    def _reading(self) -> dict[str, Any]:
        if self.engine.dialect.name == "sqlite":
            return {"reading": True}
        return {"isolation_level": "REPEATABLE READ"}  # else every statement sees a state of its own

    @property
    def file(self) -> Path | None:
        """The SQLite file; `None` where the catalog is none, or in memory."""
        with self.reading() as connection:
            return file_of(connection)

    def close(self) -> None:
        """Give up the connections."""
        self.engine.dispose()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Say what keeps the database from answering; what a statement did wrong stays as it is."""
        try:
            yield
        except sa.exc.IntegrityError:
            raise
        except sa.exc.TimeoutError:
            raise CatalogError("the catalog is asked by too many at once; do the same again") from None
        except sa.exc.DatabaseError as error:
            said = str(error.orig).splitlines()[0]
            name = _shown(self.engine.url)
            if getattr(error.orig, "sqlstate", None) in _UNDONE:
                raise ConflictError(f"{_CONFLICT} {name}; do the same again when it is done") from None
            words = next((words for sign, words in _REASONS.items() if sign in said), None)
            is_statement = error.statement is not None  # else it could not connect
            if words is None and is_statement and not isinstance(error, sa.exc.OperationalError):
                raise
            if words is _LOCKED:
                words = words.format(holder=writer_of(name), seconds=BUSY_TIMEOUT_SECONDS)
            raise CatalogError(f"the catalog {name} {words or f'cannot be used: {said}'}") from None


def _shown(url: sa.URL) -> str:
    """The address without a password, wherever in it that stands."""
    secret = {name: "***" for name in url.query if "pass" in name.casefold()}
    return url.update_query_dict(secret).render_as_string(hide_password=True).removeprefix("sqlite:///")


_FULL = "cannot grow, its disk is full; make room and do the same again"
_CUT_OFF = "was cut off by its server; what was written whole is kept, do the same again when it answers"
_LOCKED = "was held by {holder} for more than {seconds} s; do the same again when it is done"
_REASONS = {
    "disk is full": _FULL,
    "disk I/O error": "cannot be read or written: input or output error of its disk",
    "readonly": "is read-only for this user; take another --home, or ask for the right to write",
    "malformed": "is damaged; put back a copy, or move the file away and index the archive again",
    "not a database": "is damaged, or no catalog; put back a copy, or move it away and index again",
    "unable to open": "cannot be opened; its folder must exist and be writable",
    "is locked": _LOCKED,
    "No space left on device": _FULL,
    "terminating connection": _CUT_OFF,
    "server closed the connection": _CUT_OFF,
    "the connection is closed": _CUT_OFF,
    "connection is lost": _CUT_OFF,
}
"""What SQLite and PostgreSQL say, and what it means to a person."""
_UNDONE = ("40001", "40P01")
"""PostgreSQL's states of a transaction that it ended for another's sake: serialisation, deadlock."""
_CONFLICT = "another process changed the same rows at the same time in the catalog"


def _engine(url: str) -> sa.Engine:
    # Values of statements are patients' data: they stay out of the texts of errors.
    if url.startswith(("postgresql:", "postgres:")):
        try:
            engine = sa.create_engine(
                "postgresql+psycopg:" + url.partition(":")[2],
                hide_parameters=True,
                isolation_level="READ COMMITTED",  # whatever the server's default is
            )
        except ModuleNotFoundError:
            raise SettingsError(
                "a catalog in PostgreSQL needs psycopg: pip install 'psycopg[binary]'"
            ) from None
        sa.event.listen(engine, "handle_error", _forget_values)
        return engine
    if "://" in url and not url.startswith("sqlite:"):
        kind = url.partition("://")[0]
        raise SettingsError(f"a catalog is an SQLite file or a postgresql:// address, not {kind}://")
    engine = sa.create_engine(
        url if "://" in url else f"sqlite:///{url}",
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
        hide_parameters=True,
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    sa.event.listen(engine, "handle_error", _give_up_what_cannot_write)
    return engine


def _give_up_what_cannot_write(context: sa.engine.ExceptionContext) -> None:
    """SQLite opens for reading what it cannot open for writing just then; the next one opens it anew."""
    if "readonly" in str(context.original_exception):
        context.is_disconnect = True


def _forget_values(context: sa.engine.ExceptionContext) -> None:
    """Keep what PostgreSQL says of a statement, not the detail, which repeats the values of a row."""
    said = str(context.original_exception).splitlines()[0]
    context.original_exception.args = (said,)
    if context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = (said,)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver starts no transaction of its own; _begin_sqlite does
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an acknowledged commit survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
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
