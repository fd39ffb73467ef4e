"""What a person waits for in the viewer: JupyterLab in Chromium with software WebGL, driven as by hand.

`python tests/benchmarks/viewer_speed.py [repeats]` prints the best of some repeats beside what is wanted.
What else the machine does counts, so the load is printed. The slow line has 20 Mbit/s, 50 ms there and back.
With the interpreter of an environment that has ipyniivue and JupyterLab as NIIVUE_PYTHON (`make bench` makes
one), the volume of which we show sections is shown by it, too, out of a NIfTI file beside its notebook.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import imagecodecs
import nbformat
from playwright.sync_api import Browser, Page, sync_playwright

import workbench
from pipelines import phantoms
from pipelines.export import to_nifti

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "ui"), str(TESTS.parent)]

from conftest import CHROMIUM, FLAGS, Lab, Notebook, _free_port, running  # noqa: E402  # of tests/ui

from tests.peers.line import Fault, line_to  # noqa: E402

SLOW = Fault(bytes_per_s=20e6 / 8, latency_s=0.025)
SCROLLED = 60
PACES_MS = {"at once": 0, "five a second": 200}
"""How long a person looks at each slice."""
OPENED = 50
OPEN = """
import json, workbench
bench = workbench.open({home!r})
found = {{each.series_description: each for each in bench.series()}}
"""
NIIVUE = """
from ipyniivue import NiiVue
viewer = NiiVue()
viewer.load_volumes([{"path": "volume.nii"}])
viewer
"""
BRIGHT = 2000
"""Pixels of a picture that has been drawn."""
VIEW = "viewer = bench.view(found[{name!r}])\nviewer"
STEP = """async ([count, pause]) => {
    const cell = document.querySelector('.wb-view');
    const times = [];
    for (let step = 0; step < count; step += 1) {
        const drawn = new Promise(resolve => cell.addEventListener('CORNERSTONE_STACK_NEW_IMAGE', () =>
            cell.addEventListener('CORNERSTONE_IMAGE_RENDERED', resolve, { once: true }), { once: true }));
        const started = performance.now();
        cell.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true }));
        await drawn;
        times.push(performance.now() - started);
        await new Promise(resolve => setTimeout(resolve, pause));
    }
    return times;
}"""
FRAMES = """() => {
    window.frames_ = [];
    const next = now => { window.frames_.push(now); window.request_ = requestAnimationFrame(next); };
    window.request_ = requestAnimationFrame(next);
}"""

SEEN = """() => {
    window.seen_ = {};
    const look = now => {
        const viewer = document.querySelector('.wb-viewer');
        const images = viewer.dataset.layout === 'mpr' && viewer.dataset.state === 'ready'
            ? [...viewer.querySelectorAll('.wb-view canvas')].filter(canvas => {
                const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
                return data.some((each, at) => at % 4 < 3 && each > 40);
            }).length : 0;
        window.seen_[images] ??= now;
        if (images < 4) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""
"""When so many images were seen to be drawn, each looked at before the page is drawn again."""

type Said = tuple[str, float, str, str]
"""What, how much, of what unit, and what is wanted."""


def write_archive(home: Path) -> None:
    """Write, index and ingest everything that is looked at."""
    archive = home.parent / "archive"
    for name, planes, size in (("CT 300", 300, 512), ("CT 200", 200, 512), ("long", 10_000, 64)):
        phantoms.write_series(
            archive / name, planes=planes, rows=size, columns=size, radius_mm=20, noise=15,
            description=name, study=name, distance=1.0,
        )  # fmt: skip
    for number in range(OPENED):
        name = f"small {number}"
        phantoms.write_series(
            archive / name, planes=20, rows=256, columns=256, seed=number, description=name, study=name
        )
    with workbench.open(home) as bench:
        bench.index(archive, quiet=True)
        bench.ingest(quiet=True)


@contextmanager
def notebook(browser: Browser, url: str, lab: Lab, *cells: str) -> Iterator[Notebook]:
    """A notebook in a page of its own, whose cells have not run."""
    name = f"{perf_counter():.6f}.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(each) for each in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        ),
        lab.folder / name,
    )
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(240_000)
    page.goto(f"{url}lab/tree/{name}?reset&token={lab.token}")
    page.wait_for_function("() => window.jupyterapp?.shell")
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")
    page.evaluate(
        """async () => { const widget = jupyterapp.shell.currentWidget; await widget.context.ready;
                         await widget.sessionContext.ready; jupyterapp.shell.collapseLeft(); }"""
    )
    yield Notebook(page)
    page.evaluate("async () => { await jupyterapp.shell.currentWidget?.sessionContext.shutdown(); }")
    context.close()


def run_cell(page: Page, at: int) -> None:
    """Run one cell, and wait until the kernel has."""
    page.evaluate(
        """async at => { const { content } = jupyterapp.shell.currentWidget;
            content.activeCellIndex = at; await jupyterapp.commands.execute('notebook:run-cell'); }""",
        at,
    )


def shown(page: Page, at: int) -> float:
    """Run a cell that shows a viewer; seconds until its image is drawn."""
    page.evaluate("() => document.querySelectorAll('.wb-viewer').forEach(each => delete each.dataset.state)")
    started = perf_counter()
    run_cell(page, at)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.wb-viewer')].some(each => each.dataset.state === 'ready')"
    )
    return perf_counter() - started


