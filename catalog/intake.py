"""Takes in objects that others send: durable, told in the catalog, and in exactly one state before an answer.

An object is written, counted and hashed as it comes, under `incoming`; it gets its place by a link, so that
whatever a crash leaves has a name there, and the next sweep takes it back. Nothing from the wire is ever part
of a path, and no file is written over.
"""

import errno
import hashlib
import os
import secrets
import shutil
import threading
from collections import deque
from collections.abc import Buffer, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa

from catalog import locks
from catalog.content import Contents
from catalog.database import Catalog
from catalog.durable import file_digest, make_folder, sync
from catalog.errors import CatalogError, ConflictError
from catalog.extent import shortfall
from catalog.headers import read_header
from catalog.identifiers import folder_name
from catalog.index import ATTEMPTS, settle
from catalog.models import files
from catalog.places import Instance, State
from catalog.records import InstanceHeader, Unreadable
from catalog.scan import Found, storable
from catalog.upsert import OvertakenError, look_up

BATCH = 200
"""Objects in one transaction at most."""
STRIDE = 16 << 20
"""Bytes after which the space is looked at again, and the disk is set to work."""

_INCOMING, _QUARANTINE = "incoming", "quarantine"
_BUFFER = 1 << 18
_FOLDERS = 10_000
"""Folders that a process remembers to have made."""


class Status(StrEnum):
    """What became of an object; every one that came whole has exactly one."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """The same bytes are here already."""
    CONFLICT = "conflict"
    """Other bytes under a known SOP Instance UID: kept beside and recorded, never in its stead."""
    QUARANTINED = "quarantined"
    """Kept with the reason, and part of no answer: unreadable, cut, or not what it was said to be."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sender says an object is; empty where it says nothing."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""


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


