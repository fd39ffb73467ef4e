"""The layout of an array in Zarr v3, and the only import of zarr: one group per part of a series.

The group holds `values`, the stored values with dimensions (z, y, x), after axes along which a volume
repeats, or (frame, y, x[, channel]) for a stack, cut as `pipelines.store.layout` says; chunks have checksums.
What the planes are and where they come from is in the group's attributes: `imaging_workbench` for us, `ome`
(OME-Zarr 0.5) for other viewers. Stored arrays are input like any other: a codec or type that is not on the
list is refused before zarr sees it.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from threading import Lock
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer.cpu import NDBuffer
from zarr.storage import ObjectStore

from catalog.errors import ArrayError, words_of
from catalog.identifiers import digest
from catalog.records import Mosaic
from pipelines.axes.repeats import Along, Axis
from pipelines.store.allowlist import fault_of
from pipelines.store.dicom_json import Described
from pipelines.store.layout import Cut, Slab, block_bytes
from pipelines.store.multiscales import Level, Spaced, multiscales
from pipelines.store.places import LocalPlace, Place, S3Place, Where, at
from pipelines.store.typed import DAMAGE, fits

LAYOUT = 10
"""Goes up when arrays are written in another way; part of every input digest."""
VALUES = "values"
BLOCK = "imaging_workbench"
LEVELS = "imaging_workbench_levels"
OBJECT = "imaging_workbench_object"
"""Our attributes of a group: of an array of planes, or of an object (`pipelines.objects.arrays`)."""

GROUP_METADATA = "zarr.json"
VALUES_METADATA = f"{VALUES}/zarr.json"
DICOM, DICOM_FRAMES = "dicom.json", "dicom_frames.json"
"""Attributes of the instances: those that all share, and those that vary (`pipelines.store.dicom_json`)."""
METADATA = (GROUP_METADATA, VALUES_METADATA, DICOM, DICOM_FRAMES)
"""The files of a group that are no chunks."""
RECORDED = "recorded"
"""In a group whose metadata were altered: their digest as it was on record."""
METADATA_LIMIT = 256 << 20
"""The longest `zarr.json` that is read: some 800,000 planes."""

LOCAL_PIPELINE = "zarrs.ZarrsCodecPipeline"
"""On a disk it takes a quarter to two thirds of the time of zarr-python's own."""
PYTHON_PIPELINE = "zarr.core.codec_pipeline.BatchedCodecPipeline"
"""zarr-python's own writes a chunk beside its name, and then renames it; `zarrs` writes into the file."""
S3_PIPELINE = PYTHON_PIPELINE
"""`zarrs` opens a connection of its own for each array and fetches chunk after chunk: four times the time."""


@dataclass(frozen=True, slots=True)
class Planes:
    """What is known of each plane of an array; every column has one entry a plane, or says otherwise."""

    sop_instance_uids: tuple[str, ...]
    frame_indices: tuple[int, ...]
    """From 0 within the instance."""
    positions_lps_mm: tuple[tuple[float, ...] | None, ...]
    image_orientations: tuple[tuple[float, ...] | None, ...]
    """Cosines of the rows, then of the columns; a single entry where it is that of every plane."""
    pixel_spacings_mm: tuple[tuple[float, ...] | None, ...]
    """Between rows, then between columns; a single entry where it is that of every plane."""
    rescale_slopes: tuple[float, ...]
    rescale_intercepts: tuple[float, ...]
    source_digests: tuple[str, ...]
    """SHA-256 of the frame's bytes as they stand in the archive."""
    stored_digests: tuple[str, ...]
    """SHA-256 of the frame's stored values, little-endian, row by row."""

    def orientation(self, number: int) -> tuple[float, ...] | None:
        """Image Orientation (Patient) (0020,0037) of a plane."""
        return _entry(self.image_orientations, number)

    def pixel_spacing_mm(self, number: int) -> tuple[float, ...] | None:
        """Pixel Spacing (0028,0030) of a plane."""
        return _entry(self.pixel_spacings_mm, number)


def once[T](column: tuple[T, ...]) -> tuple[T, ...]:
    """Return a column of planes with a single entry where all are equal."""
    return column[:1] if len(set(column)) == 1 else column


