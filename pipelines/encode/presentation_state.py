"""Marks on images, and a window, as Grayscale Softcopy Presentation States (PS3.3 A.33.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import ModalityLUTTransformation, PresentationLUTTransformation
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextObject,
)
from pydicom.dataset import Dataset

from catalog.errors import EncodeError
from catalog.identifiers import new_uid
from pipelines.encode import algorithm as made_by
from pipelines.encode.algorithm import shortened
from pipelines.encode.sources import inheritable, name_set_aside, without_quotes
from pipelines.presentation.appearance import Appearance, corners

SERIES_NUMBER = 9004
"""Of presentation states."""
AS_IT_CAME = Appearance()

_TEXT_LENGTH = 1024  # of an ST value (PS3.5 table 6.2-1)
_LABEL_LENGTH = 16  # of Content Label (0070,0080), a code string


@dataclass(frozen=True, slots=True)
class Mark:
    """One graphic on one image (PS3.3 C.10.5), with or without words beside it."""

    sop_instance_uid: str
    """Of the image it lies on."""
    points: tuple[tuple[float, float], ...]
    """Column and row of each point; the first pixel goes from 0, 0 to 1, 1 (PS3.3 C.10.5)."""
    graphic_type: str = "POLYLINE"
    """`POINT`, `POLYLINE`, `INTERPOLATED`, `CIRCLE` or `ELLIPSE` (Graphic Type (0070,0023))."""
    text: str = ""
    """Unformatted Text Value (0070,0006), at the first point."""
    layer: str = "MARKS"
    """Graphic Layer (0070,0002), a code string."""
    tracking_uid: str = ""
    """Tracking UID (0062,0021) of what it is of; several graphics may be of one."""
    frame_numbers: tuple[int, ...] = ()
    """Of a multi-frame image, those it lies on; empty for all."""


@without_quotes()
def presentation_state(
    sources: Sequence[Dataset],
    marks: Sequence[Mark],
    *,
    label: str = "MARKS",
    description: str = "",
    appearance: Appearance = AS_IT_CAME,
    creator: str = "",
) -> Dataset:
    """Encode marks on images of one series, and how these are shown, as a presentation state of the images.

    Every layer that a mark names is there, in the order in which the marks name them (PS3.3 C.10.7).

    Parameters
    ----------
    sources
        Headers of the images that the state is about, of one series.
    label
        Content Label (0070,0080), upper case.
    appearance
        Window in modality values (PS3.3 C.11.2.1.2), shades, and how the whole images are turned and flipped;
        a part or a shutter of them is not encoded.
    creator
        Content Creator's Name (0070,0084).

    Raises
    ------
    EncodeError
        If a mark lies on no source, or a mark or the label cannot be encoded.
    """
    headers = inheritable(sources)
    patient_name = name_set_aside(headers[0])
    by_uid = {str(each.SOPInstanceUID): each for each in headers}
    window = appearance.window
    for mark in marks:
        if mark.sop_instance_uid not in by_uid:
            raise EncodeError(
                f"a mark lies on {mark.sop_instance_uid}, which is not among the images of this state"
            )
    try:
        layers = {
            name: GraphicLayer(name, order=order)
            for order, name in enumerate(dict.fromkeys(mark.layer for mark in marks), start=1)
        }
        state = GrayscaleSoftcopyPresentationState(
            referenced_images=headers,
            series_instance_uid=new_uid(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=new_uid(),
            instance_number=1,
            content_label=label[:_LABEL_LENGTH],
            content_description=shortened(description) or None,
            graphic_annotations=[
                _annotation(mark, by_uid[mark.sop_instance_uid], layers[mark.layer]) for mark in marks
            ]
            or None,
            graphic_layers=list(layers.values()) or None,
            content_creator_name=creator or None,
            voi_lut_transformations=None
            if window is None
            else [SoftcopyVOILUTTransformation(window_center=window[0], window_width=window[1])],
            presentation_lut_transformation=None
            if appearance.is_inverted is None
            else PresentationLUTTransformation("INVERSE" if appearance.is_inverted else "IDENTITY"),
            modality_lut_transformation=_of_frames(headers[0]),
            specific_character_set="ISO_IR 192",
            **made_by.equipment(),
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise EncodeError(
            f"marks on series {headers[0].SeriesInstanceUID} form no presentation state: {error}"
        ) from error
    state.PatientName = patient_name
    _turn(state, appearance, headers[0])
    return state


def _turn(state: Dataset, appearance: Appearance, image: Dataset) -> None:
    """Add Spatial Transformation (PS3.3 C.10.6), which the corners of the displayed area follow (C.10.4)."""
    if not appearance.rotation and not appearance.is_flipped:
        return
    state.ImageRotation = appearance.rotation
    state.ImageHorizontalFlip = "Y" if appearance.is_flipped else "N"
    for item in state.DisplayedAreaSelectionSequence:
        first, last = corners(appearance, image.Rows, image.Columns)
        item.DisplayedAreaTopLeftHandCorner, item.DisplayedAreaBottomRightHandCorner = list(first), list(last)


def _of_frames(header: Dataset) -> ModalityLUTTransformation | None:
    """Rescale of all frames of an image; `None` where highdicom finds it, or where frames have several."""
    if "NumberOfFrames" not in header:
        return None
    places = [header]
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for groups in header.get(keyword) or ():
            places += groups.get("PixelValueTransformationSequence") or ()
    found = {
        (float(each.RescaleSlope), float(each.RescaleIntercept), str(each.get("RescaleType") or "US"))
        for each in places
        if "RescaleSlope" in each and "RescaleIntercept" in each
    }
    if len(found) > 1 or "ModalityLUTSequence" in header:
        return None
    slope, intercept, unit = next(iter(found), (1.0, 0.0, "US"))
    return ModalityLUTTransformation(rescale_slope=slope, rescale_intercept=intercept, rescale_type=unit)


def _annotation(mark: Mark, image: Dataset, layer: GraphicLayer) -> GraphicAnnotation:
    graphic = GraphicObject(
        graphic_type=GraphicTypeValues(mark.graphic_type),
        graphic_data=np.array(mark.points, dtype=np.float64),
        units=AnnotationUnitsValues.PIXEL,
        tracking_id=mark.layer.lower() if mark.tracking_uid else None,
        tracking_uid=mark.tracking_uid or None,
    )
    texts = (
        [TextObject(mark.text[:_TEXT_LENGTH], units=AnnotationUnitsValues.PIXEL, anchor_point=mark.points[0])]
        if mark.text
        else None
    )
    return GraphicAnnotation(
        [image],
        layer,
        referenced_frame_number=list(mark.frame_numbers) or None,
        graphic_objects=[graphic],
        text_objects=texts,
    )
