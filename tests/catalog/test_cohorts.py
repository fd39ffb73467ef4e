"""Cohorts are frozen: the same instances for good, and what changed since is said, on both databases."""

import os
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa

from catalog.changes import changes, compared, series_to_read
from catalog.checks import Check, Soundness, due_files, note
from catalog.cohorts import (
    find_cohort,
    freeze,
    items_of,
    list_cohorts,
    manifest_of,
    series_of,
    take_in,
)
from catalog.database import Catalog
from catalog.errors import CohortError, NotFoundError, QuestionError
from catalog.hashing import hash_files
from catalog.index import index_paths
from catalog.manifest import HEADERS_ALONE, cohort_texts, digest_of_cohort, question_text
from catalog.models import cohort_items, cohorts
from catalog.query import find_series, instances_of
from catalog.records import CohortItem, CohortRecord, Compared, Question
from pipelines import phantoms

NOW = datetime(2026, 11, 24, 12, 30, 15, 123456, UTC)
CT = Question("SliceThickness <= 5", {"modality": "CT"})


@pytest.fixture
def ct(tmp_path: Path) -> phantoms.Phantom:
    return phantoms.write_series(tmp_path / "archive" / "ct", planes=4)


def frozen(catalog: Catalog, question: Question | None = CT, name: str = "lung") -> CohortRecord:
    found = (
        find_series(catalog, where=question.where, **question.matching) if question else find_series(catalog)
    )
    uids = [each.series_instance_uid for each in found]
    return freeze(
        catalog, name, uids, question=question, approval="EK 2026/123", expires="2027-12-31", now=NOW
    )


