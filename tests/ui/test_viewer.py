"""The viewer in a cell, driven as a person would: real mice, real series, numbers held against NumPy."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from playwright.sync_api import Browser, expect

from pipelines import phantoms
from workbench.widgets.wire import script

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

type Open = Callable[..., Any]

OPEN = """
import json, workbench
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
series = bench.series()[0]
viewer = bench.view(series)
viewer
"""


@pytest.fixture
def shown(open_notebook: Open, fruit: dict[str, str]) -> Any:
    """A notebook that shows 196 sagittal planes of an MR series of a fruit."""
    notebook = open_notebook(OPEN.format(**fruit))
    notebook.run()
    notebook.viewers()
    return notebook


def cell(notebook: Any, number: int = 0) -> tuple[float, float]:
    """Middle of an image on the page."""
    box = notebook.page.locator(".wb-view").nth(number).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(notebook: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    mouse = notebook.page.mouse
    mouse.move(*start)
    mouse.down()
    mouse.move(*end, steps=5)
    mouse.up()


def bright(notebook: Any, number: int) -> int:
    """How many pixels of an image are not black; letters and marks lie on it, not in it."""
    return int(
        notebook.page.evaluate(
            """number => {
                const canvas = document.querySelectorAll('.wb-view canvas')[number];
                const context = canvas.getContext('2d');
                const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
                return data.filter((value, at) => at % 4 === 0 && value > 40).length;
            }""",
            number,
        )
    )


def await_bright(notebook: Any, number: int, more_than: int) -> None:
    notebook.until(lambda: bright(notebook, number), lambda now: now > more_than, f"image {number}")


def test_what_a_person_does_there_stands_in_python_and_the_other_way_round(shown: Any) -> None:
    await_bright(shown, 0, 1000)
    assert shown.python("print(json.dumps(viewer.position))") == {"z": 98}
    x, y = cell(shown)
    before = shown.python("print(json.dumps(viewer.window))")
    drag(shown, (x, y), (x + 60, y + 40))
    after = shown.wait_for("print(json.dumps(viewer.window))", lambda now: now != before)
    assert after[1] > before[1]  # to the right is wider
    shown.page.mouse.wheel(0, 100)
    shown.wait_for("print(json.dumps(viewer.position))", lambda now: now["z"] != 98)

    shown.python("viewer.position = {'z': 40}; viewer.window = (700, 1400); print('0')")
    shown.page.wait_for_function("document.querySelector('.wb-value').textContent.startsWith('41 of 196')")
    shown.page.wait_for_function("document.querySelector('.wb-corner').textContent === 'W 1400 L 700'")
    shown.page.keyboard.press("Escape")
    shown.page.locator(".wb-view").first.focus()
    shown.page.keyboard.press("ArrowDown")
    shown.wait_for("print(json.dumps(viewer.position))", lambda now: now == {"z": 41})
    shown.page.keyboard.press("l")
    shown.wait_for("print(json.dumps(viewer.tool))", lambda now: now == "length")
    shown.shot("stack")


def test_an_ellipse_is_measured_as_numpy_measures_it_and_the_picture_says_the_same(shown: Any) -> None:
    shown.python("viewer.tool = 'ellipse'; print(0)")
    shown.page.wait_for_selector(".wb-tool[aria-label=ellipse][aria-pressed=true]")
    x, y = cell(shown)
    drag(shown, (x, y - 50), (x + 60, y + 10))
    shown.wait_for("print(len(viewer.annotations))", lambda count: count == 1)
    mark = shown.python(
        """
