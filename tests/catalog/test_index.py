"""The index against a real file tree: every file in one group, twice is once, nothing lost or overwritten."""

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa

from catalog import scan
from catalog.attributes import Level
from catalog.database import Catalog
from catalog.errors import CatalogError, NotFoundError
from catalog.index import index_paths, last_report
from catalog.models import metadata
from catalog.query import find_instances, find_level, find_series
from catalog.records import IndexReport, Rejection
from pipelines import phantoms


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two small series of two patients in two folders."""
    folder = tmp_path / "archive"
    phantoms.write_series(folder / "a", planes=4, seed=1, patient_id="A", study="A")
    phantoms.write_series(folder / "b", planes=3, seed=2, patient_id="B", study="B")
    return folder


def rows(catalog: Catalog, *tables: str) -> dict[str, list[Any]]:
    with catalog.reading() as connection:
        return {
            name: sorted(map(tuple, connection.execute(sa.select(metadata.tables[name]))))
            for name in tables or ("patients", "studies", "series", "instances", "files")
        }


def state(catalog: Catalog) -> Any:
    """What the catalog knows, without the numbers of its rows."""
    with catalog.reading() as connection:
        places = connection.execute(
            sa.text(
                "SELECT f.folder, f.name, f.state, f.size, i.sop_instance_uid, i.header_digest,"
                " s.series_instance_uid, t.study_instance_uid, p.patient_id FROM files f"
                " LEFT JOIN instances i ON f.instance = i.id LEFT JOIN series s ON i.series = s.id"
                " LEFT JOIN studies t ON s.study = t.id LEFT JOIN patients p ON t.patient = p.id"
            )
        )
        return sorted(map(str, places)), sorted(
            connection.scalars(sa.text("SELECT sop_instance_uid FROM instances"))
        )


def counts(report: IndexReport) -> tuple[int, int, int, int]:
    return report.added, report.updated, report.unchanged, len(report.rejected)


def rewrite(path: Path, **changes: Any) -> None:
    """Change a file in its place, with a later time."""
    before = path.stat().st_mtime_ns
    ds = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.save_as(path)
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


def test_a_first_run_adds_every_file(catalog: Catalog, archive: Path) -> None:
    report = index_paths(catalog, [archive])

    assert counts(report) == (7, 0, 0, 0)
    assert [(each.patient_id, each.instances, each.frames) for each in find_series(catalog)] == [
        ("A", 4, 4),
        ("B", 3, 3),
    ]
    assert len(list(find_level(catalog, Level.PATIENT, {}, columns=["PatientID"]))) == 2


def test_a_second_run_changes_nothing(catalog: Catalog, archive: Path) -> None:
    index_paths(catalog, [archive])
    (archive / "note.txt").write_text("no DICOM")
    index_paths(catalog, [archive])
    before = rows(catalog)

    report = index_paths(catalog, [archive])

    assert counts(report) == (0, 0, 7, 1)
    assert rows(catalog) == before


def test_a_path_that_does_not_exist_is_an_error_before_anything_is_done(
    catalog: Catalog, archive: Path
) -> None:
    with pytest.raises(NotFoundError, match="nowhere does not exist"):
        index_paths(catalog, [archive, archive / "nowhere"])

    assert find_series(catalog) == []


def test_single_files_and_overlapping_folders_are_indexed_once(catalog: Catalog, archive: Path) -> None:
    one = next((archive / "a").iterdir())

    assert counts(index_paths(catalog, [one])) == (1, 0, 0, 0)
    assert counts(index_paths(catalog, [archive, archive / "a", str(archive), one])) == (6, 0, 1, 0)


def test_a_moved_file_keeps_its_instance(catalog: Catalog, archive: Path) -> None:
    index_paths(catalog, [archive])
    before = rows(catalog, "instances")
    (archive / "a").rename(archive / "z")  # after the old place in the order of the walk
    (archive / "b").rename(archive / "0")  # before it

    report = index_paths(catalog, [archive])

    assert counts(report) == (0, 7, 0, 0)
    assert (report.moved, report.duplicates, report.vanished) == (7, 0, ())
    assert rows(catalog, "instances") == before
    assert {Path(each.path).parent.name for each in find_instances(catalog)} == {"z", "0"}
    assert counts(index_paths(catalog, [archive])) == (0, 0, 7, 0)


def test_a_changed_file_updates_its_instance_and_patient(catalog: Catalog, archive: Path) -> None:
    index_paths(catalog, [archive])
    changed = sorted((archive / "a").iterdir())[0]
    rewrite(changed, InstanceNumber=77, PatientName="Corrected^Name")

    report = index_paths(catalog, [archive])

    assert counts(report) == (0, 1, 6, 0)
    assert [Path(each.path) for each in find_instances(catalog, InstanceNumber=77)] == [changed]
    assert find_series(catalog, patient_id="A")[0].patient_name == "Corrected^Name"


def test_a_file_that_became_another_instance_is_updated(catalog: Catalog, archive: Path) -> None:
    index_paths(catalog, [archive])
    rewrite(sorted((archive / "a").iterdir())[0], SOPInstanceUID="1.2.3")

    report = index_paths(catalog, [archive])

    assert counts(report) == (0, 1, 6, 0)
    assert len(find_instances(catalog)) == 7
    assert len(rows(catalog, "instances")["instances"]) == 8  # the old one is kept, without a place


def test_a_vanished_file_keeps_its_row_and_may_come_back(
    catalog: Catalog, archive: Path, tmp_path: Path
) -> None:
    index_paths(catalog, [archive])
    before = rows(catalog, "instances")
    gone = sorted((archive / "a").iterdir())[0]
    shutil.move(gone, tmp_path / "kept")
    shutil.move(archive / "b", tmp_path / "b")

    report = index_paths(catalog, [archive])

    assert counts(report) == (0, 0, 3, 0)
    assert len(report.vanished) == 4
    assert str(gone) in report.vanished
    assert rows(catalog, "instances") == before
    assert [each.instances for each in find_series(catalog)] == [3]
    assert index_paths(catalog, [archive]).vanished == ()

    shutil.move(tmp_path / "kept", gone)
    shutil.move(tmp_path / "b", archive / "b")
    assert counts(index_paths(catalog, [archive])) == (0, 4, 3, 0)
    assert [each.instances for each in find_series(catalog)] == [4, 3]


def test_files_outside_the_given_paths_do_not_vanish(catalog: Catalog, archive: Path) -> None:
    index_paths(catalog, [archive])
    shutil.rmtree(archive / "b")

    assert index_paths(catalog, [archive / "a"]).vanished == ()
    assert len(index_paths(catalog, [archive]).vanished) == 3


def test_the_same_bytes_twice_are_one_instance_with_two_places(catalog: Catalog, archive: Path) -> None:
    shutil.copytree(archive / "a", archive / "copy")

    report = index_paths(catalog, [archive])

    assert counts(report) == (11, 0, 0, 0)
    assert report.duplicates == 4
    assert len(find_instances(catalog)) == 7
    shutil.rmtree(archive / "a")
    index_paths(catalog, [archive])
    assert {Path(each.path).parent.name for each in find_instances(catalog)} == {"copy", "b"}


@pytest.mark.parametrize("where", ["header", "pixels"])
def test_other_bytes_under_one_uid_are_a_conflict_kept_and_never_overwritten(
    catalog: Catalog, archive: Path, where: str
) -> None:
    original = sorted((archive / "a").iterdir())[0]
    other = archive / "other" / original.name
    other.parent.mkdir()
    shutil.copy(original, other)
    if where == "header":
        rewrite(other, InstanceNumber=99)
    else:
        content = bytearray(other.read_bytes())
        content[-1] ^= 1
        other.write_bytes(content)

    for run in range(2):
        report = index_paths(catalog, [archive])

        assert counts(report) == ((7, 0, 0, 1), (0, 0, 7, 1))[run]
        assert report.conflicts == report.rejected
        assert report.conflicts[0].path == str(other)
        assert "with other bytes" in report.conflicts[0].reason
        assert {each.path for each in find_instances(catalog, instance_number=99)} == set()
    kept = [row for row in rows(catalog, "files")["files"] if "conflict" in row]
    assert [row[1] for row in kept] == [str(other.parent)]


@pytest.mark.parametrize("runs", ["one", "two"])
def test_a_whole_file_takes_the_place_of_a_cut_one_that_came_first(
    catalog: Catalog, archive: Path, runs: str
) -> None:
    whole = sorted((archive / "b").iterdir())[0]
    cut = archive / "a first copy" / whole.name
    cut.parent.mkdir()
    cut.write_bytes(whole.read_bytes()[:-10])
    if runs == "two":
        index_paths(catalog, [cut])

    report = index_paths(catalog, [archive])

    assert counts(report) == (7, 0, 0, 1)
    assert report.conflicts == report.rejected
    assert [each.path for each in report.conflicts] == [str(cut)]
    assert f"pixel data are cut: 1,526 bytes, the header promises 1,536; {whole} is kept" in (
        report.conflicts[0].reason
    )
    uid = str(pydicom.dcmread(whole).SOPInstanceUID)
    assert [each.path for each in find_instances(catalog, sop_instance_uid=uid)] == [str(whole)]
    for _ in range(2):
        report = index_paths(catalog, [archive])
        assert counts(report) == (0, 0, 7, 1)
        assert [each.path for each in report.conflicts] == [str(cut)]


def test_a_cut_file_that_comes_later_is_named_as_what_it_is(catalog: Catalog, archive: Path) -> None:
    whole = sorted((archive / "b").iterdir())[0]
    cut = archive / "c" / whole.name
    cut.parent.mkdir()
    cut.write_bytes(whole.read_bytes()[:-10])

    (conflict,) = index_paths(catalog, [archive]).conflicts

    assert conflict.path == str(cut)
    assert f"is not whole: pixel data are cut: 1,526 bytes, the header promises 1,536; {whole} is kept" in (
        conflict.reason
    )


def test_a_conflict_says_what_can_be_done(catalog: Catalog, archive: Path) -> None:
    known = sorted((archive / "a").iterdir())[0]
    other = archive / "other" / known.name
    other.parent.mkdir()
    shutil.copy(known, other)
    rewrite(other, InstanceNumber=99)

    (conflict,) = index_paths(catalog, [archive]).conflicts

    assert f"of {known} with other bytes; that one is kept, this one is left out: remove" in conflict.reason


def test_a_file_that_became_unreadable_does_not_shut_out_another(catalog: Catalog, archive: Path) -> None:
    known = sorted((archive / "a").iterdir())[0]
    other = archive / "other" / known.name
    other.parent.mkdir()
    shutil.copy(known, other)
    rewrite(other, InstanceNumber=99)
    index_paths(catalog, [archive])
    known.write_bytes(known.read_bytes()[:200])

    for _ in range(2):  # the first run notes that it is unreadable
        index_paths(catalog, [archive])

    assert [each.path for each in find_instances(catalog, instance_number=99)] == [str(other)]


def test_a_conflict_is_over_when_its_file_gets_the_same_bytes(catalog: Catalog, archive: Path) -> None:
    original = sorted((archive / "a").iterdir())[0]
    other = archive / "c.dcm" / original.name
    other.parent.mkdir()
    shutil.copy(original, other)
    rewrite(other, InstanceNumber=99)
    index_paths(catalog, [archive])
    shutil.copy(original, other)

    assert counts(index_paths(catalog, [archive])) == (0, 1, 7, 0)


def test_both_places_changed_alike_stay_one_instance(catalog: Catalog, archive: Path) -> None:
    shutil.copytree(archive / "a", archive / "copy")
    index_paths(catalog, [archive])
    for folder in ("a", "copy"):
        rewrite(sorted((archive / folder).iterdir())[0], InstanceNumber=55)

    report = index_paths(catalog, [archive])

    assert counts(report) == (0, 2, 9, 0)
    assert len(find_instances(catalog, instance_number=55)) == 1


def test_one_of_two_places_changed_is_a_conflict(catalog: Catalog, archive: Path) -> None:
    shutil.copytree(archive / "a", archive / "copy")
    index_paths(catalog, [archive])
    rewrite(sorted((archive / "a").iterdir())[0], InstanceNumber=55)

    assert len(index_paths(catalog, [archive]).conflicts) == 1
    assert find_instances(catalog, instance_number=55) == []


def test_a_rejected_file_is_read_again_and_becomes_good(catalog: Catalog, archive: Path) -> None:
    bad = sorted((archive / "a").iterdir())[0]
    good = bad.read_bytes()
    bad.write_bytes(good[:200])
    assert counts(index_paths(catalog, [archive])) == (6, 0, 0, 1)
    bad.write_bytes(good)

    assert counts(index_paths(catalog, [archive])) == (0, 1, 6, 0)


def test_every_kind_of_entry_is_in_one_group(catalog: Catalog, archive: Path, tmp_path: Path) -> None:
    os.mkfifo(archive / "pipe")
    (archive / ".hidden").write_bytes(b"\0\0\0\1Bud1")
    (archive / "broken link").symlink_to(tmp_path / "nowhere")
    (archive / "loop").symlink_to(archive)
    (archive / "a" / "up").symlink_to(archive)
    (archive / "empty folder").mkdir()
    outside = tmp_path / "outside"
    phantoms.write_series(outside, planes=2, seed=3)
    (archive / "linked").symlink_to(outside)
    (archive / "linked again").symlink_to(outside)

    report = index_paths(catalog, [archive])

    assert counts(report) == (9, 0, 0, 3)
    assert [(Path(each.path).name, each.reason) for each in report.rejected] == [
        (".hidden", "is no DICOM; it looks like a .DS_Store of macOS"),
        ("broken link", "cannot be read: no such file or directory"),
        ("pipe", "is no regular file"),
    ]


def test_names_that_are_no_utf8_are_indexed_and_opened(catalog: Catalog, archive: Path) -> None:
    folder = os.fsencode(archive) + b"/M\xfcller"
    (archive / "a").rename(os.fsdecode(folder))

    assert counts(index_paths(catalog, [archive])) == (7, 0, 0, 0)
    assert counts(index_paths(catalog, [archive])) == (0, 0, 7, 0)
    assert all(Path(each.path).is_file() for each in find_instances(catalog))
    shutil.rmtree(folder)
    assert len(index_paths(catalog, [archive]).vanished) == 4


def test_a_folder_that_cannot_be_read_is_a_rejection(catalog: Catalog, archive: Path) -> None:
    index_paths(catalog, [archive])
    folder = os.open(archive, os.O_RDONLY)
    for _ in range(20):  # deeper than a path may be long
        os.mkdir("x" * 250, dir_fd=folder)
        below = os.open("x" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)

    report = index_paths(catalog, [archive])

    assert counts(report) == (0, 0, 7, 1)
    assert report.rejected[0].reason == "is a folder that cannot be read: file name too long"


def test_the_last_report_is_kept(catalog: Catalog, archive: Path) -> None:
    assert last_report(catalog) is None
    (archive / "note.txt").write_text("no DICOM")

    report = index_paths(catalog, [archive])

    assert last_report(catalog) == report
    assert report.rejected == (Rejection(str(archive / "note.txt"), "is no DICOM; it looks like text"),)


def test_progress_goes_up_to_the_number_of_files(catalog: Catalog, archive: Path) -> None:
    calls: list[tuple[int, int | None]] = []

    index_paths(catalog, [archive], progress=lambda done, total: calls.append((done, total)))

    assert calls[0] == (0, 7)
    assert calls[-1] == (7, 7)
    assert calls == sorted(calls)


@pytest.mark.parametrize("after", range(8))
def test_ctrl_c_leaves_a_consistent_catalog_and_the_next_run_goes_on(
    catalog: Catalog, archive: Path, tmp_path: Path, after: int
) -> None:
    shutil.copytree(archive / "a", archive / "copy")
    whole = Catalog(tmp_path / "whole.db")
    index_paths(whole, [archive])

    def interrupt(done: int, _total: int | None) -> None:
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_paths(catalog, [archive], progress=interrupt)
    index_paths(catalog, [archive])

    assert state(catalog) == state(whole)
    whole.close()


def test_two_catalog_connections_indexing_at_once_agree(
    catalog: Catalog, catalog_url: str, archive: Path
) -> None:
    other = Catalog(catalog_url)

    def meanwhile(done: int, _total: int | None) -> None:
        if done == 3:
            index_paths(other, [archive])

    report = index_paths(catalog, [archive], progress=meanwhile)

    assert counts(report) == (0, 0, 7, 0)  # looked again, and found the other's rows
    assert len(find_instances(catalog)) == 7
    other.close()


def test_paths_survive_a_column() -> None:
    for path in ("/a/b", "/ü/漢", os.fsdecode(b"/M\xfcller\xff")):
        stored = scan.storable(path)
        stored.encode()
        assert scan.openable(stored) == path


# --- real data -------------------------------------------------------------------------------------------


KEYWORDS = ("SOPClassUID", "Modality", "PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID")
NUMBERS = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored")


@pytest.fixture(scope="module")
def shared(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Catalog, IndexReport, dict[str, dict[str, str]]]]:
    """The shared data, indexed in one run, with the answers by path."""
    opened = Catalog(tmp_path_factory.mktemp("shared") / "catalog.db")
    folders = [each for each in sorted(shared_data.iterdir()) if each.is_dir() and each.name != "answers"]
    report = index_paths(opened, folders)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert report.files == len(files)
    with (shared_data / "answers" / "files.csv").open(encoding="utf-8", newline="") as file:
        answers = {str((shared_data / row["path"]).resolve()): row for row in csv.DictReader(file)}
    for path, row in answers.items():
        if path.endswith("too_short.dcm"):  # readable; the answers lack its identifiers
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            row |= {each: str(ds[each].value) for each in (*KEYWORDS, "SOPInstanceUID") if each in ds}
            row |= {each: str(ds[each].value) for each in (*NUMBERS, "PhotometricInterpretation")}
    yield opened, report, answers
    opened.close()


type Shared = tuple[Catalog, IndexReport, dict[str, dict[str, str]]]


def test_the_answers_agree_on_what_is_readable(shared: Shared) -> None:
    _, report, answers = shared
    refused = {each.path for each in report.rejected} - {each.path for each in report.conflicts}

    for path, row in answers.items():
        has_uids = row["StudyInstanceUID"] and row["SeriesInstanceUID"] and row["SOPInstanceUID"]
        cut = path.endswith("rtplan_truncated.dcm")
        assert (path in refused) == (row["pydicom"] == "rejected" or not has_uids or cut), path


def test_the_answers_agree_on_names_identifiers_and_transfer_syntax(shared: Shared) -> None:
    catalog, report, answers = shared
    compared = 0
    astray = {each.path for each in find_instances(catalog) if "another patient" in str(each.deviations)}
    assert len(astray) == 6  # two of three series that share a study and not their patient
    for path, row in answers.items():
        if path in astray | {each.path for each in report.rejected}:
            continue
        columns = (*KEYWORDS, *NUMBERS, "TransferSyntaxUID", "PhotometricInterpretation")
        found = list(
            find_level(catalog, Level.INSTANCE, {"SOPInstanceUID": row["SOPInstanceUID"]}, columns=columns)
        )
        assert len(found) == 1, path
        values = list(found[0].values())
        assert [each or "" for each in values[: len(KEYWORDS)]] == [row[each] for each in KEYWORDS], path
        numbers = values[len(KEYWORDS) : len(KEYWORDS) + len(NUMBERS)]
        assert ["" if each is None else str(each) for each in numbers] == [
            row[each] if row[each].isdigit() else "" for each in NUMBERS
        ], path
        assert row["ts"] in ("", values[-2]), path
        assert (values[-1] or "") == row["PhotometricInterpretation"], path
        compared += 1
    assert compared > 750


def test_names_in_eleven_character_sets_are_decoded(shared: Shared, shared_data: Path) -> None:
    catalog, _, answers = shared
    named = {
        row["PatientName"]: row["SpecificCharacterSet"]
        for path, row in answers.items()
        if "/charset/" in path and row["PatientName"]
    }

    assert len(set(named.values())) >= 11
    for name in named:
        assert [each.patient_name for each in find_series(catalog, PatientName=name)], name


def test_one_uid_in_several_files_is_noticed(shared: Shared) -> None:
    _, report, answers = shared
    refused = {each.path for each in report.rejected} - {each.path for each in report.conflicts}
    by_uid: dict[str, list[dict[str, str]]] = {}
    for path, row in answers.items():
        if row["SOPInstanceUID"] and path not in refused:
            by_uid.setdefault(row["SOPInstanceUID"], []).append(row)
    places = [each for each in by_uid.values() if len(each) > 1]
    same = sum(len(each) - len({row["sha256_file"] for row in each}) for each in places)
    others = sum(len({row["sha256_file"] for row in each}) - 1 for each in places)

    assert (report.duplicates, len(report.conflicts)) == (same, others)
    assert others > 0


def test_everything_broken_is_in_one_group_with_a_reason_and_a_second_run_agrees(
    catalog: Catalog, shared_data: Path, archive: Path
) -> None:
    broken = shared_data / "broken"
    total = sum(1 for path in broken.rglob("*") if path.is_file())

    first = index_paths(catalog, [broken, archive])
    second = index_paths(catalog, [broken, archive])

    assert first.files == second.files == total + 7
    assert (second.added, second.updated, second.unchanged) == (0, 0, first.added)
    assert second.rejected == first.rejected
    assert all(each.reason for each in first.rejected)
    assert [each.instances for each in find_series(catalog, patient_id=["A", "B"])] == [4, 3]
    reasons = {Path(each.path).name: each.reason for each in first.rejected}
    for name, words in {
        "empty.dcm": "is empty",
        "random.dcm": "is no DICOM",
        "preamble_only.dcm": "no data set",
        "report.dcm": "a PDF document",
        "looks_like.dcm": "a gzip archive",
        "zipMR.gz": "a gzip archive",
        "notes.txt": "text",
        ".DS_Store": "macOS",
        "Thumbs.db": "Windows",
        "cut_in_meta.dcm": "MediaStorageSOPInstanceUID (0002,0003) declares 48 bytes",
        "rtplan_truncated.dcm": "BeamSequence (300A,00B0) declares 976 bytes, the file has 711",
        "dicm_then_random.dcm": "is cut or damaged",
    }.items():
        assert words in reasons[name], (name, reasons[name])


def test_a_path_that_cannot_be_reached_says_why(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="cannot be reached: file name too long"):
        index_paths(catalog, [tmp_path / ("x" * 300)])


def test_who_is_overtaken_looks_again_and_counts_every_file_once(
    catalog: Catalog, catalog_url: str, archive: Path
) -> None:
    shutil.make_archive(str(archive / "sent"), "zip", archive / "b")
    shutil.rmtree(archive / "b")
    other, seen = Catalog(catalog_url), list[int]()

    def meanwhile(done: int, _total: int | None) -> None:
        if done == 1 and not seen:
            seen.append(done)
            assert index_paths(other, [archive / "a"]).added == 4

    report = index_paths(catalog, [archive], progress=meanwhile)
    other.close()
    assert seen
    assert (report.added, report.unchanged, report.rejected) == (3, 4, ())
    assert index_paths(catalog, [archive]).unchanged == 7


def test_who_is_overtaken_again_and_again_gives_up_in_words(
    catalog: Catalog, catalog_url: str, archive: Path
) -> None:
    file = next((archive / "a").iterdir())
    other, times = Catalog(catalog_url), list[int]()

    def meanwhile(_done: int, _total: int | None) -> None:
        times.append(len(times))
        index_paths(other, [file])
        os.utime(file, ns=(0, len(times) * 1_000_000_000))

    try:
        with pytest.raises(CatalogError, match="other processes changed the same files"):
            index_paths(catalog, [file], progress=meanwhile)
    finally:
        other.close()
    assert index_paths(catalog, [archive]).rejected == ()
    assert len(find_instances(catalog)) == 7
