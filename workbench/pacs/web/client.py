"""HTTP with one DICOMweb node: that host only, TLS verified, no redirect followed, every wait bounded.

Errors name the node and the service, never what was asked: queries carry what tells of patients.
"""

import http.client
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from threading import Event, Timer
from types import TracebackType
from typing import Self

from catalog.errors import NodeUnavailableError, RefusedError, SettingsError
from workbench.pacs.tls import client_context
from workbench.pacs.web.node import WebNode
from workbench.pacs.web.refusal import check, failed, unavailable

PIECE = 128 * 1024
"""Bytes that are read at a time."""
_TOO_SLOW = "does not take what is sent, or too slowly"
SLOWEST = 1024
"""Bytes a second that an answer must bring, over each `answer_seconds`."""


class Answer:
    """The answer to one request, read piece by piece and once."""

    def __init__(self, node: WebNode, response: http.client.HTTPResponse) -> None:
        self._node = node
        self._response = response
        self.announced = response.length
        """Bytes of the body, as the node says; `None` where it does not."""
        self.status = response.status
        code, _, words = response.getheader("Warning", "").partition(" ")
        self.warning = words if code == "299" else ""
        """What the node warns of, as it says it: that this is not all (PS3.18 section 8.3.4.4)."""
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
        waited, before = 0.0, 0  # for the node alone: whoever takes the pieces may take its time
        try:
            while True:
                asked = time.monotonic()
                piece = self._response.read1(PIECE)
                waited += time.monotonic() - asked
                if not piece:
                    break
                came += len(piece)
                if waited > self._node.answer_seconds:
                    if came - before < SLOWEST * self._node.answer_seconds:
                        raise TimeoutError
                    waited, before = 0.0, came
                yield piece
        except TimeoutError:
            raise unavailable(
                self._node, f"stopped answering, or answers too slowly, after {came:,} bytes"
            ) from None
        except (OSError, http.client.HTTPException, ValueError):
            raise unavailable(self._node, f"broke off its answer after {came:,} bytes") from None
        if announced is not None and came < announced:
            raise unavailable(self._node, f"broke off its answer after {came:,} of {announced:,} bytes")

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
        self._tls = client_context(node) if node.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None
        self._kept = False
        """Whether the connection answered before: one that did may have been closed meanwhile."""

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
            check(self.node, response.status)
            yield Answer(self.node, response)
        finally:
            if not response.isclosed():  # what was left unread is in the way of the next request
                response.close()
                self._close()

    def connect(self) -> None:
        """Connect, where that was not done yet; nothing is asked.

        Raises
        ------
        catalog.errors.DeliveryError
            If the node cannot be reached, or cannot be trusted.
        """
        try:
            self._connected()
        except OSError as error:
            self._close()
            raise failed(self.node, error) from None

    @contextmanager
    def post(
        self,
        path: str,
        pieces: Callable[[], Iterator[bytes]],
        *,
        length: int,
        content_type: str,
        accept: str,
        at_most: float,
    ) -> Iterator[Answer]:
        """Hold the answer to a POST below the root of the node, whatever its status is.

        Parameters
        ----------
        pieces
            Begins the body anew, as bytes of `length` together.
        at_most
            Seconds in which the node must have taken it.

        Raises
        ------
        catalog.errors.NodeUnavailableError
            If the node cannot be reached, does not take the body or does not answer in time.
        catalog.errors.RefusedError
            If it cannot be trusted.
        """
        headers = self._headers(accept) | {"Content-Type": content_type, "Content-Length": str(length)}
        response, is_whole = self._put(path, pieces, headers, at_most)
        try:
            yield Answer(self.node, response)
        finally:
            if not (is_whole and response.isclosed()):  # what is left is in the way of the next request
                response.close()
                self._close()

    def _put(
        self, path: str, pieces: Callable[[], Iterator[bytes]], headers: dict[str, str], at_most: float
    ) -> tuple[http.client.HTTPResponse, bool]:
        """Send a body, and return the answer, and whether all was sent before it came."""
        self.connect()
        connection = self._connection
        assert connection is not None
        assert connection.sock is not None
        is_whole = True
        with _until(at_most, connection.sock) as overdue:
            try:
                connection.putrequest("POST", self.node.root + path, skip_accept_encoding=True)
                for name, value in headers.items():
                    connection.putheader(name, value)
                connection.endheaders()
                is_whole = _sent(connection, pieces())
            except (BrokenPipeError, ConnectionResetError):
                is_whole = False  # not even the headers went out
            except OSError as error:
                self._close()
                if overdue.is_set() or isinstance(error, TimeoutError):
                    raise unavailable(self.node, _TOO_SLOW) from None
                raise failed(self.node, error) from None
            except BaseException:  # of the pieces: the node waits for the rest of them
                self._close()
                raise
        kept = self._kept
        try:
            return self._response(connection), is_whole
        except (http.client.HTTPException, OSError) as error:
            self._close()
            if overdue.is_set():
                raise unavailable(self.node, _TOO_SLOW) from None
            if not isinstance(error, http.client.RemoteDisconnected | BrokenPipeError | ConnectionResetError):
                raise failed(self.node, error) from None
            if not kept:
                raise unavailable(self.node, "ended the connection and did not answer") from None
        return self._put(path, pieces, headers, at_most)

    def _headers(self, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "imaging-workbench"}
        if self._authorization:
            headers["Authorization"] = self._authorization
        return headers

    def _ask(self, method: str, path: str, accept: str) -> http.client.HTTPResponse:
        headers = self._headers(accept)
        kept = self._kept
        try:
            return self._request(method, path, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self._close()
            if not kept:
                raise unavailable(self.node, "closed the connection without an answer") from None
        except (OSError, http.client.HTTPException) as error:
            self._close()
            raise failed(self.node, error) from None
        return self._ask(method, path, accept)

    def _request(self, method: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        connection = self._connected()
        connection.request(method, self.node.root + path, headers=headers)
        return self._response(connection)

    def _response(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
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
        self._kept = True
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
        self._connection, self._kept = None, False


def _sent(connection: http.client.HTTPConnection, pieces: Iterator[bytes]) -> bool:
    """Send pieces; whether the node took all. One that has heard enough may have answered already."""
    for piece in pieces:
        try:
            connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            return False
    return True


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


def _authorization(node: WebNode) -> str | None:
    if node.token_variable is None:
        return None
    token = os.environ.get(node.token_variable, "").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise SettingsError(f"node {node.name}: the environment variable {node.token_variable} has no token")
    return token if " " in token else f"Bearer {token}"
