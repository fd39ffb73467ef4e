"""A bench on a fresh folder, and one Dask scheduler for every bench of a test process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

import workbench
from pipelines import phantoms
from workbench.session import Bench


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with one worker process on loopback."""
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with workbench.open(tmp_path / "bench") as opened:
        yield opened


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two CT series and one MR, in one folder."""
    folder = tmp_path / "archive"
    phantoms.write_series(
        folder / "a", description="sphere <b>one</b>", patient_name="Müller^Änne", patient_id="M1"
    )
    phantoms.write_series(folder / "b", description="sphere two", series_number=2, seed=1, distance=1.5)
    phantoms.write_series(folder / "c", description="brain", series_number=3, modality="MR", intercept=0.0)
    return folder
