"""Receives: verification, storage and query as SCP, for callers that are known (PS3.4 annexes A to C).

A C-STORE is answered with success when the object is durable and told in the catalog, not before.
"""

import errno
import gc
import logging
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self, cast

from pydicom.dataset import Dataset
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType

from catalog.arrivals import Claim, Status
from catalog.errors import CatalogError
from catalog.incoming import Incoming
from catalog.intake import Intake
from workbench.pacs.accepting import ReceivingServer, certificate_of
from workbench.pacs.association import application_entity
from workbench.pacs.callers import Caller, Callers
from workbench.pacs.journal import Journal
from workbench.pacs.queries import answers
from workbench.pacs.sop_classes import PATIENT_ROOT_FIND, STUDY_ROOT_FIND, VERIFICATION
from workbench.pacs.streaming import StreamingProvider
from workbench.pacs.transport import serve

SUCCESS = 0x0000
OUT_OF_RESOURCES, NOT_ITS_CLASS, CANNOT_UNDERSTAND, NOT_AUTHORIZED = 0xA700, 0xA900, 0xC000, 0x0124
"""Status codes of C-STORE (PS3.4 table B.2-1, PS3.7 annex C)."""

MAXIMUM_PDU = 256 << 10
"""Bytes of a P-DATA-TF that peers may send."""
ARTIM_SECONDS = 10.0
"""How long a connection may take to ask for an association (PS3.8 section 9.1.4)."""
SILENT_SECONDS = 60.0
"""How long an association may be silent."""
DRAIN_SECONDS = 20.0
"""How long associations may take to come to their end when the receiver is to end."""

_REJECTED_PERMANENT, _SERVICE_USER, _CALLING_AE_TITLE = 1, 1, 3  # PS3.8 section 9.3.4
_ANSWERS: Mapping[Status, int] = {
    Status.STORED: SUCCESS,
    Status.DUPLICATE: SUCCESS,
    Status.CONFLICT: SUCCESS,
    Status.QUARANTINED: CANNOT_UNDERSTAND,
}
_SWITCH_SECONDS = 0.0005
"""How long a thread may compute while others wait: those of the wire have little to do, and often."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a receiver listens, and under which AE title."""

    ae_title: str
    host: str
    port: int
    share_port: bool = False
    """Whether other processes of this bench listen there, too."""


def be_a_receiver() -> None:
    """Set pynetdicom for a process of its own: every storage class, and no texts of patients in a log."""
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    for each in ("pynetdicom", "pydicom"):
        logging.getLogger(each).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom\b")  # they name the values they warn of
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is there now stays: pynetdicom collects garbage every few seconds, all threads wait


