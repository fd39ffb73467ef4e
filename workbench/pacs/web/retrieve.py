"""Gets the instances of a series from a DICOMweb node into files (WADO-RS, PS3.18 section 10.4)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from catalog.durable import make_folder, write_beside
from catalog.errors import DeliveryError, RefusedError
from catalog.identifiers import folder_name, is_uid
from catalog.room import Room
from workbench.pacs.file_meta import harmless
from workbench.pacs.web import rows
from workbench.pacs.web.client import Answer, Client
from workbench.pacs.web.multipart import Begin, End, Event, Multipart
from workbench.pacs.web.node import WebNode
from workbench.pacs.web.qido import search

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""As they are kept: a node that cannot transcode one of them would end its answer there."""
LARGEST_PART = 16 * 1024**3
"""Bytes of one instance."""
FAILURES_AT_MOST = 8
"""Instances in a row that do not come one by one, before the rest is not asked for."""
SOP_INSTANCE_UID = 0x00080018

_HEAD = 4096
"""Bytes in which the meta information names the instance."""
_LONG = frozenset({b"OB", b"OW", b"UN", b"SQ", b"UT", b"UC", b"UR"})


def retrieve(
    node: WebNode,
    study_instance_uid: str,
    series_instance_uid: str,
    folder: Path,
    *,
    reserve: int = 0,
    took: Callable[[int], None] = lambda _size: None,
) -> Sequence[Path]:
    """Write every instance of a series that a node has into files; as `workbench.pacs.node.Node.retrieve`.

    The series is asked for at once, and what did not come of it one by one.
    """
    if not (is_uid(study_instance_uid) and is_uid(series_instance_uid)):
        raise RefusedError("a series whose UIDs are no UIDs cannot be asked for by DICOMweb")
    series = f"/studies/{study_instance_uid}/series/{series_instance_uid}"
    with Client(node) as client:
        found = search(client, f"{series}/instances", SOP_INSTANCE_UID, returned=[SOP_INSTANCE_UID])
        uids = [uid for row in found if (uid := rows.text(row, SOP_INSTANCE_UID))]
        if not uids:
            raise RefusedError(f"{node.name} does not find the instances of series {series_instance_uid}")
        into = folder / folder_name(series_instance_uid)
        make_folder(into)
        kept = _Kept(into, frozenset(uids), took, Room(into, reserve))
        refusals = _all_of(client, series, uids, kept)
    missing = len(uids) - len(kept.paths)
    if missing:
        raise RefusedError(
            f"{node.name} does not give all of series {series_instance_uid}: {missing:,} of {len(uids):,} "
            f"instances did not come. {'. '.join(dict.fromkeys(refusals))}"
        )
    return tuple(kept.paths.values())


def _all_of(client: Client, series: str, uids: Sequence[str], kept: "_Kept") -> list[str]:
    """Ask for the series, then for each that did not come; return why some did not."""
    refusals = _tried(client, series, kept)
    failed = 0
    for uid in uids:
        if uid in kept.paths:
            continue
        refusals += _tried(client, f"{series}/instances/{uid}", kept)
        failed = 0 if uid in kept.paths else failed + 1
        if failed == FAILURES_AT_MOST:
            break
    return refusals


def _tried(client: Client, path: str, kept: "_Kept") -> list[str]:
    try:
        with client.get(path, ACCEPT) as answer:
            kept.take(client.node, answer)
    except DeliveryError as error:
        return [str(error)]
    return []


class _Kept:
    """Takes the parts of answers, and keeps the instances that are wanted as files named by digests."""

    def __init__(self, folder: Path, wanted: frozenset[str], took: Callable[[int], None], room: Room) -> None:
        self._folder, self._room = folder, room
        self._took = took
        self._wanted = wanted
        self.paths: dict[str, Path] = {}

    def take(self, node: WebNode, answer: Answer) -> None:
        """Keep what an answer brings, each instance durable before the next is read.

        Raises
        ------
        catalog.errors.DeliveryError
            If the answer is no multipart of DICOM, or is cut short; what came whole before is kept.
        """
        passed = 0
        for part in parts_of(node, answer):
            passed += not self._keep(part)
            if passed > len(self._wanted):
                raise RefusedError(f"{node.name} sends other instances than it was asked for")

    def _keep(self, body: Iterator[bytes]) -> bool:
        head = bytearray()
        for piece in body:
            head += piece
            if len(head) >= _HEAD:
                break
        uid = named_in(head)
        if uid not in self._wanted or uid in self.paths:
            for _ in body:
                pass
            return False
        wanted = self._folder / f"{folder_name(uid)}.dcm"
        path = write_beside(wanted, self._as_there_is_room(chain([harmless(bytes(head))], body)))
        self.paths[uid] = path
        self._took(path.stat().st_size)
        return True

    def _as_there_is_room(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._room.take(len(piece))
            yield piece


def named_in(head: bytes | bytearray) -> str:
    """SOP Instance UID that a file's meta information names (PS3.10 section 7.1); empty where none does."""
    at = 132 if head[128:132] == b"DICM" else len(head)
    while head[at : at + 2] == b"\x02\x00":
        long = bytes(head[at + 4 : at + 6]) in _LONG
        begin = at + (12 if long else 8)
        length = int.from_bytes(head[begin - 4 if long else begin - 2 : begin], "little")
        if head[at + 2 : at + 4] == b"\x03\x00":
            return bytes(head[begin : begin + length]).rstrip(b"\0 ").decode("ascii", "replace")
        at = begin + length
    return ""


def parts_of(node: WebNode, answer: Answer) -> Iterator[Iterator[bytes]]:
    """Yield the parts of an answer, each to be read before the next.

    Raises
    ------
    catalog.errors.DeliveryError
        If the answer is no multipart of DICOM, or is cut short; at the end of what came.
    """
    boundary = answer.boundary
    if answer.content_type != "multipart/related" or not boundary:
        raise RefusedError(f"{node.name} answers WADO-RS with something else than multipart/related")
    events = _events(node, answer, boundary)
    for begin in events:
        assert isinstance(begin, Begin)  # the parser ends each part before the next
        yield _body(node, events)


def _events(node: WebNode, answer: Answer, boundary: str) -> Iterator[Event]:
    try:
        parser = Multipart(boundary)
        for piece in answer.pieces():
            yield from parser.feed(piece)
    except ValueError as error:
        raise RefusedError(f"{node.name} answers WADO-RS with what is no multipart: {error}") from None
    if not parser.closed:
        raise RefusedError(f"{node.name} ended its answer before the closing boundary")


def _body(node: WebNode, events: Iterator[Event]) -> Iterator[bytes]:
    size = 0
    for event in events:
        if isinstance(event, End):
            return
        assert isinstance(event, bytes)
        size += len(event)
        if size > LARGEST_PART:
            raise RefusedError(f"{node.name} sends an instance of more than {LARGEST_PART:,} bytes")
        yield event
