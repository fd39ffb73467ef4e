"""The mask of one viewer: planes of labels that are painted in the browser, or set from Python; no widget."""

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from catalog.errors import QuestionError
from pipelines.presentation.scene import Scene, check_index
from pipelines.store.masks import Index, Plane, StoredPlanes

LARGEST_LABEL = (1 << 16) - 1
SEGMENTS_AT_MOST = 4096
_SHOWN = 255
"""The largest label that a browser tells apart; larger ones look like it there."""
_WORDS = 64
"""Characters of a segment's name (Segment Label (0062,0005))."""
COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167),
)  # fmt: skip
"""Of segments that have none of their own: red, green, blue; as `extensions/src/masks.ts` has them."""

type Segment = dict[str, Any]
"""`number`, `label`, and `color`: red, green and blue, 0 to 255."""


type Packed = dict[Index, bytes]
"""Planes that are kept to come back: labels of 16 bits, compressed; empty where there were none."""


class KernelPlanes(dict[Index, Plane]):
    """Planes that last as long as the kernel does, where an array is in no catalog."""

    def __init__(self) -> None:
        super().__init__()
        self.segments: list[Segment] = []


class Painting:
    """Labels of every voxel of an array, and what they mean.

    Several threads may use one: messages of the browser come beside cells that run.

    Parameters
    ----------
    array
        What is painted on; its grid is that of the mask.
    planes
        Where the planes are kept.
    """

    def __init__(self, array: xr.DataArray, scene: Scene, planes: StoredPlanes | KernelPlanes) -> None:
        if "channel" in array.dims:
            array = array.isel(channel=0, drop=True)
        self._grid = array.transpose(*(each.name for each in scene.axes if each.name in array.dims), "y", "x")
        self._scene, self._planes = scene, planes
        self._lock = RLock()

    @property
    def mask(self) -> xr.DataArray:
        """Labels on the grid of the array, 0 where there is none; `uint8` where they fit, else `uint16`."""
        with self._lock:
            found = {index: self._planes[index] for index in self._planes}
        most = max((int(plane.max()) for plane in found.values()), default=0)
        values = np.zeros((*self._scene.shape, *self._grid.shape[-2:]), np.uint8 if most < 256 else np.uint16)
        for index, plane in found.items():
            values[index] = plane
        mask = self._grid.copy(data=values.reshape(self._grid.shape)).rename("mask").drop_encoding()
        mask.attrs = {name: value for name, value in mask.attrs.items() if name != "units"}
        return mask.assign_attrs(labels={each["number"]: each["label"] for each in self.segments})

    @property
    def is_empty(self) -> bool:
        """Whether no voxel has a label."""
        return not len(self._planes)

    @property
    def segments(self) -> list[Segment]:
        """What the labels mean."""
        return list(self._planes.segments)

    @segments.setter
    def segments(self, wanted: Iterable[Mapping[str, Any]]) -> None:
        self._planes.segments = _segments(wanted)

    @property
    def colours(self) -> dict[int, tuple[int, int, int]]:
        """Colour of each label."""
        return {each["number"]: tuple(each["color"]) for each in self.segments}

    def replace(self, mask: xr.DataArray | npt.ArrayLike) -> Packed:
        """Have other labels in the place of those that are there; return the planes as they were before.

        Labels that have no segment get one, named by the attribute `labels` of the mask or by its name.

        Raises
        ------
        QuestionError
            If it has another shape or other coordinates than the array, or values that are no labels.
        """
        values = self._fitting(mask).reshape((*self._scene.shape, *self._grid.shape[-2:]))
        kept: Packed = {}
        with self._lock:
            there = set(self._planes)
            for index in np.ndindex(self._scene.shape):
                plane = values[index]
                before = self._planes[index] if index in there else None
                if before is None and not plane.any():
                    continue
                if before is not None and np.array_equal(before, plane):
                    continue
                self._put(index, plane.astype(np.uint16))
                kept[index] = _packed(before)
        self._name(mask, values)
        return kept

    def exchange(self, packed: Packed) -> Packed:
        """Put planes in the place of those that are there, which are returned."""
        found: Packed = {}
        with self._lock:
            for index, plane in packed.items():
                found[index] = _packed(self._planes.get(index))
                self._put(index, self._unpacked(plane))
        return found

    def paint(self, index: Index, shown: bytes) -> None:
        """Take a plane as the browser has it after a stroke: one byte a pixel, row by row.

        Raises
        ------
        QuestionError
            If there is no such plane, or it has another size.
        """
        check_index(self._scene, index)
        shape = self._grid.shape[-2:]
        if len(shown) not in (0, shape[0] * shape[1]):
            raise QuestionError(f"a plane has {shape[0] * shape[1]:,} bytes, one a pixel, not {len(shown):,}")
        plane = np.zeros(shape, np.uint16)
        if shown:
            plane += np.frombuffer(shown, np.uint8).reshape(shape)
        with self._lock:
            if index in self._planes:  # labels that a browser cannot tell apart stay what they were
                before = self._planes[index]
                plane = np.where(np.minimum(before, _SHOWN) == plane, before, plane)
            if index in self._planes or plane.any():
                self._put(index, plane)

    def shown(self, index: Index) -> bytes:
        """Return a plane as the browser takes it, one byte a pixel; none at all for one without labels.

        Raises
        ------
        QuestionError
            If there is no such plane.
        """
        check_index(self._scene, index)
        with self._lock:
            if index not in self._planes:
                return b""
            return np.minimum(self._planes[index], _SHOWN).astype(np.uint8).tobytes()

    def values(self, index: Index) -> npt.NDArray[Any]:
        """Values of the array on a plane, (rows, columns).

        Raises
        ------
        QuestionError
            If there is no such plane.
        """
        check_index(self._scene, index)
        named = zip((each.name for each in self._scene.axes), index, strict=True)
        return self._grid.isel({name: at for name, at in named if name in self._grid.dims}).to_numpy()

    def flags(self, number: int, leading: Index) -> dict[int, npt.NDArray[np.bool_]]:
        """Where a label is, on each plane of an index before the planes that has labels."""
        with self._lock:
            return {each[-1]: self._planes[each] == number for each in self._planes if each[:-1] == leading}

    def add(self, number: int, flags: Mapping[Index, npt.NDArray[np.bool_]]) -> dict[Index, int]:
        """Paint a label where flags are and nothing is yet; return how many voxels of each changed plane."""
        changed = {}
        with self._lock:
            there = set(self._planes)
            for index, wanted in flags.items():
                before = self._planes[index] if index in there else np.zeros(wanted.shape, np.uint16)
                free = wanted & (before == 0)
                if free.any():
                    self._put(index, np.where(free, np.uint16(number), before))
                    changed[index] = int(free.sum())
        if changed and all(each["number"] != number for each in self.segments):
            self.segments = [*self.segments, {"number": number}]
        return changed

    @property
    def indices(self) -> list[Index]:
        """Planes that have labels."""
        return list(self._planes)

    def _put(self, index: Index, plane: Plane) -> None:
        if plane.any():
            self._planes[index] = plane
        elif index in self._planes:
            del self._planes[index]

    def _unpacked(self, packed: bytes) -> Plane:
        shape = self._grid.shape[-2:]
        if not packed:
            return np.zeros(shape, np.uint16)
        return np.frombuffer(zlib.decompress(packed), np.uint16).reshape(shape)

    def _fitting(self, mask: xr.DataArray | npt.ArrayLike) -> npt.NDArray[Any]:
        grid = self._grid
        if isinstance(mask, xr.DataArray):
            if set(mask.dims) != set(grid.dims):
                raise QuestionError(f"a mask has the dimensions {grid.dims} of its array, not {mask.dims}")
            mask = mask.transpose(*grid.dims)
            for dim in grid.dims:
                if dim in mask.coords and dim in grid.coords and not _equal(mask[dim], grid[dim]):
                    raise QuestionError(f"the mask lies elsewhere along {dim} than its array; resample it")
        values = np.asarray(mask.data if isinstance(mask, xr.DataArray) else mask)
        if values.shape != grid.shape:
            raise QuestionError(f"a mask has the shape {grid.shape} of its array, not {values.shape}")
        if values.dtype.kind not in "bui":
            raise QuestionError(
                f"a mask is boolean or whole numbers, not {values.dtype}; round or compare it"
            )
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        if low < 0 or high > LARGEST_LABEL:
            raise QuestionError(f"labels go from 0 to {LARGEST_LABEL}, these from {low} to {high}")
        return values

    def _name(self, mask: xr.DataArray | npt.ArrayLike, values: npt.NDArray[Any]) -> None:
        """Give every label that occurs a segment."""
        name, names = "mask", {}
        if isinstance(mask, xr.DataArray):
            name, names = str(mask.name or "mask"), dict(mask.attrs.get("labels") or {})
        known = {each["number"]: each for each in self.segments}
        for label in np.unique(values).tolist():
            if label and (int(label) not in known or names.get(label)):
                said = names.get(label) or (name if values.dtype == np.bool_ else f"{name} {int(label)}")
                known[int(label)] = known.get(int(label), {}) | {"number": int(label), "label": str(said)}
        self.segments = [known[number] for number in sorted(known)]


