"""DIMSE messages as they come: data sets of C-STORE go into files, whatever else is held is bounded (PS3.7).

pynetdicom holds a message in memory until it is whole, or writes it to the system's temporary folder.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_CANCEL_RQ, C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import DimsePrimitiveType
from pynetdicom.dsutils import create_file_meta
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import P_DATA

from catalog.identifiers import is_uid
from catalog.incoming import Incoming

IMPLEMENTATION_CLASS_UID = UID("2.25.215404793158166523391063302437911086131")
IMPLEMENTATION_VERSION_NAME = "WORKBENCH_1"
"""Who wrote the file meta information of what is received (PS3.10 table 7.1-1)."""

LARGEST_COMMAND = 64 << 10
"""Bytes of a command set; 50,000 attribute tags are no command of PS3.7."""
LARGEST_IDENTIFIER = 16 << 20
"""Bytes of a data set that is no instance to be stored: 100,000 references of a storage commitment."""
MESSAGES_AHEAD = 4
"""Requests that may wait for their answer; without a negotiated window there is one (PS3.7 D.3.3.3)."""

_COMMAND, _LAST = 1, 2
"""Bits of the message control header (PS3.8 E.2)."""
_PREFIX = bytes(128) + b"DICM"
_INVALID_PDU = "Evt19"
_PENDING = (0xFF00, 0xFF01)

type Begin = Callable[[], Incoming]


class StreamingProvider(DIMSEServiceProvider):
    """Takes the fragments of one association's messages.

    Parameters
    ----------
    begin
        Opens a file for an object; may raise OSError.
    """

    def __init__(self, assoc: Association, begin: Begin) -> None:
        super().__init__(assoc)
        self._begin = begin
        self._command = bytearray()
        self._held = 0
        self._unanswered = 0
        self._into: Incoming | Exception | None = None
        self._open: set[Incoming] = set()

    @property
    def is_between(self) -> bool:
        """Whether no message is under way, nor waits for its answer."""
        return not self._command and self.message is None and self._unanswered <= 0

    def send_msg(self, primitive: DimsePrimitiveType, context_id: int) -> None:
        """Send a message; a final answer ends what was asked."""
        super().send_msg(primitive, context_id)
        is_answer = primitive.MessageIDBeingRespondedTo is not None
        if is_answer and getattr(primitive, "Status", None) not in _PENDING:
            self._unanswered -= 1

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of one P-DATA (PS3.8 E.1); what breaks a rule ends the association."""
        try:
            for context_id, value in primitive.presentation_data_value_list:
                self._take(context_id, memoryview(value))
        except Exception:  # whatever hostile bytes make pynetdicom stumble over
            self._forget()
            self.dul.event_queue.put(_INVALID_PDU)

    def _take(self, context_id: int, fragment: memoryview) -> None:
        control, body = fragment[0], fragment[1:]
        if control & _COMMAND:
            if self.message is not None or len(self._command) + len(body) > LARGEST_COMMAND:
                raise ValueError("a command set within a message, or one too long")
            self._command += body
            if control & _LAST:
                self._begin_message(context_id, bytes(self._command))
                self._command.clear()
            return
        if self.message is None or context_id != self.message.context_id:
            raise ValueError("a data set without its command")
        if isinstance(self.message, C_STORE_RQ):
            self._write(body)
        elif self.message.data_set is not None:
            self._held += len(body)
            if self._held > LARGEST_IDENTIFIER:
                raise ValueError("a data set too long to be held")
            self.message.data_set.write(body)
        if control & _LAST:
            self._end_message(context_id)

    def _begin_message(self, context_id: int, command: bytes) -> None:
        if self.msg_queue.qsize() >= MESSAGES_AHEAD:
            raise ValueError("more requests than the window of operations has")
        message = DIMSEMessage()
        if message.decode_msg(_fragment(context_id, _COMMAND | _LAST, command), self.assoc):
            self._count(message)
            super().receive_primitive(_fragment(context_id, _COMMAND | _LAST, command))
            return
        self.message, self._held = message, 0
        if isinstance(message, C_STORE_RQ):
            syntax = self.assoc._accepted_cx[context_id].transfer_syntax[0]
            try:
                self._into = self._begin()
                self._open.add(self._into)
                self._into.write(_file_meta(message.command_set, syntax))
            except (OSError, ValueError, AttributeError) as error:
                self._refuse(error)

    def _write(self, body: memoryview) -> None:
        if isinstance(self._into, Incoming):
            try:
                self._into.write(body)
            except OSError as error:
                self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        """Go on without keeping anything: the answer says why."""
        if isinstance(self._into, Incoming):
            self._discard(self._into)
        self._into = error

    def _end_message(self, context_id: int) -> None:
        message = self.message
        assert message is not None
        self._count(message)
        if not isinstance(message, C_STORE_RQ):
            super().receive_primitive(_fragment(context_id, _LAST, b""))
            return
        message._data_set_path = cast("Any", self._into)  # pynetdicom hands it on with the request
        self.message = self._into = None
        # by this thread: a queue to the association's, which looks at it every millisecond, is slower
        self.assoc._serve_request(cast("Any", message.message_to_primitive()), context_id)

    def _count(self, message: DIMSEMessage) -> None:
        if type(message).__name__.endswith("_RQ") and not isinstance(message, C_CANCEL_RQ):
            self._unanswered += 1

    def handed_over(self, event: Event) -> Incoming | Exception:
        """What came with a C-STORE request; it is no longer looked after here."""
        came = cast("Any", event.request)._dataset_path
        assert isinstance(came, Incoming | Exception)
        if isinstance(came, Incoming):
            self._open.discard(came)
        return came

    def _discard(self, incoming: Incoming) -> None:
        self._open.discard(incoming)
        incoming.discard()

    def _forget(self) -> None:
        """Leave nothing of a message that did not come whole."""
        self.message = None
        self._command.clear()
        if isinstance(self._into, Incoming):
            self._discard(self._into)
        self._into = None

    def close(self) -> None:
        """Leave nothing of what was never handed over: the association is at its end."""
        self._forget()
        for incoming in list(self._open):
            self._discard(incoming)


def _fragment(context_id: int, control: int, body: bytes) -> P_DATA:
    fragment = P_DATA()
    fragment.presentation_data_value_list = [[context_id, bytes([control]) + body]]  # type: ignore[list-item]
    return fragment


def _file_meta(command: Any, transfer_syntax: str) -> bytes:
    """Preamble and file meta information for a data set, made of its command alone (PS3.10 section 7.1).

    It never changes, also not with a version of this program: the same data set is the same file.
    """
    meta = BytesIO()
    meta.write(_PREFIX)
    uids = command.AffectedSOPClassUID, command.AffectedSOPInstanceUID
    if not all(is_uid(str(uid)) for uid in uids):
        raise ValueError("is sent under something that is no UID")
    made = create_file_meta(
        sop_class_uid=uids[0],
        sop_instance_uid=uids[1],
        transfer_syntax=UID(transfer_syntax),
        implementation_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION_NAME,
    )
    write_file_meta_info(DicomFileLike(meta), made)
    return meta.getvalue()
