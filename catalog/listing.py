"""Rows of the series that a question finds, in an order: what a list that is scrolled knows of all."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.models import patients, series, studies
from catalog.query import find_placed


@dataclass(frozen=True, slots=True)
class Listing:
    """Of each series its row and those of its study and patient: 24 bytes, where a record has a thousand."""

    patients: "array[int]"
    studies: "array[int]"
    series: "array[int]"

    def __len__(self) -> int:
        return len(self.series)


PATIENT_ORDER = "patient"
"""The order in which series of a study, and studies of a patient, lie side by side."""
_BY_TIME = studies.c.study_date, studies.c.study_time
_ORDERS: Mapping[str, Sequence[sa.Column[Any]]] = {
    PATIENT_ORDER: (patients.c.patient_id,),
    "name": (patients.c.patient_name,),
    "date": _BY_TIME,
    "modality": (series.c.modality,),
    "number": (series.c.series_number,),
    "series": (series.c.series_description,),
    "body_part": (series.c.body_part_examined,),
    "added": (series.c.id,),
}
ORDERS = tuple(_ORDERS)
"""Names of the orders that a list may have."""
_AMONG_ALIKE = (patients.c.id, *_BY_TIME, studies.c.id, series.c.series_number, series.c.id)


def list_series(
    catalog: Catalog,
    where: str | None,
    matching: Mapping[str, Any],
    *,
    order: str = PATIENT_ORDER,
    is_descending: bool = False,
) -> Listing:
    """Return what a question finds, in one of `ORDERS`; what lacks the value comes last in any case.

    Series with the same value come by patient, time of the study and series number.

    Raises
    ------
    QuestionError
        If there is no such order, or the question is not understood.
    """
    if order not in _ORDERS:
        raise QuestionError(f"there is no order {order!r:.40}; there are {', '.join(ORDERS)}")
    first = [each.desc() if is_descending else each.asc() for each in _ORDERS[order]]
    keys = [each.nulls_last() for each in (*first, *(each.asc() for each in _AMONG_ALIKE))]
    return Listing(*find_placed(catalog, where, matching, keys))
