"""Storage commitment, Push Model (PS3.4 annex J): ask a node to take responsibility, wait for its word."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition
from time import monotonic

from pydicom.dataset import Dataset

from catalog.deliveries import Event, Meaning, commitment_meaning
from catalog.errors import RefusedError
from workbench.pacs import dimse
from workbench.pacs.association import associate, service
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from workbench.pacs.wire.association import Association
from workbench.pacs.wire.command import Field
from workbench.pacs.wire.failures import WireError
from workbench.pacs.wire.messages import Message

SAME_ASSOCIATION_SECONDS = 2.0
"""How long the asking association stays open for a node that reports on it; others open their own."""

_REQUEST_STORAGE_COMMITMENT = 1  # Action Type ID (PS3.4 table J.3.2-1)
_UNKNOWN_REASON = 0x0110
_SUCCESS, _PROCESSING_FAILURE, _UNRECOGNIZED_OPERATION = 0x0000, 0x0110, 0x0211
_TURN_SECONDS = 0.02
"""How long to wait for a report on another association before this one is looked at again."""
_LOOK_SECONDS = 0.25
"""How often it is looked whether the report has come by another way, once the association is released."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a node reported on one request."""

    instances: frozenset[str]
    """SOP Instance UIDs the node took responsibility for."""
    failed: Mapping[str, int]
    """SOP Instance UID to Failure Reason (0008,1197)."""

    def says(self, sop_instance_uid: str) -> Meaning:
        """What it means for the delivery of an instance."""
        if sop_instance_uid in self.instances:
            return Meaning(Event.COMMIT, "the node took responsibility for the instance")
        if sop_instance_uid in self.failed:
            return commitment_meaning(self.failed[sop_instance_uid])
        return Meaning(Event.COMMIT_POSTPONED, "the node's report does not mention the instance")


@dataclass(frozen=True, slots=True)
class ToldBeside:
    """The node reported to another process of this bench; what it said is in the outbox."""


@dataclass(frozen=True, slots=True)
class NotOffered:
    """The node has no storage commitment for us."""

    words: str


@dataclass(frozen=True, slots=True)
class NoReport:
    """The node took the request, and has not reported yet."""

    words: str


