"""Objects of a series that are no arrays: the file of the one that is meant."""

from collections.abc import Iterable

from catalog.errors import HeaderError, NotFoundError
from catalog.records import InstanceRecord
from pipelines.kinds import Kind, kind_of


def path_of_one(
    series_instance_uid: str,
    instances: Iterable[InstanceRecord],
    kind: Kind,
    sop_instance_uid: str | None,
    noun: str,
    modality: str,
) -> str:
    """Return the file of the one object of a kind in a series, or of the one of a SOP Instance UID.

    Raises
    ------
    NotFoundError
        If there is none, or several to choose from.
    HeaderError
        If the file has changed since it was indexed.
    """
    found = [
        each
        for each in instances
        if kind_of(each.sop_class_uid, each.transfer_syntax_uid) is kind
        and sop_instance_uid in (None, each.sop_instance_uid)
    ]
    if not found:
        which = f"{noun} {sop_instance_uid}" if sop_instance_uid else noun
        raise NotFoundError(
            f"series {series_instance_uid} has no {which}; `workbench series Modality={modality}` lists them"
        )
    if len(found) > 1:
        uids = ", ".join(each.sop_instance_uid for each in found)
        raise NotFoundError(
            f"series {series_instance_uid} holds {len(found)} {noun}s, choose one with "
            f"sop_instance_uid=: {uids}"
        )
    if found[0].rot:
        raise HeaderError(f"{found[0].path}: {found[0].rot}")
    return str(found[0].path)
