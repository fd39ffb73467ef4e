"""Frames of bytes to stored values, whatever the transfer syntax; codecs run in `pipelines.decoding.jail`.

Stored values are those before the modality LUT (PS3.3 C.7.6.3.1). Colour comes out as RGB, interleaved;
PALETTE COLOR stays an index.
"""

from collections.abc import Sequence

import numpy as np
from pydicom import uid

from catalog.errors import DecodeError
from pipelines.decoding.codecs import PLAIN, Decoding, Limits, decoding, unwrapped
from pipelines.decoding.jail import JAIL
from pipelines.decoding.pixels import PixelDescription, Stored, mask_unused_bits, name_of, to_rgb


def decode_frame(encoded: bytes, description: PixelDescription, *, first_bit: int = 0) -> Stored:
    """Decode one frame to stored values; shape (rows, columns) or, for colour, (rows, columns, 3), RGB.

    Parameters
    ----------
    encoded
        The bytes of a native frame, or the joined fragments of an encapsulated one.
    first_bit
        For single bits: where the frame starts within the first byte (PS3.5 8.1.1).

    Raises
    ------
    DecodeError
        If the bytes do not hold the frame that the description promises.
    CodecMissingError
        If the library for the transfer syntax is not installed.
    """
    if description.is_native:
        return _checked(_native(encoded, description, first_bit), description)
    frame = np.empty(description.shape, description.dtype)
    (fault,) = decode_frames((encoded,), description, (frame,))
    if fault:
        raise fault
    return frame


def decode_frames(
    encoded: Sequence[bytes], description: PixelDescription, out: Sequence[Stored]
) -> list[DecodeError | None]:
    """Fill arrays with encapsulated frames as `decode_frame` decodes them; for each, why it could not be."""
    if description.transfer_syntax_uid in PLAIN:
        return [_unwrap(each, description, frame) for each, frame in zip(encoded, out, strict=True)]
    faults: list[DecodeError | None] = [None] * len(encoded)
    decodings: dict[int, Decoding] = {}
    for index, each in enumerate(encoded):
        try:
            decodings[index] = decoding(each, description)
        except DecodeError as error:
            faults[index] = error
    numbers = list(decodings)

    def take(number: int, array: Stored | DecodeError) -> None:
        index = numbers[number]
        try:
            if isinstance(array, DecodeError):
                raise type(array)(f"{name_of(description.transfer_syntax_uid)}: {array}")
            decodings[index].fill(array, out[index])
        except DecodeError as error:
            faults[index] = error

    JAIL.run([decodings[index].call for index in numbers], Limits.of(description), take)
    return faults


def _unwrap(encoded: bytes, description: PixelDescription, out: Stored) -> DecodeError | None:
    try:
        out[...] = _checked(_native(unwrapped(encoded, description), description, 0), description)
    except DecodeError as error:
        return error
    return None


def _checked(frame: Stored, description: PixelDescription) -> Stored:
    if frame.shape != description.shape:
        raise DecodeError(f"decoded to shape {frame.shape}, the header says {description.shape}")
    return np.ascontiguousarray(frame)


def _native(encoded: bytes, description: PixelDescription, first_bit: int) -> Stored:
    needed = (first_bit + description.frame_bits + 7) // 8
    if len(encoded) < needed:
        raise DecodeError(f"a frame has {len(encoded)} bytes, the header promises {needed}")
    if description.swap_bytes:
        encoded = np.frombuffer(encoded[: len(encoded) // 2 * 2], "<u2").byteswap().tobytes()
    if description.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(encoded, np.uint8), bitorder="little")
        return bits[first_bit : first_bit + description.frame_bits].reshape(description.shape)
    dtype = np.dtype(description.dtype)
    if description.transfer_syntax_uid == uid.ExplicitVRBigEndian:
        dtype = dtype.newbyteorder(">")
    values = np.frombuffer(encoded, dtype, description.frame_bits // description.bits_allocated)
    if description.photometric_interpretation == "YBR_FULL_422":
        return to_rgb(_upsampled(values, description), "YBR_FULL")
    frame = _unpacked(values, description).astype(description.dtype)
    mask_unused_bits(frame, description)
    return to_rgb(frame, description.photometric_interpretation)


def _unpacked(values: Stored, description: PixelDescription) -> Stored:
    if not description.planar:
        return values.reshape(description.shape)
    return np.moveaxis(values.reshape(description.samples, description.rows, description.columns), 0, -1)


def _upsampled(values: Stored, description: PixelDescription) -> Stored:
    """Two pixels share their chrominance, in the order Y1 Y2 B R (PS3.3 C.7.6.3.1.2)."""
    if description.columns % 2 or values.dtype != np.uint8:
        raise DecodeError("YBR_FULL_422 needs 8 bits and an even number of columns")
    pairs = values.reshape(description.rows, description.columns // 2, 4)
    frame = np.empty((description.rows, description.columns // 2, 2, 3), np.uint8)
    frame[..., 0], frame[..., 1], frame[..., 2] = pairs[..., :2], pairs[..., 2:3], pairs[..., 3:]
    return frame.reshape(description.shape)
