"""Questions and their errors, on phantoms with known attributes."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pydicom
import pytest

from catalog.arrays import all_arrays, arrays_of, record_arrays
from catalog.attributes import Level
from catalog.database import Catalog
from catalog.errors import NotFoundError, QuestionError
from catalog.index import index_paths
from catalog.query import contents, find_instances, find_level, find_series, instances_of
from catalog.records import ArrayRecord, SeriesRecord
from catalog.where import NESTING_LIMIT, compile_where
from pipelines import phantoms


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Catalog, phantoms.Phantom]]:
    """Two studies: a CT of Ärmel^Jo in 3 planes and an MR of O'Neil^Ann in 2."""
    folder = tmp_path_factory.mktemp("query")
    ct = phantoms.write_series(
        folder / "ct", planes=3, patient_id="1", patient_name="Ärmel^Jo", study="1", spacing=(0.8, 0.7)
    )
    phantoms.write_series(
        folder / "mr", planes=2, patient_id="2", patient_name="O'Neil^Ann", study="2", modality="MR", seed=9
    )
    catalog = Catalog(folder / "catalog.db")
    index_paths(catalog, [folder])
    yield catalog, ct
    catalog.close()


@pytest.fixture
def catalog(bench: tuple[Catalog, phantoms.Phantom]) -> Catalog:
    return bench[0]


def modalities(found: list[SeriesRecord]) -> list[str | None]:
    return [each.modality for each in found]


@pytest.mark.parametrize(
    ("matching", "expected"),
    [
        ({}, ["CT", "MR"]),
        ({"modality": "CT"}, ["CT"]),
        ({"Modality": "ct"}, []),
        ({"Modality": ["CT", "PT"]}, ["CT"]),
        ({"Modality": []}, []),
        ({"Modality": "?R"}, ["MR"]),
        ({"Modality": "%"}, []),
        ({"Modality": None, "PatientID": ""}, ["CT", "MR"]),
        ({"PatientName": "ärmel*"}, ["CT"]),
        ({"PatientName": "o'neil^ann"}, ["MR"]),
        ({"patient_name": "*^*"}, ["CT", "MR"]),
        ({"Rows": 32}, ["CT", "MR"]),
        ({"Rows": "32", "InstanceNumber": 3}, ["CT"]),
        ({"InstanceNumber": (3, None)}, ["CT"]),
        ({"InstanceNumber": (None, 0)}, []),
        ({"SliceThickness": (2.4, 2.6)}, ["CT", "MR"]),
        ({"TransferSyntaxUID": "1.2.840.10008.1.2.1"}, ["CT", "MR"]),
        ({"TransferSyntaxUID": "1.2.840.10008.1.2\\1.2.3"}, []),
    ],
)
def test_matching_finds_what_the_standard_says(
    catalog: Catalog, matching: dict[str, Any], expected: list[str]
) -> None:
    assert sorted(modalities(find_series(catalog, **matching))) == expected


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """One instance of 31 January 2026, 10:30."""
    folder = tmp_path_factory.mktemp("dated")
    path = phantoms.write_series(folder / "a", planes=1).paths[0]
    ds = pydicom.dcmread(path)
    ds.StudyDate, ds.StudyTime, ds.AcquisitionDateTime = "20260131", "103000.5", "20260131103000"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.WindowCenter, ds.WindowWidth = [40, 400], [80, 2000]
    ds.save_as(path)
    catalog = Catalog(folder / "catalog.db")
    index_paths(catalog, [folder / "a"])
    yield catalog
    catalog.close()


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("StudyDate", "20260131", True),
        ("StudyDate", "2026.01.31", True),
        ("StudyDate", "20260101-20260131", True),
        ("StudyDate", "20260101-20260130", False),
        ("StudyDate", "-20260131", True),
        ("StudyDate", "20260201-", False),
        ("StudyDate", "-", True),
        ("StudyDate", ("20260101", "202601"), True),
        ("StudyDate", (None, "2025"), False),
        ("StudyTime", "10-11", True),
        ("StudyTime", "-1030", True),
        ("StudyTime", "1031-", False),
        ("AcquisitionDateTime", "20260131103000", True),
        ("AcquisitionDateTime", "2026-2027", True),
        ("AcquisitionDateTime", "20260131103000-0500", False),
        ("AcquisitionDateTime", "-20260131103000+0100", True),
        ("ImageType", "AXIAL", True),
        ("ImageType", "ORIGINAL\\PRIMARY\\AXIAL", True),
        ("ImageType", "AXI", False),
        ("ImageType", "*AXI*", True),
        ("SOPInstanceUID", "1.2\\1.3", False),
        ("StudyDate", date(2026, 1, 31), True),
        ("StudyDate", (date(2026, 2, 1), None), False),
        ("WindowCenter", 40, True),
        ("WindowCenter", 40.0, True),
        ("WindowCenter", "40.00", True),
        ("WindowCenter", 400, True),
        ("WindowCenter", 41, False),
        ("WindowCenter", [41, 400], True),
        ("WindowCenter", (5, 50), True),
        ("WindowCenter", (41, 399), False),
        ("WindowCenter", (1000, None), False),
        ("PixelSpacing", (None, 0.75), True),
        ("PixelSpacing", (None, 0.65), False),
        ("PixelSpacing", "0.8\\0.7", True),
        ("PixelSpacing", "0.7\\0.8", False),
    ],
)
def test_ranges_lists_and_several_values(dated: Catalog, key: str, value: Any, found: bool) -> None:
    assert bool(find_instances(dated, **{key: value})) == found


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("WindowCenter == 40", True),
        ("WindowCenter == 400", True),
        ("WindowCenter > 41 and WindowCenter < 399", True),  # two values, each as one part wants it
        ("WindowCenter > 400", False),
        ("PixelSpacing < 0.75", True),
        ("PixelSpacing < 0.65", False),
        ("PixelSpacing == 0.7", True),
        ("PixelSpacing in (0.1, 0.8)", True),
        ("ImageType == 'AXIAL'", True),
        ("ImageType == 'ORIGINAL\\PRIMARY\\AXIAL'", True),
        ("ImageType == 'AXI'", False),
    ],
)
def test_one_of_several_values_is_enough(dated: Catalog, where: str, found: bool) -> None:
    assert bool(find_series(dated, where=where)) == found


