"""Objects that are no images of planes into Zarr, one instance at a time; videos are left, or become chunks.

Memory is bounded by a slab, whatever the size of the object. Groups are named after what goes in and appear
when every byte of them is durable, as those of `pipelines.ingest`, which calls this.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.base import compute

from catalog import durable, guard
from catalog.encoding import DEFLATED_UID
from catalog.errors import ArrayError, DecodeError, HeaderError, WorkbenchError, words_of
from catalog.headers import read_header
from catalog.identifiers import digest, digest_of_texts
from catalog.records import ArrayRecord, InstanceRecord, Unreadable, as_dict
from pipelines.blocks import HERE
from pipelines.kinds import VIDEO, VIDEO_FRAMES, Kind, Way, kind_of
from pipelines.objects.arrays import ObjectBlock, cut_of, stored_dtype
from pipelines.store import arrays
from pipelines.store.dicom_json import Described, Gathering
from pipelines.store.layout import Slab
from pipelines.store.places import Place
from pipelines.store.typed import DAMAGE

NOTE_LIMIT = 1 << 20
"""The longest note of a video that is read."""


def ingest_objects(
    instances: Iterable[InstanceRecord],
    folder: Place,
    *,
    first: int,
    video_chunks: bool | None,
    known: Iterable[ArrayRecord] = (),
    anew: bool = False,
) -> tuple[tuple[ArrayRecord, ...], list[tuple[InstanceRecord, str]]]:
    """Write every object among the instances of a series; the records, and the instances that have none.

    Parameters
    ----------
    folder
        Of the series' groups.
    first
        Number of the first part.
    video_chunks
        Whether videos are stored as chunks, or left as they are; as it was done before, else left, when
        `None`.
    known
        Arrays on record; one is written anew where its metadata were altered since.
    anew
        Whether every array is written anew, in the place of one that is there.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    on_record = {each.path: each.metadata_digest for each in known}
    records: list[ArrayRecord] = []
    rejected = []
    for instance in sorted(instances, key=lambda each: (each.instance_number or 0, each.sop_instance_uid)):
        kind = kind_of(instance.sop_class_uid, instance.transfer_syntax_uid)
        if kind.way not in (Way.OBJECT, Way.VIDEO):
            continue
        task = ObjectTask(instance, kind, folder, video_chunks, on_record)
        try:
            records += ([] if anew else task.existing()) or task.write()
        except WorkbenchError as error:
            rejected.append((instance, _without_path(str(error), instance.path)))
    numbered = [replace(each, part=first + number) for number, each in enumerate(records)]
    if first + len(numbered) == 1:
        numbered = [replace(each, label="") for each in numbered]
    return tuple(numbered), rejected


def _without_path(reason: str, path: str) -> str:
    return reason.removeprefix(path).lstrip(": ")


def read_arrays(kind: Kind, path: str) -> list[xr.DataArray]:
    """Open one file by the reader of its kind, lazily where that does.

    Raises
    ------
    WorkbenchError
        As the reader does.
    """
    module, _, function = kind.served_by.partition(":")
    reader: Callable[[str], Any] = getattr(import_module(module), function)
    read = reader(path)
    return read if isinstance(read, list) else [read]


def values_of(array: xr.DataArray, slab: Slab) -> npt.NDArray[Any]:
    """Compute the values of a slab as they are stored: booleans are bytes."""
    (values,) = compute(array.data[slab.index], scheduler=HERE)  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(values, stored_dtype(array.dtype))


def digest_of(values: npt.NDArray[Any]) -> str:
    """SHA-256 of stored values, little-endian, row by row."""
    contiguous = _bytes(np.ascontiguousarray(values, values.dtype.newbyteorder("<")))
    return digest(contiguous.data) if contiguous.any() else _digest_of_zeros(len(contiguous))


@lru_cache
def _digest_of_zeros(count: int) -> str:
    """Most of a segmentation is empty, and its slabs are of one size."""
    return digest(bytes(count))


def _bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return values.reshape(-1).view(np.uint8)


def file_digest(path: str) -> str:
    """SHA-256 of a source file; raises `DecodeError` where it cannot be read."""
    try:
        return durable.file_digest(Path(path))
    except OSError as error:
        raise DecodeError(f"cannot be read: {words_of(error)}") from None


def input_digest(instance: InstanceRecord, kind: str, number: int) -> str:
    """Digest over the layout, what the array is, and the instance's UID and header digest."""
    layout = str(arrays.LAYOUT)
    return digest_of_texts((layout, kind, str(number), instance.sop_instance_uid, instance.header_digest))


