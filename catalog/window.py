"""A moving window over the bytes of a header, which passes each byte once and keeps none it has passed."""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from catalog.errors import HeaderError

type Read = Callable[[int], bytes]
"""Gives at most so many bytes, and none at the end."""

BLOCK = 16 << 10
"""Bytes that are read at once; most headers are shorter."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes that come once, in their order: of an archive's entry, of an object of a bucket."""

    read: Read
    """May raise `HeaderError`, whose text is what is wrong with the bytes."""
    size: int
    """As it is declared; what comes may be less."""
    mtime_ns: int


class Recording:
    """Reads and keeps what was read, up to a limit, so that it can be read again."""

    __slots__ = ("_kept", "_limit", "_read", "_size")

    def __init__(self, read: Read, limit: int) -> None:
        self._read, self._limit = read, limit
        self._kept: list[bytes] = []
        self._size = 0

    def read(self, count: int) -> bytes:
        """Read on."""
        part = self._read(count)
        if self._size < self._limit:
            self._kept.append(part)
            self._size += len(part)
        return part

    def again(self, start: int) -> Read:
        """Read what was kept, from a position on."""
        position, kept = start, b"".join(self._kept)

        def read(count: int) -> bytes:
            nonlocal position
            part = kept[position : position + count]
            position += len(part)
            return part

        return read


class Window:
    """Bytes of a file, or of what a deflate stream inflates to, from `start` on.

    `advance` and `skip` move the window: positions are relative to `data`, and they return the new one.

    Parameters
    ----------
    read
        Where the bytes come from.
    end
        Size of the file, so that a declared length can be refused before a byte of it is read.
    limit
        How many bytes may be passed.
    """

    __slots__ = ("_read", "_sha", "data", "end", "limit", "start")

    def __init__(self, read: Read, end: int, limit: int) -> None:
        self._read = read
        self._sha = hashlib.sha256()
        self.data = read(BLOCK)
        while len(self.data) < min(BLOCK, end) and (more := read(BLOCK - len(self.data))):
            self.data += more  # what is unpacked comes in pieces
        self.start = 0
        self.end: int | None = end
        self.limit = limit

    def advance(self, position: int, count: int) -> int:
        """Have `count` bytes from a position on, or as many as there are."""
        self._forget(position)
        self.check(0, 0, 0)
        while len(self.data) < count and (more := self._read(max(count - len(self.data), BLOCK))):
            self.data += more
        return 0

    def skip(self, position: int, count: int, tag: int) -> int:
        """Pass over the value of an element."""
        if position + count <= len(self.data):
            return position + count
        self.check(position, count, tag)
        missing = count - (len(self.data) - position)
        self._forget(len(self.data))
        while missing:
            self.data = self._read(min(missing, 64 * BLOCK))
            if not self.data:
                raise cut(tag, count, count - missing)
            missing -= len(self.data)
            self._forget(len(self.data))
        return 0

    def check(self, position: int, count: int, tag: int) -> None:
        """Refuse a value that reaches beyond the file or the limit."""
        after = self.start + position + count
        if self.end is not None and after > self.end:
            raise cut(tag, count, self.end - self.start - position)
        if after > self.limit:
            raise HeaderError(f"has more than {self.limit >> 20} MiB before its pixel data: {name_of(tag)}")

    def digest(self, position: int) -> str:
        """SHA-256 of everything before a position, as 64 hexadecimal digits."""
        self._sha.update(memoryview(self.data)[:position])
        return self._sha.hexdigest()

    def inflate(self, position: int, limit: int) -> None:
        """Go on in what the rest of the file inflates to: `start` counts from there, `end` is unknown."""
        self._sha.update(memoryview(self.data)[:position])
        rest, read = self.data[position:], self._read

        def packed(count: int) -> bytes:
            nonlocal rest
            part, rest = rest, b""
            return part or read(count)

        self._read, self.end, self.limit = inflating(packed), None, limit
        self.data, self.start = self._read(BLOCK), 0

    def _forget(self, position: int) -> None:
        self._sha.update(memoryview(self.data)[:position])
        self.data = self.data[position:]
        self.start += position


def inflating(read: Read) -> Read:
    """Read what a raw deflate stream inflates to (PS3.5 section A.5), never more than is asked for."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def inflate(count: int) -> bytes:
        part = b""
        try:
            while not part and not stream.eof:
                packed = stream.unconsumed_tail or read(BLOCK)
                part = stream.decompress(packed, count)
                if not packed:
                    break
        except zlib.error:
            raise HeaderError("is declared deflated, and its data set cannot be inflated") from None
        return part

    return inflate


def name_of(tag: int) -> str:
    """Keyword and number of a tag for a person: `PatientID (0010,0020)`."""
    from pydicom.datadict import keyword_for_tag  # which a question to the catalog does not load

    return f"{keyword_for_tag(tag)} ({tag >> 16:04X},{tag & 0xFFFF:04X})".lstrip()


def cut(tag: int, declared: int, there: int) -> HeaderError:
    """Return the error for a value that declares more bytes than the file has."""
    return HeaderError(
        f"is cut or damaged: {name_of(tag)} declares {declared:,} bytes, the file has {max(there, 0):,}"
    )
