"""What is laid over the images of a viewer, in a real browser: where it lies, its values, its controls."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from scipy import ndimage

from pipelines import phantoms
from pipelines.samples.volumes import pet

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

type Open = Callable[..., Any]

READOUT = re.compile(r"([LR]) ([\d.]+) ([PA]) ([\d.]+) ([HF]) ([\d.]+) mm · (.*)")

PET_ON_CT = """
import json, workbench
from pathlib import Path
import numpy as np
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
ct, pt = bench.series(modality="CT")[0], bench.series(modality="PT")[0]
suv = bench.volume(pt).dicom.suv()
viewer = bench.view(ct)
viewer.overlay(suv, window=(4, 8), name="<b>PET</b>")
viewer
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PET, and a CT whose planes lie obliquely through the sphere in it."""
    folder = tmp_path_factory.mktemp("archive")
    pet(folder / "pet")
    turn = np.array([[0.8, 0.6, 0], [-0.48, 0.64, 0.6]])
    normal = np.cross(*turn)
    middle = np.array([-10, -20, 30]) + np.array([95, 95, 19]) / 2 * 3.0
    origin = middle - 79 / 2 * 1.5 * turn[0] - 95 / 2 * 1.5 * turn[1] - 11.5 * 2.5 * normal
    phantoms.write_series(
        folder / "ct", planes=24, rows=96, columns=80, spacing=(1.5, 1.5), distance=2.5, study="samples",
        origin=tuple(origin.tolist()), orientation=tuple(turn.ravel().tolist()),
    )  # fmt: skip
    return folder


@pytest.fixture
def fused(open_notebook: Open, archive: Path, home: Path) -> Any:
    notebook = open_notebook(PET_ON_CT.format(home=str(home), folder=str(archive)), height=1300)
    notebook.run()
    notebook.viewers()
    await_overlays(notebook, 1)
    return notebook


def await_overlays(notebook: Any, count: int) -> None:
    """Wait until something is drawn over so many images, with all of its planes."""
    notebook.page.wait_for_function(
        """count => [...document.querySelectorAll('canvas.wb-overlay')].filter(canvas => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return canvas.dataset.drawn === 'true' && data.some((value, at) => at % 4 === 3 && value > 0);
        }).length === count""",
        arg=count,
    )


def pixels(notebook: Any, number: int = 0) -> np.ndarray:
    """Red, green, blue and opacity of what is drawn over an image; shape (rows, columns, 4)."""
    url = notebook.page.evaluate(
        "number => document.querySelectorAll('canvas.wb-overlay')[number].toDataURL('image/png')", number
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA"))


def said_at(notebook: Any, view: int, part: tuple[float, float]) -> tuple[np.ndarray, list[str]]:
    """What is said below the mouse at a part of a view: the place in LPS mm, and the values."""
    box = notebook.page.locator(".wb-view").nth(view).bounding_box()
    x, y = box["x"] + part[0] * box["width"], box["y"] + part[1] * box["height"]
    notebook.page.mouse.move(x - 1, y)
    notebook.page.mouse.move(x, y)
    text = notebook.page.locator(".wb-readout").text_content()
    found = READOUT.fullmatch(text)
    assert found is not None, text
    signs = [1 if letter in "LPH" else -1 for letter in found.groups()[:6:2]]
    place = np.array([float(each) for each in found.groups()[1:6:2]]) * signs
    return place, found.group(7).split(" · ")


def test_a_pet_lies_on_a_ct_where_it_lies_in_the_patient_with_its_values(fused: Any, tmp_path: Path) -> None:
    fused.python(
        f"""
np.savez({str(tmp_path / "values.npz")!r}, affine=suv.dicom.affine_lps, values=suv.values,
         ct_affine=viewer.array.dicom.affine_lps, ct=viewer.array.values)
