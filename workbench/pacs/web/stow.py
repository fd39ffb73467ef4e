"""Stores instances at a DICOMweb node (STOW-RS, PS3.18 section 10.5), and says what its answers mean."""

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from catalog.deliveries import Event, Meaning, store_meaning
from catalog.errors import RefusedError, words_of
from workbench.pacs.file_meta import harmless
from workbench.pacs.instance import Instance
from workbench.pacs.web import rows
from workbench.pacs.web.client import PIECE, Client
from workbench.pacs.web.rows import Row

LEAST_BYTES_PER_SECOND = 64 * 1024
"""How fast a node must take an object, on average."""
ANSWER_BYTES = 1024 * 1024
"""The most that the answer about one instance may have."""

_REFERENCED, _FAILED, _OTHERS = (
    0x00081199,
    0x00081198,
    0x0008119A,
)  # Referenced, Failed SOP and Other Failures
_INSTANCE, _WARNING, _REASON = 0x00081155, 0x00081196, 0x00081197

STATUS: tuple[tuple[int, int, Event, str], ...] = (
    (200, 200, Event.SUCCESS, "stored"),
    (201, 299, Event.WARNING, "the node took it, with warnings or failures"),
    (300, 399, Event.REFUSED, "the node names another address, which is not followed; give the right url"),
    (400, 400, Event.REFUSED, "the node does not understand the request"),
    (401, 401, Event.UNAVAILABLE, "the node does not know who asks; check token_variable or the certificate"),
    (403, 403, Event.UNAVAILABLE, "the node does not allow this bench to store; its administrator can"),
    (404, 405, Event.REFUSED, "the node does not offer to store; check the url"),
    (408, 408, Event.UNAVAILABLE, "the node waited too long for the instance"),
    (409, 409, Event.REFUSED, "the node does not take it"),
    (413, 413, Event.REFUSED, "the node finds it too large"),
    (415, 415, Event.REFUSED, "the node does not take DICOM files"),
    (429, 429, Event.UNAVAILABLE, "the node asks for fewer requests"),
    (400, 499, Event.REFUSED, "the node refuses it"),
    (501, 501, Event.REFUSED, "the node does not offer to store"),
    (507, 507, Event.UNAVAILABLE, "the node has no room for it"),
    (500, 599, Event.UNAVAILABLE, "the node cannot store it now"),
)  # fmt: skip
"""Status of the answer, first row that fits (PS3.18 table 10.5.3-1, RFC 9110)."""

_TOLD = frozenset({200, 202, 400, 409})
"""Status whose answer says what became of each instance."""

FAILURE_REASONS: Mapping[int, Meaning] = {
    0xC122: Meaning(Event.REFUSED, "the node does not store this transfer syntax (failure reason C122)"),
}
"""Failure Reason (0008,1197) that C-STORE has not (PS3.18 table I.2-2)."""


def store(client: Client, instance: Instance) -> Meaning:
    """Send the bytes of a file as they stand, but for a preamble, and say what the answer means.

    One request an instance: what a node says is about this one, and nothing is held in memory.

    Raises
    ------
    catalog.errors.NodeUnavailableError
        If no answer came; the instance may or may not have arrived.
    catalog.errors.RefusedError
        If the node cannot be trusted, or the file cannot be read.
    """
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    size = len(head) + instance.path.stat().st_size + len(tail)
    with client.post(
        "/studies",
        lambda: _pieces(head, instance.path, tail),
        length=size,
        content_type=f'multipart/related; type="application/dicom"; boundary={boundary}',
        accept=rows.JSON,
        at_most=client.node.answer_seconds + size / LEAST_BYTES_PER_SECOND,
    ) as answer:
        content = answer.read(ANSWER_BYTES) if answer.status in _TOLD else b""
        return meaning_of(answer.status, content, instance.sop_instance_uid)


def meaning_of(status: int, content: bytes, sop_instance_uid: str) -> Meaning:
    """Return what an answer means for one instance.

    An answer that does not name it is believed as far as its status goes: what the node holds is shown by
    reading back alone.
    """
    event, words = _of_status(status)
    told = _told(content) if status in _TOLD else None
    if told is None:
        return Meaning(event, words)
    for item in rows.items(told, _FAILED):
        if rows.text(item, _INSTANCE) == sop_instance_uid:
            return _failed(rows.number(item, _REASON), event, words)
    for item in rows.items(told, _REFERENCED):
        if rows.text(item, _INSTANCE) == sop_instance_uid and status in (200, 202):
            return _stored(rows.number(item, _WARNING), status)
    if event is not Event.REFUSED and (others := rows.items(told, _OTHERS)):
        return _failed(rows.number(others[0], _REASON), event, words)
    if event is Event.REFUSED:
        return Meaning(event, words)
    return Meaning(Event.WARNING, f"{words}; its answer does not name the instance")


def _of_status(status: int) -> tuple[Event, str]:
    for first, last, event, words in STATUS:
        if first <= status <= last:
            return event, f"{words} (status {status})"
    return Event.UNAVAILABLE, f"the node answers with a status nobody defined ({status})"


def _stored(warning: int | None, status: int) -> Meaning:
    if not warning:
        return Meaning(Event.SUCCESS, f"stored (status {status})")
    meaning = store_meaning(warning)
    if meaning.event is Event.WARNING:
        return meaning
    return Meaning(Event.WARNING, f"stored, with a warning of the node (warning reason {warning:04X})")


def _failed(reason: int | None, event: Event, words: str) -> Meaning:
    """What a failure means: one that the node holds already is read back; one without a reason may pass."""
    if reason is None:
        later = Event.UNAVAILABLE if event is not Event.REFUSED else event
        return Meaning(later, f"the node did not store it and gives no reason; {words}")
    meaning = FAILURE_REASONS.get(reason) or store_meaning(reason)
    if meaning.event in (Event.REFUSED, Event.UNAVAILABLE) or reason == _DUPLICATE:
        return meaning
    return Meaning(
        Event.UNAVAILABLE,
        f"the node did not store it, for a reason that is none (failure reason {reason:04X})",
    )


_DUPLICATE = 0x0111


def _told(content: bytes) -> Row | None:
    """The data set of an answer; `None` where it is none in JSON."""
    try:
        return rows.row_in(content)
    except ValueError:
        return None


def _pieces(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    try:
        with path.open("rb") as file:
            yield harmless(file.read(PIECE))
            while piece := file.read(PIECE):
                yield piece
    except OSError as error:
        raise RefusedError(f"the file cannot be read: {words_of(error)}") from None
    yield tail