def test_a_cohort_holds_every_instance_with_its_digest_and_is_read_as_it_was_frozen(
    catalog: Catalog, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    phantoms.write_series(tmp_path / "archive" / "mr", modality="MR", series_number=2)
    index_paths(catalog, [tmp_path / "archive"])
    record = frozen(catalog)
    assert (record.series, record.instances) == (1, 4)
    assert (record.approval, record.expires, record.frozen) == ("EK 2026/123", date(2027, 12, 31), NOW)
    assert find_cohort(catalog, "lung") == record
    assert list_cohorts(catalog) == [record]
    held = {each.sop_instance_uid: each.header_digest for each in items_of(catalog, "lung")}
    today = {
        each.sop_instance_uid: each.header_digest for each in instances_of(catalog, ct.series_instance_uid)
    }
    assert held == today
    assert [each.series_instance_uid for each in series_of(catalog, "lung")] == [ct.series_instance_uid]
    assert changes(catalog, record) == []


def test_what_is_frozen_is_never_changed(catalog: Catalog, ct: phantoms.Phantom) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    record = frozen(catalog)
    with pytest.raises(
        CohortError, match="what is frozen is never changed; give another name, such as 'lung-2'"
    ):
        frozen(catalog, None)
    assert find_cohort(catalog, "lung") == record


@pytest.mark.parametrize(
    "alter",
    [
        sa.update(cohorts).values(approval="EK 2030/1"),
        sa.update(cohorts).values(expires=date(2099, 1, 1)),
        sa.update(cohorts).values(question='{"where": null, "matching": {}}'),
        sa.update(cohorts).values(frozen=NOW.replace(year=2020)),
        sa.update(cohort_items).where(cohort_items.c.id == 2).values(header_digest="0" * 64),
        sa.update(cohort_items).where(cohort_items.c.id == 2).values(content_digest="0" * 64),
        sa.update(cohort_items).where(cohort_items.c.id == 2).values(size=1),
        sa.update(cohorts).values(version=1),
        sa.delete(cohort_items).where(cohort_items.c.id == 3),
    ],
)
def test_altered_rows_are_noticed_on_reading(
    catalog: Catalog, ct: phantoms.Phantom, alter: sa.Update | sa.Delete
) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    frozen(catalog)
    with catalog.transaction() as connection:
        assert connection.execute(alter).rowcount == 1
    with pytest.raises(
        CohortError, match="'lung' is not what was frozen: its rows in the catalog were altered"
    ):
        find_cohort(catalog, "lung")


def test_an_altered_question_that_tells_of_a_patient_is_noticed_too(
    catalog: Catalog, ct: phantoms.Phantom
) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    frozen(catalog, Question(None, {"patient_id": "PHANTOM"}))
    with catalog.transaction() as connection:
        connection.execute(
            sa.update(cohorts).values(question='{"where": null, "matching": {"patient_id": "X"}}')
        )
    with pytest.raises(CohortError, match="not what was frozen"):
        find_cohort(catalog, "lung")


def change(path: Path) -> None:
    ds = pydicom.dcmread(path)
    ds.SeriesDescription = "another"
    ds.save_as(path)


def test_what_changed_since_is_said_of_each_instance(catalog: Catalog, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    one = phantoms.write_series(archive / "one", planes=5)
    other = phantoms.write_series(archive / "other", planes=2, series_number=2, seed=1, distance=1.5)
    index_paths(catalog, [archive])
    uids = {path: pydicom.dcmread(path).SOPInstanceUID for path in (*one.paths, *other.paths)}
    record = frozen(catalog)
    change(one.paths[0])
    one.paths[1].unlink()
    one.paths[2].write_bytes(one.paths[2].read_bytes()[:200])
    later = phantoms.write_series(archive / "later", planes=1, series_number=3, seed=2)
    for path in other.paths:
        ds = pydicom.dcmread(path)
        ds.SliceThickness = 7
        ds.save_as(path)
    assert {each.state for each in changes(catalog, record)} == {
        "changed",
        "unreadable",
    }  # files are looked at
    assert changes(catalog, record, look=False) == []  # the catalog does not know yet
    index_paths(catalog, [archive])
    found = {each.sop_instance_uid: (each.state, each.reason) for each in changes(catalog, record)}
    assert found == {
        uids[one.paths[0]]: ("changed", "its header is another"),
        uids[one.paths[1]]: ("unreadable", "at the last index none of its files could be read"),
        uids[one.paths[2]]: ("unreadable", "at the last index none of its files could be read"),
        **{uids[path]: ("changed", "its header is another") for path in other.paths},
        pydicom.dcmread(later.paths[0]).SOPInstanceUID: ("added", "the question finds its series now"),
    }
    assert find_cohort(catalog, "lung") == record


def test_a_series_that_the_question_no_longer_finds_is_removed_and_one_that_grew_is_added_to(
    catalog: Catalog, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    away = tmp_path / "away.dcm"
    ct.paths[3].rename(away)
    index_paths(catalog, [ct.paths[0].parent])
    by_list = frozen(catalog, None, "by-list")
    by_question = frozen(catalog, Question("InstanceNumber = 2", {}), "by-question")
    away.rename(ct.paths[3])
    index_paths(catalog, [ct.paths[0].parent])
    for record in (by_list, by_question):
        (added,) = changes(catalog, record)
        assert (added.state, added.reason) == ("added", "its series has it now")
    ct.paths[1].unlink()
    index_paths(catalog, [ct.paths[0].parent])
    assert [each.state for each in changes(catalog, by_question)] == ["removed", "unreadable", "removed"]
    assert [each.state for each in changes(catalog, by_list)] == ["unreadable", "added"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "../x"}, "the name of a cohort has 1 to 64"),
        ({"name": "x" * 65}, "the name of a cohort has 1 to 64"),
        ({"name": None}, "the name of a cohort has 1 to 64"),
        ({"approval": "a\nb"}, "an approval is one line"),
        ({"expires": "31.12.2027"}, "written 2027-12-31"),
        ({"expires": "2027-02-30"}, "written 2027-12-31"),
        ({"expires": NOW}, "written 2027-12-31"),
        ({"expires": "2026-11-23"}, "the approval ended on 2026-11-23"),
        ({"expires": "2027-11-23", "approval": ""}, "a last day belongs to an approval"),
        ({"uids": []}, "would be empty"),
    ],
)
def test_what_cannot_be_frozen_is_a_sentence(
    sqlite_catalog: Catalog, ct: phantoms.Phantom, arguments: dict[str, object], words: str
) -> None:
    index_paths(sqlite_catalog, [ct.paths[0].parent])
    given = {"name": "lung", "approval": "EK", "uids": [ct.series_instance_uid]} | arguments
    with pytest.raises(CohortError, match=words):
        freeze(
            sqlite_catalog,
            given.pop("name"),
            given.pop("uids"),
            now=NOW,
            **given,  # type: ignore[arg-type]
        )
    assert list_cohorts(sqlite_catalog) == []


