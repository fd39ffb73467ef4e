"""DIMSE messages put together of fragments: bounded, or on their way where a caller says (PS3.7 6.3)."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Protocol

from workbench.pacs.wire.command import Command, decode
from workbench.pacs.wire.failures import ProtocolError
from workbench.pacs.wire.pdu import COMMAND, INVALID_PARAMETER_VALUE, LAST, UNEXPECTED_PDU

LARGEST_COMMAND = 64 << 10
"""Bytes of a command set; 50,000 attribute tags are no command of PS3.7."""
LARGEST_HELD = 4 << 20
"""Bytes of a data set that is held in memory: 25,000 references of a storage commitment."""


class Target(Protocol):
    """Takes the data set of a message, fragment by fragment.

    What it raises ends the association. A reason to refuse the message, as a full disk, it keeps for whoever
    answers.
    """

    def write(self, fragment: memoryview, /) -> object:
        """Take a fragment; its bytes are gone when this returns."""
        ...


type Into = Callable[[int, Command], Target | None]
"""Takes context ID and command set of a message whose data set follows; returns where that goes, or `None`
for it to be held in memory."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that came whole."""

    context_id: int
    command: Command
    data_set: bytes = b""
    """What was held of it."""
    target: Target | None = None
    """Where it went instead."""


class Messages:
    """Puts the messages of one association together.

    Parameters
    ----------
    context_ids
        Those of the presentation contexts that were accepted.
    """

    def __init__(self, context_ids: Container[int]) -> None:
        self._context_ids = context_ids
        self._command_set = bytearray()
        self._held = bytearray()
        self._context_id: int | None = None
        self._command: Command | None = None
        self._target: Target | None = None

    @property
    def target(self) -> Target | None:
        """Where the data set of a message goes that is not whole yet."""
        return self._target

    @property
    def is_between(self) -> bool:
        """Whether no message is under way."""
        return self._context_id is None

    def take(
        self, context_id: int, control: int, fragment: memoryview, into: Into | None = None
    ) -> Message | None:
        """Take a presentation data value; return the message that is whole with it.

        Raises
        ------
        ProtocolError
            If it breaks a rule.
        """
        if context_id not in self._context_ids:
            raise ProtocolError("a message in no accepted presentation context", INVALID_PARAMETER_VALUE)
        if context_id != self._context_id and self._context_id is not None:
            raise ProtocolError("a message within another one", UNEXPECTED_PDU)
        self._context_id = context_id
        if control & COMMAND:
            return self._take_command(control, fragment, into)
        return self._take_data(control, fragment)

    def _take_command(self, control: int, fragment: memoryview, into: Into | None) -> Message | None:
        if self._command is not None:
            raise ProtocolError("a command set within a message", UNEXPECTED_PDU)
        if len(self._command_set) + len(fragment) > LARGEST_COMMAND:
            raise ProtocolError("a command set too long to be one", INVALID_PARAMETER_VALUE)
        self._command_set += fragment
        if not control & LAST:
            return None
        self._command = decode(bytes(self._command_set))
        if not self._command.has_data_set:
            return self._whole()
        if into is not None and self._context_id is not None:
            self._target = into(self._context_id, self._command)
        return None

    def _take_data(self, control: int, fragment: memoryview) -> Message | None:
        if self._command is None:
            raise ProtocolError("a data set without its command set", UNEXPECTED_PDU)
        if self._target is not None:
            self._target.write(fragment)
        elif len(self._held) + len(fragment) > LARGEST_HELD:
            raise ProtocolError("a data set too long to be held", INVALID_PARAMETER_VALUE)
        else:
            self._held += fragment
        return self._whole() if control & LAST else None

    def _whole(self) -> Message:
        assert self._command is not None
        assert self._context_id is not None
        message = Message(self._context_id, self._command, bytes(self._held), self._target)
        self._command_set, self._held = bytearray(), bytearray()
        self._context_id = self._command = self._target = None
        return message
