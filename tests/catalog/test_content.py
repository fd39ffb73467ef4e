"""The whole header is searched: what pydicom finds in a file is found by `where`, and costs what varies."""

import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from catalog.content import MOST_VALUES, Contents
from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.headers import read_dataset, read_header
from catalog.index import index_paths
from catalog.keys import key_of
from catalog.query import find_instances, find_series
from catalog.records import InstanceHeader
from pipelines import phantoms

REAL = ("volumes/mr_t1_sag_ge_196", "fourd/fmri_ge_15x10", "modalities", "charset", "objects", "broken")
_COMPARED = {"CS", "LO", "SH", "DA", "TM", "US", "UL", "FD", "FL"}


@pytest.mark.parametrize("name", ["ct_cube_150", "ct_head_tilt_ge_28"])
def test_an_instance_of_a_real_ct_costs_less_than_a_kilobyte_on_disk(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    files = sorted((shared_data / "volumes" / name / "dicom").iterdir())

    def size(some: list[Path]) -> int:
        database = tmp_path / f"{len(some)}.sqlite"
        catalog = Catalog(database)
        count = index_paths(catalog, some).added if some else 0
        assert count == len(some)
        catalog.close()
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("VACUUM")
        return database.stat().st_size

    assert (size(files) - size([])) / len(files) < 1_000


def contents_of(folder: Path) -> Iterator[tuple[Path, InstanceHeader]]:
    contents = Contents()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        header = read_header(path, contents)
        if isinstance(header, InstanceHeader):
            yield path, header


def leaves(ds: Dataset, above: str = "") -> Iterator[tuple[str, object]]:
    for element in ds:
        key = f"{above}{int(element.tag):08X}"
        if element.VR == "SQ" and element.tag != 0x00880200:
            for item in element.value:
                yield from leaves(item, f"{key}.")
        elif element.VR in _COMPARED:
            values = element.value if element.VM > 1 else [element.value]
            yield from ((key, each) for each in values if each not in (None, ""))


@pytest.mark.parametrize("folder", REAL)
def test_a_header_relative_to_another_is_the_header_read_alone(shared_data: Path, folder: str) -> None:
    count = 0
    for path, header in contents_of(shared_data / folder):
        alone = read_header(path, Contents())
        assert isinstance(alone, InstanceHeader)
        assert header.content is not None
        assert alone.content is not None
        assert header.content.document() == alone.content.document(), path
        count += bool(alone.content.document())
    assert count


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "PatientName": st.sampled_from([b"A^B ", b"\xc4^B ", b"    ", b"A\0B "]),
                "SpecificCharacterSet": st.sampled_from([b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 999"]),
                "SliceThickness": st.sampled_from([b"2.5 ", b"x   ", b"    ", b"1\\2 "]),
                "InstanceNumber": st.sampled_from([b"12    ", b"-8    ", b"      "]),
                "StationName": st.sampled_from([b"M\xc4RZ", b"MARS"]),
            },
        ),
        min_size=2,
        max_size=6,
    )
)
def test_values_of_columns_are_those_of_the_header_read_alone_whatever_was_read_before(
    tmp_path_factory: pytest.TempPathFactory, changes: list[dict[str, bytes]]
) -> None:
    (path,) = phantoms.write_series(tmp_path_factory.mktemp("alike"), planes=1, rows=2, columns=2).paths
    ds = pydicom.dcmread(path)
    first = {
        "PatientName": "MARK", "SpecificCharacterSet": "ISO_IR 100", "SliceThickness": "99.5",
        "InstanceNumber": "-76543", "StationName": "ROOM",
    }  # fmt: skip
    for keyword, value in first.items():
        setattr(ds, keyword, value)
    ds.save_as(path)
    whole = path.read_bytes()
    contents = Contents()
    for change in [{}, *changes]:
        content = whole
        for keyword, value in change.items():
            before, found, after = content.partition(first[keyword].encode())
            assert found
            content = before + value + after
        path.write_bytes(content)
        alike, alone = read_header(path, contents), read_header(path)
        assert isinstance(alike, InstanceHeader)
        assert isinstance(alone, InstanceHeader)
        assert (alike.values, alike.deviations) == (alone.values, alone.deviations)


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what these files do
@pytest.mark.parametrize("folder", ["modalities", "objects", "cine"])
def test_what_pydicom_finds_anywhere_in_a_header_is_under_its_key(shared_data: Path, folder: str) -> None:
    compared = 0
    for path, header in contents_of(shared_data / folder):
        assert header.content is not None
        document = header.content.document()
        for key, value in leaves(read_dataset(path)):
            if key_of_column(key) or key[:2] in ("60", "54") or "04000561" in key or key.endswith("0000"):
                continue
            found = document[key]
            if isinstance(value, int | float):
                assert any(float(each) == pytest.approx(value) for each in found), (path, key)
            else:
                assert str(value).strip()[:500] in map(str, found), (path, key)
            compared += 1
    assert compared > 100