def test_unknown_cohorts_series_and_attributes_are_sentences(catalog: Catalog, ct: phantoms.Phantom) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    frozen(catalog)
    with pytest.raises(NotFoundError, match="no cohort 'x'; `workbench cohort list` has: lung"):
        find_cohort(catalog, "x")
    with pytest.raises(NotFoundError, match=r"series 1\.2\.3 is not in the catalog"):
        freeze(catalog, "y", ["1.2.3"], now=NOW)
    with pytest.raises(QuestionError, match="keeps no attribute 'catalog'"):
        freeze(catalog, "z", [ct.series_instance_uid], question=Question(None, {"catalog": 1}), now=NOW)
    assert [each.name for each in list_cohorts(catalog)] == ["lung"]


def exported(catalog: Catalog, record: CohortRecord) -> str:
    return b"".join(manifest_of(catalog, record)).decode()


def test_another_catalog_takes_a_manifest_in_and_says_what_is_missing_or_different(
    catalog: Catalog, sqlite_catalog: Catalog, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    one = phantoms.write_series(archive / "one", planes=3)
    other = phantoms.write_series(archive / "other", planes=2, series_number=2, seed=1, distance=1.5)
    index_paths(catalog, [archive])
    text = exported(catalog, frozen(catalog, name="elsewhere"))
    elsewhere = sqlite_catalog if catalog.engine.dialect.name == "postgresql" else Catalog(tmp_path / "b.db")
    change(one.paths[0])
    index_paths(elsewhere, [one.paths[0].parent])
    record = take_in(elsewhere, iter([text]))
    assert record == find_cohort(catalog, "elsewhere") == find_cohort(elsewhere, "elsewhere")
    assert take_in(elsewhere, iter(text)) == record  # twice is once, in pieces of any length
    found = changes(elsewhere, record, asked=False)
    assert sorted((each.state, each.series_instance_uid) for each in found) == [
        ("changed", one.series_instance_uid),
        ("missing", other.series_instance_uid),
        ("missing", other.series_instance_uid),
    ]
    assert take_in(elsewhere, iter([text]), name="copy").digest == record.digest
    assert exported(elsewhere, record) == text
    if elsewhere is not sqlite_catalog:
        elsewhere.close()


@pytest.mark.parametrize(
    "question",
    [
        Question(None, {"patient_name": "Geheim*"}),
        Question("PatientID = 'PID-4711' and Modality = 'CT'", {}),
        Question("Modality = 'CT' or patient_id ~ '4711'", {}),
        Question("0010,0020 == 'PID-4711'", {}),
        Question("(0010,0010) ~ 'geheim' or Modality = 'CT'", {}),
        Question("RequestAttributesSequence.PatientID == 'PID-4711' or Rows > 1", {}),
        Question("OtherPatientIDs = '4711' or Rows > 1", {}),
        Question("ImageComments ~ 'Geheim' or Rows > 1", {}),
        Question("0029,1010 = 'PID-4711' or Rows > 1", {}),
    ],
)
def test_a_manifest_tells_of_no_patient(sqlite_catalog: Catalog, tmp_path: Path, question: Question) -> None:
    phantoms.write_series(tmp_path / "archive", patient_name="Geheim^Gerda", patient_id="PID-4711")
    index_paths(sqlite_catalog, [tmp_path / "archive"])
    record = frozen(sqlite_catalog, question)
    assert record.question == question
    text = exported(sqlite_catalog, record)
    assert "Geheim" not in text
    assert "4711" not in text
    other = Catalog(tmp_path / "other.db")
    taken = take_in(other, iter([text]))
    assert (taken.question, taken.digest) == (None, record.digest)
    assert find_cohort(other, "lung") == taken
    other.close()


@pytest.mark.parametrize(
    "where",
    [
        "0018,9087 > 800 or Rows > 1",
        "CTExposureSequence.ExposureTimeInms > 1 or Rows in (32,64)",
        "finding != 'deviation'",
    ],
)
def test_what_asks_for_the_acquisition_goes_out(
    sqlite_catalog: Catalog, ct: phantoms.Phantom, tmp_path: Path, where: str
) -> None:
    index_paths(sqlite_catalog, [ct.paths[0].parent])
    record = frozen(sqlite_catalog, Question(where, {}))
    other = Catalog(tmp_path / "other.db")
    taken = take_in(other, iter([exported(sqlite_catalog, record)]))
    assert taken.question == Question(where, {})
    other.close()


def test_questions_of_every_form_come_back(sqlite_catalog: Catalog, ct: phantoms.Phantom) -> None:
    index_paths(sqlite_catalog, [ct.paths[0].parent])
    matching = {
        "modality": ["CT", "MR"], "SliceThickness": (0.5, None), "Rows": 32, "StudyDate": "19000101-",
        "SeriesDescription": None, "BodyPartExamined": "*",
    }  # fmt: skip
    record = frozen(sqlite_catalog, Question("  ", matching))
    assert record.question == Question("  ", matching)
    assert find_cohort(sqlite_catalog, "lung") == record
    assert changes(sqlite_catalog, record) == []


ALTERED: list[tuple[Callable[[str], str], str]] = [
    (lambda text: "", "it is cut"),
    (lambda text: text[:-4], "it is cut"),
    (lambda text: text[: len(text) // 2], "cut"),
    (lambda text: text + "{}", "something follows its end"),
    (lambda text: "[" * 100_000, r"'\[', where '\{' should be"),
    (lambda text: '{"format": ' + "[" * 60_000, "too deep|no JSON"),
    (lambda text: text.replace('"version": 2', '"version": 3'), "reads up to version 2; update it"),
    (lambda text: text.replace('"version": 2', '"version": 0'), "reads up to version 2"),
    (lambda text: text.replace('"version": 2', '"version": true'), "reads up to version 2"),
    (lambda text: text.replace('"version": 2', '"version": 1'), "has no digest, or no size"),
    (lambda text: text.replace('"version": 2', '"version": ' + "1" * 9_000), "no JSON"),
    (lambda text: text.replace('"version": 2', '"version": NaN'), "a number that is none"),
    (lambda text: text.replace('"version": 2', '"version": 2, "version": 2'), "says something twice"),
    (lambda text: text.replace('"version": 2', '"version": 2, "patient": 1'), "not known to its version"),
    (lambda text: text.replace('"version": 2, ', ""), "reads up to version 2"),
    (lambda text: re.sub(r", \d+, \"", ', -1, "', text), "has no digest, or no size"),
    (lambda text: re.sub(r", \d+, \"", ', true, "', text), "has no digest, or no size"),
    (lambda text: re.sub(r", \d+, \"", f', {2**63}, "', text), "has no digest, or no size"),
    (lambda text: re.sub(r", \d+, \"", ', 7, "', text), "the manifest was altered"),
    (lambda text: re.sub(r", (\d+), \"", r', \1, "x', text), "has no digest, or no size"),
    (lambda text: re.sub(r", (\d+), \"", r', \1, 0, "', text), "has no digest, or no size"),
    (lambda text: text.replace("imaging-workbench cohort", "x"), "its format is not"),
    (lambda text: text.replace('"lung"', '"../lung"'), "the name of a cohort"),
    (lambda text: text.replace('"lung"', "7"), "the name of a cohort"),
    (lambda text: text.replace('"EK 2026/123"', '["EK"]'), "an approval is one line"),
    (lambda text: text.replace("EK 2026/123", "EK 2026/124"), "the manifest was altered"),
    (lambda text: text.replace("2027-12-31", "2028-12-31"), "the manifest was altered"),
    (lambda text: text.replace('"2027-12-31"', "20271231"), "written 2027-12-31"),
    (lambda text: text.replace('"2026-11-24T12:30:15.123456+00:00"', '"2026"'), "no time with a time zone"),
    (lambda text: text.replace("SliceThickness <= 5", "SliceThickness <= 6"), "the manifest was altered"),
    (lambda text: text.replace('{"modality": "CT"}', '{"modality": {"range": [1]}}'), "no question"),
    (lambda text: text.replace('{"modality": "CT"}', '{"modality": [[[1]]]}'), "no question"),
    (lambda text: text.replace('"instances": {', '"instances": [], "x": {'), "one of its series is none"),
    (lambda text: text.replace('"series_instance_uid": "', '"series_instance_uid": "x'), "is none"),
    (lambda text: text.replace('"digest": "', '"digest": "x'), "its digest is none"),
]


@pytest.mark.parametrize("pieces", [1, 7, 100_000])
@pytest.mark.parametrize(("alter", "words"), ALTERED, ids=range(len(ALTERED)))
def test_a_damaged_or_hostile_manifest_is_a_sentence_and_leaves_nothing(
    sqlite_catalog: Catalog, ct: phantoms.Phantom, alter: Callable[[str], str], words: str, pieces: int
) -> None:
    index_paths(sqlite_catalog, [ct.paths[0].parent])
    record = frozen(sqlite_catalog)
    text = alter(exported(sqlite_catalog, record))
    with sqlite_catalog.transaction() as connection:
        connection.execute(sa.delete(cohort_items))
        connection.execute(sa.delete(cohorts))
    chunks = iter([text[at : at + pieces] for at in range(0, len(text), pieces)])
    with pytest.raises(CohortError, match=words):
        take_in(sqlite_catalog, chunks)
    assert list_cohorts(sqlite_catalog) == []


def test_instances_and_series_that_are_there_twice_are_refused(
    catalog: Catalog, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    text = exported(catalog, frozen(catalog))
    head, series = text.split('"series": [')
    entry = series[: series.rindex("]")].strip()
    uid = ct.series_instance_uid
    for doubled, words in (
        (f"{entry}, {entry}", "is there twice"),
        (f"{entry}, {entry.replace(uid, uid + '.1', 1)}", "an instance is there twice|altered"),
        (
            entry.replace(
                '": {', '": {"1.2": ["' + "0" * 64 + '", 1, ""], "1.2": ["' + "0" * 64 + '", 1, ""], ', 1
            ),
            "named twice",
        ),
    ):
        with pytest.raises(CohortError, match=words):
            take_in(catalog, iter([f'{head}"series": [{doubled}]}}']), name="other")
    assert [each.name for each in list_cohorts(catalog)] == ["lung"]


def test_a_file_that_may_not_be_read_is_unreadable(sqlite_catalog: Catalog, ct: phantoms.Phantom) -> None:
    index_paths(sqlite_catalog, [ct.paths[0].parent])
    record = frozen(sqlite_catalog)
    ct.paths[0].unlink()
    os.utime(ct.paths[1], ns=(1, 1))
    found = changes(sqlite_catalog, record)
    assert sorted((each.state, each.reason) for each in found) == [
        ("changed", "its file was written after the last index; index it again"),
        ("unreadable", "its file cannot be read: no such file or directory"),
    ]


def test_of_several_places_the_one_that_is_read_is_looked_at(catalog: Catalog, ct: phantoms.Phantom) -> None:
    first = ct.paths[0]
    copy = first.parent.with_name("copy") / first.name
    copy.parent.mkdir()
    index_paths(catalog, [first.parent])
    copy.write_bytes(first.read_bytes())
    index_paths(catalog, [copy.parent])
    record = frozen(catalog)
    due = [each for some in due_files(catalog, before=NOW, at_most=10) for each in some]
    note(catalog, [Check(each.path, Soundness.ROT, "", NOW, each) for each in due if each.path == str(first)])
    assert changes(catalog, record, asked=False) == []
    copy.write_bytes(first.read_bytes() + b"\0")
    (change,) = changes(catalog, record, asked=False)
    assert (change.state, change.reason[:30]) == ("changed", "its file was written after the")


def repaint(path: Path, *, stamped: bool = True) -> None:
    """Change pixels under the same header, the size the same; without a stamp, behind the time, too."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + stamped * 10**9))


def read(catalog: Catalog, uids: list[str], *, again: bool = False) -> list[Soundness]:
    return [each.state for each in hash_files(catalog, uids, now=NOW, again=again)]


OTHER_PIXELS = "its pixels, or what stands after them, are others, under the same header"


def test_other_pixels_under_the_same_header_are_a_change(catalog: Catalog, ct: phantoms.Phantom) -> None:
    archive, uids = ct.paths[0].parent, [ct.series_instance_uid]
    index_paths(catalog, [archive])
    assert read(catalog, uids) == []
    record = frozen(catalog)
    assert record.hashed == record.instances == 4
    assert compared(catalog, record) == Compared(4, 0)
    repaint(ct.paths[1])
    assert [each.reason[:37] for each in changes(catalog, record)] == [
        "its file was written after the last i"
    ]
    index_paths(catalog, [archive])
    read(catalog, series_to_read(catalog, record))
    (found,) = changes(catalog, record)
    assert (found.state, found.reason) == ("changed", OTHER_PIXELS)
    assert found.sop_instance_uid == pydicom.dcmread(ct.paths[1]).SOPInstanceUID
    repaint(ct.paths[1])  # as they were
    index_paths(catalog, [archive])
    read(catalog, series_to_read(catalog, record))
    assert changes(catalog, record) == []


def test_other_pixels_behind_size_and_time_are_seen_when_everything_is_read_again(
    catalog: Catalog, ct: phantoms.Phantom
) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    read(catalog, [ct.series_instance_uid])
    record = frozen(catalog)
    repaint(ct.paths[2], stamped=False)
    read(catalog, series_to_read(catalog, record))
    assert changes(catalog, record) == []
    assert read(catalog, series_to_read(catalog, record, again=True), again=True) == [Soundness.ROT]
    (found,) = changes(catalog, record)
    assert (found.state, found.reason[:41]) == ("changed", "its file was read again and is rotten: by")


def test_another_bench_sees_pixels_that_are_others_there(
    catalog: Catalog, sqlite_catalog: Catalog, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    archive = ct.paths[0].parent
    index_paths(catalog, [archive])
    read(catalog, [ct.series_instance_uid])
    text = exported(catalog, frozen(catalog))
    elsewhere = sqlite_catalog if catalog.engine.dialect.name == "postgresql" else Catalog(tmp_path / "b.db")
    repaint(ct.paths[0])
    index_paths(elsewhere, [archive])
    record = take_in(elsewhere, iter([text]))
    assert changes(elsewhere, record, asked=False) == []  # nobody has read the files there
    assert compared(elsewhere, record) == Compared(0, 4)
    assert read(elsewhere, series_to_read(elsewhere, record)) == []
    assert [each.reason for each in changes(elsewhere, record, asked=False)] == [OTHER_PIXELS]
    assert compared(elsewhere, record) == Compared(4, 0)
    if elsewhere is not sqlite_catalog:
        elsewhere.close()


def test_a_cohort_frozen_by_headers_sees_another_size_and_says_by_what_it_compared(
    catalog: Catalog, ct: phantoms.Phantom
) -> None:
    archive = ct.paths[0].parent
    index_paths(catalog, [archive])
    record = frozen(catalog)
    assert (record.hashed, compared(catalog, record)) == (0, Compared(0, 4))
    assert series_to_read(catalog, record) == []
    size = ct.paths[1].stat().st_size
    ct.paths[1].write_bytes(ct.paths[1].read_bytes() + bytes(2))
    index_paths(catalog, [archive])
    (found,) = changes(catalog, record)
    assert found.reason == f"its file has {size + 2:,} bytes and had {size:,}, under the same header"


def test_a_manifest_of_version_1_is_taken_in_compared_by_headers_and_goes_out_as_it_came(
    catalog: Catalog, ct: phantoms.Phantom
) -> None:
    index_paths(catalog, [ct.paths[0].parent])
    items = [
        CohortItem(ct.series_instance_uid, each.sop_instance_uid, each.header_digest)
        for each in sorted(
            instances_of(catalog, ct.series_instance_uid), key=lambda each: each.sop_instance_uid
        )
    ]
    texts = cohort_texts(HEADERS_ALONE, question_text(CT), "EK", None, NOW, items)
    digest = digest_of_cohort(texts)
    made = ", ".join(f'"{each.sop_instance_uid}": "{each.header_digest}"' for each in items)
    text = (
        '{"format": "imaging-workbench cohort", "version": 1, "name": "old", "question": '
        f'{question_text(CT)}, "approval": "EK", "expires": null, "frozen": "{NOW.isoformat()}", '
        f'"digest": "{digest}",\n "series": [\n  {{"series_instance_uid": "{ct.series_instance_uid}", '
        f'"instances": {{{made}}}}}\n ]}}\n'
    )
    record = take_in(catalog, iter([text]))
    assert (record.version, record.hashed, record.digest) == (1, 0, digest)
    assert find_cohort(catalog, "old") == record
    assert exported(catalog, record) == text
    assert changes(catalog, record) == []
    assert list(items_of(catalog, "old")) == items
