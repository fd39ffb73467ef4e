"""Tells the files of an Orthanc storage folder apart: `aa/bb/UUID`, plain or compressed, and what is beside.

Compressed, a file is its size as 8 bytes little-endian, then a zlib stream (`StorageCompression`). Beside its
instances Orthanc keeps their headers and JSON summaries as files of the same kind.
"""

import re
import zlib

from catalog.zips import ReadAt

BESIDE = "is what Orthanc keeps beside an instance, its header or a summary; it was not read"
PREFIX = 8
"""Bytes before the zlib stream."""

_NAME = re.compile(r"(?:.*/)?([0-9a-f]{2})/([0-9a-f]{2})/\1\2[0-9a-f]{4}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def is_attachment(path: str) -> bool:
    """Whether a path is of the form that Orthanc gives its files."""
    return _NAME.fullmatch(path) is not None


def is_compressed(magic: bytes) -> bool:
    """Whether bytes are how a compressed file begins: a size below 2^40, the two bytes of zlib (RFC 1950)."""
    head = magic[PREFIX : PREFIX + 2]
    return (
        magic[5:PREFIX] == b"\0\0\0"
        and len(head) == 2
        and head[0] == 0x78
        and int.from_bytes(head, "big") % 31 == 0
    )


def size_of(read: ReadAt) -> int:
    """Bytes that a compressed file says it inflates to."""
    return int.from_bytes(read(0, PREFIX), "little")


def unpacker() -> "zlib._Decompress":
    """Return what inflates it."""
    return zlib.decompressobj()