class Incoming:
    """A file as it comes in: written, counted and hashed part by part; gone unless it is taken.

    Raises
    ------
    OSError
        On opening and writing, with `ENOSPC` before the disk is full: `reserve` bytes stay free.
    """

    def __init__(self, folder: Path, reserve: int) -> None:
        self.token = secrets.token_hex(8)
        self.path = folder / f"{self.token}.partial"
        self.size = 0
        self.kept = False
        """Whether its name must stay for the next sweep, as nobody can say what became of it."""
        self._reserve = reserve
        self._sha = hashlib.sha256()
        self._looked = 0
        leave_free(folder, reserve)
        self._file = self.path.open("xb", buffering=_BUFFER)

    def write(self, part: Buffer) -> None:
        """Write on."""
        self._file.write(part)
        self._sha.update(part)
        self.size += memoryview(part).nbytes
        if self.size - self._looked >= STRIDE:
            leave_free(self.path.parent, self._reserve)
            self._set_to_work()

    def sync(self) -> str:
        """Wait until every byte is on the disk; return SHA-256 of all of them."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._sha.hexdigest()

    def discard(self) -> None:
        """Leave nothing."""
        with suppress(OSError):  # what a full disk did not take
            self._file.close()
        if not self.kept:
            self.path.unlink(missing_ok=True)

    def _set_to_work(self) -> None:
        """Have the disk begin with what is there, so that the last wait is short and memory stays flat."""
        if hasattr(os, "posix_fadvise"):
            length = self.size - self._looked
            os.posix_fadvise(self._file.fileno(), max(self._looked, STRIDE), length, os.POSIX_FADV_DONTNEED)
        self._looked = self.size


def leave_free(folder: Path, reserve: int) -> None:
    """Raise OSError (ENOSPC) where fewer than `reserve` bytes are free on the disk of a folder."""
    if shutil.disk_usage(folder).free < reserve:
        raise OSError(errno.ENOSPC, "fewer bytes are free than are to stay free", str(folder))


@dataclass(slots=True, eq=False)
class _Arrival:
    """One object that is durable under `incoming` and waits for its place."""

    temporary: Path
    token: str
    digest: str
    found: InstanceHeader | Unreadable
    done: threading.Event = field(default_factory=threading.Event)
    outcome: Taken | BaseException | None = None

    @property
    def key(self) -> tuple[str, str]:
        return _uid(self.found), self.digest

    def end(self, outcome: Taken | BaseException) -> None:
        self.outcome = outcome
        self.done.set()


class Intake:
    """The one door through which objects come in, for any number of threads; a context.

    One thread gives places and writes rows: what arrives while it waits for the disk goes into its next
    transaction together.

    Parameters
    ----------
    catalog
        An open catalog.
    folder
        Of what was received; on one file system, which has hard links.
    reserve
        Bytes that stay free on its disk.

    Raises
    ------
    OSError
        On entering, if the folder cannot be written.
    """

    def __init__(self, catalog: Catalog, folder: Path, *, reserve: int = 0) -> None:
        self._catalog = catalog
        self.folder = Path(os.path.realpath(folder))
        self._reserve = reserve
        self._own = self.folder / _INCOMING / secrets.token_hex(8)
        self._waiting: deque[_Arrival] = deque()
        self._more = threading.Condition()
        self._ending = False
        self._local = threading.local()
        self._durable: set[Path] = set()

    def __enter__(self) -> "Intake":
        make_folder(self.folder / _INCOMING)
        sweep(self._catalog, self.folder)
        self._lock = locks.shared(self._own)
        self._lock.__enter__()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        with self._more:
            self._ending = True
            self._more.notify_all()
        self._thread.join()
        with suppress(OSError):  # what still comes in is swept by the next
            _remove_folder(self._own)
        self._lock.__exit__(None, None, None)

    def begin(self) -> Incoming:
        """Open a file for an object that begins to come.

        Raises
        ------
        OSError
            With `ENOSPC` where the disk is nearly full.
        """
        return Incoming(self._own, self._reserve)

    @contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """The same as a context, which leaves nothing of what was not taken."""
        incoming = self.begin()
        try:
            yield incoming
        finally:
            incoming.discard()

    def take(self, incoming: Incoming, claim: Claim = Claim()) -> Taken:
        """Take in an object that is whole; it is durable, and told in the catalog, when this returns.

        Raises
        ------
        OSError, catalog.errors.CatalogError
            If it could not be kept; then there is nothing of it.
        """
        try:
            digest = incoming.sync()
            arrival = _Arrival(incoming.path, incoming.token, digest, self._examine(incoming, claim))
            with self._more:
                if self._ending:
                    raise OSError(errno.ESHUTDOWN, "nothing is taken in any more")
                self._waiting.append(arrival)
                self._more.notify()
            arrival.done.wait()
            if isinstance(arrival.outcome, Taken):
                return arrival.outcome
            assert arrival.outcome is not None
            incoming.kept = incoming.path.stat().st_nlink > 1  # the catalog gave no answer whether it is told
            raise arrival.outcome
        finally:
            incoming.discard()

    def _examine(self, incoming: Incoming, claim: Claim) -> InstanceHeader | Unreadable:
        """Read the header, or say why the object must not be part of any answer."""
        contents = getattr(self._local, "contents", None)  # one a thread: it remembers what it has seen
        if contents is None:
            contents = self._local.contents = Contents()
        header = read_header(incoming.path, contents)
        if isinstance(header, Unreadable):
            return header
        for name, wanted in (
            ("sop_instance_uid", claim.sop_instance_uid),
            ("sop_class_uid", claim.sop_class_uid),
        ):
            if wanted and header.values.get(name) != wanted:
                words = "SOP Instance UID" if name == "sop_instance_uid" else "SOP Class UID"
                return Unreadable(header.path, f"has another {words} than it was sent under")
        short = shortfall(header)
        return header if short is None else Unreadable(header.path, f"is not whole: {short}")

    def _run(self) -> None:
        while True:
            with self._more:
                self._more.wait_for(lambda: self._waiting or self._ending)
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            if not batch:
                return
            self._end(batch)

    def _end(self, batch: Sequence[_Arrival]) -> None:
        """Give every object of a batch its end, one by one where they cannot have it together."""
        try:
            self._settle(batch)
        except (OSError, CatalogError) as error:
            for each in batch:
                each.end(error)
        except BaseException as error:  # a value that a database does not take, of one of them
            if len(batch) > 1:
                for each in batch:
                    self._end([each])
            elif isinstance(batch[0].found, InstanceHeader):
                reason = f"cannot be told in the catalog: {type(error).__name__}"
                batch[0].found = Unreadable(batch[0].found.path, reason)
                self._end(batch)
            else:
                batch[0].end(CatalogError(f"an object cannot be recorded: {type(error).__name__}"))

    def _settle(self, batch: Sequence[_Arrival]) -> None:
        leaders: dict[tuple[str, str], _Arrival] = {}
        for each in batch:
            leaders.setdefault(each.key, each)
        placed: dict[_Arrival, Path] = {}
        try:
            taken = self._placed(list(leaders.values()), placed)
        except BaseException:
            _take_back(self._catalog, placed.values())
            raise
        for each in batch:
            leader = leaders[each.key]
            outcome = taken[leader]
            if each is not leader and outcome.status is Status.STORED:
                outcome = replace(outcome, status=Status.DUPLICATE)
            each.end(outcome)

    def _placed(self, arrivals: Sequence[_Arrival], placed: dict[_Arrival, Path]) -> dict[_Arrival, Taken]:
        """Give new objects a place and a row, again where another process was faster."""
        for attempt in range(1, ATTEMPTS + 1):
            taken = self._known(arrivals)
            for superfluous in [each for each in placed if each in taken]:
                placed.pop(superfluous).unlink()
            new = [each for each in arrivals if each not in taken]
            self._give_places(new, placed)
            found = [_found(placed[each], each) for each in new]
            read = [_read(placed[each], each) for each in new]
            try:
                outcomes = settle(self._catalog, found, read, {})
            except (OvertakenError, ConflictError, sa.exc.IntegrityError) as error:
                if attempt == ATTEMPTS:
                    raise CatalogError(
                        f"other processes changed the same instances {ATTEMPTS} times; send them again"
                    ) from error
                continue
            for each, outcome in zip(new, outcomes, strict=True):
                place = outcome.place
                status = _STATUS.get(place.state, Status.STORED)
                taken[each] = Taken(status, place.path, place.reason, _series(each.found), each.digest)
            return taken
        raise AssertionError("it ends with a result or an error")

    def _known(self, arrivals: Sequence[_Arrival]) -> dict[_Arrival, Taken]:
        """Those of which the same bytes lie here already, and are told."""
        taken = {}
        with self._catalog.reading() as connection:
            known = look_up(connection, {uid for each in arrivals if (uid := _uid(each.found))})
            for each in arrivals:
                if isinstance(each.found, Unreadable):
                    path = _path(self.folder, each)
                    for there in path.parent.glob(f"{path.name.partition('-')[0]}-*"):
                        if there != path and _is_told(connection, there):
                            taken[each] = Taken(Status.QUARANTINED, str(there), each.found.reason)
                elif (same := self._same(known.get(_uid(each.found)), each)) is not None:
                    taken[each] = same
        return taken

    def _same(self, instance: Instance | None, arrival: _Arrival) -> Taken | None:
        for place in instance.places if instance else ():
            if place.content_digest != arrival.digest or place.state not in _HERE:
                continue
            if Path(place.path).is_relative_to(self.folder) and _is_whole(place.path, place.size):
                status = _STATUS.get(place.state, Status.DUPLICATE)
                return Taken(status, place.path, place.reason, _series(arrival.found), arrival.digest)
        return None

    def _give_places(self, arrivals: Sequence[_Arrival], placed: dict[_Arrival, Path]) -> None:
        for each in arrivals:
            if each not in placed:
                path = _path(self.folder, each)
                self._make_durable(path.parent)
                os.link(each.temporary, path)
                placed[each] = path
        for folder in {path.parent for path in placed.values()}:
            sync(folder)

    def _make_durable(self, folder: Path) -> None:
        """Make a folder; its name is on the disk even where another process has just made it."""
        if folder not in self._durable:
            make_folder(folder)
            for each in (folder.parent, folder.parent.parent):
                sync(each)
            if len(self._durable) >= _FOLDERS:
                self._durable.clear()
            self._durable.add(folder)


_STATUS = {State.CONFLICT: Status.CONFLICT, State.REJECTED: Status.QUARANTINED}
_HERE = (State.INDEXED, State.CONFLICT)


def sweep(catalog: Catalog, folder: Path) -> int:
    """Take back what processes that are gone left unfinished; return of how many objects.

    What was answered has its row, and stays; everything else goes, and its sender, who knows of no success,
    sends it again. Processes that are at work are left alone.

    Parameters
    ----------
    folder
        Of an `Intake`.
    """
    count = 0
    for left in sorted((folder / _INCOMING).iterdir()):
        try:
            with locks.alone(left, wait=False):
                for temporary in left.glob("*.partial"):
                    _take_back_one(catalog, folder, temporary)
                    count += 1
                _remove_folder(left)
        except (BlockingIOError, NotADirectoryError):
            continue
    return count


def _take_back_one(catalog: Catalog, folder: Path, temporary: Path) -> None:
    if temporary.stat().st_nlink > 1:
        token = temporary.name.partition(".")[0]
        unread = Unreadable(str(temporary), "")
        arrival = _Arrival(temporary, token, file_digest(temporary), unread)
        paths = [_path(folder, arrival)]
        header = read_header(temporary)
        if isinstance(header, InstanceHeader):
            arrival.found = header
            paths.append(_path(folder, arrival))
        _take_back(catalog, [path for path in paths if path.exists() and path.samefile(temporary)])
    temporary.unlink()


def _take_back(catalog: Catalog, paths: Iterable[Path]) -> None:
    """Remove files that no row names; what cannot be asked about stays, with its name under `incoming`."""
    with suppress(CatalogError, sa.exc.SQLAlchemyError):
        for path in list(paths):
            with catalog.reading() as connection:
                is_told = _is_told(connection, path)
            if not is_told:
                path.unlink(missing_ok=True)


def _is_told(connection: sa.Connection, path: Path) -> bool:
    told = sa.select(files.c.id).where(
        files.c.folder == storable(str(path.parent)), files.c.name == storable(path.name)
    )
    return connection.scalar(told) is not None


def _path(folder: Path, arrival: _Arrival) -> Path:
    """Where an object lies for good: in the folder of its series, or in quarantine; made of digests alone."""
    name = f"{arrival.digest[:32]}-{arrival.token}.dcm"
    if isinstance(arrival.found, Unreadable):
        return folder / _QUARANTINE / arrival.digest[:2] / name
    series = folder_name(_series(arrival.found))
    return folder / series[:2] / series / name


def _found(path: Path, arrival: _Arrival) -> Found:
    state = path.stat()
    return Found(str(path.parent), path.name, state.st_size, state.st_mtime_ns, arrival.digest)


def _read(path: Path, arrival: _Arrival) -> InstanceHeader | Unreadable:
    return replace(arrival.found, path=str(path))


def _is_whole(path: str, size: int) -> bool:
    try:
        return Path(path).stat().st_size == size
    except OSError:
        return False


def _uid(found: InstanceHeader | Unreadable) -> str:
    return str(found.values["sop_instance_uid"]) if isinstance(found, InstanceHeader) else ""


def _series(found: InstanceHeader | Unreadable) -> str:
    return str(found.values["series_instance_uid"]) if isinstance(found, InstanceHeader) else ""


def _remove_folder(folder: Path) -> None:
    (folder / locks.LOCK).unlink(missing_ok=True)
    folder.rmdir()
