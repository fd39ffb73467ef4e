"""What is scheduled, as a RIS tells it: scheduled procedure steps (Modality Worklist, PS3.4 annex K)."""

import difflib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from catalog.attributes import Attribute, Kind, Level, snake_case
from catalog.errors import QuestionError
from catalog.records import as_dict
from workbench.pacs import dimse
from workbench.pacs.answer import encodings_of, values
from workbench.pacs.association import associate, service
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.find import check_repertoire, fill
from workbench.pacs.matching import Key, key_of
from workbench.pacs.sop_classes import MODALITY_WORKLIST_FIND
from workbench.tables import Table

_STEPS = 0x00400100
"""Scheduled Procedure Step Sequence."""


@dataclass(frozen=True, slots=True)
class ScheduledStep:
    """One scheduled procedure step, with its patient and request; an attribute that is not told is empty."""

    scheduled_procedure_step_start_date: str = ""  # (0040,0002)
    scheduled_procedure_step_start_time: str = ""  # (0040,0003)
    modality: str = ""  # (0008,0060)
    scheduled_station_ae_title: str = ""  # (0040,0001)
    scheduled_station_name: str = ""  # (0040,0010)
    scheduled_performing_physician_name: str = ""  # (0040,0006)
    scheduled_procedure_step_description: str = ""  # (0040,0007)
    scheduled_procedure_step_id: str = ""  # (0040,0009)
    scheduled_procedure_step_location: str = ""  # (0040,0011)
    scheduled_procedure_step_status: str = ""  # (0040,0020)
    patient_id: str = ""  # (0010,0020)
    issuer_of_patient_id: str = ""  # (0010,0021)
    patient_name: str = ""  # (0010,0010)
    patient_birth_date: str = ""  # (0010,0030)
    patient_sex: str = ""  # (0010,0040)
    accession_number: str = ""  # (0008,0050)
    requested_procedure_id: str = ""  # (0040,1001)
    requested_procedure_description: str = ""  # (0032,1060)
    requested_procedure_priority: str = ""  # (0040,1003)
    study_instance_uid: str = ""  # (0020,000D)
    referring_physician_name: str = ""  # (0008,0090)
    requesting_physician: str = ""  # (0032,1032)
    admission_id: str = ""  # (0038,0010)
    current_patient_location: str = ""  # (0038,0300)


def _rows(table: str) -> tuple[Attribute, ...]:
    rows = (line.split() for line in table.strip().splitlines())
    return tuple(Attribute(keyword, int(tag, 16), vr, Level.STUDY, Kind.TEXT) for tag, vr, keyword in rows)


OF_STEP = _rows("""
    00400001 AE ScheduledStationAETitle
    00400002 DA ScheduledProcedureStepStartDate
    00400003 TM ScheduledProcedureStepStartTime
    00080060 CS Modality
    00400006 PN ScheduledPerformingPhysicianName
    00400007 LO ScheduledProcedureStepDescription
    00400009 SH ScheduledProcedureStepID
    00400010 SH ScheduledStationName
    00400011 SH ScheduledProcedureStepLocation
    00400020 CS ScheduledProcedureStepStatus
""")
"""Keys of the item of the sequence of steps (PS3.4 table K.6-1)."""
OF_REQUEST = _rows("""
    00100020 LO PatientID
    00100021 LO IssuerOfPatientID
    00100010 PN PatientName
    00100030 DA PatientBirthDate
    00100040 CS PatientSex
    00080050 SH AccessionNumber
    00401001 SH RequestedProcedureID
    00321060 LO RequestedProcedureDescription
    00401003 SH RequestedProcedurePriority
    0020000D UI StudyInstanceUID
    00080090 PN ReferringPhysicianName
    00321032 PN RequestingPhysician
    00380010 LO AdmissionID
    00380300 LO CurrentPatientLocation
""")
"""Keys beside the sequence: of patient, visit and request."""
_BY_NAME = {
    name: each for each in (*OF_STEP, *OF_REQUEST) for name in (each.keyword, snake_case(each.keyword))
}

