"""Tiles of a slide image, each read from its file when it is indexed: its bytes and no others.

They go to Dask workers as records; each process opens a file when it reads the first tile of it.
"""

import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog.errors import DecodeError
from catalog.records import InstanceRecord
from pipelines.decoding.frames import Frames, open_frames
from pipelines.decoding.pixels import PixelDescription, Stored
from pipelines.slides.tiling import Level


class Tiles:
    """Stored values of a total pixel matrix, decoded tile by tile when indexed."""

    def __init__(
        self,
        instances: Sequence[InstanceRecord],
        level: Level,
        description: PixelDescription,
        background: int | tuple[int, ...],
    ) -> None:
        self._files, self._description, self._background = _Files(instances), description, background
        self._firsts = np.cumsum([0, *(each.tiles for each in level.tilings)])[:-1]
        """Number of the first frame of each instance."""
        counts = level.index.shape[:2]
        self._index = level.index.reshape(*(count for count in counts if count > 1), *level.matrix.tiles)
        size = (level.matrix.rows, level.matrix.columns)
        self.shape = (*self._index.shape[:-2], *size, *description.shape[2:])
        self.ndim, self.dtype = len(self.shape), np.dtype(description.dtype)

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Sizes along each dimension: a tile each."""
        leading = len(self._index.shape) - 2
        tile = (self._description.rows, self._description.columns)
        edges = (
            tuple(min(step, size - start) for start in range(0, size, step))
            for size, step in zip(self.shape[leading : leading + 2], tile, strict=True)
        )
        return (
            *((1,) * count for count in self.shape[:leading]),
            *edges,
            *((count,) for count in self.shape[leading + 2 :]),
        )

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        keys += (slice(None),) * (self.ndim - len(keys))
        leading = self._index.ndim - 2
        planes = self._index[keys[:leading]]
        top, bottom, rows = _span(keys[leading], self.shape[leading])
        left, right, columns = _span(keys[leading + 1], self.shape[leading + 1])
        size = (bottom - top, right - left)
        region = np.empty((*planes.shape[:-2], *size, *self._description.shape[2:]), self.dtype)
        region[...] = self._background
        for plane in np.ndindex(planes.shape[:-2]):
            self._fill(region[plane], planes[plane], top, left)
        values: npt.NDArray[Any] = region[(..., rows, columns, *keys[leading + 2 :])]
        return values

    def _fill(self, region: npt.NDArray[Any], index: npt.NDArray[np.intp], top: int, left: int) -> None:
        """Put the tiles that a part of a plane crosses into it."""
        height, width = self._description.rows, self._description.columns
        tile = np.empty(self._description.shape, self.dtype)
        bottom, right = top + region.shape[0], left + region.shape[1]
        for row in range(top // height, -(-bottom // height)):
            for column in range(left // width, -(-right // width)):
                frame = int(index[row, column])
                if frame < 0:
                    continue
                number = int(np.searchsorted(self._firsts, frame, side="right")) - 1
                self._files.load(number, frame - int(self._firsts[number]), tile)
                into, out_of = zip(
                    _common(row * height, height, top, bottom),
                    _common(column * width, width, left, right),
                    strict=True,
                )
                region[into] = tile[out_of]


class _Files:
    """The frames of some instances, opened when they are first read; shared by threads, not by processes."""

    def __init__(self, instances: Sequence[InstanceRecord]) -> None:
        self._instances = tuple(instances)
        self._opened: dict[int, Frames] = {}
        self._lock = Lock()
        stack = self._stack = ExitStack()
        weakref.finalize(self, stack.close)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Files, (self._instances,)

    def load(self, number: int, frame: int, out: Stored) -> None:
        """Fill `out` with a frame of an instance; raises `DecodeError`, which names the file."""
        try:
            with self._lock:
                if number not in self._opened:
                    frames = self._stack.enter_context(open_frames(self._instances[number]))
                    self._opened[number] = frames
            self._opened[number].load(frame, out)
        except DecodeError as error:
            raise type(error)(f"{self._instances[number].path}: {error}") from None


def _span(key: int | slice, size: int) -> tuple[int, int, int | slice]:
    """First index, the one after the last, and what to take of those between."""
    picked: int | range = range(size)[key]
    if isinstance(picked, int):
        return picked, picked + 1, 0
    if not picked:
        return 0, 0, slice(None)
    return min(picked), max(picked) + 1, slice(None, None, picked.step)


def _common(start: int, count: int, first: int, stop: int) -> tuple[slice, slice]:
    """What a tile and a part of the matrix share: counted from the part's start, and from the tile's."""
    a, b = max(start, first), min(start + count, stop)
    return slice(a - first, b - first), slice(a - start, b - start)
