"""Frames with names: vectors of nuclear medicine, a turning C-arm, calibrated ultrasound."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sequence import Sequence

from catalog.errors import ArrayError, GeometryError, HeaderError, NotFoundError
from pipelines import phantoms
from pipelines.axes.frame_axes import VECTORS, grid_of
from pipelines.planes import planes_of
from pipelines.presentation.preview import preview
from pipelines.volumes import open_array, stored_values


def multi_frame(path: Path, frames: Any, modality: str, **attributes: Any) -> Path:
    """Write a multi-frame image of 16 bits; frames (frame, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    phantom = phantoms.write_series(path.parent / "seed", planes=1)
    ds = pydicom.dcmread(phantom.paths[0])
    phantom.paths[0].unlink()
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "RescaleIntercept", "RescaleSlope"):
        delattr(ds, keyword)
    ds.Modality, ds.NumberOfFrames, ds.Rows, ds.Columns = modality, *frames.shape
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.PixelData = frames.astype("<u2").tobytes()
    ds.save_as(path)
    return path


def nuclear(path: Path, vectors: dict[str, Any], order: Any = None, **more: Any) -> tuple[Path, Any]:
    frames = len(next(iter(vectors.values())))
    values = np.arange(frames * 4 * 6).reshape(frames, 4, 6) % 4096
    pointer = [pydicom.datadict.tag_for_keyword(each) for each in vectors]
    return multi_frame(path, values, "NM", FrameIncrementPointer=pointer, **vectors, **more), values


def test_frames_of_two_energy_windows_and_two_detectors_have_two_axes(indexed: Any, tmp_path: Path) -> None:
    windows, detectors, views = zip(*product((1, 2), (1, 2), (1, 2, 3)), strict=True)
    path, values = nuclear(
        tmp_path / "a" / "nm.dcm",
        {
            "EnergyWindowVector": list(windows),
            "DetectorVector": list(detectors),
            "RotationVector": [1] * 12,
            "AngularViewVector": list(views),
        },
    )
    (series,) = indexed(path)
    image = open_array(series.array)
    assert image.dims == ("energy_window", "detector", "angular_view", "y", "x")
    assert image.shape == (2, 2, 3, 4, 6)
    assert image.angular_view.values.tolist() == [1, 2, 3]
    assert np.array_equal(image.values.reshape(12, 4, 6), values)
    assert np.array_equal(image.sel(energy_window=2, detector=1, angular_view=3), values[8])
    assert image.frame_number.sel(energy_window=2, detector=1, angular_view=3) == 9
    assert stored_values(series.array).dims == image.dims
    assert np.array_equal(np.stack([plane.stored for plane in planes_of(series.array)]), values)
    table = image.sel(detector=2).dicom.frame_attributes
    assert table["DetectorVector"].tolist() == [2] * 6
    assert table["AngularViewVector"].tolist() == [1, 2, 3] * 2


def test_gated_frames_keep_their_seconds_beside_the_detectors(indexed: Any, tmp_path: Path) -> None:
    detectors, slots = zip(*product((1, 2), (1, 2, 3, 4)), strict=True)
    interval = Dataset()
    interval.FrameTime, interval.NumberOfRRIntervals = 50, 1
    gate = Dataset()
    gate.DataInformationSequence = Sequence([interval])
    path, _ = nuclear(
        tmp_path / "a" / "nm.dcm",
        {"DetectorVector": list(detectors), "TimeSlotVector": list(slots)},
        GatedInformationSequence=Sequence([gate]),
    )
    (series,) = indexed(path)
    image = open_array(series.array)
    assert image.dims == ("detector", "time_slot", "y", "x")
    assert image.time.dims == ("time_slot",)
    np.testing.assert_allclose(image.time, [0, 0.05, 0.1, 0.15])


def test_frames_that_form_no_grid_stay_frames_with_their_numbers(indexed: Any, tmp_path: Path) -> None:
    path, values = nuclear(
        tmp_path / "a" / "nm.dcm", {"EnergyWindowVector": [1, 1, 2], "DetectorVector": [1, 2, 2]}
    )
    (series,) = indexed(path)
    image = open_array(series.array)
    assert image.dims == ("frame", "y", "x")
    assert image.energy_window.values.tolist() == [1, 1, 2]
    assert np.array_equal(image, values)


