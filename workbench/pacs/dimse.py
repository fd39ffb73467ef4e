"""The DIMSE services of a node as this bench uses them: verify, find, store, get and move (PS3.4 B and C)."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol, cast

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode

from catalog.deliveries import Meaning, store_meaning
from catalog.elements import Elements, elements_of
from catalog.errors import DeliveryError, HeaderError, NodeUnavailableError, RefusedError, TooManyAnswersError
from workbench.pacs.association import associate, service
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.file_meta import data_set_offset
from workbench.pacs.sop_classes import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE, VERIFICATION
from workbench.pacs.wire.association import Association
from workbench.pacs.wire.command import MEDIUM, RESPONSE, Command, Field
from workbench.pacs.wire.connection import LEAST_BYTES_PER_SECOND
from workbench.pacs.wire.failures import LostError, WireError
from workbench.pacs.wire.messages import Into, Message, Target

ANSWERS_AT_MOST = 100_000
"""Matches of one C-FIND before the question counts as too wide."""

_SUCCESS, _NOT_AUTHORIZED, _UNRECOGNIZED_OPERATION, _CANNOT_UNDERSTAND = 0x0000, 0x0124, 0x0211, 0xC000
_SOME_FAILED = 0xB000
_PENDING = frozenset({0xFF00, 0xFF01})
_OUT_OF_RESOURCES = 0xA7
"""First half of the status (PS3.4 table C.4-1)."""
_CANCELLED = 0xFE00
"""How Orthanc ends a C-FIND at its LimitFindResults."""

QUERY_RETRIEVE_STATUS: tuple[tuple[int, int, str], ...] = (
    (0x0122, 0x0122, "the node does not offer this service"),
    (0x0124, 0x0124, "the node does not allow this AE title to ask"),
    (0xA700, 0xA7FF, "the node is out of resources, or could not carry out the transfers"),
    (0xA801, 0xA801, "the node does not know the AE title it should send to"),
    (0xA900, 0xA9FF, "the node finds that the question does not match the service"),
    (0xC000, 0xCFFF, "the node cannot answer this question"),
    (0xFE00, 0xFE00, "the node cancelled"),
)
"""Failures of C-FIND, C-MOVE and C-GET (PS3.4 tables C.4-1, C.4-2 and C.4-3)."""

_CONTEXT_RESULT = {
    1: "the node refuses it",
    2: "the node gives no reason",
    3: "the node does not accept this SOP class",
    4: "the node does not accept this transfer syntax",
}
"""Result of a presentation context (PS3.8 table 9-18)."""


class Arrival(Target, Protocol):
    """Takes the data set of an instance that a node sends on request."""

    def finish(self) -> int:
        """Come to an end: the data set is whole. Return the status that says what became of it."""
        ...

    def discard(self) -> None:
        """Forget it: the data set will not come whole."""
        ...


type Expected = Callable[[str, str, str], Arrival | None]
"""Takes SOP class, SOP instance and transfer syntax of what begins to come; `None` where nobody asked."""
type Meanwhile = Callable[[Message], None]
"""Takes a request of the node that comes before its answer, and answers it."""


@dataclass(frozen=True, slots=True)
class SubOperations:
    """How many instances a C-GET or C-MOVE moved, from its final response."""

    completed: int
    failed: int


def echo(node: DimseNode) -> None:
    """Ask a node whether it is there (C-ECHO, PS3.4 annex A).

    Raises
    ------
    catalog.errors.DeliveryError
        If it is not, in plain words.
    """
    with associate(node, [service(VERIFICATION)], at_most=node.answer_seconds) as association:
        (answer,) = exchange(association, "C-ECHO", VERIFICATION, Field.C_ECHO)
        if answer.command.status != _SUCCESS:
            raise RefusedError(f"{node.name} answered C-ECHO with status {answer.command.status:04X}")


def find(node: DimseNode, identifier: Dataset) -> list[Dataset]:
    """Ask a node which patients, studies, series or instances match (C-FIND, Study Root, PS3.4 C.6.2).

    Parameters
    ----------
    identifier
        Query/Retrieve Level (0008,0052), keys to match, empty elements to be returned.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer or refuses.
    """
    with associate(node, [service(STUDY_ROOT_FIND)]) as association:
        return list(matches(association, identifier))


def find_elements(node: DimseNode, identifier: Dataset) -> list[Elements]:
    """Ask a node as `find` does; answers as the bytes of their elements, where little is read of many.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer or refuses, or an answer is cut.
    """
    with associate(node, [service(STUDY_ROOT_FIND)]) as association:
        answers = _matching(association, identifier, STUDY_ROOT_FIND)
        try:
            return [
                elements_of(each.data_set, _syntax(association, each.context_id), inflated=True)
                for each in answers
            ]
        except HeaderError as error:
            raise RefusedError(f"{node.name} answered C-FIND with a data set that {error}") from None
        except DeliveryError:
            raise
        except Exception:  # whatever a parser stumbles over in the bytes of a peer is the fault of the bytes
            raise _unreadable(node.name) from None


def matches(
    association: Association, identifier: Dataset, model: UID = STUDY_ROOT_FIND
) -> Generator[Dataset]:
    """Yield the matches of a C-FIND in an information model, on an association that is open.

    Raises
    ------
    catalog.errors.DeliveryError
        As `find`.
    """
    for answer in _matching(association, identifier, model):
        yield decoded(association, answer)


def _unreadable(name: str) -> RefusedError:
    return RefusedError(f"{name} answered with a data set that cannot be read")


def _matching(association: Association, identifier: Dataset, model: UID) -> Iterator[Message]:
    found = 0
    for answer in exchange(association, "C-FIND", model, Field.C_FIND, identifier):
        status = answer.command.status or _SUCCESS
        if status in _PENDING and answer.data_set:
            found += 1
            if found > ANSWERS_AT_MOST:
                raise TooManyAnswersError(f"More than {ANSWERS_AT_MOST} matches; ask a narrower question")
            yield answer
        elif status >> 8 == _OUT_OF_RESOURCES or status == _CANCELLED:  # which nobody asked for
            raise TooManyAnswersError(
                f"C-FIND: more than the node can answer (status {status:04X}); ask a narrower question"
            )
        elif status not in _PENDING and status != _SUCCESS:
            raise _refusal("C-FIND", status)


def store(
    association: Association,
    path: Path,
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
) -> Meaning:
    """Send the data set of a file, its bytes as they stand (C-STORE, PS3.4 B), and say what the answer means.

    Raises
    ------
    catalog.errors.NodeUnavailableError
        If no answer came; the instance may or may not have arrived.
    catalog.errors.RefusedError
        If the node accepts this SOP class not at all, or not in this transfer syntax; nothing was sent.
    """
    if not association.is_open:
        raise _no_answer(association, "C-STORE")
    context_id = context_of(association, sop_class_uid, transfer_syntax_uid)
    request = store_request(association, sop_class_uid, sop_instance_uid)
    return store_meaning(send(association, request, context_id, path))


def store_request(association: Association, sop_class_uid: str, sop_instance_uid: str) -> Command:
    """Return a C-STORE request."""
    return Command(
        command_field=Field.C_STORE,
        message_id=association.next_message_id(),
        affected_sop_class_uid=sop_class_uid,
        affected_sop_instance_uid=sop_instance_uid,
        priority=MEDIUM,
    )


def send(
    association: Association,
    request: Command,
    context_id: int,
    path: Path,
    *,
    meanwhile: Meanwhile | None = None,
) -> int:
    """Send a C-STORE request with the data set of a file, and return the status of the answer.

    Parameters
    ----------
    meanwhile
        Takes what the node asks before it answers, as to cancel a C-GET.

    Raises
    ------
    catalog.errors.NodeUnavailableError
        If no answer came; then the association is ended.
    """
    seconds = association.connection.wait_seconds
    try:
        association.allow(seconds + path.stat().st_size / LEAST_BYTES_PER_SECOND)
        association.send_file(context_id, request, path, data_set_offset(path))
    except OSError as error:
        association.abort()
        raise _no_answer(association, "C-STORE", error) from error
    (answer,) = _answers(association, "C-STORE", request, meanwhile)
    association.allow(None)
    return answer.command.status or _SUCCESS


def get(association: Association, identifier: Dataset, expected: Expected) -> SubOperations:
    """Have a node send instances on this association (C-GET, PS3.4 C.4.3).

    The association was opened with the SCP role for the storage SOP classes.

    Parameters
    ----------
    expected
        Opens what takes an instance; what it does not expect is not accepted.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer or refuses.
    """

    def begin(context_id: int, command: Command) -> Target | None:
        if command.command_field != Field.C_STORE:
            return None
        (syntax,) = association.agreed.accepted[context_id].transfer_syntax
        uids = command.affected_sop_class_uid or "", command.affected_sop_instance_uid or ""
        return expected(*uids, str(syntax)) or _Dropped()

    def stored(message: Message) -> None:
        if message.command.command_field != Field.C_STORE:
            _refuse(association, message)
            return
        arrived = cast("Arrival | None", message.target)
        status = _CANNOT_UNDERSTAND if arrived is None else arrived.finish()
        association.send(message.context_id, message.command.response(status))

    answers = exchange(
        association, "C-GET", STUDY_ROOT_GET, Field.C_GET, identifier, meanwhile=stored, into=begin
    )
    try:
        return _sub_operations("C-GET", answers)
    finally:
        if (left := cast("Arrival | None", association.unfinished())) is not None:
            left.discard()


def move(association: Association, identifier: Dataset, destination: str) -> SubOperations:
    """Have a node send instances to an AE title that it knows the address of (C-MOVE, PS3.4 C.4.2).

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer or refuses.
    """
    answers = exchange(
        association, "C-MOVE", STUDY_ROOT_MOVE, Field.C_MOVE, identifier, move_destination=destination
    )
    return _sub_operations("C-MOVE", answers)


def _sub_operations(service: str, answers: Iterator[Message]) -> SubOperations:
    (last,) = deque(answers, maxlen=1)
    status = last.command.status or _SUCCESS
    if status not in (_SUCCESS, _SOME_FAILED):
        raise _refusal(service, status)
    return SubOperations(
        completed=last.command.number_of_completed_suboperations or 0,
        failed=last.command.number_of_failed_suboperations or 0,
    )


class _Dropped:
    """What nobody asked for."""

    def write(self, fragment: memoryview, /) -> None:
        """Forget it."""

    def finish(self) -> int:
        return _NOT_AUTHORIZED

    def discard(self) -> None:
        """There is nothing."""


# --- requests and their answers --------------------------------------------------------------------------


def exchange(
    association: Association,
    service: str,
    sop_class_uid: UID,
    field: Field,
    data_set: Dataset | None = None,
    *,
    meanwhile: Meanwhile | None = None,
    into: Into | None = None,
    **more: int | str,
) -> Iterator[Message]:
    """Send a request, and yield its responses up to the final one.

    Parameters
    ----------
    meanwhile
        Takes what the node asks before it answers; it is told that this is not done where there is none.
    into
        Where data sets go; they are held in memory, within bounds, where there is none.
    more
        Further elements of the command set.

    Raises
    ------
    catalog.errors.NodeUnavailableError
        If an answer does not come.
    catalog.errors.RefusedError
        If the node does not offer this service.
    """
    context_id = context_for(association, service, sop_class_uid)
    given = {"priority": MEDIUM, "affected_sop_class_uid": str(sop_class_uid)}
    if field in (Field.C_ECHO, Field.N_ACTION, Field.N_EVENT_REPORT):
        del given["priority"]
    if field is Field.N_ACTION:
        given["requested_sop_class_uid"] = given.pop("affected_sop_class_uid")
    request = Command(
        command_field=field,
        message_id=association.next_message_id(),
        **given | more,  # type: ignore[arg-type]
    )
    content = b"" if data_set is None else _encoded(association, context_id, data_set)
    try:
        association.send(context_id, request, content)
    except WireError as error:
        raise _no_answer(association, service, error) from error
    yield from _answers(association, service, request, meanwhile, into)


def _answers(
    association: Association,
    service: str,
    request: Command,
    meanwhile: Meanwhile | None,
    into: Into | None = None,
) -> Iterator[Message]:
    while True:
        message = _next(association, service, meanwhile, into)
        command = message.command
        answered = command.command_field, command.message_id_being_responded_to
        if answered != (request.command_field | RESPONSE, request.message_id) or command.status is None:
            association.abort()
            raise NodeUnavailableError(
                f"{association.agreed.called_ae_title} answered {service} with something else"
            )
        yield message
        if command.status not in _PENDING:
            return


def _next(association: Association, service: str, meanwhile: Meanwhile | None, into: Into | None) -> Message:
    """Return the next response; requests before it are answered."""
    try:
        while (message := association.receive(into)) is not None:
            if message.command.is_response:
                return message
            if meanwhile is None:
                _refuse(association, message)
            else:
                meanwhile(message)
    except WireError as error:
        raise _no_answer(association, service, error) from error
    raise _no_answer(association, service)


def _refuse(association: Association, message: Message) -> None:
    if message.command.command_field != Field.C_CANCEL:  # which has no answer
        association.send(message.context_id, message.command.response(_UNRECOGNIZED_OPERATION))


def context_for(association: Association, service: str, sop_class_uid: UID) -> int:
    """Return the ID of the presentation context of a service on an association that is open.

    Raises
    ------
    catalog.errors.NodeUnavailableError
        If the association is not open any more.
    catalog.errors.RefusedError
        If the node does not offer the service.
    """
    if not association.is_open:
        raise _no_answer(association, service)
    for context_id, context in association.agreed.accepted.items():
        if context.abstract_syntax == sop_class_uid:
            return context_id
    raise RefusedError(f"{service}: the node does not offer this service")


def context_of(association: Association, sop_class_uid: str, transfer_syntax_uid: str) -> int:
    """Return the ID of the presentation context for a SOP class in a transfer syntax.

    Raises
    ------
    catalog.errors.RefusedError
        If none was accepted.
    """
    for context_id, context in association.agreed.accepted.items():
        if (context.abstract_syntax, context.transfer_syntax[0]) == (sop_class_uid, transfer_syntax_uid):
            return context_id
    reasons = [
        _CONTEXT_RESULT.get(context.result or 0, "the node gives no reason")
        for context in association.agreed.rejected
        if context.abstract_syntax == sop_class_uid
    ]
    raise RefusedError(
        f"{UID(sop_class_uid).name} in {UID(transfer_syntax_uid).name}: "
        f"{reasons[0] if reasons else 'the node did not accept it'}"
    )


def decoded(association: Association, message: Message) -> Dataset:
    """Return the data set of a message that was held; its elements are decoded when they are asked for.

    Raises
    ------
    catalog.errors.RefusedError
        If it is none.
    """
    syntax = _syntax(association, message.context_id)
    try:
        return decode(BytesIO(message.data_set), syntax.is_implicit_VR, syntax.is_little_endian)
    except Exception:  # as in `find_elements`
        raise _unreadable(association.agreed.called_ae_title) from None


def _encoded(association: Association, context_id: int, data_set: Dataset) -> bytes:
    syntax = _syntax(association, context_id)
    encoded = encode(data_set, syntax.is_implicit_VR, syntax.is_little_endian)
    if encoded is None:
        raise ValueError("a data set that cannot be encoded")
    return encoded


def _syntax(association: Association, context_id: int) -> UID:
    """Transfer syntax of a presentation context."""
    (syntax,) = association.agreed.accepted[context_id].transfer_syntax
    return syntax


def _no_answer(association: Association, service: str, error: OSError | None = None) -> NodeUnavailableError:
    """Say what came instead of an answer; the words of a `WireError` tell nothing of a patient."""
    seconds = association.connection.wait_seconds
    is_told = isinstance(error, WireError) and not isinstance(error, LostError)
    why = str(error) if is_told else f"the connection ended, or nothing came within {seconds:g} seconds"
    return NodeUnavailableError(f"{association.agreed.called_ae_title} did not answer {service}: {why}")


def _refusal(service: str, status: int) -> RefusedError:
    for first, last, words in QUERY_RETRIEVE_STATUS:
        if first <= status <= last:
            return RefusedError(f"{service}: {words} (status {status:04X})")
    return RefusedError(f"{service}: the node answered with status {status:04X}")
