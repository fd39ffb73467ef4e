"""What two sides agree on, as pynetdicom encodes, decodes and negotiates it (PS3.8 9.3, PS3.7 annex D)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor, negotiate_as_requestor

from workbench.pacs.wire import proposal
from workbench.pacs.wire.failures import ProtocolError
from workbench.pacs.wire.pdu import INVALID_PARAMETER_VALUE

IMPLEMENTATION_CLASS_UID = UID("2.25.215404793158166523391063302437911086131")
IMPLEMENTATION_VERSION_NAME = "WORKBENCH_1"
"""Who speaks (PS3.7 D.3.3.2), and who wrote the file meta information of what is received (PS3.10 7.1)."""

_APPLICATION_CONTEXT = UID("1.2.840.10008.3.1.1.1")  # PS3.7 annex A.2.1
_FIXED_LENGTH = 74
"""Bytes before the first item (PS3.8 tables 9-11 and 9-17)."""
_ACCEPTED, _SERVICE_USER = 0, 1

type Roles = Mapping[UID, tuple[bool | None, bool | None]]
"""SOP class to whether the requestor may be SCU, and SCP, of it (PS3.7 D.3.3.4)."""
type Negotiate = Callable[
    [list[PresentationContext], list[PresentationContext], Roles],
    tuple[list[PresentationContext], list[SCP_SCU_RoleSelectionNegotiation]],
]
"""Takes contexts that are proposed, contexts that are supported, and roles that are proposed; returns the
contexts with their results, and the roles that are accepted."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What an association was opened with."""

    calling_ae_title: str
    called_ae_title: str
    accepted: Mapping[int, PresentationContext]
    """By context ID; each with the one transfer syntax of its data sets."""
    rejected: Sequence[PresentationContext]
    maximum_length: int
    """Bytes of a P-DATA-TF that the other side takes; 0 sets no limit."""
    roles: Roles
    """That the requestor proposed."""


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ."""

    calling_ae_title: str
    called_ae_title: str
    contexts: Sequence[PresentationContext]
    roles: Roles
    maximum_length: int


def encode_request(
    calling_ae_title: str,
    called_ae_title: str,
    contexts: Sequence[PresentationContext],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
    maximum_length: int,
) -> bytes:
    """Return an A-ASSOCIATE-RQ; the contexts are given their IDs (PS3.8 section 9.3.2).

    Raises
    ------
    ValueError
        If there is none, or more than there are IDs.
    """
    if not 1 <= len(contexts) <= 128:
        raise ValueError(f"an association proposes 1 to 128 presentation contexts, not {len(contexts)}")
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    who = IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
    return proposal.encode(calling_ae_title, called_ae_title, contexts, roles, maximum_length, who)


def decode_request(content: bytes) -> Request:
    """Return what an A-ASSOCIATE-RQ, with its header, asks for.

    Raises
    ------
    ProtocolError
        If the bytes are none.
    """
    pdu = A_ASSOCIATE_RQ()
    primitive = _decoded(pdu, content)
    return Request(
        str(pdu.calling_ae_title).strip(),
        str(pdu.called_ae_title).strip(),
        primitive.presentation_context_definition_list,
        _roles(primitive),
        primitive.maximum_length_received or 0,
    )


def encode_acceptance(
    request: Request,
    supported: Sequence[PresentationContext],
    maximum_length: int,
    negotiate: Negotiate | None = None,
) -> tuple[bytes, Agreed]:
    """Return the A-ASSOCIATE-AC that answers a request, and what is agreed with it (PS3.8 section 9.3.3).

    Parameters
    ----------
    negotiate
        Decides on the contexts: pynetdicom's `negotiate_as_acceptor`, or its like.
    """
    decide = negotiate or negotiate_as_acceptor
    results, roles = decide(list(request.contexts), list(supported), dict(request.roles))
    primitive = _primitive(request.calling_ae_title, request.called_ae_title)
    primitive.result, primitive.result_source = _ACCEPTED, _SERVICE_USER
    primitive.presentation_context_definition_results_list = results
    primitive.user_information = [*_who(maximum_length), *roles]
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(primitive)
    return pdu.encode(), _agreed(
        request.calling_ae_title, request.called_ae_title, results, request.maximum_length, request.roles
    )


def decode_acceptance(
    content: bytes,
    calling_ae_title: str,
    called_ae_title: str,
    contexts: Sequence[PresentationContext],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
) -> Agreed:
    """Return what an A-ASSOCIATE-AC, with its header, agrees to of what was proposed.

    Raises
    ------
    ProtocolError
        If the bytes are none.
    """
    primitive = _decoded(A_ASSOCIATE_AC(), content)
    proposed = {UID(each.sop_class_uid or ""): (each.scu_role, each.scp_role) for each in roles}
    for context in contexts:
        context.scu_role, context.scp_role = proposed.get(UID(context.abstract_syntax or ""), (None, None))
    results = negotiate_as_requestor(
        list(contexts), primitive.presentation_context_definition_results_list, dict(_roles(primitive))
    )
    return _agreed(
        calling_ae_title, called_ae_title, results, primitive.maximum_length_received or 0, proposed
    )


def _agreed(
    calling_ae_title: str,
    called_ae_title: str,
    results: Sequence[PresentationContext],
    maximum_length: int,
    roles: Roles,
) -> Agreed:
    accepted = {each.context_id: each for each in results if each.result == _ACCEPTED and each.context_id}
    rejected = [each for each in results if each.result != _ACCEPTED]
    return Agreed(calling_ae_title, called_ae_title, accepted, rejected, maximum_length, roles)


def _primitive(calling_ae_title: str, called_ae_title: str) -> A_ASSOCIATE:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = _APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = calling_ae_title, called_ae_title
    return primitive


def _who(
    maximum_length: int,
) -> tuple[
    MaximumLengthNotification, ImplementationClassUIDNotification, ImplementationVersionNameNotification
]:
    length, uid, name = (
        MaximumLengthNotification(),
        ImplementationClassUIDNotification(),
        ImplementationVersionNameNotification(),
    )
    length.maximum_length_received = maximum_length
    uid.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    name.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return length, uid, name


def _decoded(pdu: A_ASSOCIATE_RQ | A_ASSOCIATE_AC, content: bytes) -> A_ASSOCIATE:
    if len(content) < _FIXED_LENGTH:
        raise ProtocolError("an A-ASSOCIATE is cut", INVALID_PARAMETER_VALUE)
    try:
        pdu.decode(content)
        return pdu.to_primitive()
    except Exception as error:  # whatever hostile bytes make pynetdicom stumble over
        raise ProtocolError("an A-ASSOCIATE is damaged", INVALID_PARAMETER_VALUE) from error


def _roles(primitive: A_ASSOCIATE) -> Roles:
    return {
        UID(each.sop_class_uid or ""): (each.scu_role, each.scp_role)
        for each in primitive.user_information
        if isinstance(each, SCP_SCU_RoleSelectionNegotiation)
    }
