"""What lies in archives beside DICOM, by its first bytes; and what a preamble pretends to be."""

VIDEO = "a video, which bench.video(path) opens where it lies"
UNREAD = "a {} archive, which is not read; unpack it and index what it holds"

_SIGNATURES = (
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\0", "an xz archive"),
    (0, b"7z\xbc\xaf\x27\x1c", UNREAD.format("7z")),
    (0, b"Rar!\x1a\x07", UNREAD.format("RAR")),
    (0, b"\x28\xb5\x2f\xfd", UNREAD.format("Zstandard")),
    (257, b"ustar", "a TAR archive"),
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
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftypavi", "an AVIF image"),
    (4, b"ftypM4A", "a sound"),
    (4, b"ftyp", VIDEO),
    (4, b"moov", VIDEO),
    (4, b"mdat", VIDEO),
    (4, b"wide", VIDEO),
    (0, b"\0\0\1\xba", VIDEO),
    (0, b"\0\0\1\xb3", VIDEO),
    (0, b"\0\0\0\1\x67", VIDEO),
    (0, b"\0\0\0\1\x09", VIDEO),
    (0, b"\0\0\0\1\x40\1", VIDEO),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (8, b"AVI LIST", "an AVI video"),
    (344, b"n+1\0", "a NIfTI image"),
    (344, b"ni1\0", "a NIfTI header"),
)
"""Offset, magic, and the words for it; of videos MP4 and QuickTime, MPEG, and bare H.264 and HEVC."""
_PACKET = 188
"""Bytes of a packet of an MPEG transport stream, each of which begins with 47."""
_PREAMBLES = (
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"\xfe\xed\xfa\xce", "a macOS program"),
    (b"\xfe\xed\xfa\xcf", "a macOS program"),
    (b"\xce\xfa\xed\xfe", "a macOS program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "a macOS or Java program"),
    (b"#!", "a script"),
    (b"II*\0", "a TIFF image, which PS3.10 section 7.1 allows"),
    (b"MM\0*", "a TIFF image, which PS3.10 section 7.1 allows"),
    (b"II+\0", "a TIFF image, which PS3.10 section 7.1 allows"),
    (b"MM\0+", "a TIFF image, which PS3.10 section 7.1 allows"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"<", "a page of markup"),
)
"""How a preamble begins that makes a file something else, too, and the words for it."""


def look_of(data: bytes) -> str | None:
    """Name what a file that is no DICOM looks like from its first bytes, or `None`."""
    for offset, magic, words in _SIGNATURES:
        if data.startswith(magic, offset):
            return words
    if data[:1] == data[_PACKET : _PACKET + 1] == data[2 * _PACKET : 2 * _PACKET + 1] == b"G":
        return VIDEO
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in data[:1024]):
        return "text"
    return None


def look_of_preamble(data: bytes) -> str | None:
    """Name what a DICOM file also is by the first bytes of its preamble, or `None`."""
    return next((words for magic, words in _PREAMBLES if data.startswith(magic)), None)
