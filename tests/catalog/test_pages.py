"""Many series are a sequence like any other, without being there all at once; on both databases."""

from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from catalog import pages
from catalog.database import Catalog
from catalog.errors import NotFoundError
from catalog.models import remotes, series
from catalog.pages import Pages, found_series
from catalog.query import find_series
from catalog.records import RemoteSeries, SeriesRecord
from catalog.remotes import record_remotes

COUNT = 2 * pages.PAGE + 7


@pytest.fixture
def many(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Sequence[SeriesRecord]:
    told = [
        RemoteSeries(
            {
                "series_instance_uid": f"1.2.{n}", "study_instance_uid": f"1.3.{n}", "series_number": n,
                "patient_id": f"P{COUNT - n:05}", "modality": ("CT", "MR")[n % 2],
            },
            "idc", "s3://bucket/x",
        )
        for n in range(COUNT)
    ]  # fmt: skip
    assert record_remotes(catalog, "idc", told).added == COUNT
    monkeypatch.setattr(pages, "FEW", 100)
    return found_series(catalog, None, {})


def test_many_series_are_a_sequence_in_the_order_in_which_they_came(
    catalog: Catalog, many: Sequence[SeriesRecord]
) -> None:
    assert isinstance(many, Pages)
    whole = find_series(catalog, limit=COUNT)
    assert (len(many), list(many)) == (COUNT, whole)
    for at in (0, 999, 1000, 2000, COUNT - 1, -1, -COUNT):
        assert many[at] == whole[at]
    for part in (slice(5), slice(995, 1005), slice(-3, None), slice(None, None, 500), slice(3000, None)):
        assert list(many[part]) == whole[part]
    assert isinstance(many[1:], Pages)
    with pytest.raises(IndexError):
        many[COUNT]


def test_few_series_are_sorted_by_patient(catalog: Catalog, many: Sequence[SeriesRecord]) -> None:
    question = {"where": "SeriesNumber < 50", "modality": "MR"}
    found = found_series(catalog, question["where"], {"modality": "MR"})
    assert found == find_series(catalog, where=question["where"], modality="MR")
    assert [each.patient_id for each in found] == sorted(each.patient_id for each in many[1:50:2])


def test_a_series_that_is_gone_meanwhile_is_passed_over_and_told(
    catalog: Catalog, many: Sequence[SeriesRecord]
) -> None:
    gone = many[3]
    with catalog.transaction() as connection:
        row = sa.select(series.c.id).where(series.c.series_instance_uid == gone.series_instance_uid)
        number = connection.scalar(row)
        connection.execute(remotes.delete().where(remotes.c.series == number))
        connection.execute(series.delete().where(series.c.id == number))
    there = found_series(catalog, "SeriesNumber >= 0", {})
    assert len(there) == COUNT - 1
    many[2000]  # another page
    with pytest.raises(NotFoundError, match="ask the question again"):
        many[3]
    assert list(many) == list(there)
