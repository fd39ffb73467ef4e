"""Colour and gray for display: palettes, ICC profile, VOI LUTs and windows, MONOCHROME1; no I/O.

Stored and modality values stay as they are in the arrays; these functions make what a screen shows of them.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from catalog.errors import DecodeError
from pipelines.presentation import display
from pipelines.presentation.display import Gray

_COLOURS = ("Red", "Green", "Blue")
_LARGEST_TABLE = 1 << 16
"""Entries of a lookup table whose descriptor says 0 (PS3.3 C.7.6.3.1.5)."""
_DISCRETE, _LINEAR = 0, 1
"""Segment types of C.7.9.2."""


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """The three lookup tables of PALETTE COLOR as one (PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6)."""

    colours: npt.NDArray[np.uint8 | np.uint16]
    """Shape (entries, 3): red, green, blue."""
    first: int
    """The stored value of the first entry; smaller ones have its colour, too large ones that of the last."""

    def apply(self, stored: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8 | np.uint16]:
        """Colours of stored values; any shape in, that shape with a last axis of red, green, blue out."""
        return _looked_up(stored, self.colours, self.first)

    def eight_bits(self) -> "Palette":
        """Return the palette for a screen of 8 bits a colour; 16-bit entries lose their lower byte.

        Tables that announce 16 bits and use 8, as some old devices write, keep their values.
        """
        if self.colours.dtype == np.uint8:
            return self
        shift = 8 if int(self.colours.max()) > 255 else 0
        return Palette((self.colours >> shift).astype(np.uint8), self.first)


@dataclass(frozen=True, slots=True, eq=False)
class ModalityLut:
    """The modality LUT of an image (PS3.3 C.11.1.1)."""

    values: npt.NDArray[np.float32]
    """Modality values, one an entry."""
    first: int
    """The stored value of the first entry; smaller ones have its value, too large ones that of the last."""

    def apply(self, stored: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Modality values of stored values, of any shape."""
        return _looked_up(stored, self.values, self.first)


def modality_lut_of(ds: Dataset) -> ModalityLut:
    """Read the modality LUT of an image.

    Raises
    ------
    DecodeError
        If there is none, it is short or its descriptor impossible.
    """
    with _tolerant("the modality LUT"):
        items = list(ds.get("ModalityLUTSequence") or ())
        if not items:
            raise DecodeError("the modality LUT is absent")
        entries, first, bits = _descriptor(items[0], "LUTDescriptor")
        if not 8 <= bits <= 16:
            raise DecodeError(f"the modality LUT announces {bits} bits an entry, not 8 to 16")
        table = _entries(items[0]["LUTData"].value, entries, _is_little_endian(items[0]), "the modality LUT")
        return ModalityLut(table.astype(np.float32), first)


def palette_of(ds: Dataset) -> Palette:
    """Read the palette of a PALETTE COLOR image, its segmented tables too (PS3.3 C.7.9.2).

    Raises
    ------
    DecodeError
        If there is none, a table is short or its descriptor impossible, or it has indirect segments.
    """
    with _tolerant("the palette"):
        entries, first, bits = _descriptor(ds, "RedPaletteColorLookupTableDescriptor")
        if bits not in (8, 16):
            raise DecodeError(f"the palette announces {bits} bits an entry, not 8 or 16")
        tables = [_table(ds, colour, entries, bits) for colour in _COLOURS]
        return Palette(np.stack(tables, axis=-1), first)


def icc_profile(ds: Dataset) -> bytes | None:
    """Return the ICC profile of an image, or of the first optical path of a slide that has one.

    It is (0028,2000) ICC Profile (PS3.3 C.11.15, C.8.12.5).
    """
    with _tolerant("the ICC profile"):
        paths = list(ds.get("OpticalPathSequence") or ())
        profiles = (each.get("ICCProfile") for each in (ds, *paths))
        return next((bytes(profile) for profile in profiles if profile), None)


@dataclass(frozen=True, slots=True)
class View:
    """One way in which a screen shows modality values."""

    function: Callable[[npt.NDArray[Any]], Gray] | None
    """A window or a VOI LUT; `None` where the header has neither, for the full range of the values."""
    is_inverted: bool
    """Whether the smallest value is white (PS3.3 C.7.6.3.1.2, C.11.6.1.2)."""

    def apply(self, values: npt.NDArray[Any], *, center: float, width: float) -> Gray:
        """Return 0 to 255 for modality values of any shape; the window serves where the header has none."""
        gray = self.function(values) if self.function else _linear(values, center=center, width=width)
        return inverted(gray) if self.is_inverted else gray


