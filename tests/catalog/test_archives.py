"""ZIP and TAR archives as folders: found, read in place, known again; and those that lie or explode."""

import bz2
import json
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from catalog.database import Catalog
from catalog.index import index_paths
from catalog.query import find_instances, find_series
from catalog.records import IndexReport
from pipelines import phantoms

MIB = 1 << 20


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """Files of one series, outside of what is indexed."""
    return list(phantoms.write_series(tmp_path / "files", planes=5).paths)


def zipped(target: Path, paths: list[Path], method: int = zipfile.ZIP_DEFLATED) -> Path:
    target.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.mkdir("study")
        for path in paths:
            archive.write(path, f"study/a/{path.name}")
    return target


def tarred(target: Path, paths: list[Path], kind: str = "", form: int = tarfile.PAX_FORMAT) -> Path:
    target.parent.mkdir(exist_ok=True)
    with tarfile.open(target, f"w:{kind}", format=form) as archive:
        for path in paths:
            archive.add(path, f"./study/{'long' * 40}/{path.name}")
    return target


MAKERS: dict[str, Callable[[Path, list[Path]], Path]] = {
    "deflated.zip": zipped,
    "stored.zip": lambda target, paths: zipped(target, paths, zipfile.ZIP_STORED),
    "bzip2.zip": lambda target, paths: zipped(target, paths, zipfile.ZIP_BZIP2),
    "bare.tar": tarred,
    "gnu.tar": lambda target, paths: tarred(target, paths, form=tarfile.GNU_FORMAT),
    "packed.tar.gz": lambda target, paths: tarred(target, paths, "gz"),
    "packed.tgz": lambda target, paths: tarred(target, paths, "gz"),
    "packed.tar.bz2": lambda target, paths: tarred(target, paths, "bz2"),
    "packed.tar.xz": lambda target, paths: tarred(target, paths, "xz"),
    "named.dcm": zipped,
}


def counts(report: IndexReport) -> tuple[int, int, int, int]:
    return report.added, report.updated, report.unchanged, len(report.rejected)


def reasons(report: IndexReport) -> dict[str, str]:
    return {Path(each.path).name: each.reason for each in report.rejected}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("given", ["itself", "its folder"])
def test_an_archive_is_read_as_a_folder(
    catalog: Catalog, tmp_path: Path, series: list[Path], name: str, given: str
) -> None:
    archive = MAKERS[name](tmp_path / "archive" / name, series)
    path = archive if given == "itself" else archive.parent

    assert counts(index_paths(catalog, [path])) == (5, 0, 0, 0)
    assert [each.instances for each in find_series(catalog)] == [5]
    found = find_instances(catalog)
    assert {Path(each.path).name for each in found} == {each.name for each in series}
    assert all(each.path.startswith(f"{archive}!/study/") for each in found)
    assert counts(index_paths(catalog, [path])) == (0, 0, 5, 0)


@pytest.mark.parametrize("name", ["deflated.zip", "packed.tar.gz"])
def test_headers_of_entries_are_those_of_the_files(tmp_path: Path, shared_data: Path, name: str) -> None:
    paths = sorted(each for each in (shared_data / "volumes/ct_head_tilt_ge_28/dicom").iterdir())
    archive = MAKERS[name](tmp_path / "archive" / name, paths)
    of_files, of_entries = Catalog(tmp_path / "files.sqlite"), Catalog(tmp_path / "entries.sqlite")
    index_paths(of_files, paths)
    index_paths(of_entries, [archive])

    with of_files.reading() as one, of_entries.reading() as other:
        for table in ("patients", "studies", "series", "instances", "header_values", "instance_headers"):
            rows = [sorted(map(str, each.exec_driver_sql(f"SELECT * FROM {table}"))) for each in (one, other)]
            assert rows[0] == rows[1], table
            assert rows[0], table
    places = [{Path(each.path).name: each.pixel_data for each in find_instances(each_catalog)}
              for each_catalog in (of_files, of_entries)]  # fmt: skip
    assert places[0] == places[1]
    of_files.close()
    of_entries.close()


