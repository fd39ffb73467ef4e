"""One element of a header as DICOM JSON, and back as a pydicom element (PS3.18 annex F); no I/O.

Pixel data, icons, private binary and long binary that shows nothing are not kept.
"""

import math
import struct
import warnings
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from pydicom import DataElement, Dataset, config
from pydicom.charset import decode_bytes, default_encoding
from pydicom.datadict import dictionary_VR, private_dictionary_VR
from pydicom.dataelem import RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import BaseTag
from pydicom.valuerep import TEXT_VR_DELIMS

from catalog.elements import Elements, Raw
from catalog.values import character_set

type Json = dict[str, Any]

LONGEST, LONGEST_SEQUENCE = 1 << 20, 4 << 20
"""Bytes of a text or of numbers, and of a sequence ..."""
MOST_ITEMS = 10_000
"""... and the items in it, nested ones too, each of which takes a kilobyte of memory to read."""
SMALL_BINARY = 1 << 10
"""Public binary values up to this are kept whatever they are."""
LUT_DATA, ICC_PROFILE, OVERLAY_DATA = 0x00283006, 0x00282000, 0x60003000
BINARY_KEPT = frozenset(
    {LUT_DATA, ICC_PROFILE, *range(0x00281201, 0x00281205), *range(0x00281221, 0x00281225)}
)
"""With the palettes; overlay data, of which there may be 16, are in `is_overlay_data`."""
_LEFT_OUT = frozenset({0x00880200, 0x52009230, 0x00041220})
"""Icon Image Sequence, Per-Frame Functional Groups Sequence, directory records."""
CHARACTER_SET, PIXEL_REPRESENTATION = 0x00080005, 0x00280103
_PADDING = " \0"
_ITEMS = {True: b"\xfe\xff\x00\xe0", False: b"\xff\xfe\xe0\x00"}
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
"""Of a person's name (PS3.5 section 6.2.1)."""


def name_of(tag: int) -> str:
    """Eight hexadecimal digits, as DICOM JSON names an element."""
    return f"{tag:08X}"


def is_overlay_data(tag: int) -> bool:
    """Whether a tag is (60xx,3000)."""
    return tag & 0xFF00FFFF == OVERLAY_DATA


def is_left_out(tag: int) -> bool:
    """Whether an element is never kept: group lengths, pixel data, waveforms, padding, icons."""
    return tag in _LEFT_OUT or tag & 0xFFFF == 0 or tag >> 16 in (0x7FE0, 0x5400, 0xFFFC)


# --- reading ---------------------------------------------------------------------------------------------


def dataset_of(elements: Json) -> Dataset:
    """Data set of DICOM JSON; values are not held against the standard again, as that would log them."""
    ds = Dataset()
    for name, element in elements.items():
        vr, tag = element["vr"], int(name, 16)
        ds[tag] = DataElement(tag, vr, _value(vr, element), validation_mode=config.IGNORE)
    return ds


def _value(vr: str, element: Json) -> Any:
    if "InlineBinary" in element:
        return b64decode(element["InlineBinary"])
    values = (
        [_READ_AS[vr](each) for each in element.get("Value", ())]
        if vr in _READ_AS
        else element.get("Value", [])
    )
    if vr == "SQ":
        return values
    return values[0] if len(values) == 1 else values or empty_value_for_VR(vr, raw=vr in _BINARY)


def _words_of_person(groups: dict[str, str] | None) -> str:
    names = [(groups or {}).get(name, "") for name in _GROUPS]
    return "=".join(names).rstrip("=")


_READ_AS: Mapping[str, Callable[[Any], Any]] = {
    "SQ": dataset_of,
    "PN": _words_of_person,
    "AT": lambda text: int(text, 16),
    "FL": float,
    "FD": float,
}


