"""Private elements of a header, found by the name of who defined them (PS3.5 section 7.8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from struct import error as StructError
from struct import iter_unpack

from catalog import guard
from catalog.guard import Element

_GROUPS = frozenset({0x0019, 0x0029, 0x0043, 0x0065, 0x2001, 0x2005})
"""In which manufacturers keep what this house reads."""
_PADDING = " \0"
_BINARY = {b"US": "H", b"SS": "h", b"UL": "L", b"SL": "l", b"FL": "f", b"FD": "d"}


class _Wanted:
    """The elements of those groups, and some others."""

    def __init__(self, others: frozenset[int]) -> None:
        self._others = others

    def __contains__(self, tag: object) -> bool:
        return isinstance(tag, int) and (tag >> 16 in _GROUPS or tag in self._others)


@dataclass(frozen=True, slots=True)
class PrivateElements:
    """Elements of one header as their bytes stand in the file."""

    elements: Mapping[int, Element]
    little_endian: bool

    def value(self, group: int, creator: str, element: int) -> Element | None:
        """Return a private element by the two last digits of its number; `None` where there is none."""
        wanted = creator.encode()
        for block in range(0x10, 0x100):
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


def read_private(path: str, *others: int) -> PrivateElements:
    """Read the private elements of a header, and others by their tags; bounded as every header is.

    Raises
    ------
    HeaderError
        If the file is no readable DICOM.
    """
    head = guard.scan(path, _Wanted(frozenset(others)))
    return PrivateElements(head.elements, head.encoding.little_endian)
