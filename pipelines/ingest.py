"""Pixel data of one series into Zarr: read, decode, hash, compress, read back, compare, rename into place.

Memory is bounded by a few slabs of planes, whatever the size of the series. A group appears under its final
name only when every byte of it is durable and verified; it is named after what went in, so the same input is
written once. What an interrupted run leaves is removed by the next run of the same series.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import batched
from typing import Any

import numpy as np
from pydicom import uid

from catalog.errors import ArrayError, DecodeError, HeaderError
from catalog.identifiers import digest_of_texts, folder_name
from catalog.records import ArrayRecord, Finding, InstanceRecord, Progress, SeriesRecord, no_progress
from pipelines.axes.expansion import Expanded, are_told, expanded, informed, joined, timed
from pipelines.axes.faults import faults_of
from pipelines.axes.repeats import Axis
from pipelines.axes.split import Part, split
from pipelines.decoding.frames import Digests, Frames, load_together, open_frames, together
from pipelines.decoding.limits import check_frame
from pipelines.decoding.pixels import PixelDescription, Stored
from pipelines.kinds import Way, kind_of, without_pixels
from pipelines.objects.ingest import ingest_objects
from pipelines.presentation.embedded import with_embedded_overlays
from pipelines.presentation.lookup import lookup_of, lut_units
from pipelines.store import arrays
from pipelines.store.arrays import Block, Planes, once
from pipelines.store.dicom_json import Described, Gathering
from pipelines.store.layout import Layout, Slab
from pipelines.store.places import Place, Where, at

MEMORY_BYTES = 384 << 20
"""What the slabs in work may take together; each is held three times: read, compressed, read back."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """One instance whose pixel data are in no array, with the reason."""

    series_instance_uid: str
    sop_instance_uid: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one series."""

    arrays: tuple[ArrayRecord, ...]
    rejected: tuple[Rejected, ...]
    left: str = ""
    """Why it stays in the archive and is opened from there, in a sentence; empty where it does not."""
    findings: tuple[Finding, ...] = ()
    """What is wrong with its geometry and its pixel data."""
    is_told: bool = False
    """Whether all of it follows from the records of the instances and the arrays that are there: every
    instance is an image in an array, and no file has to be looked into to tell which."""


def ingest_series(
    series: SeriesRecord,
    instances: Sequence[InstanceRecord],
    arrays_folder: Where,
    *,
    threads: int | None = None,
    video_chunks: bool | None = None,
    known: Sequence[ArrayRecord] = (),
    anew: bool = False,
    progress: Progress = no_progress,
) -> Ingested:
    """Write the pixel data of a series into Zarr, one group for each part; the same input again is reused.

    Images are sorted into parts together; any other kind of `pipelines.kinds` is a part for each instance.

    Parameters
    ----------
    instances
        All instances of the series that have a place, in any order.
    arrays_folder
        The series' groups go into a folder below it; a folder, or an address of `pipelines.store.places`.
    threads
        As many as the machine has cores when left out; fewer where planes are large.
    video_chunks
        Whether videos are stored as chunks or left as they are; as before, else left, when `None`.
    known
        Arrays on record; one is written anew where its metadata were altered since.
    anew
        Whether every array is written anew, in the place of one that is there.
    progress
        Told the frames done and the frames of the series; from this thread.

    Raises
    ------
    OSError
        If the arrays' folder cannot be written. A file that cannot be read is a rejection.
    """
    folder = at(arrays_folder) / folder_name(series.series_instance_uid)
    rejected = {each.sop_instance_uid: _rejected(each, why) for each in instances if (why := _fault(each))}
    unread: list[Finding] = []
    with folder.alone():
        while True:
            images = [each for each in instances if _is_image(each) and each.sop_instance_uid not in rejected]
            try:
                records, faults = _write_parts(series, images, folder, threads, known, anew, progress)
            except _UnreadableImageError as error:  # without this image the parts are others: split again
                rejected[error.image.sop_instance_uid] = _rejected(error.image, error.reason)
                unread.append(_unread(error.image, error.reason))
            else:
                break
        objects, unreadable = ingest_objects(
            [each for each in instances if each.sop_instance_uid not in rejected],
            folder,
            first=len(records),
            video_chunks=video_chunks,
            known=known,
            anew=anew,
        )
    left_out = (*rejected.values(), *(_rejected(each, reason) for each, reason in unreadable))
    unread += [_unread(each, reason) for each, reason in unreadable]
    is_told = len(images) == len(instances) and not unread and are_told(images)
    return Ingested(records + objects, left_out, _left(instances), (*unread, *faults), is_told)


