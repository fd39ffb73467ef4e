"""Two viewers in one cell that move together, and the banner above the images, in a real browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from pipelines import phantoms

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PAIR = """
import json, workbench
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
found = {{each.series_description: each for each in bench.series()}}
pair = bench.compare(found["thick"], found["thin"])
pair
"""
PLANE = (
    "document.querySelectorAll('.wb-viewer')[{}].querySelector('.wb-value').textContent.startsWith('{} of')"
)


def test_a_prior_follows_by_the_place_in_the_patient_and_both_say_whose_images_they_are(
    open_notebook: Callable[..., Any], tmp_path: Path
) -> None:
    common = {"study": "one", "patient_name": "<b>Müller</b>^Änne"}
    phantoms.write_series(tmp_path / "archive" / "a", description="thick", planes=9, distance=5.0, **common)
    phantoms.write_series(
        tmp_path / "archive" / "b", description="thin", planes=41, distance=1.0, seed=1, **common
    )
    notebook = open_notebook(
        PAIR.format(home=str(tmp_path / "bench"), folder=str(tmp_path / "archive")), height=1300
    )
    notebook.run()
    notebook.viewers(2)
    page = notebook.page
    boxes = [page.locator(".wb-view").nth(number).bounding_box() for number in range(2)]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    page.wait_for_function(PLANE.format(1, 21))  # the fifth of the thick, 20 mm from the first
    page.mouse.move(boxes[0]["x"] + boxes[0]["width"] / 2, boxes[0]["y"] + 100)
    page.mouse.wheel(0, 100)
    page.wait_for_function(PLANE.format(0, 6))
    page.wait_for_function(PLANE.format(1, 26))
    page.locator(".wb-view").nth(1).focus()
    for _ in range(14):
        page.keyboard.press("ArrowUp")
    page.wait_for_function(PLANE.format(1, 12))
    page.wait_for_function(PLANE.format(0, 3))  # 10 mm, the nearest to 11 mm
    state = "print(json.dumps([pair.left.position, pair.right.position]))"
    notebook.wait_for(state, lambda now: now == [{"z": 2}, {"z": 11}])

    linked = page.locator(".wb-linked")
    assert linked.all_text_contents() == ["linked: both lie in one frame of reference"] * 2
    said = page.locator(".wb-banner").first
    assert said.locator(".wb-words").all_text_contents()[0] == "<b>Müller</b>, Änne"  # as text
    notebook.shot("pair")
    notebook.python("pair.left.banner = False; print(0)")
    said.wait_for(state="hidden")
    assert "Müller" not in page.locator(".wb-viewer").first.inner_html()
    expect(page.locator(".wb-banner").nth(1)).to_be_visible()
    notebook.python("pair.left.unlink(); pair.left.position = {'z': 8}; print(0)")
    page.wait_for_function(PLANE.format(0, 9))
    expect(linked.first).to_be_hidden()
    assert notebook.python(state) == [{"z": 8}, {"z": 11}]
