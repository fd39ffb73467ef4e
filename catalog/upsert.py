"""Writes a batch of instances and places with few statements, the same on SQLite and PostgreSQL."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from catalog.among import among
from catalog.attributes import INSTANCE, PATIENT, SERIES, STUDY, Attribute, Level
from catalog.bulk import insert_rows
from catalog.contents import Written, forget_contents, write_contents
from catalog.corrections import reapply
from catalog.creators import record_creators
from catalog.models import files, instances, patients, series, studies, study_origins
from catalog.places import Instance, Place, State
from catalog.records import PixelData, Value
from catalog.said import keep, series_below, series_of_files
from catalog.spans import write_spans
from catalog.upkeep import settle

_INSTANCE_COLUMNS = tuple(each.column for each in INSTANCE)


class OvertakenError(Exception):
    """Another process wrote one of the instances since it was looked up; look again."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What one transaction writes."""

    looked_up: Mapping[str, Instance]
    """By SOP Instance UID; those with a header are written."""
    digests: Mapping[str, str]
    """Of the headers of the instances that were there when they were looked up."""
    places: Sequence[Place]
    emptied: Sequence[int | None]
    """Rows of places whose file moved away."""


def look_up(connection: sa.Connection, uids: Iterable[str]) -> dict[str, Instance]:
    """Return the instances that are there, with all their places."""
    found = {
        row.sop_instance_uid: Instance(row.sop_instance_uid, row.header_digest, row.id)
        for row in connection.execute(
            sa.select(instances.c.id, instances.c.sop_instance_uid, instances.c.header_digest).where(
                among(instances.c.sop_instance_uid, uids)
            )
        )
    }
    by_id = {each.id: each for each in found.values()}
    if by_id:
        for row in connection.execute(sa.select(files).where(among(files.c.instance, by_id))):
            instance = by_id[row.instance]
            instance.places.append(place_of(row, instance.sop_instance_uid))
    return found


def place_of(row: sa.Row[Any], sop_instance_uid: str | None) -> Place:
    """Return the place of a row of `files`; a deleted one as if it were not, as `write` buries it again."""
    pixel_data = None
    if row.pixel_tag is not None:
        pixel_data = PixelData(row.pixel_tag, row.pixel_vr, row.pixel_offset, row.pixel_length)
    return Place(
        row.folder,
        row.name,
        row.size,
        row.mtime_ns,
        State.INDEXED if row.state == State.DELETED.value else State(row.state),
        row.reason,
        sop_instance_uid,
        pixel_data,
        row.content_digest,
        row.id,
    )


def write(connection: sa.Connection, changes: Changes) -> None:
    """Write everything, rows of higher levels first.

    Raises
    ------
    OvertakenError
        If an instance is no longer as it was looked up; nothing may be committed then.
    """
    there = {
        row.sop_instance_uid: row.header_digest
        for row in connection.execute(
            sa.select(instances.c.sop_instance_uid, instances.c.header_digest).where(
                among(instances.c.sop_instance_uid, changes.looked_up)
            )
        )
    }
    if there != changes.digests:
        raise OvertakenError
    _hold_rows(connection)
    to_write = [each for each in changes.looked_up.values() if each.header is not None]
    new = [each for each in to_write if each.id is None]
    again = [each for each in to_write if each.id is not None]
    left: dict[Level, set[int]] = {Level.PATIENT: set(), Level.STUDY: set(), Level.SERIES: set()}
    read_again = [each.id for each in again if each.id is not None]
    touched = _series_of(connection, read_again)
    forget_contents(connection, read_again)
    _write_instances(connection, new, left, overwrite=False)
    _write_instances(connection, again, left, overwrite=True)
    headers = [each.header for each in to_write if each.header is not None]
    uids = {str(each.values["sop_instance_uid"]) for each in headers}
    uids |= {each.sop_instance_uid for each in changes.places if each.sop_instance_uid is not None}
    rows = _rows_of(connection, uids)
    contents = [
        Written(*rows[str(each.values["sop_instance_uid"])], each.content, each.values) for each in headers
    ]
    creators, odd = write_contents(connection, sorted(contents, key=attrgetter("instance")))
    record_creators(connection, creators, {rows[each.sop_instance_uid][1] for each in again})
    touched |= series_of_files(connection, [each.id for each in changes.places if each.id is not None])
    _write_places(connection, changes, {uid: row for uid, (row, _) in rows.items()})
    were_there = {uid for uid, each in changes.looked_up.items() if each.id is not None}
    touched |= {rows[uid][1] for uid in were_there.intersection(rows)}
    settle(connection, touched | odd, left)
    reapply(connection, list(changes.looked_up))


