"""Seconds to send 300 CT images of 0.5 MB over one association: the outbox beside dcmsend.

Ours goes through the outbox, from what is on record as on the wire to the last answer on record; "confirmed"
is all that `bench.send` does then: commitment, and reading every image back. Each receiver starts in an
empty folder, and everybody has TCP_NODELAY. `python tests/benchmarks/send_speed.py [images]` prints the
table; the best of some repeats, taken in turns.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import numpy as np

from catalog import outbox
from catalog.database import Catalog
from pipelines import phantoms
from workbench.pacs.deliver import deliver
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress
from workbench.pacs.posting import examine_files, queue_file

REPEATS = 2
IMAGES = 300
START_SECONDS = 30.0
DCMTK = "/usr/bin:/usr/local/bin"  # an activated environment has pynetdicom's programs of the same names
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    sys.exit("a receiver did not start")


@contextmanager
def receiver(command: Callable[[Path, int, int], list[str]]) -> Iterator[tuple[DimseNode, ListenAddress]]:
    with tempfile.TemporaryDirectory() as name:
        port, listen = free_port(), free_port()
        process = subprocess.Popen(
            command(Path(name), port, listen),
            env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=name,
        )  # fmt: skip
        try:
            wait_for(port, process)
            yield DimseNode("ORTHANC", "127.0.0.1", port, name="PEER"), ListenAddress(port=listen)
        finally:
            process.kill()
            process.wait()


def orthanc(folder: Path, port: int, listen: int) -> list[str]:
    modality = {
        "AET": "WORKBENCH", "Host": "127.0.0.1", "Port": listen, "AllowEcho": True, "AllowFind": True,
        "AllowGet": True, "AllowMove": True, "AllowStore": True, "AllowStorageCommitment": True,
    }  # fmt: skip
    settings = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "DicomAet": "ORTHANC",
        "DicomPort": port, "HttpPort": free_port(), "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True, "RegisteredUsers": {"u": "p"}, "SaveJobs": False,
        "StorageCommitmentReportsSize": 100, "DicomModalities": {"bench": modality},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    return [shutil.which("Orthanc", path="/usr/sbin:/usr/bin") or "Orthanc", str(folder / "orthanc.json")]


def storescp(folder: Path, port: int, _listen: int) -> list[str]:
    return [shutil.which("storescp", path=DCMTK) or "storescp", "-od", str(folder), str(port)]


def seconds_of_dcmsend(node: DimseNode, folder: Path) -> float:
    program = shutil.which("dcmsend", path=DCMTK) or "dcmsend"
    command = [program, "-aec", node.ae_title, node.host, str(node.port), "+sd", str(folder)]
    started = perf_counter()
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    return perf_counter() - started


def seconds_of_ours(node: DimseNode, listen: ListenAddress, paths: tuple[Path, ...]) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as name:
        catalog = Catalog(Path(name) / "catalog.sqlite")
        for judged in examine_files(catalog, paths, threads=2):
            queue_file(catalog, judged, node.name, outbox_folder=Path(name) / "outbox", now=datetime.now(UTC))
        started = perf_counter()
        deliver(catalog, node, listen=listen, now=lambda: datetime.now(UTC), wait=timedelta(seconds=5))
        took = perf_counter() - started
        found = outbox.deliveries(catalog)
        catalog.close()
    sent = 0.0  # each batch is sent, then committed to and read back
    batches: dict[datetime, list[datetime]] = {}
    for each in found:
        times = {stage.name: stage.at for stage in each.stages}
        batches.setdefault(times["sending"], []).append(times["stored"])
    sent = sum((max(stored) - began).total_seconds() for began, stored in batches.items())
    whole = took if all(each.state == "confirmed" for each in found) else float("nan")
    return sent, whole


def main(images: int = IMAGES) -> None:
    """Print the table."""
    say = sys.stdout.write
    with tempfile.TemporaryDirectory() as name:
        noise = np.random.default_rng(0).integers(0, 4096, (images, 512, 512), np.uint16)
        series = phantoms.write_series(Path(name), stored=noise)
        del noise
        say(f"{images} CT images of 512 × 512, seconds (ratio to dcmsend)\n")
        say(f"{'receiver':<10}{'dcmsend':>10}{'outbox':>18}{'confirmed':>18}\n")
        for kind in (storescp, orthanc):
            theirs, ours, whole = [], [], []
            for _ in range(REPEATS):
                with receiver(kind) as (node, _listen):
                    theirs.append(seconds_of_dcmsend(node, Path(name)))
                with receiver(kind) as (node, listen):
                    sent, confirmed = seconds_of_ours(node, listen, series.paths)
                ours.append(sent)
                whole.append(confirmed)
            peer, sent, confirmed = min(theirs), min(ours), min(whole)
            text = f"{kind.__name__:<10}{peer:>10.2f}{sent:>10.2f} ({sent / peer:4.2f})"
            say(
                text
                + (f"{confirmed:>10.2f} ({confirmed / peer:5.2f})" if confirmed == confirmed else "")
                + "\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
