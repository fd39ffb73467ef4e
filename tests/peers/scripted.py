"""A PACS on pynetdicom that answers each C-STORE as a script says, for what Orthanc never does."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from threading import Event as ThreadEvent
from threading import Lock, Thread
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, StoragePresentationContexts, build_context, build_role, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from catalog.identifiers import digest
from workbench.pacs.dimse_node import DimseNode

SUCCESS, WARNING, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xB000, 0xA700, 0xC000
ABORT, SILENCE, CRASH_AFTER_SUCCESS = "abort", "silence", "crash after success"
type Step = int | str
"""A status to answer with; what has 0 or B000 is kept. Or one of the three words."""


@dataclass
class ScriptedPacs:
    """What came, in its order, and what is to be answered next; success where the script has ended."""

    steps: list[Step] = field(default_factory=list)
    by_uid: Mapping[str, Sequence[Step]] = field(default_factory=dict)
    """Steps of one instance, before those of all."""
    received: list[tuple[str, str]] = field(default_factory=list)
    """SOP Instance UID and digest of the data set of every C-STORE, whatever the answer."""
    kept: dict[str, bytes] = field(default_factory=dict)
    """What it would give back."""
    commitment: Mapping[str, int] | None = None
    """Failure reason by SOP Instance UID, the others are committed to; `None` offers no commitment."""
    report_to: int | None = None
    """Port where reports go; `None` keeps them."""
    asked: list[Dataset] = field(default_factory=list)
    """Requests for commitment that came."""
    port: int = 0
    _lock: Lock = field(default_factory=Lock)
    _released: ThreadEvent = field(default_factory=ThreadEvent)
    _counts: dict[str, int] = field(default_factory=dict)

    @property
    def order(self) -> list[str]:
        return [uid for uid, _ in self.received]

    def node(self, **changed: Any) -> DimseNode:
        given: dict[str, Any] = {"connection_seconds": 2.0, "answer_seconds": 2.0, "name": "PACS"}
        return DimseNode("SCRIPTED", "127.0.0.1", self.port, **(given | changed))

    def next_step(self, uid: str) -> Step:
        with self._lock:
            mine = self.by_uid.get(uid, ())
            count = self._counts.get(uid, 0)
            self._counts[uid] = count + 1
            if count < len(mine):
                return mine[count]
            return self.steps.pop(0) if self.steps and uid not in self.by_uid else SUCCESS

    def store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        content = event.encoded_dataset()
        self.received.append((uid, digest(event.encoded_dataset(include_meta=False))))
        step = self.next_step(uid)
        if step == SILENCE:
            self._released.wait()
            return SUCCESS
        if step == ABORT:
            event.assoc.abort()
            return SUCCESS
        if step == CRASH_AFTER_SUCCESS:  # it is kept, and the answer is lost with the connection
            self.kept[uid] = content
            event.assoc.dul.socket.close()
            return SUCCESS
        assert isinstance(step, int)
        if step in (SUCCESS, WARNING):
            self.kept[uid] = content
        return step

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        uid = str(event.identifier.get("SOPInstanceUID"))
        if uid in self.kept:
            yield 0xFF00, event.identifier
        yield SUCCESS, None

    def get(self, event: evt.Event) -> Iterator[Any]:
        uid = str(event.identifier.get("SOPInstanceUID"))
        yield 1 if uid in self.kept else 0
        if uid in self.kept:
            yield 0xFF00, dcmread(BytesIO(self.kept[uid]))

    def commit(self, event: evt.Event) -> tuple[int, None]:
        self.asked.append(event.action_information)
        if self.report_to is not None:
            Thread(target=self.report, args=[event.action_information, self.report_to]).start()
        return SUCCESS, None

    def report(self, request: Dataset, port: int) -> None:
        """Send the report on a request, on an association of its own (PS3.4 J.3.3)."""
        reasons = self.commitment or {}
        answer, kept, failed = Dataset(), [], []
        answer.TransactionUID = request.TransactionUID
        for each in request.ReferencedSOPSequence:
            reason = reasons.get(str(each.ReferencedSOPInstanceUID))
            (kept if reason is None else failed).append(each)
            if reason is not None:
                each.FailureReason = reason
        if kept:
            answer.ReferencedSOPSequence = kept
        if failed:
            answer.FailedSOPSequence = failed
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = AE("SCRIPTED").associate(
            "127.0.0.1", port, contexts=[build_context(StorageCommitmentPushModel)], ext_neg=[role],
            ae_title="WORKBENCH",
        )  # fmt: skip
        if association.is_established:
            instance = StorageCommitmentPushModelInstance
            association.send_n_event_report(answer, 2 if failed else 1, StorageCommitmentPushModel, instance)
            association.release()


@contextmanager
def scripted(
    *steps: Step,
    by_uid: Mapping[str, Sequence[Step]] | None = None,
    commitment: Mapping[str, int] | None = None,
) -> Iterator[ScriptedPacs]:
    """Run one on loopback; without `commitment` it offers none, so that reading back decides."""
    pacs = ScriptedPacs(list(steps), by_uid or {}, commitment=commitment)
    ae = AE("SCRIPTED")
    ae.supported_contexts = StoragePresentationContexts
    ae.add_supported_context(Verification)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    for context in StoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), scu_role=True, scp_role=True)
    if commitment is not None:
        ae.add_supported_context(StorageCommitmentPushModel)
    handlers = [
        (evt.EVT_N_ACTION, pacs.commit),
        (evt.EVT_C_STORE, pacs.store),
        (evt.EVT_C_FIND, pacs.find),
        (evt.EVT_C_GET, pacs.get),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    pacs.port = server.server_address[1]
    try:
        yield pacs
    finally:
        pacs._released.set()
        server.shutdown()