# --- writing ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the elements of one header are read with."""

    encodings: Sequence[str]
    is_signed: bool
    creators: Mapping[int, str]
    """Private creators by group and block, as in gggg00bb."""

    @classmethod
    def of(cls, elements: Elements) -> Self:
        """Read from the elements of a header what its other elements are read with."""
        charset = elements.get(CHARACTER_SET)
        representation = elements.get(PIXEL_REPRESENTATION)
        creators = {
            tag: raw.value.decode(default_encoding).strip(_PADDING)
            for tag, raw in elements.items()
            if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF
        }
        return cls(
            character_set(charset.value if charset else None, lambda _: None),
            bool(representation and any(representation.value)),
            creators,
        )

    def element(self, tag: int, raw: Raw, left_out: list[str]) -> Json | None:
        """Return an element as DICOM JSON; `None` where it is not to be kept, or cannot be read.

        What its items lose is added to `left_out`, with the tags around it.
        """
        vr = self._vr(tag, raw)
        try:
            if vr not in _BINARY and len(raw.value) > (LONGEST_SEQUENCE if vr == "SQ" else LONGEST):
                return None
            if vr in _VALUES:
                values = _VALUES[vr](raw.value, raw.encoding.little_endian)
            elif vr in _TEXTS:
                values = self._text(vr, raw.value)
            elif vr in _BINARY:
                return _binary(tag, vr, raw)
            elif vr == "SQ":
                return self._sequence(tag, raw, left_out)
            else:
                return None
        except Exception:  # whatever stands in the file instead of such a value
            return None
        return {"vr": vr, "Value": values} if values else {"vr": vr}

    def _vr(self, tag: int, raw: Raw) -> str:
        vr = raw.vr.decode(default_encoding)
        if vr in ("", "UN"):
            vr = _known_vr(tag, self.creators.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)) or vr
        return _AMBIGUOUS.get(vr, ("US", "SS"))[self.is_signed] if " or " in vr else vr

    def _text(self, vr: str, value: bytes) -> list[Any]:
        if value.isascii() and b"\x1b" not in value:
            text = value.decode("ascii")
        elif vr in _IN_CHARACTER_SET:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                text = decode_bytes(value, self.encodings, TEXT_VR_DELIMS)
        else:
            text = value.decode(default_encoding)
        text = text.rstrip(_PADDING)
        parts = [text] if vr in _SINGLE else [each.strip(_PADDING) for each in text.split("\\")]
        if not any(parts):
            return []
        return [_person(each) for each in parts] if vr == "PN" else [each or None for each in parts]

    def _sequence(self, tag: int, raw: Raw, left_out: list[str]) -> Json | None:
        if raw.value.count(_ITEMS[raw.encoding.little_endian]) > MOST_ITEMS:
            return None
        implicit, little = not raw.encoding.explicit, raw.encoding.little_endian
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # departures that pydicom would warn of are tolerated here
            unread = RawDataElement(BaseTag(tag), "SQ", len(raw.value), raw.value, 0, implicit, little, True)
            element = convert_raw_data_element(unread, encoding=list(self.encodings))
            around = Dataset()
            around.PixelRepresentation = int(self.is_signed)
            around.add(element)
            correct_ambiguous_vr(around, little)
            items = [_item(each, little, name_of(tag), left_out) for each in element.value]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _known_vr(tag: int, creator: str | None) -> str:
    try:
        if not tag >> 16 & 1:
            return dictionary_VR(tag)
        if 0x10 <= tag & 0xFFFF <= 0xFF:
            return "LO"
        return private_dictionary_VR(tag, creator) if creator else ""
    except KeyError:
        return ""


def _item(ds: Dataset, little_endian: bool, within: str, left_out: list[str]) -> Json:
    """Return an item of a sequence as DICOM JSON, without what is not to be kept."""
    found: Json = {}
    for tag in sorted(ds.keys()):
        path, element = f"{within}.{name_of(tag)}", None
        if not is_left_out(tag):
            with suppress(Exception):  # one value that pydicom stumbles over, not the sequence
                element = _of_item(ds[tag], little_endian, path, left_out)
        if element is not None:
            found[name_of(tag)] = element
        else:
            left_out.append(path)
    return found