def first_images(browser: Browser, lab: Lab, home: Path) -> Iterator[Said]:
    cells = [OPEN.format(home=str(home)), *(VIEW.format(name=each) for each in ("small 0", "CT 300", "long"))]
    with notebook(browser, lab.url, lab, *cells) as opened:
        run_cell(opened.page, 0)
        yield "first viewer of a page, engine included", shown(opened.page, 1), "s", ""
        yield "first image of 300 x 512 x 512", shown(opened.page, 2), "s", "< 0.7"
        yield "first image of 10,000 frames", shown(opened.page, 3), "s", "< 1"


def scrolled(browser: Browser, url: str, lab: Lab, home: Path, over: str, wanted: str) -> Iterator[Said]:
    for pace, pause in PACES_MS.items():
        with notebook(browser, url, lab, OPEN.format(home=str(home)), VIEW.format(name="CT 300")) as opened:
            run_cell(opened.page, 0)
            shown(opened.page, 1)
            opened.page.wait_for_timeout(2000)
            times = opened.page.evaluate(STEP, [SCROLLED, pause])
        p95 = statistics.quantiles(times, n=20)[-1]
        yield f"scroll over {over}, {pace}, p95", p95, "ms a slice", wanted
        yield f"scroll over {over}, {pace}, median", statistics.median(times), "ms a slice", ""


def sections(browser: Browser, lab: Lab, home: Path) -> Iterator[Said]:
    with notebook(browser, lab.url, lab, OPEN.format(home=str(home)), VIEW.format(name="CT 200")) as opened:
        run_cell(opened.page, 0)
        shown(opened.page, 1)
        opened.page.evaluate(SEEN)
        started = opened.page.evaluate("() => performance.now()")
        opened.python("viewer.layout = 'mpr'; print(0)")
        for images, what in ((3, "MPR of 105 MB"), (4, "MPR of 105 MB, three dimensions, too")):
            opened.page.wait_for_function("images => window.seen_[images] !== undefined", arg=images)
            seen = opened.page.evaluate("images => window.seen_[images]", images)
            yield what, (seen - started) / 1000, "s", "< 2.5" if images == 3 else ""


def beside(browser: Browser, home: Path) -> Iterator[Said]:
    """The same volume in ipyniivue, which draws three sections and three dimensions."""
    python = os.environ.get("NIIVUE_PYTHON")
    if not python:
        return
    with tempfile.TemporaryDirectory() as name:
        server = running(Path(name), _free_port(), "/", python)
        lab = next(server)
        with workbench.open(home) as bench:
            (series,) = (each for each in bench.series() if each.series_description == "CT 200")
            to_nifti(bench.volume(series), lab.folder / "volume.nii")
        with notebook(browser, lab.url, lab, NIIVUE) as opened:
            started = perf_counter()
            run_cell(opened.page, 0)
            canvas = opened.page.locator(".jp-OutputArea canvas").first
            canvas.wait_for()
            while _bright(canvas.screenshot()) < BRIGHT:
                pass
            yield "105 MB in ipyniivue, engine included", perf_counter() - started, "s", ""
        next(server, None)