class Receiver:
    """Receives while it is a context; the process must have called `be_a_receiver`.

    Parameters
    ----------
    intake
        Where objects go; it is entered already.
    address
        Where to listen.
    callers
        Who may call.
    tls
        What proves who is who; without it connections are in the clear.

    Raises
    ------
    catalog.errors.DeliveryError
        On entering, if the address cannot be listened on.
    """

    def __init__(
        self,
        intake: Intake,
        address: Address,
        callers: Callers,
        journal: Journal,
        *,
        tls: SSLContext | None = None,
    ) -> None:
        self._intake, self._address, self._callers, self._tls = intake, address, callers, tls
        self._journal = journal
        self._who: dict[Association, tuple[Caller, Counter[str], float]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        ae = application_entity(
            self._address.ae_title,
            connection_seconds=ARTIM_SECONDS,
            answer_seconds=SILENT_SECONDS,
            maximum_pdu=MAXIMUM_PDU,
        )
        ae.require_called_aet = True
        for service in (VERIFICATION, PATIENT_ROOT_FIND, STUDY_ROOT_FIND):
            ae.add_supported_context(service)
        server_class = partial(ReceivingServer, begin=self._intake.begin, share_port=self._address.share_port)
        self._server = serve(
            ae,
            self._address.host,
            self._address.port,
            self._handlers(),
            tls=self._tls,
            server_class=server_class,
        )
        self.port = int(self._server.server_address[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain(0 if kind else DRAIN_SECONDS)

    def drain(self, seconds: float) -> None:
        """Accept nobody any more, let requests under way come to their end, then end the associations."""
        self._server.stop_listening()
        until = time.monotonic() + seconds
        while (active := self._server.active_associations) and time.monotonic() < until:
            for each in active:
                if isinstance(each.dimse, StreamingProvider) and each.dimse.is_between:
                    each.abort()
            time.sleep(0.02)
        self._server.shutdown()

    def _handlers(self) -> list[EventHandlerType]:
        return [
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_C_ECHO, lambda _event: SUCCESS),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]

    def _admit(self, event: Event) -> None:
        """Reject who is unknown before anything is negotiated (PS3.8 section 9.3.4)."""
        association = event.assoc
        wire = association.dul.socket
        certificate = certificate_of(wire.socket) if wire is not None else ""
        ae_title = str(cast("Any", association.requestor.primitive).calling_ae_title).strip()
        address = str(association.requestor.address)
        caller = self._callers.who(ae_title, address, certificate)
        if caller is None:
            self._journal.say("refused", ae_title=ae_title, address=address)
            self._journal.count("refused_associations")
            association.acse.send_reject(_REJECTED_PERMANENT, _SERVICE_USER, _CALLING_AE_TITLE)
            return
        self._journal.count("associations")
        with self._lock:
            self._who[association] = caller, Counter(), time.monotonic()

    def _store(self, event: Event) -> int | Dataset:
        """Answer a C-STORE when its object has come to its end."""
        provider = event.assoc.dimse
        assert isinstance(provider, StreamingProvider)
        came = provider.handed_over(event)
        try:
            status, outcome = self._taken(event, came)
        finally:
            if isinstance(came, Incoming):
                came.discard()
        self._count(event.assoc, outcome)
        return status

    def _find(self, event: Event) -> Iterator[tuple[int | Dataset, Dataset | None]]:
        """Answer a C-FIND of who may ask."""
        if "find" not in self._who[event.assoc][0].may:
            yield _status(NOT_AUTHORIZED, "this caller may not ask"), None
            return
        yield from answers(self._intake.catalog, event, self._address.ae_title)

    def _taken(self, event: Event, came: Incoming | Exception) -> tuple[int | Dataset, str]:
        caller = self._who[event.assoc][0]
        if "store" not in caller.may:
            return _status(NOT_AUTHORIZED, "this caller may not store"), "not_allowed"
        if isinstance(came, OSError):
            words = "disk nearly full" if came.errno == errno.ENOSPC else "could not be kept"
            return _status(OUT_OF_RESOURCES, words), "no_room"
        if isinstance(came, Exception):
            return _status(CANNOT_UNDERSTAND, "no UIDs"), "quarantined"
        request = cast("Any", event.request)
        claim = Claim(str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        try:
            taken = self._intake.take(came, claim, settled=False)
        except (OSError, CatalogError) as error:
            self._journal.say("not kept", error=type(error).__name__)
            return _status(OUT_OF_RESOURCES, "could not be kept"), "no_room"
        if taken.status is Status.QUARANTINED:
            code = NOT_ITS_CLASS if "another SOP" in taken.reason else CANNOT_UNDERSTAND
            return _status(code, taken.reason), taken.status
        return _ANSWERS[taken.status], taken.status

    def _count(self, association: Association, outcome: str) -> None:
        with self._lock:
            self._who[association][1][outcome] += 1
        self._journal.count("answers", outcome=outcome)

    def _closed(self, event: Event) -> None:
        if isinstance(event.assoc.dimse, StreamingProvider):
            event.assoc.dimse.close()
        with self._lock:
            caller, counts, begun = self._who.pop(event.assoc, (None, Counter[str](), 0.0))
        if caller is not None:
            name = caller.name or str(event.assoc.requestor.ae_title).strip()
            self._journal.say(
                "association", node=name, seconds=round(time.monotonic() - begun, 3), **dict(counts)
            )


def _status(code: int, words: str) -> Dataset:
    """A status with a comment of at most 64 characters (PS3.7 annex C)."""
    status = Dataset()
    status.Status = code
    status.ErrorComment = words.encode("ascii", "replace").decode()[:64]
    return status
