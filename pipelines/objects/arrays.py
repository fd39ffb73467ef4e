"""Arrays of objects that are no images of planes, in Zarr and out of it: SEG, dose, waveforms, video frames.

The group holds `values`, what the reader of the kind gives, and in its attributes all that stands beside:
coordinates, attributes, digests. Booleans are stored as bytes of 0 and 1. A video that is left as it is has
no group; it is opened from its file.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from catalog.errors import ArrayError
from catalog.identifiers import digest_of_texts
from catalog.records import ArrayRecord
from pipelines import accessor  # noqa: F401 (registers `array.dicom`)
from pipelines.kinds import VIDEO
from pipelines.store import arrays
from pipelines.store.dicom_json import Described
from pipelines.store.layout import Cut, Layout, Traces
from pipelines.store.multiscales import Spaced
from pipelines.store.places import Where, at
from pipelines.store.typed import DAMAGE, fits

_LONG = 16
"""Numbers of a coordinate from which on it is worth to keep a line instead of its points."""


@dataclass(frozen=True, slots=True)
class ObjectBlock:
    """Our attributes of a group: what the array of one object is, and what it was made from."""

    name: str
    dtype: str
    """Of the values when opened, such as `bool`."""
    dims: tuple[str, ...]
    coordinates: tuple[Mapping[str, Any], ...]
    attributes: Mapping[str, Any]
    sop_instance_uid: str
    siblings: int
    """How many arrays the instance has, this one included."""
    frames: int
    """Of the instance."""
    input_digest: str
    source_digest: str
    """SHA-256 of the whole file."""
    slab_digests: tuple[str, ...]
    """SHA-256 of the values of each slab, little-endian, row by row."""
    shard_bytes: tuple[int, ...]
    values_metadata_digest: str

    @classmethod
    def of(cls, array: xr.DataArray, **known: Any) -> Self:
        """Describe an array of a reader.

        Raises
        ------
        ArrayError
            If an attribute cannot be written as JSON.
        """
        return cls(
            name=str(array.name),
            dtype=array.dtype.name,
            dims=tuple(map(str, array.dims)),
            coordinates=tuple(_coordinate(str(name), array.coords[name]) for name in array.coords),
            attributes=_plain(array.attrs),
            **known,
        )

    def write(self, group: Where, described: Described) -> None:
        """Describe a group whose values are complete, with what the header of the object says."""
        arrays.write_object(group, asdict(self), described, self._spaced)

    @property
    def _spaced(self) -> Spaced | None:
        if self.dims[-1] != "x":
            return None
        affine, spacing = (self.attributes.get(name) for name in ("affine_lps", "pixel_spacing"))
        return Spaced.of(self.dims, affine_lps=affine, pixel_spacing_mm=spacing, axes=())

    @classmethod
    def read(cls, group: Where) -> Self:
        """Read the description of a group.

        Raises
        ------
        ArrayError
            If the group is absent, incomplete or damaged.
        """
        content = arrays.read_object(group)
        try:
            known = {each.name: content[each.name] for each in fields(cls)}
            for name in ("dims", "coordinates", "slab_digests", "shard_bytes"):
                known[name] = tuple(known[name])
            block = cls(**known)
            if fits(block, cls) and block._is_consistent:
                return block
        except DAMAGE:
            pass
        raise ArrayError(f"{at(group)}/{arrays.GROUP_METADATA} is damaged; ingest its series again")

    @property
    def _is_consistent(self) -> bool:
        """Whether the array can be opened by it, and its row be made."""
        affine, uid = (self.attributes.get(name) for name in ("affine_lps", "frame_of_reference_uid"))
        is_affine = affine is None or [[float(each) for each in row] for row in affine] == affine
        return bool(self.dims) and is_affine and fits(uid, str | None) and np.dtype(self.dtype).itemsize > 0


def cut_of(dims: tuple[str, ...], shape: tuple[int, ...], itemsize: int) -> Cut:
    """How an array of these dimensions is cut: frames of colour one by one, planes by slabs, or traces."""
    if dims[-1] == "channel":
        return Layout(shape, itemsize, "stack")
    return Layout(shape, itemsize, "volume") if dims[-1] == "x" else Traces(shape, itemsize)


def stored_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Type of the values in Zarr."""
    return np.dtype(np.uint8 if np.dtype(dtype) == np.bool_ else dtype)


