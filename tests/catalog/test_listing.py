"""Rows of what a question finds, in an order, and questions that are given up; on both databases."""

from collections.abc import Sequence
from itertools import groupby
from threading import Event, Thread

import pytest
import sqlalchemy as sa

from catalog.database import Catalog
from catalog.errors import OvertakenError, QuestionError
from catalog.interruption import Interruption
from catalog.listing import ORDERS, Listing, list_series
from catalog.query import find_series, series_of_rows
from catalog.records import RemoteSeries, SeriesRecord, Value
from catalog.remotes import record_remotes

COUNT = 60


@pytest.fixture
def filled(catalog: Catalog) -> Catalog:
    """Series that came in no order; two patients have one Patient ID, and every third series no modality."""
    told = []
    for n in (each * 37 % COUNT for each in range(COUNT)):
        values: dict[str, Value] = {
            "series_instance_uid": f"1.2.{n}", "study_instance_uid": f"1.3.{n // 3}",
            "patient_id": f"P{n // 12}", "issuer_of_patient_id": "AB"[n // 6 % 2],
            "study_date": f"20{n // 3 % 7:02}0101", "series_number": n % 5,
        }  # fmt: skip
        told.append(
            RemoteSeries(
                values | ({"modality": ("CT", "MR")[n % 2]} if n % 3 else {}), "idc", "s3://bucket/x"
            )
        )
    record_remotes(catalog, "idc", told)
    return catalog


def records(catalog: Catalog, listing: Listing) -> list[SeriesRecord]:
    found = series_of_rows(catalog, listing.series)
    return [found[row] for row in listing.series]


def is_once(rows: Sequence[int]) -> bool:
    """Whether what is the same lies side by side."""
    return len([key for key, _ in groupby(rows)]) == len(set(rows))


def test_every_order_has_each_series_once_and_what_lacks_the_value_last(filled: Catalog) -> None:
    assert len(ORDERS) == 8
    for order in ORDERS:
        for is_descending in (False, True):
            listing = list_series(filled, None, {}, order=order, is_descending=is_descending)
            assert len(listing) == len({*listing.series}) == COUNT
    for is_descending in (False, True):
        found = records(filled, list_series(filled, None, {}, order="modality", is_descending=is_descending))
        modalities = [each.modality for each in found]
        there = [each for each in modalities if each is not None]
        assert modalities == sorted(there, reverse=is_descending) + [None] * (COUNT // 3)
        dates = [
            each.study_date or ""
            for each in records(
                filled, list_series(filled, None, {}, order="date", is_descending=is_descending)
            )
        ]
        assert dates == sorted(dates, reverse=is_descending)


def test_by_patient_the_studies_of_each_and_the_series_of_those_lie_side_by_side(filled: Catalog) -> None:
    for is_descending in (False, True):
        listing = list_series(filled, None, {}, is_descending=is_descending)
        assert is_once(listing.patients)
        assert is_once(listing.studies)
        assert len({*listing.patients}) == COUNT // 6  # two of each Patient ID, told apart by their issuer
        ids = [each.patient_id for each in records(filled, listing)]
        assert ids == sorted(ids, reverse=is_descending)
        for _, some in groupby(records(filled, listing), lambda each: each.study_instance_uid):
            numbers = [each.series_number or 0 for each in some]
            assert numbers == sorted(numbers)


def test_a_listing_has_what_the_question_finds(filled: Catalog) -> None:
    for where, matching in (("Modality == 'CT'", {}), (None, {"patient_id": "P1"}), ("PatientID ~ 'p3'", {})):
        listing = list_series(filled, where, matching)
        assert {*records(filled, listing)} == {*find_series(filled, where=where, **matching)}
    with pytest.raises(QuestionError, match="no order 'weight'"):
        list_series(filled, None, {}, order="weight")


def test_what_is_interrupted_ends_and_what_comes_after_it_is_answered(filled: Catalog) -> None:
    forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    heeded, begun = Interruption(), Event()
    ended: list[type[BaseException]] = []

    def ask() -> None:
        try:
            with heeded.heeding(), filled.reading() as connection:
                begun.set()
                connection.execute(sa.text(forever))
        except OvertakenError as error:
            ended.append(type(error))

    asking = Thread(target=ask)
    asking.start()
    assert begun.wait(30)
    while asking.is_alive():  # it may come before the statement does
        heeded.interrupt()
        asking.join(0.05)
    assert ended == [OvertakenError]
    with pytest.raises(OvertakenError), heeded.heeding():
        list_series(filled, None, {})
    assert len(list_series(filled, None, {})) == COUNT
    with Interruption().heeding():
        assert len(list_series(filled, None, {})) == COUNT
