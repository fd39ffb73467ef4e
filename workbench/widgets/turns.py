"""Masks that were set from Python, and can be undone: for each what has to change back, in bounded memory."""

from dataclasses import dataclass

from catalog.errors import QuestionError
from workbench.widgets.painting import Packed, Painting, Segment

LARGEST_BYTES = 64 << 20
"""Of planes that are kept, packed; the oldest go first."""


@dataclass(slots=True)
class _Turn:
    planes: Packed
    """As they are on the other side of it."""
    segments: list[Segment]
    is_undone: bool = False


class Turns:
    """Steps between one mask and the next, by their number; undone and done again as a history has them."""

    def __init__(self, painting: Painting) -> None:
        self._painting = painting
        self._turns: dict[int, _Turn] = {}
        self._last = 0

    def add(self, planes: Packed, segments: list[Segment]) -> int:
        """Keep planes and segments as they were before a mask was set; return the number of the step."""
        self._last += 1
        self._turns[self._last] = _Turn(planes, segments)
        while len(self._turns) > 1 and self._bytes > LARGEST_BYTES:
            del self._turns[next(iter(self._turns))]
        return self._last

    def turn(self, number: int, *, undone: bool) -> bool:
        """Undo a step, or do it again; return whether anything changed.

        Raises
        ------
        QuestionError
            If the step is not kept any more.
        """
        if number not in self._turns:
            raise QuestionError("what was there before this mask is not kept any more: set it anew")
        step = self._turns[number]
        if step.is_undone == undone:
            return False  # another page of the same viewer did
        segments = self._painting.segments
        step.planes = self._painting.exchange(step.planes)
        self._painting.segments, step.segments = step.segments, segments
        step.is_undone = undone
        return True

    @property
    def _bytes(self) -> int:
        return sum(len(plane) for each in self._turns.values() for plane in each.planes.values())
