"""A caller on pynetdicom, a stack of its own, for what is served here."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association

from workbench.pacs.dimse_node import DimseNode


def make_prompt(event: evt.Event) -> None:
    """Switch off Nagle's algorithm; bind this to EVT_CONN_OPEN."""
    event.assoc.dul.socket.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)


@contextmanager
def calling(
    node: DimseNode, contexts: Sequence[Any], *, roles: Sequence[Any] = (), handlers: Sequence[Any] = ()
) -> Iterator[Association]:
    """Hold an association with a node, which must accept it."""
    ae = AE(node.calling_ae_title)
    ae.acse_timeout = ae.connection_timeout = node.connection_seconds
    ae.dimse_timeout = ae.network_timeout = node.answer_seconds
    ae.maximum_pdu_size = node.maximum_pdu
    association = ae.associate(
        node.host, node.port, contexts=list(contexts), ae_title=node.ae_title, max_pdu=node.maximum_pdu,
        ext_neg=list(roles), evt_handlers=[(evt.EVT_CONN_OPEN, make_prompt), *handlers],
    )  # fmt: skip
    assert association.is_established
    wire = association.dul.socket.socket
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        association.join(node.answer_seconds)
        wire.close()  # pynetdicom does not, where the other side has gone before it


def answer_to(association: Association, request: Any, context_id: int) -> Any:
    """Send a request as it is, and return its answer, which the thread of the association must not take."""
    association._reactor_checkpoint.clear()
    try:
        while not association._is_paused:
            time.sleep(0)
        association.dimse.send_msg(request, context_id)
        return association.dimse.get_msg(block=True)[1]
    finally:
        association._reactor_checkpoint.set()
