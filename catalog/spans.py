"""Between which numbers a column of instances lies in each series: rare values are found without instances.

A span only grows: it may be wider than what is there now, never narrower, so that whoever asks it loses no
series. Instances decide.
"""

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from catalog.attributes import INSTANCE, Attribute, Kind
from catalog.models import series_spans, upserting

_NUMBERS = {each.tag: each.column for each in INSTANCE if each.kind in (Kind.INTEGER, Kind.REAL)}
_LOW, _HIGH = series_spans.c.low, series_spans.c.high


def write_spans(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Widen the spans of series to the values of instances.

    Parameters
    ----------
    connection
        In a transaction.
    rows
        Of `instances`, with the row of their series and all their columns.
    """
    found = defaultdict[tuple[int, int], list[float]](list)
    for series, some in groupby(rows, itemgetter("series")):
        of_series = list(some)
        for tag, column in _NUMBERS.items():
            if numbers := [row[column] for row in of_series if row[column] is not None]:
                found[tag, series] += min(numbers), max(numbers)
    if not found:
        return
    spans = [
        {"tag": tag, "series": series, "low": float(min(numbers)), "high": float(max(numbers))}
        for (tag, series), numbers in sorted(found.items())
    ]
    connection.execute(_widening(connection.dialect), spans)


@lru_cache
def _widening(dialect: sa.Dialect) -> sa.Insert:
    insert = upserting(dialect, series_spans)
    low, high = insert.excluded.low, insert.excluded.high
    return insert.on_conflict_do_update(
        index_elements=["tag", "series"],
        set_={
            "low": sa.case((low < _LOW, low), else_=_LOW),
            "high": sa.case((high > _HIGH, high), else_=_HIGH),
        },
        where=sa.or_(low < _LOW, high > _HIGH),
    )


type _Reaches = Callable[[float], sa.ColumnElement[bool]]
# a large integer may have been rounded, so that the ends count where they are equal
_REACHES: dict[Callable[[Any, Any], Any], _Reaches] = {
    operator.eq: lambda number: sa.and_(number >= _LOW, number <= _HIGH),
    operator.lt: lambda number: number >= _LOW,
    operator.le: lambda number: number >= _LOW,
    operator.gt: lambda number: number <= _HIGH,
    operator.ge: lambda number: number <= _HIGH,
}


def reaching(attribute: Attribute, compare: Callable[[Any, Any], Any], number: float) -> sa.Select[int]:
    """Series of which an instance may have a number that compares so with the given one."""
    return spanned(attribute).where(_REACHES[compare](number))


def spanned(attribute: Attribute) -> sa.Select[int]:
    """Series of which an instance may have a number at all."""
    return sa.select(series_spans.c.series).where(series_spans.c.tag == attribute.tag)
