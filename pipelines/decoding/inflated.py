"""A deflated data set, read by offsets in bounded memory however much it inflates to (PS3.5 section A.5)."""

import zlib
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

from catalog.errors import DecodeError

PLACES = 256
"""From how many places on inflating can go on, at most; each keeps the 32 KiB that deflate may refer to."""
STEP = 4 << 20
"""How far they are from each other at least, in inflated bytes."""

_PACKED = 64 << 10
_PASSED = 1 << 20


class _File(Protocol):
    def read(self, offset: int, count: int) -> bytes:
        """Return so many bytes, or fewer at the end."""


@dataclass(slots=True)
class _Stream:
    """A deflate stream on its way: what comes next, and how to get it."""

    file: _File
    packed: int
    """Offset in the file of the bytes that are read next."""
    position: int
    """Inflated bytes that have come."""
    state: Any
    """Of zlib, whose type has no name to import."""

    def copy(self) -> "_Stream":
        return _Stream(self.file, self.packed, self.position, self.state.copy())

    def next(self, count: int) -> bytes:
        """At most so many bytes, and none at the end."""
        part = b""
        while not part and not self.state.eof:
            packed = self.state.unconsumed_tail
            if not packed:
                packed = self.file.read(self.packed, _PACKED)
                self.packed += len(packed)
            try:
                part = self.state.decompress(packed, count)
            except zlib.error:
                raise DecodeError("is declared deflated, and its data set cannot be inflated") from None
            if not packed:
                break
        self.position += len(part)
        return part


class Inflated:
    """What the bytes of a file from an offset on inflate to; for threads to share.

    Parameters
    ----------
    most
        Bytes that are wanted; what follows is not inflated.

    Raises
    ------
    DecodeError
        If they cannot be inflated, also when they are read.
    """

    def __init__(self, file: _File, start: int, most: int) -> None:
        self._lock = Lock()
        stream = _Stream(file, start, 0, zlib.decompressobj(-zlib.MAX_WBITS))
        self._places = [stream.copy()]
        step = max(STEP, most // PLACES)
        while stream.position < most and stream.next(min(_PASSED, most - stream.position)):
            if stream.position - self._places[-1].position >= step:
                self._places.append(stream.copy())
        self.size = stream.position
        self._ahead: _Stream | None = stream
        """Where the last read ended: the next one mostly follows it."""

    def read(self, offset: int, count: int) -> bytes:
        """Return so many bytes, or fewer at the end."""
        out = bytearray(max(min(count, self.size - offset), 0))
        return bytes(out[: self.read_into(offset, memoryview(out))])

    def read_into(self, offset: int, out: memoryview) -> int:
        """Fill the memory from an offset on; how many bytes there were."""
        stream = self._towards(offset)
        while stream.position < offset and stream.next(min(_PASSED, offset - stream.position)):
            pass
        filled, wanted = 0, min(len(out), self.size - offset)
        while filled < wanted and (part := stream.next(min(_PASSED, wanted - filled))):
            out[filled : filled + len(part)] = part
            filled += len(part)
        with self._lock:
            self._ahead = stream
        return filled

    def _towards(self, offset: int) -> _Stream:
        """The stream that is nearest before an offset."""
        with self._lock:
            nearest = [each for each in self._places if each.position <= offset][-1]
            ahead = self._ahead
            if ahead is None or not nearest.position <= ahead.position <= offset:
                return nearest.copy()
            self._ahead = None
            return ahead
