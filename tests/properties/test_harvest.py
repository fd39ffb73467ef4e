"""However a harvest is ended and gone on with, it ends with all that can be had, and no more."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import NodeUnavailableError, RefusedError, TooManyAnswersError
from catalog.records import RemoteSeries
from workbench.harvest.answers import Expected
from workbench.harvest.gaps import NOT_ASKED, Gap, Here, gaps
from workbench.harvest.journal import JOURNAL, Journal
from workbench.harvest.plan import Plan, items_of_question
from workbench.harvest.run import BY_TIME, MAY_BE_MORE, PAUSES, harvest
from workbench.harvest.state import Event, State, planned, state_of
from workbench.harvest.windows import window_of

TODAY = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOURS = "20:00-06:00"


class KilledError(BaseException):
    """The end of a process."""


@dataclass
class Clock:
    """Goes on only when somebody sleeps."""

    at: datetime = TODAY
    slept: float = 0.0

    def now(self) -> datetime:
        return self.at

    def elapsed(self) -> float:
        return self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.at = (self.at.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(self.at.tzinfo)


@dataclass(frozen=True)
class Study:
    """One series of one study of a node."""

    number: int
    day: int
    second: int
    instances: int
    gives: int
    """How many instances really come."""

    @property
    def uid(self) -> str:
        return f"1.2.{self.number}"


@dataclass
class Node:
    """A node with studies, and the bench beside it: `workbench.harvest.run.Hands`."""

    studies: list[Study]
    clock: Clock = field(default_factory=Clock)
    most: int | None = None
    is_silent_about_it: bool = False
    kills: list[int] = field(default_factory=list)
    """After how many steps the process ends, each time it is begun."""
    files: dict[str, int] = field(default_factory=dict)
    hashed: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    fetched: Counter[str] = field(default_factory=Counter)
    at: list[datetime] = field(default_factory=list)
    hours: str = ""
    """Of its own limits."""
    steps: int = 0

    def step(self) -> None:
        self.steps += 1
        if self.kills and self.steps > self.kills[0]:
            self.kills.pop(0)
            self.steps = 0
            raise KilledError

    def ask(self, matching: Mapping[str, str]) -> list[RemoteSeries]:
        self.step()
        self.at.append(self.clock.at)
        self.asked[json.dumps(matching)] += 1
        begin, _, end = matching.get("study_time", "000000-240000").partition("-")
        found = [
            each
            for each in self.studies
            if f"202601{each.day:02}" == matching["study_date"] and begin <= time_of(each.second) <= end
        ]
        if self.most is not None and len(found) > self.most:
            if not self.is_silent_about_it:
                raise TooManyAnswersError("too many")
            found = found[: self.most]
        return [
            RemoteSeries(
                {"series_instance_uid": each.uid, "study_instance_uid": f"1.3.{each.number}"},
                "pacs://PACS", "pacs://PACS", each.instances,
            )
            for each in found
        ]  # fmt: skip

    def is_there(self) -> bool:
        return True

    def note(self, told: list[RemoteSeries]) -> None:
        self.step()

    def here(self, series_instance_uid: str) -> int:
        return self.files.get(series_instance_uid, 0)

    def fetch(self, expected: Expected) -> int:
        self.at.append(self.clock.at)
        self.fetched[expected.series_instance_uid] += 1
        study = next(each for each in self.studies if each.uid == expected.series_instance_uid)
        self.files[study.uid] = study.gives // 2
        self.step()
        self.files[study.uid] = study.gives
        self.step()
        return study.gives * 500_000

    def finish(self, series_instance_uid: str) -> str:
        self.step()
        self.hashed.add(series_instance_uid)
        self.step()
        return ""

    def report(self, state: State) -> tuple[Gap, ...]:
        here = {
            uid: Here(count, count, count if uid in self.hashed else 0) for uid, count in self.files.items()
        }
        return gaps(state, here)


def time_of(second: int) -> str:
    return f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"


@st.composite
def studies(draw: st.DrawFn) -> list[Study]:
    drawn = draw(
        st.lists(
            st.tuples(st.integers(1, 5), st.integers(0, 86_399), st.integers(1, 4), st.booleans()),
            max_size=8,
            unique_by=lambda each: each[1] // 3600,
        )
    )
    return [
        Study(number, day, second, instances, instances if whole else instances - 1)
        for number, (day, second, instances, whole) in enumerate(drawn)
    ]


def plan(**changed: object) -> Plan:
    items = items_of_question({"study_date": "20260101-20260105"}, TODAY.date())
    return Plan("PACS", items, **changed)  # type: ignore[arg-type]


def run(node: Node, events: list[Event], *, wait: bool = True) -> State:
    return harvest(
        state_of(events), events.append, node, now=node.clock.now, elapsed=node.clock.elapsed,
        sleep=node.clock.sleep, wait=wait,
    )  # fmt: skip


@given(studies(), st.lists(st.integers(0, 12), max_size=6), st.sampled_from([None, 1, 2]))
def test_killed_anywhere_and_begun_again_it_ends_with_all_that_can_be_had(
    there: list[Study], kills: list[int], most: int | None
) -> None:
    node, events = Node(there, most=most, kills=list(kills)), [planned(plan())]
    state = None
    while state is None:
        try:
            state = run(node, events)
        except KilledError:
            node.report(state_of(events))  # whatever is on record can be told of
    assert node.files == {each.uid: each.gives for each in there}
    report = node.report(state)
    assert {each.series_instance_uid for each in report if each.series_instance_uid} == {
        each.uid for each in there
    }
    for each in there:
        row = next(row for row in report if row.series_instance_uid == each.uid)
        assert row.missing == each.instances - each.gives
        assert bool(row.reason) == (each.gives < each.instances)
    node.kills.clear()
    before = node.fetched.copy(), sum(node.asked.values())
    again = run(node, events)
    assert {uid for uid, count in (node.fetched - before[0]).items() if count} == {
        each.uid for each in there if each.gives < each.instances
    }  # what is missing, and nothing else
    assert sum(node.asked.values()) == before[1]
    assert node.report(again) == report


@given(studies(), st.lists(st.integers(0, 12), max_size=4), st.booleans())
def test_a_node_is_asked_in_its_hours_alone(there: list[Study], kills: list[int], of_node: bool) -> None:
    hours = {"hours": HOURS}
    node = Node(there, kills=list(kills), **(hours if of_node else {}))
    events = [planned(plan(rate=0.0001, **({} if of_node else hours)))]
    while True:
        try:
            run(node, events)
            break
        except KilledError:
            continue
    assert all(window_of(HOURS).holds(at) for at in node.at)


def test_outside_the_hours_it_ends_where_nobody_waits() -> None:
    node, events = Node([]), [planned(plan(hours=HOURS))]
    state = run(node, events, wait=False)
    assert [each.reason for each in node.report(state)] == [NOT_ASKED] * 5
    assert (node.at, node.clock.at) == ([], TODAY)


def test_it_keeps_to_its_rate() -> None:
    node = Node([Study(number, 1, number * 3600, 4, 4) for number in range(3)])
    run(node, [planned(plan(rate=0.5))])
    assert (node.clock.at - TODAY).total_seconds() == pytest.approx(3 * 4 * 0.5 / 0.5)


@dataclass
class Resetting(Node):
    """While it gives a series, somebody sets the clock."""

    steps_of_clock: list[timedelta] = field(default_factory=list)

    def fetch(self, expected: Expected) -> int:
        if self.steps_of_clock:
            self.clock.at += self.steps_of_clock.pop(0)
        return super().fetch(expected)


@given(st.lists(st.timedeltas(timedelta(days=-20), timedelta(days=4500)), max_size=4))
def test_32_a_clock_that_is_set_changes_no_rate_of_a_harvest(steps: list[timedelta]) -> None:
    there = [Study(number, 1, number * 3600, 4, 4) for number in range(3)]
    node = Resetting(there, steps_of_clock=steps)
    run(node, [planned(plan(rate=0.5))])
    assert node.clock.slept == pytest.approx(3 * 4 * 0.5 / 0.5)
    assert node.files == {each.uid: 4 for each in there}


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"], ids=["spring", "autumn"])
def test_32_hours_of_a_harvest_are_those_of_the_wall_when_summer_time_begins_and_ends(day: str) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    begun = datetime.fromisoformat(f"{day}T20:00").replace(tzinfo=berlin)
    node = Node([Study(number, number + 1, 3600, 1, 1) for number in range(5)], clock=Clock(begun))
    run(node, [planned(plan(hours="01:30-04:00", rate=0.0001))])
    assert len(node.files) == 5
    asked = [each.astimezone(berlin) for each in node.at]
    assert asked[0].time() >= time(1, 30)
    assert asked[0].date() == begun.date() + timedelta(days=1), "it opens in that night, too"
    assert all(window_of("01:30-04:00").holds(each) for each in asked)
    assert asked[-1] - asked[0] < timedelta(days=3)


def test_a_node_that_ends_its_answers_without_a_word_is_asked_in_parts_of_the_day() -> None:
    there = [Study(number, 1, number * 3600, 1, 1) for number in range(6)]
    node = Node(there, most=2, is_silent_about_it=True)
    state = run(node, [planned(plan(answers=2))])
    assert node.files == {each.uid: 1 for each in there}
    assert [each.note for each in node.report(state) if each.note] == [BY_TIME]
    same_minute = [Study(number, 1, number, 1, 1) for number in range(6)]
    state = run(Node(same_minute, most=2, is_silent_about_it=True), [planned(plan(answers=2))])
    assert MAY_BE_MORE in next(each.note for each in node.report(state) if each.note)


def test_too_many_answers_in_the_narrowest_part_are_a_reason_and_the_rest_is_taken() -> None:
    there = [*(Study(number, 1, number, 1, 1) for number in range(3)), Study(9, 1, 80_000, 1, 1)]
    node = Node(there, most=2)
    events = [planned(plan())]
    state = run(node, events)
    assert node.files == {"1.2.9": 1}
    assert [each.reason for each in node.report(state) if each.reason] == ["too many"]
    node.most = None
    assert [each.reason for each in node.report(run(node, events)) if each.reason] == []
    assert len(node.files) == 4


@dataclass
class Faulty(Node):
    """A node that refuses, or falls silent over, one series."""

    error: Exception = field(default_factory=lambda: RefusedError("refused"))
    there: bool = True

    def is_there(self) -> bool:
        return self.there

    def fetch(self, expected: Expected) -> int:
        if expected.series_instance_uid == "1.2.0":
            raise self.error
        return super().fetch(expected)


@pytest.mark.parametrize("error", [RefusedError("no"), NodeUnavailableError("no")])
def test_one_series_that_cannot_be_had_holds_up_no_other(error: Exception) -> None:
    node = Faulty([Study(number, 1, number * 3600, 1, 1) for number in range(3)], error=error)
    state = run(node, [planned(plan())])
    assert node.files == {"1.2.1": 1, "1.2.2": 1}
    assert [(each.series_instance_uid, each.reason) for each in node.report(state) if each.reason] == [
        ("1.2.0", "no")
    ]


def test_a_node_that_is_away_ends_it_after_some_minutes() -> None:
    node = Faulty([Study(0, 1, 0, 1, 1)], error=NodeUnavailableError("away"), there=False)
    events = [planned(plan())]
    with pytest.raises(NodeUnavailableError, match="away"):
        run(node, events)
    assert (node.clock.at - TODAY).total_seconds() == sum(PAUSES)
    assert "not fetched yet" in [each.reason for each in node.report(state_of(events))]


def test_a_day_that_was_not_over_is_asked_for_again() -> None:
    items = items_of_question({"study_date": "20260601"}, TODAY.date())
    node, events = Node([]), [planned(Plan("PACS", items))]
    report = node.report(run(node, events))
    assert [each.reason for each in report] == ["it was asked for before the day was over"]
    node.clock.at += timedelta(days=1)
    assert node.report(run(node, events)) == ()
    assert sum(node.asked.values()) == 2


def test_another_table_takes_the_place_of_the_old_and_only_what_is_new_is_asked_for() -> None:
    node, events = Node([]), [planned(plan())]
    run(node, events)
    events.append(planned(Plan("PACS", items_of_question({"study_date": "20260105-20260107"}, TODAY.date()))))
    run(node, events)
    assert sum(node.asked.values()) == 7


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=9), max_size=2), max_size=5), st.data())
def test_a_journal_that_is_cut_anywhere_has_all_its_whole_lines(
    events: list[dict[str, str]], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "harvest")
        for event in events:
            journal.add(event)
        assert journal.events() == events
        path = Path(folder) / "harvest" / JOURNAL
        content = path.read_bytes() if events else b""
        cut = data.draw(st.integers(0, len(content)))
        if events:
            path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        assert journal.events() == events[:whole]
        journal.add({"then": "more"})
        assert journal.events() == [*events[:whole], {"then": "more"}]
        assert path.stat().st_mode & 0o077 == 0
