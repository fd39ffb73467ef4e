"""Takes in objects that others send: durable and noted in the catalog before an answer, settled after it.

An object is written and hashed as it comes, under `incoming`. In one step with others it gets its place, by a
link, and a row that says it is here: then its sender may be told. What it is to the catalog is settled right
after that, many together: exactly one state for each. Its name under `incoming` goes last, so that whatever a
crash leaves has a name there: the next start goes on with what has a row, and takes back the rest. Nothing
from the wire is ever part of a path, and no file is written over.
"""

import errno
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from catalog import locks
from catalog.arrivals import (
    INCOMING,
    NO_CLAIM,
    Arrival,
    Claim,
    Status,
    Taken,
    is_at,
    note_of,
    path_of,
    remove_folder,
    state_at,
    sweep,
    take_back,
)
from catalog.content import Contents
from catalog.database import Catalog
from catalog.durable import make_folder, sync
from catalog.errors import CatalogError, ConflictError
from catalog.extent import shortfall
from catalog.headers import read_header
from catalog.incoming import Incoming
from catalog.index import ATTEMPTS, settle
from catalog.models import files
from catalog.places import Instance, State
from catalog.records import InstanceHeader, Unreadable
from catalog.upsert import OvertakenError, look_up

BATCH = 200
"""Objects in one transaction at most."""
UNSETTLED = 10 * BATCH
"""Objects that may wait to be settled; more are not taken in meanwhile."""
PAUSE_SECONDS = 0.25
"""Objects are settled when none came for so long, as who settles holds up who notes ..."""
MANY = UNSETTLED // 2
"""... or when so many wait, or somebody asks for what became of one."""
ROOM_SECONDS = 60.0
"""How long an object waits for room among those to be settled."""
AGAIN_SECONDS = 1.0
"""After which what could not be settled is tried again."""

_FOLDERS = 10_000
"""Folders that a process remembers to have made."""


