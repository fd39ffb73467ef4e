"""Whether the pixel data of a file reach as far as its header promises; looks at lengths, decodes nothing."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.containers import is_elsewhere
from catalog.encoding import DEFLATED_UID
from catalog.errors import DecodeError, words_of
from catalog.records import InstanceHeader, PixelData, Value

ITEMS_AT_MOST = 1_000_000
"""Items that are looked at before pixel data count as broken."""

_REFERENCED = ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204",
               "1.2.840.10008.1.2.4.205")  # fmt: skip
"""JPIP: the pixel data lie with a provider, not in the file (PS3.5 A.6)."""

_ITEM, _SEQUENCE_DELIMITATION = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_NOT_DELIMITED = "pixel data are cut: their last item is not followed by the sequence delimiter"
_FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}


def shortfall(header: InstanceHeader) -> str | None:
    """Say what is missing of the pixel data that a header promises, or `None` where nothing is.

    Native pixel data must hold rows × columns × samples × bits × frames (PS3.5 section 8.1.1), encapsulated
    ones must be items up to the sequence delimiter (PS3.5 section A.4). What lies in a deflated data set, or
    encapsulated in an archive, is not looked at.
    """
    pixels = header.pixel_data
    if pixels is None:
        is_image = bool(header.values.get("rows")) and bool(header.values.get("columns"))
        return (
            "has no pixel data, its header describes an image" if is_image and not _is_apart(header) else None
        )
    try:
        if pixels.length is None:
            if is_elsewhere(header.path):
                return None
            return _missing_items(Path(header.path), pixels.offset)
        size = header.size if is_elsewhere(header.path) else Path(header.path).stat().st_size
        there = min(size - pixels.offset, pixels.length)
    except OSError as error:
        return f"cannot be read: {words_of(error)}"
    needed = max(_native_bytes(header, pixels), pixels.length)
    if there < needed:
        return f"pixel data are cut: {max(there, 0):,} bytes, the header promises {needed:,}"
    return None


def imageless(header: InstanceHeader) -> str | None:
    """Say so where an instance of an image's SOP class has no pixel data: it may have been cut before them.

    A data set that ends between two elements is well formed; only what it lacks tells.
    """
    from pydicom.uid import UID  # which a question to the catalog does not load

    name = UID(str(header.values.get("sop_class_uid", ""))).name
    if header.pixel_data is not None or "Image Storage" not in name or _is_apart(header):
        return None
    return f"has no pixel data, as {name} must"


def _is_apart(header: InstanceHeader) -> bool:
    """Whether pixel data lie where nobody looks: in a deflated data set, or at an address."""
    return header.transfer_syntax_uid in (DEFLATED_UID, *_REFERENCED)


def _native_bytes(header: InstanceHeader, pixels: PixelData) -> int:
    values = header.values
    samples = _number(values.get("samples_per_pixel"), 1)
    if values.get("photometric_interpretation") == "YBR_FULL_422":
        samples = 2
    bits = _number(values.get("bits_allocated"), _FLOAT_BITS.get(pixels.tag, 0))
    rows, columns = (_number(values.get(name), 0) for name in ("rows", "columns"))
    return (rows * columns * samples * bits * _number(values.get("number_of_frames"), 1) + 7) // 8


def _number(value: Value, otherwise: int) -> int:
    return int(value) if isinstance(value, int | float) and value > 0 else otherwise


def _missing_items(path: Path, position: int) -> str | None:
    with path.open("rb") as file:
        descriptor = file.fileno()
        try:
            found = items(
                lambda at, count: os.pread(descriptor, count, at), os.fstat(descriptor).st_size, position
            )
        except DecodeError as error:
            return str(error)
    return None if found.is_delimited else _NOT_DELIMITED


@dataclass(frozen=True, slots=True)
class Items:
    """The items of encapsulated pixel data: the offset table and the fragments (PS3.5 section A.4)."""

    values: Sequence[tuple[int, int]]
    """Offset in the file and length of the value of each."""
    end: int
    """Of the pixel data, the sequence delimiter included."""
    is_delimited: bool
    """Whether the sequence delimiter follows the last one."""


def items(read: Callable[[int, int], bytes], size: int, position: int) -> Items:
    """Walk over the items from a position on; `read` takes an offset and a count, `size` is where data end.

    Raises
    ------
    DecodeError
        If they are not items, reach beyond the end, or are too many.
    """
    values: list[tuple[int, int]] = []
    while len(values) <= ITEMS_AT_MOST:
        head = read(position, 8)
        if head[:4] == _SEQUENCE_DELIMITATION or (values and not head):
            return Items(values, position + len(head), len(head) == 8)
        if len(head) < 8:
            raise DecodeError(_NOT_DELIMITED)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != _ITEM:
            raise DecodeError("no item where one should begin in the encapsulated pixel data")
        if position + 8 + length > size:
            raise DecodeError(f"pixel data are cut: a fragment of {length:,} bytes reaches beyond the file")
        values.append((position + 8, length))
        position += 8 + length
    raise DecodeError(f"the encapsulated pixel data have more than {ITEMS_AT_MOST:,} fragments")
