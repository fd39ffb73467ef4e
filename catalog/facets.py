"""How often each value of an attribute occurs among the series that a question finds."""

from collections import Counter
from typing import Any

import sqlalchemy as sa

from catalog.attributes import Attribute, Level
from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.matching import attribute_named, column_of
from catalog.models import remotes, series, studies
from catalog.query import counting_series
from catalog.records import FacetCount, Value

MOST_ATTRIBUTES = 20
MOST_VALUES = 1_000


def count_facets(
    catalog: Catalog, *names: str, where: str | None = None, most: int = MOST_VALUES, **matching: Any
) -> list[FacetCount]:
    """Return how many series have each value of some attributes; the most frequent first.

    Parameters
    ----------
    *names
        Attributes of patient, study or series, by keyword or column name; `study_year`, `source` (who tells
        of a series elsewhere; one that several tell of counts for each of them).
    where, **matching
        What is asked for, as in `catalog.query.find_series`.
    most
        How many values of each attribute are returned at most.

    Raises
    ------
    QuestionError
        If a name is unknown or one of an instance, or the question is not understood.
    """
    if not 0 < len(names) <= MOST_ATTRIBUTES:
        raise QuestionError(f"facets are counted of 1 to {MOST_ATTRIBUTES} attributes, not of {len(names)}")
    asked = [_facet(name) for name in names]
    found: list[FacetCount] = []
    with catalog.reading() as connection:
        for name, level, column in asked:
            counts = Counter[Value]()
            asked_for = counting_series(connection, where, matching, level)
            if not where and not matching and _is_skipped(connection, column):
                counts, asked_for = _counted(connection, column), asked_for[1:]
            for sign, rows in asked_for:
                if name == SOURCE:
                    rows = rows.outerjoin(remotes, remotes.c.series == series.c.id)
                for value, number in connection.execute(
                    rows.add_columns(column.label("value"), sa.func.count()).group_by(sa.literal_column("1"))
                ):
                    counts[value] += sign * number
            there = sorted(
                ((value, number) for value, number in counts.items() if number),
                key=lambda each: (-each[1], each[0] is None, each[0]),
            )
            found += [FacetCount(name, *each) for each in there[:most]]
    return found


STUDY_YEAR, SOURCE = "study_year", "source"
"""Facets that are no attribute."""
type _Facet = tuple[str, Level, sa.ColumnElement[Any]]


def _facet(name: str) -> _Facet:
    """Name of a facet, the level its column belongs to, and that column."""
    if name == STUDY_YEAR:
        return name, Level.STUDY, sa.func.substr(studies.c.study_date, 1, 4)
    if name == SOURCE:
        return name, Level.SERIES, remotes.c.source
    attribute = _of_series(name)
    return attribute.column, attribute.level, column_of(attribute)


def _is_skipped(connection: sa.Connection, column: sa.ColumnElement[Any]) -> bool:
    """Whether the values of a column can be counted one after the other through an index.

    Not in PostgreSQL, which may have to look at every row for each, and counts with several processes.
    """
    first = {next(iter(index.columns)) for index in series.indexes}
    return connection.dialect.name == "sqlite" and column in first


def _counted(connection: sa.Connection, column: sa.ColumnElement[Any]) -> Counter[Value]:
    """Count all series by a column with an index: every value but a frequent one, and the rest is its own.

    SQLite counts a whole table ten times as fast as the rows of a value.
    """
    value = sa.select(sa.func.min(column).label("value")).cte("distinct_values", recursive=True)
    greater = sa.select(sa.func.min(column)).where(column > value.c.value).scalar_subquery()
    value = value.union_all(sa.select(greater).where(value.c.value.is_not(None)))
    last = connection.scalar(sa.select(sa.func.max(series.c.id))) or 0
    some = range(1, last + 1, last // _SAMPLE + 1)
    sample = Counter(connection.scalars(sa.select(column).where(series.c.id.in_(some))))
    frequent = max(sample, key=sample.__getitem__, default=None)
    number = sa.select(sa.func.count()).select_from(series)  # without more it is the fast one
    its_own = number.where(column == value.c.value).scalar_subquery()
    others = sa.select(value.c.value, its_own).where(
        value.c.value.is_distinct_from(frequent), value.c.value.is_not(None)
    )
    counts = Counter[Value]({row[0]: row[1] for row in connection.execute(others)})
    if frequent is not None:
        counts[None] = connection.scalar(number.where(column.is_(None))) or 0
    counts[frequent] = (connection.scalar(number) or 0) - counts.total()
    return counts


_SAMPLE = 200


def _of_series(name: str) -> Attribute:
    attribute = attribute_named(name)
    if attribute.level is Level.INSTANCE:
        raise QuestionError(f"{attribute.keyword} belongs to an instance; facets are counted of series")
    return attribute
