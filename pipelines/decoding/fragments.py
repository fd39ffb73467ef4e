"""Fragments of a file, read as one file; imports little, as child processes do it."""

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any


class Reader(io.RawIOBase):
    """The fragments of a file as one file for reading; owns the descriptor."""

    def __init__(self, descriptor: int, fragments: Sequence[tuple[int, int]]) -> None:
        self._descriptor = descriptor
        self._offsets = [offset for offset, _ in fragments]
        self._starts = [0, *accumulate(length for _, length in fragments)]
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in the joined fragments."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; behind the end nothing is read."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._starts[-1]}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, across fragments; how many bytes there were."""
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and self._position < self._starts[-1]:
            number = bisect_right(self._starts, self._position) - 1
            within = self._position - self._starts[number]
            count = min(len(view) - done, self._starts[number + 1] - self._position)
            read = os.preadv(self._descriptor, [view[done : done + count]], self._offsets[number] + within)
            if not read:
                break
            self._position += read
            done += read
        return done

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()
