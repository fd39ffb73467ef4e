"""Planes that repeat, one or two or a single one of many: named axes and copies, from files to arrays."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from catalog.errors import GeometryError
from pipelines import phantoms
from pipelines.phantoms import known_uid
from pipelines.planes import planes_of
from pipelines.store.pyramid import make_levels
from pipelines.verify import verify_array
from pipelines.volumes import open_array, open_level, stored_values

STORED = np.random.default_rng(5).integers(0, 4096, (16, 12, 10)).astype(np.uint16)


def repeated(
    folder: Path, rows: list[dict[str, Any]], modality: str = "MR", stored: npt.NDArray[np.uint16] = STORED
) -> None:
    """Images of one series, one for each row of attributes; their planes are those of a phantom."""
    (first,) = phantoms.write_series(folder / "0", planes=1, rows=12, columns=10, modality=modality).paths
    ds = pydicom.dcmread(first)
    first.unlink()
    for number, attributes in enumerate(rows):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = known_uid("instance", folder, number)
        ds.InstanceNumber = number + 1
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        ds.PixelData = stored[number].astype("<u2").tobytes()
        ds.save_as(folder / f"{number}.dcm")


def assert_sound(series: Any, record: Any) -> None:
    assert verify_array(record, series.instances).mismatches == ()
    sources = {each.sop_instance_uid: pydicom.dcmread(each.path) for each in series.instances}
    for plane in planes_of(record):
        assert np.array_equal(plane.stored, sources[plane.sop_instance_uid].pixel_array)


@pytest.mark.parametrize(
    ("modality", "keyword", "values", "name", "unit", "expected"),
    [
        ("MR", "TriggerTime", [40, 0, 80], "time", "s", [0, 0.04, 0.08]),
        ("MR", "AcquisitionTime", ["101500", "101502.5", "101505"], "time", "s", [0, 2.5, 5]),
        ("CT", "AcquisitionTime", ["101502", "101500", "101501"], "time", "s", [0, 1, 2]),
        ("MR", "InversionTime", [50, 400, 100], "inversion_time", "ms", [50, 100, 400]),
        ("MR", "DiffusionBValue", [0.0, 500.0, 1000.0], "b_value", "s/mm2", [0, 500, 1000]),
    ],
)
def test_one_plane_that_repeats_has_a_named_axis_and_millimetres(
    indexed: Any,
    tmp_path: Path,
    modality: str,
    keyword: str,
    values: Any,
    name: str,
    unit: str,
    expected: Any,
) -> None:
    rows = [{"AcquisitionTime": "101500"} | {keyword: value} for value in values]
    repeated(tmp_path / "d", rows, modality)
    (series,) = indexed(tmp_path / "d")
    image = open_array(series.array)
    assert (image.dims, image.attrs["kind"]) == ((name, "y", "x"), "stack")
    np.testing.assert_allclose(image[name], expected)
    assert image[name].attrs["units"] == unit
    assert image.y.attrs["units"] == image.x.attrs["units"] == "mm"
    np.testing.assert_allclose(image.y, 0.8 * np.arange(12))
    order = sorted(range(3), key=lambda number: values[number])
    assert np.array_equal(stored_values(series.array), STORED[order])
    assert_sound(series, series.array)


def test_one_plane_with_two_things_that_vary_has_two_axes(indexed: Any, tmp_path: Path) -> None:
    rows = [
        {"EchoTime": echo, "AcquisitionTime": f"1015{time:02d}"}
        for time, echo in product((0, 4, 8, 12), (10, 20, 30))
    ]
    repeated(tmp_path / "d", rows)
    (series,) = indexed(tmp_path / "d")
    record = series.array
    image, expected = open_array(record), STORED[:12].reshape(4, 3, 12, 10).swapaxes(0, 1)
    assert (image.dims, image.shape) == (("echo_time", "time", "y", "x"), (3, 4, 12, 10))
    assert (image.echo_time.values.tolist(), image.time.values.tolist()) == ([10, 20, 30], [0, 4, 8, 12])
    assert (image.echo_time.attrs["units"], image.time.attrs["units"]) == ("ms", "s")
    assert image.y.attrs["units"] == "mm"
    assert np.array_equal(stored_values(record), expected)
    assert np.array_equal(image.sel(echo_time=20, time=8), open_array(record)[1, 2])
    assert image.dicom.shown().shape == image.shape
    assert image.sel(echo_time=20).dicom.frame_attributes["AcquisitionTime"].nunique() == 4
    make_levels(record, coarsest=6)
    assert open_level(record, 1).dims == image.dims
    assert_sound(series, record)


def test_two_planes_with_eight_echoes_are_two_parts_along_echo_time(indexed: Any, tmp_path: Path) -> None:
    rows = [
        {"ImagePositionPatient": [0, 0, z], "EchoTime": echo} for echo, z in product(range(5, 45, 5), (0, 6))
    ]
    repeated(tmp_path / "d", rows)
    (series,) = indexed(tmp_path / "d")
    parts = series.ingest().arrays
    assert [part.label for part in parts] == ["plane 1 of 2", "plane 2 of 2"]
    for number, record in enumerate(parts):
        image = open_array(record)
        assert (image.dims, image.shape) == (("echo_time", "y", "x"), (8, 12, 10))
        assert set(image.z_lps_mm.values) == {6.0 * number}
        assert np.array_equal(stored_values(record), STORED[number::2])
        assert_sound(series, record)


def test_real_frames_of_one_plane_have_seconds(indexed: Any, shared_data: Path) -> None:
    path = shared_data / "modalities" / "mr_enhanced_j2k_19fr_multifragment.dcm"
    (series,) = indexed(path)
    image = open_array(series.array)
    frames = pydicom.dcmread(path, stop_before_pixels=True).PerFrameFunctionalGroupsSequence
    stamps = [str(frame.FrameContentSequence[0].FrameAcquisitionDateTime) for frame in frames]
    minutes = [int(each[8:10]) * 60 + int(each[10:12]) for each in stamps]
    assert image.dims == ("time", "y", "x")
    assert image.time.values.tolist() == [60 * (each - minutes[0]) for each in minutes]
    assert image.time.attrs["units"] == "s"
    assert {"x_lps_mm", "y_lps_mm", "z_lps_mm"} <= set(image.coords)
    assert image.y.attrs["units"] == "mm"
    assert verify_array(series.array, series.instances).mismatches == ()


def test_two_energies_of_ct_are_an_axis(indexed: Any, tmp_path: Path) -> None:
    rows = [
        {
            "ImagePositionPatient": [0, 0, 2 * z],
            "KVP": kvp,
            "AcquisitionTime": "101500",
            "ContentTime": "101500",
        }
        for z, kvp in product(range(4), (140, 80))
    ]
    repeated(tmp_path / "d", rows, "CT")
    (series,) = indexed(tmp_path / "d")
    volume = open_array(series.array)
    assert (volume.dims, volume.shape) == (("kvp", "z", "y", "x"), (2, 4, 12, 10))
    assert (volume.kvp.values.tolist(), volume.kvp.attrs["units"]) == ([80, 140], "kV")
    assert np.array_equal(stored_values(series.array)[0], STORED[1:8:2])


@pytest.mark.parametrize("is_alike", [True, False])
def test_a_plane_that_was_sent_twice_leaves_the_volume_whole(
    indexed: Any, tmp_path: Path, is_alike: bool
) -> None:
    phantom = phantoms.write_series(tmp_path / "d", planes=10)
    ds = pydicom.dcmread(phantom.paths[3])
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "2.25.99"
    if not is_alike:
        ds.PixelData = bytes(len(ds.PixelData))
    ds.InstanceNumber = max(ds.InstanceNumber, 10)
    ds.save_as(tmp_path / "d" / "copy.dcm")
    (series,) = indexed(tmp_path / "d")
    volume, copies = series.ingest().arrays
    assert np.array_equal(open_array(volume), phantom.modality_values)
    assert (copies.label, copies.shape[0]) == ("copies", 1)
    assert copies.reason.startswith("second images of planes that the volume has already: instance")
    assert open_array(copies).dicom.sources == ("2.25.99",)
    assert_sound(series, volume)
    assert_sound(series, copies)


def test_planes_that_nothing_orders_say_which_and_what_to_do(indexed: Any, tmp_path: Path) -> None:
    for number in range(2):
        for path in phantoms.write_series(tmp_path / f"{number}", planes=4).paths:
            ds = pydicom.dcmread(path)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID}{number}"
            ds.save_as(path)
    (tmp_path / "1" / "0000.dcm").unlink()
    (series,) = indexed(tmp_path / "0", tmp_path / "1")
    stack = open_array(series.array)
    assert "7 images at 4 positions, and nothing that sets their order; at one" in stack.attrs["reason"]
    with pytest.raises(GeometryError, match=r"stack.isel\(frame="):
        stack.dicom.to_regular()
