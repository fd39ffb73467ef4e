"""Megabytes of stored values a second by transfer syntax: ours, the bare decoder, and pydicom's own choice.

Frames of 512 × 512, 12 bits with noise (8 bits where the codec has no more), decoded one after another: ours
in a child process and back, the bare function of the same library in this process, and pydicom with the first
plugin that is installed. Small frames are 64 × 64, as many as an ingest gives to the child together.
`python tests/benchmarks/codecs_speed.py [frames]` prints the table; best of some repeats, taken in turns.
"""

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from time import perf_counter
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from pipelines.decoding.codecs import CODECS, decoding
from pipelines.decoding.decode import decode_frames
from pipelines.decoding.pixels import (
    DEFLATED_IMAGE_FRAME,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    PixelDescription,
    name_of,
)

type Image = npt.NDArray[Any]

REPEATS = 5
SMALL, SMALL_FRAMES = 64, 64


def rle(image: Image) -> bytes:
    """RLE Lossless (PS3.5 annex G), rows packed by themselves."""
    packed = []
    for shift in range(8 * image.itemsize - 8, -8, -8):
        rows = (image >> shift).astype(np.uint8)
        runs = b"".join(bytes(imagecodecs.packbits_encode(row.tobytes())) for row in rows)
        packed.append(runs + b"\0" * (len(runs) % 2))
    header = np.zeros(16, "<u4")
    header[0] = len(packed)
    header[1 : 1 + len(packed)] = 64 + np.cumsum([0, *map(len, packed[:-1])])
    return header.tobytes() + b"".join(packed)


def deflated(image: Image) -> bytes:
    """Raw deflate of the native frame."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(image.tobytes()) + stream.flush()


ENCODERS: dict[str, tuple[int, Callable[[Image], Any]]] = {
    DEFLATED_IMAGE_FRAME: (12, deflated),
    uid.RLELossless: (12, rle),
    uid.JPEGBaseline8Bit: (8, lambda image: imagecodecs.jpeg8_encode(image, 90)),
    uid.JPEGExtended12Bit: (12, lambda image: imagecodecs.jpeg8_encode(image, 90, bitspersample=12)),
    uid.JPEGLosslessSV1: (
        12, lambda image: imagecodecs.jpeg8_encode(image, lossless=True, bitspersample=12),
    ),
    uid.JPEGLSLossless: (12, imagecodecs.jpegls_encode),
    uid.JPEGLSNearLossless: (12, lambda image: imagecodecs.jpegls_encode(image, 3)),
    uid.JPEG2000Lossless: (
        12, lambda image: imagecodecs.jpeg2k_encode(image, level=0, reversible=True, codecformat="j2k"),
    ),
    uid.JPEG2000: (
        12, lambda image: imagecodecs.jpeg2k_encode(image, level=50, codecformat="j2k", bitspersample=12),
    ),
    uid.HTJ2KLossless: (12, lambda image: imagecodecs.htj2k_encode(image, reversible=True)),
    uid.HTJ2K: (12, lambda image: imagecodecs.htj2k_encode(image, reversible=False)),
    JPEG_XL_LOSSLESS: (12, lambda image: imagecodecs.jpegxl_encode(image, lossless=True, effort=3)),
    JPEG_XL: (8, lambda image: imagecodecs.jpegxl_encode(image, distance=1.0, effort=3)),
}  # fmt: skip
"""Bits of the image and its encoder, for one transfer syntax of each kind."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Seconds for the same frames."""

    ours: float
    bare: float
    pydicom: float | None


def images(size: int, bits: int, count: int) -> list[Image]:
    """Noisy pictures of some structure."""
    wave = np.hypot(*np.ogrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j])
    noise = np.random.default_rng(0).normal(0, 15, (count, size, size))
    values = np.clip(np.rint(1000 + 800 * np.cos(9 * wave) + noise), 0, 4095).astype(np.uint16)
    return list(values if bits == 12 else (values >> 4).astype(np.uint8))


def described(transfer_syntax: str, image: Image, frames: int) -> PixelDescription:
    """How the frames are encoded."""
    known = PixelDescription(
        transfer_syntax, *image.shape, frames, 1, "MONOCHROME2", planar=False, bits_allocated=16,
        bits_stored=12, high_bit=11, dtype="<u2",
    )  # fmt: skip
    return (
        known
        if image.itemsize == 2
        else replace(known, bits_allocated=8, bits_stored=8, high_bit=7, dtype="|u1")
    )


