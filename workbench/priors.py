"""Which earlier studies of a patient are wanted: those that are like the present one first, then the newest.

No I/O.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from catalog.records import RemoteSeries, SeriesRecord

_SAME_PATIENT = ("issuer_of_patient_id", "patient_name", "patient_birth_date")
"""What must not contradict, beside the Patient ID: it is unique within its issuer only (PS3.3 C.2.1)."""


@dataclass(frozen=True, slots=True)
class Prior:
    """One earlier study, as its node tells of it."""

    study_instance_uid: str
    study_date: str
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    series: tuple[RemoteSeries, ...]

    @property
    def instances(self) -> int | None:
        """How many the node says there are; `None` where it does not of one of the series."""
        counts = [each.instances for each in self.series]
        return None if None in counts else sum(each or 0 for each in counts)


def priors_of(
    present: Sequence[SeriesRecord], told: Iterable[RemoteSeries], at_most: int
) -> tuple[Prior, ...]:
    """Return the earlier studies that are wanted.

    A study that was done on the same day counts as earlier where its time does; one without a date is none.
    Of several, those come first that have a modality and a body part in common with the present study, then
    those with a modality, then the newest.

    Parameters
    ----------
    present
        Series of one study.
    told
        What a node tells of this patient ID.
    at_most
        How many studies.
    """
    first = present[0]
    now = _moment(first.study_date, first.study_time)
    modalities = {each.modality for each in present} - {None}
    parts = {_folded(each.body_part_examined) for each in present} - {""}
    by_study: dict[str, list[RemoteSeries]] = {}
    for each in told:
        if not each.values.get("series_instance_uid") or not each.values.get("study_instance_uid"):
            continue
        if _is_of(first, each) and _is_earlier(each, now) and _uid(each) != first.study_instance_uid:
            by_study.setdefault(_uid(each), []).append(each)
    found = [_prior(uid, series) for uid, series in by_study.items()]
    found.sort(key=lambda each: (each.study_date, each.study_instance_uid), reverse=True)
    found.sort(key=lambda each: _likeness(each, modalities, parts), reverse=True)
    return tuple(found[:at_most])


def _likeness(prior: Prior, modalities: set[str | None], parts: set[str]) -> tuple[bool, bool]:
    same_modality = bool(modalities & set(prior.modalities))
    return same_modality, same_modality and bool(parts & set(map(_folded, prior.body_parts)))


def _prior(uid: str, series: Sequence[RemoteSeries]) -> Prior:
    def every(name: str) -> tuple[str, ...]:
        return tuple(sorted({str(each.values[name]) for each in series if each.values.get(name)}))

    date = str(series[0].values.get("study_date") or "")
    return Prior(uid, date, every("modality"), every("body_part_examined"), tuple(series))


def _is_of(present: SeriesRecord, told: RemoteSeries) -> bool:
    """Whether it is the same patient: the same ID, and nothing that says otherwise."""
    if str(told.values.get("patient_id") or "").strip() != present.patient_id.strip():
        return False
    for name in _SAME_PATIENT:
        here, there = _folded(getattr(present, name, None)), _folded(told.values.get(name))
        if here and there and here != there:
            return False
    return True


def _is_earlier(told: RemoteSeries, now: tuple[str, str]) -> bool:
    date, time = _moment(told.values.get("study_date"), told.values.get("study_time"))
    if not date or date > now[0]:
        return False
    return date < now[0] or bool(time and now[1] and time < now[1])


def _moment(date: object, time: object) -> tuple[str, str]:
    return str(date or ""), str(time or "")


def _folded(value: object) -> str:
    """A name or a word without regard to case, empty components and blanks at its end."""
    return str(value or "").partition("=")[0].rstrip("^ ").strip().casefold()


def _uid(told: RemoteSeries) -> str:
    return str(told.values.get("study_instance_uid") or "")
