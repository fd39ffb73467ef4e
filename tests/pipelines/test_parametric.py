from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from catalog.errors import DecodeError, HeaderError
from pipelines import phantoms
from pipelines.objects.parametric import read_parametric_map


def mapping(
    label: str, unit: Any, *, slope: float = 1.0, intercept: float = 0.0, integer: bool = False
) -> Any:
    return highdicom.pm.RealWorldValueMapping(
        lut_label=label, lut_explanation=label, unit=unit, slope=slope, intercept=intercept,
        value_range=(0, 4000) if integer else (-4000.0, 4000.0),
        quantity_definition=codes.SCT.Volume if label == "second" else None,
    )  # fmt: skip


def write_map(path: Path, phantom: phantoms.Phantom, pixels: np.ndarray, mappings: Any) -> Path:
    """Write by highdicom; pixels (z, y, x), or (z, y, x, map)."""
    found = highdicom.pm.ParametricMap(
        [pydicom.dcmread(each) for each in phantom.paths], pixels, highdicom.UID(), 9, highdicom.UID(), 1,
        "m", "n", "1", "2", contains_recognizable_visual_features=False, real_world_value_mappings=mappings,
        voi_lut_transformations=[highdicom.VOILUTTransformation(window_center=1.0, window_width=2.0)],
    )  # fmt: skip
    found.save_as(path)
    if db := getattr(found, "_db_con", None):
        db.close()
    return path


def random_values(phantom: phantoms.Phantom, *maps: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(*phantom.stored.shape, *maps))


def test_the_real_map_has_the_pixels_and_the_unit_that_pydicom_sees(shared_data):
    path = shared_data / "objects/parametric_map/parametric_map_float.dcm"
    ds = pydicom.dcmread(path)
    found = read_parametric_map(path)
    assert found.dtype == np.float32
    assert np.array_equal(found.values[0], ds.pixel_array)
    assert found.attrs["units"] == "1"
    assert found.dicom.spacing_mm == pytest.approx((5.0, 0.661468, 0.661468))
    assert found.dicom.to_lps((0, 0, 0)) == pytest.approx((-158.135803, -179.035797, -75.699997))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_come_back_bit_by_bit_on_the_grid_of_their_source(tmp_path, dtype):
    ct = phantoms.write_series(tmp_path / "ct", orientation=(0, 1, 0, 0, 0, -1))
    values = random_values(ct).astype(dtype)
    path = write_map(
        tmp_path / "map.dcm", ct, values, [mapping("first", codes.UCUM.SquareMillimeterPerSecond)]
    )
    found = read_parametric_map(path)
    assert found.dims == ("z", "y", "x")
    assert found.dtype == dtype
    assert np.array_equal(found.values, values)
    assert found.attrs["units"] == "mm2/s"
    assert found.attrs["label"] == "first"
    assert np.allclose(found.dicom.affine_lps, ct.affine_lps)


def test_slope_and_intercept_give_real_world_values(ct, tmp_path):
    unit = codes.UCUM.SquareMillimeterPerSecond
    stored = np.random.default_rng(1).integers(0, 4000, ct.stored.shape).astype(np.uint16)
    maps = [mapping("first", unit, slope=0.25, intercept=-3.0, integer=True)]
    found = read_parametric_map(write_map(tmp_path / "map.dcm", ct, stored, maps))
    assert found.dtype == np.float32
    assert np.array_equal(found.values, (stored * 0.25 - 3).astype(np.float32))


def test_several_maps_have_an_axis_with_their_names_and_units(ct, tmp_path):
    values = random_values(ct, 2)
    maps = [
        [mapping("first", codes.UCUM.SquareMillimeterPerSecond)],
        [mapping("second", codes.UCUM.Millimeter)],
    ]
    found = read_parametric_map(write_map(tmp_path / "map.dcm", ct, values, maps))
    assert found.dims == ("map", "z", "y", "x")
    assert np.array_equal(found.sel(map="second").values, values[..., 1])
    assert found.coords["units"].values.tolist() == ["mm2/s", "mm"]
    assert found.coords["quantity"].values.tolist() == ["", "Volume"]


def edited(path: Path, edit: Any) -> Path:
    ds = pydicom.dcmread(path)
    edit(ds)
    ds.save_as(path)
    return path


@pytest.fixture
def written(ct, tmp_path) -> Path:
    unit = codes.UCUM.Millimeter
    values = random_values(ct).astype(np.float32)
    return write_map(tmp_path / "map.dcm", ct, values, [mapping("first", unit)])


def shared(ds: pydicom.Dataset) -> pydicom.Dataset:
    return ds.SharedFunctionalGroupsSequence[0]


def remove(keyword: str) -> Any:
    def edit(ds: pydicom.Dataset) -> None:
        delattr(shared(ds).RealWorldValueMappingSequence[0], keyword)

    return edit


def remove_mapping(ds: pydicom.Dataset) -> None:
    del shared(ds).RealWorldValueMappingSequence


def repeat_plane(ds: pydicom.Dataset) -> None:
    first, second = ds.PerFrameFunctionalGroupsSequence[:2]
    second.PlanePositionSequence = first.PlanePositionSequence


def cut_pixels(ds: pydicom.Dataset) -> None:
    ds.FloatPixelData = ds.FloatPixelData[:-4]


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (remove("RealWorldValueSlope"), HeaderError, "tables are not applied"),
        (remove("MeasurementUnitsCodeSequence"), HeaderError, "values without Measurement Units"),
        (remove_mapping, HeaderError, "frame 1 has no Real World Value Mapping"),
        (repeat_plane, HeaderError, "frames 1 and 2 are of one plane and one map"),
        (cut_pixels, DecodeError, "pixel data are cut"),
    ],
)
def test_what_contradicts_itself_is_refused_in_words(written, edit, error, words):
    with pytest.raises(error, match=words):
        read_parametric_map(edited(written, edit))


def test_a_plane_that_is_left_out_is_no_number(written):
    positions: list[Any] = []

    def drop(ds: pydicom.Dataset) -> None:
        size = ds.Rows * ds.Columns * 4
        ds.FloatPixelData = ds.FloatPixelData[: 2 * size] + ds.FloatPixelData[3 * size :]
        positions.append(ds.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0].ImagePositionPatient)
        del ds.PerFrameFunctionalGroupsSequence[2]
        ds.NumberOfFrames = ds.NumberOfFrames - 1

    found = read_parametric_map(edited(written, drop))
    _, _, plane = np.rint(found.dicom.to_index(positions[0]))
    assert found.shape[0] == 8
    assert np.flatnonzero(np.isnan(found.values).all(axis=(1, 2))).tolist() == [plane]
    assert np.isnan(found.values).any(axis=(1, 2)).sum() == 1


def test_a_file_cut_anywhere_gives_words(written):
    whole = written.read_bytes()
    for end in range(0, len(whole) - 1, 1009):
        written.write_bytes(whole[:end])
        with pytest.raises((HeaderError, DecodeError)):
            read_parametric_map(written)


def test_an_image_is_no_parametric_map(ct):
    with pytest.raises(HeaderError, match="is CT Image Storage, not a Parametric Map"):
        read_parametric_map(ct.paths[0])
