"""Registrations in the catalog: how two series of a patient lie in each other."""

from collections.abc import Iterable, Iterator
from warnings import warn

from catalog.database import Catalog
from catalog.errors import HeaderError, NotFoundError
from catalog.query import find_series, instances_of
from catalog.records import InstanceRecord
from pipelines.kinds import REGISTRATION, kind_of
from pipelines.objects.registrations import Registration, read_registration
from pipelines.presentation.scene import Scene


def is_wanted(source: Scene, target: Scene) -> bool:
    """Whether two arrays lie in a patient, and not in one frame of reference."""
    if not (source.positions_lps_mm and target.positions_lps_mm):
        return False
    frames = source.frame_of_reference_uid, target.frame_of_reference_uid
    return not frames[0] or frames[0] != frames[1]


def registrations_of(catalog: Catalog, patients: Iterable[str]) -> list[InstanceRecord]:
    """Return the objects of patients that register by matrices."""
    return [
        instance
        for patient in sorted(set(patients))
        for series in find_series(catalog, patient_id=patient, modality="REG")
        for instance in instances_of(catalog, series.series_instance_uid)
        if kind_of(instance.sop_class_uid, instance.transfer_syntax_uid) is REGISTRATION
    ]


def newest_between(instances: Iterable[InstanceRecord], source: Scene, target: Scene) -> Registration | None:
    """Of registrations the newest that tells where two arrays lie in each other; `None` where none does."""
    for each in sorted(_read(instances), key=lambda each: each.created, reverse=True):
        try:
            each.between(source, target)
        except NotFoundError:
            continue
        return each
    return None


def _read(instances: Iterable[InstanceRecord]) -> Iterator[Registration]:
    for each in instances:
        try:
            yield read_registration(each.path)
        except HeaderError as error:
            warn(f"passed over: {error}", stacklevel=5)