print(0)"""
    )
    with np.load(tmp_path / "values.npz") as kept:
        affine, values, ct_affine, ct = (kept[each] for each in ("affine", "values", "ct_affine", "ct"))

    def check(view: int, parts: list[tuple[float, float]]) -> None:
        for part in parts:
            place, (hounsfield, uptake) = said_at(fused, view, part)
            found = re.fullmatch(r"<b>PET</b> ([-\d.e]+) g/ml\{SUVbw\}", uptake)
            assert found is not None, uptake
            at = (np.linalg.inv(affine) @ (*place, 1))[2::-1]
            around = [  # places are said to 0.1 mm
                ndimage.map_coordinates(values, (at + step)[:, None], order=1)[0]
                for step in 0.05 / 3 * np.array([*np.ndindex(3, 3, 3)]) - 0.05 / 3
            ]
            assert min(around) * 0.999 - 1e-3 <= float(found[1]) <= max(around) * 1.001 + 1e-3
            column, row, plane = (np.linalg.inv(ct_affine) @ (*place, 1))[:3]
            near = {
                ct[tuple(np.rint((plane, row + dy, column + dx)).astype(int))]
                for dy in (-0.1, 0, 0.1)
                for dx in (-0.1, 0, 0.1)
            }
            assert any(hounsfield == f"{value:g} HU" for value in near), (hounsfield, near)

    check(0, [(0.5, 0.5), (0.42, 0.3), (0.55, 0.71), (0.46, 0.62)])
    fused.page.locator(".wb-legend").scroll_into_view_if_needed()
    fused.shot("overlay-stack")
    before = pixels(fused)
    fused.python("viewer.position = {'z': 3}; print(0)")
    fused.page.wait_for_function("document.querySelector('.wb-value').textContent.startsWith('4 of 24')")
    await_overlays(fused, 1)
    check(0, [(0.5, 0.5), (0.45, 0.62)])
    fused.until(lambda: pixels(fused), lambda now: not np.array_equal(now, before))
    fused.python("viewer.layout = 'mpr'; print(0)")
    fused.page.wait_for_selector(".wb-viewer[data-state=ready][data-layout=mpr]")
    await_overlays(fused, 3)
    assert fused.python("print(json.dumps(viewer.position))") == {"z": 3}
    for view in range(3):
        place, said = said_at(fused, view, (0.5, 0.5))
        at = (np.linalg.inv(affine) @ (*place, 1))[2::-1]
        wanted = ndimage.map_coordinates(values, at[:, None], order=1)[0]
        assert float(said[-1].split()[1]) == pytest.approx(wanted, rel=0.05)
    fused.shot("overlay-mpr")


def test_colours_are_those_of_the_window_and_the_controls_of_the_cell_are_pythons_state(fused: Any) -> None:
    fused.python(
        """
from dataclasses import replace
viewer.overlays = [replace(each, colormap="gray", opacity=1) for each in viewer.overlays]
print(0)"""
    )
    fused.page.wait_for_function(
        "document.querySelector('.wb-overlay-row .wb-range').getAttribute('aria-valuetext') === '100 %'"
    )
    box = fused.page.locator(".wb-view").first.bounding_box()
    said = [said_at(fused, 0, (x, 0.5))[1] for x in (0.45, 0.5, 0.55)]
    shown = pixels(fused)
    for part, (_, uptake) in zip((0.45, 0.5, 0.55), said, strict=True):
        x, y = int(part * box["width"]), int(0.5 * box["height"])
        value = float(uptake.split()[1])
        assert shown[y, x, 0] == pytest.approx(256 * value / 8, abs=6)  # the window goes from 0 to 8
        assert shown[y, x, 3] == 255
    row = fused.page.locator(".wb-overlay-row")
    expect(row.locator(".wb-text")).to_have_text("<b>PET</b>")  # as text
    expect(row.locator(".wb-end")).to_have_text(["0", "8 g/ml{SUVbw}"])
    row.locator(".wb-range").fill("0.25")
    fused.wait_for("print(json.dumps(viewer.overlays[0].opacity))", lambda now: now == 0.25)
    fused.page.wait_for_function(
        """() => {
            const canvas = document.querySelector('canvas.wb-overlay');
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return data.reduce((most, value, at) => (at % 4 === 3 ? Math.max(most, value) : most), 0) === 64;
        }"""
    )
    row.locator(".wb-shown").uncheck()
    fused.wait_for("print(json.dumps(viewer.overlays[0].is_shown))", lambda now: not now)
    expect(fused.page.locator("canvas.wb-overlay")).to_have_count(0)
    row.locator(".wb-shown").check()
    await_overlays(fused, 1)
    fused.python("viewer.remove_overlay('<b>PET</b>'); print(0)")
    fused.page.wait_for_selector(".wb-legend", state="hidden")
    expect(fused.page.locator("canvas.wb-overlay")).to_have_count(0)


def test_a_series_of_the_bench_comes_from_the_server_also_while_the_kernel_is_at_work(fused: Any) -> None:
    asked: list[str] = []
    fused.page.on("request", lambda request: asked.append(request.url))
    fused.python("viewer.overlays = []; viewer.overlay(pt, colormap='jet', opacity=0.7); print(0)")
    await_overlays(fused, 1)
    key = fused.python("print(json.dumps(viewer.widget.overlays[0]['key']))")
    planes = [each for each in asked if f"/workbench/arrays/{key}/planes/" in each]
    assert 0 < len(planes) <= 20
    fused.page.evaluate(
        """() => { jupyterapp.shell.currentWidget.sessionContext.session.kernel
            .requestExecute({ code: 'while True: pass' }); }"""
    )
    before = pixels(fused)
    fused.page.locator(".wb-view").first.focus()
    for _ in range(6):
        fused.page.keyboard.press("ArrowDown")
    fused.page.wait_for_function("document.querySelector('.wb-value').textContent.startsWith('19 of 24')")
    await_overlays(fused, 1)
    fused.until(lambda: pixels(fused), lambda now: not np.array_equal(now, before))
    fused.page.evaluate(
        "async () => { await jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt(); }"
    )
    fused.wait_for("print(json.dumps(viewer.position['z']))", lambda now: now == 18)


def test_a_screenshot_shows_what_is_laid_over_the_images(fused: Any) -> None:
    fused.python("import base64; viewer.window = (100000, 1000); print(0)")  # all black
    fused.page.wait_for_function("document.querySelector('.wb-corner').textContent.startsWith('W 1000 L')")
    picture = fused.python(
        """
