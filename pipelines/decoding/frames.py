"""The bytes of each frame of an instance, read lazily from its file: native, encapsulated or deflated.

The ranges of the frames of an instance cover the value of its pixel data from the first byte on, offset table
and item tags included, so that none goes unhashed; only padding after the last native frame is left out.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import batched, groupby, pairwise
from threading import Lock
from typing import Any, Protocol

import numpy as np
from pydicom import uid

from catalog import guard
from catalog.errors import DecodeError, HeaderError
from catalog.extent import items
from catalog.identifiers import digest
from catalog.records import InstanceRecord, Mosaic, PixelData
from pipelines.decoding.codecs import check_ratio
from pipelines.decoding.decode import decode_frame, decode_frames
from pipelines.decoding.inflated import Inflated
from pipelines.decoding.limits import check_frame
from pipelines.decoding.pixels import PixelDescription, Stored, mask_unused_bits

TOGETHER_BYTES, TOGETHER = 1 << 20, 64
"""How large frames are that are decoded together, and how many."""

_UNDEFINED = 0xFFFFFFFF
_CHANGED = "changed since it was indexed; run the index again"


type Digests = tuple[str, str]


class Frames(Protocol):
    """The frames of one open instance; may be shared by threads."""

    header: bytes
    """The bytes before the pixel data element; of a deflated data set, what it inflates to."""

    def source(self, index: int) -> bytes:
        """Return the bytes of a frame as they stand in the archive."""

    def load(self, index: int, out: Stored) -> Digests:
        """Fill `out` with the stored values of a frame; digests of its source bytes and of those values."""

    def load_all(self, indices: Sequence[int], out: Stored) -> list[Digests]:
        """Fill each plane of `out` as `load` does; faster than one by one where frames are small."""


@contextmanager
def open_frames(instance: InstanceRecord) -> Iterator[Frames]:
    """Open the file of an instance, check that its header is the one that was indexed, and give its frames.

    Raises
    ------
    DecodeError
        If the file is gone, changed, cut or known to be rotten, or its pixel data are not what its header
        describes; the text has the reason and does not name the file.
    """
    if instance.rot:
        raise DecodeError(instance.rot)
    if instance.mosaic is not None:
        with open_frames(_whole(instance, instance.mosaic)) as frames:
            yield _Tiles(frames, instance, instance.mosaic)
        return
    description = PixelDescription.of(instance)
    check_frame(description.frame_bits // 8)
    with _readable():
        descriptor = os.open(instance.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if instance.transfer_syntax_uid == uid.DeflatedExplicitVRLittleEndian:
            yield _deflated(File(descriptor), instance, description)
        else:
            pixels = instance.pixel_data
            if pixels is None:
                raise DecodeError("has no pixel data")
            file = File(descriptor)
            header = _check_header(file, instance.header_digest, pixels)
            frames = _frames(file, description, pixels)
            frames.header = header
            yield frames
    finally:
        os.close(descriptor)


# --- bytes in a file or in memory ------------------------------------------------------------------------


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DecodeError(f"cannot be read: {(error.strerror or 'input error').lower()}") from None


class Bytes(Protocol):
    """Bytes that are read by their offset."""

    size: int

    def read(self, offset: int, count: int) -> bytes:
        """Return so many bytes, or fewer at the end."""

    def read_into(self, offset: int, out: memoryview) -> int:
        """Fill the memory from an offset on; how many bytes there were."""


class File:
    """Positioned reads, which threads may share."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, offset: int, count: int) -> bytes:
        """Return so many bytes, or fewer at the end; raises `DecodeError` where the file cannot be read."""
        with _readable():
            return os.pread(self._descriptor, min(count, max(self.size - offset, 0)), offset)

    def read_into(self, offset: int, out: memoryview) -> int:
        """Fill the memory from an offset on; how many bytes there were."""
        with _readable():
            return os.preadv(self._descriptor, [out], offset)


# --- opening ---------------------------------------------------------------------------------------------


