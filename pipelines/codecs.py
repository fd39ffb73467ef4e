"""A codec for each transfer syntax of encapsulated still images: a frame to stored values; no I/O."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pydicom import uid

from catalog.errors import CodecMissingError, DecodeError
from pipelines.pixels import (
    JPEG_XL,
    JPEG_XL_JPEG_RECOMPRESSION,
    JPEG_XL_LOSSLESS,
    PixelDescription,
    Stored,
    mask_unused_bits,
    to_rgb,
)

type _FrameHeader = tuple[int, int, int]
"""Rows, columns and bits of a sample, as the encoded frame itself says."""


@dataclass(frozen=True, slots=True)
class Codec:
    """What decodes the frames of a transfer syntax."""

    function: str
    """Of imagecodecs."""
    decode: Callable[[Any, bytes, PixelDescription, int], Stored]
    """From the function, the encoded frame, its description and the bits of a sample."""
    header: Callable[[bytes], _FrameHeader | None]
    """Looked at before anything is allocated for the frame; `None` where it cannot grow beyond bounds."""


def decode_encapsulated(encoded: bytes, description: PixelDescription) -> Stored:
    """Decode the joined fragments of one frame; raises as `pipelines.decode.decode_frame` does."""
    import imagecodecs

    codec, name = CODECS[description.transfer_syntax_uid], uid.UID(description.transfer_syntax_uid).name
    function = getattr(imagecodecs, codec.function, None)
    if function is None or not getattr(imagecodecs, codec.function.split("_")[0].upper()).available:
        raise CodecMissingError(
            f"{name} needs imagecodecs with {codec.function}: pip install --upgrade imagecodecs"
        )
    size = (description.rows, description.columns)
    rows, columns, bits = codec.header(encoded) or (*size, description.bits_stored)
    if (rows, columns) != size:
        raise DecodeError(f"the frame has {rows} x {columns} pixels, its header says {size[0]} x {size[1]}")
    try:
        frame = codec.decode(function, encoded, description, bits)
    except (RuntimeError, ValueError, TypeError, IndexError, MemoryError) as error:
        raise DecodeError(f"{name}: {error}") from error
    if frame.ndim == 3 and frame.shape[0] == description.samples != frame.shape[-1]:
        frame = np.moveaxis(frame, 0, -1)
    return frame


def _jpeg(function: Any, encoded: bytes, description: PixelDescription, _: int) -> Stored:
    if description.samples == 1:
        return _masked(function(encoded), description)
    # libjpeg goes by the JFIF and Adobe markers, and takes images without them for YCbCr.
    is_rgb = description.photometric_interpretation == "RGB" and not _names_colour(encoded)
    return np.asarray(function(encoded, colorspace="RGB" if is_rgb else None, outcolorspace="RGB"))


def _codestream(function: Any, encoded: bytes, description: PixelDescription, bits: int) -> Stored:
    """JPEG-LS and JPEG 2000: a lossy frame may exceed Bits Stored a little, so nothing is masked."""
    decoded = function(encoded)
    frame = decoded.astype(description.dtype)
    if frame.dtype.kind == "i" and decoded.dtype.kind == "u":  # encoded without the sign that the header says
        unused = frame.dtype.itemsize * 8 - min(bits, frame.dtype.itemsize * 8)
        frame = np.right_shift(np.left_shift(frame, unused), unused)
    return to_rgb(frame, description.photometric_interpretation)


def _jpeg2000(function: Any, encoded: bytes, description: PixelDescription, bits: int) -> Stored:
    return _codestream(partial(function, numthreads=1), encoded, description, bits)


def _jpeg_xl(function: Any, encoded: bytes, description: PixelDescription, _: int) -> Stored:
    out = np.empty(description.shape, np.dtype(description.dtype.replace("i", "u")))
    return _masked(function(encoded, numthreads=1, out=out), description)


def _rle(function: Any, encoded: bytes, description: PixelDescription, _: int) -> Stored:
    size = description.rows * description.columns * description.samples * description.bits_allocated // 8
    decoded = function(encoded, dtype=description.dtype, out=bytearray(size))
    planes = np.frombuffer(decoded, description.dtype).reshape(-1, description.rows, description.columns)
    frame = planes[0] if description.samples == 1 else np.moveaxis(planes, 0, -1)
    return to_rgb(_masked(frame, description), description.photometric_interpretation)


def _masked(frame: Stored, description: PixelDescription) -> Stored:
    masked = frame.astype(description.dtype)
    mask_unused_bits(masked, description)
    return masked


def _jpeg_header(encoded: bytes) -> _FrameHeader:
    """Frame header of JPEG and JPEG-LS (ISO 10918-1 B.2.2, ISO 14495-1 C.2.2)."""
    _require_end(encoded)
    for marker, start in _jpeg_segments(encoded):
        if marker in _FRAME_HEADERS:
            bits, rows, columns = struct.unpack_from(">BHH", encoded, start + 2)
            return rows, columns, bits
    raise DecodeError("no JPEG frame header in the frame")


_TRAILING_BYTES = 64  # padding after the end of an image
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


def _require_end(encoded: bytes) -> None:
    """Decoders fill up what a cut frame lacks; FFD9 occurs nowhere but at its end (ISO 10918-1 B.1.1.3)."""
    if b"\xff\xd9" not in encoded[-_TRAILING_BYTES:]:
        raise DecodeError("the frame is cut: it has no end-of-image marker")


def _names_colour(encoded: bytes) -> bool:
    return any(
        (marker == 0xE0 and encoded[start + 2 : start + 6] == b"JFIF")
        or (marker == 0xEE and encoded[start + 2 : start + 7] == b"Adobe")
        for marker, start in _jpeg_segments(encoded)
    )


def _jpeg_segments(encoded: bytes) -> list[tuple[int, int]]:
    """Markers before the first scan, each with the offset of its length field."""
    segments, at = [], 2
    while at + 9 <= len(encoded) and encoded[:2] == b"\xff\xd8":
        if encoded[at] != 0xFF:
            break
        marker = encoded[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        segments.append((marker, at + 2))
        if marker == 0xDA:
            break
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4])
    return segments


def _jpeg2000_header(encoded: bytes) -> _FrameHeader:
    """SIZ marker segment (ISO 15444-1 A.5.1), in a bare codestream or in JP2 boxes."""
    _require_end(encoded)
    at = encoded.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at < 0 or len(encoded) < at + 43:
        raise DecodeError("no JPEG 2000 codestream in the frame")
    right, bottom, left, top = struct.unpack_from(">4L", encoded, at + 8)
    return bottom - top, right - left, (encoded[at + 42] & 0x7F) + 1


def _no_header(_: bytes) -> None:
    """RLE is decoded into as many bytes as the frame has, and JPEG XL into an array of its shape."""


_JPEG = Codec("jpeg8_decode", _jpeg, _jpeg_header)
_JPEG_LS = Codec("jpegls_decode", _codestream, _jpeg_header)
_JPEG_2000 = Codec("jpeg2k_decode", _jpeg2000, _jpeg2000_header)
_HTJ2K = Codec("htj2k_decode", _codestream, _jpeg2000_header)
_JPEG_XL = Codec("jpegxl_decode", _jpeg_xl, _no_header)

CODECS: dict[str, Codec] = {
    uid.RLELossless: Codec("dicomrle_decode", _rle, _no_header),
    uid.JPEGBaseline8Bit: _JPEG,
    uid.JPEGExtended12Bit: _JPEG,
    uid.JPEGLossless: _JPEG,
    uid.JPEGLosslessSV1: _JPEG,
    uid.JPEGLSLossless: _JPEG_LS,
    uid.JPEGLSNearLossless: _JPEG_LS,
    uid.JPEG2000Lossless: _JPEG_2000,
    uid.JPEG2000: _JPEG_2000,
    uid.HTJ2KLossless: _HTJ2K,
    uid.HTJ2KLosslessRPCL: _HTJ2K,
    uid.HTJ2K: _HTJ2K,
    JPEG_XL_LOSSLESS: _JPEG_XL,
    JPEG_XL_JPEG_RECOMPRESSION: _JPEG_XL,
    JPEG_XL: _JPEG_XL,
}
"""By transfer syntax UID; the keys are `pipelines.pixels.ENCAPSULATED`."""
