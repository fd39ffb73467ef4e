"""What was put right stays right, whatever is indexed later, and can be undone; on both databases."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from catalog import corrections
from catalog.attributes import Level
from catalog.changes import changes
from catalog.cohorts import freeze
from catalog.corrections import Author, list_corrections
from catalog.database import Catalog
from catalog.errors import CorrectionError, NotFoundError
from catalog.facets import count_facets
from catalog.findings import find_findings
from catalog.index import index_paths
from catalog.query import count_series, find_instances, find_level, find_rows, find_series
from catalog.records import RemoteSeries
from catalog.remotes import record_remotes, remote_of
from pipelines import phantoms

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
BY = Author("anna", "typing error", NOW)


def scanned(folder: Path, patient: str, study: str, number: int = 1) -> phantoms.Phantom:
    return phantoms.write_series(
        folder / f"{patient}-{study}-{number}", planes=2, rows=8, columns=8, patient_id=patient,
        patient_name=f"Name^{patient}", study=study, series_number=number,
    )  # fmt: skip


def patients(catalog: Catalog) -> dict[str, str]:
    return {each.study_description or "": each.patient_id for each in find_series(catalog)}


@pytest.fixture
def archive(catalog: Catalog, tmp_path: Path) -> Path:
    """Patient A with studies 1 and 2, patient B with study 3."""
    folder = tmp_path / "archive"
    for patient, study in (("A", "1"), ("A", "2"), ("B", "3")):
        scanned(folder, patient, study)
    index_paths(catalog, [folder])
    return folder


def touch(folder: Path, **values: str) -> None:
    """Change every file, so that it is read again."""
    for path in sorted(folder.rglob("*.dcm")):
        ds = pydicom.dcmread(path)
        for keyword, value in ({"ImageComments": "changed"} | values).items():
            setattr(ds, keyword, value)
        ds.save_as(path)


def test_merged_patients_are_one_also_for_what_comes_later(catalog: Catalog, archive: Path) -> None:
    made = corrections.merge_patients(catalog, "A", "B", BY)
    assert patients(catalog) == {"1": "B", "2": "B", "3": "B"}
    assert not find_series(catalog, patient_id="A")
    scanned(archive, "A", "1", number=2)
    scanned(archive, "A", "4")
    touch(archive / "A-2-1")
    report = index_paths(catalog, [archive])
    assert (report.added, report.updated) == (4, 2)
    assert patients(catalog) == {"1": "B", "2": "B", "3": "B", "4": "B"}
    assert not find_findings(catalog)
    assert index_paths(catalog, [archive]).unchanged == 10
    assert (made.before["patient_id"], made.after["patient_id"]) == ("A", "B")
    assert (made.who, made.why, made.at, made.active) == ("anna", "typing error", NOW, True)
    corrections.undo(catalog, made.number, BY)
    assert patients(catalog) == {"1": "A", "2": "A", "3": "B", "4": "A"}


def test_a_moved_study_stays_moved(catalog: Catalog, archive: Path) -> None:
    uid = find_series(catalog, study_description="1")[0].study_instance_uid
    made = corrections.move_study(catalog, uid, "B", BY)
    touch(archive)
    scanned(archive, "A", "1", number=2)
    index_paths(catalog, [archive])
    assert patients(catalog) == {"1": "B", "2": "A", "3": "B"}
    undone = corrections.undo(catalog, made.number, BY)
    assert patients(catalog) == {"1": "A", "2": "A", "3": "B"}
    corrections.undo(catalog, undone.number, BY)
    assert patients(catalog) == {"1": "B", "2": "A", "3": "B"}
    log = list_corrections(catalog)
    assert [(each.kind, each.active, each.undoes) for each in log] == [
        ("move", True, None), ("undo", False, 1), ("undo", True, 2),
    ]  # fmt: skip
    assert log[2].after["patient_id"] == "B"


def test_a_corrected_id_is_found_and_the_old_one_is_in_the_log(catalog: Catalog, archive: Path) -> None:
    made = corrections.correct_patient(catalog, "A", BY, {"patient_id": "A-17", "patient_name": "Right"})
    touch(archive / "A-1-1")
    scanned(archive, "A", "4")
    index_paths(catalog, [archive])
    assert len(find_series(catalog, patient_id="A-17", patient_name="Right")) == 3
    assert not find_series(catalog, patient_id="A")
    assert list_corrections(catalog)[0].before == {"patient_id": "A", "patient_name": "Name^A"}
    corrections.undo(catalog, made.number, BY)
    assert len(find_series(catalog, patient_id="A", patient_name="Name^A")) == 3


def test_what_a_later_correction_builds_upon_is_not_undone(catalog: Catalog, archive: Path) -> None:
    scanned(archive, "C", "5")
    index_paths(catalog, [archive])
    first = corrections.merge_patients(catalog, "A", "B", BY)
    second = corrections.merge_patients(catalog, "B", "C", BY)
    assert set(patients(catalog).values()) == {"C"}
    with pytest.raises(CorrectionError, match=f"undo {second.number} first"):
        corrections.undo(catalog, first.number, BY)
    corrections.undo(catalog, second.number, BY)
    corrections.undo(catalog, first.number, BY)
    assert patients(catalog) == {"1": "A", "2": "A", "3": "B", "5": "C"}
    with pytest.raises(CorrectionError, match="does not hold any more"):
        corrections.undo(catalog, first.number, BY)


def test_what_cannot_be_corrected_is_refused_in_words(catalog: Catalog, archive: Path) -> None:
    scanned(archive, "A", "6")
    touch(archive / "A-6-1", PatientName="Somebody^Else")
    index_paths(catalog, [archive])
    uid = find_series(catalog, study_description="3")[0].study_instance_uid
    for refused, words in (
        (lambda: corrections.merge_patients(catalog, "A", "B", BY), "2 patients have this ID"),
        (lambda: corrections.merge_patients(catalog, "B", uid, BY), "one patient already"),
        (lambda: corrections.move_study(catalog, uid, "B", BY), "of this patient already"),
        (lambda: corrections.correct_patient(catalog, "B", BY, {"patient_id": "B"}), "nothing would"),
        (lambda: corrections.correct_patient(catalog, "B", BY, {"weight": "7"}), "cannot be corrected"),
        (lambda: corrections.correct_patient(catalog, "B", BY, {"patient_id": "\0"}), "is a text"),
        (lambda: Author("anna", "  ", NOW), "needs its reason in words"),
    ):
        with pytest.raises(CorrectionError, match=words):
            refused()
    for unknown in (
        lambda: corrections.merge_patients(catalog, "nobody", "B", BY),
        lambda: corrections.move_study(catalog, "1.2.3", "B", BY),
        lambda: corrections.undo(catalog, 17, BY),
        lambda: corrections.delete(catalog, "1.2.3", BY),
        lambda: corrections.restore(catalog, uid, BY),
    ):
        with pytest.raises(NotFoundError):
            unknown()
    assert not list_corrections(catalog)


def test_a_deleted_series_stays_deleted_whatever_is_indexed(catalog: Catalog, archive: Path) -> None:
    uid = find_series(catalog, study_description="1")[0].series_instance_uid
    cohort = freeze(catalog, "all", [each.series_instance_uid for each in find_series(catalog)], now=NOW)
    corrections.delete(catalog, uid, BY)
    assert set(patients(catalog)) == {"2", "3"}
    assert {each.state for each in changes(catalog, cohort, asked=False)} == {"deleted"}
    assert index_paths(catalog, [archive]).unchanged == 6
    touch(archive / "A-1-1")
    index_paths(catalog, [archive])
    shutil.move(archive / "A-1-1", archive / "elsewhere")
    assert index_paths(catalog, [archive]).moved == 2
    shutil.copytree(archive / "elsewhere", archive / "copy")
    new = pydicom.dcmread(archive / "copy" / "0000.dcm")
    new.SOPInstanceUID = new.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.99"
    new.save_as(archive / "copy" / "new.dcm")
    index_paths(catalog, [archive])
    assert set(patients(catalog)) == {"2", "3"}
    assert not find_instances(catalog, series_instance_uid=[uid])
    assert corrections.deleted_series(catalog) == {uid}
    assert all(path.is_file() for path in (archive / "elsewhere").iterdir())
    with pytest.raises(CorrectionError, match="deleted already; restore brings it back"):
        corrections.delete(catalog, uid, BY)
    corrections.restore(catalog, uid, BY)
    assert set(patients(catalog)) == {"1", "2", "3"}
    assert len(find_instances(catalog, series_instance_uid=[uid])) == 3


def test_a_study_is_deleted_with_series_that_come_later(catalog: Catalog, archive: Path) -> None:
    uid = find_series(catalog, study_description="1")[0].study_instance_uid
    corrections.delete(catalog, uid, BY)
    scanned(archive, "A", "1", number=2)
    index_paths(catalog, [archive])
    assert set(patients(catalog)) == {"2", "3"}
    corrections.restore(catalog, uid, BY)
    assert len(find_series(catalog, study_instance_uid=uid)) == 2


def told(series: int, study: int, **values: str) -> RemoteSeries:
    known = {"series_instance_uid": f"1.2.{series}", "study_instance_uid": f"1.1.{study}", "patient_id": "R"}
    return RemoteSeries(known | {"modality": "CT"} | values, "idc", f"s3://bucket/{series}", 50)


def elsewhere(catalog: Catalog) -> set[str]:
    """The series that every kind of question finds; they agree."""
    found = {each.series_instance_uid for each in find_series(catalog, patient_id="R")}
    assert len(found) == count_series(catalog, patient_id="R") == count_series(catalog, modality="CT")
    assert sum(each.series for each in count_facets(catalog, "modality")) == len(found)
    assert (
        len(found) == len(find_series(catalog, where="source == 'idc'")) == len(find_rows(catalog, None, {}))
    )
    assert {each.series_instance_uid for each in find_series(catalog, limit=1_000)} == found
    levels = find_level(catalog, Level.SERIES, {"PatientID": "R"}, columns=["SeriesInstanceUID"])
    assert {each["series_instance_uid"] for each in levels} == found
    return found


def test_a_deleted_series_elsewhere_stays_deleted_whatever_its_source_tells(catalog: Catalog) -> None:
    every = [told(1, 1), told(2, 1), told(3, 2)]
    record_remotes(catalog, "idc", every)
    made = corrections.delete(catalog, "1.2.1", BY)
    assert (made.kind, made.subject, made.who) == ("delete", "1.2.1", "anna")
    assert elsewhere(catalog) == {"1.2.2", "1.2.3"}
    assert remote_of(catalog, "1.2.1") is None
    assert record_remotes(catalog, "idc", every, complete=True).unchanged == 3
    assert elsewhere(catalog) == {"1.2.2", "1.2.3"}
    changed = [told(1, 1, series_description="told anew"), *every[1:]]
    assert record_remotes(catalog, "idc", changed, complete=True).updated == 1
    assert record_remotes(catalog, "another", every).added == 3
    assert elsewhere(catalog) == {"1.2.2", "1.2.3"}
    with pytest.raises(CorrectionError, match="deleted already; restore brings it back"):
        corrections.delete(catalog, "1.2.1", BY)
    corrections.restore(catalog, "1.2.1", BY)
    assert elsewhere(catalog) == {"1.2.1", "1.2.2", "1.2.3"}
    (found,) = find_series(catalog, series_instance_uid="1.2.1")
    assert found.remote == "s3://bucket/1"
    assert record_remotes(catalog, "idc", every[1:], complete=True).withdrawn == 1


def test_a_study_elsewhere_is_deleted_with_series_that_are_told_later(catalog: Catalog) -> None:
    record_remotes(catalog, "idc", [told(1, 1), told(3, 2)])
    corrections.delete(catalog, "1.1.1", BY)
    assert elsewhere(catalog) == {"1.2.3"}
    record_remotes(catalog, "idc", [told(each, 1) for each in range(10, 300)])
    assert elsewhere(catalog) == {"1.2.3"}
    assert list(find_level(catalog, Level.STUDY, {}, columns=["StudyInstanceUID"])) == [
        {"study_instance_uid": "1.1.2"}
    ]
    corrections.restore(catalog, "1.1.1", BY)
    assert len(elsewhere(catalog)) == 292
    corrections.delete(catalog, "1.1.2", BY)
    corrections.delete(catalog, "1.1.1", BY)
    assert not elsewhere(catalog)


def test_a_deleted_series_with_files_is_not_found_by_its_address_elsewhere(
    catalog: Catalog, archive: Path
) -> None:
    (found,) = find_series(catalog, study_description="1")
    uids = {name: getattr(found, name) for name in ("series_instance_uid", "study_instance_uid")}
    record_remotes(catalog, "PACS", [RemoteSeries(uids | {"patient_id": "A"}, "PACS", "pacs://PACS")])
    corrections.delete(catalog, found.series_instance_uid, BY)
    assert set(patients(catalog)) == {"2", "3"}
    index_paths(catalog, [archive])
    record_remotes(catalog, "PACS", [RemoteSeries(uids | {"patient_id": "A"}, "PACS", "pacs://PACS?x")])
    assert set(patients(catalog)) == {"2", "3"}
    corrections.restore(catalog, found.series_instance_uid, BY)
    assert find_series(catalog, study_description="1") == [found]