def measure(transfer_syntax: str, size: int, count: int, repeats: int = REPEATS) -> Rate:
    """Decode so many frames in each way."""
    bits, encode = ENCODERS[transfer_syntax]
    pictures = images(size, bits, 4)
    four = [bytes(encode(image)) for image in pictures]
    encoded = [four[number % 4] for number in range(count)]
    description = described(transfer_syntax, pictures[0], count)
    out = [np.empty(description.shape, description.dtype) for _ in encoded]
    together = max(1, (1 << 20) // description.frame_bytes)

    def ours() -> None:
        for start in range(0, count, together):
            part = slice(start, start + together)
            if any(decode_frames(encoded[part], description, out[part])):
                raise ValueError(f"{name_of(transfer_syntax)} does not decode")

    ways: dict[str, Callable[[], object]] = {"ours": ours, "bare": bare(encoded, description)}
    if (peer := by_pydicom(encoded, description)) is not None:
        ways["pydicom"] = peer
    seconds: dict[str, float] = {}
    for _ in range(repeats + 1):  # once more, to warm up
        for name, way in ways.items():
            started = perf_counter()
            way()
            seconds[name] = min(perf_counter() - started, seconds.get(name, float("inf")))
    return Rate(seconds["ours"], seconds["bare"], seconds.get("pydicom"))


def bare(encoded: list[bytes], description: PixelDescription) -> Callable[[], object]:
    """The function of the library and nothing around it."""
    if description.transfer_syntax_uid not in CODECS:
        return lambda: [zlib.decompress(each, -zlib.MAX_WBITS) for each in encoded]
    calls = [decoding(each, description).call for each in encoded]
    module, name = calls[0].function.split(":")
    function = getattr(import_module(module), name)
    room: dict[str, Any] = {}
    if calls[0].fills:
        room = {"out": np.empty(*calls[0].fills)}
    return lambda: [function(call.encoded, **call.options, **room) for call in calls]


def by_pydicom(encoded: list[bytes], description: PixelDescription) -> Callable[[], object] | None:
    """Its decoder with the plugin that it takes first; `None` where none is installed or it refuses."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.UID(description.transfer_syntax_uid)
    ds.Rows, ds.Columns, ds.NumberOfFrames, ds.SamplesPerPixel = (*description.shape, len(encoded), 1)
    ds.BitsAllocated, ds.BitsStored = description.bits_allocated, description.bits_stored
    ds.HighBit, ds.PixelRepresentation = description.high_bit, 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = encapsulate(encoded)
    try:
        decoder = get_decoder(ds.file_meta.TransferSyntaxUID)
        decoder.as_array(ds, index=0)
    except (NotImplementedError, RuntimeError, ValueError):
        return None
    return lambda: [frame for frame, _ in decoder.iter_array(ds)]


def row(transfer_syntax: str, frames: int) -> str:
    """One line of the table."""
    large = measure(transfer_syntax, 512, frames)
    small = measure(transfer_syntax, SMALL, 4 * SMALL_FRAMES)
    megabytes = frames * 512 * 512 * (1 if ENCODERS[transfer_syntax][0] == 8 else 2) / 1e6
    library = CODECS[transfer_syntax].library if transfer_syntax in CODECS else "zlib"
    peer = "–" if large.pydicom is None else f"{megabytes / large.pydicom:.0f}"
    return (
        f"  {name_of(transfer_syntax)[:34]:<36}{library:<15}{megabytes / large.ours:>7.0f}"
        f"{megabytes / large.bare:>7.0f}{peer:>9}{small.ours / (4 * SMALL_FRAMES) * 1e6:>9.0f}"
        f"{small.bare / (4 * SMALL_FRAMES) * 1e6:>7.0f}"
    )


def main(frames: int = 16) -> None:
    """Print the table."""
    say = sys.stdout.write
    say(f"decode {frames} frames of 512 x 512, MB of stored values a second; 64 x 64, µs a frame\n")
    say(f"  {'':<36}{'library':<15}{'ours':>7}{'bare':>7}{'pydicom':>9}{'small':>9}{'bare':>7}\n")
    for transfer_syntax in ENCODERS:
        say(row(transfer_syntax, frames) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
