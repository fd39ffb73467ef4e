"""A connection that reads and writes PDUs: prompt, with bounds on their size and on every wait."""

import math
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Self

from workbench.pacs.wire.failures import LostError
from workbench.pacs.wire.pdu import HEADER_LENGTH, header_of

type Bytes = bytes | memoryview

LEAST_BYTES_PER_SECOND = 64 << 10
"""How fast a line must be, on average; what is slower is taken for a line that stands still."""

_FIRST_BUFFER = 8 << 10
"""Bytes for what a stranger sends; more only once a header says so."""
_READ_AHEAD = 256 << 10
"""Bytes beside the largest P-DATA-TF, so that small ones come many at a time."""
_PARTS_AT_ONCE = 512
"""Of one system call; POSIX promises 16, Linux takes 1024."""


class Connection:
    """A connection, plain or with TLS, for one thread at a time.

    Parameters
    ----------
    wire
        A connected socket; an `ssl.SSLSocket` whose hands are not shaken yet needs `shake_hands`.
    wait_seconds
        How long to wait for the header of a PDU, for the rest of one, and for what is sent to be taken.
    """

    def __init__(self, wire: socket.socket, wait_seconds: float) -> None:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wait_seconds = wait_seconds
        self.largest_data_pdu = 0
        """Bytes of a P-DATA-TF that the other side was told it may send."""
        self._wire = wire
        self._until = math.inf
        self._buffer = memoryview(bytearray(_FIRST_BUFFER))
        self._begin = self._end = 0  # what was received, and not taken yet
        self.is_closed = False

    @classmethod
    def to(
        cls, host: str, port: int, *, seconds: float, tls: tuple[ssl.SSLContext, str] | None = None
    ) -> Self:
        """Connect within some seconds; the connection's deadline is theirs until `allow` sets another.

        Parameters
        ----------
        tls
            What the other side is checked with, and the name its certificate must have.

        Raises
        ------
        OSError
            If there is no connection: `socket.gaierror` where the host is not known, `ssl.SSLError` where
            no hands are shaken.
        """
        until = time.monotonic() + seconds
        wire = socket.create_connection((host, port), timeout=seconds)
        try:
            if tls is not None:
                context, name = tls
                wire = context.wrap_socket(wire, server_hostname=name, do_handshake_on_connect=False)
            connection = cls(wire, seconds)
            connection._until = until
            connection.shake_hands()
        except BaseException:
            wire.close()
            raise
        return connection

    def shake_hands(self) -> None:
        """Shake hands where this is TLS, within the time of one wait.

        Raises
        ------
        OSError
            If it comes to nothing.
        """
        if isinstance(self._wire, ssl.SSLSocket):
            self._wire.settimeout(max(self._wait() - time.monotonic(), 0.001))
            self._wire.do_handshake()

    @property
    def wire(self) -> socket.socket:
        """The socket, to ask it who is at its other end."""
        return self._wire

    def allow(self, seconds: float | None) -> None:
        """End every wait so many seconds from now, however slowly bytes come; `None` takes that back."""
        self._until = math.inf if seconds is None else time.monotonic() + seconds

    def expect(self, largest_data_pdu: int) -> None:
        """Take P-DATA-TF PDUs of so many bytes from now on."""
        self.largest_data_pdu = largest_data_pdu
        self._grow(largest_data_pdu + HEADER_LENGTH + _READ_AHEAD)

    def is_readable(self) -> bool:
        """Whether something came that was not received yet: a PDU, a part of one, or the end."""
        if self._end > self._begin or (isinstance(self._wire, ssl.SSLSocket) and self._wire.pending()):
            return True
        return self.is_closed or bool(select.select([self._wire], [], [], 0)[0])

    def receive(self) -> tuple[int, memoryview]:
        """Return type and body of the next PDU; the body is gone with the next call.

        Raises
        ------
        LostError
            If the connection ends, or the time is up.
        ProtocolError
            If the PDU is longer than it may be, or there is none of its type.
        """
        self._fill(HEADER_LENGTH)
        body = self._begin + HEADER_LENGTH
        kind, length = header_of(self._buffer[self._begin : body], self.largest_data_pdu)
        self._fill(HEADER_LENGTH + length)
        body = self._begin + HEADER_LENGTH
        self._begin = body + length
        return kind, self._buffer[body : self._begin]

    def _fill(self, size: int) -> None:
        """Have at least so many bytes in the buffer."""
        until = self._wait(size)
        if self._begin == self._end:
            self._begin = self._end = 0
        if self._begin + size > len(self._buffer):
            self._grow(size)
        while self._end - self._begin < size:
            count = self._timed(until, self._wire.recv_into, self._buffer[self._end :])
            if not count:
                raise LostError("the other side ended the connection")
            self._end += count

    def _grow(self, size: int) -> None:
        """Have room for so many bytes, with what was not taken yet at the front."""
        held = self._buffer[self._begin : self._end]
        buffer = self._buffer if size <= len(self._buffer) else memoryview(bytearray(size))
        buffer[: len(held)] = bytes(held)
        self._buffer, self._begin, self._end = buffer, 0, len(held)

    def send(self, parts: Iterable[Bytes]) -> None:
        """Send some bytes, in order, without putting them together first where the system can do so.

        Raises
        ------
        LostError
            If the connection ends, or the other side does not take them in time.
        """
        left, at = list(parts), 0
        until = self._wait(sum(map(len, left)))
        if isinstance(self._wire, ssl.SSLSocket):  # OpenSSL takes one piece
            whole = memoryview(b"".join(left))
            while whole:
                whole = whole[self._timed(until, self._wire.send, whole) :]
            return
        while at < len(left):
            at = _passed(left, at, self._timed(until, self._wire.sendmsg, left[at : at + _PARTS_AT_ONCE]))

    def _wait(self, size: int = 0) -> float:
        """When the time is up for so many bytes."""
        return min(time.monotonic() + self.wait_seconds + size / LEAST_BYTES_PER_SECOND, self._until)

    def _timed[Given](self, until: float, call: Callable[[Given], int], given: Given) -> int:
        left = until - time.monotonic()
        if left <= 0:
            raise LostError("the time for it was up")
        try:
            self._wire.settimeout(left)
            return call(given)
        except TimeoutError as error:
            raise LostError("nothing came, or was taken, in time") from error
        except (OSError, ValueError) as error:  # ValueError: TLS that another thread has cut
            raise LostError("the connection broke") from error

    def cut(self) -> None:
        """End the connection at once; the one method that another thread may call."""
        with suppress(OSError):
            socket.socket.shutdown(self._wire, socket.SHUT_RDWR)  # not that of TLS, which is in use

    def close(self, linger_seconds: float = 0.0) -> None:
        """Close the connection; what was sent last arrives, where the other side ends it in some seconds.

        Bytes that nobody received would have the system take back what was sent.
        """
        if self.is_closed:
            return
        self.is_closed = True
        if linger_seconds:
            with suppress(OSError):
                socket.socket.shutdown(self._wire, socket.SHUT_WR)
                self._discard(time.monotonic() + linger_seconds)
        self._wire.close()

    def _discard(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            self._wire.settimeout(left)
            if not socket.socket.recv_into(self._wire, self._buffer):
                return


def _passed(parts: list[Bytes], at: int, sent: int) -> int:
    """Return how many of some parts are sent with so many bytes; one that is sent in part is cut."""
    while sent and at < len(parts):
        length = len(parts[at])
        if sent < length:
            parts[at] = memoryview(parts[at])[sent:]
            return at
        sent -= length
        at += 1
    return at
