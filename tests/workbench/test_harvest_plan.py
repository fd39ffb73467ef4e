"""What a harvest asks for, in which hours, and what it takes for an answer."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import QuestionError, SheetError
from catalog.records import RemoteSeries
from catalog.sheet import parse_csv
from workbench.harvest.answers import Answer, judged
from workbench.harvest.plan import (
    SHORTEST_SECONDS,
    Item,
    Plan,
    is_over,
    items_of_question,
    items_of_sheet,
    parts_of,
)
from workbench.harvest.windows import Window, window_of

MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
TIMES = st.times()


# --- hours -----------------------------------------------------------------------------------------------


@given(TIMES, TIMES, MOMENTS)
def test_a_window_opens_when_it_says_so_and_not_before(begin: time, end: time, at: datetime) -> None:
    window = Window(begin, end)
    seconds = window.seconds_until(at)
    assert (seconds == 0) == window.holds(at)
    assert 0 <= seconds <= 24 * 60 * 60
    if begin != end:
        assert window.holds(at + timedelta(seconds=seconds))
    if seconds:
        assert (at + timedelta(seconds=seconds)).time() == begin


@given(TIMES, TIMES, MOMENTS)
def test_a_window_and_its_opposite_are_the_whole_day(begin: time, end: time, at: datetime) -> None:
    if begin != end:
        assert Window(begin, end).holds(at) != Window(end, begin).holds(at)


def test_hours_are_read_as_people_write_them() -> None:
    assert window_of("20:00-06:00") == Window(time(20), time(6))
    assert window_of(" 7:30 - 09:05") == Window(time(7, 30), time(9, 5))
    assert window_of("20:00-06:00").holds(datetime(2026, 1, 1, 5, 59, tzinfo=UTC))
    assert not window_of("20:00-06:00").holds(datetime(2026, 1, 1, 6, tzinfo=UTC))
    for text in ("", "20-6", "25:00-06:00", "20:00", "20:00-20:00", "20:60-06:00"):
        with pytest.raises(QuestionError, match="hours are such as 20:00-06:00"):
            window_of(text)


# --- a table ---------------------------------------------------------------------------------------------


def test_a_row_is_an_item_each_question_once_and_what_cannot_be_asked_for_has_a_reason() -> None:
    sheet = parse_csv(
        b"Accession Number;PatientID;Remark\nA1;P1;x\nA2;;\n;P3;\nA1;P1;again\nA*;P4;\nA\\5;P5;\n"
    )
    items, refused = items_of_sheet(sheet)
    assert [(each.label, each.row, dict(each.matching)) for each in items] == [
        ("A1", 2, {"accession_number": "A1", "patient_id": "P1"}),
        ("A2", 3, {"accession_number": "A2"}),
    ]
    assert refused == (
        (4, "it has no accession_number"),
        (6, "its accession_number has a wildcard or a backslash"),
        (7, "its accession_number has a wildcard or a backslash"),
    )


def test_dates_of_a_table_are_those_of_dicom_and_meanings_may_be_said() -> None:
    sheet = parse_csv(b"Auftrag,StudyDate\n7,31.1.2026\n8,soon\n")
    items, refused = items_of_sheet(sheet, {"Auftrag": "accession_number"})
    assert [dict(each.matching) for each in items] == [{"accession_number": "7", "study_date": "20260131"}]
    assert refused == ((3, "its study_date is no date"),)
    with pytest.raises(SheetError, match="no column says which studies are wanted"):
        items_of_sheet(parse_csv(b"PatientID\nP1\n"))


@given(st.lists(st.tuples(st.text("AB12*- ", max_size=4), st.text("PQ7", max_size=3)), max_size=30))
def test_no_row_is_lost_and_none_asks_for_what_nobody_named(rows: list[tuple[str, str]]) -> None:
    text = "accession_number,patient_id\n" + "".join(f"{one},{other}\n" for one, other in rows)
    items, refused = items_of_sheet(parse_csv(text.encode()))
    wanted = {one.strip() for one, _ in rows if one.strip() and "*" not in one}
    assert {each.label for each in items} == wanted
    assert len({each.key for each in items}) == len(items)
    assert not [each for each in items if "*" in "".join(each.matching.values())]
    with_something = [one for one, other in rows if one.strip() or other.strip()]
    assert len(refused) == sum(not one.strip() or "*" in one for one in with_something)


# --- days and their parts --------------------------------------------------------------------------------


@given(st.dates(date(2000, 1, 1), date(2030, 1, 1)), st.integers(0, 100))
def test_a_range_is_each_of_its_days_once(first: date, more: int) -> None:
    last = first + timedelta(days=more)
    items = items_of_question(
        {"study_date": f"{first:%Y%m%d}-{last:%Y%m%d}", "modality": "CT"}, date(2031, 1, 1)
    )
    assert [each.label for each in items] == [
        f"{first + timedelta(days=number):%Y%m%d}" for number in range(more + 1)
    ]
    assert {each.matching["modality"] for each in items} == {"CT"}
    assert len({each.key for each in items}) == more + 1


def test_a_range_without_an_end_ends_today_and_a_day_that_is_not_over_is_due_again() -> None:
    today = date(2026, 1, 3)
    items = items_of_question({"study_date": "20260101-"}, today)
    assert [each.label for each in items] == ["20260101", "20260102", "20260103"]
    assert [is_over(each, today) for each in items] == [True, True, False]
    assert len(items_of_question({"study_date": "20260101"}, today)) == 1
    for text in ("", "-20260101", "20260132", "20260105-20260101", "2026*", "19000101-20260101"):
        with pytest.raises(QuestionError, match="StudyDate=20260101-20260131"):
            items_of_question({"study_date": text}, today)


@given(st.integers(0, 24 * 60 * 60 - 1))
def test_parts_of_a_day_hold_each_second_once_and_end(second: int) -> None:
    said = f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"
    matching = {"study_date": "20260101", "modality": "CT"}
    depth = 0
    while parts := parts_of(matching):
        holding = [
            each
            for each in parts
            if each["study_time"].partition("-")[0] <= f"{said}.5" <= each["study_time"].partition("-")[2]
        ]
        assert len(holding) == 1
        (matching,) = holding
        assert matching["modality"] == "CT"
        depth += 1
    assert 2**depth * SHORTEST_SECONDS <= 24 * 60 * 60


def test_what_is_no_day_or_has_a_time_of_its_own_has_no_parts() -> None:
    assert parts_of({"accession_number": "A1"}) == ()
    assert parts_of({"study_date": "20260101", "study_time": "10*"}) == ()


def test_a_plan_comes_out_of_the_journal_as_it_went_in() -> None:
    items, refused = items_of_sheet(parse_csv(b"accession_number\nA1\nA?\n"))
    plan = Plan("PACS", items, refused, "20:00-06:00", 2.5, ingest=True, answers=100)
    assert Plan.of_json(plan.as_json()) == plan


# --- answers ---------------------------------------------------------------------------------------------


def told(number: int, *, instances: int | None = 3, **values: str) -> RemoteSeries:
    uids = {"series_instance_uid": f"1.2.{number}", "study_instance_uid": f"1.3.{number}"}
    return RemoteSeries({**uids, **values}, "pacs://PACS", "pacs://PACS", instances)


ROW = Item({"accession_number": "A-1"}, "A-1", 2)


def test_series_of_the_accession_number_are_expected_with_their_counts() -> None:
    answer, about = judged(ROW, [told(1, accession_number="A-1 "), told(2, accession_number="A-1")])
    assert [(each.series_instance_uid, each.instances) for each in answer.series] == [
        ("1.2.1", 3), ("1.2.2", 3),
    ]  # fmt: skip
    assert len(about) == 2
    assert Answer.of_json(answer.as_json()) == answer


def test_an_accession_number_of_two_patients_is_nobodys() -> None:
    both = [told(number, accession_number="A-1", patient_id=f"P{number}") for number in (1, 2)]
    answer, about = judged(ROW, both)
    assert (answer.series, about) == ((), [])
    assert "it is of 2 patients" in answer.reason
    narrowed = Item({"accession_number": "A-1", "patient_id": "P2"}, "A-1", 2)
    assert [each.series_instance_uid for each in judged(narrowed, both)[0].series] == ["1.2.2"]


def test_a_node_that_does_not_match_what_it_was_asked_is_not_believed() -> None:
    answer, _ = judged(ROW, [told(1, accession_number="B-7"), told(2, accession_number="B-8")])
    assert answer == Answer(reason="the node answers with 2 other series than were asked for")
    assert judged(ROW, [])[0] == Answer(reason="the node knows no such study")
    assert judged(Item({"study_date": "20260101"}, "20260101"), [])[0] == Answer()
