"""Selections of instances, and notes that reject some, as Key Object Selection documents (PS3.3 A.35.4)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from catalog.errors import EncodeError
from catalog.identifiers import new_uid
from pipelines.encode import algorithm as made_by
from pipelines.encode.sources import inheritable, name_set_aside, without_quotes

SERIES_NUMBER = 9003
"""Of what was selected; the highest instance number of a series is not known here, so each has its own."""

REJECTIONS: Mapping[str, Code] = MappingProxyType(
    {
        "quality": codes.DCM.RejectedForQualityReasons,
        "safety": codes.DCM.RejectedForPatientSafetyReasons,
        "worklist": codes.DCM.IncorrectModalityWorklistEntry,
        "retention": codes.DCM.DataRetentionPolicyExpired,
    }
)
"""Titles of a rejection note by the short word for them (PS3.16 CID 7010, IHE RAD IOCM)."""

DESCRIPTION_LENGTH = 1024
"""Characters of a description; the standard lets it be any length, nodes do not."""


@without_quotes()
def key_objects(
    selected: Sequence[Dataset], *, title: Code = codes.DCM.OfInterest, description: str | None = None
) -> Dataset:
    """Encode a selection of instances of one study as a Key Object Selection document (PS3.16 TID 2010).

    Every selected instance is a content item, and evidence (PS3.3 C.17.6.2, C.17.2.3).

    Parameters
    ----------
    selected
        Headers of the instances, in the order in which they are listed.
    title
        Of PS3.16 CID 7010.
    description
        Free text (113012, DCM), cut to `DESCRIPTION_LENGTH` characters.

    Raises
    ------
    EncodeError
        If nothing is selected, instances are of several studies, or a UID is none.
    """
    headers = _of_one_study(selected)
    patient_name = name_set_aside(headers[0])
    try:
        document = KeyObjectSelectionDocument(
            evidence=headers,
            content=KeyObjectSelection(
                document_title=title,
                referenced_objects=headers,
                description=description[:DESCRIPTION_LENGTH] if description else None,
            ),
            series_instance_uid=new_uid(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=new_uid(),
            instance_number=1,
            manufacturer=made_by.MANUFACTURER,
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise EncodeError(
            f"instances of study {headers[0].StudyInstanceUID} cannot be selected: {error}"
        ) from error
    document.PatientName = patient_name
    return document


def rejection_note(rejected: Sequence[Dataset], *, reason: str, description: str) -> Dataset:
    """Encode the note that takes instances back (IHE RAD Imaging Object Change Management).

    Parameters
    ----------
    rejected
        Headers of the instances that nobody should use any more, of one study.
    reason
        A key of `REJECTIONS`.
    description
        Why, in a person's words.

    Raises
    ------
    EncodeError
        As `key_objects`, and if there is no such reason.
    """
    if reason not in REJECTIONS:
        raise EncodeError(f"{reason!r} is no reason to reject an instance; take {', '.join(REJECTIONS)}")
    return key_objects(rejected, title=REJECTIONS[reason], description=description)


def _of_one_study(selected: Sequence[Dataset]) -> list[Dataset]:
    """Patient and study of the first, as `inheritable` has them, whatever the series of the others."""
    by_series: dict[str, list[Dataset]] = {}
    for each in selected:
        by_series.setdefault(str(each.get("SeriesInstanceUID")), []).append(each)
    studies = {str(each.get("StudyInstanceUID")) for each in selected}
    if len(studies) > 1:
        raise EncodeError(f"instances of one selection are of one study, these are of {len(studies)}")
    if not by_series:
        raise EncodeError("nothing was selected")
    headers = [inheritable(series) for series in by_series.values()]
    place = {str(each.SOPInstanceUID): each for series in headers for each in series}
    return [place[str(each.SOPInstanceUID)] for each in selected]
