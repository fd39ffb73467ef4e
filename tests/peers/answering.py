"""A node on pynetdicom that answers each C-FIND with given data sets, and keeps what it was asked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from workbench.pacs.dimse_node import DimseNode

STUDY_ROOT, PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.1.1"
WORKLIST = "1.2.840.10008.5.1.4.31"


@dataclass
class Answering:
    """What it was asked, and where it is."""

    node: DimseNode
    asked: list[Dataset] = field(default_factory=list)
    models: list[str] = field(default_factory=list)


@contextmanager
def answering(
    answers: Sequence[Dataset], *, models: Sequence[str] = (STUDY_ROOT, PATIENT_ROOT, WORKLIST),
    final: int = 0x0000, **settings: Any,
) -> Iterator[Answering]:  # fmt: skip
    """Answer each question with the answers of its level, then with a final status."""
    asked: list[Dataset] = []
    called: list[str] = []

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        identifier = event.identifier
        asked.append(identifier)
        called.append(str(event.request.AffectedSOPClassUID))
        level = identifier.get("QueryRetrieveLevel")
        for each in answers:
            if each.get("QueryRetrieveLevel", level) == level:
                yield 0xFF00, each
        yield final, None

    ae = AE("ANSWERING")
    for model in models:
        ae.add_supported_context(model)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    given: dict[str, Any] = {"name": "PEER", "connection_seconds": 5.0, "answer_seconds": 5.0}
    node = DimseNode("ANSWERING", "127.0.0.1", server.server_address[1], **(given | settings))
    try:
        yield Answering(node, asked, called)
    finally:
        server.shutdown()
