"""Many viewers of one page, cells that run again, a kernel at work: what a long day in a notebook brings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

type Open = Callable[..., Any]

OPEN = """
import json, workbench
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
series = bench.series()[0]
bench.ingest(series)
"""
VIEW = "viewer = bench.view(series)\nviewer"
DRAWN = """() => [...document.querySelectorAll('.wb-view canvas')].map(canvas => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value, at) => at % 4 === 0 && value > 40);
})"""


@pytest.fixture
def opening(fruit: dict[str, str]) -> str:
    """A cell that opens a bench with a series of a fruit."""
    return OPEN.format(**fruit)


def complaints(notebook: Any) -> list[str]:
    """Collect what the browser says of WebGL contexts."""
    said: list[str] = []
    notebook.page.on("console", lambda message: said.append(message.text))
    return said


def test_two_dozen_viewers_in_one_notebook_are_all_drawn(open_notebook: Open, opening: str) -> None:
    notebook = open_notebook(opening, *[VIEW] * 24)
    said = complaints(notebook)
    notebook.page.evaluate(
        """() => { jupyterapp.shell.currentWidget.content.notebookConfig = {
            ...jupyterapp.shell.currentWidget.content.notebookConfig, windowingMode: 'none' }; }"""
    )
    notebook.run()
    notebook.viewers(24)
    notebook.page.wait_for_function(f"() => ({DRAWN})().filter(each => each).length === 24")
    assert not [each for each in said if "WebGL" in each and "context" in each]
    notebook.shot("two-dozen")


def test_a_cell_that_runs_again_leaves_one_viewer(open_notebook: Open, opening: str) -> None:
    notebook = open_notebook(opening, VIEW)
    said = complaints(notebook)
    notebook.run()
    notebook.viewers()
    for _ in range(25):
        notebook.page.evaluate(
            """async () => {
                const { content, sessionContext } = jupyterapp.shell.currentWidget;
                content.activeCellIndex = 1;
                await jupyterapp.commands.execute('notebook:run-cell');
            }"""
        )
        notebook.viewers()
    notebook.page.wait_for_function("document.querySelectorAll('.wb-viewer').length === 1")
    notebook.page.wait_for_function(f"() => ({DRAWN})().join() === 'true'")
    assert not [each for each in said if "WebGL" in each and "context" in each]


def test_a_kernel_at_work_holds_up_no_plane(open_notebook: Open, opening: str) -> None:
    notebook = open_notebook(opening, VIEW, "import time\nwhile not stop.exists():\n    time.sleep(0.05)")
    stop = notebook.python(
        "import json, pathlib, tempfile\n"
        "stop = pathlib.Path(tempfile.mkdtemp()) / 'stop'\nprint(json.dumps(str(stop)))"
    )
    notebook.page.evaluate("() => { void jupyterapp.commands.execute('notebook:run-all-cells'); }")
    notebook.viewers()
    notebook.page.wait_for_function(
        "jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'busy'"
    )
    picture = "document.querySelector('.wb-view canvas').toDataURL()"
    before = notebook.page.evaluate(picture)
    slider = notebook.page.get_by_label("z", exact=True)
    slider.evaluate("each => { each.value = '150'; each.dispatchEvent(new Event('input')); }")
    notebook.page.wait_for_function(f"before => {picture} !== before", arg=before)
    assert notebook.page.locator(".wb-value").first.text_content().startswith("151 of")
    assert notebook.page.evaluate(
        "jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'busy'"
    )
    Path(stop).touch()
    notebook.wait_for("print(json.dumps(viewer.position))", lambda now: now == {"z": 150})


def test_markup_in_what_a_series_says_is_text(open_notebook: Open) -> None:
    evil = "<img src=x onerror=window.harmed=1>"
    notebook = open_notebook(
        f"""
import numpy as np, json, xarray as xr, workbench
from workbench.widgets.viewer import Viewer
from pipelines.marks import Mark
array = xr.DataArray(np.arange(3 * 8 * 8, dtype=np.int16).reshape(3, 8, 8), dims=("time", "y", "x"),
    coords={{"time": ("time", [0, 1, 2], {{"units": {evil!r}}})}}, name={evil!r},
    attrs={{"modality": {evil!r}, "units": {evil!r}}})
viewer = Viewer(array)
viewer.annotations = [Mark("arrow", ((1, 1, 0), (4, 4, 0)), index=(0,), text={evil!r})]
viewer.segments = [{{"number": 1, "label": {evil!r}, "color": [1, 2, 3]}}]
viewer
"""
    )
    notebook.run()
    notebook.viewers()
    expect(notebook.page.locator(".wb-viewer img")).to_have_count(0)
    assert notebook.page.locator(".wb-mark").text_content().startswith(f"arrow · time 0 · {evil}")
    assert notebook.page.evaluate("window.harmed") is None
    notebook.shot("markup")


def test_a_saved_notebook_whose_kernel_is_gone_shows_a_still_picture_and_a_sentence(
    open_notebook: Open, opening: str
) -> None:
    notebook = open_notebook(opening, VIEW, "bench.browse()", has_card=False)
    page = notebook.page
    notebook.run()
    notebook.viewers()
    page.locator(".wb-browser").wait_for()
    expect(page.locator(".wb-still:visible")).to_have_count(0)
    page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.reload()
    expect(page.locator(".wb-still:visible")).to_have_count(2)
    words = page.locator(".wb-still-words").first
    expect(words).to_contain_text("a still picture; run the cell in JupyterLab to look at it")
    assert page.locator(".wb-still-image").evaluate(
        "async image => { await image.decode(); return image.naturalWidth; }"
    )
    expect(page.locator(".wb-viewer")).to_have_count(0)
    notebook.shot("saved")
    page.evaluate(
        """async () => {
            await jupyterapp.shell.currentWidget.sessionContext.ready;
            await jupyterapp.commands.execute('notebook:run-all-cells'); }"""
    )
    notebook.viewers()
    page.locator(".wb-browser").wait_for()
    expect(page.locator(".wb-still:visible")).to_have_count(0)


def test_twenty_gigabytes_open_as_a_small_series_does(open_notebook: Open) -> None:
    """Of what is computed when it is looked at: nothing asks for all of it, sections neither."""
    notebook = open_notebook(
        """
import json, dask.array as da, numpy as np, xarray as xr
from workbench.widgets.viewer import Viewer
made = []
def plane(block_info=None):
    (first, _), *_ = block_info[None]["array-location"]
    made.append(first)
    return np.full((1, 1024, 1024), first % 100, np.int16) + np.arange(1024, dtype=np.int16)
planes = da.map_blocks(plane, chunks=((1,) * 10_000, (1024,), (1024,)), dtype=np.int16)
coords = dict(zip("zyx", map(np.arange, planes.shape)))
viewer = Viewer(xr.DataArray(planes, coords, ("z", "y", "x"), attrs={"affine_lps": np.eye(4)}))
viewer.window = (500, 1000)
viewer
""",
        has_card=False,
    )
    notebook.run()
    notebook.viewers()
    notebook.wait_for("print(json.dumps(viewer.position))", lambda now: now == {"z": 5000})
    assert notebook.python("print(len(set(made)))") < 100
    notebook.python("viewer.position = {'z': 9000}; print(0)")
    notebook.page.wait_for_function(
        "() => document.querySelector('.wb-value').textContent.startsWith('9001 of 10000')"
    )
    notebook.python("viewer.layout = 'mpr'; print(0)")
    expect(notebook.page.locator(".wb-troubles")).to_contain_text("21.0 GB are too large for sections")
    assert notebook.python("print(len(set(made)))") < 150
