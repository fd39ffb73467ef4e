"""What a receiver counts: one table of counters, and counts that outlive the process that counts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from mmap import mmap
from threading import Lock

from catalog.arrivals import Status

_ENDS = tuple(str(status) for status in Status)


@dataclass(frozen=True, slots=True)
class Kind:
    """One counter."""

    words: str
    outcomes: tuple[str, ...] = ("",)
    """What it tells apart; one empty word where it tells nothing apart."""


COUNTERS: Mapping[str, Kind] = {
    "associations": Kind("Associations that were accepted."),
    "refused_associations": Kind("Associations that were rejected, since nobody known asked for them."),
    "answers": Kind("C-STORE requests by their answer.", (*_ENDS, "not_allowed", "no_room")),
    "objects": Kind("Objects by what they are to the catalog, once that is settled.", _ENDS),
    "commitments": Kind("Requests for storage commitment.", ("asked", "refused", "reported")),
    "retrievals": Kind("C-GET and C-MOVE requests that were carried out.", ("done", "cancelled")),
    "restarts": Kind("Processes that were started again because they had ended by themselves."),
}
"""Every counter by its name."""

_SLOTS = {
    key: at
    for at, key in enumerate((name, outcome) for name, kind in COUNTERS.items() for outcome in kind.outcomes)
}
SIZE = 8 * len(_SLOTS)
"""Bytes of a tally: one number of 64 bits for each counter and outcome."""


class Tally:
    """Counts of one process, for any number of threads.

    Parameters
    ----------
    descriptor
        An open file of `SIZE` bytes that holds the counts, so that others read them, also after this process
        was killed; whoever opens it next counts on. `None` holds them in memory.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._numbers = memoryview(mmap(-1 if descriptor is None else descriptor, SIZE)).cast("Q")
        self._lock = Lock()

    def count(self, name: str, outcome: str = "") -> None:
        """Count one.

        Raises
        ------
        KeyError
            If `COUNTERS` does not have it.
        """
        at = _SLOTS[name, outcome]
        with self._lock:
            self._numbers[at] += 1

    def counts(self) -> dict[tuple[str, str], int]:
        """Return every count by name and outcome, those of nothing too."""
        return {key: self._numbers[at] for key, at in _SLOTS.items()}


def total(tallies: Iterable[Tally]) -> dict[tuple[str, str], int]:
    """Return what several processes counted together."""
    found = Counter[tuple[str, str]](dict.fromkeys(_SLOTS, 0))
    for each in tallies:
        found.update(each.counts())
    return dict(found)
