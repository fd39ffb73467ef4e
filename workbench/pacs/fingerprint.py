"""What a data set says, whatever the transfer syntax it is written in: one digest per attribute."""

import hashlib
from collections.abc import Mapping

import numpy as np
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

type Fingerprint = Mapping[BaseTag, str]
"""Tag to SHA-256 over the element's value as explicit VR little endian has it, nested items included."""

_UNIT = {
    "AT": 2, "FD": 8, "FL": 4, "OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2, "SL": 4, "SS": 2, "SV": 8,
    "UL": 4, "US": 2, "UV": 8,
}  # fmt: skip
"""Bytes of one number, for the VRs whose bytes depend on the endianness (PS3.5 section 7.3)."""


def fingerprint(ds: Dataset) -> Fingerprint:
    """Return a digest for each attribute of a data set.

    Values are taken as bytes and never interpreted, so that nothing is lost in reading. Left out is what says
    how a data set is written rather than what it says: group 0002, group lengths, trailing padding, and
    whether sequences and items have an explicit length.
    """
    return {tag: _digest(ds, tag) for tag in _tags(ds)}


def differences(one: Fingerprint, other: Fingerprint) -> list[str]:
    """Return the keywords (or tags) of the attributes that two data sets do not share, without any value."""
    tags = sorted(tag for tag in one.keys() | other.keys() if one.get(tag) != other.get(tag))
    return [keyword_for_tag(tag) or str(tag) for tag in tags]


def _tags(ds: Dataset) -> list[BaseTag]:
    return [tag for tag in sorted(ds.keys()) if tag.element != 0 and tag.group not in (0x0002, 0xFFFC)]


def _digest(ds: Dataset, tag: BaseTag) -> str:
    element = ds.get_item(tag)
    if isinstance(element, RawDataElement) and not _is_sequence(element):
        return hashlib.sha256(_little_endian(element)).hexdigest()
    read = ds[tag]
    if isinstance(read.value, Sequence):
        return _digest_of_items(read.value)
    if isinstance(read.value, bytes):  # encapsulated pixel data, as it lies in the file
        return hashlib.sha256(read.value).hexdigest()
    return hashlib.sha256(_written(read, ds)).hexdigest()


def _written(element: DataElement, ds: Dataset) -> bytes:
    """Return the bytes of one of the few values that pydicom itself needed, to read others."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = buffer.is_implicit_VR = True
    encodings = ds.original_character_set
    write_data_element(buffer, element, encodings if isinstance(encodings, str) else list(encodings))
    return buffer.getvalue()[8:]  # after tag and length


def _digest_of_items(items: Sequence) -> str:
    sha = hashlib.sha256(b"sequence")
    for item in items:
        for tag in _tags(item):
            sha.update(tag.to_bytes(4, "big") + bytes.fromhex(_digest(item, tag)))
        sha.update(b"item")
    return sha.hexdigest()


def _is_sequence(element: RawDataElement) -> bool:
    if element.VR is None or element.VR == "UN":
        return dictionary_has_tag(element.tag) and dictionary_VR(element.tag) == "SQ"
    return element.VR == "SQ"


def _little_endian(element: RawDataElement) -> bytes:
    value = element.value or b""
    unit = _UNIT.get(element.VR or "", 1)
    if element.is_little_endian or unit == 1:
        return value
    return np.frombuffer(value, f">u{unit}").astype(f"<u{unit}").tobytes()
