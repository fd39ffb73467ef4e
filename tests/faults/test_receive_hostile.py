"""Whoever sends what he likes to `workbench receive` costs little memory, and keeps no good peer out."""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from catalog.identifiers import new_uid
from tests.peers.caller import RAW_DATA, an_object, associated, memory_mib, stores

MEMORY_MIB = 100


@pytest.fixture(scope="module")
def receiving(start_receive: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return start_receive(tmp_path_factory.mktemp("bench"))


@pytest.fixture(autouse=True)
def bounded(receiving: Any) -> Iterator[None]:
    """After everything hostile memory is flat, nothing is left, and a good peer is answered."""
    before = memory_mib(receiving)
    yield
    assert stores(receiving)
    assert memory_mib(receiving) - before < MEMORY_MIB
    assert receiving.process.poll() is None
    until = time.monotonic() + 30  # connections that were cut are noticed by threads of their own
    while left := [path for path in receiving.files if path.suffix == ".partial"]:
        assert time.monotonic() < until, left


def closed_within(wire: socket.socket, seconds: float) -> bool:
    wire.settimeout(seconds)
    try:
        while wire.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize(
    "header",
    [
        b"\x01\x00\xff\xff\xff\xff",
        b"\x04\x00\xff\xff\xff\xff",
        b"\x01\x00" + struct.pack(">L", (1 << 20) + 1),
        b"\x09\x00\x00\x00\x00\x04",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_5_a_PDU_that_claims_too_much_before_an_association_ends_the_connection(
    receiving: Any, header: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", receiving.port)) as wire:
        wire.sendall(header)
        try:
            for _ in range(64):
                wire.sendall(bytes(1 << 20))
        except OSError:
            return
        assert closed_within(wire, 12)


def test_5_silent_connections_do_not_keep_a_good_peer_out(receiving: Any) -> None:
    silent = [socket.create_connection(("127.0.0.1", receiving.port)) for _ in range(60)]
    try:
        assert stores(receiving)
    finally:
        for each in silent:
            each.close()


def test_5_who_sends_a_byte_a_second_is_left(receiving: Any) -> None:
    with socket.create_connection(("127.0.0.1", receiving.port), timeout=1.0) as wire:
        began = time.monotonic()
        for each in b"\x01\x00\x00\x00\x00\xff" + bytes(60):
            try:
                wire.sendall(bytes([each]))
                if not wire.recv(1):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert time.monotonic() - began < 30


def pdv(context_id: int, control: int, body: bytes) -> bytes:
    item = struct.pack(">LBB", len(body) + 2, context_id, control) + body
    return b"\x04\x00" + struct.pack(">L", len(item)) + item


def command() -> bytes:
    ds = Dataset()
    ds.AffectedSOPClassUID, ds.AffectedSOPInstanceUID = RAW_DATA, new_uid()
    ds.CommandField, ds.MessageID, ds.Priority, ds.CommandDataSetType = 1, 1, 0, 1
    encoded = encode(ds, True, True)
    assert encoded is not None
    return encoded


@pytest.mark.parametrize(
    "pdus",
    [
        [b"\x04\x00" + struct.pack(">LLBB", 6, 1 << 31, 1, 3)],
        [pdv(1, 1, bytes(60_000))] * 3,
        [pdv(1, 0, b"data without a command")],
        [pdv(1, 3, command()), pdv(1, 3, command())],
        [pdv(99, 3, command())],
        [pdv(1, 3, bytes(100))],
        [pdv(1, 3, command()) + pdv(1, 2, b"")] * 40,
        [b"\x04\x00\xff\xff\xff\xff"],
    ],
    ids=["length", "command", "orphan", "nested", "context", "nonsense", "flood", "claim"],
)
def test_5_PDVs_that_break_the_rules_end_the_association_alone(receiving: Any, pdus: list[bytes]) -> None:
    association = associated(receiving)
    wire = association.dul.socket.socket
    try:
        for each in pdus:
            wire.sendall(each)
    except OSError:
        pass
    until = time.monotonic() + 20
    while association.is_established and time.monotonic() < until:
        time.sleep(0)
        if pdus[0][:1] == b"\x04" and len(pdus) == 40:
            break  # each of these is answered, as far as it was read
    association.abort()


def test_10_P2_a_connection_cut_in_the_middle_leaves_nothing(receiving: Any) -> None:
    before = receiving.files
    encoded = BytesIO(encode(an_object(3 << 20), True, True) or b"").getvalue()
    for at in (0, 1, 100_000, 2 << 20, len(encoded) - 1):
        association = associated(receiving)
        wire = association.dul.socket.socket
        wire.sendall(pdv(1, 3, command()))
        for start in range(0, at, 100_000):
            wire.sendall(pdv(1, 0, encoded[start : min(start + 100_000, at)]))
        wire.shutdown(socket.SHUT_RDWR)
        association.abort()
        wire.close()  # pynetdicom leaves open what was shut down already
    until = time.monotonic() + 30
    while receiving.files != before:
        assert time.monotonic() < until, set(receiving.files) - set(before)


def test_36_large_objects_cost_no_memory(receiving: Any) -> None:
    association = associated(receiving)
    assert association.send_c_store(an_object(150 << 20)).Status == 0x0000
    association.release()
