"""Colour and gray on opening: palettes, modality LUTs, profiles, and what a screen shows of real images."""

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from catalog.errors import DecodeError
from pipelines import phantoms
from pipelines.volumes import open_array, stored_values


def changed(phantom: phantoms.Phantom, **attributes: Any) -> None:
    """Write attributes into every file of a phantom; several values in a tuple, one a file, in order."""
    for number, path in enumerate(phantom.paths):
        ds = pydicom.dcmread(path)
        for keyword, value in attributes.items():
            mine = value[number % len(value)] if isinstance(value, tuple) else value
            if isinstance(mine, bytes) or keyword.endswith("TableDescriptor"):
                ds.add_new(keyword, "OW" if isinstance(mine, bytes) else "US", mine)
            elif "Padding" in keyword:
                ds.add_new(keyword, "SS", mine)
            else:
                setattr(ds, keyword, mine)
        ds.save_as(path)


SIGNED: dict[str, Any] = {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1}


def item(**attributes: Any) -> Sequence:
    ds = Dataset()
    for keyword, value in attributes.items():
        ds.add_new(keyword, "OW", value) if isinstance(value, bytes) else setattr(ds, keyword, value)
    return Sequence([ds])


# --- palettes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cine/us_palette_rle_10fr", "modalities/ot_palette_8bit"])
def test_a_real_palette_image_opens_in_the_colours_of_its_palette(
    indexed: Any, shared_data: Path, name: str
) -> None:
    (series,) = indexed(shared_data / f"{name}.dcm")
    record = series.array
    ds = pydicom.dcmread(shared_data / f"{name}.dcm", force=True)
    coloured, stored = open_array(record), stored_values(record)
    assert (coloured.dims, coloured.dtype) == ((*stored.dims, "channel"), np.uint8)
    assert isinstance(coloured.data, da.Array)
    expected = apply_color_lut(stored.to_numpy(), ds)
    assert np.array_equal(coloured, expected >> (8 if expected.max() > 255 else 0))
    assert np.array_equal(coloured[0, 100:110, 5], coloured.to_numpy()[0, 100:110, 5])


def palette_series(folder: Path, **more: Any) -> phantoms.Phantom:
    stored = np.arange(3 * 4 * 6, dtype=np.uint16).reshape(3, 4, 6) % 40
    phantom = phantoms.write_series(folder, stored=stored)
    tables: dict[str, Any] = {}
    for number, colour in enumerate(("Red", "Green", "Blue")):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [40, 0, 8]
        tables[f"{colour}PaletteColorLookupTableData"] = bytes(range(number, 40 + number))
    changed(phantom, PhotometricInterpretation="PALETTE COLOR", **(tables | more))
    return phantom


def test_planes_with_palettes_of_their_own_have_their_own_colours(indexed: Any, tmp_path: Path) -> None:
    tables = tuple(bytes([number] * 40) for number in (7, 8, 9))
    phantom = palette_series(tmp_path / "a", RedPaletteColorLookupTableData=tables)
    (series,) = indexed(tmp_path / "a")
    coloured = open_array(series.array).to_numpy()
    assert [np.unique(plane[..., 0]).tolist() for plane in coloured] == [[7], [8], [9]]
    assert np.array_equal(coloured[..., 1], phantom.stored + 1)


def test_a_palette_that_lies_is_an_error_and_the_indices_can_still_be_had(
    indexed: Any, tmp_path: Path
) -> None:
    phantom = palette_series(tmp_path / "a", BluePaletteColorLookupTableData=b"ab")
    (series,) = indexed(tmp_path / "a")
    record = series.array
    with pytest.raises(
        DecodeError, match="blue palette has 2 bytes for 40 entries; the stored values can be"
    ):
        open_array(record)
    assert np.array_equal(stored_values(record), phantom.stored)


# --- modality LUT ----------------------------------------------------------------------------------------


