"""The lines that a browser scrolls through: series, below headings of studies and patients that fold."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from catalog.listing import Listing

type Rows = npt.NDArray[np.int64]
type Flags = npt.NDArray[np.bool_]

PATIENT, STUDY, SERIES = 1, 2, 3
"""Levels of lines."""


@dataclass(frozen=True, slots=True)
class Folds:
    """Which headings are closed: none or all of them, but for those that were set otherwise."""

    all_closed: bool = False
    otherwise: frozenset[tuple[int, int]] = frozenset()
    """Level and row."""

    def with_heading(self, level: int, row: int, *, is_open: bool) -> "Folds":
        """Return them with a heading opened or closed."""
        one = frozenset({(level, row)})
        differs = is_open == self.all_closed
        return Folds(self.all_closed, self.otherwise | one if differs else self.otherwise - one)

    def are_open(self, level: int, rows: Rows) -> Flags:
        """Whether headings of a level are open."""
        others = [row for of, row in self.otherwise if of == level]
        return np.isin(rows, others) ^ (not self.all_closed)


@dataclass(frozen=True, slots=True)
class Line:
    """One line."""

    level: int
    place: int
    """Of its first series in the listing."""
    count: int
    """Of its series."""
    is_open: bool
    parent: int | None
    """The line of its heading."""


@dataclass(frozen=True, slots=True)
class Outline:
    """Lines over a listing: level, the series from `start` to `end` that each stands for, open or not."""

    listing: Listing
    levels: Rows
    starts: Rows
    ends: Rows
    opened: Flags

    def __len__(self) -> int:
        return len(self.levels)

    @classmethod
    def flat(cls, listing: Listing) -> Self:
        """Return a line for each series."""
        places = np.arange(len(listing))
        return cls(
            listing, np.full(len(listing), SERIES), places, places + 1, np.zeros(len(listing), np.bool_)
        )

    @classmethod
    def grouped(cls, listing: Listing, folds: Folds) -> Self:
        """Return patients, studies below them, and their series; each lies side by side in the listing."""
        patients, studies = _rows(listing.patients), _rows(listing.studies)
        first = _begins(patients)
        below = first | _begins(studies)
        first_at, below_at = np.flatnonzero(first), np.flatnonzero(below)
        patient_open = folds.are_open(PATIENT, patients[first_at])
        study_open = folds.are_open(STUDY, studies[below_at])
        shown_below = patient_open[np.cumsum(first)[below_at] - 1]
        shown = (study_open & shown_below)[np.cumsum(below) - 1]
        series_at = np.flatnonzero(shown)
        closing = np.zeros(len(series_at), np.bool_)
        parts: list[tuple[int, Rows, Rows, Flags]] = [
            (PATIENT, first_at, _ends(first_at, len(listing)), patient_open),
            (
                STUDY,
                below_at[shown_below],
                _ends(below_at, len(listing))[shown_below],
                study_open[shown_below],
            ),
            (SERIES, series_at, series_at + 1, closing),
        ]
        levels = np.concatenate([np.full(len(starts), level) for level, starts, _, _ in parts])
        starts, ends, opened = (np.concatenate([part[at] for part in parts]) for at in (1, 2, 3))
        order = np.argsort(starts * (SERIES + 1) + levels, kind="stable")
        return cls(listing, levels[order], starts[order], ends[order], opened[order])

    def lines(self, first: int, count: int) -> list[Line]:
        """Return some lines; fewer at the end."""
        first = max(first, 0)
        return [self.line(at) for at in range(first, min(first + count, len(self)))]

    def line(self, at: int) -> Line:
        """Return one line."""
        start, end = int(self.starts[at]), int(self.ends[at])
        return Line(int(self.levels[at]), start, end - start, bool(self.opened[at]), self._parent(at))

    def row(self, at: int) -> int:
        """Row of what a line stands for, in the table of its level."""
        rows = {PATIENT: self.listing.patients, STUDY: self.listing.studies, SERIES: self.listing.series}
        return rows[int(self.levels[at])][int(self.starts[at])]

    def series_from(self, one: int, other: int) -> Rows:
        """Rows of the series of a line, or of those from one to another, either way.

        Among several lines, a heading that is open stands for nothing: its series are lines themselves.
        """
        low, high = max(min(one, other), 0), min(max(one, other) + 1, len(self))
        lines = np.arange(low, high)
        if len(lines) > 1:
            lines = lines[~self.opened[low:high]]
        if not len(lines):
            return np.zeros(0, np.int64)
        # what stands between the first and the last of them is theirs, as they lie in one order
        return _rows(self.listing.series)[self.starts[lines[0]] : self.ends[lines[-1]]]

    def line_of(self, row: int) -> int | None:
        """Return the line that stands for a series: its own, or that of a closed heading."""
        places = np.flatnonzero(_rows(self.listing.series) == row)
        if not len(places):
            return None
        return int(np.searchsorted(self.starts, places[0], side="right")) - 1

    def selected(self, chosen: Rows) -> "Selected":
        """Return which lines are selected where these rows of series are."""
        each = np.isin(_rows(self.listing.series), chosen)
        return Selected(self, np.concatenate([[0], np.cumsum(each)]))

    def _parent(self, at: int) -> int | None:
        level = int(self.levels[at])
        if level == PATIENT:
            return None
        # a heading stands at most as far before as its series reach: look back in growing steps
        reach = 64
        while True:
            low = max(at - reach, 0)
            above = np.flatnonzero(self.levels[low:at] < level)
            if len(above):
                return low + int(above[-1])
            if low == 0:
                return None
            reach *= 8


@dataclass(frozen=True, slots=True)
class Selected:
    """Which lines of an outline are selected."""

    outline: Outline
    until: Rows
    """How many of the first series in the listing are selected."""

    def of(self, first: int, count: int) -> list[bool | None]:
        """Whether some lines are selected; `None` where only a part of a line's series is."""
        lines = slice(max(first, 0), max(first, 0) + max(count, 0))
        starts, ends = self.outline.starts[lines], self.outline.ends[lines]
        chosen = self.until[ends] - self.until[starts]
        return [
            True if some == every else (False if some == 0 else None)
            for some, every in zip(chosen.tolist(), (ends - starts).tolist(), strict=True)
        ]


def _rows(rows: object) -> Rows:
    return np.asarray(rows, np.int64)


def _begins(rows: Rows) -> Flags:
    """Whether each is another than the one before."""
    begins = np.ones(len(rows), np.bool_)
    begins[1:] = rows[1:] != rows[:-1]
    return begins


def _ends(starts: Rows, count: int) -> Rows:
    return np.append(starts[1:], count) if len(starts) else starts
