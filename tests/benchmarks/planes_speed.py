"""Milliseconds to open a volume from Zarr and take one axial, coronal and sagittal plane of it.

`python tests/benchmarks/planes_speed.py [slices]` prints medians of a CT of 512 × 512, page cache warm.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import xarray as xr
from ingest_speed import indexed

from catalog.records import ArrayRecord
from pipelines import phantoms
from pipelines.ingest import ingest_series
from pipelines.volumes import open_array

REPEATS = 21
LIMITS_MS = {"axial": 15, "coronal": 30, "sagittal": 30}


def measure(record: ArrayRecord, *, repeats: int = REPEATS) -> dict[str, tuple[float, float]]:
    """For each plane the median milliseconds from the record, and from a volume that is open already."""
    takes: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
        "axial": lambda volume: volume[volume.sizes["z"] // 2],
        "coronal": lambda volume: volume[:, volume.sizes["y"] // 2],
        "sagittal": lambda volume: volume[:, :, volume.sizes["x"] // 2],
    }
    volume = open_array(record)
    return {
        name: (
            median_ms(lambda take=take: take(open_array(record)).to_numpy(), repeats),
            median_ms(lambda take=take: take(volume).to_numpy(), repeats),
        )
        for name, take in takes.items()
    }


def median_ms(take: Callable[[], object], repeats: int) -> float:
    """Median of so many runs."""
    times = []
    for _ in range(repeats):
        started = perf_counter()
        take()
        times.append((perf_counter() - started) * 1000)
    return statistics.median(times)


def record_of(folder: Path, *, slices: int) -> ArrayRecord:
    """Write, index and ingest one series."""
    phantom = phantoms.write_series(
        folder / "archive", planes=slices, rows=512, columns=512, radius_mm=150, noise=15
    )
    series, instances, _ = indexed(folder / "archive", folder / "catalog.sqlite")
    (record,) = ingest_series(series, instances, folder / "arrays").arrays
    if not np.array_equal(open_array(record)[slices // 2], phantom.modality_values[slices // 2]):
        raise ValueError("the plane that would be timed is not the right one")
    return record


def main(slices: int = 300) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(record_of(Path(folder), slices=slices))
    lines = [f"one plane of {slices} x 512 x 512", f"  {'median ms':<12}{'opened':>9}{'open':>9}{'limit':>9}"]
    lines += [
        f"  {name:<12}{opened:>9.1f}{already:>9.1f}{LIMITS_MS[name]:>9}"
        for name, (opened, already) in measured.items()
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
