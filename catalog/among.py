"""Whether a column has one of many values, which go to the database as one.

SQL with a mark for each of hundreds of values takes longer to make than to run.
"""

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


def among[Value: (str, int)](column: sa.ColumnElement[Value], values: Iterable[Value]) -> "_Among":
    """Whether a column has one of some values: UIDs, keys, or numbers of rows."""
    return _Among(column, sa.literal(list(values), _Many(column.type)))


class _Many(sa.types.TypeDecorator[list[Any]]):
    """Values of a type: a list in JSON for SQLite, an array for PostgreSQL."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, of: sa.types.TypeEngine[Any]) -> None:
        super().__init__()
        self.of = of

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(postgresql.ARRAY(self.of))

    def process_bind_param(self, value: list[Any] | None, dialect: sa.Dialect) -> Any:
        return json.dumps(value) if dialect.name == "sqlite" else value


class _Among(FunctionElement[Any]):
    type = sa.types.NullType()  # a boolean of SQLite would be compared with 1, and no index be used any more
    inherit_cache = True


@compiles(_Among, "sqlite")
def _among_sqlite(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(each, **kw) for each in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({values})))"


@compiles(_Among)
def _among(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(each, **kw) for each in element.clauses)
    return f"({column} = ANY({values}))"
