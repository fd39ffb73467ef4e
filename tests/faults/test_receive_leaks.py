"""Associations that end in any way leave nothing: no memory, thread, open file or part of an object."""

import socket
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from tests.peers.caller import associated, memory_mib, open_files, stores, threads

WARMING = 40
MIB_PER_THOUSAND = 1.0
NOISE_MIB = 8.0
"""What an allocator may still take after it is warm."""


def whole(receiving: Any) -> None:
    assert stores(receiving)


def aborted(receiving: Any) -> None:
    association = associated(receiving)
    association.abort()


def cut(receiving: Any) -> None:
    """In the middle of an object."""
    association = associated(receiving)
    wire = association.dul.socket.socket
    wire.sendall(b"\x04\x00\x00\x00\x20\x00" + b"\x00\x00\x1f\xfc\x01\x00" + bytes(1000))
    wire.shutdown(socket.SHUT_RDWR)
    association.abort()
    wire.close()  # pynetdicom leaves open what was shut down already


def silent(receiving: Any) -> None:
    with socket.create_connection(("127.0.0.1", receiving.port)) as wire:
        wire.sendall(b"\x01")


WAYS = (whole, aborted, cut, whole, silent)


def at_rest(receiving: Any) -> tuple[int, int]:
    """Open files and threads once connections are gone; what is cut is noticed by threads of their own."""
    until, least = time.monotonic() + 60, (10**6, 10**6)
    steady = 0
    while steady < 20 and time.monotonic() < until:
        now = open_files(receiving), threads(receiving)
        steady = steady + 1 if now >= least else 0
        least = min(least, now)
        time.sleep(0.05)
    return least


def end_in_every_way(receiving: Any, times: int) -> None:
    for way in islice(cycle(WAYS), times):
        way(receiving)


def leave_nothing(receiving: Any, times: int) -> None:
    end_in_every_way(receiving, WARMING)
    files, running = at_rest(receiving)
    memory = memory_mib(receiving)
    end_in_every_way(receiving, times)
    files_after, running_after = at_rest(receiving)
    assert files_after <= files, "open files"
    assert running_after <= running, "threads"
    assert memory_mib(receiving) - memory < NOISE_MIB + MIB_PER_THOUSAND * times / 1000
    receiving.settle()
    stored = WARMING // 5 * 2 + times // 5 * 2
    assert len([path for path in receiving.files if path.suffix == ".dcm"]) == stored
    assert not [path for path in receiving.files if path.suffix == ".partial"]


@pytest.fixture
def receiving(start_receive: Callable[..., Any], tmp_path: Path) -> Iterator[Any]:
    started = start_receive(tmp_path / "bench")
    yield started
    assert started.end() == 0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted as Linux lists them")
def test_21_two_hundred_associations_that_end_in_any_way_leave_nothing(receiving: Any) -> None:
    leave_nothing(receiving, 200)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted as Linux lists them")
def test_21_twenty_thousand_associations_that_end_in_any_way_leave_nothing(receiving: Any) -> None:
    leave_nothing(receiving, 20_000)
