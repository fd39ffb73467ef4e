"""What must always hold, each under its name in CONTRIBUTING.md; the rooms' own tests go deeper."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pydicom

import workbench
from pipelines import phantoms

ROOT = Path(__file__).resolve().parents[2]


def test_written_last(tmp_path: Path, ct: phantoms.Phantom) -> None:
    """A process killed in the middle of an ingest leaves no row whose array is not whole."""
    code = (
        "import os, signal, workbench\n"
        f"bench = workbench.open({str(tmp_path / 'bench')!r})\n"
        f"bench.index({str(ct.paths[0].parent)!r}, quiet=True)\n"
        "os.replace = os.rename = lambda *names: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from pathlib import Path\n"
        "Path.replace = Path.rename = os.replace\n"
        "bench.ingest(quiet=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    with workbench.open(tmp_path / "bench") as bench:
        assert list(bench.arrays()) == []
        np.testing.assert_array_equal(bench.volume(ct.series_instance_uid), ct.modality_values)
        assert bench.verify(quiet=True).mismatches == ()


def test_twice_is_once(tmp_path: Path, ct: phantoms.Phantom) -> None:
    states = []
    for _ in range(2):
        with workbench.open(tmp_path / "bench") as bench:
            bench.index(ct.paths[0].parent, quiet=True)
            bench.ingest(quiet=True)
            files = sorted((tmp_path / "bench" / "arrays").rglob("*"))
            times = [each.stat().st_mtime_ns for each in files]
            states.append((list(bench.series()), list(bench.arrays()), files, times))
    assert states[0] == states[1]


def test_traceable(tmp_path: Path, ct: phantoms.Phantom, scheduler: str) -> None:
    """From the SEG and the SR back to every source instance, the run, the code and the algorithm by name."""
    with workbench.open(tmp_path / "bench", scheduler=scheduler) as bench:
        bench.index(ct.paths[0].parent, quiet=True)
        run = bench.run("threshold", above=150, quiet=True)
    objects = {each.kind: pydicom.dcmread(each.path) for each in run.outputs if each.sop_instance_uid}
    segmentation, report = objects["SEG"], objects["SR"]
    assert segmentation.StudyInstanceUID == report.StudyInstanceUID == ct.study_instance_uid
    assert segmentation.FrameOfReferenceUID == ct.frame_of_reference_uid
    (referenced,) = segmentation.ReferencedSeriesSequence
    sources = {each.ReferencedSOPInstanceUID for each in referenced.ReferencedInstanceSequence}
    assert sources == set(ct.sop_instance_uids)
    assert "threshold" in segmentation.SegmentSequence[0].SegmentAlgorithmName
    for each in objects.values():
        text = str(each)
        assert run.record.run in text or run.record.run[:8] in text
        assert "threshold" in text
    assert report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert run.record.code_digest
    assert run.record.environment["numpy"] == np.__version__


def test_bit_exact(tmp_path: Path, ct: phantoms.Phantom) -> None:
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(ct.paths[0].parent, quiet=True)
        (array,) = bench.ingest(quiet=True)
        chunks = [each for each in Path(array.path, "values", "c").rglob("*") if each.is_file()]
        content = bytearray(chunks[0].read_bytes())
        content[len(content) // 2] ^= 4
        chunks[0].write_bytes(content)
        assert bench.verify(quiet=True).mismatches


def test_workers_never_open_the_catalog(tmp_path: Path, ct: phantoms.Phantom, scheduler: str) -> None:
    def catalog_modules(volume: object) -> dict[str, float]:
        import sys

        return {"loaded": float("catalog.database" in sys.modules or "sqlalchemy" in sys.modules)}

    with workbench.open(tmp_path / "bench", scheduler=scheduler) as bench:
        bench.index(ct.paths[0].parent, quiet=True)
        run = bench.run(catalog_modules, quiet=True)
    assert run.table.value.tolist() == [0.0]


def test_a_bad_file_is_a_value(tmp_path: Path, ct: phantoms.Phantom) -> None:
    folder = ct.paths[0].parent
    (folder / "empty.dcm").touch()
    (folder / "noise.dcm").write_bytes(bytes(128) + b"DICM" + bytes(range(256)) * 40)
    (folder / "cut.dcm").write_bytes(ct.paths[0].read_bytes()[:500])
    with workbench.open(tmp_path / "bench") as bench:
        report = bench.index(folder, quiet=True).report
        assert report.added == len(ct.paths)
        assert {Path(each.path).name for each in report.rejected} == {"empty.dcm", "noise.dcm", "cut.dcm"}
        assert all(each.reason for each in report.rejected)
        np.testing.assert_array_equal(bench.volume(ct.series_instance_uid), ct.modality_values)


def test_offline(tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    """The whole demo, twice, in a network namespace that has nothing but its own loopback."""
    unshare, ip = shutil.which("unshare"), shutil.which("ip")
    if unshare is None or ip is None or os.geteuid() != 0:
        missing("cutting the network needs root, unshare (util-linux) and ip (iproute2)")
    demo = f"{sys.executable} -m workbench demo --home {tmp_path / 'demo'}"
    cut = f"{ip} link set lo up && {demo} >&2 && exec {demo} --json"
    done = subprocess.run(
        [unshare, "--net", "sh", "-c", cut],
        capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for word in ("index", "ingest", "verify", "run", "send", "receipt", "next", "make lab"):
        assert f" {word}" in done.stderr or f"\n{word}" in done.stderr
    assert "Traceback" not in done.stderr
    answer = json.loads(done.stdout)
    assert {each["state"] for each in answer["deliveries"]} == {"confirmed"}
    assert {each["kind"] for each in answer["deliveries"]} == {"SEG", "SR"}
    with workbench.open(tmp_path / "demo") as bench:
        assert len(bench.series()) > 20


def test_each_invariant_has_its_test() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.split("## What must always hold")[1].split("\n## ")[0]
    names = re.findall(r"- \*\*(.+?)\.?\*\*", section)
    assert len(names) == 7
    for name in names:
        function = "test_" + name.lower().replace("-", "_").replace(" ", "_")
        assert function in globals(), name
