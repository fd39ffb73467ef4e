"""Storage commitment by `workbench receive` to a real PACS (PS3.4 annex J)."""

import json
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalog.identifiers import new_uid
from pipelines import phantoms

pytestmark = pytest.mark.pacs


@pytest.fixture
def ct(tmp_path: Path) -> phantoms.Phantom:
    return phantoms.write_series(tmp_path / "ct", planes=3, study=new_uid())


def test_Orthanc_gets_the_promise_it_asked_for(
    tmp_path: Path,
    start_receive: Callable[..., Any],
    start_orthanc: Callable[..., Any],
    ct: phantoms.Phantom,
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    peer = start_orthanc(DicomModalities={"bench": {"AET": "WORKBENCH", "Host": "127.0.0.1", "Port": port}})
    home = tmp_path / "bench"
    home.mkdir()
    (home / "workbench.toml").write_text(
        f'[nodes.PACS]\nae_title = "ORTHANC"\nmay = ["store", "commit"]\n'
        f'host = "127.0.0.1"\nport = {peer.node.port}\n'
    )
    receiving = start_receive(home, anyone=False, port=port)

    def rest(path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{peer.http_port}{path}", body)
        request.add_header("Authorization", "Basic dTpw")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    made = [rest("/instances", path.read_bytes())["ID"] for path in ct.paths]
    order = {"Resources": made, "StorageCommitment": True, "Synchronous": True}
    sent = rest("/modalities/bench/store", json.dumps(order).encode())
    until = time.monotonic() + 60
    while (report := rest(f"/storage-commitment/{sent['StorageCommitmentTransactionUID']}"))[
        "Status"
    ] == "Pending":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert report["Status"] == "Success"
    assert {each["SOPInstanceUID"] for each in report["Success"]} == set(ct.sop_instance_uids)
    assert receiving.end() == 0
