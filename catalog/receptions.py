"""Who sent what to this bench: one row an object that came, noted with it, before its sender is answered.

Objects that were here already have a row, too: it says that another sent them. Numbers grow in the order in
which objects were noted, whatever the clock says.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import batched
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from catalog.bulk import insert_rows
from catalog.database import Catalog
from catalog.deliveries import Origin
from catalog.models import deliveries, files, instances, patients, receptions, series, studies
from catalog.places import State
from catalog.saying import varied
from catalog.scan import openable, storable
from catalog.where import compile_where, names_in

_ON_THE_WAY = State.RECEIVED.value
_DUPLICATE = "duplicate"
_NOT_FOUND = frozenset({_ON_THE_WAY, State.QUARANTINED.value})
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent an object; everything is empty where nobody can say."""

    node: str = ""
    """Name of its node here."""
    calling_ae_title: str = ""
    called_ae_title: str = ""


NOBODY = Sender()


@dataclass(frozen=True, slots=True)
class Reception:
    """One object as it came."""

    number: int
    at: datetime
    sender: Sender
    sop_instance_uid: str
    """Empty where it could not be read."""
    series_instance_uid: str
    digest: str
    """SHA-256 of the whole file."""
    path: str
    """Where it was put."""
    state: str
    """What became of it: that of its place; `duplicate` where the same bytes were here."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An instance of which a received file, with just these bytes, is what counts."""

    path: str
    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    digest: str


@dataclass(frozen=True, slots=True)
class Past:
    """Through whose hands an instance went before."""

    senders: frozenset[Sender]
    made_here: bool
    """Whether it went out from here as a result, or without the identity of a patient."""


