"""The windows that a viewer offers of an array: those of its header first, then the known ones; pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from catalog.errors import DecodeError
from pipelines.presentation.colour import table_function, table_range, voi_places, window_function

SHADES = 256
"""Samples of a curve."""
_NARROWEST = 1e-6
SIGMOID_WIDTHS = 4.0
"""How many Window Widths of a sigmoid its curve goes over: at its ends it is 0.0003 from black and white."""


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window in modality values: linear (PS3.3 C.11.2.1.2.1) or along a curve.

    Of an array of fractions both ends are where they are said to be (`exact`, PS3.3 C.11.2.1.3.2): between
    whole numbers a window of the other kind would be off by half of one, and none could be narrower than one.
    """

    center: float
    width: float
    name: str
    curve: tuple[float, ...] = ()
    """What is shown, black 0 and white 1, of values evenly from one end to the other; empty where linear."""


PRESETS: Mapping[str, Sequence[Window]] = {
    "CT": (
        Window(40, 400, "soft tissue"),
        Window(-600, 1500, "lung"),
        Window(480, 2500, "bone"),
        Window(40, 80, "brain"),
        Window(60, 160, "liver"),
        Window(300, 600, "angiography"),
    ),
    "PT": (Window(2.5, 5, "0 to 5"), Window(5, 10, "0 to 10")),
}
"""Windows people know by name, by Modality (0008,0060); of PT in SUV."""


def header_windows(header: Dataset) -> list[Window]:
    """Return VOI LUTs, then windows of a header, by their explanations (PS3.3 C.11.2).

    Those of enhanced objects are looked for in the shared groups, too. What cannot be applied is left out.
    """
    found: list[Window] = []
    for ds in voi_places(header):
        found += _tables(ds) + _windows(ds)
        if found:
            break
    return found


def preset_windows(modality: str, unit: str) -> Sequence[Window]:
    """Return the known windows for values of a modality; of PET where they are SUV."""
    return PRESETS.get(modality, ()) if modality != "PT" or unit.startswith("g/ml") else ()


def windows_of_values(values: npt.NDArray[Any]) -> list[Window]:
    """Return windows of what is in an image, where nothing else tells of any."""
    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    least, most = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    return [
        _between(float(low), float(high), "middle plane"),
        _between(float(least), float(most), "full range of the middle plane"),
    ]


def exact(window: Window) -> Window:
    """Return the window that shows the same, said as LINEAR_EXACT does (PS3.3 C.11.2.1.3.2)."""
    return replace(window, center=window.center - 0.5, width=max(window.width - 1, _NARROWEST))


def linear(center: float, width: float) -> tuple[float, float]:
    """Return center and width of a LINEAR window (PS3.3 C.11.2.1.2.1) that shows the same as an exact one."""
    return center + 0.5, width + 1


def _tables(ds: Dataset) -> list[Window]:
    found = []
    for at, item in enumerate(ds.get("VOILUTSequence") or ()):
        try:
            low, high = table_range(item)
            name = str(item.get("LUTExplanation") or f"VOI LUT {at + 1}")
            found.append(_along(low, high, name, table_function(item)))
        except (DecodeError, KeyError, ValueError, TypeError):
            continue
    return found


def _windows(ds: Dataset) -> list[Window]:
    centers, widths = (_several(ds.get(name)) for name in ("WindowCenter", "WindowWidth"))
    names = _several_texts(ds.get("WindowCenterWidthExplanation"))
    kind = str(ds.get("VOILUTFunction") or "LINEAR")
    found = []
    for at, (center, width) in enumerate(zip(centers, widths, strict=False)):
        name = names[at] if at < len(names) else f"header {at + 1}"
        if kind == "SIGMOID" and width > 0:
            reach = SIGMOID_WIDTHS * width / 2
            function = window_function(ds, at)
            assert function is not None
            found.append(_along(center - reach, center + reach, name, function))
        elif kind == "LINEAR_EXACT" and width > 0:
            found.append(_between(center - width / 2, center + width / 2, name))
        elif width >= 1:
            found.append(Window(center, width, name))
    return found


def _along(low: float, high: float, name: str, function: Callable[[Any], npt.NDArray[np.uint8]]) -> Window:
    shades = function(np.linspace(low, high, SHADES)) / 255
    return _between(low, high, name, tuple(np.round(shades, 4).tolist()))


def _between(low: float, high: float, name: str, curve: tuple[float, ...] = ()) -> Window:
    """A window whose first value is black, and whose last is white (PS3.3 C.11.2.1.2.1)."""
    return Window((low + high + 1) / 2, high - low + 1, name, curve)


def _several(value: Any) -> list[float]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        return [float(each) for each in values if each is not None]
    except (TypeError, ValueError):
        return []


def _several_texts(value: Any) -> list[str]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [str(each) for each in values if each]
