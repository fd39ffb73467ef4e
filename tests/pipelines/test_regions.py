"""Ultrasound calibration: what real regions say, and boxes that measure nothing."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from catalog.errors import HeaderError
from catalog.headers import read_dataset
from pipelines.axes.regions import calibration, regions

CM, S, CM_PER_S = 3, 4, 7


def item(**changes: object) -> Dataset:
    """A 2D region over an image of 40 rows and 60 columns."""
    attributes = {
        "RegionSpatialFormat": 1, "RegionDataType": 1, "RegionFlags": 0,
        "RegionLocationMinX0": 0, "RegionLocationMaxX1": 59,
        "RegionLocationMinY0": 0, "RegionLocationMaxY1": 39,
        "PhysicalUnitsXDirection": CM, "PhysicalUnitsYDirection": CM,
        "PhysicalDeltaX": 0.05, "PhysicalDeltaY": 0.04,
    }  # fmt: skip
    ds = Dataset()
    for keyword, value in (attributes | changes).items():
        setattr(ds, keyword, value)
    return ds


def image(*items: Dataset) -> Dataset:
    ds = Dataset()
    ds.SequenceOfUltrasoundRegions = Sequence(items)
    return ds


def test_a_real_image_with_tissue_and_an_ecg_has_both_calibrations(shared_data: Path) -> None:
    tissue, ecg = regions(read_dataset(shared_data / "cine" / "us_jpeg_34fr.dcm"))
    assert (tissue.spatial_format, tissue.data_type) == ("2D", "tissue")
    assert (tissue.x.first, tissue.y.first, tissue.x.last, tissue.y.last) == (42, 4, 438, 353)
    x, y = tissue.x.axis, tissue.y.axis
    assert (len(x.values), len(y.values), x.units, y.units) == (397, 350, "cm", "cm")
    assert x.values[198] == 0
    assert x.values[-1] == pytest.approx(198 * 0.2 / 7)
    assert y.values[0] == pytest.approx(4 * 0.16 / 7)
    assert (ecg.spatial_format, ecg.data_type, ecg.x.units, ecg.y.units) == ("waveform", "ECG trace", "s", "")
    assert ecg.x.axis.values[-1] == pytest.approx(217 * 0.005023148148148148)


def test_a_real_region_of_another_image_size_calibrates_nothing(shared_data: Path) -> None:
    found = regions(read_dataset(shared_data / "cine" / "us_ybr_jpeg_30fr.dcm"))
    whole = calibration(found, rows=240, columns=320)
    assert (whole.y, whole.x) == (None, None)
    assert (
        whole.reason == "its 2D region takes rows 31 to 414 of 240: the calibration is that of another size"
    )


def test_an_image_without_regions_has_none(shared_data: Path) -> None:
    ds = read_dataset(shared_data / "cine" / "us_palette_rle_10fr.dcm")
    assert regions(ds) == ()
    assert (
        calibration((), rows=430, columns=600).reason
        == "no regions; coordinates of the whole image need exactly one"
    )


def test_a_region_over_the_whole_image_gives_its_coordinates_in_cm() -> None:
    ecg = item(RegionSpatialFormat=4, RegionDataType=10, PhysicalUnitsXDirection=S, PhysicalUnitsYDirection=0)
    whole = calibration(regions(image(item(), ecg)), rows=40, columns=60)
    assert whole.reason == ""
    assert whole.x is not None
    assert whole.y is not None
    assert np.allclose(whole.x.values, np.arange(60) * 0.05)
    assert np.allclose(whole.y.values, np.arange(40) * 0.04)


def test_doppler_velocities_grow_upwards_from_the_baseline() -> None:
    spectrum = item(
        RegionSpatialFormat=3, RegionDataType=3, RegionLocationMinX0=10, RegionLocationMinY0=20,
        PhysicalUnitsXDirection=S, PhysicalUnitsYDirection=CM_PER_S, PhysicalDeltaX=0.002,
        PhysicalDeltaY=-1.5, ReferencePixelY0=10, ReferencePixelPhysicalValueY=3.0,
    )  # fmt: skip
    (region,) = regions(image(spectrum))
    velocities, times = region.y.axis, region.x.axis
    assert (region.data_type, velocities.units, times.units) == ("PW spectral Doppler", "cm/s", "s")
    assert (len(velocities.values), len(times.values)) == (20, 50)
    assert (velocities.values[10], velocities.values[0], velocities.values[12]) == (3, 18, 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"RegionLocationMinX0": 5}, "takes columns 5 to 59 of 60, and its calibration holds in the region"),
        ({"RegionLocationMaxY1": 30}, "takes rows 0 to 30 of 40, and its calibration"),
        ({"RegionLocationMaxX1": 61}, "takes columns 0 to 61 of 60: the calibration is that of another size"),
        ({"PhysicalUnitsXDirection": 0}, "calibrated in cm and no unit, not in cm"),
        ({"PhysicalUnitsYDirection": S}, "calibrated in s and cm, not in cm"),
        (
            {"RegionSpatialFormat": 4, "PhysicalUnitsXDirection": S, "PhysicalUnitsYDirection": 0},
            "its waveform region is calibrated in no unit and s",
        ),
    ],
)
def test_other_regions_do_not_calibrate_the_image(changes: dict[str, object], reason: str) -> None:
    assert reason in calibration(regions(image(item(**changes))), rows=40, columns=60).reason


def test_two_2d_regions_are_not_one_calibration() -> None:
    found = regions(image(item(RegionLocationMaxX1=29), item(RegionLocationMinX0=30)))
    assert calibration(found, rows=40, columns=60).reason.startswith("2 2D regions")


def test_a_region_that_names_the_pixel_after_its_last_ends_at_the_edge() -> None:
    whole = calibration(
        regions(image(item(RegionLocationMaxX1=60, RegionLocationMaxY1=40))), rows=40, columns=60
    )
    assert whole.y is not None
    assert whole.x is not None
    assert (len(whole.y.values), len(whole.x.values)) == (40, 60)


def test_two_spectra_are_not_one_calibration() -> None:
    spectra = [item(RegionSpatialFormat=3, RegionLocationMaxX1=last) for last in (29, 59)]
    assert calibration(regions(image(*spectra)), rows=40, columns=60).reason.startswith("2 regions, none")


def test_an_m_mode_over_the_whole_image_has_depth_over_time() -> None:
    motion = item(RegionSpatialFormat=2, PhysicalUnitsXDirection=S, PhysicalDeltaX=0.01)
    whole = calibration(regions(image(motion)), rows=40, columns=60)
    assert whole.y is not None
    assert whole.x is not None
    assert (whole.y.units, whole.x.units) == ("cm", "s")


def test_codes_that_the_standard_does_not_have_are_kept_as_numbers() -> None:
    (region,) = regions(image(item(RegionSpatialFormat=9, RegionDataType=9, PhysicalUnitsXDirection=99)))
    assert region.spatial_format == "unknown spatial format 9"
    assert region.data_type == "unknown data type 9"
    assert region.x.units == "unknown unit 99"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"RegionLocationMinX0": 60}, "region 1 reaches from 60 to 59 along x"),
        ({"RegionLocationMaxY1": 4_000_000_000}, "region 1 reaches from 0 to 4000000000 along y"),
        ({"PhysicalDeltaX": 0.0}, "region 1 has 0 cm a pixel along x"),
        ({"PhysicalDeltaY": float("nan")}, "region 1 has nan cm a pixel along y"),
        ({"PhysicalDeltaY": None}, "cannot be read: TypeError"),
    ],
)
def test_a_region_that_makes_no_sense_is_an_error_with_the_reason(
    changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(HeaderError, match=reason):
        regions(image(item(**changes)))
