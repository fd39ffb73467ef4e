"""What the headers of an array's instances say, as DICOM JSON (PS3.18 annex F); no I/O.

What all instances share is one data set; what varies is one column for each attribute, with each value that
occurs and, for each plane, which of them it has. Pixel data, icons, private binary and whatever exceeds
`BUDGET` are left out by name; lookup tables, ICC profiles and overlays stay, as pixels are shown with them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from threading import Lock
from typing import Any, Self

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag

from catalog.elements import Elements, Form, Raw, items_of
from catalog.encoding import EXPLICIT
from catalog.errors import ArrayError, HeaderError
from pipelines.store.json_elements import (
    BINARY_KEPT,
    CHARACTER_SET,
    PIXEL_REPRESENTATION,
    SMALL_BINARY,
    Encoding,
    Json,
    dataset_of,
    is_left_out,
    is_overlay_data,
    name_of,
)

BUDGET = 32 << 20
"""Bytes of values, as they stand in the files, that are kept of all headers of an array together."""
LONGEST_VARYING = 8 << 10
"""Bytes of other values that vary."""
MOST_IN_FRAMES = 2_000_000
"""Elements in the functional groups of all frames of an instance."""
FORMS = 64
"""How many headers are kept to compare others with."""

type _Differing = dict[int, Raw | None]

PER_FRAME = 0x52009230
"""Per-Frame Functional Groups Sequence."""
_DIFFUSION_DIRECTION = 0x00189076
_REFERENCES = frozenset({0x00081140, 0x00089124, 0x00082112, 0x00409096, 0x00209071})
"""Groups whose items refer to something else: images, derivation, sources, real world values, anatomy."""
_SEQUENCES_KEPT = frozenset(
    {
        0x00283000,
        0x00283010,
        0x00186011,
        0x00480105,
        0x00289422,
        0x00540016,
        0x00540013,
        0x00540012,
        0x00409096,
        0x52009229,
        0x00209221,
        0x00209222,
    }
)
"""Of sequences that vary: modality and VOI LUTs, ultrasound regions, optical paths, pixel value
transformations, radiopharmaceutical, energy windows, real world values; shared functional groups and
dimensions, without which the frames of an object are not described."""


# --- gathering -------------------------------------------------------------------------------------------


class Gathering:
    """Headers of the instances of an array, added one by one by any thread; holds one, and what differs."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._first: Elements = {}
        self._differing: dict[str, _Differing] = {}
        self._forms: dict[tuple[int, str], tuple[tuple[Form, _Differing], ...]] = {}
        self._frames: dict[str, list[Elements]] = {}
        self._groups: dict[str, list[Elements]] = {}
        self._transfer_syntaxes: dict[str, str] = {}
        self._room = FORMS
        self._memory = BUDGET

    def add(
        self, sop_instance_uid: str, header: bytes, transfer_syntax_uid: str, *, inflated: bool = False
    ) -> None:
        """Add a header, the bytes before the pixel data element; twice is once.

        Raises
        ------
        HeaderError
            If an element reaches beyond the header.
        """
        self._transfer_syntaxes[sop_instance_uid] = transfer_syntax_uid
        key = (len(header), transfer_syntax_uid)
        for known, of_known in self._forms.get(key, ()):
            if (differing := known.differing(header)) is not None:
                self._differing[sop_instance_uid] = self._from_first({**of_known, **differing})
                return
        form = Form(header, transfer_syntax_uid, inflated=inflated)
        elements = form.elements()
        if PER_FRAME in elements:
            groups = self._groups[sop_instance_uid] = _groups_of(elements[PER_FRAME])
            self._frames[sop_instance_uid] = [_of_frame(each) for each in groups]
        with self._lock:
            if not self._forms:
                self._first = elements
            absent: _Differing = dict.fromkeys(self._first.keys() - elements.keys())
            of_form = self._differing[sop_instance_uid] = self._from_first({**absent, **elements})
            if self._room:
                self._room -= 1
                self._forms[key] = (*self._forms.get(key, ()), (form, of_form))

    def _from_first(self, elements: "_Differing") -> "_Differing":
        """Those that are not as in the header that came first; what will not be kept does not take memory."""
        first = self._first
        differing = {tag: raw for tag, raw in elements.items() if raw is None or first.get(tag) != raw}
        for tag, raw in differing.items():
            if raw is not None and len(raw.value) > SMALL_BINARY:
                if not _may_vary(tag, raw) or len(raw.value) > self._memory:
                    differing[tag] = _NOT_KEPT
                else:
                    self._memory -= len(raw.value)
        return differing

    def described(self, frames: Sequence[tuple[str, int]]) -> "Described":
        """Return what the headers say of planes: SOP Instance UID, of which all were added, and frame index.

        Attributes of the functional groups of each frame are columns under their own names, and each group
        as a whole is one, too.
        """
        sop_instance_uids = [uid for uid, _ in frames]
        varying = {tag for differing in self._differing.values() for tag in differing}
        budget = _Budget(BUDGET)
        encoding = self._of_first
        shared: Json = {}
        for tag, raw in self._first.items():
            if tag not in varying and (element := budget.encoded(encoding, tag, raw)) is not None:
                shared[name_of(tag)] = element
        if CHARACTER_SET in self._first:
            shared[name_of(CHARACTER_SET)] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # as JSON is UTF-8
        columns = {}
        for tag in sorted(varying - {CHARACTER_SET}):
            column = self._column(tag, sop_instance_uids, budget)
            if column is not None and column.is_shared:
                shared[name_of(tag)] = column.elements[0]
            elif column is not None:
                columns[name_of(tag)] = column
        kept = len(budget.left_out)
        of_frames = self._frame_columns(self._frames, frames, budget)
        left_out = budget.left_out[:kept]  # what columns of frames lose is named with its groups
        within: list[str] = []
        budget.left_out = within
        groups = self._frame_columns(self._groups, frames, budget)
        left_out = [each for each in left_out if not groups or each != name_of(PER_FRAME)]
        left_out += [f"{name_of(PER_FRAME)}.{each}" for each in within]
        return Described(
            dict(sorted(shared.items())),
            columns,
            len(sop_instance_uids),
            tuple(dict.fromkeys(left_out)),
            of_frames,
            groups,
            tuple(self._transfer_syntaxes[uid] for uid in sop_instance_uids),
        )

    def _column(self, tag: int, sop_instance_uids: Sequence[str], budget: "_Budget") -> "Column | None":
        numbers: dict[Raw, int] = {}
        elements: list[Json] = []
        of_instance: dict[str, int] = {}
        for uid, differing in self._differing.items():
            raw = differing[tag] if tag in differing else self._first.get(tag)
            if raw is None:
                of_instance[uid] = ABSENT
                continue
            number = numbers.get(raw)
            if number is None:
                element = budget.encoded(self._encoding(uid), tag, raw if _may_vary(tag, raw) else _NOT_KEPT)
                if element is None:
                    return None
                number = numbers[raw] = len(elements)
                elements.append(element)
            of_instance[uid] = number
        column = Column(tuple(elements), tuple(of_instance[uid] for uid in sop_instance_uids))
        return column.merged() if len({raw.encoding for raw in numbers}) > 1 else column

    def _frame_columns(
        self, known: Mapping[str, list[Elements]], frames: Sequence[tuple[str, int]], budget: "_Budget"
    ) -> "dict[str, Column]":
        """What is known of the frames of each instance, a column for each element."""
        groups = [
            of_instance[index] if index < len(of_instance := known.get(uid, [])) else {}
            for uid, index in frames
        ]
        found = {}
        for tag in sorted({tag for each in groups for tag in each}):
            numbers: dict[Raw, int] = {}
            of_plane = [
                ABSENT if (raw := each.get(tag)) is None else numbers.setdefault(raw, len(numbers))
                for each in groups
            ]
            elements = [budget.encoded(self._of_first, tag, raw) for raw in numbers]
            kept = tuple(each for each in elements if each is not None)
            if len(kept) == len(elements):
                found[name_of(tag)] = Column(kept, tuple(of_plane))
        return found

    def _encoding(self, sop_instance_uid: str) -> "Encoding":
        """How the values of an instance are read: as those of the first one, unless it says otherwise."""
        differing = self._differing[sop_instance_uid]
        own = {
            tag: raw
            for tag in (CHARACTER_SET, PIXEL_REPRESENTATION)
            if (raw := differing.get(tag)) is not None
        }
        return Encoding.of(self._first | own) if own else self._of_first

    @cached_property
    def _of_first(self) -> "Encoding":
        return Encoding.of(self._first)


