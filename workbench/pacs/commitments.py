"""Storage commitment as SCP, Push Model (PS3.4 annex J): what is durable here is promised, the rest is not.

A request is durable before it is answered. Its report goes out on the same association while that is open,
else on one to the node that asked, again and again, also after a restart. What can be promised is looked at
when the report goes out.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydicom.dataset import Dataset
from pynetdicom import build_role

from catalog import locks
from catalog.custody import Custody, custody
from catalog.errors import CatalogError, DeliveryError, SettingsError
from catalog.identifiers import is_uid
from catalog.intake import Intake
from workbench.pacs.association import associate, service
from workbench.pacs.commitment import send_report
from workbench.pacs.conversation import Conversation
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.journal import Journal
from workbench.pacs.offered import may_be_stored
from workbench.pacs.owed import Owed, OwedAnswers
from workbench.pacs.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from workbench.pacs.wire.command import Command, Field
from workbench.pacs.wire.failures import WireError
from workbench.pacs.wire.messages import Message

REFERENCES_AT_MOST = 10_000
"""Instances in one request."""
SAME_ASSOCIATION_SECONDS = 10.0
"""How long the answer to a report is waited for on the association that asked."""
SETTLE_SECONDS = 10.0
"""How long a report waits for what was received before it; then it is one for later."""
LOOK_SECONDS = 1.0
"""How often what is owed is looked at."""
KEPT = timedelta(days=7)
"""How long a node may be unreachable before its reports are given up ..."""
TRIED_SECONDS = 24 * 3600.0
"""... if it was tried for so long, as what a clock says that was set is no reason to give up."""

SUCCESS, PROCESSING_FAILURE, INVALID_ARGUMENT, NO_SUCH_ACTION = 0x0000, 0x0110, 0x0115, 0x0123
NOT_AUTHORIZED, RESOURCE_LIMITATION = 0x0124, 0x0213
"""Status codes of N-ACTION (PS3.7 annex C)."""
CLASS_NOT_SUPPORTED, DUPLICATE_TRANSACTION_UID = 0x0122, 0x0131
"""Failure Reason (0008,1197) (PS3.3 section C.14.1.1), beside those of `catalog.custody`."""

_REQUEST, _ALL_KEPT, _SOME_FAILED = 1, 1, 2  # Action and Event Type IDs (PS3.4 tables J.3.2-1, J.3.3-1)
_ITEM = b"\xfe\xff\x00\xe0"
_FIRST_AGAIN_SECONDS, _LAST_AGAIN_SECONDS = 30.0, 3600.0

type Tell = Callable[[int, Dataset], bool]
"""Sends Event Type ID and Event Information of a report; returns whether the other side has it."""


def request_of(information: Dataset) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the transaction UID of a request, and SOP Class UID and SOP Instance UID of each reference.

    Raises
    ------
    ValueError
        If it is no request for storage commitment (PS3.4 table J.3.2-1).
    """
    transaction_uid = str(information.get("TransactionUID", ""))
    references = tuple(
        (str(each.get("ReferencedSOPClassUID", "")), str(each.get("ReferencedSOPInstanceUID", "")))
        for each in information.get("ReferencedSOPSequence") or ()
    )
    uids = [transaction_uid, *(uid for reference in references for uid in reference)]
    if not references or not all(map(is_uid, uids)):
        raise ValueError("no references, or something that is no UID")
    return transaction_uid, references


def report_of(owed: Owed, found: Sequence[Custody]) -> tuple[int, Dataset]:
    """Return Event Type ID and Event Information that answer a request (PS3.4 table J.3.3-1)."""
    kept: list[Dataset] = []
    failed: list[Dataset] = []
    for (sop_class_uid, sop_instance_uid), each in zip(owed.references, found, strict=True):
        reference = Dataset()
        reference.ReferencedSOPClassUID = sop_class_uid
        reference.ReferencedSOPInstanceUID = sop_instance_uid
        if each.reason:
            reference.FailureReason = each.reason
        (failed if each.reason else kept).append(reference)
    report = Dataset()
    report.TransactionUID = owed.transaction_uid
    if kept:
        report.ReferencedSOPSequence = kept
    if failed:
        report.FailedSOPSequence = failed
    return (_SOME_FAILED if failed else _ALL_KEPT), report


@dataclass(frozen=True, slots=True)
class _Turn:
    """When a report is due, by a monotonic clock."""

    at: float
    again: float = _FIRST_AGAIN_SECONDS
    """How long after that once more."""
    first: float = math.inf
    """When this process tried first."""

    def tried(self, now: float) -> "_Turn":
        """The turn after one that came to nothing."""
        return _Turn(now + self.again, min(2 * self.again, _LAST_AGAIN_SECONDS), min(self.first, now))


