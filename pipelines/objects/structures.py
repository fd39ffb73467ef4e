"""RT Structure Sets: contours as polygons in the patient, as masks on request (PS3.3 A.19, C.8.8.5)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydicom import Dataset
from pydicom.dataelem import RawDataElement

from catalog.errors import GeometryError, HeaderError, NotFoundError, StepError
from pipelines.geometry import FARTHEST_MM, Vector
from pipelines.objects.file import named, numbers, open_object

RT_STRUCTURE_SET_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"

CLOSED = frozenset(("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"))
"""Contour Geometric Types (3006,0042) that have an inside."""
PLANE_TOLERANCE = 0.2
"""How far a contour may lie from the plane it is drawn into, as a part of the slice distance."""
CROSSINGS_AT_ONCE = 1 << 22
"""Crossings of edges and rows that are held at one time."""


@dataclass(frozen=True, slots=True)
class Contour:
    """One contour of a region of interest (PS3.3 C.8.8.6)."""

    geometric_type: str
    """`POINT`, `OPEN_PLANAR`, `OPEN_NONPLANAR`, `CLOSED_PLANAR` or `CLOSEDPLANAR_XOR`."""
    points_lps_mm: Vector
    """Shape (points, 3); the last is not the first again."""
    source_sop_instance_uids: tuple[str, ...]
    """The images it was drawn on; often one."""


@dataclass(frozen=True, slots=True)
class Structure:
    """One region of interest."""

    number: int
    """ROI Number (3006,0022)."""
    name: str
    """ROI Name (3006,0026)."""
    colour: tuple[int, int, int] | None
    """ROI Display Color (3006,002A): red, green, blue, 0 to 255."""
    contours: tuple[Contour, ...]
    frame_of_reference_uid: str | None
    generation_algorithm: str
    """`AUTOMATIC`, `SEMIAUTOMATIC`, `MANUAL` or empty (3006,0036)."""
    interpreted_type: str
    """RT ROI Interpreted Type (3006,00A4), such as `ORGAN` or `PTV`; empty where it is not said."""
    description: str = ""
    """ROI Description (3006,0028)."""


@dataclass(frozen=True, slots=True)
class StructureSet:
    """All regions of interest of one object, in their order."""

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    label: str
    structures: tuple[Structure, ...]

    def __getitem__(self, name: str) -> Structure:
        """The one region of a name.

        Raises
        ------
        NotFoundError
            If there is none, or several.
        """
        found = [each for each in self.structures if each.name == name]
        if len(found) != 1:
            raise NotFoundError(
                f"{len(found)} structures have that name; there are {len(self.structures)} in all"
            )
        return found[0]


def read_structures(path: str | Path) -> StructureSet:
    """Read a structure set: names, numbers, colours and contours; regions without contours are kept.

    Raises
    ------
    HeaderError
        If the file is no RT Structure Set, or the points of a contour are not threes of numbers.
    """
    with named(path):
        found = open_object(path, (RT_STRUCTURE_SET_STORAGE,), "an RT Structure Set")
        return StructureSet(
            found.instance.sop_instance_uid,
            found.instance.series_instance_uid,
            found.instance.study_instance_uid,
            str(found.ds.get("StructureSetLabel") or ""),
            tuple(structures_of(found.ds)),
        )


# --- reading ---------------------------------------------------------------------------------------------


def structures_of(ds: Dataset) -> Iterator[Structure]:
    """Yield the regions of a structure set; errors as `read_structures`."""
    drawn = _by_number(ds, "ROIContourSequence")
    observed = _by_number(ds, "RTROIObservationsSequence")
    for item in ds.get("StructureSetROISequence") or ():
        number = int(item.ROINumber)
        contours = drawn.get(number, Dataset())
        colour = tuple(int(each) for each in numbers(contours.get("ROIDisplayColor")))
        yield Structure(
            number,
            str(item.get("ROIName") or ""),
            (colour[0], colour[1], colour[2]) if len(colour) == 3 else None,
            tuple(
                _contour(each, f"contour {index} of ROI {number}")
                for index, each in enumerate(contours.get("ContourSequence") or (), start=1)
            ),
            str(item.get("ReferencedFrameOfReferenceUID") or "") or None,
            str(item.get("ROIGenerationAlgorithm") or ""),
            str(observed.get(number, Dataset()).get("RTROIInterpretedType") or ""),
            str(item.get("ROIDescription") or ""),
        )


def _by_number(ds: Dataset, keyword: str) -> Mapping[int, Dataset]:
    """Items of a sequence by Referenced ROI Number (3006,0084); the first of each."""
    items = [item for item in ds.get(keyword) or () if item.get("ReferencedROINumber") is not None]
    return {int(item.ReferencedROINumber): item for item in reversed(items)}


def _contour(item: Dataset, which: str) -> Contour:
    points = _points(item, which)
    images = item.get("ContourImageSequence") or ()
    uids = (str(image.get("ReferencedSOPInstanceUID") or "") for image in images)
    return Contour(str(item.get("ContourGeometricType") or ""), points, tuple(uid for uid in uids if uid))


def _points(item: Dataset, which: str) -> Vector:
    """Contour Data (3006,0050); from its bytes, as pydicom makes an object of every number."""
    element = item.get_item("ContourData") if "ContourData" in item else None
    value = element.value if element is not None else None
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        value = value.strip(b" \0").split(b"\\") if value.strip(b" \0") else []
    try:
        points = np.array(list(value or ()), np.float64).reshape(-1, 3)
    except ValueError:
        raise HeaderError(f"{which} has Contour Data (3006,0050) that are not threes of numbers") from None
    if points.size and not np.abs(points).max() <= FARTHEST_MM:
        raise HeaderError(f"{which} has points beyond a kilometre, or no numbers")
    return points


# --- masks -----------------------------------------------------------------------------------------------


def to_mask(structure: Structure, volume: xr.DataArray) -> xr.DataArray:
    """Draw the closed contours of a structure into the planes of a volume; boolean, shape (z, y, x).

    A voxel belongs to the region if its centre lies inside an odd number of the contours of its plane, so
    contours within contours are holes, as keyholes are (PS3.3 C.8.8.6.3: CLOSED_PLANAR has keyholes,
    CLOSEDPLANAR_XOR is combined by exclusive or). A centre on an edge belongs to the region on the side of
    the larger index alone, so regions that share an edge share no voxel. Contours are not spread between
    planes. Points and open contours have no inside and are left out; so are contours outside the volume.
    The attribute `contours_drawn` counts those that were drawn, `contours_outside` the others.

    Parameters
    ----------
    volume
        What has a place in the patient, as from `pipelines.volumes.open_array`; its values are not read.

    Raises
    ------
    GeometryError
        If the volume has no regular grid, or another frame of reference than the structure, or contours lie
        across its planes or between them.
    StepError
        If the volume has other dimensions than (z, y, x).
    """
    if volume.dims != ("z", "y", "x"):
        raise StepError(f"a mask is drawn on dimensions (z, y, x), not {volume.dims}")
    frames_of_reference = {structure.frame_of_reference_uid, volume.dicom.frame_of_reference_uid} - {None}
    if len(frames_of_reference) > 1:
        raise GeometryError(
            f"ROI {structure.number} lies in another frame of reference than array {volume.name!r}; "
            "register one to the other first"
        )
    closed = [
        each for each in structure.contours if each.geometric_type in CLOSED and len(each.points_lps_mm)
    ]
    polygons: dict[int, list[Vector]] = {}
    for contour in closed:
        index = volume.dicom.to_index(contour.points_lps_mm)
        polygons.setdefault(_plane(index[:, 2], structure.number), []).append(index[:, :2])
    values = np.zeros(volume.shape, np.bool_)
    drawn = 0
    for plane, drawings in polygons.items():
        if 0 <= plane < volume.shape[0]:
            values[plane] = inside(drawings, volume.shape[1], volume.shape[2])
            drawn += len(drawings)
    mask = volume.copy(data=values).rename("mask").drop_encoding()
    mask.attrs.pop("units", None)
    return mask.assign_attrs(
        label=structure.name,
        labels={1: structure.name},
        contours_drawn=drawn,
        contours_outside=len(closed) - drawn,
    )


def to_labels(structures: Iterable[Structure], volume: xr.DataArray) -> list[xr.DataArray]:
    """Draw structures as labels, from 1 in their order, into the planes of a volume; shape (z, y, x).

    Those that overlap lie in arrays of their own, as few as come of taking one after the other; what encloses
    nothing is left out. Attributes: `labels` and `colors` (red, green, blue) by number. Of the smallest
    unsigned type that has all of them. Errors as `to_mask`.
    """
    structures = tuple(structures)
    dtype = np.min_scalar_type(len(structures))
    layers: list[xr.DataArray] = []
    for number, structure in enumerate(structures, start=1):  # an ROI Number may be 0
        mask = to_mask(structure, volume)
        region = mask.values
        if not region.any():
            continue
        free = (each for each in layers if not each.values[region].any())
        layer = next(free, None)
        if layer is None:
            layer = mask.copy(data=np.zeros(mask.shape, dtype)).rename("regions")
            layer.attrs = {name: each for name, each in volume.attrs.items() if name != "units"}
            layer.attrs |= {"labels": {}, "colors": {}}
            layers.append(layer)
        layer.values[region] = number
        layer.attrs["labels"][number] = structure.name
        if structure.colour is not None:
            layer.attrs["colors"][number] = structure.colour
    return layers


def _plane(indices: Vector, number: int) -> int:
    """The plane of a contour, by the plane index of each of its points."""
    plane = int(np.rint(indices.mean()))
    beside = float(np.abs(indices - plane).max())
    if beside > PLANE_TOLERANCE:
        raise GeometryError(
            f"a contour of ROI {number} lies across or between the planes of the volume, {beside:.2f} of "
            "their distance from the nearest; draw it on the volume it was contoured on"
        )
    return plane


def inside(polygons: list[Vector], rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Whether pixel centres lie inside an odd number of closed polygons; shape (rows, columns).

    Parameters
    ----------
    polygons
        Each of shape (points, 2): column and row, with fractions; pixel centres are whole numbers.
    """
    start = np.concatenate(polygons)
    stop = np.concatenate([np.roll(each, -1, axis=0) for each in polygons])
    crossed = np.zeros((rows, columns + 1), np.uint8)
    # An edge crosses the rows from its upper end to before its lower one, so each vertex counts once.
    first, last = (
        np.clip(np.ceil(bound(start[:, 1], stop[:, 1])), 0, rows).astype(np.intp)
        for bound in (np.minimum, np.maximum)
    )
    for edges in _blocks(last - first):
        _cross(crossed, start[edges], stop[edges], first[edges], last[edges])
    return np.bitwise_xor.accumulate(crossed, axis=1)[:, :columns].astype(np.bool_)