def _unread(image: InstanceRecord, reason: str) -> Finding:
    uid = image.sop_instance_uid
    kind = "cut_file" if " cut" in reason else "unreadable"
    return Finding(image.series_instance_uid, kind, reason, sop_instance_uid=uid)


def _write_parts(
    series: SeriesRecord,
    images: Sequence[InstanceRecord],
    folder: Place,
    threads: int | None,
    known: Sequence[ArrayRecord],
    anew: bool,
    progress: Progress,
) -> tuple[tuple[ArrayRecord, ...], tuple[Finding, ...]]:
    """The arrays of the images, and what keeps them from being volumes."""
    records, faults, done = [], list[Finding](), 0
    found = [_expanded(image) for image in images]
    planes = informed(joined(found))
    frames = sum(len(_frame_indices(each)) for each in planes)
    times = {each.planes[0].sop_instance_uid: each.times for each in found if each.times}
    for number, part in enumerate(split(planes) if planes else ()):
        part = _timed(part, times)
        faults += faults_of(part, number)
        task = _Task(series, part, number, folder, known)
        before = done

        def advance(written: int, before: int = before) -> None:
            progress(before + written, frames)

        records.append((None if anew else task.existing()) or task.write(threads, advance))
        done += task.frames
        progress(done, frames)
    return tuple(records), tuple(faults)


def _expanded(image: InstanceRecord) -> Expanded:
    with _naming(image):
        return expanded(image)


def _timed(part: Part, times: Mapping[str, Axis]) -> Part:
    """A cine with its time axis; any other part as it is."""
    if part.grid is not None:
        return part
    found = timed(part.instances, part.axes, times.get(part.instances[0].sop_instance_uid))
    return replace(part, axes=found)


class _UnreadableImageError(Exception):
    def __init__(self, image: InstanceRecord, reason: str) -> None:
        super().__init__(reason)
        self.image, self.reason = image, reason


def _is_image(instance: InstanceRecord) -> bool:
    return kind_of(instance.sop_class_uid, instance.transfer_syntax_uid).way is Way.PLANES


def _left(instances: Iterable[InstanceRecord]) -> str:
    kinds = (kind_of(each.sop_class_uid, each.transfer_syntax_uid) for each in instances)
    return next((kind.reason for kind in kinds if kind.way is Way.ARCHIVE), "")


