"""Masks as they are painted: planes of labels in Zarr, each durable when it is written; one group a mask."""

import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog import durable
from catalog.errors import ArrayError
from pipelines.store.arrays import VALUES, create_values, open_planes, read, write_slab
from pipelines.store.layout import Painted
from pipelines.store.places import LocalPlace

DTYPE = "uint16"
SEGMENTS = "segments.json"
"""What the labels mean, beside the values."""
_LARGEST = 16 << 20
"""Bytes of that file that are read."""

type Plane = npt.NDArray[np.uint16]
type Index = tuple[int, ...]


class StoredPlanes(MutableMapping[Index, Plane]):
    """Planes of labels by their index along the axes before rows and columns; empty ones are absent.

    Parameters
    ----------
    group
        Folder of the Zarr group, made with the first plane.
    shape
        Of the mask.
    dims
        Names of its dimensions.

    Raises
    ------
    ArrayError
        If what is there is damaged, or of another shape.
    """

    def __init__(self, group: Path, shape: Sequence[int], dims: Sequence[str]) -> None:
        self._group, self._layout, self._dims = group, Painted(tuple(shape)), tuple(dims)
        self._values: Any = None
        if (group / VALUES).is_dir():
            self._open()

    def __getitem__(self, index: Index) -> Plane:
        if index not in self:
            raise KeyError(index)
        return np.asarray(read(self._group, self._values, self._layout.slab(index).index), np.uint16)

    def __setitem__(self, index: Index, plane: Plane) -> None:
        if self._values is None:
            self._make()
        write_slab(self._group, self._values, self._layout.slab(index), plane.astype(np.uint16, copy=False))

    def __delitem__(self, index: Index) -> None:
        if index not in self:
            raise KeyError(index)
        self[index] = np.zeros(self._layout.shape[-2:], np.uint16)

    def __contains__(self, index: object) -> bool:
        return self._values is not None and isinstance(index, tuple) and self._file(index).is_file()

    def __iter__(self) -> Iterator[Index]:
        folder = self._group / VALUES / "c"
        depth = len(self._layout.shape)
        for path in sorted(folder.glob("/".join("*" * depth)), key=_numbers):
            numbers = _numbers(path, depth)
            if len(numbers) == depth:  # not what a kernel that was killed has left beside a plane
                yield numbers[:-2]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def segments(self) -> list[dict[str, Any]]:
        """What the labels mean: `number`, `label`, `color` of each."""
        try:
            with (self._group / SEGMENTS).open("rb") as file:
                found = json.loads(file.read(_LARGEST))
            return [dict(each) for each in found]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError):
            raise ArrayError(f"{self._group / SEGMENTS} is damaged; put back a copy, or remove it") from None

    @segments.setter
    def segments(self, wanted: Sequence[Mapping[str, Any]]) -> None:
        durable.write(self._group / SEGMENTS, json.dumps([dict(each) for each in wanted]).encode())

    def _file(self, index: Index) -> Path:
        return self._group.joinpath(VALUES, "c", *map(str, (*index, 0, 0)))

    def _make(self) -> None:
        """Make the array, unless another kernel has done so."""
        with LocalPlace(self._group).alone():
            if not (self._group / VALUES).is_dir():
                with LocalPlace(self._group).staged(VALUES) as staged:
                    create_values(staged.place.path, self._layout, DTYPE, self._dims)
                    (staged.place.path / VALUES).rename(made := staged.place.path.with_name("made"))
                    durable.publish(made, self._group / VALUES)
        self._open()

    def _open(self) -> None:
        try:
            values = open_planes(self._group)
        except (OSError, ArrayError):
            raise
        except Exception as error:  # zarr stumbles over whatever else may stand in metadata
            raise ArrayError(
                f"{self._group}/{VALUES} cannot be opened ({type(error).__name__}); put back a copy, or "
                "remove it"
            ) from None
        if tuple(values.shape) != self._layout.shape:
            raise ArrayError(f"the mask {self._group} has shape {values.shape}, not {self._layout.shape}")
        self._values = values


def _numbers(path: Path, depth: int = 8) -> Index:
    return tuple(int(each) for each in path.parts[-depth:] if each.isdecimal())
