"""What sending promises, whatever node and line do: bounded waits, the same bytes, order, nothing lost."""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import outbox
from catalog.database import Catalog
from catalog.deliveries import TERMINAL, State
from catalog.identifiers import digest
from pipelines import phantoms
from tests.peers.line import Fault, line_to
from tests.peers.scripted import (
    ABORT,
    CANNOT_UNDERSTAND,
    CRASH_AFTER_SUCCESS,
    OUT_OF_RESOURCES,
    SILENCE,
    SUCCESS,
    WARNING,
    Step,
    scripted,
)
from workbench.pacs.deliver import deliver, deliver_to_all
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.fingerprint import differences, fingerprint
from workbench.pacs.node import ListenAddress
from workbench.pacs.posting import post

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
WAIT = timedelta(seconds=1)
QUICK = {"answer_seconds": 0.7, "connection_seconds": 0.7}
STEPS: st.SearchStrategy[Step] = st.sampled_from(
    [SUCCESS, WARNING, OUT_OF_RESOURCES, CANNOT_UNDERSTAND, ABORT, SILENCE, CRASH_AFTER_SUCCESS]
)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[phantoms.Phantom]:
    """Two studies of two instances each, of 32 kB."""
    folder = tmp_path_factory.mktemp("series")
    stored = phantoms.sphere((2, 128, 128), (2.0, 1.0, 1.0), radius_mm=30.0)
    return [phantoms.write_series(folder / study, stored=stored, study=f"promises {study}") for study in "ab"]


def queue_all(catalog: Catalog, folder: Path, series: list[phantoms.Phantom]) -> None:
    for each in series:
        for path in each.paths:
            post(catalog, path, "PACS", outbox_folder=folder / "outbox", now=NOW)


def send(catalog: Catalog, node: DimseNode, now: datetime = NOW) -> float:
    """Deliver what is due, and say how long it took."""
    began = time.monotonic()
    deliver(catalog, node, listen=ListenAddress(), now=lambda: now, wait=WAIT)
    return time.monotonic() - began


def data_set_digest(path: Path) -> str:
    from pynetdicom.dsutils import split_dataset

    return digest(path.read_bytes()[split_dataset(path)[1] :])


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(scripts=st.lists(st.lists(STEPS, max_size=3), min_size=4, max_size=4))
def test_27_nothing_is_lost_or_told_too_early_and_order_is_kept_whatever_a_node_answers(
    series: list[phantoms.Phantom], scripts: list[list[Step]]
) -> None:
    files = {
        uid: path for each in series for uid, path in zip(each.sop_instance_uids, each.paths, strict=True)
    }
    by_uid = dict(zip(files, scripts, strict=True))
    with TemporaryDirectory() as name, scripted(by_uid=by_uid) as pacs:
        catalog = Catalog(Path(name) / "catalog.sqlite")
        queue_all(catalog, Path(name), series)
        now = NOW
        for _ in range(12):
            send(catalog, pacs.node(**QUICK), now)
            now += timedelta(days=1)
        ended = {each.sop_instance_uid: each for each in outbox.deliveries(catalog)}
        catalog.close()
    assert set(ended) == set(files)
    for uid, delivery in ended.items():
        assert State(delivery.state) in TERMINAL
        refused = CANNOT_UNDERSTAND in by_uid[uid][: _tries(by_uid[uid])]
        assert (delivery.state == "failed") == refused, (by_uid[uid], delivery.stages)
        if not refused:
            assert uid in pacs.kept
        stored = [stage.text for stage in delivery.stages if stage.name == "stored"]
        assert bool(stored) != refused
    for uid, sent in pacs.received:
        assert sent == data_set_digest(files[uid]), "the same bytes on every try"
    for each in series:
        first, second = each.sop_instance_uids
        if pacs.order.count(second):
            last_try_of_first = max(i for i, uid in enumerate(pacs.order) if uid == first)
            assert last_try_of_first < pacs.order.index(second), "order of a study"


def _tries(steps: list[Step]) -> int:
    """How many steps are met before one that ends it."""
    ends = [i for i, step in enumerate(steps) if step in (SUCCESS, WARNING, CANNOT_UNDERSTAND)]
    return ends[0] + 1 if ends else len(steps)


