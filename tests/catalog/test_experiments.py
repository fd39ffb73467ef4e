"""A researcher's table finds its series: what it means, what is missing, what is wrong, on both databases."""

from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from catalog.database import Catalog
from catalog.errors import NotFoundError, SheetError
from catalog.experiments import ExperimentRecord, find_experiment, join, list_experiments, record_experiment
from catalog.index import index_paths
from catalog.sheet import Sheet, dates, meanings, parse_csv, typed, unused
from pipelines import phantoms

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def recorded(catalog: Catalog, text: str, **match: str) -> ExperimentRecord:
    sheet = parse_csv(text.encode())
    return record_experiment(catalog, "pig-liver", sheet, meanings(sheet.columns, match), now=NOW)


def scanned(folder: Path, patient: str, day: str, **said: str) -> phantoms.Phantom:
    """One series of a patient on a day, whose headers say more."""
    name = f"{patient} {day}"
    made = phantoms.write_series(
        folder / name, planes=2, patient_id=patient, patient_name=f"Pig^{patient}", study=name
    )
    for path in made.paths:
        ds = pydicom.dcmread(path)
        ds.StudyDate = day
        for keyword, value in said.items():
            setattr(ds, keyword, value)
        ds.save_as(path)
    return made


def words_of(joined: object) -> list[str]:
    return [each.words for each in joined.arranged.problems]  # type: ignore[attr-defined]


# --- what a table says -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_german_table_of_excel_is_read_as_it_was_meant(encoding: str, end: str) -> None:
    lines = ["Tier;Größe;Gewicht;Datum;;", "7;a;1.250,5;5.1.2026;;", ";;;;;", '8;"b;c";30;;;']
    sheet = parse_csv(end.join(lines).encode(encoding))
    assert sheet.columns == ("Tier", "Größe", "Gewicht", "Datum")
    assert sheet.rows == (("7", "a", "1.250,5", "5.1.2026"), ("8", "b;c", "30", None))
    assert sheet.numbers == (2, 4)
    assert typed([row[2] for row in sheet.rows]) == [1250.5, 30.0]
    assert dates(row[3] for row in sheet.rows) == ["20260105", None]
    assert bool(sheet.notes) == (encoding == "cp1252")


def test_the_separator_may_be_said_and_a_comma_may_be_a_decimal_one() -> None:
    assert parse_csv(b"sep=,\na,b\n1,2\n").columns == ("a", "b")
    assert parse_csv(b"a;b\n1,5;2,5\n3,5;4,5\n").columns == ("a", "b")
    assert parse_csv(b"a\tb\n1,5\t2,5\n").rows == (("1,5", "2,5"),)


def test_numbers_are_numbers_and_names_stay_names() -> None:
    assert typed(["7", None, "12"]) == [7, None, 12]
    assert typed(["007", "012"]) == ["007", "012"]
    assert typed(["1.5", "2"]) == [1.5, 2.0]
    assert typed(["1,5", "-2"]) == [1.5, -2.0]
    assert typed(["1e999"]) == ["1e999"]
    assert typed(["7", "before"]) == ["7", "before"]


def test_dates_with_slashes_are_read_where_there_is_one_way_to() -> None:
    assert dates(["05/01/2026", "31/01/2026"]) == ["20260105", "20260131"]
    assert dates(["05/01/2026", "01/31/2026"]) == ["20260501", "20260131"]
    assert dates(["05/01/2026"]) == [None]
    assert dates(["2026-01-05T10:00:00", "20260105", "5.1.26", "31.2.2026"]) == ["20260105"] * 3 + [None]


