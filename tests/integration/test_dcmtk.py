"""DCMTK's tools, a stack of their own, speak to the embedded PACS and to what this bench listens with."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pydicom
import pytest

from catalog.errors import DeliveryError
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.fingerprint import differences, fingerprint
from workbench.pacs.node import ListenAddress

pytestmark = pytest.mark.pacs

type Objects = dict[str, Any]
type Run = Callable[..., subprocess.CompletedProcess[str]]

TOOLS = ("echoscu", "storescu", "findscu", "getscu", "movescu")


@pytest.fixture
def run(pacs: Any, missing: Callable[[str], NoReturn]) -> Run:
    """Run a tool against the embedded PACS, calling as WORKBENCH."""
    own = str(Path(sys.executable).parent)  # pynetdicom has programs of the same names
    where = os.pathsep.join(each for each in os.environ["PATH"].split(os.pathsep) if each != own)
    programs = {tool: shutil.which(tool, path=where) for tool in TOOLS}
    if absent := [tool for tool, program in programs.items() if program is None]:
        missing(
            f"{', '.join(absent)} not installed: apt-get install dcmtk, or as root tests/install_system.sh"
        )

    def call(tool: str, *arguments: object, node: DimseNode = pacs.node) -> subprocess.CompletedProcess[str]:
        address = ("-aet", "WORKBENCH", "-aec", node.ae_title, node.host, node.port)
        command = [str(each) for each in (programs[tool], *address, *arguments)]
        environment = {**os.environ, "TCP_NODELAY": "1"}
        return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)

    return call


def unlike(one: Path, other: Path) -> list[str]:
    return differences(fingerprint(pydicom.dcmread(one)), fingerprint(pydicom.dcmread(other)))


def test_echoscu_is_answered(run: Run) -> None:
    assert run("echoscu").returncode == 0


def test_what_storescu_stores_getscu_and_movescu_get_back(
    run: Run, pacs: Any, objects: Objects, tmp_path: Path
) -> None:
    paths = [each.path for each in objects.values()]
    assert run("storescu", "-R", *paths).returncode == 0
    study = pydicom.dcmread(paths[0]).StudyInstanceUID
    keys = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    for tool, more in (("getscu", ()), ("movescu", ("+P", pacs.listen.port, "-aem", "WORKBENCH"))):
        folder = tmp_path / tool
        folder.mkdir()
        assert run(tool, *keys, *more, "-od", folder).returncode == 0
        returned = {pydicom.dcmread(path).SOPInstanceUID: path for path in folder.iterdir()}
        for kind, each in objects.items():
            assert unlike(each.path, returned[each.sop_instance_uid]) == [], (tool, kind)


def test_findscu_gets_an_answer_for_each_series(run: Run, objects: Objects) -> None:
    run("storescu", "-R", *(each.path for each in objects.values()))
    study = pydicom.dcmread(objects["CT"].path).StudyInstanceUID
    asked = ("StudyInstanceUID=" + study, "QueryRetrieveLevel=SERIES", "SeriesInstanceUID", "Modality")
    found = run("findscu", "-S", *(part for key in asked for part in ("-k", key)))
    assert found.returncode == 0
    assert sorted(kind for kind in ("CT", "SEG", "SR") if f"[{kind}" in found.stderr + found.stdout) == [
        "CT", "SEG", "SR",
    ]  # fmt: skip


def test_movescu_to_a_stranger_is_refused(run: Run, objects: Objects) -> None:
    run("storescu", objects["CT"].path)
    study = pydicom.dcmread(objects["CT"].path).StudyInstanceUID
    keys = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    moved = run("movescu", *keys, "-aem", "NOBODY")
    assert "MoveDestinationUnknown" in moved.stdout + moved.stderr


def test_a_node_that_tells_no_sop_classes_is_fetched_from(
    run: Run, objects: Objects, tmp_path: Path, free_port: int, missing: Callable[[str], NoReturn]
) -> None:
    program = shutil.which("dcmqrscp", path="/usr/bin:/usr/local/bin")
    if program is None:
        missing("dcmqrscp is not installed: apt-get install dcmtk")
    (store := tmp_path / "store").mkdir()
    (settings := tmp_path / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {free_port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQR {store} RW (100, 1024mb) ANY\nAETable END\n"
    )
    node = DimseNode("QR", "127.0.0.1", free_port, connection_seconds=2)
    header = pydicom.dcmread(objects["CT"].path)
    with subprocess.Popen([program, "-c", settings], env={"TCP_NODELAY": "1"}) as process:
        try:
            wait_for(node, process)
            assert run("storescu", objects["CT"].path, node=node).returncode == 0
            uids = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
            (came,) = node.retrieve(*uids, tmp_path / "came", ListenAddress())
        finally:
            process.kill()
    assert unlike(objects["CT"].path, came) == []


def wait_for(node: DimseNode, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(DeliveryError):
            node.echo()
            return
    pytest.fail("dcmqrscp did not start")