def _blocks(counts: npt.NDArray[np.intp]) -> Iterator[slice]:
    """Slices of edges that together cross no more rows than may be held at one time."""
    total = np.cumsum(counts)
    bounds = np.searchsorted(total, np.arange(0, int(total[-1]) + CROSSINGS_AT_ONCE, CROSSINGS_AT_ONCE))
    edges = [0, *(int(each) for each in bounds[1:]), len(counts)]
    for begin, end in pairwise(edges):
        if end > begin:
            yield slice(begin, end)


def _cross(
    crossed: npt.NDArray[np.uint8],
    start: Vector,
    stop: Vector,
    first: npt.NDArray[np.intp],
    last: npt.NDArray[np.intp],
) -> None:
    """Flip, in each row that an edge crosses, the first pixel centre at or right of it."""
    counts = last - first
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    # From the upper to the lower end, whatever the edge's direction: shared edges round alike.
    down = (start[:, 1] <= stop[:, 1])[:, np.newaxis]
    upper, lower = np.where(down, start, stop)[edge], np.where(down, stop, start)[edge]
    part = (row - upper[:, 1]) / (lower[:, 1] - upper[:, 1])
    at = upper[:, 0] + part * (lower[:, 0] - upper[:, 0])
    width = crossed.shape[1]
    column = np.clip(np.ceil(at), 0, width - 1).astype(np.intp)
    flips = np.bincount(row * width + column, minlength=crossed.size).reshape(crossed.shape)
    crossed ^= (flips & 1).astype(np.uint8)