def test_a_date_of_the_old_form_is_a_date(catalog_url: str, tmp_path: Path) -> None:
    path = phantoms.write_series(tmp_path / "a", planes=1).paths[0]
    content = path.read_bytes()
    old = content.replace(b"\x08\x00\x20\x00DA\x08\x0020260105", b"\x08\x00\x20\x00DA\x0a\x001994.01.30")
    assert old != content
    path.write_bytes(old)
    catalog = Catalog(catalog_url)
    index_paths(catalog, [path.parent])
    for matching in (
        {"study_date": "19940101-19941231"},
        {"StudyDate": "1994.01.30"},
        {"where": "StudyDate < '1995'"},
    ):
        (found,) = find_series(catalog, **matching)
        assert found.study_date == "19940130"
    assert find_series(catalog, study_date="19950101-") == []
    (instance,) = find_instances(catalog)
    assert any("form of dates before 1993" in each for each in instance.deviations)
    catalog.close()


def test_names_find_what_stands_in_functional_groups(
    catalog_url: str, tmp_path: Path, shared_data: Path
) -> None:
    catalog = Catalog(catalog_url)
    index_paths(catalog, [shared_data / "modalities" / "mr_enhanced_j2k_19fr_multifragment.dcm"])
    for name in ("PixelSpacing", "ImagePositionPatient", "WindowCenter", "RescaleType", "SliceThickness"):
        assert len(find_series(catalog, where=f"{name} is present")) == 1, name
        assert len(find_series(catalog, where=f"{name} is empty")) == 0, name
    assert len(find_series(catalog, where="PixelSpacing > 0")) == 1
    assert len(find_series(catalog, where="PixelSpacing < 0")) == 0
    for where in (
        "RescaleType = 'US'",
        "RescaleType ~ 'us'",
        "not RescaleType !~ 'us'",
        "RescaleType in ('US')",
    ):
        assert len(find_series(catalog, where=where)) == 1, where
    assert find_series(catalog, where="RescaleType = 'HU'") == []
    catalog.close()


