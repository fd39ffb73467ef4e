"""C-GET and C-MOVE as SCP (PS3.4 C.4.2, C.4.3): instances go out as they lie, one sub-operation each.

What a search here shows can be retrieved, and nothing else. An instance goes in its own transfer syntax;
where the other side accepted none such, or the file is damaged, its sub-operation fails.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import batched
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from catalog.database import Catalog
from catalog.errors import CatalogError, DeliveryError, QuestionError, SettingsError
from catalog.fetch import Fetched
from catalog.identifiers import is_uid
from catalog.query import find_encodings, find_instances
from catalog.records import InstanceRecord
from workbench.pacs import dimse
from workbench.pacs.association import CONTEXTS_AT_MOST, associate, contexts_for
from workbench.pacs.conversation import Conversation
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.file_meta import data_set_offset
from workbench.pacs.journal import Journal
from workbench.pacs.sop_classes import PATIENT_ROOT_GET, PATIENT_ROOT_MOVE
from workbench.pacs.wire.association import Association
from workbench.pacs.wire.command import MEDIUM, Command, Field
from workbench.pacs.wire.failures import WireError
from workbench.pacs.wire.messages import Message

INSTANCES_AT_MOST = 65_535
"""Sub-operations of one request: their counts have 16 bits (PS3.7 section 9.3.3)."""
UIDS_AT_MOST = 10_000
"""Values of a key."""
LARGEST_QUESTION = 1 << 20
"""Bytes of an identifier."""

SUCCESS, PENDING, SOME_FAILED, CANCELLED = 0x0000, 0xFF00, 0xB000, 0xFE00
NOT_AUTHORIZED, TOO_MANY, NONE_SENT = 0x0124, 0xA701, 0xA702
UNKNOWN_DESTINATION, NOT_ITS_CLASS, CANNOT_PROCESS = 0xA801, 0xA900, 0xC000
"""Status codes (PS3.4 tables C.4-2 and C.4-3)."""

_KEYS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
"""The unique key of each level (PS3.4 C.6)."""
_SERVICES: Mapping[int, str] = {Field.C_GET: "C-GET", Field.C_MOVE: "C-MOVE"}
_AT_ONCE = 64
_LONGEST_LIST = 1000
"""UIDs in the list of those that failed: in explicit VR it has at most 65,534 bytes (PS3.5 section 7.1.2)."""

type Kind = tuple[str, str, str]
"""SOP Instance UID, SOP Class UID, transfer syntax."""
type Send = Callable[[InstanceRecord], int | None]
"""Sends an instance; returns the status of the answer, `None` where it could not go out."""


def question_of(identifier: Dataset, *, with_patients: bool) -> dict[str, list[str]]:
    """Return what a retrieval asks for, by keyword; each value is one, no pattern (PS3.4 C.4.2.2.1).

    Raises
    ------
    catalog.errors.QuestionError
        If the level or its unique key is missing, or a key is no UID.
    """
    level = str(identifier.get("QueryRetrieveLevel", ""))
    levels = list(_KEYS)
    if level not in levels or (level == "PATIENT" and not with_patients):
        raise QuestionError("the level is none of the model")
    asked = {}
    for each in levels[: levels.index(level) + 1]:
        value = identifier.get(_KEYS[each])
        values = [str(one) for one in ([value] if isinstance(value, str) else value or []) if str(one)]
        if values:
            asked[_KEYS[each]] = values
        if len(values) > UIDS_AT_MOST or not all(map(is_uid if each != "PATIENT" else _is_one, values)):
            raise QuestionError(f"{_KEYS[each]} is no UID, or a pattern, or too many")
    if _KEYS[level] not in asked:
        raise QuestionError(f"{_KEYS[level]} is missing")
    return asked


def _is_one(patient_id: str) -> bool:
    return "*" not in patient_id and "?" not in patient_id


@dataclass(slots=True)
class Counts:
    """What became of sub-operations so far."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: int = 0
    failed_uids: list[str] = field(default_factory=list)

    def count(self, sop_instance_uid: str, status: int | None) -> None:
        """Count one by its status (PS3.4 table B.2-1)."""
        self.remaining -= 1
        if status == SUCCESS:
            self.completed += 1
        elif status is not None and (status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116)):
            self.warning += 1
        else:
            self.failed += 1
            if len(self.failed_uids) < _LONGEST_LIST:
                self.failed_uids.append(sop_instance_uid)

    @property
    def status(self) -> int:
        """How it ends."""
        if not self.failed and not self.warning:
            return SUCCESS
        return SOME_FAILED if self.completed or self.warning else NONE_SENT


