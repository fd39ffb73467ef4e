"""How often each value of an attribute occurs among the series that a question finds."""

from collections import Counter
from typing import Any

import sqlalchemy as sa

from catalog.attributes import Attribute, Level
from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.matching import attribute_named, column_of
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
        Attributes of patient, study or series, by keyword or column name.
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
    asked = [_of_series(name) for name in names]
    found: list[FacetCount] = []
    with catalog.reading() as connection:
        for attribute in asked:
            column, counts = column_of(attribute), Counter[Value]()
            for sign, rows in counting_series(connection, where, matching, attribute.level):
                for value, number in connection.execute(
                    rows.add_columns(column, sa.func.count()).group_by(column)
                ):
                    counts[value] += sign * number
            there = sorted(
                ((value, number) for value, number in counts.items() if number),
                key=lambda each: (-each[1], each[0] is None, each[0]),
            )
            found += [FacetCount(attribute.column, *each) for each in there[:most]]
    return found


def _of_series(name: str) -> Attribute:
    attribute = attribute_named(name)
    if attribute.level is Level.INSTANCE:
        raise QuestionError(f"{attribute.keyword} belongs to an instance; facets are counted of series")
    return attribute
