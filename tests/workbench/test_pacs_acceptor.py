"""Connections are let in within bounds, met by threads of their own, and brought to an end."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event, Semaphore
from time import monotonic

import pytest

from catalog.errors import DeliveryError
from workbench.pacs.acceptor import FROM_ONE_ADDRESS, STRANGERS_AT_MOST, Acceptor, Guest
from workbench.pacs.wire.failures import WireError

SECONDS = 20.0


class Meeting:
    """Reads a byte from each guest: `k` makes it known, `x` is a fault, others are echoed after `go`."""

    def __init__(self) -> None:
        self.go = Event()
        self.known = Semaphore(0)
        self.under_way = Semaphore(0)

    def __call__(self, guest: Guest) -> None:
        wire = guest.connection.wire
        while guest.wait(SECONDS) and (said := wire.recv(1)):
            if said == b"x":
                raise RuntimeError("of this one alone")
            if said == b"k":
                guest.is_stranger = False
                self.known.release()
                continue
            self.under_way.release()
            assert self.go.wait(SECONDS)
            wire.sendall(said)


@pytest.fixture
def meeting() -> Meeting:
    return Meeting()


@pytest.fixture
def acceptor(meeting: Meeting) -> Iterator[Acceptor]:
    with Acceptor("127.0.0.1", 0, meeting, wait_seconds=SECONDS) as listening:
        yield listening


def connected(stack: ExitStack, acceptor: Acceptor) -> socket.socket:
    wire = stack.enter_context(socket.create_connection(("127.0.0.1", acceptor.port), SECONDS))
    wire.settimeout(SECONDS)
    return wire


def is_ended(wire: socket.socket) -> bool:
    try:
        return wire.recv(1) == b""
    except ConnectionError:
        return True


def test_a_stranger_too_many_ends_the_one_that_was_silent_for_the_longest(
    acceptor: Acceptor, meeting: Meeting
) -> None:
    meeting.go.set()
    with ExitStack() as stack:
        wires = [connected(stack, acceptor) for _ in range(STRANGERS_AT_MOST + 1)]
        assert is_ended(wires[0])
        for each in wires[1:]:
            each.sendall(b"?")
            assert each.recv(1) == b"?"


def test_one_address_has_half_of_the_connections_at_most(acceptor: Acceptor, meeting: Meeting) -> None:
    meeting.go.set()
    with ExitStack() as stack:
        for _ in range(FROM_ONE_ADDRESS):
            connected(stack, acceptor).sendall(b"k")
            assert meeting.known.acquire(timeout=SECONDS)
        assert is_ended(connected(stack, acceptor))


def test_a_fault_ends_one_connection_and_no_other(acceptor: Acceptor, meeting: Meeting) -> None:
    meeting.go.set()
    with ExitStack() as stack:
        one, other = connected(stack, acceptor), connected(stack, acceptor)
        one.sendall(b"x")
        assert is_ended(one)
        other.sendall(b"?")
        assert other.recv(1) == b"?"


def test_the_end_is_at_once_for_who_is_silent_and_waits_for_what_is_under_way(
    acceptor: Acceptor, meeting: Meeting
) -> None:
    with ExitStack() as stack:
        silent, busy = connected(stack, acceptor), connected(stack, acceptor)
        for each in (silent, busy):
            each.sendall(b"k")
            assert meeting.known.acquire(timeout=SECONDS)
        busy.sendall(b"?")
        assert meeting.under_way.acquire(timeout=SECONDS)
        begun = monotonic()
        acceptor.end(0.5)  # who is under way does not come to its end, and is cut
        assert 0.5 <= monotonic() - begun < SECONDS
        meeting.go.set()
        assert is_ended(silent)
        assert is_ended(busy)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", acceptor.port), SECONDS)


def test_what_is_under_way_comes_to_its_end(acceptor: Acceptor, meeting: Meeting) -> None:
    meeting.go.set()
    with ExitStack() as stack:
        busy = connected(stack, acceptor)
        busy.sendall(b"k")
        assert meeting.known.acquire(timeout=SECONDS)
        busy.sendall(b"?")
        assert busy.recv(1) == b"?"
        begun = monotonic()
        acceptor.end(SECONDS)
        assert monotonic() - begun < SECONDS / 2, "who is silent is not waited for"


def test_an_address_that_is_taken_is_told(acceptor: Acceptor, meeting: Meeting) -> None:
    other = Acceptor("127.0.0.1", acceptor.port, meeting, wait_seconds=SECONDS)
    with pytest.raises(DeliveryError, match="Cannot listen"):
        other.__enter__()


def test_a_connection_that_ends_is_told_to_who_meets_it() -> None:
    told = Event()

    def meet(guest: Guest) -> None:
        with pytest.raises(WireError):
            guest.connection.receive()
        told.set()

    with Acceptor("127.0.0.1", 0, meet, wait_seconds=SECONDS) as acceptor:
        socket.create_connection(("127.0.0.1", acceptor.port), SECONDS).close()
        assert told.wait(SECONDS)
