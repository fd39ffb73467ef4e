"""A preview shows the planes that a person expects, in true proportion, and reads no others."""

import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from pipelines.presentation.preview import GAP, preview


def volume(values: npt.NDArray[np.float32], spacing_zyx_mm: tuple[float, float, float]) -> xr.DataArray:
    coords = {
        dim: np.arange(count) * mm for dim, count, mm in zip("zyx", values.shape, spacing_zyx_mm, strict=True)
    }
    return xr.DataArray(values, dims=("z", "y", "x"), coords=coords)


def test_a_volume_shows_three_planes_in_true_proportion() -> None:
    values = np.ones((10, 40, 20), np.float32)
    values[:, :, 0] = 0
    picture = preview(volume(values, (4.0, 1.0, 1.0)), tile=40)
    assert picture.shape == (40, 3 * 40 + 2 * GAP)
    axial, coronal, sagittal = (picture[:, start : start + 40] for start in (0, 40 + GAP, 80 + 2 * GAP))
    assert [each.astype(bool).sum() for each in (axial, coronal, sagittal)] == [40 * 19, 40 * 19, 40 * 40]


def test_the_last_plane_is_on_top_of_coronal_and_sagittal() -> None:
    values = np.zeros((8, 8, 8), np.float32)
    values[-1] = 1
    picture = preview(volume(values, (1.0, 1.0, 1.0)), tile=8)
    assert picture[0, 8 + GAP : 16 + GAP].tolist() == [255] * 8
    assert picture[7, 8 + GAP : 16 + GAP].tolist() == [0] * 8


def test_a_leading_axis_shows_the_middle_plane_along_it() -> None:
    times = np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((4, 3, 5, 5), np.float32)
    picture = preview(xr.DataArray(times, dims=("time", "z", "y", "x")), tile=5)
    assert [int(picture[y, x]) for y, x in ((2, 2), (2, 7 + GAP), (2, 12 + 2 * GAP), (7 + GAP, 2))] == [
        0,
        85,
        170,
        255,
    ]


def test_colour_stays_colour() -> None:
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    frames[1, ..., 0] = 200
    picture = preview(xr.DataArray(frames, dims=("time", "y", "x", "channel")), tile=4)
    assert picture[0, 4 + GAP].tolist() == [200, 0, 0]


def test_masks_are_black_and_white() -> None:
    masks = np.zeros((2, 3, 4, 4), bool)
    masks[1] = True
    picture = preview(xr.DataArray(masks, dims=("segment", "z", "y", "x")), tile=4)
    assert (picture[0, 0], picture[0, 4 + GAP]) == (0, 255)


def test_a_waveform_shows_a_curve_for_each_channel() -> None:
    curve = np.stack([np.linspace(0, 1, 100), np.zeros(100)])
    picture = preview(xr.DataArray(curve, dims=("channel", "time")), tile=20)
    assert picture.shape == (16, 60)
    first = picture[:8].argmax(axis=0)
    assert first[0] > first[-1]
    assert picture[8:].any(axis=0).all()


def test_only_what_is_shown_is_read() -> None:
    read: list[int] = []

    def plane(
        block_info: dict[None, dict[str, list[tuple[int, int]]]] | None = None,
    ) -> npt.NDArray[np.float32]:
        assert block_info
        read.append(block_info[None]["array-location"][0][0])
        return np.ones((1, 4, 4), np.float32)

    frames = da.map_blocks(plane, chunks=((1,) * 1000, (4,), (4,)), dtype=np.float32, meta=np.empty((0,) * 3))
    preview(xr.DataArray(frames, dims=("frame", "y", "x")), tile=4)
    assert sorted(set(read)) == [0, 200, 400, 599, 799, 999]


@pytest.mark.parametrize("fill", [np.nan, np.inf, 0.0])
def test_values_that_are_all_alike_or_no_numbers_are_drawn(fill: float) -> None:
    assert preview(xr.DataArray(np.full((3, 4, 4), fill), dims=("frame", "y", "x")), tile=4).any() in (
        False,
        True,
    )
