"""Storage commitment reported on the association that asked for it."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from workbench.pacs.commitment import Committed, Reports, request_commitment
from workbench.pacs.dimse_node import DimseNode


@pytest.fixture
def answers() -> SimpleQueue[int | None]:
    """Status of our answer to each report; `None` where none came."""
    return SimpleQueue()


@pytest.fixture
def node(answers: SimpleQueue[int | None]) -> Iterator[DimseNode]:
    """A node that reports on the association it was asked on."""
    reporting: list[threading.Thread] = []

    def report(event: Event) -> tuple[int, None]:
        information: Dataset = event.action_information
        thread = threading.Thread(target=tell, args=(event.assoc, information))
        reporting.append(thread)
        thread.start()
        return 0x0000, None

    def tell(association: object, information: Dataset) -> None:
        status, _ = association.send_n_event_report(  # type: ignore[attr-defined]
            information, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        answers.put(status.get("Status"))

    entity = AE("NODE")
    entity.add_supported_context(StorageCommitmentPushModel)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_ACTION, report)])
    yield DimseNode("NODE", "127.0.0.1", server.socket.getsockname()[1])
    for thread in reporting:
        thread.join(10)
    server.shutdown()


def test_a_report_is_answered_before_the_association_is_released(
    node: DimseNode, answers: SimpleQueue[int | None]
) -> None:
    uid = "2.25.1"
    told = request_commitment(
        node, [("1.2.840.10008.5.1.4.1.1.2", uid)], transaction_uid="2.25.9", reports=Reports(), seconds=10
    )
    assert told == Committed(frozenset({uid}), {})
    assert answers.get(timeout=10) == 0x0000