def note_name(input_digest: str) -> str:
    """File, among the groups of its series, of what is known of a video that is left as it is."""
    return f"video-{input_digest[:16]}.json"


def described(instance: InstanceRecord) -> Described:
    """Gather what the header of an instance says, without bulk data; raises `HeaderError`."""
    head = guard.scan(instance.path, ())
    is_deflated = head.transfer_syntax_uid == DEFLATED_UID
    if is_deflated:
        header = guard.inflated(instance.path, head.start, head.end)
    else:
        with Path(instance.path).open("rb") as file:
            header = file.read(head.end)
    gathering = Gathering()
    uid = instance.sop_instance_uid
    gathering.add(uid, header, head.transfer_syntax_uid, inflated=is_deflated)
    return gathering.described([(uid, 0)])


@dataclass(frozen=True, slots=True)
class ObjectTask:
    """One instance on its way into its arrays."""

    instance: InstanceRecord
    kind: Kind
    folder: Place
    video_chunks: bool | None = None
    on_record: Mapping[str, str] = field(default_factory=dict)
    """Metadata digest of each array on record, by its path."""

    def existing(self) -> list[ArrayRecord]:
        """Arrays of an earlier run, if all are there and nothing of them is missing; else none."""
        if self._is_left:
            left = self._existing_video()
            return [left] if left else []
        try:
            first, count = self._existing_group(0)
            return [first, *(self._existing_group(number)[0] for number in range(1, count))]
        except ArrayError:
            return []

    def write(self) -> list[ArrayRecord]:
        """Read the object, write its arrays, read them back and publish them.

        Raises
        ------
        WorkbenchError
            If the object cannot be read: the text says why.
        OSError
            If the folder cannot be written.
        """
        if self.instance.rot:
            raise DecodeError(self.instance.rot)
        source = file_digest(self.instance.path)
        header = read_header(self.instance.path)
        if isinstance(header, Unreadable):
            raise HeaderError(header.reason)
        if header.header_digest != self.instance.header_digest:
            raise DecodeError("changed since it was indexed; run the index again")
        read = read_arrays(self.kind, self.instance.path)
        if self._is_left:
            return [self._leave_video(read[0], source)]
        return [self._write_group(array, number, len(read), source) for number, array in enumerate(read)]

    # --- arrays in Zarr ------------------------------------------------------------------------------

    @property
    def _array_kind(self) -> str:
        return VIDEO_FRAMES if self.kind.way is Way.VIDEO else self.kind.name

    def _name(self, number: int) -> str:
        return f"object-{input_digest(self.instance, self._array_kind, number)[:16]}"

    def _existing_group(self, number: int) -> tuple[ArrayRecord, int]:
        """Record of an array of an earlier run, and how many the instance has; or `ArrayError`."""
        for group in self.folder.candidates(self._name(number)):
            with suppress(*DAMAGE):  # an `ArrayError` is one
                return self._whole(group, number)
        raise ArrayError(f"{self.folder}/{self._name(number)} is not whole")

    def _whole(self, group: Place, number: int) -> tuple[ArrayRecord, int]:
        if not arrays.is_as_recorded(group, self.on_record.get(group.address)):
            raise ArrayError(f"the metadata of {group} were altered")
        block = ObjectBlock.read(group)
        record = self._record(block, arrays.open_values(group).shape, group, group, number)
        cut = cut_of(record.dims, record.shape, stored_dtype(record.dtype).itemsize)
        if (
            block.input_digest != record.input_digest
            or block.shard_bytes != arrays.shard_bytes(group, cut)
            or block.values_metadata_digest != arrays.file_digest(group, arrays.VALUES_METADATA)
        ):
            raise ArrayError(f"{group} is not whole")
        return record, block.siblings

    def _write_group(self, array: xr.DataArray, number: int, siblings: int, source: str) -> ArrayRecord:
        with self.folder.staged(self._name(number)) as staged:
            slab_digests = self._write_values(array, staged.place)
            cut = cut_of(_dims(array), array.shape, stored_dtype(array.dtype).itemsize)
            block = ObjectBlock.of(
                array,
                sop_instance_uid=self.instance.sop_instance_uid,
                siblings=siblings,
                frames=len(array) if self.kind.way is Way.VIDEO else self.instance.number_of_frames or 1,
                input_digest=input_digest(self.instance, self._array_kind, number),
                source_digest=source,
                slab_digests=slab_digests,
                shard_bytes=arrays.shard_bytes(staged.place, cut),
                values_metadata_digest=arrays.file_digest(staged.place, arrays.VALUES_METADATA),
            )
            block.write(staged.place, described(self.instance))
            record = self._record(block, array.shape, staged.final, staged.place, number)
            staged.publish()
        return record

    def _write_values(self, array: xr.DataArray, partial: Place) -> tuple[str, ...]:
        """Write slab by slab; the digest of each."""
        dtype = stored_dtype(array.dtype)
        cut = cut_of(_dims(array), array.shape, dtype.itemsize)
        values = arrays.create_values(partial, cut, dtype.str, _dims(array))
        digests = []
        for slab in cut.slabs():
            stored = values_of(array, slab)
            if _bytes(stored).any():  # else it is what an array without a chunk gives
                arrays.write_slab(partial, values, slab, stored)
            digests.append(digest_of(stored))
        return tuple(digests)

    def _record(
        self, block: ObjectBlock, shape: tuple[int, ...], group: Place, written: Place, number: int
    ) -> ArrayRecord:
        attributes = block.attributes
        affine = attributes.get("affine_lps")
        return ArrayRecord(
            series_instance_uid=self.instance.series_instance_uid,
            study_instance_uid=self.instance.study_instance_uid,
            part=0,
            kind=self._array_kind,
            label=self._label(attributes, number, block.siblings),
            reason=str(attributes.get("reason") or ""),
            path=group.address,
            dims=block.dims,
            shape=tuple(shape),
            dtype=block.dtype,
            affine_lps=tuple(tuple(row) for row in affine) if affine else None,
            frame_of_reference_uid=attributes.get("frame_of_reference_uid"),
            input_digest=input_digest(self.instance, self._array_kind, number),
            source_digest=block.source_digest,
            stored_digest=digest_of_texts(block.slab_digests),
            metadata_digest=arrays.metadata_digest(written),
            sources=1,
        )

    def _label(self, attributes: Mapping[str, Any], number: int, siblings: int) -> str:
        """What sets the array apart from its siblings."""
        instance = self.instance.instance_number
        label = f"{self.kind.name} {'' if instance is None else instance}".strip()
        if siblings == 1:
            return label
        return f"{label}, {attributes.get('label') or f'group {number + 1}'}"

    # --- videos that are left ------------------------------------------------------------------------

    @property
    def _is_left(self) -> bool:
        """Whether it is a video that is left: where nobody said which, unless chunks of it are there."""
        if self.kind.way is not Way.VIDEO or self.video_chunks:
            return False
        if self.video_chunks is False:
            return True
        kept = self.folder.candidates(self._name(0))
        return not any(any(group.sizes([arrays.GROUP_METADATA])) for group in kept)

    @property
    def _note(self) -> str:
        """File of what is known of a video that is left; its bytes are not read again."""
        return note_name(input_digest(self.instance, VIDEO.name, 0))

    def _leave_video(self, array: xr.DataArray, source: str) -> ArrayRecord:
        record = ArrayRecord(
            series_instance_uid=self.instance.series_instance_uid,
            study_instance_uid=self.instance.study_instance_uid,
            part=0,
            kind=VIDEO.name,
            label=self._label(array.attrs, 0, 1),
            reason=str(array.attrs.get("reason") or ""),
            path=self.instance.path,
            dims=_dims(array),
            shape=array.shape,
            dtype=array.dtype.name,
            affine_lps=None,
            frame_of_reference_uid=None,
            input_digest=input_digest(self.instance, VIDEO.name, 0),
            source_digest=source,
            stored_digest="",
            metadata_digest="",
            sources=1,
        )
        note = {"file": _file_state(self.instance.path), "record": as_dict(record)}
        self.folder.write(self._note, json.dumps(note).encode())
        return record

    def _existing_video(self) -> ArrayRecord | None:
        try:
            note = json.loads(self.folder.read(self._note, NOTE_LIMIT))
            kept = note["record"]
            if note["file"] != _file_state(self.instance.path) or kept["path"] != self.instance.path:
                return None
            return ArrayRecord(**kept | {"dims": tuple(kept["dims"]), "shape": tuple(kept["shape"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _file_state(path: str) -> list[int]:
    status = Path(path).stat()
    return [status.st_size, status.st_mtime_ns]


def _dims(array: xr.DataArray) -> tuple[str, ...]:
    return tuple(map(str, array.dims))
