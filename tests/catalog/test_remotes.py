"""Series known from elsewhere: recorded once, found by what stands of them, and never by what is unknown."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from catalog.attributes import Level
from catalog.corrections import Author, correct_patient, merge_patients
from catalog.database import Catalog
from catalog.errors import NotFoundError, QuestionError
from catalog.index import index_paths
from catalog.query import find_instances, find_level, find_series, instances_of
from catalog.records import RemoteSeries, Value
from catalog.remotes import record_remotes, remote_of
from pipelines import phantoms


def told(number: int, **values: Value) -> RemoteSeries:
    """Series 1.2.N of study 1.1 and patient P, fifty instances in a bucket."""
    known: dict[str, Value] = {
        "series_instance_uid": f"1.2.{number}", "study_instance_uid": "1.1", "patient_id": "P",
        "modality": "CT", "series_number": number, "study_date": "20260131",
    }  # fmt: skip
    return RemoteSeries(known | values, "idc", f"s3://bucket/{number}", 50, 5_000_000, collection="lung")


def test_what_was_told_is_recorded_once_and_what_changed_again(catalog: Catalog) -> None:
    series = [told(1), told(2)]
    first = record_remotes(catalog, "idc", series)
    assert (first.added, first.updated, first.unchanged, first.series) == (2, 0, 0, 2)
    assert record_remotes(catalog, "idc", series).unchanged == 2

    changed = record_remotes(catalog, "idc", [told(1, modality="MR"), replace(series[1], license="CC0")])
    assert (changed.added, changed.updated, changed.unchanged) == (0, 2, 0)
    assert [each.modality for each in find_series(catalog)] == ["MR", "CT"]
    assert remote_of(catalog, "1.2.2") == replace(
        series[1], license="CC0", values=series[1].values | {"issuer_of_patient_id": ""}
    )


def test_a_series_from_elsewhere_says_where_it_lies_and_what_it_holds(catalog: Catalog) -> None:
    record_remotes(catalog, "idc", [told(1)])
    (found,) = find_series(catalog, modality="CT")
    assert (found.remote, found.instances, found.frames) == ("s3://bucket/1", 50, 0)
    assert instances_of(catalog, "1.2.1") == []
    assert list(find_level(catalog, Level.STUDY, {"Modality": "CT"}, columns=["PatientID"])) == [
        {"patient_id": "P"}
    ]
    assert list(find_level(catalog, Level.INSTANCE, {}, columns=["SOPInstanceUID"])) == []
    with pytest.raises(NotFoundError, match=r"no series 1\.9"):
        remote_of(catalog, "1.9")


def test_a_study_says_of_its_series_what_is_here_and_what_lies_elsewhere(
    catalog: Catalog, tmp_path: Path
) -> None:
    here = phantoms.write_series(tmp_path / "here", planes=3, patient_id="Q", modality="MR")
    index_paths(catalog, here.paths)
    record_remotes(catalog, "idc", [told(1), told(2, modality="PT")])
    keys = ["ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"]
    here_and_there = [("MR", 1, 3, "ONLINE"), ("CT\\PT", 2, 100, "UNAVAILABLE")]
    for level in (Level.STUDY, Level.SERIES):
        rows = find_level(catalog, level, {}, columns=[*keys, "InstanceAvailability"])
        assert list(dict.fromkeys(tuple(row.values()) for row in rows)) == here_and_there
    for modalities, patients in (("P?", ["P"]), (["MR", "PT"], ["Q", "P"]), ("XA", []), (None, ["Q", "P"])):
        rows = find_level(catalog, Level.PATIENT, {"ModalitiesInStudy": modalities}, columns=["PatientID"])
        assert [row["patient_id"] for row in rows] == patients
    for below in ("Modality", "NumberOfSeriesRelatedInstances"):
        with pytest.raises(QuestionError, match="is of the level series, which is below study"):
            find_level(catalog, Level.STUDY, {}, columns=[below])


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("Modality == 'CT' and StudyDate >= 2026 and PatientID == 'P'", True),
        ("SeriesDescription is empty and Modality != 'MR'", True),
        ("SliceThickness < 1", False),
        ("not SliceThickness < 1", False),
        ("SliceThickness != 1 or Rows is empty or ImageType !~ 'X'", False),
        ("Rows is present or SOPClassUID not in ('1.2')", False),
        ("0018,9087 > 800 or not 0018,9087 > 800", False),
        ("ContrastBolusAgentSequence.CodeMeaning !~ 'gado'", False),
        ("finding != 'tilt' or finding is empty", False),
        ("finding == 'unchecked' and finding in ('tilt', 'unchecked')", True),
        ("finding != 'unchecked' or finding not in ('tilt', 'unchecked')", False),
        ("Modality == 'CT' or SliceThickness < 1", True),
        ("not (Modality == 'MR' and SliceThickness < 1)", True),
        ("Modality == 'CT' and not SliceThickness < 1", False),
    ],
)
def test_what_is_unknown_is_not_true_and_neither_is_its_contrary(
    catalog: Catalog, where: str, found: bool
) -> None:
    record_remotes(catalog, "idc", [told(1)])
    assert bool(find_series(catalog, where=where)) == found


def test_a_key_of_an_instance_finds_no_series_from_elsewhere(catalog: Catalog) -> None:
    record_remotes(catalog, "idc", [told(1)])
    assert find_series(catalog, Rows=512) == []
    assert find_instances(catalog, modality="CT") == []
    assert len(find_series(catalog, Rows=None)) == 1


def test_what_a_file_says_stays_and_its_series_is_here(catalog: Catalog, ct: phantoms.Phantom) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    (before,) = find_series(catalog)
    other: dict[str, Value] = {
        "series_instance_uid": before.series_instance_uid, "study_instance_uid": before.study_instance_uid,
        "patient_id": before.patient_id, "patient_name": before.patient_name, "modality": "MR",
    }  # fmt: skip
    elsewhere = [replace(told(1), values=other | {"laterality": "L"})]
    record_remotes(catalog, "PACS", elsewhere)
    assert find_series(catalog) == [replace(before, laterality="L")]
    for path in ct.paths:
        path.unlink()
    index_paths(catalog, [ct.paths[0].parent])
    (gone,) = find_series(catalog, modality="CT")
    assert (gone.remote, gone.instances) == ("s3://bucket/1", 50)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"series_instance_uid": "'; drop"}, "series_instance_uid is no UID"),
        ({"study_instance_uid": None}, "study_instance_uid is no UID"),
        ({"series_description": "a\0b"}, "no text"),
        ({"patient_name": "\ud800"}, "no text"),
        ({"series_number": "seven"}, "series_number is no number"),
        ({"series_number": 2**70}, "series_number is no number"),
        ({"patient_weight": float("nan")}, "patient_weight is no number"),
        ({"series_number": 1.5}, "series_number is no number"),
        ({"series_number": True}, "series_number is no number"),
        ({"patient_weight": "heavy"}, "patient_weight is no number"),
        ({"series_instance_uid": 12}, "series_instance_uid is no UID"),
        ({"study_instance_uid": "1." * 40 + "1"}, "study_instance_uid is no UID"),
        ({"modality": 7}, "modality is no text"),
        ({"modality": ["CT"]}, "modality is no text"),
        ({"patient_id": "漢" * 201}, "patient_id is no text of at most 200 characters"),
        ({"series_description": "x" * 10_001}, "series_description is no text of at most 10,000 characters"),
    ],
)
def test_what_cannot_be_recorded_is_a_reason_and_the_rest_is_there(
    catalog: Catalog, values: dict[str, Any], words: str
) -> None:
    report = record_remotes(catalog, "idc", [told(1, **values), told(2)])
    assert (report.added, len(report.rejected)) == (1, 1)
    assert words in report.rejected[0].reason
    assert [each.series_instance_uid for each in find_series(catalog)] == ["1.2.2"]


def test_the_longest_keys_are_recorded(catalog: Catalog) -> None:
    dice = random.Random(3)
    names = ("patient_id", "issuer_of_patient_id", "patient_name", "modality", "body_part_examined")
    values = {name: "".join(chr(dice.randint(0x1F300, 0x1F5FF)) for _ in range(200)) for name in names}
    assert record_remotes(catalog, "idc", [told(1, **values)]).rejected == ()
    assert find_series(catalog, modality=values["modality"]) == find_series(catalog)


def test_what_stands_beside_is_looked_at_too(catalog: Catalog) -> None:
    hostile: dict[str, Any] = {"instances": "many", "bytes": 2**70, "address": None, "license": "a\0"}
    series = [replace(told(at), **{name: value}) for at, (name, value) in enumerate(hostile.items())]
    report = record_remotes(catalog, "idc", [*series, told(9)])
    assert [each.reason.split()[1] for each in report.rejected] == list(hostile)
    assert report.added == 1


def test_what_is_refused_now_stays_as_it_was_told_before(catalog: Catalog) -> None:
    record_remotes(catalog, "idc", [told(1), told(2)], complete=True)
    report = record_remotes(catalog, "idc", [told(1, modality="a\0")], complete=True)
    assert (len(report.rejected), report.withdrawn) == (1, 1)
    assert [each.modality for each in find_series(catalog)] == ["CT"]


def test_a_correction_holds_for_what_is_told_anew(catalog: Catalog) -> None:
    record_remotes(catalog, "idc", [told(1), told(2, study_instance_uid="1.5", patient_id="Q")])
    author = Author("x", "one person", datetime.now(UTC))
    merge_patients(catalog, "Q", "P", author)
    correct_patient(catalog, "P", author, {"patient_sex": "F"})
    changed = told(2, study_instance_uid="1.5", patient_id="Q", modality="MR", patient_sex="M")
    record_remotes(catalog, "idc", [told(1, patient_sex="M"), changed])
    found = find_series(catalog, where="PatientSex = 'F'")
    assert [(each.patient_id, each.modality) for each in found] == [("P", "CT"), ("P", "MR")]


def test_where_a_series_has_no_uid_no_other_is_taken_away(catalog: Catalog) -> None:
    """It may be any of those that were told of before."""
    record_remotes(catalog, "idc", [told(1), told(2)], complete=True)
    report = record_remotes(catalog, "idc", [told(1), told(2, series_instance_uid=None)], complete=True)
    assert (len(report.rejected), report.withdrawn) == (1, 0)
    assert record_remotes(catalog, "idc", [told(1)], complete=True).withdrawn == 1


MANY = 3_000


def test_many_matches_are_answered_in_little_memory_and_no_transaction_waits_for_who_takes_them(
    catalog: Catalog,
) -> None:
    record_remotes(catalog, "idc", [told(each) for each in range(1, MANY + 1)])
    columns = ["SeriesInstanceUID", "PatientName", "ModalitiesInStudy"]
    read: list[int] = []
    listened = sa.event.listens_for(catalog.engine, "after_cursor_execute")
    listened(lambda *_: read.append(1))
    rows = find_level(catalog, Level.SERIES, {"Modality": "CT"}, columns=columns)
    assert len(read) <= 2  # whether files say something else than rows is asked at once; no row is
    read.clear()
    first = next(rows)
    before = len(read)
    assert first["modalities_in_study"] == "CT"
    assert catalog.engine.pool.checkedin() == 1  # type: ignore[attr-defined]  # nothing is held meanwhile
    record_remotes(catalog, "idc", [told(MANY + 1)])
    read.clear()
    rest = [str(row["series_instance_uid"]) for row in rows]
    assert len(read) > before  # most was asked for afterwards
    every = [str(first["series_instance_uid"]), *rest]
    assert sorted(every) == sorted(set(every))
    assert {f"1.2.{each}" for each in range(1, MANY + 1)} <= set(every)


def test_what_is_gone_when_its_turn_comes_is_no_answer(catalog: Catalog) -> None:
    record_remotes(catalog, "idc", [told(each) for each in range(1, 1_001)])
    rows = find_level(catalog, Level.SERIES, {}, columns=["SeriesInstanceUID", "InstanceAvailability"])
    next(rows)
    record_remotes(catalog, "idc", [told(1)], complete=True)
    assert len(list(rows)) == 499  # of those that were read together with the first
