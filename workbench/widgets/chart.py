"""What marks measure, and how values run over time: computed where these are, shown by the page."""

from dataclasses import asdict
from typing import Any

import xarray as xr

from catalog.errors import WorkbenchError
from pipelines.curves import Curve, curves_of
from pipelines.marks import Mark, mark_of
from workbench.widgets.wire import Wire


class Chart:
    """Keeps the traits `measured` and `curves` in step with what is drawn."""

    def __init__(self, wire: Wire, array: xr.DataArray) -> None:
        self._wire, self._array = wire, array
        wire.observe(self._drawn, "marks")

    def curves(self) -> list[Curve]:
        """Return the mean inside each mark over time."""
        return curves_of(self._marks(), self._array, self._wire.described)

    def _marks(self) -> list[Mark]:
        return [mark_of(each, self._array, self._wire.described) for each in self._wire.marks]

    def _drawn(self, _change: Any) -> None:
        try:
            marks = self._marks()
            curves = curves_of(marks, self._array, self._wire.described)
        except (WorkbenchError, OSError):  # of an array that cannot be read the image says so
            marks, curves = [], []
        self._wire.measured = {each.uid: _measured(each) for each in marks}
        self._wire.curves = [asdict(each) for each in curves]


def _measured(mark: Mark) -> dict[str, float]:
    """What a mark measures, by the names of `extensions/src/measures.ts`."""
    found = {"length": mark.length_mm, "angle": mark.angle_deg, "area": mark.area_mm2, "mean": mark.mean}
    return {name: value for name, value in found.items() if value is not None}
