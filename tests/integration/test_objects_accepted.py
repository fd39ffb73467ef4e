"""Independent readers accept our objects: dciodvfy (dicom3tools) and dsrdump (DCMTK)."""

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
import xarray as xr

from catalog.errors import HeaderError
from catalog.headers import read_dataset
from pipelines import measure, phantoms
from pipelines.encode.algorithm import Algorithm
from pipelines.encode.part10 import write_object
from pipelines.encode.report import report
from pipelines.encode.segmentation import segmentation

ALGORITHM = Algorithm("threshold", "1.2.3", "7f3a" * 8, {"above": 0.0, "below": None})


@pytest.fixture(scope="session")
def dsrdump(missing) -> Path:
    found = shutil.which("dsrdump")
    if found is None:
        missing("dsrdump is not there: apt install dcmtk")
    return Path(found)


def run(*words: str | Path) -> tuple[int, str]:
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def errors_of(dciodvfy: Path, path: Path) -> list[str]:
    _, text = run(dciodvfy, "-new", path)
    assert "Segmentation" in text or "Comprehensive3DSR" in text, text
    return [line for line in text.splitlines() if line.startswith("Error")]


def write_both(
    folder: Path, values: np.ndarray, mask: xr.DataArray, sources: list[pydicom.Dataset], unit: str
):
    affine = mask.attrs.get("affine_lps")
    moments = measure.moments_by_label([(values, mask.values)])
    seg = segmentation(mask, sources, algorithm=ALGORITHM)
    rows = [
        {**row, "segment": number}
        for number, each in enumerate(moments.values(), start=1)
        for row in measure.rows(each, unit=unit, affine_lps=affine)
    ]
    sr = report(seg, sources, rows, algorithm=ALGORITHM)
    paths = folder / "seg.dcm", folder / "sr.dcm"
    for ds, path in zip((seg, sr), paths, strict=True):
        write_object(ds, path)
    return paths


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_objects_of_a_phantom_have_no_error(tmp_path, dciodvfy, dsrdump, modality):
    phantom = phantoms.write_series(
        tmp_path / "archive",
        modality=modality,
        orientation=(0.8, 0.6, 0, 0, 0, -1),
        patient_name="Müller^Jürgen",
    )
    values = phantom.modality_values
    labels = xr.DataArray(
        (values > 0).astype(np.uint8) + 3 * (values > 300), dims=("z", "y", "x"), name="mask",
        coords={"sop_instance_uid": ("z", list(phantom.sop_instance_uids))},
        attrs={"affine_lps": phantom.affine_lps},
    )  # fmt: skip
    sources = [read_dataset(path) for path in phantom.paths]
    unit = "HU" if modality == "CT" else "1"
    seg, sr = write_both(tmp_path, values, labels, sources, unit)
    assert errors_of(dciodvfy, seg) == []
    assert errors_of(dciodvfy, sr) == []
    code, text = run(dsrdump, sr)
    assert code == 0, text
    assert "Müller^Jürgen" in text
    assert '"Volume"' in text


_PLACED = {"ImageOrientationPatient", "FrameOfReferenceUID"}
FAULTS_OF_THE_SOURCE = ("has same value as FrameOfReferenceUID",)
"""The reference to the source repeats its UIDs, and no object could repair them."""


def test_objects_of_every_real_volume_have_no_error(shared_data, tmp_path, dciodvfy, dsrdump):
    series = defaultdict(list)
    for folder in ("volumes", "objects", "dicomdir", "fourd/mosaic_siemens_0003"):
        for path in sorted((shared_data / folder).rglob("*")):
            if not path.is_file() or "reference" in path.parts:
                continue
            try:
                ds = read_dataset(path)
            except HeaderError:
                continue
            if ds.get("Modality") in ("CT", "MR", "PT") and set(ds.dir()) >= _PLACED:
                series[ds.SeriesInstanceUID, tuple(ds.ImageOrientationPatient)].append(ds)
    assert len(series) > 10
    for number, found in enumerate(series.values()):
        sources = list({tuple(source.ImagePositionPatient): source for source in found}.values())[:12]
        values = np.zeros((len(sources), sources[0].Rows, sources[0].Columns), np.float32)
        values[0, 2:9, 3:5] = 7
        mask = xr.DataArray(
            values > 0, dims=("z", "y", "x"), name="mask",
            coords={"sop_instance_uid": ("z", [str(source.SOPInstanceUID) for source in sources])},
            attrs={"affine_lps": np.eye(4)},
        )  # fmt: skip
        seg, sr = write_both(tmp_path / str(number), values, mask, sources, "HU")
        for path in (seg, sr):
            errors = [
                each for each in errors_of(dciodvfy, path)
                if not any(fault in each for fault in FAULTS_OF_THE_SOURCE)
            ]  # fmt: skip
            assert errors == [], sources[0].filename
        code, text = run(dsrdump, sr)
        assert code == 0, text