import numpy as np
from dataclasses import asdict
mark = viewer.annotations[0]
corners = viewer.array.dicom.to_index(mark.points)[:, :2]  # column, row
(x, y), (half_x, half_y) = corners.mean(axis=0), np.ptp(corners, axis=0) / 2
columns, rows = np.meshgrid(np.arange(256), np.arange(256))
inside = ((columns - x) / half_x) ** 2 + ((rows - y) / half_y) ** 2 <= 1
values = viewer.array.isel(z=mark.index[0]).values[inside].astype(float)
ours = [mark.pixels, mark.mean, mark.standard_deviation, mark.minimum, mark.maximum]
numpy = [int(inside.sum()), values.mean(), values.std(), values.min(), values.max()]
print(json.dumps({"ours": ours, "numpy": numpy, "area": mark.area_mm2, "holds": mark.holds,
                  "source": mark.sop_instance_uid == viewer.array.dicom.sources[mark.index[0]]}))
"""
    )
    assert mark["ours"] == pytest.approx(mark["numpy"], rel=1e-9)
    assert mark["source"]
    assert mark["holds"] == "patient"
    assert mark["area"] == pytest.approx(mark["numpy"][0] * 1.0547**2, rel=0.01)
    drawn = " ".join(shown.page.locator(".wb-view svg text").all_text_contents())
    said = {name: float(value) for name, value in re.findall(r"(Area|Mean|Max|Min|Std Dev): ([\d.]+)", drawn)}
    _, mean, deviation, least, most = mark["numpy"]
    wanted = {"Area": mark["area"], "Mean": mean, "Std Dev": deviation, "Min": least, "Max": most}
    assert said == pytest.approx(wanted, rel=2e-3)
    shown.shot("ellipse")


def test_what_python_draws_is_there_and_measured_in_mm_and_deleting_it_takes_it_from_python(
    shown: Any,
) -> None:
    shown.python(
        """
from pipelines.marks import Mark
a, b = viewer.array.dicom.to_lps([[100, 100, 98], [130, 140, 98]])
viewer.annotations = [Mark("length", (tuple(a), tuple(b)), index=(98,), normal=(1.0, 0.0, 0.0))]
print(0)
"""
    )
    shown.page.wait_for_function(
        "() => document.querySelector('.wb-view svg text')?.textContent.includes('52.7 mm')"
    )
    length = shown.python("print(json.dumps(viewer.annotations[0].length_mm))")
    assert length == pytest.approx(50 * 1.0547)
    shown.page.get_by_label("delete length").click()
    shown.wait_for("print(len(viewer.annotations))", lambda count: count == 0)
    expect(shown.page.locator(".wb-view svg text")).to_have_count(0)


def test_sections_and_three_dimensions_are_all_drawn_and_a_picture_comes_back(
    shown: Any, tmp_path: Path
) -> None:
    shown.python("viewer.window = (700, 1400); viewer.layout = 'mpr'; print(0)")
    shown.page.wait_for_selector(".wb-viewer[data-layout=mpr][data-state=ready]")
    for number in range(4):
        await_bright(shown, number, 1000)
    path = tmp_path / "shot.png"
    shown.python(f"from pathlib import Path; print(Path({str(path)!r}).write_bytes(viewer.screenshot()))")
    shown.python(f"viewer.export('png', {str(tmp_path / 'out.png')!r}); print(0)")
    assert imagecodecs.png_decode((tmp_path / "out.png").read_bytes()).shape[2] >= 3
    image = imagecodecs.png_decode(path.read_bytes())
    assert (image[..., :3].max(axis=-1) > 40).sum() > 2000
    letters = shown.page.locator(".wb-frame").nth(0).locator(".wb-letter").all_text_contents()
    assert letters[:4] == ["A", "L", "P", "R"]
    shown.shot("mpr")


def test_what_was_computed_lies_in_the_kernel_alone_and_is_shown_too(shown: Any) -> None:
    notebook = shown
    notebook.python(
        """
