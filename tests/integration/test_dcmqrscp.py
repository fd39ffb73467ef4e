"""DCMTK's archive, dcmqrscp: strict, transcodes nothing, without storage commitment and DICOMweb."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pydicom
import pytest

from catalog.database import Catalog
from catalog.errors import DeliveryError, RefusedError
from workbench.pacs.deliver import deliver
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress
from workbench.pacs.posting import post

pytestmark = pytest.mark.pacs
NOW = datetime(2026, 11, 30, 2, 0, tzinfo=UTC)
WAIT = timedelta(seconds=1)
START_SECONDS = 30.0


@pytest.fixture
def archive(
    tmp_path: Path, free_port: int, missing: Callable[[str], NoReturn]
) -> Iterator[tuple[DimseNode, ListenAddress]]:
    """An empty archive in a folder of its own, which knows this bench."""
    program = shutil.which("dcmqrscp", path="/usr/bin")
    if program is None:
        missing("dcmqrscp is not there: apt-get install dcmtk, or as root tests/install_system.sh")
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = ListenAddress(port=int(probe.getsockname()[1]))
    (store := tmp_path / "store").mkdir()
    (config := tmp_path / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {free_port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nbench = (WORKBENCH, localhost, {listen.port})\nHostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {store} RW (100, 1024mb) ANY\nAETable END\n"
    )
    log = tmp_path / "dcmqrscp.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "-c", config, "--debug"], stdout=output, stderr=output,
            env={**os.environ, "TCP_NODELAY": "1"},
        )  # fmt: skip
    node = DimseNode("ARCHIVE", "127.0.0.1", free_port, answer_seconds=20)
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            node.echo()
            break
        except DeliveryError:
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < until, log.read_text(errors="replace")
            time.sleep(0.02)
    yield node, listen
    process.kill()
    process.wait()


def test_results_go_there_and_are_read_back_without_commitment(
    archive: tuple[DimseNode, ListenAddress], sqlite_catalog: Catalog, objects: Any, tmp_path: Path
) -> None:
    node, listen = archive
    for each in objects.values():
        post(sqlite_catalog, each.path, node.name, outbox_folder=tmp_path / "outbox", now=NOW)
    receipts = deliver(sqlite_catalog, node, listen=listen, now=lambda: NOW, wait=WAIT)
    assert [each.state for each in receipts] == ["confirmed"] * len(objects), receipts
    assert "committed" not in {stage.name for each in receipts for stage in each.stages}

    study = str(pydicom.dcmread(objects["CT"].path).StudyInstanceUID)
    found = list(node.survey({"StudyInstanceUID": study}))
    assert sorted(str(each.values["modality"]) for each in found) == sorted(objects)


def test_a_series_that_is_not_there_is_said_to_be_not_there(
    archive: tuple[DimseNode, ListenAddress], tmp_path: Path
) -> None:
    node, listen = archive
    assert list(node.survey({"StudyInstanceUID": "1.2.3"})) == []
    with pytest.raises(RefusedError, match=r"does not find the instances of series 1\.2\.3\.4"):
        node.retrieve("1.2.3", "1.2.3.4", tmp_path, listen)
