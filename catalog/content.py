"""What a header says beside the columns, as texts and numbers under keys that are searched; no I/O.

A key is the path of an element from the top: `00189087`, in a sequence `52009229.00189117.00189087`, items
not told apart. Under it are the distinct values it has in the data set. What a series has in common is kept
once, and an instance has what differs from it: thousands of slices cost what varies.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, MutableMapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from struct import error as StructError
from struct import iter_unpack
from weakref import WeakKeyDictionary

from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VR, private_dictionary_VR

from catalog.attributes import BY_TAG
from catalog.elements import Elements, Form, Raw, items_of
from catalog.errors import HeaderError
from catalog.forms import Forms
from catalog.records import LONGEST_TEXT, Content, Document, Scalar, Value, Values, difference
from catalog.values import BINARY_NUMBERS, IN_CHARACTER_SET, character_set, decoded

MOST_VALUES = 10_000
"""Distinct values under one key; those of further frames are left out."""
MOST_ELEMENTS = 2_000_000
"""Of a data set, in its sequences too."""
DEEPEST = 16
"""How deep in sequences is looked."""

LIMITS = (
    f"of each header the first {LONGEST_TEXT} characters of a text are searched, {MOST_VALUES:,} values of "
    f"an element, {DEEPEST} levels of sequences; not pixels, overlays, icons, contours, original attributes"
)
"""What is left out, for whoever searches."""

_FORMS = 8
"""Forms of headers of one series whose difference from the first is kept."""

_SKIPPED_GROUPS = frozenset({0x0002, 0x7FE0, 0x5400, 0xFFFC, 0xFFFA, 0x4FFE})
_ICON, _ORIGINAL_ATTRIBUTES, _CONTOUR_DATA = 0x00880200, 0x04000561, 0x30060050
_SKIPPED = frozenset({_ICON, _ORIGINAL_ATTRIBUTES, _CONTOUR_DATA})
"""An icon has a header of its own, original attributes are past, a contour has thousands of coordinates."""
_SPECIFIC_CHARACTER_SET = 0x00080005
_PADDING = " \0"
_TEXTS = frozenset(["AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"])
_WHOLE_TEXTS = frozenset({"LT", "ST", "UT", "UR"})
_NUMBER_TEXTS = frozenset({"DS", "IS"})
_UNKNOWN = frozenset({"", "UN"})


class _Reference:
    """The first header of a series, and what was found in it."""

    def __init__(self, elements: Elements) -> None:
        self.elements = elements
        self._by_tag = _by_tag(elements, elements)
        self.document = _merged(self._by_tag)
        self._forms: dict[Form, tuple[Elements, frozenset[int], frozenset[int]]] = {}

    def read(self, form: Form, changed: Elements) -> tuple[Elements, Elements, Set[int]]:
        """Return the elements of another header of the series, those that are others, and what it lacks."""
        if form in self._forms:
            alike, others, gone = self._forms[form]
        else:
            alike = form.elements()
            others = frozenset(tag for tag, raw in alike.items() if self.elements.get(tag) != raw)
            gone = frozenset(self._by_tag.keys() - alike.keys())
            if len(self._forms) < _FORMS:
                self._forms[form] = alike, others, gone
        elements = {**alike, **changed}
        tags = others.union(changed)
        return elements, {tag: elements[tag] for tag in tags if elements[tag] != self.elements.get(tag)}, gone

    def difference(self, elements: Elements, changed: Elements, gone: Set[int]) -> dict[str, Values | None]:
        """What is otherwise in a header of which only some elements are others, or gone."""
        found: dict[str, Values | None] = {key: None for tag in gone for key in self._by_tag[tag]}
        for tag, document in _by_tag(changed, elements).items():
            found |= difference(document, self._by_tag.get(tag, {}))
        return found


@dataclass(slots=True)
class Contents:
    """Makes the `Content` of headers, of one series after another; few references are held at a time."""

    references: int = 8
    forms: Forms = field(default_factory=Forms)
    """Of the headers that were read, whatever their series."""
    values: MutableMapping[Form, Mapping[str, Value]] = field(default_factory=WeakKeyDictionary)
    """What `catalog.headers` read of the columns of a header that others are compared with."""
    _known: OrderedDict[str, _Reference] = field(default_factory=OrderedDict)

    def of(self, series_instance_uid: str, form: Form, changed: Elements) -> Content:
        """Return the content of a header.

        Parameters
        ----------
        series_instance_uid
            Headers of one series are alike.
        form, changed
            Where its elements stand, and those in which it is another than the header the form was made of,
            as `catalog.guard.scan` gives them.

        Raises
        ------
        HeaderError
            If an element in it is cut.
        """
        reference = self._known.get(series_instance_uid)
        if reference is None:
            reference = _Reference({**form.elements(), **changed})
            self._known[series_instance_uid] = reference
            if len(self._known) > self.references:
                self._known.popitem(last=False)
            return Content(reference.document, {})
        self._known.move_to_end(series_instance_uid)
        elements, others, gone = reference.read(form, changed)
        if _SPECIFIC_CHARACTER_SET in others:
            return content_alone(elements)
        return Content(reference.document, reference.difference(elements, others, gone))


def content_alone(elements: Elements) -> Content:
    """Return the content of a header that is compared with no other: a long one, of many frames."""
    return Content(_merged(_by_tag(elements, elements)), {})


def _merged(by_tag: Mapping[int, Document]) -> dict[str, Values]:
    return {key: values for each in by_tag.values() for key, values in each.items()}


def _by_tag(wanted: Elements, elements: Elements) -> dict[int, Document]:
    """The document of each wanted element of the top level that has no column; empty ones too."""
    read = {tag: raw for tag, raw in wanted.items() if tag not in BY_TAG and not _is_skipped(tag)}
    if not read:
        return {}
    charset = elements.get(_SPECIFIC_CHARACTER_SET)
    reader = _Reader(tuple(character_set(charset.value if charset else None, _ignore)))
    creators = _creators(elements)
    found: dict[int, Document] = {}
    for tag, raw in read.items():
        collected: dict[str, dict[Scalar, None]] = {}
        reader.collect(tag, raw, creators, "", collected, 0)
        found[tag] = {key: tuple(values) for key, values in collected.items() if values}
    return found


def _ignore(_words: str) -> None:
    """What departs from the standard in a character set is said by who reads the columns."""


def _is_skipped(tag: int) -> bool:
    group = tag >> 16
    return group in _SKIPPED_GROUPS or tag in _SKIPPED or not tag & 0xFFFF or 0x6000 <= group <= 0x60FF


def _creators(elements: Elements) -> dict[int, str]:
    """Private creators by group and block (PS3.5 section 7.8.1)."""
    return {
        tag: raw.value.decode(default_encoding).strip(_PADDING)
        for tag, raw in elements.items()
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF
    }


@dataclass(slots=True)
class _Reader:
    """Reads the elements of one data set, those in its sequences too."""

    encodings: Sequence[str]
    left: int = MOST_ELEMENTS

    def collect(
        self,
        tag: int,
        raw: Raw,
        creators: Mapping[int, str],
        above: str,
        found: dict[str, dict[Scalar, None]],
        depth: int,
    ) -> None:
        """Add what an element says to what was found."""
        self.left -= 1
        if self.left < 0:
            raise HeaderError(f"has more than {MOST_ELEMENTS:,} elements in its sequences")
        key = f"{above}{tag:08X}"
        vr = _vr_of(tag, raw.vr, creators)
        if vr == "SQ":
            if depth < DEEPEST:
                for item in items_of(raw):
                    inner = {**creators, **_creators(item)}
                    for each, value in item.items():
                        if not _is_skipped(each):
                            self.collect(each, value, inner, f"{key}.", found, depth + 1)
            return
        under = found.setdefault(key, {})
        if len(under) < MOST_VALUES:
            under |= dict.fromkeys(islice(self._values(vr, raw), MOST_VALUES - len(under)))

    def _values(self, vr: str, raw: Raw) -> Iterable[Scalar]:
        value = raw.value
        if not value:
            return ()
        if (code := BINARY_NUMBERS.get(vr.encode())) is not None:
            try:
                order = "<" if raw.encoding.little_endian else ">"
                return (each for (each,) in iter_unpack(order + code, value) if math.isfinite(each))
            except StructError:
                return ()
        if vr in _NUMBER_TEXTS:
            return map(_number, _split(value.decode(default_encoding)))
        if vr in _UNKNOWN:
            return map(_number, _split(value.decode("ascii"))) if _is_printable(value) else ()
        if vr not in _TEXTS:
            return ()
        text = self._text(vr, value).replace("\0", "")
        return [text.strip(_PADDING)[:LONGEST_TEXT]] if vr in _WHOLE_TEXTS else _split(text)

    def _text(self, vr: str, value: bytes) -> str:
        if value.isascii() and b"\x1b" not in value:
            return value.decode("ascii")
        if vr.encode() in IN_CHARACTER_SET:
            return decoded(value, self.encodings)[0]
        return value.decode(default_encoding)


def _split(text: str) -> list[str]:
    parts = [each.strip(_PADDING)[:LONGEST_TEXT] for each in text.replace("\0", "").split("\\", MOST_VALUES)]
    return [each for each in parts if each]


def _number(text: str) -> Scalar:
    try:
        number = float(text)
    except ValueError:
        return text
    if number != number or number in (float("inf"), float("-inf")):
        return text
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _is_printable(value: bytes) -> bool:
    return len(value) <= LONGEST_TEXT and value.isascii() and value.strip(b" \0").decode().isprintable()


def _vr_of(tag: int, vr: bytes, creators: Mapping[int, str]) -> str:
    if vr and vr != b"UN":
        return vr.decode("latin-1")
    if not tag >> 16 & 1:
        return _public_vr(tag)
    return _private_vr(tag, creators.get(tag >> 16 << 16 | tag >> 8 & 0xFF, ""))


@cache
def _public_vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return ""


@cache
def _private_vr(tag: int, creator: str) -> str:
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    try:
        return private_dictionary_VR(tag, creator)[:2]
    except KeyError:
        return ""
