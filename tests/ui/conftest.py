"""A real JupyterLab in a real browser: cells are run, mice moved, keys pressed, pictures kept."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import nbformat
import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

import workbench
from tests.peers.line import Fault, line_to

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-gpu-compositing",  # pages are put together by the processor where there is no graphics card
)  # fmt: skip
SCREENSHOTS = Path(os.environ.get("WORKBENCH_SCREENSHOTS", "/tmp/imaging-workbench-screenshots"))
AS_WITH_A_CARD = """for (const kind of [WebGLRenderingContext, WebGL2RenderingContext]) {
    const { getParameter } = kind.prototype;
    const renderer = 0x9246; // UNMASKED_RENDERER_WEBGL
    kind.prototype.getParameter = function (name) {
        return name === renderer ? 'a graphics card' : getParameter.call(this, name);
    };
}"""
"""Without one, the viewer would draw images by itself, not by WebGL."""
_LOOPBACK = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:")
_PATIENCE_MS = 180_000
expect.set_options(timeout=_PATIENCE_MS)
_GROUNDS = {"Light": "white", "Dark": "#212121"}
"""What is behind everything, by theme."""
SEEN = """() =>
    [...document.querySelectorAll('.wb-viewer, .jp-Dialog, [data-mime-type$="jupyter.stderr"]')].map(each =>
        `${each.className} ${JSON.stringify(each.dataset)} ${each.textContent.slice(0, 500)}`)"""
"""What a page shows of itself."""
AXE = Path(__file__).parents[2] / "extensions" / "node_modules" / "axe-core" / "axe.min.js"


@dataclass(frozen=True, slots=True)
class Lab:
    """A JupyterLab that runs."""

    url: str
    """Of the server, with its base URL, ending in a slash."""
    token: str
    folder: Path


@dataclass(slots=True)
class Notebook:
    """A notebook that is open in the browser."""

    page: Page
    errors: list[str] = field(default_factory=list)
    expected: set[str] = field(default_factory=set)
    """Errors that a test provokes."""
    strangers: list[str] = field(default_factory=list)
    """Addresses beyond this machine that the page asked for."""

    def run(self) -> None:
        """Run every cell."""
        self.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")

    def python(self, code: str) -> Any:
        """Run code in the kernel beside the cells; its last line prints JSON, which is returned."""
        text = self.page.evaluate(
            """async code => {
                const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({ code, store_history: false });
                let text = '';
                future.onIOPub = message => {
                    if (message.header.msg_type === 'stream') text += message.content.text;
                    if (message.header.msg_type === 'error') text += message.content.traceback.join('\\n');
                };
                await future.done;
                return text;
            }""",
            code,
        )
        try:
            return json.loads(text)
        except ValueError:
            raise AssertionError(f"the kernel said: {text}") from None

    def until[T](self, ask: Callable[[], T], wanted: Callable[[T], bool], what: str = "it") -> T:
        """Ask again until the answer is as it should be."""
        last = time.monotonic() + _PATIENCE_MS / 1000
        while not wanted(found := ask()):
            assert time.monotonic() < last, f"{what} is still {found!r}"
            self.page.wait_for_timeout(50)
        return found

    def wait_for(self, code: str, wanted: Callable[[Any], bool]) -> Any:
        """Ask the kernel again until the answer is as it should be."""
        return self.until(lambda: self.python(code), wanted, code)

    def viewers(self, count: int = 1) -> None:
        """Wait until so many viewers have drawn."""
        failed = '[data-mime-type$="jupyter.stderr"], .wb-viewer[data-state=failed]'
        self.page.wait_for_function(
            """([count, failed]) => document.querySelector(failed) ||
                document.querySelectorAll('.wb-viewer[data-state=ready]').length >= count""",
            arg=[count, failed],
        )
        wrong = self.page.locator(failed)
        assert not wrong.count(), wrong.all_text_contents()

    def theme(self, name: str) -> None:
        """Have the theme `Light` or `Dark`, and wait until it is loaded."""
        self.page.wait_for_selector("body[data-jp-theme-name]", state="attached")
        self.page.evaluate(
            """async theme => {
                if (document.body.dataset.jpThemeName !== theme)
                    await jupyterapp.commands.execute('apputils:change-theme', { theme });
            }""",
            f"JupyterLab {name}",
        )
        self.page.wait_for_function(
            """([theme, ground]) => document.body.dataset.jpThemeName === theme &&
                getComputedStyle(document.body).getPropertyValue('--jp-layout-color1').trim() === ground""",
            arg=[f"JupyterLab {name}", _GROUNDS[name]],
        )
        # a theme that is changed again before this has gone has JupyterLab remove it twice
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def shot(self, name: str) -> Path:
        """Keep a picture of the page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=(path := SCREENSHOTS / f"{name}.png"))
        return path


