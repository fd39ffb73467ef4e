"""How the stored values of an array are cut: planes into slabs, that is shards, and chunks; no I/O.

A volume has dimensions (z, y, x), or axes before them along which it repeats (time, echo, b-value); a stack
has (frame, y, x) or (frame, y, x, channel). Planes are numbered from 0, the last axis before the rows running
fastest. A slab is what is read, written, verified and made durable at once; it is one shard, so one file.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

SLAB_PLANES = 32
"""Planes of a slab and, in a volume, of a chunk ..."""
SLAB_BYTES = 32 << 20
"""... or fewer where they would take more than this; small volumes of a row share a slab up to it."""
VOLUME_CHUNK = 64
"""Rows and columns of a volume's chunk: all three planes read at similar cost."""
CHUNK_BYTES = 1 << 20
"""Small volumes of a row share a chunk up to this, so that a voxel's curve is read from few chunks."""
CHUNK_BYTES_AT_LEAST = 64 << 10
"""A volume's chunk that would have less has twice the rows and columns."""
BLOCK_BYTES = 8 << 10
"""What is compressed at once within a chunk: whole planes of it, at least so many bytes."""
BLOCK_LIMIT = 64 << 10
"""A plane of a chunk that has more is left to the codec to cut."""
STACK_CHUNK = 512
"""Rows and columns of a stack's chunk, one frame deep: frames are looked at one by one."""


def block_bytes(chunk: tuple[int, ...], itemsize: int) -> int:
    """Bytes that are compressed at once, so that single planes of a chunk can be read; 0 leaves it open."""
    plane = math.prod(chunk[-2:]) * itemsize
    return plane * math.ceil(BLOCK_BYTES / plane) if plane <= BLOCK_LIMIT else 0


@dataclass(frozen=True, slots=True)
class Slab:
    """Planes that are written together."""

    start: int
    """Number of its first plane, and ..."""
    stop: int
    """... of the first plane after it."""
    index: tuple[int | slice, ...]
    """Selects it from the array."""
    shape: tuple[int, ...]
    """Of what `index` selects."""
    shard: tuple[int, ...]
    """Coordinates of its shard."""


class Cut(Protocol):
    """How an array is cut, whatever its axes are."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk."""

    @property
    def shard(self) -> tuple[int, ...]:
        """Shape of a shard, a multiple of that of a chunk."""

    def slabs(self) -> Iterator[Slab]:
        """Every slab: what a shard holds of the array."""