print(json.dumps(base64.b64encode(viewer.screenshot()).decode()))"""
    )
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")).astype(int)
    reddish = (shown[..., 0] - shown[..., 2]) > 60
    assert np.count_nonzero(reddish) > 1000  # of the sphere, in the colours `hot`
    drawn = pixels(fused)
    assert np.count_nonzero(reddish) == pytest.approx(
        np.count_nonzero((drawn[..., 0].astype(int) - drawn[..., 2]) * (drawn[..., 3] / 255) > 60), rel=0.1
    )


DOSE = """
import json, workbench
import numpy as np
bench = workbench.open({home!r})
bench.index({mr!r}, {dose!r}, quiet=True)
mr = next(each for each in bench.series(modality="MR") if each.instances == 196)
dose = bench.volume(bench.series(modality="RTDOSE")[0])
viewer = bench.view(mr)
to = viewer.array.dicom.to_lps((128, 128, 98)) - dose.dicom.to_lps((4.5, 4.5, 7))
transform = np.eye(4)
transform[:3, 3] = to
viewer.overlay(dose, name="dose", transform=transform, window=(0.6, 1.2), colormap="jet")
viewer
"""


def test_a_dose_lies_by_its_registration_on_an_image_of_another_frame_of_reference(
    open_notebook: Open, shared_data: Path, home: Path
) -> None:
    folder = shared_data / "volumes" / "mr_t1_sag_ge_196"
    dose = shared_data / "objects" / "rt_small"
    notebook = open_notebook(DOSE.format(home=str(home), mr=str(folder), dose=str(dose)), height=1300)
    notebook.run()
    notebook.viewers()
    await_overlays(notebook, 1)
    values, affine, shift = (
        np.array(each)
        for each in notebook.python(
            "print(json.dumps([dose.values.tolist(), dose.dicom.affine_lps.tolist(), to.tolist()]))"
        )
    )
    for part in ((0.5, 0.5), (0.45, 0.4), (0.55, 0.6)):
        place, said = said_at(notebook, 0, part)
        at = (np.linalg.inv(affine) @ (*(place - shift), 1))[2::-1]
        wanted = ndimage.map_coordinates(values, at[:, None], order=1, mode="nearest")[0]
        name, value, unit = said[-1].split()
        assert (name, unit) == ("dose", "relative")  # what Dose Units say
        assert float(value) == pytest.approx(wanted, abs=0.01)
    notebook.page.locator(".wb-legend").scroll_into_view_if_needed()
    notebook.shot("overlay-dose")


SEG = """
import json, workbench
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
viewer = bench.view(bench.series(modality="CT")[0])
liver = next(each for each in bench.series() if each.series_description == "Liver Segmentation")
viewer.overlay(liver, opacity=0.4)
viewer.position = {{"z": 1}}
viewer
"""


def test_a_segmentation_lies_on_its_images_with_the_names_of_its_segments(
    open_notebook: Open, shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "objects" / "seg"
    notebook = open_notebook(SEG.format(home=str(tmp_path / "bench"), folder=str(folder)), height=1300)
    notebook.run()
    notebook.viewers()
    await_overlays(notebook, 1)
    expect(notebook.page.locator(".wb-label")).to_have_text(["1 Liver"])
    labels, spacing = notebook.python(
        "print(json.dumps([int((viewer.overlays[0].array[1] > 0).sum()), viewer.scene.pixel_spacing]))"
    )
    box = notebook.page.locator(".wb-view").first.bounding_box()
    left, _ = said_at(notebook, 0, (0.4, 0.5))
    right, _ = said_at(notebook, 0, (0.6, 0.5))
    mm = np.linalg.norm(right - left) / (0.2 * box["width"])  # a pixel of the cell
    drawn = np.count_nonzero(pixels(notebook)[..., 3])
    assert drawn * mm**2 == pytest.approx(labels * spacing[0] * spacing[1], rel=0.01)
    rows, columns = np.nonzero(pixels(notebook)[..., 3])
    middle = (columns[len(columns) // 2] + 0.5) / box["width"], (rows[len(rows) // 2] + 0.5) / box["height"]
    assert said_at(notebook, 0, middle)[1][-1].endswith("Liver")
    notebook.page.locator(".wb-legend").scroll_into_view_if_needed()
    notebook.shot("overlay-labels")


STRUCTURES = """
import json, numpy as np, workbench
from pipelines.objects.structures import Contour, Structure
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
viewer = bench.view(bench.series()[0])
frame = viewer.array.dicom.frame_of_reference_uid

