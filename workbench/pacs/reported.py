"""Reports of storage commitment that come to a process that did not ask: into the outbox (PS3.4 J.3.3).

Whoever sent the instances finds there what the node said, at once or when it runs again.
"""

from datetime import UTC, datetime

from pydicom.dataset import Dataset

from catalog import outbox
from catalog.database import Catalog
from workbench.pacs.commitment import report_in
from workbench.pacs.conversation import Conversation
from workbench.pacs.journal import Journal
from workbench.pacs.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from workbench.pacs.wire.messages import Message

SUCCESS, PROCESSING_FAILURE, NO_SUCH_INSTANCE, NO_SUCH_EVENT = 0x0000, 0x0110, 0x0112, 0x0113
INVALID_ARGUMENT, UNRECOGNIZED_OPERATION, RESOURCE_LIMITATION = 0x0115, 0x0211, 0x0213
"""Status codes of N-EVENT-REPORT (PS3.7 section 10.1.1.1.8)."""
REFERENCES_AT_MOST = 10_000
"""Instances in one report."""

_EVENT_TYPES = frozenset({1, 2})  # PS3.4 table J.3.3-1
_ITEM = b"\xfe\xff\x00\xe0"


def hand_over(catalog: Catalog, information: Dataset, *, node: str | None = None) -> int:
    """Write a report into the outbox; return how many deliveries waited for it.

    Parameters
    ----------
    information
        Event Information of the report.
    node
        Name of the node that reports, where that is known.

    Raises
    ------
    catalog.errors.CatalogError
        If the outbox cannot be written.
    """
    transaction_uid, report = report_in(information)
    if not transaction_uid:
        return 0
    return outbox.report(catalog, transaction_uid, report.says, datetime.now(UTC), node=node)


class Reported:
    """Answers reports of known nodes, when what they say is durable.

    A report that nothing waits for, or that waits for another node, is acknowledged and changes nothing: its
    sender would else send it again and again.
    """

    def __init__(self, catalog: Catalog, journal: Journal) -> None:
        self._catalog, self._journal = catalog, journal

    def answer(self, conversation: Conversation, message: Message) -> None:
        """Answer an N-EVENT-REPORT."""
        conversation.respond(message, self._status(conversation, message))

    def _status(self, conversation: Conversation, message: Message) -> int:
        command, node = message.command, conversation.caller.name
        if not node:  # whoever is on this machine was never sent anything
            return UNRECOGNIZED_OPERATION
        if command.affected_sop_instance_uid != STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE:
            return NO_SUCH_INSTANCE
        if command.event_type_id not in _EVENT_TYPES:
            return NO_SUCH_EVENT
        if message.data_set.count(_ITEM) > REFERENCES_AT_MOST:  # before it is made of Python objects
            return RESOURCE_LIMITATION
        try:
            information = conversation.data_set_of(message)
            report_in(information)
        except Exception:  # whatever a parser stumbles over in the bytes of a peer is the fault of the bytes
            return INVALID_ARGUMENT
        try:
            told = hand_over(self._catalog, information, node=node)
        except Exception as error:  # whatever the catalog stumbles over, the node may report again
            self._journal.say("report not kept", node=node, error=type(error).__name__)
            return PROCESSING_FAILURE
        self._journal.say("reported", node=node, instances=told)
        return SUCCESS