def open_object_array(record: ArrayRecord) -> xr.DataArray:
    """Open the array of an object lazily, as its reader gives it; a video that was left, from its file.

    Attributes and coordinates are those of the reader; `part` is added, and where it was opened from.

    Raises
    ------
    ArrayError
        If the array is absent, incomplete or altered since it was written.
    DecodeError
        If it is a video that was left as it is, and its file is gone or cannot be read.
    """
    if record.kind == VIDEO.name:
        from pipelines.video.opening import open_video  # PyAV takes a while to load

        array = open_video(record.path)
    else:
        array = _open(record, _checked_block(record))
        array = array.assign_attrs(path=record.path, metadata_digest=record.metadata_digest)
    return array.assign_attrs(part=record.part, input_digest=record.input_digest)


def _open(record: ArrayRecord, block: ObjectBlock) -> xr.DataArray:
    values = _Values(record.path, record.shape, record.dtype)
    shard = cut_of(record.dims, record.shape, values.dtype.itemsize).shard
    chunks = tuple(min(pair) for pair in zip(shard, record.shape, strict=True))
    name = digest_of_texts((record.path, record.stored_digest, record.metadata_digest))[:32]
    lazy: da.Array = da.from_array(  # type: ignore[no-untyped-call]  # dask leaves it untyped
        values, chunks=chunks, name=f"object-{name}", meta=np.empty((0,) * values.ndim, values.dtype)
    )
    attributes = dict(block.attributes)
    try:
        coordinates = {each["name"]: _opened(each) for each in block.coordinates}
        if isinstance(labels := attributes.get("labels"), dict):
            attributes["labels"] = {int(number): label for number, label in labels.items()}  # texts in JSON
        return xr.DataArray(lazy, dims=record.dims, coords=coordinates, attrs=attributes, name=block.name)
    except (*DAMAGE, MemoryError):
        raise ArrayError(
            f"{record.path}/{arrays.GROUP_METADATA} is damaged; ingest its series again"
        ) from None


def _checked_block(record: ArrayRecord) -> ObjectBlock:
    group = at(record.path)
    if arrays.metadata_digest(group) != record.metadata_digest:
        raise ArrayError(
            f"the metadata of {group} were altered since they were written; ingest its series again"
        )
    block = ObjectBlock.read(group)
    cut = cut_of(record.dims, record.shape, stored_dtype(record.dtype).itemsize)
    if arrays.shard_bytes(group, cut) != block.shard_bytes:
        raise ArrayError(f"values of {group} are missing or cut; ingest its series again")
    return block


class _Values:
    """Values of a group, read when indexed; goes to a Dask worker as a path."""

    def __init__(self, path: str, shape: tuple[int, ...], dtype: str) -> None:
        self._path, self._array = path, None
        self.shape, self.ndim, self.dtype = shape, len(shape), np.dtype(dtype)

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        values = self._array
        if values is None:
            values = self._array = arrays.open_values(self._path)
        return arrays.read(self._path, values, key).astype(self.dtype, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_array": None}


# --- coordinates and attributes as JSON ------------------------------------------------------------------


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(attributes), default=_number))
    except (TypeError, ValueError) as error:
        raise ArrayError(f"an attribute cannot be kept: {error}") from None
    return plain


def _number(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is neither text nor number")


def _coordinate(name: str, coordinate: xr.DataArray) -> dict[str, Any]:
    values = coordinate.values
    kept = {"name": name, "dims": list(map(str, coordinate.dims)), "attributes": _plain(coordinate.attrs)}
    line = _line(values)
    if line is not None:
        return kept | {"line": line}
    is_text = values.dtype.kind in "OUST"
    return kept | {"dtype": "str" if is_text else values.dtype.name, "values": values.tolist()}


def _line(values: npt.NDArray[Any]) -> dict[str, float] | None:
    """Start, rate and count of evenly spaced numbers, where they give every number back bit by bit."""
    if values.ndim != 1 or len(values) < _LONG or values.dtype != np.float64 or values[-1] == values[0]:
        return None
    exact = (len(values) - 1) / (values[-1] - values[0])
    for rate in (float(f"{exact:.9g}"), float(exact)):
        line = {"start": float(values[0]), "rate": rate, "count": len(values)}
        if np.array_equal(_points(line), values):
            return line
    return None


def _points(line: Mapping[str, float]) -> npt.NDArray[np.float64]:
    return line["start"] + np.arange(line["count"]) / line["rate"]


def _opened(kept: Mapping[str, Any]) -> tuple[list[str], npt.NDArray[Any], Mapping[str, Any]]:
    values = _points(kept["line"]) if "line" in kept else np.array(kept["values"], kept["dtype"])
    return kept["dims"], values, kept["attributes"]
