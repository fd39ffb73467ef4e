"""Storage commitment, Push Model (PS3.4 annex J): ask a node to take responsibility, wait for its word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Condition
from threading import Event as ThreadEvent
from time import monotonic

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import build_context

from catalog.errors import NodeUnavailableError, RefusedError
from workbench.pacs.association import associate
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE

SAME_ASSOCIATION_SECONDS = 2.0
"""How long the asking association stays open for a node that reports on it; others open their own."""

_REQUEST_STORAGE_COMMITMENT = 1  # Action Type ID (PS3.4 table J.3.2-1)
_UNKNOWN_REASON = 0x0110


@dataclass(frozen=True, slots=True)
class Committed:
    """What a node reported on one request."""

    instances: frozenset[str]
    """SOP Instance UIDs the node took responsibility for."""
    failed: Mapping[str, int]
    """SOP Instance UID to Failure Reason (0008,1197)."""


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

    def expect(self, transaction_uid: str) -> None:
        """Keep the report on this transaction when it comes; any other is acknowledged and forgotten."""
        with self._arrived:
            self._by_transaction[transaction_uid] = None

    def take(self, event: Event) -> tuple[int, None]:
        """Answer an N-EVENT-REPORT; bind this to EVT_N_EVENT_REPORT."""
        information = event.event_information
        transaction_uid = str(information.get("TransactionUID", ""))
        with self._arrived:
            if transaction_uid in self._by_transaction:
                self._by_transaction[transaction_uid] = _committed(information)
                self._arrived.notify_all()
        return 0x0000, None

    def wait(self, transaction_uid: str, seconds: float) -> Committed | None:
        """Wait for a report for at most so many seconds."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._by_transaction.get(transaction_uid) is not None, seconds)
            return self._by_transaction.get(transaction_uid)

    def forget(self, transaction_uid: str) -> None:
        """Wait no longer."""
        with self._arrived:
            self._by_transaction.pop(transaction_uid, None)


class _Answer:
    """Our answer to a report on the association that asked, which must not be released before it is sent.

    pynetdicom holds an association for idle while a handler runs, so a release would overtake the answer.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._due = False
        self._on_its_way = False
        self._sent = ThreadEvent()

    @property
    def handlers(self) -> list[EventHandlerType]:
        """To be bound to the association."""
        return [
            (evt.EVT_N_EVENT_REPORT, self._take),
            (evt.EVT_DIMSE_SENT, self._answered),
            (evt.EVT_PDU_SENT, self._passed),
        ]

    def wait(self, seconds: float) -> None:
        """Wait until a report that came has its answer, for at most so many seconds."""
        if self._due:
            self._sent.wait(seconds)

    def _take(self, event: Event) -> tuple[int, None]:
        self._due = True  # before whoever waits for the report is told of it
        return self._reports.take(event)

    def _answered(self, event: Event) -> None:
        self._on_its_way = self._on_its_way or isinstance(event.message, N_EVENT_REPORT_RSP)

    def _passed(self, event: Event) -> None:
        if self._on_its_way and isinstance(event.pdu, P_DATA_TF):
            self._sent.set()


def request_commitment(
    node: DimseNode,
    references: Sequence[tuple[str, str]],
    *,
    transaction_uid: str,
    reports: Reports,
    seconds: float,
) -> Committed | NotOffered | NoReport:
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

    Raises
    ------
    catalog.errors.NodeUnavailableError
        If the node does not answer.
    """
    until = monotonic() + seconds
    reports.expect(transaction_uid)
    answer = _Answer(reports)
    try:
        contexts = [build_context(STORAGE_COMMITMENT_PUSH_MODEL)]
        at_most = 2 * node.answer_seconds + SAME_ASSOCIATION_SECONDS
        with associate(node, contexts, handlers=answer.handlers, at_most=at_most) as association:
            _ask(association, _request(references, transaction_uid))
            report = reports.wait(transaction_uid, min(SAME_ASSOCIATION_SECONDS, seconds))
            answer.wait(node.answer_seconds)
        report = report or reports.wait(transaction_uid, max(until - monotonic(), 0))
    except RefusedError as error:
        return NotOffered(f"without storage commitment: {error}")
    finally:
        reports.forget(transaction_uid)
    return report or NoReport(
        f"{node.name} took the request for storage commitment but did not report within {seconds:g} seconds; "
        "its administrator enters the address this bench listens on"
    )


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


def _ask(association: Association, request: Dataset) -> None:
    answer, _ = association.send_n_action(
        request,
        _REQUEST_STORAGE_COMMITMENT,
        STORAGE_COMMITMENT_PUSH_MODEL,
        STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
    )
    status = answer.get("Status")
    if status is None:
        raise NodeUnavailableError(
            f"{association.acceptor.ae_title.strip()} did not answer the request for storage commitment"
        )
    if status != 0:
        raise RefusedError(f"the node refused the request (status {status:04X})")


def _committed(information: Dataset) -> Committed:
    kept = information.get("ReferencedSOPSequence") or []
    failed = information.get("FailedSOPSequence") or []
    return Committed(
        frozenset(str(each.get("ReferencedSOPInstanceUID")) for each in kept),
        {
            str(each.get("ReferencedSOPInstanceUID")): int(each.get("FailureReason") or _UNKNOWN_REASON)
            for each in failed
        },
    )