def _hold_rows(connection: sa.Connection) -> None:
    """Wait for who corrects, and hold rows of tables only afterwards: SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE patients, studies, files IN ROW EXCLUSIVE MODE"))


@dataclass(frozen=True, slots=True)
class _Rows:
    """How the rows of one level above the instances are told apart, and hang on the level above them."""

    level: Level
    table: sa.Table
    attributes: Sequence[Attribute]
    key: str
    parent: str
    words: str = ""
    """For an instance whose own level above is another than that of the row."""


_ABOVE = (
    _Rows(Level.PATIENT, patients, PATIENT, "identity", ""),
    _Rows(
        Level.STUDY,
        studies,
        STUDY,
        "study_instance_uid",
        "patient",
        "its study is known under another patient",
    ),
    _Rows(
        Level.SERIES,
        series,
        SERIES,
        "series_instance_uid",
        "study",
        "its series is known under another study",
    ),
)


def identity(values: Mapping[str, Value]) -> str:
    """What tells patients apart: ID, issuer and name; without an ID also the study.

    The name is there because many anonymous archives give every patient the same ID.
    """
    patient_id, issuer, name = (
        str(values.get(each) or "") for each in ("patient_id", "issuer_of_patient_id", "patient_name")
    )
    parts = [patient_id, issuer, name.partition("=")[0].rstrip("^ ").casefold()]
    return "\n".join(parts if patient_id else [*parts, str(values["study_instance_uid"])])


def _write_instances(
    connection: sa.Connection, batch: Sequence[Instance], left: Mapping[Level, set[int]], *, overwrite: bool
) -> None:
    if not batch:
        return
    headers = [each.header for each in batch if each.header is not None]
    deviations = [list(each.deviations) for each in headers]
    parents, departures = _write_series(connection, [each.values for each in headers], left, overwrite)
    for notes, words in zip(deviations, departures, strict=True):
        notes += words
    rows = [
        dict(zip(_INSTANCE_COLUMNS, map(header.values.get, _INSTANCE_COLUMNS), strict=True))
        | {
            "series": parent,
            "transfer_syntax_uid": header.transfer_syntax_uid,
            "header_digest": header.header_digest,
            "deviations": "\n".join(notes),
        }
        for header, parent, notes in zip(headers, parents, deviations, strict=True)
    ]
    if overwrite:
        uid = instances.c.sop_instance_uid
        update = instances.update().where(uid == sa.bindparam("its_uid"))
        connection.execute(update, [row | {"its_uid": row["sop_instance_uid"]} for row in rows])
    else:
        insert_rows(connection, instances, rows)
    write_spans(connection, rows)


def _write_series(
    connection: sa.Connection,
    values: Sequence[Mapping[str, Value]],
    left: Mapping[Level, set[int]],
    overwrite: bool,
) -> tuple[list[int], list[list[str]]]:
    """Write patient, study and series of each, and return the series' rows and what departs from them.

    What is there already stays, and what it lacks is filled in; with `overwrite` it is the other way round.
    Rows that something was put under another of are added to those that are `left`.
    """
    rows: list[int] = [0] * len(values)
    parents: Sequence[int | None] = [None] * len(values)
    departures: list[list[str]] = [[] for _ in values]
    said_at_all = set[str]().union(*values)
    for level in _ABOVE:
        found = _write_level(connection, level, values, said_at_all, parents, left, overwrite)
        corrected = _corrected(connection, level, found, parents)
        for (row, parent), wanted, words in zip(found, parents, departures, strict=True):
            if parent != wanted and (row, wanted) not in corrected:
                words.append(level.words)
        rows = [row for row, _ in found]
        parents = rows
    return rows, departures


def _corrected(
    connection: sa.Connection,
    level: _Rows,
    found: Sequence[tuple[int, int | None]],
    wanted: Sequence[int | None],
) -> set[tuple[int, int | None]]:
    """Studies with the patients their headers name, that are under another by a correction."""
    moved = {row for (row, parent), each in zip(found, wanted, strict=True) if parent != each}
    if level.table is not studies or not moved:
        return set()
    rows = connection.execute(sa.select(study_origins).where(study_origins.c.study.in_(moved)))
    return {(row.study, row.patient) for row in rows}


def _series_of(connection: sa.Connection, rows: Iterable[int]) -> set[int]:
    """The series that instances are of now."""
    return set(connection.scalars(sa.select(instances.c.series).where(among(instances.c.id, rows))))


def _rows_of(connection: sa.Connection, uids: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Rows of instances, and of their series, by SOP Instance UID."""
    found = connection.execute(
        sa.select(instances.c.sop_instance_uid, instances.c.id, instances.c.series).where(
            among(instances.c.sop_instance_uid, uids)
        )
    )
    return {uid: (row, its_series) for uid, row, its_series in found}


