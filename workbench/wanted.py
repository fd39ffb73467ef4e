"""What of a node is to be fetched: records that `find` gave, as series that the catalog knows of."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from catalog.errors import NotFoundError, QuestionError
from catalog.records import InstanceRecord, PatientRecord, RemoteSeries, SeriesRecord, StudyRecord
from catalog.remotes import record_remotes, remote_of
from workbench.pacs.node import node_in
from workbench.selection import Selection, selected_series

if TYPE_CHECKING:
    from catalog.database import Catalog
    from workbench.pacs.node import Node

type Above = PatientRecord | StudyRecord | InstanceRecord
"""Records that are of no one series; of an instance its series is meant, of the others all their series."""
type Wanted = Selection | Above | Iterable[str | SeriesRecord | Above]

_KEYS: dict[type[Any], tuple[str, ...]] = {
    PatientRecord: ("patient_id",),
    StudyRecord: ("study_instance_uid",),
    SeriesRecord: ("study_instance_uid", "series_instance_uid"),
    InstanceRecord: ("study_instance_uid", "series_instance_uid"),
}
"""What the series of a record are asked for by."""


def told_of(
    catalog: "Catalog", wanted: Wanted, node_named: Callable[[str], "Node"]
) -> list[RemoteSeries | None]:
    """Return what sources elsewhere tell of what is wanted; `None` for a series that none tells of.

    Of what a node was found to have and the catalog does not know to lie there, the node is asked, and what
    it tells is recorded first.

    Raises
    ------
    catalog.errors.NotFoundError
        If a series is not known, or the node has it no more.
    catalog.errors.DeliveryError
        If a node does not answer.
    """
    given: list[Any] = [wanted] if isinstance(wanted, (str, *_KEYS)) else []
    if not given and wanted is not None:
        if not isinstance(wanted, Iterable):
            raise QuestionError(f"series are given as UIDs or records, not as {type(wanted).__name__}")
        given = list(wanted)
    found: dict[str, RemoteSeries | None] = {}
    known: list[Any] = []
    for each in given:
        remote = _node_of(each)
        if remote is None or _is_known(catalog, each, remote):
            known.append(each)
            continue
        for told in _asked(catalog, each, node_named(remote)):
            found[str(told.values["series_instance_uid"])] = told
    for series in selected_series(catalog, None if wanted is None else known):
        found.setdefault(series.series_instance_uid, remote_of(catalog, series.series_instance_uid))
    return list(found.values())


def _node_of(record: object) -> str | None:
    if isinstance(record, InstanceRecord):
        return node_in(record.path)
    return node_in(record.remote) if isinstance(record, PatientRecord | StudyRecord | SeriesRecord) else None


def _is_known(catalog: "Catalog", record: object, node: str) -> bool:
    if not isinstance(record, SeriesRecord):
        return False
    try:
        told = remote_of(catalog, record.series_instance_uid)
    except NotFoundError:
        return False
    return told is not None and node_in(told.address) == node


def _asked(catalog: "Catalog", record: Any, node: "Node") -> list[RemoteSeries]:
    keys = {name: getattr(record, name) for name in _KEYS[type(record)]}
    if not all(keys.values()):
        raise QuestionError(f"a record of {node.name} without {' and '.join(keys)} cannot be fetched")
    told = [each for each in node.survey(keys) if _is_of(each, record)]
    if not told:
        raise NotFoundError(f"{node.name} has nothing more of it: find it again")
    report = record_remotes(catalog, node.address, told)
    refused = {each.path for each in report.rejected}
    return [each for each in told if str(each.values["series_instance_uid"]) not in refused]


def _is_of(told: RemoteSeries, record: Any) -> bool:
    """Whether it is of what was found, and not of another patient under the same ID."""
    if not told.values.get("series_instance_uid") or not told.values.get("study_instance_uid"):
        return False
    names = (
        ("patient_id", "issuer_of_patient_id", "patient_name") if isinstance(record, PatientRecord) else ()
    )
    pairs = [(getattr(record, name), told.values.get(name)) for name in (*names, *_KEYS[type(record)])]
    return all(not (one and other) or str(one).strip() == str(other).strip() for one, other in pairs)
