"""Segmentation objects as masks and labels on the grid of their planes (PS3.3 A.51, C.8.20)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydicom import Dataset

from catalog.errors import HeaderError, StepError
from pipelines.axes.lattice import Lattice, Stack
from pipelines.decoding.pixels import PixelDescription
from pipelines.objects.file import DicomObject, frames_array, named, open_object, place_frames

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"

SEGMENTATIONS = (SEGMENTATION_STORAGE, LABEL_MAP_SEGMENTATION_STORAGE)

type Source = tuple[str, ...]
"""SOP Instance UID of a source image and, for a multi-frame one, its frame numbers."""


def read_segmentation(path: str | Path) -> xr.DataArray:
    """Open a Segmentation lazily (PS3.3 C.8.20.2).

    BINARY gives booleans and FRACTIONAL float32 from 0 to 1 (C.8.20.2.3), shape (segment, z, y, x): segments
    may overlap. LABELMAP gives the segment number of each voxel, shape (z, y, x). Planes that the object
    leaves out are empty; where its frames form no regular grid, `frame` stands for z and the attribute
    `reason` says why.

    Coordinates are `segment` (Segment Number), `segment_label`, z, y, x in mm as those of a volume,
    `has_frame` (segment, z), and `sop_instance_uid`: the source image of each plane, empty where there is not
    exactly one. Attributes are `segments` (label, codes and algorithm of each), `labels` (names by number),
    `segmentation_type`, `source_sop_instance_uids`, `affine_lps`, `frame_of_reference_uid` and UIDs.

    Raises
    ------
    HeaderError
        If the file is no Segmentation, or one of tiles of a slide, or contradicts itself.
    DecodeError
        If its pixel data are cut or of another kind than its header says.
    """
    with named(path):
        return _read(open_object(path, SEGMENTATIONS, "a Segmentation"))


def label_array(segmentation: xr.DataArray) -> xr.DataArray:
    """Turn segments that do not overlap into one array of segment numbers, shape (z, y, x), 0 elsewhere.

    A LABELMAP is returned as it is.

    Raises
    ------
    StepError
        If two segments share a voxel, or the segments are fractions.
    """
    if "segment" not in segmentation.dims:
        return segmentation
    if segmentation.dtype != bool:
        raise StepError(
            "fractional segments have no label; choose a threshold first, such as `fractions >= 0.5`"
        )
    numbers = [int(each) for each in np.atleast_1d(segmentation.coords["segment"].values)]
    kept = segmentation.isel(segment=0, drop=True)
    kept = kept.drop_vars([name for name in kept.coords if name == "has_frame"])
    labels = np.zeros(kept.shape, np.min_scalar_type(max(numbers)))
    for row, number in enumerate(numbers):
        planes = _planes_with_frames(segmentation, row)
        mask = np.asarray(segmentation.data[row, planes])
        there = labels[planes]
        shared = there[mask]
        if shared.any():
            others = sorted({int(each) for each in shared[shared > 0]})
            raise StepError(
                f"segment {number} shares {np.count_nonzero(shared):,} voxels with segment {others[0]}; "
                "overlapping segments stay an array with the axis segment"
            )
        there[mask] = number
    return kept.copy(data=labels).rename("labels")


def _planes_with_frames(segmentation: xr.DataArray, row: int) -> slice:
    if "has_frame" not in segmentation.coords:
        return slice(None)
    present = np.flatnonzero(segmentation.coords["has_frame"].values[row])
    return slice(int(present[0]), int(present[-1]) + 1) if present.size else slice(0, 0)


# --- reading ---------------------------------------------------------------------------------------------


def _read(found: DicomObject) -> xr.DataArray:
    ds = found.ds
    if "TotalPixelMatrixColumns" in ds:
        raise HeaderError("is a Segmentation of a slide in tiles; only planes in the patient can be laid out")
    kind = str(ds.get("SegmentationType") or "")
    if kind not in _VALUES:
        raise HeaderError(f"has Segmentation Type (0062,0001) {kind[:16]!r}, not one of {', '.join(_VALUES)}")
    segments = {_number(item): item for item in ds.get("SegmentSequence") or ()}
    if not segments:
        raise HeaderError("has no Segment Sequence (0062,0002)")
    sources = [_sources(found, index) for index in range(found.frames)]
    rows, keys = _rows(found, sources, list(segments), kind)
    place = place_frames(found, keys)
    frame_index = _frame_index(rows, place, 1 if kind == "LABELMAP" else len(segments))
    attributes = (
        found.attributes()
        | place.attributes()
        | {
            "segmentation_type": kind,
            "segments": {str(number): _described(item) for number, item in segments.items()},
            "labels": {number: str(item.get("SegmentLabel") or "") for number, item in segments.items()},
            "source_sop_instance_uids": _all_sources(ds, sources),
        }
    )
    array = _array(found, kind, frame_index, place, segments)
    return array.assign_coords(_source_coordinate(place, sources)).assign_attrs(attributes)


def _array(
    found: DicomObject,
    kind: str,
    frame_index: npt.NDArray[np.intp],
    place: Lattice | Stack,
    segments: Mapping[int, Dataset],
) -> xr.DataArray:
    if kind == "LABELMAP":
        dtype = np.dtype(PixelDescription.of(found.instance).dtype)
        if dtype.kind != "u":
            raise HeaderError(f"has labels of type {dtype}, not unsigned whole numbers")
        values = frames_array(found.instance, frame_index[0], dtype)
        return xr.DataArray(values, dims=place.dims, coords=place.coordinates(), name="labels")
    largest = int(found.ds.get("MaximumFractionalValue") or 0)
    if kind == "FRACTIONAL" and largest < 1:
        raise HeaderError("has no Maximum Fractional Value (0062,000E)")
    rescale = (1 / largest, 0.0) if kind == "FRACTIONAL" else None
    coordinates = place.coordinates() | {
        "segment": list(segments),
        "segment_label": ("segment", [str(item.get("SegmentLabel") or "") for item in segments.values()]),
        "has_frame": (("segment", place.dims[0]), frame_index >= 0),
    }
    return xr.DataArray(
        frames_array(found.instance, frame_index, _VALUES[kind], rescale=rescale),
        dims=("segment", *place.dims),
        coords=coordinates,
        name="segmentation",
    )


_VALUES: dict[str, Any] = {"BINARY": np.bool_, "FRACTIONAL": np.float32, "LABELMAP": np.uint16}


def _rows(
    found: DicomObject, sources: Sequence[tuple[Source, ...]], numbers: Sequence[int], kind: str
) -> tuple[list[int], list[tuple[Any, ...]]]:
    """For each frame the row of its segment, and what tells planes without positions apart."""
    if kind == "LABELMAP":
        return [0] * found.frames, list(enumerate(sources))
    row_of = {number: row for row, number in enumerate(numbers)}
    rows, keys, count = [], [], dict.fromkeys(numbers, 0)
    for index, source in enumerate(sources):
        item = found.group(index, "SegmentIdentificationSequence")
        number = _integer(item, "ReferencedSegmentNumber")
        if number not in row_of:
            raise HeaderError(f"frame {index + 1} is of segment {number}, which is not described")
        rows.append(row_of[number])
        count[number] += 1
        keys.append(source or (count[number],))
    return rows, keys


def _frame_index(rows: Sequence[int], place: Lattice | Stack, segments: int) -> npt.NDArray[np.intp]:
    frame_index = np.full((segments, place.shape[0]), -1, np.intp)
    for index, at in enumerate(zip(rows, place.planes, strict=True)):
        if frame_index[at] >= 0:
            raise HeaderError(
                f"frames {frame_index[at] + 1} and {index + 1} are of one segment and one plane"
            )
        frame_index[at] = index
    return frame_index


# --- what is said of segments and sources ----------------------------------------------------------------


def _number(item: Dataset) -> int:
    number = _integer(item, "SegmentNumber")
    if number < 0:
        raise HeaderError("has a segment without a Segment Number (0062,0004)")
    return number


def _integer(item: Dataset | None, keyword: str) -> int:
    value = None if item is None else item.get(keyword)
    return -1 if value is None else int(value)


def _described(item: Dataset) -> dict[str, Any]:
    """Label, codes and algorithm of a segment (PS3.3 C.8.20.4)."""
    found = {
        "label": item.get("SegmentLabel"),
        "description": item.get("SegmentDescription"),
        "category": _code(item, "SegmentedPropertyCategoryCodeSequence"),
        "type": _code(item, "SegmentedPropertyTypeCodeSequence"),
        "algorithm_type": item.get("SegmentAlgorithmType"),
        "algorithm_name": item.get("SegmentAlgorithmName"),
        "tracking_id": item.get("TrackingID"),
        "tracking_uid": item.get("TrackingUID"),
    }
    return {name: value if isinstance(value, dict) else str(value) for name, value in found.items() if value}


def _code(item: Dataset, keyword: str) -> dict[str, str]:
    for code in (item.get(keyword) or ())[:1]:
        value = code.get("CodeValue") or code.get("LongCodeValue") or code.get("URNCodeValue") or ""
        scheme, meaning = code.get("CodingSchemeDesignator") or "", code.get("CodeMeaning") or ""
        return {"value": str(value), "scheme": str(scheme), "meaning": str(meaning)}
    return {}


def _sources(found: DicomObject, frame_index: int) -> tuple[Source, ...]:
    """Source images of a frame (PS3.3 C.7.6.16.2.6)."""
    derivation = found.group(frame_index, "DerivationImageSequence")
    items = () if derivation is None else derivation.get("SourceImageSequence") or ()
    return tuple(
        (str(item.get("ReferencedSOPInstanceUID") or ""), str(item.get("ReferencedFrameNumber") or ""))
        for item in items
    )


def _all_sources(ds: Dataset, sources: Sequence[tuple[Source, ...]]) -> list[str]:
    """SOP Instance UIDs of all source images, each once."""
    series = ds.get("ReferencedSeriesSequence") or ()
    named_first = [
        str(item.get("ReferencedSOPInstanceUID") or "")
        for each in series
        for item in each.get("ReferencedInstanceSequence") or ()
    ]
    used = [uid for frame in sources for uid, _ in frame]
    return [uid for uid in dict.fromkeys((*named_first, *used)) if uid]


def _source_coordinate(place: Lattice | Stack, sources: Sequence[tuple[Source, ...]]) -> dict[str, Any]:
    of_plane: list[set[str]] = [set() for _ in range(place.shape[0])]
    for plane, source in zip(place.planes, sources, strict=True):
        of_plane[plane].update(uid for uid, _ in source)
    uids = [next(iter(each)) if len(each) == 1 else "" for each in of_plane]
    return {"sop_instance_uid": (place.dims[0], np.array(uids))} if any(uids) else {}
