"""Bounds every untrusted byte before pydicom sees it: a scanner of headers in small memory (PS3.5 section 7).

It reads no pixel data, does not recurse, and allocates nothing because a file says so; what it refuses is a
`HeaderError` whose text is the reason.
"""

import os
import stat
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from struct import error as StructError
from typing import NamedTuple

from pydicom.datadict import dictionary_VR

from catalog.elements import PIXEL_DATA, Cut, Elements, Form
from catalog.encoding import (
    BIG_ENDIAN,
    DEFLATED_UID,
    EXPLICIT,
    IMPLICIT,
    LONG_VRS,
    OPENINGS,
    SHORT_VRS,
    UIDS,
    Encoding,
    encoding_of,
)
from catalog.errors import HeaderError, words_of
from catalog.forms import FORM_LIMIT, Element, Forms, Known
from catalog.records import PixelData
from catalog.signatures import look_of, look_of_preamble
from catalog.window import Read, Recording, Stream, Window, cut, inflating, name_of

DEPTH_LIMIT = 64
"""How deep sequences may be nested."""
ELEMENT_LIMIT = 1_000_000
"""How many elements a header may have, those in its sequences included."""
HEADER_LIMIT = 256 << 20
"""How many bytes may precede the pixel data."""
INFLATED_LIMIT = 64 << 20
"""How many bytes a deflated data set may inflate to before its pixel data (PS3.5 section A.5)."""
KEPT_LIMIT = 64 << 20
"""The longest header whose bytes are kept whole."""
VALUE_LIMIT = 64 << 10
"""The longest value that is kept; longer ones are passed over."""

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_DELIMITATION, _SEQUENCE_DELIMITATION = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_TRANSFER_SYNTAX_UID = 0x00020010
MEDIA_STORAGE_SOP_CLASS_UID, MEDIA_STORAGE_SOP_INSTANCE_UID = 0x00020002, 0x00020003
_META_GROUP = range(0x00020000, 0x00030000)
_DATA_SET = range(0x00010000, 0x7FE00008)
"""Tags that need no second look on the way to the pixel data."""
_META = frozenset({_TRANSFER_SYNTAX_UID, MEDIA_STORAGE_SOP_CLASS_UID, MEDIA_STORAGE_SOP_INSTANCE_UID})


class Head(NamedTuple):
    """What precedes the pixel data of one file."""

    size: int
    mtime_ns: int
    meta: Mapping[int, Element]
    """Transfer syntax, SOP class and instance of the file meta information (PS3.10 section 7.1)."""
    elements: Mapping[int, Element]
    """The wanted elements of the data set, top level only."""
    encoding: Encoding
    transfer_syntax_uid: str
    pixel_data: PixelData | None
    """`None` where there is none or it lies inside a deflated data set."""
    start: int
    """Bytes before the data set."""
    end: int
    """Bytes before the pixel data; in a deflated data set counted from its start, inflated."""
    digest: str
    """SHA-256 of the bytes before the pixel data, inflated where deflated."""
    deviations: tuple[str, ...]
    data_set: bytes | None
    """Those of them that are the data set, where they were asked for and are at most `KEPT_LIMIT`."""
    form: Form | None
    """Of this data set or one before it, where that was asked for; `None` above `FORM_LIMIT` ..."""
    changed: Elements
    """... and the elements in which this one is another."""


def scan(
    path: str | Path | Stream,
    wanted: Container[int],
    *,
    deep: bool = False,
    keep: bool = False,
    forms: Forms | None = None,
) -> Head:
    """Read what precedes the pixel data of a file, with the values of the wanted top-level elements.

    Parameters
    ----------
    path
        A regular file; anything else is refused without being opened. Or a stream, which is read no further
        than to the pixel data.
    wanted
        Tags whose values are kept.
    deep
        Look into sequences and items of defined length too, as whatever recurses into them will.
    keep
        Keep the bytes of the data set.
    forms
        Compare with these, and add to them; the bytes are kept then, too.

    Raises
    ------
    HeaderError
        If the file is no DICOM, its header is cut, or it exceeds a limit of this module.
    """
    if isinstance(path, Stream):
        return _scan_stream(path, wanted, deep, keep, forms)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 (counts: this runs for every file)
            raise HeaderError("is no regular file")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        if isinstance(error, HeaderError):
            raise
        raise HeaderError(f"cannot be opened: {_words(error)}") from None
    try:
        found = os.fstat(descriptor)
        stream = Stream(lambda count: os.read(descriptor, count), found.st_size, found.st_mtime_ns)
        again = (lambda start: _reading(descriptor, start)) if keep or forms is not None else None
        return _scan(stream, wanted, deep, again, forms)
    except StructError:
        raise _cut_in_element() from None
    except OSError as error:
        raise HeaderError(f"cannot be read: {_words(error)}") from None
    finally:
        os.close(descriptor)


