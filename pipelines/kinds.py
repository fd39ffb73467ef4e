"""Which kind of object is served by what: the one table that ingest, verify and opening ask; no I/O.

A new kind is a row here. The way says who turns its files into arrays; a kind that is no array says what
to do instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from pydicom import uid

from pipelines.decoding.pixels import VIDEO_CODECS

STORAGE = "1.2.840.10008.5.1.4.1.1."
"""What the UIDs of nearly all storage SOP classes begin with (PS3.4 table B.5-1)."""


class Way(Enum):
    """How the instances of a kind become arrays."""

    PLANES = "planes"
    """Images, sorted into volumes and stacks over the whole series, by `pipelines.ingest`."""
    OBJECT = "object"
    """One instance, one labelled array (or several), by its own reader and `pipelines.objects.ingest`."""
    VIDEO = "video"
    """One instance, one movie: left as it is, or stored as chunks, by `pipelines.objects.ingest`."""
    ARCHIVE = "archive"
    """Chunks already: left in the archive and opened from there, as `Kind.instead` says."""
    NONE = "none"
    """No array at all; `Kind.instead` says what there is."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What an instance is, as far as arrays go."""

    name: str
    way: Way
    served_by: str
    """`module:function` that opens one file of it, or the module that does; empty for no array."""
    instead: str = ""
    """For what becomes no array: what to do with it."""

    @property
    def reason(self) -> str:
        """One sentence for a person who asked for an array of what is none."""
        return f"{self.name} is no array; {self.instead}"


IMAGE = Kind("an image", Way.PLANES, "pipelines.ingest")
VIDEO = Kind("video", Way.VIDEO, "pipelines.video.opening:open_video")
SEGMENTATION = Kind("segmentation", Way.OBJECT, "pipelines.objects.segmentations:read_segmentation")
PARAMETRIC_MAP = Kind("parametric map", Way.OBJECT, "pipelines.objects.parametric:read_parametric_map")
DOSE = Kind("dose", Way.OBJECT, "pipelines.objects.dose:read_dose")
WAVEFORM = Kind("waveform", Way.OBJECT, "pipelines.objects.waveforms:read_waveforms")
SLIDE = Kind(
    "a whole slide",
    Way.ARCHIVE,
    "pipelines.slides.levels:open_slide",
    "its tiles are chunks already and stay in the archive: bench.slide(series) opens its levels",
)


def _none(name: str, instead: str, served_by: str = "") -> Kind:
    return Kind(name, Way.NONE, served_by, instead)


STRUCTURES = _none(
    "a structure set (contours)",
    "bench.structures(series) lists them and draws one as a mask on a volume",
    "pipelines.objects.structures:read_structures",
)
_REPORT = _none("a structured report", "read its text and numbers with highdicom.sr.srread(path)")
_STATE = _none("a presentation state (how images are shown)", "open the series of the images it refers to")
_DOCUMENT = _none(
    "a document", "write its Encapsulated Document (0042,0011) to a file of its own with pydicom"
)
REGISTRATION = _none(
    "a registration (matrices)",
    "bench.registration(series) reads it; viewer.overlay and bench.compare take it as their transform",
    "pipelines.objects.registrations:read_registration",
)
_MEASUREMENTS = _none("a table of measurements", "read them with pydicom")
_THERAPY = _none(
    "an RT plan or treatment record",
    "read it with pydicom; dose, structures and images of the plan are series of their own",
)

BY_SOP_CLASS: Mapping[str, Kind] = {
    "66.4": SEGMENTATION, "66.7": SEGMENTATION,
    "30": PARAMETRIC_MAP,
    "481.2": DOSE,
    "9.": WAVEFORM,
    "77.1.6": SLIDE, "77.1.9": SLIDE,
    "481.3": STRUCTURES,
    "481.1": IMAGE, "481.23": IMAGE, "481.24": IMAGE, "481.": _THERAPY,
    "88.59": _none("a key object selection", "open the series of the instances it names"),
    "88.": _REPORT,
    "11.": _STATE,
    "104.": _DOCUMENT,
    "66.1": REGISTRATION,
    "66.3": _none("a registration (deformation field)", "read its grid with pydicom"),
    "66.2": _none("a set of fiducials (points)", "read them with pydicom"),
    "66.5": _none("a surface segmentation (meshes)", "read its surfaces with pydicom"),
    "66.6": _none("a tractography result (tracks)", "read its tracks with highdicom or pydicom"),
    "66": _none("raw data of a maker's own form", "read it with the maker's software"),
    "67": _none("a real world value map", "apply it to the series that it refers to"),
    "4.2": _none("spectroscopy", "read its Spectroscopy Data (5600,0020) with pydicom"),
    "68.": _none("a surface scan", "read its surfaces with pydicom"),
    "78.": _MEASUREMENTS, "79.1": _MEASUREMENTS, "80.1": _MEASUREMENTS,
    "91.1": _none("microscopy annotations", "read them with highdicom.ann.annread(path)"),
    "131": _none("a structured display", "open the series that it arranges"),
    "200.": _none("a protocol", "read it with pydicom"),
}  # fmt: skip
"""By what follows `STORAGE` in a SOP Class UID; one that ends in a dot stands for all that begin so.

What is not here is taken for an image.
"""


VIDEO_FRAMES = "video frames"
"""Kind of the array of a video that is stored as chunks; one that is left as it is has `VIDEO.name`."""
OBJECT_ARRAYS = frozenset(
    (VIDEO.name, VIDEO_FRAMES, *(each.name for each in BY_SOP_CLASS.values() if each.way is Way.OBJECT))
)
"""Kinds of arrays (`ArrayRecord.kind`) that stand for one instance, and are no planes of a series."""


def kind_of(sop_class_uid: str, transfer_syntax_uid: str) -> Kind:
    """Kind of an instance: its transfer syntax tells a video, else its SOP class what it is."""
    if transfer_syntax_uid in VIDEO_CODECS:
        return VIDEO
    tail = sop_class_uid.removeprefix(STORAGE) if sop_class_uid.startswith(STORAGE) else ""
    if tail in BY_SOP_CLASS:
        return BY_SOP_CLASS[tail]
    families = (part for part in BY_SOP_CLASS if part.endswith(".") and tail.startswith(part))
    return next((BY_SOP_CLASS[part] for part in families), IMAGE)


def without_pixels(sop_class_uid: str) -> str:
    """One sentence of an instance that should be an image and has no pixel data."""
    name = uid.UID(sop_class_uid).name
    return f"has no pixel data ({name}); read what it holds with pydicom"
