"""Whole slides: each level of a pyramid as a lazy array, its chunks the tiles of the files (PS3.3 A.32.8).

Headers are read when a slide is opened, a tile when it is computed: its bytes and no others. The arrays go to
Dask workers as records; each process opens a file when it reads the first tile of it.
"""

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from PIL import ImageCms

from catalog.errors import DecodeError, GeometryError, HeaderError, WorkbenchError
from catalog.headers import read_dataset
from catalog.identifiers import digest_of_texts
from catalog.records import InstanceRecord
from pipelines.colour import icc_profile
from pipelines.frames import Frames, open_frames
from pipelines.objects import DicomObject, named, open_object
from pipelines.pixels import PixelDescription, Stored
from pipelines.tiling import Level, Tiling, tiling_of

SLIDE_STORAGE = frozenset(("1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.5.1.4.1.1.77.1.9"))
"""VL Whole Slide Microscopy, Confocal Microscopy Tiled Pyramidal."""
NAMES = {
    "VOLUME": "level", "LABEL": "label", "OVERVIEW": "overview", "LOCALIZER": "overview",
    "THUMBNAIL": "thumbnail",
}  # fmt: skip
"""Node of the tree by value 3 of Image Type (0008,0008), C.8.12.4.1.1; LOCALIZER is the retired name."""
BLACK = 0

type Image = str | Path | InstanceRecord
"""A file of a slide, or its record in the catalog."""


def open_slide(images: Image | Iterable[Image]) -> xr.DataTree:
    """Open the images of one slide lazily, as a tree: `slide["level/0/image"]` is the finest level.

    The nodes are `level/0`, `level/1` ... from the largest to the smallest image of the pyramid, and `label`,
    `overview` and `thumbnail` where there are some (`label_1` is a second one). Each has one variable,
    `image`, of dimensions (optical_path, focal_plane, y, x, channel): the first two only where there are
    several, the last for colour, which is RGB. Its chunks are the tiles of the file, those at the far edges
    cut to the total pixel matrix. Values are stored values; a tile that is not in the file (TILED_SPARSE)
    has the attribute `background`.

    Coordinates `y` and `x` are in mm of the slide coordinate system, measured along columns and rows: the
    same part of any level is `image.sel(y=slice(top, bottom), x=slice(left, right))`. `x_slide_mm` and
    `y_slide_mm` are X and Y of that system, `focal_plane` is its z in mm. Where a file does not say where it
    lies, `reason` says what is missing, and mm count from the corner of the matrix.

    Attributes name the instances, frame of reference and container, the ICC profile, the objective, the count
    of tiles and of absent ones; `affine_slide` (3 × 3) leads from (column, row, 1) to X, Y, 1. Those of the
    root tell in `left_out` which images could not be opened and why.

    Parameters
    ----------
    images
        Files, or records of the catalog, of one slide, in any order.

    Raises
    ------
    HeaderError, DecodeError, GeometryError
        If no image can be opened. When computed, a `DecodeError` if a tile cannot be read.
    """
    opened, left_out = _opened([images] if isinstance(images, str | Path | InstanceRecord) else images)
    nodes: dict[str, xr.Dataset] = {}
    for level, members in _levels(opened):
        try:
            with named(members[0].found.instance.path):
                image = _image(level, members)
        except (HeaderError, DecodeError, GeometryError) as error:
            left_out.append(error)
            continue
        nodes[_free_name(NAMES[level.tilings[0].flavor], nodes)] = xr.Dataset({"image": image})
    if not nodes:
        raise _nothing(left_out)
    tree: xr.DataTree = xr.DataTree.from_dict(nodes, name="slide")
    tree.attrs = _attributes_of_all(tree, left_out)
    return tree


# --- files to images -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Opened:
    found: DicomObject
    tiling: Tiling


