"""What a node answered to one item of a harvest: which series are expected, or why none is. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from catalog.records import RemoteSeries
from workbench.harvest.plan import Item

CHECKED = (
    "accession_number", "study_instance_uid", "series_instance_uid", "patient_id", "study_date", "modality",
)  # fmt: skip
"""Compared with what was asked for: some nodes pass over keys that they do not match."""
_PATIENT = ("patient_id", "issuer_of_patient_id", "patient_name")
_WILD = frozenset("*?\\")


@dataclass(frozen=True, slots=True)
class Expected:
    """A series that a node told of."""

    series_instance_uid: str
    study_instance_uid: str
    modality: str = ""
    instances: int | None = None
    """How many the node says there are; `None` where it does not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one item."""

    series: tuple[Expected, ...] = ()
    reason: str = ""
    """Why nothing is expected although something was asked for; empty else."""
    note: str = ""
    """What a reader should know of what was found."""
    on: str = ""
    """The day it was asked for, `2026-01-31`."""

    def as_json(self) -> dict[str, Any]:
        """The answer as it stands in the journal."""
        series = [
            [each.series_instance_uid, each.study_instance_uid, each.modality, each.instances]
            for each in self.series
        ]
        return {"series": series, "reason": self.reason, "note": self.note, "on": self.on}

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Self:
        """The answer that was written by `as_json`."""
        series = tuple(Expected(*each) for each in found["series"])
        return cls(series, found["reason"], found["note"], found["on"])


def judged(item: Item, told: Sequence[RemoteSeries]) -> tuple[Answer, list[RemoteSeries]]:
    """Return what is expected of an item, and what of the answers is about it.

    Answers that contradict the question are passed over. Where a row's answers are about several patients,
    nothing is expected: whose study was meant is not for us to say.
    """
    about = [each for each in told if not _contradicts(item, each)]
    if not about:
        if told:
            return Answer(reason=f"the node answers with {len(told):,} other series than were asked for"), []
        return Answer(reason="" if item.row is None else "the node knows no such study"), []
    patients = {tuple(str(each.values.get(name) or "") for name in _PATIENT) for each in about}
    if item.row is not None and len(patients) > 1:
        reason = (
            f"it is of {len(patients)} patients at the node; a column patient_id or study_instance_uid says "
            "which is meant"
        )
        return Answer(reason=reason), []
    expected = {
        str(each.values["series_instance_uid"]): Expected(
            str(each.values["series_instance_uid"]),
            str(each.values["study_instance_uid"]),
            str(each.values.get("modality") or ""),
            each.instances,
        )
        for each in about
        if each.values.get("series_instance_uid") and each.values.get("study_instance_uid")
    }
    return Answer(tuple(expected.values())), about


def _contradicts(item: Item, told: RemoteSeries) -> bool:
    for name in CHECKED:
        asked, said = item.matching.get(name, ""), str(told.values.get(name) or "").strip()
        if not asked or not said or _WILD & set(asked):
            continue
        if said.casefold() != asked.casefold():
            return True
    return False
