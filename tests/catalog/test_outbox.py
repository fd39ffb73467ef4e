"""The durable queue of deliveries."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog import outbox
from catalog.database import Catalog
from catalog.deliveries import ATTEMPTS_AT_MOST, Event, State
from catalog.errors import DeliveryError, NotFoundError
from catalog.records import Delivery

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
LEASE = timedelta(minutes=10)
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


def _queue(
    catalog: Catalog, folder: Path, uid: str = "1.2.3", *, node: str = "PACS", digest: str = "d"
) -> Delivery:
    file = folder / f"{uid}.dcm"
    file.write_bytes(uid.encode())
    return outbox.queue(catalog, file, node, sop_instance_uid=uid, sop_class_uid=SEG, digest=digest, now=NOW)


def _claim(catalog: Catalog, now: datetime = NOW) -> Delivery:
    (delivery,) = outbox.claim(catalog, "PACS", now, LEASE)
    return delivery


def test_a_queued_instance_is_due_at_once(catalog: Catalog, tmp_path: Path) -> None:
    queued = _queue(catalog, tmp_path)
    assert outbox.due(catalog, "PACS", NOW) == [queued]
    assert outbox.due(catalog, "OTHER", NOW) == []
    assert [(stage.name, stage.at) for stage in queued.stages] == [("queued", NOW)]


def test_a_file_that_is_not_there_gets_no_row(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        outbox.queue(
            catalog, tmp_path / "no", "PACS", sop_instance_uid="1", sop_class_uid=SEG, digest="d", now=NOW
        )
    assert outbox.deliveries(catalog) == []


def test_queuing_the_same_bytes_twice_is_one_delivery(catalog: Catalog, tmp_path: Path) -> None:
    assert _queue(catalog, tmp_path) == _queue(catalog, tmp_path)
    assert len(outbox.deliveries(catalog)) == 1


def test_queuing_for_two_nodes_is_two_deliveries(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    other = _queue(catalog, tmp_path, node="ARCHIVE")
    assert outbox.deliveries(catalog, node="ARCHIVE") == [other]
    assert len(outbox.deliveries(catalog)) == 2


def test_the_same_uid_with_other_bytes_is_an_error(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    with pytest.raises(DeliveryError, match=r"1\.2\.3 is in the outbox .* with other bytes"):
        _queue(catalog, tmp_path, digest="e")


def test_two_senders_never_hold_the_same_delivery(catalog: Catalog, tmp_path: Path) -> None:
    for number in range(5):
        _queue(catalog, tmp_path, f"1.{number}")
    first = outbox.claim(catalog, "PACS", NOW, LEASE, limit=3)
    second = outbox.claim(catalog, "PACS", NOW, LEASE, limit=3)
    assert [each.sop_instance_uid for each in first + second] == [f"1.{number}" for number in range(5)]


def test_a_lease_that_ran_out_lets_the_next_sender_go_on(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    held = outbox.advance(catalog, _claim(catalog), Event.VALID, "", NOW)
    held = outbox.advance(catalog, held, Event.SEND, "", NOW)
    assert outbox.claim(catalog, "PACS", NOW + LEASE / 2, LEASE) == []
    again = _claim(catalog, NOW + LEASE)
    assert (again.state, again.attempts, again.digest) == ("queued", 2, held.digest)
    assert "the same bytes go out again" in again.stages[-1].text


def test_a_lease_that_is_renewed_lets_nobody_else_go_on(catalog: Catalog, tmp_path: Path) -> None:
    for number in range(3):
        _queue(catalog, tmp_path, f"1.{number}")
    batch = outbox.claim(catalog, "PACS", NOW, LEASE, limit=3)
    outbox.release(catalog, batch[:1])
    later = outbox.claim(catalog, "PACS", NOW, LEASE)  # somebody else takes up what was given up
    outbox.renew(catalog, batch, NOW + LEASE / 2, LEASE)
    assert outbox.claim(catalog, "PACS", NOW + LEASE * 0.9, LEASE, limit=3) == []
    again = outbox.claim(catalog, "PACS", NOW + LEASE, LEASE, limit=3)
    assert [each.delivery for each in again] == [each.delivery for each in later]
    assert len(outbox.claim(catalog, "PACS", NOW + LEASE * 1.5, LEASE, limit=3)) == 2


def test_a_slow_sender_cannot_write_over_the_next_one(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    slow = _claim(catalog)
    _claim(catalog, NOW + LEASE)
    with pytest.raises(DeliveryError, match="Another sender"):
        outbox.advance(catalog, slow, Event.VALID, "", NOW + LEASE)


def test_a_released_delivery_can_be_taken_up_at_once(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    outbox.release(catalog, [_claim(catalog)])
    assert _claim(catalog).attempts == 2


def test_a_slow_sender_cannot_release_what_the_next_one_holds(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    slow = _claim(catalog)
    _claim(catalog, NOW + LEASE)
    outbox.release(catalog, [slow])
    assert outbox.claim(catalog, "PACS", NOW + LEASE, LEASE) == []


def test_a_sender_at_work_holds_on_to_what_is_still_its_own(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    slow = _claim(catalog)
    outbox.renew(catalog, [slow], NOW + LEASE / 2, LEASE)
    assert outbox.claim(catalog, "PACS", NOW + LEASE, LEASE) == []
    assert _claim(catalog, NOW + 2 * LEASE).attempts == 2
    outbox.renew(catalog, [slow], NOW + 2 * LEASE, 3 * LEASE)
    again = _claim(catalog, NOW + 3 * LEASE)
    assert again.attempts == 3, "what another took up is not renewed"
    outbox.release(catalog, [again])
    outbox.renew(catalog, [again], NOW + 3 * LEASE, LEASE)
    assert _claim(catalog, NOW + 3 * LEASE).attempts == 4, "nor what was given up"


def test_asking_again_within_the_pause_makes_a_delivery_due_now(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    postponed = outbox.advance(catalog, _claim(catalog), Event.UNAVAILABLE, "PACS did not answer", NOW)
    assert postponed.next_attempt > NOW
    again = _queue(catalog, tmp_path)
    assert (again.delivery, again.state, again.attempts) == (postponed.delivery, "queued", 1)
    assert _claim(catalog).attempts == 2


def test_asking_again_takes_nothing_from_the_sender_at_work(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    outbox.advance(catalog, _claim(catalog), Event.UNAVAILABLE, "PACS did not answer", NOW)
    at_work = _claim(catalog, NOW + timedelta(minutes=1))
    _queue(catalog, tmp_path)
    assert outbox.claim(catalog, "PACS", NOW + timedelta(minutes=1), LEASE) == []
    assert outbox.advance(catalog, at_work, Event.VALID, "", NOW).state == "validated"


def test_a_postponed_delivery_says_why_and_is_due_later(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    postponed = outbox.advance(catalog, _claim(catalog), Event.UNAVAILABLE, "PACS did not answer", NOW)
    assert (postponed.state, postponed.reason) == ("queued", "PACS did not answer")
    assert outbox.due(catalog, "PACS", NOW + timedelta(seconds=59)) == []
    assert outbox.due(catalog, "PACS", NOW + timedelta(minutes=1)) == [postponed]


def test_a_failed_delivery_is_never_due_until_somebody_queues_it_again(
    catalog: Catalog, tmp_path: Path
) -> None:
    _queue(catalog, tmp_path)
    failed = outbox.advance(catalog, _claim(catalog), Event.INVALID, "the file has changed", NOW)
    assert failed.state == "failed"
    assert outbox.due(catalog, "PACS", NOW + timedelta(days=99)) == []
    again = _queue(catalog, tmp_path)
    assert (again.delivery, again.state, again.attempts, again.reason) == (failed.delivery, "queued", 0, "")


def test_a_sender_that_dies_every_time_is_given_up(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    now = NOW
    for _ in range(ATTEMPTS_AT_MOST):
        _claim(catalog, now)
        now += LEASE
    assert outbox.claim(catalog, "PACS", now, LEASE) == []
    (failed,) = outbox.deliveries(catalog, states=[State.FAILED])
    assert failed.reason == f"given up after {ATTEMPTS_AT_MOST} attempts: the sender stopped each time"


def test_the_transaction_of_a_commitment_is_kept(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    held = _claim(catalog)
    for event in (Event.VALID, Event.SEND, Event.SUCCESS):
        held = outbox.advance(catalog, held, event, "", NOW)
    asked = outbox.advance(catalog, held, Event.ASK, "", NOW, transaction_uid="2.25.7")
    assert asked.transaction_uid == "2.25.7"
    assert [stage.name for stage in asked.stages] == ["queued", "validated", "sending", "stored"]


def test_stages_come_back_with_their_time_zone(catalog: Catalog, tmp_path: Path) -> None:
    delivery = _queue(catalog, tmp_path)
    assert outbox.delivery(catalog, delivery.delivery).stages[0].at.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    _queue(catalog, tmp_path)
    with pytest.raises(ValueError, match="time zone"):
        outbox.claim(catalog, "PACS", NOW.replace(tzinfo=None), LEASE)


def test_an_unknown_number_is_not_found(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match="no delivery 7"):
        outbox.delivery(catalog, 7)
