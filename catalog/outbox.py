"""The durable queue of deliveries: bytes first, row after; `catalog.deliveries` decides, here it is written.

A sender claims deliveries for a time. If it dies, its lease runs out and the next one goes on with the same
bytes; if it was only slow, its later writes are refused because the count of attempts has moved on.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from catalog.database import Catalog
from catalog.deliveries import POSTPONING, TERMINAL, WAITING, Decision, Event, State, decide
from catalog.durable import sync
from catalog.errors import DeliveryError, NotFoundError
from catalog.models import deliveries as table
from catalog.models import stages
from catalog.records import Delivery, Stage

_OPEN = tuple(state.value for state in State if state not in TERMINAL)
_UNSENT = tuple(state.value for state in (State.QUEUED, State.VALIDATED, State.SENDING))
_CLAIMING = 0x4F5554  # the first key of PostgreSQL's advisory locks of those who claim


def queue(
    catalog: Catalog,
    path: Path,
    node: str,
    *,
    sop_instance_uid: str,
    sop_class_uid: str,
    digest: str,
    now: datetime,
    validated: str = "",
    study_instance_uid: str = "",
    series_instance_uid: str = "",
    is_result: bool = False,
) -> Delivery:
    """Put one file into the outbox for one node; twice is once.

    The file is made durable before its row appears. The same instance with the same bytes is the same
    delivery; one that had failed for good, or that rests after an attempt, is due now, since asking once more
    is how a person says that the cause is gone.

    Parameters
    ----------
    path
        The DICOM file; it must stay as it is until the delivery is confirmed.
    node
        Name of the node.
    digest
        SHA-256 of the file's bytes; what is sent must match it.
    validated
        Who judged the object and found it fit, in words for the receipt.
    study_instance_uid
        Instances of one study go to a node in the order in which they were queued.
    series_instance_uid, is_result
        A series of results that were sent is known as such when it comes back.

    Raises
    ------
    OSError
        If the file is not there or cannot be made durable.
    catalog.errors.DeliveryError
        If the same SOP Instance UID is queued for this node with other bytes, or was withdrawn from it.
    """
    path = path.absolute()
    sync(path)
    sync(path.parent)
    with catalog.transaction() as connection:
        known = connection.execute(
            sa.select(table).where(table.c.sop_instance_uid == sop_instance_uid, table.c.node == node)
        ).one_or_none()
        if known is None:
            row = table.insert().values(
                sop_instance_uid=sop_instance_uid,
                sop_class_uid=sop_class_uid,
                node=node,
                path=str(path),
                digest=digest,
                state=State.QUEUED.value,
                next_attempt=now,
                validated=validated,
                study_instance_uid=study_instance_uid,
                series_instance_uid=series_instance_uid,
                is_result=is_result,
            )
            identity = connection.execute(row.returning(table.c.id)).scalar_one()
            _add_stage(connection, identity, State.QUEUED.value, now, "")
            return _read(connection, table.c.id == identity)[0]
        if known.digest != digest:
            raise DeliveryError(
                f"{sop_instance_uid} is in the outbox for {node} with other bytes (delivery {known.id}); "
                "a changed object needs a SOP Instance UID of its own"
            )
        if known.state == State.WITHDRAWN.value:
            raise DeliveryError(
                f"{sop_instance_uid} was withdrawn from {node}; what is right needs a UID of its own"
            )
        if known.state == State.FAILED.value:
            decision = decide(State.FAILED, Event.REQUEUE, attempts=known.attempts, now=now)
            _write(connection, known.id, decision, attempts=0, path=str(path), reason="", validated=validated)
            _add_stage(connection, known.id, State.QUEUED.value, now, "queued again")
        elif State(known.state) in WAITING and known.next_attempt > now:
            decision = decide(State(known.state), Event.HURRY, attempts=known.attempts, now=now)
            _write(connection, known.id, decision)
        return _read(connection, table.c.id == known.id)[0]


def claim(catalog: Catalog, node: str, now: datetime, lease: timedelta, *, limit: int = 1) -> list[Delivery]:
    """Take up to `limit` due deliveries for one node, oldest first; nobody else gets them during the lease.

    Instances of one study go in the order in which they were queued: none is taken up while one before it
    waits to be sent again. One that failed for good holds up nobody.

    One that a dead sender left behind comes back as QUEUED, or as STORED or COMMITTED where the node had
    answered. One that was taken up too often ends as FAILED and is not among the returned.
    """
    claimed = []
    with catalog.transaction() as connection:
        if connection.dialect.name == "postgresql":  # whoever claims sees what the one before claimed
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CLAIMING, sa.func.hashtext(node))))
        due_rows = sa.select(table).where(_is_due(node, now), ~_waits_for_another(now))
        rows = connection.execute(due_rows.order_by(table.c.id).limit(limit).with_for_update()).all()
        for row in rows:
            state = State(row.state)
            decision = decide(state, Event.CLAIM, attempts=row.attempts, now=now)
            if decision.state is State.FAILED:
                text = _given_up(row.attempts, row.reason or "the sender stopped each time")
                _write(connection, row.id, decision, reason=text)
                _add_stage(connection, row.id, State.FAILED.value, now, text)
                continue
            _write(connection, row.id, decision, attempts=row.attempts + 1, claimed_until=now + lease)
            if decision.stage is not None:
                text = f"the sender stopped while it was {row.state}; the same bytes go out again"
                _add_stage(connection, row.id, decision.stage, now, text)
            claimed.append(row.id)
        return _read(connection, table.c.id.in_(claimed))


def advance(
    catalog: Catalog,
    delivery: Delivery,
    event: Event,
    text: str,
    now: datetime,
    *,
    transaction_uid: str | None = None,
) -> Delivery:
    """Write down what happened to a claimed delivery and return it as it stands now.

    Parameters
    ----------
    text
        For a person, without patient data; the reason where the delivery is postponed or has failed.
    transaction_uid
        Of the storage commitment that was requested, with `Event.ASK`.

    Raises
    ------
    ValueError
        If the event cannot happen in this state.
    catalog.errors.DeliveryError
        If another sender has taken the delivery up meanwhile; nothing is written.
    """
    with catalog.transaction() as connection:
        if not _advance(connection, Step(delivery, event, text), now, transaction_uid):
            raise DeliveryError(
                f"Another sender has taken up delivery {delivery.delivery} of {delivery.sop_instance_uid} "
                f"to {delivery.node}; this one leaves it alone"
            )
        return _read(connection, table.c.id == delivery.delivery)[0]


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to one claimed delivery."""

    delivery: Delivery
    event: Event
    text: str
    """As in `advance`."""
    at: datetime | None = None
    """When it happened, where that was before it is written."""


