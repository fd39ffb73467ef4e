"""From files on disk to arrays, by the real index and the real ingest."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

from catalog.database import Catalog
from catalog.index import index_paths
from catalog.query import find_series, instances_of
from catalog.records import ArrayRecord, InstanceRecord, SeriesRecord
from pipelines.ingest import Ingested, ingest_series


@dataclass(frozen=True)
class IndexedSeries:
    """One series of an indexed folder, and where its arrays go."""

    series: SeriesRecord
    instances: list[InstanceRecord]
    arrays_folder: Path

    def ingest(self, *, threads: int = 2) -> Ingested:
        return ingest_series(self.series, self.instances, self.arrays_folder, threads=threads)

    @property
    def array(self) -> ArrayRecord:
        """The only part."""
        (array,) = self.ingest().arrays
        return array


@pytest.fixture
def decoders() -> Callable[[], set[int]]:
    """The processes that this one has started to decode videos in, and that run."""

    def found() -> set[int]:
        listed = [each.read_text().split() for each in Path("/proc/self/task").glob("*/children")]
        return {int(child) for child in chain(*listed) if is_decoder(Path("/proc") / child)}

    def is_decoder(process: Path) -> bool:
        try:
            return b"projector" in (process / "cmdline").read_bytes()  # empty once it has ended
        except FileNotFoundError:
            return False

    return found


type Indexed = Callable[..., list[IndexedSeries]]


@pytest.fixture
def indexed(tmp_path: Path) -> Iterator[Indexed]:
    """Index files or folders; their series, those with most instances first."""
    with ExitStack() as stack:

        def index(*paths: Path) -> list[IndexedSeries]:
            home = tmp_path / "bench"
            home.mkdir(exist_ok=True)
            catalog = Catalog(home / "catalog.sqlite")
            stack.callback(catalog.close)
            index_paths(catalog, paths)
            found = [
                IndexedSeries(
                    each, instances_of(catalog, each.series_instance_uid), (home / "arrays").absolute()
                )
                for each in find_series(catalog)
            ]
            return sorted(found, key=lambda each: (-len(each.instances), each.series.series_instance_uid))

        yield index
