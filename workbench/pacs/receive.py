"""What a node sends to this bench by itself: storage commitment reports, and instances moved on request.

The address is taken while something is expected, and no longer: other processes of the bench want it, too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext, build_context

from catalog.errors import DeliveryError, NodeUnavailableError
from workbench.pacs.acceptor import Acceptor, Guest
from workbench.pacs.association import service
from workbench.pacs.callers import Caller
from workbench.pacs.commitment import Reports, report_in
from workbench.pacs.conversation import Conversation
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.file_meta import file_meta
from workbench.pacs.node import ListenAddress
from workbench.pacs.reported import hand_over
from workbench.pacs.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL, VERIFICATION
from workbench.pacs.tls import callers_context
from workbench.pacs.wire.association import Association
from workbench.pacs.wire.command import Command, Field
from workbench.pacs.wire.failures import WireError
from workbench.pacs.wire.messages import Message

type Receive = Callable[[str, bytes], None]
"""Takes a SOP Instance UID and the bytes of a DICOM file with that instance."""

_SUCCESS, _PROCESSING_FAILURE, _NOT_AUTHORIZED, _CANNOT_UNDERSTAND = 0x0000, 0x0110, 0x0124, 0xC000
_UNRECOGNIZED_OPERATION = 0x0211
_ANSWER_SECONDS = 2.0
"""How long an answer that is being written may take at the end: cut, its report would be sent again."""
_PERMANENT, _SERVICE_USER, _CALLED_AE_TITLE = 1, 1, 7
"""Result, source and diagnostic of a rejection (PS3.8 section 9.3.4)."""


class Listener:
    """Listens where somebody says so, while it is a context; accepts nothing that was not asked for.

    Parameters
    ----------
    node
        The node that is spoken to; it calls this bench by the AE title the bench calls with.
    address
        Where to listen.

    Raises
    ------
    catalog.errors.SettingsError
        If the certificate files of the node cannot be used.
    """

    def __init__(self, node: DimseNode, address: ListenAddress) -> None:
        self.reports = Reports()
        self.port = address.port
        self._node, self.address = node, address
        self._tls = callers_context(node)
        self._acceptor: Acceptor | None = None
        self._users = 0
        self._using = Lock()
        self._expected: Mapping[str, Receive] = {}
        self._contexts: list[Sequence[tuple[str, str]]] = []
        self._expecting = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._acceptor is not None:
            self._acceptor.end(_ANSWER_SECONDS)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while the block runs, beside others who do; with TLS where that node calls back with it.

        Raises
        ------
        catalog.errors.DeliveryError
            On entering, if the address cannot be listened on; a `catalog.errors.NodeUnavailableError` where
            another has it just now.
        """
        self._open()
        try:
            yield
        finally:
            self._close()

    @contextmanager
    def where_free(self) -> Iterator["Attempt"]:
        """Listen while the block runs if the address is free, or as soon as the block finds it free."""
        attempt = Attempt(self._open)
        attempt()
        try:
            yield attempt
        finally:
            if not attempt.trouble:
                self._close()

    def _open(self) -> None:
        with self._using:
            if self._acceptor is None:
                acceptor = Acceptor(
                    self.address.host,
                    self.address.port,
                    self._meet,
                    wait_seconds=self._node.answer_seconds,
                    tls=self._tls,
                )
                acceptor.__enter__()
                self._acceptor, self.port = acceptor, acceptor.port
            self._users += 1

    def _close(self) -> None:
        with self._using:
            self._users -= 1
            if self._acceptor is not None and not self._users:
                self._acceptor.end(_ANSWER_SECONDS)
                self._acceptor = None

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
        mine = dict.fromkeys(sop_instance_uids, receive)
        with self._expecting:
            if not self._expected.keys().isdisjoint(mine):
                raise NodeUnavailableError("the same instance is just being read back from another node")
            self._contexts.append(contexts)
            self._expected = {**self._expected, **mine}
        try:
            yield
        finally:
            with self._expecting:
                self._contexts.remove(contexts)
                self._expected = {uid: take for uid, take in self._expected.items() if uid not in mine}

    def _supported(self) -> list[PresentationContext]:
        commitment = service(STORAGE_COMMITMENT_PUSH_MODEL)
        commitment.scu_role = commitment.scp_role = True
        with self._expecting:
            pairs = [pair for contexts in self._contexts for pair in contexts]
        return [service(VERIFICATION), commitment, *_merged(pairs)]

    def _meet(self, guest: Guest) -> None:
        """Have one association, from its request to its end."""
        request = Association.requested(guest.connection)
        if request.called_ae_title != self._node.calling_ae_title.strip():
            Association.reject(guest.connection, _PERMANENT, _SERVICE_USER, _CALLED_AE_TITLE)
            return
        guest.is_stranger = False
        guest.connection.allow(None)
        association = Association.accept(
            guest.connection, request, self._supported(), maximum_length=self._node.maximum_pdu
        )

        def into(context_id: int, command: Command) -> "_Instance | None":
            if command.command_field != Field.C_STORE:
                return None
            return _Instance(command, association.agreed.accepted[context_id], self._expected)

        conversation = Conversation(association, guest, _whoever(self._node), into)
        try:
            with suppress(WireError):
                for message in conversation.requests(self._node.answer_seconds):
                    conversation.respond(message, self._status_of(conversation, message))
        finally:
            conversation.close()

    def _status_of(self, conversation: Conversation, message: Message) -> int:
        match message.command.command_field:
            case Field.C_ECHO:
                return _SUCCESS
            case Field.C_STORE:
                return (
                    message.target.finish() if isinstance(message.target, _Instance) else _CANNOT_UNDERSTAND
                )
            case Field.N_EVENT_REPORT:
                try:
                    self._take_report(conversation.data_set_of(message))
                except Exception:  # whatever a parser stumbles over in the bytes of a peer is their fault
                    return _PROCESSING_FAILURE
                return _SUCCESS
        return _UNRECOGNIZED_OPERATION

    def _take_report(self, information: Dataset) -> None:
        """Give a report to who waits for it: here, or in another process, that could not listen."""
        catalog = self.address.catalog
        if catalog is None or self.reports.expects(report_in(information)[0]):
            self.reports.take(information)
        else:
            hand_over(catalog, information)


