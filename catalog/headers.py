"""Reads headers, tolerantly: what the catalog keeps of a file, or the reason why it cannot be read."""

import io
import re
import warnings
from collections.abc import Mapping, MutableMapping
from pathlib import Path

import pydicom
from pydicom.dataset import FileMetaDataset

from catalog import guard, orthanc
from catalog.attributes import BY_TAG
from catalog.content import Contents, content_alone
from catalog.elements import Form, elements_of
from catalog.encoding import DEFLATED_UID
from catalog.errors import HeaderError
from catalog.guard import Head
from catalog.identifiers import is_uid
from catalog.records import Content, InstanceHeader, Unreadable, Value
from catalog.values import Deviate, Reading, character_set
from catalog.window import Stream, name_of

DATASET_LIMIT = 64 << 20
"""The longest header that is handed to pydicom."""

_SPECIFIC_CHARACTER_SET = 0x00080005
_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_UID_LIKE = re.compile(r"(?=.{1,128}$)[0-9A-Za-z]+(\.[0-9A-Za-z]+)*")
"""What some anonymizers write for a UID: with letters, or too long."""
_COLUMNS = {tag: attribute.column for tag, attribute in BY_TAG.items()}
_FROM_META = (
    (_SOP_INSTANCE_UID, guard.MEDIA_STORAGE_SOP_INSTANCE_UID),
    (_SOP_CLASS_UID, guard.MEDIA_STORAGE_SOP_CLASS_UID),
)
"""What the file meta information repeats of the data set (PS3.10 table 7.1-1)."""


def read_header(
    path: str | Path, contents: Contents | None = None, *, stream: Stream | None = None
) -> InstanceHeader | Unreadable:
    """Read what the catalog keeps of one file, never its pixel data.

    Readable is a data set with a SOP Instance, a Study Instance and a Series Instance UID: without them it
    has no place in the information model (PS3.3 section A.1.2).

    Parameters
    ----------
    path
        The file.
    contents
        What makes the content beside the columns, for many headers; none is read without it.
    stream
        Its bytes, where it is no file of its own.
    """
    try:
        forms = contents.forms if contents is not None else None
        head = guard.scan(path if stream is None else stream, BY_TAG, forms=forms)
        deviations = list(head.deviations)
        values = _values(head, contents.values if contents is not None else {}, deviations.append)
        _require_uids(values, deviations.append)
        content = _content(contents, head, values, deviations.append) if contents is not None else None
    except HeaderError as error:
        is_beside = str(error).endswith("looks like text") and orthanc.is_attachment(str(path))
        return Unreadable(str(path), orthanc.BESIDE if is_beside else str(error))
    return InstanceHeader(
        str(path),
        head.size,
        head.mtime_ns,
        head.digest,
        head.transfer_syntax_uid,
        values,
        head.pixel_data,
        tuple(deviations),
        content,
    )


def read_dataset(path: str | Path) -> pydicom.Dataset:
    """Read the header of one file into a pydicom data set with its file meta information, without pixel data.

    Raises
    ------
    HeaderError
        If the file is no readable DICOM, or larger before its pixel data than pydicom should hold.
    """
    head = guard.scan(path, (), deep=True)
    if head.end > DATASET_LIMIT:
        raise HeaderError(f"has more than {DATASET_LIMIT >> 20} MiB before its pixel data")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the departures pydicom would warn of are tolerated here
            if head.transfer_syntax_uid == DEFLATED_UID:
                return _inflated_dataset(path, head)
            return pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except Exception as error:  # whatever pydicom stumbles over in hostile bytes is a fault of the file
        raise HeaderError(f"cannot be read by pydicom: {type(error).__name__}") from None


def _content(contents: Contents, head: Head, values: Mapping[str, Value], deviate: Deviate) -> Content | None:
    if head.data_set is None:
        deviate("has a header of more than 64 MiB; what has no column in it cannot be searched")
        return None
    series = str(values[_COLUMNS[_SERIES_INSTANCE_UID]])
    try:
        if head.form is None:
            return content_alone(elements_of(head.data_set, head.transfer_syntax_uid, inflated=True))
        return contents.of(series, head.form, head.changed)
    except HeaderError as error:
        deviate(f"what has no column in it cannot be searched: it {error}")
        return None


def _inflated_dataset(path: str | Path, head: Head) -> pydicom.Dataset:
    """Inflate no more than the header, where pydicom would inflate everything."""
    ds = pydicom.filereader.read_dataset(
        io.BytesIO(guard.inflated(path, head.start, head.end)),
        is_implicit_VR=not head.encoding.explicit,
        is_little_endian=True,
    )
    ds.file_meta = FileMetaDataset(pydicom.filereader.read_file_meta_info(path))
    return ds


def _values(
    head: Head, known: MutableMapping[Form, Mapping[str, Value]], deviate: Deviate
) -> dict[str, Value]:
    """Read the values of the columns; those that a header of the same form has alike are `known` of it."""
    charset = head.elements.get(_SPECIFIC_CHARACTER_SET)
    encodings = character_set(charset.value if charset else None, deviate)
    said: list[str] = []
    read = Reading(encodings, head.encoding.little_endian, said.append).value
    of_form = known.get(head.form) if head.form is not None else None
    is_alike = of_form is not None and _SPECIFIC_CHARACTER_SET not in head.changed
    values = dict(of_form) if of_form is not None and is_alike else {}
    for tag in sorted(head.changed) if is_alike else head.elements:
        if tag not in head.elements:
            continue
        vr, raw = head.elements[tag]
        value = read(BY_TAG[tag], vr, raw) if raw else None
        if value is not None:
            values[_COLUMNS[tag]] = value
        else:
            values.pop(_COLUMNS[tag], None)
        if raw is None:
            said.append(f"{name_of(tag)} is too long to be kept")
    for tag, meta_tag in _FROM_META:
        if _COLUMNS[tag] not in values and (repeated := head.meta.get(meta_tag)) and repeated.value:
            values[_COLUMNS[tag]] = read(BY_TAG[tag], b"UI", repeated.value)
            said.append(f"has no {name_of(tag)}; taken from {name_of(meta_tag)}")
    if head.form is not None and not head.changed and not said:
        known[head.form] = dict(values)
    for each in said:
        deviate(each)
    return values


def _require_uids(values: Mapping[str, Value], deviate: Deviate) -> None:
    if values.get(_COLUMNS[_SOP_CLASS_UID]) == _MEDIA_STORAGE_DIRECTORY:
        raise HeaderError(
            "is a DICOMDIR, the directory of a file set; the files it names are read themselves"
        )
    for tag in (_SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID):
        uid = values.get(_COLUMNS[tag])
        if uid is None:
            raise HeaderError(f"has no {name_of(tag)}")
        if is_uid(str(uid)):
            continue
        if _UID_LIKE.fullmatch(str(uid)) is None:
            raise HeaderError(f"has a {name_of(tag)} that is no UID (PS3.5 section 9.1)")
        deviate(f"{name_of(tag)} has letters or more than 64 characters (PS3.5 section 9.1)")
