"""Whatever happens to deliveries in whatever order, the receipt never says more than the node did."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from catalog import outbox
from catalog.database import Catalog
from catalog.deliveries import TERMINAL, TRANSITIONS, WAITING, Event, State, decide
from catalog.errors import DeliveryError

NOW = datetime(2026, 11, 24, tzinfo=UTC)
LEASE = timedelta(minutes=10)
EVENTS = st.sampled_from(Event)


@given(st.lists(EVENTS, max_size=40))
def test_confirmed_means_stored_and_read_back_in_the_same_life(events: list[Event]) -> None:
    state, seen = State.QUEUED, [State.QUEUED]
    for event in events:
        if (state, event) in TRANSITIONS:
            state = decide(state, event, attempts=1, now=NOW).state
            seen.append(state)
    if State.CONFIRMED in seen:
        last_start = max(i for i, each in enumerate(seen) if each is State.QUEUED)
        assert State.STORED in seen[last_start:]
        assert State.SENDING in seen[last_start:]


@given(st.sampled_from(State), EVENTS, st.integers(0, 100))
def test_an_event_outside_the_table_is_refused(state: State, event: Event, attempts: int) -> None:
    if (state, event) not in TRANSITIONS:
        with pytest.raises(ValueError, match="cannot take"):
            decide(state, event, attempts=attempts, now=NOW)


@given(st.sampled_from(State), EVENTS, st.integers(1, 100))
def test_a_postponed_delivery_always_waits_for_a_later_time(
    state: State, event: Event, attempts: int
) -> None:
    if (state, event) in TRANSITIONS:
        decision = decide(state, event, attempts=attempts, now=NOW)
        if decision.stage == "postponed":
            assert decision.state in WAITING
            assert decision.next_attempt is not None
            assert NOW < decision.next_attempt <= NOW + timedelta(days=1)


@given(st.sampled_from(sorted(WAITING, key=lambda each: each.value)), st.integers(0, 100))
def test_who_asks_again_changes_only_when(state: State, attempts: int) -> None:
    decision = decide(state, Event.HURRY, attempts=attempts, now=NOW)
    assert (decision.state, decision.stage, decision.next_attempt) == (state, None, NOW)
    assert not decision.released


def test_from_every_state_an_end_can_be_reached() -> None:
    ends = set(TERMINAL)
    while True:
        more = {state for (state, _), target in TRANSITIONS.items() if target in ends} | ends
        if more == ends:
            break
        ends = more
    assert ends == set(State)


def test_every_state_is_an_end_or_waits_or_can_be_claimed_after_a_crash() -> None:
    for state in set(State) - TERMINAL:
        assert TRANSITIONS[state, Event.CLAIM] in WAITING


class Senders(RuleBasedStateMachine):
    """Two senders, one of which may die at any moment, against what the outbox must remember."""

    @initialize()
    def open_outbox(self) -> None:
        self.folder = TemporaryDirectory()
        file = Path(self.folder.name) / "one.dcm"
        file.write_bytes(b"one")
        self.catalog = Catalog(Path(self.folder.name) / "catalog.sqlite")
        self.now = NOW
        self.file = file
        outbox.queue(
            self.catalog, file, "PACS", sop_instance_uid="1.2", sop_class_uid="1.3", digest="d", now=NOW
        )
        self.held: dict[str, outbox.Delivery] = {}

    @rule(sender=st.sampled_from("AB"))
    def claim(self, sender: str) -> None:
        for delivery in outbox.claim(self.catalog, "PACS", self.now, LEASE):
            self.held[sender] = delivery

    @rule(sender=st.sampled_from("AB"), event=EVENTS.filter(lambda event: event is not Event.WITHDRAW))
    def advance(self, sender: str, event: Event) -> None:
        held = self.held.get(sender)
        if held is None or (State(held.state), event) not in TRANSITIONS or event is Event.CLAIM:
            return
        before = outbox.delivery(self.catalog, held.delivery)
        try:
            self.held[sender] = outbox.advance(self.catalog, held, event, "text", self.now)
        except DeliveryError:
            assert (before.state, before.attempts) != (held.state, held.attempts)
            assert outbox.delivery(self.catalog, held.delivery) == before
            del self.held[sender]

    @rule(minutes=st.sampled_from([1, 11, 2000]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def queue_again(self) -> None:
        again = outbox.queue(
            self.catalog,
            self.file,
            "PACS",
            sop_instance_uid="1.2",
            sop_class_uid="1.3",
            digest="d",
            now=self.now,
        )
        assert State(again.state) is not State.FAILED

    @invariant()
    def nothing_is_lost_or_changed(self) -> None:
        (delivery,) = outbox.deliveries(self.catalog)
        assert (delivery.sop_instance_uid, delivery.digest, delivery.path) == ("1.2", "d", str(self.file))
        names = [stage.name for stage in delivery.stages]
        assert names[0] == "queued"
        if delivery.state == State.CONFIRMED.value:
            assert "stored" in names
        if State(delivery.state) not in TERMINAL:
            later = self.now + timedelta(days=2)
            assert outbox.due(self.catalog, "PACS", later) == [delivery]

    def teardown(self) -> None:
        if hasattr(self, "catalog"):
            self.catalog.close()
            self.folder.cleanup()


Senders.TestCase.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
TestSenders = Senders.TestCase
