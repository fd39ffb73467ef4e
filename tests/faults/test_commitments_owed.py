"""28: storage commitment by `workbench receive` (PS3.4 annex J): on time, late, after a restart, bounded."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from pynetdicom import build_context, build_role
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.dsutils import encode

from catalog.custody import Custody
from catalog.database import Catalog
from catalog.errors import RefusedError
from catalog.headers import read_dataset
from catalog.identifiers import new_uid
from catalog.intake import Intake
from pipelines import phantoms
from tests.peers.calling import answer_to, calling
from workbench.pacs.association import associate, service
from workbench.pacs.commitment import Committed, NotOffered, Reports, request_commitment, send_report
from workbench.pacs.commitments import (
    REFERENCES_AT_MOST,
    SAME_ASSOCIATION_SECONDS,
    SETTLE_SECONDS,
    Commitments,
    report_of,
)
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.journal import Journal
from workbench.pacs.node import ListenAddress
from workbench.pacs.owed import OWED_AT_MOST, Owed, OwedAnswers
from workbench.pacs.receive import Listener
from workbench.pacs.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL as COMMITMENT
from workbench.pacs.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE, STUDY_ROOT_FIND, VERIFICATION

pytestmark = [
    pytest.mark.pacs,
    # who leaves while a report comes answers it too late; that is pynetdicom's thread of the asking side
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Bench:
    """A home whose node ASKER may store and ask for commitment, and OTHER may store alone."""

    def __init__(self, home: Path) -> None:
        self.home, self.listen = home, ListenAddress(port=free_port())
        home.mkdir()
        place = f'host = "127.0.0.1"\nport = {self.listen.port}\n'
        (home / "workbench.toml").write_text(
            f'[nodes.SCANNER]\nae_title = "ASKER"\nmay = ["store", "commit"]\n{place}'
            f'[nodes.OTHER]\nae_title = "OTHER"\n{place}'
        )

    def node(self, receiving: Any, calling: str = "ASKER") -> DimseNode:
        return DimseNode(
            "WORKBENCH", "127.0.0.1", receiving.port, calling_ae_title=calling, answer_seconds=20
        )

    @property
    def owed(self) -> list[Path]:
        return list((self.home / "commitments").glob("*/*.json"))


class Gathering(Reports):
    """Keeps every report that comes."""

    def __init__(self) -> None:
        super().__init__()
        self.come: Queue[Dataset] = Queue()

    def take(self, information: Dataset) -> None:
        self.come.put(information)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("shared") / "bench")


@pytest.fixture(scope="module")
def receiving(bench: Bench, start_receive: Callable[..., Any]) -> Any:
    return start_receive(bench.home, anyone=False)


@pytest.fixture
def ct(tmp_path: Path) -> phantoms.Phantom:
    return phantoms.write_series(tmp_path / "ct", planes=3, study=new_uid())


def store(bench: Bench, receiving: Any, *paths: Path) -> list[tuple[str, str]]:
    headers = [read_dataset(path) for path in paths]
    pairs = {(str(each.SOPClassUID), str(each.file_meta.TransferSyntaxUID)) for each in headers}
    contexts = [build_context(UID(sop_class), UID(syntax)) for sop_class, syntax in pairs]
    with calling(bench.node(receiving), contexts) as association:
        for path in paths:
            assert association.send_c_store(path).Status == 0x0000
    return [(str(each.SOPClassUID), str(each.SOPInstanceUID)) for each in headers]


def ask(
    node: DimseNode,
    references: list[tuple[str, str]],
    reports: Reports | None = None,
    *,
    transaction_uid: str = "",
) -> Any:
    uid = transaction_uid or new_uid()
    return request_commitment(
        node, references, transaction_uid=uid, reports=reports or Reports(), seconds=SECONDS
    )


def is_settled(bench: Bench) -> None:
    """The answer to a report is read before what was owed is forgotten."""
    until = time.monotonic() + SECONDS
    while bench.owed and time.monotonic() < until:
        Event().wait(0.02)
    assert not bench.owed


def test_28_P4_what_was_just_stored_is_promised_on_the_same_association(
    bench: Bench, receiving: Any, ct: phantoms.Phantom
) -> None:
    references = store(bench, receiving, *ct.paths)
    assert ask(bench.node(receiving), references) == Committed(frozenset(ct.sop_instance_uids), {})
    assert not bench.owed
    line = [line for line in receiving.lines() if line["event"] == "commitment"][-1]
    told = {name: line[name] for name in ("node", "promised", "by_checksum", "failed")}
    assert told == {"node": "SCANNER", "promised": 3, "by_checksum": 3, "failed": 0}


def test_28_what_is_not_here_as_it_was_named_is_not_promised(
    bench: Bench, receiving: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    store(bench, receiving, *ct.paths)
    first, second, third = ct.sop_instance_uids
    changed = pydicom.dcmread(ct.paths[2])
    changed.ImageComments = "other bytes"
    changed.save_as(tmp_path / "changed.dcm")
    store(bench, receiving, tmp_path / "changed.dcm")
    absent, no_object = new_uid(), new_uid()
    references = [(CT, first), (MR, second), (CT, third), (CT, absent), (VERIFICATION, no_object)]
    answer = ask(bench.node(receiving), references)
    reasons = {second: 0x0119, third: 0x0110, absent: 0x0112, no_object: 0x0122}
    assert answer == Committed(frozenset({first}), reasons)


def test_30_a_byte_that_flipped_since_is_not_promised(
    bench: Bench, receiving: Any, ct: phantoms.Phantom
) -> None:
    before = receiving.files
    references = store(bench, receiving, *ct.paths)
    kept = [path for path in receiving.files if path not in before]
    content = bytearray(kept[0].read_bytes())
    content[-1] ^= 1
    kept[0].write_bytes(content)
    kept[1].unlink()
    answer = ask(bench.node(receiving), references)
    assert len(answer.instances) == 1
    assert sorted(answer.failed.values()) == [0x0110, 0x0112]


def test_28_a_caller_that_does_not_wait_is_told_at_its_own_address(
    bench: Bench, receiving: Any, ct: phantoms.Phantom
) -> None:
    references = store(bench, receiving, *ct.paths)
    uid = new_uid()
    with Listener(bench.node(receiving), bench.listen) as listener, listener.listening():
        listener.reports.expect(uid)
        assert request_and_leave(bench, receiving, uid, references) == 0x0000
        report = listener.reports.wait(uid, 60)
        is_settled(bench)
    assert report == Committed(frozenset(ct.sop_instance_uids), {})


def test_28_a_report_that_is_being_taken_is_answered_before_the_listener_ends(tmp_path: Path) -> None:
    bench, taken = Bench(tmp_path / "bench"), Event()

    class Slow(Reports):
        def take(self, information: Dataset) -> None:
            taken.set()
            Event().wait(0.3)  # the listener ends meanwhile

    owed = Owed("SCANNER", new_uid(), ((CT, new_uid()),), datetime.now(UTC))
    asker = DimseNode("ASKER", "127.0.0.1", bench.listen.port, calling_ae_title="WORKBENCH")
    role = build_role(COMMITMENT, scp_role=True)

    def report() -> int:
        with associate(asker, [service(COMMITMENT)], roles=[role]) as association:
            return send_report(association, *report_of(owed, [Custody(0)]))

    with ThreadPoolExecutor(1) as beside:
        bench_here = DimseNode("WORKBENCH", "127.0.0.1", 1, calling_ae_title="ASKER")
        with Listener(bench_here, bench.listen) as here, here.listening():
            here.reports = Slow()
            status = beside.submit(report)
            assert taken.wait(60)
        assert status.result() == 0x0000


def test_28_another_request_under_a_transaction_UID_in_use_is_refused_and_the_first_is_answered(
    bench: Bench, receiving: Any, ct: phantoms.Phantom
) -> None:
    references, uid = store(bench, receiving, *ct.paths), new_uid()
    first, second, third = ct.sop_instance_uids
    node = bench.node(receiving)
    assert request_and_leave(bench, receiving, uid, references[:1]) == 0x0000
    in_use = Committed(frozenset(), {second: 0x0131, third: 0x0131})
    assert ask(node, references[1:], transaction_uid=uid) == in_use
    assert len(bench.owed) == 1, "the first is still owed"
    assert ask(node, references[:1], transaction_uid=uid) == Committed(frozenset({first}), {})
    assert not bench.owed
    after = ask(node, references[1:], transaction_uid=uid)
    assert after == Committed(frozenset({second, third}), {}), "it is in use no longer"


def test_28_both_requests_under_one_transaction_UID_are_answered_after_a_restart(
    tmp_path: Path, start_receive: Callable[..., Any], ct: phantoms.Phantom
) -> None:
    bench, uid = Bench(tmp_path / "bench"), new_uid()
    receiving = start_receive(bench.home, anyone=False)
    references = store(bench, receiving, *ct.paths)
    for some in (references[:1], references[1:], references[1:]):
        assert request_and_leave(bench, receiving, uid, some) == 0x0000
    receiving.process.kill()
    receiving.process.wait()
    assert len(bench.owed) == 2, "the same request again is owed once"
    with Listener(bench.node(receiving), bench.listen) as listener, listener.listening():
        reports = Gathering()
        listener.reports = reports
        again = start_receive(bench.home, anyone=False)
        told = [reports.come.get(timeout=60) for _ in range(2)]
        assert again.end() == 0
    assert {str(each.TransactionUID) for each in told} == {uid}
    (kept,) = [each for each in told if "ReferencedSOPSequence" in each]
    (refused,) = [each for each in told if "FailedSOPSequence" in each]
    assert [each.ReferencedSOPInstanceUID for each in kept.ReferencedSOPSequence] == [ct.sop_instance_uids[0]]
    assert {each.FailureReason for each in refused.FailedSOPSequence} == {0x0131}
    assert not bench.owed


class Refusing(Gathering):
    """Fails at the first report."""

    refused = 0

    def take(self, information: Dataset) -> None:
        if not self.refused:
            self.refused += 1
            raise ValueError
        super().take(information)


def test_28_a_report_that_the_node_fails_to_take_is_sent_again(
    tmp_path: Path, sqlite_catalog: Catalog, ct: phantoms.Phantom
) -> None:
    bench = Bench(tmp_path / "bench")
    asker = DimseNode("ASKER", "127.0.0.1", bench.listen.port, calling_ae_title="WORKBENCH")
    owed = OwedAnswers(bench.home / "commitments")
    assert owed.keep(Owed("SCANNER", new_uid(), ((CT, ct.sop_instance_uids[0]),), datetime.now(UTC)))
    with Intake(sqlite_catalog, tmp_path / "received") as intake:
        commitments = Commitments(intake, owed, {"SCANNER": asker}, Journal(None))
        bench_here = DimseNode("WORKBENCH", "127.0.0.1", 1, calling_ae_title="ASKER")
        with Listener(bench_here, bench.listen) as here, here.listening():
            here.reports = reports = Refusing()
            commitments.look(after := 100.0)
            assert (reports.refused, len(bench.owed)) == (0, 1), "the association that asked comes first"
            commitments.look(after := after + SAME_ASSOCIATION_SECONDS + SETTLE_SECONDS)
            assert (reports.refused, len(bench.owed)) == (1, 1)
            commitments.look(after + 29)
            assert reports.come.empty()
            commitments.look(after + 31)
            (failed,) = reports.come.get_nowait().FailedSOPSequence
    assert failed.FailureReason == 0x0112
    assert not bench.owed


def test_28_what_is_owed_survives_a_restart(
    tmp_path: Path, start_receive: Callable[..., Any], ct: phantoms.Phantom
) -> None:
    bench = Bench(tmp_path / "bench")
    receiving = start_receive(bench.home, anyone=False)
    references = store(bench, receiving, *ct.paths)
    uid = new_uid()
    assert request_and_leave(bench, receiving, uid, references) == 0x0000
    receiving.process.kill()
    receiving.process.wait()
    assert len(bench.owed) == 1
    with Listener(bench.node(receiving), bench.listen) as listener, listener.listening():
        listener.reports.expect(uid)
        again = start_receive(bench.home, anyone=False)
        report = listener.reports.wait(uid, 60)
        assert again.end() == 0
    assert report == Committed(frozenset(ct.sop_instance_uids), {})
    assert not bench.owed


def test_2_who_may_not_ask_is_told_so_and_nothing_is_owed(
    bench: Bench, receiving: Any, ct: phantoms.Phantom
) -> None:
    references = store(bench, receiving, *ct.paths)
    answer = ask(bench.node(receiving, "OTHER"), references)
    assert isinstance(answer, NotOffered)
    assert "0124" in answer.words
    assert not bench.owed


# --- hostile and foolish requests ------------------------------------------------------------------------


def request_and_leave(
    bench: Bench, receiving: Any, transaction_uid: str, references: list[tuple[str, str]]
) -> int:
    """Ask and break the connection when the request is answered, before any report can be answered."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [reference(*each) for each in references]
    return act(bench, receiving, information)


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return made


