"""Seconds to bring one CT series into Zarr, by transfer syntax, against other readers and the bare codec.

300 slices of 512 × 512, 12 bits in 16, with noise; written first, then read from the warm page cache. Ours is
read, decoded, hashed, compressed, read back, compared and synced to disk; the peers' files are not synced.
`python tests/benchmarks/ingest_speed.py [slices]` prints the tables; a peer that is not installed or cannot
read the transfer syntax is left out. ngff-zarr needs other versions than ours: it is run by the interpreter
that `NGFF_PYTHON` names, and its time is that of reading and writing alone, without its start.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pydicom
from codecs_speed import ENCODERS, bare
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from catalog import guard
from catalog.database import Catalog
from catalog.index import index_paths
from catalog.query import find_series, instances_of
from catalog.records import InstanceRecord, SeriesRecord
from pipelines import phantoms
from pipelines.decoding.pixels import JPEG_XL, JPEG_XL_LOSSLESS, PixelDescription
from pipelines.ingest import ingest_series

THREADS = 2
REPEATS = 3
NAMES: dict[str, str] = {
    ExplicitVRLittleEndian: "uncompressed",
    DeflatedExplicitVRLittleEndian: "deflated",
    RLELossless: "RLE",
    JPEGBaseline8Bit: "JPEG baseline, 8 bits",
    JPEGExtended12Bit: "JPEG extended, 12 bits",
    JPEGLosslessSV1: "JPEG lossless",
    JPEGLSLossless: "JPEG-LS lossless",
    JPEGLSNearLossless: "JPEG-LS near-lossless",
    JPEG2000Lossless: "JPEG 2000 lossless",
    JPEG2000: "JPEG 2000 lossy",
    HTJ2KLossless: "HTJ2K lossless",
    HTJ2K: "HTJ2K lossy",
    JPEG_XL_LOSSLESS: "JPEG XL lossless",
    JPEG_XL: "JPEG XL lossy, 8 bits",
}
SLOW_SECONDS = 5
"""A way that takes longer is timed once."""
HERE = Path(__file__).resolve().parent

type Seconds = dict[str, float]


def measure(folder: Path, transfer_syntax: str, *, slices: int = 300, repeats: int = REPEATS) -> Seconds:
    """Write one series and time every way; the best of some repeats, and one for peers of many seconds."""
    archive = folder / "archive"
    written(archive, transfer_syntax, slices)
    series, instances, index_seconds = indexed(archive, folder / "catalog.sqlite")
    ways: dict[str, Callable[[Path], object]] = {
        "ours": lambda out: ingest_series(series, instances, out, threads=THREADS)
    }
    if transfer_syntax != ExplicitVRLittleEndian:
        ways["bare codec"] = lambda _: bare_codec(instances)
    ways |= peers(archive)
    seconds = {"index (not in ours)": index_seconds}
    for _ in range(repeats):  # in turn, so that what else the machine does falls on all of them
        for name, way in list(ways.items()):
            if seconds.get(name, 0) >= SLOW_SECONDS:
                continue
            try:
                seconds[name] = min(timed(way, folder / "out"), seconds.get(name, float("inf")))
            except Exception:  # a peer says in its own way that it cannot read this
                if name == "ours":
                    raise
                del ways[name]
    return seconds


def written(archive: Path, transfer_syntax: str, slices: int) -> None:
    """Write the series uncompressed, then each file anew with its pixel data encoded."""
    phantom = phantoms.write_series(
        archive, planes=slices, rows=512, columns=512, spacing=(0.78, 0.78), distance=1.0, radius_mm=150,
        noise=15,
    )  # fmt: skip
    for path, plane in zip(phantom.paths, phantom.stored, strict=True):
        if transfer_syntax != ExplicitVRLittleEndian:
            encode(path, plane, transfer_syntax)


def encode(path: Path, plane: npt.NDArray[np.uint16], transfer_syntax: str) -> None:
    """Write one file in another transfer syntax."""
    ds = pydicom.dcmread(path)
    known = HTJ2KLossless if transfer_syntax in (JPEG_XL, JPEG_XL_LOSSLESS) else UID(transfer_syntax)
    ds.file_meta.TransferSyntaxUID = known
    if transfer_syntax in ENCODERS:
        bits, encoder = ENCODERS[transfer_syntax]
        if bits == 8:
            ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
            plane = (plane >> 4).astype(np.uint8)
        ds.PixelData = encapsulate([bytes(encoder(plane))])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.save_as(path, enforce_file_format=True)
    if known != transfer_syntax:  # pydicom does not write what it does not know
        replaced = path.read_bytes().replace(known.encode(), transfer_syntax.encode(), 1)
        path.write_bytes(replaced)


def indexed(archive: Path, catalog: Path) -> tuple[SeriesRecord, list[InstanceRecord], float]:
    """The series of a folder, and the seconds to index it."""
    with closing(Catalog(catalog)) as opened:
        started = perf_counter()
        index_paths(opened, [archive])
        seconds = perf_counter() - started
        (series,) = [
            each
            for each in find_series(opened)
            if instances_of(opened, each.series_instance_uid)[0].path.startswith(str(archive))
        ]
        return series, instances_of(opened, series.series_instance_uid), seconds


def timed(way: Callable[[Path], object], out: Path) -> float:
    """Seconds of one run into an empty folder, or those that the way itself returns."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    started = perf_counter()
    said = way(out)
    return said if isinstance(said, float) else perf_counter() - started


