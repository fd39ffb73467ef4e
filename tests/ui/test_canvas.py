"""Images without a graphics card are drawn by the page itself: the same as by WebGL, only sooner."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines import phantoms

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

type Open = Callable[..., Any]

FRUIT = """
import json, workbench
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
viewer = bench.view(bench.series()[0])
viewer.window = (700, 1400)
viewer
"""
BOTH = pytest.mark.parametrize("has_card", [True, False], ids=["card", "no-card"])
STATES = {
    "whole": "pass",
    "zoomed": "viewer.camera = {'planes': {'zoom': 3, 'pan': [0.1, 0.05]}}",
    "turned": "viewer.camera = {'planes': {'rotation': 90, 'flip_horizontal': True, 'zoom': 1.5}}",
    "inverted": "viewer.inverted = True",
    "sections": "viewer.inverted = False; viewer.layout = 'mpr'",
    "average": "viewer.slab = (10, 'average')",
    "minimum": "viewer.slab = (3, 'minimum')",
    "plane": "viewer.slab = 'plane'; viewer.position = {'z': 60}",
}


def images(notebook: Any, count: int) -> np.ndarray:
    """Grey levels of the first images of a page, one below the other."""
    urls = notebook.page.evaluate(
        """count => [...document.querySelectorAll('.wb-view canvas')].slice(0, count)
            .map(each => each.toDataURL())""",
        count,
    )
    pictures = [Image.open(io.BytesIO(base64.b64decode(each.partition(",")[2]))) for each in urls]
    return np.concatenate([np.asarray(each.convert("L")).astype(int) for each in pictures])


@pytest.mark.parametrize(("scale", "states"), [(1, [*STATES]), (2, ["whole", "zoomed", "sections"])])
def test_images_are_those_that_a_graphics_card_draws(
    open_notebook: Open, fruit: dict[str, str], scale: int, states: list[str]
) -> None:
    whole = FRUIT.format(**fruit).replace("(700, 1400)", "(2000, 4000)")  # cut off nowhere
    shown = {
        has_card: open_notebook(whole, has_card=has_card, device_scale_factor=scale)
        for has_card in (True, False)
    }
    for each in shown.values():
        each.run()
        each.viewers()
    for state in states:
        count = 1 if state in ("whole", "zoomed", "turned", "inverted") else 3
        layout = "stack" if count == 1 else "mpr"
        for each in shown.values():
            each.python(f"{STATES[state]}; print(0)")
            each.page.wait_for_selector(f".wb-viewer[data-layout={layout}][data-state=ready]")

        def apart(count: int = count) -> tuple[float, float]:
            card, no_card = (images(each, count) for each in shown.values())
            return float(np.abs(card - no_card).mean()), float(card.std())

        shown[False].until(apart, lambda now: now[0] < 1 and now[1] > 2, state)
    shown[False].page.wait_for_function(  # three dimensions come last
        """() => {
            const canvas = document.querySelectorAll('.wb-view canvas')[3];
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((value, at) => at % 4 === 0 && value > 40).length > 500;
        }"""
    )
    shown[False].shot(f"no-card-{scale}")


@BOTH
def test_a_slab_is_as_thick_as_it_is_said_to_be(open_notebook: Open, tmp_path: Path, has_card: bool) -> None:
    stored = np.zeros((41, 32, 32), np.int16)
    stored[24] = 1000  # 4 mm from the plane in the middle
    phantoms.write_series(tmp_path / "ct", stored=stored, intercept=0, distance=1.0, spacing=(1.0, 1.0))
    cell = FRUIT.format(home=str(tmp_path / "bench"), folder=str(tmp_path / "ct"))
    notebook = open_notebook(cell.replace("(700, 1400)", "(500, 1000)"), has_card=has_card)
    notebook.run()
    notebook.viewers()
    notebook.python("viewer.position = {'z': 20}; viewer.layout = 'mpr'; print(0)")
    notebook.page.wait_for_selector(".wb-viewer[data-layout=mpr][data-state=ready]")
    for thickness, is_bright in ((10, True), (6, False), (9, True)):  # 5, 3 and 4.5 mm to either side
        notebook.python(f"viewer.slab = ({thickness}, 'maximum'); print(0)")
        notebook.page.wait_for_function(
            """isBright => {
                const canvas = document.querySelector('.wb-view canvas');
                const [x, y] = [canvas.width / 2, canvas.height / 2];
                const [level] = canvas.getContext('2d').getImageData(x, y, 1, 1).data;
                return isBright ? level > 200 : level < 20; // a card looks at places by chance
            }""",
            arg=is_bright,
        )


@BOTH
def test_fractions_are_windowed_exactly_from_one_end_to_the_other(
    open_notebook: Open, has_card: bool
) -> None:
    notebook = open_notebook(
        """
