"""What a step returned, made into outputs: a mask into SEG, SR and an array, numbers into rows."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from catalog.errors import EncodeError, StepError
from catalog.records import OutputRecord
from pipelines import measure
from pipelines.blocks import planes_of
from pipelines.runs.derived import write_derived

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from pipelines.encode.algorithm import Algorithm

type Rows = tuple[Mapping[str, Any], ...]

MAX_SEGMENTS = 255
"""Labels of one mask; an integer array with more is an image, not a mask."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one result."""

    outputs: tuple[OutputRecord, ...] = ()
    rows: Rows = ()
    remark: str = ""
    """Why a mask has no SEG and SR, in words."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the outputs of one series go, and in whose name."""

    folder: Path
    series_instance_uid: str
    algorithm: "Algorithm"
    read_sources: Callable[[], "Sequence[Dataset]"]
    """Reads the headers of the source instances; called only when an object is encoded."""

    def output(self, kind: str, path: Path, digest: str, sop_instance_uid: str | None = None) -> OutputRecord:
        """Record of one output."""
        return OutputRecord(
            kind, str(path), digest, self.series_instance_uid, self.algorithm.run, sop_instance_uid
        )


def make(result: Any, volume: xr.DataArray, destination: Destination) -> Made:
    """Write what a step returned and return the records of it.

    Parameters
    ----------
    result
        A boolean or integer `DataArray` of the volume's shape: a mask, which becomes a Zarr array, a
        Segmentation, a TID 1500 report and rows. A floating-point `DataArray`: a Zarr array. A number, a
        mapping of numbers, a list of mappings or a DataFrame: rows.
    volume
        What the step was applied to.

    Raises
    ------
    StepError
        If the result is none of these.
    """
    if isinstance(result, xr.DataArray) and result.ndim:
        if result.dtype.kind in "bui":
            return _make_mask(result, volume, destination)
        if result.dtype.kind == "f":
            path = destination.folder / "array.zarr"
            return Made((destination.output("array", path, write_derived(result, path)),))
    return Made(rows=rows_of(result, destination.algorithm.name))


# --- rows ------------------------------------------------------------------------------------------------


def rows_of(result: Any, name: str) -> Rows:
    """Rows with `name`, `value` and `unit` from numbers; further columns of tables are kept.

    A value that is no number (NaN, infinite) becomes `None`.

    Raises
    ------
    StepError
        If the result holds no measurements.
    """
    if isinstance(result, pd.DataFrame):
        result = result.to_dict("records")
    if isinstance(result, Mapping):
        result = [{"name": str(key), "value": value, "unit": ""} for key, value in result.items()]
    if isinstance(result, list | tuple) and all(isinstance(row, Mapping) for row in result):
        return tuple({str(key): _plain(value) for key, value in row.items()} for row in result)
    if result is not None and np.ndim(result) == 0:
        return ({"name": name, "value": _plain(result), "unit": ""},)
    raise StepError(
        f"{name} returned a {type(result).__name__}; a step returns a mask or image as DataArray, "
        "a number, a mapping of numbers, a list of rows, or a DataFrame"
    )


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise StepError(f"a measurement is a number or a text, not a {type(value).__name__}")


# --- masks -----------------------------------------------------------------------------------------------


def _make_mask(result: xr.DataArray, volume: xr.DataArray, destination: Destination) -> Made:
    if result.dims != volume.dims or result.shape != volume.shape:
        raise StepError(
            f"the mask has dimensions {dict(result.sizes)}, its volume {dict(volume.sizes)}; "
            "a mask lies on the volume's own grid"
        )
    labels = np.zeros(volume.shape, result.dtype)
    moments = measure.moments_by_label(_filling(labels, volume, result))
    if len(moments) > MAX_SEGMENTS:
        raise StepError(
            f"the result has {len(moments)} different integers, a mask at most {MAX_SEGMENTS} labels; "
            "return an image as floating point"
        )
    mask = xr.DataArray(
        labels, dims=volume.dims, coords=volume.coords, name=result.name or "mask",
        attrs={**volume.attrs, **result.attrs},
    )  # fmt: skip
    path = destination.folder / "mask.zarr"
    array = destination.output("array", path, write_derived(_rechunked(mask, volume), path))
    rows = _mask_rows(moments, volume)
    if not moments:
        return Made((array,), rows, "the mask is empty: there is no segment to encode")
    sources = destination.read_sources()
    try:
        objects, rows = _encode(mask, rows, sources, destination)
    except EncodeError as error:
        return Made((array,), rows, f"no SEG and SR: {error}")
    return Made((array, *objects), rows)


def _filling(
    labels: npt.NDArray[Any], volume: xr.DataArray, mask: xr.DataArray
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    start = 0
    for values, computed in planes_of(volume, mask):
        labels[start : start + len(computed)] = computed
        start += len(computed)
        yield values, computed


def _rechunked(mask: xr.DataArray, volume: xr.DataArray) -> xr.DataArray:
    return mask.chunk(volume.chunksizes) if volume.chunks else mask


def _mask_rows(moments: Mapping[int, measure.Moments], volume: xr.DataArray) -> Rows:
    unit, affine = str(volume.attrs.get("units") or "1"), volume.attrs.get("affine_lps")
    regions = moments or {1: measure.Moments()}
    return tuple(
        {"segment": number, **row}
        for number, region in enumerate(regions.values(), start=1)
        for row in measure.rows(region, unit=unit, affine_lps=affine)
    )


def _encode(
    mask: xr.DataArray, rows: Rows, sources: "Sequence[Dataset]", destination: Destination
) -> tuple[tuple[OutputRecord, ...], Rows]:
    # highdicom takes a while to import; a step that returns numbers does not pay for it
    from pipelines.encode.part10 import write_object
    from pipelines.encode.report import report
    from pipelines.encode.segmentation import segmentation

    seg = segmentation(mask, sources, algorithm=destination.algorithm)
    sr = report(seg, sources, rows, algorithm=destination.algorithm)
    names = {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in seg.SegmentSequence}
    outputs = []
    for kind, ds in (("SEG", seg), ("SR", sr)):
        path = destination.folder / f"{kind.lower()}.dcm"
        outputs.append(destination.output(kind, path, write_object(ds, path), str(ds.SOPInstanceUID)))
    return tuple(outputs), tuple({**row, "label": names[row["segment"]]} for row in rows)
