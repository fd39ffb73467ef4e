"""Reads the archive and the arrays again, a little at a time, and reports rot; alters and deletes nothing."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np

from catalog.arrays import all_arrays, arrays_of
from catalog.checks import (
    Check,
    Due,
    Soundness,
    checked_arrays,
    due_bytes,
    due_files,
    forget_arrays,
    note,
    stands,
)
from catalog.containers import state_of
from catalog.database import Catalog
from catalog.fetch import Fetched, Local
from catalog.query import instances_of
from catalog.records import ArrayRecord, Progress, no_progress
from catalog.rot import reread
from pipelines.kinds import VIDEO
from pipelines.store.mismatch import BYTES_DIFFER, INPUTS_DIFFER, PIXELS_DIFFER, Mismatch
from pipelines.store.places import extent
from pipelines.verify import verify_array
from workbench.reports import INDEX_FIRST, counted, line
from workbench.tables import Table, plain

RATE_MB = 50.0
"""Megabytes a second that are read where nothing else is asked for; others use the disk, too."""
BATCH = 50
"""Files that are looked up at once; an array comes after each such batch."""
NOTED_BYTES = 256 << 20
"""After how many bytes what was found is put on record; so much is read twice after a crash."""
SLACK_SECONDS = 0.1
"""What a slow moment of the disk may be made up for afterwards."""


@dataclass
class Pace:
    """Keeps to a rate, by waiting after what was read."""

    bytes_per_second: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    bytes: int = 0
    _free_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._free_at = self.clock()

    def spend(self, count: int) -> None:
        """Take in bytes that were read, and wait until more may be; an array is told of once it was read."""
        self.bytes += count
        now = self.clock()
        self._free_at = max(self._free_at, now - SLACK_SECONDS) + count / self.bytes_per_second
        if self._free_at > now:
            self.sleep(self._free_at - now)


class Scrubbed(Table[Check]):
    """What one scrub found; its rows are the files and arrays that are not sound."""

    def __init__(
        self, found: Sequence[Check], files: int, arrays: int, read: int, left: int, seconds: float
    ) -> None:
        self.files, self.arrays = files, arrays
        self.bytes, self.left, self.seconds = read, left, seconds
        columns = {"state": "state", "path": "path", "reason": "reason"}
        super().__init__(found, columns, noun="not sound", note=self._read())

    @property
    def succeeded(self) -> bool:
        """Whether nothing is rotten, and everything could be read."""
        return not any(each.state in (Soundness.ROT, Soundness.UNREADABLE) for each in self)

    def as_json(self) -> dict[str, Any]:
        """The report as `workbench scrub --json` prints it."""
        found = [{"state": each.state.value, "path": each.path, "reason": each.reason} for each in self]
        counts = {"files": self.files, "arrays": self.arrays, "bytes": self.bytes, "bytes_left": self.left}
        return {**counts, "seconds": self.seconds, "found": found}

    def line(self) -> str:
        """One line: how many files, and what became of them."""
        words = {Soundness.ROT: "rotten", Soundness.CHANGED: "changed since they were indexed",
                 Soundness.VANISHED: "vanished", Soundness.UNREADABLE: "unreadable"}  # fmt: skip
        counts = Counter(each.state for each in self)
        found = counted(*((counts[state], what) for state, what in words.items()))
        done = self.files + self.arrays
        text = f"{self._read()} · {found or 'all sound'}" if done else f"nothing to read; {INDEX_FIRST}"
        if self.left:
            text += f" · {self.left / 1e6:,.0f} MB left, the same command goes on"
        return line("scrub", self.files, "files", text, self.seconds)

    def reasons(self) -> str:
        """What is not sound and why, one a line."""
        return "".join(f"\n   {plain(f'{each.state.value} {each.path}: {each.reason}')}" for each in self)

    def _read(self) -> str:
        rate = f" at {self.bytes / 1e6 / self.seconds:,.0f} MB/s" if self.seconds > 0 else ""
        return (
            counted((self.arrays, "arrays")) + " · " * bool(self.arrays) + f"{self.bytes / 1e6:,.0f} MB{rate}"
        )


def scrub(
    catalog: Catalog,
    *,
    pace: Pace,
    series: Iterable[str] | None = None,
    hours: float | None = None,
    limit: int | None = None,
    fetched: Fetched | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    progress: Progress = no_progress,
) -> Scrubbed:
    """Read files and arrays again, those first that never were, then the oldest; goes on where it stopped.

    Parameters
    ----------
    series
        Series Instance UIDs; everything when left out.
    hours, limit
        After how many hours, or files and arrays, it stops.
    fetched
        Makes local files of what lies elsewhere, to compare arrays with.
    progress
        Told the megabytes that were read, and those there are.
    """
    started, before = pace.clock(), now()
    uids = [None] if series is None else list(series)
    total = sum(due_bytes(catalog, before=before, series_instance_uid=uid) for uid in uids)
    until = math.inf if hours is None else started + hours * 3600
    work = _Work(catalog, pace, now, until, math.inf if limit is None else limit)
    work.progress, work.total, work.fetched = progress, total, fetched
    for batch in _batches(catalog, before, uids):
        if not work.do(batch):
            break
    if series is None and work.is_done:
        forget_arrays(
            catalog, sorted(checked_arrays(catalog).keys() - {each.path for each in all_arrays(catalog)})
        )
    left = (
        0 if work.is_done else sum(due_bytes(catalog, before=before, series_instance_uid=uid) for uid in uids)
    )
    return Scrubbed(work.found, work.files, work.arrays, pace.bytes, left, pace.clock() - started)


type _Turn = Due | tuple[ArrayRecord, bool]
"""A file, or an array and whether the archive is compared with it."""


def _batches(catalog: Catalog, before: datetime, uids: Sequence[str | None]) -> Iterator[Sequence[_Turn]]:
    """What is next."""
    known = checked_arrays(catalog)
    for uid in uids:
        arrays = _due_arrays(all_arrays(catalog) if uid is None else arrays_of(catalog, uid), known, before)
        for batch in due_files(catalog, before=before, at_most=BATCH, series_instance_uid=uid):
            yield [*batch, *arrays[:1]]
            del arrays[:1]
        yield from batched(arrays, 1)


def _due_arrays(
    arrays: Iterable[ArrayRecord], known: dict[str, tuple[datetime, Soundness]], before: datetime
) -> list[tuple[ArrayRecord, bool]]:
    """Arrays that never were read again, then the oldest; the files are compared with one that is new."""
    due = [each for each in arrays if each.path not in known or known[each.path][0] < before]
    due.sort(key=lambda each: known[each.path][0].timestamp() if each.path in known else -math.inf)
    return [(each, each.path not in known or known[each.path][1] is not Soundness.SOUND) for each in due]


class _Work:
    """A scrub on its way."""

    def __init__(
        self, catalog: Catalog, pace: Pace, now: Callable[[], datetime], until: float, limit: float
    ) -> None:
        self._catalog, self._pace, self._now, self._until, self._limit = catalog, pace, now, until, limit
        self.files, self.arrays = 0, 0
        self.found: list[Check] = []
        """What is not sound; sound ones are counted alone, as there are millions of them."""
        self.progress: Progress = no_progress
        self.fetched: Fetched | None = None
        self.total = 0
        self.is_done = True
        self._to_note: list[Check] = []
        self._noted_bytes = 0

    def do(self, batch: Sequence[_Turn]) -> bool:
        """Read a batch again and put on record what was found; whether there is time for another."""
        try:
            for each in batch:
                if self.files + self.arrays >= self._limit or self._pace.clock() >= self._until:
                    self.is_done = False
                    break
                self._take(self._check(each))
                if self._pace.bytes - self._noted_bytes >= NOTED_BYTES:
                    self._note()
        finally:
            self._note()  # Ctrl-C, too, loses nothing
        return self.is_done

    def _take(self, check: Check) -> None:
        self._to_note.append(check)
        self.files += check.due is not None
        self.arrays += check.due is None
        if check.state is not Soundness.SOUND:
            self.found.append(check)

    def _note(self) -> None:
        note(self._catalog, self._to_note)
        self._to_note, self._noted_bytes = [], self._pace.bytes

    def _spend(self, count: int) -> None:
        self._pace.spend(count)
        self.total = max(self.total, self._pace.bytes)
        self.progress(self._pace.bytes // 1_000_000, self.total // 1_000_000)

    def _check(self, turn: _Turn) -> Check:
        if isinstance(turn, Due):
            return reread(turn, checked=self._now(), spend=self._spend)
        array, archive = turn
        instances = instances_of(self._catalog, array.series_instance_uid)
        context = nullcontext(Local(tuple(instances)))
        with context if self.fetched is None or not archive else self.fetched.local(instances) as local:
            verified = verify_array(array, local.instances, archive=archive)
            mismatches = [replace(each, path=local.address(each.path)) for each in verified.mismatches]
        self._spend(_bytes_of(array, archive=archive))
        state, where, reason = self._judged(array, mismatches)
        path = "" if where in ("", array.path) else f"{where}: "
        return Check(array.path, state, path + reason, self._now())

    def _judged(self, array: ArrayRecord, mismatches: Sequence[Mismatch]) -> tuple[Soundness, str, str]:
        """State, where and why; the first that is rot, else the first."""
        if not mismatches:
            return Soundness.SOUND, "", ""
        if array.kind != VIDEO.name and "://" not in array.path and not Path(array.path).is_dir():
            anew = f"`workbench ingest {array.series_instance_uid}` writes it again"
            return Soundness.VANISHED, array.path, f"the array is gone; {anew}"
        rot = [each for each in mismatches if self._is_rot(array, each)]
        first = (rot or mismatches)[0]
        more = f" (and {len(rot or mismatches) - 1:,} more)" if len(rot or mismatches) > 1 else ""
        return Soundness.ROT if rot else Soundness.CHANGED, first.path, first.what + more

    def _is_rot(self, array: ArrayRecord, mismatch: Mismatch) -> bool:
        if array.kind != VIDEO.name and mismatch.path.startswith(array.path):
            return mismatch.what != INPUTS_DIFFER
        if mismatch.what not in (PIXELS_DIFFER, BYTES_DIFFER):
            return False
        try:
            size, mtime_ns = state_of(mismatch.path)
        except OSError:  # since it was read
            return False
        return stands(self._catalog, mismatch.path, size, mtime_ns)


def _bytes_of(array: ArrayRecord, *, archive: bool) -> int:
    """About how many bytes were read to verify an array."""
    values = math.prod(array.shape) * np.dtype(array.dtype).itemsize
    stored = extent(Path(array.path))[0] if Path(array.path).exists() else values
    return stored + (values if archive else 0)
