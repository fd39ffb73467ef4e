"""The samples are what they say: every series of them is indexed, and each folder holds one."""

from pathlib import Path

import pytest

from catalog.database import Catalog
from catalog.index import index_paths
from catalog.query import find_series, instances_of
from pipelines.samples import SAMPLES, write_samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples") / "archive")


def test_every_kind_is_one_series_and_nothing_is_refused(samples: Path, catalog: Catalog) -> None:
    report = index_paths(catalog, [samples])
    assert report.rejected == ()
    folders = {
        each.series_instance_uid: {
            Path(instance.path).relative_to(samples).parts[0]
            for instance in instances_of(catalog, each.series_instance_uid)
        }
        for each in find_series(catalog)
    }
    assert sorted(name for names in folders.values() for name in names) == sorted(
        each.name for each in SAMPLES
    )


def test_samples_that_are_there_are_not_written_again(samples: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in samples.rglob("*")}
    write_samples(samples)
    assert {path: path.stat().st_mtime_ns for path in samples.rglob("*")} == before