class Intake:
    """The one door through which objects come in, for any number of threads; a context.

    What arrives while others are noted goes into the next transaction together; a thread settles what was
    noted.

    Parameters
    ----------
    catalog
        An open catalog.
    folder
        Of what was received; on one file system, which has hard links.
    reserve
        Bytes that stay free on its disk.
    tell
        Called with the end of every object, by a thread of the intake.

    Raises
    ------
    OSError
        On entering, if the folder cannot be written.
    """

    def __init__(
        self,
        catalog: Catalog,
        folder: Path,
        *,
        reserve: int = 0,
        tell: Callable[[Taken], None] = lambda _taken: None,
    ) -> None:
        self.catalog = catalog
        self.folder = Path(os.path.realpath(folder))
        self._reserve, self._tell = reserve, tell
        self._own = self.folder / INCOMING / secrets.token_hex(8)
        self._arrived: deque[Arrival] = deque()
        self._unsettled: deque[Arrival] = deque()
        self._more = threading.Condition()
        self._noting = threading.Lock()
        self._hurry = 0
        self._last = 0.0
        self._ending = self._all_noted = False
        self._local = threading.local()
        self._durable: set[Path] = set()

    def __enter__(self) -> "Intake":
        make_folder(self.folder / INCOMING)
        self._lock = locks.shared(self._own)
        self._lock.__enter__()
        self._unsettled += sweep(self.catalog, self.folder, self._own)
        self._thread = threading.Thread(target=self._settle_all, name="intake", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        with self._more:
            self._ending = True
            self._more.notify_all()
        with self._noting:
            while self._arrived:
                self._note_all()
        with self._more:
            self._all_noted = True
            self._more.notify_all()
        self._thread.join()
        with suppress(OSError):  # what still comes in, or could not be settled, is for the next sweep
            remove_folder(self._own)
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

    def take(self, incoming: Incoming, claim: Claim = NO_CLAIM, *, settled: bool = True) -> Taken:
        """Take in an object that is whole; it is durable, and noted in the catalog, when this returns.

        Parameters
        ----------
        settled
            Wait until it is settled: only then is known whether it is a duplicate or a conflict.

        Raises
        ------
        OSError, catalog.errors.CatalogError
            If it could not be kept; then there is nothing of it.
        """
        try:
            digest = incoming.sync()
            found = self._examine(incoming, claim)
            path = path_of(self.folder, found, digest, incoming.token)
            arrival = Arrival(incoming.path, incoming.token, digest, found, path)
            with self._more:
                if not self._more.wait_for(lambda: self._has_room or self._ending, ROOM_SECONDS):
                    raise OSError(errno.EBUSY, "what was taken in before cannot be settled")
                if self._ending:
                    raise OSError(errno.ESHUTDOWN, "nothing is taken in any more")
                self._arrived.append(arrival)
                self._last = time.monotonic()
            incoming.kept = True
            with self._noting:  # who comes first does it for all who wait
                if not arrival.noted:
                    self._note_all()
            if arrival.error is not None:
                raise arrival.error
        finally:
            incoming.discard()
        if settled:
            with self._more:
                self._hurry += 1
                self._more.notify_all()
            arrival.settled.wait()
            with self._more:
                self._hurry -= 1
        return arrival.outcome or arrival.provisional

    def _examine(self, incoming: Incoming, claim: Claim) -> InstanceHeader | Unreadable:
        """Read the header, or say why the object must not be part of any answer."""
        contents = getattr(self._local, "contents", None)  # one a thread: it remembers what it has seen
        if contents is None:
            contents = self._local.contents = Contents()
        header = read_header(incoming.path, contents)
        if isinstance(header, Unreadable):
            return header
        for column, wanted, words in (
            ("sop_instance_uid", claim.sop_instance_uid, "SOP Instance UID"),
            ("sop_class_uid", claim.sop_class_uid, "SOP Class UID"),
        ):
            if wanted and header.values.get(column) != wanted:
                return Unreadable(header.path, f"has another {words} than it was sent under")
        short = shortfall(header)
        return header if short is None else Unreadable(header.path, f"is not whole: {short}")

    # --- noted: it has its place, and a row that says so -------------------------------------------------

    def _note_all(self) -> None:
        with self._more:
            batch = [self._arrived.popleft() for _ in range(min(BATCH, len(self._arrived)))]
        try:
            self._note(batch)
        except BaseException as raised:
            take_back(self.catalog, batch)
            for each in batch:
                each.error = (
                    raised
                    if isinstance(raised, (OSError, CatalogError))
                    else CatalogError(f"an object cannot be noted: {type(raised).__name__}")
                )
        else:
            with self._more:
                self._unsettled += batch
                self._more.notify_all()
        for each in batch:
            each.noted = True

    @property
    def _has_room(self) -> bool:
        return len(self._unsettled) < UNSETTLED

    def _note(self, batch: Sequence[Arrival]) -> None:
        for each in batch:
            self._make_durable(each.path.parent)
            os.link(each.temporary, each.path)
        for folder in {each.path.parent for each in batch}:
            sync(folder)
        with self.catalog.transaction() as connection:
            connection.execute(_NOTE, [note_of(each) for each in batch])

    def _make_durable(self, folder: Path) -> None:
        """Make a folder; its name is on the disk even where another process has just made it."""
        if folder not in self._durable:
            make_folder(folder)
            for each in (folder.parent, folder.parent.parent):
                sync(each)
            if len(self._durable) >= _FOLDERS:
                self._durable.clear()
            self._durable.add(folder)

    # --- settled: stored, duplicate, conflict or quarantined ---------------------------------------------

    def _settle_all(self) -> None:
        while True:
            with self._more:
                self._more.wait_for(lambda: bool(self._unsettled) or self._all_noted)
                while not self._more.wait_for(lambda: self._is_time, PAUSE_SECONDS):
                    if time.monotonic() - self._last >= PAUSE_SECONDS:
                        break
                batch = [self._unsettled.popleft() for _ in range(min(BATCH, len(self._unsettled)))]
                self._more.notify_all()
            if not batch:
                return
            left: list[Arrival] = self._settle_each(batch)
            for each in left:
                each.settled.set()  # it is durable and noted: what it is comes later
            with self._more:
                self._unsettled.extendleft(reversed(left))
                is_end = bool(left) and self._more.wait_for(lambda: self._all_noted, AGAIN_SECONDS)
            if is_end:
                return  # the next start goes on with them

    @property
    def _is_time(self) -> bool:
        return len(self._unsettled) >= MANY or bool(self._hurry) or self._all_noted

    def _settle_each(self, batch: Sequence[Arrival]) -> list[Arrival]:
        """Settle a batch, one by one where they cannot be together; return what could not be for now."""
        try:
            self._settle(batch)
        except (OSError, CatalogError):
            return [each for each in batch if not each.settled.is_set()]
        except Exception as error:  # a value that a database does not take, of one of them
            if len(batch) > 1:
                return [left for each in batch for left in self._settle_each([each])]
            (arrival,) = batch
            if isinstance(arrival.found, Unreadable):
                return [arrival]
            reason = f"cannot be told in the catalog: {type(error).__name__}"
            arrival.found = Unreadable(str(arrival.path), reason)
            return self._settle_each(batch)
        return []

    def _settle(self, batch: Sequence[Arrival]) -> None:
        leaders: dict[tuple[str, str], Arrival] = {}
        for each in batch:
            leaders.setdefault(each.key, each)
        taken = self._decided(list(leaders.values()))
        for each in batch:
            if (leader := leaders[each.key]) is not each:
                status = _AGAIN.get(taken[leader].status, taken[leader].status)
                taken[each] = replace(taken[leader], status=status)
        self._remove([each for each in batch if taken[each].path != str(each.path)])
        for each in batch:
            each.end(taken[each])
            self._tell(taken[each])

    def _decided(self, arrivals: Sequence[Arrival]) -> dict[Arrival, Taken]:
        """Make rows of what is new, again where another process was faster."""
        for attempt in range(1, ATTEMPTS + 1):
            taken = self._known(arrivals)
            self._quarantine([each for each in arrivals if each.is_unreadable and each not in taken], taken)
            new = [each for each in arrivals if each not in taken]
            found = [each.place for each in new]
            try:
                outcomes = settle(
                    self.catalog, found, [replace(each.found, path=str(each.path)) for each in new], {}
                )
            except (OvertakenError, ConflictError, sa.exc.IntegrityError):
                if attempt == ATTEMPTS:
                    raise
                continue
            for each, outcome in zip(new, outcomes, strict=True):
                place = outcome.place
                status = _STATUS.get(place.state, Status.STORED)
                taken[each] = Taken(status, place.path, place.reason, each.series_instance_uid, each.digest)
            return taken
        raise AssertionError("it ends with a result or an error")

    def _quarantine(self, arrivals: Sequence[Arrival], taken: dict[Arrival, Taken]) -> None:
        if arrivals:
            with self.catalog.transaction() as connection:
                for each in arrivals:
                    connection.execute(_QUARANTINE.where(is_at(each.path)), {"because": each.reason})
        taken |= {each: each.provisional for each in arrivals}

    def _known(self, arrivals: Sequence[Arrival]) -> dict[Arrival, Taken]:
        """Those of which the same bytes lie here already, and are settled."""
        taken = {}
        with self.catalog.reading() as connection:
            known = look_up(connection, {uid for each in arrivals if (uid := each.sop_instance_uid)})
            for each in arrivals:
                if isinstance(each.found, Unreadable):
                    for there in each.path.parent.glob(f"{each.path.name.partition('-')[0]}-*"):
                        if there != each.path and state_at(connection, there) == State.QUARANTINED.value:
                            taken[each] = replace(each.provisional, path=str(there))
                elif (same := self._same(known.get(each.sop_instance_uid), each)) is not None:
                    taken[each] = same
        return taken

    def _same(self, instance: Instance | None, arrival: Arrival) -> Taken | None:
        for place in instance.places if instance else ():
            if place.content_digest != arrival.digest or place.state not in _HERE:
                continue
            if Path(place.path).is_relative_to(self.folder) and _is_whole(place.path, place.size):
                status = _STATUS.get(place.state, Status.DUPLICATE)
                return Taken(status, place.path, place.reason, arrival.series_instance_uid, arrival.digest)
        return None

    def _remove(self, superfluous: Sequence[Arrival]) -> None:
        """Remove what is here twice: the row, then the file."""
        if superfluous:
            with self.catalog.transaction() as connection:
                for each in superfluous:
                    connection.execute(files.delete().where(is_at(each.path)))
            for each in superfluous:
                each.path.unlink()


_STATUS = {State.CONFLICT: Status.CONFLICT, State.REJECTED: Status.QUARANTINED}
_AGAIN = {Status.STORED: Status.DUPLICATE}
_HERE = (State.INDEXED, State.CONFLICT)
_NOTE = files.insert()
_QUARANTINE = files.update().values(state=State.QUARANTINED.value, reason=sa.bindparam("because"))


def _is_whole(path: str, size: int) -> bool:
    try:
        return Path(path).stat().st_size == size
    except OSError:
        return False