def _groups_of(sequence: Raw) -> list[Elements]:
    """Functional groups of each frame; none where they cannot be read or are too many."""
    frames, rest = [], MOST_IN_FRAMES
    try:
        for groups in items_of(sequence):
            frames.append(groups)
            rest -= 1 + len(groups) + len(_of_frame(groups))
            if rest < 0:
                return []
    except HeaderError:
        return []
    return frames


def _of_frame(groups: Elements) -> Elements:
    """Elements of the first item of each functional group of a frame, and of the directions of diffusion."""
    found: Elements = {}
    for tag, sequence in groups.items():
        if tag in _REFERENCES or tag >> 16 & 1:
            continue
        for item in islice(items_of(sequence), 1):
            for inner, raw in item.items():
                if inner == _DIFFUSION_DIRECTION:
                    found |= next(items_of(raw), {})
                elif raw.vr != b"SQ" and len(raw.value) <= SMALL_BINARY and not inner >> 16 & 1:
                    found[inner] = raw
    return found


_DELIMITATION = 8
"""Bytes that an empty sequence may have."""
_NOT_KEPT = Raw(b"", b"", EXPLICIT)
"""In the place of a value that is not kept."""


def _may_vary(tag: int, raw: Raw) -> bool:
    """Whether a value is kept where it varies: short ones, and those that say what the pixels are."""
    if raw.vr == b"SQ":
        return tag in _SEQUENCES_KEPT or len(raw.value) <= _DELIMITATION
    return len(raw.value) <= LONGEST_VARYING or tag in BINARY_KEPT or is_overlay_data(tag)


