"""Decides what a file is to the catalog: an instance, one more place of it, a conflict, or nothing readable.

One instance may lie in several places; its row follows the bytes of the first. Other bytes under its SOP
Instance UID are a conflict: kept on record, never put in its stead, unless the file itself was changed, or
the new one is whole and the first is cut or can no longer be read: then the first is the conflict.
"""

import errno
import os
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path

from catalog.conflicts import is_same_data_set, other_identity
from catalog.containers import Digest, entry_at, is_elsewhere, state_of
from catalog.durable import file_digest
from catalog.errors import HeaderError, words_of
from catalog.extent import shortfall
from catalog.records import InstanceHeader, PixelData, Unreadable
from catalog.scan import Found, openable, storable

INCOMING, QUARANTINE = "incoming", "quarantine"
"""Folders of an intake beside those of series."""


class State(StrEnum):
    """State of a place, as its column has it."""

    INDEXED = "indexed"
    REJECTED = "rejected"
    CONFLICT = "conflict"
    VANISHED = "vanished"
    DELETED = "deleted"
    """As indexed, but its series or study was deleted (`catalog.corrections`)."""
    RECEIVED = "received"
    """Durable and here; what it is to the catalog is not settled yet (`catalog.intake`)."""
    QUARANTINED = "quarantined"
    """Kept as it was received, with the reason, and part of no answer, whoever reads it again."""
    ARCHIVE = "archive"
    """An archive as it was when its entries, which have rows of their own, were last read."""


class Group(Enum):
    """Where a report counts a file."""

    ADDED = "added"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"


@dataclass(slots=True)
class Place:
    """One row of `files`; folder and name are as the column has them."""

    folder: str
    name: str
    size: int
    mtime_ns: int
    state: State
    reason: str = ""
    sop_instance_uid: str | None = None
    pixel_data: PixelData | None = None
    content_digest: str | None = None
    id: int | None = field(default=None, compare=False)

    @property
    def path(self) -> str:
        """Where to open it."""
        return openable(os.path.join(self.folder, self.name))  # noqa: PTH118 (runs for every file)


@dataclass(slots=True)
class Instance:
    """One row of `instances`, there or to be, with all its places."""

    sop_instance_uid: str
    header_digest: str
    id: int | None = None
    places: list[Place] = field(default_factory=list)
    header: InstanceHeader | None = None
    """What its row is to be made of; `None` where it stays as it is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file."""

    group: Group
    place: Place
    duplicate: bool = False
    moved: bool = False
    moved_from: Place | None = None
    """The place that is gone, where its row does not say so yet."""
    compared: Place | None = None
    """Another place whose content digest became known."""
    replaced: tuple[Place, ...] = ()
    """Places of cut or damaged bytes under this UID, which are in conflict from now on."""


def reject(found: Found, reason: str) -> Outcome:
    """Return the outcome for a file that cannot be read."""
    return Outcome(Group.REJECTED, _place(found, State.REJECTED, reason=reason))


def decide(
    found: Found,
    header: InstanceHeader,
    before: Place | None,
    instance: Instance,
    *,
    newest_counts: bool = False,
) -> Outcome:
    """Decide on a readable file and note it in the instance.

    Parameters
    ----------
    found, header
        The file as it is now.
    before
        Its row, if it was known.
    instance
        That of the header's SOP Instance UID; a new one has no places.
    newest_counts
        Of other bytes under a known UID these count from now on, if they are whole.
    """
    place = _place(found, State.INDEXED, header)
    place.content_digest = found.digest
    if (
        before is not None
        and place.content_digest is None
        and (before.size, before.mtime_ns) == (place.size, place.mtime_ns)
    ):
        place.content_digest = before.content_digest
    others = [each for each in instance.places if each.state is State.INDEXED and each.path != place.path]
    try:
        outcome = _decide(place, header, before, instance, others, newest_counts)
    except OSError as error:
        return reject(found, f"cannot be read: {words_of(error)}")
    if before is not None and instance.header is None and header.header_digest == instance.header_digest:
        instance.header = header  # what was read again is written again, as a newer version may read more
    instance.places = [each for each in instance.places if each.path != place.path] + [place]
    if outcome.moved_from is not None:
        outcome.moved_from.state = State.VANISHED
    return outcome


def _decide(
    place: Place,
    header: InstanceHeader,
    before: Place | None,
    instance: Instance,
    others: list[Place],
    newest_counts: bool,
) -> Outcome:
    known = Group.ADDED if before is None else Group.UPDATED
    if instance.id is None and not instance.places:
        instance.header = header
        return Outcome(known, place)
    standing = next((each for each in others if _stands(each)), None)
    if standing is not None:
        digest_before = standing.content_digest
        same = _same_bytes(place, header, instance, standing)
        compared = standing if standing.content_digest != digest_before else None
        if same:
            return Outcome(known, place, duplicate=before is None, compared=compared)
        is_whole = shortfall(header) is None
        if is_whole and (fault := _fault_of(standing)) is not None:
            return _replace(place, header, instance, others, f"is not whole: {fault}", known)
        if is_whole and newest_counts and before is None:
            words = f"has other bytes than one that came later{other_identity(header, standing.path)}"
            return _replace(place, header, instance, others, words, known)
        return _conflict(place, header, standing.path, compared)
    if _as_recorded(place, header, instance):
        gone = next((each for each in others if _is_gone(each)), None)
        if before is None and (gone is not None or not others):
            return Outcome(Group.UPDATED, place, moved_from=gone, moved=True)
        return Outcome(known, place, duplicate=before is None)
    vouched = before is not None and _vouched(before, instance)
    if vouched or (not _has_bytes(instance) and shortfall(header) is None):
        instance.header, instance.header_digest = header, header.header_digest
        return Outcome(Group.UPDATED, place)
    kept = next((each.path for each in instance.places if each.state in _OF_INSTANCE), "a file that is gone")
    return _conflict(place, header, kept)