@pytest.mark.parametrize(
    ("matching", "words"),
    [
        ({"Modalty": "CT"}, "no attribute 'Modalty'; did you mean Modality?"),
        ({"patient_nam": "x"}, "did you mean patient_name"),
        ({"zzz": 1}, "no attribute 'zzz'"),
        ({"Rows": "many"}, "Rows is a number"),
        ({"Rows": float("nan")}, "Rows is a number"),
        ({"Rows": True}, "Rows is a number"),
        ({"Modality": object()}, "Modality is text and cannot be compared with object"),
        ({"StudyDate": ("1",)}, "StudyDate wants a range of two ends"),
        ({"StudyDate": "2026-01-31"}, "'2026-01-31', which is no date; dates are written 20260131"),
        ({"StudyDate": "2026"}, "'2026', which is no date"),
        ({"PatientAge": (40, 60)}, "'40', which is no age"),
        ({"WindowCenter": (5, "x")}, "WindowCenter is a number"),
        ({"WindowCenter": float("nan")}, "WindowCenter is a number"),
        ({"STUDYDATE": "20260131"}, "did you mean StudyDate"),
        ({"StudyDate": "2026-01"}, "'01', which is no date"),
        ({"StudyDate": ["20260131", "yesterday"]}, "'yesterday', which is no date"),
        ({"StudyDate": ("20260101", "31.1.2026")}, "'31.1.2026', which is no date"),
        ({"PatientName": "x" * 20_000}, "more than 10000 characters"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(
    catalog: Catalog, matching: dict[str, Any], words: str
) -> None:
    with pytest.raises(QuestionError, match=words.replace("?", r"\?")):
        find_series(catalog, **matching)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("Modality == 'CT'", ["CT"]),
        ('modality="CT" or modality = "MR"', ["CT", "MR"]),
        ("not Modality in ('CT', 'PT')", ["MR"]),
        ("PatientName ~ 'ÄRMEL'", ["CT"]),
        ("PatientName ~ '\"'", []),
        ("PatientName == 'O''Neil^Ann'", ["MR"]),
        ("SliceThickness <= 2.5e0 AND InstanceNumber >= 3", ["CT"]),
        ("InstanceNumber == 1 and InstanceNumber == 2", []),  # no one instance is both
        ("Laterality is empty", ["CT", "MR"]),
        ("Laterality != 'L' and Laterality !~ 'L'", ["CT", "MR"]),
        ("PixelSpacing == '0.8\\0.7'", ["CT", "MR"]),
        ("StudyDate >= 19000101 or StudyDate is empty", ["CT", "MR"]),
        ("TransferSyntaxUID = '1.2.840.10008.1.2.1'", ["CT", "MR"]),
        ("0002,0010 = '1.2.840.10008.1.2.1' and Modality = 'CT'", ["CT"]),
        ("transfer_syntax_uid != '1.2.840.10008.1.2.1' or (0002,0010) is empty", []),
        ("", ["CT", "MR"]),
    ],
)
def test_where_finds_series_with_an_instance_that_satisfies_it(
    catalog: Catalog, where: str, expected: list[str]
) -> None:
    assert sorted(modalities(find_series(catalog, where=where))) == expected


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("Modalit == 'CT'", "no attribute 'Modalit'; did you mean Modality? (column 1"),
        ("Modality == CT", "'CT' at column 13, where a text in quotes or a number should be"),
        ("Modality == 'CT' and", "has the end at column 21, where an attribute should be"),
        ("(Modality == 'CT'", "a closing parenthesis should be"),
        ("Modality == 'CT", "at column 13"),
        ("Rows == '32'", "Rows is a number and is compared with one, without quotes (column 9"),
        ("Rows ~ '3'", "Rows is a number and contains no text"),
        ("PixelSpacing < 'a'", "PixelSpacing holds numbers and is ordered by one, without quotes"),
        ("StudyDate == '2026-01-31'", "'2026-01-31', which is no date; dates are written 20260131"),
        ("StudyDate in (20260131, 'x')", "'x', which is no date"),
        ("PatientAge > 50", "'50', which is no age; ages are written like 045Y"),
        ("PatientAge > '45Y'", "which is no age"),  # as a text it would be beyond 050Y
        ("MODALITY == 'CT'", "no attribute 'MODALITY'; did you mean Modality?"),
        (
            "Rows = 1 or MediaStorageSOPClassUID = '1'",
            "file meta information, which is not searched; ask for",
        ),
        ("0002,0013 is present", "0002,0013 is file meta information"),
        ("not SourceImageSequence.TransferSyntaxUID ~ '1'", "file meta information, which is not searched"),
        ("SliceThickness < 1e400", "compared with 1e400, which is no number below"),
        ("(" * 13 + "Rows == 1" + ")" * 13, "nests more than 10 parentheses"),
        (" or ".join(["Rows == 1"] * 201), "compares more than 200 values"),
        ("x" * 10_001, "longer than 10000 characters"),
    ],
)
def test_an_expression_that_cannot_be_understood_says_what_and_where(where: str, words: str) -> None:
    with pytest.raises(QuestionError) as caught:
        compile_where(where)

    assert words in str(caught.value)


