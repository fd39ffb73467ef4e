"""What an object refers to, and whether its lists of references hold all of it; no I/O.

SR and Key Objects list evidence (PS3.3 C.17.2.3, C.17.6.2), segmentations and maps what they were derived
from (Common Instance Reference, PS3.3 C.12.2).
"""

from collections.abc import Iterable, Iterator

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from catalog.identifiers import is_uid
from pipelines.validate.content_tree import concept, tree

CURRENT, OTHER = "CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"

KEY_OBJECT_TITLES = frozenset(getattr(codes.cid7010, each).value for each in codes.cid7010.dir())
"""PS3.16 CID 7010, which is extensible: another title is allowed where its scheme is not DCM."""


def key_object_faults(ds: Dataset) -> Iterator[str]:
    """Name what a Key Object Selection lacks (PS3.16 TID 2010): a title, references, complete evidence."""
    value, scheme = concept(ds)
    if not value or (scheme == "DCM" and value not in KEY_OBJECT_TITLES):
        yield f"TID 2010 row 1, the title ({value or 'none'}, {scheme}), is none of CID 7010"
    if not list(_content_references(ds)):
        yield "TID 2010 rows 5 to 8: it refers to no instance"
    yield from evidence_faults(ds)
    named = {uid for _, uid, _ in _content_references(ds)}
    for uid in _listed(ds, CURRENT):
        if uid not in named:
            yield f"evidence lists {uid}, which the selection does not name (PS3.3 C.17.6.2.1)"
    studies = [str(each.get("StudyInstanceUID")) for each in ds.get(CURRENT) or ()]
    if len(set(studies)) > 1 and not ds.get("IdenticalDocumentsSequence"):
        yield "evidence is of more than one study, and no identical document is named (PS3.3 C.17.6.2)"


def evidence_faults(ds: Dataset) -> Iterator[str]:
    """Name each instance that the content refers to and evidence does not list, or as another class."""
    listed = {**_listed(ds, OTHER), **_listed(ds, CURRENT)}
    for place, uid, sop_class in _content_references(ds):
        if not is_uid(uid):
            yield f"the reference at {place} has no valid SOP Instance UID"
        elif uid not in listed:
            yield f"evidence does not list {uid}, which the item at {place} refers to (PS3.3 C.17.2.3)"
        elif listed[uid] != sop_class:
            yield f"evidence lists {uid} as another SOP class than the item at {place} does"
    own_study = str(ds.get("StudyInstanceUID"))
    for keyword in (CURRENT, OTHER):
        for study in ds.get(keyword) or ():
            if not is_uid(str(study.get("StudyInstanceUID") or "")):
                yield f"an item of {keyword} has no Study Instance UID"
    if ds.get(CURRENT) and own_study not in {str(each.get("StudyInstanceUID")) for each in ds.get(CURRENT)}:
        yield f"{CURRENT} lists nothing of the document's own study"


def segment_faults(ds: Dataset) -> Iterator[str]:
    """Name what contradicts itself in a segmentation (PS3.3 C.8.20.2, C.8.20.3)."""
    numbers = [int(each.get("SegmentNumber") or 0) for each in ds.get("SegmentSequence") or ()]
    if len(set(numbers)) < len(numbers):
        yield "two segments have the same Segment Number (0062,0004)"
    if str(ds.get("SegmentationType")) != "LABELMAP" and sorted(numbers) != list(range(1, len(numbers) + 1)):
        yield "Segment Numbers (0062,0004) do not run from 1 without a gap"
    for segment in ds.get("SegmentSequence") or ():
        if bool(segment.get("TrackingID")) != bool(segment.get("TrackingUID")):
            yield f"segment {segment.get('SegmentNumber')} has one of Tracking ID and Tracking UID, not both"
    for place, number in _referenced_segments(ds):
        if number not in numbers:
            yield f"{place} refers to segment {number}, which is not there (PS3.3 C.8.20.3.1)"
    yield from frame_faults(ds)