import json, numpy as np, xarray as xr
from workbench.widgets.viewer import Viewer
ramp = np.broadcast_to(np.linspace(0, 0.63, 64, dtype=np.float32), (3, 64, 64))
viewer = Viewer(xr.DataArray(ramp.copy(), dims=("time", "y", "x")))
viewer.window = (0.4, 0.2)
viewer
""",
        has_card=has_card,
    )
    notebook.run()
    notebook.viewers()
    wanted = np.clip((np.arange(64) * 0.01 - 0.3) / 0.2, 0, 1) * 255

    def row() -> np.ndarray:
        shown = images(notebook, 1)
        height, width = shown.shape
        side = min(height, width)
        columns = (width - side) / 2 + (np.arange(64) + 0.5) * side / 64
        return shown[height // 2, columns.astype(int)]

    notebook.until(row, lambda now: np.abs(now - wanted).max() <= 8, "the ramp")
    assert notebook.python("print(json.dumps(viewer.window))") == [0.4, 0.2]


@BOTH
def test_what_is_painted_is_seen_and_named_below_the_mouse(
    open_notebook: Open, fruit: dict[str, str], has_card: bool
) -> None:
    notebook = open_notebook(FRUIT.format(**fruit), has_card=has_card)
    notebook.run()
    notebook.viewers()
    notebook.python(
        """
import numpy as np
mask = np.zeros(viewer.array.shape, np.uint8)
mask[90:110, 100:140, 100:140] = 2
viewer.mask = mask
viewer.segments = [{"number": 2, "label": "core", "color": [255, 0, 255]}]
print(0)"""
    )
    box = notebook.page.locator(".wb-view").bounding_box()
    scale = box["height"] / 256  # pixels of the page for each of the image
    x, y = box["x"] + box["width"] / 2 - 8 * scale, box["y"] + box["height"] / 2 - 8 * scale

    def said() -> str:
        notebook.page.mouse.move(x - 1, y)
        notebook.page.mouse.move(x, y)
        return str(notebook.page.locator(".wb-readout").text_content())

    notebook.until(said, lambda now: now.endswith(" · core"), "what lies below the mouse")
    notebook.page.wait_for_function(
        """() => {
            const canvas = document.querySelector('.wb-view canvas');
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let at = 0; at < data.length; at += 4) count += data[at] > 60 && data[at + 1] < data[at] / 2;
            return count > 500;
        }"""
    )
    notebook.python("viewer.layout = 'mpr'; print(0)")
    notebook.page.wait_for_selector(".wb-viewer[data-layout=mpr][data-state=ready]")
    notebook.page.wait_for_function(
        """() => [...document.querySelectorAll('.wb-view canvas')].slice(0, 3).every(canvas => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let at = 0; at < data.length; at += 4) count += data[at] > 60 && data[at + 1] < data[at] / 2;
            return count > 50;
        })"""
    )
    notebook.shot(f"painted-{'card' if has_card else 'no-card'}")