def inflated(path: str | Path, start: int, length: int) -> bytes:
    """Return the first bytes of what a deflated data set inflates to; `start` is that of its `Head`."""
    parts: list[bytes] = []
    with Path(path).open("rb") as file:
        file.seek(start)
        inflate = inflating(file.read)
        while length and (part := inflate(length)):
            parts.append(part)
            length -= len(part)
    return b"".join(parts)


def _words(error: Exception) -> str:
    return words_of(error) if isinstance(error, OSError) else "not a path"


def _scan_stream(stream: Stream, wanted: Container[int], deep: bool, keep: bool, forms: Forms | None) -> Head:
    recording = Recording(stream.read, KEPT_LIMIT + (1 << 20)) if keep or forms is not None else None
    try:
        read = Stream(recording.read, stream.size, stream.mtime_ns) if recording else stream
        return _scan(read, wanted, deep, recording.again if recording else None, forms)
    except StructError:
        raise _cut_in_element() from None
    except OSError as error:
        raise HeaderError(f"cannot be read: {_words(error)}") from None


def _cut_in_element() -> HeaderError:
    return HeaderError("is cut in the middle of an element's tag or length")


def _reading(descriptor: int, position: int) -> Read:
    """Read a file from a position on, however far it was read otherwise."""

    def read(count: int) -> bytes:
        nonlocal position
        part = os.pread(descriptor, count, position)
        position += len(part)
        return part

    return read


def _scan(
    stream: Stream,
    wanted: Container[int],
    deep: bool,
    again: Callable[[int], Read] | None,
    forms: Forms | None,
) -> Head:
    window = Window(stream.read, stream.size, HEADER_LIMIT)
    deviations: list[str] = []
    position = _after_prefix(window.data, deviations)
    meta, position, _ = _Walk(window, EXPLICIT, _META).run(position, _META_GROUP)
    uid = transfer_syntax_uid(meta)
    start = window.start + position
    is_deflated = uid == DEFLATED_UID
    if is_deflated:
        window.inflate(position, INFLATED_LIMIT)
        position = 0
    window.advance(position, 8)
    encoding = _encoding(window.data, uid, deviations)
    begin = window.start
    walk = _Walk(window, encoding, wanted, deep=deep)
    alike = None if forms is None or is_deflated else forms.find(window, encoding)
    if alike is None:
        elements, position, pixels = walk.run(0)
    else:
        elements, position, pixels = walk.taken(*alike)
    data_set = _kept(again, window, position, begin, start if is_deflated else None) if again else None
    form, changed = (None, {}) if alike is None else (alike[0].form, alike[1])
    if alike is None and forms is not None and data_set is not None and len(data_set) <= FORM_LIMIT:
        form = Form(data_set, uid or UIDS[encoding], inflated=True, cuts=list(starmap(Cut, walk.cuts)))
        if pixels is not None and not is_deflated:
            forms.add(form, elements)
    if pixels is not None:
        deviations += _beyond(pixels, window.end)
    elif len(window.data) > position:
        deviations.append("zero bytes follow the data set")
    return Head(
        stream.size,
        stream.mtime_ns,
        meta,
        elements,
        encoding,
        uid or UIDS[encoding],
        None if is_deflated else pixels,
        start,
        window.start + position,
        window.digest(position),
        tuple(deviations),
        data_set,
        form,
        changed,
    )


