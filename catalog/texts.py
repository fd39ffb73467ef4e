"""The texts of each series in one, folded: an index of their trigrams tells who may contain a word.

`series_texts` is an FTS5 table of SQLite and a table with a `pg_trgm` index in PostgreSQL; triggers keep it,
whoever writes. It has every series that contains a text, and others: a condition decides, and is asked of
these candidates alone. What a condition does not fold as the index does would be lost, so both fold alike:
`casefold` of Python in SQLite, `lower` in PostgreSQL (`catalog.matching.casefold`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from catalog.attributes import BY_KEYWORD, SEARCHED
from catalog.models import series

type Condition = sa.ColumnElement[bool]

INDEXED = frozenset(BY_KEYWORD[keyword].column for keyword in SEARCHED)
"""Columns whose texts are in the index."""
FEW = 50_000
"""Candidates that are looked at one by one in less time than a walk through the catalog may take."""
_TRIGRAMS = 24
"""Of one text; the more are asked for, the fewer candidates are left, but not by much."""
_MOST = 400
"""Trigrams in one question; FTS5 nests no deeper than 256."""

_TABLE = sa.table("series_texts", sa.column("text", sa.Text))


@dataclass(frozen=True, slots=True)
class Candidates:
    """Which series may be meant; a superset of those that are."""

    match: str
    """What FTS5 is asked."""
    like: Condition
    """What PostgreSQL is asked."""
    trigrams: int
    is_all: bool = True
    """Whether nothing else was asked for."""


def containing(text: str) -> Candidates | None:
    """Series one of whose texts contains a folded text; `None` where it is too short to be looked up."""
    found = list(dict.fromkeys(text[at : at + 3] for at in range(len(text) - 2)))[:_TRIGRAMS]
    if not found:
        return None
    quoted = ['"' + each.replace('"', '""') + '"' for each in found]
    like: Condition = _TABLE.c.text.contains(text, autoescape=True)
    return Candidates(f"({' AND '.join(quoted)})", like, len(found))


def every(parts: Sequence[Candidates | None]) -> Candidates | None:
    """Series that are candidates of each part; one that no index knows leaves it to the others."""
    known = [each for each in parts if each is not None]
    return _joined(" AND ", sa.and_, known, is_all=len(known) == len(parts)) if known else None


def either(parts: Sequence[Candidates | None]) -> Candidates | None:
    """Series that are candidates of one part."""
    known = [each for each in parts if each is not None]
    return _joined(" OR ", sa.or_, known, is_all=True) if known and len(known) == len(parts) else None


def _joined(word: str, condition: Any, parts: Sequence[Candidates], *, is_all: bool) -> Candidates | None:
    different = list({each.match: each for each in parts}.values())
    trigrams = sum(each.trigrams for each in different)
    if trigrams > _MOST:
        return None
    is_all = is_all and all(each.is_all for each in parts)
    if len(different) == 1:
        return Candidates(different[0].match, different[0].like, trigrams, is_all)
    match = f"({word.join(each.match for each in different)})"
    return Candidates(match, condition(*(each.like for each in different)), trigrams, is_all)


class text_row(FunctionElement[int]):
    """The series of a row of texts."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(text_row, "sqlite")
def _text_row_sqlite(_element: text_row, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "series_texts.rowid"


@compiles(text_row)
def _text_row(_element: text_row, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "series_texts.series"


class has_trigrams(FunctionElement[Any]):
    """What FTS5 is asked, and what PostgreSQL is asked."""

    type = (
        sa.types.NullType()
    )  # a boolean of SQLite would be compared with 1, and MATCH not be known any more
    inherit_cache = True


@compiles(has_trigrams, "sqlite")
def _has_trigrams_sqlite(element: has_trigrams, compiler: SQLCompiler, **kw: Any) -> str:
    match, _ = element.clauses
    return f"(series_texts MATCH {compiler.process(match, **kw)})"


@compiles(has_trigrams)
def _has_trigrams(element: has_trigrams, compiler: SQLCompiler, **kw: Any) -> str:
    _, like = element.clauses
    return f"({compiler.process(like, **kw)})"


class _Then(sa.Join):
    """A join whose left side SQLite goes through first: it knows little of how many candidates there are."""

    inherit_cache = True


@compiles(_Then, "sqlite")
def _then_sqlite(
    join: _Then, compiler: SQLCompiler, asfrom: bool = False, from_linter: Any = None, **kw: Any
) -> str:
    if from_linter:
        from_linter.edges.update(product(join.left._from_objects, join.right._from_objects))
    left, right = (
        compiler.process(each, asfrom=True, from_linter=from_linter, **kw) for each in (join.left, join.right)
    )
    assert join.onclause is not None
    return f"{left} CROSS JOIN {right} ON {compiler.process(join.onclause, from_linter=from_linter, **kw)}"


def is_candidate(candidates: Candidates) -> Condition:
    """Whether a row of texts is a candidate."""
    return has_trigrams(sa.literal(candidates.match), candidates.like)


def first(above: Sequence[tuple[sa.Table, Condition]]) -> sa.FromClause:
    """Return texts, series, and the tables above with what they are joined on, gone through in this order."""
    rows: sa.FromClause = _Then(_TABLE, series, series.c.id == text_row())
    for table, condition in above:
        rows = _Then(rows, table, condition)
    return rows


def are_few(connection: sa.Connection, candidates: Candidates) -> bool:
    """Whether the candidates are few enough to be looked at one by one."""
    some = sa.select(sa.literal(1)).select_from(_TABLE).where(is_candidate(candidates)).limit(FEW + 1)
    return (connection.scalar(sa.select(sa.func.count()).select_from(some.subquery())) or 0) <= FEW


def is_indexed(connection: sa.Connection) -> bool:
    """Whether the texts have an index; PostgreSQL may lack the extension `pg_trgm`."""
    if connection.dialect.name == "sqlite":
        return True
    return connection.scalar(sa.text("SELECT to_regclass('ix_series_texts_text')")) is not None