def _opened(images: Iterable[Image]) -> tuple[list[_Opened], list[WorkbenchError]]:
    """Images by their SOP Instance UID, and why others are none."""
    opened: dict[str, _Opened] = {}
    left_out: list[WorkbenchError] = []
    for each in images:
        path = each.path if isinstance(each, InstanceRecord) else each
        try:
            with named(path):
                found = _object(each)
                PixelDescription.of(found.instance)
                tiling = tiling_of(found.ds, found.instance)
                if tiling.flavor not in NAMES:
                    raise HeaderError(
                        f"is {tiling.flavor[:16]!r} by value 3 of Image Type (0008,0008), "
                        f"none of {', '.join(NAMES)}"
                    )
            opened.setdefault(found.instance.sop_instance_uid, _Opened(found, tiling))
        except (HeaderError, DecodeError, GeometryError) as error:
            left_out.append(error)
    return list(opened.values()), left_out


def _object(image: Image) -> DicomObject:
    if not isinstance(image, InstanceRecord):
        return open_object(image, SLIDE_STORAGE, "an image of a slide")
    if image.sop_class_uid not in SLIDE_STORAGE:
        raise HeaderError("is no image of a slide")
    return DicomObject(read_dataset(image.path), image)


def _levels(opened: Sequence[_Opened]) -> Iterator[tuple[Level, list[_Opened]]]:
    """Instances that are one image together, from the largest image to the smallest."""
    levels: list[tuple[Level, list[_Opened]]] = []
    for each in sorted(opened, key=_order):
        for number, (level, members) in enumerate(levels):
            if _is_alike(members[0], each) and level.takes(each.tiling):
                levels[number] = (
                    Level(level.raster, (*level.tilings, each.tiling)),
                    [*members, each],
                )
                break
        else:
            levels.append((Level(each.tiling.raster, (each.tiling,)), [each]))
    yield from levels


def _order(each: _Opened) -> tuple[Any, ...]:
    tiling, instance = each.tiling, each.found.instance
    pixels = tiling.raster.rows * tiling.raster.columns
    return -pixels, tiling.first_frame, instance.instance_number or 0, instance.sop_instance_uid


def _is_alike(one: _Opened, other: _Opened) -> bool:
    descriptions = [PixelDescription.of(each.found.instance) for each in (one, other)]
    kinds = {(each.shape, each.dtype, each.samples) for each in descriptions}
    return len(kinds) == 1 and one.tiling.flavor == other.tiling.flavor


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    if name == "level":
        return f"level/{sum(each.startswith('level/') for each in taken)}"
    count = sum(each.split("_")[0] == name for each in taken)
    return f"{name}_{count}" if count else name


def _nothing(left_out: Sequence[WorkbenchError]) -> WorkbenchError:
    if not left_out:
        return HeaderError("no images: a slide is opened by its files or records")
    if len(left_out) == 1:
        return left_out[0]
    return type(left_out[0])(f"{left_out[0]}; and {len(left_out) - 1:,} other images cannot be opened either")


# --- one image -------------------------------------------------------------------------------------------


def _image(level: Level, members: Sequence[_Opened]) -> xr.DataArray:
    description = PixelDescription.of(members[0].found.instance)
    absent = int(np.count_nonzero(level.index < 0))
    background, why = _background(members[0].found, description) if absent else (BLACK, "")
    tiles = _Tiles([each.found.instance for each in members], level, description, background)
    lazy: da.Array = da.from_array(  # type: ignore[no-untyped-call]  # dask leaves it untyped
        tiles,
        chunks=tiles.chunks,
        name=f"slide-{_digest(members)[:32]}",
        meta=np.empty((0,) * tiles.ndim, tiles.dtype),
        fancy=False,
    )
    attributes = _attributes(level, members) | {
        "tiles": level.index.size - absent,
        "absent_tiles": absent,
        "background": background if absent else None,
        "background_source": why,
    }
    return xr.DataArray(
        lazy,
        dims=(*_leading(level), "y", "x", "channel")[: tiles.ndim],
        coords=_coordinates(level, description),
        attrs={name: value for name, value in attributes.items() if value not in (None, "", [])},
        name="image",
    )


def _digest(members: Sequence[_Opened]) -> str:
    return digest_of_texts(
        text for each in members for text in (each.found.instance.path, each.found.instance.header_digest)
    )


def _leading(level: Level) -> tuple[str, ...]:
    counts = {"optical_path": len(level.optical_paths), "focal_plane": len(level.heights_mm)}
    return tuple(name for name, count in counts.items() if count > 1)