def act(bench: Bench, receiving: Any, information: Dataset | bytes, *, action: int = 1) -> int:
    """Status of an N-ACTION; `-1` where the association was ended instead."""
    with calling(bench.node(receiving), [build_context(COMMITMENT)]) as association:
        (context,) = association.accepted_contexts
        if isinstance(information, Dataset):
            syntax = context.transfer_syntax[0]
            information = encode(information, syntax.is_implicit_VR, syntax.is_little_endian) or b""
        request = N_ACTION()
        request.MessageID, request.ActionTypeID = 1, action
        request.RequestedSOPClassUID = COMMITMENT
        request.RequestedSOPInstanceUID = STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
        request.ActionInformation = BytesIO(information)
        answer = answer_to(association, request, context.context_id or 0)
        association.abort()
        return int(getattr(answer, "Status", -1))


def asking(*references: Dataset, transaction_uid: str = "1.2.3") -> Dataset:
    made = Dataset()
    made.TransactionUID = transaction_uid
    made.ReferencedSOPSequence = list(references)
    return made


MANY = [reference(CT, f"1.2.3.{number}") for number in range(REFERENCES_AT_MOST + 1)]


@pytest.mark.parametrize(
    ("information", "status"),
    [
        (asking(), 0x0115),
        (asking(reference("", "1.2")), 0x0115),
        (asking(reference(CT, "1.2.3\\1.2.4")), 0x0115),
        (asking(reference(CT, "1.2.3"), transaction_uid=""), 0x0115),
        (asking(*MANY), 0x0213),
        (b"\x08\x00\x99\x11\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 500_000, 0x0213),
        (b"\x08\x00\x99\x11\xff\xff\xff\x7f" + bytes(100), 0x0115),
        (bytes(5 << 20), -1),
    ],
    ids=range(8),
)
def test_28_a_request_that_is_none_or_too_large_is_refused_and_costs_nothing(
    bench: Bench, receiving: Any, information: Dataset | bytes, status: int
) -> None:
    assert act(bench, receiving, information) == status
    assert not bench.owed
    assert receiving.process.poll() is None


def test_6_nothing_is_asked_deflated_as_a_megabyte_may_become_a_gigabyte(
    bench: Bench, receiving: Any
) -> None:
    contexts = [build_context(each, DeflatedExplicitVRLittleEndian) for each in (STUDY_ROOT_FIND, COMMITMENT)]
    with pytest.raises(RefusedError), associate(bench.node(receiving), contexts):
        pass


def test_28_another_action_is_not_known(bench: Bench, receiving: Any) -> None:
    assert act(bench, receiving, asking(reference(CT, "1.2.3")), action=2) == 0x0123


def test_28_ten_thousand_references_are_answered(bench: Bench, receiving: Any) -> None:
    references = [(CT, f"1.2.3.{number}") for number in range(REFERENCES_AT_MOST)]
    with Listener(bench.node(receiving), bench.listen) as listener, listener.listening():
        answer = ask(bench.node(receiving), references, listener.reports)
    assert len(answer.failed) == REFERENCES_AT_MOST
    assert set(answer.failed.values()) == {0x0112}


def test_28_nobody_is_owed_more_answers_than_there_is_room_for(bench: Bench, receiving: Any) -> None:
    for path in bench.owed:
        path.unlink()
    owed = OwedAnswers(bench.home / "commitments")
    for number in range(OWED_AT_MOST):
        assert owed.keep(Owed("SCANNER", f"1.2.{number + 1}", ((CT, "1.2.3"),), datetime.now(UTC)))
    assert act(bench, receiving, asking(reference(CT, "1.2.3"), transaction_uid="1.3.1")) == 0x0213
    assert act(bench, receiving, asking(reference(CT, "1.2.3"), transaction_uid="1.2.1")) == 0x0000
    assert len(bench.owed) == OWED_AT_MOST


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"\xff", b'{"references": [], "asked": 1}'])
def test_28_an_owed_answer_that_cannot_be_read_is_set_aside(tmp_path: Path, text: bytes) -> None:
    owed = OwedAnswers(tmp_path)
    (tmp_path / "node").mkdir()
    path = tmp_path / "node" / "one.json"
    path.write_bytes(text)
    assert owed.read("node/one.json") is None
    assert list(owed.names()) == []
    assert path.with_name("one.json.unreadable").read_bytes() == text