def key_of_column(key: str) -> bool:
    tag = int(key[:8], 16)
    return len(key) == 8 and (key_of(f"{tag >> 16:04x},{tag & 0xFFFF:04x}") is None or not tag & 0xFFFF)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A CT whose planes differ in a private element and in a sequence, and another beside it."""
    phantom = phantoms.write_series(tmp_path / "archive", planes=5)
    for number, path in enumerate(phantom.paths):
        ds = pydicom.dcmread(path)
        ds.ImageComments = "Gerät geprüft" if number else "Kalibrierung"
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.ReconstructionDiameter = 250
        block = ds.private_block(0x0029, "BENCH TEST", create=True)
        block.add_new(0x10, "DS", str(100 * number))
        if number == 3:
            block.add_new(0x11, "LO", "only here")
            del ds.ReconstructionDiameter
        item = Dataset()
        item.CodeMeaning = f"Region {number % 2}"
        item.CodeValue = "T-1"
        ds.AnatomicRegionSequence = [item]
        shared = Dataset()
        shared.DiffusionBValue = 200.0 * number
        ds.MRDiffusionSequence = [shared]
        ds.save_as(path)
    phantoms.write_series(tmp_path / "archive" / "other", planes=3, study="2", seed=9)
    return tmp_path / "archive"


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("0029,1010 > 300", 1),
        ("(0029,1010) > 400", 0),
        ("0029,1010 == 0", 1),
        ("0029,1011 = 'only here'", 1),
        ("0029,1011 is present and 0029,1010 = 300", 1),
        ("0029,1011 is present and 0029,1010 = 200", 0),
        ("ReconstructionDiameter = 250 and 0029,1010 = 300", 0),  # the one that lacks it
        ("ReconstructionDiameter is empty and 0029,1010 is present", 1),
        ("ImageComments ~ 'GEPRÜFT'", 1),
        ("ImageComments = 'Kalibrierung' and 0029,1010 = 0", 1),
        ("ImageComments = 'Kalibrierung' and 0029,1010 > 0", 0),
        ("CodeMeaning = 'Region 1'", 1),
        ("AnatomicRegionSequence.CodeMeaning ~ 'region 0' and 0029,1010 = 100", 0),
        ("AnatomicRegionSequence.CodeMeaning ~ 'region 0' and 0029,1010 = 200", 1),
        ("ConceptNameCodeSequence.CodeMeaning ~ 'region'", 0),
        ("AnatomicRegionSequence is present", 1),
        ("AnatomicRegionSequence is empty", 1),
        ("0018,9087 > 700", 1),
        ("DiffusionBValue > 700 and 0029,1010 = 400", 1),
        ("0018,9087 > 800", 0),
        ("MRDiffusionSequence.DiffusionBValue in (0, 17)", 1),
        ("not ImageComments is present", 1),
        ("ImageComments !~ 'x'", 2),
        ("0010,0020 is present", 2),
        ("0029,0010 = 'BENCH TEST'", 1),
        ("not 0029,1010 > 300", 2),
        ("not not 0029,1010 > 300", 1),
        ("0029,1010 not in (0, 100)", 2),
        ("0029,1011 = 'only here' or Modality = 'CT'", 2),
        ("0029,1011 = 'only here' and not 0029,1010 = 300", 0),
        ("not (0029,1011 is empty)", 1),
        ("(Modality = 'MR' or (0029,1010) > 300)", 1),
    ],
)
def test_any_element_can_be_asked_for(catalog: Catalog, archive: Path, where: str, count: int) -> None:
    index_paths(catalog, [archive])
    assert len(find_series(catalog, where=where)) == count


def test_a_changed_file_is_found_by_what_it_says_now(catalog: Catalog, archive: Path) -> None:
    index_paths(catalog, [archive])
    path = sorted(archive.glob("*.dcm"))[0]
    ds = pydicom.dcmread(path)
    ds[0x0029, 0x1010].value = "999"
    ds.ReconstructionDiameter = 77
    ds.KVP = 77
    ds.save_as(path)
    assert index_paths(catalog, [archive]).updated == 1
    assert len(find_series(catalog, where="0029,1010 = 999 and ReconstructionDiameter = 77")) == 1
    assert find_series(catalog, where="0029,1010 = 0") == []
    assert len(find_series(catalog, where="KVP = 77 and 0029,1010 = 999")) == 1  # beyond what it spanned
    assert find_series(catalog, where="KVP < 77 and 0029,1010 = 999") == []
    assert len(find_series(catalog, where="ReconstructionDiameter = 250")) == 1


def test_whatever_order_files_come_in_the_answers_are_the_same(catalog: Catalog, archive: Path) -> None:
    for path in sorted(archive.rglob("*.dcm"), reverse=True):
        index_paths(catalog, [path])
    assert len(find_series(catalog, where="0029,1011 is present and 0029,1010 = 300")) == 1
    assert len(find_series(catalog, where="ReconstructionDiameter is empty and 0029,1010 > 0")) == 1


@pytest.mark.parametrize("where", ["NoSuchKeyword > 1", "AnatomicRegionSequence.NoSuch = 'x'", "0018,9087 ="])
def test_what_is_no_element_is_said(catalog: Catalog, where: str) -> None:
    with pytest.raises(QuestionError):
        find_series(catalog, where=where)


@pytest.mark.parametrize("text", ["%", "_", "'", "\\", "*", "[", "\0", "Ä", "x" * 9000, "0029", "null"])
def test_hostile_texts_are_values_and_nothing_else(catalog: Catalog, archive: Path, text: str) -> None:
    index_paths(catalog, [archive])
    quoted = text.replace("'", "''")
    assert find_series(catalog, where=f"ImageComments = '{quoted}'") == []
    is_contained = text.casefold() in "gerät geprüft" or text.casefold() in "kalibrierung"
    assert len(find_series(catalog, where=f"ImageComments ~ '{quoted}'")) == int(is_contained)


def test_neither_long_headers_nor_many_series_stay_in_memory(tmp_path: Path) -> None:
    headers = []
    for name, size in (("short", 100_000), ("long", 4 << 20)):
        (path,) = phantoms.write_series(tmp_path / name, planes=1).paths
        ds = pydicom.dcmread(path)
        ds.private_block(0x0029, "BENCH TEST", create=True).add_new(0x10, "OB", bytes(size))
        ds.save_as(path)
        headers.append((path, path.read_bytes()))
    contents = Contents()
    tracemalloc.start()
    for number in range(40):
        for path, written in headers:
            path.write_bytes(written.replace(b"LO\x0a\0BENCH TEST", b"LO\x0a\0%010d" % number))
            other = bytearray(path.read_bytes())
            uid = other.index(b"UI", other.index(b"\x20\0\x0e\0")) + 4
            other[uid + 10 : uid + 13] = b"%03d" % number
            path.write_bytes(other)
            header = read_header(path, contents)
            assert isinstance(header, InstanceHeader)
            assert header.content is not None
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 16 << 20


def changed(path: Path, **values: object) -> None:
    ds = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(ds, name, value)
    ds.save_as(path)


def test_numbers_that_are_none_and_texts_with_nul_harm_no_answer(catalog: Catalog, tmp_path: Path) -> None:
    paths = phantoms.write_series(tmp_path / "archive", planes=3).paths
    for path, width in zip(paths, (1.0, float("inf"), float("nan")), strict=True):
        changed(path, SingleCollimationWidth=width, AdditionalPatientHistory=f"be\0fore {width}")
    report = index_paths(catalog, [tmp_path / "archive"])
    assert (report.added, report.rejected) == (3, ())
    assert len(find_series(catalog, where="SingleCollimationWidth == 1")) == 1
    assert find_series(catalog, where="SingleCollimationWidth > 1") == []
    assert len(find_series(catalog, where="AdditionalPatientHistory ~ 'before inf'")) == 1


def test_a_header_that_could_not_be_searched_answers_nothing(catalog: Catalog, tmp_path: Path) -> None:
    paths = phantoms.write_series(tmp_path / "archive", planes=2).paths
    changed(paths[0], ImageComments="not to be read")
    ds = pydicom.dcmread(paths[0])
    item = Dataset()
    item.CodeMeaning = "cut"
    ds.AnatomicRegionSequence = [item]
    ds.save_as(paths[0])
    content = bytearray(paths[0].read_bytes())
    at = content.index(b"\xfe\xff\x00\xe0") + 4
    content[at : at + 4] = (10_000_000).to_bytes(4, "little")  # an item beyond its sequence
    paths[0].write_bytes(content)
    index_paths(catalog, [paths[0]])
    changed(paths[1], ImageComments="gadobutrol")
    index_paths(catalog, [tmp_path])
    (unread,) = find_instances(catalog, sop_instance_uid=str(ds.SOPInstanceUID))
    assert any("cannot be searched" in each for each in unread.deviations)
    both = "ImageComments ~ 'gadobutrol' and InstanceNumber == "
    numbers = {path: int(pydicom.dcmread(path, force=True).InstanceNumber) for path in paths[1:]}
    assert len(find_series(catalog, where=f"{both}{numbers[paths[1]]}")) == 1
    assert find_series(catalog, where=f"{both}{int(ds.InstanceNumber)}") == []


def test_one_element_of_many_values_is_cut(tmp_path: Path) -> None:
    (path,) = phantoms.write_series(tmp_path, planes=1).paths
    ds = pydicom.dcmread(path)
    ds.RealWorldValueLUTData = [float(number) for number in range(50_000)]
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # where an element of this kind may be so long
    ds.save_as(path, implicit_vr=True, little_endian=True)
    header = read_header(path, Contents())
    assert isinstance(header, InstanceHeader)
    assert header.content is not None
    assert len(header.content.document()["00409212"]) == MOST_VALUES
