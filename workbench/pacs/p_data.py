"""A C-STORE request with the data set of a file, as P-DATA-TF PDUs (PS3.8 9.3.5 and annex E)."""

import struct
from collections.abc import Iterator
from pathlib import Path

from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE

LARGEST_PDU = 256 * 1024
"""Where the peer sets no limit."""
PIECE_BYTES = 512 * 1024
"""Of a file that are held at once."""

_P_DATA_TF = 0x04
_DATA, _LAST = 0x00, 0x02  # message control header (PS3.8 annex E.2)
_OVERHEAD = 6  # length, context ID and message control header of a presentation data value


def send_store(association: Association, request: C_STORE, context_id: int, path: Path, offset: int) -> None:
    """Write a C-STORE request and the data set that begins at `offset` of a file, its bytes as they stand.

    pynetdicom would make objects of each fragment and pass them to a thread that sleeps in between: three to
    five times the time. Nobody else may send on the association meanwhile.

    Raises
    ------
    OSError
        If the connection is broken, or the file cannot be read.
    """
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    largest = association.dimse.maximum_pdu_size or LARGEST_PDU
    command = next(message.encode_msg(context_id, largest))
    ((_, value),) = command.presentation_data_value_list
    wire = association.dul.socket
    if wire is None or wire.socket is None:
        raise ConnectionError("the connection is closed")
    wire.socket.sendall(_pdu(context_id, value[0], value[1:]))
    for piece in _pieces(path, offset, context_id, largest - _OVERHEAD):
        wire.socket.sendall(piece)


def _pieces(path: Path, offset: int, context_id: int, most: int) -> Iterator[bytes]:
    left = path.stat().st_size - offset
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while left:
            content = memoryview(file.read(max(most, PIECE_BYTES // most * most)))
            if not content:
                raise OSError(f"{path} has become shorter")
            left -= len(content)
            yield b"".join(
                _pdu(
                    context_id, _DATA if left or at + most < len(content) else _LAST, content[at : at + most]
                )
                for at in range(0, len(content), most)
            )


def _pdu(context_id: int, control: int, fragment: bytes | memoryview) -> bytes:
    length = len(fragment)
    header = struct.pack(">BBIIBB", _P_DATA_TF, 0, length + _OVERHEAD, length + 2, context_id, control)
    return header + fragment
