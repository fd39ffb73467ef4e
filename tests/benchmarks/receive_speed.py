"""Objects a second that `workbench receive` takes and makes durable, against Orthanc and DCMTK's storescp.

`python tests/benchmarks/receive_speed.py [runs]`: dcmsend sends, every program with TCP_NODELAY; Orthanc with
SQLite and its default fsync, storescp writes files and nothing else, without fsync. The best of some runs.
Answers come before objects are settled in the catalog. Processor time is that of the receiver and of the
processes it has at work; nothing is sent until all of them have started.
"""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom.presentation import build_context

from workbench.pacs.dimse import store_request
from workbench.pacs.file_meta import data_set_offset
from workbench.pacs.wire.association import Association
from workbench.pacs.wire.connection import Connection

CT, SMALL, LARGE_MIB = 300, 400, 200
REST_SECONDS = 0.5
"""A receiver has started when it, and what it has at work, left nearly all of that unused."""
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
WANTED_CT, WANTED_SMALL, WANTED_LARGE = 1.5, 1.0, 1.0

type Start = Callable[[Path], "Peer"]


class Peer:
    """A receiver that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder

    def processor_seconds(self) -> float:
        """Its time so far, and that of processes it has at work."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        spent = 0
        for each in (str(self.process.pid), *children):
            with suppress(FileNotFoundError):  # a child that has ended since
                numbers = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
                spent += int(numbers[11]) + int(numbers[12])
        return spent / os.sysconf("SC_CLK_TCK")

    def mib(self) -> float:
        """Its memory now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def write_objects(folder: Path, count: int, side: int) -> list[Path]:
    """Write one series of CT, noisy, side × side pixels of 16 bits."""
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    del ds.DataSetTrailingPadding
    noise = np.random.default_rng(0)
    ds.Rows = ds.Columns = side
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder.mkdir()
    paths = []
    for number in range(count):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.InstanceNumber = number
        ds.PixelData = noise.integers(0, 4096, side * side, np.uint16).tobytes()
        paths.append(folder / f"{number:05}.dcm")
        ds.save_as(paths[-1])
    return paths


def free_port() -> int:
    """A port of loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(command: Sequence[str | Path], port: int, log: Path) -> Peer:
    """Start a program and wait until it accepts connections."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=output, stderr=output)
    while process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            peer = Peer(process, port, log.parent)
            rest(peer)
            return peer
        sleep(0.1)
    raise RuntimeError(log.read_text())


def rest(peer: Peer) -> None:
    """Wait until a program has come to rest."""
    before = -1.0
    while (now := peer.processor_seconds()) - before > REST_SECONDS / 20:
        before = now
        sleep(REST_SECONDS)


def bench(folder: Path, *options: str) -> Peer:
    """Start `workbench receive`."""
    port = free_port()
    command = [sys.executable, "-m", "workbench", "receive", "--home", folder / "bench", "--ae", "PEER"]
    return started([*command, "--port", str(port), "--anyone-here", *options], port, folder / "log")


def bench_of_two(folder: Path) -> Peer:
    """Start it with two processes."""
    return bench(folder, "--workers", "2")


def orthanc(folder: Path) -> Peer:
    """Start Orthanc on SQLite as it is by default."""
    port = free_port()
    settings = {
        "StorageDirectory": str(folder / "s"), "IndexDirectory": str(folder / "s"), "DicomAet": "PEER",
        "DicomPort": port, "HttpServerEnabled": False, "DicomThreadsCount": 8, "SaveJobs": False,
    }  # fmt: skip
    (configuration := folder / "orthanc.json").write_text(json.dumps(settings))
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None:
        raise RuntimeError("Orthanc is not there: apt-get install orthanc")
    return started([program, configuration], port, folder / "log")


def storescp(folder: Path) -> Peer:
    """Start DCMTK's storescp."""
    port = free_port()
    (out := folder / "out").mkdir()
    program = shutil.which("storescp", path="/usr/bin")
    if program is None:
        raise RuntimeError("storescp is not there: apt-get install dcmtk")
    command = [program, "--fork", "-od", out, "-aet", "PEER", "+xa", "-pdu", "131072", str(port)]
    return started(command, port, folder / "log")