_OPENED = pytest.StashKey[list[Notebook]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None, pytest.TestReport, pytest.TestReport]:
    """Say what the pages of a test that failed show, and keep pictures of them."""
    report = yield
    if report.when == "call" and report.failed:
        for number, notebook in enumerate(item.stash.get(_OPENED, [])):
            with suppress(PlaywrightError):
                shown = "\n".join([notebook.page.url.partition("?")[0], *notebook.page.evaluate(SEEN)])
                report.sections.append((f"page {number}, load {os.getloadavg()[0]:.1f}", shown))
                notebook.shot(f"failed-{item.name}-{number}")
    return report


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Iterator[Lab]:
    if not CHROMIUM.exists():
        missing("no browser: apt-get install chromium")
    folder = tmp_path_factory.mktemp("lab")
    yield from running(folder, _free_port(), "/user/x/")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def running(folder: Path, port: int, base_url: str, python: str = sys.executable) -> Iterator[Lab]:
    """Run JupyterLab on a folder, with settings of its own."""
    own = {
        f"JUPYTER_{name}": str(folder / "jupyter" / name.lower())
        for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    }
    environment = {**os.environ, **own, "IPYTHONDIR": str(folder / "ipython")}
    token = secrets.token_hex(16)
    (notebooks := folder / "notebooks").mkdir()
    page = folder / "jupyter" / "config_dir" / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True)
    page.write_text(
        json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}})
    )
    command = [
        python, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--notebook-dir={notebooks}",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.base_url={base_url}", f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}{base_url}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        until = time.monotonic() + 60
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            with suppress(OSError), urllib.request.urlopen(f"{url}api", timeout=5):
                break
            assert time.monotonic() < until, (folder / "log").read_text()
        yield Lab(url, token, notebooks)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def slow_url(lab: Lab) -> Iterator[str]:
    """JupyterLab at the end of a line of 20 Mbit/s, 50 ms there and back."""
    address = urlsplit(lab.url)
    with line_to(address.hostname, address.port, Fault(latency_s=0.025, bytes_per_s=20e6 / 8)) as line:
        yield f"http://127.0.0.1:{line.port}{address.path}"


@pytest.fixture(scope="session")
def run_lab() -> Callable[[Path, str, str], Iterator[Lab]]:
    """Runs another JupyterLab, on a folder, below a base URL, by an interpreter."""
    return lambda folder, base_url, python: running(folder, _free_port(), base_url, python)


@pytest.fixture(scope="session")
def keep() -> Callable[[str], Path]:
    """Where a picture of that name is kept."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return lambda name: SCREENSHOTS / f"{name}.png"


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright, lab: Lab) -> Iterator[Browser]:
    launched = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS))
    yield launched
    launched.close()


@pytest.fixture
def open_notebook(
    request: pytest.FixtureRequest, browser: Browser, lab: Lab
) -> Iterator[Callable[..., Notebook]]:
    """Opens a notebook of some cells; at the end the page has had no error and asked no stranger."""
    opened = request.node.stash.setdefault(_OPENED, [])

    def open_cells(
        *cells: str,
        width: int = 1200,
        height: int = 1000,
        within: Browser | None = None,
        url: str = lab.url,
        script: str = "",
        has_card: bool = True,
        **context_options: Any,
    ) -> Notebook:
        """Open cells, `within` another browser, by another `url`, where a `script` ran before the page.

        Whether it `has_card` for graphics is what the browser says, not what is there.
        """
        name = f"{secrets.token_hex(6)}.ipynb"
        made = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(each) for each in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        nbformat.write(made, lab.folder / name)
        context = (within or browser).new_context(
            viewport={"width": width, "height": height}, **context_options
        )
        page = context.new_page()
        page.add_init_script(script)
        if has_card and within is None:
            page.add_init_script(AS_WITH_A_CARD)
        page.set_default_timeout(_PATIENCE_MS)
        notebook = Notebook(page)
        page.on("pageerror", lambda error: notebook.errors.append(str(error)))
        page.on("request", lambda request: _watch(notebook, request.url))
        page.on("websocket", lambda socket: _watch(notebook, socket.url))
        opened.append(notebook)
        page.goto(f"{url}lab/tree/{name}?reset&token={lab.token}")
        page.wait_for_function("() => window.jupyterapp?.shell")
        page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")
        page.evaluate(
            """async () => {
                const widget = jupyterapp.shell.currentWidget;
                await widget.context.ready;
                await widget.sessionContext.ready;
                jupyterapp.shell.collapseLeft();
            }"""
        )
        notebook.theme("Light")  # settings are the server's: another test may have left it dark
        return notebook

    yield open_cells
    for each in opened:
        each.page.evaluate("async () => { await jupyterapp.shell.currentWidget?.sessionContext.shutdown(); }")
        each.page.context.close()
        assert set(each.errors) <= each.expected
        assert not each.strangers, each.strangers


def _watch(notebook: Notebook, url: str) -> None:
    if not url.startswith(_LOOPBACK):
        notebook.strangers.append(url)


@pytest.fixture(scope="session")
def ingested(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bench that has 196 sagittal planes of an MR series of a fruit, and where these are."""
    home, folder = tmp_path_factory.mktemp("fruit"), shared_data / "volumes" / "mr_t1_sag_ge_196"
    with workbench.open(home) as bench:
        bench.index(folder, quiet=True)
        bench.volume(bench.series()[0])
    return {"home": home, "folder": folder}


@pytest.fixture
def fruit(ingested: dict[str, Path], tmp_path: Path) -> dict[str, str]:
    """The same as a bench of a test's own: its `home`, and the `folder` that it has indexed."""
    home = shutil.copytree(ingested["home"], tmp_path / "bench")
    return {"home": str(home), "folder": str(ingested["folder"])}


@pytest.fixture
def violations(missing: Callable[[str], NoReturn]) -> Callable[..., list[str]]:
    """Judges a page by axe-core, the rules for whoever cannot see, hear or point."""
    if not AXE.exists():
        missing("no axe-core: make viewer")
    rules = AXE.read_text()

    def judged(notebook: Notebook, what: str = ".wb-viewer") -> list[str]:
        notebook.page.evaluate(rules)
        found: list[str] = notebook.page.evaluate(
            """async what => (await axe.run(what)).violations.flatMap(
                each => each.nodes.map(node => `${each.id}: ${node.html} ${node.failureSummary}`))""",
            what,
        )
        return found

    return judged
