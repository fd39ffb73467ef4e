"""Files a second into the catalog by one process and by every core, against Orthanc and pydicom's FileSet.

`python tests/benchmarks/index_peers.py [files]`: CT with the header of `CT_small.dcm` (6 KB) and few pixels,
250 to a series, page cache warm. Orthanc takes the same files by C-STORE over one association by dcmsend,
both with TCP_NODELAY; FileSet adds them to a DICOMDIR in memory. Both get fewer of them, as they are slower.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, sleep

import pydicom
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet
from pydicom.uid import generate_uid

from catalog.database import Catalog
from catalog.index import index_paths

ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
PER_SERIES = 250
PEER_FILES = 2_000
WANTED_PER_SECOND, WANTED_ORTHANC, WANTED_FILE_SET = 2_500, 20, 5


def write_archive(folder: Path, files: int) -> list[Path]:
    """Write series of CT with UIDs as they are in practice; returns the paths."""
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    del ds.DataSetTrailingPadding
    ds.Rows = ds.Columns = 32
    ds.PixelData = bytes(2 * 32 * 32)
    paths = []
    for number in range(files):
        if number % PER_SERIES == 0:
            ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
            ds.PatientID = f"P{number // PER_SERIES}"
            series = folder / f"{number // PER_SERIES:05}"
            series.mkdir(parents=True)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.InstanceNumber = number % PER_SERIES
        paths.append(series / f"{number:06}.dcm")
        ds.save_as(paths[-1])
    return paths


def indexed(archive: Path, files: int, workers: int) -> float:
    """Files a second into a new catalog."""
    with tempfile.TemporaryDirectory() as home:
        catalog = Catalog(Path(home) / "catalog.sqlite")
        report = index_paths(catalog, [archive], workers=workers)
        catalog.close()
    if report.added != files:
        raise ValueError("not every file was added")
    return files / report.seconds


def in_file_set(paths: Sequence[Path]) -> float:
    """Files a second into pydicom's FileSet, not written."""
    file_set = FileSet()
    started = perf_counter()
    for path in paths:
        file_set.add(path)
    return len(paths) / (perf_counter() - started)


def in_orthanc(paths: Sequence[Path]) -> float | None:
    """Files a second into Orthanc, which stores and indexes them; `None` where it is not installed."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        settings = {
            "StorageDirectory": folder, "IndexDirectory": folder, "DicomPort": port, "DicomAet": "ORTHANC",
            "HttpServerEnabled": False, "DicomAlwaysAllowStore": True,
        }  # fmt: skip
        (Path(folder) / "orthanc.json").write_text(json.dumps(settings))
        command = [program, str(Path(folder) / "orthanc.json")]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        ) as server:
            try:
                return _stored(port, paths)
            finally:
                server.kill()


def _stored(port: int, paths: Sequence[Path]) -> float:
    """Files a second by DCMTK's dcmsend, reading them included; it fails where one is refused."""
    _wait(port)
    command = [
        shutil.which("dcmsend", path="/usr/bin") or "dcmsend",
        "-aec",
        "ORTHANC",
        "127.0.0.1",
        str(port),
    ]
    started = perf_counter()
    subprocess.run([*command, *paths], check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    return len(paths) / (perf_counter() - started)


def _wait(port: int) -> None:
    until = perf_counter() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if perf_counter() > until:
                raise TimeoutError("Orthanc does not answer") from None
            sleep(0.1)
        else:
            return


def main(files: int = 50_000) -> None:
    """Print the table."""
    cores = os.process_cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive"
        paths = write_archive(archive, files)
        some = paths[:PEER_FILES]
        measured: list[tuple[str, Callable[[], float | None], float]] = [
            (f"{cores} processes", lambda: indexed(archive, files, cores), 1),
            ("one process", lambda: indexed(archive, files, 1), 1),
            ("Orthanc, C-STORE", lambda: in_orthanc(some), WANTED_ORTHANC),
            ("pydicom FileSet", lambda: in_file_set(some), WANTED_FILE_SET),
        ]
        rates = [(what, run(), wanted) for what, run, wanted in measured]
    ours = rates[0][1] or 0
    lines = [f"index {files:,} CT headers, wanted {WANTED_PER_SECOND:,} files/s on two cores"]
    for what, rate, wanted in rates:
        there = "not installed" if rate is None else f"{rate:>9,.0f} files/s  ours is {ours / rate:.1f} x"
        lines.append(f"  {what:<20}{there}, wanted {wanted} x")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
