"""Storage by `workbench receive`, with senders that are not ours: DCMTK, Orthanc, pynetdicom."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pydicom
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, evt
from pynetdicom.dsutils import split_dataset

from catalog.database import Catalog
from catalog.durable import file_digest
from catalog.errors import DeliveryError
from catalog.identifiers import new_uid
from catalog.query import find_level
from pipelines import phantoms
from workbench.pacs.dimse_node import DimseNode

pytestmark = pytest.mark.pacs

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
PRIVATE = "1.2.840.113619.4.26"
UNKNOWN = "1.2.840.10008.5.1.4.1.1.9999.1"


@pytest.fixture(scope="module")
def receiving(start_receive: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return start_receive(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def dcmtk(missing: Callable[[str], NoReturn]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        found = shutil.which(program, path="/usr/bin")
        if found is None:
            missing(f"{program} is not there: apt-get install dcmtk")
        environment = {"TCP_NODELAY": "1"}
        return subprocess.run(
            [found, *arguments], capture_output=True, text=True, env=environment, timeout=120
        )

    return run


def stored(receiving: Any, uid: str) -> Path:
    """The file of an instance, as the catalog has it."""
    receiving.settle()
    catalog = Catalog(receiving.home / "catalog.sqlite")
    try:
        import sqlalchemy as sa

        from catalog.models import files, instances

        with catalog.reading() as connection:
            row = connection.execute(
                sa.select(files)
                .join(instances, files.c.instance == instances.c.id)
                .where(instances.c.sop_instance_uid == uid, files.c.state == "indexed")
            ).one()
        assert row.content_digest == file_digest(Path(row.folder, row.name))
        return Path(row.folder, row.name)
    finally:
        catalog.close()


def data_set(path: Path) -> bytes:
    return path.read_bytes()[split_dataset(path)[1] :]


@pytest.fixture
def ct(tmp_path: Path) -> phantoms.Phantom:
    return phantoms.write_series(tmp_path / "ct", planes=6, study=new_uid())


def test_P2_what_dcmsend_sends_is_stored_bit_for_bit(
    receiving: Any, dcmtk: Callable[..., Any], ct: phantoms.Phantom
) -> None:
    done = dcmtk("dcmsend", "-aec", "WORKBENCH", "127.0.0.1", str(receiving.port), *ct.paths)
    assert done.returncode == 0, done.stderr
    for path, uid in zip(ct.paths, ct.sop_instance_uids, strict=True):
        kept = stored(receiving, uid)
        assert data_set(kept) == data_set(path)
        assert pydicom.dcmread(kept).file_meta.MediaStorageSOPInstanceUID == uid


def test_25_P3_twenty_senders_of_the_same_study_leave_it_once(
    receiving: Any, dcmtk: Callable[..., Any], ct: phantoms.Phantom
) -> None:
    before = len(receiving.files)
    with ThreadPoolExecutor(20) as threads:
        done = list(
            threads.map(
                lambda _: dcmtk("storescu", "-aec", "WORKBENCH", "127.0.0.1", str(receiving.port), *ct.paths),
                range(20),
            )
        )
    assert [each.returncode for each in done] == [0] * 20, [each.stderr for each in done if each.returncode]
    assert len(receiving.files) - before == len(ct.paths)


def associated(receiving: Any, contexts: list[tuple[str, str]], ae_title: str = "TEST") -> Any:
    ae = AE(ae_title)
    for sop_class, syntax in contexts:
        ae.add_requested_context(UID(sop_class), UID(syntax))

    def prompt(event: Any) -> None:
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    return ae.associate(
        "127.0.0.1", receiving.port, ae_title="WORKBENCH", evt_handlers=[(evt.EVT_CONN_OPEN, prompt)]
    )


def raw_store(association: Any, sop_class: str, uid: str, encoded: bytes) -> Dataset:
    """C-STORE of bytes as they are; pynetdicom's own call would decode and encode them."""
    from io import BytesIO

    from pynetdicom.dimse_primitives import C_STORE

    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, uid
    request.DataSet = BytesIO(encoded)
    context = next(each for each in association.accepted_contexts if each.abstract_syntax == sop_class)
    association._reactor_checkpoint.clear()
    try:
        while not association._is_paused:
            time.sleep(0)
        association.dimse.send_msg(request, context.context_id)
        _, answer = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    return answer


@pytest.mark.parametrize("sop_class", [LABEL_MAP, PRIVATE, UNKNOWN])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless, "1.2.3.4"])
def test_P2_every_class_in_every_transfer_syntax_is_stored_bit_for_bit(
    receiving: Any, sop_class: str, syntax: str
) -> None:
    association = associated(receiving, [(sop_class, syntax)])
    assert association.is_established
    uid = new_uid()
    encoded = small(
        sop_class, uid, implicit=syntax == ImplicitVRLittleEndian, little=syntax != ExplicitVRBigEndian
    )
    assert raw_store(association, sop_class, uid, encoded).Status == 0x0000
    association.release()
    assert data_set(stored(receiving, uid)) == encoded


