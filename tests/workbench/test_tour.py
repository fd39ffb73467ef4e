"""The notebooks, as a newcomer meets them."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("01-tour", 3),
        ("02-series-of-every-kind", 13),
        ("03-find-and-freeze", 1),
        ("08-look-and-measure", 3),
        ("09-pacs-both-ways", 1),
    ],
)
def test_a_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int
) -> None:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "bench"))
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute(cwd=str(tmp_path))
    assert notebook.cells[-1].cell_type == "code"
    assert "assert" in notebook.cells[-1].source
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == count
