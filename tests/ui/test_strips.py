"""Strips of waveforms in a cell: the real ECG, a pulse whose place is known, a day of Holter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

type Open = Callable[..., Any]

ECG = """
import json, workbench
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
viewer = bench.view(bench.series()[0], 0)
viewer
"""
PULSE = """
import json, numpy as np, xarray as xr, workbench
bench = workbench.open({home!r})
values = np.zeros((1, 10_000))
values[0, 2000:4000] = 1000  # one millivolt from 2 to 4 s
coords = {{"channel": ["<b onclick=alert(1)>II</b>"], "time": np.arange(10_000) / 1000}}
viewer = bench.view(xr.DataArray(values, dims=("channel", "time"), coords=coords, attrs={{"units": "uV"}}))
viewer
"""
HOLTER = """
import json, dask.array as da, numpy as np, xarray as xr, workbench
bench = workbench.open({home!r})
count, at = 24 * 3600 * 250, 13_579_247  # a day at 250 Hz; one sample of 5 mV

def spiked(block, block_info=None):
    first, last = block_info[0]["array-location"][1]
    if first <= at < last:
        block = block.copy()
        block[1, at - first] = 5
    return block

values = da.map_blocks(spiked, da.zeros((3, count), chunks=(3, 1 << 20)), dtype=float, meta=np.zeros((0, 0)))
holter = xr.DataArray(values, dims=("channel", "time"),
                      attrs={{"units": "mV", "sampling_frequency_hz": 250.0}})
viewer = bench.view(holter)
viewer.speed = 0.003
viewer
"""
INK = """() => {
    const canvas = document.querySelector('.wb-paper');
    const { width, height } = canvas;
    const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
    const ink = [];
    for (let at = 0; at < data.length; at += 4) {
        if (data[at] < 90 && data[at + 1] < 90 && data[at + 2] < 90) {
            ink.push([(at / 4) % width, Math.floor(at / 4 / width)]);
        }
    }
    return ink;
}"""
"""Pixels of curves and words, dark on light paper: [from the left, from the top]."""
MM = 96 / 25.4
PULSE_MM, HEAD_MM = 9, 12
"""Before and above the curves, as `extensions/src/paper.ts` has them."""


def opened(open_notebook: Open, cell: str) -> Any:
    notebook = open_notebook(cell)
    notebook.run()
    notebook.viewers()
    return notebook


def test_the_real_ecg_is_read_scrolled_and_zoomed_and_python_knows(
    open_notebook: Open, shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "objects" / "waveform"
    notebook = opened(open_notebook, ECG.format(home=str(tmp_path), folder=str(folder)))
    page = notebook.page
    paper = page.locator(".wb-paper")
    assert "12 strips, Lead I (Einthoven), Lead II" in paper.get_attribute("aria-label")
    notebook.until(lambda: len(page.evaluate(INK)), lambda now: now > 10_000)
    listed = page.locator(".wb-strips .wb-mark")
    expect(listed.first).to_have_text("RITMO SINUSALE")
    assert "0.298 s · P Onset" in listed.all_text_contents()
    notebook.shot("ecg")

    paper.focus()
    page.keyboard.press("+")
    notebook.wait_for("print(viewer.speed)", lambda now: now == 50)
    page.keyboard.press("End")
    end = notebook.wait_for("print(viewer.position)", lambda now: now > 4)
    page.mouse.wheel(0, -100)
    box = paper.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.wheel(0, -100)
    notebook.wait_for("print(viewer.position)", lambda now: now < end)
    page.wait_for_function("document.querySelector('.wb-strips .wb-status').textContent.includes('uV')")
    assert "0.298 s · P Onset" not in listed.all_text_contents()

    notebook.python("viewer.speed = 25; viewer.gain = 5; viewer.position = 5; print(0)")
    page.wait_for_function("document.querySelector('.wb-paper').ariaLabel.includes(': 5 s to 10 s of 10 s')")
    expect(page.get_by_label("Height of a millivolt")).to_have_value("5")
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 300 + 25 * MM, box["y"] + 200, steps=4)
    page.mouse.up()
    notebook.wait_for("print(viewer.position)", lambda now: now < 4.5)

    picture = notebook.python("print(json.dumps([viewer.screenshot()[:4].decode('latin1')]))")
    assert picture == ["\x89PNG"]


def test_the_paper_is_dark_where_the_page_is(open_notebook: Open, tmp_path: Path) -> None:
    notebook = opened(open_notebook, PULSE.format(home=str(tmp_path)))
    edge = "document.querySelector('.wb-paper').getContext('2d').getImageData(5, 5, 1, 1).data[0]"
    notebook.page.wait_for_function(f"{edge} > 200")
    notebook.theme("Dark")
    notebook.page.wait_for_function(f"{edge} < 50")
    notebook.shot("strips-dark")
    notebook.theme("Light")
    notebook.page.wait_for_function(f"{edge} > 200")


def test_a_millivolt_from_2_to_4_seconds_is_10_mm_high_and_50_mm_wide(
    open_notebook: Open, tmp_path: Path
) -> None:
    notebook = opened(open_notebook, PULSE.format(home=str(tmp_path)))
    name = '"<b onclick=alert(1)>II</b>"'
    assert notebook.page.evaluate(f"document.querySelector('.wb-paper').ariaLabel.includes({name})")
    expect(notebook.page.locator(".wb-viewer b")).to_have_count(0)
    foot = (HEAD_MM + 25 / 2) * MM
    ink = notebook.page.evaluate(INK)
    assert min(y for x, y in ink if x > 80 * MM) == pytest.approx(foot - 10 * MM, abs=1.5)  # beside the name
    edges = [x / MM for x, y in ink if abs(y - (foot - 5 * MM)) < 1]  # halfway up
    seconds = [(each - PULSE_MM) / 25 for each in edges if each > PULSE_MM]
    assert seconds == [pytest.approx(2 if each < 3 else 4, abs=0.02) for each in seconds]
    assert {round(each) for each in seconds} == {2, 4}
    calibration = [each for each in edges if each < PULSE_MM]
    assert max(calibration) - min(calibration) == pytest.approx(5, abs=0.5)  # 0.2 s
    notebook.shot("pulse")


def test_a_day_of_holter_fits_on_the_screen_and_the_one_beat_in_it_is_seen(
    open_notebook: Open, tmp_path: Path
) -> None:
    notebook = opened(open_notebook, HOLTER.format(home=str(tmp_path)))
    seconds = 13_579_247 / 250
    foot = (HEAD_MM + 25 * 1.5) * MM
    spike = [x for x, y in notebook.page.evaluate(INK) if foot - 40 * MM < y < foot - 30 * MM]
    there = {(x / MM - PULSE_MM) / 0.003 for x in spike if x > 60 * MM}  # names are at the left
    assert there
    assert max(abs(each - seconds) for each in there) < 300  # a pixel is 88 s
    notebook.shot("holter")
    notebook.python(f"viewer.speed = 25; viewer.position = {seconds - 2}; print(0)")
    notebook.page.wait_for_function("document.querySelector('.wb-paper').ariaLabel.includes('15:05:1')")