def bare_codec(instances: Sequence[InstanceRecord]) -> None:
    """Decode every frame by the function that ingest calls, in this process on two threads; nothing else."""

    def one(instance: InstanceRecord) -> None:
        if instance.transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
            start = guard.scan(instance.path, ()).start
            zlib.decompress(Path(instance.path).read_bytes()[start:], -zlib.MAX_WBITS)
            return
        pixels = instance.pixel_data
        assert pixels is not None
        with Path(instance.path).open("rb") as file:
            file.seek(
                pixels.offset + 4
            )  # the offset table's length, the table, an item tag, the frame's length
            file.seek(int.from_bytes(file.read(4), "little") + 4, os.SEEK_CUR)
            encoded = file.read(int.from_bytes(file.read(4), "little"))
        bare([encoded], PixelDescription.of(instance))()

    with ThreadPoolExecutor(THREADS) as executor:
        for _ in executor.map(one, instances):
            pass


def peers(archive: Path) -> dict[str, Callable[[Path], object]]:
    """Those that are installed."""
    found: dict[str, Callable[[Path], object]] = {}
    dcm2niix = shutil.which("dcm2niix")
    if dcm2niix:
        for compress in ("n", "y"):
            command = [dcm2niix, "-z", compress, "-f", "x", "-o"]
            found[f"dcm2niix -z {compress}"] = lambda out, command=command: converted(
                [*command, str(out), str(archive)], out
            )
    try:
        import SimpleITK

        def read(_: Path) -> None:
            reader = SimpleITK.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(archive)))
            reader.Execute()

        found["SimpleITK, read only"] = read
    except ImportError:
        pass
    try:
        import dicom2nifti

        found["dicom2nifti"] = lambda out: dicom2nifti.dicom_series_to_nifti(
            str(archive), str(out / "x.nii.gz"), reorient_nifti=False
        )
    except ImportError:
        pass
    if ngff := os.environ.get("NGFF_PYTHON"):
        found["ngff-zarr"] = lambda out: float(
            subprocess.run(
                [ngff, HERE / "ngff_peer.py", archive, out], check=True, capture_output=True, text=True
            ).stdout.split()[-1]
        )
    return found


def converted(command: Sequence[str], out: Path) -> None:
    """Run dcm2niix, which may end well without having written anything."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not any(out.glob("*.nii*")):
        raise ValueError("nothing was written")


def table(title: str, seconds: Seconds) -> str:
    """Seconds and, for each peer, how many times as long as ours it takes."""
    lines = [title, f"  {'':<24}{'seconds':>9}{'of ours':>9}"]
    lines += [f"  {name:<24}{each:>9.2f}{each / seconds['ours']:>9.2f}" for name, each in seconds.items()]
    return "\n".join(lines)


def main(slices: int = 300) -> None:
    """Print one table for each transfer syntax."""
    for transfer_syntax, name in NAMES.items():
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            seconds = measure(Path(folder), transfer_syntax, slices=slices)
            sys.stdout.write(table(f"{slices} slices 512 x 512, {name}", seconds) + "\n\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
