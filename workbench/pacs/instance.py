"""One file on its way to a node: is it what was queued, is it fit to be sent, and what is it."""

from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pynetdicom.dsutils import split_dataset

from catalog.database import Catalog
from catalog.deliveries import Origin
from catalog.durable import file_digest
from catalog.errors import words_of
from catalog.extent import shortfall
from catalog.headers import read_header
from catalog.identifiers import is_uid
from catalog.query import find_series
from catalog.records import Delivery, InstanceHeader, Unreadable

_REQUIRED = ("patient_id", "study_instance_uid", "series_instance_uid", "modality")
"""Attributes without which a node cannot file an instance (PS3.3 C.7)."""

_CHANGED = "the file has changed since it was queued; a changed object needs a SOP Instance UID of its own"


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance that may be sent."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class Unfit:
    """A file that must not be sent."""

    reason: str


def examine(catalog: Catalog, delivery: Delivery) -> Instance | Unfit:
    """Return the instance a delivery is about, or why it must not be sent.

    The file must still hold the bytes that were queued, say the same in its data set and its meta
    information, have all the pixel data that its header promises, and belong to the patient whose study
    it names, where the catalog knows that study. What was received and goes on is as its sender made it: of
    that only the bytes and UIDs are looked at.
    """
    path, passes_on = Path(delivery.path), delivery.origin == Origin.RECEIVED
    try:
        if file_digest(path) != delivery.digest:
            return Unfit(_CHANGED)
        meta, _ = split_dataset(path)
    except OSError as error:
        return Unfit(f"the file cannot be read: {words_of(error)}")
    except InvalidDicomError:
        return Unfit("the file has no DICOM file meta information")
    header = read_header(path)
    if isinstance(header, Unreadable):
        return Unfit(header.reason)
    fault = _disagreement(delivery, meta.get("MediaStorageSOPInstanceUID"), header)
    if fault is None and not passes_on:
        fault = _missing(header)
    if fault is None and (short := shortfall(header)) is not None:
        fault = f"the file is not whole: {short}; make the object again, or send a whole copy of it"
    if fault is None and not passes_on:
        fault = _wrong_patient(catalog, header)
    if fault is not None:
        return Unfit(fault)
    return Instance(
        path,
        delivery.sop_class_uid,
        delivery.sop_instance_uid,
        header.transfer_syntax_uid,
        str(header.values["study_instance_uid"]),
        str(header.values["series_instance_uid"]),
    )


def _disagreement(delivery: Delivery, meta_uid: UID | None, header: InstanceHeader) -> str | None:
    pairs = (
        ("SOP Instance UID", delivery.sop_instance_uid, header.values.get("sop_instance_uid")),
        ("SOP Class UID", delivery.sop_class_uid, header.values.get("sop_class_uid")),
        ("Media Storage SOP Instance UID", delivery.sop_instance_uid, meta_uid),
    )
    for name, queued, found in pairs:
        if not is_uid(queued) or queued != found:
            return f"its {name} is not the one that was queued ({queued})"
    return None


def _missing(header: InstanceHeader) -> str | None:
    absent = [name for name in _REQUIRED if not header.values.get(name)]
    return f"it has no {', '.join(absent).replace('_', ' ')}" if absent else None


def _wrong_patient(catalog: Catalog, header: InstanceHeader) -> str | None:
    study = header.values["study_instance_uid"]
    known = {each.patient_id for each in find_series(catalog, study_instance_uid=study)}
    if known and header.values["patient_id"] not in known:
        return f"its patient is not the one that study {study} belongs to in the catalog"
    return None