def frame_faults(ds: Dataset) -> Iterator[str]:
    """Name missing frames, and sources of frames that the object's list of references does not hold."""
    groups = ds.get("PerFrameFunctionalGroupsSequence") or ()
    frames = int(ds.get("NumberOfFrames") or 1)
    if len(groups) != frames:
        yield f"Number of Frames (0028,0008) is {frames}, functional groups are there for {len(groups)}"
    listed = set(_instances_listed(ds))
    unlisted = dict.fromkeys(uid for uid in _derived_from(ds) if uid not in listed)
    for uid in unlisted:
        yield f"ReferencedSeriesSequence does not list {uid}, which frames were derived from (PS3.3 C.12.2)"


def referenced_instances(ds: Dataset) -> dict[str, str]:
    """Return SOP Instance UID to SOP Class UID of all that an object refers to, in its order."""
    found = {**_listed(ds, CURRENT), **_listed(ds, OTHER)}
    for sequence in _sequences(ds):
        for item in sequence:
            uid, sop_class = item.get("ReferencedSOPInstanceUID"), item.get("ReferencedSOPClassUID")
            if uid and sop_class:
                found.setdefault(str(uid), str(sop_class))
    return found


def referenced_segments(ds: Dataset) -> Iterator[tuple[str, int]]:
    """Yield SOP Instance UID and number of each segment that a report refers to."""
    for _, item in tree(ds):
        for reference in item.get("ReferencedSOPSequence") or ():
            for number in _numbers(reference.get("ReferencedSegmentNumber")):
                yield str(reference.get("ReferencedSOPInstanceUID")), number


def _sequences(ds: Dataset) -> Iterator[list[Dataset]]:
    for keyword in ("SourceImageSequence", "SourceInstanceSequence", "ReferencedInstanceSequence"):
        yield list(ds.get(keyword) or ())
    for series in _series(ds):
        for keyword in ("ReferencedInstanceSequence", "ReferencedImageSequence"):
            yield list(series.get(keyword) or ())


def _series(ds: Dataset) -> Iterator[Dataset]:
    yield from ds.get("ReferencedSeriesSequence") or ()
    for study in ds.get("StudiesContainingOtherReferencedInstancesSequence") or ():
        yield from study.get("ReferencedSeriesSequence") or ()


def _instances_listed(ds: Dataset) -> Iterator[str]:
    for series in _series(ds):
        for instance in series.get("ReferencedInstanceSequence") or ():
            yield str(instance.get("ReferencedSOPInstanceUID"))


def _content_references(ds: Dataset) -> Iterator[tuple[str, str, str]]:
    """Yield place, SOP Instance UID and SOP Class UID of each reference of the content."""
    for place, item in tree(ds):
        for reference in item.get("ReferencedSOPSequence") or ():
            yield (
                place,
                str(reference.get("ReferencedSOPInstanceUID") or ""),
                str(reference.get("ReferencedSOPClassUID") or ""),
            )


def _listed(ds: Dataset, keyword: str) -> dict[str, str]:
    return {
        str(instance.get("ReferencedSOPInstanceUID")): str(instance.get("ReferencedSOPClassUID"))
        for study in ds.get(keyword) or ()
        for series in study.get("ReferencedSeriesSequence") or ()
        for instance in series.get("ReferencedSOPSequence") or ()
    }


def _groups(ds: Dataset) -> Iterator[tuple[str, Dataset]]:
    for shared in ds.get("SharedFunctionalGroupsSequence") or ():
        yield "the shared functional groups", shared
    for number, group in enumerate(ds.get("PerFrameFunctionalGroupsSequence") or (), start=1):
        yield f"frame {number}", group


def _referenced_segments(ds: Dataset) -> Iterator[tuple[str, int]]:
    for place, group in _groups(ds):
        for each in group.get("SegmentIdentificationSequence") or ():
            for number in _numbers(each.get("ReferencedSegmentNumber")):
                yield place, number


def _numbers(value: object) -> list[int]:
    """Numbers of an element of one value, of several, or of none."""
    if value is None:
        return []
    return [int(str(each)) for each in value] if isinstance(value, Iterable) else [int(str(value))]


def _derived_from(ds: Dataset) -> Iterator[str]:
    for _, group in _groups(ds):
        for derivation in group.get("DerivationImageSequence") or ():
            for source in derivation.get("SourceImageSequence") or ():
                yield str(source.get("ReferencedSOPInstanceUID"))