COLUMNS = {
    "scheduled_procedure_step_start_date": "date", "scheduled_procedure_step_start_time": "time",
    "modality": "modality", "scheduled_station_ae_title": "station", "patient_id": "patient id",
    "patient_name": "name", "scheduled_procedure_step_description": "step",
    "requested_procedure_description": "procedure", "accession_number": "accession",
}  # fmt: skip


class Worklist(Table[ScheduledStep]):
    """Scheduled procedure steps, in the order of their begin."""

    def __init__(self, steps: Sequence[ScheduledStep], *, note: str = "") -> None:
        super().__init__(steps, COLUMNS, noun="steps", note=note)

    def as_json(self) -> list[dict[str, Any]]:
        """The records as `workbench worklist --json` prints them."""
        return [{name: value for name, value in as_dict(each).items() if value is not None} for each in self]


def worklist(node: DimseNode, matching: Mapping[str, Any], *, limit: int) -> Worklist:
    """Ask a node what is scheduled, as `workbench.pacs.node.Node.worklist`."""
    keys = keys_of(matching)
    check_repertoire(node.character_set, keys)
    steps: list[ScheduledStep] = []
    note = ""
    with closing(_steps(node, keys)) as found:
        for each in found:
            if len(steps) == limit:
                note = f"there are more than {limit:,}; ask a narrower question, or with a higher limit"
                break
            steps.append(each)
    return Worklist(sorted(steps, key=_begin), note=note)


def keys_of(matching: Mapping[str, Any]) -> dict[Attribute, Key]:
    """Return what is matched of a worklist, by keyword or column name.

    Raises
    ------
    catalog.errors.QuestionError
        If a name is none of a worklist, or a value none to match it with.
    """
    keys: dict[Attribute, Key] = {}
    for name, value in matching.items():
        attribute = _BY_NAME.get(name)
        if attribute is None:
            nearest = difflib.get_close_matches(str(name), _BY_NAME, n=3)
            hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
            raise QuestionError(f"a worklist is not asked for {str(name)[:64]!r}{hint}")
        keys[attribute] = key_of(attribute, value)
    return keys


def identifier_of(keys: Mapping[Attribute, Key], term: str) -> Dataset:
    """Return the identifier of a question: every attribute as a return key, some of them matched."""
    identifier = Dataset()
    identifier.SpecificCharacterSet = term
    fill(identifier, {each: keys.get(each, "") for each in OF_REQUEST})
    step = Dataset()
    fill(step, {each: keys.get(each, "") for each in OF_STEP})
    identifier.ScheduledProcedureStepSequence = [step]
    return identifier


def steps_of(answer: Dataset) -> Iterator[ScheduledStep]:
    """Yield the steps of one answer; the standard has one in each (PS3.4 K.4.1.3.1)."""
    request = values(answer, OF_REQUEST)
    around = encodings_of(answer)
    try:
        items = list(answer[_STEPS].value)
    except Exception:  # it is not there, or whatever pydicom stumbles over in the bytes of a peer
        items = []
    for item in items or [Dataset()]:
        told = request | values(item, OF_STEP, around)
        yield ScheduledStep(**{name: str(value) for name, value in told.items()})


def _steps(node: DimseNode, keys: Mapping[Attribute, Key]) -> Generator[ScheduledStep]:
    with associate(node, [service(MODALITY_WORKLIST_FIND)]) as association:
        identifier = identifier_of(keys, node.character_set)
        with closing(dimse.matches(association, identifier, MODALITY_WORKLIST_FIND)) as found:
            for answer in found:
                yield from steps_of(answer)


def _begin(step: ScheduledStep) -> tuple[str, str]:
    return step.scheduled_procedure_step_start_date, step.scheduled_procedure_step_start_time
