"""Values of elements from their bytes: text in any character set, numbers in any VR (PS3.5 section 6).

What pydicom would give for the same bytes, tested against it, for the attributes the catalog keeps. Spaces
and NULs around a value are padding. A value that cannot be understood is `None` with a deviation in words.
"""

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import error as StructError
from struct import iter_unpack

from pydicom.charset import convert_encodings, decode_bytes, default_encoding
from pydicom.valuerep import TEXT_VR_DELIMS

from catalog.attributes import BY_TAG, Attribute, Kind
from catalog.records import Value
from catalog.window import name_of

type Deviate = Callable[[str], None]
"""Takes a departure from the standard in words, without the value."""

_ESCAPE = 0x1B
_PADDING = " \0"
IN_CHARACTER_SET = frozenset(b"LO LT PN SH ST UC UT".split())
"""Value representations that Specific Character Set applies to (PS3.5 section 6.1.2.3)."""
BINARY_NUMBERS = {
    b"US": "H",
    b"SS": "h",
    b"UL": "L",
    b"SL": "l",
    b"UV": "Q",
    b"SV": "q",
    b"FL": "f",
    b"FD": "d",
}
_OLD_DATE = re.compile(r"\d{4}\.\d\d\.\d\d", re.ASCII)
"""Of ACR-NEMA; readers may take it for backward compatibility (PS3.5 section 6.2)."""
_NO_VR = frozenset((b"", b"UN"))
_LARGEST_INTEGER = 2**63 - 1
_MULTIPLE = frozenset({0x00180086})
"""Echo Numbers may have several values; the first is the one this instance is sorted by."""
_REMEMBERED, _SHORT = 4096, 64
"""Values that are remembered, and their longest: most of a header is that of the header before."""


def character_set(value: bytes | None, deviate: Deviate) -> tuple[str, ...]:
    """Return Python's encodings for a Specific Character Set (0008,0005), the first one the default."""
    encodings, is_standard = _encodings(value or b"")
    if not is_standard:
        deviate("SpecificCharacterSet (0008,0005) is not as the standard has it")
    return encodings


@lru_cache(maxsize=64)
def _encodings(value: bytes) -> tuple[tuple[str, ...], bool]:
    if not value:
        return (default_encoding,), True
    terms = value.decode(default_encoding).rstrip(_PADDING).split("\\")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            encodings = convert_encodings([each.strip() for each in terms])
        except ValueError:
            encodings = []
    return tuple(encodings) or (default_encoding,), bool(encodings) and not caught


@dataclass(frozen=True, slots=True)
class Reading:
    """What the values of one data set are read with."""

    encodings: tuple[str, ...]
    """Of its character set, as `character_set` gives them."""
    little_endian: bool
    deviate: Deviate

    def value(self, attribute: Attribute, vr: bytes, value: bytes) -> Value:
        """Return the value of an attribute for its column; `vr` is empty where the file does not write it."""
        if len(value) > _SHORT:
            return self._read(attribute, vr, value)
        found, said = _remembered(attribute.tag, vr, value, self.encodings, self.little_endian)
        for each in said:
            self.deviate(each)
        return found

    def _read(self, attribute: Attribute, vr: bytes, value: bytes) -> Value:
        if vr in _NO_VR:
            vr = attribute.vr.encode()
        if attribute.kind is Kind.TEXT:
            return self._text(attribute, vr, value)
        if vr in _PLAIN and attribute.kind in _PLAIN[vr]:
            try:
                return _PLAIN[vr][attribute.kind](value)
            except ValueError:
                pass  # padded, several, or none
        return self._number(attribute, vr, value)

    def _text(self, attribute: Attribute, vr: bytes, value: bytes) -> str | None:
        if value.isascii() and _ESCAPE not in value:
            text = value.decode("ascii").strip(_PADDING)
        elif vr in IN_CHARACTER_SET:
            text = self._decoded(attribute, value).strip(_PADDING)
        else:
            text = value.decode(default_encoding).strip(_PADDING)
        if vr == b"PN":
            text = text.rstrip("=")  # empty component groups at the end mean nothing (PS3.5 section 6.2.1)
        if "\\" in text:
            text = "\\".join(each.strip(_PADDING) for each in text.split("\\"))
        if attribute.vr == "DA" and _OLD_DATE.fullmatch(text):
            self.deviate(f"{name_of(attribute.tag)} has the form of dates before 1993, 1994.01.30")
            text = text.replace(".", "")
        if "\0" in text:
            self.deviate(f"{name_of(attribute.tag)} goes on after a NUL; what follows it is left out")
            text = text.partition("\0")[0]
        return text or None

    def _decoded(self, attribute: Attribute, value: bytes) -> str:
        text, is_clean = decoded(value, self.encodings)
        if not is_clean:
            self.deviate(f"{name_of(attribute.tag)} is not in the declared character set")
        return text

    def _number(self, attribute: Attribute, vr: bytes, value: bytes) -> Value:
        numbers = _numbers(vr, value, self.little_endian)
        if numbers is None:
            self.deviate(f"{name_of(attribute.tag)} holds no number")
            return None
        if attribute.kind is Kind.NUMBERS:
            return "\\".join(numbers) or None
        if len(numbers) > 1 and attribute.tag not in _MULTIPLE:
            self.deviate(f"{name_of(attribute.tag)} has {len(numbers)} values; the first is kept")
        number = next((float(each) for each in numbers if each), None)
        if attribute.kind is Kind.REAL or number is None:
            return number
        if number != int(number) or abs(number) > _LARGEST_INTEGER:
            self.deviate(f"{name_of(attribute.tag)} holds no whole number of 64 bit")
            return None
        return int(number)


@lru_cache(maxsize=_REMEMBERED)
def _remembered(
    tag: int, vr: bytes, value: bytes, encodings: tuple[str, ...], little_endian: bool
) -> tuple[Value, tuple[str, ...]]:
    """A value with its deviations."""
    said: list[str] = []
    return Reading(encodings, little_endian, said.append)._read(BY_TAG[tag], vr, value), tuple(said)


def decoded(value: bytes, encodings: Sequence[str]) -> tuple[str, bool]:
    """Return a text in a character set, and whether all of its bytes are of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            text = decode_bytes(value, encodings, TEXT_VR_DELIMS)
        except (ValueError, LookupError):
            text = ""
    return text, bool(text) and not caught


def _numbers(vr: bytes, value: bytes, little_endian: bool) -> list[str] | None:
    """Numbers as text; none for an empty value, `None` where one is not a number."""
    if (code := BINARY_NUMBERS.get(vr)) is not None:
        try:
            texts = [repr(each) for (each,) in iter_unpack(("<" if little_endian else ">") + code, value)]
        except StructError:
            return None
    else:
        texts = [each.strip(_PADDING) for each in value.decode(default_encoding).strip(_PADDING).split("\\")]
    return texts if all(map(_is_number, texts)) else None


def _is_number(text: str) -> bool:
    try:
        return not text or math.isfinite(float(text))
    except ValueError:
        return False


def _finite(value: bytes) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _whole(value: bytes) -> int:
    number = int(value)
    if abs(number) > _LARGEST_INTEGER:
        raise ValueError
    return number


_PLAIN: dict[bytes, dict[Kind, Callable[[bytes], int | float]]] = {
    b"DS": {Kind.REAL: _finite},
    b"IS": {Kind.INTEGER: _whole},
}
"""The two by far most frequent numbers; `ValueError` where the value is not simply one."""