def _check_header(data: Bytes, header_digest: str, pixels: PixelData) -> bytes:
    """Compare the bytes before the pixel data element, and the element's tag and length, with the index."""
    before = data.read(0, pixels.offset)
    length = _UNDEFINED if pixels.length is None else pixels.length
    numbers = (pixels.tag >> 16, pixels.tag & 0xFFFF)
    for order in "<>":
        tag = struct.pack(f"{order}HH", *numbers)
        explicit = tag + pixels.vr.encode("latin-1")
        start = 12 if before[-12:-6] == explicit else 8 if before[-8:-4] == tag else 0
        if start and before[-4:] == struct.pack(f"{order}L", length):
            if digest(memoryview(before)[:-start]) == header_digest:
                return before[:-start]
            break
    raise DecodeError(_CHANGED)


def _frames(data: Bytes, description: PixelDescription, pixels: PixelData) -> Frames:
    if description.is_native:
        return _NativeFrames(data, description, pixels)
    if pixels.length is not None:
        raise DecodeError("pixel data of defined length in a transfer syntax that encapsulates them")
    return _EncapsulatedFrames(data, description, _ranges(data, pixels.offset, description.frames))


def _deflated(file: File, instance: InstanceRecord, description: PixelDescription) -> Frames:
    check_ratio(file.size, description)
    try:
        head = guard.scan(instance.path, ())
    except HeaderError as error:
        raise DecodeError(str(error)) from None
    needed = (description.frame_bits * description.frames + 7) // 8
    data = Inflated(file, head.start, head.end + 12 + needed)
    if head.digest != instance.header_digest:
        raise DecodeError(_CHANGED)
    tag, vr, length = struct.unpack("<4s2s2xL", data.read(head.end, 12).ljust(12, b"\0"))
    if tag != b"\xe0\x7f\x10\x00":
        raise DecodeError("has no pixel data")
    pixels = PixelData(0x7FE00010, vr.decode("latin-1"), head.end + 12, length)
    frames = _NativeFrames(data, description, pixels)
    frames.header = data.read(0, head.end)
    return frames


# --- mosaics ---------------------------------------------------------------------------------------------


def _whole(tile: InstanceRecord, mosaic: Mosaic) -> InstanceRecord:
    return replace(
        tile, rows=mosaic.rows, columns=mosaic.columns, number_of_frames=1, frame_index=None, mosaic=None
    )


class _Tiles:
    """Tiles of one frame: decoded once, and the source of each is the whole frame."""

    def __init__(self, frames: Frames, tile: InstanceRecord, mosaic: Mosaic) -> None:
        self._frames, self._across = frames, mosaic.across
        self.header = frames.header
        self._rows, self._columns = tile.rows or 0, tile.columns or 0
        description = PixelDescription.of(_whole(tile, mosaic))
        self._whole: Stored = np.empty(description.shape, description.dtype)
        self._digest = ""
        self._lock = Lock()

    def source(self, index: int) -> bytes:
        return self._frames.source(0)

    def load(self, index: int, out: Stored) -> Digests:
        with self._lock:
            if not self._digest:
                self._digest, _ = self._frames.load(0, self._whole)
        down, right = divmod(index, self._across)
        top, left = down * self._rows, right * self._columns
        tile = self._whole[top : top + self._rows, left : left + self._columns]
        if tile.shape != out.shape:
            raise DecodeError(f"there is no tile {index + 1} in its {self._whole.shape} pixels")
        out[...] = tile
        return self._digest, digest(_memory(out))

    def load_all(self, indices: Sequence[int], out: Stored) -> list[Digests]:
        return [self.load(index, plane) for index, plane in zip(indices, out, strict=True)]


# --- native ----------------------------------------------------------------------------------------------


