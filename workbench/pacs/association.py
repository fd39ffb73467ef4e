"""Associations with a node (PS3.8): opened with bounded waits, refused in plain words, always closed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context

from catalog.errors import DeliveryError, NodeUnavailableError, RefusedError, words_of
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.transport import PromptEntity, allow, make_prompt

_REJECTED = (1, 2)  # permanently, for now (PS3.8 section 9.3.4)

CONTEXTS_AT_MOST = 128
"""Presentation contexts of one association: their IDs are odd bytes (PS3.8 section 9.3.2.2)."""


def application_entity(
    ae_title: str, *, connection_seconds: float, answer_seconds: float, maximum_pdu: int
) -> ApplicationEntity:
    """Return an application entity that never waits without end."""
    ae = PromptEntity(ae_title)
    ae.connection_timeout = connection_seconds
    ae.acse_timeout = connection_seconds
    ae.dimse_timeout = answer_seconds
    ae.network_timeout = answer_seconds
    ae.maximum_pdu_size = maximum_pdu
    return ae


def contexts_for(pairs: Sequence[tuple[str, str]]) -> list[PresentationContext]:
    """Return one presentation context per distinct pair of SOP class and transfer syntax."""
    distinct = dict.fromkeys(pairs)
    return [build_context(UID(sop_class), UID(transfer_syntax)) for sop_class, transfer_syntax in distinct]


@contextmanager
def associate(
    node: DimseNode,
    contexts: Sequence[PresentationContext],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[EventHandlerType] = (),
    at_most: float | None = None,
) -> Iterator[Association]:
    """Hold an association with a node; it is released at the end, or aborted on an exception.

    Parameters
    ----------
    at_most
        Seconds after which the connection is cut, once the association is accepted; however slowly a node
        answers. Whoever knows better sets another time by `transport.allow`.

    Raises
    ------
    catalog.errors.NodeUnavailableError
        If the node cannot be reached or rejects the association; nothing was sent.
    catalog.errors.RefusedError
        If the node accepts none of the presentation contexts.
    """
    ae = application_entity(
        node.calling_ae_title,
        connection_seconds=node.connection_seconds,
        answer_seconds=node.answer_seconds,
        maximum_pdu=node.maximum_pdu,
    )
    try:
        association = ae.associate(
            node.host,
            node.port,
            contexts=list(contexts),
            ae_title=node.ae_title,
            max_pdu=node.maximum_pdu,
            ext_neg=list(roles),
            evt_handlers=[
                (evt.EVT_CONN_OPEN, make_prompt),
                (evt.EVT_CONN_OPEN, lambda event: allow(event.assoc, node.connection_seconds)),
                *handlers,
            ],
        )
    except OSError as error:  # before a connection is tried: the name of the host is looked up
        words = words_of(error)
        raise NodeUnavailableError(f"{_where(node)} cannot be looked up: {words}") from error
    if not association.is_established:
        raise _why_not(node, association)
    allow(association, at_most)
    try:
        yield association
    except BaseException:
        allow(association, node.connection_seconds)
        association.abort()
        raise
    if association.is_established:
        allow(association, node.connection_seconds)
        association.release()


def _answer(association: Association) -> A_ASSOCIATE | None:
    """Return what the node answered, also where it closed the connection before pynetdicom looked for it.

    A connection that was rejected and closed in the moment between being opened and being looked at is taken
    for one that never was, and its answer is left unread.
    """
    answer = association.acceptor.primitive or association.dul.peek_next_pdu()
    return answer if isinstance(answer, A_ASSOCIATE) else None


def _where(node: DimseNode) -> str:
    return f"{node.name} ({node.ae_title} at {node.host}:{node.port})"


def _why_not(node: DimseNode, association: Association) -> DeliveryError:
    where = _where(node)
    answer = _answer(association)
    if answer is not None and answer.result in _REJECTED:
        reason = str(answer.reason_str).lower()
        return NodeUnavailableError(
            f"{where} rejected the association of {node.calling_ae_title}: {reason}; "
            "the node's administrator enters this AE title and the address of this bench"
        )
    if association.rejected_contexts:
        names = sorted({str(context.abstract_syntax) for context in association.rejected_contexts})
        return RefusedError(f"{where} accepts none of what was proposed: {', '.join(names)}")
    return NodeUnavailableError(
        f"{where} cannot be reached, or did not answer within {node.connection_seconds:g} seconds"
    )
