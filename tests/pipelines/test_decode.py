"""Frames of bytes to stored values, for every transfer syntax, and what is refused."""

from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import uid

from catalog.errors import CodecMissingError, DecodeError
from catalog.records import InstanceRecord, PixelData
from pipelines.decoding.codecs import CODECS, PLAIN
from pipelines.decoding.decode import decode_frame
from pipelines.decoding.pixels import ENCAPSULATED, PixelDescription, mask_unused_bits

ROWS, COLUMNS = 48, 60


def instance(**changes: object) -> InstanceRecord:
    record = InstanceRecord(
        sop_instance_uid="1.2.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        series_instance_uid="1.2.3",
        study_instance_uid="1.2",
        transfer_syntax_uid=uid.ExplicitVRLittleEndian,
        path="",
        header_digest="",
        pixel_data=PixelData(0x7FE00010, "OW", 0, None),
        rows=ROWS,
        columns=COLUMNS,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=16,
        bits_stored=12,
        high_bit=11,
        pixel_representation=0,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def describe(**changes: object) -> PixelDescription:
    return PixelDescription.of(instance(**changes))


@pytest.fixture(scope="module")
def gray() -> npt.NDArray[np.uint16]:
    noise = np.random.default_rng(0).integers(0, 40, (ROWS, COLUMNS))
    return (np.add.outer(np.arange(ROWS) * 40, np.arange(COLUMNS) * 30) + noise).astype(np.uint16)


@pytest.fixture(scope="module")
def colour() -> npt.NDArray[np.uint8]:
    image: npt.NDArray[np.uint8] = (
        np.random.default_rng(1).integers(0, 256, (ROWS, COLUMNS, 3)).astype(np.uint8)
    )
    return image


def encode_rle(*segments: bytes) -> bytes:
    """RLE Lossless (PS3.5 annex G), each segment as literal runs."""
    packed = []
    for segment in segments:
        runs = b"".join(
            bytes([len(segment[at : at + 128]) - 1]) + segment[at : at + 128]
            for at in range(0, len(segment), 128)
        )
        packed.append(runs + b"\0" * (len(runs) % 2))
    offsets = [64 + sum(map(len, packed[:index])) for index in range(len(packed))]
    header = np.zeros(16, "<u4")
    header[0], header[1 : 1 + len(offsets)] = len(segments), offsets
    return header.tobytes() + b"".join(packed)


# --- native ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transfer_syntax", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_native_whole_numbers_of_either_order_come_out_as_they_went_in(
    transfer_syntax: str, dtype: str
) -> None:
    values = np.random.default_rng(2).integers(-(2**40), 2**40, (ROWS, COLUMNS)).astype(dtype)
    bits = values.dtype.itemsize * 8
    description = describe(
        transfer_syntax_uid=transfer_syntax,
        bits_allocated=bits,
        bits_stored=bits,
        high_bit=bits - 1,
        pixel_representation=int(dtype[0] == "i"),
        pixel_data=PixelData(0x7FE00010, "OB", 0, None),
    )
    order = ">" if transfer_syntax == uid.ExplicitVRBigEndian else "<"
    decoded = decode_frame(values.astype(values.dtype.newbyteorder(order)).tobytes(), description)
    assert decoded.dtype == np.dtype(dtype).newbyteorder("<")
    assert np.array_equal(decoded, values)


@pytest.mark.parametrize(("tag", "dtype"), [(0x7FE00008, "<f4"), (0x7FE00009, "<f8")])
def test_float_pixel_data_keeps_every_bit(tag: int, dtype: str) -> None:
    values = np.random.default_rng(3).normal(size=(ROWS, COLUMNS)).astype(dtype)
    values[0, 0] = np.nan
    description = describe(
        pixel_data=PixelData(tag, "OF", 0, None), bits_allocated=None, bits_stored=None, high_bit=None
    )
    assert decode_frame(values.tobytes(), description).tobytes() == values.tobytes()


def test_bytes_in_big_endian_words_are_put_in_order() -> None:
    values = np.arange(ROWS * COLUMNS, dtype=np.uint8).reshape(ROWS, COLUMNS)
    description = describe(
        transfer_syntax_uid=uid.ExplicitVRBigEndian, bits_allocated=8, bits_stored=8, high_bit=7
    )
    swapped = values.reshape(-1, 2)[:, ::-1].tobytes()
    assert np.array_equal(decode_frame(swapped, description), values)


