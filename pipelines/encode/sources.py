"""The headers of the planes a result was made from, made fit to inherit from."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TypedDict

import pydicom.config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName, validate_value

from catalog.errors import EncodeError
from catalog.identifiers import is_uid

_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
"""Of the modules Patient and General Study (PS3.3 C.7.1.1, C.7.2.1): present, perhaps empty."""

_TYPE_1C = ("DeidentificationMethod", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
"""Inherited where present, and then never empty."""

_METHODS = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")

_TEXT_VRS = ("AS", "CS", "DA", "DT", "LO", "SH", "TM")
"""Representations with a form of their own; numbers and UIDs are taken as they were read."""

_SEXES = ("M", "F", "O", "")
"""Enumerated values of Patient's Sex (0010,0040)."""

_IDENTITIES = ("StudyInstanceUID", "SeriesInstanceUID")


@contextmanager
def without_quotes() -> Iterator[None]:
    """Silence pydicom's doubts about values of the sources: it quotes them, and they may be the patient's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")
        yield


def inheritable(sources: Sequence[Dataset]) -> list[Dataset]:
    """Return the headers with the first one's patient and study attributes present and valid.

    An object inherits the patient and the study from its first source. What an archive tolerated there
    (a missing attribute, a date that is none) must not be repeated in a new object: it is left empty.
    The given headers stay as they are.

    Raises
    ------
    EncodeError
        If there is no source, sources are of several studies or series, or a UID is none.
    """
    if not sources:
        raise EncodeError("a result object needs at least one source instance; index the series again")
    for keyword in _IDENTITIES:
        uids = {str(source.get(keyword)) for source in sources}
        if len(uids) > 1:
            raise EncodeError(
                f"sources of one result must have one {keyword}, these have {len(uids)}: "
                + ", ".join(sorted(uids)[:3])
            )
    _check_uids(sources)
    first = deepcopy(sources[0])
    _repair(first)
    for keyword in _TYPE_2:
        if keyword not in first:
            setattr(first, keyword, "")
    for keyword in _TYPE_1C:
        if keyword in first and first[keyword].is_empty:
            delattr(first, keyword)
    if first.get("PatientIdentityRemoved") == "YES" and not any(each in first for each in _METHODS):
        first.DeidentificationMethod = "not stated by the source"  # type 1C (PS3.3 C.7.1.1)
    if first.PatientSex not in _SEXES:
        first.PatientSex = ""
    return [first, *sources[1:]]


class Identity(TypedDict):
    """Patient and study of an object (PS3.3 C.7.1.1, C.7.2.1), as highdicom takes them; no name."""

    study_instance_uid: str
    patient_id: str
    patient_birth_date: str
    patient_sex: str
    accession_number: str
    study_id: str
    study_date: str
    study_time: str
    referring_physician_name: str


def identity(header: Dataset) -> Identity:
    """Say whom and what a new object is about, after a header that is fit to inherit from."""
    return Identity(
        study_instance_uid=str(header.StudyInstanceUID),
        patient_id=header.PatientID,
        patient_birth_date=header.PatientBirthDate,
        patient_sex=header.PatientSex,
        accession_number=header.AccessionNumber,
        study_id=header.StudyID,
        study_date=header.StudyDate,
        study_time=header.StudyTime,
        referring_physician_name=header.ReferringPhysicianName,
    )


def name_set_aside(header: Dataset) -> PersonName | str:
    """Empty the header's Patient's Name (0010,0010) and return it.

    highdicom puts a name it finds unlikely into a warning, and names do not belong into logs: the caller
    gives it to the finished object instead.
    """
    name: PersonName | str = header.PatientName
    header.PatientName = ""
    return name


def in_order(sources: Sequence[Dataset], sop_instance_uids: Sequence[str]) -> list[Dataset]:
    """Sort single-frame headers into the order of a mask's planes.

    Raises
    ------
    EncodeError
        If the mask has a plane whose instance is not among the sources.
    """
    by_uid = {str(source.SOPInstanceUID): source for source in sources}
    missing = [uid for uid in sop_instance_uids if uid not in by_uid]
    if missing:
        raise EncodeError(
            f"{len(missing)} of {len(sop_instance_uids)} planes have no source instance here, "
            f"first {missing[0]}; index the series again"
        )
    return [by_uid[uid] for uid in sop_instance_uids]


def _check_uids(sources: Sequence[Dataset]) -> None:
    for source in sources:
        for keyword in ("SOPInstanceUID", "SOPClassUID", *_IDENTITIES):
            if not is_uid(str(source.get(keyword, ""))):
                raise EncodeError(
                    f"a result cannot refer to instance {source.get('SOPInstanceUID')}: "
                    f"its {keyword} is no valid UID (PS3.5 section 9.1)"
                )


def _repair(ds: Dataset) -> None:
    """Empty the text values their VR does not allow (PS3.5 section 6.2); drop items that have such.

    An element that cannot be read at all is dropped.
    """
    for tag in list(ds.keys()):
        try:
            element = ds[tag]
        except (ValueError, TypeError, NotImplementedError):
            del ds[tag]
            continue
        if element.VR in _TEXT_VRS and not _is_valid(element):
            ds[element.tag].value = None
        elif element.VR == "SQ":
            valid = [item for item in element.value if all(_is_valid(each) for each in item)]
            if len(valid) < len(element.value):
                ds[element.tag].value = valid
            if not valid:
                del ds[element.tag]


def _is_valid(element: DataElement) -> bool:
    if element.VR not in _TEXT_VRS:
        return True
    try:
        for value in element.value if element.VM > 1 else [element.value]:
            validate_value(element.VR, value, pydicom.config.RAISE)
    except (ValueError, TypeError):
        return False
    return True
