"""Archive against Zarr, byte by byte: every digest of an array is computed again and compared."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import batched

import numpy as np

from catalog.errors import ArrayError, DecodeError, WorkbenchError
from catalog.identifiers import digest, digest_of_texts
from catalog.records import ArrayRecord, InstanceRecord
from pipelines.decoding.frames import open_frames, together
from pipelines.decoding.pixels import PixelDescription, Stored
from pipelines.ingest import input_digest
from pipelines.kinds import OBJECT_ARRAYS
from pipelines.objects.verify import verify_object
from pipelines.store import arrays, pyramid
from pipelines.store.arrays import Block
from pipelines.store.layout import Layout, Slab
from pipelines.store.mismatch import INPUTS_DIFFER, PIXELS_DIFFER, Mismatch, Verified, anew, unreadable
from pipelines.store.places import Place, at
from pipelines.store.typed import DAMAGE


def verify_array(
    array: ArrayRecord,
    instances: Sequence[InstanceRecord],
    *,
    threads: int | None = None,
    archive: bool = True,
) -> Verified:
    """Compute the digests of every plane again, from the DICOM bytes and from Zarr, and compare.

    Parameters
    ----------
    instances
        Those of the series that have a place, as the catalog knows them.
    threads
        As many as the machine has cores when left out.
    archive
        Whether the DICOM bytes are read, or only what is stored of them.
    """
    mismatch = partial(Mismatch, array.series_instance_uid, array.part)
    found: list[Mismatch] = []
    try:
        if array.kind in OBJECT_ARRAYS:
            return verify_object(array, instances, archive=archive)
        return Verified(_compare(array, instances, threads, found, archive=archive), tuple(found))
    except DAMAGE as error:  # so one group does not end the verification of all
        what = str(error) if isinstance(error, WorkbenchError) else type(error).__name__
        return Verified(0, (*found, mismatch(None, None, array.path, f"cannot be compared: {what}")))


def _compare(
    array: ArrayRecord,
    instances: Sequence[InstanceRecord],
    threads: int | None,
    found: list[Mismatch],
    *,
    archive: bool,
) -> int:
    """Add what is found, and return how many planes were compared."""
    group = at(array.path)
    mismatch = partial(Mismatch, array.series_instance_uid, array.part)
    altered = _altered_metadata(array, group)
    if altered is not None:
        name, block = altered
        found.append(mismatch(None, None, f"{group}/{name}", "metadata differ from those that were written"))
    else:
        block = arrays.read_block(group)
    if block is None:
        return 0
    if archive and not altered:
        found += [mismatch(None, None, array.path, what) for what in _inputs_differ(array, block, instances)]
    known = {each.sop_instance_uid: each for each in instances}
    if not altered:
        faults = pyramid.altered_levels(array)
        found += [mismatch(None, None, where, f"coarser level: {what}") for where, what in faults]
    checks = [*_archive_checks(block, known, mismatch)] if archive else []
    checks += _zarr_checks(array, block, group, mismatch)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="verify") as executor:
        for mismatches in executor.map(lambda check: check(), checks):
            found += mismatches
    return len(block.planes.stored_digests)


type _Check = Callable[[], list[Mismatch]]
type _New = Callable[[int | None, str | None, str, str], Mismatch]


def _altered_metadata(array: ArrayRecord, group: Place) -> tuple[str, Block | None] | None:
    """The metadata file that was altered, and the block where its digests still are those of the record."""
    try:
        known = zip(arrays.METADATA, array.metadata_digest.split("-"), strict=False)
        altered = [name for name, known in known if arrays.file_digest(group, name) != known]
        if not altered:
            return None
        block = arrays.read_block(group)
    except ArrayError:
        return _unreadable_metadata(group), None
    planes = block.planes
    is_sound = (
        digest_of_texts(planes.source_digests) == array.source_digest
        and digest_of_texts(planes.stored_digests) == array.stored_digest
        and len(planes.sop_instance_uids) == len(planes.frame_indices) == _layout(array).planes
        and len(planes.source_digests) == len(planes.stored_digests) == len(planes.frame_indices)
        and len(block.shard_bytes) == sum(1 for _ in _layout(array).slabs())
    )
    return altered[0], block if is_sound else None


def _unreadable_metadata(group: Place) -> str:
    try:
        arrays.read_block(group)
    except ArrayError:
        return arrays.GROUP_METADATA
    sizes = group.sizes(arrays.METADATA)
    return next((name for name, size in zip(arrays.METADATA, sizes, strict=True) if not size), arrays.DICOM)


def _inputs_differ(array: ArrayRecord, block: Block, instances: Sequence[InstanceRecord]) -> Iterator[str]:
    known = {each.sop_instance_uid: each for each in instances}
    uids = dict.fromkeys(block.planes.sop_instance_uids)
    if all(uid in known for uid in uids) and array.input_digest != input_digest(
        [known[uid] for uid in uids], label=block.label, reason=block.reason, axes=block.axes
    ):
        yield INPUTS_DIFFER


# --- the archive -----------------------------------------------------------------------------------------


def _archive_checks(block: Block, known: Mapping[str, InstanceRecord], mismatch: _New) -> Iterator[_Check]:
    """One check for each instance, over its frames."""
    planes: dict[str, list[int]] = {}
    for index, uid in enumerate(block.planes.sop_instance_uids):
        planes.setdefault(uid, []).append(index)
    for uid, indices in planes.items():
        if uid in known:
            yield partial(_check_instance, known[uid], indices, block, mismatch)
        else:
            yield partial(_no_instance, uid, indices, mismatch)


def _no_instance(uid: str, indices: Sequence[int], mismatch: _New) -> list[Mismatch]:
    return [mismatch(indices[0], uid, "", "the catalog has no place of this instance any more")]


def _check_instance(
    instance: InstanceRecord, indices: Sequence[int], block: Block, mismatch: _New
) -> list[Mismatch]:
    found: list[Mismatch] = []
    at = indices[0]
    try:
        instance = _as_stored(instance, block)
        description = PixelDescription.of(instance)
        with open_frames(replace(instance, rot="")) as frames:
            for part in batched(indices, together(description.frame_bytes)):
                at = part[0]
                out: Stored = np.empty((len(part), *description.shape), description.dtype)
                digests = frames.load_all([block.planes.frame_indices[each] for each in part], out)
                for index, (source, stored) in zip(part, digests, strict=True):
                    if source != block.planes.source_digests[index]:
                        what = PIXELS_DIFFER
                    elif stored != block.planes.stored_digests[index]:
                        what = "the same bytes decode to other values than when they were ingested"
                    else:
                        continue
                    found.append(mismatch(index, instance.sop_instance_uid, instance.path, what))
    except DecodeError as error:
        found.append(mismatch(at, instance.sop_instance_uid, instance.path, str(error)))
    return found


def _as_stored(instance: InstanceRecord, block: Block) -> InstanceRecord:
    """A mosaic as its tiles; any other instance as it is."""
    mosaic = block.mosaic
    if mosaic is None:
        return instance
    rows, columns = mosaic.rows // mosaic.down, mosaic.columns // mosaic.across
    return replace(instance, mosaic=mosaic, rows=rows, columns=columns)


# --- Zarr ------------------------------------------------------------------------------------------------


def _layout(array: ArrayRecord) -> Layout:
    return Layout(array.shape, np.dtype(array.dtype).itemsize, array.kind)


def _zarr_checks(array: ArrayRecord, block: Block, group: Place, mismatch: _New) -> Iterator[_Check]:
    """One check for each shard, over its planes."""
    layout = _layout(array)
    sizes = arrays.shard_bytes(group, layout)
    for slab, written, there in zip(layout.slabs(), block.shard_bytes, sizes, strict=True):
        yield partial(
            _check_shard, block, group, slab, is_lost=bool(written and not there), mismatch=mismatch
        )


def _check_shard(block: Block, group: Place, slab: Slab, *, is_lost: bool, mismatch: _New) -> list[Mismatch]:
    uids, shard = block.planes.sop_instance_uids, f"{group}/{arrays.shard_name(slab)}"
    series = block.series_instance_uid
    planes = f"planes {slab.start} to {slab.stop - 1}"
    if is_lost:
        return [mismatch(slab.start, uids[slab.start], shard, f"{planes} are missing")]
    try:
        stored: Stored = np.ascontiguousarray(arrays.read(group, arrays.open_values(group), slab.index))
    except Exception as error:  # whatever zarr stumbles over in altered bytes is a finding
        what = unreadable(planes, error, series)
        return [mismatch(slab.start, uids[slab.start], shard, what)]
    if stored.shape != slab.shape:
        what = f"{planes} have another shape than was written; {anew(series)}"
        return [mismatch(slab.start, uids[slab.start], shard, what)]
    what = f"stored values differ from those that were written; {anew(series)}"
    return [
        mismatch(index, uids[index], shard, what)
        for index, plane in enumerate(stored.reshape(slab.stop - slab.start, -1), start=slab.start)
        if digest(plane.view(np.uint8).data) != block.planes.stored_digests[index]
    ]