def _kept(
    again: Callable[[int], Read], window: Window, position: int, begin: int, deflated_from: int | None
) -> bytes | None:
    """The bytes of the data set, read once more where the window has passed them."""
    if window.start == begin:
        return window.data[:position]
    left = window.start + position - begin
    if left > KEPT_LIMIT:
        return None
    source, parts = again(begin) if deflated_from is None else inflating(again(deflated_from)), []
    while left and (part := source(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def transfer_syntax_uid(meta: Mapping[int, Element]) -> str:
    """Return the Transfer Syntax UID of a file meta information, empty where it is missing."""
    element = meta.get(_TRANSFER_SYNTAX_UID)
    return (element.value or b"").decode("latin-1").strip(" \0") if element else ""


def _after_prefix(data: bytes, deviations: list[str]) -> int:
    """Position after preamble and prefix (PS3.10 section 7.1), or 0 where a data set begins at once."""
    if not data:
        raise HeaderError("is empty")
    if data[128:132] == b"DICM":
        if len(data) == 132:
            raise HeaderError("ends after the DICOM prefix; there is no data set")
        if data[0] and (pretence := look_of_preamble(data)):
            deviations.append(f"preamble is that of {pretence}")
        return 132
    vr = data[4:6]
    if (data[:2] in (b"\2\0", b"\x08\0") and data[3:4] == b"\0") or (
        data[:2] == b"\0\x08" and (vr in SHORT_VRS or vr in LONG_VRS)
    ):
        deviations.append("has no preamble and no DICOM prefix")
        return 0
    look = look_of(data)
    raise HeaderError(f"is no DICOM; it looks like {look}" if look else "is no DICOM")


def _encoding(data: bytes, uid: str, deviations: list[str]) -> Encoding:
    """Return the encoding the transfer syntax declares, corrected by what the first element shows."""
    if len(data) < 8:
        raise HeaderError("ends before its data set begins")
    vr = data[4:6]
    explicit = vr.isalpha() and vr.isupper()
    if not uid:
        big_endian = explicit and int.from_bytes(data[:2], "little") >= 0x0400
        found = IMPLICIT if not explicit else BIG_ENDIAN if big_endian else EXPLICIT
        deviations.append(f"has no {name_of(_TRANSFER_SYNTAX_UID)}; read as {found}")
        return found
    declared = encoding_of(uid)
    if declared.explicit == explicit:
        return declared
    found = EXPLICIT if explicit else IMPLICIT
    deviations.append(f"is declared {declared} and encoded {found}")
    return found


def _beyond(pixels: PixelData, end: int | None) -> list[str]:
    if end is None or pixels.length is None or pixels.offset + pixels.length <= end:
        return []
    there = end - pixels.offset
    return [f"{name_of(pixels.tag)} is cut: it declares {pixels.length:,} bytes, the file has {there:,}"]


type _Step = tuple[int, bytes, int, int, int, bool]
"""The fields of a `Cut`."""


class _Walk:
    """One pass over the elements of a data set."""

    def __init__(
        self,
        window: Window,
        encoding: Encoding,
        wanted: Container[int],
        *,
        deep: bool = False,
    ) -> None:
        self._window = window
        self._encoding = encoding
        self._wanted = wanted
        self._deep = deep
        self.cuts: list[_Step] = []
        """Where the elements stand that were passed; not all of them above `FORM_LIMIT`."""
        self._count = 0

    def run(self, position: int, tags: range = _DATA_SET) -> tuple[dict[int, Element], int, PixelData | None]:
        """Return the wanted elements, the position of the element that ended the walk, and the pixel data."""
        window, wanted, deep, opening = self._window, self._wanted, self._deep, OPENINGS[self._encoding]
        first, beyond = tags.start, tags.stop
        elements: dict[int, Element] = {}
        data, begin, cuts = window.data, window.start, self.cuts
        count = 0
        while True:  # once for every element: the way through a short one is kept short
            count += 1
            if position + 12 > len(data):
                position = window.advance(position, 12)
                data = window.data
                self._admit(count)
                count = 0
                if window.start - begin > FORM_LIMIT:
                    cuts.clear()
                if len(data) < 8:
                    _refuse_rest(data)
                    return elements, position, None
            tag, vr, length, value = opening(data, position)
            if not first <= tag < beyond and self._ends(tag, tags, position):
                return elements, position, self._pixels(tag, vr, length, value)
            passed = window.start - begin
            at, inside = passed + position, passed + value
            if length > VALUE_LIMIT or (deep and _is_sequence(tag, vr)):
                position, value = self._pass(tag, vr, length, value), -1
                data = window.data
            else:
                position = value + length
                if position > len(data):
                    value = self._bring(value, length, tag)
                    position, data = value + length, window.data
            if tag in wanted:
                elements[tag] = Element(vr, data[value:position] if value >= 0 else None)
            cuts.append((tag, vr, at, inside, window.start - begin + position, length != _UNDEFINED))

    def taken(self, known: Known, changed: Elements) -> tuple[dict[int, Element], int, PixelData | None]:
        """Return what `run` would, for a data set of which another of the same form was walked."""
        wanted, position = self._wanted, known.form.length
        values = {
            tag: Element(raw.vr, raw.value if len(raw.value) <= VALUE_LIMIT else None)
            for tag, raw in changed.items()
            if tag in wanted
        }
        pixels = self._pixels(*OPENINGS[self._encoding](self._window.data, position))
        return {**known.elements, **values}, position, pixels

    def _admit(self, count: int) -> None:
        self._count += count
        if self._count > ELEMENT_LIMIT:
            raise HeaderError(f"has more than {ELEMENT_LIMIT:,} elements before its pixel data")

    def _ends(self, tag: int, tags: range, position: int) -> bool:
        """Whether an element out of range ends the walk: the next group, pixel data, zeros at the end."""
        if tags is _META_GROUP:
            return True
        if tag < 0x00010000 and self._window.data[position:].strip(b"\0"):
            raise HeaderError("holds a tag of group 0000 where an element of the data set should be")
        return tag < 0x00010000 or tag in PIXEL_DATA

    def _bring(self, value: int, length: int, tag: int) -> int:
        """Have a value in the window; return its new position."""
        self._window.check(value, length, tag)
        value = self._window.advance(value, length)
        if length > len(self._window.data):
            raise cut(tag, length, len(self._window.data))
        return value

    def _pixels(self, tag: int, vr: bytes, length: int, value: int) -> PixelData | None:
        if tag not in PIXEL_DATA:
            return None
        return PixelData(
            tag,
            vr.decode("latin-1") or "OW",
            self._window.start + value,
            None if length == _UNDEFINED else length,
        )

    def _pass(self, tag: int, vr: bytes, length: int, value: int) -> int:
        """Position after a long value, or after a sequence."""
        if length == _UNDEFINED:
            return self._through(tag, None, value)
        if self._deep and _is_sequence(tag, vr):
            self._window.check(value, length, tag)
            return self._through(tag, self._window.start + value + length, value)
        return self._window.skip(value, length, tag)

    def _through(self, tag: int, end: int | None, position: int) -> int:
        """Position after a sequence; its items are walked without recursion."""
        window = self._window
        open_ = [_Open(tag, self._encoding, end, items=True)]
        while open_:
            inner = open_[-1]
            if inner.end is not None and window.start + position >= inner.end:
                open_.pop()
                continue
            if position + 16 > len(window.data):
                position = window.advance(position, 16)
            self._admit(1)
            if len(open_) > 2 * DEPTH_LIMIT:
                raise HeaderError(f"nests sequences deeper than {DEPTH_LIMIT}, at {name_of(tag)}")
            step = self._item if inner.items else self._element
            position = step(open_, position)
        return position

    def _item(self, open_: "list[_Open]", position: int) -> int:
        """Step over the tag that begins an item or ends a sequence."""
        sequence = open_[-1]
        tag, _, length, value = OPENINGS[_plain(sequence.encoding)](self._window.data, position)
        if tag == _SEQUENCE_DELIMITATION:
            open_.pop()
        elif tag != _ITEM:
            raise HeaderError(f"has no item where one should begin in {name_of(sequence.tag)}")
        elif length == _UNDEFINED or (self._deep and sequence.tag not in PIXEL_DATA):
            end = None if length == _UNDEFINED else self._window.start + value + length
            if end is not None:
                self._window.check(value, length, sequence.tag)
            encoding = self._encoding_of_item(sequence.encoding, value)
            open_.append(_Open(sequence.tag, encoding, end, items=False))
        else:
            return self._window.skip(value, length, sequence.tag)
        return value

    def _encoding_of_item(self, encoding: Encoding, value: int) -> Encoding:
        """An item of an explicit data set may be implicit: some writers do so (pydicom issue 1067)."""
        vr = self._window.data[value + 4 : value + 6]
        return encoding if not encoding.explicit or (vr.isalpha() and vr.isupper()) else IMPLICIT

    def _element(self, open_: "list[_Open]", position: int) -> int:
        """Step over an element of an item, or into it where it is a sequence."""
        item = open_[-1]
        tag, vr, length, value = OPENINGS[item.encoding](self._window.data, position)
        if tag in (_ITEM_DELIMITATION, _SEQUENCE_DELIMITATION):
            open_.pop()
            return value if tag == _ITEM_DELIMITATION else position
        if length == _UNDEFINED:
            open_.append(_Open(tag, item.encoding, None, items=True))
            return value
        if self._deep and _is_sequence(tag, vr):
            self._window.check(value, length, tag)
            open_.append(_Open(tag, item.encoding, self._window.start + value + length, items=True))
            return value
        return self._window.skip(value, length, tag)


@dataclass(frozen=True, slots=True)
class _Open:
    """A sequence or an item whose end is not reached yet."""

    tag: int
    encoding: Encoding
    end: int | None
    """Offset in the file; `None` where a delimiter ends it."""
    items: bool
    """Whether items stand in it (a sequence) or elements (an item)."""


def _plain(encoding: Encoding) -> Encoding:
    return Encoding(explicit=False, little_endian=encoding.little_endian)


def _refuse_rest(rest: bytes) -> None:
    """Refuse bytes at the end that are too few for an element, unless they are padding."""
    if rest.strip(b"\0"):
        raise _cut_in_element()


def _is_sequence(tag: int, vr: bytes) -> bool:
    if vr:
        return vr == b"SQ"
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False
