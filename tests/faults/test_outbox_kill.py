"""23: a sender killed at any moment loses nothing: the next one ends with the same bytes at the node."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest

from catalog import outbox
from catalog.database import Catalog
from catalog.identifiers import digest
from pipelines import phantoms
from tests.faults.killing import Victims, points, victims
from workbench.pacs import embedded
from workbench.pacs.deliver import LEASE, deliver
from workbench.pacs.fingerprint import differences, fingerprint
from workbench.pacs.node import ListenAddress

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
WAIT = timedelta(seconds=5)

SENDER = '''
import json, os, signal, sys
from datetime import datetime, timedelta
from pathlib import Path

from catalog.database import Catalog
from workbench.pacs.deliver import deliver
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress

port, start, catalogs = json.load(sys.stdin)

def clock(deadly):
    """The sender asks for the time before it writes each step down; the clock kills it at one of these."""
    asked = 0
    def now():
        nonlocal asked
        asked += 1
        if asked == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return datetime.fromisoformat(start)
    return now

ends = []
for deadly, catalog in enumerate(catalogs, start=1):
    child = os.fork()
    if not child:
        deliver(Catalog(Path(catalog)), DimseNode("PACS", "127.0.0.1", port), listen=ListenAddress(),
                now=clock(deadly), wait=timedelta(seconds=5))
        os._exit(0)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(ends))
'''
MOMENTS = 14


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedPacs]:
    with embedded.start(tmp_path_factory.mktemp("pacs")) as running:
        yield running


def test_23_P5_a_sender_killed_before_any_step_is_written_down_loses_nothing(
    pacs: embedded.EmbeddedPacs, tmp_path: Path
) -> None:
    benches = [_bench(tmp_path / str(moment), moment) for moment in range(MOMENTS)]
    request = [pacs.node.port, NOW.isoformat(), [str(catalog) for catalog, _ in benches]]
    done = subprocess.run(
        [sys.executable, "-c", SENDER], input=json.dumps(request), capture_output=True, text=True, check=True
    )
    ends = json.loads(done.stdout)
    assert ends == sorted(ends), "killed at each moment until there are no more"
    assert (ends[0], ends[-1]) == (-9, 0)
    states_left = set()
    for path, file in benches:
        states_left.add(_ended(path, file, pacs))
    assert states_left == {"queued", "validated", "sending", "stored", "committed", "confirmed"}


CODE = """
from datetime import datetime, timedelta
from catalog.database import Catalog
from workbench.pacs.deliver import deliver
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress

def work(catalog, port, start):
    deliver(Catalog(catalog), DimseNode("PACS", "127.0.0.1", int(port)), listen=ListenAddress(),
            now=lambda: datetime.fromisoformat(start), wait=timedelta(seconds=5))
"""
CALLS = {"pwrite64": 6, "fdatasync": 4, "connect": 2, "sendmsg": 5, "recvfrom": 5, "openat": 3, "close": 3}
"""What changes the disk, and what goes over the line; and at how many calls of each it is killed."""


@pytest.fixture(scope="module")
def sender(strace: str) -> Iterator[Victims]:
    with victims(strace, CODE, [*CALLS]) as made:
        yield made


@pytest.fixture(scope="module")
def counted(
    sender: Victims, pacs: embedded.EmbeddedPacs, tmp_path_factory: pytest.TempPathFactory
) -> Counter[str]:
    catalog, file = _bench(tmp_path_factory.mktemp("counted") / "0", "counted")
    ended = sender.run([str(catalog), str(pacs.node.port), NOW.isoformat()])
    assert ended.code == 0
    assert _ended(catalog, file, pacs) == "confirmed"
    return ended.calls


@pytest.mark.parametrize("call", CALLS)
def test_23_P5_P8_a_sender_killed_at_a_system_call_loses_nothing_and_sends_the_same_bytes(
    sender: Victims, counted: Counter[str], pacs: embedded.EmbeddedPacs, tmp_path: Path, call: str
) -> None:
    for point in points(counted[call], CALLS[call]):
        made: list[tuple[Path, Path]] = []

        def anew(point: int = point, made: list[tuple[Path, Path]] = made) -> list[str]:
            made.append(_bench(tmp_path / f"{point}-{len(made)}", f"{call} {point} {len(made)}"))
            return [str(made[-1][0]), str(pacs.node.port), NOW.isoformat()]

        sender.killed(anew, call, point)
        _ended(*made[-1], pacs)


def _ended(path: Path, file: Path, pacs: embedded.EmbeddedPacs) -> str:
    """Let the next sender end what one has left behind; return the state that was left."""
    catalog = Catalog(path)
    (left,) = outbox.deliveries(catalog)
    later = NOW + LEASE + WAIT
    deliver(catalog, pacs.node, listen=ListenAddress(), now=lambda: later, wait=WAIT)
    (delivery,) = outbox.deliveries(catalog)
    catalog.close()
    assert delivery.state == "confirmed", delivery
    (kept,) = _kept(pacs, delivery.sop_instance_uid)
    assert not differences(fingerprint(pydicom.dcmread(kept)), fingerprint(pydicom.dcmread(file)))
    return left.state


def _bench(folder: Path, moment: object) -> tuple[Path, Path]:
    folder.mkdir()
    series = phantoms.write_series(folder, planes=1, study=f"killed at {moment}")
    (path,), (uid,) = series.paths, series.sop_instance_uids
    catalog = Catalog(folder / "bench.sqlite")
    sop_class_uid = pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID
    outbox.queue(
        catalog, path, "PACS", sop_instance_uid=uid, sop_class_uid=sop_class_uid,
        digest=digest(path.read_bytes()), now=NOW,
    )  # fmt: skip
    catalog.close()
    return folder / "bench.sqlite", path


def _kept(pacs: embedded.EmbeddedPacs, sop_instance_uid: str) -> list[Path]:
    files = (pacs.directory / "instances").iterdir()
    return [path for path in files if pydicom.dcmread(path).SOPInstanceUID == sop_instance_uid]
