"""Keeps what rules did with what was received, in one transaction with the deliveries: twice is once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from catalog import outbox, receptions, series_events
from catalog.database import Catalog
from catalog.errors import DeliveryError
from catalog.models import routings


class Outcome(StrEnum):
    """What a rule did with one instance."""

    QUEUED = "queued"
    """It is in the outbox."""
    REFUSED = "refused"
    """It must not leave as things are; `workbench route --again` asks once more."""
    HELD = "held"
    """It would go where it was, and does not."""
    STORED = "stored"
    """It is kept, and no rule below was asked."""
    NOTIFIED = "notified"


@dataclass(frozen=True, slots=True)
class Effect:
    """One rule, one instance, one destination."""

    rule: str
    sop_instance_uid: str
    digest: str
    """Of the file that was received."""
    node: str
    """Where it goes; empty where it goes nowhere."""
    outcome: Outcome
    words: str = ""
    """Why, for a person."""
    item: outbox.Item | None = None
    """What is queued."""


@dataclass(frozen=True, slots=True)
class Routing:
    """What a rule did, as it is on record."""

    number: int
    at: datetime
    rule: str
    sop_instance_uid: str
    digest: str
    node: str
    outcome: str
    words: str
    delivery: int | None


def record(
    catalog: Catalog,
    effects: Sequence[Effect],
    now: datetime,
    *,
    numbers: Collection[int] = (),
    event: int | None = None,
) -> list[Effect]:
    """Write what rules do, the deliveries they make, and that they were asked, in one transaction.

    Parameters
    ----------
    numbers, event
        Receptions, and an event, which need not be asked about again.

    Returns
    -------
    list of Effect
        Those that are new, or were refused before; one that the outbox refuses says so.
    """
    written = []
    with catalog.transaction() as connection:
        for each in effects:
            known = connection.execute(
                sa.select(routings.c.id, routings.c.outcome).where(*_same(each))
            ).one_or_none()
            if known is not None and known.outcome != Outcome.REFUSED.value:
                continue
            effect, delivery = _queued(connection, each, now)
            values = {"at": now, "outcome": effect.outcome.value, "words": effect.words, "delivery": delivery}
            if known is not None:
                connection.execute(routings.update().where(routings.c.id == known.id).values(values))
            else:
                names = ("rule", "sop_instance_uid", "digest", "node")
                key = {name: getattr(each, name) for name in names}
                connection.execute(routings.insert().values(key | values))
            written.append(effect)
        receptions.mark_routed(connection, numbers)
        if event is not None:
            series_events.mark_routed(connection, event)
    return written


def _same(effect: Effect) -> Sequence[sa.ColumnElement[bool]]:
    """Of a destination there is one row an instance, whichever rule was the first."""
    same = (
        routings.c.sop_instance_uid == effect.sop_instance_uid,
        routings.c.digest == effect.digest,
        routings.c.node == effect.node,
    )
    return same if effect.node else (*same, routings.c.rule == effect.rule)


def _queued(connection: sa.Connection, effect: Effect, now: datetime) -> tuple[Effect, int | None]:
    if effect.item is None:
        return effect, None
    try:
        return effect, outbox.enqueue(connection, effect.item, now)[0]
    except DeliveryError as error:
        return replace(effect, outcome=Outcome.REFUSED, words=str(error)), None


def done(catalog: Catalog, uids: Collection[str]) -> set[tuple[str, str, str]]:
    """Return SOP Instance UID, digest and node of what is on record, but for what was refused."""
    columns = (routings.c.sop_instance_uid, routings.c.digest, routings.c.node)
    asked = sa.select(*columns).where(
        routings.c.sop_instance_uid.in_(uids),
        routings.c.node != "",
        routings.c.outcome != Outcome.REFUSED.value,
    )
    with catalog.reading() as connection:
        return {(uid, digest, node) for uid, digest, node in connection.execute(asked)}


def refused(catalog: Catalog, *, limit: int, after: int = 0) -> list[Routing]:
    """Return what was refused, in the order of its numbers."""
    asked = sa.select(routings).where(routings.c.outcome == Outcome.REFUSED.value, routings.c.id > after)
    with catalog.reading() as connection:
        return [_routing(row) for row in connection.execute(asked.order_by(routings.c.id).limit(limit))]


def list_routings(catalog: Catalog, *, rule: str | None = None, limit: int | None = None) -> list[Routing]:
    """Return what rules did, the last first."""
    asked = sa.select(routings).order_by(routings.c.id.desc()).limit(limit)
    if rule is not None:
        asked = asked.where(routings.c.rule == rule)
    with catalog.reading() as connection:
        return [_routing(row) for row in connection.execute(asked)]


def counts(catalog: Catalog) -> dict[tuple[str, str], int]:
    """Return how often each rule did what: by its name and the outcome."""
    asked = sa.select(routings.c.rule, routings.c.outcome, sa.func.count()).group_by(
        routings.c.rule, routings.c.outcome
    )
    with catalog.reading() as connection:
        return {(rule, outcome): count for rule, outcome, count in connection.execute(asked)}


def _routing(row: sa.Row[Any]) -> Routing:
    return Routing(
        row.id,
        row.at,
        row.rule,
        row.sop_instance_uid,
        row.digest,
        row.node,
        row.outcome,
        row.words,
        row.delivery,
    )
