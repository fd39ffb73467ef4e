"""Planes of arrays, fast: blocks of planes are read once and kept, as many as fit into bounded memory."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr

from catalog.records import ArrayRecord
from pipelines.blocks import HERE
from pipelines.presentation.scene import Scene, check_index, scene_of
from pipelines.volumes import open_array
from workbench.server.coarse import coarse
from workbench.server.opened import Opened

KEPT_BYTES = 512 << 20
"""Of planes that are kept."""
KEPT_ARRAYS = 32
"""Arrays that stay open."""
LARGEST_BLOCK = 32 << 20
"""Bytes of planes that are read at once: a frame of a mammogram is a block of its own."""

type Block = npt.NDArray[Any]


class Planes:
    """Reads planes of arrays by any number of threads.

    Parameters
    ----------
    record_of
        Finds the record of an array by its key; may raise `catalog.errors.NotFoundError`.
    """

    def __init__(self, record_of: Callable[[str], ArrayRecord]) -> None:
        self._record_of = record_of
        self._opened = Opened(self._open, KEPT_ARRAYS)
        self._blocks: OrderedDict[tuple[str, tuple[int, ...]], Block] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()
        self._reading: dict[tuple[str, tuple[int, ...]], Lock] = {}

    def plane(self, key: str, index: Sequence[int], step: int = 1) -> bytes:
        """Return the bytes of one plane as `pipelines.presentation.scene.plane_bytes` does.

        Parameters
        ----------
        step
            Beyond 1, those of its coarse picture (`workbench.server.coarse`).

        Raises
        ------
        catalog.errors.WorkbenchError
            If the array cannot be found or read, or has no such plane.
        """
        array, scene = self._opened(key)
        check_index(scene, index)
        *before, number = index
        depth = _depth(array, scene)
        place = key, (*before, number // depth)
        with self._lock:
            reading = self._reading.setdefault(place, Lock())
        with reading:  # who comes second finds what the first has read
            block = self._kept(place)
            if block is None:
                block = _read(array, scene, before, number // depth * depth, depth)
                self._keep(place, block)
        with self._lock:
            self._reading.pop(place, None)
        plane = block[number % depth]
        return (plane if step == 1 else coarse(plane, step)).tobytes()

    def _open(self, key: str) -> tuple[xr.DataArray, Scene]:
        array = open_array(self._record_of(key))
        return array, scene_of(array)

    def _kept(self, place: tuple[str, tuple[int, ...]]) -> Block | None:
        with self._lock:
            block = self._blocks.get(place)
            if block is not None:
                self._blocks.move_to_end(place)
            return block

    def _keep(self, place: tuple[str, tuple[int, ...]], block: Block) -> None:
        with self._lock:
            self._blocks[place] = block
            self._bytes += block.nbytes
            while self._bytes > KEPT_BYTES and len(self._blocks) > 1:
                self._bytes -= self._blocks.popitem(last=False)[1].nbytes


def _depth(array: xr.DataArray, scene: Scene) -> int:
    """How many planes are read at once: those of a chunk, where they are not too many bytes."""
    name = scene.axes[-1].name
    chunks = array.chunksizes.get(name) if array.chunks else None
    plane = scene.rows * scene.columns * scene.samples * np.dtype(scene.dtype).itemsize
    return max(1, min(chunks[0] if chunks else 1, LARGEST_BLOCK // max(plane, 1)))


def _read(array: xr.DataArray, scene: Scene, before: Sequence[int], first: int, depth: int) -> Block:
    where: dict[str, Any] = {
        each.name: at for each, at in zip(scene.axes, before, strict=False) if each.name in array.dims
    }
    last = scene.axes[-1].name
    chosen = array.isel(where)
    if last in array.dims:
        chosen = chosen.isel({last: slice(first, first + depth)}).transpose(last, "y", "x", ...)
    else:
        chosen = chosen.expand_dims(last).transpose(last, "y", "x", ...)
    with dask.config.set(scheduler=HERE):
        values = chosen.to_numpy()
    return np.ascontiguousarray(values, np.dtype(scene.dtype).newbyteorder("<"))