def note(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows of objects that came, in the transaction that notes them; see `row`."""
    insert_rows(connection, receptions, rows)


def row(
    sender: Sender, place: tuple[str, str], uids: tuple[str, str], digest: str, at: datetime
) -> dict[str, Any]:
    """Return the row of an object that came.

    Parameters
    ----------
    place
        Folder and name of the file, as its row in `files` has them.
    uids
        SOP Instance UID and Series Instance UID; empty where they could not be read.
    """
    return {
        "at": at,
        "node": storable(sender.node),
        "calling_ae_title": storable(sender.calling_ae_title),
        "called_ae_title": storable(sender.called_ae_title),
        "folder": place[0],
        "name": place[1],
        "sop_instance_uid": uids[0],
        "series_instance_uid": uids[1],
        "digest": digest,
    }


def below(folder: Path) -> sa.ColumnElement[bool]:
    """Return the condition that an object was received into a folder."""
    root = storable(str(folder)).rstrip("/")
    return sa.and_(receptions.c.folder > root + "/", receptions.c.folder < root + "0")  # the next character


def due(catalog: Catalog, folder: Path, *, limit: int) -> list[Reception]:
    """Return what was received and settled, and no rule has been asked about yet, in the order it came."""
    settled = sa.or_(files.c.state.is_(None), files.c.state != _ON_THE_WAY)
    asked = _select().where(sa.not_(receptions.c.routed), below(folder), settled).limit(limit)
    return _read(catalog, asked)


def received(catalog: Catalog, sop_instance_uid: str) -> list[Reception]:
    """Return every time an instance came, whoever sent it and whatever bytes it had."""
    return _read(catalog, _select().where(receptions.c.sop_instance_uid == sop_instance_uid))


def newest(catalog: Catalog) -> int:
    """Return the number of what was received last; 0 where nothing was."""
    with catalog.reading() as connection:
        return connection.scalar(sa.select(sa.func.max(receptions.c.id))) or 0


def settled_since(catalog: Catalog, number: int) -> list[Reception]:
    """Return what came after the reception of a number and is settled; of a duplicate where its bytes lie.

    What is in quarantine is not among it.
    """
    came = _read(catalog, _select().where(receptions.c.id > number))
    again = {each.sop_instance_uid: each for each in came if each.state == _DUPLICATE}
    places = _places(catalog, again)
    found = []
    for each in came:
        if each.state == _DUPLICATE:
            place = places.get((each.sop_instance_uid, each.digest))
            found += [replace(each, path=place)] if place is not None else []
        elif each.state not in _NOT_FOUND:
            found.append(each)
    return found


def _places(catalog: Catalog, uids: Collection[str]) -> dict[tuple[str, str], str]:
    """Where files of instances lie, by SOP Instance UID and digest."""
    found: dict[tuple[str, str], str] = {}
    for some in batched(uids, _AT_ONCE):
        asked = (
            sa.select(instances.c.sop_instance_uid, files.c.content_digest, files.c.folder, files.c.name)
            .join(files, files.c.instance == instances.c.id)
            .where(instances.c.sop_instance_uid.in_(some), files.c.content_digest.is_not(None))
            .order_by(files.c.id)
        )
        with catalog.reading() as connection:
            for uid, digest, folder, name in connection.execute(asked):
                found.setdefault((uid, digest), openable(f"{folder}/{name}"))
    return found


def of_event(catalog: Catalog, event: int) -> list[Reception]:
    """Return what was received for a series and made it an event when no more came."""
    return _read(catalog, _select().where(receptions.c.event == event))


def sender_at(connection: sa.Connection, folder: str, name: str) -> Sender:
    """Return who sent what lies at a place; nobody where that is not known."""
    columns = (receptions.c.node, receptions.c.calling_ae_title, receptions.c.called_ae_title)
    found = connection.execute(
        sa.select(*columns).where(receptions.c.folder == folder, receptions.c.name == name)
    ).first()
    return NOBODY if found is None else Sender(*found)


def mark_routed(connection: sa.Connection, numbers: Collection[int]) -> None:
    """Note that rules were asked about objects."""
    if numbers:
        connection.execute(receptions.update().where(receptions.c.id.in_(numbers)).values(routed=True))


def standing(catalog: Catalog, folder: Path, uids: Collection[str]) -> dict[tuple[str, str], Standing]:
    """Return received files that count for instances, by SOP Instance UID and digest.

    What is in conflict, in quarantine or deleted is not among them.
    """
    root = storable(str(folder)).rstrip("/")
    asked = (
        sa.select(
            files.c.folder,
            files.c.name,
            files.c.content_digest,
            instances.c.sop_instance_uid,
            instances.c.sop_class_uid,
            studies.c.study_instance_uid,
            series.c.series_instance_uid,
        )
        .join(instances, files.c.instance == instances.c.id)
        .join(series, instances.c.series == series.c.id)
        .join(studies, series.c.study == studies.c.id)
        .where(
            instances.c.sop_instance_uid.in_(uids),
            files.c.state == State.INDEXED.value,
            files.c.folder > root + "/",
            files.c.folder < root + "0",
            files.c.content_digest.is_not(None),
        )
        .order_by(files.c.id.desc())  # of several places the first stays
    )
    with catalog.reading() as connection:
        return {
            (each.sop_instance_uid, each.content_digest): Standing(
                openable(f"{each.folder}/{each.name}"),
                each.sop_instance_uid,
                each.sop_class_uid or "",
                each.study_instance_uid,
                each.series_instance_uid,
                each.content_digest,
            )
            for each in connection.execute(asked)
        }


def true_of(catalog: Catalog, where: str, uids: Collection[str]) -> set[str]:
    """Return those of some instances of which an expression is true.

    Raises
    ------
    catalog.errors.QuestionError
        If it is none.
    """
    asked = (
        sa.select(instances.c.sop_instance_uid)
        .join(series, instances.c.series == series.c.id)
        .join(studies, series.c.study == studies.c.id)
        .join(patients, studies.c.patient == patients.c.id)
        .where(instances.c.sop_instance_uid.in_(uids))
    )
    names = names_in(where)
    with catalog.reading() as connection:
        is_so = compile_where(where, varied=varied(connection, names))
        return set(connection.scalars(asked.where(is_so)))


def past(catalog: Catalog, uids: Collection[str]) -> dict[str, Past]:
    """Return through whose hands instances went before, by SOP Instance UID."""
    columns = (receptions.c.node, receptions.c.calling_ae_title, receptions.c.called_ae_title)
    came = sa.select(receptions.c.sop_instance_uid, *columns).distinct()
    made = sa.select(deliveries.c.sop_instance_uid).where(
        deliveries.c.sop_instance_uid.in_(uids),
        sa.or_(deliveries.c.is_result, deliveries.c.origin == Origin.DEIDENTIFIED.value),
    )
    senders: dict[str, set[Sender]] = defaultdict(set)
    with catalog.reading() as connection:
        for uid, *who in connection.execute(came.where(receptions.c.sop_instance_uid.in_(uids))):
            senders[uid].add(Sender(*who))
        here = set(connection.scalars(made))
    return {uid: Past(frozenset(senders[uid]), uid in here) for uid in uids}


def _select() -> sa.Select[Any]:
    of_place = sa.and_(receptions.c.folder == files.c.folder, receptions.c.name == files.c.name)
    return (
        sa.select(receptions, files.c.state)
        .select_from(receptions.outerjoin(files, of_place))
        .order_by(receptions.c.id)
    )


def _read(catalog: Catalog, asked: sa.Select[Any]) -> list[Reception]:
    with catalog.reading() as connection:
        return list(_records(connection.execute(asked)))


def _records(rows: Iterable[sa.Row[Any]]) -> Iterable[Reception]:
    for each in rows:
        yield Reception(
            each.id,
            each.at,
            Sender(each.node, each.calling_ae_title, each.called_ae_title),
            each.sop_instance_uid,
            each.series_instance_uid,
            each.digest,
            openable(f"{each.folder}/{each.name}"),
            each.state or _DUPLICATE,
        )
