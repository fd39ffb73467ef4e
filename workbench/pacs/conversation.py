"""An association with a known caller: its requests, one at a time, and what goes in between (PS3.7)."""

from collections import Counter, deque
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode
from pynetdicom.presentation import PresentationContext

from workbench.pacs.acceptor import Guest
from workbench.pacs.arriving import Arriving
from workbench.pacs.callers import Caller
from workbench.pacs.wire.association import Association
from workbench.pacs.wire.command import Command, Field
from workbench.pacs.wire.failures import ProtocolError
from workbench.pacs.wire.messages import Into, Message
from workbench.pacs.wire.pdu import UNEXPECTED_PDU

MESSAGES_AHEAD = 4
"""Requests that may come before the answer to one of ours; they keep their turn."""


class Conversation:
    """An association whose requests are answered by the thread that has it.

    Parameters
    ----------
    caller
        Who asks.
    into
        Where data sets go.
    """

    def __init__(self, association: Association, guest: Guest, caller: Caller, into: Into) -> None:
        self.caller = caller
        self.ae_title = association.agreed.calling_ae_title
        """Of the caller."""
        self.name = caller.name or self.ae_title
        """For the journal."""
        self.outcomes = Counter[str]()
        """Of the objects that came."""
        self._association, self._guest, self._into = association, guest, into
        self._ahead: deque[Message] = deque()
        self._cancelled: int | None = None

    def requests(self, silent_seconds: float) -> Iterator[Message]:
        """Yield requests until the association is released; silence, or the receiver's end, aborts it.

        Raises
        ------
        WireError
            If it ends otherwise.
        """
        while self._association.is_open:
            if self._ahead:
                message: Message | None = self._ahead.popleft()
            elif self._guest.wait(silent_seconds):
                message = self._association.receive(self._into)
            else:
                self._association.abort()
                return
            if message is None:
                return
            if message.command.command_field == Field.C_CANCEL:  # of what is answered already
                continue
            if message.command.is_response or message.command.message_id is None:
                self._association.abort()
                return
            self._cancelled = None
            yield message

    def close(self) -> None:
        """Leave nothing of what was not answered; the association is at its end."""
        self._association.abort()
        for each in (self._association.unfinished(), *(message.target for message in self._ahead)):
            if isinstance(each, Arriving):
                each.discard()

    def context_of(self, message: Message) -> PresentationContext:
        """Presentation context of a message."""
        return self._association.agreed.accepted[message.context_id]

    def context_for(self, sop_class_uid: str, transfer_syntax_uid: str) -> int | None:
        """ID of the context in which instances can go to the caller; `None` where it takes none such."""
        roles = self._association.agreed.roles.get(UID(sop_class_uid), (None, None))
        for number, context in self._association.agreed.accepted.items():
            if (context.abstract_syntax, context.transfer_syntax[0]) == (sop_class_uid, transfer_syntax_uid):
                return number if roles[1] else None
        return None

    def data_set_of(self, message: Message) -> Dataset:
        """Decode the data set of a message; raises whatever pydicom stumbles over."""
        syntax = self.context_of(message).transfer_syntax[0]
        return decode(BytesIO(message.data_set), syntax.is_implicit_VR, syntax.is_little_endian)

    def respond(self, message: Message, status: int, data_set: Dataset | None = None, **more: Any) -> None:
        """Answer a request.

        Parameters
        ----------
        more
            Further elements of the response, by the names of `Command`.

        Raises
        ------
        WireError
            If the association is at its end.
        """
        command = message.command.response(status, **more)
        self._association.send(message.context_id, command, self._encoded(message.context_id, data_set))

    def ask(self, context_id: int, command: Command, data_set: Dataset, *, seconds: float) -> Command | None:
        """Send a request of ours; return its answer, `None` where the association ends or the time is up.

        Raises
        ------
        WireError
            If the association ends otherwise than by its release.
        """
        self._association.send(context_id, command, self._encoded(context_id, data_set))
        until = monotonic() + seconds
        while self._guest.wait(max(until - monotonic(), 0.0)):
            answer = self._answer_to(command)
            if answer is not None or not self._association.is_open:
                return answer
        return None

    def ask_file(self, context_id: int, command: Command, path: Path, offset: int) -> Command | None:
        """As `ask`, with the data set that begins at an offset of a file; as long as the association waits.

        Raises
        ------
        OSError
            If the file cannot be read; if the association ends it is a `WireError`.
        """
        self._association.send_file(context_id, command, path, offset)
        while True:
            answer = self._answer_to(command)
            if answer is not None or not self._association.is_open:
                return answer

    def next_message_id(self) -> int:
        """Return one for a request of ours."""
        return self._association.next_message_id()

    def is_cancelled(self, message: Message) -> bool:
        """Whether a C-CANCEL of a request came (PS3.7 section 9.3.2.3)."""
        while self._association.is_open and self._association.is_readable():
            self._answer_to(None)
        return self._cancelled is not None and self._cancelled == message.command.message_id

    def _answer_to(self, asked: Command | None) -> Command | None:
        """Receive one message: the answer to a request of ours is returned, whatever else keeps its turn."""
        message = self._association.receive(self._into)
        if message is None:
            return None
        command = message.command
        if command.is_response:
            if asked is not None and command.message_id_being_responded_to == asked.message_id:
                return command
        elif command.command_field == Field.C_CANCEL:
            self._cancelled = command.message_id_being_responded_to
            return None
        elif len(self._ahead) < MESSAGES_AHEAD:
            self._ahead.append(message)
            return None
        self._association.abort()
        raise ProtocolError("an answer that nobody waits for, or too many requests", UNEXPECTED_PDU)

    def _encoded(self, context_id: int, data_set: Dataset | None) -> bytes:
        if data_set is None:
            return b""
        syntax = self._association.agreed.accepted[context_id].transfer_syntax[0]
        return encode(data_set, syntax.is_implicit_VR, syntax.is_little_endian) or b""