@contextmanager
def running(start: Start) -> Iterator[Peer]:
    """A receiver on an empty folder."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        peer = start(Path(folder))
        try:
            yield peer
        finally:
            peer.process.terminate()
            peer.process.wait()


def send(port: int, paths: Sequence[Path]) -> None:
    """Send files over one association."""
    program = shutil.which("dcmsend", path="/usr/bin") or "dcmsend"
    command = [program, "-aec", "PEER", "127.0.0.1", str(port), *paths]
    subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)


def settle(folder: Path, count: int) -> None:
    """Wait until every object has its place in the bench's catalog; other receivers have none."""
    if (path := folder / "bench" / "catalog.sqlite").exists():
        with closing(sqlite3.connect(path)) as catalog:
            while catalog.execute("SELECT count(*) FROM files WHERE state = 'indexed'").fetchone()[0] < count:
                sleep(0.01)


class Took(NamedTuple):
    """One run, in seconds."""

    settled: float
    """Until all are answered and in the catalog."""
    answered: float
    processor: float


def measured(start: Start, paths: Sequence[Path], associations: int, runs: int) -> Took:
    """The best of some runs on an empty folder each."""
    took = []
    for _ in range(runs):
        with running(start) as peer, ThreadPoolExecutor(associations) as threads:
            before, begun = peer.processor_seconds(), perf_counter()
            list(threads.map(lambda at: send(peer.port, paths[at::associations]), range(associations)))
            answered = perf_counter() - begun
            settle(peer.folder, len(paths))
            settled = perf_counter() - begun
            took.append(Took(settled, answered, peer.processor_seconds() - before))
    return min(took)


def waits(start: Start, paths: Sequence[Path], associations: int) -> list[float]:
    """Seconds from the first byte of each C-STORE request to its response, in order."""

    def sent(port: int, some: Sequence[Path]) -> list[float]:
        connection = Connection.to("127.0.0.1", port, seconds=60)
        connection.allow(None)
        contexts = [build_context(CTImageStorage, ExplicitVRLittleEndian)]
        association = Association.request(connection, "BENCH", "PEER", contexts, maximum_length=1 << 18)
        found = []
        for path in some:
            request = store_request(association, CTImageStorage, pydicom.dcmread(path).SOPInstanceUID)
            begun = perf_counter()
            association.send_file(1, request, path, data_set_offset(path))
            answer = association.receive()
            found.append(perf_counter() - begun)
            assert answer is not None
            assert answer.command.status == 0x0000
        association.release()
        return found

    with running(start) as peer, ThreadPoolExecutor(associations) as threads:
        of_each = threads.map(lambda at: sent(peer.port, paths[at::associations]), range(associations))
        return sorted(wait for some in of_each for wait in some)


def main() -> None:
    """Print everything."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    say = sys.stdout.write
    with tempfile.TemporaryDirectory() as folder:
        ct = write_objects(Path(folder) / "ct", CT, 512)
        small = write_objects(Path(folder) / "small", SMALL, 32)
        for name, paths, associations, wanted in (
            (f"{CT} CT of 0.5 MB, one association", ct, 1, WANTED_CT),
            (f"{CT} CT of 0.5 MB, four associations", ct, 4, WANTED_CT),
            (f"{SMALL} small objects, four associations", small, 4, WANTED_SMALL),
        ):
            peers = {"bench": bench, "two processes": bench_of_two, "Orthanc": orthanc, "storescp": storescp}
            took = {peer: measured(start, paths, associations, runs) for peer, start in peers.items()}
            count = len(paths)
            rates = ", ".join(
                f"{peer} {count / each.settled:,.0f}/s ({each.processor / count * 1000:.1f} ms of processor)"
                for peer, each in took.items()
            )
            ours, theirs = took["bench"], took["Orthanc"]
            answers = [wait * 1000 for wait in waits(bench, paths, associations)]
            say(
                f"{name}: {rates}; {theirs.settled / ours.settled:.2f} x Orthanc (wanted {wanted}), "
                f"{theirs.answered / ours.answered:.2f} x until the last answer; a C-STORE is answered "
                f"after {answers[count // 2]:.1f} ms, p99 {answers[count * 99 // 100]:.1f} ms\n"
            )
            sys.stdout.flush()
        for each in (*ct, *small):
            each.unlink()
        side = int((LARGE_MIB << 19) ** 0.5)
        large = write_objects(Path(folder) / "large", 1, side)
        ours, theirs = (measured(start, large, 1, runs).settled for start in (bench, storescp))
        say(
            f"one object of {LARGE_MIB} MiB: bench {ours:.2f} s with fsync, storescp {theirs:.2f} s without; "
            f"{theirs / ours:.2f} x storescp (wanted {WANTED_LARGE})\n"
        )
        with running(bench) as peer:
            before = peer.mib()
            send(peer.port, large)
            say(f"memory of the bench: {before:.0f} MiB, {peer.mib():.0f} MiB after it\n")


if __name__ == "__main__":
    main()
