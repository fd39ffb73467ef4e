"""Associations with a node (PS3.8): opened with bounded waits, refused in plain words, always closed."""

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context

from catalog.errors import DeliveryError, NodeUnavailableError, RefusedError, words_of
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.sop_classes import VERIFICATION
from workbench.pacs.tls import client_context
from workbench.pacs.wire.association import Association
from workbench.pacs.wire.connection import Connection
from workbench.pacs.wire.failures import AbortedError, ProtocolError, RejectedError, WireError

CONTEXTS_AT_MOST = 128
"""Presentation contexts of one association: their IDs are odd bytes (PS3.8 section 9.3.2.2)."""


def contexts_for(pairs: Sequence[tuple[str, str]]) -> list[PresentationContext]:
    """Return one presentation context per distinct pair of SOP class and transfer syntax."""
    distinct = dict.fromkeys(pairs)
    return [build_context(UID(sop_class), UID(transfer_syntax)) for sop_class, transfer_syntax in distinct]


def contexts_of(groups: Iterable[tuple[str, Sequence[str]]]) -> list[PresentationContext]:
    """Return one presentation context per SOP class and the transfer syntaxes that it is proposed with."""
    made: dict[tuple[str, ...], PresentationContext] = {}  # pynetdicom looks at each syntax again
    contexts = []
    for sop_class, syntaxes in groups:
        key = tuple(syntaxes)
        if key not in made:
            made[key] = build_context(VERIFICATION, list(key))
        contexts.append(context := copy(made[key]))
        context.abstract_syntax = UID(sop_class)
    return contexts


def service(sop_class_uid: str) -> PresentationContext:
    """Return the presentation context of a service that stores nothing.

    Deflated data sets are not proposed: an answer of a megabyte could have a gigabyte.
    """
    return build_context(UID(sop_class_uid), [ImplicitVRLittleEndian, ExplicitVRLittleEndian])


@contextmanager
def associate(
    node: DimseNode,
    contexts: Sequence[PresentationContext],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    at_most: float | None = None,
) -> Iterator[Association]:
    """Hold an association with a node; it is released at the end, or aborted on an exception.

    Parameters
    ----------
    at_most
        Seconds after which every wait ends, once the association is accepted; however slowly a node answers.
        Whoever knows better sets another time by `Association.allow`.

    Raises
    ------
    catalog.errors.NodeUnavailableError
        If the node cannot be reached or rejects the association; nothing was sent.
    catalog.errors.RefusedError
        If the node accepts none of the presentation contexts, or its certificate cannot be trusted.
    catalog.errors.SettingsError
        If the certificate files of the node cannot be used.
    """
    association = _opened(node, contexts, roles)
    association.connection.wait_seconds = node.answer_seconds
    association.allow(at_most)
    try:
        yield association
    except BaseException:
        association.allow(node.connection_seconds)
        association.abort()
        raise
    association.allow(node.connection_seconds)
    association.release()


def _opened(
    node: DimseNode,
    contexts: Sequence[PresentationContext],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
) -> Association:
    tls = (client_context(node), node.host) if node.tls else None
    try:
        connection = Connection.to(node.host, node.port, seconds=node.connection_seconds, tls=tls)
        association = Association.request(
            connection,
            node.calling_ae_title,
            node.ae_title,
            contexts,
            roles,
            maximum_length=node.maximum_pdu,
        )
    except OSError as error:
        raise _why_not(node, error) from error
    if not association.agreed.accepted:
        association.release()
        names = sorted({str(context.abstract_syntax) for context in association.agreed.rejected})
        raise RefusedError(f"{_where(node)} accepts none of what was proposed: {', '.join(names)}")
    return association


def _where(node: DimseNode) -> str:
    return f"{node.name} ({node.ae_title} at {node.host}:{node.port})"


def _why_not(node: DimseNode, error: OSError) -> DeliveryError:
    where = _where(node)
    match error:
        case RejectedError():
            return NodeUnavailableError(
                f"{where} rejected the association of {node.calling_ae_title}: {error.words}; "
                "the node's administrator enters this AE title and the address of this bench"
            )
        case AbortedError() | ProtocolError():
            return NodeUnavailableError(f"{where} does not open an association: {error}")
        case socket.gaierror():
            return NodeUnavailableError(f"{where} cannot be looked up: {words_of(error)}")
        case ssl.SSLCertVerificationError():
            return RefusedError(
                f"{where}: its certificate cannot be trusted ({error.verify_message}); "
                "give the certificates to check it against as ca_file"
            )
        case ssl.SSLError():
            return RefusedError(f"{where}: no TLS ({error.reason}); it may listen without it on this port")
        case WireError() if node.tls:
            return NodeUnavailableError(
                f"{where} ended the connection, or did not answer within {node.connection_seconds:g} "
                "seconds; it may not trust the client_certificate"
            )
    return NodeUnavailableError(
        f"{where} cannot be reached, or did not answer within {node.connection_seconds:g} seconds"
    )
