"""The durable queue of deliveries: bytes first, row after; `catalog.deliveries` decides, here it is written.

A sender claims deliveries for a time. If it dies, its lease runs out and the next one goes on with the same
bytes; if it was only slow, its later writes are refused because the count of attempts has moved on.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from catalog.bulk import insert_rows
from catalog.database import Catalog
from catalog.deliveries import (
    LONGEST_REST,
    POSTPONING,
    TERMINAL,
    WAITING,
    Decision,
    Event,
    Meaning,
    Origin,
    State,
    decide,
)
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
    item = Item(
        path, node, sop_instance_uid, sop_class_uid, digest, validated, study_instance_uid,
        series_instance_uid, is_result,
    )  # fmt: skip
    with catalog.transaction() as connection:
        number, is_new = enqueue(connection, item, now)
        if not is_new:
            _ask_again(connection, number, item, now)
        return _read(connection, table.c.id == number)[0]


@dataclass(frozen=True, slots=True)
class Item:
    """One file for one node; the fields are those of `queue`."""

    path: Path
    node: str
    sop_instance_uid: str
    sop_class_uid: str
    digest: str
    validated: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    is_result: bool = False
    origin: Origin = Origin.SENT


def enqueue(connection: sa.Connection, item: Item, now: datetime) -> tuple[int, bool]:
    """Put a durable file into the outbox in a transaction of the caller, or leave what is there as it stands.

    Returns the number of the delivery, and whether it is a new one.

    Raises
    ------
    catalog.errors.DeliveryError
        As `queue`; nothing is written then.
    """
    known = connection.execute(
        sa.select(table.c.id, table.c.digest, table.c.state).where(
            table.c.sop_instance_uid == item.sop_instance_uid, table.c.node == item.node
        )
    ).one_or_none()
    if known is None:
        values = asdict(item) | {"path": str(item.path), "origin": item.origin.value}
        row = table.insert().values(values | {"state": State.QUEUED.value, "next_attempt": now})
        number: int = connection.execute(row.returning(table.c.id)).scalar_one()
        _write(connection, (), [_mark(number, State.QUEUED.value, now, "")])
        return number, True
    if known.digest != item.digest:
        raise DeliveryError(
            f"{item.sop_instance_uid} is in the outbox for {item.node} with other bytes "
            f"(delivery {known.id}); a changed object needs a SOP Instance UID of its own"
        )
    if known.state == State.WITHDRAWN.value:
        raise DeliveryError(
            f"{item.sop_instance_uid} was withdrawn from {item.node}; what is right needs a UID of its own"
        )
    return known.id, False


def _ask_again(connection: sa.Connection, number: int, item: Item, now: datetime) -> None:
    """Have due now what had failed for good, or rests after an attempt."""
    known = connection.execute(sa.select(table).where(table.c.id == number)).one()
    if known.state == State.FAILED.value:
        decision = decide(State.FAILED, Event.REQUEUE, attempts=known.attempts, now=now)
        path, validated = str(item.path), item.validated
        change = _change(number, decision, attempts=0, path=path, reason="", validated=validated)
        _write(connection, [change], [_mark(number, State.QUEUED.value, now, "queued again")])
    elif State(known.state) in WAITING and known.next_attempt > now:
        decision = decide(State(known.state), Event.HURRY, attempts=known.attempts, now=now)
        _write(connection, [_change(number, decision)])


def claim(catalog: Catalog, node: str, now: datetime, lease: timedelta, *, limit: int = 1) -> list[Delivery]:
    """Take up to `limit` due deliveries for one node, oldest first; nobody else gets them during the lease.

    Instances of one study go in the order in which they were queued: none is taken up while one before it
    waits to be sent again. One that failed for good holds up nobody.

    One that a dead sender left behind comes back as QUEUED, or as STORED or COMMITTED where the node had
    answered. One that was taken up too often ends as FAILED and is not among the returned.
    """
    claimed, until = [], now + min(lease, LONGEST_REST)
    with catalog.transaction() as connection:
        if connection.dialect.name == "postgresql":  # whoever claims sees what the one before claimed
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CLAIMING, sa.func.hashtext(node))))
        due_rows = sa.select(table).where(_is_due(node, now), ~_waits_for_another(now))
        rows = connection.execute(due_rows.order_by(table.c.id).limit(limit).with_for_update()).all()
        changes, marks = [], []
        for row in rows:
            state = State(row.state)
            decision = decide(state, Event.CLAIM, attempts=row.attempts, now=now)
            if decision.state is State.FAILED:
                text = _given_up(row.attempts, row.reason or "the sender stopped each time")
                changes.append(_change(row.id, decision, reason=text))
                marks.append(_mark(row.id, State.FAILED.value, now, text))
                continue
            changes.append(_change(row.id, decision, attempts=row.attempts + 1, claimed_until=until))
            if decision.stage is not None:
                text = f"the sender stopped while it was {row.state}; the same bytes go out again"
                marks.append(_mark(row.id, decision.stage, now, text))
            claimed.append(row.id)
        _write(connection, changes, marks)
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
        if not _advance(connection, [Step(delivery, event, text)], now, transaction_uid):
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
        ours = _advance(connection, steps, now, transaction_uid)
        by_number = {each.delivery: each for each in _read(connection, table.c.id.in_(ours))}
    return [by_number[number] for number in ours]


def _advance(
    connection: sa.Connection, steps: Sequence[Step], now: datetime, transaction_uid: str | None
) -> list[int]:
    """Write down what happened, with few statements; return the numbers of those that are still ours."""
    numbers = [each.delivery.delivery for each in steps]
    asked = sa.select(table.c.id, table.c.state, table.c.attempts).where(table.c.id.in_(numbers))
    there = {row.id: (row.state, row.attempts) for row in connection.execute(asked.with_for_update())}
    ours, changes, marks = [], [], []
    for each in steps:
        delivery, text = each.delivery, each.text
        decision = decide(State(delivery.state), each.event, attempts=delivery.attempts, now=each.at or now)
        if there.get(delivery.delivery) != (delivery.state, delivery.attempts):
            continue
        if decision.state is State.FAILED and each.event in POSTPONING:
            text = _given_up(delivery.attempts, text)
        values: dict[str, Any] = {
            "reason": text if decision.stage in {"postponed", State.FAILED.value} else ""
        }
        if transaction_uid is not None:
            values["transaction_uid"] = transaction_uid
        ours.append(delivery.delivery)
        changes.append(_change(delivery.delivery, decision, **values))
        if decision.stage is not None:
            marks.append(_mark(delivery.delivery, decision.stage, each.at or now, text))
    _write(connection, changes, marks)
    return ours


def awaits_report(catalog: Catalog, transaction_uid: str) -> bool:
    """Whether deliveries wait for a node's report on a storage commitment."""
    with catalog.reading() as connection:
        return connection.scalar(sa.select(sa.exists().where(_awaits(transaction_uid)))) is True


