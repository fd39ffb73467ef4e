"""What a node was found to have: the records of a local search, marked as lying there, in a table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from catalog.attributes import Level
from catalog.records import InstanceRecord, PatientRecord, SeriesRecord, StudyRecord, Value, as_dict
from workbench.pacs.descent import Told
from workbench.pacs.matching import COUNTS, PLURALS, UNIQUE, Inquiry
from workbench.tables import Table

if TYPE_CHECKING:
    from collections.abc import Generator

type FoundRecord = PatientRecord | StudyRecord | SeriesRecord | InstanceRecord

COLUMNS: Mapping[Level, Mapping[str, str]] = {
    Level.PATIENT: {
        "patient_id": "patient id", "patient_name": "name", "patient_birth_date": "born",
        "patient_sex": "sex", "studies": "studies", "remote": "elsewhere",
    },
    Level.STUDY: {
        "patient_id": "patient id", "patient_name": "name", "study_date": "date", "modalities": "modalities",
        "study_description": "study", "accession_number": "accession", "series": "series",
        "instances": "instances", "study_instance_uid": "study instance uid", "remote": "elsewhere",
    },
    Level.SERIES: {
        "patient_id": "patient id", "patient_name": "name", "study_date": "date", "modality": "modality",
        "series_number": "no.", "series_description": "series", "body_part_examined": "body part",
        "instances": "instances", "series_instance_uid": "series instance uid", "remote": "elsewhere",
    },
    Level.INSTANCE: {
        "instance_number": "no.", "sop_class_uid": "sop class uid", "rows": "rows", "columns": "columns",
        "number_of_frames": "frames", "sop_instance_uid": "sop instance uid", "path": "elsewhere",
    },
}  # fmt: skip


class Found(Table[FoundRecord]):
    """What a node was found to have, of one level; `bench.fetch(found)` gets it."""

    def __init__(self, records: Sequence[FoundRecord], level: Level, *, note: str = "") -> None:
        super().__init__(records, COLUMNS[level], noun=PLURALS[level], note=note)
        self.level = level

    def as_json(self) -> list[dict[str, Any]]:
        """The records as `workbench find --json` prints them."""
        return [{name: value for name, value in as_dict(each).items() if value is not None} for each in self]


def found_of(
    ask: Callable[[Inquiry], "Generator[Told]"],
    inquiries: Sequence[Inquiry],
    node: str,
    address: str,
    *,
    limit: int,
    remarks: Callable[[], Iterable[str]] = tuple,
) -> Found:
    """Put questions one after the other, and take their answers together, each entity once.

    Parameters
    ----------
    ask
        Puts one; what it gives is closed when enough has come, and the node is then asked no further.
    limit
        How many records at most; where there are more, the table says so.
    remarks
        What a reader should know of how the node answered, asked for at the end.
    """
    level = inquiries[0].level
    records: dict[tuple[Value, ...], FoundRecord] = {}
    contradicted: dict[str, int] = {}
    more, unnamed = False, 0
    for inquiry in inquiries:
        with closing(ask(inquiry)) as told:
            for each in told:
                key = _key(each, level)
                if not any(key):
                    unnamed += 1
                if not any(key) or key in records:
                    continue
                if len(records) == limit:
                    more = True
                    break
                records[key] = record_of(each, level, address)
                for keyword in contradicting(inquiry, each):
                    contradicted[keyword] = contradicted.get(keyword, 0) + 1
        if more:
            break
    notes = [
        f"{node} does not match {keyword}: {count:,} have another" for keyword, count in contradicted.items()
    ]
    if unnamed:
        notes.append(f"{unnamed:,} answers of {node} lack {UNIQUE[level].keyword} and are left out")
    if more:
        notes.insert(0, f"there are more than {limit:,}; ask a narrower question, or with a higher limit")
    return Found(list(records.values()), level, note="; ".join([*notes, *remarks()]))


def record_of(told: Told, level: Level, address: str) -> FoundRecord:
    """The record of an entity that a node tells of."""
    match level:
        case Level.PATIENT:
            studies, series, instances = (_count(told, each.column) for each in COUNTS[level])
            given = _given(PatientRecord, told)
            return PatientRecord(**given, studies=studies, series=series, instances=instances, remote=address)
        case Level.STUDY:
            series, instances = (_count(told, each.column) for each in COUNTS[level])
            modalities = tuple(filter(None, str(told.get("modalities_in_study") or "").split("\\")))
            given = _given(StudyRecord, told)
            return StudyRecord(
                **given, modalities=modalities, series=series, instances=instances, remote=address
            )
        case Level.SERIES:
            instances = _count(told, COUNTS[level][0].column) or 0
            return SeriesRecord(**_given(SeriesRecord, told), instances=instances, remote=address)
        case Level.INSTANCE:
            given = {"sop_class_uid": "", "transfer_syntax_uid": ""} | _given(InstanceRecord, told)
            return InstanceRecord(**given, path=address, header_digest="", pixel_data=None)


def contradicting(inquiry: Inquiry, told: Told) -> list[str]:
    """Keywords of single values that an answer has otherwise: the node passes over that key."""
    found = []
    for attribute, key in inquiry.keys.items():
        said = told.get(attribute.column)
        if not isinstance(key, str) or not key or said is None or attribute.vr in _NOT_COMPARED:
            continue
        if any(each in key for each in "*?\\"):
            continue
        each_of = {each.strip().casefold() for each in str(said).split("\\")}
        if key.casefold() not in each_of:
            found.append(attribute.keyword)
    return found


_NOT_COMPARED = frozenset({"PN", "DA", "TM", "DT", "DS", "IS", "SQ"})
"""Ranges, and what is the same in several forms."""


def _given(record: type[Any], told: Told) -> dict[str, Any]:
    """What is told of the plain fields of a record."""
    given = {
        each.name: told[each.name]
        for each in fields(record)
        if each.name in told and each.name not in ("studies", "series", "instances")
    }
    required = {"patient_id"} & {each.name for each in fields(record)}
    return {**dict.fromkeys(required, ""), **given}


def _count(told: Told, column: str) -> int | None:
    count = told.get(column)
    return count if isinstance(count, int) else None


def _key(told: Told, level: Level) -> tuple[Value, ...]:
    beside = ("issuer_of_patient_id", "patient_name") if level is Level.PATIENT else ()
    return tuple(told.get(each) for each in (UNIQUE[level].column, *beside))