def test_a_modality_lut_gives_the_modality_values(indexed: Any, tmp_path: Path) -> None:
    stored = np.arange(3 * 4 * 6, dtype=np.int16).reshape(3, 4, 6) - 30
    phantom = phantoms.write_series(tmp_path / "a", stored=stored.view(np.uint16))
    table = (np.arange(50) ** 2).astype("<u2").tobytes()
    lut = item(LUTDescriptor=[50, -20, 16], ModalityLUTType="OD", LUTData=table)
    lut[0]["LUTDescriptor"].VR = "SS"
    for path in phantom.paths:
        ds = pydicom.dcmread(path)
        del ds.RescaleSlope, ds.RescaleIntercept
        ds.ModalityLUTSequence = lut
        ds.save_as(path)
    changed(phantom, **SIGNED)
    (series,) = indexed(tmp_path / "a")
    volume = open_array(series.array)
    expected = apply_modality_lut(stored, pydicom.dcmread(phantom.paths[0]))
    assert np.array_equal(volume, expected)
    assert (volume.dtype, volume.units) == (np.float32, "OD")
    assert np.array_equal(stored_values(series.array), stored)
    assert np.array_equal(volume[1, 2], expected[1, 2])


# --- gray for the screen ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mg_overlay_jpegll", "cr_mono1_10bit_nopart10", "dx_small", "ct_small"])
def test_a_real_radiograph_is_shown_as_pydicom_shows_it(indexed: Any, shared_data: Path, name: str) -> None:
    (series,) = indexed(shared_data / "modalities" / f"{name}.dcm")
    image = open_array(series.array)
    ds = pydicom.dcmread(shared_data / "modalities" / f"{name}.dcm", force=True)
    values = image.to_numpy()[0]
    gray = image.dicom.shown()
    assert isinstance(gray.data, da.Array)
    assert gray.dtype == np.uint8
    stored = stored_values(series.array).to_numpy()[0]
    is_padding = stored == ds.get("PixelPaddingValue", 1 << 20)
    if "WindowCenter" in ds:
        windowed = apply_voi_lut(values.astype(np.float64), ds)
        top = (1 << ds.BitsStored) - 1
        expected = windowed / top * 255
    else:
        pixels = values[~is_padding]
        expected = (values - pixels.min()) / np.ptp(pixels) * 255
    if ds.PhotometricInterpretation == "MONOCHROME1":
        expected = 255 - expected
    expected[is_padding] = 0
    assert np.abs(gray.to_numpy()[0] - expected).max() <= 1
    assert np.array_equal(image, values[np.newaxis])  # modality values are not touched


def test_each_plane_is_shown_by_its_own_window(indexed: Any, tmp_path: Path) -> None:
    phantom = phantoms.write_series(tmp_path / "a", stored=np.full((4, 3, 3), 1124, np.uint16))
    changed(phantom, WindowCenter=(100.5, 50.5, 150.5, 100.5), WindowWidth=101)
    (series,) = indexed(tmp_path / "a")
    volume = open_array(series.array)
    assert volume.dicom.shown()[:, 0, 0].values.tolist() == [128, 255, 0, 128]
    assert volume[::-1, 1].dicom.shown()[:, 0].values.tolist() == [128, 0, 255, 128]
    assert volume[2, 1, 1].dicom.shown() == 0
    assert volume.transpose("y", "z", "x").dicom.shown()[0, :, 0].values.tolist() == [128, 255, 0, 128]


def test_several_views_are_chosen_by_number(indexed: Any, tmp_path: Path) -> None:
    phantom = phantoms.write_series(tmp_path / "a", stored=np.full((3, 3, 3), 1124, np.uint16))
    changed(phantom, WindowCenter=[100.5, 50.5], WindowWidth=[101, 101])
    (series,) = indexed(tmp_path / "a")
    volume = open_array(series.array)
    assert [int(volume.dicom.shown(view)[0, 0, 0]) for view in (0, 1)] == [128, 255]
    with pytest.raises(DecodeError, match="no view 2"):
        volume.dicom.shown(2)


