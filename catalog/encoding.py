"""How tag, VR and length of an element stand in a file (PS3.5 section 7.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations with a length of 32 bit in explicit VR (PS3.5 section 7.1.2)."""
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""Those with a length of 16 bit."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """Whether the VR is written, and the order of bytes."""

    explicit: bool
    little_endian: bool

    def __str__(self) -> str:
        vr = "explicit" if self.explicit else "implicit"
        return f"{vr} VR {'little' if self.little_endian else 'big'} endian"


EXPLICIT = Encoding(explicit=True, little_endian=True)
IMPLICIT = Encoding(explicit=False, little_endian=True)
BIG_ENDIAN = Encoding(explicit=True, little_endian=False)

DEFLATED_UID = "1.2.840.10008.1.2.1.99"
UIDS = {
    IMPLICIT: "1.2.840.10008.1.2",
    EXPLICIT: "1.2.840.10008.1.2.1",
    BIG_ENDIAN: "1.2.840.10008.1.2.2",
}
"""The transfer syntax of native pixel data in each encoding (PS3.5 annex A)."""
_GE_PRIVATE_UID = "1.2.840.113619.5.2"  # only its pixel data are big endian
_BY_UID = {uid: encoding for encoding, uid in UIDS.items()} | {_GE_PRIVATE_UID: IMPLICIT}


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Return the encoding of a transfer syntax; all but three are explicit little endian (PS3.5 A.4)."""
    return _BY_UID.get(transfer_syntax_uid, EXPLICIT)


type Opening = tuple[int, bytes, int, int]
"""Tag, VR, length and the position of the value; the VR is empty where it is not written."""

_HEADERS = {True: Struct("<HH2sH").unpack_from, False: Struct(">HH2sH").unpack_from}
_PLAIN = {True: Struct("<HHL").unpack_from, False: Struct(">HHL").unpack_from}
_LENGTHS = {True: Struct("<L").unpack_from, False: Struct(">L").unpack_from}


def _opening(encoding: Encoding) -> Callable[[bytes, int], Opening]:
    header, plain = _HEADERS[encoding.little_endian], _PLAIN[encoding.little_endian]
    long_length = _LENGTHS[encoding.little_endian]

    def implicit(data: bytes, position: int) -> Opening:
        group, number, length = plain(data, position)
        return group << 16 | number, b"", length, position + 8

    def explicit(data: bytes, position: int) -> Opening:
        group, number, vr, length = header(data, position)
        if vr in SHORT_VRS:
            return group << 16 | number, vr, length, position + 8
        if vr in LONG_VRS:
            return group << 16 | number, vr, long_length(data, position + 8)[0], position + 12
        if b"AA" <= vr <= b"ZZ":  # an unknown VR; that its length has 16 bit is a guess, as in pydicom
            return group << 16 | number, vr, length, position + 8
        return implicit(data, position)  # a delimiter, or a writer that changed its mind

    return explicit if encoding.explicit else implicit


OPENINGS = {each: _opening(each) for each in (*UIDS, Encoding(explicit=False, little_endian=False))}
"""The function that reads the start of an element at a position, by encoding; `struct.error` at the end."""
