"""ICC profiles (ISO 15076-1): what one calls itself. None is applied here, and none is trusted; no I/O."""

import struct

_TAG_TABLE = 128
"""Where the tag table follows the header (7.3)."""
_MOST_TAGS = 100
_LONGEST = 1000
"""Characters of a description that are kept."""


def profile_description(profile: bytes) -> str:
    """Return the profile description (9.2.41) in English or its first language; empty where it has none.

    Both forms are read: multiLocalizedUnicodeType (10.15) and the textDescriptionType of version 2.
    """
    try:
        element = _element(profile, b"desc")
        text = _LANGUAGES.get(element[:4], _unknown)(element)
    except (struct.error, ValueError, IndexError):  # offsets or counts beyond the profile
        return ""
    return "".join(each for each in text if each.isprintable())[:_LONGEST].strip()


def _element(profile: bytes, signature: bytes) -> bytes:
    """The data of a tag."""
    (count,) = struct.unpack_from(">L", profile, _TAG_TABLE)
    for number in range(min(count, _MOST_TAGS)):
        found, offset, size = struct.unpack_from(">4sLL", profile, _TAG_TABLE + 4 + 12 * number)
        if found == signature:
            return profile[offset : offset + size]
    return b""


def _localized(element: bytes) -> str:
    count, size = struct.unpack_from(">LL", element, 8)
    records = [
        struct.unpack_from(">2s2sLL", element, 16 + number * size) for number in range(min(count, _MOST_TAGS))
    ]
    _, _, length, offset = next((each for each in records if each[0] == b"en"), records[0])
    return element[offset : offset + length].decode("utf-16-be", "replace")


def _ascii(element: bytes) -> str:
    (count,) = struct.unpack_from(">L", element, 8)
    return element[12 : 12 + count].split(b"\0")[0].decode("ascii", "replace")


def _unknown(_: bytes) -> str:
    return ""


_LANGUAGES = {b"mluc": _localized, b"desc": _ascii}
"""By type signature."""