def advance_all(
    catalog: Catalog, steps: Sequence[Step], now: datetime, *, transaction_uid: str | None = None
) -> list[Delivery]:
    """Write down what happened to several deliveries in one transaction, and return them as they stand now.

    Those that another sender has taken up meanwhile are left alone, and left out.
    """
    if not steps:
        return []
    with catalog.transaction() as connection:
        ours = [
            each.delivery.delivery
            for each in steps
            if _advance(connection, each, each.at or now, transaction_uid)
        ]
        by_number = {each.delivery: each for each in _read(connection, table.c.id.in_(ours))}
    return [by_number[number] for number in ours]


def _advance(connection: sa.Connection, step: Step, now: datetime, transaction_uid: str | None) -> bool:
    delivery, text = step.delivery, step.text
    decision = decide(State(delivery.state), step.event, attempts=delivery.attempts, now=now)
    if decision.state is State.FAILED and step.event in POSTPONING:
        text = _given_up(delivery.attempts, text)
    values: dict[str, Any] = {"reason": text if decision.stage in {"postponed", State.FAILED.value} else ""}
    if transaction_uid is not None:
        values["transaction_uid"] = transaction_uid
    still_ours = (table.c.state == delivery.state) & (table.c.attempts == delivery.attempts)
    if not _write(connection, delivery.delivery, decision, still_ours, **values):
        return False
    if decision.stage is not None:
        _add_stage(connection, delivery.delivery, decision.stage, now, text)
    return True


def release(catalog: Catalog, claimed: Collection[Delivery]) -> None:
    """Give up what a sender holds, so that the next one need not wait for the lease to end."""
    with catalog.transaction() as connection:
        for each in claimed:
            ours = (table.c.id == each.delivery) & (table.c.attempts == each.attempts)
            connection.execute(table.update().where(ours).values(claimed_until=None))


