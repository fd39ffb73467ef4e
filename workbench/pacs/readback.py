"""Ask a node for what was sent to it, and compare: only the node's own answer shows what it holds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import build_role

from catalog.deliveries import Event, Meaning
from catalog.errors import DeliveryError, NodeUnavailableError, RefusedError, words_of
from workbench.pacs import dimse
from workbench.pacs.association import CONTEXTS_AT_MOST, associate, contexts_for, service
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.file_meta import data_set_offset, file_meta
from workbench.pacs.fingerprint import differences, fingerprint
from workbench.pacs.instance import Instance
from workbench.pacs.moving import move
from workbench.pacs.receive import Listener
from workbench.pacs.sop_classes import STUDY_ROOT_FIND, STUDY_ROOT_GET
from workbench.pacs.wire.association import Association
from workbench.pacs.wire.connection import LEAST_BYTES_PER_SECOND

KEYWORDS_AT_MOST = 8
"""Differing attributes that a receipt names."""
HELD_BYTES = 1 << 20
"""Up to which an instance that comes back by C-GET is held in memory."""
PIECE = 256 << 10
"""Bytes that are compared at once."""


@contextmanager
def reading_back(
    node: DimseNode, instances: Sequence[Instance], listener: Listener
) -> Iterator[Callable[[Instance], Meaning]]:
    """Give what reads some instances back as `read_back` does, over one association where that goes."""
    pairs = list(dict.fromkeys(pair for each in instances for pair in _pairs(each)))
    classes = list(dict.fromkeys(each.sop_class_uid for each in instances))
    contexts = [service(STUDY_ROOT_FIND), service(STUDY_ROOT_GET), *contexts_for(pairs)]
    roles = [build_role(UID(each), scp_role=True) for each in classes]
    with ExitStack() as held:
        shared, trouble = None, None
        if len(instances) > 1 and len(contexts) <= CONTEXTS_AT_MOST:
            try:
                shared = held.enter_context(associate(node, contexts, roles=roles))
                dimse.context_for(shared, "C-FIND", STUDY_ROOT_FIND)
            except DeliveryError as error:  # there is no node, or it answers no question: that holds for each
                trouble = error

        def read(instance: Instance) -> Meaning:
            if trouble is not None:
                raise trouble
            if shared is None or not shared.is_open:
                return read_back(node, instance, listener)
            shared.allow(_at_most(node, instance))
            try:
                if not list(dimse.matches(shared, _identifier(instance))):
                    return _missing(node)
                with _got(shared, instance) as returned:
                    return _compared(instance, returned, "C-GET")
            except DeliveryError:
                held.close()  # some nodes hold one association at a time
                return read_back(node, instance, listener)
            finally:
                shared.allow(None)

        yield read


def read_back(node: DimseNode, instance: Instance, listener: Listener) -> Meaning:
    """Find an instance at a node, retrieve it by C-GET, or else by C-MOVE, and compare it with what was sent.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node cannot be asked, or gives the instance back by neither service.
    """
    with associate(node, [service(STUDY_ROOT_FIND)], at_most=2 * node.answer_seconds) as association:
        found = list(dimse.matches(association, _identifier(instance)))
    if not found:
        return _missing(node)
    failures: list[DeliveryError] = []
    try:
        with _getting(node, instance) as association, _got(association, instance) as returned:
            return _compared(instance, returned, "C-GET")
    except DeliveryError as error:  # some nodes end the association where they do not allow C-GET
        failures.append(error)
    try:
        return compare(instance, move_back(node, instance, listener), "C-MOVE")
    except DeliveryError as error:
        failures.append(error)
    for failure in failures:
        if isinstance(failure, NodeUnavailableError):
            raise failure
    raise RefusedError(f"{node.name} does not give the instance back. {'. '.join(map(str, failures))}")


def get_back(node: DimseNode, instance: Instance, _listener: Listener) -> Dataset:
    """Retrieve an instance by C-GET, on an association this bench opens (PS3.4 C.4.3).

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer, or does not give it back.
    """
    with _getting(node, instance) as association, _got(association, instance) as returned:
        returned.file.seek(0)
        return _read(BytesIO(returned.file.read()), "C-GET")


def _getting(node: DimseNode, instance: Instance) -> AbstractContextManager[Association]:
    contexts = [service(STUDY_ROOT_GET), *contexts_for(_pairs(instance))]
    role = build_role(UID(instance.sop_class_uid), scp_role=True)
    return associate(node, contexts, roles=[role], at_most=_at_most(node, instance))


def move_back(node: DimseNode, instance: Instance, listener: Listener) -> Dataset:
    """Retrieve an instance by C-MOVE, which the node sends to where this bench listens (PS3.4 C.4.2).

    Where `workbench receive` has the port it takes the instance in, as any other that comes back.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer, or does not give it back.
    """
    received: list[bytes] = []
    counts = move(
        node,
        _identifier(instance),
        [instance.sop_instance_uid],
        _pairs(instance),
        listener,
        lambda _uid, content: received.append(content),
        lambda reception: received.append(Path(reception.path).read_bytes()),
        at_most=_at_most(node, instance),
    )
    if not received:
        raise _nothing("C-MOVE", counts)
    return _read(BytesIO(received[0]), "C-MOVE")


def compare(instance: Instance, returned: Dataset, service: str) -> Meaning:
    """Compare what a node gave back with the file that was sent, attribute by attribute.

    Raises
    ------
    catalog.errors.RefusedError
        If what it gave back cannot be read.
    """
    sent = fingerprint(dcmread(instance.path))
    try:
        different = differences(sent, fingerprint(returned))
    except Exception:  # whatever pydicom stumbles over in the bytes of a peer is the fault of the bytes
        raise _unreadable(service) from None
    if not different:
        return _identical(service)
    named = ", ".join(different[:KEYWORDS_AT_MOST])
    more = f" and {len(different) - KEYWORDS_AT_MOST} more" if len(different) > KEYWORDS_AT_MOST else ""
    return Meaning(
        Event.DIFFERENT,
        f"the node holds another object under this UID, read back by {service}; it differs in {named}{more}",
    )


def _read(file: IO[bytes], service: str) -> Dataset:
    try:
        return dcmread(file)
    except Exception:  # as above
        raise _unreadable(service) from None


def _unreadable(service: str) -> RefusedError:
    return RefusedError(f"{service}: what the node gave back cannot be read as DICOM")


def _identical(service: str) -> Meaning:
    return Meaning(Event.SAME, f"read back by {service}, identical")


def _missing(node: DimseNode) -> Meaning:
    return Meaning(Event.MISSING, f"{node.name} does not find the instance (C-FIND)")


def _at_most(node: DimseNode, instance: Instance) -> float:
    """Seconds in which a node that is at work has given an instance back."""
    return 2 * node.answer_seconds + instance.path.stat().st_size / LEAST_BYTES_PER_SECOND


def _identifier(instance: Instance) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID = instance.study_instance_uid
    identifier.SeriesInstanceUID = instance.series_instance_uid
    identifier.SOPInstanceUID = instance.sop_instance_uid
    return identifier


def _pairs(instance: Instance) -> list[tuple[str, str]]:
    syntaxes = (instance.transfer_syntax_uid, ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    return [(instance.sop_class_uid, str(each)) for each in dict.fromkeys(syntaxes)]


class _Returned:
    """What a node gives back: a small one in memory, a large one in a file without a name.

    Parameters
    ----------
    folder
        Where that file is: beside the one that was sent.
    meta
        Its file meta information.
    """

    def __init__(self, folder: Path, meta: bytes, transfer_syntax_uid: str) -> None:
        self.transfer_syntax_uid, self.start = transfer_syntax_uid, len(meta)
        self.is_whole = False
        self.trouble: OSError | None = None
        self.file = SpooledTemporaryFile(HELD_BYTES, dir=str(folder))  # noqa: SIM115 - closed by `_got`
        self.write(memoryview(meta))

    def write(self, fragment: memoryview, /) -> None:
        """Write on; what keeps it from being kept is told when all has come."""
        if self.trouble is None:
            try:
                self.file.write(fragment)
            except OSError as error:
                self.trouble = error

    def finish(self) -> int:
        """Say that it is whole."""
        self.is_whole = True
        return 0x0000

    def discard(self) -> None:
        """It is dropped with the rest."""


@contextmanager
def _got(association: Association, instance: Instance) -> Iterator[_Returned]:
    """Retrieve an instance by C-GET on an association that is open for it."""
    returned: list[_Returned] = []

    def begin(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> _Returned | None:
        if sop_instance_uid != instance.sop_instance_uid or returned:
            return None
        meta = file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        returned.append(_Returned(instance.path.parent, meta, transfer_syntax_uid))
        return returned[-1]

    try:
        counts = dimse.get(association, _identifier(instance), begin)
        if not returned or not returned[0].is_whole:
            raise _nothing("C-GET", counts)
        if (trouble := returned[0].trouble) is not None:
            raise NodeUnavailableError(f"what the node gives back cannot be kept: {words_of(trouble)}")
        yield returned[0]
    finally:
        for each in returned:
            each.file.close()


def _compared(instance: Instance, returned: _Returned, service: str) -> Meaning:
    """Compare byte by byte, and where that differs attribute by attribute."""
    if returned.transfer_syntax_uid == instance.transfer_syntax_uid and _are_same(instance, returned):
        return _identical(service)
    returned.file.seek(0)
    return compare(instance, _read(returned.file, service), service)


def _are_same(instance: Instance, returned: _Returned) -> bool:
    """Whether both data sets have the same bytes; a piece of each is held at a time."""
    with instance.path.open("rb") as sent:
        sent.seek(data_set_offset(instance.path))
        returned.file.seek(returned.start)
        while piece := sent.read(PIECE):
            if piece != returned.file.read(len(piece)):
                return False
    return not returned.file.read(1)


def _nothing(service: str, counts: dimse.SubOperations) -> RefusedError:
    return RefusedError(f"{service}: the node sent nothing ({counts.failed} failed)")
