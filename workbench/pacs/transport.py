"""Sockets of the embedded PACS, which is pynetdicom's: prompt, with bounded PDUs, and few at a time."""

import socket
import socketserver
import time
from threading import Thread
from typing import Any

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.transport import ThreadedAssociationServer

from catalog.errors import DeliveryError
from workbench.pacs.acceptor import CONNECTIONS_AT_MOST
from workbench.pacs.wire.pdu import LARGEST_CONTROL_PDU

_P_DATA_TF = 0x04
_HEADER = 6  # type, reserved, length in four bytes (PS3.8 section 9.3.1)


def application_entity(
    ae_title: str, *, connection_seconds: float, answer_seconds: float, maximum_pdu: int
) -> ApplicationEntity:
    """Return an application entity, to be served, that never waits without end."""
    ae = ApplicationEntity(ae_title)
    ae.connection_timeout = connection_seconds
    ae.acse_timeout = connection_seconds
    ae.dimse_timeout = answer_seconds
    ae.network_timeout = answer_seconds
    ae.maximum_pdu_size = maximum_pdu
    return ae


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


class GuardedSocket(socket.socket):
    """A connection that bounds its PDUs in size, and in the time that one may take to arrive."""

    guard: PduGuard
    _pdu_seconds = 0.0
    _begun = 0.0

    def allow(self, seconds: float | None) -> None:
        """Set how long a PDU, and each wait for a part of it, may take."""
        self.settimeout(seconds)
        self._pdu_seconds = seconds or 0.0

    def recv(self, size: int = 1024, flags: int = 0) -> bytes:
        """Receive bytes of the current PDU."""
        if self.guard.between:
            self._begun = time.monotonic()
        elif time.monotonic() - self._begun > self._pdu_seconds:
            raise TimeoutError(f"A PDU did not arrive within {self._pdu_seconds:g} seconds")
        received = super().recv(size, flags)
        self.guard.follow(received)
        return received


class BoundedServer(ThreadedAssociationServer):
    """An association server with at most `CONNECTIONS_AT_MOST` connections, each of them guarded."""

    daemon_threads = True
    request_queue_size = 32

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, put the guard on it, and give it little time to ask for an association."""
        assert self.socket is not None
        accepted, address = self.socket.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        guarded = GuardedSocket(fileno=accepted.detach())
        guarded.guard = PduGuard(self.ae.maximum_pdu_size)
        guarded.allow(self.ae.acse_timeout)
        return guarded, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away a connection too many before it costs anything."""
        return len(self.active_associations) < CONNECTIONS_AT_MOST

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Forget a connection that failed before it became an association."""

    def shutdown(self) -> None:
        """Stop serving, end all associations and close the socket."""
        socketserver.TCPServer.shutdown(self)
        self.server_close()
        for association in self.active_associations:
            association.abort()


def serve(
    ae: ApplicationEntity,
    host: str,
    port: int,
    handlers: list[EventHandlerType],
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
            server_class=BoundedServer,
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
    if wire is not None and isinstance(wire.socket, GuardedSocket):
        wire.socket.allow(event.assoc.network_timeout)


def _forget(event: Event) -> None:
    """End at once what waits for a request on a connection that is gone, rather than after its time-out."""
    if event.assoc.is_acceptor and event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)  # as if its time had run out
