"""Two sides of the wire on one machine, and pynetdicom as either: opened, spoken on, ended by every rule."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from workbench.pacs.wire import pdu
from workbench.pacs.wire.association import Association
from workbench.pacs.wire.command import MEDIUM, Command, Field
from workbench.pacs.wire.connection import Connection
from workbench.pacs.wire.failures import AbortedError, LostError, ProtocolError, RejectedError
from workbench.pacs.wire.pdu import PduType

VERIFICATION, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2"
ECHO = Command(command_field=Field.C_ECHO, message_id=7, affected_sop_class_uid=VERIFICATION)
STORE = Command(
    command_field=Field.C_STORE, message_id=8, affected_sop_class_uid=CT,
    affected_sop_instance_uid="1.2.3", priority=MEDIUM,
)  # fmt: skip
LARGEST = 16 << 10

type Serve = Callable[[Connection], None]


def contexts() -> list[Any]:
    return [build_context(VERIFICATION), build_context(CT)]


@contextmanager
def serving(serve: Serve, wait_seconds: float = 5.0) -> Iterator[int]:
    """Meet one connection in a thread; what goes wrong there is raised at the end."""
    listening = socket.create_server(("127.0.0.1", 0))
    trouble: list[BaseException] = []

    def meet() -> None:
        try:
            accepted, _ = listening.accept()
            connection = Connection(accepted, wait_seconds)
            try:
                serve(connection)
            finally:
                connection.close()
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=meet)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        thread.join(10)
        listening.close()
    assert not thread.is_alive()
    if trouble:
        raise trouble[0]


def accepted(connection: Connection) -> Association:
    request = Association.requested(connection)
    return Association.accept(connection, request, contexts(), maximum_length=LARGEST)


def answer_all(connection: Connection) -> None:
    association = accepted(connection)
    while (message := association.receive()) is not None:
        association.send(message.context_id, message.command.response(0))


def opened(port: int, wait_seconds: float = 5.0) -> Association:
    connection = Connection.to("127.0.0.1", port, seconds=wait_seconds)
    connection.allow(None)
    return Association.request(connection, "ONE", "OTHER", contexts(), maximum_length=LARGEST)


def raw(port: int) -> Connection:
    """A connection whose association is open, for PDUs of any kind."""
    return opened(port).connection


def test_a_message_is_answered_and_the_association_released() -> None:
    with serving(answer_all) as port:
        association = opened(port)
        association.send(1, ECHO)
        answer = association.receive()
        assert answer is not None
        assert (answer.command.status, answer.command.message_id_being_responded_to) == (0, 7)
        association.release()
        assert not association.is_open


class Counting:
    """A target that keeps what it is given."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, fragment: memoryview, /) -> None:
        self.content += fragment


