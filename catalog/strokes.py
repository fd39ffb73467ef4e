"""What somebody changed among drawn marks, and what becomes of each change; values in, values out.

A mark of an author has revisions. Each change says which revision it was made of, so that what another kernel
of the same author wrote meanwhile is seen, and never overwritten.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

type Drawn = Mapping[str, Any]
"""A mark as plain values: `uid`, `kind`, `points` and whatever else the viewer needs to draw it."""

STROKE = timedelta(seconds=1)
"""States of a mark that come closer together, from one writer, are one stroke, and one revision."""
TOLERANCE = 1e-3
"""Numbers that differ less are the same: a browser keeps some in 32 bits."""


@dataclass(frozen=True, slots=True)
class Held:
    """A mark of one author as it was saved last."""

    uid: str
    revision: int
    """From 1; it grows with every state that was saved."""
    drawn: Drawn | None
    """`None` once it was removed."""
    created: datetime
    changed: datetime
    writer: str
    """Which kernel's viewer wrote it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is other than it was saved."""

    uid: str
    drawn: Drawn | None
    """`None` where it was removed."""
    revision: int
    """That it was made of; 0 for a new mark."""


class Fate(Enum):
    """What becomes of a change."""

    APPEND = "a new revision"
    REPLACE = "in the place of the last revision, of the same stroke"
    KEEP = "nothing: what is saved stays"
    BESIDE = "a mark of its own, beside what another kernel made of it"


def changes(before: Mapping[str, Held], drawn: Iterable[Drawn]) -> list[Change]:
    """Compare what is drawn now with what the writer knows to be saved."""
    now = {str(each["uid"]): each for each in drawn}
    found = []
    for uid, each in now.items():
        held = before.get(uid)
        if held is None or held.drawn is None or not same(held.drawn, each):
            found.append(Change(uid, each, held.revision if held else 0))
    found += [
        Change(uid, None, held.revision)
        for uid, held in before.items()
        if uid not in now and held.drawn is not None
    ]
    return found


def fate(change: Change, held: Held | None, *, writer: str, now: datetime) -> Fate:
    """Decide what becomes of a change, by what is saved when it arrives."""
    if held is None:
        return Fate.KEEP if change.drawn is None else Fate.APPEND
    if _equal(held.drawn, change.drawn):
        return Fate.KEEP
    if held.revision == change.revision:
        drawn_on = held.drawn is not None and change.drawn is not None
        is_stroke = drawn_on and held.writer == writer and timedelta(0) <= now - held.changed < STROKE
        return Fate.REPLACE if is_stroke else Fate.APPEND
    if change.drawn is None:
        return Fate.KEEP
    return Fate.APPEND if held.drawn is None else Fate.BESIDE


def same(one: Any, other: Any) -> bool:
    """Whether two marks, or parts of them, look the same; numbers to a thousandth."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if _is_list(one) and _is_list(other):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or math.isclose(one, other, rel_tol=0, abs_tol=TOLERANCE)
    return bool(one == other)


def _equal(one: Drawn | None, other: Drawn | None) -> bool:
    return one is other if one is None or other is None else same(one, other)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
