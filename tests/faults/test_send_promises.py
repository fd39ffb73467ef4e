"""What sending promises, whatever node and line do: bounded waits, the same bytes, order, nothing lost."""

import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pydicom
import pynetdicom.association
import pynetdicom.service_class
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian

from catalog import outbox
from catalog.database import Catalog
from catalog.deliveries import TERMINAL, Event, State
from catalog.errors import DeliveryError
from catalog.identifiers import digest
from pipelines import phantoms
from tests.peers.caller import RAW_DATA, an_object
from tests.peers.line import Fault, line_to
from tests.peers.scripted import (
    ABORT,
    CANNOT_UNDERSTAND,
    CRASH_AFTER_SUCCESS,
    OUT_OF_RESOURCES,
    SILENCE,
    SUCCESS,
    WARNING,
    ScriptedPacs,
    Step,
    scripted,
)
from workbench.pacs import deliver as delivering
from workbench.pacs.deliver import deliver, deliver_to_all
from workbench.pacs.dimse import find, find_elements
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.fingerprint import differences, fingerprint
from workbench.pacs.instance import Instance
from workbench.pacs.node import ListenAddress
from workbench.pacs.posting import post
from workbench.routing.carriers import Carriers

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


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is told as Linux does")
def test_36_a_large_instance_is_read_back_in_bounded_memory(
    start_receive: Callable[..., Any], tmp_path: Path
) -> None:
    size = 128 << 20
    ds = an_object()
    del ds[0x00091001]
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.add_new(0x7FE10010, "LO", "TEST")
    ds.save_as(path := tmp_path / "large.dcm", enforce_file_format=True)
    with path.open("ab") as file:
        file.write(b"\xe1\x7f\x01\x10OB\0\0" + size.to_bytes(4, "little"))
        file.truncate(file.tell() + size)
    uids = str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)
    large = Instance(path, RAW_DATA, ds.SOPInstanceUID, str(ExplicitVRLittleEndian), *uids)
    home = tmp_path / "bench"
    home.mkdir()
    (home / "workbench.toml").write_text(
        '[nodes.SENDER]\nae_title = "SENDER"\nmay = ["store", "find", "retrieve"]\n'
        'host = "127.0.0.1"\nport = 104\n'
    )
    receiving = start_receive(home)
    node = DimseNode("WORKBENCH", "127.0.0.1", receiving.port, name="PACS", calling_ae_title="SENDER")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = peak_memory()
    with node.carrying(ListenAddress()) as carrier:
        with carrier.storing([large]) as store:
            assert store(large).event is Event.SUCCESS
        with carrier.reading_back([large]) as read:
            assert read(large).words == "read back by C-GET, identical"
    assert peak_memory() - before < size / 8
    assert set(tmp_path.iterdir()) == {path, home}, "nothing is left"


