"""What a person drew as an RT Structure Set (PS3.3 A.19): one region of interest a mark, in the patient.

Areas are closed planar contours, lines open ones, a probe a point. Curves become polygons that run within a
hundredth of a millimetre beside them.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from catalog.errors import EncodeError
from catalog.identifiers import new_uid
from pipelines.encode import algorithm as made_by
from pipelines.encode.algorithm import person_name, shortened
from pipelines.encode.drawn_report import frames
from pipelines.encode.sources import Identity, identity, inheritable, without_quotes
from pipelines.graphics import mark_uid, polygons
from pipelines.marks import Mark, image_of
from pipelines.objects.structures import RT_STRUCTURE_SET_STORAGE
from pipelines.presentation.scene import Scene

SERIES_NUMBER = 9012
"""Of structure sets of what was drawn."""

_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
"""SOP Class that RT Referenced Study Sequence (3006,0012) names, retired elsewhere (PS3.3 C.8.8.5)."""
_COLOURS = ((255, 200, 0), (0, 200, 255), (255, 90, 90), (120, 230, 80), (220, 120, 255), (255, 150, 60))
"""ROI Display Color (3006,002A) of one region after another."""


@without_quotes()
def drawn_structures(
    marks: Sequence[Mark], scene: Scene, sources: Sequence[Dataset], *, author: str, now: datetime
) -> Dataset:
    """Encode marks as a structure set that refers to the images they were drawn on.

    ROI Description (3006,0028) has the tool and the UID of each mark, so that it comes back as it was drawn.

    Parameters
    ----------
    scene
        Of the array they were drawn on.
    sources
        Headers of the images that marks lie on, at least one of the series.
    author
        Operators' Name (0008,1070), ROI Interpreter (3006,00A6).

    Raises
    ------
    EncodeError
        If there is no mark, or the images have no place in a patient.
    """
    if not marks:
        raise EncodeError("there is no mark to make a structure of; draw one first")
    header = inheritable(sources)[0]
    by_uid = {str(each.SOPInstanceUID): each for each in sources}
    if not scene.positions_lps_mm or not scene.frame_of_reference_uid:
        raise EncodeError(
            f"the images of series {header.SeriesInstanceUID} have no place in the patient, where a "
            "structure set lies; a report (sr) takes marks on any image"
        )
    ds = _object(header, author, now)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = scene.frame_of_reference_uid, ""
    ds.StructureSetLabel, ds.StructureSetName = "ANNOTATIONS", "Annotations"
    ds.StructureSetDate, ds.StructureSetTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    ds.ReferencedFrameOfReferenceSequence = [_frame_of_reference(header, scene, by_uid.values())]
    ds.StructureSetROISequence = [_region(number, mark, scene) for number, mark in enumerate(marks, start=1)]
    ds.ROIContourSequence = [
        _contours(number, mark, scene, by_uid) for number, mark in enumerate(marks, start=1)
    ]
    ds.RTROIObservationsSequence = [_observation(number, author) for number in range(1, len(marks) + 1)]
    return ds


def _object(header: Dataset, author: str, now: datetime) -> Dataset:
    """Patient, study, series and equipment."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = RT_STRUCTURE_SET_STORAGE, new_uid()
    ds.InstanceCreationDate, ds.InstanceCreationTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    ds.PatientName = header.PatientName
    said: Identity = identity(header)
    for keyword, value in {
        "StudyInstanceUID": said["study_instance_uid"], "PatientID": said["patient_id"],
        "PatientBirthDate": said["patient_birth_date"], "PatientSex": said["patient_sex"],
        "AccessionNumber": said["accession_number"], "StudyID": said["study_id"],
        "StudyDate": said["study_date"], "StudyTime": said["study_time"],
        "ReferringPhysicianName": said["referring_physician_name"],
    }.items():  # fmt: skip
        setattr(ds, keyword, value)
    ds.Modality, ds.SeriesInstanceUID = "RTSTRUCT", new_uid()
    ds.SeriesNumber, ds.InstanceNumber = SERIES_NUMBER, 1
    ds.SeriesDescription, ds.OperatorsName = "Annotations", person_name(author)
    ds.Manufacturer, ds.ManufacturerModelName = made_by.MANUFACTURER, made_by.MODEL
    ds.SoftwareVersions, ds.DeviceSerialNumber = made_by.software_version(), made_by.DEVICE_UID
    ds.ApprovalStatus = "UNAPPROVED"
    return ds


def _frame_of_reference(header: Dataset, scene: Scene, sources: Iterable[Dataset]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = header.SeriesInstanceUID
    series.ContourImageSequence = [_reference(each) for each in sources]
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _DETACHED_STUDY, header.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    item = Dataset()
    item.FrameOfReferenceUID = scene.frame_of_reference_uid
    item.RTReferencedStudySequence = [study]
    return item


def _reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item


def _region(number: int, mark: Mark, scene: Scene) -> Dataset:
    item = Dataset()
    item.ROINumber, item.ReferencedFrameOfReferenceUID = number, scene.frame_of_reference_uid
    item.ROIName = shortened(" ".join(mark.text.split())) or f"{mark.kind} {number}"
    item.ROIDescription = f"{mark.kind} {mark_uid(mark)}"
    item.ROIGenerationAlgorithm = "MANUAL"
    return item


def _contours(number: int, mark: Mark, scene: Scene, by_uid: dict[str, Dataset]) -> Dataset:
    image = by_uid.get(image_of(scene, mark.index)) if mark.index else None
    contours = []
    for at, (is_closed, line) in enumerate(polygons(mark, scene), start=1):
        contour = Dataset()
        contour.ContourNumber = at
        if image is not None:
            reference = _reference(image)
            if numbers := frames(mark, scene):
                reference.ReferencedFrameNumber = numbers[0]
            contour.ContourImageSequence = [reference]
        contour.ContourGeometricType = (
            "CLOSED_PLANAR" if is_closed else "POINT" if len(line) == 1 else "OPEN_PLANAR"
        )
        contour.NumberOfContourPoints = len(line)
        contour.ContourData = [format_number_as_ds(float(each)) for each in line.ravel()]
        contours.append(contour)
    item = Dataset()
    item.ReferencedROINumber, item.ContourSequence = number, contours
    item.ROIDisplayColor = list(_COLOURS[(number - 1) % len(_COLOURS)])
    return item


def _observation(number: int, author: str) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIInterpretedType, item.ROIInterpreter = "", person_name(author)
    return item
