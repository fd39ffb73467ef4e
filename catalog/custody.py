"""Says of instances whether they are durable here, for promises of storage commitment (PS3.4 annex J).

Promised is what was received and settled, lies where the catalog says, and holds the bytes that came: small
files are read and compared with their digest, of large ones size and name are looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from catalog.checks import rots
from catalog.database import Catalog
from catalog.durable import file_digest
from catalog.models import checks, files, instances
from catalog.places import State
from catalog.scan import openable

NO_SUCH_INSTANCE, CLASS_CONFLICT, PROCESSING_FAILURE = 0x0112, 0x0119, 0x0110
"""Failure Reason (0008,1197) (PS3.3 section C.14.1.1)."""
CHECKSUM_BYTES = 64 << 20
"""Up to which a file is read whole."""

_AT_ONCE = 500
_NOT_PROMISED = {State.CONFLICT.value: PROCESSING_FAILURE}


@dataclass(frozen=True, slots=True)
class Custody:
    """What can be said of one instance."""

    reason: int
    """Failure reason; 0 where it is durable here."""
    by_checksum: bool = False
    """Whether every byte was compared."""


_UNKNOWN = Custody(NO_SUCH_INSTANCE)


def custody(catalog: Catalog, folder: Path, references: Sequence[tuple[str, str]]) -> list[Custody]:
    """Say of each reference whether it is durable here, in their order.

    Of an instance of which other bytes came too (a conflict) nothing is promised: nobody can say which of
    them is meant.

    Parameters
    ----------
    folder
        Of the `Intake`; what lies elsewhere is somebody else's to keep.
    references
        SOP Class UID and SOP Instance UID of each.
    """
    said: dict[tuple[str, str], Custody] = {}
    for batch in batched(dict.fromkeys(references), _AT_ONCE):
        rows = _places(catalog, {uid for _, uid in batch})
        for sop_class_uid, uid in batch:
            here = [row for row in rows.get(uid, ()) if Path(openable(row["folder"])).is_relative_to(folder)]
            said[sop_class_uid, uid] = _custody(sop_class_uid, here)
    return [said[each] for each in references]


def _custody(sop_class_uid: str, places: Sequence[Any]) -> Custody:
    if not places:
        return _UNKNOWN
    if any(row["sop_class_uid"] != sop_class_uid for row in places):
        return Custody(CLASS_CONFLICT)
    for row in places:
        if reason := _NOT_PROMISED.get(row["state"]):
            return Custody(reason)
    found = [_looked_at(row) for row in places if row["state"] == State.INDEXED.value]
    return min(found, key=lambda each: (each.reason, not each.by_checksum), default=_UNKNOWN)


def _looked_at(row: Any) -> Custody:
    path = Path(openable(row["folder"]), openable(row["name"]))
    if row["rot"] is not None:
        return Custody(PROCESSING_FAILURE)
    try:
        if path.stat().st_size != row["size"]:
            return Custody(PROCESSING_FAILURE)
        if row["size"] > CHECKSUM_BYTES:
            return Custody(0)
        is_same = file_digest(path) == row["content_digest"]
    except FileNotFoundError:
        return _UNKNOWN
    except OSError:
        return Custody(PROCESSING_FAILURE)
    return Custody(0 if is_same else PROCESSING_FAILURE, by_checksum=True)


def _places(catalog: Catalog, uids: set[str]) -> dict[str, list[Any]]:
    statement = (
        sa.select(
            instances.c.sop_instance_uid,
            instances.c.sop_class_uid,
            *(files.c[name] for name in ("folder", "name", "size", "state", "content_digest")),
            checks.c.id.label("rot"),
        )
        .join(files, files.c.instance == instances.c.id)
        .outerjoin(checks, rots(checks, files))
        .where(instances.c.sop_instance_uid.in_(uids))
    )
    found: dict[str, list[Any]] = {}
    with catalog.reading() as connection:
        for row in connection.execute(statement).mappings():
            found.setdefault(row["sop_instance_uid"], []).append(row)
    return found
