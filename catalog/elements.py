"""The top-level elements of a header as their bytes, for headers that `catalog.guard` has passed; no I/O."""

from collections.abc import Iterator, Sequence
from struct import error as StructError
from typing import NamedTuple

import numpy as np

from catalog.encoding import EXPLICIT, IMPLICIT, OPENINGS, Encoding, encoding_of
from catalog.errors import HeaderError
from catalog.window import name_of

PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, Double Float and Pixel Data, one of which ends a header."""

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_DELIMITATION, _SEQUENCE_DELIMITATION = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
ELEMENT_LIMIT = 100_000
"""How many elements a data set or an item may have at its top."""

_PREFIX_END = 132
_CUT = "is cut in the middle of an element's tag or length"


class Raw(NamedTuple):
    """One element as its bytes stand in the file."""

    vr: bytes
    """Empty where the encoding does not write it."""
    value: bytes
    """Of undefined length: up to and with its sequence delimitation item."""
    encoding: Encoding
    """Of the data set it is in."""


type Elements = dict[int, Raw]


class Cut(NamedTuple):
    """Where an element stands in a header."""

    tag: int
    vr: bytes
    start: int
    value: int
    end: int
    is_defined: bool
    """Whether its length is."""


def elements_of(header: bytes, transfer_syntax_uid: str, *, inflated: bool = False) -> Elements:
    """Cut a header into the top-level elements of its data set; the file meta information is left out.

    Parameters
    ----------
    header
        The bytes before the pixel data element.
    transfer_syntax_uid
        What it is encoded in; corrected where the first element shows otherwise.
    inflated
        Whether the header begins with its data set, as one that was deflated, or cut off, does.

    Raises
    ------
    HeaderError
        If an element reaches beyond the header.
    """
    return Form(header, transfer_syntax_uid, inflated=inflated).elements()


class Form:
    """Where the elements of a header stand, so that another header of the same form is compared at once.

    The headers of a series differ in a few values that mostly have the same length: then no element of the
    second one is looked at but those whose bytes differ.

    Parameters
    ----------
    header, transfer_syntax_uid, inflated
        As `elements_of` has them.
    cuts
        Where the elements of a data set stand, if it was walked already.
    """

    def __init__(
        self,
        header: bytes,
        transfer_syntax_uid: str,
        *,
        inflated: bool = False,
        cuts: Sequence[Cut] | None = None,
    ) -> None:
        try:
            meta = [] if inflated else _meta(header)
        except StructError:
            raise HeaderError(_CUT) from None
        begin = meta[-1].end if meta else 0
        self.encoding = _encoding(header, begin, transfer_syntax_uid)
        self._header = header
        self._cuts = _cuts(header, begin, self.encoding) if cuts is None else cuts
        self._bytes = np.frombuffer(header, np.uint8)
        self._starts = np.array([cut.start for cut in self._cuts])
        is_form = bytearray(len(header))
        for cut in (*meta, *self._cuts):
            end = cut.value if cut.is_defined else cut.end
            is_form[cut.start : end] = b"\1" * (end - cut.start)
        self._is_form = np.frombuffer(is_form, np.bool_)

    @property
    def length(self) -> int:
        """Bytes of the header."""
        return len(self._header)

    def elements(self) -> Elements:
        """Return all elements of the header."""
        return {cut.tag: self._raw(self._header, cut) for cut in self._cuts}

    def differing(self, header: bytes) -> Elements | None:
        """Return the elements in which another header differs; `None` where it has another form."""
        if len(header) != len(self._header):
            return None
        (places,) = (np.frombuffer(header, np.uint8) != self._bytes).nonzero()
        if self._is_form[places].any():
            return None
        numbers = set(self._starts.searchsorted(places, side="right").tolist())
        cuts = (self._cuts[number - 1] for number in numbers if number)  # 0 is the file meta information
        return {cut.tag: self._raw(header, cut) for cut in cuts}

    def _raw(self, header: bytes, cut: Cut) -> Raw:
        return Raw(cut.vr, header[cut.value : cut.end], self.encoding)


def items_of(sequence: Raw) -> Iterator[Elements]:
    """Cut a sequence into the elements of its items.

    Raises
    ------
    HeaderError
        If an item or one of its elements reaches beyond the sequence.
    """
    data, position = sequence.value, 0
    opening = OPENINGS[_plain(sequence.encoding)]
    try:
        while position + 8 <= len(data):
            tag, _, length, value = opening(data, position)
            if tag != _ITEM:
                return
            encoding = _of_item(data, value, sequence.encoding)
            end = _after_item(data, value, encoding) if length == _UNDEFINED else value + length
            if end > len(data):
                raise HeaderError("is cut in the middle of an item")
            content = data[value : end - 8 if length == _UNDEFINED else end]
            yield {
                cut.tag: Raw(cut.vr, content[cut.value : cut.end], encoding)
                for cut in _cuts(content, 0, encoding)
            }
            position = end
    except StructError:
        raise HeaderError(_CUT) from None


def _cuts(header: bytes, position: int, encoding: Encoding) -> list[Cut]:
    opening, found, end = OPENINGS[encoding], [], len(header)
    try:
        while position + 8 <= end:  # once for every element: kept short
            start = position
            tag, vr, length, value = opening(header, start)
            is_defined = length != _UNDEFINED
            position = value + length if is_defined else _after(header, value, encoding)
            if position > end:
                raise HeaderError(f"is cut or damaged at {name_of(tag)}")
            found.append(Cut(tag, vr, start, value, position, is_defined))
            if len(found) > ELEMENT_LIMIT:
                raise HeaderError(f"has more than {ELEMENT_LIMIT:,} elements in one data set or item")
    except StructError:
        raise HeaderError(_CUT) from None
    if header[position:].strip(b"\0"):
        raise HeaderError(_CUT)
    return found


def _meta(header: bytes) -> list[Cut]:
    """Preamble and prefix, then the elements of the file meta information (PS3.10 section 7.1)."""
    position = _PREFIX_END if header[_PREFIX_END - 4 : _PREFIX_END] == b"DICM" else 0
    found = [Cut(0, b"", position, position, position, is_defined=True)]
    while header[position : position + 2] == b"\2\0":
        tag, vr, length, value = OPENINGS[EXPLICIT](header, position)
        found.append(Cut(tag, vr, position, value, value + length, is_defined=True))
        position = value + length
    return found


def _encoding(header: bytes, position: int, transfer_syntax_uid: str) -> Encoding:
    vr = header[position + 4 : position + 6]
    is_explicit = vr.isalpha() and vr.isupper()
    declared = encoding_of(transfer_syntax_uid)
    return declared if declared.explicit == is_explicit else EXPLICIT if is_explicit else IMPLICIT


def _after(header: bytes, position: int, encoding: Encoding) -> int:
    """Position after a sequence of undefined length; its items are walked without recursion."""
    return _walked(header, position, [(encoding, True)])


def _after_item(header: bytes, position: int, encoding: Encoding) -> int:
    """Position after an item of undefined length."""
    return _walked(header, position, [(encoding, False)])


def _walked(header: bytes, position: int, open_: list[tuple[Encoding, bool]]) -> int:
    """Position after everything that is open: an encoding, and whether items follow or elements."""
    while open_:
        within, holds_items = open_[-1]
        tag, _, length, value = OPENINGS[_plain(within) if holds_items else within](header, position)
        if tag in (_ITEM_DELIMITATION, _SEQUENCE_DELIMITATION):
            open_.pop()
            position = position if holds_items != (tag == _SEQUENCE_DELIMITATION) else value
        elif length != _UNDEFINED:
            position = value + length
        else:
            inner = _of_item(header, value, within) if holds_items and tag == _ITEM else within
            open_.append((inner, not holds_items))
            position = value
    return position


def _plain(encoding: Encoding) -> Encoding:
    """Items and delimiters have no VR in any encoding."""
    return Encoding(explicit=False, little_endian=encoding.little_endian)


def _of_item(header: bytes, position: int, encoding: Encoding) -> Encoding:
    """An item of an explicit data set may be implicit, as in an element of VR UN (PS3.5 section 6.2.2)."""
    vr = header[position + 4 : position + 6]
    return encoding if not encoding.explicit or (vr.isalpha() and vr.isupper()) else IMPLICIT
