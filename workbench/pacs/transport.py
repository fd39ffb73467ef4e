"""The wire below DICOM: prompt sockets, bounded PDUs, a server that silent or garbage peers cannot block."""

import socket
import socketserver
import time
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLContext
from threading import Thread, Timer
from typing import Any

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.transport import AddressInformation, AssociationSocket, ThreadedAssociationServer

from catalog.errors import DeliveryError

LARGEST_CONTROL_PDU = 1024 * 1024
"""Bytes of any PDU but P-DATA-TF; 128 presentation contexts of 40 transfer syntaxes are half of it."""

CONNECTIONS_AT_MOST = 64
"""Connections a server holds at the same time, associated or not."""

_P_DATA_TF = 0x04
_HEADER = 6  # type, reserved, length in four bytes (PS3.8 section 9.3.1)


def make_prompt(event: Event) -> None:
    """Switch off Nagle's algorithm and bound every wait on a connection this bench has just opened.

    Without TCP_NODELAY each message of several PDUs costs a delayed acknowledgement, about 45 ms.
    """
    wire = event.assoc.dul.socket
    if wire is not None and wire.socket is not None:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.socket.settimeout(event.assoc.network_timeout)


class PromptEntity(ApplicationEntity):
    """An application entity whose connections can have a deadline, and are closed in the end."""

    def _create_socket(
        self, assoc: Association, address: AddressInformation, tls_args: tuple[SSLContext, str] | None
    ) -> AssociationSocket:
        wire = _TimedSocket(assoc, address=address)
        wire.tls_args = tls_args
        return wire


def allow(association: Association, seconds: float | None) -> None:
    """Cut the connection of an association after so many seconds; `None` takes that back.

    Time-outs bound each wait for some bytes; a peer that sends one a second never lets them run out.
    """
    wire = association.dul.socket
    if isinstance(wire, _TimedSocket):
        wire.allow(seconds)


