"""Random regions of a large CT, ours against zarr-python's own codec pipeline, and random frames, cold.

`python tests/benchmarks/regions_speed.py [planes] [frames]` writes two arrays as ingest does, reads 64³ of
the first at random places through both pipelines in turn, page cache warm, and single frames of the second
after the system was told to forget its files.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import zarr

from pipelines.store import arrays
from pipelines.store.layout import Layout

SIDE = 64
REGIONS, FRAMES = 100, 200
ROUNDS = 3
LIMIT_RATIO, LIMIT_MS = 2.0, 10
PEER = {"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}

type Array = Any


def write(group: Path, layout: Layout, dtype: str) -> None:
    """Fill an array with the same noise around a mean that differs from slab to slab."""
    values = arrays.create_values(group, layout, dtype, ("z", "y", "x"))
    slabs = list(layout.slabs())
    noise = np.random.default_rng(0).normal(0, 15, slabs[0].shape)
    for number, slab in enumerate(slabs):
        stored = (noise[: slab.shape[0]] + 100 + number % 50).astype(dtype)
        arrays.write_slab(group, values, slab, stored)


def rate(array: Array, places: np.ndarray) -> float:
    """Regions a second."""
    started = perf_counter()
    for z, y, x in places:
        array[z : z + SIDE, y : y + SIDE, x : x + SIDE]
    return len(places) / (perf_counter() - started)


def compare(group: Path, shape: tuple[int, ...]) -> tuple[float, float]:
    """Regions a second of ours and of zarr-python's own pipeline, the best of alternating rounds."""
    ours = arrays.open_values(group)
    with zarr.config.set(PEER):
        peer = zarr.open_array(group / arrays.VALUES, mode="r")
    random = np.random.default_rng(1)
    places = random.integers(0, np.array(shape) - SIDE, (REGIONS, 3))
    z, y, x = places[0]
    region = np.s_[z : z + SIDE, y : y + SIDE, x : x + SIDE]
    if not np.array_equal(ours[region], peer[region]):
        raise ValueError("the two pipelines read different values")
    best = [0.0, 0.0]
    for _ in range(ROUNDS):
        for number, array in enumerate((ours, peer)):
            best[number] = max(best[number], rate(array, places))
    return best[0], best[1]


def forget(group: Path) -> None:
    """Tell the system that the files of a group are not needed any more, so that they are read again."""
    for path in group.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def frame_ms(group: Path, count: int, *, opened: Callable[[], Array]) -> list[float]:
    """Milliseconds of each of many random frames, the files forgotten before each."""
    times = []
    for number in np.random.default_rng(2).integers(0, count, FRAMES):
        forget(group)
        started = perf_counter()
        opened()[number]
        times.append((perf_counter() - started) * 1000)
    return times


def main(planes: int = 2000, frames: int = 10_000) -> None:
    """Print both tables."""
    say = sys.stdout.write
    with tempfile.TemporaryDirectory() as folder:
        group, shape = Path(folder) / "ct", (planes, 512, 512)
        layout = Layout(shape, 2, "volume")
        write(group, layout, "uint16")
        ours, peer = compare(group, shape)
    say(f"{SIDE}³ at random places of {planes} x 512 x 512, chunks {layout.chunk}, regions a second\n")
    say(f"  ours {ours:.0f}, zarr-python's own pipeline {peer:.0f}")
    say(f": {ours / peer:.1f} x (at least {LIMIT_RATIO})\n")
    with tempfile.TemporaryDirectory() as folder:
        group = Path(folder) / "cine"
        write(group, Layout((frames, 512, 512), 1, "stack"), "uint8")
        array = arrays.open_values(group)
        ways: dict[str, Callable[[], Array]] = {
            "array open": lambda: array,
            "opened for it": lambda: arrays.open_values(group),
        }
        say(f"a random frame of {frames:,} of 512 x 512, cold (limit {LIMIT_MS} ms)\n")
        for words, opened in ways.items():
            times = sorted(frame_ms(group, frames, opened=opened))
            say(f"  {words}: median {statistics.median(times):.1f} ms, ")
            say(f"nine of ten below {times[len(times) * 9 // 10]:.1f} ms\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
