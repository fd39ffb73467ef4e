"""Files a second into the catalog, against pydicom reading the same headers; memory by the number of files.

`python tests/benchmarks/index_speed.py [files] [small files]` prints both: CT of 512 × 512 with 110 elements,
page cache warm, commits included; and the growth of resident memory for a tenth of the small files and all.
"""

import os
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement

from catalog.database import Catalog
from catalog.index import index_paths

REPEATS = 3
FILES_PER_FOLDER = 1_000
LIMIT_PER_SECOND = 2_000
ELEMENTS = 110

MEMORY_CODE = """
import re, sys
from pathlib import Path
from catalog.database import Catalog
from catalog.index import index_paths
def mib(field):  # of this process alone; ru_maxrss would begin with the parent's
    return int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
catalog = Catalog(sys.argv[1])
index_paths(catalog, [sys.argv[2]])
before = mib("VmRSS")
report = index_paths(catalog, [sys.argv[3]])
print(report.added, report.seconds, mib("VmHWM") - before)
"""
"""Run in a process of its own, on Linux: peak less what it held when it was warm."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast something went through files."""

    what: str
    per_second: float
    """By the clock."""
    per_cpu_second: float
    """By the time of one core; what the clock would say on a machine with nothing else to do."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What resident memory grew by while files were indexed."""

    files: int
    mib: float
    per_second: float


def write_archive(folder: Path, files: int) -> Path:
    """Write CT slices of 512 × 512 × 16 bit with about 110 elements; only their UIDs and numbers differ."""
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    del ds.DataSetTrailingPadding
    ds.Rows = ds.Columns = 512
    ds.PixelData = os.urandom(512 * 512 * 2)
    for number in range(max(ELEMENTS - len(ds), 0)):
        ds.add(DataElement(0x00091000 + number, "LO", f"private value {number}"))
    folder.mkdir(parents=True)
    for number in range(files):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        ds.InstanceNumber = number + 1
        ds.save_as(folder / f"{number:06}.dcm")
    return folder


def write_small_archive(folder: Path, files: int) -> Path:
    """Write files of a few hundred bytes: the UIDs, a patient and an instance number; 200 to a series."""
    head = bytes(128) + b"DICM" + _element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1")
    for number in range(files):
        series = number // 200
        content = head + b"".join(
            (
                _element(0x0008, 0x0016, b"UI", b"1.2.840.10008.5.1.4.1.1.2"),
                _element(0x0008, 0x0018, b"UI", b"1.2.9.%d.%d" % (files, number)),
                _element(0x0008, 0x0060, b"CS", b"CT"),
                _element(0x0010, 0x0020, b"LO", b"P%d" % (series // 4)),
                _element(0x0020, 0x000D, b"UI", b"1.2.7.%d.%d" % (files, series // 2)),
                _element(0x0020, 0x000E, b"UI", b"1.2.8.%d.%d" % (files, series)),
                _element(0x0020, 0x0013, b"IS", b"%d" % (number % 200)),
            )
        )
        path = folder / f"{number // FILES_PER_FOLDER:04}" / f"{number:06}"
        if number % FILES_PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return folder


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def measure(archive: Path, *, repeats: int = REPEATS) -> list[Rate]:
    """Return the rates of the index and of pydicom over the same files, in turns, medians."""
    paths = sorted(archive.iterdir())

    def index() -> None:
        with tempfile.TemporaryDirectory() as home:
            catalog = Catalog(Path(home) / "catalog.db")
            if index_paths(catalog, [archive]).added != len(paths):
                raise ValueError("not every file was added")
            catalog.close()

    def read() -> None:
        for path in paths:
            pydicom.dcmread(path, stop_before_pixels=True)

    runs: dict[str, list[tuple[float, float]]] = {"index": [], "pydicom": []}
    for _ in range(repeats + 1):
        for what, run in (("index", index), ("pydicom", read)):
            runs[what].append(_seconds(run))
    return [
        Rate(
            what,
            len(paths) / statistics.median(clock for clock, _ in taken[1:]),
            len(paths) / statistics.median(core for _, core in taken[1:]),
        )
        for what, taken in runs.items()
    ]


def _seconds(run: Callable[[], None]) -> tuple[float, float]:
    clock, core = perf_counter(), process_time()
    run()
    return perf_counter() - clock, process_time() - core


def measure_memory(folder: Path, files: int) -> list[Growth]:
    """Return what a process of its own grows by over a tenth of the files and over all, once it is warm."""
    warm = write_small_archive(folder / "warm", 2 * FILES_PER_FOLDER)
    grown = []
    for count in (files // 10, files):
        archive = write_small_archive(folder / str(count), count)
        out = subprocess.run(
            [sys.executable, "-c", MEMORY_CODE, folder / f"{count}.db", warm, archive],
            capture_output=True,
            text=True,
            check=True,
        )
        added, seconds, mib = map(float, out.stdout.split())
        if added != count:
            raise ValueError("not every file was added")
        grown.append(Growth(count, mib, count / seconds))
    return grown


def main(files: int = 400, small_files: int = 100_000) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        index, peer = measure(write_archive(Path(folder) / "ct", files))
    with tempfile.TemporaryDirectory() as folder:
        grown = measure_memory(Path(folder), small_files)
    lines = [
        f"index {files} CT files of 512 x 512, {ELEMENTS} elements each",
        f"  {'':<22}{'files/s':>9}{'files/s of a core':>19}",
        *(
            f"  {each.what:<22}{each.per_second:>9,.0f}{each.per_cpu_second:>19,.0f}"
            for each in (index, peer)
        ),
        f"  index / pydicom {index.per_cpu_second / peer.per_cpu_second:>24.2f} x, wanted"
        f" {LIMIT_PER_SECOND:,} files/s",
        "memory over small files",
        *(f"  {each.files:>9,} files{each.mib:>9.1f} MiB{each.per_second:>9,.0f} files/s" for each in grown),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