def due(catalog: Catalog, node: str, now: datetime) -> list[Delivery]:
    """Return the deliveries a sender could claim now, oldest first."""
    with catalog.reading() as connection:
        return _read(connection, _is_due(node, now) & ~_waits_for_another(now))


def due_nodes(catalog: Catalog, now: datetime) -> list[str]:
    """Return the names of the nodes for which something is due."""
    wanted = sa.select(table.c.node).distinct().where(_takes_up(now))
    with catalog.reading() as connection:
        return sorted(connection.scalars(wanted))


def deliveries(
    catalog: Catalog,
    *,
    node: str | None = None,
    states: Collection[State] = (),
    sop_instance_uids: Collection[str] = (),
) -> list[Delivery]:
    """Return deliveries with their stages, oldest first; an empty collection asks for all."""
    wanted: sa.ColumnElement[bool] = sa.true()
    if node is not None:
        wanted &= table.c.node == node
    if states:
        wanted &= table.c.state.in_([state.value for state in states])
    if sop_instance_uids:
        wanted &= table.c.sop_instance_uid.in_(sop_instance_uids)
    with catalog.reading() as connection:
        return _read(connection, wanted)


def delivery(catalog: Catalog, number: int) -> Delivery:
    """Return one delivery by its number.

    Raises
    ------
    catalog.errors.NotFoundError
        If there is none.
    """
    with catalog.reading() as connection:
        found = _read(connection, table.c.id == number)
    if not found:
        raise NotFoundError(f"There is no delivery {number} in the outbox")
    return found[0]


def _given_up(attempts: int, reason: str) -> str:
    return f"given up after {attempts} attempts: {reason}"


def _is_due(node: str, now: datetime) -> sa.ColumnElement[bool]:
    return (table.c.node == node) & _takes_up(now)


def _takes_up(now: datetime) -> sa.ColumnElement[bool]:
    free = table.c.claimed_until.is_(None) | (table.c.claimed_until <= now)
    return table.c.state.in_(_OPEN) & (table.c.next_attempt <= now) & free


def _waits_for_another(now: datetime) -> sa.ColumnElement[bool]:
    """Whether an instance of the same study was queued before, is not at the node, and is not due now."""
    before = table.alias()
    is_before = sa.and_(
        before.c.node == table.c.node,
        before.c.study_instance_uid == table.c.study_instance_uid,
        before.c.id < table.c.id,
        before.c.state.in_(_UNSENT),
    )
    resting = (before.c.next_attempt > now) | (before.c.claimed_until > now)
    in_a_study = table.c.study_instance_uid != ""
    return in_a_study & sa.exists().where(is_before, resting).correlate(table)


def _write(
    connection: sa.Connection,
    identity: int,
    decision: Decision,
    *conditions: sa.ColumnElement[bool],
    **values: Any,
) -> bool:
    values["state"] = decision.state.value
    if decision.next_attempt is not None:
        values["next_attempt"] = decision.next_attempt
    if decision.released:
        values["claimed_until"] = None
    update = table.update().where(table.c.id == identity, *conditions).values(values)
    return connection.execute(update).rowcount == 1


def _add_stage(connection: sa.Connection, identity: int, name: str, at: datetime, text: str) -> None:
    connection.execute(stages.insert().values(delivery=identity, name=name, at=at, text=text))


def _read(connection: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[Delivery]:
    rows = connection.execute(sa.select(table).where(wanted).order_by(table.c.id)).all()
    found: dict[int, list[Stage]] = {row.id: [] for row in rows}
    of_wanted = sa.select(stages).where(stages.c.delivery.in_(sa.select(table.c.id).where(wanted)))
    for row in connection.execute(of_wanted.order_by(stages.c.id)):
        found[row.delivery].append(Stage(row.name, row.at, row.text))
    return [
        Delivery(
            delivery=row.id,
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            node=row.node,
            path=row.path,
            digest=row.digest,
            state=row.state,
            reason=row.reason,
            attempts=row.attempts,
            next_attempt=row.next_attempt,
            transaction_uid=row.transaction_uid,
            validated=row.validated,
            study_instance_uid=row.study_instance_uid,
            series_instance_uid=row.series_instance_uid,
            is_result=row.is_result,
            stages=tuple(found[row.id]),
        )
        for row in rows
    ]
