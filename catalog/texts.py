"""The texts of each series in one, folded: an index of their trigrams tells who may contain a word.

`series_texts` is an FTS5 table of SQLite and a table with a `pg_trgm` index in PostgreSQL; triggers keep it,
whoever writes. It has every series that contains a text, and others: a condition decides, and is asked of
these candidates alone. What a condition does not fold as the index does would be lost, so both fold alike:
`casefold` of Python in SQLite, `lower` in PostgreSQL (`catalog.matching.casefold`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from catalog.attributes import BY_KEYWORD, SEARCHED, Attribute
from catalog.matching import holds, is_storable
from catalog.models import patients, series, studies

type Condition = sa.ColumnElement[bool]

_TEXTS = tuple(BY_KEYWORD[keyword].column for keyword in SEARCHED)
INDEXED = frozenset(_TEXTS)
"""Columns whose texts are in the index."""
_ORDERED = frozenset({"DA", "TM", "DT"})
_FOUND_BY_VALUE = frozenset({"patient_id", "accession_number", "modality", "body_part_examined"})
"""Columns with an index of whole values."""
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
    """What FTS5 is asked; empty for what has no trigram, for which every row of texts is looked at."""
    like: Condition
    """What PostgreSQL is asked, and of texts without a trigram SQLite, too."""
    trigrams: int
    is_all: bool = True
    """Whether nothing else was asked for."""
    text: str = ""
    """The one text that is looked for; empty where there are several."""
    others: tuple[sa.Select[int], ...] = ()
    """Series that may be meant whatever their texts are."""


def containing(text: str) -> Candidates | None:
    """Series one of whose texts contains a text; `None` for an empty one."""
    folded = text.casefold()
    if not folded:
        return None
    found = list(dict.fromkeys(folded[at : at + 3] for at in range(len(folded) - 2)))[:_TRIGRAMS]
    quoted = ['"' + each.replace('"', '""') + '"' for each in found]
    match = f"({' AND '.join(quoted)})" if found else ""
    return Candidates(match, holds(_TABLE.c.text, text), len(found), text=folded)


def asked_for(attribute: Attribute, value: object) -> Candidates | None:
    """Series that a matching key of a text may mean, by its longer parts; `None` where no index tells."""
    if attribute.column not in INDEXED or attribute.vr in _ORDERED:
        return None
    if not isinstance(value, str) or not is_storable(value):
        return None
    parts = [each for each in re.split(r"[*?]+", value.strip()) if len(each) > 2]
    is_exact = parts == [value.strip()]
    if is_exact and attribute.column in _FOUND_BY_VALUE:
        return None
    return every([containing(each) for each in parts])


def every(parts: Sequence[Candidates | None]) -> Candidates | None:
    """Series that are candidates of each part; one that no index knows leaves it to the others."""
    known = [each for each in parts if each is not None]
    asked = [each for each in known if each.match] or known
    return _joined(" AND ", sa.and_, asked, is_all=len(asked) == len(parts)) if asked else None


def either(parts: Sequence[Candidates | None]) -> Candidates | None:
    """Series that are candidates of one part."""
    known = [each for each in parts if each is not None]
    return _joined(" OR ", sa.or_, known, is_all=True) if known and len(known) == len(parts) else None


def _joined(word: str, condition: Any, parts: Sequence[Candidates], *, is_all: bool) -> Candidates | None:
    different = list({(each.match, each.text or id(each)): each for each in parts}.values())
    trigrams = sum(each.trigrams for each in different)
    if trigrams > _MOST:
        return None
    is_all = is_all and all(each.is_all for each in parts)
    if len(different) == 1:
        return replace(different[0], is_all=is_all)
    is_looked_up = all(each.match for each in different)
    match = f"({word.join(each.match for each in different)})" if is_looked_up else ""
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


class Then(sa.Join):
    """A join whose left side SQLite goes through first: it knows little of how many candidates there are."""

    inherit_cache = True


@compiles(Then, "sqlite")
def _then_sqlite(
    join: Then, compiler: SQLCompiler, asfrom: bool = False, from_linter: Any = None, **kw: Any
) -> str:
    if from_linter:
        from_linter.edges.update(product(join.left._from_objects, join.right._from_objects))
    left, right = (
        compiler.process(each, asfrom=True, from_linter=from_linter, **kw) for each in (join.left, join.right)
    )
    assert join.onclause is not None
    return f"{left} CROSS JOIN {right} ON {compiler.process(join.onclause, from_linter=from_linter, **kw)}"


def index_texts(connection: sa.Connection, *, after: int) -> None:
    """Index the texts of the series after a row, in SQLite: what its trigger does for each."""
    above = Then(series, studies, studies.c.id == series.c.study)
    text: sa.ColumnElement[str] | None = None
    for column in (
        table.c[name] for table in (patients, studies, series) for name in _TEXTS if name in table.c
    ):
        said = sa.func.coalesce(column, "")
        text = said if text is None else text.concat(sa.func.char(31)).concat(said)
    selected = (
        sa.select(series.c.id, sa.func.casefold(text))
        .select_from(Then(above, patients, patients.c.id == studies.c.patient))
        .where(series.c.id > after)
        .order_by(series.c.id)
    )
    table = sa.table("series_texts", sa.column("rowid"), sa.column("text"))
    connection.execute(table.insert().from_select(["rowid", "text"], selected))


def is_candidate(candidates: Candidates) -> Condition:
    """Whether a row of texts is a candidate."""
    found = candidates.like
    if candidates.match:
        found = has_trigrams(sa.literal(candidates.match), candidates.like)
    if not candidates.others:
        return found
    of_texts = sa.select(text_row()).select_from(_TABLE).where(found).correlate(None)
    return text_row().in_(sa.union_all(of_texts, *candidates.others))


def first(above: Sequence[tuple[sa.Table, Condition]]) -> sa.FromClause:
    """Return texts, series, and the tables above with what they are joined on, gone through in this order."""
    rows: sa.FromClause = Then(_TABLE, series, series.c.id == text_row())
    for table, condition in above:
        rows = Then(rows, table, condition)
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