def _packed(plane: Plane | None) -> bytes:
    return b"" if plane is None else zlib.compress(np.ascontiguousarray(plane, np.uint16), 1)


def _equal(one: xr.DataArray, other: xr.DataArray) -> bool:
    if one.dtype.kind in "fiu" and other.dtype.kind in "fiu":
        return bool(np.allclose(one.values, other.values, atol=1e-3))
    return bool(np.array_equal(one.values, other.values))


def _segments(wanted: Iterable[Mapping[str, Any]]) -> list[Segment]:
    """Segments as they are kept: each number once, a name, a colour."""
    found: dict[int, Segment] = {}
    for each in wanted:
        number = each.get("number")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= LARGEST_LABEL:
            raise QuestionError(f"a segment has a number from 1 to {LARGEST_LABEL}")
        label = str(each.get("label") or f"segment {number}")[:_WORDS]
        found[number] = {"number": number, "label": label, "color": _colour(each.get("color"), number)}
    if len(found) > SEGMENTS_AT_MOST:
        raise QuestionError(f"a mask has at most {SEGMENTS_AT_MOST:,} segments, not {len(found):,}")
    return [found[number] for number in sorted(found)]


def _colour(wanted: Any, number: int) -> list[int]:
    """Red, green and blue of a colour: three numbers, or `#rrggbb`; else the one of the number."""
    if isinstance(wanted, str) and re.fullmatch("#[0-9a-fA-F]{6}", wanted):
        return list(bytes.fromhex(wanted[1:]))
    if isinstance(wanted, Sequence) and not isinstance(wanted, str) and len(wanted) >= 3:
        numbers = [each for each in wanted[:3] if isinstance(each, int | float) and 0 <= each <= 255]
        if len(numbers) == 3:
            return [round(each) for each in numbers]
    return list(COLOURS[(number - 1) % len(COLOURS)])
