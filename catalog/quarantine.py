"""What was received and is part of no answer: kept as it came, with the reason, for a person to look at.

An object comes here that is unreadable, cut, or not what it was said to be; its sender was told so. See
`catalog.intake`.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from catalog.database import Catalog
from catalog.identifiers import is_uid
from catalog.matching import check_count
from catalog.models import files, receptions
from catalog.places import QUARANTINE, State
from catalog.scan import openable, storable


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One object as it was refused; nothing in it is of a patient."""

    at: datetime | None
    """When it came; `None` where nothing says so."""
    node: str
    """Who sent it, by the name of its node here."""
    calling_ae_title: str
    sop_class_uid: str
    """What it was said to be (0002,0002); empty where that cannot be read."""
    reason: str
    bytes: int
    path: str


def quarantined(catalog: Catalog, folder: Path, *, limit: int) -> list[Quarantined]:
    """Return what was refused and is still there, the last first.

    Parameters
    ----------
    folder
        Of an intake.
    limit
        How many at most.

    Raises
    ------
    catalog.errors.QuestionError
        If the limit is no number from 1 on.
    """
    check_count("limit", limit)
    of_place = sa.and_(receptions.c.folder == files.c.folder, receptions.c.name == files.c.name)
    asked = (
        sa.select(
            files.c.folder, files.c.name, files.c.size, files.c.reason,
            receptions.c.at, receptions.c.node, receptions.c.calling_ae_title,
        )
        .select_from(files.outerjoin(receptions, of_place))
        .where(_is_quarantined(folder))
        .order_by(files.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    with catalog.reading() as connection:
        rows = connection.execute(asked).all()
    return [
        Quarantined(
            row.at,
            row.node or "",
            row.calling_ae_title or "",
            _sop_class_at(path),
            row.reason or "",
            row.size,
            path,
        )
        for row in rows
        for path in (openable(f"{row.folder}/{row.name}"),)
    ]


def count_quarantined(catalog: Catalog, folder: Path) -> int:
    """Return how many objects were refused and are still there."""
    with catalog.reading() as connection:
        return connection.scalar(sa.select(sa.func.count()).where(_is_quarantined(folder))) or 0


def _is_quarantined(folder: Path) -> sa.ColumnElement[bool]:
    """They lie in one folder: the index of places finds them among millions of others."""
    root = storable(str(folder / QUARANTINE))
    below = sa.and_(files.c.folder > root + "/", files.c.folder < root + "0")  # the next character
    return sa.and_(below, files.c.state == State.QUARANTINED.value)


def _sop_class_at(path: str) -> str:
    from pydicom.filereader import read_file_meta_info  # which a question to the catalog does not load

    try:
        found = str(read_file_meta_info(path).get("MediaStorageSOPClassUID", ""))
    except Exception:  # whatever pydicom stumbles over in what could not be read
        return ""
    return found if is_uid(found) else ""
