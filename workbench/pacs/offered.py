"""Which presentation contexts a receiver accepts: its services, and every storage (PS3.8 7.1.1.13)."""

from collections.abc import Sequence

from pydicom.uid import UID
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor, negotiate_unrestricted
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from workbench.pacs.wire.negotiation import Roles


def may_be_stored(sop_class_uid: str) -> bool:
    """Whether objects of a class may be stored: unless it is known to be of another service."""
    return uid_to_service_class(UID(sop_class_uid)) in (StorageServiceClass, ServiceClass)


def negotiate(
    proposed: Sequence[PresentationContext],
    supported: Sequence[PresentationContext],
    roles: Roles,
) -> tuple[list[PresentationContext], list[SCP_SCU_RoleSelectionNegotiation]]:
    """Return the results of contexts in the order of their IDs, and the roles that are accepted.

    Of what may be stored any transfer syntax is accepted. pynetdicom's own negotiation of unrestricted
    storage takes some other services, such as worklists, for storage.
    """
    stored: list[PresentationContext] = []
    others: list[PresentationContext] = []
    for each in proposed:
        (stored if may_be_stored(str(each.abstract_syntax)) else others).append(each)
    results: list[PresentationContext] = []
    replies: list[SCP_SCU_RoleSelectionNegotiation] = []
    for contexts, decide in ((stored, negotiate_unrestricted), (others, negotiate_as_acceptor)):
        asked = {str(each.abstract_syntax) for each in contexts}
        found, answered = decide(
            contexts, list(supported), {uid: role for uid, role in roles.items() if uid in asked} or None
        )
        results += found
        replies += answered
    return sorted(results, key=lambda each: each.context_id or 0), replies