smooth = viewer.array.isel(z=slice(90, 100)).rolling(y=3, center=True).mean()
other = bench.view(smooth)
from IPython.display import display
print(json.dumps([other.widget.key, other.position]))
"""
    )
    notebook.page.evaluate(
        """() => {
            const notebook = jupyterapp.shell.currentWidget.content;
            notebook.model.sharedModel.insertCell(1, { cell_type: 'code', source: 'other', metadata: {} });
            notebook.activeCellIndex = 1;
            return jupyterapp.commands.execute('notebook:run-cell');
        }"""
    )
    notebook.viewers(2)
    await_bright(notebook, 1, 500)


def test_frames_in_colour_are_drawn_in_colour_and_run_along_their_time(
    open_notebook: Open, shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "cine"
    cells = OPEN.format(home=str(tmp_path / "bench"), folder=str(folder))
    wanted = "series = [each for each in bench.series() if each.instances == 1 and each.modality == 'US'][-1]"
    notebook = open_notebook(cells.replace("series = bench.series()[0]", wanted))
    notebook.run()
    notebook.viewers()
    said = notebook.python("print(json.dumps([viewer.scene.samples, viewer.scene.axes[0].name]))")
    assert said == [3, "time"]
    await_bright(notebook, 0, 1000)
    expect(notebook.page.get_by_label("Layout").locator("option")).to_have_text(["stack"])
    notebook.shot("colour")


def test_outside_of_jupyterlab_there_is_a_still_picture_and_a_sentence(browser: Browser, lab: Any) -> None:
    source = script("viewer")
    page = browser.new_page()
    page.goto("about:blank")
    png = imagecodecs.png_encode(np.full((8, 8), 200, np.uint8))
    words = page.evaluate(
        """async ([source, png]) => {
            const widget = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
            const bytes = Uint8Array.from(png);
            const model = { get: () => new DataView(bytes.buffer) };
            await widget.default.render({ model, el: document.body });
            const image = document.querySelector('img');
            await image.decode();
            return [image.naturalWidth, document.body.textContent];
        }""",
        [source, list(png)],
    )
    page.close()
    assert words[0] == 8
    assert "needs JupyterLab" in words[1]


@pytest.mark.parametrize(("layout", "has_card"), [("stack", True), ("mpr", True), ("stack", False)])
def test_planes_that_cannot_be_had_are_said_in_place_of_the_image(
    open_notebook: Open, fruit: dict[str, str], layout: str, has_card: bool
) -> None:
    cells = OPEN.format(**fruit)
    notebook = open_notebook(
        f"{cells.rstrip().removesuffix('viewer')}viewer.layout = {layout!r}\nviewer", has_card=has_card
    )
    notebook.page.route("**/workbench/arrays/**", lambda route: route.fulfill(status=404, body="{}"))
    notebook.run()
    notebook.page.wait_for_selector(".wb-viewer[data-state=failed]")
    expect(notebook.page.locator(".wb-status")).to_contain_text("gives no plane (404)")
    notebook.expected.add("the Jupyter server gives no plane (404)")  # which the engine hands on


def marks(notebook: Any) -> int:
    return int(notebook.page.locator(".wb-mark").count())


def undo_all(notebook: Any) -> None:
    """By key, which does nothing where nothing is left."""
    notebook.page.locator(".wb-view").first.focus()
    while not notebook.page.get_by_label("undo", exact=True).is_disabled():
        notebook.page.keyboard.press("Control+z")


def test_what_was_drawn_and_deleted_is_undone_and_done_again(shown: Any) -> None:
    shown.python("viewer.tool = 'rectangle'; print(0)")
    shown.page.wait_for_selector(".wb-tool[aria-label=rectangle][aria-pressed=true]")
    undo, redo = (shown.page.get_by_label(name, exact=True) for name in ("undo", "redo"))
    expect(undo).to_be_disabled()
    x, y = cell(shown)
    drag(shown, (x, y), (x + 60, y + 40))
    shown.page.wait_for_function("document.querySelectorAll('.wb-mark').length === 1")
    drawn = shown.wait_for("print(json.dumps([each.as_json() for each in viewer.annotations]))", bool)
    shown.page.get_by_label("delete rectangle").click()
    shown.page.wait_for_function("document.querySelectorAll('.wb-mark').length === 0")
    undo.click()
    again = shown.wait_for("print(json.dumps([each.as_json() for each in viewer.annotations]))", bool)
    assert again == drawn
    undo_all(shown)
    shown.wait_for("print(len(viewer.annotations))", lambda count: count == 0)
    redo.click()
    shown.wait_for("print(len(viewer.annotations))", lambda count: count == 1)


def test_a_bar_says_how_long_things_are(shown: Any) -> None:
    bar = shown.page.locator(".wb-scale").first
    length = {}
    for zoom in (1, 4):
        shown.python(f"viewer.camera = {{'planes': {{'zoom': {zoom}}}}}; print(0)")
        shown.wait_for(
            "print(json.dumps(viewer.camera['planes']['zoom']))", lambda now, zoom=zoom: now == zoom
        )
        shown.page.wait_for_function(
            "zoom => document.querySelector('.wb-scale').textContent === (zoom === 1 ? '10 cm' : '2 cm')",
            arg=zoom,
        )
        length[zoom] = bar.bounding_box()["width"]
    image = shown.page.locator(".wb-view").first.bounding_box()["height"]  # 256 rows of 1.0156 mm at zoom 1
    rows, row_mm = shown.python("print(json.dumps([viewer.scene.rows, viewer.scene.pixel_spacing[0]]))")
    assert length[1] == pytest.approx(100 / (rows * row_mm) * image, rel=0.02)
    assert length[4] == pytest.approx(4 * length[1] * 20 / 100, rel=0.02)


def test_an_image_is_turned_and_flipped_from_both_sides(shown: Any) -> None:
    shown.python("viewer.window = (700, 1400); print(0)")
    frame = shown.page.locator(".wb-frame").first
    before = frame.locator(".wb-letter").all_text_contents()[:4]  # top, right, bottom, left
    shown.page.get_by_label("turn", exact=True).click()
    camera = shown.wait_for("print(json.dumps(viewer.camera))", lambda now: now["planes"]["rotation"] == 90)
    assert not camera["planes"]["flip_horizontal"]
    top, right, bottom, left = before
    assert frame.locator(".wb-letter").all_text_contents()[:4] == [left, top, right, bottom]
    shown.python("viewer.camera = {'planes': {'rotation': 0, 'flip_horizontal': True, 'zoom': 2}}; print(0)")
    shown.page.wait_for_function("left => document.querySelector('.wb-right').textContent === left", arg=left)
    assert frame.locator(".wb-letter").all_text_contents()[:4] == [top, left, bottom, right]
    shown.page.get_by_label("whole image").click()
    lying = shown.wait_for("print(json.dumps(viewer.camera))", lambda now: now["planes"]["zoom"] == 1)
    assert not lying["planes"]["flip_horizontal"]


def test_sections_follow_crosshairs_and_python_and_a_slab_shows_what_is_brightest(shown: Any) -> None:
    shown.python("viewer.window = (700, 1400); viewer.layout = 'mpr'; print(0)")
    shown.page.wait_for_selector(".wb-viewer[data-layout=mpr][data-state=ready]")
    shown.page.locator(".wb-view").first.focus()
    shown.page.keyboard.press("x")
    shown.wait_for("print(json.dumps(viewer.tool))", lambda now: now == "crosshairs")
    shown.page.wait_for_function("document.querySelectorAll('.wb-view svg line').length >= 6")
    x, y = cell(shown)  # of the axial section, on which left and right run along the planes
    shown.page.mouse.click(x + 40, y - 30)
    place = shown.wait_for("print(json.dumps(viewer.position))", lambda now: now["z"] != 98)
    shown.python("viewer.position = {'z': 30}; print(0)")
    shown.page.wait_for_function(
        "[...document.querySelectorAll('.wb-value')].some(each => each.textContent.startsWith('31 of 196'))"
    )
    assert place["z"] != 30
    thin = bright(shown, 0)
    shown.python("viewer.slab = 'mip'; print(0)")
    await_bright(shown, 0, thin)
    assert shown.page.locator(".wb-slab .wb-value").text_content().endswith(" mm")
    shown.shot("mip")


def test_a_cine_runs_through_the_frames_and_stops(shown: Any) -> None:
    shown.python(
        "viewer.position = {'z': 10}; viewer.frames_per_second = 30; viewer.playing = True; print(0)"
    )
    shown.wait_for("print(json.dumps(viewer.position))", lambda now: now["z"] > 20)
    shown.page.get_by_label("play", exact=True).click()
    shown.wait_for("print(json.dumps(viewer.playing))", lambda now: now is False)
    said = shown.page.locator(".wb-value").first
    stopped, _ = shown.until(
        lambda: (shown.python("print(json.dumps(viewer.position['z']))"), said.text_content()),
        lambda now: now[1].startswith(f"{now[0] + 1} of"),
    )
    assert stopped > 10


def test_labels_are_painted_erased_cut_filled_and_undone_and_every_stroke_reaches_the_kernel(
    shown: Any,
) -> None:
    shown.python("viewer.window = (700, 1400); print(0)")
    x, y = cell(shown)
    before = 0
    for tool, grows in (
        ("brush", True),
        ("eraser", False),
        ("threshold", True),
        ("scissors", True),
        ("round scissors", True),
        ("cut away", False),
        ("fill", True),
    ):
        shown.python(f"viewer.tool = {tool!r}; print(0)")
        shown.page.wait_for_selector(f".wb-tool[aria-label='{tool}'][aria-pressed=true]")
        drag(shown, (x - 20, y + 10), (x + 30, y + 40))
        was = before
        before = shown.wait_for("print(int(viewer.mask[98].sum()))", lambda now, was=was: now != was)
        assert (before > was) == grows, tool
    shown.shot("mask")
    undo_all(shown)
    shown.wait_for("print(int(viewer.mask[98].sum()))", lambda now: now == 0)


def test_a_threshold_brush_and_a_fill_paint_the_pixels_that_they_say(shown: Any) -> None:
    shown.python("viewer.window = (400, 300); import numpy as np; print(0)")  # from 250 to 549
    x, y = cell(shown)
    undo = shown.page.get_by_label("undo", exact=True)
    painted = {}
    for tool in ("brush", "threshold"):
        shown.python(f"viewer.tool = {tool!r}; print(0)")
        shown.page.wait_for_selector(f".wb-tool[aria-label='{tool}'][aria-pressed=true]")
        shown.page.mouse.click(x + 15, y + 25)
        shown.wait_for("print(int(viewer.mask[98].sum()))", bool)
        found = shown.python("print(json.dumps(np.argwhere(viewer.mask[98].values > 0).tolist()))")
        painted[tool] = {tuple(each) for each in found}
        undo.click()
        shown.wait_for("print(int(viewer.mask[98].sum()))", lambda now: now == 0)
    inside = "print(json.dumps(np.argwhere((plane >= 250) & (plane <= 549)).tolist()))"
    found = shown.python(f"plane = viewer.array[98].values; {inside}")
    in_window = {tuple(each) for each in found}
    assert painted["threshold"] == painted["brush"] & in_window
    assert painted["threshold"] < painted["brush"]

    shown.python(
        """
