"""What people drew on series: each mark with its author and its revisions; nothing that was drawn is lost.

A row is one revision. The last one of a mark and an author is the current one; a mark that was removed ends
with a revision without a drawing. Series are named by UID, so that marks outlive the rows of an index.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.identifiers import UID_LENGTH, digest_of_texts, new_uid
from catalog.matching import is_storable
from catalog.models import annotations
from catalog.strokes import Change, Drawn, Fate, Held, changes, fate

_IMAGE = "sop_instance_uid"

LONGEST_NAME = 64
"""Characters of an author's name (an LO or PN value of one component, PS3.5 table 6.2-1)."""
LARGEST = 4 << 20
"""Bytes of one mark, as JSON: some 60,000 points."""


@dataclass(frozen=True, slots=True)
class Place:
    """An array of a series, on which marks lie."""

    series_instance_uid: str
    part: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """One revision of a mark, as it is on record."""

    uid: str
    author: str
    series_instance_uid: str
    part: int
    sop_instance_uid: str
    """Of the image it lies on; empty on a section through several."""
    revision: int
    created: datetime
    changed: datetime
    drawn: Drawn | None
    """`None` where this revision removed it."""


def check_author(name: str) -> str:
    """Return the name of an author without the blanks around it.

    Raises
    ------
    QuestionError
        If it is empty, longer than `LONGEST_NAME`, or no printable text.
    """
    name = name.strip() if isinstance(name, str) else ""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or not is_storable(name):
        raise QuestionError(f"an author is a name of 1 to {LONGEST_NAME} printable characters")
    return name


def check(uid: str, drawn: Drawn | None) -> None:
    """Raise QuestionError unless a mark can be saved: a UID, finite numbers, a bounded size."""
    if not 0 < len(uid) <= UID_LENGTH or not is_storable(uid):
        raise QuestionError(f"a mark has a UID of 1 to {UID_LENGTH} characters")
    if drawn is None:
        return
    try:
        size = len(json.dumps(dict(drawn), allow_nan=False))
    except (ValueError, TypeError):
        raise QuestionError(f"mark {uid} has a position that is no number") from None
    if size > LARGEST:
        raise QuestionError(
            f"mark {uid} takes {size:,} bytes, more than {LARGEST:,}; draw it with fewer points"
        )


def save(
    catalog: Catalog,
    place: Place,
    author: str,
    before: Mapping[str, Held],
    drawn: Sequence[Drawn],
    *,
    writer: str,
    now: datetime,
) -> dict[str, Held]:
    """Save what an author has drawn, as far as it is other than the writer knows it to be saved.

    Several kernels of one author may draw on one series: where two changed the same mark, both are kept, the
    later one under a UID of its own; a mark that one removed while the other changed it stays. Returns what
    is saved of this author here now, what was removed included, by UID.

    Parameters
    ----------
    before
        What the writer knows, as `save` or `held` returned it last.
    drawn
        Marks as plain values, each with `uid` and, where it lies on an image, `sop_instance_uid`.
    writer
        Which viewer writes; its states of a mark within `catalog.strokes.STROKE` are one revision.

    Raises
    ------
    QuestionError
        If a mark is too large, or has numbers that are none.
    """
    wanted = changes(before, drawn)
    for each in wanted:
        check(each.uid, each.drawn)
    with catalog.transaction() as connection:
        _take_turns(connection, place, author)
        there = _held(connection, place, author)
        for change in wanted:
            _write(connection, place, author, change, there.get(change.uid), writer, now)
        return _held(connection, place, author) if wanted else there


def held(catalog: Catalog, place: Place, author: str) -> dict[str, Held]:
    """Return what is saved of an author on an array, what was removed included, by UID."""
    with catalog.reading() as connection:
        return _held(connection, place, author)


def find_annotations(
    catalog: Catalog,
    *,
    series: Iterable[str] | None = None,
    part: int | None = None,
    author: str | None = None,
    revisions: bool = False,
) -> list[Annotation]:
    """Return marks, those that were created first in front.

    Parameters
    ----------
    series
        Series Instance UIDs; all where it is left out.
    revisions
        Every revision, those that removed a mark too; else what there is now.
    """
    question = sa.select(*_COLUMNS).order_by(annotations.c.created, annotations.c.id)
    if part is not None:
        question = question.where(annotations.c.part == part)
    if author is not None:
        question = question.where(annotations.c.author == author)
    if not revisions:
        question = question.where(annotations.c.is_current, annotations.c.drawn.is_not(None))
    with catalog.reading() as connection:
        if series is None:
            return [Annotation(*row) for row in connection.execute(question)]
        return [
            Annotation(*row)
            for uid in dict.fromkeys(series)
            for row in connection.execute(question.where(annotations.c.series_instance_uid == uid))
        ]


_COLUMNS = [annotations.c[name] for name in Annotation.__dataclass_fields__]


def _held(connection: sa.Connection, place: Place, author: str) -> dict[str, Held]:
    columns = [annotations.c[name] for name in Held.__dataclass_fields__]
    question = sa.select(*columns).where(_current(place, author)).order_by(annotations.c.id)
    return {row.uid: Held(*row) for row in connection.execute(question)}


def _current(place: Place, author: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        annotations.c.series_instance_uid == place.series_instance_uid,
        annotations.c.part == place.part,
        annotations.c.author == author,
        annotations.c.is_current,
    )


def _take_turns(connection: sa.Connection, place: Place, author: str) -> None:
    """Wait for others who write here; a transaction that writes to SQLite is alone in any case."""
    if connection.dialect.name == "postgresql":
        words = digest_of_texts(["annotations", place.series_instance_uid, str(place.part), author])
        key = int(words[:15], 16)  # of a bigint
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def _write(
    connection: sa.Connection,
    place: Place,
    author: str,
    change: Change,
    there: Held | None,
    writer: str,
    now: datetime,
) -> None:
    uid, drawn = change.uid, change.drawn
    decided = fate(change, there, writer=writer, now=now)
    if decided is Fate.KEEP:
        return
    if decided is Fate.BESIDE:
        uid, there = new_uid(), None
        drawn = {**(drawn or {}), "uid": uid}
    values: dict[str, Any] = {
        "revision": there.revision + 1 if there else 1,
        "sop_instance_uid": str((drawn or (there.drawn if there else None) or {}).get(_IMAGE) or ""),
        "changed": now,
        "writer": writer,
        "drawn": None if drawn is None else dict(drawn),
    }
    mine = sa.and_(_current(place, author), annotations.c.uid == uid)
    if decided is Fate.REPLACE:
        connection.execute(sa.update(annotations).where(mine).values(**values))
        return
    connection.execute(sa.update(annotations).where(mine).values(is_current=False))
    connection.execute(
        sa.insert(annotations).values(
            uid=uid,
            author=author,
            series_instance_uid=place.series_instance_uid,
            part=place.part,
            created=there.created if there else now,
            is_current=True,
            **values,
        )
    )
