"""What goes wrong in a hospital: kernels end, graphics cards go, lines are slow; the viewer says so."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

type Open = Callable[..., Any]

OPEN = """
import json, workbench
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
viewer = bench.view(bench.series()[0])
viewer.window = (700, 1400)
viewer
"""
NO_WEBGL = ("--no-sandbox", "--disable-gpu", "--disable-3d-apis", "--disable-software-rasterizer")
PICTURE = """() => {
    const canvas = document.querySelector('.wb-view canvas');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((value, at) => at % 4 === 0 && value > 40).length;
}"""


@pytest.fixture
def cell(fruit: dict[str, str]) -> str:
    """Shows 196 sagittal planes of an MR series of a fruit."""
    return OPEN.format(**fruit)


@pytest.fixture
def shown(open_notebook: Open, cell: str) -> Any:
    notebook = open_notebook(cell)
    notebook.run()
    notebook.viewers()
    return notebook


@pytest.fixture
def plain_browser(playwright: Playwright) -> Iterator[Browser]:
    """A browser without WebGL."""
    launched = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(NO_WEBGL))
    yield launched
    launched.close()


def trouble(notebook: Any) -> Any:
    return notebook.page.locator(".wb-trouble")


def slide(notebook: Any, *planes: int) -> None:
    """Pull the slider over planes, one with each frame that the browser draws."""
    notebook.page.get_by_label("z", exact=True).evaluate(
        """async (each, planes) => {
            for (const plane of planes) {
                each.value = String(plane);
                each.dispatchEvent(new Event('input'));
                await new Promise(resolve => requestAnimationFrame(resolve));
            }
        }""",
        list(planes),
    )


def await_other_picture(notebook: Any, before: int) -> int:
    notebook.page.wait_for_function(f"before => ({PICTURE})() !== before", arg=before)
    return int(notebook.page.evaluate(PICTURE))


def test_a_kernel_that_begins_anew_is_said_and_its_cell_runs_again(shown: Any) -> None:
    shown.python("viewer.tool = 'length'; print(0)")
    shown.page.wait_for_selector(".wb-tool[aria-label=length][aria-pressed=true]")
    shown.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    trouble(shown).wait_for()
    expect(trouble(shown)).to_have_text(
        "The kernel has ended: nothing can be drawn here. Run the cell again."
    )
    expect(shown.page.locator(".wb-tool[aria-label=length]")).to_have_attribute("aria-pressed", "false")
    before = shown.page.evaluate(PICTURE)
    slide(shown, 150)  # what is on the disk can still be looked at
    await_other_picture(shown, before)
    shown.shot("kernel-ended")
    shown.run()
    shown.page.wait_for_function(
        "document.querySelectorAll('.wb-trouble').length === 0 && "
        "document.querySelectorAll('.wb-viewer[data-state=ready]').length === 1"
    )
    assert shown.python("print(json.dumps(viewer.position))") == {"z": 98}
    shown.until(lambda: shown.page.evaluate(PICTURE), lambda now: now > 1000)


LOSE = """() => {
    for (const context of window.contexts) context.getExtension('WEBGL_lose_context')?.loseContext();
}"""
KEEP_CONTEXTS = """
    window.contexts = [];
    const { getContext } = HTMLCanvasElement.prototype;
    HTMLCanvasElement.prototype.getContext = function (kind, ...options) {
        const context = getContext.call(this, kind, ...options);
        if (context !== null && kind.startsWith('webgl')) window.contexts.push(context);
        return context;
    };