def small(sop_class: str, uid: str, *, implicit: bool = False, little: bool = True) -> bytes:
    from pynetdicom.dsutils import encode

    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = new_uid(), new_uid()
    ds.PatientID, ds.PatientName = "P", "Secret^Patient"
    ds.add_new(0x00091001, "UN", b"kept as it is")
    encoded = encode(ds, implicit, little)
    assert encoded is not None
    return encoded


def test_P3_what_is_said_and_what_is_sent_must_be_the_same(receiving: Any) -> None:
    association = associated(receiving, [(LABEL_MAP, ImplicitVRLittleEndian)])
    wrong = raw_store(association, LABEL_MAP, new_uid(), small(LABEL_MAP, new_uid(), implicit=True))
    assert wrong.Status == 0xA900
    uid = new_uid()
    garbage = raw_store(association, LABEL_MAP, uid, b"\x08\x00\x05\x00\xff\xff\xff\x7f" + bytes(100))
    assert garbage.Status == 0xC000
    right = raw_store(association, LABEL_MAP, uid, small(LABEL_MAP, uid, implicit=True))
    assert right.Status == 0x0000, "the next object is fine"
    association.release()


@pytest.mark.parametrize("uid", ["../../../etc/passwd", "/etc/passwd", "1.2/3", "", "1." * 40])
def test_1_no_text_of_the_wire_is_ever_part_of_a_path(receiving: Any, uid: str) -> None:
    association = associated(receiving, [(LABEL_MAP, ImplicitVRLittleEndian)])
    encoded = small(LABEL_MAP, new_uid(), implicit=True)
    before = set(receiving.home.parent.rglob("*passwd*"))
    with_bad_uid = _with_any_uid(association, uid, encoded)
    assert with_bad_uid is None or with_bad_uid.Status >= 0xA000
    assert set(receiving.home.parent.rglob("*passwd*")) == before
    if association.is_established:
        association.abort()
    for path in receiving.files:
        assert set(path.name.removesuffix(".dcm")) <= set("0123456789abcdef-")
    assert not uid or uid not in receiving.log.read_text(), "nor of a log"


def _with_any_uid(association: Any, uid: str, encoded: bytes) -> Any:
    """A C-STORE whose command names something that is no UID; pynetdicom would not send it by itself."""
    from pynetdicom.dsutils import encode
    from pynetdicom.pdu_primitives import P_DATA

    command = Dataset()
    command.AffectedSOPClassUID = LABEL_MAP
    command.CommandField, command.MessageID, command.Priority = 0x0001, 1, 2
    command.CommandDataSetType = 1
    command.add_new(0x00001000, "UI", "")
    head = encode(command, True, True)
    assert head is not None
    raw = uid.encode() + b"\0" * (len(uid) % 2)
    head = head[:-(8)] + b"\x00\x00\x00\x10" + len(raw).to_bytes(4, "little") + raw
    (context,) = association.accepted_contexts
    for control, body in ((3, head), (2, encoded)):
        fragment = P_DATA()
        fragment.presentation_data_value_list = [[context.context_id, bytes([control]) + body]]
        association.dul.send_pdu(fragment)
    _, answer = association.dimse.get_msg(block=True)
    return answer


def test_what_is_received_can_be_asked_and_is_an_object_of_the_catalog(
    receiving: Any, dcmtk: Callable[..., Any], ct: phantoms.Phantom
) -> None:
    dcmtk("storescu", "-aec", "WORKBENCH", "127.0.0.1", str(receiving.port), *ct.paths)
    receiving.settle()
    catalog = Catalog(receiving.home / "catalog.sqlite")
    from catalog.attributes import Level

    found = list(
        find_level(
            catalog,
            Level.INSTANCE,
            {"SOPInstanceUID": list(ct.sop_instance_uids)},
            columns=["SOPInstanceUID"],
        )
    )
    catalog.close()
    assert len(found) == len(ct.paths)


