"""A viewer for everybody: without a mouse, without good eyes, in the dark, by finger and pen, in German."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

type Open = Callable[..., Any]

OPEN = """
import json, numpy as np, workbench
from pipelines.marks import Mark
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
viewer = bench.view(bench.series()[0])
viewer.window = (700, 1400)
viewer
"""
DRAWN = """
a, b = viewer.array.dicom.to_lps([[100, 100, 98], [130, 140, 98]])
viewer.annotations = [Mark("length", (tuple(a), tuple(b)), index=(98,), normal=(1.0, 0.0, 0.0))]
mask = np.zeros(viewer.array.shape, np.uint8)
mask[90:110, 100:140, 100:140] = 2
viewer.mask = mask
viewer.tool = "brush"
print(0)
"""


@pytest.fixture
def shown(open_notebook: Open, fruit: dict[str, str]) -> Any:
    """A notebook that shows 196 sagittal planes of an MR series of a fruit."""
    notebook = open_notebook(OPEN.format(**fruit))
    notebook.run()
    notebook.viewers()
    return notebook


def ring(notebook: Any) -> str:
    """Outline of what has the focus."""
    style: str = notebook.page.evaluate(
        "(({ outlineStyle, outlineWidth }) => `${outlineStyle} ${outlineWidth}`)"
        "(getComputedStyle(document.activeElement))"
    )
    return style


def name(notebook: Any) -> str:
    """Name of what has the focus."""
    label: str = notebook.page.evaluate("document.activeElement.getAttribute('aria-label')")
    return label


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_wrong_with_a_viewer(shown: Any, violations: Any, theme: str) -> None:
    if theme == "dark":
        shown.theme("Dark")
    assert violations(shown) == []
    shown.python(DRAWN)
    shown.page.wait_for_selector(".wb-tool[aria-label=brush][aria-pressed=true]")
    shown.page.locator(".wb-mark").wait_for()
    assert violations(shown) == []
    shown.shot(f"manners-stack-{theme}")
    shown.python("viewer.layout = 'mpr'; print(0)")
    shown.page.wait_for_selector(".wb-viewer[data-layout=mpr][data-state=ready]")
    assert violations(shown) == []
    shown.shot(f"manners-mpr-{theme}")
    shown.page.locator(".wb-view").first.focus()
    shown.page.keyboard.press("?")
    shown.page.locator(".wb-keys").wait_for()
    assert violations(shown) == []
    shown.shot(f"manners-keys-{theme}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_curve_over_time_is_for_everybody(open_notebook: Open, violations: Any, theme: str) -> None:
    notebook = open_notebook(
        """
