"""File sets: a DICOMDIR stands for the files it names, and for no others (PS3.10 section 8)."""

import shutil
from pathlib import Path

import pydicom
import pytest

from catalog.attributes import Level
from catalog.database import Catalog
from catalog.dicomdir import read_file_set
from catalog.errors import HeaderError
from catalog.index import index_paths
from catalog.query import find_level, find_series


@pytest.fixture
def disk(tmp_path: Path, shared_data: Path) -> Path:
    """A copy of a real file set."""
    return shutil.copytree(shared_data / "dicomdir", tmp_path / "disk", copy_function=shutil.copyfile)


def altered(disk: Path, *file_id: str, record: int = 3, **more: object) -> None:
    """Have one directory record name another file."""
    ds = pydicom.dcmread(disk / "DICOMDIR")
    item = ds.DirectoryRecordSequence[record]
    assert item.DirectoryRecordType == "IMAGE"
    if file_id:
        with pydicom.config.disable_value_validation():
            item.ReferencedFileID = list(file_id)
    for keyword, value in more.items():
        setattr(item, keyword, value)
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(disk / "DICOMDIR", ds)


def test_a_dicomdir_stands_for_the_files_it_names(catalog: Catalog, disk: Path) -> None:
    shutil.copyfile(disk / "77654033/CR1/6154", disk / "not-named")

    report = index_paths(catalog, [disk / "DICOMDIR"])

    assert (report.added, report.duplicates, report.rejected) == (31, 0, ())
    counts = [len(list(find_level(catalog, level, {}, columns=["PatientID"]))) for level in Level]
    assert counts == [2, 6, 13, 31]
    again = index_paths(catalog, [disk / "DICOMDIR"])
    assert (again.unchanged, again.rejected) == (31, ())


def test_files_that_are_not_there_are_counted_and_the_first_is_named(catalog: Catalog, disk: Path) -> None:
    index_paths(catalog, [disk / "DICOMDIR"])
    shutil.rmtree(disk / "98892003" / "MR700")

    report = index_paths(catalog, [disk / "DICOMDIR"])

    (rejection,) = report.rejected
    assert rejection.path == str(disk / "DICOMDIR")
    assert rejection.reason == (
        "the DICOMDIR names 7 files that are not there, the first is '98892003\\\\MR700\\\\4558'"
    )
    assert (report.unchanged, len(report.vanished)) == (24, 7)
    assert len(find_series(catalog)) == 12


@pytest.mark.parametrize("form", ["lower", "versions", "points"])
def test_names_as_a_disk_of_iso_9660_writes_them_are_found(
    sqlite_catalog: Catalog, disk: Path, form: str
) -> None:
    change = {"lower": str.lower, "versions": "{};1".format, "points": "{}.".format}[form]
    for path in sorted(disk.rglob("*"), reverse=True):
        if path.is_file() or form == "lower":
            path.rename(path.with_name(change(path.name)))

    report = index_paths(sqlite_catalog, [disk / change("DICOMDIR")])

    assert (report.added, report.rejected) == (31, ())


@pytest.mark.parametrize(
    "file_id",
    [("..", "outside"), ("77654033", "..", "..", "outside"), ("/", "outside"), ("", "etc", "passwd"),
     ("..\\..", "outside"), ("out\0side",), ("link",), ("linked", "outside"), ("../outside",),
     ("C:", "outside"), (".", "outside")],
)  # fmt: skip
def test_a_file_id_never_leads_out_of_the_file_set(
    sqlite_catalog: Catalog, disk: Path, file_id: tuple[str, ...]
) -> None:
    """CVE-2026-32711, and a folder beside it whose name begins alike."""
    shutil.copyfile(disk / "77654033/CR1/6154", disk.parent / "outside")
    sibling = disk.with_name("disk2")
    sibling.mkdir()
    shutil.copyfile(disk / "77654033/CR1/6154", sibling / "outside")
    (disk / "link").symlink_to(disk.parent / "outside")
    (disk / "linked").symlink_to(sibling)
    altered(disk, *file_id)

    report = index_paths(sqlite_catalog, [disk / "DICOMDIR"])

    assert report.added == 30
    (rejection,) = report.rejected
    assert "that lie outside of its folder" in rejection.reason or "not there" in rejection.reason


def test_records_that_point_in_circles_are_read_once(sqlite_catalog: Catalog, disk: Path) -> None:
    ds = pydicom.dcmread(disk / "DICOMDIR")
    first = ds.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity
    for item in ds.DirectoryRecordSequence:
        item.OffsetOfTheNextDirectoryRecord = first
        item.OffsetOfReferencedLowerLevelDirectoryEntity = first
    pydicom.dcmwrite(disk / "DICOMDIR", ds)

    assert index_paths(sqlite_catalog, [disk / "DICOMDIR"]).added == 31


def test_records_that_are_not_in_use_are_passed_over(catalog: Catalog, disk: Path) -> None:
    altered(disk, RecordInUseFlag=0)

    report = index_paths(catalog, [disk / "DICOMDIR"])

    assert (report.added, report.rejected) == (30, ())


def test_what_is_only_named_dicomdir_has_a_reason(
    sqlite_catalog: Catalog, disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "DICOMDIR").write_text("no DICOM")
    shutil.copyfile(disk / "77654033/CR1/6154", disk / "DICOMDIR")

    report = index_paths(sqlite_catalog, [tmp_path / "text" / "DICOMDIR", disk / "DICOMDIR"])

    assert [each.reason for each in report.rejected] == [
        "is named DICOMDIR and has no directory records; index the folder that it lies in",
        "is no DICOM; it looks like text",
    ]
    with pytest.raises(HeaderError, match="no directory records"):
        read_file_set(str(disk / "DICOMDIR"))


def test_a_cut_dicomdir_has_a_reason(sqlite_catalog: Catalog, disk: Path) -> None:
    whole = (disk / "DICOMDIR").read_bytes()
    (disk / "DICOMDIR").write_bytes(whole[: len(whole) // 2])

    (rejection,) = index_paths(sqlite_catalog, [disk / "DICOMDIR"]).rejected

    assert "cut" in rejection.reason


def test_the_folder_of_a_dicomdir_is_walked_as_any_other(catalog: Catalog, disk: Path) -> None:
    report = index_paths(catalog, [disk, disk / "DICOMDIR"])

    assert (report.added, report.duplicates) == (31, 0)
    assert [each.reason.partition(",")[0] for each in report.rejected] == ["is a DICOMDIR"]