def test_single_bits_start_anywhere_within_a_byte() -> None:
    frames = np.random.default_rng(4).integers(0, 2, (5, 3, 7)).astype(np.uint8)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    description = describe(rows=3, columns=7, bits_allocated=1, bits_stored=1, high_bit=0)
    for index, frame in enumerate(frames):
        first = index * 21
        part = packed[first // 8 : (first + 21 + 7) // 8]
        assert np.array_equal(decode_frame(part, description, first_bit=first % 8), frame)


@pytest.mark.parametrize(
    ("stored", "bits_stored", "high_bit", "signed", "expected"),
    [
        (0xF123, 12, 11, 0, 0x123),
        (0x0FFF, 12, 11, 1, -1),
        (0xF7FF, 12, 11, 1, 2047),
        (0x1230, 12, 15, 0, 0x123),
        (0xFFF0, 12, 15, 1, -1),
        (0x0ABC, 8, 9, 0, 0xAF),
        (0xFFFF, 16, 15, 1, -1),
    ],
)
def test_bits_that_hold_no_value_are_cleared_or_filled_with_the_sign(
    stored: int, bits_stored: int, high_bit: int, signed: int, expected: int
) -> None:
    description = describe(bits_stored=bits_stored, high_bit=high_bit, pixel_representation=signed)
    encoded = np.full((ROWS, COLUMNS), stored, "<u2").tobytes()
    assert set(decode_frame(encoded, description).ravel().tolist()) == {expected}


def test_masking_says_whether_anything_changed(gray: npt.NDArray[np.uint16]) -> None:
    frame = gray.copy()
    assert not mask_unused_bits(frame, describe(bits_stored=13, high_bit=12))
    assert np.array_equal(frame, gray)
    frame[3, 4] |= 0x8000
    assert mask_unused_bits(frame, describe(bits_stored=13, high_bit=12))
    assert np.array_equal(frame, gray)


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_by_plane_or_by_pixel_comes_out_interleaved(
    planar: int, colour: npt.NDArray[np.uint8]
) -> None:
    description = describe(
        samples_per_pixel=3, photometric_interpretation="RGB", planar_configuration=planar,
        bits_allocated=8, bits_stored=8, high_bit=7,
    )  # fmt: skip
    encoded = (np.moveaxis(colour, -1, 0) if planar else colour).tobytes()
    assert np.array_equal(decode_frame(encoded, description), colour)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_native_luminance_and_chrominance_become_rgb(photometric: str) -> None:
    gray_level, red = (128, 128, 128), (76, 85, 255)
    pixels = np.array([[gray_level] * 2 + [red] * 2] * 2, np.uint8)
    encoded = pixels.tobytes()
    if photometric == "YBR_FULL_422":
        pairs = pixels.reshape(2, 2, 2, 3)
        encoded = np.concatenate([pairs[:, :, :, 0], pairs[:, :, 0, 1:]], axis=-1).tobytes()
    description = describe(
        rows=2, columns=4, samples_per_pixel=3, photometric_interpretation=photometric,
        bits_allocated=8, bits_stored=8, high_bit=7,
    )  # fmt: skip
    decoded = decode_frame(encoded, description).astype(int)
    assert np.abs(decoded[0, 0] - 128).max() <= 1
    assert np.abs(decoded[1, 3] - [254, 0, 0]).max() <= 2


# --- encapsulated ----------------------------------------------------------------------------------------

LOSSLESS = {
    "1.2.840.10008.1.2.4.57": lambda image: imagecodecs.ljpeg_encode(image, bitspersample=12),
    "1.2.840.10008.1.2.4.70": lambda image: imagecodecs.ljpeg_encode(image, bitspersample=16),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.81": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.90": lambda image: imagecodecs.jpeg2k_encode(
        image, level=0, reversible=True, codecformat="j2k"
    ),
    "1.2.840.10008.1.2.4.91": lambda image: imagecodecs.jpeg2k_encode(
        image, level=0, reversible=True, codecformat="jp2"
    ),
    "1.2.840.10008.1.2.4.201": lambda image: imagecodecs.htj2k_encode(image, reversible=True),
    "1.2.840.10008.1.2.4.202": lambda image: imagecodecs.htj2k_encode(image, reversible=True),
    "1.2.840.10008.1.2.4.203": lambda image: imagecodecs.htj2k_encode(image, reversible=True),
    "1.2.840.10008.1.2.4.110": lambda image: imagecodecs.jpegxl_encode(image, lossless=True),
    "1.2.840.10008.1.2.4.112": lambda image: imagecodecs.jpegxl_encode(image, lossless=True),
    "1.2.840.10008.1.2.5": lambda image: encode_rle(
        (image >> 8).astype(np.uint8).tobytes(), (image & 255).astype(np.uint8).tobytes()
    ),
}  # fmt: skip
TABLES: dict[str, Any] = dict(LOSSLESS)


@pytest.mark.parametrize("transfer_syntax", TABLES)
def test_lossless_transfer_syntaxes_give_back_every_value(
    transfer_syntax: str, gray: npt.NDArray[np.uint16]
) -> None:
    encoded = bytes(TABLES[transfer_syntax](gray))
    assert np.array_equal(decode_frame(encoded, describe(transfer_syntax_uid=transfer_syntax)), gray)
    if transfer_syntax != uid.RLELossless:  # its segments are padded, not the frame
        padded = encoded + b"\0"
        assert np.array_equal(decode_frame(padded, describe(transfer_syntax_uid=transfer_syntax)), gray)


@pytest.mark.parametrize("transfer_syntax", TABLES)
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.98])
def test_a_cut_frame_is_an_error_and_never_filled_up(
    transfer_syntax: str, part: float, gray: npt.NDArray[np.uint16]
) -> None:
    encoded = bytes(TABLES[transfer_syntax](gray))
    with pytest.raises(DecodeError):
        decode_frame(encoded[: int(len(encoded) * part)], describe(transfer_syntax_uid=transfer_syntax))