def report(
    catalog: Catalog,
    transaction_uid: str,
    says: Callable[[str], Meaning],
    now: datetime,
    *,
    node: str | None = None,
) -> int:
    """Write down what a node reported on a storage commitment, in the stead of whoever asked for it.

    Who sends finds it when it looks, also where it was not there when the report came. Returns how many
    deliveries waited for it; a report that nothing waits for changes nothing.

    Parameters
    ----------
    says
        What the report says of a SOP Instance UID.
    node
        Name of the node that reports, where that is known: it speaks for itself alone.
    """
    waiting = _awaits(transaction_uid)
    if node is not None:
        waiting &= table.c.node == node
    with catalog.transaction() as connection:
        steps = []
        for each in _read(connection, waiting):
            meaning = says(each.sop_instance_uid)
            steps.append(Step(each, meaning.event, meaning.words))
        told = _advance(connection, steps, now, None) if steps else []
        still = table.c.id.in_(told) & _awaits(transaction_uid)  # they are asked about anew
        connection.execute(table.update().where(still).values(transaction_uid=None))
    return len(told)


def _awaits(transaction_uid: str) -> sa.ColumnElement[bool]:
    return (table.c.transaction_uid == transaction_uid) & (table.c.state == State.STORED.value)


_OURS = (table.c.id == sa.bindparam("number")) & (table.c.attempts == sa.bindparam("times"))
"""What a sender took up, and nobody else since."""


def renew(catalog: Catalog, claimed: Collection[Delivery], now: datetime, lease: timedelta) -> None:
    """Hold on to what a sender at work has claimed; what it gave up, or another has taken up, stays so."""
    if not claimed:
        return
    held = _OURS & table.c.claimed_until.is_not(None)
    with catalog.transaction() as connection:
        connection.execute(
            table.update().where(held).values(claimed_until=now + min(lease, LONGEST_REST)),
            [{"number": each.delivery, "times": each.attempts} for each in claimed],
        )


def postpone(catalog: Catalog, claimed: Collection[Delivery], text: str, now: datetime) -> None:
    """Have what a sender still holds rest until the next attempt, however far it had come."""
    times = {each.delivery: each.attempts for each in claimed}
    held = table.c.id.in_(times) & table.c.state.in_(_OPEN) & table.c.claimed_until.is_not(None)
    with catalog.transaction() as connection:
        ours = [each for each in _read(connection, held) if each.attempts == times[each.delivery]]
        if ours:
            _advance(connection, [Step(each, Event.UNAVAILABLE, text) for each in ours], now, None)


