"""Every tool that leaves a mark, driven by a mouse: what it draws is measured, saved, undone, drawn again."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Mouse, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

type Open = Callable[..., Any]
type Draw = Callable[[Mouse, float, float], None]

OPEN = """
import json, workbench
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
series = bench.series()[0]
"""
VIEW = """
viewer = bench.view(series)
viewer.layout = {layout!r}
viewer
"""
SIDE = 40
"""Pixels of the page that a side of what is drawn takes."""


def drag(mouse: Mouse, *places: tuple[float, float]) -> None:
    """Along places with the button down."""
    mouse.move(*places[0])
    mouse.down()
    for each in places[1:]:
        mouse.move(*each, steps=4)
    mouse.up()


def click(mouse: Mouse, *places: tuple[float, float]) -> None:
    """One place after the other; the engine waits whether a second click comes where the mouse stays."""
    for x, y in places:
        mouse.move(x, y, steps=4)
        mouse.down()
        mouse.up()
        mouse.move(x + 5, y, steps=2)


def angle(mouse: Mouse, x: float, y: float) -> None:
    drag(mouse, (x - SIDE, y), (x, y))
    click(mouse, (x, y - SIDE))


def cobb(mouse: Mouse, x: float, y: float) -> None:
    drag(mouse, (x - SIDE, y - SIDE), (x + SIDE, y - SIDE))
    drag(mouse, (x - SIDE, y + SIDE), (x, y))


def corners(x: float, y: float) -> list[tuple[float, float]]:
    return [(x - SIDE, y - SIDE), (x + SIDE, y - SIDE), (x + SIDE, y + SIDE), (x - SIDE, y + SIDE)]


def ring(mouse: Mouse, x: float, y: float) -> None:
    first, *others = corners(x, y)
    drag(mouse, first, *others, first)


def points(mouse: Mouse, x: float, y: float) -> None:
    first, *others = corners(x, y)
    click(mouse, first, *others, first)


def line(mouse: Mouse, x: float, y: float) -> None:
    drag(mouse, (x - SIDE, y), (x + SIDE, y))


def diagonal(mouse: Mouse, x: float, y: float) -> None:
    drag(mouse, (x, y), (x + SIDE, y + SIDE))


TOOLS: dict[str, Draw] = {
    "length": line,
    "bidirectional": line,
    "angle": angle,
    "cobb": cobb,
    "probe": lambda mouse, x, y: click(mouse, (x, y)),
    "ellipse": diagonal,
    "circle": diagonal,
    "rectangle": diagonal,
    "freehand": ring,
    "spline": points,
    "livewire": points,
    "arrow": diagonal,
}
ANGLES = {"angle": 90, "cobb": 45}


def cell(page: Page) -> tuple[float, float]:
    box = page.locator(".wb-view").first.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def beyond(notebook: Any, layout: str, number: int, marks: int = 0) -> None:
    """Go to another plane of the array, or the next section across them, on which so many marks lie."""
    if layout == "stack":
        notebook.python(f"viewer.position = {{'z': {80 + number}}}; print(0)")
        notebook.page.wait_for_function(
            f"() => document.querySelector('.wb-value').textContent.startsWith('{81 + number} of 196')"
        )
    else:
        notebook.page.mouse.move(*cell(notebook.page))
        notebook.page.mouse.wheel(0, 100)
    expect(notebook.page.locator(".wb-view").first.locator("svg text")).to_have_count(marks)


def take(notebook: Any, tool: str) -> None:
    notebook.python(f"viewer.tool = {tool!r}; print(0)")
    notebook.page.wait_for_selector(f".wb-tool[aria-label={tool}][aria-pressed=true]")


def kinds(notebook: Any) -> list[str]:
    found: list[str] = notebook.python("print(json.dumps([each.kind for each in viewer.annotations]))")
    return found


def count(notebook: Any, wanted: int) -> None:
    notebook.until(lambda: kinds(notebook), lambda now: len(now) == wanted, "what is drawn")


@pytest.mark.parametrize("layout", ["stack", "mpr"])
def test_what_each_tool_draws_is_one_step_measured_as_it_is_written_and_there_again(
    open_notebook: Open, fruit: dict[str, str], layout: str
) -> None:
    """On planes of the array, and on a section across them."""
    notebook = open_notebook(OPEN.format(**fruit), VIEW.format(layout=layout), has_card=False)
    notebook.run()
    notebook.viewers()
    notebook.page.wait_for_selector(f".wb-viewer[data-layout={layout}][data-state=ready]")
    written = notebook.page.locator(".wb-view").first.locator("svg text")
    for number, (tool, draw) in enumerate(TOOLS.items(), start=1):
        beyond(notebook, layout, number)
        take(notebook, tool)
        draw(notebook.page.mouse, *cell(notebook.page))
        if tool == "arrow":
            notebook.page.locator(".jp-Dialog input").fill("here")
            notebook.page.keyboard.press("Enter")
        count(notebook, number)
        mark = notebook.python(
            "print(json.dumps({name: getattr(viewer.annotations[-1], name) for name in"
            " ('kind', 'length_mm', 'angle_deg', 'area_mm2', 'mean', 'text', 'index')}))"
        )
        assert mark["kind"] == tool
        assert bool(mark["index"]) == (layout == "stack")
        notebook.page.locator(".wb-view").first.focus()
        notebook.page.keyboard.press("Control+z")  # one step, however many clicks it took
        count(notebook, number - 1)
        expect(written).to_have_count(0)
        notebook.page.keyboard.press("Control+Shift+Z")
        count(notebook, number)
        expect(written).to_have_count(1)
        said = written.text_content() or ""
        if tool in ANGLES:
            assert mark["angle_deg"] == pytest.approx(ANGLES[tool], abs=3)
            assert float(said.split()[0]) == pytest.approx(mark["angle_deg"], rel=0.01)
        elif mark["length_mm"]:
            assert float(re.findall(r"([\d.]+) mm", said)[0]) == pytest.approx(mark["length_mm"], rel=0.01)
        elif mark["area_mm2"] and layout == "stack":
            assert mark["mean"] is not None
            area = float(re.findall(r"Area: ([\d.]+) mm²", said)[0])
            assert area == pytest.approx(mark["area_mm2"], rel=0.02)
    assert said == mark["text"] == "here"
    notebook.shot(f"tools-{layout}")
    uids = "print(json.dumps([each.uid for each in viewer.annotations]))"
    drawn = notebook.python(uids)

    notebook.run()
    notebook.wait_for("print(json.dumps(viewer.tool))", lambda now: now == "window")
    notebook.page.wait_for_selector(f".wb-viewer[data-layout={layout}][data-state=ready]")
    expect(notebook.page.locator(".wb-mark")).to_have_count(len(TOOLS))
    for number in range(1, len(TOOLS) + 1):
        beyond(notebook, layout, number, marks=1)
    beyond(notebook, layout, len(TOOLS) + 1)
    take(notebook, "length")
    line(notebook.page.mouse, *cell(notebook.page))
    count(notebook, len(TOOLS) + 1)
    assert notebook.python(uids)[: len(TOOLS)] == drawn


def test_what_is_begun_and_not_finished_is_given_up_by_escape_and_is_no_mark(
    open_notebook: Open, fruit: dict[str, str]
) -> None:
    notebook = open_notebook(OPEN.format(**fruit), VIEW.format(layout="stack"), has_card=False)
    notebook.run()
    notebook.viewers()
    x, y = cell(notebook.page)
    for leave in ("Escape", "w"):
        take(notebook, "angle")
        drag(notebook.page.mouse, (x - SIDE, y), (x, y))
        notebook.page.mouse.move(x, y - SIDE, steps=5)
        expect(notebook.page.locator(".wb-view svg line, .wb-view svg path").first).to_be_attached()
        assert kinds(notebook) == []
        notebook.page.locator(".wb-view").first.focus()
        notebook.page.keyboard.press(leave)
        expect(notebook.page.locator(".wb-view svg line, .wb-view svg path")).to_have_count(0)
    expect(notebook.page.get_by_label("undo", exact=True)).to_be_disabled()
    assert kinds(notebook) == []


def test_an_arrow_whose_text_is_given_up_is_none(open_notebook: Open, fruit: dict[str, str]) -> None:
    notebook = open_notebook(OPEN.format(**fruit), VIEW.format(layout="stack"), has_card=False)
    notebook.run()
    notebook.viewers()
    take(notebook, "arrow")
    diagonal(notebook.page.mouse, *cell(notebook.page))
    notebook.page.locator(".jp-Dialog input").wait_for()
    notebook.page.keyboard.press("Escape")
    expect(notebook.page.locator(".jp-Dialog")).to_have_count(0)
    expect(notebook.page.locator(".wb-view svg line, .wb-view svg path")).to_have_count(0)
    assert kinds(notebook) == []


def test_two_people_draw_on_one_series_and_whose_is_whose_is_seen(
    open_notebook: Open, fruit: dict[str, str]
) -> None:
    show = "{name} = bench.view(series, author={author!r})\n{name}"
    notebook = open_notebook(
        OPEN.format(**fruit),
        show.format(name="viewer", author="Dr. Rot"),
        show.format(name="other", author="Dr. Blau"),
        has_card=False,
    )
    notebook.run()
    notebook.viewers(2)
    take(notebook, "length")
    line(notebook.page.mouse, *cell(notebook.page))
    count(notebook, 1)
    assert notebook.python("print(len(other.annotations))") == 0
    notebook.python("other.refresh(); print(0)")
    second = notebook.page.locator(".wb-viewer").nth(1)
    length = notebook.python("print(viewer.annotations[0].length_mm)")
    expect(second.locator(".wb-mark")).to_contain_text(f" · {length:.1f} mm · Dr. Rot")
    expect(second.locator(".wb-view svg line[stroke-dasharray='6,4']").first).to_be_attached()
    second.scroll_into_view_if_needed()
    box = second.locator(".wb-view").bounding_box()
    drag(  # it stays where it is
        notebook.page.mouse,
        (box["x"] + box["width"] / 2 - 10, box["y"] + box["height"] / 2),
        (box["x"] + box["width"] / 2 + 30, box["y"] + box["height"] / 2 + 30),
    )
    expect(second.locator(".wb-view svg text")).to_contain_text("mm")
    assert notebook.python("print(json.dumps([each.author for each in other.annotations]))") == ["Dr. Rot"]
    before, now = notebook.python(
        "print(json.dumps([[each.points for each in one.annotations] for one in (viewer, other)]))"
    )
    assert before == now
    assert kinds(notebook) == ["length"]


def test_the_other_buttons_move_and_zoom_and_what_has_depth_is_turned(
    open_notebook: Open, fruit: dict[str, str]
) -> None:
    notebook = open_notebook(OPEN.format(**fruit), VIEW.format(layout="stack"), has_card=False)
    notebook.run()
    notebook.viewers()
    mouse = notebook.page.mouse
    x, y = cell(notebook.page)
    for button, name in (("middle", "pan"), ("right", "zoom")):
        asked = f"print(json.dumps(viewer.camera.get('planes', {{}}).get({name!r})))"
        before = notebook.python(asked)
        mouse.move(x, y)
        mouse.down(button=button)
        mouse.move(x + 30, y + 60, steps=6)
        mouse.up(button=button)
        notebook.wait_for(asked, lambda now, before=before: now not in (before, None))
    notebook.python("viewer.layout = '3d'; print(0)")
    notebook.page.wait_for_selector(".wb-viewer[data-layout='3d'][data-state=ready]")
    picture = """() => {
        const canvas = document.querySelector('.wb-view canvas');
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let sum = 0, bright = 0;
        for (let at = 0; at < data.length; at += 4) {
            if (data[at] > 40) bright += 1;
            sum = (sum * 31 + data[at]) % 1000000007;
        }
        return bright > 500 ? sum : 0;
    }"""
    seen = notebook.until(lambda: notebook.page.evaluate(picture), bool, "three dimensions")
    letters = notebook.page.locator(".wb-letter").all_text_contents()
    x, y = cell(notebook.page)
    drag(mouse, (x, y), (x + 150, y))
    notebook.until(
        lambda: notebook.page.evaluate(picture), lambda now: now not in (0, seen), "the turned one"
    )
    assert notebook.page.locator(".wb-letter").all_text_contents() != letters