def _coordinates(level: Level, description: PixelDescription) -> dict[str, Any]:
    coordinates = level.raster.coordinates()
    if description.samples == 3:
        coordinates["channel"] = ["red", "green", "blue"]
    paths, leading = level.optical_paths, _leading(level)
    if "optical_path" in leading:
        identifiers = [path.identifier for path in paths]
        is_unique = len(set(identifiers)) == len(paths)
        coordinates["optical_path"] = (
            identifiers if is_unique else [f"{path.identifier} {path.description}".strip() for path in paths]
        )
        coordinates["optical_path_description"] = ("optical_path", [path.description for path in paths])
        lengths = [path.illumination_wave_length_nm for path in paths]
        if any(lengths):
            values = np.array([np.nan if each is None else each for each in lengths])
            coordinates["illumination_wave_length"] = ("optical_path", values, {"units": "nm"})
    if "focal_plane" in leading and None not in level.heights_mm:
        coordinates["focal_plane"] = ("focal_plane", list(level.heights_mm), {"units": "mm"})
    return coordinates


def _attributes(level: Level, members: Sequence[_Opened]) -> dict[str, Any]:
    first = members[0].found
    powers = {path.objective_lens_power for path in level.optical_paths}
    affine = level.raster.affine_slide
    attributes = first.attributes() | {
        "kind": "slide",
        "flavor": level.tilings[0].flavor,
        "sop_instance_uids": [each.found.instance.sop_instance_uid for each in members],
        "container_identifier": str(first.ds.get("ContainerIdentifier") or ""),
        "pyramid_uid": str(first.ds.get("PyramidUID") or ""),
        "icc_profile": _icc_description(first),
        "objective_lens_power": powers.pop() if len(powers) == 1 else None,
        "affine_slide": None if affine is None else affine.tolist(),
        "reason": level.raster.reason,
        "input_digest": _digest(members),
    }
    attributes.pop("object_sop_instance_uid", None)
    return attributes


def _attributes_of_all(tree: xr.DataTree, left_out: Sequence[WorkbenchError]) -> dict[str, Any]:
    """What all images agree in, and what could not be opened."""
    images = [node["image"].attrs for node in tree.subtree if "image" in node]
    attributes: dict[str, Any] = {"kind": "slide"}
    for name in ("modality", "series_instance_uid", "study_instance_uid", "container_identifier"):
        values = {str(each.get(name, "")) for each in images}
        if len(values) == 1 and values != {""}:
            attributes[name] = values.pop()
    if left_out:
        attributes["left_out"] = [str(error) for error in left_out]
    return attributes


# --- values ----------------------------------------------------------------------------------------------


class _Files:
    """The frames of some instances, opened when they are first read; shared by threads, not by processes."""

    def __init__(self, instances: Sequence[InstanceRecord]) -> None:
        self._instances = tuple(instances)
        self._opened: dict[int, Frames] = {}
        self._lock = Lock()
        stack = self._stack = ExitStack()
        weakref.finalize(self, stack.close)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Files, (self._instances,)

    def load(self, number: int, frame: int, out: Stored) -> None:
        """Fill `out` with a frame of an instance; raises `DecodeError`, which names the file."""
        try:
            with self._lock:
                if number not in self._opened:
                    frames = self._stack.enter_context(open_frames(self._instances[number]))
                    self._opened[number] = frames
            self._opened[number].load(frame, out)
        except DecodeError as error:
            path = self._instances[number].path
            raise type(error)(f"{path}, tile {frame + 1}: {error}") from None


