"""The bit stream of a video, read by offset as one file wherever it lies: in DICOM fragments or plain."""

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

from pydicom import uid

from catalog import guard
from catalog.errors import DecodeError, HeaderError
from pipelines.frames import Bytes, File, items_of
from pipelines.pixels import VIDEO_CODECS

_PREAMBLE, _PREFIX = 128, b"DICM"


@dataclass(frozen=True, slots=True)
class Bitstream:
    """Where the bytes of one video lie; small, so that it goes to a worker."""

    path: str
    fragments: tuple[tuple[int, int], ...]
    """Offset and length in the file."""
    transfer_syntax_uid: str | None
    """`None` for a plain video file."""
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Self:
        """Find the video of a DICOM file with one of `VIDEO_CODECS`, or take the whole of any other file.

        Raises
        ------
        DecodeError
            If the file cannot be read, has no video, or its fragments are damaged.
        """
        descriptor = _opened(os.fspath(path))
        try:
            status, file = os.fstat(descriptor), File(descriptor)
            if file.read(_PREAMBLE, 4) == _PREFIX:
                transfer_syntax_uid, fragments = _in_dicom(os.fspath(path), file)
            else:
                transfer_syntax_uid, fragments = None, ((0, file.size),)
        finally:
            os.close(descriptor)
        if not any(length for _, length in fragments):
            raise DecodeError(f"{os.fspath(path)} has a video without a byte")
        return cls(os.fspath(path), fragments, transfer_syntax_uid, status.st_size, status.st_mtime_ns)

    def open(self) -> "Reader":
        """Open the stream for reading.

        Raises
        ------
        DecodeError
            If the file is gone, or another than it was when it was found.
        """
        descriptor = _opened(self.path)
        status = os.fstat(descriptor)
        if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
            os.close(descriptor)
            raise DecodeError(f"{self.path} changed since it was opened; open it again")
        return Reader(descriptor, self.fragments)


class Reader(io.RawIOBase):
    """The fragments of a file as one file for reading; owns the descriptor."""

    def __init__(self, descriptor: int, fragments: Sequence[tuple[int, int]]) -> None:
        self._descriptor = descriptor
        self._file: Bytes = File(descriptor)
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
            read = self._file.read_into(self._offsets[number] + within, view[done : done + count])
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


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DecodeError(f"{path} cannot be opened: {(error.strerror or 'input error').lower()}") from None


def _in_dicom(path: str, file: File) -> tuple[str, tuple[tuple[int, int], ...]]:
    try:
        head = guard.scan(path, ())
    except HeaderError as error:
        raise DecodeError(f"{path} {error}") from None
    if head.transfer_syntax_uid not in VIDEO_CODECS:
        name = uid.UID(head.transfer_syntax_uid).name
        raise DecodeError(f"{path} has transfer syntax {name}, which is none of videos")
    if head.pixel_data is None or head.pixel_data.length is not None:
        raise DecodeError(f"{path} has no encapsulated pixel data")
    items, _ = items_of(file, head.pixel_data.offset)
    return head.transfer_syntax_uid, tuple(item for item in items[1:] if item[1])  # after the offset table
