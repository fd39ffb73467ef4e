"""What files say of their patient, study and series, asked for: an expression for the columns of those rows.

A file that says nothing under such a column is answered for by its row. What was corrected is what the
correction says, whatever files say (`catalog.corrections`).
"""

from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from catalog.among import among
from catalog.attributes import PATIENT, SERIES, STUDY, Attribute, Kind, Level
from catalog.models import (
    corrections,
    header_keys,
    header_values,
    header_varying,
    instance_headers,
    instances,
    patients,
    series,
    studies,
    study_origins,
)

type Condition = sa.ColumnElement[bool]

VARYING = {
    each.column: each
    for each in PATIENT + STUDY + SERIES
    if each.keyword not in ("StudyInstanceUID", "SeriesInstanceUID")
}
"""Columns under which the files of a row may say something else than it, by name."""
_TABLES = {Level.PATIENT: patients, Level.STUDY: studies, Level.SERIES: series}


def key_of_column(name: str) -> str:
    """The key under which a header says what it says of a column; no element has one like it."""
    return f"@{VARYING[name].tag:08X}"


COLUMN_OF_KEY = {key_of_column(name): name for name in VARYING}


def varied(connection: sa.Connection, names: Collection[str]) -> frozenset[str]:
    """Return those of some columns under which the files of a series say something else than its rows."""
    keys = {key_of_column(name): name for name in names if name in VARYING}
    if not keys:
        return frozenset()
    of_key = header_keys.c.id
    is_varied = sa.or_(
        sa.select(header_varying.c.key).where(header_varying.c.key == of_key).exists(),
        sa.select(header_values.c.key).where(header_values.c.key == of_key, _SAYS_SOMETHING).exists(),
    )
    found = connection.scalars(sa.select(header_keys.c.key).where(among(header_keys.c.key, keys), is_varied))
    return frozenset(keys[each] for each in found)


_SAYS_SOMETHING = sa.or_(header_values.c.text.is_not(None), header_values.c.number.is_not(None))


def odd_series(names: Collection[str]) -> tuple[sa.Select[int], sa.Select[int]]:
    """Series of which a file may say something else under some columns than their rows; few, as a rule.

    Those of which the files differ, and those of which the first header says something else.
    """
    keys = [key_of_column(name) for name in sorted(names)]
    ids = sa.select(header_keys.c.id).where(header_keys.c.key.in_(keys))
    return (
        sa.select(header_varying.c.series).where(header_varying.c.key.in_(ids)),
        sa.select(header_values.c.series).where(header_values.c.key.in_(ids), _SAYS_SOMETHING),
    )


def is_odd(row: sa.Column[Any], names: Collection[str]) -> Condition:
    """Whether a series is one of those; it alone is looked up."""
    differing, other = odd_series(names)
    return sa.or_(
        differing.where(header_varying.c.series == row).correlate(row.table).exists(),
        other.where(header_values.c.series == row).correlate(row.table).exists(),
    )


def as_said(attribute: Attribute, is_so: Callable[[sa.ColumnElement[Any]], Condition]) -> Condition:
    """Whether something is so of what an instance says of its patient, study or series."""
    odd = is_odd(instances.c.series, [attribute.column])
    column = _TABLES[attribute.level].c[attribute.column]
    return sa.or_(
        sa.and_(sa.not_(odd), is_so(column)),
        sa.and_(odd, is_so(said_or_row(attribute))),
    )


def said_or_row(attribute: Attribute) -> sa.ColumnElement[Any]:
    """What an instance says under a column, or its row, where it says nothing, or was corrected."""
    column = _TABLES[attribute.level].c[attribute.column]
    said = sa.func.coalesce(said_by_file(attribute), column, type_=column.type)
    if attribute.level is Level.PATIENT:
        return sa.case((corrected_by_log(attribute), column), else_=said)
    return said


def said_by_file(attribute: Attribute) -> sa.ColumnElement[Any]:
    """What an instance says under a column of patient, study or series; NULL is nothing."""
    column = _TABLES[attribute.level].c[attribute.column]
    key = (
        sa.select(header_keys.c.id)
        .where(header_keys.c.key == key_of_column(attribute.column))
        .scalar_subquery()
    )
    is_text = attribute.kind is Kind.TEXT
    own = _text_under if is_text else _number_under
    of_instance = instance_headers.c.instance == instances.c.id
    header = instance_headers.c.header
    its_own = sa.select(own(header, key)).where(of_instance).correlate(instances).scalar_subquery()
    has_own = sa.select(sa.literal(1)).where(of_instance, _has_key(header, key)).correlate(instances).exists()
    value = header_values.c.text if is_text else header_values.c.number
    of_series = (header_values.c.series == instances.c.series, header_values.c.key == key)
    its_series = sa.select(value).where(*of_series).correlate(instances).limit(1).scalar_subquery()
    has_mark = sa.select(sa.literal(1)).where(*of_series).correlate(instances).exists()
    row = sa.func.nullif(column, "") if is_text else column
    return sa.case((has_own, its_own), (has_mark, its_series), else_=row)


def corrected_by_log(attribute: Attribute) -> Condition:
    """Whether a correction says which patient a study is of, or what the patient's value is."""
    moved = (
        sa.select(sa.literal(1))
        .where(study_origins.c.study == studies.c.id, study_origins.c.patient != studies.c.patient)
        .correlate(studies)
        .exists()
    )
    valued = (
        sa.select(sa.literal(1))
        .where(
            corrections.c.active,
            corrections.c.kind == "correct",
            corrections.c.patient == studies.c.patient,
            corrections.c.after[attribute.column].as_string().is_not(None),
        )
        .correlate(studies)
        .exists()
    )
    return sa.or_(moved, valued)


class _text_under(FunctionElement[str]):
    """The one text that a header has of its own under a key; a header, a row of a key."""

    type = sa.Text()
    inherit_cache = True


class _number_under(FunctionElement[float]):
    """The one number that a header has of its own under a key."""

    type = sa.Double()
    inherit_cache = True


class _has_key(FunctionElement[bool]):
    """Whether a header has something of its own under a key, be it that it says nothing."""

    type = sa.Boolean()
    inherit_cache = True


def _parts(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> tuple[str, str]:
    header, key = (compiler.process(each, **kw) for each in element.clauses)
    return header, key


@compiles(_text_under, "sqlite")
@compiles(_number_under, "sqlite")
def _under_sqlite(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
    header, key = _parts(element, compiler, **kw)
    return f"""json_extract({header}, '$."' || {key} || '"[0]')"""


@compiles(_text_under)
def _text_of_postgresql(element: _text_under, compiler: SQLCompiler, **kw: Any) -> str:
    header, key = _parts(element, compiler, **kw)
    return f"({header} -> CAST({key} AS TEXT) ->> 0)"


@compiles(_number_under)
def _number_of_postgresql(element: _number_under, compiler: SQLCompiler, **kw: Any) -> str:
    header, key = _parts(element, compiler, **kw)
    return f"CAST({header} -> CAST({key} AS TEXT) ->> 0 AS DOUBLE PRECISION)"


@compiles(_has_key, "sqlite")
def _has_key_sqlite(element: _has_key, compiler: SQLCompiler, **kw: Any) -> str:
    header, key = _parts(element, compiler, **kw)
    return f"""(json_type({header}, '$."' || {key} || '"') IS NOT NULL)"""


@compiles(_has_key)
def _has_key_of_postgresql(element: _has_key, compiler: SQLCompiler, **kw: Any) -> str:
    header, key = _parts(element, compiler, **kw)
    return f"(({header} -> CAST({key} AS TEXT)) IS NOT NULL)"
