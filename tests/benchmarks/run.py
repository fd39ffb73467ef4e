"""Every benchmark, one after another, below a line that says on what machine and when: `make bench`.

Speed is never a test: what counts is the ratio to a peer in the same run.
"""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

HERE = Path(__file__).resolve().parent
IMPORT_LIMIT_SECONDS = 0.5
REPEATS = 7
SCRIPTS = (
    "index_speed.py",
    "catalog_speed.py",
    "catalog_scale.py",
    "index_peers.py",
    "copy_speed.py",
    "planes_speed.py",
    "regions_speed.py",
    "codecs_speed.py",
    "video_speed.py",
    "receive_speed.py",
    "ingest_speed.py",
    "ingest_memory.py",
    "send_speed.py",
    "ask_speed.py",
    "viewer_speed.py",
)
PACKAGES = ("numpy", "zarr", "zarrs", "imagecodecs", "pydicom")


def processor() -> str:
    """Name of the processor as Linux tells it, else as Python does."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def import_seconds(module: str) -> float:
    """Median seconds of a fresh process that imports a module, less those of one that imports nothing."""

    def run(code: str) -> float:
        started = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return perf_counter() - started

    return median(run(f"import {module}") - run("pass") for _ in range(REPEATS))


def main() -> None:
    """Print everything."""
    packages = " ".join(f"{name} {version(name)}" for name in PACKAGES)
    say = sys.stdout.write
    say(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {processor()}, {os.process_cpu_count()} cores\n")
    say(f"Python {platform.python_version()} · {packages}\n\n")
    say(f"import workbench: {import_seconds('workbench'):.2f} s (limit {IMPORT_LIMIT_SECONDS})\n\n")
    sys.stdout.flush()
    for name in SCRIPTS:
        subprocess.run([sys.executable, HERE / name], check=True)
        say("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
