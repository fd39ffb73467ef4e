"""Keeps when series became stable, and by which rule; what comes later makes a later event."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from catalog.database import Catalog
from catalog.models import files, instances, receptions, remotes, series, series_events
from catalog.places import State
from catalog.receptions import below
from catalog.stability import OpenSeries


@dataclass(frozen=True, slots=True)
class SeriesEvent:
    """A series was stable."""

    number: int
    """Later ones have larger numbers, whatever the clock says."""
    at: datetime
    series_instance_uid: str
    instances: int
    """Of the series, that were here then."""
    rule: str
    """Why it was taken for stable, in words."""
    is_open: bool = False
    """Whether something came since, for which there will be a later event."""


def open_series(catalog: Catalog, folder: Path) -> list[OpenSeries]:
    """Return the series of which something came into a folder since their last event, and is settled."""
    is_routed = sa.func.min(sa.case((receptions.c.routed, 1), else_=0))
    asked = (
        sa.select(receptions.c.series_instance_uid, sa.func.max(receptions.c.id))
        .where(receptions.c.event.is_(None), receptions.c.series_instance_uid != "", below(folder))
        .group_by(receptions.c.series_instance_uid)
        .having(is_routed == 1)
    )
    with catalog.reading() as connection:
        last = {row[0]: row[1] for row in connection.execute(asked)}
        told = _told(connection, list(last))
        here = _here(connection, [uid for uid in last if uid in told])
    return [OpenSeries(uid, last[uid], here.get(uid, 0), *told.get(uid, (None, ""))) for uid in last]


def record(catalog: Catalog, series_instance_uid: str, last: int, rule: str, now: datetime) -> SeriesEvent:
    """Record that a series is stable with what was received of it up to some reception; twice is once."""
    with catalog.transaction() as connection:
        which = (
            series_events.c.series_instance_uid == series_instance_uid,
            series_events.c.reception == last,
        )
        found = connection.execute(sa.select(series_events).where(*which)).first()
        if found is not None:
            return _event(found)
        count = _here(connection, [series_instance_uid]).get(series_instance_uid, 0)
        number = connection.scalar(
            series_events.insert()
            .values(
                at=now, series_instance_uid=series_instance_uid, reception=last, instances=count, rule=rule
            )
            .returning(series_events.c.id)
        )
        covered = (
            receptions.c.series_instance_uid == series_instance_uid,
            receptions.c.event.is_(None),
            receptions.c.id <= last,
        )
        connection.execute(receptions.update().where(*covered).values(event=number))
        return _event(connection.execute(sa.select(series_events).where(series_events.c.id == number)).one())


def due(catalog: Catalog, folder: Path) -> list[SeriesEvent]:
    """Return the events that no rule has been asked about, of what was received into a folder."""
    of_folder = sa.exists().where(receptions.c.event == series_events.c.id, below(folder))
    asked = sa.select(series_events).where(sa.not_(series_events.c.routed), of_folder)
    with catalog.reading() as connection:
        return [_event(row) for row in connection.execute(asked.order_by(series_events.c.id))]


def mark_routed(connection: sa.Connection, number: int) -> None:
    """Note that rules were asked about an event."""
    connection.execute(series_events.update().where(series_events.c.id == number).values(routed=True))


def list_events(
    catalog: Catalog, *, series_instance_uid: str | None = None, limit: int | None = None
) -> list[SeriesEvent]:
    """Return events, the last first."""
    later = sa.exists().where(
        receptions.c.series_instance_uid == series_events.c.series_instance_uid,
        receptions.c.event.is_(None),
    )
    asked = sa.select(series_events, later.label("is_open")).order_by(series_events.c.id.desc()).limit(limit)
    if series_instance_uid is not None:
        asked = asked.where(series_events.c.series_instance_uid == series_instance_uid)
    with catalog.reading() as connection:
        return [_event(row, is_open=row.is_open) for row in connection.execute(asked)]


def _event(row: Any, *, is_open: bool = False) -> SeriesEvent:
    return SeriesEvent(row.id, row.at, row.series_instance_uid, row.instances, row.rule, bool(is_open))


def _told(connection: sa.Connection, uids: Collection[str]) -> dict[str, tuple[int, str]]:
    """How many instances sources told of; the largest count, and who told it."""
    asked = (
        sa.select(series.c.series_instance_uid, remotes.c.instances, remotes.c.source)
        .join(series, remotes.c.series == series.c.id)
        .where(series.c.series_instance_uid.in_(uids), remotes.c.instances.is_not(None))
        .order_by(remotes.c.instances)
    )
    return {row.series_instance_uid: (row.instances, row.source) for row in connection.execute(asked)}


def _here(connection: sa.Connection, uids: Collection[str]) -> dict[str, int]:
    asked = (
        sa.select(series.c.series_instance_uid, sa.func.count(sa.distinct(instances.c.id)))
        .join(instances, instances.c.series == series.c.id)
        .join(files, files.c.instance == instances.c.id)
        .where(series.c.series_instance_uid.in_(uids), files.c.state == State.INDEXED.value)
        .group_by(series.c.series_instance_uid)
    )
    return {row[0]: row[1] for row in connection.execute(asked)}
