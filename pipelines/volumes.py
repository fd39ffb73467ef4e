"""Arrays opened lazily: modality values as a Dask-backed `DataArray` with its place in the patient.

Coordinates follow ITK: along each dimension the origin plus index times spacing, in mm, and the attribute
`direction` (3 × 3 in the order z, y, x) turns the axes into the patient. The accessor `dicom` does the rest.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendEntrypoint

from catalog.errors import ArrayError, GeometryError, NotFoundError
from catalog.home import HOME_VARIABLE, catalog_address, default_home
from catalog.identifiers import digest_of_texts, is_uid
from catalog.records import ArrayRecord
from pipelines import accessor
from pipelines.axes.frame_axes import with_frame_axes, with_repeats
from pipelines.axes.lattice import Raster, placed_coordinates
from pipelines.axes.regions import with_calibration
from pipelines.axes.repeats import Along
from pipelines.axes.spacing import with_spacing
from pipelines.geometry import COSINE_TOLERANCE, SPACING_TOLERANCE_MM
from pipelines.kinds import OBJECT_ARRAYS
from pipelines.objects.arrays import open_object_array
from pipelines.presentation.lookup import PALETTE, looked_up
from pipelines.store import arrays
from pipelines.store.arrays import Block
from pipelines.store.layout import Layout
from pipelines.store.multiscales import CHANNEL, channel_first
from pipelines.store.places import at
from pipelines.store.pyramid import level_of

__all__ = ["WorkbenchBackend", "accessor", "open_array", "open_level", "stored_values"]


def open_array(record: ArrayRecord) -> xr.DataArray:
    """Open an array lazily: modality values, float32 (PS3.3 C.11.1); colour stays stored values.

    PALETTE COLOR opens as red, green and blue of 8 bits; `stored_values` has the indices.

    A volume has dimensions (z, y, x) and coordinates in mm, after axes along which it repeats (`time` in s,
    `echo_time` and `inversion_time` in ms, `flip_angle` in deg, `kvp` in kV, `b_value` in s/mm2,
    `phase` of the heart in % or ms, `temporal_position`); a stack has (frame, y, x[, channel]), with `time`
    for `frame` where a cine says when its frames were taken; the images of one plane have such axes in the
    place of `frame`, too. Planes of a stack that have a place in the patient keep it as the coordinates
    `x_lps_mm`, `y_lps_mm` and `z_lps_mm`, and where they are parallel `distance_mm` along their normal, for
    `array.dicom.to_regular()`. Images without a place have y and x in mm by their pixel spacing; the
    attribute `spacing` says where it holds.
    The coordinate `sop_instance_uid` names each plane's source; where slope or intercept differ between
    planes they are coordinates too. Stored values that float32 cannot hold become float64.
    Any other kind opens as its reader of `pipelines.kinds` gives it.

    Raises
    ------
    ArrayError
        If the array is absent, incomplete or altered since it was written.
    DecodeError
        If its palette or modality LUT cannot be applied.
    """
    if record.kind in OBJECT_ARRAYS:
        return open_object_array(record)
    block = checked_block(record)
    return _of_frames(_opened(record, block), record, block)


def _opened(record: ArrayRecord, block: Block) -> xr.DataArray:
    """The array with its dimensions as they are stored."""
    is_colour = "channel" in record.dims or block.lookup == PALETTE
    planes = record.shape[: _layout(record).plane_axis + 1]
    slopes, intercepts = _rescale(record, block)
    rescale = None if is_colour or block.lookup else (slopes, intercepts)
    data = _lazy(_Values(record.path, record.shape, record.dtype, rescale), record, "modality")
    if block.lookup:
        described = arrays.read_described(record.path)
        data = looked_up(data, block.lookup, described, planes)
    volume = xr.DataArray(
        data,
        dims=(*record.dims, "channel")[: data.ndim],
        coords=_coordinates(record, block, slopes, intercepts),
        attrs=_attributes(record, block, is_colour=is_colour),
        name=(block.modality or "values").lower(),
    )
    if not is_colour and isinstance(slopes, float) and isinstance(intercepts, float) and not block.lookup:
        volume.encoding = {"dtype": record.dtype, "scale_factor": slopes, "add_offset": intercepts}
    return _calibrated(volume, record, block)


def stored_values(record: ArrayRecord) -> xr.DataArray:
    """Open the stored values of an array lazily, those before the modality LUT; else as `open_array`."""
    block = checked_block(record)
    attrs = _attributes(record, block, is_colour=True)
    data = _lazy(_Values(record.path, record.shape, record.dtype, None), record, "stored")
    coords = _coordinates(record, block, 1.0, 0.0)
    stored = xr.DataArray(data, dims=record.dims, coords=coords, attrs=attrs, name="stored")
    return _of_frames(_calibrated(stored, record, block), record, block)


def _calibrated(array: xr.DataArray, record: ArrayRecord, block: Block) -> xr.DataArray:
    """A stack with what its header says of rows and columns; a volume as it is."""
    if block.affine_lps is not None:
        return array
    ds = arrays.read_described(record.path).dataset()
    return with_spacing(with_calibration(array, ds), ds)


def _of_frames(array: xr.DataArray, record: ArrayRecord, block: Block) -> xr.DataArray:
    """A stack along what its frames differ by; a volume as it is."""
    if block.affine_lps is not None:
        return array
    if block.sources == 1:
        array = with_frame_axes(array, arrays.read_described(record.path).dataset())
    return with_repeats(array, block.axes)


def open_level(record: ArrayRecord, number: int) -> xr.DataArray:
    """Open a coarser level, if it was made (`pipelines.store.pyramid`), as `open_array`; 0 is the array.

    Coordinates are those of the middle of what was made one, so `level.dicom` knows where it lies. What is
    known of each plane is left out where planes were made one.

    Raises
    ------
    NotFoundError
        If the array has no such level.
    ArrayError
        If the array or the level is absent, incomplete or altered since it was written.
    """
    if number == 0:
        return open_array(record)
    level, block = level_of(record, number), checked_block(record)
    place, full = at(record.path) / level.name, _opened(record, block)
    rescale = None if CHANNEL in record.dims or block.lookup else _rescale(record, block)
    order = channel_first(record.dims)
    values = _Values(place.address, tuple(level.shape[axis] for axis in order), record.dtype, rescale)
    layout = Layout(level.shape, np.dtype(record.dtype).itemsize, record.kind)
    chunks = tuple((*layout.shard[: layout.plane_axis + 1], *layout.plane_shape)[axis] for axis in order)
    name = digest_of_texts((place.address, record.stored_digest, level.metadata_digest))[:32]
    data: da.Array = da.from_array(  # type: ignore[no-untyped-call]  # dask leaves it untyped
        values, chunks=chunks, name=f"level-{name}", meta=np.empty((0,) * values.ndim, values.dtype)
    )
    data = da.transpose(data, [order.index(axis) for axis in range(len(order))])
    if block.lookup:
        planes = record.shape[: layout.plane_axis + 1]
        data = looked_up(data, block.lookup, arrays.read_described(record.path), planes)
    coarser = dict(zip(record.dims, level.factors, strict=True))
    frames_are_whole = block.affine_lps is None and level.factors[0] == 1
    opened = xr.DataArray(
        data, dims=full.dims, coords=_coarser(full, level.shape, coarser), attrs=full.attrs, name=full.name
    )
    return _of_frames(opened, record, block) if frames_are_whole else opened


def _coarser(full: xr.DataArray, shape: tuple[int, ...], factors: Mapping[str, int]) -> dict[str, Any]:
    """Coordinates of a level: in the middle of what was made one; dropped where there is no middle."""
    coordinates: dict[str, Any] = {}
    for name, coordinate in full.coords.items():
        if all(factors.get(str(dim), 1) == 1 for dim in coordinate.dims):
            coordinates[str(name)] = coordinate
        elif coordinate.dims == (name,) and coordinate.size > 1:
            factor, count = factors[str(name)], shape[full.dims.index(name)]
            step = (coordinate.values[-1] - coordinate.values[0]) / (coordinate.size - 1)
            line = coordinate.values[0] + ((factor - 1) / 2 + factor * np.arange(count)) * step
            coordinates[str(name)] = (name, line, coordinate.attrs)
    return coordinates


def _rescale(record: ArrayRecord, block: Block) -> "tuple[_Line, _Line]":
    planes = record.shape[: _layout(record).plane_axis + 1]
    slopes, intercepts = block.planes.rescale_slopes, block.planes.rescale_intercepts
    return _one_or_all(slopes, planes), _one_or_all(intercepts, planes)


class WorkbenchBackend(BackendEntrypoint):
    """`xarray.open_dataset("<series uid>", engine="workbench")` on the bench of `WORKBENCH_HOME`."""

    description = "Open a series of an Imaging Workbench by its Series Instance UID"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "home", "part")

    def open_dataset(  # type: ignore[override]  # the base class leaves the keywords open
        self,
        filename_or_obj: str | os.PathLike[Any],
        *,
        drop_variables: str | Iterable[str] | None = None,
        home: str | os.PathLike[str] | None = None,
        part: int | None = None,
    ) -> xr.Dataset:
        """Open one part of a series that was ingested, lazily.

        Raises
        ------
        NotFoundError
            If there is no bench, no such series on it, it was not ingested, or there are several parts to
            choose from.
        """
        uid = Path(filename_or_obj).name  # xarray takes the UID for a relative path and makes it absolute
        record = _find_array(uid, Path(home) if home else default_home(), part)
        volume = open_array(record)
        ds: xr.Dataset = volume.to_dataset(name=str(volume.name))
        return ds.drop_vars([drop_variables] if isinstance(drop_variables, str) else drop_variables or [])

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return False: a UID is opened only where `engine="workbench"` is said."""
        return False


