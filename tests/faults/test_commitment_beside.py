"""28: reports of storage commitment that come to a process that did not ask for them, and reach who did."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import build_role

from catalog import outbox
from catalog.database import Catalog
from catalog.deliveries import Event
from catalog.identifiers import new_uid
from catalog.records import Delivery
from pipelines import phantoms
from tests.peers.scripted import ScriptedPacs, scripted
from workbench.pacs.association import associate, service
from workbench.pacs.commitment import send_report
from workbench.pacs.deliver import deliver
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress
from workbench.pacs.posting import post
from workbench.pacs.receive import Listener
from workbench.pacs.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL as COMMITMENT

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ALL_KEPT, SOME_FAILED = 1, 2
NOT_HERE, WILL_NOT, POSTPONED = 0x0112, 0x0122, 0x0110


@dataclass
class Bench:
    """A home that knows the node PACS, which speaks as SCRIPTED, and OTHER; where it listens; its catalog."""

    home: Path
    listen: ListenAddress
    catalog: Catalog
    pacs: ScriptedPacs

    def calling(self, ae_title: str) -> DimseNode:
        return DimseNode("WORKBENCH", "127.0.0.1", self.listen.port, calling_ae_title=ae_title)

    def send(self, now: datetime = NOW, *, seconds: float = 60.0) -> None:
        wait = timedelta(seconds=seconds)
        deliver(self.catalog, self.pacs.node(), listen=self.listen, now=lambda: now, wait=wait)

    def post(self, *paths: Path) -> None:
        for path in paths:
            post(self.catalog, path, "PACS", outbox_folder=self.home / "outbox", now=NOW)

    def asked(self, *paths: Path) -> str:
        """Leave objects as a sender does that asks for commitment and dies; return the transaction UID."""
        self.post(*paths)
        claimed, transaction_uid = outbox.claim(self.catalog, "PACS", NOW, timedelta(minutes=1), limit=9), ""
        for event in (Event.VALID, Event.SEND, Event.SUCCESS):
            steps = [outbox.Step(each, event, "") for each in claimed]
            claimed = outbox.advance_all(self.catalog, steps, NOW)
        transaction_uid = new_uid()
        asking = [outbox.Step(each, Event.ASK, "") for each in claimed]
        outbox.advance_all(self.catalog, asking, NOW, transaction_uid=transaction_uid)
        for each in claimed:
            self.pacs.kept[each.sop_instance_uid] = Path(each.path).read_bytes()
        return transaction_uid

    def deliveries(self) -> list[Delivery]:
        return outbox.deliveries(self.catalog)

    def states(self) -> list[str]:
        return [each.state for each in self.deliveries()]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> phantoms.Phantom:
    return phantoms.write_series(tmp_path_factory.mktemp("series"), planes=2, study="beside")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    home = tmp_path / "bench"
    home.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    catalog = Catalog(home / "catalog.sqlite")
    with scripted(commitment={}) as pacs:
        (home / "workbench.toml").write_text(
            f'[nodes.PACS]\nae_title = "SCRIPTED"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
            f'[nodes.OTHER]\nae_title = "OTHER"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
        )
        yield Bench(home, ListenAddress(port=port, catalog=catalog), catalog, pacs)
    catalog.close()


def report_on(transaction_uid: str, kept: list[str], failed: dict[str, int] | None = None) -> Dataset:
    report = Dataset()
    report.TransactionUID = transaction_uid
    for keyword, uids in (("ReferencedSOPSequence", kept), ("FailedSOPSequence", list(failed or ()))):
        items = []
        for uid in uids:
            item = Dataset()
            item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
            item.ReferencedSOPInstanceUID = uid
            if keyword == "FailedSOPSequence":
                item.FailureReason = (failed or {})[uid]
            items.append(item)
        if items:
            setattr(report, keyword, items)
    return report


def tell(node: DimseNode, report: Dataset, event_type: int = ALL_KEPT) -> int:
    roles = [build_role(COMMITMENT, scp_role=True)]
    with associate(node, [service(COMMITMENT)], roles=roles) as association:
        return send_report(association, event_type, report)


def test_28_a_report_that_reaches_workbench_receive_reaches_the_send_beside_it(
    bench: Bench, series: phantoms.Phantom, start_receive: Callable[..., Any]
) -> None:
    receiving = start_receive(bench.home, anyone=False, port=bench.listen.port)
    bench.pacs.report_to = bench.listen.port
    bench.post(*series.paths)
    bench.send()
    for each in bench.deliveries():
        names = [stage.name for stage in each.stages]
        assert names == ["queued", "validated", "sending", "stored", "committed", "confirmed"]
    assert receiving.end() == 0


def test_28_a_send_beside_workbench_receive_does_not_confirm_what_the_node_will_not_keep(
    bench: Bench, series: phantoms.Phantom, start_receive: Callable[..., Any]
) -> None:
    receiving = start_receive(bench.home, anyone=False, port=bench.listen.port)
    first, second = series.sop_instance_uids
    bench.pacs.report_to, bench.pacs.commitment = bench.listen.port, {first: WILL_NOT}
    bench.post(*series.paths)
    bench.send()
    assert {each.sop_instance_uid: each.state for each in bench.deliveries()} == {
        first: "failed",
        second: "confirmed",
    }
    assert receiving.end() == 0


def test_28_a_report_that_comes_while_no_send_runs_counts_for_the_next_one(
    bench: Bench, series: phantoms.Phantom, start_receive: Callable[..., Any]
) -> None:
    first, second = series.sop_instance_uids
    transaction_uid = bench.asked(*series.paths)
    receiving = start_receive(bench.home, anyone=False, port=bench.listen.port)
    report = report_on(transaction_uid, [first], {second: NOT_HERE})
    assert tell(bench.calling("SCRIPTED"), report, SOME_FAILED) == 0x0000
    assert bench.states() == ["committed", "queued"]
    receiving.process.kill()  # it was durable before it was acknowledged
    receiving.process.wait()
    bench.pacs.received.clear()
    bench.send(LATER, seconds=0.5)
    assert bench.states() == ["confirmed", "confirmed"]
    assert bench.pacs.order == [second], "what was committed to is neither sent nor asked about again"
    assert {str(each.ReferencedSOPInstanceUID) for each in bench.pacs.asked[0].ReferencedSOPSequence} == {
        second
    }


def test_28_a_report_that_nothing_waits_for_is_acknowledged_and_changes_nothing(
    bench: Bench, series: phantoms.Phantom, start_receive: Callable[..., Any]
) -> None:
    uids, transaction_uid = list(series.sop_instance_uids), bench.asked(*series.paths)
    receiving = start_receive(bench.home, anyone=True, port=bench.listen.port)
    before = bench.deliveries()
    ours = report_on(transaction_uid, uids)
    for calling, report, event_type, status in (
        ("SCRIPTED", report_on(new_uid(), uids), ALL_KEPT, 0x0000),
        ("SCRIPTED", report_on("", uids), ALL_KEPT, 0x0000),
        ("OTHER", ours, ALL_KEPT, 0x0000),
        ("SCRIPTED", ours, 3, 0x0113),
        ("STRANGER", ours, ALL_KEPT, 0x0211),
    ):
        assert tell(bench.calling(calling), report, event_type) == status, calling
        assert bench.deliveries() == before, calling
    assert tell(bench.calling("SCRIPTED"), ours) == 0x0000
    after = bench.deliveries()
    assert bench.states() == ["committed", "committed"]
    assert tell(bench.calling("SCRIPTED"), ours) == 0x0000, "twice is once"
    assert bench.deliveries() == after
    assert receiving.end() == 0


def test_28_a_report_that_puts_off_is_heeded_once_and_the_node_is_asked_anew(
    bench: Bench, series: phantoms.Phantom, start_receive: Callable[..., Any]
) -> None:
    uid, transaction_uid = series.sop_instance_uids[0], bench.asked(series.paths[0])
    receiving = start_receive(bench.home, anyone=False, port=bench.listen.port)
    report = report_on(transaction_uid, [], {uid: POSTPONED})
    assert tell(bench.calling("SCRIPTED"), report, SOME_FAILED) == 0x0000
    put_off = bench.deliveries()
    assert (put_off[0].state, put_off[0].transaction_uid) == ("stored", None)
    assert tell(bench.calling("SCRIPTED"), report_on(transaction_uid, [uid])) == 0x0000
    assert bench.deliveries() == put_off
    assert receiving.end() == 0


def test_28_a_report_that_reaches_another_send_reaches_the_one_that_asked(
    bench: Bench, series: phantoms.Phantom
) -> None:
    transaction_uid = bench.asked(*series.paths)
    other = DimseNode("OTHER", "127.0.0.1", 1)
    with Listener(other, bench.listen) as listener, listener.listening():
        report = report_on(transaction_uid, list(series.sop_instance_uids))
        assert tell(bench.calling("SCRIPTED"), report) == 0x0000
    assert bench.states() == ["committed", "committed"]