row, column = np.indices(viewer.array.shape[1:])
radius = np.hypot(row - 128, column - 128)
mask = np.zeros(viewer.array.shape, np.uint8)
mask[98][(radius > 20) & (radius < 24)] = 1
viewer.mask = mask
viewer.tool = 'fill'
print(0)"""
    )
    shown.page.wait_for_selector(".wb-tool[aria-label='fill'][aria-pressed=true]")
    ring = shown.python("print(int((mask == 1).sum()))")
    shown.page.wait_for_function(
        "() => document.querySelector('button[aria-label=undo]')?.disabled === false"  # the ring is there
    )
    shown.page.mouse.click(x, y)
    shown.wait_for("print(int((viewer.mask == 1).sum()))", lambda now: now > ring)
    assert shown.python("print(json.dumps(bool(np.array_equal(viewer.mask[98].values, radius < 24))))")


def test_a_region_grows_where_the_mouse_points_and_planes_between_are_filled_and_both_are_undone(
    shown: Any,
) -> None:
    shown.python("viewer.window = (700, 1400); viewer.tool = 'region'; print(0)")
    shown.page.wait_for_selector(".wb-tool[aria-label='region'][aria-pressed=true]")
    x, y = cell(shown)
    shown.page.mouse.click(x + 20, y + 20)
    found = shown.wait_for("print(json.dumps(int((viewer.mask > 0).sum())))", bool)
    same = """
