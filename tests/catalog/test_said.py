"""What a file says of its patient, study and series is found, also where its row says something else."""

from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from catalog import corrections
from catalog.attributes import Level
from catalog.corrections import Author
from catalog.database import Catalog
from catalog.index import index_paths
from catalog.query import count_series, find_instances, find_level, find_series
from pipelines import phantoms

BY = Author("anna", "typing error", datetime(2026, 11, 24, tzinfo=UTC))


def change(path: Path, **values: object) -> None:
    ds = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.save_as(path)


@pytest.fixture
def paths(catalog: Catalog, tmp_path: Path) -> list[Path]:
    """A diffusion MR whose sequence has another name for each b-value, one file with another description."""
    made = list(phantoms.write_series(tmp_path / "archive" / "dwi", planes=4, modality="MR").paths)
    for number, path in enumerate(made):
        change(path, SequenceName=f"ep_b{500 * number}", PatientWeight=70, ProtocolName="DWI head")
    change(made[3], StudyDescription="other", PatientWeight=72.5)
    phantoms.write_series(tmp_path / "archive" / "t1", planes=2, modality="MR", study="2", seed=1)
    index_paths(catalog, [tmp_path / "archive"])
    return made


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("SequenceName = 'ep_b0'", 1),
        ("SequenceName = 'ep_b1000'", 1),
        ("0018,0024 = 'ep_b1500'", 1),
        ("SequenceName ~ 'B15'", 1),
        ("SequenceName = 'ep_b2000'", 0),
        ("SequenceName = 'ep_b0' and SequenceName = 'ep_b500'", 0),  # no file says both
        ("SequenceName != 'ep_b0'", 2),
        ("SequenceName is empty", 1),
        ("SequenceName in ('x', 'ep_b500') and InstanceNumber = 2", 1),
        ("SequenceName = 'ep_b500' and InstanceNumber = 3", 0),
        ("StudyDescription = 'other'", 1),
        ("StudyDescription ~ 'oth' and SequenceName = 'ep_b1500'", 1),
        ("StudyDescription = 'other' and SequenceName = 'ep_b0'", 0),
        ("PatientWeight > 72", 1),
        ("PatientWeight > 72 and Modality = 'CT'", 0),
        ("not (PatientWeight > 72) and PatientWeight is present", 1),
        ("ProtocolName = 'DWI head' and not SequenceName ~ 'ep'", 0),
    ],
)
def test_each_value_that_a_file_says_is_found(
    catalog: Catalog, paths: list[Path], where: str, count: int
) -> None:
    assert len(find_series(catalog, where=where)) == count
    assert count_series(catalog, where=where) == count
    assert len(find_series(catalog, where=where, limit=5)) == count


def test_matching_keys_find_the_series_and_the_instances_that_say_it(
    catalog: Catalog, paths: list[Path]
) -> None:
    assert len(find_series(catalog, sequence_name="ep_b1000")) == 1
    assert len(find_series(catalog, sequence_name="ep_b*", study_description="oth*")) == 1
    assert not find_series(catalog, sequence_name="ep_b0", study_description="other")
    assert [each.path for each in find_instances(catalog, sequence_name="ep_b1000")] == [str(paths[2])]
    assert len(find_instances(catalog, sequence_name=["ep_b0", "ep_b1500"])) == 2
    assert len(list(find_level(catalog, Level.STUDY, {"SequenceName": "ep_b500"}, columns=["StudyID"]))) == 1
    assert (
        len(list(find_level(catalog, Level.STUDY, {"StudyDescription": "other"}, columns=["StudyID"]))) == 1
    )
    columns = ["SequenceName", "StudyDescription"]
    assert list(find_level(catalog, Level.INSTANCE, {"SequenceName": "ep_b1500"}, columns=columns)) == [
        {"sequence_name": "ep_b1500", "study_description": "other"}
    ]


def test_a_file_read_again_with_another_value_is_found_by_that_one_alone(
    catalog: Catalog, paths: list[Path]
) -> None:
    change(paths[0], SequenceName="ep_b50")

    index_paths(catalog, [paths[0].parent])

    assert not find_series(catalog, where="SequenceName = 'ep_b0'")
    assert find_series(catalog, where="SequenceName = 'ep_b50'")
    assert find_series(catalog, where="SequenceName = 'ep_b500'")


def test_a_value_that_no_file_says_any_more_leaves_the_row(catalog: Catalog, paths: list[Path]) -> None:
    for path in paths[:3]:
        path.unlink()
    index_paths(catalog, [paths[0].parent])

    columns = ["SequenceName", "PatientWeight"]
    (row,) = find_level(catalog, Level.SERIES, {"Modality": "MR", "SequenceName": "ep*"}, columns=columns)
    assert row == {"sequence_name": "ep_b1500", "patient_weight": 72.5}
    assert not find_series(catalog, where="SequenceName = 'ep_b0' or PatientWeight = 70")

    change(paths[3], SequenceName=None, PatientWeight=None)
    index_paths(catalog, [paths[0].parent])

    assert not find_series(catalog, where="SequenceName is present or PatientWeight is present")
    (row,) = find_level(catalog, Level.SERIES, {"ProtocolName": "DWI head"}, columns=columns)
    assert row == {"sequence_name": None, "patient_weight": None}


def test_a_file_that_comes_back_says_again_what_it_said(catalog: Catalog, paths: list[Path]) -> None:
    content = paths[1].read_bytes()
    paths[1].unlink()
    index_paths(catalog, [paths[0].parent])
    assert not find_series(catalog, where="SequenceName = 'ep_b500'")

    paths[1].write_bytes(content)
    index_paths(catalog, [paths[0].parent])

    assert find_series(catalog, where="SequenceName = 'ep_b500'")


def test_a_corrected_value_counts_whatever_files_say(catalog: Catalog, paths: list[Path]) -> None:
    change(paths[1], PatientSex="O", PatientBirthDate="19500101")
    index_paths(catalog, [paths[0].parent])
    assert find_series(catalog, where="PatientSex = 'O'")

    made = corrections.correct_patient(catalog, "PHANTOM", BY, {"patient_sex": "F"})

    assert not find_series(catalog, where="PatientSex != 'F'")
    assert find_series(catalog, where="PatientBirthDate = '19500101'")  # of which nothing was corrected
    corrections.undo(catalog, made.number, BY)
    assert find_series(catalog, where="PatientSex = 'O'")
    assert not find_series(catalog, where="PatientSex = 'F'")


def test_what_files_of_a_merged_patient_say_comes_back_when_it_is_undone(
    catalog: Catalog, paths: list[Path], tmp_path: Path
) -> None:
    other = phantoms.write_series(tmp_path / "archive" / "b", planes=1, patient_id="B", study="3", seed=4)
    change(other.paths[0], PatientSex="M")
    index_paths(catalog, [tmp_path / "archive"])

    made = corrections.merge_patients(catalog, "B", "PHANTOM", BY)
    assert not find_series(catalog, where="PatientID = 'B' or PatientSex = 'M'")

    corrections.undo(catalog, made.number, BY)
    assert len(find_series(catalog, where="PatientID = 'B' and PatientSex = 'M'")) == 1
