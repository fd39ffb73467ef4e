"""What was answered with success is there after a kill at any system call; anything else is whole or gone.

`kill -9` does not test fsync, the order of system calls does: both are looked at, by strace.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
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

CODE = """
import os, sys
from pathlib import Path
from catalog.database import Catalog
from catalog.intake import Intake
catalog, received, sent = sys.argv[1:]
with Intake(Catalog(catalog), Path(received)) as intake:
    for path in sorted(Path(sent).iterdir()):
        with intake.incoming() as incoming:
            incoming.write(path.read_bytes())
            taken = intake.take(incoming, settled=False)
        os.write(1, f"{taken.status} {taken.digest}\\n".encode())
"""
POINTS = [
    ("link", (1, 2, 3)),
    ("unlink", (1, 2, 3)),
    ("fsync", (1, 2, 3, 4, 5, 6, 8)),
    ("fdatasync", (1, 2, 3)),
    ("pwrite64", (1, 2, 4, 7, 11, 16, 22, 29)),
    ("write", (2, 3, 4, 5, 6, 7)),
    ("openat", (400, 420)),
]


@pytest.fixture(scope="module")
def strace(missing: Callable[[str], NoReturn]) -> str:
    found = shutil.which("strace")
    if found is None:
        missing("strace is not there: apt-get install strace, or as root tests/install_system.sh")
    return found


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sent")
    paths = list(phantoms.write_series(folder, planes=3, rows=8, columns=8).paths)
    (other := folder / "0003.dcm").write_bytes(paths[0].read_bytes()[:-1] + b"\x7f")  # a conflict
    (cut := folder / "0004.dcm").write_bytes(paths[0].read_bytes()[:-9])  # for quarantine
    return [*paths, other, cut]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog whose schema is made already: what comes before is tested elsewhere."""
    Catalog(path := tmp_path_factory.mktemp("fresh") / "catalog.sqlite").close()
    return path


@pytest.mark.parametrize(("call", "point"), [(call, point) for call, points in POINTS for point in points])
def test_P1_P8_killed_at_any_system_call_what_was_acknowledged_is_there_and_nothing_else(
    strace: str, sent: list[Path], fresh: Path, tmp_path: Path, call: str, point: int
) -> None:
    url, received = tmp_path / "catalog.sqlite", tmp_path / "received"
    shutil.copy(fresh, url)
    injected = f"inject={call}:signal=KILL:when={point}"
    done = subprocess.run(
        [strace, "-f", "--seccomp-bpf", "-o", tmp_path / "trace", "-e", f"trace={call}", "-e", injected,
         sys.executable, "-c", CODE, url, received, sent[0].parent],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode in (0, -9, 137), done.stderr
    acknowledged = [line.split() for line in done.stdout.splitlines()]

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


def test_P1_success_is_sent_after_the_file_its_name_and_its_row_are_on_the_disk(
    strace: str, sent: list[Path], start_receive: Callable[..., Any], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,link,unlink,sendto"
    receiving = start_receive(
        tmp_path / "bench", before=[strace, "-D", "-f", "-y", "--seccomp-bpf", "-o", trace, "-e", calls]
    )
    sender = shutil.which("dcmsend", path="/usr/bin")
    if sender is None:
        pytest.skip("dcmsend is not there: apt-get install dcmtk")
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
    answer = first(r"^sendto\(\d+<(TCP|socket)", linked)
    gone = first(r"^unlink\(.*\.partial\"", linked)
    assert durable < linked < folder < row < answer < len(lines), lines
    assert row < gone < len(lines), "the name under incoming goes after the row is there"