def _find_array(uid: str, home: Path, part: int | None) -> ArrayRecord:
    # here, as workers import this module and never open the catalog
    from catalog.arrays import arrays_of, one_part
    from catalog.checks import rot_of, warn_of
    from catalog.corrections import deleted_series
    from catalog.database import Catalog
    from catalog.query import instances_of

    if not is_uid(uid):
        raise NotFoundError("a series is opened by its Series Instance UID: digits and dots")
    address = catalog_address(home)
    if "://" not in address and not Path(address).is_file():
        raise NotFoundError(
            f"no catalog at {address}; pass home=, set {HOME_VARIABLE}, or run `workbench index`"
        )
    catalog = Catalog(address)
    try:
        records = arrays_of(catalog, uid)
        is_deleted = uid in deleted_series(catalog)
        rot = rot_of(catalog, instances_of(catalog, uid), records) if records else ""
    finally:
        catalog.close()
    if is_deleted:
        raise NotFoundError(
            f"series {uid} was deleted on this bench; `workbench restore {uid}` brings it back"
        )
    if not records:
        raise NotFoundError(f"series {uid} has no arrays on this bench; run `workbench ingest {uid}`")
    if rot:
        warn_of(rot, uid)
    return one_part(records, part)


# --- values ----------------------------------------------------------------------------------------------

