"""Accepts connections for a receiver: few from one address, strangers for a short time, TLS on both sides."""

import hashlib
import socket
import ssl
from collections import Counter
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler

from workbench.pacs.streaming import Begin, StreamingProvider
from workbench.pacs.transport import CONNECTIONS_AT_MOST, BoundedServer, Guarded

FROM_ONE_ADDRESS = CONNECTIONS_AT_MOST // 2
"""Connections of one address at the same time."""
STRANGERS_AT_MOST = CONNECTIONS_AT_MOST // 4
"""Connections that have not asked for an association yet; one more ends the oldest of them."""
_BLOCK = 1 << 20


class WholeSocket(AssociationSocket):
    """Reads what is asked for in few calls; pynetdicom asks for 4 KiB at a time."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes, or fewer where the connection ends."""
        received = bytearray()
        wire = self.socket
        while wire is not None and len(received) < nr_bytes:
            part = wire.recv(min(nr_bytes - len(received), _BLOCK))
            if not part:
                break
            received += part
        return received


class GuardedTlsSocket(Guarded, ssl.SSLSocket):
    """A connection with TLS whose PDUs are bounded; its first bytes are waited for with the handshake."""


class _Handler(RequestHandler):
    server: "ReceivingServer"

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.dul.socket = WholeSocket(association, client_socket=self.request)
        association.dul.event_queue.get_nowait()  # the connection announced itself twice
        association.dimse = StreamingProvider(association, self.server.begin)
        return association


class ReceivingServer(BoundedServer):
    """An association server whose instances go into files as they come."""

    request_queue_size = 128

    def __init__(
        self,
        *arguments: Any,
        begin: Begin,
        share_port: bool = False,
        **others: Any,
    ) -> None:
        self.begin = begin
        self._share_port = share_port
        super().__init__(*arguments, **others | {"request_handler": _Handler})

    def server_bind(self) -> None:
        """Bind; several processes may listen on one port, among which the system shares connections."""
        if self._share_port and self.socket is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def guarded(self, accepted: socket.socket) -> Any:
        """Put the guard on a connection, and TLS; hands are shaken by the thread of the association."""
        if self.ssl_context is None:
            return super().guarded(accepted)
        return self.ssl_context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away a connection too many before it costs anything; who is silent makes room for others."""
        active = self.active_associations
        silent = [each for each in active if each.requestor.primitive is None]
        if len(silent) >= STRANGERS_AT_MOST and (wire := silent[0].dul.socket) is not None:
            wire._shutdown_socket()
        addresses = Counter(each.requestor.address for each in active if each not in silent)
        if addresses[client_address[0]] >= FROM_ONE_ADDRESS:
            return False
        return len(active) < CONNECTIONS_AT_MOST


def server_context(certificate: str, key: str, authorities: str) -> ssl.SSLContext:
    """TLS 1.2 or later in which callers prove who they are, too (BCP 195, PS3.15 B.12).

    Raises
    ------
    OSError
        If a file cannot be read, or is no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authorities)
    context.sslsocket_class = GuardedTlsSocket
    return context


def certificate_of(wire: Any) -> str:
    """SHA-256 of the certificate a caller proved to hold, as 64 hexadecimal digits; empty without TLS."""
    held = wire.getpeercert(binary_form=True) if isinstance(wire, ssl.SSLSocket) else None
    return hashlib.sha256(held).hexdigest() if held else ""
