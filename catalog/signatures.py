"""What lies in archives beside DICOM, by its first bytes."""

_SIGNATURES = (
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"NRRD", "an NRRD image"),
    (0, b"SQLite format 3", "an SQLite database"),
    (0, b"\0\0\0\1Bud1", "a .DS_Store of macOS"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a compound document of Windows, such as Thumbs.db"),
    (344, b"n+1\0", "a NIfTI image"),
    (344, b"ni1\0", "a NIfTI header"),
)
"""Offset, magic, and the words for it."""


def look_of(data: bytes) -> str | None:
    """Name what a file that is no DICOM looks like from its first bytes, or `None`."""
    for offset, magic, words in _SIGNATURES:
        if data.startswith(magic, offset):
            return words
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in data[:1024]):
        return "text"
    return None
