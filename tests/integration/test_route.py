"""Store-and-forward by `workbench receive`: real senders and nodes, lines that are cut, benches in a ring."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.dsutils import split_dataset

from catalog import outbox
from catalog.database import Catalog
from catalog.identifiers import new_uid
from catalog.query import find_instances
from catalog.routings import list_routings
from catalog.series_events import list_events
from pipelines import phantoms
from tests.integration.conftest import Peer
from tests.peers.line import Fault, line_to
from tests.peers.scripted import CANNOT_UNDERSTAND, scripted
from workbench.pacs.dimse_node import DimseNode

pytestmark = pytest.mark.pacs
SECONDS = 60.0


@pytest.fixture
def ct(tmp_path: Path) -> phantoms.Phantom:
    return phantoms.write_series(tmp_path / "ct", planes=6, study=new_uid())


@pytest.fixture
def store(missing: Callable[[str], NoReturn]) -> Callable[..., subprocess.CompletedProcess[str]]:
    found = shutil.which("storescu", path="/usr/bin")
    if found is None:
        missing("storescu is not there: apt-get install dcmtk")

    def run(receiving: Any, *paths: Path, calling: str = "SCAN") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [found, "-v", "-aet", calling, "-aec", "WORKBENCH", "127.0.0.1", str(receiving.port), *paths],
            capture_output=True, text=True, env={"TCP_NODELAY": "1"}, timeout=120, check=False,
        )  # fmt: skip

    return run


def settings(home: Path, text: str, nodes: dict[str, DimseNode], listen_port: int = 0) -> Path:
    """Write a workbench.toml with nodes, and rules after them."""
    home.mkdir(parents=True, exist_ok=True)
    lines = [f"listen_port = {listen_port}", "commitment_seconds = 5"]
    for name, node in nodes.items():
        lines += [f"[nodes.{name}]", f'ae_title = "{node.ae_title}"', f'host = "{node.host}"']
        lines += [f"port = {node.port}", "connection_seconds = 3", "answer_seconds = 5"]
    (home / "workbench.toml").write_text(f"{text.split('[[')[0]}\n" + "\n".join(lines) + "\n" + _rules(text))
    return home


def _rules(text: str) -> str:
    _, found, rest = text.partition("[[")
    return found + rest if found else ""


def until[T](look: Callable[[], T], what: str, seconds: float = SECONDS) -> T:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.1)
    return found


def states(home: Path, node: str) -> list[str]:
    catalog = Catalog(home / "catalog.sqlite")
    try:
        return [each.state for each in outbox.deliveries(catalog, node=node)]
    finally:
        catalog.close()


def are_confirmed(home: Path, node: str, count: int) -> bool:
    return states(home, node) == ["confirmed"] * count


def command(home: Path, *arguments: str | Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *map(str, arguments), "--home", str(home), "--json"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def data_set(path: Path) -> bytes:
    return path.read_bytes()[split_dataset(path)[1] :]


def test_what_a_scanner_sends_is_in_the_PACS_bit_for_bit_without_anybody_doing_anything(
    start_receive: Callable[..., Any], orthanc: Peer, store: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    rule = '[[routes]]\nname = "CT on"\nwhere = "Modality == \'CT\'"\nforward = ["PACS"]\n'
    home = settings(tmp_path / "home", rule, {"PACS": orthanc.node}, orthanc.listen.port)
    receiving = start_receive(home, routing=True)
    assert store(receiving, *ct.paths).returncode == 0

    until(lambda: are_confirmed(home, "PACS", len(ct.paths)), "confirmation of every object")

    catalog = Catalog(home / "catalog.sqlite")
    deliveries = outbox.deliveries(catalog)
    for each, path in zip(deliveries, ct.paths, strict=True):
        assert data_set(Path(each.path)) == data_set(path)
        assert each.attempts == 1
    assert not any(each.is_result for each in deliveries), "what was acquired is not judged as a result"
    catalog.close()
    (shown,) = command(home, "routes")
    assert (shown["name"], shown["queued"]) == ("CT on", len(ct.paths))
    assert receiving.end() == 0


def test_a_node_of_DICOMweb_gets_what_a_rule_says_by_STOW(
    start_receive: Callable[..., Any], dicomweb: Any, store: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    (home := tmp_path / "home").mkdir()
    (home / "workbench.toml").write_text(
        f'[[routes]]\nname = "on"\nforward = ["PACS"]\n[nodes.PACS]\nurl = "{dicomweb.web.url}"\n'
        f'token_variable = "{dicomweb.web.token_variable}"\n'
    )
    receiving = start_receive(home, routing=True)
    assert store(receiving, *ct.paths).returncode == 0
    until(lambda: are_confirmed(home, "PACS", len(ct.paths)), "confirmation of every object")


def test_P1_what_was_acknowledged_before_a_kill_is_forwarded_after_the_next_start(
    start_receive: Callable[..., Any], orthanc: Peer, store: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    rule = '[[routes]]\nname = "on"\nforward = ["PACS"]\n'
    home = settings(tmp_path / "home", rule, {"PACS": orthanc.node}, orthanc.listen.port)
    receiving = start_receive(home)
    assert store(receiving, *ct.paths).returncode == 0
    receiving.process.kill()
    receiving.process.wait()
    start_receive(home, routing=True)
    until(lambda: are_confirmed(home, "PACS", len(ct.paths)), "confirmation of every object")


def test_a_line_that_is_cut_in_the_middle_loses_nothing_and_doubles_nothing(
    start_receive: Callable[..., Any], orthanc: Peer, store: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    rule = '[[routes]]\nname = "on"\nforward = ["PACS"]\n'
    with line_to("127.0.0.1", orthanc.node.port, Fault(reset_after=100_000)) as line:
        node = DimseNode("ORTHANC", "127.0.0.1", line.port)
        home = settings(tmp_path / "home", rule, {"PACS": node}, orthanc.listen.port)
        receiving = start_receive(home, routing=True)
        assert store(receiving, *ct.paths).returncode == 0
        until(lambda: are_confirmed(home, "PACS", len(ct.paths)), "confirmation of every object")
        assert line.connections > 2


def test_a_node_that_is_silent_holds_up_no_other(
    start_receive: Callable[..., Any], orthanc: Peer, store: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    rule = '[[routes]]\nname = "both"\nforward = ["SILENT", "PACS"]\n'
    with line_to("127.0.0.1", orthanc.node.port, Fault(black_hole=True)) as line:
        silent = DimseNode("SILENT", "127.0.0.1", line.port)
        nodes = {"SILENT": silent, "PACS": orthanc.node}
        home = settings(tmp_path / "home", rule, nodes, orthanc.listen.port)
        receiving = start_receive(home, routing=True)
        for path in ct.paths:  # one after the other: each finds the silent node being waited for
            assert store(receiving, path).returncode == 0
        until(lambda: are_confirmed(home, "PACS", len(ct.paths)), "what goes to the other node")
        assert len(states(home, "SILENT")) == len(ct.paths)
        assert "confirmed" not in states(home, "SILENT")


def test_an_object_that_fails_at_one_node_goes_to_the_other(
    start_receive: Callable[..., Any], store: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    rule = '[[routes]]\nname = "both"\nforward = ["BAD", "GOOD"]\n'
    with scripted(*[CANNOT_UNDERSTAND] * 100) as bad, scripted() as good:
        nodes = {"BAD": bad.node(), "GOOD": good.node()}
        home = settings(tmp_path / "home", rule, nodes)
        receiving = start_receive(home, routing=True)
        assert store(receiving, *ct.paths).returncode == 0
        until(lambda: states(home, "BAD") == ["failed"] * len(ct.paths), "the refusals")
        until(lambda: are_confirmed(home, "GOOD", len(ct.paths)), "what goes to the other node")
        assert good.order == list(ct.sop_instance_uids), "in the order in which it came, and once"


def test_two_benches_that_forward_to_each_other_make_no_ring(
    start_receive: Callable[..., Any], free_port: int, store: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    rule = '[[routes]]\nname = "on"\nforward = ["OTHER"]\n'
    may = DimseNode("WORKBENCH", "127.0.0.1", free_port)
    first = settings(tmp_path / "first", rule, {"OTHER": may})
    one = start_receive(first, routing=True)
    back = DimseNode("WORKBENCH", "127.0.0.1", one.port)
    second = settings(tmp_path / "second", rule, {"OTHER": back})
    two = start_receive(second, routing=True, port=free_port)
    assert store(one, *ct.paths).returncode == 0

    until(lambda: len(_outcomes(second)) == len(ct.paths), "what the other bench decides")

    assert _outcomes(second) == ["held"] * len(ct.paths)
    assert states(second, "OTHER") == []
    assert len(states(first, "OTHER")) == len(ct.paths)
    catalog = Catalog(second / "catalog.sqlite")
    assert len(find_instances(catalog, study_instance_uid=ct.study_instance_uid)) == len(ct.paths)
    catalog.close()
    assert two.process.poll() is None


def _outcomes(home: Path) -> list[str]:
    catalog = Catalog(home / "catalog.sqlite")
    try:
        return [each.outcome for each in list_routings(catalog)]
    finally:
        catalog.close()


def test_a_series_that_is_stable_is_an_event_that_tells_its_rule_and_has_it_de_identified(
    start_receive: Callable[..., Any], store: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    (tmp_path / "tools.py").write_text(
        "import pydicom\n"
        "from pydicom.uid import generate_uid\n"
        "def anonymous(source, target):\n"
        "    ds = pydicom.dcmread(source)\n"
        "    ds.PatientID = ds.PatientName = 'STUDY-1'\n"
        "    for name in ('Study', 'Series', 'SOP'):\n"
        "        keyword = name + 'InstanceUID'\n"
        "        ds[keyword].value = generate_uid(entropy_srcs=[str(ds[keyword].value)])\n"
        "    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID\n"
        "    ds.save_as(target)\n"
    )
    text = (
        f'stable_seconds = 2\ndeidentifier = "{tmp_path / "tools.py"}:anonymous"\n'
        '[[routes]]\nname = "research"\nwhen = "stable"\nforward = ["PACS"]\ndeidentify = true\n'
        '[[routes]]\nname = "tell"\nwhen = "stable"\nnotify = "notices"\n'
    )
    with scripted() as pacs:
        home = settings(tmp_path / "home", text, {"PACS": pacs.node()})
        receiving = start_receive(home, routing=True)
        *most, late = ct.paths
        assert store(receiving, *most).returncode == 0
        until(lambda: are_confirmed(home, "PACS", len(most)), "confirmation of every object")
        patient = str(pydicom.dcmread(ct.paths[0]).PatientID).encode()
        assert not any(patient in content for content in pacs.kept.values())
        assert set(pacs.order).isdisjoint(ct.sop_instance_uids)
    (event,) = command(home, "events")
    assert (event["series_instance_uid"], event["instances"]) == (ct.series_instance_uid, len(most))
    assert event["rule"] == "no instance came for 2 seconds"
    (notice,) = (home / "notices").iterdir()
    assert json.loads(notice.read_text())["why"] == event["rule"]

    assert store(receiving, late).returncode == 0
    catalog = Catalog(home / "catalog.sqlite")
    until(lambda: len(list_events(catalog)) == 2, "a later event")
    catalog.close()


def test_a_node_whose_policy_is_to_refuse_gets_0111_and_both_objects_are_kept(
    start_receive: Callable[..., Any], store: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    home = settings(tmp_path / "home", 'on_conflict = "refuse"\n', {})
    receiving = start_receive(home)
    ds = pydicom.dcmread(ct.paths[0])
    ds.PatientID = "ANOTHER"
    ds.save_as(other := tmp_path / "other.dcm")
    assert store(receiving, ct.paths[0]).returncode == 0

    done = store(receiving, other)

    assert "0x111" in done.stdout + done.stderr
    again = store(receiving, ct.paths[0])
    assert again.returncode == 0, "the same bytes again are no conflict"
    assert len(receiving.files) == 2
    told = command(home, "received", ct.sop_instance_uids[0])
    assert [(each["sender"]["calling_ae_title"], each["state"]) for each in told] == [
        ("SCAN", "indexed"),
        ("SCAN", "conflict"),
        ("SCAN", "duplicate"),
    ]


def test_what_rules_would_do_is_explained_without_doing_it(
    start_receive: Callable[..., Any], ct: phantoms.Phantom, tmp_path: Path
) -> None:
    rules = (
        '[[routes]]\nname = "CT"\nwhere = "Modality == \'CT\'"\nforward = ["PACS"]\n'
        '[[routes]]\nname = "MR"\nwhere = "Modality == \'MR\'"\nforward = ["PACS"]\n'
        '[[routes]]\nname = "back"\nforward = ["SCANNER"]\n'
    )
    node = DimseNode("PACS", "127.0.0.1", 104)
    scanner = DimseNode("SCAN", "127.0.0.1", 105)
    home = settings(tmp_path / "home", rules, {"PACS": node, "SCANNER": scanner})
    said = command(home, "routes", "--test", ct.paths[0], "--from", "SCANNER")
    assert [(each["rule"], each["fits"], each["why"]) for each in said] == [
        ("CT", True, "goes to PACS"),
        ("MR", False, "Modality == 'MR' is not true of it"),
        ("back", True, "does not go to SCANNER: it came from SCANNER"),
    ]
    assert states(home, "PACS") == []


def test_only_one_process_routes_for_a_bench(start_receive: Callable[..., Any], tmp_path: Path) -> None:
    home = settings(tmp_path / "home", "", {})
    start_receive(home, routing=True)
    until(lambda: (home / "routing" / ".lock").exists(), "the process beside the receiver")

    def refused() -> bool:
        done = subprocess.run(
            [sys.executable, "-m", "workbench", "route", "--once", "--home", str(home)],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return done.returncode == 1 and "another process routes" in done.stderr

    until(refused, "a refusal")


def test_the_process_beside_a_receiver_that_is_killed_ends_and_one_that_dies_is_replaced(
    start_receive: Callable[..., Any], store: Any, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    with scripted() as pacs:
        rule = '[[routes]]\nname = "on"\nforward = ["PACS"]\n'
        home = settings(tmp_path / "home", rule, {"PACS": pacs.node()})
        receiving = start_receive(home, routing=True)
        (child,) = until(lambda: _children(receiving.process.pid), "a child")
        subprocess.run(["kill", "-9", child], check=True)
        assert store(receiving, *ct.paths).returncode == 0
        until(lambda: are_confirmed(home, "PACS", len(ct.paths)), "confirmation of every object")
        (child,) = _children(receiving.process.pid)
        receiving.process.kill()
        receiving.process.wait()
        until(lambda: not Path(f"/proc/{child}/cmdline").exists(), "the end of the child")


def _children(pid: int) -> list[str]:
    """Processes that any thread of a process started, and that are there."""
    return [
        child for each in Path(f"/proc/{pid}/task").glob("*/children") for child in each.read_text().split()
    ]


def test_a_message_of_a_stranger_is_on_record_as_that(
    start_receive: Callable[..., Any], ct: phantoms.Phantom, tmp_path: Path
) -> None:
    receiving = start_receive(settings(tmp_path / "home", "", {}))
    ae = AE("NOBODY")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
    association = ae.associate("127.0.0.1", receiving.port, ae_title="WORKBENCH")
    assert association.send_c_store(pydicom.dcmread(ct.paths[0])).Status == 0
    association.release()
    receiving.settle()
    (told,) = command(receiving.home, "received", ct.sop_instance_uids[0])
    assert told["sender"] == {
        "node": "", "calling_ae_title": "NOBODY", "called_ae_title": "WORKBENCH",
    }  # fmt: skip