@pytest.mark.parametrize("transfer_syntax", TABLES)
def test_a_frame_of_another_size_than_the_header_says_is_an_error(
    transfer_syntax: str, gray: npt.NDArray[np.uint16]
) -> None:
    encoded = bytes(TABLES[transfer_syntax](gray))
    for rows, columns in ((ROWS - 8, COLUMNS), (ROWS * 2, COLUMNS), (COLUMNS, ROWS)):
        if rows * columns == ROWS * COLUMNS and transfer_syntax == uid.RLELossless:
            continue  # RLE does not say its size
        with pytest.raises(DecodeError):
            decode_frame(encoded, describe(transfer_syntax_uid=transfer_syntax, rows=rows, columns=columns))


@pytest.mark.parametrize(
    ("transfer_syntax", "bits"),
    [
        (uid.JPEG2000Lossless, 12),
        (uid.JPEG2000Lossless, 16),
        (uid.JPEGLSLossless, 16),
        (uid.JPEGLosslessSV1, 16),
        (uid.JPEGLosslessSV1, 12),
    ],
)
def test_negative_values_survive_a_codec_that_knows_no_sign(transfer_syntax: str, bits: int) -> None:
    values = np.random.default_rng(5).integers(-2048, 2048, (ROWS, COLUMNS)).astype(np.int16)
    unsigned = values.view(np.uint16) & np.uint16((1 << bits) - 1)
    if transfer_syntax == uid.JPEG2000Lossless:
        options = {"level": 0, "reversible": True, "codecformat": "j2k", "bitspersample": bits}
        encoded = bytes(imagecodecs.jpeg2k_encode(unsigned, **options))
    else:
        encoded = bytes(TABLES[transfer_syntax](unsigned))
    description = describe(transfer_syntax_uid=transfer_syntax, pixel_representation=1)
    assert np.array_equal(decode_frame(encoded, description), values)