def view_of(ds: Dataset, view: int = 0) -> View:
    """Read how a header wants its values to be shown.

    The VOI LUT Sequence goes before Window Center and Width (PS3.3 C.11.2); those of an enhanced object are
    looked for in its shared functional groups, too. MONOCHROME1 and Presentation LUT Shape INVERSE, which go
    together, invert once.

    Parameters
    ----------
    view
        Which of several VOI LUTs or windows, from 0.

    Raises
    ------
    DecodeError
        If the header has no such view, or it cannot be applied.
    """
    with _tolerant("the VOI LUT or window"):
        inversions = (ds.get("PhotometricInterpretation"), ds.get("PresentationLUTShape"))
        is_inverted = inversions[0] == "MONOCHROME1" or inversions[1] == "INVERSE"
        around = next((each for each in voi_places(ds) if any(name in each for name in _VOI)), ds)
        luts = list(around.get("VOILUTSequence") or ())
        function = table_function(_view(luts, view)) if luts else window_function(around, view)
        return View(function, is_inverted)


_VOI = ("VOILUTSequence", "WindowCenter", "WindowWidth")


def voi_places(ds: Dataset) -> Iterator[Dataset]:
    """Where VOI LUTs and windows may be: the header, then shared functional groups."""
    yield ds
    for groups in list(ds.get("SharedFunctionalGroupsSequence") or ())[:1]:
        yield from list(groups.get("FrameVOILUTSequence") or ())[:1]


def shown(values: npt.ArrayLike, ds: Dataset, *, view: int = 0) -> Gray:
    """Return what a screen shows of modality values; any shape in, 0 to 255 of that shape out.

    As `view_of` has it; the full range of the values serves where the header has no window.

    Raises
    ------
    DecodeError
        If the header has no such view, or it cannot be applied.
    """
    center, width = display.full_range(values)
    return view_of(ds, view).apply(np.asarray(values), center=center, width=width)


def padding_of(ds: Dataset) -> tuple[float, float] | None:
    """Smallest and largest stored value that stands for no pixel; `None` where none does (PS3.3 C.7.5.1.1.2).

    Raises
    ------
    DecodeError
        If the attributes cannot be read.
    """
    with _tolerant("the padding value"):
        value = ds.get("PixelPaddingValue")
        if value in (None, ""):
            return None
        limit = ds.get("PixelPaddingRangeLimit")
        ends = sorted(float(each) for each in (value, value if limit in (None, "") else limit))
        return ends[0], ends[1]


def inverted(gray: Gray) -> Gray:
    """Return gray values of MONOCHROME1 for a screen, where the smallest is white (PS3.3 C.7.6.3.1.2)."""
    return 255 - gray


# --- windows and VOI LUTs --------------------------------------------------------------------------------


def window_function(ds: Dataset, view: int) -> Callable[[npt.NDArray[Any]], Gray] | None:
    """Return what a window of a header does to modality values; `None` where it has none.

    Raises
    ------
    DecodeError
        If the header has no such window, or it cannot be applied.
    """
    centers, widths = (_several(ds.get(each)) for each in ("WindowCenter", "WindowWidth"))
    if not centers and not widths:
        return None
    name = str(ds.get("VOILUTFunction") or "LINEAR")
    function = _FUNCTIONS.get(name)
    if function is None:
        raise DecodeError(f"VOI LUT Function {name[:16]!r} is none of {', '.join(_FUNCTIONS)}")
    center, width = float(_view(centers, view)), float(_view(widths, view))
    if not width >= (1 if name == "LINEAR" else np.nextafter(0, 1)):
        raise DecodeError(f"Window Width (0028,1051) is {width:g}, too small for {name}")
    return partial(function, center=center, width=width)


def _linear(values: npt.NDArray[Any], center: float, width: float) -> Gray:
    return display.window(values, center=center, width=width)


def _linear_exact(values: npt.NDArray[Any], center: float, width: float) -> Gray:
    return _to_gray((values - center) / width + 0.5)


def _sigmoid(values: npt.NDArray[Any], center: float, width: float) -> Gray:
    exponent = np.clip(-4 * (values - center) / width, -50, 50)  # further out all is black or white
    return _to_gray(1 / (1 + np.exp(exponent)))


_FUNCTIONS: dict[str, Callable[..., Gray]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}
"""By VOI LUT Function (0028,1056), C.11.2.1.2 and C.11.2.1.3."""


def _to_gray(fractions: npt.NDArray[Any]) -> Gray:
    gray: Gray = np.rint(np.nan_to_num(np.clip(fractions, 0, 1)) * 255).astype(np.uint8)
    return gray


def table_range(item: Dataset) -> tuple[int, int]:
    """Return the first and the last value that an item of a VOI LUT Sequence has an entry for.

    Raises
    ------
    DecodeError
        If it does not say that.
    """
    entries, first, _ = _descriptor(item, "LUTDescriptor")
    return first, first + entries - 1


def table_function(item: Dataset) -> Callable[[npt.NDArray[Any]], Gray]:
    """Return what an item of a VOI LUT Sequence does to modality values.

    Raises
    ------
    DecodeError
        If it cannot be applied.
    """
    entries, first, bits = _descriptor(item, "LUTDescriptor")
    if not 8 <= bits <= 16:
        raise DecodeError(f"the VOI LUT announces {bits} bits an entry, not 8 to 16")
    table = _entries(item["LUTData"].value, entries, _is_little_endian(item), "the VOI LUT")
    shades = _to_gray(table.astype(np.float64) / ((1 << bits) - 1))
    return partial(_looked_up, table=shades, first=first)


