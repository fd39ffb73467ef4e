"""32: clocks that are set, of receiver and sender: nothing is lost, ended or sent as other bytes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Semaphore
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import outbox, receptions
from catalog.database import Catalog
from catalog.deliveries import LONGEST_REST, TERMINAL, State
from catalog.identifiers import new_uid
from catalog.intake import Intake
from pipelines import phantoms
from tests.peers.caller import an_object, associated, stores
from tests.peers.scripted import CRASH_AFTER_SUCCESS, OUT_OF_RESOURCES, SUCCESS, Step, scripted
from workbench.pacs.commitments import TRIED_SECONDS, Commitments
from workbench.pacs.deliver import LEASE, deliver
from workbench.pacs.journal import Journal
from workbench.pacs.node import ListenAddress
from workbench.pacs.owed import Owed, OwedAnswers
from workbench.pacs.posting import post

NOW = datetime(2026, 11, 30, tzinfo=UTC)
JUMPS = st.sampled_from([timedelta(hours=-1), timedelta(days=10), timedelta(days=-3), timedelta(days=4500)])
STEPS: st.SearchStrategy[Step] = st.sampled_from([SUCCESS, OUT_OF_RESOURCES, CRASH_AFTER_SUCCESS])


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> phantoms.Phantom:
    return phantoms.write_series(tmp_path_factory.mktemp("ct"), planes=2, study="clocks")


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(jumps=st.lists(JUMPS, min_size=3, max_size=6), steps=st.lists(STEPS, max_size=4))
def test_32_whatever_the_clock_does_nothing_is_lost_or_sent_as_other_bytes(
    series: phantoms.Phantom, jumps: list[timedelta], steps: list[Step]
) -> None:
    with TemporaryDirectory() as name, scripted(*steps) as pacs:
        catalog, now = Catalog(Path(name) / "catalog.sqlite"), NOW
        node = pacs.node(answer_seconds=0.7, connection_seconds=0.7)

        def send() -> None:
            deliver(catalog, node, listen=ListenAddress(), now=lambda: now, wait=timedelta(seconds=1))

        for path in series.paths:
            post(catalog, path, "PACS", outbox_folder=Path(name) / "outbox", now=now)
        for jump in jumps:
            send()
            now += jump
        for day in range(8):  # the clock is right again, and earlier than it ever was
            now = NOW + timedelta(days=2 * day)
            send()
        ended = outbox.deliveries(catalog)
        catalog.close()
    assert [State(each.state) for each in ended] == [State.CONFIRMED] * 2
    assert State.CONFIRMED in TERMINAL
    assert pacs.kept.keys() == set(series.sop_instance_uids)
    assert len(set(pacs.received)) == 2, "the same bytes on every try"


@pytest.mark.parametrize("wrong", [timedelta(days=10), timedelta(days=4500)])
def test_32_what_a_wrong_clock_put_off_is_due_when_it_is_right(
    sqlite_catalog: Catalog, tmp_path: Path, series: phantoms.Phantom, wrong: timedelta
) -> None:
    """Else it would rest until the day comes that the clock had said."""
    first, second = series.paths
    post(sqlite_catalog, first, "PACS", outbox_folder=tmp_path / "outbox", now=NOW + wrong)
    assert len(outbox.due(sqlite_catalog, "PACS", NOW)) == 1, "queued while it was wrong"
    (claimed,) = outbox.claim(sqlite_catalog, "PACS", NOW + wrong, LEASE)
    assert not outbox.due(sqlite_catalog, "PACS", NOW + wrong), "it is with a sender, who dies now"
    (again,) = outbox.claim(sqlite_catalog, "PACS", NOW, LEASE)
    assert again.attempts == claimed.attempts + 1
    with scripted(OUT_OF_RESOURCES) as pacs:
        outbox.release(sqlite_catalog, [again])
        deliver(sqlite_catalog, pacs.node(), listen=ListenAddress(), now=lambda: NOW + wrong, wait=LEASE)
        post(sqlite_catalog, second, "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
        assert not outbox.due(sqlite_catalog, "PACS", NOW + wrong), (
            "it rests, and the next of its study waits"
        )
        deliver(sqlite_catalog, pacs.node(), listen=ListenAddress(), now=lambda: NOW, wait=LEASE)
    assert {each.state for each in outbox.deliveries(sqlite_catalog)} == {"confirmed"}
    assert pacs.order == [series.sop_instance_uids[0], *series.sop_instance_uids]


def test_32_no_rest_and_no_lease_is_longer_than_what_is_taken_for_a_wrong_clock(
    sqlite_catalog: Catalog, tmp_path: Path, series: phantoms.Phantom
) -> None:
    post(sqlite_catalog, series.paths[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
    outbox.claim(sqlite_catalog, "PACS", NOW, timedelta(days=30))
    held = [NOW, NOW + LONGEST_REST - timedelta(seconds=1)]
    assert [outbox.due(sqlite_catalog, "PACS", at) for at in held] == [[], []]
    assert len(outbox.due(sqlite_catalog, "PACS", NOW + LONGEST_REST)) == 1


def test_32_a_clock_that_jumps_gives_up_no_report_of_storage_commitment(
    sqlite_catalog: Catalog, tmp_path: Path
) -> None:
    owed = OwedAnswers(tmp_path / "commitments")
    long_ago = datetime.now(UTC) - timedelta(days=10)  # as a request looks when the clock went on by 10 days
    kept = owed.keep(Owed("SCANNER", new_uid(), (("1.2.840.10008.5.1.4.1.1.2", "1.2.3"),), long_ago))
    assert kept is not None
    with Intake(sqlite_catalog, tmp_path / "received") as intake:
        commitments = Commitments(intake, owed, {}, Journal(None))
        begun = 100.0
        for seconds in range(0, int(TRIED_SECONDS), 1800):
            commitments.look(begun + seconds)
            assert owed.read(kept.name) is not None, f"given up after {seconds} s of trying"
        commitments.look(begun + TRIED_SECONDS + 2 * 3600)
    assert owed.read(kept.name) is None


# --- a receiver under another clock ----------------------------------------------------------------------

TIMES = ["+10d", "-1h", "@2026-10-25 02:59:58", "@2026-03-29 01:59:58", "@2038-01-19 03:14:05", "+0"]
"""Ten days ahead, one hour back, both changes of summer time, the end of 32 bits, and right again."""


class SetClock:
    """The clock of other processes, set while they run (libfaketime); what measures durations goes on."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._file, self._next = folder / "time", folder / "next"
        self.set("+0")
        self.before = [
            "env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={self._file}", "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1", "TZ=Europe/Berlin",
        ]  # fmt: skip

    def set(self, time: str) -> None:
        self._next.write_text(f"{time}\n")
        self._next.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path, missing: Callable[[str], NoReturn]) -> SetClock:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        missing("libfaketime is not there: apt-get install faketime, or as root tests/install_system.sh")
    return SetClock(found[0], tmp_path)