class _TimedSocket(AssociationSocket):
    _timer: Timer | None = None
    _until: float | None = None
    """When the connection is cut; the timer looks at it, and waits on where it was put off meanwhile."""
    _looks: float = 0.0

    def allow(self, seconds: float | None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds
        if self._until is not None and (self._timer is None or self._until < self._looks):
            self._wait(self._until)

    def _wait(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks = until
        self._timer = Timer(max(until - time.monotonic(), 0.0), self._look)
        self._timer.daemon = True
        self._timer.start()

    def _look(self) -> None:
        until, self._timer = self._until, None
        if until is None:
            return
        if until > time.monotonic():
            self._wait(until)
            return
        opened = self.socket
        if opened is not None:
            with suppress(OSError):  # closed in this moment
                opened.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.allow(None)
        if self._timer is not None:
            self._timer.cancel()
        super().close()

    def _shutdown_socket(self) -> None:  # pynetdicom's own leaves a socket that was never connected open
        opened = self.socket
        super()._shutdown_socket()
        if opened is not None:
            opened.close()


class PduGuard:
    """Follows the headers of PDUs in a stream and refuses one that is longer than it may be (PS3.8 9.3.1).

    Parameters
    ----------
    largest_data_pdu
        Bytes of a P-DATA-TF that the peer was told it may send.
    """

    def __init__(self, largest_data_pdu: int) -> None:
        self._largest_data_pdu = largest_data_pdu
        self._header = b""
        self._left = 0

    def follow(self, received: bytes) -> None:
        """Follow the next bytes of the stream.

        Raises
        ------
        ConnectionError
            If a PDU announces more bytes than it may have.
        """
        at = 0
        while at < len(received):
            if self._left:
                step = min(self._left, len(received) - at)
                self._left -= step
            else:
                step = min(_HEADER - len(self._header), len(received) - at)
                self._header += received[at : at + step]
                if len(self._header) == _HEADER:
                    self._left = self._allowed(self._header)
                    self._header = b""
            at += step

    @property
    def between(self) -> bool:
        """Whether the stream stands between two PDUs."""
        return not self._left and not self._header

    def _allowed(self, header: bytes) -> int:
        length = int.from_bytes(header[2:], "big")
        largest = self._largest_data_pdu if header[0] == _P_DATA_TF else LARGEST_CONTROL_PDU
        if length > largest:
            raise ConnectionError(
                f"A PDU of type {header[0]:02X} announces {length} bytes; {largest} are allowed"
            )
        return length


class Guarded:
    """What bounds the PDUs of a connection in size, and in the time that one may take to arrive."""

    guard: PduGuard
    _pdu_seconds = 0.0
    _begun = 0.0

    def allow(self, seconds: float | None) -> None:
        """Set how long a PDU, and each wait for a part of it, may take."""
        self.settimeout(seconds)  # type: ignore[attr-defined]
        self._pdu_seconds = seconds or 0.0

    def recv(self, size: int = 1024, flags: int = 0) -> bytes:
        """Receive bytes of the current PDU."""
        if self.guard.between:
            self._begun = time.monotonic()
        elif time.monotonic() - self._begun > self._pdu_seconds:
            raise TimeoutError(f"A PDU did not arrive within {self._pdu_seconds:g} seconds")
        received: bytes = super().recv(size, flags)  # type: ignore[misc]
        self.guard.follow(received)
        return received


class GuardedSocket(Guarded, socket.socket):
    """A connection whose PDUs are bounded."""


class BoundedServer(ThreadedAssociationServer):
    """An association server with at most `CONNECTIONS_AT_MOST` connections, each of them guarded."""

    daemon_threads = True
    request_queue_size = 32

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, put the guard on it, and give it little time to ask for an association."""
        assert self.socket is not None
        accepted, address = self.socket.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        guarded = self.guarded(accepted)
        guarded.guard = PduGuard(self.ae.maximum_pdu_size)
        guarded.allow(self.ae.acse_timeout)
        return guarded, address

    def guarded(self, accepted: socket.socket) -> Any:
        """Return the connection as one that can bear a guard."""
        return GuardedSocket(fileno=accepted.detach())

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away a connection too many before it costs anything."""
        return len(self.active_associations) < CONNECTIONS_AT_MOST

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Forget a connection that failed before it became an association."""

    def stop_listening(self) -> None:
        """Accept nobody any more; associations go on."""
        socketserver.TCPServer.shutdown(self)
        self.server_close()

    def shutdown(self) -> None:
        """Stop serving, end all associations and close the socket."""
        self.stop_listening()
        for association in self.active_associations:
            association.abort()


def serve(
    ae: ApplicationEntity,
    host: str,
    port: int,
    handlers: list[EventHandlerType],
    *,
    tls: SSLContext | None = None,
    server_class: Callable[..., BoundedServer] = BoundedServer,
) -> BoundedServer:
    """Serve an application entity in threads of this process until `shutdown()` of the returned server.

    Raises
    ------
    catalog.errors.DeliveryError
        If the address cannot be listened on.
    """
    ae.maximum_associations = CONNECTIONS_AT_MOST
    handlers = [(evt.EVT_ACCEPTED, _allow_more), (evt.EVT_CONN_CLOSE, _forget), *handlers]
    try:
        made = ae.make_server(
            (host, port),
            evt_handlers=handlers,
            ssl_context=tls,
            server_class=server_class,  # type: ignore[arg-type]
        )
    except OSError as error:
        raise DeliveryError(
            f"Cannot listen on {host}:{port} ({error.strerror}); set another address or end what is using it"
        ) from error
    assert isinstance(made, BoundedServer)
    server = made
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


def _allow_more(event: Event) -> None:
    """Give an associated peer the time of the network, not only that of a stranger."""
    wire = event.assoc.dul.socket
    if wire is not None and isinstance(wire.socket, Guarded):
        wire.socket.allow(event.assoc.network_timeout)


def _forget(event: Event) -> None:
    """End at once what waits for a request on a connection that is gone, rather than after its time-out."""
    if event.assoc.is_acceptor and event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)  # as if its time had run out