"""


def test_a_graphics_card_that_is_taken_away_is_said_and_images_are_drawn_without_it(
    open_notebook: Open, cell: str
) -> None:
    notebook = open_notebook(cell, script=KEEP_CONTEXTS)
    notebook.run()
    notebook.viewers()
    before = notebook.until(lambda: notebook.page.evaluate(PICTURE), lambda now: now > 1000)
    notebook.page.evaluate(LOSE)
    expect(trouble(notebook)).to_have_text(
        "The graphics card was taken away: there is no 3D until the page is reloaded."
    )
    notebook.viewers()
    after = notebook.until(lambda: notebook.page.evaluate(PICTURE), lambda now: now > 1000)
    assert after == pytest.approx(before, rel=0.05)
    slide(notebook, 150)
    await_other_picture(notebook, after)
    notebook.python("viewer.layout = 'mpr'; viewer.tool = 'length'; print(0)")
    notebook.page.wait_for_selector(".wb-viewer[data-layout=mpr][data-state=ready]")
    notebook.until(lambda: notebook.page.evaluate(PICTURE), lambda now: now > 1000)
    box = notebook.page.locator(".wb-view").first.bounding_box()
    notebook.page.mouse.move(box["x"] + 100, box["y"] + 100)
    notebook.page.mouse.down()
    notebook.page.mouse.move(box["x"] + 160, box["y"] + 100, steps=5)
    notebook.page.mouse.up()
    notebook.wait_for("print(len(viewer.annotations))", lambda count: count == 1)
    notebook.shot("card-lost")


def test_without_webgl_there_are_planes_and_a_sentence_for_what_is_not(
    plain_browser: Browser, open_notebook: Open, cell: str
) -> None:
    notebook = open_notebook(cell, within=plain_browser)
    notebook.run()
    notebook.viewers()
    assert not notebook.page.evaluate("!!document.createElement('canvas').getContext('webgl2')")
    expect(trouble(notebook)).to_have_text(
        "This browser has no WebGL: there are planes, but no sections and no 3D."
    )
    before = notebook.page.evaluate(PICTURE)
    assert before > 1000
    slide(notebook, 150)
    after = await_other_picture(notebook, before)
    notebook.python("viewer.window = (200, 400); print(0)")
    await_other_picture(notebook, after)
    notebook.python("viewer.layout = 'mpr'; viewer.tool = 'length'; print(0)")
    notebook.page.wait_for_selector(".wb-tool[aria-label=length][aria-pressed=true]")
    notebook.viewers()
    expect(notebook.page.locator(".wb-view")).to_have_count(1)
    box = notebook.page.locator(".wb-view").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    notebook.page.mouse.move(x, y)
    notebook.page.mouse.down()
    notebook.page.mouse.move(x + 60, y, steps=5)
    notebook.page.mouse.up()
    notebook.wait_for("print(len(viewer.annotations))", lambda count: count == 1)
    notebook.shot("no-webgl")


def test_over_a_slow_line_what_is_overtaken_is_given_up(
    slow_url: str, open_notebook: Open, cell: str
) -> None:
    notebook = open_notebook(cell, url=slow_url)
    ended: dict[str, list[int]] = {"requestfinished": [], "requestfailed": []}
    for event, planes in ended.items():
        notebook.page.on(event, lambda request, planes=planes: note(planes, request.url))
    notebook.run()
    notebook.viewers()
    before = notebook.page.evaluate(PICTURE)
    jumps = [*range(10, 60, 5), *range(140, 190, 5)]
    slide(notebook, *jumps, 20)
    notebook.page.wait_for_function("document.querySelector('.wb-value').textContent.startsWith('21 of')")
    await_other_picture(notebook, before)
    notebook.wait_for("print(json.dumps(viewer.position))", lambda now: now == {"z": 20})
    came, given_up = ended["requestfinished"], ended["requestfailed"]
    notebook.until(lambda: came, lambda now: 20 in now)
    assert came[0] == 98  # the one that is shown, before those around it
    assert given_up  # what lay around the places that were left
    expect(notebook.page.locator(".wb-status")).to_have_text("")
    notebook.shot("slow-line")


def note(planes: list[int], url: str) -> None:
    found = re.search(r"/planes/(\d+)(?:\?|$)", url)
    if found:
        planes.append(int(found[1]))
