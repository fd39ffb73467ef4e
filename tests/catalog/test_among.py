"""One of many values: the rows are those that IN gives, found by the index of the column."""

import sqlalchemy as sa

from catalog.among import among
from catalog.database import Catalog
from catalog.models import header_keys

KEYS = ["00080060", 'with "quotes"', "Ünïcödé", "back\\slash", "{braces}", "NULL", ""]


def test_rows_are_those_whose_column_has_one_of_the_values(catalog: Catalog) -> None:
    with catalog.transaction() as connection:
        connection.execute(header_keys.insert(), [{"key": key} for key in KEYS])
        for wanted in ([], KEYS[:1], KEYS[1:], [*KEYS, "not there"], [f"{n}" for n in range(40_000)] + KEYS):
            found = connection.scalars(sa.select(header_keys.c.key).where(among(header_keys.c.key, wanted)))
            assert sorted(found) == sorted(set(KEYS) & set(wanted))
        rows = list(connection.scalars(sa.select(header_keys.c.id).order_by(header_keys.c.id)))
        found_rows = connection.scalars(sa.select(header_keys.c.id).where(among(header_keys.c.id, rows[2:4])))
        assert sorted(found_rows) == rows[2:4]


def test_the_index_of_the_column_is_used(catalog: Catalog) -> None:
    statement = sa.select(header_keys.c.id).where(among(header_keys.c.key, ["one", "two"]))
    asked = str(statement.compile(catalog.engine, compile_kwargs={"render_postcompile": True}))
    with catalog.reading() as connection:
        if connection.dialect.name == "sqlite":
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", ("[]",)).all()
            assert any("SEARCH header_keys" in row[3] for row in plan)
        else:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # it is empty, and need not look
            plan = connection.exec_driver_sql(f"EXPLAIN {asked}", {"param_1": ["one", "two"]}).all()
            assert "Seq Scan" not in str(plan)
