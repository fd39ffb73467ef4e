"""What `workbench receive --metrics` writes: read by Prometheus's own parser, and exact."""

import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parsed

from catalog import outbox
from catalog.arrivals import Status
from catalog.database import Catalog
from workbench.pacs.metrics import GAUGES, Bench, Family, counted, exposition, publish, standing
from workbench.pacs.tallies import COUNTERS, SIZE, Tally, total
from workbench.settings import Settings

NOW = datetime(2026, 11, 30, 2, 0, tzinfo=UTC)
COUNT_AND_DIE = """
import os, signal, sys
from workbench.pacs.tallies import Tally
tally = Tally(int(sys.argv[1]))
for _ in range(3):
    tally.count("answers", "stored")
os.kill(os.getpid(), signal.SIGKILL)
"""

words = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(words, st.floats(allow_nan=False)))
def test_whatever_a_label_says_the_parser_of_prometheus_reads_it_back(values: dict[str, float]) -> None:
    family = Family("outbox_deliveries", "gauge", "Words.", [((("node", k),), v) for k, v in values.items()])
    text = exposition([family])
    (read,) = parsed(text)
    assert (read.name, read.type, read.documentation) == ("workbench_outbox_deliveries", "gauge", "Words.")
    assert {each.labels["node"]: each.value for each in read.samples} == values


def test_every_counter_is_there_from_the_start_and_says_what_it_counts() -> None:
    families = list(parsed(exposition(counted([Tally()]))))
    assert [each.name for each in families] == [f"workbench_receive_{name}" for name in COUNTERS]
    assert {each.type for each in families} == {"counter"}
    assert [each.documentation for each in families] == [kind.words for kind in COUNTERS.values()]
    assert {sample.value for each in families for sample in each.samples} == {0.0}


@pytest.mark.parametrize("status", Status)
def test_every_end_of_an_object_has_its_count(status: Status) -> None:
    tally = Tally()
    for name in ("answers", "objects"):
        tally.count(name, status)
        assert tally.counts()[name, status] == 1


def test_what_is_no_counter_is_no_count() -> None:
    with pytest.raises(KeyError):
        Tally().count("answers", "PATIENT^NAME")


def test_threads_lose_no_count() -> None:
    tally = Tally()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: [tally.count("associations") for _ in range(1000)], range(8)))
    assert tally.counts()["associations", ""] == 8000


def test_what_a_killed_process_counted_stays_and_the_next_counts_on() -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(SIZE)
        place = Tally(file.fileno())
        for started in (1, 2):
            done = subprocess.run(
                [sys.executable, "-c", COUNT_AND_DIE, str(file.fileno())],
                pass_fds=[file.fileno()],
                check=False,
            )
            assert done.returncode == -signal.SIGKILL
            assert place.counts()["answers", "stored"] == 3 * started
        own = Tally()
        own.count("answers", "stored")
        assert total([own, place])["answers", "stored"] == 7


@pytest.fixture
def bench(catalog: Catalog, tmp_path: Path) -> Bench:
    (tmp_path / "received" / "incoming" / "ab").mkdir(parents=True)
    return Bench(Settings.load(tmp_path), catalog, NOW)


def gauges(bench: Bench) -> dict[str, dict[tuple[str, ...], float]]:
    read = parsed(exposition(standing(bench)))
    return {
        each.name.removeprefix("workbench_"): {
            tuple(sample.labels.values()): sample.value for sample in each.samples
        }
        for each in read
    }


def test_the_outbox_is_told_by_node_and_state_and_how_long_it_is_overdue(
    bench: Bench, tmp_path: Path
) -> None:
    for number, node in enumerate(["PACS", "PACS", "ARCHIVE"]):
        (file := tmp_path / f"{number}.dcm").write_bytes(b"x")
        outbox.queue(
            bench.catalog, file, node, sop_instance_uid=f"1.2.{number}", sop_class_uid="1.2", digest="d",
            now=NOW - timedelta(minutes=number + 1),
        )  # fmt: skip
    outbox.claim(bench.catalog, "PACS", NOW, timedelta(minutes=10))
    found = gauges(bench)
    assert found["outbox_deliveries"] == {("ARCHIVE", "queued"): 1, ("PACS", "queued"): 2}
    assert found["outbox_overdue_seconds"] == {("ARCHIVE",): 180, ("PACS",): 120}


def test_what_arrives_what_is_owed_and_the_room_on_the_disk_are_told(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "received" / "incoming" / "ab" / "1.partial").touch()
    (tmp_path / "commitments" / "cd").mkdir(parents=True)
    (tmp_path / "commitments" / "cd" / "1.json").touch()
    found = gauges(bench)
    assert found["receive_unsettled_objects"] == found["receive_commitments_owed"] == {(): 1}
    assert found["receive_reserve_bytes"] == {(): 1024 << 20}
    assert found["disk_free_bytes"].keys() == {("home",), ("received",)}
    assert min(found["disk_free_bytes"].values()) > 0


def test_what_cannot_be_looked_at_is_left_out_and_the_rest_is_told(bench: Bench, tmp_path: Path) -> None:
    bench.catalog.close()
    (tmp_path / "catalog.sqlite").unlink(missing_ok=True)
    broken = Bench(bench.settings, Catalog(tmp_path / "other.sqlite"), NOW)
    broken.catalog.close()
    (tmp_path / "other.sqlite").write_bytes(b"no database" * 1000)
    found = gauges(broken)
    assert found.keys() == GAUGES.keys() - {"outbox_deliveries", "outbox_overdue_seconds"}
    broken.catalog.close()


def test_a_file_that_cannot_be_written_is_no_reason_to_end(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    publish(tmp_path / "a file" / "counts.prom", [Tally()], bench.settings, bench.catalog)
    publish(tmp_path / "counts.prom", [Tally()], bench.settings, bench.catalog)
    assert (tmp_path / "counts.prom").read_text().startswith("# HELP workbench_receive_associations_total ")
