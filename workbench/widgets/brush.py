"""The mask between the browser and Python: planes after each stroke, and planes that are wanted."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt
import xarray as xr

from catalog.errors import QuestionError, WorkbenchError
from pipelines.store.masks import Index
from workbench.widgets.painting import Painting
from workbench.widgets.shaping import grow_region, interpolate, pixel_of
from workbench.widgets.turns import Turns
from workbench.widgets.wire import PLANES_AT_ONCE, Wire, words_of


class Brush:
    """Answers what a page says of the mask (`workbench.widgets.wire` has the messages)."""

    def __init__(self, wire: Wire, painting: Painting) -> None:
        self._wire, self._painting, self._turns = wire, painting, Turns(painting)
        wire.segments = painting.segments
        wire.observe(self._named, "segments")
        wire.answers |= {
            "mask": self._painted, "mask-wanted": self._wanted, "mask-turn": self._turned,
            "mask-grow": self._grow, "mask-interpolate": self._interpolate,
        }  # fmt: skip

    @property
    def painting(self) -> Painting:
        """The mask itself."""
        return self._painting

    def replace(self, mask: xr.DataArray | npt.ArrayLike) -> None:
        """Set the mask from Python; the page follows, and can undo it."""
        segments = self._painting.segments
        before = self._painting.replace(mask)
        if not before and segments == self._painting.segments:
            return
        self._follow()
        self._wire.send({"kind": "mask-turn", "turn": self._turns.add(before, segments)})

    def _turned(self, content: dict[str, Any], _buffers: list[bytes]) -> None:
        def turned() -> None:
            if self._turns.turn(int(content["turn"]), undone=bool(content["undone"])):
                self._follow()

        self._attempt(turned)

    def _follow(self) -> None:
        """Have the page forget what it shows, and give it what is there now."""
        self._wire.segments = self._painting.segments
        leading = tuple(self._wire.index[:-1])
        self._wire.send({"kind": "mask-clear", "index": list(leading)})
        self._give(leading)

    def _give(self, leading: Index) -> None:
        """Give the page every plane of an index that has labels, the one that is shown first."""
        here = (*leading, self._wire.index[-1])
        found = [each for each in self._painting.indices if each[:-1] == leading]
        found.sort(key=lambda each: (each != here, each))
        for first in range(0, len(found), PLANES_AT_ONCE):
            batch = found[first : first + PLANES_AT_ONCE]
            planes = {"index": list(leading), "planes": [each[-1] for each in batch]}
            self._wire.send({"kind": "mask-planes", **planes}, [self._painting.shown(each) for each in batch])

    def grow(self, index: Index, at: tuple[int, int], low: float, high: float, number: int) -> int:
        """Paint what hangs together with a pixel; the page follows. Return how many voxels."""
        return self._made(grow_region(self._painting, self._wire.described, index, at, low, high, number))

    def interpolate(self, leading: Index, number: int) -> int:
        """Paint between planes that were drawn; the page follows. Return how many voxels."""
        return self._made(interpolate(self._painting, self._wire.described, leading, number))

    def _made(self, painted: dict[Index, int]) -> int:
        self._wire.segments = self._painting.segments
        for first in range(0, len(painted), PLANES_AT_ONCE):
            batch = list(painted)[first : first + PLANES_AT_ONCE]
            planes = {"index": list(batch[0][:-1]), "planes": [each[-1] for each in batch]}
            is_last = first + PLANES_AT_ONCE >= len(painted)
            self._wire.send(
                {"kind": "mask-made", **planes, "done": is_last},
                [self._painting.shown(each) for each in batch],
            )
        return sum(painted.values())

    def _grow(self, content: dict[str, Any], _buffers: list[bytes]) -> None:
        def made() -> None:
            index = self._index(content | {"plane": self._wire.index[-1]})
            point = [float(each) for each in content["point"]]
            low, high = float(content["low"]), float(content["high"])
            index, at = pixel_of(self._wire.described, index, point)
            self.grow(index, at, low, high, int(content["segment"]))

        self._attempt(made)

    def _interpolate(self, content: dict[str, Any], _buffers: list[bytes]) -> None:
        def made() -> None:
            leading = self._index(content | {"plane": 0})[:-1]
            self.interpolate(leading, int(content["segment"]))

        self._attempt(made)

    def _attempt(self, make: Callable[[], None]) -> None:
        try:
            make()
        except (WorkbenchError, OSError, ValueError, TypeError, KeyError) as error:
            self._wire.send({"kind": "mask-made", "planes": [], "done": True, "error": words_of(error)})

    def _painted(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        said = {"kind": "mask-saved", "run": content.get("run")}
        try:
            index = self._index(content)
            said |= _place(index)
            self._painting.paint(index, bytes(buffers[0]) if buffers else b"")
        except (WorkbenchError, OSError, ValueError, TypeError) as error:
            said["error"] = words_of(error)
        self._wire.send(said)

    def _wanted(self, content: dict[str, Any], _buffers: list[bytes]) -> None:
        said: dict[str, Any] = {"kind": "mask", "plane": content.get("plane"), "index": content.get("index")}
        try:
            if "plane" not in content:
                self._give(self._index(content | {"plane": 0})[:-1])
                return
            index = self._index(content)
            plane = self._painting.shown(index)
        except (WorkbenchError, OSError, ValueError, TypeError) as error:
            self._wire.send(said | {"error": words_of(error)})
            return
        self._wire.send(said | _place(index), [plane])

    def _named(self, change: Any) -> None:
        """Keep segments that the page named or coloured otherwise; what is no segment is put back."""
        try:
            self._painting.segments = change["new"]
        except (QuestionError, OSError) as error:
            self._wire.unsaved = f"segments are not saved: {words_of(error)}"
        if self._wire.segments != self._painting.segments:
            self._wire.segments = self._painting.segments

    def _index(self, content: dict[str, Any]) -> Index:
        """Index of the plane a message is about; of other axes than its own it may say nothing."""
        plane, leading = content.get("plane"), content.get("index")
        shown: Sequence[int] = self._wire.index[:-1]
        given = shown if leading is None else [int(each) for each in leading][: len(shown)]
        if not isinstance(plane, int) or isinstance(plane, bool):
            raise QuestionError("a message about a mask has the number of a plane")
        return (*(int(each) for each in given), plane)


def _place(index: Index) -> dict[str, Any]:
    return {"index": list(index[:-1]), "plane": index[-1]}