from scipy import ndimage
values = viewer.array.values
pieces, _ = ndimage.label((values >= 0) & (values <= 1399))  # PS3.3 C.11.2.1.2.1
mask = viewer.mask.values > 0
print(json.dumps([np.unique(pieces[mask]).tolist(), int(np.bincount(pieces[mask]).max()),
                  int((pieces == pieces[mask][0]).sum())]))
"""
    (piece,), painted, whole = shown.python("import numpy as np" + same)
    assert piece > 0
    assert painted == whole == found
    shown.shot("region")
    undo = shown.page.get_by_label("undo", exact=True)
    undo.click()
    shown.wait_for("print(json.dumps(int((viewer.mask > 0).sum())))", lambda now: now == 0)
    shown.python("viewer.tool = 'scissors'; print(0)")
    shown.page.wait_for_selector(".wb-tool[aria-label='scissors'][aria-pressed=true]")
    for plane in (90, 96):
        shown.python(f"viewer.position = {{'z': {plane}}}; print(0)")
        shown.page.wait_for_function(
            f"document.querySelector('.wb-value').textContent.startsWith('{plane + 1} of')"
        )
        drag(shown, (x - 30, y - 30), (x + 30, y + 30))
        shown.wait_for(f"print(json.dumps(int(viewer.mask[{plane}].sum())))", bool)
    shown.page.get_by_role("button", name="between").click()
    counts = "print(json.dumps((viewer.mask > 0).sum(('y', 'x')).values.tolist()))"
    now = shown.wait_for(counts, lambda now: all(now[90:97]))
    assert now[90:97] == [now[90]] * 7
    undo.click()
    shown.wait_for(counts, lambda now: not any(now[91:96]))
    undo_all(shown)
    shown.wait_for(counts, lambda now: not any(now))


def test_what_is_painted_on_a_section_lies_on_the_planes_it_goes_through(shown: Any) -> None:
    shown.python("viewer.window = (700, 1400); viewer.layout = 'mpr'; viewer.tool = 'brush'; print(0)")
    shown.page.wait_for_selector(".wb-viewer[data-layout=mpr][data-state=ready]")
    shown.page.wait_for_selector(".wb-tool[aria-label=brush][aria-pressed=true]")
    x, y = cell(shown)  # the axial section; planes run from left to right
    drag(shown, (x - 40, y), (x + 40, y))
    code = "print(json.dumps([at for at, plane in enumerate(viewer.mask.values) if plane.any()]))"
    planes = shown.wait_for(code, lambda now: now and now[-1] > 120)  # each plane comes by itself
    assert planes == list(range(planes[0], planes[-1] + 1))
    assert planes[0] < 70
    assert shown.python("print(json.dumps(viewer.position))") == {"z": 98}  # nothing jumped


def test_a_mask_from_python_is_shown_and_is_there_when_the_series_is_viewed_again(shown: Any) -> None:
    shown.python(
        """
