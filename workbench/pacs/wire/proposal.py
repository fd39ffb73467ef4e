"""An A-ASSOCIATE-RQ as bytes: what is proposed to the other side (PS3.8 section 9.3.2, PS3.7 annex D.3.3)."""

import struct
from collections.abc import Iterable, Sequence

from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from workbench.pacs.wire.pdu import PduType

_PROTOCOL_VERSION = 1
_APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"  # PS3.7 annex A.2.1
_APPLICATION_CONTEXT, _PRESENTATION_CONTEXT, _ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x10, 0x20, 0x30, 0x40
_USER_INFORMATION, _MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS_UID = 0x50, 0x51, 0x52
_ROLE_SELECTION, _IMPLEMENTATION_VERSION_NAME = 0x54, 0x55
"""Types of items."""

_HEADER = struct.Struct(">BxI")
_FIXED = struct.Struct(">H2x16s16s32x")
_ITEM = struct.Struct(">BxH")
_LENGTH = struct.Struct(">H")


def encode(
    calling_ae_title: str,
    called_ae_title: str,
    contexts: Sequence[PresentationContext],
    roles: Iterable[SCP_SCU_RoleSelectionNegotiation],
    maximum_length: int,
    who: tuple[str, str],
) -> bytes:
    """Return the PDU; the contexts have their IDs, and `who` is implementation class UID and version name.

    pynetdicom's own takes some hundredths of a second for 127 SOP classes with 20 transfer syntaxes each, as
    it looks at every UID again.
    """
    uid, version = who
    user = [
        _item(_MAXIMUM_LENGTH, maximum_length.to_bytes(4, "big")),
        _text(_IMPLEMENTATION_CLASS_UID, uid),
        _text(_IMPLEMENTATION_VERSION_NAME, version),
        *map(_role, roles),
    ]
    titles = (each.encode("ascii").ljust(16) for each in (called_ae_title, calling_ae_title))
    body = b"".join(
        (
            _FIXED.pack(_PROTOCOL_VERSION, *titles),
            _text(_APPLICATION_CONTEXT, _APPLICATION_CONTEXT_NAME),
            *map(_context, contexts),
            _item(_USER_INFORMATION, b"".join(user)),
        )
    )
    return _HEADER.pack(PduType.A_ASSOCIATE_RQ, len(body)) + body


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


def _text(kind: int, text: str) -> bytes:
    return _item(kind, text.encode("ascii"))


def _context(context: PresentationContext) -> bytes:
    head = bytes([context.context_id or 0, 0, 0, 0])
    syntaxes = (_text(_TRANSFER_SYNTAX, each) for each in context.transfer_syntax)
    return _item(
        _PRESENTATION_CONTEXT,
        b"".join((head, _text(_ABSTRACT_SYNTAX, context.abstract_syntax or ""), *syntaxes)),
    )


def _role(role: SCP_SCU_RoleSelectionNegotiation) -> bytes:
    uid = (role.sop_class_uid or "").encode("ascii")
    return _item(
        _ROLE_SELECTION, _LENGTH.pack(len(uid)) + uid + bytes([bool(role.scu_role), bool(role.scp_role)])
    )
