"""Objects a second that `workbench receive` takes and makes durable, against Orthanc and DCMTK's storescp.

`python tests/benchmarks/receive_speed.py [runs]`: dcmsend sends, every program with TCP_NODELAY; Orthanc with
SQLite and its default fsync, storescp writes files and nothing else, without fsync. The best of some runs.
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

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, SMALL, LARGE_MIB = 300, 400, 200
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
WANTED_CT, WANTED_SMALL, WANTED_LARGE = 1.5, 1.0, 1.0

type Start = Callable[[Path], "Peer"]


class Peer:
    """A receiver that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder

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
            return Peer(process, port, log.parent)
        sleep(0.1)
    raise RuntimeError(log.read_text())


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


def seconds(start: Start, paths: Sequence[Path], associations: int, runs: int) -> float:
    """Seconds until all are answered and in the catalog, the best of some runs on an empty folder each."""
    best = float("inf")
    for _ in range(runs):
        with running(start) as peer, ThreadPoolExecutor(associations) as threads:
            begun = perf_counter()
            list(threads.map(lambda at: send(peer.port, paths[at::associations]), range(associations)))
            settle(peer.folder, len(paths))
            best = min(best, perf_counter() - begun)
    return best


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
            took = {peer: seconds(start, paths, associations, runs) for peer, start in peers.items()}
            rates = ", ".join(f"{peer} {len(paths) / each:,.0f}/s" for peer, each in took.items())
            say(f"{name}: {rates}; {took['Orthanc'] / took['bench']:.2f} x Orthanc (wanted {wanted})\n")
            sys.stdout.flush()
        for each in (*ct, *small):
            each.unlink()
        side = int((LARGE_MIB << 19) ** 0.5)
        large = write_objects(Path(folder) / "large", 1, side)
        ours, theirs = (seconds(start, large, 1, runs) for start in (bench, storescp))
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
