"""How the pixel data of an instance are encoded, checked before a byte of them is read; no I/O."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.pixels.processing import convert_color_space

from catalog.errors import DecodeError
from catalog.records import InstanceRecord

type Stored = npt.NDArray[Any]

FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00008, 0x7FE00009
_FLOATS = {FLOAT_PIXEL_DATA: (32, "<f4"), DOUBLE_FLOAT_PIXEL_DATA: (64, "<f8")}
_SAMPLES = {
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1,
    "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_RCT": 3, "YBR_ICT": 3,
}  # fmt: skip


NATIVE = frozenset(
    (
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    )
)
"""Transfer syntaxes of pixel data that are not encapsulated (PS3.5 A.1 to A.3, A.5)."""
JPEG_XL_LOSSLESS, JPEG_XL_JPEG_RECOMPRESSION, JPEG_XL = (
    f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112)
)
ENCAPSULATED_UNCOMPRESSED, DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"
_NAMES = {
    JPEG_XL_LOSSLESS: "JPEG XL Lossless",
    JPEG_XL_JPEG_RECOMPRESSION: "JPEG XL JPEG Recompression",
    JPEG_XL: "JPEG XL",
    ENCAPSULATED_UNCOMPRESSED: "Encapsulated Uncompressed Explicit VR Little Endian",
    DEFLATED_IMAGE_FRAME: "Deflated Image Frame Compression",
}
"""Of transfer syntaxes that are not in the dictionary of pydicom 3.0."""
ENCAPSULATED = frozenset(
    (
        uid.RLELossless,
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLossless,
        uid.JPEGLosslessSV1,
        uid.JPEGLSLossless,
        uid.JPEGLSNearLossless,
        uid.JPEG2000Lossless,
        uid.JPEG2000,
        uid.HTJ2KLossless,
        uid.HTJ2KLosslessRPCL,
        uid.HTJ2K,
        JPEG_XL_LOSSLESS,
        JPEG_XL_JPEG_RECOMPRESSION,
        JPEG_XL,
        ENCAPSULATED_UNCOMPRESSED,
        DEFLATED_IMAGE_FRAME,
    )
)
"""Transfer syntaxes of encapsulated still images (PS3.5 A.4)."""
VIDEO_CODECS: dict[str, str] = {
    **dict.fromkeys((uid.MPEG2MPML, uid.MPEG2MPMLF, uid.MPEG2MPHL, uid.MPEG2MPHLF), "mpeg2video"),
    **dict.fromkeys(
        (
            uid.MPEG4HP41, uid.MPEG4HP41F, uid.MPEG4HP41BD, uid.MPEG4HP41BDF, uid.MPEG4HP422D,
            uid.MPEG4HP422DF, uid.MPEG4HP423D, uid.MPEG4HP423DF, uid.MPEG4HP42STEREO, uid.MPEG4HP42STEREOF,
        ),
        "h264",
    ),
    **dict.fromkeys((uid.HEVCMP51, uid.HEVCM10P51), "hevc"),
}  # fmt: skip
"""FFmpeg's name of the codec by transfer syntax UID (PS3.5 A.4.5 to A.4.8), fragmentable ones included."""
_ELSEWHERE = "its pixels are on a server (JPIP); ask the archive for the images themselves"
_UNREAD = {
    "1.2.840.10008.1.2.4.94": _ELSEWHERE,
    "1.2.840.10008.1.2.4.95": _ELSEWHERE,
    "1.2.840.10008.1.2.4.204": _ELSEWHERE,
    "1.2.840.10008.1.2.4.205": _ELSEWHERE,
    **dict.fromkeys(
        (f"1.2.840.10008.1.2.7.{number}" for number in (1, 2, 3)),
        "SMPTE ST 2110 is a stream on a network and no file",
    ),
    **dict.fromkeys(
        (f"1.2.840.10008.1.2.4.{number}" for number in (92, 93)),
        "no library that is kept up decodes JPEG 2000 Part 2 with several components; ask the archive for "
        "JPEG 2000 or an uncompressed transfer syntax",
    ),
}
"""Why images in these transfer syntaxes cannot be read."""


def name_of(transfer_syntax_uid: str) -> str:
    """Name of a transfer syntax in the standard, or its UID."""
    return _NAMES.get(transfer_syntax_uid) or uid.UID(transfer_syntax_uid).name


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
        if transfer_syntax not in NATIVE and transfer_syntax not in ENCAPSULATED:
            why = _UNREAD.get(transfer_syntax, "is not one of still images")
            raise DecodeError(f"transfer syntax {name_of(transfer_syntax)}: {why}")
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
    def frame_bytes(self) -> int:
        """Bytes of the stored values of one frame, where a single bit takes a byte."""
        return self.rows * self.columns * self.samples * max(self.bits_allocated // 8, 1)

    @property
    def is_native(self) -> bool:
        """Whether the pixel data is not encapsulated (PS3.5 A.1 to A.3, A.5)."""
        return self.transfer_syntax_uid in NATIVE

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


def to_rgb(frame: Stored, photometric_interpretation: str) -> Stored:
    """Return RGB for YBR_FULL and YBR_FULL_422, anything else as it is (PS3.3 C.7.6.3.1.2)."""
    if photometric_interpretation not in ("YBR_FULL", "YBR_FULL_422"):
        return frame
    if frame.dtype != np.uint8:
        raise DecodeError(f"{photometric_interpretation} is defined for 8 bits, not {frame.dtype}")
    return convert_color_space(frame, "YBR_FULL", "RGB")


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
