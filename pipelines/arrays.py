"""The layout of an array in Zarr v3, and the only import of zarr: one group per part of a series.

The group holds `values`, the stored values with dimensions (z, y, x), after axes along which a volume
repeats, or (frame, y, x[, channel]) for a stack, cut as `pipelines.layout` says; chunks have checksums.
What the planes are and where they come from is in the group's attributes: `imaging_workbench` for us, `ome`
(OME-Zarr 0.5) for other viewers. Stored arrays are input like any other: a codec or type that is not on the
list is refused before zarr sees it.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from threading import Lock
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import ObjectStore

from catalog.errors import ArrayError, words_of
from catalog.identifiers import digest
from catalog.records import Mosaic
from pipelines.allowlist import fault_of
from pipelines.dicom_json import Described
from pipelines.layout import Cut, Slab
from pipelines.places import LocalPlace, S3Place, Where, at
from pipelines.repeats import Along, Axis

LAYOUT = 7
"""Goes up when arrays are written in another way; part of every input digest."""
VALUES = "values"
BLOCK = "imaging_workbench"
OBJECT = "imaging_workbench_object"
"""Our attributes of a group: of an array of planes, or of an object (`pipelines.object_arrays`)."""

GROUP_METADATA = "zarr.json"
VALUES_METADATA = f"{VALUES}/zarr.json"
DICOM, DICOM_FRAMES = "dicom.json", "dicom_frames.json"
"""Attributes of the instances: those that all share, and those that vary (`pipelines.dicom_json`)."""
METADATA = (GROUP_METADATA, VALUES_METADATA, DICOM, DICOM_FRAMES)
"""The files of a group that are no chunks."""
METADATA_LIMIT = 256 << 20
"""The longest `zarr.json` that is read: some 800,000 planes."""

LOCAL_PIPELINE = "zarrs.ZarrsCodecPipeline"
"""On a disk it takes a quarter to two thirds of the time of zarr-python's own."""
S3_PIPELINE = "zarr.core.codec_pipeline.BatchedCodecPipeline"
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
    """Along which a volume repeats."""
    along: tuple[Along, ...]
    """What else is known of each of its volumes."""
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
        """Build a block from parsed attributes; raises `KeyError` or `TypeError` where it is damaged."""
        columns = attributes["planes"]
        planes = Planes(**{each.name: _tuples(columns[each.name]) for each in fields(Planes)})
        rest = {each.name: attributes[each.name] for each in fields(cls) if each.name != "planes"}
        rest |= {name: _tuples(rest[name]) for name in ("affine_lps", "shard_bytes")}
        rest["axes"] = tuple(Axis(**_deep(each)) for each in rest["axes"])
        rest["along"] = tuple(Along(**_deep(each)) for each in rest["along"])
        rest["mosaic"] = rest["mosaic"] and Mosaic(**rest["mosaic"])
        return cls(**rest, planes=planes)


def _deep(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tuples(value) for name, value in columns.items()}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


# --- writing ---------------------------------------------------------------------------------------------


def create_values(group: Where, layout: Cut, dtype: str, dims: tuple[str, ...]) -> Any:
    """Make the group and its empty array of stored values, a `zarr.Array` to assign slabs to."""
    with at(group).in_words(VALUES), _pipeline(group):
        root = zarr.create_group(**_stored(group), zarr_format=3)
        return root.create_array(
            VALUES,
            shape=layout.shape,
            dtype=dtype,
            chunks=layout.chunk,
            shards=layout.shard,
            compressors=[BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle"), Crc32cCodec()],
            dimension_names=dims,
        )


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
        if np.array_equal(values[slab.index], stored, equal_nan=stored.dtype.kind == "f"):
            return
    raise OSError(
        f"{place}/{shard} reads back otherwise than it was written; check the disk, then ingest again"
    )


def write_attributes(group: Where, block: Block, described: Described) -> None:
    """Describe a group whose values are complete."""
    _write_described(group, described)
    ome = _ome(block, at(group).read(VALUES_METADATA, METADATA_LIMIT))
    _describe(group, {BLOCK: asdict(block), **ome})


def write_object(group: Where, content: Mapping[str, Any], described: Described) -> None:
    """Describe a group that is the array of an object, whose values are complete."""
    _write_described(group, described)
    _describe(group, {OBJECT: dict(content)})


def _write_described(group: Where, described: Described) -> None:
    for name, content in zip((DICOM, DICOM_FRAMES), described.to_json(), strict=True):
        at(group).write(name, content)


def _describe(group: Where, attributes: Mapping[str, Any]) -> None:
    description = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    at(group).write(GROUP_METADATA, json.dumps(description, indent=1).encode())


def _ome(block: Block, values_metadata: bytes) -> dict[str, Any]:
    """OME-Zarr 0.5 multiscales of one level; colour stacks have no place in it: channels come first there."""
    dims = json.loads(values_metadata)["dimension_names"]
    if "channel" in dims:
        return {}
    spatial = {"type": "space"} | ({"unit": "millimeter"} if block.affine_lps else {})
    axes = [{"name": dim, **(spatial if dim in ("z", "y", "x") else _ome_type(dim))} for dim in dims]
    transformations: list[dict[str, Any]] = [{"type": "scale", "scale": [1.0] * len(dims)}]
    if block.affine_lps is not None:
        columns = list(zip(*block.affine_lps, strict=True))
        scale = [_step(axis) for axis in block.axes] + [math.hypot(*columns[axis][:3]) for axis in (2, 1, 0)]
        starts = [axis.values[0] for axis in block.axes] + list(columns[3][2::-1])
        transformations = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": starts},
        ]
    dataset = {"path": VALUES, "coordinateTransformations": transformations}
    return {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [dataset]}]}}


