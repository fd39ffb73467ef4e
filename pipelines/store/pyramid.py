"""Coarser levels of an array: made when they are wished for, whole before they are listed, verified like it.

Each level is made of the one before it: images by the mean, rounded, and what is looked up in a table by the
most frequent, in the type of the stored values. A level is a group of its own inside the group of its array.
All are listed, in `ome` and for us, by one replacement of the group's `zarr.json`: a reader sees all or none.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog.errors import ArrayError, NotFoundError
from catalog.records import ArrayRecord
from pipelines.store import arrays
from pipelines.store.arrays import Block
from pipelines.store.layout import Cut, Layout, Moved
from pipelines.store.multiscales import CHANNEL, COARSEST, Level, channel_first, halvings
from pipelines.store.places import Place, at

type Values = npt.NDArray[Any]


def make_levels(record: ArrayRecord, *, coarsest: int = COARSEST) -> tuple[Level, ...]:
    """Make the levels of an array, unless it has them, and return them from fine to coarse.

    Parameters
    ----------
    coarsest
        Rows and columns of the last level have no more. An array that is no larger gets no level, but a
        colour image its first one, a copy of the stored values with the channel before the rows.

    Raises
    ------
    catalog.errors.ArrayError
        If the array is absent, incomplete or altered, or a kind that has no levels.
    OSError
        If its group cannot be written.
    """
    group = at(record.path)
    with group.parent.alone():
        source = Source.of(record, group)
        if levels := arrays.read_levels(group):
            return levels
        factors = halvings(
            record.shape, source.spaced, has_equal_planes=source.has_equal_planes, coarsest=coarsest
        )
        if CHANNEL in record.dims:
            factors.insert(0, (1,) * len(record.shape))
        made: list[Level] = []
        try:
            for number, each in enumerate(factors, start=0 if CHANNEL in record.dims else 1):
                made.append(source.write(f"level-{number}", each, made[-1] if made else None))
            arrays.list_levels(group, made)
        except BaseException:
            for level in made:
                (group / level.name).remove()
            raise
    return tuple(made)


def open_level(record: ArrayRecord, level: Level) -> Any:
    """Open the stored values of a level, a `zarr.Array` with the axes of OME-Zarr.

    Raises
    ------
    catalog.errors.ArrayError
        If it is missing, cut or altered since it was listed.
    """
    place = at(record.path) / level.name
    cut = _cut(record, level.shape)
    if arrays.file_digest(place, arrays.VALUES_METADATA) != level.metadata_digest:
        raise ArrayError(f"the metadata of {place} were altered; ingest its series again")
    if arrays.shard_bytes(place, cut) != level.shard_bytes:
        raise ArrayError(f"values of {place} are missing or cut; ingest its series again")
    return arrays.open_values(place)


def level_of(record: ArrayRecord, number: int) -> Level:
    """Return a level that was made, from 1 for the finest, whole.

    Raises
    ------
    catalog.errors.NotFoundError
        If there is none of this number.
    catalog.errors.ArrayError
        As `open_level` does.
    """
    levels = [each for each in arrays.read_levels(at(record.path)) if set(each.factors) != {1}]
    if not 1 <= number <= len(levels):
        raise NotFoundError(
            f"part {record.part} of series {record.series_instance_uid} has coarser levels up to "
            f"{len(levels)}, there is no level {number}"
        )
    open_level(record, levels[number - 1])
    return levels[number - 1]


def altered_levels(record: ArrayRecord) -> Iterator[tuple[str, str]]:
    """Make every level again, slab by slab, and yield place and fault of the first one that differs."""
    group = at(record.path)
    levels = arrays.read_levels(group)
    source = Source.of(record, group) if levels else None
    before: Level | None = None
    for level in levels:
        where = f"{group}/{level.name}"
        try:
            opened = open_level(record, level)
            same = source is None or all(
                np.array_equal(opened[index], values, equal_nan=values.dtype.kind == "f")
                for index, values in source.slabs(level.factors, before)
            )
        except Exception as error:  # whatever the codecs stumble over in altered bytes is a finding
            yield where, f"cannot be read: {error}" if isinstance(error, ArrayError) else "cannot be read"
            return
        if not same:
            yield where, "values differ from those of the level before"
            return
        before = level


def _cut(record: ArrayRecord, shape: tuple[int, ...]) -> Cut:
    layout = Layout(shape, np.dtype(record.dtype).itemsize, record.kind)
    order = channel_first(record.dims)
    return layout if order == tuple(range(len(order))) else Moved(layout, order)


@dataclass(frozen=True, slots=True)
class Source:
    """The array that levels are made of."""

    record: ArrayRecord
    group: Place
    block: Block

    @classmethod
    def of(cls, record: ArrayRecord, group: Place) -> "Source":
        """Read what its group says of it."""
        if record.kind not in ("volume", "stack"):
            raise ArrayError(f"a {record.kind} has no coarser levels; only images have")
        if arrays.metadata_digest(group) != record.metadata_digest:
            raise ArrayError(
                f"the metadata of {group} were altered since they were written; ingest its series again"
            )
        return cls(record, group, arrays.read_block(group))

    @property
    def is_indices(self) -> bool:
        """Whether values are looked up in a table, such as a palette: neighbours have no mean then."""
        return bool(self.block.lookup)

    @property
    def spaced(self) -> Any:
        """Where its values lie."""
        return arrays.spaced(self.block, self.record.dims)

    @property
    def has_equal_planes(self) -> bool:
        """Whether neighbouring planes mean the same by the same stored value."""
        planes = self.block.planes
        return (
            not self.block.lookup
            and len(set(planes.rescale_slopes)) == len(set(planes.rescale_intercepts)) == 1
        )

    def write(self, name: str, factors: tuple[int, ...], before: Level | None) -> Level:
        """Write one level, read it back and give it its place; it is not listed yet."""
        shape = _divided(self.record.shape, factors)
        cut = _cut(self.record, shape)
        dims = tuple(self.record.dims[number] for number in channel_first(self.record.dims))
        with self.group.staged(name) as staged:
            values = arrays.create_values(staged.place, cut, self.record.dtype, dims)
            slabs = zip(cut.slabs(), self.slabs(factors, before), strict=True)
            for slab, (_, stored) in slabs:
                arrays.write_slab(staged.place, values, slab, stored)
            sizes = arrays.shard_bytes(staged.place, cut)
            digest = arrays.file_digest(staged.place, arrays.VALUES_METADATA)
            staged.publish()
        return Level(staged.final.name, factors, shape, sizes, digest)

    def slabs(self, factors: Sequence[int], before: Level | None) -> Iterator[tuple[Any, Values]]:
        """Index into the level and its values, slab by slab, of the level before or the stored values."""
        done = before.factors if before else (1,) * len(factors)
        step = tuple(now // then for now, then in zip(factors, done, strict=True))
        shape = before.shape if before else self.record.shape
        order = channel_first(self.record.dims)
        values = open_level(self.record, before) if before else arrays.open_values(self.group)
        cut = _cut(self.record, _divided(self.record.shape, factors))
        for slab in cut.slabs():
            index = _in_order(slab.index, order)
            wider = tuple(_widened(*each) for each in zip(index, step, shape, strict=True))
            read = wider if before is None else tuple(wider[number] for number in order)
            stored = arrays.read(self.group / before.name if before else self.group, values, read)
            if before is None:
                stored = stored.transpose(order)
            coarse = _reduced(stored, tuple(step[number] for number in order), self.is_indices)
            yield slab.index, coarse.reshape(slab.shape)


def _in_order(index: Sequence[int | slice], order: Sequence[int]) -> tuple[slice, ...]:
    """Index of a cut with moved axes, in the order of the stored values, with slices alone."""
    slices: list[slice] = [slice(None)] * len(order)
    for position, number in enumerate(order):
        each = index[position]
        slices[number] = slice(each, each + 1) if isinstance(each, int) else each
    return tuple(slices)


def _widened(index: slice, step: int, size: int) -> slice:
    """Values that those of a level are made of."""
    start, stop, _ = index.indices(math.ceil(size / step))
    return slice(start * step, min(stop * step, size))


def _divided(shape: Sequence[int], factors: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.ceil(size / factor) for size, factor in zip(shape, factors, strict=True))


# --- values ----------------------------------------------------------------------------------------------


def _reduced(values: Values, step: Sequence[int], is_indices: bool) -> Values:
    """Reduce plane by plane along the third axis from the end, so that little memory is taken."""
    if all(each == 1 for each in step):
        return values
    reduce = most_frequent if is_indices else mean
    axis = values.ndim - 3
    starts = range(0, values.shape[axis], step[axis])
    planes = [
        reduce(values[(slice(None),) * axis + (slice(start, start + step[axis]),)], step) for start in starts
    ]
    return np.concatenate(planes, axis=axis)


def mean(values: Values, step: Sequence[int]) -> Values:
    """Mean of neighbours along each axis, in the type of the values; at an odd end of those there are."""
    total = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    count = np.ones((1,) * values.ndim)
    for axis, each in enumerate(step):
        starts = np.arange(0, values.shape[axis], each)
        total = np.add.reduceat(total, starts, axis=axis)
        lengths = np.diff(np.append(starts, values.shape[axis]))
        count = count * lengths.reshape([-1 if other == axis else 1 for other in range(values.ndim)])
    average = total / count
    return (average if values.dtype.kind == "f" else np.rint(average)).astype(values.dtype)


def most_frequent(values: Values, step: Sequence[int]) -> Values:
    """Most frequent one of neighbours along each axis, the first of those that are equally frequent."""
    padding = [(0, -size % each) for size, each in zip(values.shape, step, strict=True)]
    padded = np.pad(values, padding, mode="edge")
    corners = [
        padded[tuple(slice(start, None, each) for start, each in zip(offsets, step, strict=True))]
        for offsets in product(*map(range, step))
    ]
    best, most = corners[0], np.zeros(corners[0].shape, np.uint8)
    for corner in corners:
        votes = np.sum([corner == other for other in corners], axis=0, dtype=np.uint8)
        best, most = np.where(votes > most, corner, best), np.maximum(votes, most)
    return best
