"""Keeps when each file and array was last read again and what was found; says whose turn it is.

A finding of rot holds for a file as long as its row has the size and time it was found with.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import batched
from typing import Any

import sqlalchemy as sa

from catalog.database import Catalog
from catalog.models import checks, files, instances, series, upserting
from catalog.objects import SCHEMES
from catalog.places import State
from catalog.records import ArrayRecord, InstanceRecord
from catalog.scan import openable, storable

_AT_ONCE = 500
"""Series in one question."""


class RottenWarning(UserWarning):
    """What is opened comes from files, or an array, that a scrub found rotten."""


class Soundness(StrEnum):
    """What became of the bytes of a file or an array, as its column has it."""

    SOUND = "sound"
    ROT = "rot"
    """Other bytes, while size and time are the same."""
    CHANGED = "changed"
    """Another size or time than was indexed."""
    VANISHED = "vanished"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Due:
    """A file whose turn it is to be read again."""

    file: int
    path: str
    size: int
    mtime_ns: int
    header_digest: str | None
    """`None` where the file is not what the instance's row was made of."""
    content_digest: str | None
    """`None` where it was never read as a whole."""


@dataclass(frozen=True, slots=True)
class Check:
    """One file or array that was read again."""

    path: str
    state: Soundness
    reason: str
    checked: datetime
    due: Due | None = None
    """The file as it was known; `None` for an array."""
    content_digest: str | None = None
    """Of the whole file, where it is sound."""


def due_files(
    catalog: Catalog, *, before: datetime, at_most: int, series_instance_uid: str | None = None
) -> Iterator[list[Due]]:
    """Files that were not read again since a moment, those first that never were, then the oldest.

    They come so many at most at a time; each time it goes on after the last one, and looks at no file twice.
    """
    due = _due(series_instance_uid)
    never, last = due.where(checks.c.id.is_(None)).order_by(files.c.id).limit(at_most), 0
    while rows := _rows(catalog, never.where(files.c.id > last)):
        last = rows[-1].id
        yield [_due_of(row) for row in rows]
    order = (checks.c.checked, checks.c.id)  # as its index has them
    oldest = due.where(checks.c.checked < before).order_by(*order).limit(at_most)
    further = oldest
    while rows := _rows(catalog, further):
        after = (rows[-1].checked, rows[-1].its_check)
        further = oldest.where(
            checks.c.checked >= after[0],
            sa.or_(checks.c.checked > after[0], checks.c.id > after[1]),
        )
        yield [_due_of(row) for row in rows]


def files_read(
    catalog: Catalog, series_instance_uids: Iterable[str], *, again: bool = False
) -> Iterator[list[Due]]:
    """Files of this machine that instances are read from, and that were never read as a whole; or all.

    Parameters
    ----------
    again
        Whether those come too whose digest is known.
    """
    names = ("id", "folder", "name", "size", "mtime_ns", "state", "content_digest")
    statement = (
        sa.select(*(files.c[name] for name in names), instances.c.header_digest)
        .select_from(series)
        .join(instances, instances.c.series == series.c.id)
        .join(files, files.c.id == place_read())
        .where(*_are_here())
        .order_by(files.c.folder, files.c.name)
    )
    if not again:
        statement = statement.where(files.c.content_digest.is_(None))
    for some in batched(series_instance_uids, _AT_ONCE):
        if rows := _rows(catalog, statement.where(series.c.series_instance_uid.in_(some))):
            yield [_due_of(row) for row in rows]


def _are_here() -> list[sa.ColumnElement[bool]]:
    """Conditions of files that are on this machine; servers see to theirs themselves."""
    return [~files.c.folder.startswith(scheme, autoescape=True) for scheme in SCHEMES]