type _Line = float | npt.NDArray[np.float64]
"""One number for all planes, or one for each."""


class _Values:
    """Stored or modality values of a group, read when indexed; goes to a Dask worker as a path.

    Dask fuses slicing into `__getitem__`, so a plane reads no more than the chunks it crosses.
    """

    def __init__(
        self, path: str, shape: tuple[int, ...], dtype: str, rescale: tuple[_Line, _Line] | None
    ) -> None:
        self._path, self._rescale = path, rescale
        self._array: Any = None
        self.shape, self.ndim = shape, len(shape)
        self.dtype = np.dtype(dtype) if rescale is None else modality_dtype(np.dtype(dtype))

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        if self._array is None:
            self._array = arrays.open_values(self._path)
        stored = arrays.read(self._path, self._array, key)
        if self._rescale is None:
            return stored
        values = stored.astype(self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # what is beyond the type becomes infinite
            slope, intercept = (self._along(line, key, stored.ndim) for line in self._rescale)
            if np.any(slope != 1):
                values *= slope
            if np.any(intercept != 0):
                values += intercept
        return values

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_array": None}

    def _along(self, line: _Line, key: Any, ndim: int) -> Any:
        """The numbers of the planes that were read, in a shape that multiplies with them."""
        if isinstance(line, float):
            return self.dtype.type(line)
        keys = key if isinstance(key, tuple) else (key,)
        picked = np.asarray(line[keys[: line.ndim]], self.dtype)
        within = sum(not isinstance(each, int | np.integer) for each in keys[line.ndim :])
        missing = max(self.ndim - len(keys) - max(line.ndim - len(keys), 0), 0)
        return picked.reshape(picked.shape + (1,) * (within + missing)) if picked.ndim else picked[()]


def modality_dtype(stored: np.dtype[Any]) -> np.dtype[Any]:
    """Type of modality values: float32, or float64 where that cannot hold every stored value."""
    return np.dtype(np.float32 if stored.itemsize < 4 or stored == np.float32 else np.float64)


def _one_or_all(numbers: tuple[float, ...], shape: tuple[int, ...]) -> _Line:
    return numbers[0] if len(set(numbers)) == 1 else np.array(numbers, np.float64).reshape(shape)


def _layout(record: ArrayRecord) -> Layout:
    return Layout(record.shape, np.dtype(record.dtype).itemsize, record.kind)


def _lazy(values: _Values, record: ArrayRecord, what: str) -> da.Array:
    layout = _layout(record)
    chunks = (*layout.shard[: layout.plane_axis + 1], *layout.plane_shape)
    name = f"{what}-{digest_of_texts((record.path, record.stored_digest, record.metadata_digest))[:32]}"
    lazy: da.Array = da.from_array(  # type: ignore[no-untyped-call]  # dask leaves it untyped
        values, chunks=chunks, name=name, meta=np.empty((0,) * values.ndim, values.dtype)
    )
    return lazy


# --- what stands beside the values -----------------------------------------------------------------------


def checked_block(record: ArrayRecord) -> Block:
    """Read what an array's group says of it; raises `ArrayError` where it is altered or incomplete."""
    group = at(record.path)
    if arrays.metadata_digest(group) != record.metadata_digest:
        raise ArrayError(
            f"the metadata of {group} were altered since they were written; ingest its series again"
        )
    block = arrays.read_block(group)
    if arrays.shard_bytes(group, _layout(record)) != block.shard_bytes:
        raise ArrayError(f"values of {group} are missing or cut; ingest its series again")
    return block


def _coordinates(record: ArrayRecord, block: Block, slopes: _Line, intercepts: _Line) -> dict[str, Any]:
    layout = _layout(record)
    planes, shape = record.dims[: layout.plane_axis + 1], record.shape[: layout.plane_axis + 1]
    coordinates: dict[str, Any] = {
        "sop_instance_uid": (planes, np.array(block.planes.sop_instance_uids).reshape(shape))
    }
    if any(block.planes.frame_indices):
        coordinates["frame_number"] = (planes, np.array(block.planes.frame_indices).reshape(shape) + 1)
    named = [axis for axis in block.axes if axis.name in record.dims]  # others as `_of_frames` unfolds them
    for axis in named:
        source = {"source": axis.source} if axis.source else {}
        coordinates[axis.name] = (axis.name, np.array(axis.values), {"units": axis.unit} | source)
    for along in block.along:
        dims, repeats = record.dims[: layout.plane_axis], layout.leading
        if block.affine_lps is None:
            dims, repeats = record.dims[:1], record.shape[:1]
        coordinates |= _along_volumes(along, dims, repeats)
    if block.affine_lps is None:
        if not named:
            coordinates["frame"] = np.arange(record.shape[0])
        coordinates |= _places(record, block)
    else:
        affine = np.array(block.affine_lps)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        for number, (dim, count) in enumerate(zip("xyz", record.shape[:-4:-1], strict=True)):
            values = affine[number, 3] + np.arange(count) * spacing[number]
            coordinates[dim] = (dim, values, {"units": "mm"})
    for name, line in (("rescale_slope", slopes), ("rescale_intercept", intercepts)):
        if not isinstance(line, float):
            coordinates[name] = (planes, line)
    return coordinates


def _places(record: ArrayRecord, block: Block) -> dict[str, Any]:
    """Where the planes of a stack lie, as far as they have a place in the patient.

    `x_lps_mm`, `y_lps_mm` and `z_lps_mm` are those of each plane's first pixel. Parallel planes also have
    `distance_mm` along their normal from the first plane, and y and x from their first pixel.
    """
    positions, raster = _positions(block), _raster(record, block)
    if not positions:
        return {}
    if raster is not None:
        return placed_coordinates(record.dims[0], positions, raster)
    lines = zip("xyz", np.array(positions, np.float64).T, strict=True)
    return {f"{axis}_lps_mm": (record.dims[0], line, {"units": "mm"}) for axis, line in lines}


def _raster(record: ArrayRecord, block: Block) -> Raster | None:
    """What the pixels of parallel planes have in common; `None` where planes are turned or have no place."""
    planes = block.planes
    if block.affine_lps is not None or not _positions(block):
        return None
    orientations, spacings = planes.image_orientations, planes.pixel_spacings_mm
    if orientations[0] is None or spacings[0] is None:
        return None
    if not (_are_alike(orientations, COSINE_TOLERANCE) and _are_alike(spacings, SPACING_TOLERANCE_MM)):
        return None
    try:
        return Raster(record.shape[1], record.shape[2], orientations[0], spacings[0])
    except GeometryError:
        return None


def _positions(block: Block) -> Sequence[Sequence[float]]:
    """Positions of the planes; none where one of them has none."""
    found: list[Sequence[float]] = [
        each for each in block.planes.positions_lps_mm if each is not None and len(each) == 3
    ]
    return found if len(found) == len(block.planes.positions_lps_mm) else ()


def _are_alike(column: tuple[tuple[float, ...] | None, ...], tolerance: float) -> bool:
    first = column[0]
    return all(
        each is first
        or (each is not None and first is not None and np.allclose(each, first, rtol=0, atol=tolerance))
        for each in column
    )


def _along_volumes(along: Along, dims: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, Any]:
    """A coordinate for each number that is known of each volume; x, y and z of a direction have one each."""
    columns = np.array(along.values).T
    names = [along.name] if len(columns) == 1 else [f"{along.name}_{axis}" for axis in "xyz"]
    return {
        name: (dims, column.reshape(shape), {"units": along.unit} if along.unit else {})
        for name, column in zip(names, columns, strict=True)
    }


def _attributes(record: ArrayRecord, block: Block, *, is_colour: bool) -> dict[str, Any]:
    """Small attributes that JSON can hold; those that the file says nothing of are left out."""
    attributes: dict[str, Any] = {
        "modality": block.modality,
        "units": None if is_colour else block.units,
        "kind": block.kind,
        "label": block.label,
        "reason": block.reason,
        "series_instance_uid": block.series_instance_uid,
        "study_instance_uid": block.study_instance_uid,
        "part": block.part,
        "frame_of_reference_uid": block.frame_of_reference_uid,
        "coordinate_system": "" if block.coordinate_system == "patient" else block.coordinate_system,
        "input_digest": block.input_digest,
        "path": record.path,
        "metadata_digest": record.metadata_digest,
    }
    raster = _raster(record, block)
    if raster is not None:
        attributes["image_orientation_patient"] = list(raster.orientation)
        attributes["pixel_spacing"] = list(raster.pixel_spacing)
    if block.affine_lps is not None:
        affine = np.array(block.affine_lps)
        direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        attributes["affine_lps"] = affine.tolist()
        attributes["direction"] = np.flip(direction).tolist()  # z, y, x, as itk.xarray_from_image has it
    return {name: value for name, value in attributes.items() if value not in (None, "")}
