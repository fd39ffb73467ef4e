"""The states of a delivery and the standard's codes in plain words."""

from datetime import UTC, datetime, timedelta

import pytest

from catalog.deliveries import (
    ATTEMPTS_AT_MOST,
    Event,
    State,
    commitment_meaning,
    decide,
    next_attempt,
    store_meaning,
)

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


def _walk(*events: Event) -> State:
    state = State.QUEUED
    for event in events:
        state = decide(state, event, attempts=1, now=NOW).state
    return state


def test_the_whole_way_ends_confirmed() -> None:
    way = (Event.CLAIM, Event.VALID, Event.SEND, Event.SUCCESS, Event.ASK, Event.COMMIT, Event.SAME)
    assert _walk(*way) is State.CONFIRMED


def test_a_node_without_commitment_is_confirmed_by_reading_back() -> None:
    assert _walk(Event.CLAIM, Event.VALID, Event.SEND, Event.WARNING, Event.SAME) is State.CONFIRMED


def test_other_bytes_at_the_node_are_a_failure_even_after_commitment() -> None:
    assert _walk(Event.VALID, Event.SEND, Event.SUCCESS, Event.COMMIT, Event.DIFFERENT) is State.FAILED


def test_a_claim_after_a_crash_sends_again_what_may_not_have_arrived() -> None:
    assert _walk(Event.VALID, Event.SEND, Event.CLAIM) is State.QUEUED


def test_a_claim_after_a_crash_keeps_what_the_node_has_answered() -> None:
    assert _walk(Event.VALID, Event.SEND, Event.SUCCESS, Event.CLAIM) is State.STORED


def test_an_event_that_cannot_happen_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="queued cannot take the event SAME"):
        decide(State.QUEUED, Event.SAME, attempts=1, now=NOW)


def test_pauses_double_from_one_minute_to_one_day() -> None:
    minutes = [
        (next_attempt(NOW, attempts) - NOW) / timedelta(minutes=1) for attempts in (1, 2, 3, 11, 12, 99)
    ]
    assert minutes == [1, 2, 4, 1024, 1440, 1440]


def test_a_postponed_delivery_is_released_and_rests() -> None:
    decision = decide(State.SENDING, Event.UNAVAILABLE, attempts=3, now=NOW)
    assert (decision.state, decision.stage, decision.released) == (State.QUEUED, "postponed", True)
    assert decision.next_attempt == NOW + timedelta(minutes=4)


@pytest.mark.parametrize("event", [Event.UNAVAILABLE, Event.CLAIM])
def test_the_last_attempt_ends_it(event: Event) -> None:
    assert decide(State.SENDING, event, attempts=ATTEMPTS_AT_MOST, now=NOW).state is State.FAILED


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (0x0000, Event.SUCCESS),
        (0x0111, Event.WARNING),
        (0x0117, Event.REFUSED),
        (0x0122, Event.REFUSED),
        (0x0124, Event.REFUSED),
        (0x0213, Event.UNAVAILABLE),
        (0xA700, Event.UNAVAILABLE),
        (0xA7FF, Event.UNAVAILABLE),
        (0xA900, Event.REFUSED),
        (0xB000, Event.WARNING),
        (0xB006, Event.WARNING),
        (0xB007, Event.WARNING),
        (0xBFFF, Event.WARNING),
        (0xC000, Event.REFUSED),
        (0xC123, Event.REFUSED),
        (0xFE00, Event.UNAVAILABLE),
        (0x9999, Event.UNAVAILABLE),
    ],
)
def test_a_status_of_c_store_decides(status: int, event: Event) -> None:
    meaning = store_meaning(status)
    assert meaning.event is event
    assert f"{status:04X}" in meaning.words


@pytest.mark.parametrize(
    ("reason", "event"),
    [
        (0x0110, Event.COMMIT_POSTPONED),
        (0x0112, Event.COMMIT_MISSING),
        (0x0119, Event.COMMIT_FAILED),
        (0x0122, Event.COMMIT_FAILED),
        (0x0131, Event.COMMIT_POSTPONED),
        (0x0213, Event.COMMIT_POSTPONED),
        (0x7777, Event.COMMIT_POSTPONED),
    ],
)
def test_a_failure_reason_of_commitment_decides(reason: int, event: Event) -> None:
    meaning = commitment_meaning(reason)
    assert meaning.event is event
    assert f"{reason:04X}" in meaning.words
