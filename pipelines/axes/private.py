"""Private elements of a header, found by the name of who defined them (PS3.5 section 7.8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from struct import error as StructError
from struct import iter_unpack

from catalog import guard
from catalog.forms import Element

_ELEMENTS = {
    0x0019: (0x0A, 0x0C, 0x0E, 0x5A, 0xBB, 0xBC, 0xBD),
    0x0029: (0x10, 0x20),
    0x0043: (0x39,),
    0x2001: (0x03, 0x04),
    0x2005: (0xA0, 0xB0, 0xB1, 0xB2),
}
"""What this house reads, by group and by the two last digits of the element's number."""
_BLOCKS = range(0x10, 0x100)
_WANTED = frozenset(
    group << 16 | number
    for group, elements in _ELEMENTS.items()
    for block in _BLOCKS
    for number in (block, *(block << 8 | element for element in elements))
)
"""Those elements in every block that a creator may reserve, and the names of the creators."""
_PADDING = " \0"
_BINARY = {b"US": "H", b"SS": "h", b"UL": "L", b"SL": "l", b"FL": "f", b"FD": "d"}


@dataclass(frozen=True, slots=True)
class PrivateElements:
    """Elements of one header as their bytes stand in the file."""

    elements: Mapping[int, Element]
    little_endian: bool

    def value(self, group: int, creator: str, element: int) -> Element | None:
        """Return a private element by the two last digits of its number; `None` where there is none."""
        wanted = creator.encode()
        for block in _BLOCKS:
            owner = self.elements.get(group << 16 | block)
            if owner is not None and (owner.value or b"").strip(b" \0") == wanted:
                found = self.elements.get(group << 16 | block << 8 | element)
                if found is not None and found.value:
                    return found
        return None

    def numbers(self, group: int, creator: str, element: int, vr: bytes) -> tuple[float, ...]:
        """Return the numbers of a private element; none where it is absent or holds something else.

        Parameters
        ----------
        vr
            What it is where the file does not say it.
        """
        found = self.value(group, creator, element)
        return () if found is None else self._numbers(found, vr)

    def public(self, tag: int, vr: bytes) -> tuple[float, ...]:
        """Return the numbers of an element of the standard that was asked for."""
        found = self.elements.get(tag)
        return () if found is None or not found.value else self._numbers(found, vr)

    def text(self, tag: int) -> str:
        """Return the text of an element of the standard that was asked for."""
        found = self.elements.get(tag)
        return "" if found is None else (found.value or b"").decode("latin-1").strip(_PADDING)

    def _numbers(self, found: Element, vr: bytes) -> tuple[float, ...]:
        value = found.value or b""
        code = _BINARY.get(found.vr if found.vr not in (b"", b"UN") else vr)
        try:
            if code is not None:
                return tuple(
                    each for (each,) in iter_unpack(("<" if self.little_endian else ">") + code, value)
                )
            return tuple(float(each) for each in value.decode("latin-1").strip(_PADDING).split("\\"))
        except (StructError, ValueError):
            return ()


@cache
def _wanted(others: tuple[int, ...]) -> frozenset[int]:
    return _WANTED.union(others)


def read_private(path: str, *others: int) -> PrivateElements:
    """Read the private elements of a header, and others by their tags; bounded as every header is.

    Raises
    ------
    HeaderError
        If the file is no readable DICOM.
    """
    head = guard.scan(path, _wanted(others))
    return PrivateElements(head.elements, head.encoding.little_endian)