class _Tiles:
    """Stored values of a total pixel matrix, decoded tile by tile when indexed."""

    def __init__(
        self,
        instances: Sequence[InstanceRecord],
        level: Level,
        description: PixelDescription,
        background: int | tuple[int, ...],
    ) -> None:
        self._files, self._description, self._background = _Files(instances), description, background
        self._firsts = np.cumsum([0, *(each.tiles for each in level.tilings)])[:-1]
        """Number of the first frame of each instance."""
        counts = level.index.shape[:2]
        self._index = level.index.reshape(*(count for count in counts if count > 1), *level.raster.tiles)
        size = (level.raster.rows, level.raster.columns)
        self.shape = (*self._index.shape[:-2], *size, *description.shape[2:])
        self.ndim, self.dtype = len(self.shape), np.dtype(description.dtype)

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """Sizes along each dimension: a tile each."""
        leading = len(self._index.shape) - 2
        tile = (self._description.rows, self._description.columns)
        edges = (
            tuple(min(step, size - start) for start in range(0, size, step))
            for size, step in zip(self.shape[leading : leading + 2], tile, strict=True)
        )
        return (
            *((1,) * count for count in self.shape[:leading]),
            *edges,
            *((count,) for count in self.shape[leading + 2 :]),
        )

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        keys += (slice(None),) * (self.ndim - len(keys))
        leading = self._index.ndim - 2
        planes = self._index[keys[:leading]]
        top, bottom, rows = _span(keys[leading], self.shape[leading])
        left, right, columns = _span(keys[leading + 1], self.shape[leading + 1])
        size = (bottom - top, right - left)
        region = np.empty((*planes.shape[:-2], *size, *self._description.shape[2:]), self.dtype)
        region[...] = self._background
        for plane in np.ndindex(planes.shape[:-2]):
            self._fill(region[plane], planes[plane], top, left)
        values: npt.NDArray[Any] = region[(..., rows, columns, *keys[leading + 2 :])]
        return values

    def _fill(self, region: npt.NDArray[Any], index: npt.NDArray[np.intp], top: int, left: int) -> None:
        """Put the tiles that a part of a plane crosses into it."""
        height, width = self._description.rows, self._description.columns
        tile = np.empty(self._description.shape, self.dtype)
        bottom, right = top + region.shape[0], left + region.shape[1]
        for row in range(top // height, -(-bottom // height)):
            for column in range(left // width, -(-right // width)):
                frame = int(index[row, column])
                if frame < 0:
                    continue
                number = int(np.searchsorted(self._firsts, frame, side="right")) - 1
                self._files.load(number, frame - int(self._firsts[number]), tile)
                into, out_of = zip(
                    _common(row * height, height, top, bottom),
                    _common(column * width, width, left, right),
                    strict=True,
                )
                region[into] = tile[out_of]


def _span(key: int | slice, size: int) -> tuple[int, int, int | slice]:
    """First index, the one after the last, and what to take of those between."""
    picked: int | range = range(size)[key]
    if isinstance(picked, int):
        return picked, picked + 1, 0
    if not picked:
        return 0, 0, slice(None)
    return min(picked), max(picked) + 1, slice(None, None, picked.step)


def _common(start: int, count: int, first: int, stop: int) -> tuple[slice, slice]:
    """What a tile and a part of the matrix share: counted from the part's start, and from the tile's."""
    a, b = max(start, first), min(start + count, stop)
    return slice(a - first, b - first), slice(a - start, b - start)


# --- colour ----------------------------------------------------------------------------------------------


def _background(found: DicomObject, description: PixelDescription) -> tuple[int | tuple[int, ...], str]:
    """The value of tiles that are not there, and where it comes from."""
    if description.samples == 1:
        return BLACK, "black, as nothing is said of absent tiles"
    recommended = found.ds.get("RecommendedAbsentPixelCIELabValue")
    if recommended is None or len(recommended) != 3 or description.dtype != "|u1":
        return int(np.iinfo(description.dtype).max), "white, as nothing is said of absent tiles"
    from highdicom.color import CIELabColor

    colour = CIELabColor.from_dicom_value(tuple(int(each) for each in recommended)).to_rgb()
    return colour, "Recommended Absent Pixel CIELab Value (0048,0015)"


def _icc_description(found: DicomObject) -> str:
    """What the ICC profile calls itself; empty where there is none or it cannot be read."""
    profile = icc_profile(found.ds)
    if profile is None:
        return ""
    try:
        return str(ImageCms.ImageCmsProfile(BytesIO(profile)).profile.profile_description or "").strip()
    except OSError:
        return "cannot be read"