class Attempt:
    """Tries to listen, again with each call, until it does."""

    def __init__(self, listen: Callable[[], None]) -> None:
        self._listen = listen
        self.trouble = "nobody tried yet"
        """Why it does not listen; empty where it does."""
        self.may_be_free = True
        """Whether it may go another time: the address is taken just now."""

    def __call__(self) -> None:
        """Try, unless it listens."""
        if self.trouble:
            try:
                self._listen()
            except DeliveryError as error:
                self.trouble = str(error)
                self.may_be_free = isinstance(error, NodeUnavailableError)
            else:
                self.trouble = ""


class _Instance:
    """An instance as it comes; of what was not asked for nothing is held."""

    def __init__(
        self, command: Command, context: PresentationContext, expected: Mapping[str, Receive]
    ) -> None:
        self._uid = command.affected_sop_instance_uid or ""
        self._receive = expected.get(self._uid)
        self._content = bytearray()
        if self._receive is not None:
            sop_class_uid, syntax = command.affected_sop_class_uid or "", context.transfer_syntax[0]
            with suppress(ValueError):  # then what it is told of is not readable
                self._content += file_meta(sop_class_uid, self._uid, syntax)

    def write(self, fragment: memoryview, /) -> None:
        """Take a fragment."""
        if self._receive is not None:
            self._content += fragment

    def finish(self) -> int:
        """Hand it on; return the status."""
        if self._receive is None:
            return _NOT_AUTHORIZED
        try:
            self._receive(self._uid, bytes(self._content))
        except Exception:  # whatever a parser stumbles over in the bytes of a peer is the fault of the bytes
            return _CANNOT_UNDERSTAND
        return _SUCCESS


def _whoever(node: DimseNode) -> Caller:
    """Whoever calls while a node is spoken to: it may do what is expected, and nothing else."""
    return Caller(node.name, node.ae_title, frozenset(), "", frozenset())


def _merged(contexts: Sequence[tuple[str, str]]) -> list[PresentationContext]:
    by_class: dict[str, list[str | UID]] = {}
    for sop_class_uid, transfer_syntax_uid in contexts:
        by_class.setdefault(sop_class_uid, []).append(UID(transfer_syntax_uid))
    return [build_context(UID(sop_class), syntaxes) for sop_class, syntaxes in by_class.items()]
