"""What goes out for what a person asks of a node (PS3.4 C.2.2.2)."""

from collections.abc import Generator
from datetime import UTC, date, datetime, time
from typing import Any

import pytest

from catalog.attributes import Level
from catalog.errors import QuestionError
from workbench.pacs.descent import Told, descend
from workbench.pacs.found import found_of
from workbench.pacs.matching import Inquiry, inquiries_of, key_of, level_named

SERIES = Level.SERIES


def keys(level: Level = SERIES, **matching: Any) -> dict[str, Any]:
    (inquiry,) = inquiries_of(level, matching)
    return {attribute.keyword: key for attribute, key in inquiry.keys.items()}


@pytest.mark.parametrize("value", [None, "", "*", "  ", "**"])
def test_universal_matching_is_an_empty_key(value: Any) -> None:
    assert keys(PatientID=value) == {"PatientID": ""}


@pytest.mark.parametrize("value", [["1.2", "1.3"], "1.2\\1.3", {"1.2": 0, "1.3": 0}.keys() | set()])
def test_a_list_of_uids_is_one_key(value: Any) -> None:
    found = keys(SeriesInstanceUID=value)["SeriesInstanceUID"]
    assert sorted(found.split("\\")) == ["1.2", "1.3"]


def test_a_list_of_other_values_is_a_question_each() -> None:
    found = inquiries_of(SERIES, {"Modality": ["CT", "MR"], "PatientID": "7"})
    assert [sorted(map(str, each.keys.values())) for each in found] == [["7", "CT"], ["7", "MR"]]
    assert keys(Modality=["CT", None]) == {"Modality": ""}
    with pytest.raises(QuestionError, match="81 questions"):
        inquiries_of(SERIES, {key: [str(each) for each in range(9)] for key in ("Modality", "PatientID")})


@pytest.mark.parametrize(
    ("value", "goes_out"),
    [
        ("20260131", "20260131"),
        ("2026.01.31", "20260131"),
        (date(2026, 1, 31), "20260131"),
        ("20260101-20260131", "20260101-20260131"),
        (("20260101", "20260131"), "20260101-20260131"),
        ((date(2026, 1, 1), None), "20260101-"),
        ("-20260131", "-20260131"),
        ("202602-202602", "20260201-20260228"),
        ("2024-202402", "20240101-20240229"),
        ("2026-2026", "20260101-20261231"),
        ((None, None), ""),
    ],
)
def test_dates_and_their_ranges_go_out_whole(value: Any, goes_out: str) -> None:
    assert keys(study_date=value) == {"StudyDate": goes_out}


def test_times_and_moments_have_ranges_too() -> None:
    assert keys(StudyTime=(time(8, 0), time(12, 30)))["StudyTime"] == "080000-123000"
    moment = datetime(2026, 1, 31, 9, tzinfo=UTC)
    found = inquiries_of(Level.INSTANCE, {"AcquisitionDateTime": (moment, None)})[0]
    assert list(found.keys.values()) == ["20260131090000-"]


def test_wildcards_go_out_as_they_are_where_they_are_some() -> None:
    assert keys(PatientName="Mü?l*")["PatientName"] == "Mü?l*"
    assert keys(PatientName="山田\u3000太郎*")["PatientName"] == "山田\u3000太郎*"
    for name in ("StudyInstanceUID", "StudyDate", "SeriesNumber"):
        with pytest.raises(QuestionError, match=f"{name} is matched without wildcards"):
            keys(**{name: "1.2*"})


def test_a_sequence_is_matched_by_the_keys_of_its_item() -> None:
    (inquiry,) = inquiries_of(
        SERIES,
        {"RequestAttributesSequence": {"ScheduledProcedureStepID": "S7", "RequestedProcedureID": None}},
    )
    ((sequence, item),) = inquiry.keys.items()
    assert sequence.vr == "SQ"
    assert not isinstance(item, str)
    assert {each.keyword: key for each, key in item.items()} == {
        "ScheduledProcedureStepID": "S7", "RequestedProcedureID": "",
    }  # fmt: skip
    with pytest.raises(QuestionError, match="keys of an item match a sequence"):
        keys(RequestAttributesSequence="S7")
    with pytest.raises(QuestionError, match="keys of an item match a sequence"):
        keys(PatientID={"PatientID": "7"})


def test_what_the_catalog_has_no_column_for_is_asked_by_its_keyword() -> None:
    assert keys(Level.STUDY, NameOfPhysiciansReadingStudy="A*") == {"NameOfPhysiciansReadingStudy": "A*"}
    with pytest.raises(QuestionError, match="no attribute 'PatientAlter'"):
        keys(PatientAlter="7")


def test_studies_are_asked_for_a_modality_by_modalities_in_study() -> None:
    assert keys(Level.STUDY, Modality="CT") == {"ModalitiesInStudy": "CT"}


@pytest.mark.parametrize(
    ("level", "matching", "words"),
    [
        (Level.STUDY, {"SeriesDescription": "x"}, "of the level of series; ask for series"),
        (Level.PATIENT, {"StudyDate": "20260101"}, "of the level of studies"),
        (SERIES, {"SliceThickness": 1}, "SliceThickness is of the level of instances"),
        (Level.INSTANCE, {"TransferSyntaxUID": "1.2"}, "no node is asked for it"),
        (SERIES, {"PatientID": "7\\8"}, "without a backslash"),
        (SERIES, {"PatientID": "7\n"}, "without control characters"),
        (SERIES, {"PatientID": True}, "not matched with a bool"),
        (SERIES, {"StudyDate": "yesterday"}, "no date"),
        (SERIES, {"StudyDate": "20261301-202613"}, "range of dates"),
        (SERIES, {"StudyTime": "noon"}, "a time such as"),
        (SERIES, {"StudyInstanceUID": "one"}, "matched with UIDs"),
        (SERIES, {"PatientID": ("1", "2")}, "a range .* is of dates and times"),
    ],
)
def test_what_cannot_be_asked_is_said_before_the_node_is_asked(
    level: Level, matching: dict[str, Any], words: str
) -> None:
    with pytest.raises(QuestionError, match=words):
        inquiries_of(level, matching)


def test_levels_have_the_names_of_the_standard() -> None:
    for name, level in (
        ("Study", Level.STUDY),
        ("series", SERIES),
        ("IMAGE", Level.INSTANCE),
        ("studies", Level.STUDY),
    ):
        assert level_named(name) is level
    with pytest.raises(QuestionError, match="patient, study, series or instance"):
        level_named("visit")


def test_numbers_are_asked_as_they_are_written() -> None:
    (attribute,) = inquiries_of(SERIES, {"series_number": 3})[0].keys
    assert key_of(attribute, 3) == "3"


def test_answers_without_their_unique_key_are_counted_in_the_note() -> None:
    """A node that names nothing tells of something, and whoever asked should know."""
    (inquiry,) = inquiries_of(Level.SERIES, {})
    answered: dict[Level, list[Told]] = {
        Level.STUDY: [{"study_instance_uid": "1.1"}, {"patient_id": "P"}],
        Level.SERIES: [{"series_instance_uid": "1.2"}, {"modality": "CT"}],
    }

    def ask(asked: Inquiry) -> Generator[Told]:
        path = [Level.STUDY, Level.SERIES]
        yield from descend(lambda level, _asked, _above: iter(answered[level]), asked, path)

    found = found_of(
        ask,
        [inquiry],
        "PACS",
        "pacs://PACS",
        limit=10,
    )
    assert len(found) == 1
    assert found.note == "2 answers of PACS lack SeriesInstanceUID and are left out"