class _NativeFrames:
    """Frames that follow each other without anything between them (PS3.5 section 8.1.1)."""

    header: bytes

    def __init__(self, data: Bytes, description: PixelDescription, pixels: PixelData) -> None:
        needed = (description.frame_bits * description.frames + 7) // 8
        there = min(data.size - pixels.offset, pixels.length or 0)
        if there < needed:
            raise DecodeError(
                f"pixel data are cut: {there:,} bytes, the header promises {description.frames} frames "
                f"of together {needed:,}"
            )
        self._data, self._description, self._offset = data, description, pixels.offset

    def load_all(self, indices: Sequence[int], out: Stored) -> list[Digests]:
        return [self.load(index, each) for index, each in zip(indices, out, strict=True)]

    def source(self, index: int) -> bytes:
        first = self._description.frame_bits * index
        start, stop = first // 8, (first + self._description.frame_bits + 7) // 8
        return self._data.read(self._offset + start, stop - start)

    def load(self, index: int, out: Stored) -> Digests:
        description = self._description
        if not (description.is_direct and out.flags.c_contiguous and out.dtype == description.dtype):
            source = self.source(index)
            out[...] = decode_frame(source, description, first_bit=description.frame_bits * index % 8)
            return digest(source), digest(_memory(out))
        view = _memory(out)
        read = self._data.read_into(self._offset + index * len(view), view)
        if read != len(view):
            raise DecodeError(f"pixel data are cut: {read:,} of the {len(view):,} bytes of a frame")
        source_digest = digest(view)
        if mask_unused_bits(out, description):
            return source_digest, digest(view)
        return source_digest, source_digest


# --- encapsulated ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Range:
    """The bytes of one frame with their item tags, and its fragments as offset and length in the file."""

    start: int
    stop: int
    fragments: tuple[tuple[int, int], ...]


class _EncapsulatedFrames:
    """Frames in one or more fragments each (PS3.5 section A.4)."""

    header: bytes

    def __init__(self, data: Bytes, description: PixelDescription, ranges: Sequence[_Range]) -> None:
        self._data, self.description, self._ranges = data, description, ranges

    def source(self, index: int) -> bytes:
        return self._data.read(
            self._ranges[index].start, self._ranges[index].stop - self._ranges[index].start
        )

    def encoded(self, index: int) -> tuple[bytes, bytes]:
        """Return the bytes of a frame as they stand in the archive, and its fragments joined."""
        source = self.source(index)
        return source, _joined(source, self._ranges[index])

    def load(self, index: int, out: Stored) -> Digests:
        (encoded,) = _decoded_together([((self, index), out)], self.description)
        if isinstance(encoded, DecodeError):
            raise encoded
        return encoded

    def load_all(self, indices: Sequence[int], out: Stored) -> list[Digests]:
        digests: list[Digests] = []
        for part in batched(indices, together(self.description.frame_bytes)):
            places = [(self, index) for index in part]
            for found in load_together(places, out[len(digests) : len(digests) + len(part)]):
                if isinstance(found, DecodeError):
                    raise found
                digests.append(found)
        return digests


