"""What every test may use: the shared real data, phantoms, and one rule for parts that are missing."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from distributed import LocalCluster
from hypothesis import settings

from catalog.database import Catalog
from pipelines import phantoms

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
