"""Columns that hold several values with backslashes between (PS3.5 section 6.4), asked value by value in SQL.

One value that is as asked is enough. An empty value is none; what is no number, or one beyond 1e200,
compares with no number and is no error of the database either.
"""

import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

type Condition = sa.ColumnElement[bool]

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MANTISSA = r"^\s*[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})"
_PLAIN, _TINY = rf"{_MANTISSA}([eE][+-]?1?[0-9]{{1,2}})?\s*$", rf"{_MANTISSA}[eE]-[0-9]+\s*$"
"""Numbers that PostgreSQL reads, and those that are nothing to it but an error."""


def is_number(value: Any) -> bool:
    """Whether a value of a question is a number, or a text that is one."""
    if isinstance(value, str):
        return _NUMBER.fullmatch(value.strip(" ")) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def any_text(column: sa.ColumnElement[str], is_so: Callable[[sa.ColumnElement[str]], Condition]) -> Condition:
    """Whether one of the values of a column is as asked, as a text."""
    return _any(column, is_so)


def any_number(
    column: sa.ColumnElement[str], is_so: Callable[[sa.ColumnElement[float]], Condition]
) -> Condition:
    """Whether one of the values of a column is a number, and as asked."""
    return _any(column, lambda value: is_so(_number(value)))


def _any(column: sa.ColumnElement[str], is_so: Callable[[sa.ColumnElement[Any]], Condition]) -> Condition:
    # named as the column json_each gives: what PostgreSQL's unnest gives is named as the whole is
    value = _values(column).table_valued(sa.column("value", sa.Text), name="value").c.value
    one = sa.select(sa.literal(1)).where(value != "", is_so(value))
    return one.correlate_except(value.table).exists()


class _values(FunctionElement[Any]):
    """The values of a text, one a row."""

    inherit_cache = True


@compiles(_values, "sqlite")
def _values_sqlite(element: _values, compiler: SQLCompiler, **kw: Any) -> str:
    # quoted as JSON every backslash of the text is two, and no other two stand together
    text = compiler.process(element.clauses, **kw)
    return rf"""json_each('[' || replace(json_quote({text}), '\\', '","') || ']')"""


@compiles(_values)
def _values_of_text(element: _values, compiler: SQLCompiler, **kw: Any) -> str:
    return rf"unnest(string_to_array({compiler.process(element.clauses, **kw)}, '\'))"


class _number(FunctionElement[float]):
    """The number that a text is as a whole; NULL of any other."""

    type = sa.Double()
    inherit_cache = True


@compiles(_number, "sqlite")
def _number_sqlite(element: _number, compiler: SQLCompiler, **kw: Any) -> str:
    # beside a number a text that is one is compared as one; any other is greater than every number
    text = compiler.process(element.clauses, **kw)
    ends = "CAST(-1e200 AS REAL) AND CAST(1e200 AS REAL)"
    return f"CASE WHEN {text} BETWEEN {ends} THEN CAST({text} AS REAL) END"


@compiles(_number)
def _number_of_text(element: _number, compiler: SQLCompiler, **kw: Any) -> str:
    text = compiler.process(element.clauses, **kw)
    is_plain = f"WHEN {text} ~ '{_PLAIN}' THEN CAST({text} AS DOUBLE PRECISION)"
    return f"CASE {is_plain} WHEN {text} ~ '{_TINY}' THEN 0 END"
