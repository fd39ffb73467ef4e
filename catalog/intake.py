"""Takes in objects that others send: durable and noted in the catalog before an answer, settled after it.

An object is written and hashed as it comes, under `incoming`. Together with others it gets its place, by a
link, and then, while the next get theirs, a row that says it is here: then its sender may be told. What it is
to the catalog is settled right after that, many together: exactly one state for each. Its name under
`incoming` goes last, so that whatever a crash leaves has a name there: the next start goes on with what has a
row, and takes back the rest. Nothing from the wire is ever part of a path, and no file is written over.
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
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from catalog import locks, receptions
from catalog.arrivals import (
    NO_CLAIM,
    NOTED,
    Arrival,
    Claim,
    Status,
    Taken,
    is_at,
    note_of,
    path_of,
    reception_of,
    remove_folder,
    state_at,
    sweep,
    take_back,
    unsettled,
)
from catalog.bulk import fill
from catalog.checks import Check, Due, Soundness
from catalog.checks import note as note_checks
from catalog.content import Contents
from catalog.database import Catalog
from catalog.durable import file_digest, make_folder, sync
from catalog.errors import CatalogError, ConflictError
from catalog.extent import imageless, shortfall
from catalog.headers import read_header
from catalog.incoming import Incoming
from catalog.index import ATTEMPTS, settle
from catalog.models import files
from catalog.places import INCOMING, Instance, Place, State
from catalog.receptions import Sender
from catalog.records import InstanceHeader, Unreadable
from catalog.upsert import OvertakenError, look_up

BATCH = 200
"""Objects in one transaction at most."""
UNSETTLED = 10 * BATCH
"""Objects that may wait to be settled; more are not taken in meanwhile."""
PAUSE_SECONDS = 0.1
"""Objects are settled when none came for so long, as one alone costs as much as fifty together ..."""
MANY = BATCH
"""... or when so many wait, or somebody asks for what became of one."""
ROOM_SECONDS = 60.0
"""How long an object waits for room among those to be settled."""
AGAIN_SECONDS = 1.0
"""After which what could not be settled is tried again, then after twice as long each time ..."""
LONGEST_SECONDS = 30.0
"""... up to this; sooner where the catalog takes something in again, or somebody asks for it."""

_LOOK_SECONDS = 0.02
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
    newest_counts
        Whether what a sender sends counts where its SOP Instance UID is known with other bytes.

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
        newest_counts: Callable[[Sender], bool] = lambda _sender: False,
    ) -> None:
        self.catalog = catalog
        self.folder = Path(os.path.realpath(folder))
        self._reserve, self._tell, self._newest_counts = reserve, tell, newest_counts
        self._own = self.folder / INCOMING / secrets.token_hex(8)
        self._arrived: deque[Arrival] = deque()
        self._placed: deque[Arrival] = deque()
        self._unsettled: deque[Arrival] = deque()
        self._undecided: deque[Arrival] = deque()
        """Those whose senders were told of a failure, while nobody knows whether the catalog noted them."""
        self._again = AGAIN_SECONDS
        self._more = threading.Condition()
        self._placing, self._noting = threading.Lock(), threading.Lock()
        self._hurry = 0
        self._last = 0.0
        self._ending = self._all_noted = False
        self._contents: deque[Contents] = deque()
        """Those that no thread uses just now; they remember the headers they have seen."""
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
        with self._placing:
            while self._arrived:
                self._place_all()
        with self._noting:
            while self._placed:
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
            incoming.flush()
            found = self._examine(incoming, claim)  # while the disk is at work
            digest = incoming.sync()
            path = path_of(self.folder, found, digest, incoming.token)
            arrival = Arrival(incoming.path, incoming.token, digest, found, path, claim.sender)
            with self._more:
                if not self._more.wait_for(lambda: self._has_room or self._ending, ROOM_SECONDS):
                    raise OSError(errno.EBUSY, "what was taken in before cannot be settled")
                if self._ending:
                    raise OSError(errno.ESHUTDOWN, "nothing is taken in any more")
                self._arrived.append(arrival)
                self._last = time.monotonic()
            incoming.kept = True
            with self._placing:  # who comes first does it for all who wait
                while not arrival.placed:
                    self._place_all()
            with self._noting:  # while the next get their places
                while not arrival.noted:
                    self._note_all()
            if arrival.error is not None:
                raise arrival.error
        finally:
            incoming.discard()
        if settled:
            with self._hurried():
                arrival.settled.wait()
        return arrival.outcome or arrival.provisional

    def settle(self, seconds: float) -> bool:
        """Wait until what was noted before is settled, by any process; whether it is within some seconds."""
        waiting = unsettled(self.folder)
        until = time.monotonic() + seconds
        with self._hurried():
            while not waiting.isdisjoint(unsettled(self.folder)):
                if time.monotonic() >= until:
                    return False
                time.sleep(_LOOK_SECONDS)
        return True

    @contextmanager
    def _hurried(self) -> Iterator[None]:
        """Have settled what waits, without the pause, as somebody asks for it."""
        with self._more:
            self._hurry += 1
            self._more.notify_all()
        try:
            yield
        finally:
            with self._more:
                self._hurry -= 1

    def _examine(self, incoming: Incoming, claim: Claim) -> InstanceHeader | Unreadable:
        """Read the header, or say why the object must not be part of any answer."""
        try:
            contents = self._contents.pop()
        except IndexError:
            contents = Contents()
        try:
            header = read_header(incoming.path, contents)
        finally:
            self._contents.append(contents)
        if isinstance(header, Unreadable):
            return header
        for column, wanted, words in (
            ("sop_instance_uid", claim.sop_instance_uid, "SOP Instance UID"),
            ("sop_class_uid", claim.sop_class_uid, "SOP Class UID"),
        ):
            if wanted and header.values.get(column) != wanted:
                return Unreadable(header.path, f"has another {words} than it was sent under")
        short = shortfall(header) or imageless(header)
        return header if short is None else Unreadable(header.path, f"is not whole: {short}")

    # --- placed: it has its name for good; noted: a row says so -----------------------------------------

    def _place_all(self) -> None:
        """Give all who arrived their places; one wait for the disk is for all of them."""
        batch = self._together(self._arrived)
        try:
            self._place(batch)
        except BaseException as raised:
            self._give_up(batch, raised)
        else:
            self._placed += batch
        for each in batch:
            each.placed = True

    def _note_all(self) -> None:
        """Note all who have their places, in one transaction."""
        batch = self._together(self._placed)
        try:
            self._note(batch)
        except BaseException as raised:
            self._give_up(batch, raised)
        else:
            with self._more:
                is_first, is_mended = not self._unsettled, self._again > AGAIN_SECONDS
                self._unsettled += batch
                self._again = AGAIN_SECONDS
                if is_first or is_mended or self._is_time:
                    self._more.notify_all()
        for each in batch:
            each.noted = True

    def _together(self, waiting: deque[Arrival]) -> list[Arrival]:
        return [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]

    def _give_up(self, batch: Sequence[Arrival], raised: BaseException) -> None:
        noted, undecided = take_back(self.catalog, batch)
        with self._more:
            self._unsettled += noted
            self._undecided += undecided
            self._more.notify_all()
        for each in batch:
            each.noted = True
            if each not in noted:
                each.error = (
                    raised
                    if isinstance(raised, (OSError, CatalogError))
                    else CatalogError(f"an object cannot be noted: {type(raised).__name__}")
                )

    @property
    def _has_room(self) -> bool:
        return len(self._unsettled) + len(self._undecided) < UNSETTLED

    def _place(self, batch: Sequence[Arrival]) -> None:
        for each in batch:
            self._make_durable(each.path.parent)
            os.link(each.temporary, each.path)
        for folder in {each.path.parent for each in batch}:
            sync(folder)

    def _note(self, batch: Sequence[Arrival]) -> None:
        with self.catalog.transaction() as connection:
            fill(connection, files.name, NOTED, map(note_of, batch))
            receptions.note(connection, [reception_of(each) for each in batch])

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
                self._more.wait_for(lambda: bool(self._unsettled or self._undecided) or self._all_noted)
                while (left := self._last + PAUSE_SECONDS - time.monotonic()) > 0:
                    if self._more.wait_for(lambda: self._is_time, left):
                        break
                undecided, self._undecided = self._undecided, deque()
            noted, unknown = take_back(self.catalog, undecided)
            with self._more:
                self._unsettled.extendleft(reversed(noted))
                self._undecided.extendleft(reversed(unknown))
                batch = [self._unsettled.popleft() for _ in range(min(BATCH, len(self._unsettled)))]
                self._more.notify_all()
                is_last = self._all_noted
            if not batch and not unknown:
                if is_last:
                    return
                continue
            later: list[Arrival] = self._settle_each(batch)
            for each in later:
                each.settled.set()  # it is durable and noted: what it is comes later
            with self._more:
                self._unsettled.extendleft(reversed(later))
            if not (later or unknown):
                self._again = AGAIN_SECONDS
            elif is_last:
                return  # the next start goes on with them
            else:
                self._rest()

    def _rest(self) -> None:
        """Wait until it is worth another try, as it is at the end."""
        with self._more:
            pause = self._again
            self._again = longer = min(2 * pause, LONGEST_SECONDS)
            self._more.wait_for(lambda: self._all_noted, AGAIN_SECONDS)
            self._more.wait_for(
                lambda: self._all_noted or bool(self._hurry) or self._again < longer, pause - AGAIN_SECONDS
            )

    @property
    def _is_time(self) -> bool:
        return len(self._unsettled) >= MANY or bool(self._hurry) or self._all_noted

    def _settle_each(self, batch: Sequence[Arrival]) -> list[Arrival]:
        """Settle a batch, one by one where they cannot be together; return what could not be for now."""
        try:
            self._settle(batch)
        except (OSError, CatalogError, sa.exc.InterfaceError, sa.exc.OperationalError):
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
            headers = [replace(each.found, path=str(each.path)) for each in new]
            newest = {str(each.path) for each in new if self._newest_counts(each.sender)}
            try:
                outcomes = settle(self.catalog, found, headers, {}, newest_counts=newest)
            except (OvertakenError, ConflictError, sa.exc.IntegrityError):
                if attempt == ATTEMPTS:
                    raise
                continue
            for each, outcome in zip(new, outcomes, strict=True):
                place = outcome.place
                status = _STATUS.get(place.state, Status.STORED)
                if outcome.replaced and place.path in newest:
                    status = Status.SUPERSEDING
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
        """Those of which the same bytes lie here already, and are settled.

        What lies here is read again: of a file that has rotted, was cut or is gone that is noted, so that
        it is read last, and it keeps nobody's bytes out.
        """
        taken = {}
        rotten: list[Check] = []
        with self.catalog.reading() as connection:
            known = look_up(connection, {uid for each in arrivals if (uid := each.sop_instance_uid)})
            for each in arrivals:
                if isinstance(each.found, Unreadable):
                    for there in each.path.parent.glob(f"{each.path.name.partition('-')[0]}-*"):
                        if there != each.path and state_at(connection, there) == State.QUARANTINED.value:
                            taken[each] = replace(each.provisional, path=str(there))
                elif (same := self._same(known.get(each.sop_instance_uid), each, rotten)) is not None:
                    taken[each] = same
        note_checks(self.catalog, rotten)
        return taken

    def _same(self, instance: Instance | None, arrival: Arrival, rotten: list[Check]) -> Taken | None:
        for place in instance.places if instance else ():
            if place.content_digest != arrival.digest or place.state not in _HERE:
                continue
            if not Path(place.path).is_relative_to(self.folder):
                continue
            digest = _digest(place.path)
            if digest == arrival.digest:
                status = _STATUS.get(place.state, Status.DUPLICATE)
                return Taken(status, place.path, place.reason, arrival.series_instance_uid, arrival.digest)
            if digest is not None or not Path(place.path).exists():  # else it may be readable another time
                rotten.append(_rot_of(place))
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
_AGAIN = {Status.STORED: Status.DUPLICATE, Status.SUPERSEDING: Status.DUPLICATE}
_HERE = (State.INDEXED, State.CONFLICT)
_QUARANTINE = files.update().values(state=State.QUARANTINED.value, reason=sa.bindparam("because"))


def _digest(path: str) -> str | None:
    """Of a file as it is now; `None` where it cannot be read."""
    try:
        return file_digest(Path(path))
    except OSError:
        return None


def _rot_of(place: Place) -> Check:
    assert place.id is not None
    due = Due(place.id, place.path, place.size, place.mtime_ns, None, place.content_digest)
    reason = "it has no longer the bytes that came; they came once more, and lie beside it"
    return Check(place.path, Soundness.ROT, reason, datetime.now(UTC), due)