@pytest.mark.parametrize("length", [2, LARGEST - 6, LARGEST, 3_000_000])
def test_a_file_goes_as_it_lies_into_what_the_other_side_opens(tmp_path: Path, length: int) -> None:
    content = bytes(range(256)) * (length // 256 + 1)
    path = tmp_path / "file"
    path.write_bytes(b"before" + content[:length])
    came = []

    def keep(connection: Connection) -> None:
        association = accepted(connection)
        while (message := association.receive(lambda _id, _command: Counting())) is not None:
            came.append(message)
            association.send(message.context_id, message.command.response(0))

    with serving(keep) as port:
        association = opened(port)
        for _ in range(3):
            association.send_file(3, STORE, path, offset=6)
            answer = association.receive()
            assert answer is not None
            assert answer.command.status == 0
        association.release()
    assert [bytes(each.target.content) for each in came] == [content[:length]] * 3


def test_a_file_that_becomes_shorter_aborts_the_association(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(10 << 20)

    def take(connection: Connection) -> None:
        association = accepted(connection)
        with pytest.raises(AbortedError, match="its application"):
            association.receive(lambda _id, _command: shortened)

    class Shortening:
        def write(self, fragment: memoryview, /) -> None:
            with path.open("r+b") as file:
                file.truncate(1)

    shortened = Shortening()
    with serving(take) as port:
        association = opened(port)
        with pytest.raises(OSError, match="has become shorter"):
            association.send_file(3, STORE, path)
        assert not association.is_open


def test_a_rejection_says_why() -> None:
    def reject(connection: Connection) -> None:
        request = Association.requested(connection)
        assert (request.calling_ae_title, request.called_ae_title) == ("ONE", "OTHER")
        Association.reject(connection, 1, 1, 7)

    with serving(reject) as port, pytest.raises(RejectedError, match="called ae title not recognised"):
        opened(port)


def test_an_abort_ends_the_association_of_both() -> None:
    def wait(connection: Connection) -> None:
        association = accepted(connection)
        with pytest.raises(AbortedError, match="its application"):
            association.receive()
        assert not association.is_open

    with serving(wait) as port:
        association = opened(port)
        association.abort()
        assert not association.is_open


# --- rules of PS3.8 section 9.2 that a peer breaks, and what it is told -----------------------------------

ABORTED_FOR: dict[str, tuple[bytes, int]] = {
    "an unknown PDU type": (bytes([9, 0, 0, 0, 0, 0]), pdu.UNRECOGNIZED_PDU),
    "another A-ASSOCIATE-RQ": (bytes([1, 0, 0, 0, 0, 4, 0, 0, 0, 0]), pdu.UNEXPECTED_PDU),
    "a release response without request": (pdu.RELEASE_RP, pdu.UNEXPECTED_PDU),
    "a P-DATA-TF longer than announced": (struct.pack(">BxI", 4, LARGEST + 1), pdu.INVALID_PARAMETER_VALUE),
    "a PDU of 4 GB": (struct.pack(">BxI", 5, 0xFFFFFFFF), pdu.INVALID_PARAMETER_VALUE),
    "a P-DATA-TF without a value": (struct.pack(">BxI", 4, 0), pdu.INVALID_PARAMETER_VALUE),
    "a data set without a command": (pdu.data_header(1, 2, 0), pdu.UNEXPECTED_PDU),
    "a context that was not accepted": (pdu.data_header(99, 3, 0), pdu.INVALID_PARAMETER_VALUE),
    "a release within a message": (
        pdu.data_header(1, pdu.COMMAND, 0) + pdu.RELEASE_RQ, pdu.UNEXPECTED_PDU
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ABORTED_FOR)
def test_a_broken_rule_is_answered_with_an_abort_that_says_which(case: str) -> None:
    content, reason = ABORTED_FOR[case]

    def refuse(connection: Connection) -> None:
        association = accepted(connection)
        with pytest.raises(ProtocolError):
            association.receive()
        assert not association.is_open

    with serving(refuse) as port:
        connection = raw(port)
        connection.send([content])
        assert connection.receive()[1][2:] == bytes([2, reason])
        connection.close()


@pytest.mark.parametrize("content", [pdu.RELEASE_RQ, pdu.data_header(1, 3, 0), b"GET / HTTP/1.1\r\n\r\n"])
def test_what_asks_for_no_association_is_aborted(content: bytes) -> None:
    def refuse(connection: Connection) -> None:
        with pytest.raises(ProtocolError):
            Association.requested(connection)

    with serving(refuse) as port:
        connection = Connection.to("127.0.0.1", port, seconds=5)
        connection.send([content])
        kind, body = connection.receive()
        assert (kind, body[2]) == (PduType.A_ABORT, 2)
        connection.close()


def test_releases_that_cross_are_answered_in_their_order() -> None:
    def release_too(connection: Connection) -> None:
        association = accepted(connection)
        association.release()

    with serving(release_too) as port:
        connection = raw(port)
        assert connection.receive()[0] == PduType.A_RELEASE_RQ
        connection.send([pdu.RELEASE_RQ])  # the requestor answers first (Sta9), then the acceptor (Sta12)
        connection.send([pdu.RELEASE_RP])
        assert connection.receive()[0] == PduType.A_RELEASE_RP
        connection.close()

    def release_first(connection: Connection) -> None:
        accepted(connection)
        connection.send([pdu.RELEASE_RQ])
        assert connection.receive()[0] == PduType.A_RELEASE_RQ
        assert connection.receive()[0] == PduType.A_RELEASE_RP
        connection.send([pdu.RELEASE_RP])

    with serving(release_first) as port:
        opened(port).release()


def test_what_comes_after_a_release_request_is_dropped() -> None:
    def late(connection: Connection) -> None:
        association = accepted(connection)
        for _ in range(50):
            association.send(1, ECHO)
        assert association.receive() is None

    with serving(late) as port:
        association = opened(port)
        association.release()
        assert not association.is_open


# --- time ------------------------------------------------------------------------------------------------


def test_who_says_nothing_is_waited_for_no_longer_than_agreed() -> None:
    def silent(connection: Connection) -> None:
        association = accepted(connection)
        with pytest.raises(LostError):
            association.receive()

    with serving(silent) as port:
        association = opened(port)
        association.connection.wait_seconds = 0.2
        begun = time.monotonic()
        with pytest.raises(LostError, match="in time"):
            association.receive()
        assert time.monotonic() - begun < 2
        assert not association.is_open


def test_a_byte_now_and_then_does_not_extend_the_deadline() -> None:
    ended = threading.Event()

    def trickle(connection: Connection) -> None:
        accepted(connection)
        echo = b"".join(pdu.fragments(1, pdu.COMMAND, bytes(2000), LARGEST))
        for byte in echo:
            if ended.wait(0.05):
                return
            connection.wire.send(bytes([byte]))

    with serving(trickle) as port:
        association = opened(port)
        association.allow(0.5)
        begun = time.monotonic()
        with pytest.raises(LostError):
            association.receive()
        ended.set()
        assert time.monotonic() - begun < 2


def test_who_takes_nothing_is_not_sent_to_without_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    done = threading.Event()

    def deaf(connection: Connection) -> None:
        accepted(connection)
        done.wait(10)

    with serving(deaf) as port:
        association = opened(port)
        association.connection.wait_seconds = 60.0
        association.allow(0.5)
        begun = time.monotonic()
        with pytest.raises(LostError):
            association.send_file(3, STORE, path)
        assert time.monotonic() - begun < 3
        done.set()


def test_a_connection_can_be_cut_by_another_thread() -> None:
    waiting: list[Association] = []
    ready = threading.Event()

    def wait(connection: Connection) -> None:
        waiting.append(accepted(connection))
        ready.set()
        with pytest.raises(LostError):
            waiting[0].receive()

    with serving(wait, wait_seconds=60) as port:
        association = opened(port)
        assert ready.wait(5)
        waiting[0].connection.cut()
        with pytest.raises(LostError):
            association.receive()


# --- pynetdicom as the other side -------------------------------------------------------------------------


def test_pynetdicom_is_spoken_to(tmp_path: Path) -> None:
    came: list[bytes] = []

    def store(event: evt.Event) -> int:
        came.append(event.request.DataSet.getvalue())
        return 0x0107

    ae = AE("OTHER")
    ae.add_supported_context(VERIFICATION)
    ae.add_supported_context(CT)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    path = tmp_path / "file"
    path.write_bytes(bytes(range(250)) * 4000)
    association = opened(server.server_address[1])
    association.send(1, ECHO)
    association.send_file(3, STORE, path)
    answers = [association.receive(), association.receive()]
    assert [each and each.command.status for each in answers] == [0, 0x0107]
    association.release()
    server.shutdown()
    assert came == [path.read_bytes()]


def test_pynetdicom_is_answered() -> None:
    with serving(answer_all) as port:
        ae = AE("ONE")
        association = ae.associate("127.0.0.1", port, contexts=contexts(), ae_title="OTHER")
        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()
        assert association.is_released
