"""Other bytes under a known SOP Instance UID: whether they are other data at all, what they say, which count.

A SOP Instance UID names one object for good (PS3.5 section 9), yet archives, anonymizers and scanners send
corrected headers under the same one. Whichever counts, both files are kept and on record.
"""

import errno
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.attributes import BY_COLUMN, PATIENT
from catalog.containers import entry_at, is_elsewhere
from catalog.errors import HeaderError
from catalog.records import InstanceHeader, Unreadable

if TYPE_CHECKING:
    from catalog.guard import Head

IDENTITY = (
    *(each.column for each in PATIENT),
    "study_instance_uid",
    "accession_number",
    "series_instance_uid",
    "sop_class_uid",
)
"""Columns that say whose, and what, an instance is: where they differ the new file corrects the old one."""
_BLOCK = 1 << 20
SAYS_ANOTHER = "and says another "
"""Stands in the reason of a conflict whose files differ in what says whose they are."""


def other_identity(header: InstanceHeader, kept: str) -> str:
    """Name what a header says otherwise than a kept file of who and what it is; empty where nothing does.

    The names of the attributes alone: values are a patient's.
    """
    there = _header_at(kept)
    if there is None:
        return ""
    others = [
        BY_COLUMN[column].keyword
        for column in IDENTITY
        if header.values.get(column) != there.values.get(column)
    ]
    return f", {SAYS_ANOTHER}{', '.join(others)}" if others else ""


def _header_at(path: str) -> InstanceHeader | None:
    from catalog.headers import read_header  # with pydicom, which a question to the catalog does not load

    try:
        if is_elsewhere(path):
            with entry_at(path) as entry:
                found = read_header(path, stream=entry.stream)
        else:
            found = read_header(path)
    except (HeaderError, OSError):
        return None
    return None if isinstance(found, Unreadable) else found


def is_same_data_set(one: str, other: str) -> bool:
    """Whether two files have the same data set in the same transfer syntax, whatever is written before it.

    The file meta information is the writer's (PS3.10 section 7.1): an export names another implementation
    than a receiver does, and the instance is the same.

    Raises
    ------
    OSError
        If one of them cannot be read.
    """
    first, second = _head(one), _head(other)
    if first.transfer_syntax_uid != second.transfer_syntax_uid:
        return False
    if first.size - first.start != second.size - second.start:
        return False
    return _digest(one, first.start) == _digest(other, second.start)


def _head(path: str) -> "Head":
    from catalog import guard  # with pydicom, as above

    try:
        if is_elsewhere(path):
            with entry_at(path) as entry:
                return guard.scan(entry.stream, ())
        return guard.scan(path, ())
    except HeaderError as error:
        raise OSError(errno.EIO, str(error)) from None


def _digest(path: str, start: int) -> str:
    """SHA-256 of what follows the first bytes of a file."""
    sha = hashlib.sha256()
    if not is_elsewhere(path):
        with Path(path).open("rb") as file:
            file.seek(start)
            return hashlib.file_digest(file, "sha256").hexdigest()
    try:
        with entry_at(path) as entry:
            while start and (skipped := entry.stream.read(min(start, _BLOCK))):
                start -= len(skipped)
            while part := entry.stream.read(_BLOCK):
                sha.update(part)
    except HeaderError as error:
        raise OSError(errno.EIO, str(error)) from None
    return sha.hexdigest()
