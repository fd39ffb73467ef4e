"""HTTP with one DICOMweb node: that host only, TLS verified, no redirect followed, every wait bounded.

Errors name the node and the service, never what was asked: queries carry what tells of patients.
"""

import http.client
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from threading import Event, Timer
from types import TracebackType
from typing import Self

from catalog.errors import DeliveryError, NodeUnavailableError, RefusedError, SettingsError, words_of
from workbench.pacs.web.node import WebNode

PIECE = 128 * 1024
"""Bytes that are read at a time."""
SLOWEST = 1024
"""Bytes a second that an answer must bring, over each `answer_seconds`."""

_REFUSALS = {
    400: "does not understand the question",
    401: "does not know who asks; check token_variable, or the client certificate",
    403: "does not allow this bench to ask; check token_variable, or the client certificate",
    404: "has nothing there; check the url, or what is asked for is gone",
    405: "does not offer this service",
    406: "does not give it in this form",
    409: "does not take it",
    410: "has nothing there any more",
    413: "finds that too much; ask a narrower question",
    415: "does not take this form",
    501: "does not offer this service",
}
"""Status that stays the same when asked again (PS3.18 section 8.5)."""


class Answer:
    """The answer to one request, read piece by piece and once."""

    def __init__(self, node: WebNode, response: http.client.HTTPResponse) -> None:
        self._node = node
        self._response = response
        self.announced = response.length
        """Bytes of the body, as the node says; `None` where it does not."""
        self.warned = "299" in response.getheader("Warning", "").split(" ", 1)[:1]
        """Whether the node says that this is not all (PS3.18 section 8.3.4.4)."""
        self._type = Message()
        self._type["Content-Type"] = response.getheader("Content-Type", "")

    @property
    def content_type(self) -> str:
        """Media type without its parameters, in lower case."""
        return self._type.get_content_type()

    @property
    def boundary(self) -> str | None:
        """Boundary of a multipart answer."""
        return self._type.get_boundary()

    def pieces(self) -> Iterator[bytes]:
        """Yield the body.

        Raises
        ------
        catalog.errors.NodeUnavailableError
            If it ends before its announced length, stops, or comes too slowly to be an answer.
        """
        announced, came = self.announced, 0
        begun, before = time.monotonic(), 0
        try:
            while piece := self._response.read1(PIECE):
                came += len(piece)
                if time.monotonic() - begun > self._node.answer_seconds:
                    if came - before < SLOWEST * self._node.answer_seconds:
                        raise TimeoutError
                    begun, before = time.monotonic(), came
                yield piece
        except TimeoutError:
            raise _unavailable(
                self._node, f"stopped answering, or answers too slowly, after {came:,} bytes"
            ) from None
        except (OSError, http.client.HTTPException, ValueError):
            raise _unavailable(self._node, f"broke off its answer after {came:,} bytes") from None
        if announced is not None and came < announced:
            raise _unavailable(self._node, f"broke off its answer after {came:,} of {announced:,} bytes")

    def read(self, at_most: int) -> bytes:
        """The whole body.

        Raises
        ------
        catalog.errors.RefusedError
            If it has more bytes than it may.
        catalog.errors.NodeUnavailableError
            As `pieces`.
        """
        content = bytearray()
        for piece in self.pieces():
            content += piece
            if len(content) > at_most:
                raise RefusedError(
                    f"{self._node.name} answers with more than {at_most:,} bytes; ask a narrower question"
                )
        return bytes(content)


