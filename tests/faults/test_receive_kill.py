"""22, 23: what was answered with success is there after a kill at any system call; all else is whole or gone.

`kill -9` does not test fsync, the order of system calls does: both are looked at, by strace.
"""

import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa

from catalog.database import Catalog
from catalog.durable import file_digest
from catalog.identifiers import digest
from catalog.intake import Intake
from catalog.locks import LOCK
from pipelines import phantoms
from tests.faults.killing import Victims, points, victims

CODE = """
import os
from pathlib import Path
from catalog.database import Catalog
from catalog.intake import Intake

def work(catalog, received, sent):
    with Intake(Catalog(catalog), Path(received)) as intake:
        for path in sorted(Path(sent).iterdir()):
            with intake.incoming() as incoming:
                incoming.write(path.read_bytes())
                taken = intake.take(incoming, settled=False)
            os.write(1, f"{taken.status} {taken.digest}\\n".encode())
"""
CALLS = {
    "openat": 6, "write": 6, "pwrite64": 8, "fsync": 8, "fdatasync": 4, "link": 4, "unlink": 4, "mkdir": 3,
    "rmdir": 1, "ftruncate": 1,
}  # fmt: skip
"""What changes a disk or what is known of it, and at how many calls of each it is killed; soak: at all."""


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sent")
    paths = list(phantoms.write_series(folder, planes=3, rows=8, columns=8).paths)
    (other := folder / "0003.dcm").write_bytes(paths[0].read_bytes()[:-1] + b"\x7f")  # a conflict
    (cut := folder / "0004.dcm").write_bytes(paths[0].read_bytes()[:-9])  # for quarantine
    return [*paths, other, cut]


@pytest.fixture(scope="module")
def receiver(strace: str) -> Iterator[Victims]:
    with victims(strace, CODE, [*CALLS]) as made:
        yield made


@pytest.fixture(scope="module")
def counted(
    receiver: Victims, fresh: Path, sent: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Counter[str]:
    """How many calls it makes where nobody kills it."""
    ended = receiver.run(bench(tmp_path_factory.mktemp("counted"), fresh, sent))
    assert ended.code == 0
    assert len(ended.said.splitlines()) == len(sent)
    return ended.calls


def bench(folder: Path, fresh: Path, sent: list[Path]) -> list[str]:
    """A new bench, to receive what is sent."""
    shutil.copy(fresh, folder / "catalog.sqlite")
    return [str(folder / "catalog.sqlite"), str(folder / "received"), str(sent[0].parent)]


@pytest.mark.parametrize("call", CALLS)
def test_23_P1_P8_killed_at_a_system_call_what_was_acknowledged_is_there_and_nothing_else(
    receiver: Victims, counted: Counter[str], sent: list[Path], fresh: Path, tmp_path: Path, call: str
) -> None:
    for point in points(counted[call], CALLS[call]):
        killed_at(point, call, receiver, sent, fresh, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("call", CALLS)
def test_23_P1_P8_killed_at_every_system_call_what_was_acknowledged_is_there_and_nothing_else(
    receiver: Victims, counted: Counter[str], sent: list[Path], fresh: Path, tmp_path: Path, call: str
) -> None:
    for point in points(counted[call], counted[call]):
        killed_at(point, call, receiver, sent, fresh, tmp_path)


def killed_at(
    point: int, call: str, receiver: Victims, sent: list[Path], fresh: Path, tmp_path: Path
) -> None:
    made: list[Path] = []

    def anew() -> list[str]:
        made.append(tmp_path / f"{point}-{len(made)}")
        made[-1].mkdir()
        return bench(made[-1], fresh, sent)

    killed = receiver.killed(anew, call, point)
    url, received = made[-1] / "catalog.sqlite", made[-1] / "received"
    acknowledged = [line.split() for line in killed.said.splitlines()]
    catalog = Catalog(url)
    with Intake(catalog, received):  # the next start goes on with what was noted
        pass
    with Intake(catalog, received) as intake:
        there = _by_state(catalog)
        settled = there.get("indexed", []) + there.get("conflict", [])
        assert {found for status, found in acknowledged if status == "stored"} <= set(settled)
        assert "received" not in there
        kept = {file_digest(path) for path in _files(received)}
        assert {found for _, found in acknowledged} <= kept
        assert sorted(_named(catalog)) == sorted(map(str, _files(received))), "catalog and disk agree"
        assert {file_digest(path) for path in _files(received)} <= {
            digest(path.read_bytes()) for path in sent
        }
        for path in sent:  # who got no answer sends again
            with intake.incoming() as incoming:
                incoming.write(path.read_bytes())
                intake.take(incoming)
    assert sorted(file_digest(path) for path in _files(received)) == sorted(
        digest(path.read_bytes()) for path in sent
    )
    assert sorted(_named(catalog)) == sorted(map(str, _files(received)))
    catalog.close()


def _files(received: Path) -> list[Path]:
    return [path for path in received.rglob("*") if path.is_file() and path.name != LOCK]


def _named(catalog: Catalog) -> list[str]:
    with catalog.reading() as connection:
        assert connection.scalar(sa.text("PRAGMA integrity_check")) == "ok"
        return list(connection.scalars(sa.text("SELECT folder || '/' || name FROM files")))


def _by_state(catalog: Catalog) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with catalog.reading() as connection:
        for row in connection.execute(sa.text("SELECT state, content_digest FROM files")):
            found.setdefault(row.state, []).append(row.content_digest)
    return found


def test_22_P1_success_is_sent_after_the_file_its_name_and_its_row_are_on_the_disk(
    strace: str,
    sent: list[Path],
    start_receive: Callable[..., Any],
    missing: Callable[[str], NoReturn],
    tmp_path: Path,
) -> None:
    sender = shutil.which("dcmsend", path="/usr/bin")
    if sender is None:
        missing("dcmsend is not there: apt-get install dcmtk, or as root tests/install_system.sh")
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,link,unlink,sendto,sendmsg"
    receiving = start_receive(
        tmp_path / "bench", before=[strace, "-D", "-f", "-y", "--seccomp-bpf", "-o", trace, "-e", calls]
    )
    command = [sender, "-aec", "WORKBENCH", "127.0.0.1", str(receiving.port), sent[0]]
    subprocess.run(command, check=True, timeout=60, env={"TCP_NODELAY": "1"})
    assert receiving.end() == 0
    until = time.monotonic() + 30  # the tracer is a process beside it
    while "+++ exited with 0 +++" not in (said := trace.read_text()).splitlines()[-1]:
        assert time.monotonic() < until, said
    lines = [line.split(maxsplit=1)[1] for line in said.splitlines() if "(" in line]

    def first(pattern: str, after: int = -1) -> int:
        found = (at for at, line in enumerate(lines) if at > after and re.search(pattern, line))
        return next(found, len(lines))

    durable = first(r"^fsync\(\d+<.*\.partial>")
    linked = first(r"^link\(.*\.partial\", .*\.dcm\"")
    folder = first(r"^fsync\(\d+<.*/received/[0-9a-f]{2}/[0-9a-f]{32}>", linked)
    row = first(r"^f(data)?sync\(\d+<.*catalog\.sqlite-wal>", folder)
    answer = first(r"^send(to|msg)\(\d+<(TCP|socket)", linked)
    gone = first(r"^unlink\(.*\.partial\"", linked)
    assert durable < linked < folder < row < answer < len(lines), lines
    assert row < gone < len(lines), "the name under incoming goes after the row is there"
