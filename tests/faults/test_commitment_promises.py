"""28: storage commitment as SCU: every reason, a report that is lost, and one that is late."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog import outbox
from catalog.database import Catalog
from pipelines import phantoms
from tests.peers.scripted import ScriptedPacs, scripted
from workbench.pacs.deliver import deliver
from workbench.pacs.node import ListenAddress
from workbench.pacs.posting import post
from workbench.pacs.receive import Listener

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> phantoms.Phantom:
    return phantoms.write_series(tmp_path_factory.mktemp("series"), planes=2, study="commitment")


@pytest.fixture
def listen() -> ListenAddress:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return ListenAddress(port=int(probe.getsockname()[1]))


def send(
    catalog: Catalog, pacs: ScriptedPacs, listen: ListenAddress, *, seconds: float = 10.0, now: datetime = NOW
) -> None:
    deliver(catalog, pacs.node(), listen=listen, now=lambda: now, wait=timedelta(seconds=seconds))


def states(catalog: Catalog) -> dict[str, str]:
    return {each.sop_instance_uid: each.state for each in outbox.deliveries(catalog)}


@pytest.mark.parametrize(
    ("reason", "state", "words"),
    [
        (0x0112, "queued", "the node does not hold the instance (failure reason 0112)"),
        (0x0119, "failed", "the node holds this UID as an instance of another SOP class"),
        (0x0122, "failed", "the node does not commit to instances of this SOP class"),
        (0x0131, "stored", "the node saw this transaction UID before"),
        (0x0115, "stored", "the node finds an argument of the request invalid"),
        (0x0110, "stored", "the node failed while it processed the request"),
        (0x0213, "stored", "the node has reached a limit"),
        (0x4711, "stored", "the node gave a reason nobody defined (failure reason 4711)"),
    ],
)
def test_28_committed_is_said_of_what_the_node_committed_to_and_of_nothing_else(
    sqlite_catalog: Catalog,
    tmp_path: Path,
    series: phantoms.Phantom,
    listen: ListenAddress,
    reason: int,
    state: str,
    words: str,
) -> None:
    first, second = series.sop_instance_uids
    with scripted(commitment={first: reason}) as pacs:
        pacs.report_to = listen.port
        for path in series.paths:
            post(sqlite_catalog, path, "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
        send(sqlite_catalog, pacs, listen)
    assert states(sqlite_catalog) == {first: state, second: "confirmed"}
    by_uid = {each.sop_instance_uid: each for each in outbox.deliveries(sqlite_catalog)}
    assert words in by_uid[first].reason
    assert "committed" not in {stage.name for stage in by_uid[first].stages}
    assert "committed" in {stage.name for stage in by_uid[second].stages}


def test_28_what_the_node_says_it_lost_is_sent_again_with_the_same_bytes(
    sqlite_catalog: Catalog, tmp_path: Path, series: phantoms.Phantom, listen: ListenAddress
) -> None:
    uid = series.sop_instance_uids[0]
    with scripted(commitment={uid: 0x0112}) as pacs:
        pacs.report_to = listen.port
        post(sqlite_catalog, series.paths[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
        send(sqlite_catalog, pacs, listen)
        pacs.commitment = {}
        send(sqlite_catalog, pacs, listen, now=NOW + timedelta(days=1))
    assert states(sqlite_catalog) == {uid: "confirmed"}
    assert len(pacs.received) == 2
    assert len(set(pacs.received)) == 1


def test_28_a_report_that_is_lost_is_not_waited_for_without_end_and_reading_back_decides(
    sqlite_catalog: Catalog, tmp_path: Path, series: phantoms.Phantom, listen: ListenAddress
) -> None:
    with scripted(commitment={}) as pacs:
        post(sqlite_catalog, series.paths[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
        send(sqlite_catalog, pacs, listen, seconds=0.5)
    (delivery,) = outbox.deliveries(sqlite_catalog)
    assert delivery.state == "confirmed"
    assert "committed" not in {stage.name for stage in delivery.stages}
    assert "did not report within 0.5 seconds" in delivery.stages[-1].text


def test_28_a_report_that_comes_late_after_a_restart_is_answered_and_changes_nothing(
    sqlite_catalog: Catalog, tmp_path: Path, series: phantoms.Phantom, listen: ListenAddress
) -> None:
    uid = series.sop_instance_uids[0]
    with scripted(commitment={uid: 0x0112}) as pacs:
        post(sqlite_catalog, series.paths[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
        send(sqlite_catalog, pacs, listen, seconds=0.5)
        before = outbox.deliveries(sqlite_catalog)
        with Listener(pacs.node(), listen) as listener, listener.listening():
            pacs.report(pacs.asked[0], listen.port)
    assert outbox.deliveries(sqlite_catalog) == before


def test_28_where_the_port_is_taken_what_is_sent_is_read_back_and_the_receipt_says_so(
    sqlite_catalog: Catalog, tmp_path: Path, series: phantoms.Phantom, listen: ListenAddress
) -> None:
    with socket.create_server((listen.host, listen.port)), scripted(commitment={}) as pacs:
        post(sqlite_catalog, series.paths[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
        send(sqlite_catalog, pacs, listen, seconds=0.5)
    (delivery,) = outbox.deliveries(sqlite_catalog)
    assert delivery.state == "confirmed"
    assert f"Cannot listen on {listen.host}:{listen.port}" in delivery.stages[-1].text


def test_28_a_report_is_listened_for_as_soon_as_the_port_is_free(
    sqlite_catalog: Catalog, tmp_path: Path, series: phantoms.Phantom, listen: ListenAddress
) -> None:
    ended = threading.Event()

    def report(pacs: ScriptedPacs) -> None:
        while not ended.wait(0.05):
            if pacs.asked:
                holder.close()
                with suppress(OSError):
                    socket.create_connection((listen.host, listen.port)).close()
                    pacs.report(pacs.asked[0], listen.port)
                    return

    with (
        socket.create_server((listen.host, listen.port)) as holder,
        scripted(commitment={}) as pacs,
        ThreadPoolExecutor(1) as beside,
    ):
        post(sqlite_catalog, series.paths[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
        reporting = beside.submit(report, pacs)
        send(sqlite_catalog, pacs, listen, seconds=60)
        ended.set()
        reporting.result()
    (delivery,) = outbox.deliveries(sqlite_catalog)
    assert "committed" in {stage.name for stage in delivery.stages}


def test_28_the_port_is_free_again_when_nothing_is_expected_any_more(
    sqlite_catalog: Catalog, tmp_path: Path, series: phantoms.Phantom, listen: ListenAddress
) -> None:
    with scripted(commitment={}) as pacs, pacs.node().carrying(listen):
        with socket.create_server((listen.host, listen.port)):
            pass
        pacs.report_to = listen.port
        post(sqlite_catalog, series.paths[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
        send(sqlite_catalog, pacs, listen)
        with socket.create_server((listen.host, listen.port)):
            pass
    assert "committed" in {stage.name for stage in outbox.deliveries(sqlite_catalog)[0].stages}
