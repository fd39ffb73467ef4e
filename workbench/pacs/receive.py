"""What a node sends to this bench by itself: storage commitment reports, and instances moved on request."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import Self

from pydicom.uid import UID
from pynetdicom import evt, register_uid
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from catalog.errors import NodeUnavailableError
from workbench.pacs.association import application_entity
from workbench.pacs.commitment import Reports
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress
from workbench.pacs.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL, VERIFICATION
from workbench.pacs.transport import serve

type Receive = Callable[[str, bytes], None]
"""Takes a SOP Instance UID and the bytes of a DICOM file with that instance."""

_SUCCESS, _NOT_AUTHORIZED, _CANNOT_UNDERSTAND = 0x0000, 0x0124, 0xC000


class Listener:
    """Listens while it is a context; accepts nothing that was not asked for.

    Parameters
    ----------
    node
        The node that is spoken to; it calls this bench by the AE title the bench calls with.
    address
        Where to listen.

    Raises
    ------
    catalog.errors.DeliveryError
        On entering, if the address is taken.
    """

    def __init__(self, node: DimseNode, address: ListenAddress) -> None:
        self.reports = Reports()
        self.port = address.port
        self._address = address
        self._ae = application_entity(
            node.calling_ae_title,
            connection_seconds=node.connection_seconds,
            answer_seconds=node.answer_seconds,
            maximum_pdu=node.maximum_pdu,
        )
        self._ae.require_called_aet = True
        self._ae.add_supported_context(VERIFICATION)
        self._ae.add_supported_context(STORAGE_COMMITMENT_PUSH_MODEL, scu_role=True, scp_role=True)
        self._expected: Mapping[str, Receive] = {}
        self._contexts: list[Sequence[tuple[str, str]]] = []
        self._expecting = Lock()

    def __enter__(self) -> Self:
        handlers: list[EventHandlerType] = [
            (evt.EVT_N_EVENT_REPORT, self.reports.take),
            (evt.EVT_C_STORE, self._store),
        ]
        self._server = serve(self._ae, self._address.host, self._address.port, handlers)
        self.port = self._server.server_address[1]
        self._always = self._server.contexts
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()

    @contextmanager
    def expecting(
        self, sop_instance_uids: Sequence[str], contexts: Sequence[tuple[str, str]], receive: Receive
    ) -> Iterator[None]:
        """Accept these instances, in these pairs of SOP class and transfer syntax, while the block runs.

        Several threads may expect instances at the same time, but not the same.

        Raises
        ------
        catalog.errors.NodeUnavailableError
            If one of them is expected from another node just now.
        """
        for sop_class_uid, _ in contexts:
            know_storage_class(sop_class_uid)
        mine = dict.fromkeys(sop_instance_uids, receive)
        with self._expecting:
            if not self._expected.keys().isdisjoint(mine):
                raise NodeUnavailableError("the same instance is just being read back from another node")
            self._contexts.append(contexts)
            self._expect({**self._expected, **mine})
        try:
            yield
        finally:
            with self._expecting:
                self._contexts.remove(contexts)
                self._expect({uid: take for uid, take in self._expected.items() if uid not in mine})

    def _expect(self, expected: Mapping[str, Receive]) -> None:
        self._expected = expected
        pairs = [pair for contexts in self._contexts for pair in contexts]
        self._server.contexts = [*self._always, *_merged(pairs)]

    def _store(self, event: Event) -> int:
        return answer_store(event, self._expected)


def answer_store(event: Event, expected: Mapping[str, Receive]) -> int:
    """Answer a C-STORE with its status; what was not asked for is not accepted."""
    uid = str(getattr(event.request, "AffectedSOPInstanceUID", ""))
    receive = expected.get(uid)
    if receive is None:
        return _NOT_AUTHORIZED
    try:
        receive(uid, event.encoded_dataset())
    except Exception:  # whatever a parser stumbles over in the bytes of a peer is the fault of the bytes
        return _CANNOT_UNDERSTAND
    return _SUCCESS


def know_storage_class(sop_class_uid: str) -> None:
    """Have pynetdicom serve a storage SOP class that is younger than its tables, or private."""
    if uid_to_service_class(sop_class_uid) is ServiceClass:
        register_uid(sop_class_uid, "Storage_" + sop_class_uid.replace(".", "_"), StorageServiceClass)


def _merged(contexts: Sequence[tuple[str, str]]) -> list[PresentationContext]:
    by_class: dict[str, list[str | UID]] = {}
    for sop_class_uid, transfer_syntax_uid in contexts:
        by_class.setdefault(sop_class_uid, []).append(UID(transfer_syntax_uid))
    return [build_context(UID(sop_class), syntaxes) for sop_class, syntaxes in by_class.items()]
