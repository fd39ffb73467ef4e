"""Receives: verification, storage, query, commitment, retrieval as SCP, for known callers (PS3.4 A to C, J).

A C-STORE is answered with success when the object is durable and told in the catalog, not before.
"""

import errno
import gc
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext
from types import TracebackType
from typing import NoReturn, Self

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.presentation import build_context

from catalog.arrivals import Claim, Status
from catalog.errors import CatalogError
from catalog.fetch import Fetched
from catalog.intake import Intake
from catalog.receptions import Sender
from catalog.vocabulary import OnConflict
from workbench.pacs.acceptor import Acceptor, Guest
from workbench.pacs.arriving import Arriving
from workbench.pacs.callers import Caller, Callers
from workbench.pacs.commitments import Commitments
from workbench.pacs.conversation import Conversation
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.journal import Journal
from workbench.pacs.offered import negotiate
from workbench.pacs.owed import OwedAnswers
from workbench.pacs.queries import answers
from workbench.pacs.reported import Reported
from workbench.pacs.retrieving import Retrieving
from workbench.pacs.sop_classes import (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    STORAGE_COMMITMENT_PUSH_MODEL,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
)
from workbench.pacs.tls import certificate_of
from workbench.pacs.wire.association import Association
from workbench.pacs.wire.command import Command, Field
from workbench.pacs.wire.failures import WireError
from workbench.pacs.wire.messages import Message

SUCCESS = 0x0000
OUT_OF_RESOURCES, NOT_ITS_CLASS, CANNOT_UNDERSTAND, NOT_AUTHORIZED = 0xA700, 0xA900, 0xC000, 0x0124
DUPLICATE_SOP_INSTANCE, UNRECOGNIZED_OPERATION = 0x0111, 0x0211
"""Status codes (PS3.4 tables B.2-1 and C.4-1, PS3.7 annex C)."""

MAXIMUM_PDU = 256 << 10
"""Bytes of a P-DATA-TF that peers may send."""
SILENT_SECONDS = 60.0
"""How long an association may be silent."""
SETTLED_SECONDS = 2.0
"""How long a question waits until what was acknowledged before it can be found."""
DRAIN_SECONDS = 20.0
"""How long associations may take to come to their end when the receiver is to end."""

type Answer = Callable[[Conversation, Message], None]
"""Answers a request with all its responses."""

_SYNTAXES: list[str | UID] = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]
"""Of what is asked, not of what is stored: a deflated question of a megabyte could have a gigabyte."""

