"""The index of texts knows every series a condition is true of, whoever wrote it; on both databases."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalog import corrections, texts
from catalog.attributes import Level
from catalog.database import Catalog
from catalog.index import index_paths
from catalog.models import patients, remotes, series, studies
from catalog.query import _demands, _select, count_series, find_series
from catalog.records import RemoteSeries
from catalog.remotes import record_remotes
from tests.catalog.test_corrections import BY, scanned, touch
from workbench.question import question

ODD = (
    "Straße STRASSE", "İstanbul ıİiI", "e\u0301te\u0301 été", "ΣΊΣΥΦΟΣ σίσυφος", "\u212aelvin kelvin \u212b",
    "ﬁle fﬂow", "ǅungla ǆ", "漢字かな 漢字", "🫀🫁🧠 a🫀b", "\ufffe\uffff\ufffd\ufffe", "a\u200bb\u200cc",
    "''\"\"''\"",
    "%_/\\%_/\\", "***???[[[", "AND OR NOT NEAR", "a\x01b\x1fc\x7fd", "ŉ ẞ ß ss SS", "\u1e9e\u0130\u0345",
    "x" * 200, "liver Liver LIVER",
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(ODD),
    st.tuples(st.sampled_from(ODD), st.integers(0, 20), st.integers(1, 8)).map(
        lambda of: of[0][of[1] : of[1] + of[2]]
    ),
    st.sampled_from(ODD).map(str.swapcase),
    st.text(st.sampled_from("".join(ODD)), min_size=1, max_size=5),
).filter(lambda word: "=" not in word and bool(word))


def told(number: int, text: str) -> RemoteSeries:
    where = ("series_description", "study_description", "patient_id", "manufacturer")[number % 4]
    values = {"series_instance_uid": f"1.2.{number}", "study_instance_uid": f"1.3.{number}", where: text}
    return RemoteSeries(dict(values), "idc", "s3://bucket/x")


def rows(catalog: Catalog, words: list[str], *, led: bool, **matching: object) -> list[int]:
    with catalog.reading() as connection:
        demands = _demands(connection, question(words, None)[0] if words else None, matching)
        candidates = next((each.candidates for each in demands), None)  # `*` asks for nothing
        asked = _select(Level.SERIES, demands, lead=candidates if led else None)
        return list(connection.scalars(asked.add_columns(series.c.id).order_by(series.c.id)))


def test_what_the_index_leads_to_is_what_the_condition_finds(catalog: Catalog) -> None:
    report = record_remotes(catalog, "idc", [told(n, text) for n, text in enumerate(ODD * 4)])
    assert (report.added, report.rejected) == (4 * len(ODD), ())

    @settings(max_examples=200, deadline=None)
    @given(st.lists(WORDS, min_size=1, max_size=2))
    @example(["straße"])
    @example(["\u212aELVIN"])
    @example(["σίσυφος"])
    @example(['""\'', "liver"])
    @example(["\uffff\ufffe\ufffe"])
    def equal(words: list[str]) -> None:
        found = rows(catalog, words, led=False)
        assert rows(catalog, words, led=True) == found
        where, _ = question(words, None)
        assert count_series(catalog, where=where) == len(found)

    equal()


PATTERNS = st.tuples(st.sampled_from(("{}", "*{}", "{}*", "*{}*", "{}*{}", "?{}*")), WORDS, WORDS).map(
    lambda of: of[0].format(*of[1:])
)


def test_what_the_index_leads_to_is_what_a_matching_key_finds(catalog: Catalog) -> None:
    named = [
        RemoteSeries(
            {"series_instance_uid": f"1.4.{n}", "study_instance_uid": f"1.5.{n}", "patient_id": f"P{n}",
             "patient_name": f"{text}^{text}"},
            "idc", "s3://bucket/x",
        )
        for n, text in enumerate(ODD)
    ]  # fmt: skip
    record_remotes(catalog, "idc", [*(told(n, text) for n, text in enumerate(ODD * 4)), *named])
    keys = ("patient_name", "patient_id", "series_description", "study_description", "manufacturer")

    @settings(max_examples=200, deadline=None)
    @given(st.sampled_from(keys), PATTERNS)
    @example("patient_name", "STRASSE STRASSE^*")
    @example("patient_name", "liver liver liver^LIVER LIVER LIVER")
    @example("series_description", "liver Liver LIVER")
    def equal(key: str, value: str) -> None:
        found = rows(catalog, [], led=False, **{key: value})
        assert rows(catalog, [], led=True, **{key: value}) == found
        assert count_series(catalog, **{key: value}) == len(found)
        assert len(find_series(catalog, limit=1000, **{key: value})) == len(found)

    equal()
    assert len(find_series(catalog, patient_name="LIVER Liver*^*", limit=5)) == 1


def test_a_date_a_number_and_a_name_are_found_without_a_look_at_each_series(tmp_path: Path) -> None:
    """In SQLite; PostgreSQL plans by its statistics."""
    catalog = Catalog(tmp_path / "catalog.sqlite")
    with closing(catalog), catalog.reading() as connection:
        for matching, index in (
            ({"study_date": "20260131"}, "ix_studies_study_date"),
            ({"accession_number": "A1"}, "ix_studies_accession_number"),
            ({"patient_name": "Nobody^*"}, "series_texts VIRTUAL TABLE INDEX"),
        ):
            demands = _demands(connection, None, matching)
            (lead,) = {each.candidates for each in demands}
            asked = _select(Level.SERIES, demands, lead=lead).add_columns(series.c.id).limit(50)
            sql = asked.compile(connection.engine, compile_kwargs={"literal_binds": True})
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}").all()
            assert any(index in each[3] for each in plan), plan
            assert not any(each[3].startswith("SCAN series ") for each in plan), plan


def test_an_expression_is_led_by_texts_that_must_be_there(catalog: Catalog) -> None:
    record_remotes(catalog, "idc", [told(n, text) for n, text in enumerate(ODD)])
    expressions = {
        "SeriesDescription ~ 'trass' and not Modality = 'CT'": 1,
        "not SeriesDescription ~ 'trass'": len(ODD) - 1,
        "SeriesDescription ~ 'trass' or Manufacturer ~ 'zzz'": 1,
        "SeriesDescription ~ 'trass' or Manufacturer ~ 'z' or SeriesNumber is empty": len(ODD),
        "SeriesDescription !~ 'trass'": len(ODD) - 1,
        "(SeriesDescription ~ 'zzz' or collection is empty) and SeriesDescription ~ 'st'": 1,
        "SeriesDescription ~ ''": len([n for n in range(len(ODD)) if n % 4 == 0]),
    }
    for where, count in expressions.items():
        assert len(find_series(catalog, where=where)) == count_series(catalog, where=where) == count, where
        assert len(find_series(catalog, where=where, limit=100)) == count, where


def kept(catalog: Catalog) -> tuple[dict[int, str], dict[int, str]]:
    """What the index holds, and what it should."""
    columns = (
        patients.c.patient_id, patients.c.patient_name, studies.c.study_description,
        studies.c.accession_number, studies.c.study_date, series.c.modality,
        series.c.series_description, series.c.body_part_examined,
        series.c.protocol_name, series.c.manufacturer,
    )  # fmt: skip
    of_sqlite = catalog.engine.dialect.name == "sqlite"
    every = sa.text(f"SELECT {'rowid' if of_sqlite else 'series'}, text FROM series_texts")
    statement = sa.select(series.c.id, *columns).select_from(series.join(studies).join(patients))
    with catalog.reading() as connection:
        there = {row[0]: row[1] for row in connection.execute(every)}
        wanted = {
            row[0]: "\x1f".join((each or "").lower() for each in row[1:] if of_sqlite or each is not None)
            for row in connection.execute(statement)
        }
    return there, wanted


def writings(catalog: Catalog, folder: Path) -> Iterator[str]:
    """Write in every way there is, and say how."""
    for patient, study in (("Anna", "First"), ("Anna", "Second"), ("Bert", "Third")):
        scanned(folder, patient, study)
    index_paths(catalog, [folder])
    yield "index"
    touch(folder / "Anna-First-1", SeriesDescription="ANEW", StudyDescription="Other", PatientSex="F")
    index_paths(catalog, [folder])
    yield "index of changed files"
    merged = corrections.merge_patients(catalog, "Anna", "Bert", BY)
    yield "merge"
    scanned(folder, "Anna", "First", number=2)
    index_paths(catalog, [folder])
    yield "index after a merge"
    corrections.undo(catalog, merged.number, BY)
    yield "undo"
    corrections.correct_patient(catalog, "Bert", BY, {"patient_id": "Bertram", "patient_name": "B^X"})
    yield "correct"
    uid = find_series(catalog, study_description="Third")[0].study_instance_uid
    corrections.move_study(catalog, uid, "Anna", BY)
    yield "move"
    record_remotes(catalog, "idc", [told(n, text) for n, text in enumerate(ODD[-1:] * 8)])
    record_remotes(catalog, "idc", [told(n, "Another") for n in range(8)])
    yield "remotes"
    with catalog.transaction() as connection:
        connection.execute(studies.update().values(accession_number="A1"))
        connection.execute(patients.update().values(patient_name=sa.null()))
        connection.execute(series.update().values(modality="XX", protocol_name=sa.null()))
    yield "update"
    with catalog.transaction() as connection:
        elsewhere = series.c.series_instance_uid.like("1.2.%")
        gone = list(connection.scalars(sa.select(series.c.id).where(elsewhere)).all())[-3:]
        connection.execute(remotes.delete().where(remotes.c.series.in_(gone)))
        empty = set(gone) & set(_without_files(connection))
        connection.execute(series.delete().where(series.c.id.in_(empty)))
    yield "delete"


def _without_files(connection: sa.Connection) -> list[int]:
    has = sa.text("SELECT id FROM series WHERE id NOT IN (SELECT series FROM instances)")
    return list(connection.scalars(has))


def test_the_index_is_kept_by_every_writer(catalog: Catalog, tmp_path: Path) -> None:
    ways = []
    for how in writings(catalog, tmp_path / "archive"):
        ways.append(how)
        there, wanted = kept(catalog)
        assert there == wanted, how
        assert there
    assert len(ways) == 10


def test_a_page_of_words_streams_through_the_index(sqlite_catalog: Catalog) -> None:
    record_remotes(sqlite_catalog, "idc", [told(n, text) for n, text in enumerate(ODD)])
    asked: list[str] = []
    sa.event.listen(sqlite_catalog.engine, "before_cursor_execute", lambda *of: asked.append(of[2]) or None)
    assert len(find_series(sqlite_catalog, where="SeriesDescription ~ 'trass'", limit=5)) == 1
    assert any("MATCH" in each for each in asked)
    with sqlite_catalog.reading() as connection:
        demands = _demands(connection, "SeriesDescription ~ 'trass' and Modality = 'CT'", {})
    (candidates,) = {each.candidates for each in demands}
    statement = _select(Level.SERIES, demands, lead=candidates).add_columns(series.c.id)
    statement = statement.order_by(texts.text_row()).limit(5)
    text = str(statement.compile(sqlite_catalog.engine, compile_kwargs={"literal_binds": True}))
    with sqlite_catalog.reading() as connection:
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    assert plan[0].startswith("SCAN series_texts VIRTUAL TABLE")
    assert plan[1].startswith("SEARCH series USING INTEGER PRIMARY KEY")
    assert not any("B-TREE" in each for each in plan)


@pytest.mark.postgresql
def test_postgresql_without_the_extension_finds_the_same(postgresql: object) -> None:
    catalog = Catalog(postgresql.database())  # type: ignore[attr-defined]
    record_remotes(catalog, "idc", [told(n, text) for n, text in enumerate(ODD)])
    with catalog.transaction() as connection:
        assert texts.is_indexed(connection)
        connection.execute(sa.text("DROP EXTENSION pg_trgm CASCADE"))
        assert not texts.is_indexed(connection)
    assert len(find_series(catalog, where="SeriesDescription ~ 'trass'", limit=5)) == 1
    catalog.close()


def test_texts_indexed_together_are_those_that_a_trigger_writes_for_each(sqlite_catalog: Catalog) -> None:
    record_remotes(sqlite_catalog, "idc", [told(n, text) for n, text in enumerate(ODD * 4)])
    with sqlite_catalog.transaction() as connection:
        kept = "SELECT rowid, text FROM series_texts ORDER BY rowid"
        together = connection.execute(sa.text(kept)).all()
        connection.execute(sa.text("UPDATE series SET modality = 'XX'"))  # the triggers write each anew
        connection.execute(sa.text("UPDATE series SET modality = NULL"))
        assert connection.execute(sa.text(kept)).all() == together
        assert len(together) == 4 * len(ODD)
