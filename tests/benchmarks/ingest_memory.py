"""Peak memory of the processes that ingest a CT series of 4 GB, and of 40 MB for comparison.

`python tests/benchmarks/ingest_memory.py [slices]`; 8,000 slices of 512 × 512 × 16 bit are 4.2 GB.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom

from pipelines import phantoms

LIMIT_MB = 600
CODE = """
import resource, sys
from contextlib import closing
from pathlib import Path
from catalog.database import Catalog
from catalog.index import index_paths
from catalog.query import find_series, instances_of
from pipelines.ingest import ingest_series
folder = Path(sys.argv[1])
with closing(Catalog(folder / "catalog.sqlite")) as catalog:
    index_paths(catalog, [folder / "archive"])
    (series,) = find_series(catalog)
    instances = instances_of(catalog, series.series_instance_uid)
    (array,) = ingest_series(series, instances, folder / "arrays").arrays
peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(array.shape[0], sum(peaks))
"""


def write_archive(folder: Path, slices: int) -> None:
    """One series of planes of noise, the same plane again and again."""
    plane = np.random.default_rng(0).normal(1000, 15, (1, 512, 512)).astype(np.uint16)
    (path,) = phantoms.write_series(folder, stored=plane, spacing=(0.8, 0.8), distance=0.5).paths
    ds = pydicom.dcmread(path)
    for index in range(1, slices):
        ds.SOPInstanceUID = phantoms.known_uid("memory", index)
        ds.InstanceNumber, ds.ImagePositionPatient = index + 1, [0, 0, index * 0.5]
        ds.save_as(folder / f"{index:05}.dcm")
    ds.SOPInstanceUID = phantoms.known_uid("memory", 0)
    ds.InstanceNumber, ds.ImagePositionPatient = 1, [0, 0, 0]
    ds.save_as(path)


def peak_mb(slices: int) -> float:
    """Resident memory at its highest, of a process that indexes and ingests so many slices."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_archive(folder / "archive", slices)
        out = subprocess.run(
            [sys.executable, "-c", CODE, name], check=True, capture_output=True, text=True
        ).stdout.split()
        if int(out[0]) != slices:
            raise ValueError("not every slice was ingested")
        return int(out[1]) * 1024 / 1e6


def main(slices: int = 8000) -> None:
    """Print both."""
    for count in (slices // 100, slices):
        gb, peak = count * 512 * 512 * 2 / 1e9, peak_mb(count)
        sys.stdout.write(
            f"ingest of {gb:.2f} GB in {count:,} files: peak {peak:,.0f} MB (limit {LIMIT_MB})\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
