"""Names in ZIP archives and File IDs of a DICOMDIR, whatever they are, lead nowhere out of their root.

A folder beside the root whose name begins alike, links, `..`, drives, NUL and absolute paths are among them.
"""

import io
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.database import Catalog
from catalog.dicomdir import read_file_set
from catalog.fetch import Fetched
from catalog.index import index_paths
from catalog.models import files, findings
from catalog.places import State
from catalog.query import find_instances
from pipelines import phantoms

STEPS = st.sampled_from([
    "..", ".", "", "/", "\\", "a", "b", "outside", "link", "linked", "root2", "C:", "~", "...", "..\\..",
    "../..", "a/../..", "%2e%2e", "\u2025", "\uff0e\uff0e", "ä", "\0", "..\0", "x" * 300, "CON", "etc",
    "passwd", "$HOME", "!", "disk.zip!",
])  # fmt: skip
NAMES = st.lists(STEPS, min_size=1, max_size=5)


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zipped(target: Path, names: list[str], content: bytes) -> None:
    """A ZIP archive with these very names; `zipfile` would write others."""
    body, directory = b"", b""
    for name in names:
        raw = name.encode("utf-8")
        fields = (20, 0x800, 0, 0, 0, zlib.crc32(content), len(content), len(content))
        at = len(body)
        body += struct.pack("<4s5H3L2H", b"PK\3\4", *fields, len(raw), 0) + raw + content
        directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, *fields, len(raw), 0, 0, 0, 0, 0, at) + raw
    count = len(names)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)
    target.write_bytes(body + directory + end)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a root in it, one beside it whose name begins alike, and a file outside of both."""
    folder = tmp_path_factory.mktemp("place")
    (outside,) = phantoms.write_series(folder / "made", planes=1, rows=4, columns=4).paths
    for inside in ("root", "root2"):
        (folder / inside).mkdir()
    for target in (folder / "outside", folder / "root2" / "outside", folder / "root" / "a"):
        shutil.copyfile(outside, target)
    (folder / "root" / "link").symlink_to(folder / "outside")
    (folder / "root" / "linked").symlink_to(folder / "root2")
    shutil.rmtree(folder / "made")
    return folder


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    opened = Catalog(tmp_path_factory.mktemp("catalog") / "catalog.sqlite")
    yield opened
    opened.close()


@settings(max_examples=40, deadline=None)
@given(made=st.lists(NAMES, min_size=1, max_size=6), join=st.sampled_from(["/", "\\"]))
def test_no_name_in_an_archive_is_written_or_read_anywhere_else(
    place: Path, catalog: Catalog, made: list[list[str]], join: str
) -> None:
    archive, fetched = place / "root" / "disk.zip", place / "fetched"
    zipped(archive, [join.join(steps) for steps in made], (place / "outside").read_bytes())
    before = tree(place)
    index_paths(catalog, [archive])
    with Fetched(catalog, fetched, 0).local(find_instances(catalog)) as local:
        copies = [Path(each.path) for each in local.instances]
    with catalog.transaction() as connection:
        rows = connection.execute(sa.select(files.c.folder, files.c.name, files.c.state)).all()
        for table in (findings, files):  # the next archive has the same name
            connection.execute(sa.delete(table))

    read = [f"{row.folder}/{row.name}" for row in rows if row.state != State.ARCHIVE.value]
    assert all(path.startswith(f"{archive}!/") for path in read)
    indexed = [f"{row.folder}/{row.name}" for row in rows if row.state == State.INDEXED.value]
    for each in indexed:
        assert not {"..", "", "."} & set(each.split("!/", 1)[1].split("/")), each
    assert all(path.parent == fetched and path.suffix == ".dcm" for path in copies)
    shutil.rmtree(fetched, ignore_errors=True)
    assert tree(place) == before


def dicomdir(names: list[list[str]]) -> bytes:
    records = []
    for name in names:
        record: Any = pydicom.Dataset()
        record.OffsetOfTheNextDirectoryRecord, record.RecordInUseFlag = 0, 0xFFFF
        record.OffsetOfReferencedLowerLevelDirectoryEntity, record.DirectoryRecordType = 0, "IMAGE"
        with pydicom.config.disable_value_validation():
            record.ReferencedFileID = "\\".join(name).encode("latin-1", "replace").decode("latin-1")
        records.append(record)
    ds: Any = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.FileSetID, ds.DirectoryRecordSequence = "X", records
    file = io.BytesIO()
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


@settings(max_examples=80, deadline=None)
@given(made=st.lists(NAMES, min_size=1, max_size=12))
def test_no_file_id_leads_out_of_the_file_set(place: Path, made: list[list[str]]) -> None:
    root = place / "root"
    (root / "DICOMDIR").write_bytes(dicomdir([["a"], *made]))
    found = read_file_set(str(root / "DICOMDIR"))
    (root / "DICOMDIR").unlink()

    assert str((root / "a").resolve()) in found.paths, "the one that is there is found beside them"
    for path in found.paths:
        assert Path(path).resolve().is_relative_to(root.resolve())
        assert Path(path).resolve() != (place / "outside").resolve()
