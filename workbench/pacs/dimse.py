"""The DIMSE services of a node as this bench uses them: verify, find, store, get and move (PS3.4 B and C)."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import split_dataset
from pynetdicom.presentation import build_context

from catalog.deliveries import Meaning, store_meaning
from catalog.errors import NodeUnavailableError, RefusedError
from workbench.pacs.association import associate
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.p_data import send_store
from workbench.pacs.sop_classes import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE, VERIFICATION
from workbench.pacs.transport import allow

LEAST_BYTES_PER_SECOND = 64 * 1024
"""How fast a line must take an object, on average; what is slower is taken for a line that stands still."""

ANSWERS_AT_MOST = 100_000
"""Matches of one C-FIND before the question counts as too wide."""

_PENDING = frozenset({0xFF00, 0xFF01})

_QUERY_RETRIEVE_STATUS: tuple[tuple[int, int, str], ...] = (
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
    with associate(node, [build_context(VERIFICATION)], at_most=node.answer_seconds) as association:
        status = _status(association.send_c_echo(), "C-ECHO", association)
        if status != 0:
            raise RefusedError(f"{node.name} answered C-ECHO with status {status:04X}")


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
    with associate(node, [build_context(STUDY_ROOT_FIND)]) as association:
        return list(matches(association, identifier))


def matches(association: Association, identifier: Dataset) -> Iterator[Dataset]:
    """Yield the matches of a C-FIND on an association that is open.

    Raises
    ------
    catalog.errors.DeliveryError
        As `find`.
    """
    require(association, "C-FIND", STUDY_ROOT_FIND)
    found = 0
    for answer, match in association.send_c_find(identifier, STUDY_ROOT_FIND):
        status = _status(answer, "C-FIND", association)
        if status in _PENDING and match is not None:
            found += 1
            if found > ANSWERS_AT_MOST:
                raise RefusedError(f"More than {ANSWERS_AT_MOST} matches; ask a narrower question")
            yield match
        elif status not in _PENDING and status != 0:
            raise _refusal("C-FIND", status)


@contextmanager
def storing(association: Association) -> Iterator[None]:
    """Keep pynetdicom's own thread from taking the answers to what `store` sends while the block runs.

    `store` does so itself; around several it saves a wait for that thread each time.
    """
    if not association._reactor_checkpoint.is_set():  # a block of the same thread is around this one
        yield
        return
    association._reactor_checkpoint.clear()
    try:
        while not association._is_paused and association.is_alive():
            time.sleep(0.0001)
        yield
    finally:
        association._reactor_checkpoint.set()


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
    require(association, "C-STORE", None)
    context_id = _context_id(association, sop_class_uid, transfer_syntax_uid)
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 0  # medium
    request.AffectedSOPClassUID = UID(sop_class_uid)
    request.AffectedSOPInstanceUID = UID(sop_instance_uid)
    offset = split_dataset(path)[1]
    request._dataset_path = (path, offset)  # says to pynetdicom that there is a data set
    allow(association, (association.dimse_timeout or 0) + path.stat().st_size / LEAST_BYTES_PER_SECOND)
    try:
        with storing(association):
            send_store(association, request, context_id, path, offset)
            _, answer = association.dimse.get_msg(block=True)
    except OSError as error:
        association.abort()
        raise _no_answer("C-STORE", association) from error
    finally:
        allow(association, None)
    status = answer.Status if isinstance(answer, C_STORE) else None
    if status is None:
        association.abort()
        raise _no_answer("C-STORE", association)
    return store_meaning(status)


def get(association: Association, identifier: Dataset) -> SubOperations:
    """Have a node send instances on this association (C-GET, PS3.4 C.4.3).

    The association was opened with the SCP role for the storage SOP classes and a handler for EVT_C_STORE.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer or refuses.
    """
    require(association, "C-GET", STUDY_ROOT_GET)
    return _sub_operations(association, "C-GET", association.send_c_get(identifier, STUDY_ROOT_GET))


def move(association: Association, identifier: Dataset, destination: str) -> SubOperations:
    """Have a node send instances to an AE title that it knows the address of (C-MOVE, PS3.4 C.4.2).

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer or refuses.
    """
    require(association, "C-MOVE", STUDY_ROOT_MOVE)
    answers = association.send_c_move(identifier, destination, STUDY_ROOT_MOVE)
    return _sub_operations(association, "C-MOVE", answers)


def _sub_operations(
    association: Association, service: str, answers: Iterable[tuple[Dataset, Dataset | None]]
) -> SubOperations:
    for answer, _ in answers:
        status = _status(answer, service, association)
        if status in _PENDING:
            continue
        if status not in (0x0000, 0xB000):
            raise _refusal(service, status)
        return SubOperations(
            completed=int(answer.get("NumberOfCompletedSuboperations") or 0),
            failed=int(answer.get("NumberOfFailedSuboperations") or 0),
        )
    raise _no_answer(service, association)


def _context_id(association: Association, sop_class_uid: str, transfer_syntax_uid: str) -> int:
    for context in association.accepted_contexts:
        if (context.abstract_syntax, context.transfer_syntax[0]) == (sop_class_uid, transfer_syntax_uid):
            return context.context_id or 0
    reasons = [
        _CONTEXT_RESULT.get(context.result or 0, "the node gives no reason")
        for context in association.rejected_contexts
        if context.abstract_syntax == sop_class_uid
    ]
    raise RefusedError(
        f"{UID(sop_class_uid).name} in {UID(transfer_syntax_uid).name}: "
        f"{reasons[0] if reasons else 'the node did not accept it'}"
    )


def require(association: Association, service: str, sop_class_uid: UID | None) -> None:
    """Raise a `catalog.errors.DeliveryError` unless an association is open, and takes a SOP class."""
    if not association.is_established:
        raise _no_answer(service, association)
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    if sop_class_uid is not None and sop_class_uid not in accepted:
        raise RefusedError(f"{service}: the node does not offer this service")


def _status(answer: Dataset, service: str, association: Association) -> int:
    status = answer.get("Status")
    if status is None:
        raise _no_answer(service, association)
    return int(status)


def _no_answer(service: str, association: Association) -> NodeUnavailableError:
    seconds = association.dimse_timeout
    return NodeUnavailableError(
        f"{association.acceptor.ae_title.strip()} did not answer {service}: the connection ended, "
        f"or nothing came within {seconds:g} seconds"
    )


def _refusal(service: str, status: int) -> RefusedError:
    for first, last, words in _QUERY_RETRIEVE_STATUS:
        if first <= status <= last:
            return RefusedError(f"{service}: {words} (status {status:04X})")
    return RefusedError(f"{service}: the node answered with status {status:04X}")
