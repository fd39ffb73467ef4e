"""The whole job on sample data: real files of the pydicom package, phantoms, an embedded PACS, a receipt."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pydicom.data
from pydicom.uid import JPEGLSLossless

from pipelines import phantoms
from pipelines.steps.threshold import threshold
from workbench.pacs.embedded import EmbeddedPacs
from workbench.pacs.embedded import start as start_pacs
from workbench.reports import Receipts, Run
from workbench.session import Bench

REAL_FILES = (
    "dicomdirtests", "CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm", "examples_ybr_color.dcm",
    "examples_jpeg2k.dcm", "rtdose.dcm", "reportsi.dcm", "README.txt",
)  # fmt: skip
"""Of the test files the pydicom package brings along (MIT): CT, MR, CR, ultrasound, dose, report, a text."""
NODE = "PACS"
WATER = 1024
"""Stored value of 0 HU."""

_NOT_DATA = shutil.ignore_patterns("*.py", "__pycache__", "DICOMDIR-*", "TINY_ALPHA")
"""Of the folder of file sets: its programs, variants of its DICOMDIR, and a set of headers without pixels."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo did."""

    home: Path
    run: Run
    receipts: Receipts
    succeeded: bool

    def as_json(self) -> dict[str, Any]:
        """For `workbench demo --json`."""
        return {"home": str(self.home), "run": self.run.as_json(), **self.receipts.as_json()}


def build_archive(folder: Path) -> Path:
    """Lay out the sample archive, unless it is there: about 100 files of CT, MR, CR and ultrasound.

    Nothing is downloaded: the real files are part of the installed pydicom package.
    """
    if folder.is_dir():
        return folder
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    real = Path(pydicom.data.__file__).parent / "test_files"
    (partial / "real").mkdir(parents=True)
    for name in REAL_FILES:
        source = real / name
        if source.is_dir():
            shutil.copytree(
                source,
                partial / "real" / name,
                ignore=_NOT_DATA,
            )
        else:
            shutil.copy(source, partial / "real")
    _phantom(partial / "phantoms" / "axial", radius_mm=30.0, description="sphere in water", series_number=1)
    _phantom(
        partial / "phantoms" / "oblique",
        radius_mm=20.0,
        description="sphere in water, oblique",
        series_number=2,
        orientation=(0.8, 0.6, 0.0, 0.0, 0.0, -1.0),
        transfer_syntax=JPEGLSLossless,
    )
    partial.rename(folder)
    return folder


def _phantom(folder: Path, *, radius_mm: float, **differences: Any) -> None:
    stored = phantoms.sphere((40, 128, 128), (2.0, 1.0, 1.0), radius_mm=radius_mm, body=WATER, noise=20.0)
    phantoms.write_series(folder, stored=stored, spacing=(1.0, 1.0), distance=2.0, **differences)


def start_node(bench: Bench) -> EmbeddedPacs:
    """Start the embedded PACS beside a bench, as a process of its own on loopback."""
    return start_pacs(bench.settings.home / "embedded-pacs", ae_title=NODE, name=NODE)


def run_demo(bench: Bench, *, say: Callable[[str], object]) -> Outcome:
    """Index, ingest, verify, run, send; say one line a stage and the receipt."""
    say(" Imaging Workbench, for research; not a medical device.\n")
    archive = build_archive(bench.settings.home / "archive")
    say(bench.index(archive).line())
    say(bench.ingest().line())
    verified = bench.verify()
    say(verified.line())
    volumes = [each.series_instance_uid for each in bench.arrays() if each.kind == "volume"]
    run = bench.run(threshold, bench.series(modality="CT", series_instance_uid=volumes), above=150)
    say(run.line())
    started = monotonic()
    with start_node(bench) as pacs:
        receipts = bench.send(run.outputs, to=pacs.node)
    say(receipts.line(monotonic() - started))
    succeeded = not verified.mismatches and run.succeeded and receipts.succeeded and len(receipts) > 0
    say(f"\n{receipts!r}\n")
    sources = {each.series_instance_uid for each in run.outputs if each.sop_instance_uid}
    say(f" made from {len(sources)} series by threshold {run.record.version}, run {run.record.run[:8]}")
    say(" next      make lab   opens the tour on this bench")
    say(f"           workbench series --home {bench.settings.home}   lists what is in its catalog")
    return Outcome(bench.settings.home, run, receipts, succeeded)
