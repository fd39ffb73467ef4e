"""An association, as either side: messages in and out by the thread that calls, and its end (PS3.8 9.2).

What the state table of PS3.8 has as events and actions is here what a call finds next on the connection:
`receive` is in Sta6 (and answers a release, AR-2 and AR-4), `release` in Sta7 to Sta11, and what may not come
in a state is answered with A-ABORT (AA-8), wherever it comes.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from workbench.pacs.wire import negotiation, pdu
from workbench.pacs.wire.command import Command, encode
from workbench.pacs.wire.connection import Connection
from workbench.pacs.wire.failures import AbortedError, LostError, ProtocolError, RejectedError, WireError
from workbench.pacs.wire.messages import Into, Message, Messages, Target
from workbench.pacs.wire.negotiation import Agreed, Negotiate, Request
from workbench.pacs.wire.pdu import COMMAND, UNEXPECTED_PDU, PduType, Value

LINGER_SECONDS = 1.0
"""How long the other side may take to hear the last word before the connection is closed (ARTIM)."""
PIECE_BYTES = 512 << 10
"""Of a file that are held at once."""

_USER, _PROVIDER = 0, 2
"""Source of an A-ABORT (PS3.8 table 9-26)."""


class Association:
    """An association that is open, for one thread at a time.

    Parameters
    ----------
    connection
        What it is on.
    agreed
        What it was opened with.
    is_requestor
        Which side this is.
    """

    def __init__(self, connection: Connection, agreed: Agreed, *, is_requestor: bool) -> None:
        self.connection, self.agreed = connection, agreed
        self._is_requestor = is_requestor
        self._largest = pdu.largest_to(agreed.maximum_length)
        self._messages = Messages(agreed.accepted)
        self._values: Iterator[Value] = iter(())
        self._piece = bytearray()
        self._message_id = 0

    @classmethod
    def request(
        cls,
        connection: Connection,
        calling_ae_title: str,
        called_ae_title: str,
        contexts: Sequence[PresentationContext],
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
        *,
        maximum_length: int,
    ) -> Self:
        """Open an association as its requestor (Sta5).

        Parameters
        ----------
        contexts
            What is proposed; they are given their IDs.
        maximum_length
            Bytes of a P-DATA-TF that the other side may send.

        Raises
        ------
        RejectedError, AbortedError
            As the other side answers.
        LostError
            If it does not.
        ProtocolError
            If it answers something else.
        """
        asked = negotiation.encode_request(calling_ae_title, called_ae_title, contexts, roles, maximum_length)
        with _told(connection):
            connection.send([asked])
            kind, body = connection.receive()
            if kind == PduType.A_ASSOCIATE_RJ and len(body) >= 4:
                raise RejectedError(*body[1:4])
            if kind == PduType.A_ABORT:
                raise _aborted(body)
            if kind != PduType.A_ASSOCIATE_AC:
                raise ProtocolError("something else than an answer to A-ASSOCIATE-RQ", UNEXPECTED_PDU)
            agreed = negotiation.decode_acceptance(
                _whole(kind, body), calling_ae_title, called_ae_title, contexts, roles
            )
            connection.expect(maximum_length)
        return cls(connection, agreed, is_requestor=True)

    @staticmethod
    def requested(connection: Connection) -> Request:
        """Wait for a request to open an association (Sta2); whoever waits answers by `accept` or `reject`.

        Raises
        ------
        LostError, AbortedError, ProtocolError
            If none comes.
        """
        with _told(connection):
            kind, body = connection.receive()
            if kind == PduType.A_ABORT:
                raise _aborted(body)
            if kind != PduType.A_ASSOCIATE_RQ:
                raise ProtocolError("something else than A-ASSOCIATE-RQ", UNEXPECTED_PDU)
            return negotiation.decode_request(_whole(kind, body))

    @classmethod
    def accept(
        cls,
        connection: Connection,
        request: Request,
        supported: Sequence[PresentationContext],
        *,
        maximum_length: int,
        negotiate: Negotiate | None = None,
    ) -> Self:
        """Accept a request (AE-7), with what is supported of what it proposes.

        Parameters
        ----------
        maximum_length
            Bytes of a P-DATA-TF that the other side may send.
        negotiate
            As `negotiation.encode_acceptance` has it.

        Raises
        ------
        LostError
            If the other side is gone.
        """
        answer, agreed = negotiation.encode_acceptance(request, supported, maximum_length, negotiate)
        with _told(connection):
            connection.expect(maximum_length)
            connection.send([answer])
        return cls(connection, agreed, is_requestor=False)

    @staticmethod
    def reject(connection: Connection, result: int, source: int, diagnostic: int) -> None:
        """Reject a request and close the connection (AE-8; PS3.8 table 9-21)."""
        with suppress(LostError):
            connection.send([pdu.rejection(result, source, diagnostic)])
        connection.close(LINGER_SECONDS)

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent; a connection that was cut meanwhile is found out by trying."""
        return not self.connection.is_closed

    @property
    def is_between(self) -> bool:
        """Whether no message is coming in."""
        return self._messages.is_between

    def next_message_id(self) -> int:
        """Return a Message ID (0000,0110) that no request of ours had for long."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def allow(self, seconds: float | None) -> None:
        """As `Connection.allow`."""
        self.connection.allow(seconds)

    def is_readable(self) -> bool:
        """Whether `receive` would find something at once, as a C-CANCEL, an abort or a part of a message."""
        return self.connection.is_readable()

    # --- messages ----------------------------------------------------------------------------------------

    def receive(self, into: Into | None = None) -> Message | None:
        """Return the next message; `None` if the other side released the association, which is closed then.

        Parameters
        ----------
        into
            Where data sets go; all are held in memory, within bounds, where there is none.

        Raises
        ------
        AbortedError, LostError
            If the association ends otherwise; it is closed.
        ProtocolError
            If the other side breaks a rule; it is told so, and the association is closed.
        """
        with _told(self.connection):
            while True:
                for value in self._values:
                    if (message := self._messages.take(*value, into)) is not None:
                        return message
                kind, body = self.connection.receive()
                if kind == PduType.P_DATA_TF:
                    self._values = pdu.values_of(body)
                elif kind == PduType.A_RELEASE_RQ:
                    self._end_of_message()
                    self._answer_release()
                    return None
                else:
                    raise _not_data(kind, body)

    def unfinished(self) -> Target | None:
        """Return where the data set of a message went that will not come whole any more."""
        return self._messages.target

    def send(self, context_id: int, command: Command, data_set: bytes = b"") -> None:
        """Send a message; with a data set where it has bytes.

        Raises
        ------
        LostError
            If the connection ends, or the other side does not take it in time; the association is closed.
        """
        parts = [*self._command(context_id, command, has_data_set=bool(data_set))]
        if data_set:
            parts += pdu.fragments(context_id, 0, data_set, self._largest)
        with _told(self.connection):
            self.connection.send(parts)

    def send_file(self, context_id: int, command: Command, path: Path, offset: int = 0) -> None:
        """Send a message with the data set that begins at an offset of a file, its bytes as they stand.

        Raises
        ------
        LostError
            As `send`.
        OSError
            If the file cannot be read; where a part of it was sent, the association is aborted.
        """
        with path.open("rb", buffering=0) as file:
            left = max(os.fstat(file.fileno()).st_size - offset, 0)
            file.seek(offset)
            most = (self._largest - pdu.VALUE_OVERHEAD) & ~1
            if not self._piece:
                self._piece = bytearray(max(PIECE_BYTES // most, 1) * most)
            before = [*self._command(context_id, command, has_data_set=True)]
            while True:
                try:
                    count = file.readinto(memoryview(self._piece)[:left])
                    if left and not count:
                        raise OSError(f"{path} has become shorter")
                except OSError:
                    self.abort()
                    raise
                left -= count
                piece = memoryview(self._piece)[:count]
                with _told(self.connection):
                    rest = pdu.fragments(context_id, 0, piece, self._largest, is_last=not left)
                    self.connection.send([*before, *rest])
                if not left:
                    return
                before = []

    def _command(
        self, context_id: int, command: Command, *, has_data_set: bool
    ) -> Iterator[bytes | memoryview]:
        return pdu.fragments(context_id, COMMAND, encode(command, has_data_set=has_data_set), self._largest)

    # --- its end -----------------------------------------------------------------------------------------

    def release(self) -> None:
        """Release the association and close the connection; what still comes in is dropped (Sta7).

        However the other side takes it, nothing is left to be done: an end that is no release is no error.
        """
        if not self.is_open:
            return
        with suppress(WireError), _told(self.connection):
            self.connection.send([pdu.RELEASE_RQ])
            is_collision = False
            while True:
                kind, body = self.connection.receive()
                if kind == PduType.A_RELEASE_RP:
                    break
                if kind == PduType.A_RELEASE_RQ and not is_collision:  # AR-8
                    is_collision = True
                    if self._is_requestor:  # Sta9, AR-9; the acceptor answers after it was answered (Sta10)
                        self.connection.send([pdu.RELEASE_RP])
                elif kind != PduType.P_DATA_TF:
                    raise _not_data(kind, body)
            if is_collision and not self._is_requestor:  # Sta12, AR-4
                self.connection.send([pdu.RELEASE_RP])
        self.connection.close()

    def abort(self) -> None:
        """Abort the association and close the connection (AA-1)."""
        if self.is_open:
            _abort(self.connection, _USER, 0)

    def _end_of_message(self) -> None:
        if not self._messages.is_between:
            raise ProtocolError("a release within a message", UNEXPECTED_PDU)

    def _answer_release(self) -> None:
        self.connection.send([pdu.RELEASE_RP])
        self.connection.close(LINGER_SECONDS)


@contextmanager
def _told(connection: Connection) -> Iterator[None]:
    """Close the connection on whatever goes wrong; the other side is told, where it is still there."""
    try:
        yield
    except ProtocolError as error:
        _abort(connection, _PROVIDER, error.reason)
        raise
    except WireError:
        connection.close()
        raise
    except BaseException:
        _abort(connection, _USER, 0)
        raise


def _abort(connection: Connection, source: int, reason: int) -> None:
    with suppress(WireError):
        connection.send([pdu.abort(source, reason)])
    connection.close(LINGER_SECONDS)


def _whole(kind: int, body: memoryview) -> bytes:
    return bytes([kind, 0, *len(body).to_bytes(4, "big")]) + bytes(body)


def _aborted(body: memoryview) -> AbortedError:
    return AbortedError(*body[2:4]) if len(body) >= 4 else AbortedError(_USER, 0)


def _not_data(kind: int, body: memoryview) -> WireError:
    if kind == PduType.A_ABORT:
        return _aborted(body)
    return ProtocolError(f"an unexpected PDU of type {kind:02X}", UNEXPECTED_PDU)
