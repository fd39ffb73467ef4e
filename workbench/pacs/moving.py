"""Instances that a node sends on request (C-MOVE, PS3.4 C.4.2): to this process, or to `workbench receive`.

A node knows one address for the AE title of a bench. Where `workbench receive` is at work on it, instances go
there, and are found in the catalog.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Event
from time import monotonic

from pydicom.dataset import Dataset

from catalog import receptions
from catalog.arrivals import is_at_work
from catalog.database import Catalog
from catalog.errors import NodeUnavailableError, RefusedError
from catalog.receptions import Reception
from workbench.pacs import dimse
from workbench.pacs.association import associate, service
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress
from workbench.pacs.receive import Attempt, Listener, Receive
from workbench.pacs.sop_classes import STUDY_ROOT_MOVE

ARRIVE_SECONDS = 10.0
"""How long an instance may take into the catalog, after the answer to C-MOVE or after the one before it."""
_LOOK_SECONDS = 0.1

type Found = Callable[[Reception], None]
"""Takes what `workbench receive` has received."""


def move(
    node: DimseNode,
    identifier: Dataset,
    sop_instance_uids: Sequence[str],
    contexts: Sequence[tuple[str, str]],
    listener: Listener,
    receive: Receive,
    found: Found,
    *,
    at_most: float | None = None,
) -> dimse.SubOperations:
    """Have a node send instances here, and take each of them as it comes.

    Parameters
    ----------
    sop_instance_uids, contexts
        What is expected, in which pairs of SOP class and transfer syntax.
    receive
        Takes what comes to this process.
    found
        Takes what came to `workbench receive`, settled and with its place.
    at_most
        Seconds for the association with the node, where there is a bound.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer or refuses, or instances can come to nobody here.
    """
    left = set(sop_instance_uids)

    def take(uid: str, content: bytes) -> None:
        receive(uid, content)
        left.discard(uid)

    with listener.expecting(sop_instance_uids, contexts, take), listener.where_free() as attempt:
        _wait_for_taker(node, listener.address, attempt)
        beside = catalog_beside(listener.address)
        since = receptions.newest(beside) if beside is not None else 0
        try:
            with associate(node, [service(STUDY_ROOT_MOVE)], at_most=at_most) as association:
                counts = dimse.move(association, identifier, node.calling_ae_title)
        except RefusedError as error:
            if beside is None or not attempt.trouble:
                raise
            raise RefusedError(f"{error}. {_advice(node, listener.address)}") from None
    if beside is not None:
        for each in _arrived(beside, since, left):
            found(each)
            left.discard(each.sop_instance_uid)
        if left and attempt.trouble:
            raise RefusedError(_advice(node, listener.address))
    return counts


def catalog_beside(address: ListenAddress) -> Catalog | None:
    """Return the catalog into which `workbench receive` of this bench takes what comes; `None` without it."""
    if address.received is None or not is_at_work(address.received):
        return None
    return address.catalog


def _wait_for_taker(node: DimseNode, address: ListenAddress, attempt: Attempt) -> None:
    """Wait until this process listens, or `workbench receive` is at work and lets the node in.

    Another send or fetch of this bench has the port for a while only.
    """
    until = monotonic() + node.answer_seconds
    while attempt.trouble and catalog_beside(address) is None:
        if not attempt.may_be_free or monotonic() >= until:
            raise NodeUnavailableError(attempt.trouble)
        Event().wait(_LOOK_SECONDS)
        attempt()
    if attempt.trouble and "store" not in node.may:
        raise RefusedError(
            f"workbench receive has {address.host}:{address.port} and does not let {node.name} store: put "
            f'"store" into may of [nodes.{node.name}] and start workbench receive again, or end it meanwhile'
        )


def _arrived(catalog: Catalog, since: int, wanted: Iterable[str]) -> Iterator[Reception]:
    """Yield what was received, once each, until all is there or nothing comes any more."""
    missing, until = set(wanted), monotonic() + ARRIVE_SECONDS
    while missing and monotonic() < until:
        for each in receptions.settled_since(catalog, since):
            if each.sop_instance_uid in missing:
                missing.discard(each.sop_instance_uid)
                until = monotonic() + ARRIVE_SECONDS
                yield each
        if missing:
            Event().wait(_LOOK_SECONDS)


def _advice(node: DimseNode, address: ListenAddress) -> str:
    return (
        f"workbench receive has {address.host}:{address.port}, where {node.name} sends for "
        f"{node.calling_ae_title}; it lets {node.name} in as {node.ae_title}, from {node.host} or with its "
        "certificate, as the settings had it when it started: its log names who was refused"
    )