class Commitments:
    """Answers requests for storage commitment, and sends the reports that are owed; a context.

    Parameters
    ----------
    intake
        Where objects come in.
    owed
        What is owed.
    nodes
        Those of the settings by name: where reports go.
    """

    def __init__(
        self,
        intake: Intake,
        owed: OwedAnswers,
        nodes: Mapping[str, DimseNode],
        journal: Journal,
    ) -> None:
        self._intake, self._owed, self._nodes, self._journal = intake, owed, nodes, journal
        self._due: dict[str, _Turn] = {}
        self._soon: deque[str] = deque()
        """Names of reports whose association ended before they were taken."""
        self._end = threading.Event()

    def __enter__(self) -> "Commitments":
        self._due = dict.fromkeys(self._owed.names(), _Turn(0.0))
        self._thread = threading.Thread(target=self._report_all, name="commitments", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._end.set()
        self._thread.join()

    # --- asked (PS3.4 J.3.2) -----------------------------------------------------------------------------

    def asked(self, conversation: Conversation, message: Message) -> None:
        """Answer an N-ACTION and report at once, as long as the association is open."""
        status, owed = self._taken(conversation, message)
        conversation.respond(message, status)
        self._journal.count("commitments", outcome="refused" if owed is None else "asked")
        if owed is None:
            return

        def tell(event_type: int, report: Dataset) -> bool:
            request = Command(
                command_field=Field.N_EVENT_REPORT,
                message_id=conversation.next_message_id(),
                affected_sop_class_uid=STORAGE_COMMITMENT_PUSH_MODEL,
                affected_sop_instance_uid=STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
                event_type_id=event_type,
            )
            try:
                answer = conversation.ask(
                    message.context_id, request, report, seconds=SAME_ASSOCIATION_SECONDS
                )
            except WireError:
                return False
            return answer is not None and answer.status == SUCCESS

        if self._report(owed, conversation.name, tell):
            self._answered(owed)
        else:
            self._soon.append(owed.name)

    def _taken(self, conversation: Conversation, message: Message) -> tuple[int, Owed | None]:
        caller = conversation.caller
        if "commit" not in caller.may:
            return NOT_AUTHORIZED, None
        if message.command.action_type_id != _REQUEST:
            return NO_SUCH_ACTION, None
        if message.data_set.count(_ITEM) > REFERENCES_AT_MOST:  # before it is made of Python objects
            return RESOURCE_LIMITATION, None
        try:
            asked = request_of(conversation.data_set_of(message))
        except Exception:  # whatever a parser stumbles over in the bytes of a peer is the fault of the bytes
            return INVALID_ARGUMENT, None
        owed = Owed(caller.name, *asked, datetime.now(UTC))
        if not caller.name:  # whoever is on this machine: there is no address for what is owed
            return SUCCESS, owed
        try:
            kept = self._owed.keep(owed)
        except OSError:
            return PROCESSING_FAILURE, None
        return RESOURCE_LIMITATION if kept is None else SUCCESS, kept

    # --- reported (PS3.4 J.3.3) --------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Send the reports that are due.

        Parameters
        ----------
        now
            Of a monotonic clock, in seconds.
        """
        soon = {self._soon.popleft() for _ in range(len(self._soon))}
        names = list(self._owed.names())
        new = _Turn(now + SAME_ASSOCIATION_SECONDS + SETTLE_SECONDS)
        self._due = {name: self._due.get(name, new) for name in names}
        self._due |= dict.fromkeys(soon & self._due.keys(), _Turn(now))
        by_node: dict[str, list[Owed]] = {}
        for name in names:
            if self._due[name].at <= now and (owed := self._owed.read(name)) is not None:
                by_node.setdefault(owed.node, []).append(owed)
        for node, waiting in by_node.items():
            self._report_to(node, waiting, now)

    def _report_all(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            try:
                with locks.alone(self._owed.folder, wait=False):  # one process does it
                    self.look(time.monotonic())
            except BlockingIOError:
                continue
            except (OSError, ValueError, CatalogError) as error:
                self._journal.say("reports postponed", error=type(error).__name__)

    def _report_to(self, name: str, waiting: Sequence[Owed], now: float) -> None:
        left = {each.name: each for each in waiting}
        try:
            node = self._nodes[name]
            role = build_role(STORAGE_COMMITMENT_PUSH_MODEL, scp_role=True)
            with associate(node, [service(STORAGE_COMMITMENT_PUSH_MODEL)], roles=[role]) as association:

                def tell(event_type: int, report: Dataset) -> bool:
                    return send_report(association, event_type, report) == SUCCESS

                for each in waiting:
                    if self._end.is_set() or not self._report(each, name, tell):
                        break
                    self._answered(left.pop(each.name))
        except (KeyError, DeliveryError, SettingsError):
            pass  # the node is not in the settings any more, or not there
        for each in left.values():
            turn = self._due[each.name].tried(now)
            if datetime.now(UTC) - each.asked > KEPT and now - turn.first > TRIED_SECONDS:
                self._journal.say("commitment given up", node=name)
                self._owed.remove(each.name)
            else:
                self._due[each.name] = turn

    def _report(self, owed: Owed, name: str, tell: Tell) -> bool:
        """Send one report and wait for its answer; whether the node has it."""
        if not self._intake.settle(SETTLE_SECONDS):
            return False
        try:
            found = self._found(owed)
        except Exception as error:  # whatever the catalog stumbles over, it is asked again later
            self._journal.say("reports postponed", error=type(error).__name__)
            return False
        if not tell(*report_of(owed, found)):
            return False
        self._journal.say(
            "commitment",
            node=owed.node or name,
            promised=sum(not each.reason for each in found),
            by_checksum=sum(not each.reason and each.by_checksum for each in found),
            failed=sum(bool(each.reason) for each in found),
        )
        return True

    def _found(self, owed: Owed) -> list[Custody]:
        """What can be said of each reference just now."""
        if owed.is_duplicate:
            return [Custody(DUPLICATE_TRANSACTION_UID)] * len(owed.references)
        found = custody(self._intake.catalog, self._intake.folder, owed.references)
        return [
            each if may_be_stored(sop_class_uid) else Custody(CLASS_NOT_SUPPORTED)
            for (sop_class_uid, _), each in zip(owed.references, found, strict=True)
        ]

    def _answered(self, owed: Owed) -> None:
        self._journal.count("commitments", outcome="reported")
        if owed.node:
            self._owed.remove(owed.name)
