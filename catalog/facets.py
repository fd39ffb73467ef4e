"""How often each value of an attribute occurs among the series that a question finds."""

from typing import Any

import sqlalchemy as sa

from catalog.attributes import Attribute, Level
from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.matching import attribute_named, column_of
from catalog.query import matching_series
from catalog.records import FacetCount

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
            column = column_of(attribute)
            count = sa.func.count()
            statement = (
                matching_series(where, matching, attribute.level)
                .add_columns(column.label("value"), count.label("series"))
                .group_by(column)
                .order_by(count.desc(), column.is_(None), column)
                .limit(most)
            )
            found += [FacetCount(attribute.column, *row) for row in connection.execute(statement)]
    return found


def _of_series(name: str) -> Attribute:
    attribute = attribute_named(name)
    if attribute.level is Level.INSTANCE:
        raise QuestionError(f"{attribute.keyword} belongs to an instance; facets are counted of series")
    return attribute