def together(frame_bytes: int) -> int:
    """How many frames of a size are best loaded together."""
    return max(1, min(TOGETHER, TOGETHER_BYTES // frame_bytes))


def load_together(places: Sequence[tuple[Frames, int]], out: Stored) -> list[Digests | DecodeError]:
    """Fill each plane of `out` with a frame of some open instance, as `Frames.load` does; errors are values.

    Encapsulated frames that are described alike go to the decoder together, which is faster for small ones.
    """
    results: list[Digests | DecodeError] = []
    for description, some in groupby(zip(places, out, strict=True), key=lambda each: _described(each[0][0])):
        planes = list(some)
        if description is None:
            results += [_loaded(frames, index, plane) for (frames, index), plane in planes]
        else:
            results += _decoded_together(planes, description)
    return results


def _described(frames: Frames) -> PixelDescription | None:
    return frames.description if isinstance(frames, _EncapsulatedFrames) else None


def _loaded(frames: Frames, index: int, out: Stored) -> Digests | DecodeError:
    try:
        return frames.load(index, out)
    except DecodeError as error:
        return error


def _decoded_together(
    planes: Sequence[tuple[tuple[Any, int], Stored]], description: PixelDescription
) -> list[Digests | DecodeError]:
    try:
        read = [frames.encoded(index) for (frames, index), _ in planes]
    except DecodeError as error:
        if len(planes) == 1:
            return [error]
        return [found for plane in planes for found in _decoded_together((plane,), description)]
    faults = decode_frames([encoded for _, encoded in read], description, [plane for _, plane in planes])
    return [
        _numbered(fault, index, description) if fault else (digest(source), digest(_memory(plane)))
        for ((_, index), plane), (source, _), fault in zip(planes, read, faults, strict=True)
    ]


def _joined(source: bytes, within: _Range) -> bytes:
    """The fragments of a frame without their item tags."""
    view = memoryview(source)
    return b"".join(
        view[offset - within.start : offset - within.start + length] for offset, length in within.fragments
    )


def _numbered(error: DecodeError, index: int, description: PixelDescription) -> DecodeError:
    if description.frames == 1:
        return error
    return type(error)(f"frame {index + 1} of {description.frames}: {error}")


def _ranges(data: Bytes, offset: int, frames: int) -> list[_Range]:
    ((table_at, table_length), *fragments), end = items_of(data, offset)
    if not fragments:
        raise DecodeError("the encapsulated pixel data have no fragment")
    if len(fragments) == frames:
        firsts = list(range(frames))
    elif frames == 1:
        firsts = [0]
    elif table_length == 4 * frames:
        table = struct.unpack(f"<{frames}L", data.read(table_at, table_length))
        firsts = _by_offset(fragments, table, table_at + table_length)
    else:
        firsts = _by_end_of_image(data, fragments, frames)
    groups = [fragments[a:b] for a, b in zip(firsts, [*firsts[1:], len(fragments)], strict=True)]
    starts = [offset, *(group[0][0] - 8 for group in groups[1:]), end]
    return [
        _Range(start, stop, tuple(group))
        for start, stop, group in zip(starts[:-1], starts[1:], groups, strict=True)
    ]


def items_of(data: Bytes, position: int) -> tuple[Sequence[tuple[int, int]], int]:
    """Offset and length of the offset table's and each fragment's value, and the end of the pixel data.

    Raises
    ------
    DecodeError
        If they are not items (PS3.5 section A.4), reach beyond the file, or are too many.
    """
    found = items(data.read, data.size, position)
    if not found.values:
        raise DecodeError("the encapsulated pixel data are empty")
    return found.values, found.end


def _by_offset(fragments: Sequence[tuple[int, int]], table: Sequence[int], base: int) -> list[int]:
    """Index of each frame's first fragment by the Basic Offset Table, which counts from after itself."""
    numbers = {start - 8 - base: index for index, (start, _) in enumerate(fragments)}
    firsts = [numbers.get(each, -1) for each in table]
    if firsts[0] != 0 or any(later <= earlier for earlier, later in pairwise(firsts)):
        raise DecodeError("the offset table does not point at fragments in order")
    return firsts


def _by_end_of_image(data: Bytes, fragments: Sequence[tuple[int, int]], frames: int) -> list[int]:
    """Index of each frame's first fragment where no offset table says it: a frame ends with FFD9."""
    ends = [
        index
        for index, (start, length) in enumerate(fragments)
        if b"\xff\xd9" in data.read(start + max(length - 10, 0), min(length, 10))
    ]
    if len(ends) != frames or ends[-1] != len(fragments) - 1:
        raise DecodeError(f"{len(fragments)} fragments for {frames} frames, and no offset table")
    return [0, *(end + 1 for end in ends[:-1])]


def _memory(frame: Stored) -> memoryview:
    """Bytes of an array in row-major order."""
    return memoryview(np.ascontiguousarray(frame).reshape(-1).view(np.uint8).data)
