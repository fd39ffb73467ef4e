"""Moving images as arrays over time: real cine runs, and one whose times are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

from pipelines.volumes import open_array


def cine(path: Path, frames: np.ndarray[Any, np.dtype[np.uint8]], **changes: object) -> Path:
    """Write a multi-frame ultrasound of 8 bits; frames (time, y, x)."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = UltrasoundMultiFrameImageStorage, "2.25.77.3"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientID = "2.25.77.1", "2.25.77.2", "CINE"
    ds.Modality, ds.InstanceNumber = "US", 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    for name, value in changes.items():
        setattr(ds, name, value)
    ds.PixelData = frames.tobytes()
    ds["PixelData"].VR = "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    return path


FRAMES = np.arange(5 * 4 * 6, dtype=np.uint8).reshape(5, 4, 6)


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ({"FrameTime": 40.0, "FrameIncrementPointer": 0x00181063}, [0, 0.04, 0.08, 0.12, 0.16]),
        (
            {"FrameTimeVector": [0, 10, 20, 30, 40], "FrameIncrementPointer": 0x00181065},
            [0, 0.01, 0.03, 0.06, 0.1],
        ),
        ({"CineRate": 50}, [0, 0.02, 0.04, 0.06, 0.08]),
    ],
)
def test_a_cine_has_seconds_along_its_first_axis(
    indexed: Any, tmp_path: Path, changes: dict[str, object], times: list[float]
) -> None:
    cine(tmp_path / "cine.dcm", FRAMES, **changes)
    (series,) = indexed(tmp_path)
    video = open_array(series.array)
    assert video.dims == ("time", "y", "x")
    np.testing.assert_allclose(video.time, times)
    assert video.time.attrs["units"] == "s"
    assert np.array_equal(video.frame_number, [1, 2, 3, 4, 5])
    assert np.array_equal(video, FRAMES)
    assert np.array_equal(video.sel(time=times[3]), FRAMES[3])


def test_a_multi_frame_image_that_says_no_times_has_frames(indexed: Any, tmp_path: Path) -> None:
    cine(tmp_path / "cine.dcm", FRAMES)
    (series,) = indexed(tmp_path)
    assert open_array(series.array).dims == ("frame", "y", "x")


def test_real_cine_runs_open_over_time_with_their_colours(indexed: Any, shared_data: Path) -> None:
    headers = {}
    for path in (shared_data / "cine").iterdir():
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        headers[ds.SeriesInstanceUID] = ds
    found = indexed(shared_data / "cine")
    assert len(found) == len(headers)
    for series in found:
        ds, video = headers[series.series.series_instance_uid], open_array(series.array)
        is_colour = ds.SamplesPerPixel == 3 or ds.PhotometricInterpretation == "PALETTE COLOR"
        assert video.dims == ("time", "y", "x", *(["channel"] if is_colour else []))
        assert video.sizes["time"] == ds.NumberOfFrames
        assert video.time[0] == 0
        assert np.all(np.diff(video.time) > 0)