def peak_memory() -> int:
    """Bytes that this process had at most."""
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def test_27_a_batch_longer_than_its_lease_stays_with_the_sender_at_work(
    sqlite_catalog: Catalog,
    tmp_path: Path,
    series: list[phantoms.Phantom],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else two senders take it from each other in turn, until each object was sent twenty times."""
    stored, lease = ScriptedPacs.store, timedelta(seconds=1)

    def slowly(pacs: ScriptedPacs, event: Any) -> int:
        time.sleep(0.5)
        return stored(pacs, event)

    monkeypatch.setattr(ScriptedPacs, "store", slowly)
    monkeypatch.setattr(delivering, "LEASE", lease)
    queue_all(sqlite_catalog, tmp_path, series)
    with scripted() as pacs:
        node = pacs.node()

        def send_on() -> None:
            while any(State(each.state) not in TERMINAL for each in outbox.deliveries(sqlite_catalog)):
                deliver(
                    sqlite_catalog,
                    node,
                    listen=ListenAddress(),
                    now=lambda: datetime.now(UTC),
                    wait=timedelta(0),
                )
                time.sleep(0.05)

        senders = [threading.Thread(target=send_on) for _ in range(2)]
        for each in senders:
            each.start()
        for each in senders:
            each.join()
        ended = outbox.deliveries(sqlite_catalog)
    assert {each.state for each in ended} == {State.CONFIRMED.value}
    assert [each.attempts for each in ended] == [1] * 4
    assert len(pacs.received) == 4


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element in Explicit VR Little Endian, in the long form where a length is said."""
    if length is None:
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value
    return struct.pack("<HH2sHI", group, number, vr, 0, length) + value


UNENDED = 0xFFFFFFFF
NAMED = element(8, 0x18, b"UI", b"1.2.3\0")
NESTED = (element(0x8, 0x1140, b"SQ", b"", UNENDED) + struct.pack("<HHI", 0xFFFE, 0xE000, UNENDED)) * 3000
GARBAGE = {
    "an unended element": NAMED + element(0x7FE0, 0x10, b"OW", b"abcdef", UNENDED),
    "a nest of sequences": NAMED + NESTED,
    "a cut sequence": NAMED + element(0x40, 0xA730, b"SQ", b"0123456789", 10),
    "an unknown representation": NAMED + element(0x10, 0x10, b"ZZ", b"Meier^Anna"),
    "noise": bytes(range(255, -1, -1)) * 8,
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_27_garbage_that_is_read_back_is_a_reason_in_words_and_rests(
    sqlite_catalog: Catalog,
    tmp_path: Path,
    series: list[phantoms.Phantom],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """Else a node that stored an object once had it failed, within seconds, with a traceback each time."""
    encode = pynetdicom.association.encode

    def encoded(ds: Any, *how: Any, **more: Any) -> bytes | None:
        return GARBAGE[kind] if "PixelData" in ds else encode(ds, *how, **more)

    monkeypatch.setattr(pynetdicom.association, "encode", encoded)
    path = series[0].paths[0]
    post(sqlite_catalog, path, "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
    with scripted() as pacs:
        send(sqlite_catalog, pacs.node(**QUICK))
    (delivery,) = outbox.deliveries(sqlite_catalog)
    assert delivery.state in (State.STORED.value, State.FAILED.value)
    assert delivery.state == State.FAILED.value or delivery.next_attempt > NOW
    said = " ".join(each.text for each in delivery.stages)
    assert "cannot be read" in said or "differs" in said
    assert "Meier" not in said
    assert len(pacs.received) == 1


@pytest.mark.parametrize("kind", GARBAGE)
def test_27_garbage_that_answers_a_question_is_an_error_in_words(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Or no answer at all; never an error of a parser."""
    monkeypatch.setattr(pynetdicom.service_class, "encode", lambda *_, **__: GARBAGE[kind])

    with scripted() as pacs:
        pacs.kept["1.2.3"] = b""
        node = pacs.node(**QUICK)
        identifier = pydicom.Dataset()
        identifier.QueryRetrieveLevel, identifier.SOPInstanceUID = "IMAGE", "1.2.3"
        for ask in (find, find_elements):
            with suppress(DeliveryError):
                ask(node, identifier)


def test_27_an_error_of_whatever_kind_puts_a_batch_off_and_gives_it_up(
    sqlite_catalog: Catalog, tmp_path: Path, series: list[phantoms.Phantom], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next sender has it at once, twenty times within minutes, and then it failed."""

    def stumble(*_: Any) -> None:
        raise RecursionError("Meier^Anna")

    queue_all(sqlite_catalog, tmp_path, series)
    monkeypatch.setattr(delivering._Sender, "_read_back", stumble)
    with scripted() as pacs:
        with pytest.raises(RecursionError):
            send(sqlite_catalog, pacs.node(**QUICK))
        told: list[str] = []
        receipts = deliver_to_all(
            sqlite_catalog,
            [pacs.node(**QUICK)],
            listen=ListenAddress(),
            now=lambda: NOW + timedelta(hours=1),
            wait=WAIT,
            limited=told.append,
        )
        assert len(receipts) == 4
        assert len(told) == 1
        assert "RecursionError" in told[0]
    assert outbox.due(sqlite_catalog, "PACS", NOW + timedelta(hours=1)) == []
    for each in outbox.deliveries(sqlite_catalog):
        assert (each.state, each.attempts) == (State.STORED.value, 2)
        assert each.reason == "the sender stopped: RecursionError"
    assert outbox.claim(sqlite_catalog, "PACS", NOW + timedelta(hours=2), WAIT, limit=4)


def test_27_an_error_of_whatever_kind_lets_the_other_nodes_of_a_router_go_on(
    sqlite_catalog: Catalog, tmp_path: Path, series: list[phantoms.Phantom], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: Any) -> None:
        raise RecursionError("Meier^Anna")

    queue_all(sqlite_catalog, tmp_path, series)
    monkeypatch.setattr(delivering._Sender, "_read_back", stumble)
    told: list[tuple[str, str]] = []
    with scripted() as pacs:
        carriers = Carriers(
            sqlite_catalog,
            {"PACS": pacs.node(**QUICK)},
            ListenAddress(),
            now=lambda: NOW + timedelta(hours=1),
            wait=WAIT,
            tell=lambda node, _receipts, fault: told.append((node, fault)),
        )
        assert carriers.look() == 1
        assert carriers.wait(20)
        assert carriers.look() == 0, "it rests"
    assert told == [("PACS", "RecursionError")]
