"""Other viewers on a volume of ours, each in an environment of its own: `make interop` makes those."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import nbformat
import numpy as np
import pytest
from playwright.sync_api import Browser

import workbench
from pipelines import phantoms
from pipelines.export import to_nifti

pytestmark = [pytest.mark.browser, pytest.mark.soak, pytest.mark.xdist_group("browser")]

NIIVUE = """
from ipyniivue import NiiVue
viewer = NiiVue()
viewer.load_volumes([{"path": "volume.nii.gz"}])
viewer
"""
ITKWIDGETS = """
import json, sys
import itk, itkwidgets, numpy as np, xarray as xr
stored = np.load(sys.argv[1])
volume = xr.DataArray(stored["values"], dims=("z", "y", "x"), coords={each: stored[each] for each in "zyx"},
                      attrs={"direction": stored["direction"]})
plain, placed = (itkwidgets.view(each).image for each in (volume, itk.image_from_xarray(volume)))
print(json.dumps({
    "plain": list(plain.GetSpacing()), "spacing": list(placed.GetSpacing()),
    "origin": list(placed.GetOrigin()),
    "direction": np.asarray(placed.GetDirection()).tolist(),
    "equal": bool(np.array_equal(itk.array_from_image(placed), stored["values"])),
}))
"""


def python_of(name: str) -> str:
    """The interpreter of an environment that nothing but `make interop` makes, as it takes the network."""
    found = os.environ.get(name)
    if not found:
        pytest.skip(f"{name} names no interpreter: make interop")
    return found


@pytest.fixture
def volume(tmp_path: Path) -> Any:
    """A sphere in an oblique CT."""
    folder = tmp_path / "archive"
    phantoms.write_series(
        folder, planes=40, rows=64, columns=48, radius_mm=12, orientation=(0.8, 0.6, 0, -0.6, 0.8, 0)
    )
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(folder, quiet=True)
        yield bench.volume(bench.series()[0])


def test_ipyniivue_draws_a_volume_that_was_exported(
    volume: Any, browser: Browser, run_lab: Any, tmp_path: Path, keep: Callable[[str], Path]
) -> None:
    python = python_of("NIIVUE_PYTHON")
    (folder := tmp_path / "lab").mkdir()
    labs = run_lab(folder, "/", python)
    lab = next(labs)
    to_nifti(volume, lab.folder / "volume.nii.gz")
    cells = [nbformat.v4.new_code_cell(NIIVUE)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), lab.folder / "niivue.ipynb")
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    strangers: list[str] = []
    page.on("request", lambda each: strangers.append(each.url) if "127.0.0.1" not in each.url else None)
    try:
        page.goto(f"{lab.url}lab/tree/niivue.ipynb?reset&token={lab.token}")
        page.wait_for_function("() => window.jupyterapp?.shell")
        page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")
        page.evaluate(
            """async () => { const widget = jupyterapp.shell.currentWidget;
                await widget.context.ready; await widget.sessionContext.ready;
                await jupyterapp.commands.execute('notebook:run-all-cells'); }"""
        )
        canvas = page.locator(".jp-OutputArea canvas").first
        canvas.wait_for(timeout=90_000)
        for _ in range(300):
            drawn = imagecodecs.png_decode(canvas.screenshot())
            if int((drawn[..., :3].max(axis=-1) > 60).sum()) > 2000:
                break
            page.wait_for_timeout(100)
        else:
            raise AssertionError("ipyniivue drew nothing")
        page.screenshot(path=keep("ipyniivue"))
    finally:
        page.close()
        next(labs, None)
    assert not [each for each in strangers if not each.startswith(("data:", "blob:"))]


def test_itkwidgets_takes_a_volume_and_itk_keeps_its_place(volume: Any, tmp_path: Path) -> None:
    """What is given as it is loses its spacing in itkwidgets 0.32, not in ITK."""
    python = python_of("ITKWIDGETS_PYTHON")
    stored = {each: volume.coords[each].values for each in "zyx"}
    direction = np.asarray(volume.attrs["direction"], float)
    np.savez(tmp_path / "volume.npz", values=volume.values, direction=direction, **stored)
    done = subprocess.run(
        [python, "-c", ITKWIDGETS, str(tmp_path / "volume.npz")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["equal"]
    assert said["plain"] == [1, 1, 1]
    affine = volume.dicom.affine_lps
    assert np.asarray(said["direction"]) * said["spacing"] == pytest.approx(affine[:3, :3])
    assert said["origin"] == pytest.approx(affine[:3, 3])
