"""26: a fetch or harvest on a disk that fills: it stops before, in words, and goes on when there is room."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
import pytest

import workbench
from catalog.database import Catalog
from catalog.errors import NoRoomError
from catalog.identifiers import new_uid
from catalog.room import STRIDE
from pipelines import phantoms
from tests.faults.test_dicomweb_peer import archive, serving
from workbench.pacs import embedded
from workbench.pacs.deliver import deliver
from workbench.pacs.node import ListenAddress, Node
from workbench.pacs.posting import post
from workbench.session import Bench

NOW = datetime(2026, 11, 30, tzinfo=UTC)
WORDS = (
    r"fewer than 1,024 MB are free on the disk of .*received \(receive_free_mb.*what came is kept. Make room"
)
PLANES = 3 * STRIDE // (512 * 512 * 2)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> phantoms.Phantom:
    """A series of 48 MB: its space is looked at three times on the way."""
    folder = tmp_path_factory.mktemp("ct")
    return phantoms.write_series(folder, planes=PLANES, rows=512, columns=512, study=new_uid())


@pytest.fixture(scope="module")
def pacs(made: phantoms.Phantom, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A PACS that holds it."""
    folder = tmp_path_factory.mktemp("pacs")
    with embedded.start(folder / "pacs") as running:
        catalog = Catalog(folder / "catalog.sqlite")
        for path in made.paths:
            post(catalog, path, running.node.name, outbox_folder=folder / "outbox", now=NOW)
        deliver(catalog, running.node, listen=ListenAddress(), now=lambda: NOW, wait=timedelta(seconds=1))
        catalog.close()
        yield running.node


@pytest.fixture(params=["DIMSE", "DICOMweb"])
def node(request: pytest.FixtureRequest, made: phantoms.Phantom) -> Iterator[Node]:
    """The same by either way."""
    if request.param == "DIMSE":
        yield request.getfixturevalue("pacs")
        return
    with serving(archive(made, lambda files: b"", one_by_one=True)) as web:
        yield web


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the disk be full when its space is looked at after so many times."""

    def filled(looks: int) -> None:
        left = iter(range(looks, 0, -1))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, (1 << 40) * next(left, 0)))

    return filled


def opened(home: Path, node: Node) -> Bench:
    return workbench.open(home, nodes={"PACS": node})


def received(bench: Bench) -> list[Path]:
    return sorted((bench.settings.home / "received").rglob("*.dcm"))


def contents(paths: Any) -> set[bytes]:
    return {pydicom.dcmread(path).PixelData for path in paths}


@pytest.mark.parametrize("looks", [0, 1])
def test_26_a_fetch_stops_before_the_disk_is_full_and_the_same_again_gets_the_rest(
    node: Node, made: phantoms.Phantom, tmp_path: Path, fill: Callable[[int], None], looks: int
) -> None:
    with opened(tmp_path / "bench", node) as bench:
        bench.index("pacs://PACS", quiet=True)
        fill(looks)
        with pytest.raises(NoRoomError, match=WORDS):
            bench.fetch(bench.series(), quiet=True)
        assert 0 < len(received(bench)) < PLANES if looks else received(bench) == []
        assert not list(bench.settings.home.rglob("*.partial"))
        assert (bench.series()[0].instances == len(received(bench))) or not looks  # what came is known
        fill(10**6)
        bench.fetch(bench.series(), quiet=True)
        assert contents(received(bench)) == contents(made.paths)


@pytest.mark.parametrize("looks", [0, 1])
def test_26_a_harvest_stops_before_the_disk_is_full_and_the_next_goes_on(
    pacs: Node, made: phantoms.Phantom, tmp_path: Path, fill: Callable[[int], None], looks: int
) -> None:
    day = str(pydicom.dcmread(made.paths[0]).StudyDate)
    with opened(tmp_path / "bench", pacs) as bench:
        fill(looks)
        with pytest.raises(NoRoomError, match=WORDS):
            bench.harvest("lung", study_date=day, quiet=True)
        assert not bench.harvest_report("lung").is_complete
        fill(10**6)
        assert bench.harvest("lung", quiet=True).is_complete
        assert contents(received(bench)) == contents(made.paths)
