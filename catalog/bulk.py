"""Many rows at once: with COPY into a temporary table where the database is PostgreSQL and they are many."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from catalog.models import upserting

MANY = 100
"""Rows that are worth a temporary table."""


def insert_rows(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    key: Sequence[str] = (),
    update: bool = False,
) -> None:
    """Insert rows, all with the same columns, in their order; what is there under their key is kept.

    Parameters
    ----------
    connection
        In a transaction.
    table, rows
        What goes where.
    key
        Columns that tell rows apart; of rows with the same the last counts. Without it a row that is there
        already is an `sqlalchemy.exc.IntegrityError`.
    update
        What is there is overwritten instead.
    """
    if not rows:
        return
    if key:
        rows = list({tuple(row[name] for name in key): row for row in rows}.values())
    names = tuple(rows[0])
    if connection.dialect.positional:
        as_tuples = _as_tuples(connection.dialect, table, names, tuple(key), update)
        if as_tuples is not None:
            connection.exec_driver_sql(as_tuples.statement, list(map(as_tuples.values, rows)))
            return
    insert = upserting(connection.dialect, table)
    if connection.dialect.name == "postgresql" and len(rows) >= MANY:
        insert = insert.from_select(list(names), _copied(connection, table, names, rows))
        rows = ()
    insert = _kept(insert, names, key, update=update)
    if rows:
        connection.execute(insert, rows)
    else:
        connection.execute(insert)


def _kept(
    insert: sqlite.Insert | postgresql.Insert, names: Iterable[str], key: Sequence[str], *, update: bool
) -> sqlite.Insert | postgresql.Insert:
    """Say what is done where a row is there."""
    if key and update:
        changed = {name: insert.excluded[name] for name in names if name not in key}
        return insert.on_conflict_do_update(index_elements=key, set_=changed)
    return insert.on_conflict_do_nothing(index_elements=key) if key else insert


@dataclass(frozen=True, slots=True)
class _AsTuples:
    """A statement, and how the driver has its values of a row.

    To have SQLAlchemy make them costs more than to write them, and so does the statement, for few rows.
    """

    statement: str
    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    conversions: Mapping[int, Callable[[Any], Any]]
    """By place."""

    def values(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return those of a row."""
        picked = self.pick(row)
        if not self.conversions:
            return picked
        made = list(picked)
        for place, convert in self.conversions.items():
            made[place] = convert(made[place])
        return tuple(made)


@lru_cache(maxsize=200)
def _as_tuples(
    dialect: sa.Dialect, table: sa.Table, names: Sequence[str], key: Sequence[str], update: bool
) -> _AsTuples | None:
    """Compile an insert; none where a default of Python is beside the values, or there is one value."""
    insert = _kept(upserting(dialect, table), names, key, update=update)
    compiled = insert.compile(dialect=dialect, column_keys=list(names))
    assert isinstance(compiled, SQLCompiler)
    places = compiled.positiontup or ()
    if len(places) < 2 or set(places) != set(names):
        return None
    converts = {
        place: table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
        for place, name in enumerate(places)
    }
    found = {place: convert for place, convert in converts.items() if convert is not None}
    return _AsTuples(str(compiled), itemgetter(*places), found)


def _copied(
    connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> sa.Select[Any]:
    """Copy rows into a temporary table of this connection, and return what selects them in their order."""
    temporary = sa.table(f"copied_{table.name}", *(sa.column(name, table.c[name].type) for name in names))
    like = sa.select(*(table.c[name] for name in names)).compile(connection)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {temporary.name} ON COMMIT DELETE ROWS AS {like} WITH NO DATA"
    )
    connection.execute(temporary.delete())
    as_json = {name for name in names if isinstance(table.c[name].type, sa.JSON)}
    values = ([json.dumps(row[name]) if name in as_json else row[name] for name in names] for row in rows)
    fill(connection, temporary.name, names, values)
    return sa.select(*temporary.c).order_by(sa.text("ctid"))


@contextmanager
def without_triggers(connection: sa.Connection) -> Iterator[None]:
    """Call no trigger on this connection to SQLite: who writes in the body does what they would.

    Foreign keys are looked at all the same, and other connections call theirs.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)
    try:
        yield
    finally:
        driver.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, True)


def fill(connection: sa.Connection, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write many rows into a table of which nobody else knows, such as a temporary one.

    Parameters
    ----------
    connection
        In a transaction.
    name, columns
        Words of our own, never of an outsider.
    rows
        Values as the columns have them.
    """
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})"
        if values := [tuple(row) for row in rows]:
            connection.exec_driver_sql(statement, values)
        return
    import psycopg
    from psycopg import sql

    copying = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        with driver.cursor() as cursor, cursor.copy(copying) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        error.args = (str(error).splitlines()[0],)  # the rest repeats values
        raise sa.exc.DBAPIError.instance("COPY", None, error, psycopg.Error, hide_parameters=True) from None
