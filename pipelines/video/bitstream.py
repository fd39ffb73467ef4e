"""The bit stream of a video, found wherever it lies: in DICOM fragments or plain."""

import os
from dataclasses import dataclass
from typing import Self

from pydicom import uid

from catalog import guard
from catalog.errors import DecodeError, HeaderError, words_of
from pipelines.decoding.frames import File, items_of
from pipelines.decoding.pixels import VIDEO_CODECS

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

    def open(self) -> int:
        """Open the file for reading; its descriptor.

        Raises
        ------
        DecodeError
            If the file is gone, or another than it was when it was found.
        """
        descriptor = _opened(self.path)
        try:
            self._check(os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def check(self) -> None:
        """Raise `DecodeError` if the file is gone, or another than it was when it was found."""
        try:
            status = os.stat(self.path)  # noqa: PTH116 (once a frame, of a path that is text)
        except OSError as error:
            raise _cannot_be_opened(self.path, error) from None
        self._check(status)

    def _check(self, status: os.stat_result) -> None:
        if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
            raise DecodeError(f"{self.path} changed since it was opened; open it again")


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_be_opened(path, error) from None


def _cannot_be_opened(path: str, error: OSError) -> DecodeError:
    return DecodeError(f"{path} cannot be opened: {words_of(error)}")


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
