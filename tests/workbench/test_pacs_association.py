"""A node that rejects an association is heard, also when it closes the connection at once."""

from collections.abc import Iterator
from threading import Event as Flag

import pytest
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from catalog.errors import NodeUnavailableError
from workbench.pacs.association import associate, contexts_for
from workbench.pacs.dimse_node import DimseNode

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


def test_a_rejection_is_said_in_words(particular: DimseNode) -> None:
    with pytest.raises(NodeUnavailableError, match=REJECTED), associate(particular, ECHO):
        pass


def test_a_rejection_is_heard_though_the_connection_was_closed_before_it_was_looked_at(
    particular: DimseNode,
) -> None:
    closed = Flag()
    handlers = [  # the requestor goes on only when all is over
        (evt.EVT_CONN_CLOSE, lambda event: closed.set()),
        (evt.EVT_REQUESTED, lambda event: closed.wait(10)),
    ]
    with pytest.raises(NodeUnavailableError, match=REJECTED), associate(particular, ECHO, handlers=handlers):
        pass
    assert closed.is_set()
