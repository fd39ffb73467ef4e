"""Pages and counts of what a question finds, against the whole list."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from catalog.database import Catalog
from catalog.doubts import settle
from catalog.errors import QuestionError
from catalog.facets import count_facets
from catalog.index import index_paths
from catalog.models import doubts, files, remotes
from catalog.query import count_series, find_series
from catalog.records import RemoteSeries, Value
from catalog.remotes import record_remotes
from pipelines import phantoms

QUESTIONS: list[dict[str, Any]] = [
    {},
    {"modality": "CT"},
    {"patient_id": "P1", "modality": ["MR", "CT"]},
    {"where": "Modality != 'MR' and PatientID ~ 'p'"},
    {"where": "SliceThickness > 0"},
    {"where": "SliceThickness > 0 or SeriesNumber == 3"},
    {"where": "collection == 'lung'", "modality": "M*"},
    {"Rows": 32},
    {"modality": "XX"},
]


def fill(catalog: Catalog, folder: Path) -> None:
    """A series with files, one that is gone from the disk, and forty elsewhere."""
    kept = phantoms.write_series(folder / "kept", patient_id="P1", planes=2)
    gone = phantoms.write_series(folder / "gone", patient_id="P2", planes=2, seed=3)
    assert kept.series_instance_uid != gone.series_instance_uid
    index_paths(catalog, [folder])
    for path in gone.paths:
        path.unlink()
    index_paths(catalog, [folder])
    modalities = ("CT", "MR", None)
    told = [
        RemoteSeries(
            {
                "series_instance_uid": f"1.2.{n}", "study_instance_uid": f"1.3.{n // 4}",
                "patient_id": f"P{n // 8}", "modality": modalities[n % 3], "series_number": n,
            },
            "idc", f"s3://bucket/{n}", n, collection="lung" if n % 2 else "liver",
        )
        for n in range(40)
    ]  # fmt: skip
    record_remotes(catalog, "idc", told)


def test_pages_are_the_whole_and_counts_are_right(catalog: Catalog, tmp_path: Path) -> None:
    fill(catalog, tmp_path / "archive")
    for question in QUESTIONS:
        whole = find_series(catalog, **question)
        pages = [find_series(catalog, **question, limit=7, page=page) for page in range(1, 8)]
        paged = [each for page in pages for each in page]
        assert len(paged) == len(whole) == count_series(catalog, **question), question
        assert set(paged) == set(whole), question
        assert all(len(page) == 7 for page in pages[: len(whole) // 7])
        for name in ("modality", "patient_id"):
            facets = count_facets(catalog, name, **question)
            assert {each.value: each.series for each in facets} == Counter(
                getattr(each, name) for each in whole
            ), question
            assert [each.series for each in facets] == sorted((each.series for each in facets), reverse=True)
    assert count_series(catalog) == 41


def test_years_and_sources_are_counted_too(catalog: Catalog, tmp_path: Path) -> None:
    fill(catalog, tmp_path / "archive")
    values: dict[str, Value] = {"series_instance_uid": "1.2.3", "study_instance_uid": "1.3.0"}
    record_remotes(catalog, "pacs://MAIN", [RemoteSeries(values, "pacs://MAIN", "pacs://MAIN")])
    for question in QUESTIONS:
        whole = find_series(catalog, **question)
        years = {each.value: each.series for each in count_facets(catalog, "study_year", **question)}
        assert years == Counter(each.study_date and each.study_date[:4] for each in whole), question
        sources = {each.value: each.series for each in count_facets(catalog, "source", **question)}
        asked = f"({question['where']}) and " if "where" in question else ""
        for source, number in sources.items():
            told = "source is empty" if source is None else f"source == '{source}'"
            assert number == count_series(catalog, **{**question, "where": asked + told}), question
    assert {each.value: each.series for each in count_facets(catalog, "source")} == {
        "idc": 40, "pacs://MAIN": 1, None: 1,
    }  # fmt: skip


def test_what_cannot_be_counted_or_paged_says_so(sqlite_catalog: Catalog) -> None:
    for limit, page in ((0, 1), (1, 0), (True, 1), ("5", 1), (2**40, 1)):
        with pytest.raises(QuestionError, match="is a whole number from 1"):
            find_series(sqlite_catalog, limit=limit, page=page)  # type: ignore[arg-type]
    with pytest.raises(QuestionError, match="Rows belongs to an instance"):
        count_facets(sqlite_catalog, "Rows")
    with pytest.raises(QuestionError, match="did you mean"):
        count_facets(sqlite_catalog, "modalit")
    with pytest.raises(QuestionError, match="1 to 20 attributes"):
        count_facets(sqlite_catalog)


def hidden_and_shown(catalog: Catalog) -> tuple[set[Any], int, int]:
    found = {each.series_instance_uid for each in find_series(catalog)}
    return found, count_series(catalog), sum(each.series for each in count_facets(catalog, "modality"))


def test_a_series_that_loses_its_last_place_is_neither_found_nor_counted_whoever_writes(
    catalog: Catalog, ct: phantoms.Phantom
) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    here, there = ct.series_instance_uid, "1.2"
    values: dict[str, Value] = {"series_instance_uid": there, "study_instance_uid": "1.3"}
    record_remotes(catalog, "idc", [RemoteSeries(values, "idc", "s3://bucket/1")])
    with catalog.reading() as connection:
        assert connection.scalars(sa.select(doubts.c.series)).all() == []

    def now(statement: sa.Executable) -> tuple[set[Any], int, int]:
        with catalog.transaction() as connection:
            connection.execute(statement)
        before = hidden_and_shown(catalog)
        settle(catalog)  # what it takes away changes nothing
        assert hidden_and_shown(catalog) == before
        return before

    assert now(files.update().values(state="deleted")) == ({there}, 1, 1)
    assert now(files.update().values(state="indexed")) == ({here, there}, 2, 2)
    assert now(remotes.delete()) == ({here}, 1, 1)
    assert now(files.update().values(instance=None)) == (set(), 0, 0)


def test_a_list_of_names_is_told_to_be_no_name(sqlite_catalog: Catalog) -> None:
    with pytest.raises(QuestionError, match="named by a text, not by list"):
        count_facets(sqlite_catalog, ["modality"])  # type: ignore[arg-type]
