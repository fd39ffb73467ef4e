"""What the embedded PACS answers; for demonstrations and tests, not for use with patients."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from weakref import WeakKeyDictionary

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.pdu import P_DATA_TF

from catalog.attributes import Level
from catalog.database import Catalog
from catalog.durable import write
from catalog.errors import DeliveryError
from catalog.identifiers import folder_name, is_uid
from catalog.index import index_paths
from catalog.query import find_level
from workbench.pacs.association import CONTEXTS_AT_MOST, associate, service
from workbench.pacs.commitment import send_report
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.queries import PENDING, answers, question_of
from workbench.pacs.sop_classes import (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
)

SUCCESS = 0x0000
DUPLICATE, INVALID_ARGUMENT, NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0111, 0x0115, 0x0112, 0x0119
OUT_OF_RESOURCES, NO_MATCH_FOR_CLASS, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000
"""Status codes (PS3.7 annex C, PS3.4 B.2.3, C.4)."""


@dataclass(frozen=True, slots=True)
class EmbeddedServices:
    """The services of one embedded PACS on one folder.

    Parameters
    ----------
    catalog
        Its index.
    folder
        Where the instances lie, one file each.
    ae_title
        Its own.
    peers
        AE title to host and port: where C-MOVE and storage commitment results may go.
    refuse_duplicates
        Whether a known SOP Instance UID with other bytes is refused, or answered with success while the first
        bytes are kept; both are found among real nodes.
    """

    catalog: Catalog
    folder: Path
    ae_title: str
    peers: Mapping[str, tuple[str, int]]
    refuse_duplicates: bool = False
    _writing: Lock = field(default_factory=Lock)
    _owed: WeakKeyDictionary[Association, Thread] = field(default_factory=WeakKeyDictionary)
    """Reports on storage commitment that wait for the answer to their request."""

    def handlers(self) -> list[EventHandlerType]:
        """Return what to bind to an association server."""
        return [
            (evt.EVT_C_ECHO, lambda _event: SUCCESS),
            (evt.EVT_C_STORE, self.store),
            (evt.EVT_C_FIND, self.find),
            (evt.EVT_C_GET, self.get),
            (evt.EVT_C_MOVE, self.move),
            (evt.EVT_N_ACTION, self.commit),
            (evt.EVT_PDU_SENT, self.answered),
        ]

    # --- storage (PS3.4 B) -------------------------------------------------------------------------------

    def store(self, event: Event) -> int:
        """Keep the data set as it came; success only after it is durable and indexed."""
        uid = str(getattr(event.request, "AffectedSOPInstanceUID", ""))
        if not is_uid(uid):
            return NO_MATCH_FOR_CLASS
        target = self._place(uid)
        try:
            with self._writing:
                if target.exists():
                    same = _data_set_bytes(target) == event.encoded_dataset(include_meta=False)
                    return DUPLICATE if self.refuse_duplicates and not same else SUCCESS
                write(target, event.encoded_dataset())
                report = index_paths(self.catalog, [target])
        except OSError:
            return OUT_OF_RESOURCES
        if report.rejected:
            target.unlink()
            return CANNOT_UNDERSTAND
        return SUCCESS

    # --- query and retrieve (PS3.4 C) --------------------------------------------------------------------

    def find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        """Answer a C-FIND at any level."""
        return answers(
            self.catalog,
            event.identifier,
            self.ae_title,
            lambda: event.is_cancelled,
            with_patients=_with_patients(event),
        )

    def get(self, event: Event) -> Iterator[Any]:
        """Send what a C-GET asks for on the same association."""
        paths = self._asked(event)
        yield len(paths)
        yield from ((PENDING, dcmread(path)) for path in paths)

    def move(self, event: Event) -> Iterator[Any]:
        """Send what a C-MOVE asks for to one of the peers."""
        address = self.peers.get(str(event.move_destination).strip())
        if address is None:
            yield None, None
            return
        paths = self._asked(event)
        meta = [split_dataset(path)[0] for path in paths]
        classes = sorted({str(each.MediaStorageSOPClassUID) for each in meta})
        syntaxes = {str(each.TransferSyntaxUID) for each in meta} | {
            ExplicitVRLittleEndian,
            ImplicitVRLittleEndian,
        }
        pairs = [(sop_class, syntax) for sop_class in classes for syntax in sorted(syntaxes)]
        yield (
            *address,
            {
                "contexts": [
                    build_context(UID(each), UID(syntax)) for each, syntax in pairs[:CONTEXTS_AT_MOST]
                ]
            },
        )
        yield len(paths)
        yield from ((PENDING, dcmread(path)) for path in paths)

    # --- storage commitment (PS3.4 J) --------------------------------------------------------------------

    def commit(self, event: Event) -> tuple[int, None]:
        """Check what is here and report it: to the caller's address where it is known, else as asked."""
        asked = event.action_information
        if (
            event.action_type != 1
            or not asked.get("TransactionUID")
            or not asked.get("ReferencedSOPSequence")
        ):
            return INVALID_ARGUMENT, None
        caller = event.assoc.requestor.ae_title.strip()
        report = Thread(target=self._report, args=(self._result(asked), caller, event.assoc), daemon=True)
        self._owed[event.assoc] = report
        return SUCCESS, None

    def answered(self, event: Event) -> None:
        """Report now that the answer to the request has gone out: of two messages no fragments may mix.

        While a service is at work pynetdicom lets other threads send on its association.
        """
        if isinstance(event.pdu, P_DATA_TF) and (report := self._owed.pop(event.assoc, None)):
            report.start()

    def _result(self, asked: Dataset) -> Dataset:
        result = Dataset()
        result.TransactionUID = asked.TransactionUID
        kept: list[Dataset] = []
        failed: list[Dataset] = []
        for reference in asked.ReferencedSOPSequence:
            path = self._place(str(reference.ReferencedSOPInstanceUID))
            if not path.exists():
                reference.FailureReason = NO_SUCH_INSTANCE
            elif split_dataset(path)[0].MediaStorageSOPClassUID != reference.ReferencedSOPClassUID:
                reference.FailureReason = CLASS_CONFLICT
            (failed if "FailureReason" in reference else kept).append(reference)
        if kept:
            result.ReferencedSOPSequence = kept
        if failed:
            result.FailedSOPSequence = failed
        return result

    def _report(self, result: Dataset, caller: str, asking: Association) -> None:
        address = self.peers.get(caller)
        if address is None:
            _send_report(asking, result)
            return
        node = DimseNode(caller, *address, calling_ae_title=self.ae_title)
        role = build_role(STORAGE_COMMITMENT_PUSH_MODEL, scp_role=True)
        try:
            with associate(node, [service(STORAGE_COMMITMENT_PUSH_MODEL)], roles=[role]) as association:
                send_report(association, _event_type(result), result)
        except DeliveryError:
            return  # the caller asks again

    # --- places ------------------------------------------------------------------------------------------

    def _place(self, sop_instance_uid: str) -> Path:
        return self.folder / f"{folder_name(sop_instance_uid)}.dcm"

    def _asked(self, event: Event) -> list[Path]:
        matching = question_of(event.identifier, with_patients=_with_patients(event)).matching
        rows = find_level(self.catalog, Level.INSTANCE, matching, columns=["SOPInstanceUID"])
        return [self._place(str(row["sop_instance_uid"])) for row in rows]


def _with_patients(event: Event) -> bool:
    return event.request.AffectedSOPClassUID in (PATIENT_ROOT_FIND, PATIENT_ROOT_GET, PATIENT_ROOT_MOVE)


def _send_report(association: Association, result: Dataset) -> None:
    association.send_n_event_report(
        result, _event_type(result), STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
    )


def _event_type(result: Dataset) -> int:
    return 2 if "FailedSOPSequence" in result else 1  # PS3.4 table J.3-1


def _data_set_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    return content[split_dataset(path)[1] :]