@pytest.fixture
def anonymous(catalog_url: str, tmp_path: Path) -> Iterator[Catalog]:
    """A patient with an ID and its issuer, one with an ID alone, and one with neither."""
    for number, (patient_id, issuer) in enumerate([("7", "A"), ("8", None), ("", "")]):
        path = phantoms.write_series(
            tmp_path / "a" / str(number), planes=1, study=str(number), seed=number
        ).paths[0]
        ds = pydicom.dcmread(path)
        ds.PatientID = patient_id
        if issuer is not None:
            ds.IssuerOfPatientID = issuer
        ds.save_as(path)
    catalog = Catalog(catalog_url)
    index_paths(catalog, [tmp_path / "a"])
    yield catalog
    catalog.close()


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("PatientID is empty", 1),
        ("PatientID is present", 2),
        ("PatientID == ''", 0),
        ("PatientID != ''", 3),
        ("PatientID ~ ''", 2),
        ("PatientID < '8'", 1),
        ("IssuerOfPatientID is empty", 2),
        ("IssuerOfPatientID is present", 1),
        ("not IssuerOfPatientID ~ ''", 2),
    ],
)
def test_a_patient_without_an_id_has_none(anonymous: Catalog, where: str, count: int) -> None:
    assert len(find_series(anonymous, where=where)) == count


def test_the_largest_expressions_allowed_are_answered(catalog: Catalog) -> None:
    assert len(find_series(catalog, where="not " * 1_000 + "Rows == 32")) == 2
    pairs = NESTING_LIMIT // 2
    nested = "not (InstanceNumber == 9 or not (PatientName ~ '^' and " * pairs + "Rows == 32" + "))" * pairs
    assert len(find_series(catalog, where=nested)) == 2
    assert len(find_series(catalog, where=" or ".join(["Rows == 1"] * 199 + ["Rows == 32"]))) == 2


