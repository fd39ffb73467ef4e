"""Frozen records: what passes between the rooms. Workers receive these and never open the catalog.

A field is the attribute's keyword in snake_case; `None` means the attribute is absent or empty.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any

type Value = str | int | float | None
"""What a column holds; several numbers stay one backslash-separated text as in the file."""

type Progress = Callable[[int, int | None], None]
"""Called with how many are done and, when it is known, how many there are."""


def no_progress(done: int, total: int | None) -> None:
    """Show nothing."""


# --- files and headers -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PixelData:
    """Where the pixel data element's value lies in its file."""

    tag: int
    """(7FE0,0010) Pixel Data, (7FE0,0008) Float or (7FE0,0009) Double Float Pixel Data."""
    vr: str
    offset: int
    """Bytes from the start of the file to the first byte of the value."""
    length: int | None
    """Bytes of the value; `None` where it is of undefined length, that is encapsulated (PS3.5 A.4)."""


type Scalar = str | float | int
type Values = tuple[Scalar, ...]
type Document = Mapping[str, Values]
"""What a header says by key (`catalog.content`): the path of an element to its distinct values."""
LONGEST_TEXT = 500
"""Characters of a text of a document that are kept; longer ones are searched by their beginning."""


def difference(document: Document, base: Document) -> dict[str, Values | None]:
    """Return what one document has otherwise than another; `None` is under keys that it lacks."""
    found: dict[str, Values | None] = dict.fromkeys(key for key in base if key not in document)
    return found | {key: values for key, values in document.items() if base.get(key) != values}


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """The document of one header, as the difference from that of another of its series."""

    like: Document
    """Document of the first header of the series that was read; the same object for all that refer to it."""
    differing: Mapping[str, Values | None]
    """Keys under which this one has something else, or nothing."""

    def document(self) -> dict[str, Values]:
        """The whole of it."""
        changed = {key: values for key, values in self.differing.items() if values is not None}
        return {key: values for key, values in self.like.items() if key not in self.differing} | changed


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """The header of one readable file."""

    path: str
    size: int
    mtime_ns: int
    header_digest: str
    """SHA-256 of the bytes before the pixel data element."""
    transfer_syntax_uid: str
    values: Mapping[str, Value]
    """Column name of `catalog.attributes` to value; absent attributes are not in it."""
    pixel_data: PixelData | None
    """`None` where the instance has none, or where it lies inside a deflated data set."""
    deviations: tuple[str, ...] = ()
    """Departures from the standard that were tolerated, in words without patient data."""
    content: Content | None = None
    """What it says beside the columns, where that was asked for."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is no readable DICOM: a value, not the end of the run."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one thing of many was left out."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What one run of the index did; `added + updated + unchanged + len(rejected)` is every file seen."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: tuple[Rejection, ...] = ()
    duplicates: int = 0
    """Of the added: further places of an instance that was known with the same bytes."""
    moved: int = 0
    """Of the updated: instances found at a new place while the old one is gone."""
    vanished: tuple[str, ...] = ()
    """Files that were known under the given paths and are no longer there; their rows are kept."""
    conflicts: tuple[Rejection, ...] = ()
    """Of the rejected: a SOP Instance UID that is known with other bytes; both are kept on record."""
    seconds: float = 0.0

    @property
    def files(self) -> int:
        """Count of every file seen."""
        return self.added + self.updated + self.unchanged + len(self.rejected)


@dataclass(frozen=True, slots=True)
class RemoteSeries:
    """One series as a source elsewhere tells of it: a bucket, a web server, a PACS."""

    values: Mapping[str, Value]
    """Column name of `catalog.attributes` to value, of patient, study and series; both UIDs are needed."""
    source: str
    """Who tells of it: `idc`, or the address of a node, `pacs://NODE`."""
    address: str
    """Where its pixels lie: `s3://bucket/prefix`, `pacs://node`; never with a password."""
    instances: int | None = None
    bytes: int | None = None
    collection: str | None = None
    """What a public source files it under; so the next three."""
    analysis_result: str | None = None
    license: str | None = None
    doi: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteReport:
    """What was learnt from a source elsewhere; the sum of the first four is every series it told of."""

    source: str
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: tuple[Rejection, ...] = ()
    """Series that cannot be recorded; `path` is their UID."""
    withdrawn: int = 0
    """Series the source told of before and no longer does."""
    seconds: float = 0.0

    @property
    def series(self) -> int:
        """Count of every series it told of."""
        return self.added + self.updated + self.unchanged + len(self.rejected)


# --- series and instances --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mosaic:
    """An image of which every tile is a plane of its own; tiles go from left to right, then down."""

    rows: int
    """Of the whole image."""
    columns: int
    across: int
    """Tiles beside each other ..."""
    down: int
    """... and below each other, those without a plane included."""


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One instance of the catalog with the place its bytes are read from."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    path: str
    header_digest: str
    pixel_data: PixelData | None
    instance_number: int | None = None
    rows: int | None = None
    columns: int | None = None
    number_of_frames: int | None = None
    samples_per_pixel: int | None = None
    photometric_interpretation: str | None = None
    planar_configuration: int | None = None
    bits_allocated: int | None = None
    bits_stored: int | None = None
    high_bit: int | None = None
    pixel_representation: int | None = None
    image_position_patient: tuple[float, ...] | None = None
    image_orientation_patient: tuple[float, ...] | None = None
    pixel_spacing: tuple[float, ...] | None = None
    imager_pixel_spacing: tuple[float, ...] | None = None
    slice_thickness: float | None = None
    spacing_between_slices: float | None = None
    gantry_detector_tilt: float | None = None
    rescale_slope: float | None = None
    rescale_intercept: float | None = None
    rescale_type: str | None = None
    units: str | None = None
    window_center: tuple[float, ...] | None = None
    window_width: tuple[float, ...] | None = None
    image_type: str | None = None
    acquisition_number: int | None = None
    acquisition_date: str | None = None
    acquisition_time: str | None = None
    content_time: str | None = None
    trigger_time: float | None = None
    temporal_position_identifier: int | None = None
    echo_time: float | None = None
    echo_numbers: int | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    diffusion_b_value: float | None = None
    diffusion_gradient_orientation: tuple[float, ...] | None = None
    nominal_percentage_of_cardiac_phase: float | None = None
    nominal_interval: float | None = None
    """From one R wave to the next, ms."""
    cardiac_number_of_images: int | None = None
    temporal_position_time_offset: float | None = None
    """Seconds from the first temporal position."""
    repetition_time: float | None = None
    """ms."""
    number_of_temporal_positions: int | None = None
    acquisition_duration: float | None = None
    """Of the whole series of images, s."""
    kvp: float | None = None
    """Peak kilo voltage."""
    volume_frame_of_reference_uid: str | None = None
    """Where position and orientation are those of an ultrasound volume, not of the patient."""
    deviations: tuple[str, ...] = ()
    frame_index: int | None = None
    """From 0, where the record stands for one frame of an enhanced object; `None` for all of its frames."""
    dimension_indices: tuple[tuple[str, int], ...] = ()
    """Of a frame, along the dimensions that its object names and that are no place: name and index from 1."""
    in_concatenation_number: int | None = None
    """From 1, where the instance is one part of an object."""
    mosaic: Mosaic | None = None
    """Where the record stands for one tile: its number is `frame_index`, `rows` and `columns` are its own."""
    rot: str = ""
    """Why its bytes cannot be trusted, in words, where a scrub found them changed; empty where it did not."""
    obstacle: str = ""
    """Why the image is no plane of a volume, where its header shows it only on a closer look."""


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """One series of the catalog with its study and patient."""

    series_instance_uid: str
    study_instance_uid: str
    patient_id: str
    patient_name: str | None = None
    patient_birth_date: str | None = None
    patient_sex: str | None = None
    study_date: str | None = None
    study_time: str | None = None
    study_description: str | None = None
    accession_number: str | None = None
    modality: str | None = None
    series_number: int | None = None
    series_description: str | None = None
    body_part_examined: str | None = None
    protocol_name: str | None = None
    laterality: str | None = None
    manufacturer: str | None = None
    manufacturer_model_name: str | None = None
    frame_of_reference_uid: str | None = None
    instances: int = 0
    """Count of its instances that have a place; of a series without a file, what its source tells."""
    frames: int = 0
    """Of the instances that have a place."""
    remote: str = ""
    """Address where its pixels lie, when there is no file."""
    ours: bool = False
    """Whether it holds results that this bench sent, or that a workbench made: no new input."""


@dataclass(frozen=True, slots=True)
class PatientRecord:
    """One patient that a node has."""

    patient_id: str
    issuer_of_patient_id: str | None = None
    patient_name: str | None = None
    patient_birth_date: str | None = None
    patient_sex: str | None = None
    studies: int | None = None
    """Counts as the node tells them; `None` where it does not."""
    series: int | None = None
    instances: int | None = None
    remote: str = ""
    """Address of the node."""


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """One study that a node has, with its patient."""

    study_instance_uid: str
    patient_id: str
    patient_name: str | None = None
    patient_birth_date: str | None = None
    patient_sex: str | None = None
    study_date: str | None = None
    study_time: str | None = None
    study_description: str | None = None
    study_id: str | None = None
    accession_number: str | None = None
    referring_physician_name: str | None = None
    modalities: tuple[str, ...] = ()
    series: int | None = None
    """Counts as the node tells them; `None` where it does not."""
    instances: int | None = None
    remote: str = ""
    """Address of the node."""


@dataclass(frozen=True, slots=True)
class FacetCount:
    """How many series have one value of an attribute."""

    attribute: str
    """Name of its column."""
    value: Value
    """`None` where it is absent."""
    series: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a series."""

    series_instance_uid: str
    kind: str
    """One of `catalog.vocabulary.KINDS`."""
    words: str
    part: int | None = None
    """Of its arrays, where it is about one."""
    sop_instance_uid: str | None = None
    """Where it is about one instance."""


