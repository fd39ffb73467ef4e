"""Accepts connections: few from one address, strangers for a short time, each met by a thread of its own."""

import errno
import os
import select
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from catalog.errors import DeliveryError, NodeUnavailableError, words_of
from workbench.pacs.wire.connection import Connection

CONNECTIONS_AT_MOST = 64
"""Connections at the same time, associated or not."""
FROM_ONE_ADDRESS = CONNECTIONS_AT_MOST // 2
"""Of them associations of one address."""
STRANGERS_AT_MOST = CONNECTIONS_AT_MOST // 4
"""Of them such as have not asked for an association yet; one more ends the oldest of them."""
ARTIM_SECONDS = 10.0
"""How long a connection may take to ask for an association, its hands shaken (PS3.8 section 9.1.4)."""
BACKLOG = 128
"""Connections that may wait to be accepted."""

_AGAIN_SECONDS = 0.1
_LAST_SECONDS = 5.0
"""How long threads may take to end once their connections are cut."""

type Meet = Callable[["Guest"], None]
"""Meets a connection, in a thread of its own; whatever it raises ends that connection."""


class Guest:
    """One connection that was let in.

    Parameters
    ----------
    connection
        It has `ARTIM_SECONDS` in all until whoever meets it allows more.
    address
        Of the other side.
    """

    def __init__(self, connection: Connection, address: str, rung: int) -> None:
        self.connection, self.address = connection, address
        self.is_stranger = True
        """Until whoever meets it knows who it is."""
        self._turn = select.poll()
        self._turn.register(connection.wire, select.POLLIN)
        self._turn.register(rung, select.POLLIN)
        self._rung = rung

    def wait(self, seconds: float) -> bool:
        """Wait until something comes; `False` where nothing does in time, or the acceptor is to end."""
        is_there = self.connection.is_readable()  # bytes in memory are none that the system tells of
        came = self._turn.poll(0 if is_there else seconds * 1000)
        is_rung = any(descriptor == self._rung for descriptor, _ in came)
        return (is_there or bool(came)) and not is_rung


class Acceptor:
    """Listens while it is a context.

    Parameters
    ----------
    host, port
        Where; port 0 takes a free one, which `port` then is.
    meet
        What is done with a connection that was let in; it shakes hands first.
    wait_seconds
        How long each wait for a peer may take, once it has an association.
    tls
        What proves who is who; without it connections are in the clear.
    share_port
        Whether other processes listen there, too: the system shares connections among them.

    Raises
    ------
    catalog.errors.DeliveryError
        On entering, if the address cannot be listened on; a `catalog.errors.NodeUnavailableError` where
        another has it just now.
    """

    def __init__(
        self,
        host: str,
        port: int,
        meet: Meet,
        *,
        wait_seconds: float,
        tls: ssl.SSLContext | None = None,
        share_port: bool = False,
    ) -> None:
        self.host, self.port = host, port
        self._meet, self._tls, self._share_port = meet, tls, share_port
        self._wait_seconds = wait_seconds
        self._guests: dict[Guest, Thread] = {}
        self._lock = Lock()
        self._is_ending = Event()

    def __enter__(self) -> Self:
        try:
            family, *_ = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            self._listening = socket.create_server(
                (self.host, self.port), family=family, backlog=BACKLOG, reuse_port=self._share_port
            )
        except OSError as error:
            kind = NodeUnavailableError if error.errno == errno.EADDRINUSE else DeliveryError
            raise kind(
                f"Cannot listen on {self.host}:{self.port} ({words_of(error)}); "
                "set another address or end what is using it"
            ) from error
        self.port = int(self._listening.getsockname()[1])
        self._rung, self._bell = os.pipe()
        self._thread = Thread(target=self._accept_all, name="acceptor", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(0.0)

    def end(self, seconds: float) -> None:
        """Accept nobody any more, give what is under way some seconds, then cut what is left."""
        if not self._is_ending.is_set():
            self._is_ending.set()
            os.close(self._bell)  # every thread that waits hears the other end
            self._thread.join()
            self._listening.close()
            self._join(seconds)
            for guest in list(self._guests):
                guest.connection.cut()
            self._join(_LAST_SECONDS)
            if not self._guests:  # else one of them still listens to it
                os.close(self._rung)

    def _join(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        for thread in list(self._guests.values()):
            thread.join(max(until - time.monotonic(), 0.0))

    # --- in the thread of the acceptor -------------------------------------------------------------------

    def _accept_all(self) -> None:
        turn = select.poll()
        turn.register(self._listening, select.POLLIN)
        turn.register(self._rung, select.POLLIN)
        while turn.poll() and not self._is_ending.is_set():
            try:
                wire, address = self._listening.accept()
            except OSError:  # who came is gone again, or this process has too many files open
                self._is_ending.wait(_AGAIN_SECONDS)
                continue
            try:
                if not self._has_room(address[0]):
                    wire.close()
                    continue
                guest = self._let_in(wire, address[0])
            except (OSError, ValueError):  # gone again
                wire.close()
                continue
            thread = Thread(target=self._met, args=(guest,), name="association", daemon=True)
            with self._lock:
                self._guests[guest] = thread
            thread.start()

    def _has_room(self, address: str) -> bool:
        """Turn away a connection too many before it costs anything; who is silent makes room for others."""
        with self._lock:
            strangers = [each for each in self._guests if each.is_stranger]
            if len(strangers) >= STRANGERS_AT_MOST:
                del self._guests[strangers[0]]
                strangers[0].connection.cut()
            known = Counter(each.address for each in self._guests if not each.is_stranger)
            return known[address] < FROM_ONE_ADDRESS and len(self._guests) < CONNECTIONS_AT_MOST

    def _let_in(self, wire: socket.socket, address: str) -> Guest:
        if self._tls is not None:
            wire = self._tls.wrap_socket(wire, server_side=True, do_handshake_on_connect=False)
        connection = Connection(wire, self._wait_seconds)
        connection.allow(ARTIM_SECONDS)
        return Guest(connection, address, self._rung)

    # --- in a thread a connection ------------------------------------------------------------------------

    def _met(self, guest: Guest) -> None:
        try:
            guest.connection.shake_hands()
            self._meet(guest)
        except Exception:  # of one connection: it ends, and no other is touched
            pass
        finally:
            guest.connection.close()
            with self._lock:
                self._guests.pop(guest, None)
