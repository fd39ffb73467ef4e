"""Seconds of ngff-zarr to read a DICOM series and write its first level; run by an interpreter that has it.

`python ngff_peer.py ARCHIVE OUT` prints them as its last word.
"""

import sys
from pathlib import Path
from time import perf_counter

import ngff_zarr
from ngff_zarr.cli_input_to_ngff_image import cli_input_to_ngff_image
from ngff_zarr.detect_cli_io_backend import ConversionBackend


def main(archive: str, out: str) -> None:
    """Convert once, untimed, what is imported late; then time it."""
    files = sorted(str(path) for path in Path(archive).iterdir())
    for folder in ("warm", "timed"):
        started = perf_counter()
        image = cli_input_to_ngff_image(ConversionBackend.ITK, files)
        levels = ngff_zarr.to_multiscales(image, scale_factors=[], cache=False)
        ngff_zarr.to_ngff_zarr(f"{out}/{folder}.zarr", levels)
        seconds = perf_counter() - started
    sys.stdout.write(f"{seconds}\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