def _write_level(
    connection: sa.Connection,
    level: _Rows,
    values: Sequence[Mapping[str, Value]],
    said_at_all: set[str],
    parents: Sequence[int | None],
    left: Mapping[Level, set[int]],
    overwrite: bool,
) -> list[tuple[int, int | None]]:
    """Write the rows of one level and return, for each of the values, its row and that row's parent."""
    table = level.table
    required = {each.column for each in level.attributes if not table.c[each.column].nullable}
    names = [each.column for each in level.attributes if each.column in said_at_all | required]
    keys: list[Value] = []
    rows: dict[Value, dict[str, Value]] = {}
    before: tuple[Any, ...] = ()
    for said, parent in zip(values, parents, strict=True):
        now = (said["study_instance_uid"], parent, said.get(level.key), *map(said.get, names))
        if now == before:  # as files of one series mostly are
            keys.append(keys[-1])
            continue
        before = now
        key = said[level.key] if level.key in said else identity(said)
        keys.append(key)
        row = rows.setdefault(key, {level.key: key} | ({level.parent: parent} if level.parent else {}))
        for name in names:
            if overwrite or row.get(name) is None:
                row[name] = said.get(name, row.get(name, "" if name in required else None))
    there = _held(connection, level, rows)
    missing = [row for key, row in rows.items() if key not in there]
    if missing:  # another process may be faster
        insert_rows(connection, table, missing, key=(level.key,))
        there |= _held(connection, level, [row[level.key] for row in missing])
    parent_of: dict[Value, int | None] = {}
    for key, row in rows.items():
        is_now = there[key]
        first, second = (row, is_now) if overwrite else (is_now, row)
        filled = {name: second[name] if first[name] is None else first[name] for name in row}
        changed = {name: value for name, value in filled.items() if value != is_now[name]}
        if changed:
            _change(connection, level, is_now, changed, left)
        parent_of[key] = (is_now | changed)[level.parent] if level.parent else None
    return [(there[key]["id"], parent_of[key]) for key in keys]


def _held(connection: sa.Connection, level: _Rows, keys: Iterable[Value]) -> dict[Value, dict[str, Any]]:
    """Rows of a level by their keys; nobody else changes them before the transaction ends."""
    key = level.table.c[level.key]
    found = connection.execute(
        sa.select(level.table).where(among(key, keys)).order_by(key).with_for_update(key_share=True)
    )
    return {row[level.key]: dict(row) for row in found.mappings()}


def _change(
    connection: sa.Connection,
    level: _Rows,
    now: Mapping[str, Any],
    changed: Mapping[str, Value],
    left: Mapping[Level, set[int]],
) -> None:
    """Change a row; what else its files said they go on saying, those put under another row above, too."""
    below = series_below(level.level, now["id"])
    keep(connection, below, now, changed)
    if level.parent in changed:
        _put_under(connection, level, now["id"], (now[level.parent], changed[level.parent]), left)
    table = level.table
    connection.execute(table.update().where(table.c.id == now["id"]).values(**changed))


def _put_under(
    connection: sa.Connection,
    level: _Rows,
    row: int,
    parents: tuple[Any, Any],
    left: Mapping[Level, set[int]],
) -> None:
    """Let files go on saying what they said of the rows above theirs, which others take the place of."""
    for above in reversed(_ABOVE[: _ABOVE.index(level)]):
        if parents[0] == parents[1]:
            return
        left[above.level].add(parents[0])
        one, other = (
            dict(connection.execute(sa.select(above.table).where(above.table.c.id == each)).mappings().one())
            for each in parents
        )
        keep(connection, series_below(level.level, row), one, other)
        parents = (one.get(above.parent), other.get(above.parent))


def _write_places(connection: sa.Connection, changes: Changes, ids: Mapping[str, int]) -> None:
    """Write places; `ids` are the rows of their instances by SOP Instance UID."""
    rows = [_row(each, ids) for each in changes.places]
    insert_rows(connection, files, rows, key=("folder", "name"), update=True)
    mark_vanished(connection, [each for each in changes.emptied if each is not None])


def _row(place: Place, ids: Mapping[str, int]) -> dict[str, Any]:
    pixels = place.pixel_data
    return {
        "folder": place.folder,
        "name": place.name,
        "size": place.size,
        "mtime_ns": place.mtime_ns,
        "state": place.state.value,
        "reason": place.reason,
        "instance": ids[place.sop_instance_uid] if place.sop_instance_uid is not None else None,
        "pixel_tag": pixels.tag if pixels else None,
        "pixel_vr": pixels.vr if pixels else None,
        "pixel_offset": pixels.offset if pixels else None,
        "pixel_length": pixels.length if pixels else None,
        "content_digest": place.content_digest,
    }


def mark_vanished(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Note that the files of some rows are gone; those rows stay, and above them what other files say."""
    if ids:
        connection.execute(files.update().where(among(files.c.id, ids)).values(state=State.VANISHED.value))
        settle(connection, series_of_files(connection, ids), {})