def test_an_archive_that_has_not_changed_is_not_read_again(
    catalog: Catalog, tmp_path: Path, series: list[Path]
) -> None:
    (tmp_path / "note.txt").write_text("no DICOM")
    archive = zipped(tmp_path / "archive" / "disk.zip", [*series, tmp_path / "note.txt"])
    first = index_paths(catalog, [archive.parent])
    state = archive.stat()
    archive.write_bytes(bytes(state.st_size))
    os.utime(archive, ns=(state.st_atime_ns, state.st_mtime_ns))

    second = index_paths(catalog, [archive.parent])

    assert counts(first) == (5, 0, 0, 1)
    assert counts(second) == (0, 0, 5, 1)
    assert first.rejected == second.rejected
    assert reasons(first)["note.txt"].startswith("is no DICOM")


def test_entries_and_archives_that_are_gone_are_noted(
    catalog: Catalog, tmp_path: Path, series: list[Path]
) -> None:
    archive = zipped(tmp_path / "archive" / "disk.zip", series)
    index_paths(catalog, [archive.parent])
    zipped(archive, series[:3])

    report = index_paths(catalog, [archive.parent])
    assert counts(report) == (0, 3, 0, 0)
    assert {Path(each).name for each in report.vanished} == {each.name for each in series[3:]}
    assert [each.instances for each in find_series(catalog)] == [3]

    archive.unlink()
    report = index_paths(catalog, [archive.parent])
    assert {Path(each).name for each in report.vanished} == {"disk.zip", *(each.name for each in series[:3])}
    assert find_series(catalog) == []


def test_an_archive_that_became_a_folder_of_files_moved_its_instances(
    catalog: Catalog, tmp_path: Path, series: list[Path]
) -> None:
    archive = zipped(tmp_path / "archive" / "disk.zip", series)
    index_paths(catalog, [archive])
    archive.unlink()
    for path in series:
        path.rename(archive.parent / path.name)

    report = index_paths(catalog, [archive.parent])

    assert (report.updated, report.moved) == (5, 5)
    assert all("!" not in each.path for each in find_instances(catalog))


@pytest.mark.parametrize("name", ["deflated.zip", "bare.tar", "packed.tar.gz"])
def test_the_same_instances_in_a_folder_and_an_archive_are_duplicates(
    catalog: Catalog, tmp_path: Path, series: list[Path], name: str
) -> None:
    archive = MAKERS[name](tmp_path / "archive" / name, series)

    for order in ([series[0].parent, archive], [archive, series[0].parent]):
        report = index_paths(catalog, order)
    assert counts(report) == (0, 0, 10, 0)
    assert [each.instances for each in find_series(catalog)] == [5]


def test_other_bytes_under_the_uid_of_an_entry_are_a_conflict(
    catalog: Catalog, tmp_path: Path, series: list[Path]
) -> None:
    archive = zipped(tmp_path / "archive" / "disk.zip", series[:1])
    index_paths(catalog, [archive])
    ds = pydicom.dcmread(series[0])
    ds.PixelData = bytes(len(ds.PixelData))
    ds.save_as(tmp_path / "other.dcm")

    report = index_paths(catalog, [tmp_path / "other.dcm"])

    assert len(report.conflicts) == 1
    assert f"{archive}!/study/a/" in report.conflicts[0].reason


# --- archives that lie or explode (CVE-2026-5439) --------------------------------------------------------


def raw_zip(target: Path, *entries: tuple[str, bytes, dict[str, int]]) -> Path:
    """A ZIP archive whose fields say what they are told to."""
    body, directory = b"", b""
    for name, content, lies in entries:
        raw = name.encode()
        flags, method = lies.get("flags", 0x800), lies.get("method", 0)
        fields = (20, flags, method, 0, 0, zlib.crc32(content), len(content), lies.get("size", len(content)))
        offset = lies.get("offset", len(body))
        body += struct.pack("<4s5H3L2H", b"PK\3\4", *fields, len(raw), 0) + raw + content
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, *fields, len(raw), 0, 0, 0, 0, 0, offset
        ) + raw  # fmt: skip
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(entries) & 0xFFFF, len(entries) & 0xFFFF,
                      len(directory), len(body), 0)  # fmt: skip
    target.write_bytes(body + directory + end)
    return target