def _of_item(element: DataElement, little_endian: bool, path: str, left_out: list[str]) -> Json | None:
    vr, value = element.VR, element.value
    if vr == "SQ":
        items = [_item(each, little_endian, path, left_out) for each in value]
        return {"vr": vr, "Value": items} if items else {"vr": vr}
    if isinstance(value, bytes):
        vr = _AMBIGUOUS.get(vr, (vr,))[-1] if " or " not in vr else "OW"
        return _bytes(int(element.tag), vr, value, little_endian)
    json_element: Json = element.to_json_dict(None, 1 << 30)
    return _finite(json_element)


def _finite(element: Json) -> Json:
    """Numbers that JSON has no word for as the strings of PS3.18 table F.2.3-1."""
    values = element.get("Value")
    return element if values is None else element | {"Value": [_number(each) for each in values]}


def _number(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _binary(tag: int, vr: str, raw: Raw) -> Json | None:
    return _bytes(tag, vr, raw.value, raw.encoding.little_endian)


def _bytes(tag: int, vr: str, value: bytes, little_endian: bool) -> Json | None:
    is_private = bool(tag >> 16 & 1)
    is_kept = tag in BINARY_KEPT or is_overlay_data(tag)
    if is_private or not (is_kept or len(value) <= SMALL_BINARY):
        return None
    width = _WIDTHS.get(vr, 1)
    if not little_endian and width > 1:
        value = b"".join(value[at : at + width][::-1] for at in range(0, len(value), width))
    return {"vr": vr, "InlineBinary": b64encode(value).decode()} if value else {"vr": vr}


def _person(text: str) -> dict[str, str] | None:
    groups = zip(_GROUPS, text.split("="), strict=False)
    return {name: each for name, each in groups if each} or None


def _decimals(value: bytes, _: bool) -> list[Any]:
    return [_number(float(each)) if each else None for each in _parts(value)]


def _integers(value: bytes, _: bool) -> list[Any]:
    return [(_whole(each) if each else None) for each in _parts(value)]


def _whole(text: str) -> int:
    """A whole number, also where a device wrote it with a point."""
    number = float(text)
    if number != int(number):
        raise ValueError
    return int(number)


def _parts(value: bytes) -> Iterator[str]:
    text = value.decode("ascii").strip(_PADDING)
    return (each.strip(_PADDING) for each in text.split("\\")) if text else iter(())


def _packed(code: str) -> Callable[[bytes, bool], list[Any]]:
    def unpack(value: bytes, little_endian: bool) -> list[Any]:
        count = len(value) // struct.calcsize(f"<{code}")
        return [
            _number(each) for each in struct.unpack(f"{'<' if little_endian else '>'}{count}{code}", value)
        ]

    return unpack


def _tags(value: bytes, little_endian: bool) -> list[Any]:
    numbers = struct.unpack(f"{'<' if little_endian else '>'}{len(value) // 2}H", value)
    return [f"{group:04X}{element:04X}" for group, element in zip(numbers[::2], numbers[1::2], strict=True)]


_VALUES: dict[str, Callable[[bytes, bool], list[Any]]] = {
    "DS": _decimals,
    "IS": _integers,
    "AT": _tags,
    **{
        vr: _packed(code)
        for vr, code in (
            ("US", "H"), ("SS", "h"), ("UL", "L"), ("SL", "l"), ("UV", "Q"), ("SV", "q"), ("FL", "f"),
            ("FD", "d"),
        )
    },
}  # fmt: skip
_TEXTS = frozenset(("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"))
_IN_CHARACTER_SET = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_SINGLE = frozenset(("LT", "ST", "UR", "UT"))
"""Those in which a backslash is a character."""
_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW"))
_WIDTHS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_AMBIGUOUS: Mapping[str, tuple[str, str]] = {
    "US or SS": ("US", "SS"),
    "US or OW": ("OW", "OW"),
    "US or SS or OW": ("OW", "OW"),
    "OB or OW": ("OW", "OW"),
}
"""By whether pixels are signed (PS3.5 annex A note on US or SS)."""