# --- arrays ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArrayRecord:
    """One array of a series in Zarr; a series that is not one volume has several parts."""

    series_instance_uid: str
    study_instance_uid: str
    part: int
    """From 0, in a stable order; one series may hold a localizer, two orientations, ten time points."""
    kind: str
    """`volume` where the planes form a regular grid, else `stack`; for what is no planes of a series, the
    kind of object: `segmentation`, `parametric map`, `dose`, `waveform`, `video` (left as it is) or
    `video frames`."""
    label: str
    """What sets this part apart from its siblings, for a person; empty where there is one part."""
    reason: str
    """Why this is a stack and not a volume, in words; empty for a volume."""
    path: str
    """Absolute folder of the Zarr group; of a video that is left as it is, its file."""
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    affine_lps: tuple[tuple[float, ...], ...] | None
    """4 × 4, from (column, row, plane) index to LPS mm; `None` for a stack."""
    frame_of_reference_uid: str | None
    input_digest: str
    """Over the instances' UIDs and header digests: what went in."""
    source_digest: str
    """Over the per-frame digests of the frames' bytes as they stand in the archive; for an object, of its
    whole file."""
    stored_digest: str
    """Over the per-frame digests of the decoded stored values, or the per-slab ones of an object's."""
    metadata_digest: str
    """Of every file of the group except the chunks of the stored values, joined by hyphens."""
    sources: int = 0
    """Count of source instances."""