ABSENT = -1
"""Number of a value in a column where the instance of a plane does not have the attribute."""


@dataclass(frozen=True, slots=True)
class Column:
    """An attribute that varies."""

    elements: tuple[Json, ...]
    """Each value that occurs, as an element of DICOM JSON."""
    planes: tuple[int, ...]
    """For each plane the number of its value, from 0, or `ABSENT`."""

    @property
    def is_shared(self) -> bool:
        """Whether all planes have the same value after all."""
        return len(self.elements) == 1 and ABSENT not in self.planes

    def merged(self) -> Self:
        """Return the column with equal values, which files of several encodings wrote otherwise, once."""
        numbers: dict[str, int] = {}
        new = [numbers.setdefault(repr(each), len(numbers)) for each in self.elements]
        elements = dict(zip(new, self.elements, strict=True))
        return type(self)(
            tuple(elements[number] for number in range(len(elements))),
            tuple(ABSENT if number == ABSENT else new[number] for number in self.planes),
        )

    def element(self, plane: int) -> Json | None:
        """Return the element that a plane has; `None` where its instance does not have the attribute."""
        number = self.planes[plane]
        return None if number == ABSENT else self.elements[number]


@dataclass(frozen=True, slots=True)
class Described:
    """What the headers of an array say, by tag in eight hexadecimal digits."""

    shared: Json
    """Of all instances."""
    of_instances: Mapping[str, Column]
    planes: int
    """How many."""
    left_out: tuple[str, ...] = ()
    """Tags of what is not kept; within sequences with those around it, as in `00081140.00091010`."""
    of_frames: Mapping[str, Column] = field(default_factory=dict)
    """Of the functional groups of each frame, by their own tags."""
    groups: Mapping[str, Column] = field(default_factory=dict)
    """The functional groups of each frame as they are."""
    transfer_syntaxes: tuple[str, ...] = ()
    """In which the instance of each plane was read."""

    def to_json(self) -> tuple[bytes, bytes]:
        """Return two texts: the shared attributes, which are DICOM JSON, and the columns."""
        beside = {
            "of_instances": _plain_columns(self.of_instances),
            "planes": self.planes,
            "left_out": self.left_out,
            "of_frames": _plain_columns(self.of_frames),
            "groups": _plain_columns(self.groups),
            "transfer_syntaxes": self.transfer_syntaxes,
        }
        return _to_json(self.shared), _to_json(beside)

    @property
    def columns(self) -> Mapping[str, Column]:
        """What varies: of the instances and, where they have it, of the frames."""
        return {**self.of_instances, **self.of_frames}

    @classmethod
    def from_json(cls, shared: bytes, columns: bytes) -> Self:
        """Read what `to_json` wrote; raises `ArrayError` where it is damaged."""
        try:
            beside = json.loads(columns)
            return cls(
                dict(json.loads(shared)),
                _columns(beside["of_instances"]),
                int(beside["planes"]),
                tuple(beside["left_out"]),
                _columns(beside["of_frames"]),
                _columns(beside["groups"]),
                tuple(beside["transfer_syntaxes"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ArrayError("the attributes of an array are damaged; ingest its series again") from None

    def dataset(self, plane: int | None = None) -> Dataset:
        """Return what all instances share and, where a plane is given, all that its instance has."""
        return _read(self.shared | ({} if plane is None else _of_plane(self.columns, plane)))

    def instance(self, plane: int) -> Dataset:
        """Return the header of the instance that a plane is in, without what its functional groups say."""
        return _read(self.shared | _of_plane(self.of_instances, plane))

    def functional_groups(self, plane: int) -> Dataset:
        """Return the functional groups of a plane's frame, an item of (5200,9230); empty if it has none."""
        return _read(_of_plane(self.groups, plane))

    def table(self, planes: Sequence[int]) -> dict[str, list[Any]]:
        """Values of what varies, by keyword or tag: numbers and words, several as a tuple, `None` if absent.

        Sequences and binary values have no column.
        """
        return {
            keyword_for_tag(int(tag, 16)) or tag: [_plain(column.element(plane)) for plane in planes]
            for tag, column in self.columns.items()
            if not any("InlineBinary" in each or each["vr"] == "SQ" for each in column.elements)
        }


def _read(elements: Json) -> Dataset:
    try:
        return dataset_of(dict(sorted(elements.items())))
    except Exception:  # whatever pydicom stumbles over
        raise ArrayError("the attributes of an array are damaged; ingest its series again") from None


def _of_plane(columns: Mapping[str, Column], plane: int) -> Json:
    found = ((tag, column.element(plane)) for tag, column in columns.items())
    return {tag: element for tag, element in found if element is not None}


def _plain_columns(columns: Mapping[str, Column]) -> Json:
    return {tag: {"elements": column.elements, "planes": column.planes} for tag, column in columns.items()}


def _columns(plain: Json) -> dict[str, Column]:
    return {tag: Column(tuple(each["elements"]), tuple(each["planes"])) for tag, each in plain.items()}


def _plain(element: Json | None) -> Any:
    values = element.get("Value", ()) if element else ()
    plain = [each.get("Alphabetic") if isinstance(each, dict) else each for each in values]
    return (plain[0] if plain else None) if len(plain) < 2 else tuple(plain)


def _to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


# --- elements --------------------------------------------------------------------------------------------


class _Budget:
    """Bytes that may still be kept, and what was left out."""

    def __init__(self, limit: int) -> None:
        self._rest = limit
        self.left_out: list[str] = []

    def encoded(self, encoding: "Encoding", tag: int, raw: Raw) -> Json | None:
        """Return an element as DICOM JSON; `None`, and a name on the list, where it is not kept."""
        if raw is _NOT_KEPT or is_left_out(tag) or len(raw.value) > self._rest:
            element = None
        else:
            element = encoding.element(tag, raw, self.left_out)
        if element is None:
            self.left_out.append(name_of(tag))
            return None
        self._rest -= len(raw.value)
        return element