def test_2_only_known_callers_from_their_own_address_are_answered(
    start_receive: Callable[..., Any], tmp_path: Path, dcmtk: Callable[..., Any], ct: phantoms.Phantom
) -> None:
    home = tmp_path / "bench"
    home.mkdir()
    (home / "workbench.toml").write_text(
        '[nodes.A]\nae_title = "A"\nhost = "127.0.0.1"\nport = 104\n'
        '[nodes.B]\nae_title = "B"\nhost = "127.0.0.1"\nport = 104\nmay = []\n'
        '[nodes.C]\nae_title = "C"\nhost = "127.0.0.2"\nport = 104\n'
    )
    receiving = start_receive(home, anyone=False)

    def asked(program: str, calling: str, called: str, *paths: Path) -> bool:
        done = dcmtk(program, "-aet", calling, "-aec", called, "127.0.0.1", str(receiving.port), *paths)
        return done.returncode == 0

    store, echo = ("storescu", ct.paths[0]), ("echoscu",)
    table = {
        ("A", "WORKBENCH"): (True, True),
        ("B", "WORKBENCH"): (True, False),
        ("C", "WORKBENCH"): (False, False),
        ("X", "WORKBENCH"): (False, False),
        ("A", "OTHER"): (False, False),
        ("a", "WORKBENCH"): (False, False),
    }
    for (calling, called), (may_echo, may_store) in table.items():
        assert asked(echo[0], calling, called) == may_echo, (calling, called)
        assert asked(store[0], calling, called, store[1]) == may_store, (calling, called)
    refused = [line["ae_title"] for line in receiving.lines() if line["event"] == "refused"]
    assert refused == ["C", "C", "X", "X", "a", "a"]
    assert receiving.end() == 0


def test_2_who_may_ask_finds_what_was_received(
    start_receive: Callable[..., Any], tmp_path: Path, dcmtk: Callable[..., Any], ct: phantoms.Phantom
) -> None:
    home = tmp_path / "bench"
    home.mkdir()
    node = 'host = "127.0.0.1"\nport = 104\n'
    (home / "workbench.toml").write_text(
        f'[nodes.VIEWER]\nae_title = "VIEWER"\nmay = ["find"]\n{node}[nodes.CT]\nae_title = "CT"\n{node}'
    )
    receiving = start_receive(home, anyone=False)
    address = ("-aec", "WORKBENCH", "127.0.0.1", str(receiving.port))
    assert dcmtk("dcmsend", "-aet", "CT", *address, *ct.paths).returncode == 0
    receiving.settle()
    study = pydicom.dcmread(ct.paths[0]).StudyInstanceUID
    for model, level, count in (
        ("-P", "PATIENT", 1),
        ("-S", "STUDY", 1),
        ("-S", "SERIES", 1),
        ("-S", "IMAGE", 6),
    ):
        keys = ["-k", f"QueryRetrieveLevel={level}", "-k", f"StudyInstanceUID={study}"]
        found = dcmtk("findscu", "-v", "-aet", "VIEWER", model, *keys, *address)
        assert (found.stdout + found.stderr).count("Find Response:") == count, (level, found.stderr)
    refused = dcmtk("findscu", "-v", "-aet", "CT", "-S", "-k", "QueryRetrieveLevel=STUDY", *address)
    assert "Find Response:" not in refused.stdout + refused.stderr
    assert receiving.end() == 0


def test_several_processes_share_the_port_and_lose_nothing(
    start_receive: Callable[..., Any], tmp_path: Path, dcmtk: Callable[..., Any]
) -> None:
    receiving = start_receive(tmp_path / "bench", "--workers", "2")
    series = [
        phantoms.write_series(tmp_path / str(number), planes=4, study=new_uid(), seed=number)
        for number in range(6)
    ]
    arguments = ["-aec", "WORKBENCH", "127.0.0.1", str(receiving.port)]
    with ThreadPoolExecutor(6) as threads:
        done = list(threads.map(lambda each: dcmtk("dcmsend", *arguments, *each.paths), series))
    assert [each.returncode for each in done] == [0] * 6, [each.stderr for each in done]
    assert len(receiving.files) == 24
    assert receiving.end() == 0


def test_counts_are_those_of_all_processes_and_grow_alone_although_one_is_killed(
    start_receive: Callable[..., Any], tmp_path: Path, dcmtk: Callable[..., Any]
) -> None:
    metrics = tmp_path / "counts.prom"
    receiving = start_receive(tmp_path / "bench", "--workers", "2", "--metrics", str(metrics))
    arguments = ["-aec", "WORKBENCH", "127.0.0.1", str(receiving.port)]
    seen = []

    def counted(name: str, outcome: str = "") -> float:
        samples = [
            each
            for family in text_string_to_metric_families(metrics.read_text() if metrics.exists() else "")
            for each in family.samples
            if each.name == f"workbench_receive_{name}_total"
        ]
        found = [each.value for each in samples if each.labels.get("outcome", "") == outcome]
        return found[0] if found else 0.0

    def wait_for(name: str, outcome: str, count: int) -> None:
        until = time.monotonic() + 60
        while counted(name, outcome) < count:
            seen.append(counted("answers", "stored"))
            assert time.monotonic() < until, receiving.log.read_text()
            time.sleep(0.1)

    for round_ in range(2):
        for number in range(6):
            made = phantoms.write_series(tmp_path / f"{round_}{number}", planes=2, study=new_uid())
            sent = dcmtk("dcmsend", *arguments, *made.paths)
            assert sent.returncode == 0, sent.stderr
        if round_ == 0:
            wait_for("answers", "stored", 12)
            workers = {line["process"] for line in receiving.lines() if line["event"] == "association"}
            os.kill(workers.pop(), signal.SIGKILL)
            wait_for("restarts", "", 1)
    assert receiving.end() == 0
    seen.append(counted("answers", "stored"))
    assert seen == sorted(seen)
    assert (seen[-1], counted("restarts")) == (24, 1)
    lines = receiving.lines()
    assert len(lines) == len(receiving.log.read_text().splitlines()), "every line is one whole object"
    assert sum(line.get("stored", 0) for line in lines if line["event"] == "association") == 24


