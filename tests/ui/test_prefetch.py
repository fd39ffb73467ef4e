"""Planes come before they are asked for, and no series comes whole unasked."""

import re
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

type Open = Callable[..., Any]

OPEN = """
import json, workbench
bench = workbench.open({home!r})
bench.index({folder!r}, quiet=True)
series = bench.series()[0]
bench.ingest(series)
"""
PICTURES = """() => [...document.querySelectorAll('.wb-view canvas')].map(canvas =>
    [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data])"""


@pytest.fixture
def opening(fruit: dict[str, str]) -> str:
    return OPEN.format(**fruit)


def asked_for(notebook: Any) -> list[int]:
    """Collects the planes that the page asks the server for."""
    planes: list[int] = []

    def heard(request: Any) -> None:
        if found := re.search(r"/planes/(\d+)(\?|$)", request.url):
            planes.append(int(found[1]))

    notebook.page.on("request", heard)
    return planes


def await_planes(notebook: Any, planes: list[int], wanted: set[int]) -> None:
    """Wait until these were asked for; no others are."""
    notebook.until(lambda: set(planes), lambda now: now >= wanted)
    assert set(planes) == wanted


def test_planes_around_the_one_that_is_shown_come_ahead_and_not_the_whole_series(
    open_notebook: Open, opening: str
) -> None:
    notebook = open_notebook(opening, "viewer = bench.view(series)\nviewer")
    planes = asked_for(notebook)
    notebook.run()
    notebook.viewers()
    await_planes(notebook, planes, set(range(83, 144)))  # three quarters lie in the way it goes
    assert planes[0] == 98
    notebook.python("viewer.position = {'z': 97}; print(0)")
    await_planes(notebook, planes, set(range(52, 144)))  # now it goes the other way
    assert len(planes) == len(set(planes))  # none is asked for twice


def test_planes_packed_for_a_line_are_the_planes_that_lie_in_the_kernel(
    open_notebook: Open, opening: str
) -> None:
    show = "viewer = bench.view({})\nviewer.window = (700, 1400)\nviewer"
    notebook = open_notebook(opening, show.format("series"), show.format("bench.volume(series) + 0"))
    packed: list[str] = []
    notebook.page.on("request", lambda each: packed.append(each.url) if "?packed=" in each.url else None)
    notebook.run()
    notebook.viewers(2)
    assert packed
    from_server, from_kernel = notebook.page.evaluate(PICTURES)
    assert sum(each > 40 for each in from_server) > 10_000
    assert max(abs(one - other) for one, other in zip(from_server, from_kernel, strict=True)) <= 1