def test_instances_come_in_order_with_their_geometry(bench: tuple[Catalog, phantoms.Phantom]) -> None:
    catalog, ct = bench

    found = instances_of(catalog, ct.series_instance_uid)

    assert [each.instance_number for each in found] == [1, 2, 3]
    assert {each.sop_instance_uid for each in found} == set(ct.sop_instance_uids)
    assert found[0].pixel_spacing == (0.8, 0.7)
    assert found[0].image_orientation_patient == (1, 0, 0, 0, 1, 0)
    pixel_data = found[0].pixel_data
    assert pixel_data is not None
    assert pixel_data.length == 32 * 24 * 2
    content = Path(found[0].path).read_bytes()
    plane = ct.sop_instance_uids.index(found[0].sop_instance_uid)
    assert content[pixel_data.offset :][: pixel_data.length] == ct.stored[plane].astype("<u2").tobytes()


def test_long_lists_are_answered_and_endless_ones_refused(bench: tuple[Catalog, phantoms.Phantom]) -> None:
    catalog, ct = bench
    many = [f"1.2.{number}" for number in range(20_000)]

    assert len(find_instances(catalog, sop_instance_uid=[*many, ct.sop_instance_uids[0]])) == 1
    assert len(find_series(catalog, Rows=[*range(20_000)])) == 2
    for key in ({"sop_instance_uid": many * 2}, {"patient_name": many}, {"modality": ["C*"] * 201}):
        with pytest.raises(QuestionError, match="too many values"):
            find_series(catalog, **key)


def test_an_unknown_series_is_not_found(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match=r"no series 1\.2 in the catalog"):
        instances_of(catalog, "1.2")


def test_a_level_is_answered_with_the_columns_asked_for(catalog: Catalog) -> None:
    assert list(find_level(catalog, Level.PATIENT, {"Modality": "MR"}, columns=["PatientID"])) == [
        {"patient_id": "2"}
    ]
    assert list(find_level(catalog, Level.PATIENT, {"Modality": "MR"}, columns=[])) == [{}]
    assert list(find_level(catalog, Level.STUDY, {"PatientID": "1"}, columns=["patient_name"])) == [
        {"patient_name": "Ärmel^Jo"}
    ]
    every = find_level(catalog, Level.INSTANCE, {}, columns=["SOPInstanceUID", "PatientName"])
    assert len(list(every)) == 5


def array(series_instance_uid: str, part: int) -> ArrayRecord:
    return ArrayRecord(
        series_instance_uid, "1.2", part, "volume", "", "", "/zarr", ("z", "y", "x"), (3, 32, 24), "uint16",
        ((1.0, 0.0, 0.0, 0.5), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
        None, "in", "source", "stored", "metadata", 3,
    )  # fmt: skip


def test_arrays_of_a_series_are_replaced_together(bench: tuple[Catalog, phantoms.Phantom]) -> None:
    catalog, ct = bench
    uid = ct.series_instance_uid
    parts = [array(uid, part) for part in range(3)]

    record_arrays(catalog, uid, parts)
    assert arrays_of(catalog, uid) == parts
    record_arrays(catalog, uid, parts[:1])
    assert arrays_of(catalog, uid) == all_arrays(catalog) == parts[:1]
    record_arrays(catalog, uid, [])
    assert all_arrays(catalog) == []


def test_arrays_of_an_unknown_series_are_refused(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError):
        record_arrays(catalog, "1.2", [array("1.2", 0)])


def test_contents_change_with_the_files_of_a_series(bench: tuple[Catalog, phantoms.Phantom]) -> None:
    catalog, _ = bench
    found = {each.series_instance_uid: each.instances for each in find_series(catalog)}
    texts = contents(catalog)
    assert {uid: len(each) for uid, each in texts.items()} == {uid: 4 * count for uid, count in found.items()}
    one = next(iter(found))
    assert contents(catalog, [one]) == {one: texts[one]}
    assert contents(catalog, []) == {}


def test_values_are_counted_however_they_are_written(catalog: Catalog) -> None:
    with pytest.raises(QuestionError, match="compares more than 200 values"):
        find_series(catalog, where=f"Rows in ({','.join(['1000'] * 201)})")
    assert find_series(catalog, where=f"Rows in ({','.join(['1000'] * 200)})") == []
