"""The hours of the day in which a node may be asked, and when they begin next; the clock is an argument."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from catalog.errors import QuestionError

_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of every day, by the clock on the wall; past midnight where the end is the earlier one."""

    begin: time
    end: time
    """The first moment that is no longer in it."""

    def holds(self, at: datetime) -> bool:
        """Whether a moment is in it."""
        now = at.time()
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end

    def seconds_until(self, at: datetime) -> float:
        """How long it is until it begins, by the clock on the wall; 0 within."""
        if self.holds(at):
            return 0.0
        begins = datetime.combine(at.date(), self.begin, at.tzinfo)
        if begins < at:
            begins += timedelta(days=1)
        return (begins - at).total_seconds()


def window_of(text: str) -> Window:
    """Return the hours of a text such as `20:00-06:00`.

    Raises
    ------
    QuestionError
        If it is none, or begins when it ends.
    """
    found = _HOURS.fullmatch(str(text).strip())
    if found is not None:
        first, second, third, fourth = map(int, found.groups())
        if (first, second) != (third, fourth):
            return Window(time(first, second), time(third, fourth))
    raise QuestionError(f"hours are such as 20:00-06:00, not {str(text)[:32]!r}")