# --- runs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One thing a run made."""

    kind: str
    """`array` (a Zarr group), `SEG` or `SR` (a DICOM file)."""
    path: str
    digest: str
    series_instance_uid: str
    """Of the series it was made from."""
    run: str
    sop_instance_uid: str | None = None
    """For DICOM objects."""


@dataclass(frozen=True, slots=True)
class RunItem:
    """One series (part) of a run: what went in, what came out."""

    series_instance_uid: str
    part: int
    key: str
    """Digest over the step's code, its parameters and the inputs; the same key is not computed twice."""
    state: str
    """`succeeded`, `reused` or `failed`."""
    reason: str = ""
    seconds: float = 0.0
    outputs: tuple[OutputRecord, ...] = ()
    measurements: tuple[Mapping[str, Any], ...] = ()
    """Rows with `name`, `value`, `unit` and, for masks, `segment`."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One recorded application of a step to series."""

    run: str
    step: str
    code_digest: str
    version: str
    parameters: Mapping[str, Any]
    environment: Mapping[str, str]
    started: datetime
    finished: datetime | None
    items: tuple[RunItem, ...] = field(default=())


# --- deliveries ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing that happened to a delivery."""

    name: str
    """`queued`, `validated`, `sending`, `stored`, `committed`, `confirmed`, `failed`, `postponed`,
    `withdrawn`."""
    at: datetime
    text: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One instance for one node."""

    delivery: int
    sop_instance_uid: str
    sop_class_uid: str
    node: str
    path: str
    digest: str
    """SHA-256 of the file's bytes as queued; the same bytes go out on every attempt."""
    state: str
    reason: str
    attempts: int
    next_attempt: datetime
    transaction_uid: str | None = None
    """Of the storage commitment request that is open (PS3.4 J.3.2)."""
    validated: str = ""
    """Who judged the object before it was queued, in words; empty where nobody did."""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    is_result: bool = False
    """Whether it was made of images, and is none that was acquired."""
    origin: str = ""
    """Why it is in the outbox, one of `catalog.deliveries.Origin`."""
    stages: tuple[Stage, ...] = ()