def _view(views: Sequence[Any], view: int) -> Any:
    if not 0 <= view < len(views):
        raise DecodeError(f"no view {view}: the header has {len(views)}, counted from 0")
    return views[view]


def _several(value: Any) -> list[Any]:
    if value in (None, ""):
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


# --- lookup tables ---------------------------------------------------------------------------------------


@contextmanager
def _tolerant(what: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # departures that pydicom would warn of are tolerated here
            yield
    except DecodeError:
        raise
    except Exception as error:  # whatever pydicom stumbles over in hostile bytes is a fault of the file
        raise DecodeError(f"{what} cannot be read: {type(error).__name__}") from None


def _looked_up(values: npt.NDArray[Any], table: npt.NDArray[Any], first: int) -> npt.NDArray[Any]:
    """Entries of values, those out of range at the nearest end (PS3.3 C.7.6.3.1.5, C.11.2.1.1)."""
    last = first + len(table) - 1
    if values.dtype.kind == "f":
        indices = np.rint(np.clip(np.nan_to_num(values, nan=first), first, last)).astype(np.intp)
    else:
        indices = np.clip(values.astype(np.intp), first, last)
    entries: npt.NDArray[Any] = table[indices - first]
    return entries


def _descriptor(ds: Dataset, keyword: str) -> tuple[int, int, int]:
    """Entries, value of the first one, and bits; the second is signed where the pixels are."""
    if keyword not in ds:
        raise DecodeError(f"{keyword} is absent")
    entries, first, bits = (int(each) for each in ds[keyword].value)
    if ds.get("PixelRepresentation") == 1 and first >= 1 << 15:
        first -= 1 << 16
    return entries % _LARGEST_TABLE or _LARGEST_TABLE, first, bits


def _table(ds: Dataset, colour: str, entries: int, bits: int) -> npt.NDArray[np.uint8 | np.uint16]:
    name = f"the {colour.lower()} palette"
    plain = ds.get(f"{colour}PaletteColorLookupTableData")
    if plain:
        table = _entries(plain, entries, _is_little_endian(ds), name)
    else:
        segments = ds.get(f"Segmented{colour}PaletteColorLookupTableData")
        if not segments:
            raise DecodeError(f"{name} is absent")
        table = _expanded(_numbers(segments, bits, _is_little_endian(ds)), entries, name)
    return table.astype(np.uint8 if bits == 8 else np.uint16)


def _entries(value: Any, entries: int, little_endian: bool, name: str) -> npt.NDArray[np.uint8 | np.uint16]:
    """Entries of a table in words of 16 bits or, where it has too few bytes for those, in bytes."""
    count = len(value) if isinstance(value, bytes) else 2 * len(_several(value))
    if count < entries:
        raise DecodeError(f"{name} has {count} bytes for {entries} entries")
    return _numbers(value, 16 if count >= 2 * entries else 8, little_endian)[:entries]


def _numbers(value: Any, bits: int, little_endian: bool) -> npt.NDArray[np.uint8 | np.uint16]:
    """Bytes, or the numbers that pydicom made of them where the VR is US."""
    if not isinstance(value, bytes):
        return np.array(_several(value), np.int64).astype(np.uint16)
    if bits == 8:
        return np.frombuffer(value, np.uint8)
    order = "<" if little_endian else ">"
    return np.frombuffer(value[: len(value) // 2 * 2], f"{order}u2").astype(np.uint16)


def _is_little_endian(ds: Dataset) -> bool:
    return ds.original_encoding[1] is not False


def _expanded(segments: npt.NDArray[Any], entries: int, name: str) -> npt.NDArray[Any]:
    """Expand discrete and linear segments, never to more than the entries that are announced."""
    parts: list[npt.NDArray[Any]] = []
    at, there = 0, 0
    while there < entries and at + 2 < len(segments):
        kind, length = int(segments[at]), int(segments[at + 1])
        at += 2
        if kind == _DISCRETE:
            part = segments[at : at + length]
            at += length
        elif kind == _LINEAR and parts:
            part = _line(int(parts[-1][-1]), int(segments[at]), min(length, entries - there))
            at += 1
        else:
            raise DecodeError(f"{name} has a segment of type {kind}, which is not read")
        if len(part) == 0:
            raise DecodeError(f"{name} has a segment without entries")
        parts.append(part)
        there += len(part)
    if there < entries:
        raise DecodeError(f"{name} has segments of {there} entries, its descriptor says {entries}")
    return np.concatenate(parts)[:entries]


def _line(start: int, stop: int, length: int) -> npt.NDArray[np.int64]:
    """From the entry before, which is not repeated, to the last one."""
    return np.rint(np.linspace(start, stop, length + 1)[1:]).astype(np.int64)