def test_32_P1_a_receiver_whose_clock_is_set_ends_no_association_and_loses_nothing(
    start_receive: Callable[..., Any], clock: SetClock, tmp_path: Path
) -> None:
    receiving = start_receive(tmp_path / "bench", before=clock.before)
    stored, is_enough = Semaphore(0), Event()
    sent: list[str] = []

    def send() -> bool:
        association = associated(receiving)
        while not is_enough.is_set():
            sent.append((made := an_object(1 << 20)).SOPInstanceUID)
            assert association.send_c_store(made).Status == 0x0000
            stored.release()
        is_established = bool(association.is_established)
        association.release()
        return is_established

    with ThreadPoolExecutor(1) as thread:
        sender = thread.submit(send)
        try:
            for time in TIMES:
                clock.set(time)
                for _ in range(3):  # one that was on its way, and two more
                    assert stored.acquire(timeout=30), time
        finally:
            is_enough.set()
        assert sender.result(), "one association for all of them"
    catalog = Catalog(tmp_path / "bench" / "catalog.sqlite")
    receiving.settle()
    came = [
        each.sop_instance_uid for each in receptions.due(catalog, tmp_path / "bench" / "received", limit=1000)
    ]
    assert came == sent, "on record in the order in which they came, whatever the clock said"
    catalog.close()
    clock.set("-20d")
    assert receiving.end() == 0
    again = start_receive(tmp_path / "bench", before=clock.before)
    assert len([path for path in again.files if path.suffix == ".dcm"]) == len(sent)
    assert stores(again)
    assert again.end() == 0
