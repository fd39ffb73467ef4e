"""Ask a node for what was sent to it, and compare: only the node's own answer shows what it holds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role, evt
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import build_context

from catalog.deliveries import Event, Meaning
from catalog.errors import DeliveryError, RefusedError
from workbench.pacs import dimse
from workbench.pacs.association import CONTEXTS_AT_MOST, associate, contexts_for
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.fingerprint import differences, fingerprint
from workbench.pacs.instance import Instance
from workbench.pacs.receive import Listener, Receive, answer_store
from workbench.pacs.sop_classes import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from workbench.pacs.transport import allow

KEYWORDS_AT_MOST = 8
"""Differing attributes that a receipt names."""


@contextmanager
def reading_back(
    node: DimseNode, instances: Sequence[Instance], listener: Listener
) -> Iterator[Callable[[Instance], Meaning]]:
    """Give what reads some instances back as `read_back` does, over one association where that goes."""
    expected: dict[str, Receive] = {}
    pairs = list(dict.fromkeys(pair for each in instances for pair in _pairs(each)))
    classes = list(dict.fromkeys(each.sop_class_uid for each in instances))
    contexts = [build_context(STUDY_ROOT_FIND), build_context(STUDY_ROOT_GET), *contexts_for(pairs)]
    roles = [build_role(UID(each), scp_role=True) for each in classes]
    handlers: list[EventHandlerType] = [(evt.EVT_C_STORE, lambda event: answer_store(event, expected))]
    with ExitStack() as held:
        shared, trouble = None, None
        if len(instances) > 1 and len(contexts) <= CONTEXTS_AT_MOST:
            try:
                shared = held.enter_context(associate(node, contexts, roles=roles, handlers=handlers))
                dimse.require(shared, "C-FIND", STUDY_ROOT_FIND)
            except DeliveryError as error:  # there is no node, or it answers no question: that holds for each
                trouble = error

        def read(instance: Instance) -> Meaning:
            if trouble is not None:
                raise trouble
            if shared is None or not shared.is_established:
                return read_back(node, instance, listener)
            received: list[bytes] = []
            expected[instance.sop_instance_uid] = _keep(received)
            allow(shared, _at_most(node, instance))
            try:
                if not list(dimse.matches(shared, _identifier(instance))):
                    return _missing(node)
                counts = dimse.get(shared, _identifier(instance))
                return compare(instance, _data_set(received, "C-GET", counts), "C-GET")
            except DeliveryError:
                held.close()  # some nodes hold one association at a time
                return read_back(node, instance, listener)
            finally:
                expected.clear()
                allow(shared, None)

        yield read


def read_back(node: DimseNode, instance: Instance, listener: Listener) -> Meaning:
    """Find an instance at a node, retrieve it by C-GET, or else by C-MOVE, and compare it with what was sent.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node cannot be asked, or gives the instance back by neither service.
    """
    with associate(node, [build_context(STUDY_ROOT_FIND)], at_most=2 * node.answer_seconds) as association:
        found = list(dimse.matches(association, _identifier(instance)))
    if not found:
        return _missing(node)
    refusals = []
    for service, retrieve in (("C-GET", get_back), ("C-MOVE", move_back)):
        try:
            returned = retrieve(node, instance, listener)
        except RefusedError as error:
            refusals.append(str(error))
            continue
        return compare(instance, returned, service)
    raise RefusedError(f"{node.name} does not give the instance back. {'. '.join(refusals)}")


def get_back(node: DimseNode, instance: Instance, _listener: Listener) -> Dataset:
    """Retrieve an instance by C-GET, on an association this bench opens (PS3.4 C.4.3).

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer, or does not give it back.
    """
    received: list[bytes] = []
    handlers: list[EventHandlerType] = [
        (evt.EVT_C_STORE, lambda event: answer_store(event, {instance.sop_instance_uid: _keep(received)}))
    ]
    contexts = [build_context(STUDY_ROOT_GET), *contexts_for(_pairs(instance))]
    role = build_role(UID(instance.sop_class_uid), scp_role=True)
    at_most = _at_most(node, instance)
    with associate(node, contexts, roles=[role], handlers=handlers, at_most=at_most) as association:
        counts = dimse.get(association, _identifier(instance))
    return _data_set(received, "C-GET", counts)


def move_back(node: DimseNode, instance: Instance, listener: Listener) -> Dataset:
    """Retrieve an instance by C-MOVE, which the node sends to where this bench listens (PS3.4 C.4.2).

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer, or does not give it back.
    """
    received: list[bytes] = []
    uids = [instance.sop_instance_uid]
    with (
        listener.expecting(uids, _pairs(instance), _keep(received)),
        associate(node, [build_context(STUDY_ROOT_MOVE)], at_most=_at_most(node, instance)) as association,
    ):
        counts = dimse.move(association, _identifier(instance), node.calling_ae_title)
    return _data_set(received, "C-MOVE", counts)


def compare(instance: Instance, returned: Dataset, service: str) -> Meaning:
    """Compare what a node gave back with the file that was sent, attribute by attribute."""
    different = differences(fingerprint(dcmread(instance.path)), fingerprint(returned))
    if not different:
        return Meaning(Event.SAME, f"read back by {service}, identical")
    named = ", ".join(different[:KEYWORDS_AT_MOST])
    more = f" and {len(different) - KEYWORDS_AT_MOST} more" if len(different) > KEYWORDS_AT_MOST else ""
    return Meaning(
        Event.DIFFERENT,
        f"the node holds another object under this UID, read back by {service}; it differs in {named}{more}",
    )


def _missing(node: DimseNode) -> Meaning:
    return Meaning(Event.MISSING, f"{node.name} does not find the instance (C-FIND)")


def _at_most(node: DimseNode, instance: Instance) -> float:
    """Seconds in which a node that is at work has given an instance back."""
    return 2 * node.answer_seconds + instance.path.stat().st_size / dimse.LEAST_BYTES_PER_SECOND


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


def _keep(received: list[bytes]) -> Callable[[str, bytes], None]:
    return lambda _uid, content: received.append(content)


def _data_set(received: list[bytes], service: str, counts: dimse.SubOperations) -> Dataset:
    if not received:
        raise RefusedError(f"{service}: the node sent nothing ({counts.failed} failed)")
    return dcmread(BytesIO(received[0]))