@pytest.mark.parametrize(
    "name", ["../../etc/evil", "/etc/evil", "a/../../evil", "C:\\evil", "..\\evil", "a\0b/evil", "//evil"]
)
def test_a_name_that_leads_out_of_its_archive_is_no_path(
    sqlite_catalog: Catalog, tmp_path: Path, series: list[Path], name: str
) -> None:
    content = series[0].read_bytes()
    archive = raw_zip(tmp_path / "disk.zip", (name, content, {}), ("good", content, {}))

    report = index_paths(sqlite_catalog, [archive])

    assert counts(report) == (1, 0, 0, 1)
    (rejection,) = report.rejected
    assert "evil" in rejection.path
    assert rejection.path.rpartition("/")[0] == f"{archive}!"
    assert "leads out of its archive" in rejection.reason or "zero byte" in rejection.reason
    assert counts(index_paths(sqlite_catalog, [archive])) == (0, 0, 1, 1)


def test_an_entry_that_lies_is_named_and_the_others_are_read(
    sqlite_catalog: Catalog, tmp_path: Path, series: list[Path]
) -> None:
    content = [each.read_bytes() for each in series]
    archive = raw_zip(
        tmp_path / "disk.zip",
        ("good", content[0], {}),
        ("encrypted", content[1], {"flags": 0x801}),
        ("method", content[1], {"method": 93}),
        ("damaged", content[1], {"method": 8}),
        ("longer", content[1], {"size": 1 << 30}),
        ("elsewhere", content[1], {"offset": 7}),
        ("twice", content[2], {}),
        ("twice", content[3], {}),
        ("empty", b"", {}),
        ("last", content[4], {}),
    )

    report = index_paths(sqlite_catalog, [archive])

    assert counts(report) == (3, 0, 0, 7)
    told = reasons(report)
    assert "is encrypted" in told["encrypted"]
    assert "method 93" in told["method"]
    assert "cannot be unpacked" in told["damaged"]
    assert "two sizes" in told["longer"]
    assert "not where the directory says" in told["elsewhere"]
    assert "second entry of this name" in told["twice"]
    assert told["empty"] == "is empty"


def test_a_cut_archive_has_a_reason_and_tells_it_again(
    sqlite_catalog: Catalog, tmp_path: Path, series: list[Path]
) -> None:
    folder = tmp_path / "archive"
    for name in ("deflated.zip", "bare.tar", "packed.tar.gz", "packed.tar.xz"):
        archive = MAKERS[name](folder / name, series)
        archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])

    first, second = index_paths(sqlite_catalog, [folder]), index_paths(sqlite_catalog, [folder])

    assert set(reasons(first)) >= {"deflated.zip", "bare.tar", "packed.tar.gz", "packed.tar.xz"}
    assert first.rejected == second.rejected
    assert "cut" in reasons(first)["bare.tar"]
    assert "no directory" in reasons(first)["deflated.zip"]


def test_an_archive_in_an_archive_is_not_entered(
    sqlite_catalog: Catalog, tmp_path: Path, series: list[Path]
) -> None:
    inner = zipped(tmp_path / "inner.zip", series)
    archive = zipped(tmp_path / "archive" / "outer.zip", [inner, series[0]])

    report = index_paths(sqlite_catalog, [archive])

    assert counts(report) == (1, 0, 0, 1)
    assert "an archive in an archive" in reasons(report)["inner.zip"]


def test_documents_that_are_zip_archives_are_one_file_each(sqlite_catalog: Catalog, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "letter.docx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<document/>")

    report = index_paths(sqlite_catalog, [tmp_path / "letter.docx"])

    assert counts(report) == (0, 0, 0, 1)
    assert "a document" in reasons(report)["letter.docx"]


