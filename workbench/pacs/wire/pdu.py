"""PDUs as bytes: the header with its bounds, P-DATA-TF, and those of fixed length (PS3.8 section 9.3)."""

import struct
from collections.abc import Iterator
from enum import IntEnum

from workbench.pacs.wire.failures import ProtocolError


class PduType(IntEnum):
    """What a PDU is (PS3.8 section 9.3.1)."""

    A_ASSOCIATE_RQ = 1
    A_ASSOCIATE_AC = 2
    A_ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    A_RELEASE_RQ = 5
    A_RELEASE_RP = 6
    A_ABORT = 7


HEADER_LENGTH = 6
"""Type, reserved, length in four bytes (PS3.8 section 9.3.1)."""
VALUE_OVERHEAD = 6
"""Length, context ID and message control header of a presentation data value (PS3.8 annex E.2)."""

LARGEST_CONTROL_PDU = 1 << 20
"""Bytes of any PDU but P-DATA-TF; 128 presentation contexts of 40 transfer syntaxes are half of it."""
LARGEST_SENT_PDU = 256 << 10
"""Bytes of a P-DATA-TF to a peer that sets no limit."""
SMALLEST_PDU = VALUE_OVERHEAD + 2
"""Less has no room for a fragment, whose length is even."""

COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8 annex E.2)."""

UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER_VALUE = 1, 2, 6
"""Reasons of an A-ABORT by the service provider (PS3.8 table 9-26)."""

RELEASE_RQ = bytes([PduType.A_RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0])
RELEASE_RP = bytes([PduType.A_RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0])

_HEADER = struct.Struct(">BxI")
_VALUE = struct.Struct(">IBB")
_DATA_HEADER = struct.Struct(">BxIIBB")

type Value = tuple[int, int, memoryview]
"""Context ID, message control header, fragment."""


def header_of(header: bytes | memoryview, largest_data_pdu: int) -> tuple[int, int]:
    """Return type and length of a PDU from its first six bytes.

    Parameters
    ----------
    largest_data_pdu
        Bytes of a P-DATA-TF that the other side was told it may send; 0 before anything was told.

    Raises
    ------
    ProtocolError
        If there is no such PDU, or it announces more bytes than it may have.
    """
    kind, length = _HEADER.unpack(header)
    if not PduType.A_ASSOCIATE_RQ <= kind <= PduType.A_ABORT:
        raise ProtocolError(f"there is no PDU of type {kind:02X}", UNRECOGNIZED_PDU)
    largest = largest_data_pdu if kind == PduType.P_DATA_TF else LARGEST_CONTROL_PDU
    if length > largest:
        raise ProtocolError(
            f"a PDU of type {kind:02X} announces {length} bytes; {largest} are allowed",
            INVALID_PARAMETER_VALUE,
        )
    return kind, length


def values_of(body: memoryview) -> Iterator[Value]:
    """Yield the presentation data values of a P-DATA-TF; their fragments are views of its body.

    Raises
    ------
    ProtocolError
        If one reaches beyond the PDU, or has no message control header, or there is none.
    """
    position, end = 0, len(body)
    if not end:
        raise ProtocolError("a P-DATA-TF without a presentation data value", INVALID_PARAMETER_VALUE)
    while position < end:
        if position + VALUE_OVERHEAD > end:
            raise ProtocolError("a presentation data value is cut", INVALID_PARAMETER_VALUE)
        length, context_id, control = _VALUE.unpack_from(body, position)
        after = position + 4 + length
        if length < 2 or after > end:
            raise ProtocolError("a presentation data value is cut", INVALID_PARAMETER_VALUE)
        yield context_id, control, body[position + VALUE_OVERHEAD : after]
        position = after


def data_header(context_id: int, control: int, length: int) -> bytes:
    """What goes before a fragment: the headers of a P-DATA-TF with one presentation data value."""
    return _DATA_HEADER.pack(PduType.P_DATA_TF, length + VALUE_OVERHEAD, length + 2, context_id, control)


def fragments(
    context_id: int, control: int, content: bytes | memoryview, largest: int, *, is_last: bool = True
) -> Iterator[bytes | memoryview]:
    """Yield headers and fragments, in turn, that together are P-DATA-TF PDUs with a content.

    Parameters
    ----------
    control
        `COMMAND` or 0.
    largest
        Bytes of a PDU after its header.
    is_last
        Whether the message, or its command, ends with this content.
    """
    view, most = memoryview(content), (largest - VALUE_OVERHEAD) & ~1
    end = len(view)
    for position in range(0, end or 1, most):
        fragment = view[position : position + most]
        last = LAST if is_last and position + most >= end else 0
        yield data_header(context_id, control | last, len(fragment))
        yield fragment


def largest_to(peer_maximum: int) -> int:
    """Bytes of a P-DATA-TF to a peer that announced so many; 0 sets no limit (PS3.8 annex D.1)."""
    return min(max(peer_maximum, SMALLEST_PDU), LARGEST_SENT_PDU) if peer_maximum else LARGEST_SENT_PDU


def abort(source: int, reason: int) -> bytes:
    """Return an A-ABORT (PS3.8 section 9.3.8)."""
    return bytes([PduType.A_ABORT, 0, 0, 0, 0, 4, 0, 0, source, reason])


def rejection(result: int, source: int, diagnostic: int) -> bytes:
    """Return an A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""
    return bytes([PduType.A_ASSOCIATE_RJ, 0, 0, 0, 0, 4, 0, result, source, diagnostic])