viewer.window = (700, 1400)
mask = np.zeros(viewer.array.shape, np.uint8)
mask[90:110, 100:140, 100:140] = 2
viewer.mask = mask
viewer.segments = [{"number": 2, "label": "core", "color": [255, 0, 255]}]
print(0)
""".replace("viewer.window", "import numpy as np; viewer.window", 1)
    )
    magenta = """() => {
        const canvas = document.querySelector('.wb-view canvas');
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let at = 0; at < data.length; at += 4) count += data[at] > 60 && data[at + 1] < data[at] / 2;
        return count > 500;
    }"""
    shown.page.wait_for_function(magenta)
    assert shown.page.get_by_label("Segment", exact=True).locator("option").all_text_contents() == [
        "2 · core"
    ]
    shown.run()  # opens the bench and the series anew
    shown.wait_for("print(json.dumps(int((viewer.mask == 2).sum())))", lambda now: now == 20 * 40 * 40)
    shown.viewers()
    shown.page.wait_for_function(magenta)
    sums = "print(json.dumps([int((viewer.mask == label).sum()) for label in (1, 2)]))"
    shown.python("viewer.mask = viewer.mask // 2; print(0)")
    undo, redo = (shown.page.get_by_label(each, exact=True) for each in ("undo", "redo"))
    for button, expected in ((undo, [0, 32_000]), (redo, [32_000, 0]), (undo, [0, 32_000])):
        button.click()
        shown.wait_for(sums, lambda now, expected=expected: now == expected)
    shown.page.wait_for_function(magenta)
    segments = "print(json.dumps([[each['number'] for each in viewer.segments], viewer.widget.segment]))"
    shown.python("viewer.tool = 'brush'; print(0)")
    shown.page.get_by_label("add a segment").click()
    shown.wait_for(segments, lambda now: now == [[2, 3], 3])
    undo.click()
    shown.wait_for(segments, lambda now: now == [[2], 2])
    redo.click()
    shown.wait_for(segments, lambda now: now == [[2, 3], 3])


def test_a_voi_lut_of_the_header_is_drawn_as_it_is_printed_and_stays_when_dragged(
    open_notebook: Open, tmp_path: Path
) -> None:
    bands = np.repeat(np.arange(16, dtype=np.uint16) * 64, 4)
    phantom = phantoms.write_series(
        tmp_path / "cr", stored=np.broadcast_to(bands, (3, 64, 64)), intercept=0, spacing=(0.8, 0.8)
    )
    table = (4095 * (np.arange(1024) / 1023) ** 0.4).astype(np.uint16)
    for path in phantom.paths:
        ds = pydicom.dcmread(path)
        item = pydicom.Dataset()
        item.add_new("LUTDescriptor", "US", [1024, 0, 12])
        item.add_new("LUTData", "US", table.tolist())
        item.LUTExplanation = "<b>gamma</b>"
        ds.VOILUTSequence = [item]
        ds.save_as(path)
    notebook = open_notebook(OPEN.format(home=str(tmp_path / "bench"), folder=str(tmp_path / "cr")))
    notebook.run()
    notebook.viewers()
    row = """() => {
        const canvas = document.querySelector('.wb-view canvas');
        const { width, height } = canvas;
        const side = Math.min(width, height);
        const { data } = canvas.getContext('2d').getImageData((width - side) / 2, height / 2, side, 1);
        return Array.from({ length: 16 }, (_, at) => data[4 * Math.round((at + 0.5) * side / 16)]);
    }"""
    wanted = table[np.arange(16) * 64] / 4095 * 255
    notebook.until(
        lambda: notebook.page.evaluate(row), lambda now: np.abs(np.array(now) - wanted).max() <= 3, "the row"
    )
    expect(notebook.page.get_by_label("Window", exact=True).locator("option:checked")).to_have_text(
        "<b>gamma</b> (512 / 1024)"
    )
    notebook.python("viewer.inverted = True; print(0)")
    inverted = f"wanted => Math.abs(({row})()[15] - wanted) < 4"
    notebook.page.wait_for_function(inverted, arg=255 - wanted[15])
    notebook.python("viewer.inverted = False; viewer.window = (512, 1024); print(0)")  # by numbers: linear
    notebook.page.wait_for_function(f"wanted => Math.abs(({row})()[8] - wanted) < 4", arg=8 * 64 / 1023 * 255)
    notebook.python("viewer.window = '<b>gamma</b>'; print(0)")
    notebook.page.wait_for_function(f"wanted => Math.abs(({row})()[8] - wanted) < 4", arg=wanted[8])
    x, y = cell(notebook)
    drag(notebook, (x, y), (x + 40, y))
    center, width = notebook.wait_for("print(json.dumps(viewer.window))", lambda now: abs(now[1] - 1024) > 10)
    at = (np.arange(16) * 64 - (center - width / 2)) / (width - 1)
    now = np.interp(at, np.linspace(0, 1, 1024), table / 4095 * 255)
    notebook.page.wait_for_function(f"wanted => Math.abs(({row})()[4] - wanted) < 4", arg=now[4])


def test_sending_says_in_the_cell_how_far_it_came(open_notebook: Open, fruit: dict[str, str]) -> None:
    Path(fruit["home"], "workbench.toml").write_text(
        """[nodes.PACS]
