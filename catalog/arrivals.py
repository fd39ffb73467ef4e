"""What arrives on its way into the catalog: its place, its row, its end; and what a crash left of it.

Every arrival has a name under `incoming` until it is settled, and one for good made of digests alone: nothing
from the wire is ever part of a path. See `catalog.intake`.
"""

import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa

from catalog import locks, receptions
from catalog.content import Contents
from catalog.database import Catalog
from catalog.durable import file_digest
from catalog.errors import CatalogError
from catalog.headers import read_header
from catalog.identifiers import folder_name
from catalog.models import files
from catalog.places import INCOMING, QUARANTINE, State
from catalog.receptions import NOBODY, Sender
from catalog.records import InstanceHeader, Unreadable
from catalog.scan import Found, storable


class Status(StrEnum):
    """What became of an object; every one that came whole has exactly one."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """The same bytes are here already."""
    CONFLICT = "conflict"
    """Other bytes under a known SOP Instance UID: kept beside and recorded, never in its stead."""
    SUPERSEDING = "superseding"
    """The same, where the newest counts: the one before is kept beside."""
    QUARANTINED = "quarantined"
    """Kept with the reason, and part of no answer: unreadable, cut, or not what it was said to be."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sender says an object is; empty where it says nothing."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    sender: Sender = NOBODY
    """Who it is."""


NO_CLAIM = Claim()


@dataclass(frozen=True, slots=True)
class Taken:
    """The end of one object."""

    status: Status
    path: str
    """Where it lies; of a duplicate the file that was there."""
    reason: str = ""
    series_instance_uid: str = ""
    digest: str = ""
    """SHA-256 of the whole file."""


@dataclass(slots=True, eq=False)
class Arrival:
    """One object that is durable under `incoming`, on its way into the catalog."""

    temporary: Path
    token: str
    digest: str
    found: InstanceHeader | Unreadable
    path: Path
    sender: Sender = NOBODY
    placed: bool = False
    """Whether it has its place on the disk, or an error."""
    noted: bool = False
    """Whether it has its row, or an error."""
    settled: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    outcome: Taken | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The same of two objects where they are the same."""
        return self.sop_instance_uid, self.digest

    @property
    def sop_instance_uid(self) -> str:
        """Empty where it cannot be read."""
        return str(self.found.values["sop_instance_uid"]) if isinstance(self.found, InstanceHeader) else ""

    @property
    def is_unreadable(self) -> bool:
        """Whether it is to be part of no answer."""
        return isinstance(self.found, Unreadable)

    @property
    def series_instance_uid(self) -> str:
        """Empty where it cannot be read."""
        return _series(self.found)

    @property
    def reason(self) -> str:
        """Why it is part of no answer; empty where it is."""
        return self.found.reason if isinstance(self.found, Unreadable) else ""

    @property
    def place(self) -> Found:
        """Where it lies for good, as the index finds files."""
        state = self.path.stat()
        return Found(str(self.path.parent), self.path.name, state.st_size, state.st_mtime_ns, self.digest)

    @property
    def provisional(self) -> Taken:
        """What is known of it before it is settled."""
        if isinstance(self.found, Unreadable):
            return Taken(Status.QUARANTINED, str(self.path), self.reason, digest=self.digest)
        return Taken(Status.STORED, str(self.path), "", self.series_instance_uid, self.digest)

    def end(self, outcome: Taken) -> None:
        """It is settled, and its name under `incoming` is no longer needed."""
        self.temporary.unlink(missing_ok=True)
        self.outcome = outcome
        self.settled.set()


NOTED = "folder", "name", "size", "mtime_ns", "state", "reason", "content_digest"
"""Columns of the row that says an object is here."""


def note_of(arrival: Arrival) -> tuple[str | int, ...]:
    """Return the values of `NOTED` for an object."""
    found = arrival.place
    return (
        storable(found.folder),
        storable(found.name),
        found.size,
        found.mtime_ns,
        State.RECEIVED.value,
        arrival.reason,
        arrival.digest,
    )


def reception_of(arrival: Arrival) -> dict[str, object]:
    """Return the row that says who sent an object."""
    place = storable(str(arrival.path.parent)), storable(arrival.path.name)
    uids = arrival.sop_instance_uid, arrival.series_instance_uid
    return receptions.row(arrival.sender, place, uids, arrival.digest, datetime.now(UTC))


def is_at(path: Path) -> sa.ColumnElement[bool]:
    """Return the condition that a row of `files` is of this file."""
    return sa.and_(files.c.folder == storable(str(path.parent)), files.c.name == storable(path.name))


def state_at(connection: sa.Connection, path: Path) -> str | None:
    """State of a file's row, if it has one."""
    state: str | None = connection.scalar(sa.select(files.c.state).where(is_at(path)))
    return state


