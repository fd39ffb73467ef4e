"""Command sets of DIMSE messages as bytes: always implicit VR little endian (PS3.7 6.3 and annex E)."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from workbench.pacs.wire.failures import ProtocolError
from workbench.pacs.wire.pdu import INVALID_PARAMETER_VALUE


class Field(IntEnum):
    """Command Field (0000,0100) of a request; its response has `RESPONSE`, too (PS3.7 table E.1-1)."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_GET = 0x0110
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    N_DELETE = 0x0150
    C_CANCEL = 0x0FFF


RESPONSE = 0x8000
"""Bit of the Command Field of a response."""
MEDIUM = 0
"""Priority (0000,0700)."""

_NO_DATA_SET, _WITH_DATA_SET = 0x0101, 0x0001
"""Command Data Set Type (0000,0800)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command set; what it has not is `None` (PS3.7 table E.1-1)."""

    command_field: int
    message_id: int | None = None
    message_id_being_responded_to: int | None = None
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    requested_sop_class_uid: str | None = None
    requested_sop_instance_uid: str | None = None
    priority: int | None = None
    status: int | None = None
    error_comment: str | None = None
    error_id: int | None = None
    offending_element: tuple[int, ...] | None = None
    attribute_identifier_list: tuple[int, ...] | None = None
    event_type_id: int | None = None
    action_type_id: int | None = None
    move_destination: str | None = None
    move_originator_application_entity_title: str | None = None
    move_originator_message_id: int | None = None
    number_of_remaining_suboperations: int | None = None
    number_of_completed_suboperations: int | None = None
    number_of_failed_suboperations: int | None = None
    number_of_warning_suboperations: int | None = None
    has_data_set: bool = False
    """Whether a data set follows: Command Data Set Type (0000,0800). Set by whoever sends the message."""

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self.command_field & RESPONSE)

    def response(self, status: int, **more: Any) -> "Command":
        """Return the response to this request, for the same SOP class and instance.

        Parameters
        ----------
        more
            Further elements of the response.
        """
        given = {
            "message_id_being_responded_to": self.message_id,
            "affected_sop_class_uid": self.affected_sop_class_uid or self.requested_sop_class_uid,
            "affected_sop_instance_uid": self.affected_sop_instance_uid or self.requested_sop_instance_uid,
            "event_type_id": self.event_type_id,
            "action_type_id": self.action_type_id,
        }
        return Command(command_field=self.command_field | RESPONSE, status=status, **given | more)


class _Codec(NamedTuple):
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _number(content: bytes) -> int:
    (number,) = struct.unpack("<H", content)
    return int(number)


def _tags(content: bytes) -> tuple[int, ...]:
    halves = struct.unpack(f"<{len(content) // 4 * 2}H", content)
    return tuple(group << 16 | element for group, element in zip(halves[::2], halves[1::2], strict=True))


def _text(content: bytes) -> str:
    return content.decode("latin-1").strip(" \0")


_US = _Codec(struct.Struct("<H").pack, _number)
_UI = _Codec(lambda uid: (raw := uid.encode("ascii")) + b"\0" * (len(raw) % 2), _text)
_AE = _LO = _Codec(lambda text: (raw := text.encode("ascii", "replace")) + b" " * (len(raw) % 2), _text)
_AT = _Codec(lambda tags: b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in tags), _tags)

_TYPE, _DATA_SET_TYPE = 0x0100, 0x0800

ELEMENTS: Mapping[int, tuple[str, _Codec]] = {
    0x0002: ("affected_sop_class_uid", _UI),
    0x0003: ("requested_sop_class_uid", _UI),
    _TYPE: ("command_field", _US),
    0x0110: ("message_id", _US),
    0x0120: ("message_id_being_responded_to", _US),
    0x0600: ("move_destination", _AE),
    0x0700: ("priority", _US),
    _DATA_SET_TYPE: ("has_data_set", _US),
    0x0900: ("status", _US),
    0x0901: ("offending_element", _AT),
    0x0902: ("error_comment", _LO),
    0x0903: ("error_id", _US),
    0x1000: ("affected_sop_instance_uid", _UI),
    0x1001: ("requested_sop_instance_uid", _UI),
    0x1002: ("event_type_id", _US),
    0x1005: ("attribute_identifier_list", _AT),
    0x1008: ("action_type_id", _US),
    0x1020: ("number_of_remaining_suboperations", _US),
    0x1021: ("number_of_completed_suboperations", _US),
    0x1022: ("number_of_failed_suboperations", _US),
    0x1023: ("number_of_warning_suboperations", _US),
    0x1030: ("move_originator_application_entity_title", _AE),
    0x1031: ("move_originator_message_id", _US),
}
"""Element number in group 0000 to name and encoding, in the order of a command set (PS3.7 table E.1-1)."""

_ELEMENT = struct.Struct("<HHI")
_GROUP_LENGTH = struct.Struct("<HHII")


def encode(command: Command, *, has_data_set: bool) -> bytes:
    """Return a command set as bytes.

    Raises
    ------
    ValueError
        If a UID is no ASCII.
    struct.error
        If a number does not fit 16 bits.
    """
    parts = []
    for number, (name, codec) in ELEMENTS.items():
        value = getattr(command, name)
        if number == _DATA_SET_TYPE:
            value = _WITH_DATA_SET if has_data_set else _NO_DATA_SET
        if value is not None:
            content = codec.encode(value)
            parts += [_ELEMENT.pack(0, number, len(content)), content]
    body = b"".join(parts)
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def decode(content: bytes) -> Command:
    """Return the command set in some bytes; elements that are none of this edition's are passed over.

    Raises
    ------
    ProtocolError
        If the bytes are no command set.
    """
    found: dict[str, Any] = {}
    position, end = 0, len(content)
    try:
        while position < end:
            group, number, length = _ELEMENT.unpack_from(content, position)
            value = position + _ELEMENT.size
            position = value + length
            if group or position > end:
                raise ProtocolError("a command set is damaged", INVALID_PARAMETER_VALUE)
            if length and (known := ELEMENTS.get(number)) is not None:
                name, codec = known
                found[name] = codec.decode(content[value:position])
    except struct.error:
        raise ProtocolError("a command set is damaged", INVALID_PARAMETER_VALUE) from None
    if "command_field" not in found:
        raise ProtocolError("a command set has no Command Field", INVALID_PARAMETER_VALUE)
    found["has_data_set"] = found.get("has_data_set", _NO_DATA_SET) != _NO_DATA_SET
    return Command(**found)