host = "127.0.0.1"
port = 9
ae_title = "NOBODY"
may = ["store"]
"""
    )
    notebook = open_notebook(OPEN.format(**fruit))
    notebook.run()
    notebook.viewers()
    post = notebook.page.locator(".wb-post")
    post.get_by_label("Where it is sent").wait_for()
    post.get_by_role("button", name="Send").click()
    status = notebook.page.locator(".wb-status")
    notebook.page.wait_for_function(
        "document.querySelector('.wb-status').textContent.startsWith('not sent: ')"
    )
    expect(status).to_have_text("not sent: there is no mark to report; draw one first")


def test_values_over_time_are_drawn_below_the_image_and_follow_the_slider(open_notebook: Open) -> None:
    notebook = open_notebook(
        """
import json, numpy as np, xarray as xr
from workbench.widgets.viewer import Viewer
seconds = xr.Variable("time", np.arange(20) * 0.5, {"units": "s"})
rising = np.arange(20)[:, None, None] * 10 + np.zeros((20, 64, 64))
viewer = Viewer(xr.DataArray(rising.astype(np.int16), dims=("time", "y", "x"), coords={"time": seconds}))
viewer.window = (100, 200)
viewer.tool = "rectangle"
viewer
"""
    )
    notebook.run()
    notebook.viewers()
    expect(notebook.page.locator(".wb-chart")).to_be_hidden()
    x, y = cell(notebook)
    drag(notebook, (x - 40, y - 40), (x + 40, y + 40))
    caption = notebook.page.locator(".wb-caption")
    caption.wait_for()
    expect(caption).to_have_text("5 s: rectangle 100 (0 … 190)")
    notebook.python("viewer.position = {'time': 3}; print(0)")
    notebook.page.wait_for_function(
        "document.querySelector('.wb-caption').textContent === '1.5 s: rectangle 30 (0 … 190)'"
    )
    expect(notebook.page.locator(".wb-readout")).to_have_text("30")  # below a mouse that rests
    texts = notebook.page.locator(".wb-view svg text")
    expect(texts).to_contain_text("Mean: 30")  # what is followed is seen at all times
    notebook.python("viewer.tool = 'length'; print(0)")
    notebook.page.wait_for_selector(".wb-tool[aria-label=length][aria-pressed=true]")
    drag(notebook, (x - 40, y + 60), (x + 40, y + 60))
    expect(texts).to_have_count(2)
    notebook.python("viewer.position = {'time': 7}; print(0)")
    expect(texts).to_contain_text(["Mean: 70"])  # and nothing else: a length is of its own time
    curve = notebook.python(
        "print(json.dumps([viewer.curves.index.name, viewer.curves['rectangle'].tolist()]))"
    )
    assert curve == ["time / s", [each * 10.0 for each in range(20)]]
    notebook.shot("curve")
