"""Whole slides: each level of a pyramid as a lazy array, its chunks the tiles of the files (PS3.3 A.32.8).

Headers are read when a slide is opened, a tile when it is computed (`pipelines.slides.tiles`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from catalog.errors import DecodeError, GeometryError, HeaderError, WorkbenchError
from catalog.headers import read_dataset
from catalog.identifiers import digest_of_texts
from catalog.records import InstanceRecord
from pipelines.decoding.pixels import PixelDescription
from pipelines.kinds import BY_SOP_CLASS, SLIDE, STORAGE
from pipelines.objects.file import DicomObject, named, open_object
from pipelines.presentation.colour import icc_profile
from pipelines.presentation.icc import profile_description
from pipelines.slides.tiles import Tiles
from pipelines.slides.tiling import Level, Tiling, tiling_of

SLIDE_STORAGE = frozenset(STORAGE + each for each, kind in BY_SOP_CLASS.items() if kind is SLIDE)
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
    of tiles and of absent ones, and `pixel_spacing_mm` between rows and between columns; `affine_slide`
    (3 × 3) leads from (column, row, 1) to X, Y, 1. Those of the root tell in `left_out` which images could
    not be opened and why.

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
                    Level(level.matrix, (*level.tilings, each.tiling)),
                    [*members, each],
                )
                break
        else:
            levels.append((Level(each.tiling.matrix, (each.tiling,)), [each]))
    yield from levels


def _order(each: _Opened) -> tuple[Any, ...]:
    tiling, instance = each.tiling, each.found.instance
    pixels = tiling.matrix.rows * tiling.matrix.columns
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
    tiles = Tiles([each.found.instance for each in members], level, description, background)
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
    coordinates = level.matrix.coordinates()
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
    affine = level.matrix.affine_slide
    attributes = first.attributes() | {
        "kind": "slide",
        "flavor": level.tilings[0].flavor,
        "sop_instance_uids": [each.found.instance.sop_instance_uid for each in members],
        "container_identifier": str(first.ds.get("ContainerIdentifier") or ""),
        "pyramid_uid": str(first.ds.get("PyramidUID") or ""),
        "icc_profile": profile_description(icc_profile(first.ds) or b""),
        "objective_lens_power": powers.pop() if len(powers) == 1 else None,
        "pixel_spacing_mm": list(level.matrix.spacing_mm or ()),
        "affine_slide": None if affine is None else affine.tolist(),
        "reason": level.matrix.reason,
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