def packed_zeros(packer: "zlib._Compress | bz2.BZ2Compressor", size: int, head: bytes = b"") -> bytes:
    parts = [packer.compress(head)]
    parts += [packer.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join(parts) + packer.flush()


def tar_header(name: str, size: int) -> bytes:
    made = tarfile.TarInfo(name)
    made.size = size
    return made.tobuf(tarfile.GNU_FORMAT)


def bombs(folder: Path) -> None:
    """Archives of a few MB at most that would fill the memory or the disk."""
    folder.mkdir()
    huge = struct.pack("<HH2sHL", 0x0029, 0x1010, b"OB", 0, 200 * MIB)
    header = bytes(128) + b"DICM" + struct.pack("<HH2sH", 8, 0x18, b"UI", 6) + b"1.2.3\0" + huge
    content = packed_zeros(zlib.compressobj(9, wbits=-15), 200 * MIB, header)
    raw_zip(folder / "one.zip", *(
        (f"bomb-{number}", content, {"method": 8, "size": 0xFFFFFFF0}) for number in range(3)
    ))  # fmt: skip
    gz = zlib.compressobj(9, wbits=31)
    (folder / "bomb.tar.gz").write_bytes(packed_zeros(gz, 1200 * MIB, tar_header("zeros", 1 << 40)))
    gz = zlib.compressobj(9, wbits=31)
    pax = bytearray(tar_header("pax", 1 << 32))
    pax[156:157] = b"x"
    pax[148:156] = b" " * 8
    pax[148:156] = b"%06o\0 " % sum(pax)
    (folder / "pax.tar.gz").write_bytes(packed_zeros(gz, 600 * MIB, bytes(pax)))
    (folder / "bomb.tar.bz2").write_bytes(
        packed_zeros(bz2.BZ2Compressor(), 600 * MIB, tar_header("zeros", 1 << 40))
    )
    overlapping = [(f"{number}", b"", {}) for number in range(3)]
    raw_zip(folder / "overlap.zip", ("0", bytes(100_000), {}), *overlapping)
    with (folder / "overlap.zip").open("r+b") as file:
        data = bytearray(file.read())
        at = data.rindex(b"PK\1\2")
        struct.pack_into("<L", data, at + 20, 90_000)
        file.seek(0)
        file.write(data)


def test_archives_that_explode_are_stopped_in_small_memory(tmp_path: Path) -> None:
    bombs(tmp_path / "bombs")

    told, peak = indexed_apart(tmp_path, tmp_path / "bombs")

    assert "unpacks to more than 250 times" in told["one.zip"]
    assert "'bomb-" in told["one.zip"]
    assert "unpacks to more than 250 times" in told["bomb.tar.gz"]
    assert "unpacks to more than 250 times" in told["bomb.tar.bz2"]
    assert "too long to be read" in told["pax.tar.gz"]
    assert "longer than itself, from '2' on" in told["overlap.zip"]
    assert peak < 300 * MIB


@pytest.mark.parametrize("count", [300_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_empty_entries_however_many_are_counted_in_small_memory(tmp_path: Path, count: int) -> None:
    record, local = struct.Struct("<4s6H3L5H2L"), struct.pack("<4s5H3L2H", b"PK\3\4", *([0] * 8), 7, 0)
    with (tmp_path / "empty.zip").open("wb") as file:
        file.write(local + b"0000000")
        start = file.tell()
        for number in range(count):
            file.write(record.pack(b"PK\1\2", *([0] * 9), 7, *([0] * 6)) + b"%07d" % number)
        length = file.tell() - start
        end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + length, 1)
        file.write(end + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF,
                                               0xFFFFFFFF, 0))  # fmt: skip

    told, peak = indexed_apart(tmp_path, tmp_path / "empty.zip")

    assert len(told) == 1001
    assert told["0000000"] == "is empty"
    assert f"has {count - 1000:,} more entries that are no readable DICOM" in told["empty.zip"]
    assert peak < 300 * MIB


def indexed_apart(home: Path, path: Path) -> tuple[dict[str, str], int]:
    """Reasons by name, and the most memory that a process took that did nothing but index."""
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from catalog.database import Catalog\n"
        "from catalog.index import index_paths\n"
        f"report = index_paths(Catalog({str(home / 'apart.sqlite')!r}), [{str(path)!r}])\n"
        "told = {Path(each.path).name: each.reason for each in report.rejected}\n"
        "status = Path('/proc/self/status').read_text()\n"  # ru_maxrss would count what came before exec
        "peak = next(line.split()[1] for line in status.splitlines() if line.startswith('VmHWM'))\n"
        "json.dump([told, int(peak)], sys.stdout)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, peak = json.loads(done.stdout)
    return told, peak * 1024
