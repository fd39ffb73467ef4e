"""Parametric maps: real world values on the grid of their planes (PS3.3 A.75, C.7.6.16.2.11)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from pydicom import Dataset

from catalog.errors import HeaderError
from pipelines.decoding.pixels import PixelDescription
from pipelines.objects.file import DicomObject, frames_array, named, numbers, open_object, place_frames

PARAMETRIC_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.30"


def read_parametric_map(path: str | Path) -> xr.DataArray:
    """Open a parametric map lazily: real world values, stored value × slope + intercept.

    Shape (z, y, x), or (map, z, y, x) where several maps lie in one plane, told apart by the LUT Label and
    the quantity of their mapping. Float pixel data stay float32 or float64; integers become float32, or
    float64 where 32 bits are stored. Planes that the object leaves out are NaN. Where frames form no regular
    grid, `frame` stands for z and the attribute `reason` says why.

    Units are the UCUM code of Measurement Units (0040,08EA): an attribute, or a coordinate along `map` where
    they differ. A mapping's range of stored values (First and Last Value Mapped) is not applied. Of several
    mappings of a frame the first counts.

    Raises
    ------
    HeaderError
        If the file is no parametric map, maps its values by a table or not at all, or contradicts itself.
    DecodeError
        If its pixel data are cut or of another kind than its header says.
    """
    with named(path):
        return _read(open_object(path, (PARAMETRIC_MAP_STORAGE,), "a Parametric Map"))


@dataclass(frozen=True, slots=True)
class RealWorldValueMapping:
    """How stored values of a frame become real world values (PS3.3 table C.7.6.16-12b)."""

    label: str
    """LUT Label (0040,9210)."""
    quantity: str
    """Meaning of the Quantity Definition (0040,9220), empty where there is none."""
    units: str
    """UCUM code, such as `mm2/s`; `1` has no unit."""
    slope: float
    intercept: float


def _read(found: DicomObject) -> xr.DataArray:
    mappings = [_mapping(found, index) for index in range(found.frames)]
    kinds = list(dict.fromkeys((each.label, each.quantity, each.units) for each in mappings))
    rows = [kinds.index((each.label, each.quantity, each.units)) for each in mappings]
    place = place_frames(found, [(index,) for index in range(found.frames)])
    shape = (len(kinds), place.shape[0])
    frame_index = np.full(shape, -1, np.intp)
    slopes, intercepts = np.ones(shape), np.zeros(shape)
    for index, at in enumerate(zip(rows, place.planes, strict=True)):
        if frame_index[at] >= 0:
            raise HeaderError(f"frames {frame_index[at] + 1} and {index + 1} are of one plane and one map")
        frame_index[at] = index
        slopes[at], intercepts[at] = mappings[index].slope, mappings[index].intercept
    identity = bool(np.all(slopes == 1) and np.all(intercepts == 0))
    values = frames_array(
        found.instance,
        frame_index,
        _dtype(found),
        rescale=None if identity else (slopes, intercepts),
        absent=np.nan,
    )
    array = xr.DataArray(values, dims=("map", *place.dims), coords=place.coordinates(), name="parametric_map")
    return _named_maps(array.assign_attrs(found.attributes() | place.attributes()), kinds)


def _named_maps(array: xr.DataArray, kinds: Sequence[tuple[str, str, str]]) -> xr.DataArray:
    labels, quantities, units = ([kind[column] for kind in kinds] for column in range(3))
    if len(kinds) == 1:
        said = {"label": labels[0], "quantity": quantities[0], "units": units[0]}
        return array.isel(map=0).assign_attrs({name: text for name, text in said.items() if text})
    array = array.assign_coords(map=labels, quantity=("map", quantities))
    if len(set(units)) == 1:
        return array.assign_attrs(units=units[0])
    return array.assign_coords(units=("map", units))


def _dtype(found: DicomObject) -> type[np.floating]:
    stored = np.dtype(PixelDescription.of(found.instance).dtype)
    return np.float32 if stored.itemsize < 4 or stored == np.float32 else np.float64


def _mapping(found: DicomObject, frame_index: int) -> RealWorldValueMapping:
    item = found.group(frame_index, "RealWorldValueMappingSequence")
    if item is None:
        raise HeaderError(f"frame {frame_index + 1} has no Real World Value Mapping Sequence (0040,9096)")
    slope, intercept = numbers(item.get("RealWorldValueSlope")), numbers(item.get("RealWorldValueIntercept"))
    if len(slope) != 1 or len(intercept) != 1:
        raise HeaderError(
            f"frame {frame_index + 1} has no Real World Value Slope and Intercept; tables are not applied"
        )
    return RealWorldValueMapping(
        str(item.get("LUTLabel") or ""), _quantity(item), _units(item), slope[0], intercept[0]
    )


def _units(item: Dataset) -> str:
    codes = item.get("MeasurementUnitsCodeSequence") or ()
    if not codes:
        raise HeaderError("has values without Measurement Units Code Sequence (0040,08EA)")
    return str(codes[0].get("CodeValue") or "")


def _quantity(item: Dataset) -> str:
    """Meaning of the coded value of the quantity (PS3.3 table 10-25)."""
    for content in item.get("QuantityDefinitionSequence") or ():
        for code in (content.get("ConceptCodeSequence") or ())[:1]:
            return str(code.get("CodeMeaning") or "")
    return ""