def _place(found: Found, state: State, header: InstanceHeader | None = None, *, reason: str = "") -> Place:
    if header is None:
        return Place(storable(found.folder), storable(found.name), found.size, found.mtime_ns, state, reason)
    return Place(
        storable(found.folder),
        storable(found.name),
        header.size,
        header.mtime_ns,
        state,
        reason,
        str(header.values["sop_instance_uid"]),
        header.pixel_data,
    )


def _conflict(place: Place, header: InstanceHeader, kept: str, compared: Place | None = None) -> Outcome:
    place.state = State.CONFLICT
    if (short := shortfall(header)) is not None:
        place.reason = (
            f"is not whole: {short}; {kept} is kept as SOP Instance UID {place.sop_instance_uid}, "
            "this file can be removed"
        )
    else:
        place.reason = (
            f"has SOP Instance UID {place.sop_instance_uid} of {kept} with other bytes"
            f"{other_identity(header, kept)}; "
            "that one is kept, this one is left out: remove the wrong one of the two, or give this one a UID "
            "of its own, and index again"
        )
    return Outcome(Group.REJECTED, place, compared=compared)


def _replace(
    place: Place, header: InstanceHeader, instance: Instance, others: list[Place], words: str, known: Group
) -> Outcome:
    """Make the instance follow another file; those before it become conflicts, with words that say why."""
    instance.header, instance.header_digest = header, header.header_digest
    for each in others:
        each.state = State.CONFLICT
        each.reason = (
            f"{words}; {place.path} is kept as SOP Instance UID {place.sop_instance_uid} "
            "from now on, this file can be removed"
        )
    return Outcome(known, place, replaced=tuple(others))


_OF_INSTANCE = (State.INDEXED, State.VANISHED)
"""States of the places whose bytes the instance's row was made of."""


def _vouched(before: Place, instance: Instance) -> bool:
    """Whether the instance's row was made of this file, or one with the same bytes."""
    return before.sop_instance_uid == instance.sop_instance_uid and before.state in _OF_INSTANCE


def _has_bytes(instance: Instance) -> bool:
    """Whether a file is on record that the row was made of, and that was not found broken since."""
    return any(each.state in _OF_INSTANCE for each in instance.places)


def _fault_of(standing: Place) -> str | None:
    """What is wrong with a file that stands for an instance, or `None`."""
    from catalog.headers import read_header  # with pydicom, which a question to the catalog does not load

    if not is_elsewhere(standing.path):
        header = read_header(standing.path)
    else:
        try:
            with entry_at(standing.path) as entry:
                header = read_header(standing.path, stream=entry.stream)
        except HeaderError as error:
            return str(error)
    return header.reason if isinstance(header, Unreadable) else shortfall(header)


def _stands(place: Place) -> bool:
    """Whether a place still holds the bytes it was indexed with, as far as size and time tell."""
    try:
        size, mtime_ns = state_of(place.path)
    except OSError:
        return False
    return size in (None, place.size) and mtime_ns == place.mtime_ns


def _is_gone(place: Place) -> bool:
    if not is_elsewhere(place.path):
        return not Path(place.path).exists()
    try:
        state_of(place.path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _digest(place: Place) -> str:
    if not is_elsewhere(place.path):
        return file_digest(Path(place.path))
    try:
        with entry_at(place.path) as entry:
            return Digest(entry.stream.read).finish()
    except HeaderError as error:
        raise OSError(errno.EIO, str(error)) from None


def _same_bytes(place: Place, header: InstanceHeader, instance: Instance, standing: Place) -> bool:
    """Compare the cheap way first: size, header, then everything; then the data sets alone."""
    is_alike = place.size == standing.size and header.header_digest == instance.header_digest
    if not is_alike and not is_same_data_set(place.path, standing.path):
        return False
    for each in (standing, place):
        each.content_digest = each.content_digest or _digest(each)
    return not is_alike or place.content_digest == standing.content_digest


def _as_recorded(place: Place, header: InstanceHeader, instance: Instance) -> bool:
    """Whether a file has the bytes of an instance none of whose places can be read any more."""
    recorded = [
        each
        for each in instance.places
        if each.state in (State.INDEXED, State.VANISHED) and each.size == place.size
    ]
    if header.header_digest != instance.header_digest or not recorded:
        return False
    digests = {each.content_digest for each in recorded if each.content_digest is not None}
    if digests:
        place.content_digest = place.content_digest or _digest(place)
    return not digests or place.content_digest in digests