class Retrieving:
    """Answers retrievals.

    Parameters
    ----------
    catalog
        Where the instances are known.
    fetched
        Where copies go of what lies in archives and buckets.
    nodes
        Those of the settings: where C-MOVE may send to.
    settled
        Waits until what was acknowledged before can be found.
    """

    def __init__(
        self,
        catalog: Catalog,
        fetched: Fetched,
        nodes: Mapping[str, DimseNode],
        journal: Journal,
        *,
        settled: Callable[[], object],
    ) -> None:
        self._catalog, self._fetched, self._journal = catalog, fetched, journal
        self._settled = settled
        self._destinations = {node.ae_title.strip(): node for node in reversed(list(nodes.values()))}

    def get(self, conversation: Conversation, message: Message) -> None:
        """Answer a C-GET with all its sub-operations, on the same association."""
        found = self._found(conversation, message, PATIENT_ROOT_GET)
        if isinstance(found, int):
            _respond(conversation, message, found, None)
            return
        self._send_all(conversation, message, found, lambda record: _returned(conversation, record))

    def move(self, conversation: Conversation, message: Message) -> None:
        """Answer a C-MOVE with all its sub-operations, on an association to the node it names."""
        found = self._found(conversation, message, PATIENT_ROOT_MOVE)
        node = self._destinations.get(message.command.move_destination or "")
        if isinstance(found, int) or node is None:
            status = found if isinstance(found, int) else UNKNOWN_DESTINATION
            _respond(conversation, message, status, None)
            return
        if not found:
            _respond(conversation, message, SUCCESS, Counts(0))
            return
        origin = {
            "move_originator_application_entity_title": conversation.ae_title,
            "move_originator_message_id": message.command.message_id,
        }
        pairs = list(dict.fromkeys((sop_class, syntax) for _, sop_class, syntax in found))
        try:
            with associate(node, contexts_for(pairs[:CONTEXTS_AT_MOST])) as onward:
                self._send_all(conversation, message, found, lambda record: _moved(onward, record, origin))
        except (DeliveryError, SettingsError):
            self._send_all(conversation, message, found, lambda _record: None)

    def _found(self, conversation: Conversation, message: Message, patient_root: str) -> list[Kind] | int:
        """What is asked for, or the status that refuses it."""
        if "retrieve" not in conversation.caller.may:
            return NOT_AUTHORIZED
        if len(message.data_set) > LARGEST_QUESTION:
            return TOO_MANY
        with_patients = conversation.context_of(message).abstract_syntax == patient_root
        try:
            identifier = conversation.data_set_of(message)
            asked = question_of(identifier, with_patients=with_patients)
        except Exception:  # whatever a parser stumbles over in the bytes of a peer is the fault of the bytes
            return NOT_ITS_CLASS
        self._settled()
        try:
            found = find_encodings(self._catalog, limit=INSTANCES_AT_MOST + 1, **asked)
        except QuestionError:
            return NOT_ITS_CLASS
        except Exception:  # whatever the catalog stumbles over is an answer, and the association goes on
            return CANNOT_PROCESS
        return found if len(found) <= INSTANCES_AT_MOST else TOO_MANY

    def _send_all(
        self, conversation: Conversation, message: Message, found: Sequence[Kind], send: Send
    ) -> None:
        counts, status = Counts(len(found)), None
        for uid, result in self._results(found, send):
            counts.count(uid, result)
            if conversation.is_cancelled(message) and counts.remaining:
                status = CANCELLED
                break
            _respond(conversation, message, PENDING, counts)
        _respond(conversation, message, counts.status if status is None else status, counts)
        self._journal.count("retrievals", outcome="cancelled" if status else "done")
        self._journal.say(
            "retrieval",
            node=conversation.name,
            service=_SERVICES[message.command.command_field],
            completed=counts.completed,
            warning=counts.warning,
            failed=counts.failed,
        )

    def _results(self, found: Sequence[Kind], send: Send) -> Iterator[tuple[str, int | None]]:
        """Send one after the other; a batch of rows is held at a time."""
        for batch in batched(found, _AT_ONCE):
            uids = [uid for uid, _, _ in batch]
            with ExitStack() as stack:
                ready = self._ready(uids, stack)
                for uid in uids:
                    yield uid, send(ready[uid]) if uid in ready else None

    def _ready(self, uids: Sequence[str], stack: ExitStack) -> dict[str, InstanceRecord]:
        """Those that can be sent, as long as the stack lasts; the sub-operations of others fail."""
        try:
            records = find_instances(self._catalog, sop_instance_uid=uids)
            local = stack.enter_context(self._fetched.local([each for each in records if not each.rot]))
        except (CatalogError, OSError) as error:
            self._journal.say("not sent", instances=len(uids), error=type(error).__name__)
            return {}
        found = {each.sop_instance_uid: each for each in local.instances}
        return {uid: record for uid, record in found.items() if uid not in local.failures}


def _respond(conversation: Conversation, message: Message, status: int, counts: Counts | None) -> None:
    """Say how far it is, or how it ended."""
    if counts is None:
        conversation.respond(message, status)
        return
    failed = None
    if status != PENDING and counts.failed_uids:
        failed = Dataset()
        failed.FailedSOPInstanceUIDList = list(counts.failed_uids)
    conversation.respond(
        message,
        status,
        failed,
        number_of_remaining_suboperations=counts.remaining if status in (PENDING, CANCELLED) else None,
        number_of_completed_suboperations=counts.completed,
        number_of_failed_suboperations=counts.failed,
        number_of_warning_suboperations=counts.warning,
    )


def _returned(conversation: Conversation, record: InstanceRecord) -> int | None:
    """Send the data set of a file as it lies to who asked; `None` where it cannot go."""
    context_id = conversation.context_for(record.sop_class_uid, record.transfer_syntax_uid)
    if context_id is None:
        return None
    request = Command(
        command_field=Field.C_STORE,
        message_id=conversation.next_message_id(),
        affected_sop_class_uid=record.sop_class_uid,
        affected_sop_instance_uid=record.sop_instance_uid,
        priority=MEDIUM,
    )
    try:
        path = Path(record.path)
        answer = conversation.ask_file(context_id, request, path, data_set_offset(path))
    except WireError:
        raise
    except (OSError, InvalidDicomError):
        return None
    return answer.status if answer is not None else None


def _moved(onward: Association, record: InstanceRecord, origin: Mapping[str, Any]) -> int | None:
    """Send the data set of a file as it lies to another node; `None` where it cannot go."""
    try:
        context_id = dimse.context_of(onward, record.sop_class_uid, record.transfer_syntax_uid)
        request = dimse.store_request(onward, record.sop_class_uid, record.sop_instance_uid)
        return dimse.send(onward, replace(request, **origin), context_id, Path(record.path))
    except (DeliveryError, OSError, InvalidDicomError):
        return None
