"""`workbench demo` and the tour, as a newcomer meets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_ends_with_confirmed_receipts_and_says_what_to_type_next(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workbench", "demo", "--home", str(tmp_path / "demo")]
    first = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    for stage in ("index", "ingest", "verify", "run", "send", "receipt", "next", "make lab"):
        assert stage in first.stdout
    second = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path
    )
    assert second.returncode == 0, second.stdout + second.stderr
    answer = json.loads(second.stdout)
    assert {each["state"] for each in answer["deliveries"]} == {"confirmed"}
    assert {each["kind"] for each in answer["deliveries"]} == {"SEG", "SR"}


@pytest.mark.notebook
def test_the_tour_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "bench"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    notebook = nbformat.read(ROOT / "notebooks" / "01-tour.ipynb", as_version=4)
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute(cwd=str(tmp_path))
    assert notebook.cells[-1].cell_type == "code"
    assert "assert" in notebook.cells[-1].source
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 3
