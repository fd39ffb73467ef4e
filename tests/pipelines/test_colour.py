"""Colour and gray for display: real palettes and profiles, tables with known answers, tables that lie."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_color_lut
from pydicom.sequence import Sequence

from catalog.errors import DecodeError
from pipelines.presentation.colour import icc_profile, inverted, palette_of, shown


def header(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def palette(descriptor: list[int], *tables: bytes, segmented: bool = False, **attributes: object) -> Dataset:
    ds = header(PixelRepresentation=0, **attributes)
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", descriptor)
        setattr(ds, f"{'Segmented' * segmented}{colour}PaletteColorLookupTableData", table)
    return ds


def words(*numbers: int) -> bytes:
    return np.array(numbers, "<u2").tobytes()


# --- palettes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cine/us_palette_rle_10fr", "modalities/ot_palette_8bit"])
def test_a_real_palette_colours_as_pydicom_does(shared_data: Path, name: str) -> None:
    ds = dcmread(shared_data / f"{name}.dcm", stop_before_pixels=True, force=True)
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    coloured = palette_of(ds).apply(stored)
    assert coloured.shape == (16, 16, 3)
    assert coloured.dtype == np.uint16
    assert np.array_equal(coloured, apply_color_lut(stored, ds))
    assert palette_of(ds).eight_bits().apply(stored).dtype == np.uint8


def test_indices_out_of_range_take_the_colours_of_the_ends() -> None:
    ds = palette([3, 1000, 16], words(1, 2, 3), words(4, 5, 6), words(7, 8, 9))
    stored = np.array([0, 999, 1000, 1001, 1002, 1003, 65535], np.uint16)
    assert palette_of(ds).apply(stored)[:, 0].tolist() == [1, 1, 1, 2, 3, 3, 3]
    assert palette_of(ds).apply(stored)[3].tolist() == [2, 5, 8]


def test_the_first_value_is_signed_where_the_pixels_are() -> None:
    ds = palette([3, 65534, 8], *[bytes([10, 20, 30, 0])] * 3)
    ds.PixelRepresentation = 1
    assert palette_of(ds).apply(np.array([-5, -2, -1, 0, 7], np.int16))[:, 2].tolist() == [10, 10, 20, 30, 30]


def test_a_table_of_65536_entries_says_0() -> None:
    ds = palette([0, 0, 16], *[np.arange(65536, dtype="<u2").tobytes()] * 3)
    assert palette_of(ds).apply(np.array([0, 300, 65535], np.uint16))[:, 1].tolist() == [0, 300, 65535]
    assert palette_of(ds).eight_bits().apply(np.array([0, 300, 65535]))[:, 1].tolist() == [0, 1, 255]


def test_8_bit_entries_may_stand_in_words_or_bytes_for_pixels_of_16_bits() -> None:
    for table in (bytes(range(256)), words(*range(256))):
        ds = palette([256, 300, 8], table, table, table)
        coloured = palette_of(ds).apply(np.array([0, 300, 400, 555, 9999], np.uint16))
        assert coloured.dtype == np.uint8
        assert coloured[:, 0].tolist() == [0, 0, 100, 255, 255]


def test_a_table_that_announces_16_bits_and_uses_8_keeps_its_values_on_a_screen() -> None:
    ds = palette([2, 0, 16], *[words(0, 255)] * 3)
    assert palette_of(ds).eight_bits().colours[:, 0].tolist() == [0, 255]


def test_segmented_tables_are_expanded() -> None:
    ramp = words(0, 2, 0, 100, 1, 4, 500, 0, 1, 7)  # 0, 100; a line of 4 to 500; 7
    ds = palette([7, 0, 16], ramp, ramp, ramp, segmented=True)
    assert palette_of(ds).colours[:, 0].tolist() == [0, 100, 200, 300, 400, 500, 7]


@pytest.mark.parametrize(
    ("ds", "reason"),
    [
        (header(), "RedPaletteColorLookupTableDescriptor is absent"),
        (header(RedPaletteColorLookupTableDescriptor=[4, 0, 8]), "the red palette is absent"),
        (palette([4, 0, 8], b"ab", b"abcd", b"abcd"), "the red palette has 2 bytes for 4 entries"),
        (palette([4, 0, 12], *[b"abcd"] * 3), "announces 12 bits an entry"),
        (palette([4, 0, 8, 9], *[b"abcd"] * 3), "the palette cannot be read: ValueError"),
        (palette([0, 0, 16], *[words(1, 5, 9, 0)] * 3, segmented=True), "segment of type 1, which is not"),
        (palette([9, 0, 16], *[words(0, 1, 5, 2, 1, 0, 0)] * 3, segmented=True), "segment of type 2"),
        (palette([9, 0, 16], *[words(0, 0, 0, 0)] * 3, segmented=True), "a segment without entries"),
        (palette([9, 0, 16], *[words(0, 2, 5, 6)] * 3, segmented=True), "2 entries, its descriptor says 9"),
    ],
)
def test_a_palette_that_lies_is_an_error_with_the_reason(ds: Dataset, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        palette_of(ds)


def test_segments_expand_to_no_more_than_is_announced() -> None:
    bomb = words(0, 1, 0, *([1, 65535, 9] * 5000))
    assert len(palette_of(palette([4, 0, 16], bomb, bomb, bomb, segmented=True)).colours) == 4


# --- profiles --------------------------------------------------------------------------------------------


def test_the_icc_profile_is_that_of_the_image_or_of_its_optical_path() -> None:
    assert icc_profile(header()) is None
    assert icc_profile(header(ICCProfile=b"profile.")) == b"profile."
    paths = Sequence([header(), header(ICCProfile=b"of slide")])
    assert icc_profile(header(OpticalPathSequence=paths)) == b"of slide"


# --- gray ------------------------------------------------------------------------------------------------

HU = np.array([-1000.0, 0.0, 39.0, 40.0, 240.0, 3000.0], np.float32)


def test_a_window_of_the_header_is_applied_and_monochrome1_inverted() -> None:
    ds = header(WindowCenter=[40, 500], WindowWidth=[400, 2000], PhotometricInterpretation="MONOCHROME2")
    first = shown(HU, ds)
    assert (first[0], first[-1], first.dtype) == (0, 255, np.uint8)
    assert first.tolist() != shown(HU, ds, view=1).tolist()
    ds.PhotometricInterpretation = "MONOCHROME1"
    assert np.array_equal(shown(HU, ds), 255 - first)
    assert np.array_equal(inverted(inverted(first)), first)


@pytest.mark.parametrize(
    ("function", "expected"),
    [("LINEAR", [0, 64, 128, 191, 255]), ("LINEAR_EXACT", [0, 64, 128, 191, 255])],
)
def test_linear_functions_run_from_black_to_white(function: str, expected: list[int]) -> None:
    ds = header(WindowCenter=0, WindowWidth=1000, VOILUTFunction=function)
    assert shown(np.array([-500, -250, 0, 250, 500]), ds).tolist() == pytest.approx(expected, abs=1)


def test_a_sigmoid_is_steepest_at_its_center_and_never_overflows() -> None:
    ds = header(WindowCenter=0, WindowWidth=100, VOILUTFunction="SIGMOID")
    gray = shown(np.array([-1e30, -25, 0, 25, 1e30]), ds)
    assert gray.tolist() == [0, round(255 / (1 + np.e)), 128, round(255 / (1 + np.exp(-1))), 255]


def test_without_a_window_the_full_range_is_shown() -> None:
    assert shown(np.array([-7, 0, 93]), header())[[0, 2]].tolist() == [0, 255]


def voi_lut(descriptor: list[int], table: Any) -> Dataset:
    item = header(LUTDescriptor=descriptor)
    item.add_new("LUTData", "OW" if isinstance(table, bytes) else "US", table)
    return header(VOILUTSequence=Sequence([item]), WindowCenter=0, WindowWidth=1)


def test_a_voi_lut_goes_before_the_window_and_is_clamped_at_its_ends() -> None:
    for table in (words(0, 4095, 2048), [0, 4095, 2048]):
        ds = voi_lut([3, 10, 12], table)
        assert shown(np.array([-5, 10, 11, 12, 99], np.int16), ds).tolist() == [0, 0, 255, 128, 128]
        assert shown(np.array([np.nan, np.inf, 11.2], np.float32), ds).tolist() == [0, 128, 255]


def test_a_real_radiograph_in_monochrome1_has_white_bone(shared_data: Path) -> None:
    ds = dcmread(shared_data / "modalities" / "dx_small.dcm")
    assert ds.PhotometricInterpretation == "MONOCHROME1"
    stored = ds.pixel_array
    gray = shown(stored, ds)
    assert gray.shape == stored.shape
    assert gray[stored == stored.min()].min() > gray[stored == stored.max()].max()


@pytest.mark.parametrize(
    ("ds", "view", "reason"),
    [
        (header(WindowCenter=40, WindowWidth=0), 0, "is 0, too small for LINEAR"),
        (
            header(WindowCenter=40, WindowWidth=-1, VOILUTFunction="SIGMOID"),
            0,
            "is -1, too small for SIGMOID",
        ),
        (header(WindowCenter=40, WindowWidth=100), 1, "no view 1: the header has 1, counted from 0"),
        (header(WindowCenter=40), 0, "no view 0: the header has 0"),
        (header(WindowCenter=1, WindowWidth=9, VOILUTFunction="CUBIC"), 0, "'CUBIC' is none of LINEAR"),
        (voi_lut([3, 0, 12], b"ab"), 0, "the VOI LUT has 2 bytes for 3 entries"),
        (voi_lut([3, 0, 33], b"abcdef"), 0, "announces 33 bits an entry"),
        (voi_lut([3, 0, 12], b"abcdef"), 7, "no view 7"),
    ],
)
def test_a_view_that_cannot_be_applied_is_an_error_with_the_reason(
    ds: Dataset, view: int, reason: str
) -> None:
    with pytest.raises(DecodeError, match=reason):
        shown(HU, ds, view=view)
