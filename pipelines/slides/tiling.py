"""Which frame of a slide image is the tile at which place (PS3.3 C.7.6.17, C.8.12); no I/O.

A tile is a frame. Its place is (optical path, focal plane, tile row, tile column); tiles of the last row and
column reach beyond the total pixel matrix and are cut to it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from catalog.errors import GeometryError, HeaderError
from catalog.records import InstanceRecord
from pipelines.slides.pixel_matrix import FARTHEST_MM, PixelMatrix, first_group, numbers, pixel_matrix

MOST_TILES = 1 << 22
"""Places of tiles in an image; a slide of 300,000 × 200,000 pixels in tiles of 256 has 917,000."""


@dataclass(frozen=True, slots=True)
class OpticalPath:
    """How the light of an image came to the detector (PS3.3 C.8.12.5)."""

    identifier: str = ""
    description: str = ""
    """In words, or what its channel or the colour of its light is called."""
    illumination_wave_length_nm: float | None = None
    objective_lens_power: float | None = None


type Plane = tuple[OpticalPath, float | None]
"""An optical path and the z of a focal plane, mm above the slide; `None` where no file says it."""
type Index = npt.NDArray[np.intp]
"""Shape (planes, tile rows, tile columns): the frame at each place from 0, -1 where there is none."""


@dataclass(frozen=True)
class Tiling:
    """What one instance says of its tiles."""

    flavor: str
    """Value 3 of Image Type (0008,0008): VOLUME, LABEL, OVERVIEW, THUMBNAIL."""
    matrix: PixelMatrix
    planes: tuple[Plane, ...]
    index: Index
    is_full: bool
    """Whether every place of its planes has a tile (TILED_FULL), here or in another part of the image."""
    belongs_to: tuple[str, ...]
    """Frame of reference, container and pyramid."""
    concatenation_uid: str
    """Of which it is a part (0020,9161); empty if it is a whole."""
    first_frame: int
    """In its concatenation, from 0."""

    @property
    def tiles(self) -> int:
        """Count of its tiles."""
        return int(np.count_nonzero(self.index >= 0))


def tiling_of(ds: Dataset, instance: InstanceRecord) -> Tiling:
    """Read where the tiles of an instance lie.

    Raises
    ------
    HeaderError
        If the header contradicts itself, or promises more than a slide can have.
    GeometryError
        If the tiles do not lie on a grid.
    """
    matrix, is_sparse = pixel_matrix(ds, instance), _is_sparse(ds)
    planes, index = (_sparse if is_sparse else _full)(ds, instance, matrix)
    uids = (ds.get(keyword) for keyword in ("FrameOfReferenceUID", "ContainerIdentifier", "PyramidUID"))
    return Tiling(
        flavor=_flavor(ds),
        matrix=matrix,
        planes=planes,
        index=index,
        is_full=not is_sparse,
        belongs_to=tuple(str(each or "") for each in uids),
        concatenation_uid=str(ds.get("ConcatenationUID") or ""),
        first_frame=_first_frame(ds),
    )


def _flavor(ds: Dataset) -> str:
    values = ds.get("ImageType") or ()
    words = [values] if isinstance(values, str) else list(values)
    return str(words[2]) if len(words) > 2 else ""


# --- the tiles -------------------------------------------------------------------------------------------


def _is_sparse(ds: Dataset) -> bool:
    said = str(ds.get("DimensionOrganizationType") or "")
    if said in ("TILED_FULL", "TILED_SPARSE"):
        return said == "TILED_SPARSE"
    return first_group(ds, "PlanePositionSlideSequence") is not None


def _full(ds: Dataset, instance: InstanceRecord, matrix: PixelMatrix) -> tuple[tuple[Plane, ...], Index]:
    """Tiles of a row, rows of a plane, focal planes, optical paths, in this order (C.7.6.17.3)."""
    paths = _optical_paths(ds, instance)
    paths = paths[
        : int(ds.get("NumberOfOpticalPaths") or 0) or None
    ]  # it may describe more than it has tiles of
    focal_planes = max(int(ds.get("TotalPixelMatrixFocalPlanes") or 1), 1)
    needed = len(paths) * focal_planes * math.prod(matrix.tiles)
    frames, first = instance.number_of_frames or 1, _first_frame(ds)
    fits = 0 <= first <= needed - frames if ds.get("ConcatenationUID") else frames == needed
    if needed > MOST_TILES or not fits:
        raise HeaderError(
            f"has {frames:,} tiles from {first:,} on, a total pixel matrix of {matrix.rows:,} x "
            f"{matrix.columns:,} in {len(paths)} optical paths and {focal_planes:,} focal planes "
            f"needs {needed:,}"
        )
    index = np.full(needed, -1, np.intp)
    index[first : first + frames] = np.arange(frames)
    heights = _heights_mm(ds, focal_planes)
    planes = tuple((path, height) for path in paths for height in heights)
    return planes, index.reshape(len(planes), *matrix.tiles)


def _first_frame(ds: Dataset) -> int:
    is_part = bool(ds.get("ConcatenationUID"))
    return int(ds.get("ConcatenationFrameOffsetNumber") or 0) if is_part else 0


def _heights_mm(ds: Dataset, count: int) -> tuple[float | None, ...]:
    """Z of the focal planes, from the slide to the cover slip."""
    measures = first_group(ds, "PixelMeasuresSequence")
    spacing = numbers(measures.get("SpacingBetweenSlices")) if measures is not None else ()
    items = ds.get("TotalPixelMatrixOriginSequence") or ()
    start = numbers(items[0].get("ZOffsetInSlideCoordinateSystem")) if items else ()
    if count > 1 and not (spacing and 0 < spacing[0] < FARTHEST_MM):
        raise HeaderError(f"has {count:,} focal planes and no usable Spacing Between Slices (0018,0088)")
    if count == 1 and not start:
        return (None,)
    bottom = _millimetres(start[0]) if start else 0.0
    return tuple(round(bottom + number * (spacing[0] if count > 1 else 0.0), 6) for number in range(count))


def _from_slide_up(height_mm: float | None) -> float:
    return -math.inf if height_mm is None else height_mm


def _millimetres(micrometres: float) -> float:
    """Z Offset in Slide Coordinate System (0040,074A) is in micrometres; to a nanometre."""
    if not abs(micrometres) <= 1000 * FARTHEST_MM:
        raise HeaderError("has a Z Offset in Slide Coordinate System (0040,074A) beyond any slide")
    return round(micrometres / 1000, 6)


def _sparse(ds: Dataset, instance: InstanceRecord, matrix: PixelMatrix) -> tuple[tuple[Plane, ...], Index]:
    """Tiles where Plane Position (Slide) says (C.8.12.6.1)."""
    frames, groups = instance.number_of_frames or 1, ds.get("PerFrameFunctionalGroupsSequence") or ()
    if len(groups) != frames:
        raise HeaderError(f"has {frames:,} frames and functional groups for {len(groups):,}")
    paths = {path.identifier: path for path in _optical_paths(ds, instance)}
    found = [_place(groups[number], ds, paths, matrix) for number in range(frames)]
    order = {path: number for number, path in enumerate(paths.values())}
    planes = sorted(
        {plane for plane, _, _ in found}, key=lambda each: (order[each[0]], _from_slide_up(each[1]))
    )
    if len(planes) * math.prod(matrix.tiles) > MOST_TILES:
        raise HeaderError(
            f"has a total pixel matrix of {matrix.rows:,} x {matrix.columns:,} in {len(planes):,} planes: "
            f"more than {MOST_TILES:,} places of tiles"
        )
    ordinal = {plane: number for number, plane in enumerate(planes)}
    index = np.full((len(planes), *matrix.tiles), -1, np.intp)
    for frame, (plane, row, column) in enumerate(found):
        if index[ordinal[plane], row, column] >= 0:
            raise GeometryError("has two tiles at one place of the total pixel matrix")
        index[ordinal[plane], row, column] = frame
    return tuple(planes), index


def _place(
    groups: Dataset, ds: Dataset, paths: Mapping[str, OpticalPath], matrix: PixelMatrix
) -> tuple[Plane, int, int]:
    """Plane, row and column of a tile."""
    position = _item(groups, ds, "PlanePositionSlideSequence")
    row, column = (
        int(position.get(f"{axis}PositionInTotalImagePixelMatrix") or 0) - 1 for axis in ("Row", "Column")
    )
    if not (0 <= row < matrix.rows and 0 <= column < matrix.columns):
        raise GeometryError(f"has a tile at row {row + 1:,}, column {column + 1:,}, outside of its matrix")
    if row % matrix.tile_rows or column % matrix.tile_columns:
        raise GeometryError(
            f"has a tile at row {row + 1:,}, column {column + 1:,}: tiles of {matrix.tile_rows} x "
            f"{matrix.tile_columns} that do not lie on a grid cannot be opened lazily"
        )
    height = numbers(position.get("ZOffsetInSlideCoordinateSystem"))
    said = str(_item(groups, ds, "OpticalPathIdentificationSequence").get("OpticalPathIdentifier") or "")
    path = paths.get(said) if said or len(paths) > 1 else next(iter(paths.values()))
    if path is None:
        raise HeaderError(f"has a tile of an optical path {said[:16]!r} that it does not describe")
    return (
        (path, _millimetres(height[0]) if height else None),
        row // matrix.tile_rows,
        column // matrix.tile_columns,
    )


def _optical_paths(ds: Dataset, instance: InstanceRecord) -> tuple[OpticalPath, ...]:
    found = tuple(_optical_path(item) for item in ds.get("OpticalPathSequence") or ())
    count = int(ds.get("NumberOfOpticalPaths") or 0)
    if not found and count > 1:
        if count > (instance.number_of_frames or 1):
            raise HeaderError(f"has {count:,} optical paths and {instance.number_of_frames or 1:,} tiles")
        return tuple(OpticalPath(str(number)) for number in range(1, count + 1))
    if len({path.identifier for path in found}) < len(found):
        raise HeaderError("has two optical paths of one Optical Path Identifier (0048,0106)")
    return found or (OpticalPath(),)


def _optical_path(item: Dataset) -> OpticalPath:
    codes = [
        code.get("CodeMeaning")
        for keyword in ("ChannelDescriptionCodeSequence", "IlluminationColorCodeSequence")
        for code in (item.get(keyword) or ())[:1]
    ]
    described = [item.get("OpticalPathDescription"), *codes]
    return OpticalPath(
        str(item.get("OpticalPathIdentifier") or ""),
        next((str(each) for each in described if each), ""),
        next(iter(numbers(item.get("IlluminationWaveLength"))), None),
        next(iter(numbers(item.get("ObjectiveLensPower"))), None),
    )


# --- images of one level ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Level:
    """Tiles of one or more instances that are one image: parts of a concatenation, its planes, its paths."""

    matrix: PixelMatrix
    tilings: tuple[Tiling, ...]

    @property
    def optical_paths(self) -> tuple[OpticalPath, ...]:
        """In the order of the instances."""
        return tuple(dict.fromkeys(path for each in self.tilings for path, _ in each.planes))

    @property
    def heights_mm(self) -> tuple[float | None, ...]:
        """Z of the focal planes, from the slide up."""
        heights = {height for each in self.tilings for _, height in each.planes}
        return tuple(sorted(heights, key=_from_slide_up))

    @cached_property
    def index(self) -> Index:
        """Shape (optical paths, focal planes, tile rows, tile columns): frame over all instances, or -1.

        Frames count on from one instance to the next.

        Raises
        ------
        HeaderError
            If tiles that must be there are not: a part of a concatenation is missing.
        """
        paths, heights = self.optical_paths, self.heights_mm
        index = np.full((len(paths), len(heights), *self.matrix.tiles), -1, np.intp)
        must = np.zeros(index.shape, bool)
        first = 0
        for each in self.tilings:
            for (path, height), tiles in zip(each.planes, each.index, strict=True):
                place = paths.index(path), heights.index(height)
                index[place] = np.where(tiles >= 0, tiles + first, index[place])
                must[place] |= each.is_full
            first += each.tiles
        missing = int(np.count_nonzero(must & (index < 0)))
        if missing:
            raise HeaderError(f"lacks {missing:,} tiles: a part of its concatenation is not there")
        return index

    def takes(self, other: Tiling) -> bool:
        """Whether another instance has further planes of this image, or a part of its concatenation."""
        same = self.matrix == other.matrix and self.tilings[0].belongs_to == other.belongs_to
        return same and not any(_overlap(each, other) for each in self.tilings)


def _overlap(one: Tiling, other: Tiling) -> bool:
    """Whether both have a tile at one place, or a plane between them that they do not share lawfully."""
    is_shared = bool(one.concatenation_uid) and one.concatenation_uid == other.concatenation_uid
    places = dict(zip(one.planes, one.index, strict=True))
    return any(
        not is_shared or bool(np.any((places[plane] >= 0) & (tiles >= 0)))
        for plane, tiles in zip(other.planes, other.index, strict=True)
        if plane in places
    )


def _item(groups: Dataset, ds: Dataset, keyword: str) -> Dataset:
    own = groups.get(keyword)
    if own:
        item: Dataset = own[0]
        return item
    shared = ds.get("SharedFunctionalGroupsSequence") or ()
    items = shared[0].get(keyword) if shared else None
    return items[0] if items else Dataset()