@dataclass(frozen=True, slots=True)
class Traces:
    """The cut of channels over time: all channels together, one stretch of time after the other."""

    shape: tuple[int, ...]
    """Channels, samples."""
    itemsize: int

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return self.shape[0], self._samples(CHUNK_BYTES)

    @property
    def shard(self) -> tuple[int, ...]:
        """Shape of a shard."""
        inner = self.chunk[1]
        return self.shape[0], max(1, self._samples(SLAB_BYTES) // inner) * inner

    def slabs(self) -> Iterator[Slab]:
        """Every slab, in the order of time; its planes are its samples."""
        step = self.shard[1]
        for number, start in enumerate(range(0, self.shape[1], step)):
            stop = min(start + step, self.shape[1])
            yield Slab(
                start, stop, (slice(None), slice(start, stop)), (self.shape[0], stop - start), (0, number)
            )

    def _samples(self, limit: int) -> int:
        return max(1, min(self.shape[1], limit // (self.shape[0] * self.itemsize)))


@dataclass(frozen=True, slots=True)
class Painted:
    """The cut of a mask: plane by plane, as each is painted."""

    shape: tuple[int, ...]
    """Planes along one axis and more, then rows and columns."""

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk: one plane."""
        return (*(1 for _ in self.shape[:-2]), *self.shape[-2:])

    @property
    def shard(self) -> tuple[int, ...]:
        """Shape of a shard: one chunk."""
        return self.chunk

    def slab(self, index: tuple[int, ...]) -> Slab:
        """Return the slab that is a plane."""
        number = int(np.ravel_multi_index(index, self.shape[:-2]))
        whole = (slice(None), slice(None))
        return Slab(number, number + 1, (*index, *whole), self.shape[-2:], (*index, 0, 0))

    def slabs(self) -> Iterator[Slab]:
        """Every slab."""
        return map(self.slab, np.ndindex(self.shape[:-2]))


@dataclass(frozen=True, slots=True)
class Moved:
    """The cut of an array whose axes are those of another one in another order."""

    layout: "Layout"
    order: tuple[int, ...]
    """Axis of the other for each axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self._in_order(self.layout.shape)

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return self._in_order(self.layout.chunk)

    @property
    def shard(self) -> tuple[int, ...]:
        """Shape of a shard."""
        return self._in_order(self.layout.shard)

    def slabs(self) -> Iterator[Slab]:
        """Every slab."""
        for slab in self.layout.slabs():
            index, shard = self._in_order(slab.index), self._in_order(slab.shard)
            yield Slab(slab.start, slab.stop, index, self._in_order(slab.shape), shard)

    def _in_order[T](self, each: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(each[number] for number in self.order)


@dataclass(frozen=True, slots=True)
class Layout:
    """The cut of one array."""

    shape: tuple[int, ...]
    itemsize: int
    kind: str
    """`volume` or `stack`."""

    @property
    def plane_axis(self) -> int:
        """Axis along which the planes of one volume, or the frames of a stack, follow each other."""
        return len(self.shape) - 3 if self.kind == "volume" else 0

    @property
    def leading(self) -> tuple[int, ...]:
        """Shape of the axes along which a volume repeats."""
        return self.shape[: self.plane_axis]

    @property
    def plane_shape(self) -> tuple[int, ...]:
        """Rows and columns, and samples for colour."""
        return self.shape[self.plane_axis + 1 :]

    @property
    def plane_bytes(self) -> int:
        """Bytes of one plane."""
        return math.prod(self.plane_shape) * self.itemsize

    @property
    def planes(self) -> int:
        """Count of all planes."""
        return math.prod(self.shape[: self.plane_axis + 1])

    @property
    def depth(self) -> int:
        """Planes along the plane axis in a slab."""
        return max(1, min(SLAB_PLANES, self.shape[self.plane_axis], SLAB_BYTES // self.plane_bytes))

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk; rows and columns are divided evenly, so that little is padding."""
        inner, _ = self._rows_and_columns
        repeats = self._repeats(CHUNK_BYTES, math.prod(inner) * self.depth * self.itemsize)
        deep = self.depth if self.kind == "volume" else 1
        return (*self._along(repeats), deep, *inner, *self.plane_shape[2:])

    @property
    def slab_repeats(self) -> int:
        """Volumes along the last leading axis in a slab, a multiple of those in a chunk."""
        repeats = self._repeats(SLAB_BYTES, self.depth * self.plane_bytes)
        in_chunk = self.chunk[self.plane_axis - 1] if self.leading else 1
        return max(in_chunk, repeats // in_chunk * in_chunk)

    @property
    def shard(self) -> tuple[int, ...]:
        """Shape of a shard: a slab, rows and columns rounded up to whole chunks."""
        _, outer = self._rows_and_columns
        return (*self._along(self.slab_repeats), self.depth, *outer, *self.plane_shape[2:])

    def slabs(self) -> Iterator[Slab]:
        """Every slab, in the order of its planes."""
        deep, repeats = self.shape[self.plane_axis], self.slab_repeats
        rest = (slice(None),) * len(self.plane_shape)
        tail = (0,) * len(self.plane_shape)
        for volume in np.ndindex(self.leading[:-1]):
            for first in range(0, self.leading[-1], repeats) if self.leading else (0,):
                count = min(repeats, self.leading[-1] - first) if self.leading else 1
                base = self._number(volume, first) * deep
                along = (slice(first, first + count),) if self.leading else ()
                for top in range(0, deep, self.depth):
                    bottom = min(top + self.depth, deep)
                    yield Slab(
                        start=base + top,
                        stop=base + (count - 1) * deep + bottom,
                        index=(*volume, *along, slice(top, bottom), *rest),
                        shape=(*(count for _ in along), bottom - top, *self.plane_shape),
                        shard=(*volume, *(first // repeats for _ in along), top // self.depth, *tail),
                    )

    def _number(self, volume: tuple[int, ...], first: int) -> int:
        """Number of a volume of the row."""
        return int(np.ravel_multi_index((*volume, first), self.leading)) if self.leading else 0

    def _along(self, repeats: int) -> tuple[int, ...]:
        return (*(1 for _ in self.leading[:-1]), repeats) if self.leading else ()

    def _repeats(self, limit: int, volume_bytes: int) -> int:
        """Volumes that fit; more than one only where a slab holds all planes of a volume."""
        if not self.leading or self.depth < self.shape[self.plane_axis]:
            return 1
        return max(1, min(self.leading[-1], limit // volume_bytes))

    @property
    def _rows_and_columns(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of a chunk, and of a shard."""
        side = VOLUME_CHUNK if self.kind == "volume" else STACK_CHUNK
        if self.depth * side**2 * self.itemsize < CHUNK_BYTES_AT_LEAST:  # few planes in a slab
            side *= 2
        counts = [max(1, round(length / side)) for length in self.plane_shape[:2]]
        inner = [
            math.ceil(length / count) for length, count in zip(self.plane_shape[:2], counts, strict=True)
        ]
        return tuple(inner), tuple(length * count for length, count in zip(inner, counts, strict=True))