def release(catalog: Catalog, claimed: Collection[Delivery]) -> None:
    """Give up what a sender holds, so that the next one need not wait for the lease to end."""
    if not claimed:
        return
    with catalog.transaction() as connection:
        connection.execute(
            table.update().where(_OURS).values(claimed_until=None),
            [{"number": each.delivery, "times": each.attempts} for each in claimed],
        )


def due(catalog: Catalog, node: str, now: datetime) -> list[Delivery]:
    """Return the deliveries a sender could claim now, oldest first."""
    with catalog.reading() as connection:
        return _read(connection, _is_due(node, now) & ~_waits_for_another(now))


def due_nodes(catalog: Catalog, now: datetime, *, sent_before: datetime | None = None) -> list[str]:
    """Return the names of the nodes for which something is due.

    Parameters
    ----------
    sent_before
        What a person sent counts if it is due since before this moment; any when left out.
    """
    wanted = sa.select(table.c.node).distinct().where(_takes_up(now))
    if sent_before is not None:
        is_old = table.c.next_attempt <= sent_before
        wanted = wanted.where(sa.or_(table.c.origin != Origin.SENT.value, is_old))
    with catalog.reading() as connection:
        return sorted(connection.scalars(wanted))


@dataclass(frozen=True, slots=True)
class Depth:
    """How many deliveries to a node are in a state."""

    node: str
    state: str
    deliveries: int


def depths(catalog: Catalog) -> list[Depth]:
    """Return how many deliveries there are, by node and state."""
    wanted = sa.select(table.c.node, table.c.state, sa.func.count()).group_by(table.c.node, table.c.state)
    with catalog.reading() as connection:
        return sorted(
            (Depth(*row) for row in connection.execute(wanted)), key=lambda each: (each.node, each.state)
        )


def due_since(catalog: Catalog) -> dict[str, datetime]:
    """Return when the next attempt of the oldest open delivery is or was due, by node."""
    oldest = sa.func.min(table.c.next_attempt, type_=table.c.next_attempt.type)
    wanted = sa.select(table.c.node, oldest).where(table.c.state.in_(_OPEN)).group_by(table.c.node)
    with catalog.reading() as connection:
        return {row[0]: row[1] for row in connection.execute(wanted.order_by(table.c.node))}


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
    return table.c.state.in_(_OPEN) & ~_rests(table.c, now)


def _rests(of: Any, now: datetime) -> sa.ColumnElement[bool]:
    """Whether a delivery waits for its next attempt, or is with a sender."""
    return _is_ahead(of.next_attempt, now) | sa.func.coalesce(_is_ahead(of.claimed_until, now), sa.false())


def _is_ahead(moment: sa.ColumnElement[Any], now: datetime) -> sa.ColumnElement[bool]:
    """Whether it is to come; what is farther off than any that is written was of a clock since put right."""
    return sa.and_(moment > now, moment <= now + LONGEST_REST)


def _waits_for_another(now: datetime) -> sa.ColumnElement[bool]:
    """Whether an instance of the same study was queued before, is not at the node, and is not due now."""
    before = table.alias()
    is_before = sa.and_(
        before.c.node == table.c.node,
        before.c.study_instance_uid == table.c.study_instance_uid,
        before.c.id < table.c.id,
        before.c.state.in_(_UNSENT),
    )
    in_a_study = table.c.study_instance_uid != ""
    return in_a_study & sa.exists().where(is_before, _rests(before.c, now)).correlate(table)


def _change(number: int, decision: Decision, **values: Any) -> dict[str, Any]:
    """Return what changes of a delivery, and its number."""
    values |= {"number": number, "state": decision.state.value}
    if decision.next_attempt is not None:
        values["next_attempt"] = decision.next_attempt
    if decision.released:
        values["claimed_until"] = None
    return values


def _mark(number: int, name: str, at: datetime, text: str) -> dict[str, Any]:
    """Return the row of a stage."""
    return {"delivery": number, "name": name, "at": at, "text": text}


def _write(
    connection: sa.Connection, changes: Iterable[dict[str, Any]], marks: Sequence[dict[str, Any]] = ()
) -> None:
    """Change deliveries and add stages; those that change alike take one statement."""
    alike: dict[frozenset[str], list[dict[str, Any]]] = {}
    for each in changes:
        alike.setdefault(frozenset(each), []).append(each)
    for some in alike.values():
        connection.execute(table.update().where(table.c.id == sa.bindparam("number")), some)
    insert_rows(connection, stages, marks)


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
            origin=row.origin,
            stages=tuple(found[row.id]),
        )
        for row in rows
    ]