_REJECTED_PERMANENT, _SERVICE_USER = 1, 1
_CALLING_AE_TITLE, _CALLED_AE_TITLE = 3, 7
"""Result, source and diagnostics of a rejection (PS3.8 section 9.3.4)."""
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
    """Set a process of its own: no texts of patients in a log, and threads that take turns often."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    for each in ("pynetdicom", "pydicom"):
        logging.getLogger(each).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom\b")  # they name the values they warn of
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is there now stays, and need not be looked at again


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
    nodes
        Those of the settings by name: where reports of storage commitment and C-MOVE go.
    owed
        The reports that have not gone yet.
    fetched
        Copies of what lies in archives and buckets, to be sent.
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
        nodes: Mapping[str, DimseNode],
        owed: OwedAnswers,
        fetched: Fetched,
        tls: SSLContext | None = None,
    ) -> None:
        self._intake, self._address, self._callers = intake, address, callers
        self._journal = journal
        self._commitments = Commitments(intake, owed, nodes, journal)
        self._settled = partial(intake.settle, SETTLED_SECONDS)
        retrieving = Retrieving(intake.catalog, fetched, nodes, journal, settled=self._settled)
        self._answers: Mapping[tuple[int, str], Answer] = {
            (Field.C_ECHO, VERIFICATION): _echo,
            (Field.C_FIND, PATIENT_ROOT_FIND): self._find,
            (Field.C_FIND, STUDY_ROOT_FIND): self._find,
            (Field.C_GET, PATIENT_ROOT_GET): retrieving.get,
            (Field.C_GET, STUDY_ROOT_GET): retrieving.get,
            (Field.C_MOVE, PATIENT_ROOT_MOVE): retrieving.move,
            (Field.C_MOVE, STUDY_ROOT_MOVE): retrieving.move,
            (Field.N_ACTION, STORAGE_COMMITMENT_PUSH_MODEL): self._commitments.asked,
            (Field.N_EVENT_REPORT, STORAGE_COMMITMENT_PUSH_MODEL): Reported(intake.catalog, journal).answer,
        }
        """What is answered in which presentation context; in any other C-STORE is."""
        self._services = frozenset(service for _, service in self._answers)
        self._acceptor = Acceptor(
            address.host,
            address.port,
            self._meet,
            wait_seconds=SILENT_SECONDS,
            tls=tls,
            share_port=address.share_port,
        )

    def __enter__(self) -> Self:
        self._acceptor.__enter__()
        self.port = self._acceptor.port
        self._commitments.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._acceptor.end(0.0 if kind else DRAIN_SECONDS)
        self._commitments.__exit__()

    # --- an association ----------------------------------------------------------------------------------

    def _meet(self, guest: Guest) -> None:
        """Have one association, from its request to its end."""
        opened = self._opened(guest)
        if opened is None:
            return
        association, caller = opened
        with suppress(WireError), self._conversing(association, guest, caller) as conversation:
            for message in conversation.requests(SILENT_SECONDS):
                self._answer_of(conversation, message)(conversation, message)

    def _opened(self, guest: Guest) -> tuple[Association, Caller] | None:
        """Reject who is unknown before anything is negotiated (PS3.8 section 9.3.4)."""
        connection = guest.connection
        request = Association.requested(connection)
        ae_title = request.calling_ae_title
        caller = self._callers.who(ae_title, guest.address, certificate_of(connection.wire))
        if caller is None:
            self._journal.say("refused", ae_title=ae_title, address=guest.address)
            self._journal.count("refused_associations")
            Association.reject(connection, _REJECTED_PERMANENT, _SERVICE_USER, _CALLING_AE_TITLE)
            return None
        if request.called_ae_title != self._address.ae_title.strip():
            Association.reject(connection, _REJECTED_PERMANENT, _SERVICE_USER, _CALLED_AE_TITLE)
            return None
        guest.is_stranger = False
        connection.allow(None)
        supported = [build_context(service, _SYNTAXES) for service in sorted(self._services)]
        for each in supported:
            if each.abstract_syntax == STORAGE_COMMITMENT_PUSH_MODEL:  # a node asks, or it was asked
                each.scu_role = each.scp_role = True
        association = Association.accept(
            connection, request, supported, maximum_length=MAXIMUM_PDU, negotiate=negotiate
        )
        return association, caller

    @contextmanager
    def _conversing(self, association: Association, guest: Guest, caller: Caller) -> Iterator[Conversation]:
        def into(context_id: int, command: Command) -> Arriving | None:
            context = association.agreed.accepted[context_id]
            if command.command_field != Field.C_STORE or context.abstract_syntax in self._services:
                return None
            begin = self._intake.begin if "store" in caller.may else _refuse
            return Arriving(begin, command, context.transfer_syntax[0])

        self._journal.count("associations")
        begun = time.monotonic()
        conversation = Conversation(association, guest, caller, into)
        try:
            yield conversation
        finally:
            conversation.close()
            seconds = round(time.monotonic() - begun, 3)
            self._journal.say(
                "association", node=conversation.name, seconds=seconds, **dict(conversation.outcomes)
            )

    def _answer_of(self, conversation: Conversation, message: Message) -> Answer:
        service = str(conversation.context_of(message).abstract_syntax)
        if message.command.command_field == Field.C_STORE and service not in self._services:
            return self._store
        return self._answers.get((message.command.command_field, service), _unknown)

    # --- its requests ------------------------------------------------------------------------------------

    def _store(self, conversation: Conversation, message: Message) -> None:
        """Answer a C-STORE when its object has come to its end."""
        came = message.target
        try:
            status, words, outcome = self._taken(conversation, message.command, came)
        finally:
            if isinstance(came, Arriving):
                came.discard()
        conversation.outcomes[outcome] += 1
        self._journal.count("answers", outcome=outcome)
        conversation.respond(message, status, error_comment=_comment(words))

    def _taken(
        self, conversation: Conversation, command: Command, came: object
    ) -> tuple[int, str | None, str]:
        """Status, a comment, and what is counted."""
        if "store" not in conversation.caller.may:
            return NOT_AUTHORIZED, "this caller may not store", "not_allowed"
        trouble = came.trouble if isinstance(came, Arriving) else ValueError()
        if isinstance(trouble, OSError):
            words = "disk nearly full" if trouble.errno == errno.ENOSPC else "could not be kept"
            return OUT_OF_RESOURCES, words, "no_room"
        if not isinstance(came, Arriving) or came.incoming is None:
            return CANNOT_UNDERSTAND, "no UIDs, or no data set", "quarantined"
        refuses = conversation.caller.on_conflict is OnConflict.REFUSE
        calling = conversation.ae_title
        sender = Sender(conversation.caller.name, calling, self._address.ae_title)
        claim = Claim(command.affected_sop_class_uid or "", command.affected_sop_instance_uid or "", sender)
        try:
            taken = self._intake.take(came.incoming, claim, settled=refuses)  # only then a conflict is known
        except (OSError, CatalogError) as error:
            self._journal.say("not kept", error=type(error).__name__)
            return OUT_OF_RESOURCES, "could not be kept", "no_room"
        if taken.status is Status.QUARANTINED:
            code = NOT_ITS_CLASS if "another SOP" in taken.reason else CANNOT_UNDERSTAND
            return code, taken.reason, taken.status
        if taken.status is Status.CONFLICT and refuses:
            return DUPLICATE_SOP_INSTANCE, "its UID is that of another object; both are kept", taken.status
        return SUCCESS, None, taken.status

    def _find(self, conversation: Conversation, message: Message) -> None:
        """Answer a C-FIND of who may ask."""
        if "find" not in conversation.caller.may:
            conversation.respond(message, NOT_AUTHORIZED, error_comment="this caller may not ask")
            return
        try:
            identifier = conversation.data_set_of(message)
        except Exception:  # whatever a parser stumbles over in the bytes of a peer is the fault of the bytes
            conversation.respond(message, CANNOT_UNDERSTAND)
            return
        self._settled()
        found = answers(
            self._intake.catalog,
            identifier,
            self._address.ae_title,
            lambda: conversation.is_cancelled(message),
            with_patients=conversation.context_of(message).abstract_syntax == PATIENT_ROOT_FIND,
        )
        for status, match in found:
            conversation.respond(message, status, match)


def _echo(conversation: Conversation, message: Message) -> None:
    conversation.respond(message, SUCCESS)


def _unknown(conversation: Conversation, message: Message) -> None:
    conversation.respond(message, UNRECOGNIZED_OPERATION)


def _refuse() -> NoReturn:
    raise PermissionError


def _comment(words: str | None) -> str | None:
    """An Error Comment has at most 64 characters (PS3.7 annex C)."""
    return words[:64] if words is not None else None