class Reports:
    """The reports that are waited for; filled by associations in other threads."""

    def __init__(self) -> None:
        self._arrived = Condition()
        self._by_transaction: dict[str, Committed | None] = {}

    def expects(self, transaction_uid: str) -> bool:
        """Whether somebody here waits for the report on a transaction."""
        with self._arrived:
            return transaction_uid in self._by_transaction

    def expect(self, transaction_uid: str) -> None:
        """Keep the report on this transaction when it comes; any other is acknowledged and forgotten."""
        with self._arrived:
            self._by_transaction[transaction_uid] = None

    def take(self, information: Dataset) -> None:
        """Take the Event Information of an N-EVENT-REPORT, whether or not somebody waits for it."""
        transaction_uid, report = report_in(information)
        with self._arrived:
            if transaction_uid in self._by_transaction:
                self._by_transaction[transaction_uid] = report
                self._arrived.notify_all()

    def wait(self, transaction_uid: str, seconds: float) -> Committed | None:
        """Wait for a report for at most so many seconds."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._by_transaction.get(transaction_uid) is not None, seconds)
            return self._by_transaction.get(transaction_uid)

    def forget(self, transaction_uid: str) -> None:
        """Wait no longer."""
        with self._arrived:
            self._by_transaction.pop(transaction_uid, None)


def request_commitment(
    node: DimseNode,
    references: Sequence[tuple[str, str]],
    *,
    transaction_uid: str,
    reports: Reports,
    seconds: float,
    is_told: Callable[[], bool] = lambda: False,
) -> Committed | ToldBeside | NotOffered | NoReport:
    """Ask a node to commit to instances and wait for its report.

    Parameters
    ----------
    references
        SOP Class UID and SOP Instance UID of each.
    transaction_uid
        A fresh one for each request.
    reports
        Where the node's report arrives if it comes on an association of its own.
    seconds
        How long to wait for the report.
    is_told
        Whether the report has come to another process of this bench; asked again and again while it is waited
        for.

    Raises
    ------
    catalog.errors.NodeUnavailableError
        If the node does not answer.
    """
    until = monotonic() + seconds
    reports.expect(transaction_uid)
    try:
        contexts = [service(STORAGE_COMMITMENT_PUSH_MODEL)]
        at_most = 2 * node.answer_seconds + SAME_ASSOCIATION_SECONDS
        with associate(node, contexts, at_most=at_most) as association:
            reporting = _Reporting(association, reports)
            reporting.ask(_request(references, transaction_uid))
            report = reporting.wait(transaction_uid, min(SAME_ASSOCIATION_SECONDS, seconds), is_told)
        while report is None and (left := until - monotonic()) > 0:
            if is_told():
                return ToldBeside()
            report = reports.wait(transaction_uid, min(left, _LOOK_SECONDS))
    except RefusedError as error:
        return NotOffered(f"without storage commitment: {error}")
    finally:
        reports.forget(transaction_uid)
    return report or NoReport(
        f"{node.name} took the request for storage commitment but did not report within {seconds:g} seconds; "
        "its administrator enters the address this bench listens on"
    )


def send_report(association: Association, event_type_id: int, information: Dataset) -> int:
    """Report on a request as the side that was asked (PS3.4 J.3.3), and return the status of the answer.

    Raises
    ------
    catalog.errors.DeliveryError
        If the other side does not answer, or does not take reports.
    """
    (answer,) = dimse.exchange(
        association, "the report on storage commitment", STORAGE_COMMITMENT_PUSH_MODEL,
        Field.N_EVENT_REPORT, information, event_type_id=event_type_id,
        affected_sop_instance_uid=STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
    )  # fmt: skip
    return answer.command.status or _SUCCESS


def _request(references: Sequence[tuple[str, str]], transaction_uid: str) -> Dataset:
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = [_reference(*each) for each in references]
    return request


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = sop_class_uid
    reference.ReferencedSOPInstanceUID = sop_instance_uid
    return reference


class _Reporting:
    """The association that asks, on which a node may report, before its answer or after it."""

    def __init__(self, association: Association, reports: Reports) -> None:
        self._association, self._reports = association, reports

    def ask(self, request: Dataset) -> None:
        """Ask for commitment, and wait for the answer."""
        (answer,) = dimse.exchange(
            self._association, "the request for storage commitment", STORAGE_COMMITMENT_PUSH_MODEL,
            Field.N_ACTION, request, meanwhile=self._take, action_type_id=_REQUEST_STORAGE_COMMITMENT,
            requested_sop_instance_uid=STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
        )  # fmt: skip
        if answer.command.status != 0:
            raise RefusedError(f"the node refused the request (status {answer.command.status:04X})")

    def wait(self, transaction_uid: str, seconds: float, is_told: Callable[[], bool]) -> Committed | None:
        """Wait for a report, on this association or on another one."""
        until = monotonic() + seconds
        report = self._reports.wait(transaction_uid, 0)
        while report is None and not is_told() and monotonic() < until:
            with suppress(WireError):
                while self._association.is_open and self._association.is_readable():
                    if (message := self._association.receive()) is not None:
                        self._take(message)
            report = self._reports.wait(transaction_uid, _TURN_SECONDS)
        return report

    def _take(self, message: Message) -> None:
        status = _UNRECOGNIZED_OPERATION
        if message.command.command_field == Field.N_EVENT_REPORT:
            status = _SUCCESS
            try:
                self._reports.take(dimse.decoded(self._association, message))
            except Exception:  # whatever a parser stumbles over in the bytes of a peer is their fault
                status = _PROCESSING_FAILURE
        if not message.command.is_response:
            self._association.send(message.context_id, message.command.response(status))


def report_in(information: Dataset) -> tuple[str, Committed]:
    """Return the transaction UID and what a node reports, of the Event Information of an N-EVENT-REPORT.

    It is that of PS3.4 table J.3.3-1; raises whatever pydicom stumbles over.
    """
    kept = information.get("ReferencedSOPSequence") or []
    failed = information.get("FailedSOPSequence") or []
    report = Committed(
        frozenset(str(each.get("ReferencedSOPInstanceUID")) for each in kept),
        {
            str(each.get("ReferencedSOPInstanceUID")): int(each.get("FailureReason") or _UNKNOWN_REASON)
            for each in failed
        },
    )
    return str(information.get("TransactionUID", "")), report