@given(st.permutations(list(VECTORS.values())), st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_any_full_grid_is_found_whatever_its_order(names: list[str], counts: list[int]) -> None:
    used = dict(zip(names, counts, strict=False))
    columns = zip(*product(*(range(1, count + 1) for count in used.values())), strict=True)
    vectors = {
        name: np.array(column) for name, column in zip(used, columns, strict=True) if len(set(column)) > 1
    }
    shuffled = dict(sorted(vectors.items()))
    grid = grid_of(shuffled)
    if not vectors:
        assert grid is None
        return
    assert grid is not None
    assert grid.names == tuple(vectors)
    assert [len(each) for each in grid.values] == [count for count in counts if count > 1]
    assert grid_of({name: vector[::-1] for name, vector in shuffled.items()}) is None


def test_a_real_whole_body_image_has_a_single_frame(indexed: Any, shared_data: Path) -> None:
    (series,) = indexed(shared_data / "modalities" / "nm_wholebody_j2k.dcm")
    image = open_array(series.array)
    assert image.dims == ("frame", "y", "x")
    assert image.shape == (1, 1024, 256)


def test_the_turns_of_a_c_arm_stand_along_time(indexed: Any, tmp_path: Path) -> None:
    path = multi_frame(
        tmp_path / "a" / "xa.dcm", np.zeros((3, 4, 5)), "XA", FrameTime=100, FrameIncrementPointer=0x00181063,
        PositionerMotion="DYNAMIC", PositionerPrimaryAngle=-30, PositionerSecondaryAngle=2,
        PositionerPrimaryAngleIncrement=[0, 1.5, 3], PositionerSecondaryAngleIncrement=[0, 0, -0.5],
    )  # fmt: skip
    (series,) = indexed(path)
    run = open_array(series.array)
    assert run.dims == ("time", "y", "x")
    assert run.positioner_primary_angle_increment.values.tolist() == [0, 1.5, 3]
    assert run.positioner_secondary_angle_increment.attrs["units"] == "deg"
    assert run.dicom.attributes.PositionerPrimaryAngle == -30


def test_a_real_run_of_a_c_arm_that_stood_still_has_its_angles(indexed: Any, shared_data: Path) -> None:
    (series,) = indexed(shared_data / "cine" / "xa_jpeg_96fr.dcm")
    run = open_array(series.array)
    assert (run.dicom.attributes.PositionerPrimaryAngle, run.sizes["time"]) == (-32, 96)
    assert "positioner_primary_angle_increment" not in run.coords


# --- ultrasound ------------------------------------------------------------------------------------------


def region(**changes: Any) -> Dataset:
    ds = Dataset()
    ds.RegionSpatialFormat, ds.RegionDataType, ds.RegionFlags = 1, 1, 0
    ds.RegionLocationMinX0, ds.RegionLocationMinY0 = 0, 0
    ds.RegionLocationMaxX1, ds.RegionLocationMaxY1 = 5, 3
    ds.PhysicalUnitsXDirection = ds.PhysicalUnitsYDirection = 3
    ds.PhysicalDeltaX, ds.PhysicalDeltaY = 0.02, 0.05
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def ultrasound(indexed: Any, tmp_path: Path, *regions: Dataset) -> Any:
    frames = np.zeros((3, 4, 6))
    path = multi_frame(
        tmp_path / "a" / "us.dcm", frames, "US", SequenceOfUltrasoundRegions=Sequence(regions),
        FrameTime=40, FrameIncrementPointer=0x00181063,
    )  # fmt: skip
    (series,) = indexed(path)
    return open_array(series.array)


def test_one_region_over_the_image_gives_millimetres(indexed: Any, tmp_path: Path) -> None:
    image = ultrasound(indexed, tmp_path, region(ReferencePixelX0=1))
    np.testing.assert_allclose(image.x, [-0.2, 0, 0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(image.y, [0, 0.5, 1, 1.5])
    assert (image.y.attrs["units"], image.x.attrs["units"]) == ("mm", "mm")
    assert "calibration" not in image.attrs


def test_doppler_regions_measure_seconds_and_speeds_in_their_own_place(indexed: Any, tmp_path: Path) -> None:
    spectrum = region(
        RegionSpatialFormat=3, RegionDataType=3, RegionLocationMinY0=2, PhysicalUnitsXDirection=4,
        PhysicalUnitsYDirection=7, PhysicalDeltaX=0.002, PhysicalDeltaY=-1.5, ReferencePixelY0=1,
    )  # fmt: skip
    image = ultrasound(indexed, tmp_path, region(RegionLocationMaxY1=1), spectrum)
    assert "x" not in image.coords
    assert image.attrs["calibration"].startswith("its 2D region takes rows 0 to 1 of 4")
    tissue, doppler = image.dicom.regions
    assert (tissue.spatial_format, doppler.data_type) == ("2D", "PW spectral Doppler")
    assert (doppler.x.axis.units, doppler.y.axis.units) == ("s", "cm/s")
    assert doppler.y.axis.values.tolist() == [1.5, 0]


def test_regions_that_contradict_themselves_leave_the_image_and_say_why(indexed: Any, tmp_path: Path) -> None:
    image = ultrasound(indexed, tmp_path, region(RegionLocationMaxX1=0, RegionLocationMinX0=5))
    assert "reaches from 5 to 0 along x" in image.attrs["calibration"]
    with pytest.raises(HeaderError, match="reaches from 5 to 0"):
        image.dicom.regions  # noqa: B018


def test_real_ultrasound_has_the_regions_of_its_header(indexed: Any, shared_data: Path) -> None:
    for series in indexed(
        shared_data / "cine" / "us_jpeg_34fr.dcm", shared_data / "cine" / "us_ybr_jpeg_30fr.dcm"
    ):
        video = open_array(series.array)
        ds = pydicom.dcmread(series.instances[0].path, stop_before_pixels=True)
        found = video.dicom.regions
        assert len(found) == len(ds.SequenceOfUltrasoundRegions)
        for ours, theirs in zip(found, ds.SequenceOfUltrasoundRegions, strict=True):
            assert ours.x.delta == theirs.PhysicalDeltaX
        assert {"y", "x"}.isdisjoint(
            video.coords
        )  # the first is calibrated in a part, the second in no pixel
        assert video.attrs["calibration"].startswith("its 2D region takes rows ")


def test_a_region_of_a_real_cine_is_an_array_in_cm(indexed: Any, shared_data: Path) -> None:
    (series,) = indexed(shared_data / "cine" / "us_jpeg_34fr.dcm")
    video = open_array(series.array)
    tissue, trace = video.dicom.region(0), video.dicom.region(1)
    assert tissue.sizes == {"time": 34, "y": 350, "x": 397, "channel": 3}
    assert tissue.chunks is not None
    assert np.array_equal(tissue[5], video[5, 4:354, 42:439])
    np.testing.assert_allclose(tissue.x, (np.arange(397) - 198) * 0.2 / 7)
    np.testing.assert_allclose(tissue.y, (np.arange(350) + 4) * 0.16 / 7)
    assert (tissue.y.attrs["units"], tissue.x.attrs["units"]) == ("cm", "cm")
    assert (tissue.attrs["spatial_format"], trace.attrs["data_type"]) == ("2D", "ECG trace")
    assert float(tissue.sel(x=0, y=5, method="nearest").y) == pytest.approx(5, abs=0.02)
    assert (trace.x.attrs["units"], "y" in trace.coords) == ("s", False)
    assert float(trace.x[-1]) == pytest.approx(217 * 0.005023148148148148)
    assert tissue.dicom.sources == video.dicom.sources
    with pytest.raises(GeometryError, match="no place in the patient"):
        tissue.dicom.affine_lps  # noqa: B018
    with pytest.raises(NotFoundError, match="has 2 ultrasound regions; they count from 0 to 1, not 2"):
        video.dicom.region(2)
    with pytest.raises(ArrayError, match="were cut out"):
        tissue.dicom.region(0)


def test_a_real_region_beyond_its_image_is_no_array(indexed: Any, shared_data: Path) -> None:
    (series,) = indexed(shared_data / "cine" / "us_ybr_jpeg_30fr.dcm")
    video = open_array(series.array)
    with pytest.raises(HeaderError, match="reaches to pixel 414 along y, and the image has 240"):
        video.dicom.region(0)


def test_a_real_still_has_three_regions(indexed: Any, shared_data: Path) -> None:
    (series,) = indexed(shared_data / "broken" / "dicom" / "no-pixel-spacing.dcm")
    still = open_array(series.array)
    tissue, trace = still.dicom.region(0), still.dicom.region(1)
    assert (tissue.sizes["y"], tissue.sizes["x"]) == (459, 680)  # its header says 800 of 800 columns
    assert float(tissue.x[340]) == pytest.approx(0)
    assert float(tissue.y[4]) == pytest.approx(0)
    assert float(tissue.y[-1]) == pytest.approx(454 * 0.03305420890260027)
    assert float(trace.x[0]) == pytest.approx(176 * 0.004499943750703116)
    assert still.dicom.region(2).sizes["x"] == 1


def test_a_duplex_image_has_centimetres_above_and_velocities_over_time_below(
    indexed: Any, tmp_path: Path
) -> None:
    spectrum = region(
        RegionSpatialFormat=3, RegionDataType=3, RegionLocationMinY0=2, PhysicalUnitsXDirection=4,
        PhysicalUnitsYDirection=7, PhysicalDeltaX=0.002, PhysicalDeltaY=-1.5, ReferencePixelY0=1,
    )  # fmt: skip
    image = ultrasound(indexed, tmp_path, region(RegionLocationMaxY1=1, RegionLocationMinX0=1), spectrum)
    tissue, doppler = image.dicom.region(0), image.dicom.region(1)
    assert (tissue.shape, doppler.shape) == ((3, 2, 5), (3, 2, 6))
    np.testing.assert_allclose(tissue.x, np.arange(5) * 0.02)
    assert (doppler.y.attrs["units"], doppler.x.attrs["units"]) == ("cm/s", "s")
    assert doppler.y.values.tolist() == [1.5, 0]
    np.testing.assert_allclose(doppler.x, np.arange(6) * 0.002)


def test_a_spectrum_over_the_image_gives_seconds_and_velocities(indexed: Any, tmp_path: Path) -> None:
    image = ultrasound(indexed, tmp_path, region(
        RegionSpatialFormat=3, RegionDataType=3, PhysicalUnitsXDirection=4, PhysicalUnitsYDirection=7,
        PhysicalDeltaX=0.002, PhysicalDeltaY=-1.5, ReferencePixelY0=2,
    ))  # fmt: skip
    assert "calibration" not in image.attrs
    assert image.y.values.tolist() == [3, 1.5, 0, -1.5]
    np.testing.assert_allclose(image.x, np.arange(6) * 0.002)
    assert (image.y.attrs["units"], image.x.attrs["units"]) == ("cm/s", "s")
    assert preview(image).shape[:2] == preview(image.drop_vars(["y", "x"])).shape[:2]


def test_each_image_of_a_stack_has_the_regions_of_its_own_header(indexed: Any, tmp_path: Path) -> None:
    study = phantoms.write_series(tmp_path / "a", planes=2)
    for number, path in enumerate(study.paths):
        ds = pydicom.dcmread(path)
        ds.Modality, ds.ImageOrientationPatient = "US", None
        last = {"RegionLocationMaxX1": ds.Columns - 1, "RegionLocationMaxY1": ds.Rows - 1 - number}
        ds.SequenceOfUltrasoundRegions = Sequence([region(**last)])
        ds.save_as(path)
    (series,) = indexed(tmp_path / "a")
    stack = open_array(series.array)
    rows = [stack[frame : frame + 1].dicom.region(0).sizes["y"] for frame in range(2)]
    assert sorted(rows) == [stack.sizes["y"] - 1, stack.sizes["y"]]
    with pytest.raises(NotFoundError, match="pick one image of several"):
        stack.dicom.region(0)
