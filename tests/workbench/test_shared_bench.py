"""The main job on a catalog in PostgreSQL that two benches share."""

from pathlib import Path
from typing import Any

import pytest

import workbench
from pipelines import phantoms
from pipelines.steps.threshold import threshold

pytestmark = pytest.mark.postgresql


def test_the_main_job_runs_on_a_shared_catalog(
    postgresql: Any, tmp_path: Path, ct: phantoms.Phantom, scheduler: str
) -> None:
    address = postgresql.database()
    with (
        workbench.open(address, home=tmp_path / "mine", scheduler=scheduler) as mine,
        workbench.open(address, home=tmp_path / "hers") as hers,
    ):
        assert mine.index(ct.paths[0].parent, quiet=True).report.added == len(ct.paths)
        (found,) = hers.series(modality="CT", where="SliceThickness <= 5")
        mine.ingest(found, quiet=True)
        assert mine.verify(found, quiet=True).mismatches == ()
        assert hers.volume(found).to_numpy().tolist() == ct.modality_values.tolist()
        run = mine.run(threshold, [found], above=100, quiet=True)
        assert run.succeeded
        hers.freeze("shared", [found])
        assert [each.name for each in mine.cohorts] == ["shared"]
        assert len(mine.cohort("shared").diff()) == 0
        assert mine.scrub(quiet=True).succeeded