@pytest.mark.parametrize(
    ("step", "state", "words"),
    [
        (SUCCESS, "confirmed", "stored (status 0000)"),
        (WARNING, "confirmed", "stored, but the node changed some of the values (status B000)"),
        (
            OUT_OF_RESOURCES,
            "queued",
            "the node is out of resources, for instance of disk space (status A700)",
        ),
        (CANNOT_UNDERSTAND, "failed", "the node cannot understand the data set (status C000)"),
        (ABORT, "queued", "SCRIPTED did not answer C-STORE"),
        (SILENCE, "queued", "SCRIPTED did not answer C-STORE"),
        (CRASH_AFTER_SUCCESS, "queued", "SCRIPTED did not answer C-STORE"),
    ],
)
def test_27_the_receipt_says_what_the_node_answered(
    sqlite_catalog: Catalog,
    tmp_path: Path,
    series: list[phantoms.Phantom],
    step: Step,
    state: str,
    words: str,
) -> None:
    with scripted(step) as pacs:
        post(sqlite_catalog, series[0].paths[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
        send(sqlite_catalog, pacs.node(**QUICK))
    (delivery,) = outbox.deliveries(sqlite_catalog)
    assert delivery.state == state
    assert any(words in stage.text for stage in delivery.stages), delivery.stages


def test_27_what_waits_holds_up_its_own_study_and_no_other(
    sqlite_catalog: Catalog, tmp_path: Path, series: list[phantoms.Phantom]
) -> None:
    first, second = series[0].sop_instance_uids
    with scripted(by_uid={first: [OUT_OF_RESOURCES, OUT_OF_RESOURCES]}) as pacs:
        queue_all(sqlite_catalog, tmp_path, series)
        send(sqlite_catalog, pacs.node())
        assert pacs.order == [first, *series[1].sop_instance_uids]
        by_uid = {each.sop_instance_uid: each for each in outbox.deliveries(sqlite_catalog)}
        assert by_uid[second].reason == f"waits for {first}, which goes before it"
        send(sqlite_catalog, pacs.node(), NOW + timedelta(minutes=1))
        assert pacs.order[3:] == [first]
        send(sqlite_catalog, pacs.node(), NOW + timedelta(minutes=10))
        assert pacs.order[4:] == [first, second]


def test_27_one_that_failed_for_good_holds_up_nobody(
    sqlite_catalog: Catalog, tmp_path: Path, series: list[phantoms.Phantom]
) -> None:
    first, second = series[0].sop_instance_uids
    with scripted(by_uid={first: [CANNOT_UNDERSTAND]}) as pacs:
        queue_all(sqlite_catalog, tmp_path, series[:1])
        send(sqlite_catalog, pacs.node())
    states = {each.sop_instance_uid: each.state for each in outbox.deliveries(sqlite_catalog)}
    assert states == {first: "failed", second: "confirmed"}


def test_29_a_node_that_is_slow_holds_up_no_other(
    sqlite_catalog: Catalog, tmp_path: Path, series: list[phantoms.Phantom]
) -> None:
    with scripted() as slow, scripted() as quick, line_to("127.0.0.1", slow.port, Fault(drip_s=1.0)) as line:
        nodes = [
            DimseNode(
                "SCRIPTED", "127.0.0.1", line.port, name="A", answer_seconds=3.0, connection_seconds=3.0
            ),
            quick.node(name="B"),
        ]
        for node in nodes:
            for path in series[0].paths:
                post(sqlite_catalog, path, node.name, outbox_folder=tmp_path / "outbox", now=NOW)
        clock = lambda: datetime.now(UTC)  # noqa: E731
        deliver_to_all(sqlite_catalog, nodes, listen=ListenAddress(), now=clock, wait=WAIT)
        last = {
            name: [each.stages[-1] for each in outbox.deliveries(sqlite_catalog, node=name)] for name in "AB"
        }
    assert {stage.name for stage in last["A"]} == {"postponed"}
    assert {stage.name for stage in last["B"]} == {"confirmed"}
    assert max(stage.at for stage in last["B"]) < min(stage.at for stage in last["A"])


# --- the line --------------------------------------------------------------------------------------------

FAULTS = {
    "latency": (Fault(latency_s=0.02), True),
    "reset in the middle of an object": (Fault(reset_after=20_000), False),
    "half open in the middle of an object": (Fault(half_open_after=20_000), False),
    "one byte a second": (Fault(drip_s=1.0), False),
    "black hole": (Fault(black_hole=True), False),
}


@pytest.mark.parametrize(("fault", "arrives"), FAULTS.values(), ids=FAULTS)
def test_29_a_bad_line_costs_bounded_time_and_ends_with_one_copy_at_the_node(
    sqlite_catalog: Catalog, tmp_path: Path, series: list[phantoms.Phantom], fault: Fault, arrives: bool
) -> None:
    with scripted() as pacs, line_to("127.0.0.1", pacs.port, fault) as line:
        queue_all(sqlite_catalog, tmp_path, series[:1])
        node = DimseNode(
            "SCRIPTED", "127.0.0.1", line.port, name="PACS", connection_seconds=2.0, answer_seconds=2.0
        )
        took = send(sqlite_catalog, node)
        assert took < 20
        states = {each.state for each in outbox.deliveries(sqlite_catalog)}
        assert states == {"confirmed"} if arrives else "confirmed" not in states
        line.mend()
        send(sqlite_catalog, node, NOW + timedelta(days=1))
        assert {each.state for each in outbox.deliveries(sqlite_catalog)} == {"confirmed"}
    assert sorted(pacs.kept) == sorted(series[0].sop_instance_uids)
    for uid, path in zip(series[0].sop_instance_uids, series[0].paths, strict=True):
        (tmp_path / "back.dcm").write_bytes(pacs.kept[uid])
        same = fingerprint(pydicom.dcmread(path)), fingerprint(pydicom.dcmread(tmp_path / "back.dcm"))
        assert not differences(*same)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted as Linux lists them")
def test_21_associations_that_end_in_any_way_leave_neither_threads_nor_open_files(
    sqlite_catalog: Catalog, tmp_path: Path, series: list[phantoms.Phantom]
) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def others() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each not in before]

    post(sqlite_catalog, series[0].paths[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
    before, files = set(threading.enumerate()), open_files()
    ways: list[Step] = [ABORT, CRASH_AFTER_SUCCESS, OUT_OF_RESOURCES, SILENCE] * 4
    with scripted(*ways) as pacs:
        for day, _ in enumerate(ways):
            send(sqlite_catalog, pacs.node(**QUICK), NOW + timedelta(days=day))
        assert len(pacs.received) == len(ways)
    until = time.monotonic() + 20
    for thread in others():
        thread.join(max(until - time.monotonic(), 0))
    assert others() == []
    assert open_files() <= files