def _rows(catalog: Catalog, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
    with catalog.reading() as connection:
        return connection.execute(statement).all()


def _due_of(row: sa.Row[Any]) -> Due:
    return Due(
        row.id,
        openable(f"{row.folder.rstrip('/')}/{row.name}"),
        row.size,
        row.mtime_ns,
        row.header_digest if row.state == State.INDEXED.value else None,
        row.content_digest,
    )


def due_bytes(catalog: Catalog, *, before: datetime, series_instance_uid: str | None = None) -> int:
    """Return how many bytes the files have that `due_files` returns one after the other."""
    due = _due(series_instance_uid).where(sa.or_(checks.c.id.is_(None), checks.c.checked < before))
    with catalog.reading() as connection:
        return int(connection.scalar(sa.select(sa.func.sum(due.subquery().c.size))) or 0)


def _due(series_instance_uid: str | None) -> sa.Select[Any]:
    columns = ("id", "folder", "name", "size", "mtime_ns", "state", "content_digest")
    statement = (
        sa.select(
            *(files.c[name] for name in columns),
            instances.c.header_digest,
            checks.c.checked,
            checks.c.id.label("its_check"),
        )
        .join(instances, files.c.instance == instances.c.id)
        .outerjoin(checks, checks.c.file == files.c.id)
        .where(
            files.c.state.in_([State.INDEXED.value, State.CONFLICT.value]),
            *_are_here(),
        )
    )
    if series_instance_uid is None:
        return statement
    return statement.join(series).where(series.c.series_instance_uid == series_instance_uid)


@dataclass(frozen=True, slots=True)
class Held:
    """How many instances of a series have a file, in the catalog's words."""

    instances: int
    hashed: int
    """Of these: with a digest of the whole file."""
    rotten: int
    """Of these: whose file was found with other bytes, and is still as it was then."""


def held(catalog: Catalog, series_instance_uids: Iterable[str]) -> dict[str, Held]:
    """Return what is here of series, by their UIDs; those without a file are not in it."""

    def counted(condition: sa.ColumnElement[bool]) -> sa.Function[int]:
        return sa.func.count(sa.distinct(sa.case((condition, instances.c.id))))

    found: dict[str, Held] = {}
    for some in batched(series_instance_uids, _AT_ONCE):
        statement = (
            sa.select(
                series.c.series_instance_uid,
                sa.func.count(sa.distinct(instances.c.id)),
                counted(files.c.content_digest.is_not(None)),
                counted(checks.c.id.is_not(None)),
            )
            .select_from(files)
            .join(instances, files.c.instance == instances.c.id)
            .join(series, instances.c.series == series.c.id)
            .outerjoin(checks, rots(checks, files))
            .where(files.c.state == State.INDEXED.value, series.c.series_instance_uid.in_(some))
            .group_by(series.c.series_instance_uid)
        )
        for uid, *counts in map(tuple, _rows(catalog, statement)):
            found[uid] = Held(*counts)
    return found


def checked_arrays(catalog: Catalog) -> dict[str, tuple[datetime, Soundness]]:
    """Return when each array was last read again, and what was found, by its path."""
    with catalog.reading() as connection:
        rows = connection.execute(
            sa.select(checks.c.array_path, checks.c.checked, checks.c.state).where(
                checks.c.array_path.is_not(None)
            )
        )
        return {row.array_path: (row.checked, Soundness(row.state)) for row in rows}


def note(catalog: Catalog, found: Sequence[Check]) -> None:
    """Put checks on record, in one transaction; a digest of a whole file stays as it was first recorded."""
    if not found:
        return
    digests = [
        {"its_id": each.due.file, "its_size": each.due.size, "its_mtime": each.due.mtime_ns,
         "digest": each.content_digest}
        for each in found
        if each.due is not None and each.content_digest is not None
    ]  # fmt: skip
    with catalog.transaction() as connection:
        for key in ("file", "array_path"):
            rows = [_row(each) for each in found if (each.due is None) == (key == "array_path")]
            if rows:
                insert = upserting(connection.dialect, checks)
                written = {name: insert.excluded[name] for name in rows[0]}
                connection.execute(insert.on_conflict_do_update(index_elements=[key], set_=written), rows)
        if digests:
            connection.execute(
                files.update()
                .where(
                    files.c.id == sa.bindparam("its_id"),
                    files.c.size == sa.bindparam("its_size"),
                    files.c.mtime_ns == sa.bindparam("its_mtime"),
                    files.c.content_digest.is_(None),
                )
                .values(content_digest=sa.bindparam("digest")),
                digests,
            )


def _row(check: Check) -> dict[str, object]:
    due = check.due
    return {
        "file": due and due.file,
        "array_path": check.path if due is None else None,
        "size": due and due.size,
        "mtime_ns": due and due.mtime_ns,
        "checked": check.checked,
        "state": check.state.value,
        "reason": check.reason,
    }


def forget_arrays(catalog: Catalog, paths: Sequence[str]) -> None:
    """Forget what was found of arrays that were written anew."""
    with catalog.transaction() as connection:
        for path in paths:
            connection.execute(checks.delete().where(checks.c.array_path == path))


# --- rot -------------------------------------------------------------------------------------------------


def rots(check: sa.FromClause, place: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a check says of a place that it is rotten, and the place is still as it was then."""
    return sa.and_(
        check.c.file == place.c.id,
        check.c.state == Soundness.ROT.value,
        check.c.size == place.c.size,
        check.c.mtime_ns == place.c.mtime_ns,
    )


def place_read() -> sa.ScalarSelect[int]:
    """Of an instance in a statement, the file it is read from: the first place; a rotten one comes last."""
    place, of_place = files.alias(), checks.alias()
    return (
        sa.select(place.c.id)
        .outerjoin(of_place, rots(of_place, place))
        .where(place.c.instance == instances.c.id, place.c.state == State.INDEXED.value)
        .order_by(of_place.c.id.is_not(None), place.c.id)
        .limit(1)
        .correlate(instances)
        .scalar_subquery()
    )


def stands(catalog: Catalog, path: str, size: int | None, mtime_ns: int) -> bool:
    """Whether a file on record has this time, and this size where there is one to compare."""
    folder, _, name = storable(path).rpartition("/")
    with catalog.reading() as connection:
        row = connection.execute(
            sa.select(files.c.size, files.c.mtime_ns).where(
                files.c.folder == (folder or "/"), files.c.name == name
            )
        ).first()
    return row is not None and size in (None, row.size) and row.mtime_ns == mtime_ns


def rotten_arrays(catalog: Catalog) -> dict[str, str]:
    """Return the paths of arrays that are rotten, with what was found."""
    with catalog.reading() as connection:
        rows = connection.execute(
            sa.select(checks.c.array_path, checks.c.reason).where(
                checks.c.array_path.is_not(None), checks.c.state == Soundness.ROT.value
            )
        ).all()
    return {row.array_path: row.reason for row in rows}


def rot_of(catalog: Catalog, instances: Iterable[InstanceRecord], arrays: Iterable[ArrayRecord]) -> str:
    """Say what of a series is rotten, with the first reason; empty where nothing is."""
    found = [f"{each.path}: {each.rot}" for each in instances if each.rot]
    known = rotten_arrays(catalog)
    found += [f"{each.path}: {known[each.path]}" for each in arrays if each.path in known]
    many = f"{len(found):,} of its files and arrays are rotten, the first is " if len(found) > 1 else ""
    return many + found[0] if found else ""


def warn_of(rot: str, series_instance_uid: str) -> None:
    """Warn where something is opened that is rotten."""
    warnings.warn(f"series {series_instance_uid}: {rot}", RottenWarning, stacklevel=4)


def count_rotten(catalog: Catalog) -> int:
    """Return how many files and arrays are rotten as far as it is known."""
    of_files = sa.select(sa.func.count()).select_from(checks.join(files, rots(checks, files)))
    with catalog.reading() as connection:
        return int(connection.scalar(of_files) or 0) + len(rotten_arrays(catalog))


def last_check(catalog: Catalog) -> datetime | None:
    """Return when anything was last read again, or `None` where nothing was."""
    with catalog.reading() as connection:
        found: datetime | None = connection.scalar(
            sa.select(checks.c.checked).order_by(checks.c.checked.desc()).limit(1)
        )
    return found