def square(name, side, colour):
    low, high = 128 - side, 128 + side
    corners = [(low, low), (high, low), (high, high), (low, high)]
    contours = tuple(
        Contour("CLOSED_PLANAR", viewer.array.dicom.to_lps([(x, y, plane) for x, y in corners]), ())
        for plane in range(95, 102)
    )
    return Structure(0, name, colour, contours, frame, "", "")

viewer.overlay_structures([square("PTV", 50.5, (255, 0, 0)), square("GTV", 20.5, (0, 0, 255))], opacity=1)
viewer
"""


def test_regions_of_a_structure_set_lie_over_each_other_with_their_names_and_colours(
    open_notebook: Open, fruit: dict[str, str]
) -> None:
    notebook = open_notebook(STRUCTURES.format(**fruit), height=1300, has_card=False)
    notebook.run()
    notebook.viewers()
    await_overlays(notebook, 1)
    expect(notebook.page.locator(".wb-label")).to_have_text(["1 PTV", "2 GTV"])
    assert notebook.python("print(json.dumps([each.name for each in viewer.overlays]))") == [
        "regions", "regions 2",
    ]  # fmt: skip

    def areas() -> tuple[int, int]:
        shown = pixels(notebook).astype(int)
        red, blue = (shown[..., 0] > 200), (shown[..., 2] > 200)
        return int(np.count_nonzero(red & ~blue)), int(np.count_nonzero(blue & ~red))

    red, blue = notebook.until(areas, lambda now: min(now) > 0, "red and blue")
    assert red / blue == pytest.approx((101**2 - 41**2) / 41**2, rel=0.05)
    assert said_at(notebook, 0, (0.5, 0.5))[1][-2:] == ["regions PTV", "regions 2 GTV"]
    notebook.page.locator(".wb-legend").scroll_into_view_if_needed()
    notebook.shot("overlay-structures")
    notebook.python("viewer.overlay_structures([square('cord', 10.5, None)]); print(0)")
    expect(notebook.page.locator(".wb-label")).to_have_text(["1 cord"])  # no layer of before is left
    said = notebook.python(
        """
try:
    viewer.overlay_structures([])
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))"""
    )
    assert said == [
        "QuestionError", "none of these regions encloses a voxel of the images that are shown",
    ]  # fmt: skip
