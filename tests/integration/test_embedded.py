"""The embedded PACS: what it answers, whom it survives, and when it ends."""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, JPEG2000Lossless
from pynetdicom.presentation import build_context

from catalog import outbox
from catalog.database import Catalog
from catalog.deliveries import Event
from catalog.errors import DeliveryError, RefusedError
from pipelines import phantoms
from tests.peers.calling import calling
from workbench.pacs import dimse, embedded
from workbench.pacs.association import associate, contexts_for
from workbench.pacs.commitment import Committed, NotOffered, Reports, request_commitment
from workbench.pacs.deliver import deliver
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.instance import Instance
from workbench.pacs.node import ListenAddress
from workbench.pacs.readback import compare, get_back
from workbench.pacs.receive import Listener
from workbench.pacs.sop_classes import PATIENT_ROOT_FIND

type Objects = dict[str, Any]
type Start = Callable[..., Any]

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


def store(node: DimseNode, path: Path) -> Any:
    meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
    pair = (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
    with associate(node, contexts_for([pair])) as association:
        return dimse.store(
            association, path, sop_class_uid=pair[0], transfer_syntax_uid=pair[1],
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
        )  # fmt: skip


def other_bytes(path: Path) -> Path:
    ds = pydicom.dcmread(path)
    ds.ContentTime = "010203"
    ds.save_as(path.with_name("other.dcm"))
    return path.with_name("other.dcm")


@pytest.fixture(scope="session")
def strict(start_embedded: Start) -> Any:
    return start_embedded("--refuse-duplicates", "--no-commitment")


def test_every_transfer_syntax_is_kept_byte_by_byte(pacs: Any, tmp_path: Path) -> None:
    series = phantoms.write_series(
        tmp_path, planes=1, transfer_syntax=JPEG2000Lossless, study="every transfer syntax"
    )
    assert store(pacs.node, series.paths[0]).event is Event.SUCCESS
    sent = pydicom.dcmread(series.paths[0])
    uids = (sent.StudyInstanceUID, sent.SeriesInstanceUID, sent.SOPInstanceUID)
    instance = Instance(series.paths[0], CTImageStorage, uids[2], JPEG2000Lossless, *uids[:2])
    returned = get_back(pacs.node, instance, Listener(pacs.node, pacs.listen))
    assert returned.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert compare(instance, returned, "C-GET").event is Event.SAME


def test_a_private_sop_class_is_stored(pacs: Any, objects: Objects) -> None:
    ds = pydicom.dcmread(objects["SR"].path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.826.0.1.3680043.10.9999.1"
    ds.save_as(objects["SR"].path)
    assert store(pacs.node, objects["SR"].path).event is Event.SUCCESS


def test_the_same_uid_with_other_bytes_is_refused_or_quietly_not_kept(
    pacs: Any, strict: Any, objects: Objects
) -> None:
    path = objects["SR"].path
    for peer, answer in ((pacs, "status 0000"), (strict, "status 0111")):
        assert store(peer.node, path).event is Event.SUCCESS
        assert store(peer.node, path).event is Event.SUCCESS
        assert answer in store(peer.node, other_bytes(path)).words


def test_a_node_without_commitment_is_said_to_be_one(strict: Any, catalog: Catalog, objects: Objects) -> None:
    each = objects["SEG"]
    outbox.queue(
        catalog, each.path, strict.node.name, sop_instance_uid=each.sop_instance_uid,
        sop_class_uid=each.sop_class_uid, digest=each.digest, now=NOW,
    )  # fmt: skip
    (receipt,) = deliver(
        catalog, strict.node, listen=ListenAddress(), now=lambda: NOW, wait=timedelta(seconds=5)
    )
    assert receipt.state == "confirmed"
    assert "committed" not in receipt.times
    assert "without storage commitment" in receipt.stages[-1].text


def test_after_an_interruption_the_next_send_goes_on_at_once(
    pacs: Any, catalog: Catalog, objects: Objects
) -> None:
    each = objects["SEG"]
    outbox.queue(
        catalog, each.path, pacs.node.name, sop_instance_uid=each.sop_instance_uid,
        sop_class_uid=each.sop_class_uid, digest=each.digest, now=NOW,
    )  # fmt: skip
    asked = iter(range(5))

    def interrupted() -> datetime:
        if next(asked) == 4:
            raise KeyboardInterrupt
        return NOW

    wait = timedelta(seconds=5)
    with pytest.raises(KeyboardInterrupt):
        deliver(catalog, pacs.node, listen=pacs.listen, now=interrupted, wait=wait)
    (receipt,) = deliver(catalog, pacs.node, listen=pacs.listen, now=lambda: NOW, wait=wait)
    assert receipt.state == "confirmed"
    assert "the same bytes go out again" in str(receipt)


def test_commitment_names_what_is_there_and_what_is_not(pacs: Any, objects: Objects) -> None:
    sr = objects["SR"]
    store(pacs.node, sr.path)
    references = [
        (sr.sop_class_uid, sr.sop_instance_uid),
        (sr.sop_class_uid, "1.2.3"),
        (CTImageStorage, "1.2.3"),
    ]
    unknown = DimseNode("PACS", pacs.node.host, pacs.node.port, calling_ae_title="STRANGER")
    answer = request_commitment(
        unknown, references, transaction_uid="2.25.77", reports=Reports(), seconds=10
    )  # to a caller without an address the report comes on the same association
    assert answer == Committed(frozenset({sr.sop_instance_uid}), {"1.2.3": 0x0112})


def test_commitment_of_another_sop_class_is_a_conflict(pacs: Any, objects: Objects) -> None:
    sr = objects["SR"]
    store(pacs.node, sr.path)
    unknown = DimseNode("PACS", pacs.node.host, pacs.node.port, calling_ae_title="STRANGER")
    answer = request_commitment(
        unknown,
        [(CTImageStorage, sr.sop_instance_uid)],
        transaction_uid="2.25.78",
        reports=Reports(),
        seconds=10,
    )
    assert answer == Committed(frozenset(), {sr.sop_instance_uid: 0x0119})


def test_an_empty_request_for_commitment_is_refused(pacs: Any) -> None:
    answer = request_commitment(pacs.node, [], transaction_uid="2.25.79", reports=Reports(), seconds=5)
    assert isinstance(answer, NotOffered)
    assert "0115" in answer.words


def test_an_unknown_level_is_answered_with_a_refusal(pacs: Any) -> None:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "GALAXY"
    with pytest.raises(RefusedError, match="A900"):
        dimse.find(pacs.node, identifier)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_uid_that_is_a_path_reaches_no_file(pacs: Any, tmp_path: Path) -> None:
    series = phantoms.write_series(tmp_path, planes=1, study="a path")
    ds = pydicom.dcmread(series.paths[0])
    with associate(
        pacs.node, contexts_for([(CTImageStorage, ds.file_meta.TransferSyntaxUID)])
    ) as association:
        answer = dimse.store(
            association, series.paths[0], sop_class_uid=CTImageStorage,
            sop_instance_uid="../../../escape", transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        )  # fmt: skip
    assert answer.event is Event.REFUSED


def _send_raw(node: DimseNode, data: bytes) -> socket.socket:
    raw = socket.create_connection((node.host, node.port), timeout=5)
    raw.sendall(data)
    return raw


HOSTILE = {
    "silence": b"",
    "garbage": bytes(range(256)) * 64,
    "an association request of 4 GB": b"\x01\x00\xff\xff\xff\xff",
    "data of 4 GB before any association": b"\x04\x00\xff\xff\xff\xff" + bytes(4096),
    "half a header": b"\x01\x00\x00",
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_good_peer_gets_in_beside_twenty_with(what: str, pacs: Any) -> None:
    raw = [_send_raw(pacs.node, HOSTILE[what]) for _ in range(20)]
    try:
        dimse.echo(pacs.node)
    finally:
        for each in raw:
            each.close()
    dimse.echo(pacs.node)


def test_a_claim_of_four_gigabytes_ends_the_connection_at_once(pacs: Any) -> None:
    with _send_raw(pacs.node, b"\x01\x00\xff\xff\xff\xff" + bytes(1000)) as raw:
        raw.settimeout(2)
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(4096) == b""


def test_who_asks_for_nothing_is_sent_away(pacs: Any) -> None:
    with _send_raw(pacs.node, HOSTILE["silence"]) as silent, _send_raw(pacs.node, b"\x01\x00\x00") as half:
        for raw in (silent, half):
            raw.settimeout(10)
            assert raw.recv(4096) == b""


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "workbench.pacs.embedded", "--directory", str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["host"] == "127.0.0.1"
    return process


def test_it_ends_when_it_is_told_to_or_its_parent_is_gone(tmp_path: Path) -> None:
    with _start(tmp_path / "told") as told, _start(tmp_path / "left") as left:
        assert left.stdin is not None
        told.terminate()
        left.stdin.close()
        assert (told.wait(timeout=10), left.wait(timeout=10)) == (0, 0)


def test_help_says_that_it_is_not_for_patients(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        embedded.main(["--help"])
    assert "NOT FOR USE WITH PATIENTS" in " ".join(capsys.readouterr().out.split())


def test_a_port_that_is_taken_is_an_error_in_words(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(DeliveryError, match="did not start"):
            embedded.start(tmp_path, port=taken.getsockname()[1])


def test_it_answers_at_patient_level(pacs: Any, objects: Objects) -> None:
    store(pacs.node, objects["CT"].path)
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "PATIENT"
    identifier.PatientName = "Phantom*"
    identifier.PatientID = ""
    with calling(pacs.node, [build_context(PATIENT_ROOT_FIND)]) as association:
        answers = [match for _, match in association.send_c_find(identifier, PATIENT_ROOT_FIND) if match]
    assert {str(match.PatientName) for match in answers} == {"Phantom^Sphere"}
    ids = [str(match.PatientID) for match in answers]
    assert len(ids) == len(set(ids)), "one answer a patient; others may have stored theirs"


SLOW_TO_ANSWER = """
import json, sys, threading
from pathlib import Path
from pynetdicom import evt
from catalog.database import Catalog
from workbench.pacs.commitment import Reports, request_commitment
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.embedded_services import EmbeddedServices
from workbench.pacs.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL
from workbench.pacs.transport import application_entity, serve

folder = Path(sys.argv[1])
services = EmbeddedServices(Catalog(folder / "catalog.sqlite"), folder, "PACS", {})
ae = application_entity("PACS", connection_seconds=5, answer_seconds=5, maximum_pdu=16384)
ae.add_supported_context(STORAGE_COMMITMENT_PUSH_MODEL, scu_role=True, scp_role=True)
sent, reported = [], threading.Event()

def commit(event):
    answer = services.commit(event)
    reported.wait(0.3)  # a report that does not wait for the answer goes out meanwhile
    return answer

def about_to_send(event):
    sent.append(type(event.message).__name__)
    if sent[-1] == "N_EVENT_REPORT_RQ":
        reported.set()

own = [(evt.EVT_N_ACTION, commit), (evt.EVT_DIMSE_SENT, about_to_send)]
server = serve(ae, "127.0.0.1", 0, [*services.handlers(), *own])
node = DimseNode("PACS", *server.server_address, calling_ae_title="TEST")
asked = [("1.2.840.10008.5.1.4.1.1.2", "1.2.3")]
found = request_commitment(node, asked, transaction_uid="1.2.4", reports=Reports(), seconds=10)
server.shutdown()
print(json.dumps([type(found).__name__, *sent]))
"""


def test_a_report_on_commitment_never_mixes_with_the_answer_to_its_request(tmp_path: Path) -> None:
    """In a process of its own: pynetdicom's threads are mended in that of the tests (`tests/conftest.py`)."""
    command = [sys.executable, "-c", SLOW_TO_ANSWER, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(said) == ["Committed", "N_ACTION_RSP", "N_EVENT_REPORT_RQ"]
