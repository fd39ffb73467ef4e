"""What a node bears of this bench: hours, associations at a time, megabytes and objects a second."""

import logging
import math
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Self

from catalog.durable import make_folder
from catalog.errors import LimitedError
from catalog.identifiers import folder_name
from catalog.locks import alone
from workbench.harvest.windows import window_of
from workbench.progress import waiting

LONGEST_PAUSE = 5.0
"""Seconds between two objects of one association; the rest of a pause comes after it, as nodes hang up."""
LOOKS = 0.1
"""Seconds after which is looked again for an association that has become free."""
_OWED = struct.Struct("<dd")
"""When it was counted, by the clock of the machine that nobody sets, and how many seconds were owed then."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """The table `[nodes.NAME.limits]` of the settings.

    `hours` and rates hold for what moves much: fetch, harvest, survey (`index pacs://…`) and delivery; a
    question of a person (`find`, `worklist`, `echo`) is put at any time. Associations and rates are counted
    among all processes on this machine that have the same `folder`, so among those of one bench; what a node
    opens to this bench by itself is not counted.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    hours: str = ""
    """`20:00-06:00`, by the clock of this machine; every hour when left out. What is under way is finished: a
    series, a batch of deliveries."""
    rate_mb: float | None = None
    """Megabytes a second, on average; each object goes as fast as the line takes it."""
    rate_objects: float | None = None
    """Objects a second, on average."""
    associations: int | None = None
    """Associations, or connections by DICOMweb, at a time."""
    wait_seconds: float = 600.0
    """How long to wait for one of them to become free."""
    folder: Path | None = None
    """Where processes count together; `nodes` in the home of the bench when left out."""

    def __post_init__(self) -> None:
        if self.hours:
            window_of(self.hours)
        for name in ("rate_mb", "rate_objects"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < float("inf"):
                raise ValueError(f"{name} is a number a second, above 0")
        if self.associations is not None and self.associations < 1:
            raise ValueError("associations is a number from 1 on")
        if not 0 <= self.wait_seconds < float("inf"):
            raise ValueError("wait_seconds is a number of seconds from 0 on")

    def seconds_until(self, at: datetime) -> float:
        """How long it is until the hours begin; 0 within."""
        return window_of(self.hours).seconds_until(at.astimezone()) if self.hours else 0.0

    def counted_in(self, folder: Path | None) -> Self:
        """The same limits, counted in a folder where the settings name none."""
        return replace(self, folder=self.folder or folder)

    def check_hours(self, node: str, at: datetime | None = None) -> None:
        """Raise a LimitedError outside the hours; it says when they begin."""
        if seconds := self.seconds_until(at or datetime.now().astimezone()):
            minutes = int(seconds // 60) + 1
            raise LimitedError(
                f"{node} is asked {self.hours} alone (limits.hours of the node); that begins in "
                f"{minutes // 60} h {minutes % 60} min"
            )

    @contextmanager
    def turn(self, node: str) -> Iterator["Pace"]:
        """Hold one of the associations; what is moved meanwhile is told to the pace that is given.

        At the end it rests until the rate is met.

        Raises
        ------
        catalog.errors.LimitedError
            If none became free in time.
        """
        with ExitStack() as held:
            if self.associations is not None and self.folder is not None:
                held.enter_context(self._association(node, self.associations, self.folder))
            pace = Pace(self, node)
            yield pace
        pace.settle()

    def surveyed[Told](self, node: str, told: Iterator[Told]) -> Iterator[Told]:
        """Ask for what is told inside the hours, and hold one of the associations meanwhile."""
        self.check_hours(node)
        with self.turn(node):
            yield from told

    @contextmanager
    def _association(self, node: str, count: int, folder: Path) -> Iterator[None]:
        slots = [folder / folder_name(node) / f"association-{number}" for number in range(1, count + 1)]
        words = f"waits for one of {count} associations with {node}"
        with ExitStack() as held:
            if not _took_one(held, slots):
                _LOG.info(words)
                until = time.monotonic() + self.wait_seconds
                with waiting(words):
                    while not _took_one(held, slots):
                        if time.monotonic() >= until:
                            raise LimitedError(
                                f"all {count} associations with {node} are taken by other work of this "
                                f"bench, for {self.wait_seconds:g} seconds now (limits.associations of it)"
                            )
                        time.sleep(LOOKS)
            yield


UNLIMITED = Limits()


def _took_one(held: ExitStack, slots: list[Path]) -> bool:
    for each in slots:
        try:
            held.enter_context(alone(each, wait=False))
        except BlockingIOError:
            continue
        return True
    return False


@dataclass(slots=True)
class Pace:
    """Keeps what one association moves to the rate of its node, together with all that count with it."""

    limits: Limits
    node: str
    _begun: float = field(default_factory=time.monotonic)
    _kept: bytes = b""
    """What is owed, where nobody counts together."""

    def took(self, size: int, objects: int = 1) -> None:
        """Count what was moved, and rest; a long rest is put off until `settle`."""
        costs = [
            amount / rate
            for amount, rate in ((size / 1e6, self.limits.rate_mb), (objects, self.limits.rate_objects))
            if rate is not None
        ]
        if not costs:
            return
        self._rest(min(self._owed_with(max(costs)), LONGEST_PAUSE))
        self._begun = time.monotonic()

    def settle(self) -> None:
        """Rest until the rate is met."""
        if self.limits.rate_mb is not None or self.limits.rate_objects is not None:
            self._rest(self._owed_with(0.0))

    def _rest(self, seconds: float) -> None:
        if seconds <= 0:
            return
        with waiting(f"keeps to the rate of {self.node}"):
            time.sleep(seconds)

    def _owed_with(self, cost: float) -> float:
        """Add to what is counted, and return after how many seconds it is paid for."""
        if self.limits.folder is None:
            self._kept, owed = self._counted(self._kept, cost)
            return owed
        folder = self.limits.folder / folder_name(self.node) / "rate"
        make_folder(folder)
        with alone(folder), (folder / "owed").open("a+b") as file:
            file.seek(0)
            kept, owed = self._counted(file.read(_OWED.size), cost)
            if cost:
                file.truncate(0)
                file.write(kept)
            return owed

    def _counted(self, kept: bytes, cost: float) -> tuple[bytes, float]:
        """What is owed now, to be kept and as seconds; what the line took of an object is paid already."""
        now = time.monotonic()
        owed = _owed_at(now, kept)
        if cost:
            owed = max(owed, self._begun - now) + cost
        return _OWED.pack(now, owed), owed


def _owed_at(now: float, kept: bytes) -> float:
    """Seconds owed; never more than were, also where the machine began anew and its clock with it."""
    if len(kept) != _OWED.size:
        return -math.inf
    counted, owed = map(float, _OWED.unpack(kept))
    return owed - max(now - counted, 0.0)
