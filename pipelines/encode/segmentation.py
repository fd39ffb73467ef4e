"""Masks as Segmentation objects (PS3.3 A.51)."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from highdicom import Volume
from highdicom.color import CIELabColor
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from catalog.errors import EncodeError
from catalog.identifiers import new_uid
from pipelines.encode import algorithm as made_by
from pipelines.encode.algorithm import LABEL, Algorithm, Person, person_name, shortened
from pipelines.encode.sources import in_order, inheritable, name_set_aside, without_quotes
from pipelines.measure import labels_in

SERIES_NUMBER = 9001
"""Of the segmentations of a run; high, so that it stands after the acquired series."""

_GROUPS = "SharedFunctionalGroupsSequence"


@without_quotes()
def segmentation(
    mask: xr.DataArray,
    sources: Sequence[Dataset],
    *,
    algorithm: Algorithm | Person,
    labels: Mapping[int, str] | None = None,
    colours: Mapping[int, tuple[int, int, int]] | None = None,
    property_category: Code = codes.SCT.SpatialAndRelationalConcept,
    property_type: Code = codes.DCM.SelectedRegion,
) -> Dataset:
    """Encode a mask as a binary Segmentation in the study and frame of reference of its sources.

    Every source instance is referenced (PS3.3 C.8.20.2, C.7.6.16.2.6), planes without a voxel are left
    out, and the algorithm, its version, its parameters and the run are named (C.8.20.4, table 10-19), or the
    person who drew it. Segment Description (0062,0006) has the label that a segment was in the mask.
    The codes say no more than that a region was selected, unless the caller knows better.

    Parameters
    ----------
    mask
        Shape (z, y, x), boolean or integer labels (0 is background), with the coordinate
        `sop_instance_uid` on its first axis; where the source is one multi-frame instance, with
        the attribute `affine_lps` (4 × 4, from column, row and plane index to LPS mm).
    sources
        Headers of the source instances, in any order; their pixel data is not needed.
    labels
        Names of the labels (Segment Label (0062,0005)); else the attribute `labels` of the mask, else the
        mask's name and number. Segments are numbered from 1 in ascending order of the labels that occur.
    colours
        Of the labels: red, green, blue, 0 to 255 (Recommended Display CIELab Value (0062,000D)).
    property_category, property_type
        PS3.16 CID 7150 and CID 7151, of every segment.

    Raises
    ------
    EncodeError
        If the mask is empty, has another type or shape than a mask of these sources, or the sources
        cannot carry a segmentation.
    """
    values = np.asarray(mask.data)
    found = _labels_in(values)
    names = labels or mask.attrs.get("labels") or {}
    planes = [_placed_or_not(each) for each in inheritable(_planes(mask, sources))]
    patient_name = name_set_aside(planes[0])
    numbers = _renumbered(values, found)
    pixels = _placed(numbers, mask, planes[0]) if _is_multi_frame(planes) else _matched(numbers, mask, planes)
    segments = [
        _segment(number, str(names.get(label) or _name(mask, label, values)), algorithm, property_category,
                 property_type, (colours or {}).get(label))
        for number, label in enumerate(found, start=1)
    ]  # fmt: skip
    try:
        seg = Segmentation(
            source_images=planes,
            pixel_array=pixels,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=new_uid(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=new_uid(),
            instance_number=1,
            manufacturer=made_by.MANUFACTURER,
            manufacturer_model_name=made_by.MODEL,
            software_versions=made_by.software_version(),
            device_serial_number=made_by.DEVICE_UID,
            content_description=shortened(_made_in(algorithm)),
            content_creator_name=person_name(algorithm.name) if isinstance(algorithm, Person) else None,
            content_label="SEGMENTATION",
            series_description=algorithm.description,
            coding_schemes=made_by.coding_schemes(),
            specific_character_set="ISO_IR 192",
            omit_empty_frames=True,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise EncodeError(
            f"series {planes[0].SeriesInstanceUID} cannot carry a segmentation: {error}"
        ) from error
    ds = _detached(seg)
    ds.PatientName = patient_name
    for label, item in zip(found, ds.SegmentSequence, strict=True):
        item.SegmentDescription = f"{LABEL}{label}"
    _complete(ds, planes[0])
    return ds


def _complete(ds: Dataset, source: Dataset) -> None:
    """Add what a conformant object needs and highdicom takes from sources that lack it."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    if "PlaneOrientationSequence" not in shared:
        ds.PatientOrientation = source.get("PatientOrientation", "")  # type 2C without it (PS3.3 C.7.6.1)
    for measures in shared.get("PixelMeasuresSequence", ()):
        if "SliceThickness" not in measures and "SpacingBetweenSlices" in measures:
            measures.SliceThickness = measures.SpacingBetweenSlices  # a mask's voxel fills the distance


def _detached(seg: Segmentation) -> Dataset:
    """Return the plain data set; highdicom's object would keep a database connection open until collected."""
    plain = Dataset(seg)
    plain.file_meta, plain.preamble = seg.file_meta, seg.preamble
    seg._db_con.close()  # highdicom has no public way to close it
    return plain


def _labels_in(values: npt.NDArray[Any]) -> list[int]:
    if values.dtype.kind not in "bui":
        raise EncodeError(f"a mask is boolean or integer labels, this one is {values.dtype}")
    found = labels_in(values)
    if not found:
        raise EncodeError("the mask is empty: no voxel is set, so there is no segment to encode")
    if found[0] < 0:
        raise EncodeError(f"labels of a mask are positive, this one has {found[0]}")
    return found


