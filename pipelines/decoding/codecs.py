"""A codec for each transfer syntax of encapsulated pixel data: which function decodes it, and how; no I/O.

This is the one place that says which library serves which transfer syntax. The functions are called in
another process (`pipelines.decoding.jail`), as they are C code that meets whatever bytes a file has.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from pydicom import uid

from catalog.errors import DecodeError
from pipelines.decoding.pixels import (
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    JPEG_XL,
    JPEG_XL_JPEG_RECOMPRESSION,
    JPEG_XL_LOSSLESS,
    PixelDescription,
    Stored,
    mask_unused_bits,
    to_rgb,
)

RATIO = 250
"""How many times its encoded bytes a large frame may have."""
UNQUESTIONED_BYTES = 32 << 20
"""A frame of no more is decoded from however few bytes: an empty image of JPEG 2000 has a hundred."""

type Options = Mapping[str, str | int | None]
type _FrameHeader = tuple[int, int, int]
"""Rows, columns and bits of a sample, as the encoded frame itself says."""


@dataclass(frozen=True, slots=True)
class Call:
    """A function of a library that makes an array of an encoded frame."""

    function: str
    """With its module, e.g. `imagecodecs:jpegls_decode`."""
    encoded: bytes
    """Its argument."""
    options: Options
    """Its keywords."""
    most_bytes: int
    """How large the array may be."""
    fills: tuple[tuple[int, ...], str] | None = None
    """Shape and type of an array that the function fills, as its keyword `out`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take."""

    memory_bytes: int
    """Beyond what the process has when it begins, and beyond the frame and its array; on Linux."""
    cpu_seconds: int
    wall_seconds: float
    """Several times the other, as the machine may be busy."""

    @classmethod
    def of(cls, description: PixelDescription) -> "Limits":
        """Some four times what the hungriest and the slowest codec (OpenJPEG) took for such a frame."""
        samples = description.rows * description.columns * description.samples
        cpu_seconds = 20 + 2 * samples // 1_000_000
        return cls((128 << 20) + 24 * samples, cpu_seconds, 60.0 + 4 * cpu_seconds)


@dataclass(frozen=True, slots=True)
class Codec:
    """What decodes the frames of a transfer syntax."""

    library: str
    """Whose code it is."""
    function: str
    """Through which it is called, with its module."""
    stored: Callable[[Stored, PixelDescription, int], Stored]
    """From what the function gave, the description of the frame and the bits of a sample."""
    is_masked: bool
    """Whether bits that hold no value are cleared; a lossy frame may exceed Bits Stored a little."""
    header: Callable[[bytes], _FrameHeader | None]
    """Looked at before the decoder is; `None` where the decoder fills a frame and cannot go beyond."""
    options: Callable[[bytes, PixelDescription], Options] = lambda encoded, description: {}
    fills: Callable[[PixelDescription], tuple[tuple[int, ...], str]] | None = None


@dataclass(frozen=True, slots=True)
class Decoding:
    """How one frame is decoded: a call, and how its array becomes stored values."""

    call: Call
    fill: Callable[[Stored, Stored], None]
    """Takes the array of the call and the stored values to be filled."""


def decoding(encoded: bytes, description: PixelDescription) -> Decoding:
    """Say how the joined fragments of one frame are decoded.

    Raises
    ------
    DecodeError
        If the frame is not of the size that its description promises, cut, or too short for what it claims.
    """
    codec = CODECS[description.transfer_syntax_uid]
    size = (description.rows, description.columns)
    rows, columns, bits = codec.header(encoded) or (*size, description.bits_stored)
    if (rows, columns) != size:
        raise DecodeError(f"the frame has {rows} x {columns} pixels, its header says {size[0]} x {size[1]}")
    check_ratio(len(encoded), description)
    call = Call(
        codec.function,
        encoded,
        codec.options(encoded, description),
        rows * columns * max(description.samples, 4) * 4,
        codec.fills(description) if codec.fills else None,
    )

    def fill(decoded: Stored, out: Stored) -> None:
        if decoded.ndim == 3 and decoded.shape[0] == description.samples != decoded.shape[-1]:
            decoded = np.moveaxis(decoded, 0, -1)
        if not codec.fills and decoded.shape != description.shape:
            raise DecodeError(f"decoded to shape {decoded.shape}, the header says {description.shape}")
        out[...] = codec.stored(decoded, description, bits)
        if codec.is_masked:
            mask_unused_bits(out, description)

    return Decoding(call, fill)


def check_ratio(encoded_bytes: int, description: PixelDescription) -> None:
    """Refuse a large frame that a few bytes claim to be, as memory follows the file and not its header.

    Raises
    ------
    DecodeError
        If the frame has more than `UNQUESTIONED_BYTES` and more than `RATIO` times the encoded bytes.
    """
    frame_bytes = description.frame_bytes
    if frame_bytes > max(UNQUESTIONED_BYTES, RATIO * encoded_bytes):
        raise DecodeError(
            f"{encoded_bytes:,} bytes claim to be a frame of {frame_bytes:,}; more than {RATIO} times the "
            f"bytes is refused above {UNQUESTIONED_BYTES >> 20} MiB"
        )


def unwrapped(encoded: bytes, description: PixelDescription) -> bytes:
    """The native frame within an encapsulated one of `PLAIN`; no longer than the frame is.

    Raises
    ------
    DecodeError
        If the frame is declared deflated and cannot be inflated.
    """
    if description.transfer_syntax_uid == ENCAPSULATED_UNCOMPRESSED:
        return encoded
    check_ratio(len(encoded), description)
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(encoded, (description.frame_bits + 7) // 8)
    except zlib.error:
        raise DecodeError("the frame is declared deflated and cannot be inflated") from None


# --- options, and stored values --------------------------------------------------------------------------


def _jpeg_options(encoded: bytes, description: PixelDescription) -> Options:
    """Libjpeg goes by the JFIF and Adobe markers, and takes images without them for YCbCr."""
    if description.samples == 1:
        return {}
    is_rgb = description.photometric_interpretation == "RGB" and not _names_colour(encoded)
    return {"colorspace": "RGB" if is_rgb else None, "outcolorspace": "RGB"}


def _one_thread(_: bytes, __: PixelDescription) -> Options:
    return {"numthreads": 1}


def _same(decoded: Stored, _: PixelDescription, __: int) -> Stored:
    return decoded


def _codestream(decoded: Stored, description: PixelDescription, bits: int) -> Stored:
    """JPEG-LS and JPEG 2000, with the sign that the header says where the frame was encoded without."""
    frame = decoded.astype(description.dtype, copy=False)
    if frame.dtype.kind == "i" and decoded.dtype.kind == "u":
        unused = frame.dtype.itemsize * 8 - min(bits, frame.dtype.itemsize * 8)
        frame = np.right_shift(np.left_shift(frame, unused), unused)
    return to_rgb(frame, description.photometric_interpretation)


def _unsigned_frame(description: PixelDescription) -> tuple[tuple[int, ...], str]:
    return description.shape, description.dtype.replace("i", "u")


def _planes(decoded: Stored, description: PixelDescription, _: int) -> Stored:
    if decoded.nbytes != description.frame_bytes:
        raise DecodeError(f"decoded to {decoded.nbytes:,} bytes, a frame has {description.frame_bytes:,}")
    planes = decoded.view(description.dtype).reshape(-1, description.rows, description.columns)
    frame = planes[0] if description.samples == 1 else np.moveaxis(planes, 0, -1)
    return to_rgb(frame, description.photometric_interpretation)


def _flat_frame(description: PixelDescription) -> tuple[tuple[int, ...], str]:
    return (description.frame_bytes,), "|u1"


def _rle_options(_: bytes, description: PixelDescription) -> Options:
    return {"dtype": description.dtype}


# --- what a frame says of itself -------------------------------------------------------------------------


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


_JPEG = Codec("libjpeg-turbo", "imagecodecs:jpeg8_decode", _same, True, _jpeg_header, _jpeg_options)
_JPEG_LS = Codec("CharLS", "imagecodecs:jpegls_decode", _codestream, False, _jpeg_header)
_JPEG_2000 = Codec("OpenJPEG", "imagecodecs:jpeg2k_decode", _codestream, False, _jpeg2000_header, _one_thread)
_HTJ2K = Codec("OpenJPH", "imagecodecs:htj2k_decode", _codestream, False, _jpeg2000_header)
_JPEG_XL = Codec("libjxl", "imagecodecs:jpegxl_decode", _same, True, _no_header, _one_thread, _unsigned_frame)
_RLE = Codec(
    "imagecodecs", "imagecodecs:dicomrle_decode", _planes, True, _no_header, _rle_options, _flat_frame
)

CODECS: dict[str, Codec] = {
    uid.RLELossless: _RLE,
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
"""By transfer syntax UID."""
PLAIN = {ENCAPSULATED_UNCOMPRESSED: "", DEFLATED_IMAGE_FRAME: "zlib"}
"""Transfer syntaxes of encapsulated frames that are native ones when they are unwrapped, by which library.

With the keys of `CODECS` they are `pipelines.decoding.pixels.ENCAPSULATED`.
"""
