"""What headers say beside the columns, asked by `where`: keys for names, and questions for both databases."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from catalog.attributes import BY_COLUMN, BY_KEYWORD, BY_TAG, TRANSFER_SYNTAX_UID
from catalog.models import header_keys, header_values, header_varying, instance_headers, instances, series

type Condition = sa.ColumnElement[bool]
type Compare = Callable[[sa.ColumnElement[Any]], Condition]
"""Whether a number or a text is as it was asked for."""
type Own = Callable[[str, Compare | None, Compare | None], Condition]
"""Whether an instance has, under a key, something that its series has not."""

_BY_TAG = BY_TAG | {TRANSFER_SYNTAX_UID.tag: TRANSFER_SYNTAX_UID}
_OF_COLUMNS = frozenset({*BY_KEYWORD, *BY_COLUMN, TRANSFER_SYNTAX_UID.keyword, TRANSFER_SYNTAX_UID.column})
_TAG = re.compile(r"\(?[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\)?")


def key_of(name: str) -> str | None:
    """Return the key, or the end of keys, that a name in a question stands for; `None` for that of a column.

    A name is a keyword or a tag, `ImageComments` or `0018,9087`; with points between, a path.
    """
    if name in _OF_COLUMNS:
        return None
    tags = [_tag_of(step) for step in name.split(".")]
    if None in tags or (len(tags) == 1 and tags[0] in _BY_TAG):
        return None
    return ".".join(f"{tag:08X}" for tag in tags)


def attribute_of(name: str) -> str:
    """Return the keyword of an attribute with a column that is named by its tag; any other name as it is."""
    found = _BY_TAG.get(_tag_of(name) or 0) if _TAG.fullmatch(name) else None
    return found.keyword if found is not None else name


def is_of_file_meta(key: str) -> bool:
    """Whether a key is of the file meta information (PS3.10 section 7.1), which is in no header."""
    return any(step.startswith("0002") for step in key.split("."))


@cache
def _tag_of(step: str) -> int | None:
    if _TAG.fullmatch(step):
        return int(step.strip("()").replace(",", ""), 16)
    from pydicom.datadict import tag_for_keyword  # a question about columns does not load pydicom

    return tag_for_keyword(step)


def has_value(path: str, number: Compare | None, text: Compare | None) -> Condition:
    """Whether an instance has a value under a key that is as it was asked for.

    Parameters
    ----------
    path
        A key, or a part of some: `00189087` is also `52009229.00189117.00189087`; a sequence is all in it.
    number, text
        What is asked of a number and of a text; none of them is, where it is `None`.
    """
    of_series = _of(instances.c.series, _having(path, number, text))
    varies = _of(instances.c.series, _varying(path))
    is_known = (
        sa.select(sa.literal(1))
        .where(instance_headers.c.instance == instances.c.id)
        .correlate(instances)
        .exists()
    )

    def question(own: Own) -> Condition:
        as_series = sa.and_(of_series, is_known, sa.not_(sa.and_(varies, own(path, None, None))))
        return sa.or_(as_series, sa.and_(varies, own(path, number, text)))

    return _ByDialect(question(_own_sqlite), question(_own_postgresql))


type AreFew = Callable[[sa.CompoundSelect[int]], bool]
"""Whether statements that select series select few together."""


def may_have_value(
    are_few: AreFew, path: str, number: Compare | None, text: Compare | None, *others: sa.Select[int]
) -> Condition:
    """Whether an instance of a series may have such a value: its first header has it, or others differ there.

    An index tells of which this can be true, see `has_value`; or it is one of others. Few are listed, so that
    the database begins with them; many are not gathered for a page of them, but each series is looked up.
    """
    selects = (_having(path, number, text), _varying(path), *others)
    listed = sa.union_all(*selects)
    if are_few(listed):
        return series.c.id.in_(listed)
    return sa.or_(*(_of(series.c.id, each) for each in selects))


def _of(row: sa.Column[int], selected: sa.Select[int]) -> Condition:
    """Whether a series is among those selected: it alone is looked up, whatever their number."""
    (column,) = selected.selected_columns
    return selected.where(column == row).correlate(row.table).exists()


def _having(path: str, number: Compare | None, text: Compare | None) -> sa.Select[int]:
    """Series whose first header has such a value."""
    wanted = _is_as_asked(header_values.c.number, header_values.c.text, number, text)
    return sa.select(header_values.c.series).where(header_values.c.key.in_(_keys(path)), wanted)


def _varying(path: str) -> sa.Select[int]:
    """Series whose instances do not all have the same under a key."""
    return sa.select(header_varying.c.series).where(header_varying.c.key.in_(_keys(path)))


def _is_as_asked(
    a_number: sa.ColumnElement[Any],
    a_text: sa.ColumnElement[Any],
    number: Compare | None,
    text: Compare | None,
) -> Condition:
    asked = []
    if number is not None:
        asked.append(sa.and_(a_number.is_not(None), number(a_number)))
    if text is not None:
        asked.append(sa.and_(a_text.is_not(None), text(a_text)))
    return sa.or_(*asked)


def _keys(path: str) -> sa.Select[int]:
    key = header_keys.c.key
    is_so = (key == path, key.like(f"%.{path}"), key.like(f"{path}.%"), key.like(f"%.{path}.%"))
    return sa.select(header_keys.c.id).where(sa.or_(*is_so))


class _ByDialect(sa.ColumnElement[bool]):
    """One question in the words of each database."""

    type = sa.Boolean()
    inherit_cache = False

    def __init__(self, of_sqlite: Condition, of_postgresql: Condition) -> None:
        self.of_sqlite = of_sqlite
        self.of_postgresql = of_postgresql


@compiles(_ByDialect, "sqlite")
def _of_sqlite(element: _ByDialect, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.of_sqlite, **kw)})"


@compiles(_ByDialect)
def _of_postgresql(element: _ByDialect, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.of_postgresql, **kw)})"


def _own_sqlite(path: str, number: Compare | None, text: Compare | None) -> Condition:
    """Whether an instance has something of its own under a key; that is as it was asked, if anything was."""
    each = sa.func.json_each(instance_headers.c.header).table_valued("key", "value", name="each_key")
    question = _own(path, each)
    if number is not None or text is not None:
        value = sa.func.json_each(each.c.value).table_valued("value", "type", name="each_value")
        a_number = sa.case((value.c.type.in_(("integer", "real")), value.c.value))
        a_text = sa.case((value.c.type == "text", value.c.value))
        question = question.join(value, sa.true()).where(_is_as_asked(a_number, a_text, number, text))
    return question.correlate(instances).exists()


def _own_postgresql(path: str, number: Compare | None, text: Compare | None) -> Condition:
    each = sa.func.jsonb_each(instance_headers.c.header).table_valued(
        "key", sa.column("value", postgresql.JSONB), name="each_key"
    )
    question = _own(path, each)
    if number is not None or text is not None:
        is_there = sa.func.jsonb_typeof(each.c.value) == "array"
        values = sa.case((is_there, each.c.value), else_=sa.literal_column("'[]'::jsonb"))
        value = sa.func.jsonb_array_elements(values).table_valued(
            sa.column("value", postgresql.JSONB), name="each_value"
        )
        written = value.c.value.op("#>>")(sa.literal_column("'{}'"))
        kind = sa.func.jsonb_typeof(value.c.value)
        a_number = sa.case((kind == "number", sa.cast(written, sa.Double)))
        a_text = sa.case((kind == "string", written))
        question = question.join(value, sa.true()).where(_is_as_asked(a_number, a_text, number, text))
    return question.correlate(instances).exists()


def _own(path: str, each: sa.TableValuedAlias) -> sa.Select[int]:
    return (
        sa.select(sa.literal(1))
        .select_from(instance_headers)
        .join(each, sa.true())
        .where(
            instance_headers.c.instance == instances.c.id,
            sa.cast(each.c.key, sa.Integer).in_(_keys(path)),
        )
    )
