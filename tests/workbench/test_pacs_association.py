"""A node that does not open an association is heard, and what it says is said in words."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pynetdicom.ae import ApplicationEntity
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from catalog.errors import NodeUnavailableError, RefusedError
from workbench.pacs.association import associate, contexts_for, service
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.wire import pdu

ECHO = contexts_for([(Verification, "1.2.840.10008.1.2")])
REJECTED = "rejected the association of WORKBENCH: called ae title not recognised"


@pytest.fixture
def particular() -> Iterator[DimseNode]:
    """A node that rejects who calls it by another name, called by another name."""
    ae = ApplicationEntity("NODE")
    ae.require_called_aet = True
    ae.add_supported_context(Verification)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    yield DimseNode("ANOTHER", "127.0.0.1", server.server_address[1])
    server.shutdown()


@contextmanager
def answering(answer: bytes) -> Iterator[DimseNode]:
    """A node that gives every request for an association the same bytes, and closes the connection."""
    listening = socket.create_server(("127.0.0.1", 0))

    def meet() -> None:
        accepted, _ = listening.accept()
        with accepted:
            accepted.recv(1 << 16)
            accepted.sendall(answer)

    thread = threading.Thread(target=meet)
    thread.start()
    yield DimseNode("NODE", "127.0.0.1", listening.getsockname()[1], connection_seconds=5)
    thread.join(10)
    listening.close()


def test_a_rejection_is_said_in_words(particular: DimseNode) -> None:
    with pytest.raises(NodeUnavailableError, match=REJECTED), associate(particular, ECHO):
        pass


def test_a_node_that_offers_nothing_of_it_refuses(particular: DimseNode) -> None:
    node = DimseNode("NODE", "127.0.0.1", particular.port)
    words = r"accepts none of what was proposed: 1\.2\.3$"
    with pytest.raises(RefusedError, match=words), associate(node, [service("1.2.3")]):
        pass


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (pdu.rejection(1, 1, 7), REJECTED),
        (pdu.rejection(2, 3, 1), "temporary congestion"),
        (pdu.abort(2, 1), "does not open an association: the other side aborted .* unrecognized PDU"),
        (pdu.RELEASE_RP, "something else than an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no PDU of type 48"),
        (b"\x02\x00\xff\xff\xff\xff", "announces 4294967295 bytes"),
        (b"\x02\x00\x00\x00\x00\x08" + bytes(8), "A-ASSOCIATE is cut"),
        (b"\x02\x00\x00\x00\x00\x4c" + b"\x10" * 76, "A-ASSOCIATE is damaged"),
        (b"", "cannot be reached, or did not answer within 5 seconds"),
    ],
)
def test_an_answer_that_opens_nothing_is_said_in_words(answer: bytes, words: str) -> None:
    with answering(answer) as node, pytest.raises(NodeUnavailableError, match=words), associate(node, ECHO):
        pass


def test_a_host_that_nobody_knows_is_told_apart() -> None:
    node = DimseNode("NODE", "no.such.host.invalid", 104, connection_seconds=5)
    with pytest.raises(NodeUnavailableError, match="cannot be looked up"), associate(node, ECHO):
        pass
