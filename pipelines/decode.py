"""One frame of bytes to stored values: the pixel description, and a codec per transfer syntax; no I/O.

Stored values are those before the modality LUT (PS3.3 C.7.6.3.1). Colour comes out as RGB, interleaved;
PALETTE COLOR stays an index.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.pixels.processing import convert_color_space

from catalog.errors import CodecMissingError, DecodeError
from catalog.records import InstanceRecord

type Stored = npt.NDArray[Any]

LARGEST_FRAME_BYTES = 1 << 30
"""No frame is decoded to more; the largest real ones (digital mammography) have 50 MB."""

FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00008, 0x7FE00009
_FLOATS = {FLOAT_PIXEL_DATA: (32, "<f4"), DOUBLE_FLOAT_PIXEL_DATA: (64, "<f8")}
_SAMPLES = {
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1,
    "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_RCT": 3, "YBR_ICT": 3,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """How the frames of one instance are encoded (PS3.3 C.7.6.3); valid once built."""

    transfer_syntax_uid: str
    rows: int
    columns: int
    frames: int
    samples: int
    photometric_interpretation: str
    planar: bool
    """Planes of one colour after the other, instead of pixel by pixel (PS3.3 C.7.6.3.1.3)."""
    bits_allocated: int
    bits_stored: int
    high_bit: int
    dtype: str
    """Of the stored values, little-endian, e.g. `<i2`; single bits become `|u1`."""
    swap_bytes: bool = False
    """8 bits in words of 16 in big-endian order (PS3.5 A.3)."""

    @classmethod
    def of(cls, instance: InstanceRecord) -> Self:
        """Read and check the description of an instance.

        Raises
        ------
        DecodeError
            If it contradicts itself or asks for more than a frame can hold; the text says which attribute.
        """
        transfer_syntax = instance.transfer_syntax_uid
        if transfer_syntax not in _NATIVE and transfer_syntax not in CODECS:
            raise DecodeError(f"transfer syntax {_name(transfer_syntax)} is not one of still images")
        photometric = instance.photometric_interpretation or "MONOCHROME2"
        samples = instance.samples_per_pixel or 1
        if _SAMPLES.get(photometric) != samples:
            raise DecodeError(
                f"{samples} samples per pixel in photometric interpretation {photometric[:16]!r}"
            )
        rows, columns, frames = instance.rows or 0, instance.columns or 0, instance.number_of_frames or 1
        if rows < 1 or columns < 1 or frames < 1:
            raise DecodeError(f"no pixels: {rows} rows, {columns} columns, {frames} frames")
        allocated, dtype = _number_type(instance)
        stored = instance.bits_stored or allocated
        high_bit = stored - 1 if instance.high_bit is None else instance.high_bit
        if not stored <= high_bit + 1 <= allocated:
            raise DecodeError(f"{stored} bits stored with high bit {high_bit} in {allocated} allocated")
        if rows * columns * samples * max(allocated // 8, 1) > LARGEST_FRAME_BYTES:
            raise DecodeError(
                f"a frame of {rows} x {columns} x {samples} exceeds {LARGEST_FRAME_BYTES} bytes"
            )
        return cls(
            transfer_syntax_uid=transfer_syntax,
            rows=rows,
            columns=columns,
            frames=frames,
            samples=samples,
            photometric_interpretation=photometric,
            planar=instance.planar_configuration == 1 and samples > 1,
            bits_allocated=allocated,
            bits_stored=stored,
            high_bit=high_bit,
            dtype=dtype,
            swap_bytes=_has_swapped_bytes(instance, allocated),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns and, for colour, samples."""
        return (self.rows, self.columns, self.samples)[: 2 if self.samples == 1 else 3]

    @property
    def is_native(self) -> bool:
        """Whether the pixel data is not encapsulated (PS3.5 A.1 to A.3, A.5)."""
        return self.transfer_syntax_uid in _NATIVE

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame; frames of single bits follow each other without padding (PS3.5 8.1.1)."""
        samples = 2 if self.photometric_interpretation == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def is_direct(self) -> bool:
        """Whether the bytes of a native frame are the memory of its array, apart from unused bits."""
        return (
            self.is_native
            and self.bits_allocated > 1
            and self.transfer_syntax_uid != uid.ExplicitVRBigEndian
            and self.photometric_interpretation[:3] != "YBR"
            and not self.planar
        )


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
        frame = _native(encoded, description, first_bit)
    else:
        frame = _encapsulated(encoded, description)
    if frame.shape != description.shape:
        raise DecodeError(f"decoded to shape {frame.shape}, the header says {description.shape}")
    return np.ascontiguousarray(frame)


def mask_unused_bits(frame: Stored, description: PixelDescription) -> bool:
    """Clear, or fill with the sign, the bits of stored values that hold none; in place; whether any changed.

    Bits above the high bit may hold anything, such as overlays of old devices (PS3.5 8.1.1).
    """
    allocated, stored = frame.dtype.itemsize * 8, description.bits_stored
    if frame.dtype.kind == "f" or stored >= allocated or description.bits_allocated == 1:
        return False
    above, unused = allocated - 1 - description.high_bit, allocated - stored
    if frame.dtype.kind == "u" and above == unused:
        used = (1 << stored) - 1
        if int(np.bitwise_or.reduce(frame, axis=None)) <= used:
            return False
        np.bitwise_and(frame, frame.dtype.type(used), out=frame)
        return True
    shifted = np.right_shift(np.left_shift(frame, above), unused)
    changed = not np.array_equal(shifted, frame)
    if changed:
        frame[...] = shifted
    return changed


# --- native ----------------------------------------------------------------------------------------------

_NATIVE = frozenset(
    (
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    )
)


def _number_type(instance: InstanceRecord) -> tuple[int, str]:
    """Bits allocated and the type of stored values."""
    if instance.pixel_data is not None and instance.pixel_data.tag in _FLOATS:
        return _FLOATS[instance.pixel_data.tag]
    allocated = instance.bits_allocated or 0
    if allocated == 1:
        return 1, "|u1"
    if allocated not in (8, 16, 32):
        raise DecodeError(f"{allocated} bits allocated, expected 1, 8, 16 or 32")
    kind = "i" if instance.pixel_representation == 1 else "u"
    return allocated, np.dtype(f"<{kind}{allocated // 8}").str


def _has_swapped_bytes(instance: InstanceRecord, allocated: int) -> bool:
    return (
        instance.transfer_syntax_uid == uid.ExplicitVRBigEndian
        and allocated <= 8
        and instance.pixel_data is not None
        and instance.pixel_data.vr == "OW"
    )


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
        return _rgb(_upsampled(values, description), "YBR_FULL")
    frame = _unpacked(values, description).astype(description.dtype)
    mask_unused_bits(frame, description)
    return _rgb(frame, description.photometric_interpretation)


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


def _rgb(frame: Stored, photometric_interpretation: str) -> Stored:
    if photometric_interpretation not in ("YBR_FULL", "YBR_FULL_422"):
        return frame
    if frame.dtype != np.uint8:
        raise DecodeError(f"{photometric_interpretation} is defined for 8 bits, not {frame.dtype}")
    return convert_color_space(frame, "YBR_FULL", "RGB")


# --- encapsulated ----------------------------------------------------------------------------------------


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


def _encapsulated(encoded: bytes, description: PixelDescription) -> Stored:
    import imagecodecs

    codec = CODECS[description.transfer_syntax_uid]
    function = getattr(imagecodecs, codec.function, None)
    if function is None or not getattr(imagecodecs, codec.function.split("_")[0].upper()).available:
        raise CodecMissingError(
            f"{_name(description.transfer_syntax_uid)} needs imagecodecs with {codec.function}: "
            "pip install --upgrade imagecodecs"
        )
    size = (description.rows, description.columns)
    rows, columns, bits = codec.header(encoded) or (*size, description.bits_stored)
    if (rows, columns) != size:
        raise DecodeError(f"the frame has {rows} x {columns} pixels, its header says {size[0]} x {size[1]}")
    try:
        frame = codec.decode(function, encoded, description, bits)
    except (RuntimeError, ValueError, TypeError, IndexError, MemoryError) as error:
        raise DecodeError(f"{_name(description.transfer_syntax_uid)}: {error}") from error
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
    return _rgb(frame, description.photometric_interpretation)


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
    return _rgb(_masked(frame, description), description.photometric_interpretation)


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
    "1.2.840.10008.1.2.4.110": _JPEG_XL,  # JPEG XL Lossless; not in the dictionary of pydicom 3.0
    "1.2.840.10008.1.2.4.111": _JPEG_XL,  # JPEG XL JPEG Recompression
    "1.2.840.10008.1.2.4.112": _JPEG_XL,  # JPEG XL
}
"""Transfer syntaxes of encapsulated still images (PS3.5 A.4)."""


def _name(transfer_syntax_uid: str) -> str:
    return uid.UID(transfer_syntax_uid).name
