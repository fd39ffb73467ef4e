"""29: a bad line between a sender and `workbench receive`, either way: bounded time, one of each at last."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa

from catalog import outbox
from catalog.database import Catalog
from catalog.identifiers import new_uid
from catalog.intake import Intake
from pipelines import phantoms
from tests.peers.caller import stores
from tests.peers.line import Fault, line_to
from workbench.pacs.commitments import Commitments
from workbench.pacs.deliver import deliver
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.journal import Journal
from workbench.pacs.node import ListenAddress
from workbench.pacs.owed import Owed, OwedAnswers
from workbench.pacs.posting import post
from workbench.pacs.receive import Listener

NOW = datetime(2026, 11, 30, tzinfo=UTC)
BOUND_SECONDS = 30.0
FAULTS = {
    "latency": (Fault(latency_s=0.02), True),
    "reset in the middle of an object": (Fault(reset_after=20_000), False),
    "reset before its answer arrives": (Fault(reset_back_after=400), False),
    "half open in the middle of an object": (Fault(half_open_after=20_000), False),
    "one byte a second to the receiver": (Fault(drip_to_s=1.0), False),
    "one byte a second from the receiver": (Fault(drip_s=1.0), False),
    "everything arrives twice": (Fault(twice=True), True),
    "black hole": (Fault(black_hole=True), False),
}


@pytest.fixture(scope="module")
def receiving(start_receive: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("bench")
    (home / "workbench.toml").write_text(
        '[nodes.SENDER]\nae_title = "SENDER"\nmay = ["store", "find", "retrieve"]\n'
        'host = "127.0.0.1"\nport = 104\n'
    )
    return start_receive(home)


@pytest.mark.parametrize(("fault", "arrives"), FAULTS.values(), ids=FAULTS)
def test_29_what_comes_over_a_bad_line_is_there_once_and_others_are_received_meanwhile(
    receiving: Any, sqlite_catalog: Catalog, tmp_path: Path, fault: Fault, arrives: bool
) -> None:
    stored = phantoms.sphere((2, 128, 128), (2.0, 1.0, 1.0), radius_mm=30.0)
    series = phantoms.write_series(tmp_path / "ct", stored=stored, study=new_uid())
    before = len(receiving.files)
    for path in series.paths:
        post(sqlite_catalog, path, "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
    with line_to("127.0.0.1", receiving.port, fault) as line:
        node = DimseNode(
            "WORKBENCH", "127.0.0.1", line.port, name="PACS", calling_ae_title="SENDER",
            connection_seconds=2.0, answer_seconds=2.0,
        )  # fmt: skip

        def send(days: int) -> set[str]:
            now = NOW + timedelta(days=days)
            deliver(sqlite_catalog, node, listen=ListenAddress(), now=lambda: now, wait=timedelta(seconds=1))
            return {each.state for each in outbox.deliveries(sqlite_catalog)}

        began = time.monotonic()
        states = send(0)
        assert time.monotonic() - began < BOUND_SECONDS
        assert (states == {"confirmed"}) == arrives, [
            each.stages for each in outbox.deliveries(sqlite_catalog)
        ]
        assert stores(receiving), "a good peer is received while the line is bad"
        line.mend()
        assert send(1) == {"confirmed"}
    files = [path for path in receiving.files if path.suffix == ".dcm"]
    assert len(files) == before + len(series.paths) + 1, "each object once, and that of the good peer"
    kept = {str(ds.SOPInstanceUID): ds.PixelData for ds in map(pydicom.dcmread, files) if "PixelData" in ds}
    for uid, path in zip(series.sop_instance_uids, series.paths, strict=True):
        assert kept[uid] == pydicom.dcmread(path).PixelData
    catalog = Catalog(receiving.home / "catalog.sqlite")
    with catalog.reading() as connection:
        states = set(connection.scalars(sa.text("SELECT state FROM files")))
        named = list(connection.scalars(sa.text("SELECT folder || '/' || name FROM files")))
    catalog.close()
    assert states == {"indexed"}, "no conflict, and nothing in quarantine"
    assert sorted(named) == sorted(map(str, files))


@pytest.mark.parametrize(
    "fault",
    [Fault(reset_after=400), Fault(half_open_after=300), Fault(drip_s=1.0), Fault(black_hole=True)],
    ids=["reset", "half open", "one byte a second", "black hole"],
)
def test_29_a_report_of_commitment_over_a_bad_line_stays_owed_and_arrives_when_it_is_good(
    sqlite_catalog: Catalog, tmp_path: Path, fault: Fault
) -> None:
    owed = OwedAnswers(tmp_path / "commitments")
    kept = owed.keep(Owed("SCANNER", new_uid(), (("1.2.840.10008.5.1.4.1.1.2", "1.2.3"),), datetime.now(UTC)))
    assert kept is not None
    bench = DimseNode("WORKBENCH", "127.0.0.1", 104, calling_ae_title="ASKER")
    with (
        Intake(sqlite_catalog, tmp_path / "received") as intake,
        Listener(bench, ListenAddress(port=0)) as listener,
        listener.listening(),
        line_to("127.0.0.1", listener.port, fault) as line,
    ):
        listener.reports.expect(kept.transaction_uid)
        node = DimseNode("ASKER", "127.0.0.1", line.port, connection_seconds=2.0, answer_seconds=2.0)
        commitments = Commitments(intake, owed, {"SCANNER": node}, Journal(None))
        commitments.look(0.0)
        began = time.monotonic()
        commitments.look(100.0)
        assert line.connections == 1
        assert time.monotonic() - began < BOUND_SECONDS
        assert owed.read(kept.name) is not None
        line.mend()
        commitments.look(200.0)
        assert owed.read(kept.name) is None
        report = listener.reports.wait(kept.transaction_uid, 0)
    assert report is not None
    assert report.failed == {"1.2.3": 0x0112}
