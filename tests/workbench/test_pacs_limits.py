"""What a node bears is kept to: hours, associations among processes, objects and megabytes a second."""

import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import LimitedError, SettingsError
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.limits import Limits
from workbench.pacs.web.node import WebNode
from workbench.settings import Settings

HOLD = """
import sys
from pathlib import Path
from workbench.pacs.limits import Limits
with Limits(associations=int(sys.argv[2]), folder=Path(sys.argv[1])).turn("PACS"):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


@contextmanager
def holding(folder: Path, of: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds one association."""
    command = [sys.executable, "-c", HOLD, str(folder), str(of)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()


def test_no_more_associations_than_are_allowed_among_processes(tmp_path: Path) -> None:
    limits = Limits(associations=2, wait_seconds=0, folder=tmp_path)
    with holding(tmp_path, of=2), limits.turn("PACS"):
        with pytest.raises(LimitedError, match="all 2 associations with PACS are taken"), limits.turn("PACS"):
            pass
        with limits.turn("OTHER"):  # another node is counted by itself
            pass
    with limits.turn("PACS"), limits.turn("PACS"):
        pass


def test_one_that_is_killed_gives_its_association_back(tmp_path: Path) -> None:
    limits = Limits(associations=1, wait_seconds=0, folder=tmp_path)
    with holding(tmp_path, of=1) as other:
        with pytest.raises(LimitedError), limits.turn("PACS"):
            pass
        other.kill()
        other.wait(timeout=30)
        with limits.turn("PACS"):
            pass


def test_one_that_becomes_free_is_taken_by_who_waits(tmp_path: Path) -> None:
    limits = Limits(associations=1, wait_seconds=30, folder=tmp_path)
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        waits.set()
        with limits.turn("PACS"):
            order.append("second")

    with limits.turn("PACS"):
        thread = threading.Thread(target=second)
        thread.start()
        waits.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


@pytest.mark.parametrize("counted", ["together", "alone"])
def test_objects_go_at_the_rate_on_average(tmp_path: Path, counted: str) -> None:
    folder = tmp_path if counted == "together" else None
    limits = Limits(rate_objects=50, folder=folder)
    began = time.monotonic()
    with limits.turn("PACS") as pace:
        for _ in range(20):
            pace.took(1000)
    assert time.monotonic() - began >= 20 / 50


def test_megabytes_go_at_the_rate_and_what_the_line_took_counts(tmp_path: Path) -> None:
    limits = Limits(rate_mb=10, folder=tmp_path)
    began = time.monotonic()
    with limits.turn("PACS") as pace:
        pace.took(2_000_000)
        pace.took(2_000_000)
    assert time.monotonic() - began >= 0.4


def test_several_together_keep_to_the_rate_of_the_node(tmp_path: Path) -> None:
    limits = Limits(rate_objects=50, folder=tmp_path)
    began = time.monotonic()

    def move() -> None:
        with limits.turn("PACS") as pace:
            for _ in range(10):
                pace.took(1)

    threads = [threading.Thread(target=move) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert time.monotonic() - began >= 30 / 50


def test_a_long_rest_comes_after_the_association_and_not_between_its_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.pacs.limits.LONGEST_PAUSE", 0.01)
    limits = Limits(rate_mb=1, folder=tmp_path)
    began = time.monotonic()
    with limits.turn("PACS") as pace:
        pace.took(500_000)
        assert time.monotonic() - began < 0.4
    assert time.monotonic() - began >= 0.5


DAY = 24 * 3600


@pytest.mark.parametrize("step", [-10 * DAY, -3600, 3600, 10 * DAY])
@pytest.mark.parametrize("counted", ["together", "alone"])
def test_32_a_clock_that_is_set_changes_no_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: str, step: float
) -> None:
    limits = Limits(rate_objects=20, folder=tmp_path if counted == "together" else None)
    real = time.time
    monkeypatch.setattr("workbench.pacs.limits.LONGEST_PAUSE", 0.01)
    began = time.monotonic()
    with limits.turn("PACS") as pace:
        pace.took(1, objects=5)
        monkeypatch.setattr(time, "time", lambda: real() + step)
        pace.took(1, objects=5)
    assert 10 / 20 <= time.monotonic() - began < 10


@pytest.mark.parametrize("step", [-10 * DAY, -3600, 3600, 10 * DAY])
def test_what_was_counted_before_the_machine_began_anew_costs_what_is_owed_at_most(
    tmp_path: Path, step: float
) -> None:
    limits = Limits(rate_objects=20, folder=tmp_path)
    with limits.turn("PACS") as pace:
        pace.took(1)
    (written,) = tmp_path.rglob("owed")
    written.write_bytes(struct.pack("<dd", time.monotonic() + step, 0.2))
    began = time.monotonic()
    with limits.turn("PACS") as pace:
        pace.took(1)
    rest = time.monotonic() - began
    assert (0.25 if step > 0 else 0.05) * 0.9 <= rest < 10


def test_a_count_that_is_torn_is_none(tmp_path: Path) -> None:
    limits = Limits(rate_objects=1000, folder=tmp_path)
    for _ in range(2):
        with limits.turn("PACS") as pace:
            pace.took(1)
        (written,) = tmp_path.rglob("owed")
        written.write_bytes(b"torn")


def test_hours_are_by_the_clock_on_the_wall_and_say_when_they_begin() -> None:
    limits = Limits(hours="20:00-06:00")
    day = datetime(2026, 1, 31, 14, 3).astimezone()
    assert limits.seconds_until(day.replace(hour=23)) == 0
    assert limits.seconds_until(day.astimezone(UTC)) == timedelta(hours=5, minutes=57).total_seconds()
    with pytest.raises(LimitedError, match=r"PACS is asked 20:00-06:00 alone .* begins in 5 h 58 min"):
        limits.check_hours("PACS", day)


def closed_now() -> str:
    """Hours that begin in two hours."""
    begin = datetime.now().astimezone() + timedelta(hours=2)
    return f"{begin:%H:%M}-{begin + timedelta(hours=1):%H:%M}"


@pytest.mark.parametrize(
    "node",
    [
        DimseNode("NOBODY", "127.0.0.1", 1, limits=Limits(hours=closed_now())),
        WebNode("http://127.0.0.1:1", name="NOBODY", limits=Limits(hours=closed_now())),
    ],
)
def test_outside_the_hours_nobody_is_asked_what_moves_much(node: Any, tmp_path: Path) -> None:
    from workbench.pacs.node import ListenAddress

    with pytest.raises(LimitedError, match="begins in"):
        list(node.survey({}))
    with pytest.raises(LimitedError, match="begins in"):
        node.retrieve("1.2", "1.2.3", tmp_path, ListenAddress())


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('hours = "late"', "hours are such as 20:00-06:00"),
        ("rate_mb = 0", "rate_mb is a number a second, above 0"),
        ("rate_objects = -1", "rate_objects is a number a second"),
        ("associations = 0", "associations is a number from 1 on"),
        ("wait_seconds = -1", "wait_seconds is a number of seconds"),
        ("speed = 3", "speed"),
        ('associations = "two"', "associations"),
    ],
)
@pytest.mark.parametrize(
    "kind", ['ae_title = "PACS"\nhost = "localhost"\nport = 104', 'url = "https://localhost"']
)
def test_limits_are_checked_in_words(tmp_path: Path, kind: str, lines: str, words: str) -> None:
    (tmp_path / "workbench.toml").write_text(f"[nodes.PACS]\n{kind}\n[nodes.PACS.limits]\n{lines}\n")
    with pytest.raises(SettingsError, match=words) as error:
        Settings.load(tmp_path)
    assert "nodes.PACS" in str(error.value)


def test_limits_of_the_file_are_those_of_the_node_and_counted_in_the_home(tmp_path: Path) -> None:
    import workbench

    (tmp_path / "workbench.toml").write_text(
        '[nodes.PACS]\nae_title = "PACS"\nhost = "localhost"\nport = 104\n'
        '[nodes.PACS.limits]\nhours = "20:00-06:00"\nrate_mb = 20\nrate_objects = 50\nassociations = 2\n'
    )
    with workbench.open(tmp_path) as bench:
        assert bench.nodes["PACS"].limits == Limits(
            hours="20:00-06:00", rate_mb=20, rate_objects=50, associations=2, folder=tmp_path / "nodes"
        )