def _entry[T](column: tuple[T, ...], number: int) -> T:
    return column[0 if len(column) == 1 else number]


@dataclass(frozen=True, slots=True)
class Block:
    """Our attributes of a group: what the array is."""

    series_instance_uid: str
    study_instance_uid: str
    frame_of_reference_uid: str | None
    coordinate_system: str
    """Of positions and affine: `patient`, or `volume` for an ultrasound volume that lies nowhere in it."""
    modality: str | None
    part: int
    kind: str
    label: str
    reason: str
    units: str
    """Of modality values: `HU`, or what Rescale Type or Units say; empty where the file says nothing."""
    lookup: str
    """`palette` or `modality LUT` where stored values are opened through one of `dicom.json`; else empty."""
    affine_lps: tuple[tuple[float, ...], ...] | None
    axes: tuple[Axis, ...]
    """Along which a volume, or the one plane of a stack, repeats; a stack has its frames in a row."""
    along: tuple[Along, ...]
    """What else is known of each of its volumes, or of the frames."""
    input_digest: str
    shard_bytes: tuple[int, ...]
    """Size of each shard's file, 0 where there is none as all its values are 0; so a lost one is noticed."""
    values_metadata_digest: str
    """SHA-256 of `values/zarr.json`."""
    sources: int
    mosaic: Mosaic | None
    """Of which the planes are tiles; their frame indices are then the numbers of the tiles."""
    planes: Planes

    @classmethod
    def from_json(cls, attributes: Mapping[str, Any]) -> Self:
        """Build a block from parsed attributes; raises one of `DAMAGE` where it is damaged."""
        columns = attributes["planes"]
        planes = Planes(**{each.name: _tuples(columns[each.name]) for each in fields(Planes)})
        rest = {each.name: attributes[each.name] for each in fields(cls) if each.name != "planes"}
        rest |= {name: _tuples(rest[name]) for name in ("affine_lps", "shard_bytes")}
        rest["axes"] = tuple(Axis(**_deep(each)) for each in rest["axes"])
        rest["along"] = tuple(Along(**_deep(each)) for each in rest["along"])
        rest["mosaic"] = rest["mosaic"] and Mosaic(**rest["mosaic"])
        block = cls(**rest, planes=planes)
        if not (fits(block, cls) and block._is_consistent):
            raise ValueError("a field is not of its type")
        return block

    @property
    def _is_consistent(self) -> bool:
        count = len(self.planes.sop_instance_uids)
        shared = ("image_orientations", "pixel_spacings_mm")
        columns = {each.name: len(getattr(self.planes, each.name)) for each in fields(Planes)}
        return (
            count > 0
            and all(size == count or (size == 1 and name in shared) for name, size in columns.items())
            and min(self.planes.frame_indices) >= 0
            and (self.affine_lps is None or tuple(map(len, self.affine_lps)) == (4, 4, 4, 4))
            and (self.affine_lps is not None or self._has_all_frames)
            and all(len(set(map(len, along.values))) == 1 for along in self.along)
            and (self.mosaic is None or min(self.mosaic.across, self.mosaic.down) > 0)
        )

    @property
    def _has_all_frames(self) -> bool:
        """Whether the axes of a stack have an entry for each frame."""
        frames = math.prod(len(axis.values) for axis in self.axes)
        return not self.axes or frames == len(self.planes.sop_instance_uids)


def _deep(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tuples(value) for name, value in columns.items()}


