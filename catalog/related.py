"""What is no attribute of an entity, and told of it by the series below (PS3.4 C.3.4)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from catalog.attributes import Level
from catalog.records import Value


@dataclass(frozen=True, slots=True)
class SeriesBelow:
    """One series below an entity."""

    study: int
    modality: str | None
    instances: int
    """Those that can be read, or as many as the source elsewhere tells of."""
    is_here: bool
    """Whether one of them can be read, and not at a source elsewhere alone."""
    sop_classes: frozenset[str] = frozenset()
    """SOP Class UIDs of those that can be read; looked up where `TOLD_BY_INSTANCES` is asked for."""


@dataclass(frozen=True, slots=True)
class Related:
    """What is told of an entity by its series."""

    level: Level | None
    """Of the entity; `None` where it is told of whatever was asked for."""
    of: Callable[[Sequence[SeriesBelow]], Value]


def _studies(below: Sequence[SeriesBelow]) -> int:
    return len({each.study for each in below})


def _instances(below: Sequence[SeriesBelow]) -> int:
    return sum(each.instances for each in below)


def _modalities(below: Sequence[SeriesBelow]) -> str:
    return "\\".join(sorted({each.modality for each in below if each.modality}))


def _sop_classes(below: Sequence[SeriesBelow]) -> str:
    return "\\".join(sorted({uid for each in below for uid in each.sop_classes}))


def _availability(below: Sequence[SeriesBelow]) -> str:
    """The least of all (PS3.3 C.4.23.1.1)."""
    return "ONLINE" if all(each.is_here for each in below) else "UNAVAILABLE"


RELATED: Mapping[str, Related] = {
    "NumberOfPatientRelatedStudies": Related(Level.PATIENT, _studies),
    "NumberOfPatientRelatedSeries": Related(Level.PATIENT, len),
    "NumberOfPatientRelatedInstances": Related(Level.PATIENT, _instances),
    "NumberOfStudyRelatedSeries": Related(Level.STUDY, len),
    "NumberOfStudyRelatedInstances": Related(Level.STUDY, _instances),
    "NumberOfSeriesRelatedInstances": Related(Level.SERIES, _instances),
    "ModalitiesInStudy": Related(Level.STUDY, _modalities),
    "SOPClassesInStudy": Related(Level.STUDY, _sop_classes),
    "InstanceAvailability": Related(None, _availability),
}
"""By keyword; several values have backslashes between, as in a column."""
TOLD_BY_INSTANCES = frozenset({"SOPClassesInStudy"})
"""What the instances of the series have to be looked at for."""
