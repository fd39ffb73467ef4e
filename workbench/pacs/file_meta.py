"""File meta information (PS3.10 section 7.1): written before a data set that came alone, and passed over."""

import struct
from pathlib import Path

from pynetdicom.dsutils import split_dataset

from catalog.encoding import EXPLICIT, OPENINGS
from catalog.identifiers import is_uid
from workbench.pacs.wire.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PREFIX = bytes(128) + b"DICM"
_HEAD = 4096
"""Bytes in which file meta information ends, unless it has private elements."""
_LONG = b"OB"


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble and file meta information of an instance, made of these alone.

    It never changes, also not with a version of this program: the same data set is the same file.

    Raises
    ------
    ValueError
        If one is no UID.
    """
    if not all(map(is_uid, (sop_class_uid, sop_instance_uid, transfer_syntax_uid))):
        raise ValueError("is sent under something that is no UID")
    elements = b"".join(
        (
            _element(0x0001, b"OB", b"\0\1"),
            _element(0x0002, b"UI", _uid(sop_class_uid)),
            _element(0x0003, b"UI", _uid(sop_instance_uid)),
            _element(0x0010, b"UI", _uid(transfer_syntax_uid)),
            _element(0x0012, b"UI", _uid(IMPLEMENTATION_CLASS_UID)),
            _element(0x0013, b"SH", _even(IMPLEMENTATION_VERSION_NAME, b" ")),
        )
    )
    return _PREFIX + _element(0x0000, b"UL", struct.pack("<I", len(elements))) + elements


def harmless(head: bytes) -> bytes:
    """Return the beginning of a DICOM file with a preamble of zeros, unless it is that of a TIFF file.

    A preamble is no part of the data set, and may make a program of the file (CVE-2019-11687); a file that is
    TIFF, too, is what it is for (PS3.10 section 7.1). What is no DICOM file stays as it is.
    """
    if head[128:132] != b"DICM" or head.startswith(_TIFF):
        return head
    return bytes(128) + head[128:]


def data_set_offset(path: Path) -> int:
    """Return where the data set of a file begins, after its file meta information.

    Raises
    ------
    OSError
        If the file cannot be read, or has no preamble.
    """
    with path.open("rb", buffering=0) as file:
        head = file.read(_HEAD)
    if head[128:132] != b"DICM":
        raise OSError(f"{path} has no DICOM file meta information")
    position = len(_PREFIX)
    try:
        while head[position : position + 2] == b"\2\0":
            _, _, length, value = OPENINGS[EXPLICIT](head, position)
            position = value + length
    except struct.error:
        position = _HEAD
    return position if position + 2 <= len(head) else split_dataset(path)[1]


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    if vr == _LONG:
        return struct.pack("<HH2sHI", 2, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def _uid(uid: str) -> bytes:
    return _even(uid, b"\0")


def _even(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii")
    return value + padding * (len(value) % 2)