def _tuples(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return tuple(map(_tuples, value)) if list in set(map(type, value)) else tuple(value)


# --- writing ---------------------------------------------------------------------------------------------


def create_values(group: Where, layout: Cut, dtype: str, dims: tuple[str, ...]) -> Any:
    """Make the group and its empty array of stored values, a `zarr.Array` to assign slabs to."""
    block = block_bytes(layout.chunk, np.dtype(dtype).itemsize)
    with at(group).in_words(VALUES), _pipeline(group):
        root = zarr.create_group(**_stored(group), zarr_format=3)
        return root.create_array(
            VALUES,
            shape=layout.shape,
            dtype=dtype,
            chunks=layout.chunk,
            shards=layout.shard,
            compressors=[
                BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle", blocksize=block),
                Crc32cCodec(),
            ],
            dimension_names=dims,
        )


def open_planes(group: Where) -> Any:
    """Open an array to which planes are written one by one: what `create_values` made, for `write_slab`.

    A plane is replaced whole or not at all, whatever becomes of the process meanwhile.
    """
    with at(group).in_words(VALUES), _pipeline(group, PYTHON_PIPELINE):
        return zarr.open_array(**_stored(group, VALUES), mode="r+", zarr_format=3)


def write_slab(group: Where, values: Any, slab: Slab, stored: npt.NDArray[Any]) -> None:
    """Write the stored values of a slab into `values` of `create_values`, make them durable, read them back.

    Raises
    ------
    OSError
        If the disk is full, or gives other values back than were written.
    """
    place, shard = at(group), shard_name(slab)
    with place.in_words(shard):
        try:
            values[slab.index] = stored
        except RuntimeError as error:  # so the codec says it of a full disk, too
            raise OSError(f"{place}/{shard} cannot be written: {error}") from error
        place.settle(shard)  # there is none where all values are 0
        with suppress(ArrayError):
            if np.array_equal(read(group, values, slab.index), stored, equal_nan=stored.dtype.kind == "f"):
                return
    raise OSError(
        f"{place}/{shard} reads back otherwise than it was written; check the disk, then ingest again"
    )


def write_attributes(group: Where, block: Block, described: Described) -> None:
    """Describe a group whose values are complete."""
    _write_described(group, described)
    ome = multiscales(spaced(block, _dims(group)), VALUES, ())
    _describe(group, {BLOCK: asdict(block), **ome})


def write_object(
    group: Where, content: Mapping[str, Any], described: Described, spaced: Spaced | None
) -> None:
    """Describe a group that is the array of an object, whose values are complete.

    Parameters
    ----------
    spaced
        Where its values lie, if they are planes; other viewers find them by it.
    """
    _write_described(group, described)
    ome = multiscales(spaced, VALUES, ()) if spaced else {}
    _describe(group, {OBJECT: dict(content), **ome})


def _write_described(group: Where, described: Described) -> None:
    for name, content in zip((DICOM, DICOM_FRAMES), described.to_json(), strict=True):
        at(group).write(name, content)


def _describe(group: Where, attributes: Mapping[str, Any]) -> None:
    at(group).write(GROUP_METADATA, _description(attributes))


def _description(attributes: Mapping[str, Any]) -> bytes:
    return json.dumps({"attributes": attributes, "zarr_format": 3, "node_type": "group"}, indent=1).encode()


def spaced(block: Block, dims: Sequence[str]) -> Spaced:
    """Where the values of an array lie along each of its axes."""
    spacings = block.planes.pixel_spacings_mm
    return Spaced.of(
        dims,
        affine_lps=block.affine_lps,
        pixel_spacing_mm=spacings[0] if len(set(spacings)) == 1 else None,
        axes=block.axes,
    )


def list_levels(group: Where, levels: Sequence[Level]) -> None:
    """List levels that are complete, in the place of those that were listed, by one replacement of a file."""
    attributes = _read_json(group, GROUP_METADATA)["attributes"]
    _describe(group, _with_levels(attributes, _dims(group), levels))


def _with_levels(
    attributes: Mapping[str, Any], dims: Sequence[str], levels: Sequence[Level]
) -> dict[str, Any]:
    """Attributes of a group with these levels; without any, they are those of ingest."""
    ome = multiscales(spaced(Block.from_json(attributes[BLOCK]), dims), VALUES, levels)
    listed = {LEVELS: [asdict(each) for each in levels]} if levels else {}
    return {BLOCK: attributes[BLOCK], **ome, **listed}


def _dims(group: Where) -> tuple[str, ...]:
    names = _read_json(group, VALUES_METADATA).get("dimension_names")
    if not isinstance(names, list):
        raise ArrayError(f"{at(group)}/{VALUES_METADATA} is damaged; ingest its series again")
    return tuple(map(str, names))


# --- reading ---------------------------------------------------------------------------------------------


def open_values(group: Where) -> Any:
    """Open the stored values for reading, a `zarr.Array`, once its metadata are known to be harmless.

    Raises
    ------
    ArrayError
        If the array is absent, damaged or written with what `pipelines.store.allowlist` does not have.
    """
    if fault := fault_of(_read_json(group, VALUES_METADATA)):
        raise ArrayError(f"{at(group)}/{VALUES} {fault}")
    try:
        with at(group).in_words(VALUES), _pipeline(group):
            return zarr.open_array(**_stored(group, VALUES), mode="r", zarr_format=3)
    except (ArrayError, OSError):
        raise
    except Exception as error:  # zarr stumbles over whatever else may stand in metadata
        raise ArrayError(f"{at(group)}/{VALUES} cannot be opened: {type(error).__name__}") from None


def read(group: Where, values: Any, key: Any) -> npt.NDArray[Any]:
    """Read what a key selects from what `open_values` opened; numbers, slices or arrays of numbers.

    Raises
    ------
    ArrayError
        If a chunk is damaged; in brackets are the words of the codec.
    OSError
        If the store cannot be read.
    """
    try:
        with at(group).in_words(VALUES):
            return _selected(values, key)
    except (RuntimeError, ValueError) as error:  # the codecs name no array, nor what to do
        raise ArrayError(
            f"{at(group)}/{VALUES} cannot be read: a chunk is damaged ({error}); "
            "`workbench ingest UID --anew`, with the UID of its series, writes it anew"
        ) from None


def _selected(values: Any, key: Any) -> npt.NDArray[Any]:
    keys = key if isinstance(key, tuple) else (key,)
    keys += (slice(None),) * (values.ndim - len(keys))
    kept = [
        (each, size) for each, size in zip(keys, values.shape, strict=True) if not isinstance(each, _NUMBER)
    ]
    if not kept or not all(isinstance(each, slice) for each, _ in kept):
        return np.asarray(values[key])
    out = _aligned(tuple(len(range(*each.indices(size))) for each, size in kept), values.dtype)
    values.get_basic_selection(keys, out=NDBuffer.from_numpy_array(out))
    return out


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Memory that begins where a line of the processor's cache does.

    The short rows of chunks are put together there in 60 % of the time that memory from `numpy.empty` takes.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(shape)


_CACHE_LINE = 64
_NUMBER = (int, np.integer)


def read_block(group: Where) -> Block:
    """Read our attributes of a group.

    Raises
    ------
    ArrayError
        If the group is absent, incomplete or damaged.
    """
    block = _block_in(group)
    if block is None:
        raise ArrayError(f"{at(group)} is incomplete or no array of ours; ingest its series again")
    return block


def _block_in(group: Where) -> Block | None:
    content = _read(group, GROUP_METADATA)
    try:
        return _block_of(content) if len(content) <= _KEPT_BYTES else _block_of.__wrapped__(content)
    except DAMAGE:
        raise ArrayError(f"{at(group)}/{GROUP_METADATA} is damaged; ingest its series again") from None


@lru_cache(maxsize=2)
def _block_of(content: bytes) -> Block | None:
    """Block of a `zarr.json`; who opens an array reads it three times, and 10,000 planes take 60 ms."""
    attributes = json.loads(content).get("attributes", {})
    return Block.from_json(attributes[BLOCK]) if BLOCK in attributes else None


_KEPT_BYTES = 16 << 20
"""The longest `zarr.json` whose block is kept: some 50,000 planes."""


def read_object(group: Where) -> dict[str, Any]:
    """Read what `write_object` wrote.

    Raises
    ------
    ArrayError
        If the group is absent, incomplete or damaged.
    """
    content = _attributes(group).get(OBJECT)
    if not isinstance(content, dict):
        raise ArrayError(f"{at(group)} is incomplete or no array of ours; ingest its series again")
    return content


def is_object(group: Where) -> bool:
    """Whether a group is the array of an object; raises `ArrayError` where it cannot be read."""
    return _block_in(group) is None and OBJECT in _attributes(group)


def _attributes(group: Where) -> dict[str, Any]:
    attributes = _read_json(group, GROUP_METADATA).get("attributes", {})
    if not isinstance(attributes, dict):
        raise ArrayError(f"{at(group)}/{GROUP_METADATA} is damaged; ingest its series again")
    return attributes


def read_described(group: Where) -> Described:
    """Read the attributes of a group's instances; raises `ArrayError` where they are absent or damaged."""
    return Described.from_json(_read(group, DICOM), _read(group, DICOM_FRAMES))


def metadata_digest(group: Where) -> str:
    """SHA-256 of every file of the group except the chunks of the stored values, joined by a hyphen."""
    beside = zip((DICOM, DICOM_FRAMES), at(group).sizes((DICOM, DICOM_FRAMES)), strict=True)
    names = (GROUP_METADATA, VALUES_METADATA, *(name for name, size in beside if size))
    return "-".join(file_digest(group, name) for name in names)


def is_as_recorded(group: Place, on_record: str | None) -> bool:
    """Whether the metadata of a group are as they were written, by their digest on record.

    Where they are not, the digest is noted in the group: it is not believed when it is on record no more.
    """
    now = metadata_digest(group)
    if on_record is None:
        is_noted = any(group.sizes((RECORDED,)))
        return not is_noted or _read(group, RECORDED) == now.encode()
    if on_record != now:
        group.write(RECORDED, on_record.encode())
    return on_record == now


def file_digest(group: Where, name: str) -> str:
    """SHA-256 of a metadata file of a group, as it was before levels were listed in it."""
    content = _read(group, name)
    return digest(_as_ingested(group, content) if name == GROUP_METADATA else content)


def _as_ingested(group: Where, content: bytes) -> bytes:
    """Description of a group without its levels; as it is where anything in it is not as it must be then."""
    if f'"{LEVELS}"'.encode() not in content:
        return content
    try:
        attributes = json.loads(content)["attributes"]
        levels = tuple(map(Level.from_json, attributes[LEVELS]))
        dims = _dims(group)
        if _description(_with_levels(attributes, dims, levels)) != content:
            return content
        return _description(_with_levels(attributes, dims, ()))
    except DAMAGE:
        return content


def read_levels(group: Where) -> tuple[Level, ...]:
    """Levels that are listed, from fine to coarse; none where none were made."""
    attributes = _attributes(group)
    try:
        return tuple(map(Level.from_json, attributes.get(LEVELS, ())))
    except DAMAGE:
        raise ArrayError(f"{at(group)}/{GROUP_METADATA} is damaged; ingest its series again") from None


def shard_name(slab: Slab) -> str:
    """Return the name of the file that holds a slab, in its group."""
    return "/".join((VALUES, "c", *map(str, slab.shard)))


def shard_bytes(group: Where, layout: Cut) -> tuple[int, ...]:
    """Size of the file of each shard, 0 where there is none."""
    return at(group).sizes([shard_name(slab) for slab in layout.slabs()])


def _read(group: Where, name: str) -> bytes:
    place = at(group)
    try:
        content = place.read(name, METADATA_LIMIT + 1)
    except OSError as error:
        raise ArrayError(
            f"{place}/{name} cannot be read: {words_of(error)}; ingest its series again"
        ) from None
    if len(content) > METADATA_LIMIT:
        raise ArrayError(f"{place}/{name} is longer than {METADATA_LIMIT >> 20} MiB")
    return content


def _read_json(group: Where, name: str) -> dict[str, Any]:
    content = _read(group, name)
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        raise ArrayError(f"{at(group)}/{name} is damaged; ingest its series again") from None
    if not isinstance(parsed, dict):
        raise ArrayError(f"{at(group)}/{name} is damaged; ingest its series again")
    return parsed


# --- what zarr is given ----------------------------------------------------------------------------------


def _stored(group: Where, name: str = "") -> dict[str, Any]:
    """Where zarr finds a group, or an array in it."""
    match at(group):
        case S3Place() as place:
            return {"store": ObjectStore(place.bucket.opened(place.key(name)))}
        case LocalPlace(path):
            return {"store": path / name}
        case other:
            raise TypeError(f"zarr has no store for {other}")


_CONFIG = Lock()


@contextmanager
def _pipeline(group: Where, wanted: str = "") -> Iterator[None]:
    """Give what is opened within its codec pipeline, and leave zarr configured as it was."""
    # An array takes its pipeline from the process-wide configuration when it is made; two threads that set
    # and restore it in turn would leave it changed, hence the lock.
    name = wanted or (S3_PIPELINE if isinstance(at(group), S3Place) else LOCAL_PIPELINE)
    with _CONFIG, zarr.config.set({"codec_pipeline.path": name}):
        yield
