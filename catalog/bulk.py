"""Many rows at once: with COPY into a temporary table where the database is PostgreSQL and they are many."""

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
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
    names = list(rows[0])
    insert = upserting(connection, table)
    if connection.dialect.name == "postgresql" and len(rows) >= MANY:
        insert = insert.from_select(names, _copied(connection, table, names, rows))
        rows = ()
    if key and update:
        changed = {name: insert.excluded[name] for name in names if name not in key}
        insert = insert.on_conflict_do_update(index_elements=key, set_=changed)
    elif key:
        insert = insert.on_conflict_do_nothing(index_elements=key)
    if not rows:
        connection.execute(insert)
    elif connection.dialect.positional:
        _execute_with_tuples(connection, insert, table, rows)
    else:
        connection.execute(insert, rows)


def _execute_with_tuples(
    connection: sa.Connection, insert: sa.Insert, table: sa.Table, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Give rows to the driver as tuples; to have SQLAlchemy make them costs more than to write them."""
    dialect = connection.dialect
    compiled = insert.compile(dialect=dialect, column_keys=list(rows[0]))
    assert isinstance(compiled, SQLCompiler)
    names = compiled.positiontup or ()
    if len(names) < 2 or set(names) != rows[0].keys():  # a default of Python is beside them
        connection.execute(insert, rows)
        return
    made = list(map(itemgetter(*names), rows))
    for place, name in enumerate(names):
        convert = table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
        if convert is not None:
            made = [(*row[:place], convert(row[place]), *row[place + 1 :]) for row in made]
    connection.exec_driver_sql(str(compiled), made)


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