import json, numpy as np, xarray as xr
from pipelines.marks import Mark
from workbench.widgets.viewer import Viewer
rising = np.arange(20)[:, None, None] * 10 + np.zeros((20, 64, 64))
viewer = Viewer(xr.DataArray(rising.astype(np.int16), dims=("time", "y", "x")))
viewer.annotations = [Mark("rectangle", ((9, 9, 0), (20, 9, 0), (9, 20, 0), (20, 20, 0)), index=(0,))]
viewer
"""
    )
    notebook.run()
    notebook.viewers()
    if theme == "dark":
        notebook.theme("Dark")
    notebook.page.locator(".wb-caption").wait_for()
    assert violations(notebook) == []
    notebook.shot(f"manners-curve-{theme}")


def test_the_tools_are_one_stop_of_the_tab_key_and_arrows_go_on_from_there(shown: Any) -> None:
    keyboard = shown.page.keyboard
    shown.page.get_by_label("window", exact=True).focus()
    for key, reached in (
        ("ArrowRight", "scroll"),
        ("End", "keys"),
        ("ArrowRight", "window"),
        ("ArrowLeft", "keys"),
        ("Home", "window"),
    ):
        keyboard.press(key)
        assert name(shown) == reached
        assert ring(shown) == "solid 2px"
    keyboard.press("ArrowRight")
    keyboard.press("Tab")
    assert name(shown) == "Window"
    assert ring(shown) == "solid 2px"
    keyboard.press("Shift+Tab")
    assert name(shown) == "scroll"  # where it was left
    keyboard.press("Enter")
    shown.wait_for("print(json.dumps(viewer.tool))", lambda now: now == "scroll")
    for reached in ("Window", "Layout", "Image, planes", "z"):
        keyboard.press("Tab")
        assert name(shown) == reached
        assert ring(shown) == "solid 2px"
    button = shown.page.get_by_label("undo", exact=True)
    expect(button).to_have_attribute("title", "undo (Ctrl+Z)")
    expect(button).to_be_disabled()


def test_everything_is_done_by_keys(shown: Any) -> None:
    keyboard = shown.page.keyboard
    shown.page.locator(".wb-view").focus()
    for key, plane in (("ArrowDown", 99), ("PageUp", 89), ("Home", 0), ("ArrowUp", 0), ("End", 195)):
        keyboard.press(key)
        shown.wait_for("print(json.dumps(viewer.position))", lambda now, plane=plane: now == {"z": plane})
    keyboard.press(".")
    keyboard.press(":")
    wider, up = 1400 / 0.9, 700 - 0.05 * 1400 / 0.9
    shown.wait_for(
        "print(json.dumps(viewer.window))", lambda now: now == pytest.approx([up, wider], rel=1e-6)
    )
    keyboard.press("+")
    shown.wait_for(
        "print(json.dumps(viewer.camera['planes']['zoom']))", lambda now: now == pytest.approx(1.25, rel=1e-3)
    )
    keyboard.press("Shift+ArrowRight")
    shown.wait_for("print(json.dumps(viewer.camera['planes']['pan']))", lambda now: now[0] > 0.01)
    assert shown.python("print(json.dumps(viewer.camera['planes']['pan']))")[1] == pytest.approx(0, abs=1e-3)
    keyboard.press("]")
    shown.wait_for("print(json.dumps(viewer.camera['planes']['rotation']))", lambda now: now == 90)
    keyboard.press("3")
    shown.wait_for("print(json.dumps(viewer.tool))", lambda now: now == "threshold")


def test_a_question_mark_lists_all_keys_and_escape_goes_back_to_the_image(shown: Any) -> None:
    shown.page.locator(".wb-view").focus()
    shown.page.keyboard.press("?")
    keys = shown.page.locator(".wb-keys")
    keys.wait_for()
    listed = keys.locator(".wb-key").all_text_contents()
    assert "lengthl" in listed
    assert "redoCtrl+Shift+Z" in listed
    assert "plane before, plane after↑↓" in listed
    taken = [cap for line in keys.locator(".wb-key").all() for cap in line.locator("kbd").all_text_contents()]
    assert len(taken) == len(set(taken))  # no key twice
    for button in shown.page.locator(".wb-tools .wb-tool").all():
        title = button.get_attribute("title")
        assert re.fullmatch(r".+ \(.+\)", title)
    shown.page.keyboard.press("l")  # types into nothing behind the list
    shown.page.keyboard.press("Escape")
    keys.wait_for(state="hidden")
    assert name(shown) == "Image, planes"
    assert shown.python("print(json.dumps(viewer.tool))") == "window"


@pytest.fixture
def german(lab: Any) -> Iterator[None]:
    """JupyterLab speaks German, as one chooses it in its settings."""
    speak(lab, "de_DE")
    yield
    speak(lab, "en")


def speak(lab: Any, language: str) -> None:
    body = json.dumps({"raw": json.dumps({"locale": language})}).encode()
    request = urllib.request.Request(
        f"{lab.url}lab/api/settings/@jupyterlab/translation-extension:plugin",
        headers={"Authorization": f"token {lab.token}"},
        method="PUT",
        data=body,
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 204


def texts(notebook: Any) -> set[str]:
    """What a viewer says to eyes and to screen readers."""
    found: list[str] = notebook.page.evaluate(
        r"""() => {
            const viewer = document.querySelector('.wb-viewer');
            const texts = [];
            const walker = document.createTreeWalker(viewer, NodeFilter.SHOW_TEXT);
            while (walker.nextNode())
                if (!walker.currentNode.parentElement.matches('.wb-words')) // of the patient
                    texts.push(walker.currentNode.data);
            for (const each of viewer.querySelectorAll('[aria-label], [title]'))
                texts.push(each.ariaLabel, each.title);
            return texts.filter(each => /\p{L}{3}/u.test(each ?? ''));
        }"""
    )
    return set(found)


def test_a_viewer_speaks_german_where_jupyterlab_does(
    open_notebook: Open, fruit: dict[str, str], lab: Any, german: None
) -> None:
    circle = 'Mark("circle", (tuple(b), tuple(a)), index=(98,), normal=(1.0, 0.0, 0.0))'
    cells = OPEN.format(**fruit), DRAWN, f"viewer.annotations = [*viewer.annotations, {circle}]"
    said = []
    for language in ("de_DE", "en"):
        speak(lab, language)
        notebook = open_notebook(*cells)
        notebook.run()
        notebook.viewers()
        expect(notebook.page.locator(".wb-view svg text")).to_have_count(2)
        notebook.page.wait_for_selector(".wb-paint:not([hidden])")
        said.append(texts(notebook))
        notebook.shot(f"manners-{language}")
    german_page, english_page = said
    assert any(each.startswith("Fläche: ") for each in german_page)
    assert {"Länge", "Länge (l)", "Rückgängig (Strg+Z)", "99 von 196 · 278.4 mm"} <= german_page
    of_the_kernel_or_the_same = r"header \d|(\d · )?mask|Ellipse|Segment|Region|sagittal|Patient"
    assert not {each for each in german_page & english_page if not re.match(of_the_kernel_or_the_same, each)}


type Point = tuple[float, float]


class Fingers:
    """Fingers on the screen."""

    def __init__(self, notebook: Any) -> None:
        self._page = notebook.page
        self._cdp = notebook.page.context.new_cdp_session(notebook.page)

    def drag(self, *ways: tuple[Point, Point], steps: int = 8) -> None:
        """Move as many fingers as there are ways, at once."""
        for step in range(steps + 1):
            points = [
                {"x": x + (to_x - x) * step / steps, "y": y + (to_y - y) * step / steps, "id": finger}
                for finger, ((x, y), (to_x, to_y)) in enumerate(ways)
            ]
            kind = "touchMove" if step else "touchStart"
            self._cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            self._page.wait_for_timeout(25)  # as slow as a hand: the engine waits for further fingers
        self._cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_pen_draws_where_it_points(shown: Any) -> None:
    shown.python("viewer.tool = 'length'; print(0)")
    shown.page.wait_for_selector(".wb-tool[aria-label=length][aria-pressed=true]")
    x, y, scale = middle(shown)
    pen = shown.page.context.new_cdp_session(shown.page)

    def point(kind: str, at: float, pressure: float) -> None:
        event = {"x": at, "y": y, "pointerType": "pen", "force": pressure, "tiltX": 30}
        button = {"button": "left", "buttons": 1, "clickCount": 1} if pressure else {}
        pen.send("Input.dispatchMouseEvent", {"type": kind, **event, **button})

    point("mouseMoved", x - 50, 0)
    point("mousePressed", x - 50, 0.4)
    for step in range(1, 6):
        point("mouseMoved", x - 50 + 20 * step, 0.7)
    pen.send(
        "Input.dispatchMouseEvent",
        {
            "type": "mouseReleased",
            "x": x + 50,
            "y": y,
            "pointerType": "pen",
            "button": "left",
            "clickCount": 1,
        },
    )
    ((left, above, right, below),) = lengths(shown, 1)
    assert above == pytest.approx(below, abs=0.1)
    assert abs(right - left) == pytest.approx(100 / scale, rel=0.05)


def lengths(notebook: Any, count: int) -> list[list[float]]:
    """(column, row) of the ends of each line that was drawn."""
    notebook.wait_for("print(len(viewer.annotations))", lambda now: now == count)
    found: list[list[float]] = notebook.python(
        "print(json.dumps([(viewer.array.dicom.to_index(each.points)[:, :2]).ravel().tolist()"
        " for each in viewer.annotations]))"
    )
    return found


@pytest.fixture
def touched(open_notebook: Open, fruit: dict[str, str]) -> Any:
    """The same on a screen that feels fingers."""
    notebook = open_notebook(OPEN.format(**fruit), has_touch=True)
    notebook.run()
    notebook.viewers()
    return notebook


def middle(notebook: Any) -> tuple[float, float, float]:
    """Middle of the image on the page, and pixels of the page for each of the image."""
    box = notebook.page.locator(".wb-view").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["height"] / 256


def test_a_finger_does_what_is_in_hand_and_two_zoom(touched: Any) -> None:
    notebook, fingers = touched, Fingers(touched)
    x, y, scale = middle(touched)
    notebook.page.locator(".wb-tool[aria-label=length]").tap()
    notebook.wait_for("print(json.dumps(viewer.tool))", lambda now: now == "length")
    fingers.drag(((x - 50, y - 120), (x + 50, y - 120)))  # a finger takes what is 36 pixels away
    ((left, above, right, below),) = lengths(notebook, 1)
    assert above == pytest.approx(below, abs=0.1)
    assert abs(right - left) == pytest.approx(100 / scale, rel=0.05)

    notebook.python("viewer.tool = 'window'; print(0)")
    notebook.page.wait_for_selector(".wb-tool[aria-label=window][aria-pressed=true]")
    fingers.drag(((x, y), (x + 60, y)))
    notebook.wait_for("print(json.dumps(viewer.window[1]))", lambda width: width > 1400)
    notebook.python("viewer.tool = 'scroll'; print(0)")
    notebook.page.wait_for_selector(".wb-tool[aria-label=scroll][aria-pressed=true]")
    fingers.drag(((x, y), (x, y + 80)))
    notebook.wait_for("print(json.dumps(viewer.position['z']))", lambda plane: plane != 98)

    camera = "print(json.dumps(viewer.camera.get('planes', {}).get('zoom', 1)))"
    fingers.drag(((x - 20, y), (x - 80, y)), ((x + 20, y), (x + 80, y)))
    notebook.wait_for(camera, lambda now: now > 1.5)
    lengths(notebook, 1)
    notebook.shot("manners-touch")
    button = notebook.page.locator(".wb-tool[aria-label=length]").bounding_box()
    assert min(button["width"], button["height"]) >= 24  # WCAG 2.2, 2.5.8
