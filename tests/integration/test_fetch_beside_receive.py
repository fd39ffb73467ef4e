"""A node that only moves (C-MOVE), and `workbench receive` on the port it knows: a fetch finds what came."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench
from catalog import outbox
from catalog.errors import DeliveryError, RefusedError
from catalog.identifiers import new_uid
from pipelines import phantoms
from tests.integration.test_survey import PLANES, fill
from workbench.session import Bench

pytestmark = pytest.mark.pacs


@pytest.fixture(scope="module")
def peer(start_orthanc: Callable[..., Any]) -> Any:
    """An Orthanc that allows no C-GET."""
    return start_orthanc(may_get=False)


def settings(home: Path, peer: Any, *more: str) -> Path:
    home.mkdir(exist_ok=True)
    (home / "workbench.toml").write_text(
        f"listen_port = {peer.listen.port}\n[nodes.PACS]\n"
        f'ae_title = "{peer.node.ae_title}"\nhost = "127.0.0.1"\nport = {peer.node.port}\n'
        + "".join(f"{line}\n" for line in more)
    )
    return home


@pytest.fixture
def home(tmp_path: Path, peer: Any) -> Path:
    return settings(tmp_path / "bench", peer)


@pytest.fixture
def ct(tmp_path: Path, peer: Any) -> phantoms.Phantom:
    return fill(peer.node, tmp_path / "ct", new_uid(), f"P{new_uid()[-12:]}")


@pytest.fixture
def bench(home: Path, ct: phantoms.Phantom) -> Iterator[Bench]:
    with workbench.open(home) as bench:
        bench.index("pacs://PACS", StudyInstanceUID=ct.study_instance_uid)
        yield bench


def test_what_a_node_moves_to_workbench_receive_is_fetched(
    bench: Bench, home: Path, peer: Any, ct: phantoms.Phantom, start_receive: Callable[..., Any]
) -> None:
    receiving = start_receive(home, anyone=False, port=peer.listen.port)
    fetched = bench.fetch(bench.series(), quiet=True)
    assert (fetched.as_json()["added"], fetched.as_json()["unchanged"], fetched.short) == (PLANES, 0, ())
    (found,) = bench.series()
    assert (found.instances, found.remote) == (PLANES, "")
    np.testing.assert_allclose(bench.volume(found).to_numpy(), ct.modality_values)
    again = bench.fetch(found, quiet=True)  # twice is once
    assert (again.as_json()["added"], bench.series()[0].instances) == (0, PLANES)
    assert len(list((home / "received").rglob("*.dcm"))) == PLANES
    assert receiving.end() == 0


def test_a_series_that_is_opened_beside_workbench_receive_is_fetched_first(
    bench: Bench, home: Path, peer: Any, ct: phantoms.Phantom, start_receive: Callable[..., Any]
) -> None:
    receiving = start_receive(home, anyone=False, port=peer.listen.port)
    np.testing.assert_allclose(bench.volume(bench.series()[0]).to_numpy(), ct.modality_values)
    assert receiving.end() == 0


def test_a_node_that_may_not_store_is_named_with_what_to_do(
    bench: Bench, home: Path, peer: Any, start_receive: Callable[..., Any]
) -> None:
    settings(home, peer, 'may = ["find"]')
    receiving = start_receive(home, anyone=False, port=peer.listen.port)
    with (
        workbench.open(home) as refused,
        pytest.raises(
            RefusedError, match=r'put "store" into may of \[nodes\.PACS\] and start workbench recei'
        ),
    ):
        refused.fetch(refused.series(), quiet=True)
    assert bench.series()[0].remote == "pacs://PACS"
    assert receiving.end() == 0


def test_a_node_that_workbench_receive_does_not_know_is_named_with_what_to_do(
    bench: Bench, home: Path, peer: Any, start_receive: Callable[..., Any]
) -> None:
    (home / "workbench.toml").write_text(
        '[nodes.OTHER]\nae_title = "OTHER"\nhost = "127.0.0.1"\nport = 104\n'
    )
    receiving = start_receive(home, anyone=False, port=peer.listen.port)
    with pytest.raises(RefusedError, match=r"workbench receive has .* it lets PACS in as ORTHANC, from 127"):
        bench.fetch(bench.series(), quiet=True)
    assert bench.series()[0].remote == "pacs://PACS"
    assert receiving.end() == 0


def test_a_port_that_another_program_has_is_named(bench: Bench, peer: Any) -> None:
    hasty = {"PACS": replace(peer.node, name="PACS", answer_seconds=2)}
    with (
        socket.create_server((peer.listen.host, peer.listen.port)),
        workbench.open(bench.settings.home, nodes=hasty) as again,
        pytest.raises(DeliveryError, match=f"Cannot listen on 127.0.0.1:{peer.listen.port}"),
    ):
        again.fetch(again.series(), quiet=True)
    assert bench.fetch(bench.series(), quiet=True).as_json()["added"] == PLANES, "it is free again"


def test_what_is_sent_beside_workbench_receive_is_committed_and_read_back(
    bench: Bench, home: Path, peer: Any, tmp_path: Path, start_receive: Callable[..., Any]
) -> None:
    receiving = start_receive(home, anyone=False, port=peer.listen.port)
    path = phantoms.write_series(tmp_path / "sent", planes=1, study=new_uid()).paths[0]
    (receipt,) = bench.send([path], to="PACS")
    assert receipt.state == "confirmed"
    (delivery,) = outbox.deliveries(bench.catalog)
    assert "committed" in {stage.name for stage in delivery.stages}
    assert delivery.stages[-1].text == "read back by C-MOVE, identical"
    assert receiving.end() == 0