def test_Orthanc_sends_and_nothing_of_a_patient_is_in_the_log(
    receiving: Any, start_orthanc: Callable[..., Any], dcmtk: Callable[..., Any], ct: phantoms.Phantom
) -> None:
    peer = start_orthanc(
        DicomModalities={"bench": {"AET": "WORKBENCH", "Host": "127.0.0.1", "Port": receiving.port}}
    )
    sent = dcmtk("dcmsend", "-aec", "ORTHANC", "127.0.0.1", str(peer.node.port), *ct.paths)
    assert sent.returncode == 0
    study = pydicom.dcmread(ct.paths[0]).StudyInstanceUID
    moved = dcmtk(
        "movescu", "-S", "-aet", "WORKBENCH", "-aec", "ORTHANC", "-aem", "WORKBENCH",
        "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}",
        "127.0.0.1", str(peer.node.port),
    )  # fmt: skip
    assert moved.returncode == 0, moved.stderr
    for path, uid in zip(ct.paths, ct.sop_instance_uids, strict=True):
        kept = pydicom.dcmread(stored(receiving, uid))
        assert np.array_equal(kept.pixel_array, pydicom.dcmread(path).pixel_array)
    said = receiving.log.read_text()
    for secret in ("Phantom^Sphere", "PHANTOM", "Secret", study):
        assert secret not in said


def test_37_the_end_is_graceful_and_a_restart_finds_everything(
    start_receive: Callable[..., Any], tmp_path: Path, dcmtk: Callable[..., Any], ct: phantoms.Phantom
) -> None:
    receiving = start_receive(tmp_path / "bench", "--metrics", str(tmp_path / "counts.prom"))
    arguments = ["-aec", "WORKBENCH", "127.0.0.1", str(receiving.port)]
    assert dcmtk("dcmsend", *arguments, *ct.paths[:3]).returncode == 0
    idle = associated(receiving, [(LABEL_MAP, ImplicitVRLittleEndian)])
    assert receiving.end(30) == 0
    idle.abort()
    counted = {
        (each.name, *each.labels.values()): each.value
        for family in text_string_to_metric_families((tmp_path / "counts.prom").read_text())
        for each in family.samples
        if each.name.startswith("workbench_receive_") and each.name.endswith("_total") and each.value
    }
    assert counted == {
        ("workbench_receive_associations_total",): 2,
        ("workbench_receive_answers_total", "stored"): 3,
        ("workbench_receive_objects_total", "stored"): 3,
    }
    again = start_receive(tmp_path / "bench", port=receiving.port)
    assert dcmtk("dcmsend", *arguments, *ct.paths).returncode == 0
    assert len(again.files) == len(ct.paths)
    assert again.end() == 0


def test_a_host_that_cannot_be_looked_up_is_said_and_keeps_no_other_node_out(
    tmp_path: Path, start_receive: Callable[..., Any]
) -> None:
    home = tmp_path / "bench"
    home.mkdir()
    (home / "workbench.toml").write_text(
        '[nodes.AWAY]\nae_title = "AWAY"\nhost = "pacs.invalid"\nport = 104\n'
        '[nodes.HERE]\nae_title = "HERE"\nhost = "127.0.0.1"\nport = 104\n'
    )
    receiving = start_receive(home, anyone=False)
    said = [json.loads(line) for line in receiving.log.read_text().splitlines()]
    (unknown,) = [each for each in said if each["event"] == "host unknown"]
    assert (unknown["node"], unknown["host"]) == ("AWAY", "pacs.invalid")

    def node(calling: str) -> DimseNode:
        return DimseNode("WORKBENCH", "127.0.0.1", receiving.port, calling_ae_title=calling)

    node("HERE").echo()
    with pytest.raises(DeliveryError):
        node("AWAY").echo()
    assert receiving.end() == 0


def test_18_the_world_is_not_served_without_TLS_and_known_callers(tmp_path: Path) -> None:
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "workbench", "receive", "--home", tmp_path, "--host", "0.0.0.0"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "needs TLS: set tls_certificate" in done.stderr
    assert "127.0.0.1" in done.stderr