class Client:
    """One connection to a node while it is a context; it is made when it is needed, and again when it broke.

    Raises
    ------
    catalog.errors.SettingsError
        On entering, if the token or a certificate is not there.
    """

    def __init__(self, node: WebNode) -> None:
        self.node = node
        self._authorization = _authorization(node)
        self._tls = _tls(node) if node.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @contextmanager
    def get(self, path: str, accept: str) -> Iterator[Answer]:
        """Hold the answer to a GET below the root of the node.

        Raises
        ------
        catalog.errors.NodeUnavailableError
            If the node cannot be reached, does not answer in time, or cannot do it now.
        catalog.errors.RefusedError
            If it refuses for good, or answers with another address.
        """
        response = self._ask("GET", path, accept)
        try:
            _check(self.node, response)
            yield Answer(self.node, response)
        finally:
            if not response.isclosed():  # what was left unread is in the way of the next request
                response.close()
                self._close()

    def _ask(self, method: str, path: str, accept: str) -> http.client.HTTPResponse:
        headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "imaging-workbench"}
        if self._authorization:
            headers["Authorization"] = self._authorization
        kept = self._connection is not None
        try:
            return self._request(method, path, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self._close()
            if not kept:  # a connection that was kept may have been closed meanwhile; a new one was not
                raise _unavailable(self.node, "closed the connection without an answer") from None
        except (OSError, http.client.HTTPException) as error:
            self._close()
            raise _failed(self.node, error) from None
        return self._ask(method, path, accept)

    def _request(self, method: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        connection = self._connected()
        connection.request(method, self.node.root + path, headers=headers)
        assert connection.sock is not None
        with _until(self.node.answer_seconds, connection.sock) as overdue:
            try:
                response = connection.getresponse()
            except (http.client.HTTPException, OSError):
                if overdue.is_set():
                    raise TimeoutError from None
                raise
        if overdue.is_set():  # headers that were cut off here look as if they had ended
            raise TimeoutError
        return response

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is not None and self._connection.sock is not None:
            return self._connection
        host, port, seconds = self.node.host.strip("[]"), self.node.port, self.node.connection_seconds
        connection = (
            http.client.HTTPConnection(host, port, timeout=seconds)
            if self._tls is None
            else http.client.HTTPSConnection(host, port, timeout=seconds, context=self._tls)
        )
        self._connection = connection
        try:
            connection.connect()
        except TimeoutError:
            self._close()
            words = f"{self.node.url} did not take the connection within {seconds:g} seconds"
            raise NodeUnavailableError(f"{self.node.name} cannot be reached: {words}") from None
        connection.sock.settimeout(self.node.answer_seconds)
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextmanager
def _until(seconds: float, wire: socket.socket) -> Iterator[Event]:
    """Shut a connection when the time is over, as a time-out of a socket begins anew with every byte.

    What is given tells that it is over; it is set before the connection ends, so that whoever reads its end
    knows who ended it.
    """
    overdue = Event()

    def shut() -> None:
        overdue.set()
        with suppress(OSError):  # it is closed already
            wire.shutdown(socket.SHUT_RDWR)

    timer = Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield overdue
    finally:
        timer.cancel()


def _check(node: WebNode, response: http.client.HTTPResponse) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise RefusedError(
            f"{node.name} answers with another address, which is not followed; give the right url"
        )
    if status in _REFUSALS:
        raise RefusedError(f"{node.name} {_REFUSALS[status]} (status {status})")
    kind = NodeUnavailableError if status in (408, 429) or status >= 500 else RefusedError
    raise kind(f"{node.name} answers with status {status}")


def _failed(node: WebNode, error: Exception) -> DeliveryError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return RefusedError(
            f"{node.name}: the certificate of {node.url} cannot be trusted ({error.verify_message}); "
            "give the certificates to check it against as ca_file"
        )
    if isinstance(error, ssl.SSLError):
        return RefusedError(
            f"{node.name}: no TLS with {node.url} ({error.reason}); it may want a client certificate"
        )
    if isinstance(error, TimeoutError):
        return _unavailable(node, f"did not answer within {node.answer_seconds:g} seconds")
    if isinstance(error, socket.gaierror):
        return NodeUnavailableError(f"{node.name} cannot be reached: {node.host} cannot be looked up")
    if isinstance(error, OSError):
        return NodeUnavailableError(f"{node.name} cannot be reached at {node.url}: {words_of(error)}")
    return _unavailable(node, "does not answer in HTTP")


def _unavailable(node: WebNode, words: str) -> NodeUnavailableError:
    return NodeUnavailableError(f"{node.name} {words}")


def _authorization(node: WebNode) -> str | None:
    if node.token_variable is None:
        return None
    token = os.environ.get(node.token_variable, "").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise SettingsError(f"node {node.name}: the environment variable {node.token_variable} has no token")
    return token if " " in token else f"Bearer {token}"


def _tls(node: WebNode) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=node.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if node.client_certificate is not None:
            context.load_cert_chain(node.client_certificate, node.client_key, password=_no_password)
    except ssl.SSLError:
        raise SettingsError(
            f"node {node.name}: its certificate files are no certificates with their key"
        ) from None
    except (OSError, ValueError):
        raise SettingsError(f"node {node.name}: its certificate files cannot be read") from None
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")