def _bright(png: bytes) -> int:
    return int((imagecodecs.png_decode(png)[..., :3].max(axis=-1) > 60).sum())


def dragged(browser: Browser, lab: Lab, home: Path) -> Iterator[Said]:
    with notebook(browser, lab.url, lab, OPEN.format(home=str(home)), VIEW.format(name="CT 300")) as opened:
        page = opened.page
        run_cell(page, 0)
        shown(page, 1)
        opened.python("viewer.tool = 'ellipse'; print(0)")
        page.wait_for_selector(".wb-tool[aria-label=ellipse][aria-pressed=true]")
        page.wait_for_timeout(3000)  # until what is fetched ahead is there
        box = page.locator(".wb-view").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.evaluate(FRAMES)
        for step in range(120):
            page.mouse.move(x + step / 2, y + step / 3)
        frames = page.evaluate("() => { cancelAnimationFrame(window.request_); return window.frames_; }")
        page.mouse.up()
        gaps = [later - earlier for earlier, later in pairwise(frames)]
        yield "drag of an ellipse", 1000 / statistics.mean(gaps), "frames a second", ">= 20"
        yield "drag of an ellipse, p95 of the gaps", statistics.quantiles(gaps, n=20)[-1], "ms", "< 50"


def heap(browser: Browser, lab: Lab, home: Path) -> Iterator[Said]:
    cells = [
        OPEN.format(home=str(home)) + "\nnumbers = iter(range(1000))",
        "viewer = bench.view(found[f'small {next(numbers) % " + str(OPENED) + "}'])\nviewer",
    ]
    with notebook(browser, lab.url, lab, *cells) as opened:
        run_cell(opened.page, 0)
        cdp = opened.page.context.new_cdp_session(opened.page)
        used = {}
        for count in range(1, OPENED + 1):
            shown(opened.page, 1)
            if count in (10, OPENED):
                cdp.send("HeapProfiler.collectGarbage")
                used[count] = cdp.send("Runtime.getHeapUsage")
        for kind in ("usedSize", "backingStorageSize"):
            words = "page heap" if kind == "usedSize" else "arrays of the page"
            yield f"{words} after 10 series", used[10][kind] / 1e6, "MB", ""
            yield f"{words} after {OPENED} series", used[OPENED][kind] / 1e6, "MB", "the same"


def measured(browser: Browser, lab: Lab, home: Path, slow_url: str) -> Iterator[Said]:
    """Everything once."""
    yield from first_images(browser, lab, home)
    yield from scrolled(browser, lab.url, lab, home, "loopback", "< 40")
    yield from scrolled(browser, slow_url, lab, home, "20 Mbit, 50 ms", "< 150")
    yield from sections(browser, lab, home)
    yield from beside(browser, home)
    yield from dragged(browser, lab, home)
    yield from heap(browser, lab, home)


def main(repeats: int = 3) -> None:
    """Print the table."""
    best: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        home = Path(name) / "bench"
        write_archive(home)
        (folder := Path(name) / "lab").mkdir()
        server = running(folder, _free_port(), "/user/x/")
        lab = next(server)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS))
        port = int(lab.url.split(":")[2].split("/")[0])
        with line_to("127.0.0.1", port, SLOW) as line:
            slow_url = lab.url.replace(f":{port}/", f":{line.port}/")
            for _ in range(repeats):
                for what, value, unit, wanted in measured(browser, lab, home, slow_url):
                    choose: Callable[..., float] = max if unit == "frames a second" else min
                    best[what] = (choose(value, best.get(what, (value,))[0]), unit, wanted)
                    sys.stderr.write(f"{what}: {value:.3g} {unit}\n")
        browser.close()
        next(server, None)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    lines = [f"the viewer, best of {repeats}; load {load}", f"  {'':<48}{'':>9} {'':<16}wanted"]
    lines += [f"  {what:<48}{value:>9.3g} {unit:<16}{wanted}" for what, (value, unit, wanted) in best.items()]
    sys.stdout.write("\n".join(line.rstrip() for line in lines) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
