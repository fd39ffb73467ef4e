"""How images lie in their cells: turned, flipped, near or far, and what of them is hidden."""

import math
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from catalog.errors import QuestionError
from workbench.widgets.wire import VIEWS, Wire

LYING: dict[str, Any] = {
    "rotation": 0,
    "zoom": 1,
    "pan": [0, 0],
    "flip_horizontal": False,
    "flip_vertical": False,
}
"""An image that lies in its cell as it came."""


class Lying:
    """The part of a viewer that says how its images lie."""

    widget: Wire

    @property
    def camera(self) -> dict[str, dict[str, Any]]:
        """How each view lies in its cell, by its name (`planes`, `axial` …); empty before it was shown.

        `rotation` is clockwise in degrees, of what is flipped before (`flip_horizontal`, `flip_vertical`);
        `zoom` 1 is the whole image, `pan` right and down in pixels of the cell at zoom 1. What is left out
        when it is set stays. `area` (left, top, right and bottom in pixels, the first from 0 to 1) shows that
        part of the planes as large as the cell allows; where it is shown, it has become `zoom` and `pan`.
        """
        return {name: dict(each) for name, each in self.widget.camera.items()}

    @camera.setter
    def camera(self, wanted: Mapping[str, Mapping[str, Any]]) -> None:
        cameras = self.camera
        views = tuple(each for names in VIEWS.values() for each in names)
        for name, changes in wanted.items():
            camera = dict(cameras.get(one_of(name, views, "view"), LYING))
            for each in changes:
                one_of(each, (*LYING, "area"), "part of a camera")
            camera.pop("area", None)
            cameras[name] = camera | dict(changes)
            if "area" in changes:
                cameras[name]["area"] = _area(name, changes["area"])
        self.widget.camera = cameras

    @property
    def shutter(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """Polygons, column and row of each corner in pixels; outside any of them planes are black.

        The first pixel goes from 0, 0 to 1, 1. Nothing is hidden where there is none, and nothing that is
        hidden is measured otherwise. Sections have no shutter (PS3.3 C.7.6.11 has it on images).
        """
        return tuple(tuple((column, row) for column, row in each) for each in self.widget.shutter)

    @shutter.setter
    def shutter(self, wanted: Iterable[Iterable[tuple[float, float]]]) -> None:
        polygons = [[[float(column), float(row)] for column, row in each] for each in wanted]
        for each in polygons:
            if len(each) < 3 or not all(map(math.isfinite, chain.from_iterable(each))):
                raise QuestionError(
                    "a shutter is of polygons, and each has three corners or more: column and row"
                )
        self.widget.shutter = polygons


def _area(view: str, wanted: Iterable[float]) -> list[float]:
    area = [float(each) for each in wanted]
    if view != "planes":
        raise QuestionError(f"the area of a camera is one of planes, not of {view}")
    if len(area) != 4 or not all(map(math.isfinite, area)) or area[0] >= area[2] or area[1] >= area[3]:
        raise QuestionError("an area is left, top, right and bottom in pixels: (0, 0, 256, 128)")
    return area


def one_of(name: str, known: tuple[str, ...], what: str) -> str:
    """Return a name that is known.

    Raises
    ------
    catalog.errors.QuestionError
        If it is none.
    """
    if name not in known:
        raise QuestionError(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return name