def _fault(instance: InstanceRecord) -> str:
    """Why an instance is no array to begin with; empty if it may be one."""
    kind = kind_of(instance.sop_class_uid, instance.transfer_syntax_uid)
    if kind.way is not Way.PLANES:
        return kind.reason if kind.way is Way.NONE else ""
    is_deflated = instance.transfer_syntax_uid == uid.DeflatedExplicitVRLittleEndian
    if instance.pixel_data is None and not (is_deflated and instance.rows):
        return without_pixels(instance.sop_class_uid)
    try:
        check_frame(PixelDescription.of(instance).frame_bits // 8)
    except DecodeError as error:
        return str(error)
    return ""


def _rejected(instance: InstanceRecord, reason: str) -> Rejected:
    return Rejected(instance.series_instance_uid, instance.sop_instance_uid, instance.path, reason)


# --- one part --------------------------------------------------------------------------------------------


class _Task:
    """One part of a series on its way into a group."""

    def __init__(
        self,
        series: SeriesRecord,
        part: Part,
        number: int,
        folder: Place,
        known: Sequence[ArrayRecord] = (),
    ) -> None:
        self._known = {each.path: each.metadata_digest for each in known}
        self._series, self._part, self._number, self._folder = series, part, number, folder
        self._description = PixelDescription.of(part.instances[0])
        self._planes = [(each, frame) for each in part.instances for frame in _frame_indices(each)]
        self._kind = "stack" if part.grid is None else "volume"
        repeats = tuple(len(axis.values) for axis in part.axes) if part.grid else ()
        planes = len(self._planes) // math.prod(repeats)
        self._shape = (*repeats, planes, *self._description.shape)
        self._layout = Layout(self._shape, np.dtype(self._description.dtype).itemsize, self._kind)
        self._input_digest = input_digest(
            part.instances, label=part.label, reason=part.reason, axes=part.axes
        )
        self._name = f"{number}-{self._input_digest[:16]}"
        self._headers = Gathering()

    def existing(self) -> ArrayRecord | None:
        """Return the group of an earlier run, if it is there and nothing of it is missing."""
        found = (self._existing(each) for each in self._folder.candidates(self._name))
        return next((record for record in found if record), None)

    def _existing(self, group: Place) -> ArrayRecord | None:
        try:
            if not arrays.is_as_recorded(group, self._known.get(group.address)):
                return None  # its own word is not taken for it: metadata were altered
            block = arrays.read_block(group)
            record = self._record(block, group, group)
            values_metadata = arrays.file_digest(group, arrays.VALUES_METADATA)
        except ArrayError:
            return None
        is_whole = block.shard_bytes == arrays.shard_bytes(group, self._layout)
        is_same = (block.input_digest, block.values_metadata_digest) == (self._input_digest, values_metadata)
        return record if is_whole and is_same and self._is_of_part(block) else None

    def _is_of_part(self, block: Block) -> bool:
        """Whether a group says of its array what the headers of the part say."""
        part, planes = self._part, block.planes
        return (
            (block.part, block.kind, block.label, block.reason)
            == (self._number, self._kind, part.label, part.reason)
            and block.affine_lps == (part.grid.affine_lps if part.grid else None)
            and (block.axes, block.series_instance_uid) == (part.axes, self._series.series_instance_uid)
            and planes.sop_instance_uids == tuple(image.sop_instance_uid for image, _ in self._planes)
            and planes.frame_indices == tuple(frame for _, frame in self._planes)
        )

    def write(self, threads: int | None, advance: Callable[[int], None]) -> ArrayRecord:
        """Write, verify and publish the group."""
        with self._folder.staged(self._name) as staged:
            block = self._write(staged.place, threads, advance)
            record = self._record(block, staged.place, staged.final)
            staged.publish()
        return record

    @property
    def frames(self) -> int:
        """Count of its frames."""
        return len(self._planes)

    @property
    def _dims(self) -> tuple[str, ...]:
        if self._kind == "volume":
            return (*(axis.name for axis in self._part.axes), "z", "y", "x")
        first = self._part.axes[0].name if len(self._part.axes) == 1 else "frame"  # several: as it is opened
        return (first, "y", "x", "channel")[: len(self._shape)]

    def _write(self, group: Place, threads: int | None, advance: Callable[[int], None]) -> Block:
        values = arrays.create_values(group, self._layout, self._description.dtype, self._dims)
        slabs = list(self._layout.slabs())
        largest = max(slab.stop - slab.start for slab in slabs) * self._layout.plane_bytes
        wanted = (threads or os.cpu_count() or 1) + 1  # one more, as one of them waits for the disk
        workers = max(1, min(wanted, MEMORY_BYTES // (3 * largest)))
        digests: list[tuple[str, str]] = []
        with ExitStack() as stack:
            shared = self._shared_frames(stack)
            executor = stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="ingest"))
            stack.callback(executor.shutdown, cancel_futures=True)
            write = [executor.submit(self._write_slab, group, values, slab, shared) for slab in slabs]
            for future in write:
                digests.extend(future.result())
                advance(len(digests))
        described = self._headers.described(
            [(image.sop_instance_uid, frame) for image, frame in self._planes]
        )
        described = with_embedded_overlays(described, [image for image, _ in self._planes])
        block = self._block(group, digests, described)
        arrays.write_attributes(group, block, described)
        return block

    def _shared_frames(self, stack: ExitStack) -> dict[str, Frames]:
        """SOP Instance UID to the frames of each multi-frame object, opened once; mosaics are not."""
        shared: dict[str, Frames] = {}
        for image in self._part.instances:
            is_many = image.mosaic is None and (image.number_of_frames or 1) > 1
            if is_many and image.sop_instance_uid not in shared:
                with _naming(image):
                    frames = shared[image.sop_instance_uid] = stack.enter_context(open_frames(image))
                    self._gather(image, frames)
        return shared

    def _gather(self, image: InstanceRecord, frames: Frames) -> None:
        """Keep what the header of an image says."""
        is_deflated = image.transfer_syntax_uid == uid.DeflatedExplicitVRLittleEndian
        self._headers.add(
            image.sop_instance_uid, frames.header, image.transfer_syntax_uid, inflated=is_deflated
        )

    def _write_slab(
        self, group: Place, values: Any, slab: Slab, shared: Mapping[str, Frames]
    ) -> list[tuple[str, str]]:
        planes = self._planes[slab.start : slab.stop]
        stored: Stored = np.empty((len(planes), *self._layout.plane_shape), self._description.dtype)
        digests: list[Digests] = []
        for part in batched(planes, together(self._layout.plane_bytes)):
            with ExitStack() as stack:
                opened = [self._frames(image, shared, stack) for image, _ in part]
                places = [(frames, number) for frames, (_, number) in zip(opened, part, strict=True)]
                loaded = load_together(places, stored[len(digests) : len(digests) + len(part)])
            for (image, _), found in zip(part, loaded, strict=True):
                if isinstance(found, DecodeError):
                    raise _UnreadableImageError(image, str(found)) from found
                digests.append(found)
        arrays.write_slab(group, values, slab, stored.reshape(slab.shape))
        return digests

    def _frames(self, image: InstanceRecord, shared: Mapping[str, Frames], stack: ExitStack) -> Frames:
        """Those of an image, which is closed with the stack where it has but one."""
        if image.sop_instance_uid in shared:
            return shared[image.sop_instance_uid]
        with _naming(image):
            frames = stack.enter_context(open_frames(image))
            self._gather(image, frames)
        return frames

    def _block(self, group: Place, digests: Sequence[tuple[str, str]], described: Described) -> Block:
        images = [image for image, _ in self._planes]
        return Block(
            series_instance_uid=self._series.series_instance_uid,
            study_instance_uid=self._series.study_instance_uid,
            frame_of_reference_uid=(
                images[0].volume_frame_of_reference_uid or self._series.frame_of_reference_uid
            ),
            coordinate_system="volume" if images[0].volume_frame_of_reference_uid else "patient",
            modality=self._series.modality,
            part=self._number,
            kind=self._kind,
            label=self._part.label,
            reason=self._part.reason,
            units=lut_units(described) or _units(self._series.modality, images[0]),
            lookup=lookup_of(described),
            affine_lps=self._part.grid.affine_lps if self._part.grid else None,
            axes=self._part.axes,
            along=self._part.along,
            input_digest=self._input_digest,
            shard_bytes=arrays.shard_bytes(group, self._layout),
            values_metadata_digest=arrays.file_digest(group, arrays.VALUES_METADATA),
            sources=len({image.sop_instance_uid for image in images}),
            mosaic=images[0].mosaic,
            planes=Planes(
                sop_instance_uids=tuple(image.sop_instance_uid for image in images),
                frame_indices=tuple(frame for _, frame in self._planes),
                positions_lps_mm=tuple(image.image_position_patient for image in images),
                image_orientations=once(tuple(image.image_orientation_patient for image in images)),
                pixel_spacings_mm=once(tuple(image.pixel_spacing for image in images)),
                rescale_slopes=tuple(_or(image.rescale_slope, 1.0) for image in images),
                rescale_intercepts=tuple(_or(image.rescale_intercept, 0.0) for image in images),
                source_digests=tuple(source for source, _ in digests),
                stored_digests=tuple(stored for _, stored in digests),
            ),
        )

    def _record(self, block: Block, group: Place, final: Place) -> ArrayRecord:
        return ArrayRecord(
            series_instance_uid=block.series_instance_uid,
            study_instance_uid=block.study_instance_uid,
            part=block.part,
            kind=block.kind,
            label=block.label,
            reason=block.reason,
            path=final.address,
            dims=self._dims,
            shape=self._shape,
            dtype=np.dtype(self._description.dtype).name,
            affine_lps=block.affine_lps,
            frame_of_reference_uid=block.frame_of_reference_uid,
            input_digest=block.input_digest,
            source_digest=digest_of_texts(block.planes.source_digests),
            stored_digest=digest_of_texts(block.planes.stored_digests),
            metadata_digest=arrays.metadata_digest(group),
            sources=block.sources,
        )


def input_digest(
    images: Iterable[InstanceRecord], *, label: str, reason: str, axes: Iterable[Axis] = ()
) -> str:
    """Digest over the layout, what the part is, and the images' UIDs and header digests in their order."""
    inputs = dict.fromkeys((each.sop_instance_uid, each.header_digest) for each in images)
    names = (text for pair in inputs for text in pair)
    repeats = (f"{axis.name} {axis.unit} {axis.values}" for axis in axes)
    return digest_of_texts([str(arrays.LAYOUT), label, reason, *repeats, *names])


def _frame_indices(image: InstanceRecord) -> Sequence[int]:
    return range(image.number_of_frames or 1) if image.frame_index is None else (image.frame_index,)


@contextmanager
def _naming(image: InstanceRecord) -> Iterator[None]:
    """Say of which image a decoding error is."""
    try:
        yield
    except (DecodeError, HeaderError) as error:
        raise _UnreadableImageError(image, str(error)) from error


def _units(modality: str | None, image: InstanceRecord) -> str:
    """Units of modality values (PS3.3 C.11.1.1.2): what the file says, or HU for CT."""
    named = image.rescale_type if image.rescale_type not in (None, "US") else image.units
    return named or ("HU" if modality == "CT" else "")


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
