"""Frames of every codec, cut and altered at random: values or a reason, and the next frame is right."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import uid

from catalog.errors import CodecMissingError, DecodeError
from pipelines.decoding.codecs import CODECS, PLAIN
from pipelines.decoding.decode import decode_frames
from pipelines.decoding.pixels import JPEG_XL, JPEG_XL_JPEG_RECOMPRESSION, JPEG_XL_LOSSLESS, PixelDescription

ROWS = COLUMNS = 24
FRAMES = 240
IMAGE = (
    np.add.outer(np.arange(ROWS) * 60, np.arange(COLUMNS) * 50)
    + np.random.default_rng(0).integers(0, 30, (ROWS, COLUMNS))
).astype(np.uint16)
GRAY = (IMAGE >> 4).astype(np.uint8)


def rle() -> bytes:
    packed = [
        bytes(imagecodecs.packbits_encode(part.tobytes()))
        for part in ((IMAGE >> 8).astype("u1"), IMAGE.astype("u1"))
    ]
    packed = [each + b"\0" * (len(each) % 2) for each in packed]
    header = np.zeros(16, "<u4")
    header[:3] = 2, 64, 64 + len(packed[0])
    return header.tobytes() + b"".join(packed)


def jpeg2000(**options: Any) -> Callable[[], Any]:
    return lambda: imagecodecs.jpeg2k_encode(IMAGE, codecformat="j2k", **options)


ENCODED: dict[str, Callable[[], Any]] = {
    uid.RLELossless: rle,
    uid.JPEGBaseline8Bit: lambda: imagecodecs.jpeg8_encode(GRAY, 90),
    uid.JPEGExtended12Bit: lambda: imagecodecs.jpeg8_encode(IMAGE, 90, bitspersample=12),
    uid.JPEGLossless: lambda: imagecodecs.jpeg8_encode(IMAGE, lossless=True, predictor=5, bitspersample=12),
    uid.JPEGLosslessSV1: lambda: imagecodecs.jpeg8_encode(IMAGE, lossless=True, bitspersample=12),
    uid.JPEGLSLossless: lambda: imagecodecs.jpegls_encode(IMAGE),
    uid.JPEGLSNearLossless: lambda: imagecodecs.jpegls_encode(IMAGE, 2),
    uid.JPEG2000Lossless: jpeg2000(level=0, reversible=True),
    uid.JPEG2000: jpeg2000(level=50),
    uid.HTJ2KLossless: lambda: imagecodecs.htj2k_encode(IMAGE, reversible=True),
    uid.HTJ2KLosslessRPCL: lambda: imagecodecs.htj2k_encode(IMAGE, reversible=True, prog_order="RPCL"),
    uid.HTJ2K: lambda: imagecodecs.htj2k_encode(IMAGE, reversible=False),
    JPEG_XL_LOSSLESS: lambda: imagecodecs.jpegxl_encode(IMAGE, lossless=True),
    JPEG_XL_JPEG_RECOMPRESSION: lambda: imagecodecs.jpegxl_encode_jpeg(imagecodecs.jpeg8_encode(GRAY, 90)),
    JPEG_XL: lambda: imagecodecs.jpegxl_encode(IMAGE, distance=1.0),
}
_OF_8_BITS = {uid.JPEGBaseline8Bit, JPEG_XL_JPEG_RECOMPRESSION}


def description_of(transfer_syntax: str) -> PixelDescription:
    known = PixelDescription(
        transfer_syntax, ROWS, COLUMNS, 1, 1, "MONOCHROME2", planar=False, bits_allocated=16, bits_stored=12,
        high_bit=11, dtype="<u2",
    )  # fmt: skip
    if transfer_syntax in _OF_8_BITS:
        return replace(known, bits_allocated=8, bits_stored=8, high_bit=7, dtype="|u1")
    return known


def altered(encoded: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut out, doubled or made to 0 or FF, in front as often as anywhere."""
    content = bytearray(encoded)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(min(len(content), chance.choice((100, len(content)))))
        length = chance.choice((1, 1, 2, 4, 30))
        match chance.randrange(5):
            case 0:
                content[at] ^= 1 << chance.randrange(8)
            case 1:
                content[at : at + length] = chance.randbytes(length)
            case 2:
                content[at : at + length] = chance.choice((b"\0", b"\xff", b"\x7f")) * length
            case 3 if len(content) > length + 8:
                del content[at : at + length]
            case _:
                content[at:at] = content[at : at + length]
    return bytes(content)


def test_8_every_codec_is_fuzzed() -> None:
    assert ENCODED.keys() == CODECS.keys()
    assert not ENCODED.keys() & PLAIN.keys()


@pytest.mark.parametrize("transfer_syntax", ENCODED)
def test_8_an_altered_frame_is_values_or_a_reason_and_the_next_frame_is_right(transfer_syntax: str) -> None:
    encoded, description = bytes(ENCODED[transfer_syntax]()), description_of(transfer_syntax)
    chance = random.Random(transfer_syntax)
    right = decoded(encoded, description)
    hostile = [altered(encoded, chance) for _ in range(FRAMES)]
    hostile += [encoded[: chance.randrange(len(encoded))] for _ in range(FRAMES // 4)]
    frames = [np.empty(description.shape, description.dtype) for _ in hostile]
    faults = decode_frames(hostile, description, frames)
    assert all(fault is None or str(fault) for fault in faults)
    assert not any(isinstance(fault, CodecMissingError) for fault in faults)
    assert sum(isinstance(fault, DecodeError) for fault in faults) >= FRAMES // 4

    assert np.array_equal(decoded(encoded, description), right)


def decoded(encoded: bytes, description: PixelDescription) -> npt.NDArray[Any]:
    frame = np.empty(description.shape, description.dtype)
    assert decode_frames([encoded], description, [frame]) == [None]
    return frame
