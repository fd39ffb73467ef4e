"""A large plane over a slow line: a coarse picture comes first, and is taken for nothing else."""

import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import expect

from pipelines import phantoms

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

type Open = Callable[..., Any]

OPEN = """
import base64, json, workbench
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
viewer = bench.view(bench.series()[0])
viewer.window = (300, 1600)
viewer.tool = 'length'
viewer.position = {{'z': 0}}
viewer
"""
TRUE_PLANE = re.compile(r"/planes/(\d+)(?:\?packed=\d)?$")
GREY = """selector => {
    const canvas = document.querySelector(selector);
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.width, ...data.filter((value, at) => at % 4 === 0)];
}"""
SAID = "A coarse picture is shown: the plane is on its way."


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three planes of 15 MB with a sphere, and a bar that lies elsewhere in each; pixels are no squares."""
    rows, columns, spacing = 3000, 2500, (0.06, 0.05)
    stored = phantoms.sphere((3, rows, columns), (5.0, *spacing), radius_mm=40, body=1000, noise=20, seed=4)
    for plane, values in enumerate(stored):
        values[200 + 700 * plane : 700 + 700 * plane, 300:800] = 2000
    folder = tmp_path_factory.mktemp("large")
    phantoms.write_series(folder, stored=stored, spacing=spacing, distance=5.0)
    return folder


class Held:
    """True planes that a page asked for, and does not get before they are let go."""

    def __init__(self, notebook: Any) -> None:
        self._routes: list[Any] = []
        self._free: set[int] = set()
        notebook.page.route(TRUE_PLANE, self._asked)

    def let_go(self, plane: int) -> None:
        """Let this plane pass; those that are fetched ahead stay."""
        self._free.add(plane)
        waiting, self._routes = self._routes, []
        for each in waiting:
            self._asked(each)

    def _asked(self, route: Any) -> None:
        if int(TRUE_PLANE.search(route.request.url)[1]) in self._free:
            route.continue_()
        else:
            self._routes.append(route)


def grey(notebook: Any, selector: str) -> npt.NDArray[np.float64]:
    width, *values = notebook.page.evaluate(GREY, selector)
    return np.array(values, float).reshape(-1, width)


def await_preview(notebook: Any) -> npt.NDArray[np.float64]:
    notebook.page.locator(".wb-preview").wait_for()
    expect(notebook.page.locator(".wb-status")).to_have_text(SAID)
    expect(notebook.page.locator(".wb-coarse")).to_have_text("coarse picture")
    for each in (".wb-preview", ".wb-coarse"):
        expect(notebook.page.locator(each)).to_have_attribute("aria-hidden", "true")
    return grey(notebook, ".wb-preview")


def await_plane(notebook: Any) -> npt.NDArray[np.float64]:
    expect(notebook.page.locator(".wb-preview, .wb-coarse")).to_have_count(0)
    notebook.viewers()
    expect(notebook.page.locator(".wb-status")).to_have_text("")
    return grey(notebook, ".wb-view canvas")


def assert_same(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> None:
    assert one.shape == other.shape
    assert one.std() > 30
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99
    assert np.abs(one - other).mean() < 4
    for lit in (one > 190, other > 190):  # the bar and nothing else
        assert lit.sum() > 1000
    edges = [np.argwhere(each > 190) for each in (one, other)]
    assert np.abs(edges[0].min(0) - edges[1].min(0)).max() <= 1
    assert np.abs(edges[0].max(0) - edges[1].max(0)).max() <= 1


def drag(notebook: Any) -> None:
    box = notebook.page.locator(".wb-view").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    notebook.page.mouse.move(x, y)
    notebook.page.mouse.down()
    notebook.page.mouse.move(x + 60, y + 10, steps=5)
    notebook.page.mouse.up()


@pytest.mark.parametrize("has_card", [True, False])
def test_a_coarse_picture_lies_where_the_plane_will_and_goes_when_it_comes(
    slow_url: str, open_notebook: Open, large: Path, tmp_path: Path, has_card: bool
) -> None:
    cell = OPEN.format(home=str(tmp_path), folder=str(large))
    notebook = open_notebook(cell, url=slow_url, has_card=has_card)
    held = Held(notebook)
    notebook.run()
    first = await_preview(notebook)
    drag(notebook)
    readout = notebook.page.locator(".wb-readout")
    expect(readout).not_to_contain_text("HU")
    taken = notebook.python("print(json.dumps(base64.b64encode(viewer.screenshot()).decode()))")
    shot = imagecodecs.png_decode(b64decode(taken))
    assert shot[..., :3].max() == 0  # nothing is there yet
    notebook.shot(f"preview-first-{has_card}")
    held.let_go(0)
    assert_same(first, await_plane(notebook))
    notebook.shot(f"preview-first-came-{has_card}")

    notebook.python("viewer.camera = {'planes': {'zoom': 1.5, 'rotation': 90, 'pan': [20, 10]}}; print(0)")
    notebook.python("viewer.position = {'z': 2}; print(0)")
    before = await_preview(notebook)
    drag(notebook)
    expect(readout).not_to_contain_text("HU")
    notebook.shot(f"preview-turned-{has_card}")
    held.let_go(2)
    assert_same(before, await_plane(notebook))
    notebook.shot(f"preview-turned-came-{has_card}")
    assert notebook.python("print(len(viewer.annotations))") == 0  # nothing was drawn on a plane nobody saw
    drag(notebook)
    notebook.wait_for("print(len(viewer.annotations))", lambda count: count == 1)
    expect(readout).to_contain_text("HU")


def test_a_small_plane_needs_no_coarse_picture(slow_url: str, open_notebook: Open, tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "small", planes=3, rows=512, columns=512, radius_mm=100.0)
    cell = OPEN.format(home=str(tmp_path / "bench"), folder=str(tmp_path / "small"))
    notebook = open_notebook(cell, url=slow_url)
    asked: list[str] = []
    notebook.page.on("request", lambda each: asked.append(each.url) if "/planes/" in each.url else None)
    notebook.run()
    notebook.viewers()
    notebook.python("viewer.position = {'z': 2}; print(0)")
    notebook.until(lambda: {TRUE_PLANE.search(each)[1] for each in asked}, lambda now: now >= {"0", "1", "2"})
    expect(notebook.page.locator(".wb-status")).to_have_text("")
    assert not [each for each in asked if "coarse" in each]
