"""Measurements as TID 1500 reports in Comprehensive 3D SR objects (PS3.16 TID 1500, PS3.3 A.35.13)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from highdicom.sr import (
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from catalog.errors import EncodeError
from catalog.identifiers import digest_of_texts, new_uid
from pipelines.encode import algorithm as made_by
from pipelines.encode.algorithm import Algorithm, shortened
from pipelines.encode.sources import inheritable, name_set_aside, without_quotes

SERIES_NUMBER = 9002
"""Of the reports of a run."""

_PROCEDURES = {
    "CT": codes.LN.CTUnspecifiedBodyRegion,
    "MR": codes.LN.MRIUnspecifiedBodyRegion,
    "PT": codes.LN.PETUnspecifiedBodyRegion,
    "NM": codes.LN.NMUnspecifiedBodyRegion,
    "CR": codes.LN.XRUnspecifiedBodyRegion,
    "DX": codes.LN.XRUnspecifiedBodyRegion,
    "XA": codes.LN.XRUnspecifiedBodyRegion,
}
"""Procedure Reported by modality (PS3.16 CID 100)."""

_UNITS = {
    "HU": codes.UCUM.HounsfieldUnit,
    "[hnsf'U]": codes.UCUM.HounsfieldUnit,
    "mm3": codes.UCUM.CubicMillimeter,
    "mm2": codes.UCUM.SquareMillimeter,
    "mm": codes.UCUM.Millimeter,
    "ml": Code("ml", "UCUM", "milliliter"),
    "BQML": codes.UCUM.BecquerelsPerMilliliter,
    "": codes.UCUM.NoUnits,
    "1": codes.UCUM.NoUnits,
    "US": codes.UCUM.NoUnits,
    "%": codes.UCUM.Percent,
}
"""Rescale Type (0028,1054), Units (0054,1001) and the units of our rows in UCUM (PS3.16 CID 7181)."""

_DERIVATIONS = {
    "mean": codes.SCT.Mean,
    "standard deviation": codes.SCT.StandardDeviation,
    "minimum": codes.SCT.Minimum,
    "maximum": codes.SCT.Maximum,
    "median": codes.SCT.Median,
}
"""Rows that are a statistic of the modality value (PS3.16 CID 7464)."""

_QUANTITIES = {"volume": codes.SCT.Volume}
_ATTENUATION: Code = codes.DCM.AttenuationCoefficient
_MR_SIGNAL: Code = codes.DCM.MRSignalIntensity
_VALUE = Code("modality value", made_by.SCHEME, "Modality value")


@without_quotes()
def report(
    segmentation: Dataset,
    sources: Sequence[Dataset],
    rows: Iterable[Mapping[str, Any]],
    *,
    algorithm: Algorithm,
) -> Comprehensive3DSR:
    """Encode the measurements of a segmentation's segments as a Measurement Report (TID 1500).

    Each segment is one volumetric group (TID 1411) with its tracking identifiers, the referenced segment
    and its source series, the algorithm (TID 4019), and each row as a measurement (TID 300) with its UCUM
    unit. The software is the observer (TID 1004).

    The document is complete, as it holds all that the run measured; it is preliminary and unverified, as
    no person has judged it (PS3.3 C.17.2).

    Parameters
    ----------
    segmentation
        The Segmentation the rows were measured in.
    sources
        Headers of the segmentation's sources; all of them become evidence (PS3.3 C.17.2.3).
    rows
        `name`, `value`, `unit` and `segment`, the segment's number; rows without a finite value are left out.

    Raises
    ------
    EncodeError
        If a row names a segment that is not there, or no row is left.
    """
    headers = inheritable(sources)
    patient_name = name_set_aside(headers[0])
    by_segment = _by_segment(rows, segmentation)
    modality = str(headers[0].get("Modality") or "")
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer()),
        procedure_reported=procedure_of(modality),
        imaging_measurements=[
            _group(segment, segmentation, headers[0], by_segment[int(segment.SegmentNumber)], algorithm)
            for segment in segmentation.SegmentSequence
            if by_segment[int(segment.SegmentNumber)]
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )
    document = Comprehensive3DSR(
        evidence=[*headers, segmentation],
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
        series_description=algorithm.description,
        coding_schemes=made_by.coding_schemes(),
        specific_character_set="ISO_IR 192",
    )
    document.PatientName = patient_name
    return document


def _by_segment(
    rows: Iterable[Mapping[str, Any]], segmentation: Dataset
) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {
        int(segment.SegmentNumber): [] for segment in segmentation.SegmentSequence
    }
    for row in rows:
        number = int(row["segment"])
        if number not in found:
            raise EncodeError(
                f"row {row['name']!r} belongs to segment {number}, "
                f"but {segmentation.SOPInstanceUID} has {len(found)} segments"
            )
        if row["value"] is not None and math.isfinite(row["value"]):
            found[number].append(row)
    if not any(found.values()):
        raise EncodeError(f"no measurement of {segmentation.SOPInstanceUID} has a value to report")
    return found


def procedure_of(modality: str) -> Code:
    """Procedure Reported, by the modality of its images (PS3.16 CID 100)."""
    procedure: Code = _PROCEDURES.get(modality, codes.SCT.ImagingProcedure)
    return procedure


def observer() -> ObserverContext:
    """Say that this software is an observer (TID 1004)."""
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=made_by.DEVICE_UID,
            name=made_by.MODEL,
            manufacturer_name=made_by.MANUFACTURER,
            model_name=f"{made_by.MODEL} {made_by.software_version()}",
        ),
    )


def _group(
    segment: Dataset,
    segmentation: Dataset,
    source: Dataset,
    rows: Sequence[Mapping[str, Any]],
    algorithm: Algorithm,
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=segment.TrackingUID, identifier=segment.TrackingID),
        referenced_segment=ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=int(segment.SegmentNumber),
            source_series=SourceSeriesForSegmentation(source.SeriesInstanceUID),
        ),
        finding_type=segment.SegmentedPropertyTypeCodeSequence[0],
        algorithm_id=algorithm.content_items(),
        measurements=[measured(row, str(source.get("Modality") or "")) for row in rows],
    )


def measured(row: Mapping[str, Any], modality: str) -> Measurement:
    """Encode one value (TID 300): `name`, `value` and `unit` of a row."""
    unit = unit_code(str(row["unit"]))
    derivation = _DERIVATIONS.get(row["name"])
    name = _modality_value(modality, unit) if derivation else _quantity(str(row["name"]))
    return Measurement(name=name, value=float(row["value"]), unit=unit, derivation=derivation)


def _modality_value(modality: str, unit: Code) -> Code:
    """Name of what the voxels measure (PS3.16 CID 7180)."""
    if unit == codes.UCUM.HounsfieldUnit:
        return _ATTENUATION
    return _MR_SIGNAL if modality == "MR" else _VALUE


def _quantity(name: str) -> Code:
    """Return the standard's code of a measurement, else one of our own scheme."""
    own = name if len(name) <= 16 else digest_of_texts([name])[:16]
    return _QUANTITIES.get(name) or Code(own, made_by.SCHEME, shortened(name))


def unit_code(unit: str) -> Code:
    """UCUM code of a unit (PS3.16 section 7.2.2); the text itself where there is no better meaning."""
    return _UNITS.get(unit) or Code(shortened(unit, 16), "UCUM", shortened(unit))
