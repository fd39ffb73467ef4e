"""Tables that an array is opened through: palettes and modality LUTs, plane by plane and lazily; no I/O."""

from collections.abc import Callable, Sequence
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from catalog.errors import DecodeError
from pipelines.presentation.colour import modality_lut_of, palette_of
from pipelines.store.dicom_json import Described

type Table = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

PALETTE, MODALITY_LUT = "palette", "modality LUT"
_PHOTOMETRIC_INTERPRETATION, _MODALITY_LUT_SEQUENCE, _MODALITY_LUT_TYPE = "00280004", "00283000", "00283004"
_OF_PALETTE = frozenset(f"0028{number}" for number in (1101, 1102, 1103, 1201, 1202, 1203, 1221, 1222, 1223))


def lookup_of(described: Described) -> str:
    """Name the kind of table that stored values go through; empty where there is none."""
    photometric = described.shared.get(_PHOTOMETRIC_INTERPRETATION, {}).get("Value", [])
    if photometric == ["PALETTE COLOR"]:
        return PALETTE
    is_there = _MODALITY_LUT_SEQUENCE in described.shared or _MODALITY_LUT_SEQUENCE in described.columns
    return MODALITY_LUT if is_there else ""


def lut_units(described: Described) -> str:
    """Return Modality LUT Type (0028,3004): `HU`, `OD`; empty where it is unspecified or there is no LUT."""
    items = described.shared.get(_MODALITY_LUT_SEQUENCE, {}).get("Value", [])
    units = items[0].get(_MODALITY_LUT_TYPE, {}).get("Value", [""])[0] if items else ""
    return "" if units in (None, "US") else str(units)


def looked_up(stored: da.Array, lookup: str, described: Described, planes: tuple[int, ...]) -> da.Array:
    """Put stored values through their tables, lazily.

    Parameters
    ----------
    stored
        Shape (planes, rows, columns), or with leading axes.
    lookup
        `PALETTE`, which gives 8 bits of red, green and blue along a new last axis, or `MODALITY_LUT`, which
        gives modality values as float32.
    planes
        Shape of the axes before rows and columns.

    Raises
    ------
    DecodeError
        If a table is absent or contradicts itself.
    """
    tags = _OF_PALETTE if lookup == PALETTE else frozenset({_MODALITY_LUT_SEQUENCE})
    numbers, first = groups_of(described, tags)
    tables = [_table(described.dataset(plane), lookup) for plane in first]
    dtype = np.uint8 if lookup == PALETTE else np.float32
    new = {"new_axis": stored.ndim, "chunks": (*stored.chunks, 3)} if lookup == PALETTE else {}
    if len(tables) == 1:
        return _mapped(tables[0], stored, dtype=dtype, **new)
    of_plane = da.from_array(  # type: ignore[no-untyped-call]  # dask leaves it untyped
        numbers.reshape(*planes, 1, 1), chunks=(*stored.chunks[: len(planes)], 1, 1)
    )
    return _mapped(_each, stored, of_plane, dtype=dtype, tables=tables, **new)


def groups_of(described: Described, tags: frozenset[str]) -> tuple[npt.NDArray[np.intp], list[int]]:
    """Number planes by what they have of some attributes; also return the first plane of each number."""
    columns = [column.planes for tag, column in described.columns.items() if tag in tags]
    if not columns:
        return np.zeros(described.planes, np.intp), [0]
    keys: dict[tuple[int, ...], int] = {}
    first: list[int] = []
    numbers = []
    for plane, key in enumerate(zip(*columns, strict=True)):
        if key not in keys:
            keys[key] = len(keys)
            first.append(plane)
        numbers.append(keys[key])
    return np.array(numbers, np.intp), first


def _table(ds: Dataset, lookup: str) -> Table:
    try:
        return palette_of(ds).eight_bits().apply if lookup == PALETTE else modality_lut_of(ds).apply
    except DecodeError as error:
        raise DecodeError(f"{error}; the stored values can be opened without it") from None


def _mapped(function: Callable[..., Any], *arrays: da.Array, **options: Any) -> da.Array:
    mapped: da.Array = da.map_blocks(  # type: ignore[no-untyped-call]  # dask leaves it untyped
        function, *arrays, meta=np.empty((0,) * 0, options["dtype"]), **options
    )
    return mapped


def _each(
    stored: npt.NDArray[Any], numbers: npt.NDArray[np.intp], *, tables: Sequence[Table]
) -> npt.NDArray[Any]:
    """Put each plane of a block through its own table."""
    of_plane = numbers[..., 0, 0]
    groups = {number: tables[number](stored[of_plane == number]) for number in np.unique(of_plane).tolist()}
    sample = next(iter(groups.values()))
    out = np.empty((*of_plane.shape, *sample.shape[1:]), sample.dtype)
    for number, values in groups.items():
        out[of_plane == number] = values
    return out