def test_a_voi_lut_and_a_sigmoid_are_those_of_pydicom(indexed: Any, tmp_path: Path) -> None:
    stored = (np.arange(3 * 8 * 8).reshape(3, 8, 8) + 1000).astype(np.uint16)
    phantom = phantoms.write_series(tmp_path / "a", stored=stored)
    changed(phantom, WindowCenter=60, WindowWidth=50, VOILUTFunction="SIGMOID")
    (series,) = indexed(tmp_path / "a")
    values = open_array(series.array)
    ds = pydicom.dcmread(phantom.paths[0])
    expected = apply_voi_lut(values.to_numpy().astype(np.float64), ds)
    assert np.abs(values.dicom.shown() - (expected - expected.min()) / np.ptp(expected) * 255).max() <= 1


def test_padding_is_black_and_leaves_the_automatic_window_alone(indexed: Any, tmp_path: Path) -> None:
    stored = np.full((3, 4, 4), 1100, np.int16)
    stored[:, 0], stored[:, 1], stored[:, 2] = -2000, -1990, 1200
    phantom = phantoms.write_series(tmp_path / "a", stored=stored.view(np.uint16))
    changed(
        phantom,
        PixelPaddingValue=-2000,
        PixelPaddingRangeLimit=-1990,
        PhotometricInterpretation="MONOCHROME1",
        **SIGNED,
    )
    (series,) = indexed(tmp_path / "a")
    volume = open_array(series.array)
    assert volume.dicom.shown()[1, :, 0].values.tolist() == [0, 0, 0, 255]
    assert volume[1, :, 0].values.tolist() == [-3024, -3014, 176, 76]


def test_a_supplemental_palette_colours_what_lies_above_the_gray(indexed: Any, tmp_path: Path) -> None:
    stored = np.arange(3 * 4 * 6, dtype=np.uint16).reshape(3, 4, 6) + 1024
    phantom = phantoms.write_series(tmp_path / "a", stored=stored.view(np.uint16))
    tables: dict[str, Any] = {}
    for number, colour in enumerate(("Red", "Green", "Blue")):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [40, 1060, 8]
        tables[f"{colour}PaletteColorLookupTableData"] = bytes(range(number, 40 + number))
    changed(phantom, PixelPresentation="COLOR", WindowCenter=18, WindowWidth=37, **tables)
    (series,) = indexed(tmp_path / "a")
    rgb = open_array(series.array).dicom.shown()
    assert rgb.dims == ("z", "y", "x", "channel")
    flat = rgb.to_numpy().reshape(-1, 3)
    assert (flat[:36] == flat[:36, :1]).all()
    assert flat[36:].tolist() == [[each, each + 1, each + 2] for each in range(36)]


# --- colour ----------------------------------------------------------------------------------------------


def test_the_profile_of_a_photograph_is_kept(indexed: Any, tmp_path: Path) -> None:
    profile = (Path(pydicom.data.__file__).parent / "test_files" / "crayons.icc").read_bytes()
    phantom = phantoms.write_series(tmp_path / "a", planes=1)
    changed(phantom, ICCProfile=profile)
    (series,) = indexed(tmp_path / "a")
    image = open_array(series.array)
    assert image.dicom.icc_profile == profile
    assert image.dicom.icc_description


def test_colour_is_shown_as_it_is(indexed: Any, shared_data: Path) -> None:
    (series,) = indexed(shared_data / "modalities" / "xc_jpeg_icon.dcm")
    photograph = open_array(series.array)
    assert photograph.dicom.shown() is photograph
    assert photograph.dicom.icc_profile is None
    assert photograph.dicom.icc_description == ""
    assert "IconImageSequence" not in photograph.dicom.attributes
