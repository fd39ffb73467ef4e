"""Rows of the keys under which headers say something, for whoever writes; they are never taken away."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from catalog.among import among
from catalog.models import header_keys, upserting


def rows_of_keys(connection: sa.Connection, keys: Iterable[str]) -> dict[str, int]:
    """Return the rows of keys by key; those that are new are entered."""
    wanted = sorted(keys)
    known = _known(connection, wanted)
    new = [{"key": key} for key in wanted if key not in known]
    insert_new(connection, header_keys, new)
    return known | (_known(connection, [each["key"] for each in new]) if new else {})


def _known(connection: sa.Connection, keys: Sequence[str]) -> dict[str, int]:
    rows = connection.execute(
        sa.select(header_keys.c.key, header_keys.c.id).where(among(header_keys.c.key, keys))
    )
    return {row.key: row.id for row in rows}


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, leaving those that are there."""
    if rows:
        connection.execute(upserting(connection.dialect, table).on_conflict_do_nothing(), rows)
