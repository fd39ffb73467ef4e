"""A series is fetched over a bad line: in bounded time, said in words, and whole the next time."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest

from catalog.database import Catalog
from catalog.errors import DeliveryError
from catalog.identifiers import new_uid
from pipelines import phantoms
from tests.peers.line import Fault, line_to
from workbench.pacs import embedded
from workbench.pacs.deliver import deliver
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress
from workbench.pacs.posting import post

NOW = datetime(2026, 11, 30, tzinfo=UTC)
FAULTS = {
    "latency": (Fault(latency_s=0.02), True),
    "reset in the middle of an object": (Fault(reset_back_after=60_000), False),
    "half open after the request": (Fault(half_open_after=1_500), False),
    "one byte a second": (Fault(drip_s=1.0), False),
    "black hole": (Fault(black_hole=True), False),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> phantoms.Phantom:
    return phantoms.write_series(
        tmp_path_factory.mktemp("ct"), planes=4, rows=128, columns=128, study=new_uid()
    )


@pytest.fixture(scope="module")
def pacs(made: phantoms.Phantom, tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedPacs]:
    """A PACS that holds a series."""
    folder = tmp_path_factory.mktemp("pacs")
    with embedded.start(folder / "pacs") as running:
        catalog = Catalog(folder / "catalog.sqlite")
        for path in made.paths:
            post(catalog, path, running.node.name, outbox_folder=folder / "outbox", now=NOW)
        deliver(catalog, running.node, listen=ListenAddress(), now=lambda: NOW, wait=timedelta(seconds=1))
        catalog.close()
        yield running


@pytest.mark.parametrize(("fault", "arrives"), FAULTS.values(), ids=FAULTS)
def test_29_a_fetch_over_a_bad_line_ends_in_bounded_time_and_the_next_has_it_whole(
    pacs: embedded.EmbeddedPacs, made: phantoms.Phantom, tmp_path: Path, fault: Fault, arrives: bool
) -> None:
    head = pydicom.dcmread(made.paths[0])
    asked = str(head.StudyInstanceUID), made.series_instance_uid
    with line_to("127.0.0.1", pacs.node.port, fault) as line:
        node = DimseNode(
            pacs.node.ae_title, "127.0.0.1", line.port, name="PACS",
            connection_seconds=3.0, answer_seconds=3.0,
        )  # fmt: skip
        began, said = time.monotonic(), ""
        try:
            node.retrieve(*asked, tmp_path / "first", ListenAddress())
        except DeliveryError as error:
            said = str(error)
        assert time.monotonic() - began < 40
        assert (said == "") == arrives
        assert arrives or "PACS" in said
        for path in (tmp_path / "first").rglob("*.dcm"):  # what came before is whole
            assert pydicom.dcmread(path).PixelData
        line.mend()
        paths = node.retrieve(*asked, tmp_path / "first", ListenAddress())
    came = {str(ds.SOPInstanceUID): ds.PixelData for ds in map(pydicom.dcmread, paths)}
    assert came == {
        uid: pydicom.dcmread(path).PixelData
        for uid, path in zip(made.sop_instance_uids, made.paths, strict=True)
    }
    assert not list(tmp_path.rglob("*.partial"))