def path_of(folder: Path, found: InstanceHeader | Unreadable, digest: str, token: str) -> Path:
    """Where an object lies for good: in the folder of its series, or in quarantine; made of digests alone."""
    name = f"{digest[:32]}-{token}.dcm"
    if isinstance(found, Unreadable):
        return folder / QUARANTINE / digest[:2] / name
    series = folder_name(_series(found))
    return folder / series[:2] / series / name


def _series(found: InstanceHeader | Unreadable) -> str:
    return str(found.values["series_instance_uid"]) if isinstance(found, InstanceHeader) else ""


def unsettled(folder: Path) -> set[str]:
    """Names of what is noted, or about to be, and not settled yet, by any process.

    Parameters
    ----------
    folder
        Of an `Intake`.
    """
    found = set()
    for temporary in (folder / INCOMING).glob("*/*.partial"):
        with suppress(FileNotFoundError):
            if temporary.stat().st_nlink > 1:
                found.add(temporary.name)
    return found


def is_at_work(folder: Path) -> bool:
    """Whether a process takes in what arrives just now.

    Parameters
    ----------
    folder
        Of an `Intake`.
    """
    return any(map(locks.is_held, (folder / INCOMING).glob("*")))


def sweep(catalog: Catalog, folder: Path, own: Path) -> list[Arrival]:
    """Clear up after processes that are gone; return what they had noted and not settled.

    What they had not noted goes: its sender, who knows of no success, sends it again. Processes at work are
    left alone.

    Parameters
    ----------
    folder
        Of an `Intake`.
    own
        Where names of what is returned go meanwhile; its lock is held.
    """
    noted: list[Arrival] = []
    for left in sorted((folder / INCOMING).iterdir()):
        try:
            with locks.alone(left, wait=False):
                for temporary in left.glob("*.partial"):
                    arrival = _left(catalog, folder, temporary)
                    if arrival is None:
                        temporary.unlink()
                    else:
                        arrival.temporary = temporary.rename(own / temporary.name)
                        noted.append(arrival)
                remove_folder(left)
        except (BlockingIOError, NotADirectoryError):
            continue
    return noted


def _left(catalog: Catalog, folder: Path, temporary: Path) -> Arrival | None:
    """What was noted under a name; without a row it has no place any more when this returns."""
    if temporary.stat().st_nlink == 1:
        return None
    token, digest = temporary.name.partition(".")[0], file_digest(temporary)
    for found in (Unreadable(str(temporary), ""), read_header(temporary, Contents())):
        path = path_of(folder, found, digest, token)
        if path.exists() and path.samefile(temporary):
            with catalog.reading() as connection:
                row = state_at(connection, path)
                reason = connection.scalar(sa.select(files.c.reason).where(is_at(path))) or ""
                sender = receptions.sender_at(connection, storable(str(path.parent)), storable(path.name))
            if row is None:
                path.unlink()
            elif row == State.RECEIVED.value:
                if isinstance(found, Unreadable):
                    found = Unreadable(str(path), reason)
                return Arrival(temporary, token, digest, found, path, sender)
    return None


def take_back(catalog: Catalog, batch: Iterable[Arrival]) -> tuple[list[Arrival], list[Arrival]]:
    """Remove what could not be noted; return what was noted all the same, and what nobody can tell of now.

    A database that is cut off may have committed what it did not answer.
    """
    noted, undecided = [], []
    for each in batch:
        try:
            if each.path.exists():
                with catalog.reading() as connection:
                    row = state_at(connection, each.path)
                if row is not None:
                    noted.append(each)
                    continue
                each.path.unlink()
            each.temporary.unlink(missing_ok=True)
        except (OSError, CatalogError, sa.exc.SQLAlchemyError):
            undecided.append(each)
    return noted, undecided


def remove_folder(folder: Path) -> None:
    """Remove the folder of names of a process, which is empty but for its lock."""
    (folder / locks.LOCK).unlink(missing_ok=True)
    folder.rmdir()
