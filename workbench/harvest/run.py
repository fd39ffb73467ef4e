"""A harvest on its way: item by item, series by series, inside its hours, at its rate; every step journalled.

What the node and the bench do is behind `Hands`; the clock, and what waits, are arguments.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from catalog.errors import DeliveryError, NodeUnavailableError, TooManyAnswersError
from catalog.records import Progress, RemoteSeries, no_progress
from workbench.harvest.answers import Expected, judged
from workbench.harvest.plan import Item, Plan, parts_of
from workbench.harvest.state import Event, State, answered, fetched, finished, is_due, is_whole, state_of
from workbench.harvest.windows import window_of

PAUSES = (10.0, 60.0, 300.0)
"""Seconds before a node that does not answer is asked again."""
LONGEST_SLEEP = 60.0
"""After so many seconds the clock is looked at again: machines sleep, and clocks are put right."""
BY_TIME = "asked for in parts of the day; studies without a time would be in none of them"
MAY_BE_MORE = "the node gave as many answers as it ever does; there may be more"


class Hands(Protocol):
    """What is done at the node, and on the bench."""

    @property
    def hours(self) -> str:
        """In which the node may be asked by its own limits; empty where it has none."""
        ...

    def ask(self, matching: Mapping[str, str]) -> list[RemoteSeries]:
        """Ask the node for series; raises `catalog.errors.DeliveryError`."""
        ...

    def is_there(self) -> bool:
        """Whether the node answers at all."""
        ...

    def note(self, told: list[RemoteSeries]) -> None:
        """Record in the catalog what the node told of."""
        ...

    def here(self, series_instance_uid: str) -> int:
        """How many instances of a series are in the catalog, with a file."""
        ...

    def fetch(self, expected: Expected) -> int:
        """Get a series into the catalog; return its bytes; raises `catalog.errors.DeliveryError`."""
        ...

    def finish(self, series_instance_uid: str) -> str:
        """Hash the files of a series, and ingest it where that is wanted; return what went wrong."""
        ...


class OutsideHoursError(Exception):
    """It is not the time to ask, and nobody wants to wait."""


def harvest(
    state: State,
    add: Callable[[Event], None],
    hands: Hands,
    *,
    now: Callable[[], datetime],
    elapsed: Callable[[], float],
    sleep: Callable[[float], None],
    wait: bool = True,
    progress: Progress = no_progress,
) -> State:
    """Do what is due of a harvest; return how far it is then.

    It may end at any moment, in any way: what is journalled is done, and the next run does the rest.

    Parameters
    ----------
    add
        Makes an event durable.
    elapsed
        Seconds since some moment, by a clock that nobody sets; the rate is kept by it, hours by `now`.
    wait
        Whether to wait outside the hours of the plan, or end there.

    Raises
    ------
    catalog.errors.NodeUnavailableError
        If the node does not answer any more, also after some minutes.
    OSError
        If something cannot be written.
    """
    assert state.plan is not None
    work = _Work(state, state.plan, add, hands, now, elapsed, sleep, wait)
    try:
        for number, item in enumerate(state.plan.items, start=1):
            work.do(item)
            progress(number, len(state.plan.items))
    except OutsideHoursError:
        pass
    return work.state


class _Work:
    def __init__(
        self,
        state: State,
        plan: Plan,
        add: Callable[[Event], None],
        hands: Hands,
        now: Callable[[], datetime],
        elapsed: Callable[[], float],
        sleep: Callable[[float], None],
        wait: bool,
    ) -> None:
        self.state = state
        self._plan, self._add, self._hands = plan, add, hands
        self._now, self._elapsed, self._sleep, self._may_wait = now, elapsed, sleep, wait
        self._windows = [window_of(each) for each in (plan.hours, hands.hours) if each]
        self._tried: set[str] = set()

    def do(self, item: Item) -> None:
        if is_due(self.state, item):
            self._ask(item)
        for each in self.state.answers[item.key].series:
            if each.series_instance_uid not in self._tried:  # two items may find it
                self._tried.add(each.series_instance_uid)
                self._get(each)

    # --- asking ------------------------------------------------------------------------------------------

    def _ask(self, item: Item) -> None:
        on = self._now().date().isoformat()
        told, reasons, notes = self._told(item.matching)
        answer, about = judged(item, told)
        self._hands.note(about)
        reason = answer.reason if told or not reasons else ""
        answer = replace(
            answer,
            on=on,
            reason=". ".join(filter(None, dict.fromkeys((*reasons, reason)))),
            note="; ".join(dict.fromkeys(notes)),
        )
        self._record(answered(item, answer))

    def _told(self, matching: Mapping[str, str]) -> tuple[list[RemoteSeries], list[str], list[str]]:
        """What the node tells, in parts of the day where that is too much at a time; what failed; notes."""
        parts = parts_of(matching)
        try:
            told, reason = self._patiently(lambda: self._hands.ask(matching))
        except TooManyAnswersError as error:
            if not parts:
                return [], [str(error)], []
        else:
            full = told is not None and self._is_full(told)
            if told is None or not (full and parts):
                return told or [], [reason] * bool(reason), [MAY_BE_MORE] * full
        found: list[RemoteSeries] = []
        reasons, notes = [], [BY_TIME]
        for part in parts:
            more, failed, said = self._told(part)
            found += more
            reasons += failed
            notes += said
        return found, reasons, notes

    def _is_full(self, told: list[RemoteSeries]) -> bool:
        """Whether there are as many studies, or series of one study, as the node ever tells."""
        most = self._plan.answers
        if most is None:
            return False
        studies = [str(each.values.get("study_instance_uid")) for each in told]
        return len(set(studies)) >= most

    # --- getting -----------------------------------------------------------------------------------------

    def _get(self, expected: Expected) -> None:
        uid = expected.series_instance_uid
        if is_whole(self.state, expected, self._hands.here(uid)):
            if self.state.done.get(uid) == "":
                return
        else:
            begun = self._elapsed()
            size, reason = self._patiently(lambda: self._hands.fetch(expected))
            if reason:
                self._record(finished(uid, reason))
                return
            self._record(fetched(uid, self._hands.here(uid)))
            self._keep_to_the_rate(size or 0, self._elapsed() - begun)
        self._record(finished(uid, self._hands.finish(uid)))

    def _keep_to_the_rate(self, size: int, seconds: float) -> None:
        if self._plan.rate is not None and (rest := size / (self._plan.rate * 1e6) - seconds) > 0:
            self._sleep(rest)

    # --- both --------------------------------------------------------------------------------------------

    def _patiently[Result](self, do: Callable[[], Result]) -> tuple[Result | None, str]:
        """Do it, again where the node does not answer; what came of it, or else the reason."""
        for pause in (*PAUSES, None):
            self._wait()
            try:
                return do(), ""
            except TooManyAnswersError:
                raise
            except NodeUnavailableError as error:
                if pause is not None:
                    self._sleep(pause)
                elif self._hands.is_there():
                    return None, str(error)  # it answers others, only this not
                else:
                    raise
            except DeliveryError as error:
                return None, str(error)
        raise AssertionError

    def _wait(self) -> None:
        while seconds := max((each.seconds_until(self._now()) for each in self._windows), default=0.0):
            if not self._may_wait:
                raise OutsideHoursError
            self._sleep(min(seconds, LONGEST_SLEEP))

    def _record(self, event: Event) -> None:
        self._add(event)
        self.state = state_of([event], self.state)
