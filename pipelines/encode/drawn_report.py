"""What a person drew as a Measurement Report (PS3.16 TID 1500) in a Comprehensive 3D SR object.

Lines and angles are measurements inferred from their coordinates (TID 1501, TID 300); whatever else is drawn
is a planar region with its measurements (TID 1410). The tool stands in each group as a qualitative
evaluation of our own scheme, as the standard has no code for it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from highdicom.sr import (
    Comprehensive3DSR,
    CoordinatesForMeasurement,
    CoordinatesForMeasurement3D,
    ImageRegion,
    ImageRegion3D,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from catalog.errors import EncodeError
from catalog.identifiers import new_uid
from pipelines.encode import algorithm as made_by
from pipelines.encode.algorithm import person_name, shortened
from pipelines.encode.report import measured, observer, procedure_of, unit_code
from pipelines.encode.sources import inheritable, name_set_aside, without_quotes
from pipelines.graphics import Graphic, in_patient, mark_uid, on_image
from pipelines.marks import Mark, image_of
from pipelines.presentation.scene import Scene

SERIES_NUMBER = 9011
"""Of reports of what was drawn."""

TOOL = Code("drawn-with", made_by.SCHEME, "Drawn with")
COMMENT: Code = codes.DCM.Comment
_LINES = ("length", "bidirectional", "angle", "cobb")
"""Kinds that are measurements of coordinates, and no region."""
_PIXELS = Code("{pixels}", "UCUM", "pixels")
_ANGLES = {"angle": codes.SCT.Angle, "cobb": codes.SCT.CobbAngle}
_STATISTICS = {
    "mean": "mean", "standard_deviation": "standard deviation", "minimum": "minimum", "maximum": "maximum",
}  # fmt: skip
"""Fields of a mark to rows of `pipelines.encode.report`."""


@without_quotes()
def drawn_report(
    marks: Sequence[Mark], scene: Scene, sources: Sequence[Dataset], *, author: str
) -> Comprehensive3DSR:
    """Encode marks with what they measure as a report of one person.

    A mark lies on its image by column and row, or in the patient where it lies on none or reaches beyond the
    edge. The report is complete and unverified: nobody has signed it.

    Parameters
    ----------
    marks
        As measured by `pipelines.marks.mark_of`.
    scene
        Of the array they were drawn on.
    sources
        Headers of the images that marks lie on, at least one of the series; they become evidence.
    author
        The person observer (TID 1003).

    Raises
    ------
    EncodeError
        If there is no mark, or one that cannot be encoded.
    """
    if not marks:
        raise EncodeError("there is no mark to report; draw one first")
    headers = inheritable(sources)
    patient_name = name_set_aside(headers[0])
    by_uid = {str(each.SOPInstanceUID): each for each in headers}
    modality = str(headers[0].get("Modality") or "")
    try:
        content = MeasurementReport(
            observation_context=ObservationContext(
                observer_person_context=_person(author), observer_device_context=observer()
            ),
            procedure_reported=procedure_of(modality),
            imaging_measurements=[
                _group(mark, number, scene, by_uid, modality) for number, mark in enumerate(marks, start=1)
            ],
            title=codes.DCM.ImagingMeasurementReport,
        )
        document = Comprehensive3DSR(
            evidence=headers,
            content=content,
            series_instance_uid=new_uid(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=new_uid(),
            instance_number=1,
            manufacturer=made_by.MANUFACTURER,
            manufacturer_model_name=made_by.MODEL,
            software_versions=made_by.software_version(),
            device_serial_number=made_by.DEVICE_UID,
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description="Annotations",
            coding_schemes=made_by.coding_schemes(),
            specific_character_set="ISO_IR 192",
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        if isinstance(error, EncodeError):
            raise
        raise EncodeError(
            f"marks on series {headers[0].SeriesInstanceUID} form no report: {error}"
        ) from error
    document.PatientName = patient_name
    return document


def _person(author: str) -> ObserverContext:
    return ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=PersonObserverIdentifyingAttributes(name=person_name(author)),
    )


def _group(mark: Mark, number: int, scene: Scene, by_uid: Mapping[str, Dataset], modality: str) -> Any:
    flat = on_image(mark, scene)
    graphics = flat or in_patient(mark, scene)
    image = _image(mark, scene, by_uid) if flat else None
    common: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid=mark_uid(mark), identifier=f"{mark.kind} {number}"),
        "qualitative_evaluations": [
            QualitativeEvaluation(TOOL, Code(mark.kind[:16], made_by.SCHEME, shortened(mark.kind)))
        ],
    }
    if mark.kind in _LINES:
        common["measurements"] = list(_lines(mark, graphics, image, scene))
        group: Any = MeasurementsAndQualitativeEvaluations(**common)
    else:
        common["measurements"] = list(_values(mark, modality)) or None
        group = PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=_region(graphics, image, scene), **common
        )
    if mark.text:
        group[0].ContentSequence.append(
            TextContentItem(name=COMMENT, value=mark.text, relationship_type="CONTAINS")
        )
    return group


def _image(mark: Mark, scene: Scene, by_uid: Mapping[str, Dataset]) -> SourceImageForRegion:
    uid = image_of(scene, mark.index)
    if uid not in by_uid:
        raise EncodeError(f"mark {mark.uid} lies on {uid}, which is not among the images of this report")
    return SourceImageForRegion(
        referenced_sop_class_uid=str(by_uid[uid].SOPClassUID),
        referenced_sop_instance_uid=uid,
        referenced_frame_numbers=frames(mark, scene),
    )


def frames(mark: Mark, scene: Scene) -> list[int] | None:
    """Frame number of the plane a mark lies on; `None` where instances have one frame each."""
    if not scene.frame_numbers:
        return None
    return [scene.frame_numbers[int(np.ravel_multi_index(mark.index, scene.shape))]]


def _region(graphics: Sequence[Graphic], image: SourceImageForRegion | None, scene: Scene) -> Any:
    (graphic,) = graphics
    if image is not None:
        return ImageRegion(graphic.kind, graphic.points, source_image=image)
    return ImageRegion3D(
        _in_three_dimensions(graphic), graphic.points, frame_of_reference_uid=scene.frame_of_reference_uid
    )


def _in_three_dimensions(graphic: Graphic) -> str:
    """Graphic type in the patient: there a closed polyline of a plane is a polygon (PS3.3 C.18.9.1.2)."""
    is_closed = len(graphic.points) > 3 and np.array_equal(graphic.points[0], graphic.points[-1])
    return "POLYGON" if graphic.kind == "POLYLINE" and is_closed else graphic.kind


def _lines(
    mark: Mark, graphics: Sequence[Graphic], image: SourceImageForRegion | None, scene: Scene
) -> Iterator[Measurement]:
    """Measurements of coordinates: one of an angle, one of each line."""
    coordinates = [_coordinates(each, image, scene) for each in graphics]
    if mark.kind in _ANGLES:
        value = float(mark.angle_deg or 0.0)
        yield Measurement(
            name=_ANGLES[mark.kind], value=value, unit=codes.UCUM.Degree, referenced_coordinates=coordinates
        )
        return
    unit = codes.UCUM.Millimeter if scene.pixel_spacing is not None else _PIXELS
    points = np.array(mark.points, np.float64)
    lengths = [float(np.linalg.norm(points[at + 1] - points[at])) for at in range(0, 2 * len(graphics), 2)]
    longest = int(np.argmax(lengths))
    for number, (length, where) in enumerate(zip(lengths, coordinates, strict=True)):
        axis = codes.SCT.LongAxis if number == longest else codes.SCT.ShortAxis
        name = axis if mark.kind == "bidirectional" else codes.SCT.Length
        yield Measurement(name=name, value=length, unit=unit, referenced_coordinates=[where])


def _coordinates(graphic: Graphic, image: SourceImageForRegion | None, scene: Scene) -> Any:
    if image is not None:
        return CoordinatesForMeasurement(graphic.kind, graphic.points, source_image=image)
    return CoordinatesForMeasurement3D(
        _in_three_dimensions(graphic), graphic.points, frame_of_reference_uid=scene.frame_of_reference_uid
    )


def _values(mark: Mark, modality: str) -> Iterator[Measurement]:
    """The area, and statistics of the values inside."""
    if mark.area_mm2 is not None:
        yield Measurement(name=codes.SCT.Area, value=mark.area_mm2, unit=unit_code("mm2"))
    for field, name in _STATISTICS.items():
        value = getattr(mark, field)
        if value is not None and math.isfinite(value):
            yield measured({"name": name, "value": value, "unit": mark.unit}, modality)
