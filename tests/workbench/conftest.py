"""A bench on a fresh folder, and an archive to read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench
from pipelines import phantoms
from workbench.session import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with workbench.open(tmp_path / "bench") as opened:
        yield opened


@pytest.fixture
def any_bench(catalog_url: str, tmp_path: Path) -> Iterator[Bench]:
    """A bench on SQLite and on PostgreSQL, as its file says: commands find it by its home, too."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "workbench.toml").write_text(f'catalog = "{catalog_url}"\n')
    with workbench.open(tmp_path / "bench") as opened:
        yield opened


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two CT series and one MR, in one folder."""
    folder = tmp_path / "archive"
    phantoms.write_series(
        folder / "a",
        description="sphere <b>one</b>",
        patient_name="Müller^Änne",
        patient_id="M1",
        study="another",
    )
    phantoms.write_series(folder / "b", description="sphere two", series_number=2, seed=1, distance=1.5)
    phantoms.write_series(folder / "c", description="brain", series_number=3, modality="MR", intercept=0.0)
    return folder
