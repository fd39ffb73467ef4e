"""The one table of attributes the catalog keeps in columns, by level of the information model (PS3.3 C.7)."""

import re
from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """Level of the query/retrieve information model (PS3.4 C.6)."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


class Kind(Enum):
    """How a value is kept in its column."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    NUMBERS = "numbers"
    """Several numbers as they stand in the file: `-120.5\\-87\\12`."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute with its column."""

    keyword: str
    tag: int
    vr: str
    level: Level
    kind: Kind
    many: bool = False
    """Whether it holds several values; its column then has them all, with backslashes between."""

    @property
    def column(self) -> str:
        """Name of the column and of the Python field: the keyword in snake_case."""
        return snake_case(self.keyword)


_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(keyword: str) -> str:
    """Return the Python name of a keyword: `SOPInstanceUID` becomes `sop_instance_uid`."""
    return _WORD_STARTS.sub("_", keyword).lower()


_KIND_OF_VR = {
    "IS": Kind.INTEGER, "US": Kind.INTEGER, "SS": Kind.INTEGER, "UL": Kind.INTEGER, "SL": Kind.INTEGER,
    "DS": Kind.REAL, "FD": Kind.REAL, "FL": Kind.REAL,
}  # fmt: skip


def _rows(level: Level, table: str) -> tuple[Attribute, ...]:
    rows = []
    for line in table.strip().splitlines():
        tag, vr, keyword, *marks = line.split()
        many, kind = "many" in marks, _KIND_OF_VR.get(vr, Kind.TEXT)
        if many and kind is not Kind.TEXT:
            kind = Kind.NUMBERS
        rows.append(Attribute(keyword, int(tag, 16), vr, level, kind, many))
    return tuple(rows)


PATIENT = _rows(
    Level.PATIENT,
    """
    00100020 LO PatientID
    00100021 LO IssuerOfPatientID
    00100010 PN PatientName
    00100030 DA PatientBirthDate
    00100040 CS PatientSex
    00102201 LO PatientSpeciesDescription
    00102292 LO PatientBreedDescription
""",
)

STUDY = _rows(
    Level.STUDY,
    """
    0020000D UI StudyInstanceUID
    00080020 DA StudyDate
    00080030 TM StudyTime
    00081030 LO StudyDescription
    00080050 SH AccessionNumber
    00200010 SH StudyID
    00080090 PN ReferringPhysicianName
    00101010 AS PatientAge
    00101030 DS PatientWeight
    00101020 DS PatientSize
""",
)

SERIES = _rows(
    Level.SERIES,
    """
    0020000E UI SeriesInstanceUID
    00080060 CS Modality
    00200011 IS SeriesNumber
    0008103E LO SeriesDescription
    00080021 DA SeriesDate
    00080031 TM SeriesTime
    00180015 CS BodyPartExamined
    00181030 LO ProtocolName
    00200060 CS Laterality
    00080070 LO Manufacturer
    00081090 LO ManufacturerModelName
    00081010 SH StationName
    00080080 LO InstitutionName
    00181020 LO SoftwareVersions many
    00181000 LO DeviceSerialNumber
    00200052 UI FrameOfReferenceUID
    00185100 CS PatientPosition
    00180087 DS MagneticFieldStrength
    00180010 LO ContrastBolusAgent
    00181210 SH ConvolutionKernel many
    00180020 CS ScanningSequence many
    00180024 SH SequenceName
""",
)

INSTANCE = _rows(
    Level.INSTANCE,
    """
    00080018 UI SOPInstanceUID
    00080016 UI SOPClassUID
    00080005 CS SpecificCharacterSet many
    00200013 IS InstanceNumber
    00080008 CS ImageType many
    00200012 IS AcquisitionNumber
    00080022 DA AcquisitionDate
    00080032 TM AcquisitionTime
    0008002A DT AcquisitionDateTime
    00080023 DA ContentDate
    00080033 TM ContentTime
    00181060 DS TriggerTime
    00200100 IS TemporalPositionIdentifier
    00180081 DS EchoTime
    00180086 IS EchoNumbers
    00180080 DS RepetitionTime
    00180082 DS InversionTime
    00181314 DS FlipAngle
    00189087 FD DiffusionBValue
    00189089 FD DiffusionGradientOrientation many
    00180060 DS KVP
    00181151 IS XRayTubeCurrent
    00181150 IS ExposureTime
    00200032 DS ImagePositionPatient many
    00200037 DS ImageOrientationPatient many
    00280030 DS PixelSpacing many
    00181164 DS ImagerPixelSpacing many
    00180050 DS SliceThickness
    00180088 DS SpacingBetweenSlices
    00201041 DS SliceLocation
    00181120 DS GantryDetectorTilt
    00280010 US Rows
    00280011 US Columns
    00280008 IS NumberOfFrames
    00280002 US SamplesPerPixel
    00280004 CS PhotometricInterpretation
    00280006 US PlanarConfiguration
    00280100 US BitsAllocated
    00280101 US BitsStored
    00280102 US HighBit
    00280103 US PixelRepresentation
    00281053 DS RescaleSlope
    00281052 DS RescaleIntercept
    00281054 LO RescaleType
    00541001 CS Units
    00281050 DS WindowCenter many
    00281051 DS WindowWidth many
    00282110 CS LossyImageCompression
    00280301 CS BurnedInAnnotation
""",
)

ATTRIBUTES: tuple[Attribute, ...] = PATIENT + STUDY + SERIES + INSTANCE
BY_KEYWORD = {attribute.keyword: attribute for attribute in ATTRIBUTES}
BY_COLUMN = {attribute.column: attribute for attribute in ATTRIBUTES}
BY_TAG = {attribute.tag: attribute for attribute in ATTRIBUTES}

TRANSFER_SYNTAX_UID = Attribute("TransferSyntaxUID", 0x00020010, "UI", Level.INSTANCE, Kind.TEXT)
"""Has a column and is asked for as those above; it stands in the file meta information, not in a header."""

SEARCHED = (
    "PatientID", "PatientName", "StudyDescription", "AccessionNumber", "Modality", "SeriesDescription",
    "BodyPartExamined", "ProtocolName", "StudyDate", "Manufacturer",
)  # fmt: skip
"""Attributes a plain word is looked for in; `catalog.texts` has an index of them."""
