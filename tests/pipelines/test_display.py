"""Windows by the standard's equation, montages, overlays and PNG."""

import imagecodecs
import numpy as np
import pytest

from catalog.errors import StepError
from pipelines.presentation.display import full_range, montage, overlay, to_png, window


def by_the_standard(value: float, center: float, width: float) -> float:
    """The pseudo code of PS3.3 C.11.2.1.2.1 with ymin 0 and ymax 255."""
    if value <= center - 0.5 - (width - 1) / 2:
        return 0
    if value > center - 0.5 + (width - 1) / 2:
        return 255
    return ((value - (center - 0.5)) / (width - 1) + 0.5) * 255


@pytest.mark.parametrize(("center", "width"), [(40, 400), (2048, 4096), (2048, 1), (0, 2), (-600.5, 1500.25)])
def test_the_window_is_that_of_the_standard(center: float, width: float) -> None:
    values = np.arange(-3000, 5000, 7, dtype=np.float32)
    expected = [by_the_standard(float(value), center, width) for value in values]
    assert np.abs(window(values, center=center, width=width) - np.array(expected)).max() <= 0.51


def test_values_that_are_no_numbers_are_black() -> None:
    assert window([np.nan, -np.inf, np.inf], center=0, width=10).tolist() == [0, 0, 255]


@pytest.mark.parametrize("width", [0.5, 0, -3, float("nan")])
def test_a_width_below_one_is_refused(width: float) -> None:
    with pytest.raises(StepError, match="at least 1"):
        window([1.0], center=0, width=width)


def test_the_full_range_shows_every_value() -> None:
    center, width = full_range([np.nan, -5.0, 250.0])
    assert window([-5.0, 250.0], center=center, width=width).tolist() == [0, 255]
    assert full_range([np.nan]) == (0.5, 1.0)
    assert full_range([7.0]) == (7.5, 1.0)


def test_a_montage_lays_planes_out_in_rows() -> None:
    planes = np.stack([np.full((2, 3), value, np.uint8) for value in (1, 2, 3, 4, 5)])
    image = montage(planes, columns=2)
    assert image.shape == (3 * 2 + 2, 2 * 3 + 1)
    assert [image[0, 0], image[0, 4], image[3, 0], image[6, 0], image[6, 4]] == [1, 2, 3, 5, 0]
    assert not image[2].any()
    assert montage(planes, gap=0).shape == (4, 9)


def test_a_montage_of_colour_keeps_its_samples() -> None:
    assert montage(np.zeros((4, 2, 3, 3), np.uint8)).shape == (5, 7, 3)


def test_an_overlay_tints_the_mask_and_nothing_else() -> None:
    gray = np.full((2, 3), 100, np.uint8)
    mask = np.zeros((2, 3), bool)
    mask[1, 2] = True
    image = overlay(gray, mask, colour=(200, 0, 100), opacity=0.5)
    assert image.shape == (2, 3, 3)
    assert image[1, 2].tolist() == [150, 50, 100]
    assert (image[~mask] == 100).all()


def test_png_gives_back_gray_and_colour() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    assert np.array_equal(imagecodecs.png_decode(to_png(image)), image)
    assert np.array_equal(imagecodecs.png_decode(to_png(image[..., 0])), image[..., 0])
