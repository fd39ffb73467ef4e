"""A video plays in the cell: the true frames at their true times, stopped and stepped through."""

import math
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from pipelines.samples.moving import VIDEO_FRAMES, VIDEO_RATE
from pipelines.samples.table import SAMPLES

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

type Open = Callable[..., Any]

OPEN = """
import json, workbench
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
viewer = bench.view(bench.series()[0])
viewer
"""
SPOT = """() => {
    const canvas = document.querySelector('.wb-view canvas');
    const { width, height } = canvas;
    const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
    const scale = Math.min(width / 160, height / 128);
    let [count, x, y] = [0, 0, 0];
    for (let at = 0; at < data.length; at += 4) {
        if (Math.min(data[at], data[at + 1], data[at + 2]) > 150) {
            count += 1;
            x += (at / 4) % width;
            y += Math.floor(at / 4 / width);
        }
    }
    return [(x / count - width / 2) / scale + 80, (y / count - height / 2) / scale + 64];
}"""
"""Middle of the bright spot, in pixels of the video."""
BUSY_S = 0.4
"""How long a page may draw between choosing a frame and looking at the clock."""
WATCH = """async milliseconds => {
    const input = document.querySelector('.wb-range');
    const seen = [];
    const start = performance.now();
    while (performance.now() - start < milliseconds) {
        await new Promise(resolve => requestAnimationFrame(resolve));
        if (seen.length === 0 || seen.at(-1)[1] !== Number(input.value)) {
            seen.push([performance.now(), Number(input.value)]);
        }
    }
    return seen;
}"""


def test_an_endoscopy_in_h264_plays_at_its_true_times_and_is_stepped_through(
    open_notebook: Open, tmp_path: Path
) -> None:
    (folder := tmp_path / "archive").mkdir()
    next(each for each in SAMPLES if each.name == "video").write(folder)
    notebook = open_notebook(OPEN.format(home=str(tmp_path / "bench"), folder=str(folder)))
    notebook.run()
    notebook.viewers()
    page = notebook.page
    assert notebook.python("print(json.dumps(viewer.position))") == {"time": 37}

    def assert_spot(frame: int) -> None:
        angle = 2 * math.pi * frame / VIDEO_FRAMES
        wanted = 80 + 40 * math.cos(angle), 64 + 40 * math.sin(angle)
        notebook.until(lambda: page.evaluate(SPOT), lambda now: math.dist(now, wanted) < 2, f"frame {frame}")

    assert_spot(37)
    page.locator(".wb-view").first.focus()
    page.keyboard.press("ArrowDown")
    notebook.wait_for("print(json.dumps(viewer.position))", lambda now: now == {"time": 38})
    assert_spot(38)
    notebook.shot("video")

    notebook.python("viewer.playing = True; print(0)")
    page.wait_for_function("document.querySelector('[aria-label=play]').ariaPressed === 'true'")
    seen = page.evaluate(WATCH, 4000)
    frames = [seen[0][1]]
    for (before, _), (moment, frame) in pairwise(seen):
        step = (frame - frames[-1]) % VIDEO_FRAMES
        rounds = round(((moment - before) / 1000 * VIDEO_RATE - step) / VIDEO_FRAMES)
        frames.append(frames[-1] + step + rounds * VIDEO_FRAMES)  # it begins anew at its end
    seconds = [moment / 1000 for moment, _ in seen]
    assert seconds[-1] - seconds[0] > 2
    for first, last in combinations(range(1, len(seen)), 2):
        # a frame is chosen after the one before was seen, and seen after it was chosen
        shortest, longest = seconds[last - 1] - seconds[first], seconds[last] - seconds[first - 1]
        played = (frames[last] - frames[first]) / VIDEO_RATE
        assert shortest - BUSY_S < played < longest + BUSY_S, (first, last)

    page.keyboard.press(" ")
    notebook.wait_for("print(json.dumps(viewer.playing))", lambda now: now is False)
    notebook.python("viewer.position = {'time': 10}; print(0)")
    assert_spot(10)