def _renumbered(values: npt.NDArray[Any], found: list[int]) -> npt.NDArray[Any]:
    """Segment numbers from 1 without gaps, as a binary segmentation demands (PS3.3 C.8.20.2.4)."""
    if values.dtype == np.bool_:
        return values
    kind = np.dtype(np.uint8 if len(found) <= np.iinfo(np.uint8).max else np.uint16)
    numbers = np.searchsorted(np.array([0, *found], dtype=values.dtype), values)
    return numbers.astype(kind)


def _is_multi_frame(sources: Sequence[Dataset]) -> bool:
    if not sources:
        return False
    try:
        frames = int(sources[0].get("NumberOfFrames") or 1)
    except ValueError:  # an archive holds such; without a number it is one frame
        frames = 1
    return frames > 1 or _GROUPS in sources[0]


def _planes(mask: xr.DataArray, sources: Sequence[Dataset]) -> Sequence[Dataset]:
    """Sources in the order of the mask's planes; a multi-frame instance is all of them."""
    if not sources or _is_multi_frame(sources):
        return sources[:1]
    if "sop_instance_uid" not in mask.coords:
        raise EncodeError(
            "the mask has no coordinate sop_instance_uid; keep the coordinates of the volume it was made from"
        )
    return in_order(sources, [str(uid) for uid in np.atleast_1d(mask["sop_instance_uid"].values)])


def _matched(numbers: npt.NDArray[Any], mask: xr.DataArray, planes: list[Dataset]) -> npt.NDArray[Any]:
    """Check that there is one plane for each single-frame source, of its size."""
    expected = (len(planes), int(planes[0].Rows), int(planes[0].Columns))
    if numbers.shape != expected:
        raise EncodeError(f"the mask has shape {numbers.shape}, its sources have {expected}")
    _set_thickness(planes[0], mask)
    return numbers


def _placed(numbers: npt.NDArray[Any], mask: xr.DataArray, header: Dataset) -> Volume:
    """Place the mask in the patient by its affine; highdicom finds the frames it lies on."""
    affine = mask.attrs.get("affine_lps")
    if affine is None or "FrameOfReferenceUID" not in header or _GROUPS not in header:
        raise EncodeError(
            f"the frames of {header.SOPInstanceUID} form no volume in a frame of reference; "
            "a mask of them cannot be placed in the patient"
        )
    _share_groups(header)
    by_plane_row_column = np.asarray(affine, dtype=np.float64)[:, [2, 1, 0, 3]]
    return Volume(
        array=numbers,
        affine=by_plane_row_column,
        coordinate_system="PATIENT",
        frame_of_reference_uid=header.get("FrameOfReferenceUID"),
    )


def _share_groups(header: Dataset) -> None:
    """Put groups that are written per frame into the shared ones as well, where highdicom looks for them."""
    shared, first = header[_GROUPS].value[0], header.PerFrameFunctionalGroupsSequence[0]
    for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if keyword not in shared and keyword in first:
            setattr(shared, keyword, first[keyword].value)


def _placed_or_not(header: Dataset) -> Dataset:
    """Return a header without the frame of reference of an image that has no place in it, as a projection."""
    if "FrameOfReferenceUID" not in header or "ImagePositionPatient" in header or _GROUPS in header:
        return header
    unplaced = copy(header)
    del unplaced.FrameOfReferenceUID
    return unplaced


def _set_thickness(header: Dataset, mask: xr.DataArray) -> None:
    """Give planes of unknown thickness, which is type 2 in CT and MR, the distance between planes."""
    if "FrameOfReferenceUID" not in header or header.get("SliceThickness"):
        return
    affine = mask.attrs.get("affine_lps")
    if affine is None:
        raise EncodeError(
            f"instance {header.SOPInstanceUID} has no Slice Thickness (0018,0050), and its planes form no "
            "volume whose distance could stand for it"
        )
    header.SliceThickness = f"{np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, 2]):.6g}"


def _name(mask: xr.DataArray, label: int, values: npt.NDArray[Any]) -> str:
    name = str(mask.name or "mask")
    return name if values.dtype == np.bool_ else f"{name} {label}"


def _made_in(algorithm: Algorithm | Person) -> str:
    return f"run {algorithm.run}" if isinstance(algorithm, Algorithm) else "drawn by hand"


def _segment(
    number: int,
    label: str,
    algorithm: Algorithm | Person,
    category: Code,
    property_type: Code,
    colour: tuple[int, int, int] | None,
) -> SegmentDescription:
    by_algorithm = isinstance(algorithm, Algorithm)
    kinds = SegmentAlgorithmTypeValues
    return SegmentDescription(
        segment_number=number,
        segment_label=shortened(label),
        segmented_property_category=category,
        segmented_property_type=property_type,
        algorithm_type=kinds.AUTOMATIC if by_algorithm else kinds.MANUAL,
        algorithm_identification=algorithm.identification() if isinstance(algorithm, Algorithm) else None,
        tracking_uid=new_uid(),
        tracking_id=shortened(f"{label}, {_made_in(algorithm)}"),
        display_color=None if colour is None else CIELabColor.from_rgb(*colour),
    )