def _ome_type(dim: str) -> dict[str, str]:
    return {"type": "time", "unit": "second"} if dim == "time" else {}


def _step(axis: Axis) -> float:
    """Distance of evenly spaced values; 1 where they are not, as OME-Zarr knows no other axes."""
    steps = {round(later - earlier, 6) for earlier, later in pairwise(axis.values)}
    return steps.pop() if len(steps) == 1 and min(steps) > 0 else 1.0


# --- reading ---------------------------------------------------------------------------------------------


def open_values(group: Where) -> Any:
    """Open the stored values for reading, a `zarr.Array`, once its metadata are known to be harmless.

    Raises
    ------
    ArrayError
        If the array is absent, damaged or written with something that `pipelines.allowlist` does not have.
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


def read_block(group: Where) -> Block:
    """Read our attributes of a group.

    Raises
    ------
    ArrayError
        If the group is absent, incomplete or damaged.
    """
    attributes = _read_json(group, GROUP_METADATA).get("attributes", {})
    try:
        return Block.from_json(attributes[BLOCK])
    except (KeyError, TypeError):
        raise ArrayError(f"{at(group)} is incomplete or no array of ours; ingest its series again") from None


def read_object(group: Where) -> dict[str, Any]:
    """Read what `write_object` wrote.

    Raises
    ------
    ArrayError
        If the group is absent, incomplete or damaged.
    """
    content = _read_json(group, GROUP_METADATA).get("attributes", {}).get(OBJECT)
    if not isinstance(content, dict):
        raise ArrayError(f"{at(group)} is incomplete or no array of ours; ingest its series again")
    return content


def is_object(group: Where) -> bool:
    """Whether a group is the array of an object; raises `ArrayError` where it cannot be read."""
    return OBJECT in _read_json(group, GROUP_METADATA).get("attributes", {})


def read_described(group: Where) -> Described:
    """Read the attributes of a group's instances; raises `ArrayError` where they are absent or damaged."""
    return Described.from_json(_read(group, DICOM), _read(group, DICOM_FRAMES))


def metadata_digest(group: Where) -> str:
    """SHA-256 of every file of the group except the chunks of the stored values, joined by a hyphen."""
    beside = zip((DICOM, DICOM_FRAMES), at(group).sizes((DICOM, DICOM_FRAMES)), strict=True)
    names = (GROUP_METADATA, VALUES_METADATA, *(name for name, size in beside if size))
    return "-".join(file_digest(group, name) for name in names)


def file_digest(group: Where, name: str) -> str:
    """SHA-256 of a metadata file of a group."""
    return digest(_read(group, name))


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
def _pipeline(group: Where) -> Iterator[None]:
    """Give what is opened within its codec pipeline, and leave zarr configured as it was."""
    # An array takes its pipeline from the process-wide configuration when it is made; two threads that set
    # and restore it in turn would leave it changed, hence the lock.
    name = S3_PIPELINE if isinstance(at(group), S3Place) else LOCAL_PIPELINE
    with _CONFIG, zarr.config.set({"codec_pipeline.path": name}):
        yield
