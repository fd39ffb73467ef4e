"""An object against its array, byte by byte: the file, what its reader makes of it, every slab in Zarr."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from catalog.errors import ArrayError, WorkbenchError
from catalog.records import ArrayRecord, InstanceRecord
from pipelines.kinds import VIDEO, kind_of
from pipelines.objects.arrays import ObjectBlock, cut_of, stored_dtype
from pipelines.objects.ingest import digest_of, file_digest, input_digest, read_arrays, values_of
from pipelines.store import arrays
from pipelines.store.layout import Slab
from pipelines.store.mismatch import BYTES_DIFFER, Mismatch, Verified, anew, unreadable
from pipelines.store.places import at


def verify_object(
    array: ArrayRecord, instances: Sequence[InstanceRecord], *, archive: bool = True
) -> Verified:
    """Compute every digest of an object's array again, from its file and from Zarr, and compare.

    Parameters
    ----------
    instances
        Those of the series that have a place, as the catalog knows them.
    archive
        Whether the file is read, or only what is stored of it.
    """
    mismatch = partial(Mismatch, array.series_instance_uid, array.part)
    if array.kind == VIDEO.name:
        source = next((each for each in instances if _is_source(array, each)), None)
        found = list(_archive(array, source, mismatch, "")) if archive else []
        return Verified(array.shape[0], tuple(found))
    group = at(array.path)
    try:
        known = zip(arrays.METADATA, array.metadata_digest.split("-"), strict=False)
        for name, expected in known:
            if arrays.file_digest(group, name) != expected:
                what = "metadata differ from those that were written"
                return Verified(0, (mismatch(None, None, f"{group}/{name}", what),))
        block = ObjectBlock.read(group)
    except ArrayError as error:
        return Verified(0, (mismatch(None, None, array.path, str(error)),))
    uid = block.sop_instance_uid
    source = next((each for each in instances if each.sop_instance_uid == uid), None)
    found = list(_archive(array, source, mismatch, uid)) if archive else []
    if archive and not found and source is not None:
        found += _reader(array, block, source, mismatch)
    found += _zarr(array, block, mismatch)
    return Verified(block.frames, tuple(found))


class _New(Protocol):
    def __call__(self, frame_index: int | None, uid: str | None, path: str, what: str, /) -> Mismatch: ...


def _is_source(array: ArrayRecord, instance: InstanceRecord) -> bool:
    return input_digest(instance, VIDEO.name, 0) == array.input_digest


# --- the archive -----------------------------------------------------------------------------------------


def _archive(
    array: ArrayRecord, source: InstanceRecord | None, mismatch: _New, uid: str
) -> Iterator[Mismatch]:
    """What is wrong with the file."""
    if source is None:
        yield mismatch(None, uid or None, "", "the catalog has no place of this instance any more")
        return
    try:
        differs = file_digest(source.path) != array.source_digest
    except WorkbenchError as error:
        yield mismatch(None, source.sop_instance_uid, source.path, str(error))
        return
    if differs:
        yield mismatch(None, source.sop_instance_uid, source.path, BYTES_DIFFER)


def _reader(
    array: ArrayRecord, block: ObjectBlock, source: InstanceRecord, mismatch: _New
) -> Iterator[Mismatch]:
    """What the reader makes of the same bytes otherwise than when they were ingested."""
    new = partial(mismatch, None, source.sop_instance_uid, source.path)
    kind = kind_of(source.sop_class_uid, source.transfer_syntax_uid)
    known = [input_digest(source, array.kind, number) for number in range(block.siblings)]
    if array.input_digest not in known:
        yield new("the headers in the catalog are not those that were ingested; ingest the series again")
        return
    try:
        read = read_arrays(kind, source.path)[known.index(array.input_digest)]
        for slab, written in _slabs(array, block):
            if digest_of(values_of(read, slab)) != written:
                yield new("the same bytes decode to other values than when they were ingested")
                return
    except (WorkbenchError, IndexError) as error:
        yield new(str(error))


# --- Zarr ------------------------------------------------------------------------------------------------


def _slabs(array: ArrayRecord, block: ObjectBlock) -> Iterator[tuple[Slab, str]]:
    cut = cut_of(array.dims, array.shape, stored_dtype(array.dtype).itemsize)
    return zip(cut.slabs(), block.slab_digests, strict=True)


def _zarr(array: ArrayRecord, block: ObjectBlock, mismatch: _New) -> Iterator[Mismatch]:
    """What is wrong with the shards."""
    group = at(array.path)
    cut = cut_of(array.dims, array.shape, stored_dtype(array.dtype).itemsize)
    there = arrays.shard_bytes(group, cut)
    for (slab, written), size, found in zip(_slabs(array, block), block.shard_bytes, there, strict=True):
        shard = f"{group}/{arrays.shard_name(slab)}"
        new = partial(mismatch, slab.start, block.sop_instance_uid, shard)
        planes = f"planes {slab.start} to {slab.stop - 1}"
        if size and not found:
            yield new(f"{planes} are missing")
            continue
        try:
            stored = arrays.read(group, arrays.open_values(group), slab.index)
        except Exception as error:  # whatever zarr stumbles over in altered bytes is a finding
            yield new(unreadable(planes, error, array.series_instance_uid))
            continue
        if digest_of(stored) != written:
            yield new(f"stored values differ from those that were written; {anew(array.series_instance_uid)}")