# --- cohorts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """What series were asked for: an expression of `catalog.where`, and matching on attributes."""

    where: str | None = None
    matching: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CohortItem:
    """One instance of a frozen selection."""

    series_instance_uid: str
    sop_instance_uid: str
    header_digest: str
    """SHA-256 of the bytes before the pixel data element, when it was frozen."""
    size: int | None = None
    """Bytes of its file; `None` where it came by version 1 of the manifest, which has headers alone."""
    content_digest: str = ""
    """SHA-256 of the whole file; empty where it was frozen without reading it."""


@dataclass(frozen=True, slots=True)
class CohortRecord:
    """A frozen selection without its instances; it is never changed."""

    name: str
    question: Question | None
    """`None` where series were named one by one, or where a manifest left it out."""
    approval: str
    """Number of the ethics committee, or of a consent; empty where none was given."""
    expires: date | None
    """The last day of the approval."""
    frozen: datetime
    series: int
    instances: int
    digest: str
    """SHA-256 over all of it but the name, and a question that tells of a patient."""
    hashed: int = 0
    """Of its instances: those whose whole file was read, so that other pixels are seen."""
    version: int = 2
    """Of its manifest: what the digest is over."""


@dataclass(frozen=True, slots=True)
class Compared:
    """By what the instances of a cohort that can be read here were compared."""

    whole_file: int
    """By the digest of the whole file: no other byte goes unseen."""
    header: int
    """By header, and size where it was kept: other pixels of the same size are not seen."""


@dataclass(frozen=True, slots=True)
class CohortChange:
    """What is no longer as it was frozen, of one instance."""

    state: str
    """`added`, `removed`, `changed`, `unreadable`, `deleted` or `missing`."""
    series_instance_uid: str
    sop_instance_uid: str
    reason: str


# --- documents -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DocumentText:
    """What was read of a document, or why nothing was."""

    state: str
    """`read`, `empty` (no text in it), `failed` (for good), or `due` (for now: to be tried again)."""
    reason: str = ""
    """In words without patient data; of what was read, what is left out of it."""
    text: str = ""
    title: str = ""
    status: str = ""
    """Completion and Verification Flag (0040,A491), (0040,A493), in words."""
    moment: str = ""
    """Content Date and Time, as `catalog.revisions.moment_of` has it ..."""
    created: str = ""
    """... and Instance Creation Date and Time."""
    number: int | None = None
    identifier: str = ""
    """(0040,E001) HL7 Instance Identifier."""
    predecessors: tuple[str, ...] = ()
    """SOP Instance UIDs of (0040,A360) Predecessor Documents Sequence."""


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """One document of a study: an encapsulated PDF or CDA, a structured report, a file that was given."""

    document: int
    study_instance_uid: str
    patient_id: str
    kind: str
    """`PDF`, `CDA`, `SR` or `text`."""
    title: str
    date: str
    """Of its content, as DA (PS3.5 6.2); empty where it has none."""
    time: str
    status: str
    state: str
    """`due`, `read`, `empty` or `failed`."""
    reason: str
    revision: int
    """From 1, of so many `revisions` that are there."""
    revisions: int
    is_valid: bool
    """Whether it is the last of its revisions."""
    remark: str
    """What contradicts itself among its revisions."""
    sop_instance_uid: str | None
    path: str | None
    """Of a report that was given as a file."""
    snippet: str = ""
    """Where it says what was looked for, hits in «these»."""


def as_dict(record: Any) -> dict[str, Any]:
    """Return the fields of a record as a dictionary, nested records too, for JSON and DataFrames."""
    return {each.name: _plain(getattr(record, each.name)) for each in fields(record)}


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return as_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value  # a moment is a date, too