def test_a_misspelled_column_is_named_with_the_nearest() -> None:
    with pytest.raises(SheetError, match="is 'pateint_id' patient_id") as raised:
        meanings(["animal", "pateint_id"])
    assert "match={'column': 'patient_id'}" in str(raised.value)
    with pytest.raises(SheetError, match="no column 'Teir'; did you mean 'Tier'"):
        meanings(["Tier", "patient_id"], {"Teir": "subject"})
    with pytest.raises(SheetError, match="cannot mean 'subjekt'; did you mean 'subject'"):
        meanings(["Tier", "patient_id"], {"Tier": "subjekt"})
    with pytest.raises(SheetError, match="two columns 'a'"):
        parse_csv(b"a,a\n1,2\n")
    columns = ["patient_id", "study_dat"]
    assert unused(columns, meanings(columns)) == ["column 'study_dat' has no meaning; was study_date meant?"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\xff\xfe\x00", b"a;b\n\0;2\n"])
def test_what_is_no_table_is_refused(content: bytes) -> None:
    with pytest.raises(SheetError, match=r"the table|no text of a table"):
        parse_csv(content)


def test_a_table_has_an_end() -> None:
    with pytest.raises(SheetError, match="600 columns"):
        parse_csv((",".join(f"c{number}" for number in range(600)) + "\n1\n").encode())


# --- the join --------------------------------------------------------------------------------------------


def test_every_subject_is_expected_at_every_time_point(catalog: Catalog, tmp_path: Path) -> None:
    first = scanned(tmp_path / "a", "P7", "20260105")
    after = scanned(tmp_path / "a", "P7", "20260112")
    other = scanned(tmp_path / "a", "P8", "20260105")
    index_paths(catalog, [tmp_path / "a"])
    record = recorded(
        catalog,
        "animal;arm;time_point;patient_id;study_date;weight\n"
        "7;sham;before;P7;5.1.2026;30,5\n"
        "7;sham;after;P7;12.1.2026;31\n"
        "8;graft;before;P8;5.1.2026;\n"
        "9;graft;After;P9;5.1.2026;28\n",
    )
    joined = join(catalog, record)
    assert joined.arranged.subjects == (7, 8, 9)
    assert joined.arranged.time_points == ("before", "after")
    series = {(each.subject, each.time_point): each.series for each in joined.arranged.visits}
    assert series[7, "before"] == (first.series_instance_uid,)
    assert series[7, "after"] == (after.series_instance_uid,)
    assert series[8, "before"] == (other.series_instance_uid,)
    missing = {(each.subject, each.time_point): (each.arm, each.reason) for each in joined.arranged.missing}
    assert missing == {
        (8, "after"): ("graft", "the table has no row of it"),
        (9, "before"): ("graft", "the table has no row of it"),
        (9, "after"): ("graft", "no series here has its patient_id"),
    }
    assert joined.arranged.values[after.series_instance_uid]["weight"] == 31.0
    assert words_of(joined) == ["no series here has its patient_id"]


def test_the_table_is_kept_as_it_was_written_and_twice_is_once(catalog: Catalog) -> None:
    text = "animal;patient_id;Bemerkung\n007;P7;\n8;P8;1,50\n"
    record = recorded(catalog, text)
    assert record.sheet.rows == (("007", "P7", None), ("8", "P8", "1,50"))
    assert find_experiment(catalog, "pig-liver") == record
    later = datetime(2027, 1, 1, tzinfo=UTC)
    assert record_experiment(catalog, "pig-liver", record.sheet, record.meaning, now=later) == record
    longer = recorded(catalog, text + "9;P9;\n")
    assert find_experiment(catalog, "pig-liver") == longer
    assert [each.name for each in list_experiments(catalog)] == ["pig-liver"]
    with pytest.raises(NotFoundError, match="no experiment 'pig-livr'; did you mean 'pig-liver'"):
        find_experiment(catalog, "pig-livr")
    with pytest.raises(SheetError, match="the name of an experiment"):
        record_experiment(catalog, "a/b", record.sheet, record.meaning, now=NOW)
    with pytest.raises(SheetError, match="no rows"):
        record_experiment(catalog, "empty", Sheet(("a",), (), ()), {}, now=NOW)


@pytest.mark.parametrize("name", ["series_instance_uid", "study_instance_uid", "accession_number"])
def test_a_row_is_joined_by_whatever_names_its_series(catalog: Catalog, tmp_path: Path, name: str) -> None:
    made = scanned(tmp_path / "a", "P7", "20260105", AccessionNumber="ACC7")
    index_paths(catalog, [tmp_path / "a"])
    known = {
        "series_instance_uid": made.series_instance_uid,
        "study_instance_uid": made.study_instance_uid,
        "accession_number": "ACC7",
    }
    joined = join(catalog, recorded(catalog, f"animal,{name}\n7,{known[name]}\n8,\n"))
    assert list(joined.series) == [made.series_instance_uid]
    assert words_of(joined) == [f"its cells of '{name}' are empty: nothing tells which series it is about"]
    other = join(catalog, recorded(catalog, f"animal,Nr\n7,{known[name]}\n", Nr=name))
    assert list(other.series) == [made.series_instance_uid]


def test_a_series_that_two_visits_claim_is_in_neither(catalog: Catalog, tmp_path: Path) -> None:
    made = scanned(tmp_path / "a", "P7", "20260105")
    index_paths(catalog, [tmp_path / "a"])
    record = recorded(catalog, "animal,time_point,patient_id\n7,before,P7\n7,after,P7\n7,after,P7\n")
    joined = join(catalog, record)
    assert len(joined.arranged.missing) == 2
    assert not joined.series
    assert words_of(joined) == [
        f"series {made.series_instance_uid} is claimed by rows 2 and 3, of different visits; "
        "it is in none of them",
        "repeats row 3; it is counted once",
    ]
    assert "claimed by row 3, too; tell them apart by study_date" in joined.arranged.missing[0].reason


def test_the_words_of_clinical_trials_are_understood(catalog: Catalog, tmp_path: Path) -> None:
    """PS3.3 C.7.1.3 and C.7.2.3."""
    trial = {"ClinicalTrialSubjectID": "S-01"}
    before = scanned(tmp_path / "a", "P7", "20260105", ClinicalTrialTimePointID="T0", **trial)
    after = scanned(
        tmp_path / "a", "P7", "20260112", ClinicalTrialTimePointID="T1",
        ClinicalTrialTimePointDescription="day 7", **trial,
    )  # fmt: skip
    index_paths(catalog, [tmp_path / "a"])
    record = recorded(catalog, "clinical_trial_subject_id,time_point\nS-01,t0\nS-01,Day 7\n")
    series = {each.time_point: each.series for each in join(catalog, record).arranged.visits}
    assert series == {"t0": (before.series_instance_uid,), "Day 7": (after.series_instance_uid,)}


def test_species_and_strain_come_from_the_headers_where_the_table_is_silent(
    catalog: Catalog, tmp_path: Path
) -> None:
    """PS3.3 C.7.1.1."""
    said = {"PatientSpeciesDescription": "Sus scrofa", "StrainDescription": "Göttingen"}
    scanned(tmp_path / "a", "P7", "20260105", **said)
    scanned(tmp_path / "a", "P8", "20260105", **said)
    index_paths(catalog, [tmp_path / "a"])
    values = list(join(catalog, recorded(catalog, "patient_id\nP7\nP8\n")).arranged.values.values())
    assert [each["patient_species_description"] for each in values] == ["Sus scrofa"] * 2
    assert [each["strain_description"] for each in values] == ["Göttingen"] * 2
    record = recorded(catalog, "patient_id,species\nP7,minipig\nP8,\n")
    values = list(join(catalog, record).arranged.values.values())
    assert sorted(str(each["species"]) for each in values) == ["Sus scrofa", "minipig"]


def test_rows_that_contradict_the_archive_say_so(catalog: Catalog, tmp_path: Path) -> None:
    made = scanned(tmp_path / "a", "P7", "20260105")
    index_paths(catalog, [tmp_path / "a"])
    record = recorded(
        catalog,
        "animal,patient_id,study_date,series_instance_uid\n"
        f"7,P8,,{made.series_instance_uid}\n"
        "7,P7,2026-01-06,\n"
        "7,P7,05/01/2026,\n"
        ",P7,2026-01-05,\n"
        "8,*,,\n"
        "8,a' or 'b,,\n",
    )
    assert words_of(join(catalog, record)) == [
        "of 1 series with its series_instance_uid none has its patient_id",
        "of 1 series with its patient_id none has its study_date",
        "its 'study_date' is no date, or could be two; write it as 2026-01-31, or as 31.1.2026",
        "its cell of 'animal' is empty: it is in no visit",
        "no series here has its patient_id",
        "no series here has its patient_id",
    ]


def test_a_table_without_subjects_takes_the_patients_of_its_series(catalog: Catalog, tmp_path: Path) -> None:
    made = [scanned(tmp_path / "a", patient, "20260105") for patient in ("P7", "P8")]
    index_paths(catalog, [tmp_path / "a"])
    text = "series_instance_uid,arm\n" + "".join(f"{each.series_instance_uid},sham\n" for each in made)
    joined = join(catalog, recorded(catalog, text))
    assert joined.arranged.subjects == ("P7", "P8")
    assert not joined.arranged.missing