def test_a_lossy_frame_may_exceed_the_bits_stored_and_is_not_wrapped_around() -> None:
    values = np.full((ROWS, COLUMNS), 4170, np.uint16)
    encoded = bytes(TABLES[uid.JPEG2000](values))
    assert np.array_equal(decode_frame(encoded, describe(transfer_syntax_uid=uid.JPEG2000)), values)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_jpeg_colour_follows_the_header_where_the_frame_has_no_marker(photometric: str) -> None:
    smooth = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    smooth[..., 0], smooth[..., 1] = np.arange(COLUMNS) * 4, 30
    encoded = bytes(
        imagecodecs.jpeg8_encode(
            smooth,
            100,
            subsampling="444",
            colorspace="RGB",
            outcolorspace="RGB" if photometric == "RGB" else "YCBCR",
        )
    )
    description = describe(
        transfer_syntax_uid=uid.JPEGBaseline8Bit, samples_per_pixel=3, photometric_interpretation=photometric,
        bits_allocated=8, bits_stored=8, high_bit=7,
    )  # fmt: skip
    assert np.abs(decode_frame(encoded, description).astype(int) - smooth).max() <= 4


def test_rle_colour_comes_out_interleaved(colour: npt.NDArray[np.uint8]) -> None:
    description = describe(
        transfer_syntax_uid=uid.RLELossless, samples_per_pixel=3, photometric_interpretation="RGB",
        bits_allocated=8, bits_stored=8, high_bit=7,
    )  # fmt: skip
    encoded = encode_rle(*(colour[..., sample].tobytes() for sample in range(3)))
    assert np.array_equal(decode_frame(encoded, description), colour)


@pytest.mark.parametrize("lost", [2, 3, 64, 65, 129, 130, 2000])
def test_rle_that_ends_between_two_runs_is_an_error(lost: int, gray: npt.NDArray[np.uint16]) -> None:
    encoded = bytes(TABLES[uid.RLELossless](gray))
    with pytest.raises(DecodeError):
        decode_frame(encoded[:-lost], describe(transfer_syntax_uid=uid.RLELossless))


@pytest.mark.parametrize("short", [0, 1])
def test_a_segment_that_is_short_shows_nothing_of_the_frame_before(
    short: int, gray: npt.NDArray[np.uint16]
) -> None:
    description = describe(transfer_syntax_uid=uid.RLELossless)
    decode_frame(bytes(TABLES[uid.RLELossless](np.full_like(gray, 0xABC))), description)
    segments = [bytes(ROWS * COLUMNS), bytes(ROWS * COLUMNS)]
    segments[short] = segments[short][: ROWS * COLUMNS // 2]
    with pytest.raises(DecodeError, match="decoded to"):
        decode_frame(encode_rle(*segments), description)


def test_a_missing_codec_is_named_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = replace(CODECS[uid.RLELossless], function="imagecodecs:nothing_decode")
    monkeypatch.setitem(CODECS, uid.RLELossless, codec)
    with pytest.raises(CodecMissingError, match=r"RLE Lossless: needs .* pip install --upgrade imagecodecs"):
        decode_frame(b"", describe(transfer_syntax_uid=uid.RLELossless))


# --- descriptions that cannot be ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": 0}, "no pixels"),
        ({"columns": None}, "no pixels"),
        ({"number_of_frames": -1}, "no pixels"),
        ({"bits_allocated": 12}, "12 bits allocated"),
        ({"bits_allocated": None}, "0 bits allocated"),
        ({"bits_stored": 17, "high_bit": 16}, "17 bits stored"),
        ({"high_bit": 3}, "12 bits stored with high bit 3"),
        ({"samples_per_pixel": 3}, "3 samples per pixel"),
        ({"samples_per_pixel": 4, "photometric_interpretation": "CMYK"}, "4 samples per pixel"),
        ({"transfer_syntax_uid": uid.MPEG2MPML}, "MPEG2"),
        ({"transfer_syntax_uid": "1.2.3"}, r"1\.2\.3"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        describe(**changes)


def test_a_native_frame_that_is_too_short_is_an_error() -> None:
    with pytest.raises(DecodeError, match="10 bytes, the header promises"):
        decode_frame(bytes(10), describe())


def test_every_codec_of_the_table_is_in_the_library() -> None:
    functions = [codec.function.removeprefix("imagecodecs:") for codec in CODECS.values()]
    assert all(hasattr(imagecodecs, function) for function in functions)
    assert CODECS.keys() | PLAIN.keys() == ENCAPSULATED
