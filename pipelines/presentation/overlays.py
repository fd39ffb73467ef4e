"""Overlay planes of images: groups 60xx, and those in unused bits of old pixel data (PS3.3 C.9.2); no I/O."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from catalog.errors import DecodeError
from pipelines.store.dicom_json import ABSENT, BUDGET, Column, Described

type Bits = npt.NDArray[np.bool_]

GROUPS = range(0x6000, 0x6020, 2)
_ROWS, _COLUMNS, _FRAMES, _DESCRIPTION, _TYPE, _SUBTYPE = 0x10, 0x11, 0x15, 0x22, 0x40, 0x45
_ORIGIN, _IMAGE_FRAME_ORIGIN, _BIT_POSITION, _LABEL, _DATA = 0x50, 0x51, 0x102, 0x1500, 0x3000


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """One overlay of an image."""

    group: int
    label: str
    description: str
    type: str
    """`G` graphics or `R` region of interest, as (60xx,0040) has it."""
    subtype: str
    origin: tuple[int, int]
    """Row and column of the image, counted from 1, at which its first point lies; they may be outside."""
    first_frame: int | None
    """Frame, from 1, of its first plane; `None` for a single plane that belongs to every frame."""
    planes: Bits
    """Shape (planes, rows, columns)."""

    def on(self, frame_index: int, shape: tuple[int, int]) -> Bits:
        """Return the overlay of a frame, from 0, on an image of so many rows and columns."""
        out: Bits = np.zeros(shape, np.bool_)
        number = 0 if self.first_frame is None else frame_index + 1 - self.first_frame
        if not 0 <= number < len(self.planes):
            return out
        plane = self.planes[number]
        (image_rows, rows), (image_columns, columns) = (
            _common(start - 1, length, size)
            for start, length, size in zip(self.origin, plane.shape, shape, strict=True)
        )
        out[image_rows, image_columns] = plane[rows, columns]
        return out


def _common(start: int, length: int, size: int) -> tuple[slice, slice]:
    """What an image of a size and an overlay have in common, as a part of each."""
    first, last = max(start, 0), max(min(start + length, size), max(start, 0))
    return slice(first, last), slice(first - start, last - start)


def overlays_of(ds: Dataset) -> tuple[Overlay, ...]:
    """Read the overlays of an image whose header has their data.

    Raises
    ------
    DecodeError
        If the data of one are shorter than it says, or its attributes cannot be read.
    """
    return tuple(_overlay(ds, group) for group in GROUPS if ds.get((group, _DATA)))


def _overlay(ds: Dataset, group: int) -> Overlay:
    try:
        rows, columns, frames = (int(_value(ds, group, each) or 1) for each in (_ROWS, _COLUMNS, _FRAMES))
        data = bytes(_value(ds, group, _DATA))
        row, column = (int(each) for each in _value(ds, group, _ORIGIN) or (1, 1))
        first = _value(ds, group, _IMAGE_FRAME_ORIGIN)
        texts = [str(_value(ds, group, each) or "") for each in (_LABEL, _DESCRIPTION, _TYPE, _SUBTYPE)]
    except (TypeError, ValueError):
        raise DecodeError(f"the overlay of group {group:04X} cannot be read") from None
    if min(rows, columns, frames) < 1 or rows * columns * frames > 8 * len(data):
        raise DecodeError(
            f"the overlay of group {group:04X} has {len(data):,} bytes for {frames} planes of "
            f"{rows} x {columns} points"
        )
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=rows * columns * frames, bitorder="little")
    return Overlay(
        group, texts[0], texts[1], texts[2], texts[3], (row, column),
        None if frames == 1 and first in (None, "") else int(first or 1),
        bits.reshape(frames, rows, columns).astype(np.bool_),
    )  # fmt: skip


def _value(ds: Dataset, group: int, element: int) -> Any:
    found = ds.get((group, element))
    return None if found is None else found.value


# --- in unused bits --------------------------------------------------------------------------------------


def bits_of(ds: Dataset) -> dict[int, int]:
    """Group to bit, from 0, of overlays that lie in pixel data, where no value is (retired; PS3.3 2003)."""
    try:
        stored, high_bit = int(ds.get("BitsStored") or 0), int(ds.get("HighBit") or 0)
        bits = {group: int(_value(ds, group, _BIT_POSITION) or 0) for group in GROUPS}
    except (TypeError, ValueError):
        return {}
    used = range(high_bit - stored + 1, high_bit + 1)
    allocated = range(1 if used.start == 0 else 0, int(ds.get("BitsAllocated") or 0))
    return {
        group: bit
        for group, bit in bits.items()
        if bit in allocated and bit not in used and (group, _ROWS) in ds and not ds.get((group, _DATA))
    }


def packed(planes: Bits) -> bytes:
    """Overlay data of planes; shape (frames, rows, columns)."""
    bits = np.packbits(planes, bitorder="little").tobytes()
    return bits + b"\0" * (len(bits) % 2)


def with_overlays(described: Described, found: Mapping[int, Mapping[int, bytes]]) -> Described:
    """Add overlay data that were in pixel data to what the headers say.

    Parameters
    ----------
    found
        Number of a plane to group to data; planes of one instance have the same.
    """
    columns, left_out, rest = dict(described.of_instances), list(described.left_out), BUDGET
    shared = dict(described.shared)
    for group in sorted({group for groups in found.values() for group in groups}):
        data = dict.fromkeys(found[plane][group] for plane in found if group in found[plane])
        name, rest = f"{group:04X}3000", rest - sum(map(len, data))
        if rest < 0:
            left_out.append(name)
            continue
        numbers = {each: number for number, each in enumerate(data)}
        column = Column(
            tuple({"vr": "OW", "InlineBinary": b64encode(each).decode()} for each in data),
            tuple(
                numbers[found[plane][group]] if group in found.get(plane, {}) else ABSENT
                for plane in range(described.planes)
            ),
        )
        if column.is_shared:
            shared[name] = column.elements[0]
        else:
            columns[name] = column
    return replace(described, shared=shared, of_instances=columns, left_out=tuple(left_out))


def varying(described: Described) -> frozenset[str]:
    """Tags of overlays in which planes differ, in eight hexadecimal digits."""
    return frozenset(tag for tag in described.columns if int(tag[:4], 16) in GROUPS)
