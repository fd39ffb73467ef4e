"""The geometry of real series against independent answers, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from catalog.errors import GeometryError
from catalog.records import InstanceRecord
from pipelines.geometry import find_fault, grid, is_placed, orientation_name


def plane(z: float, *, number: int = 0, **changes: object) -> InstanceRecord:
    """An axial plane of 4 rows and 6 columns at a height."""
    record = InstanceRecord(
        sop_instance_uid=f"1.2.{number or round(z * 100) + 5000}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        series_instance_uid="1.2.3",
        study_instance_uid="1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        path="",
        header_digest="",
        pixel_data=None,
        rows=4,
        columns=6,
        image_position_patient=(-10.0, -20.0, z),
        image_orientation_patient=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        pixel_spacing=(0.5, 0.25),
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def test_the_affine_takes_column_row_plane_to_lps_mm() -> None:
    found = grid([plane(30), plane(10), plane(20)])
    assert found.order == (1, 2, 0)
    assert found.shape == (3, 4, 6)
    np.testing.assert_allclose(
        found.affine_lps, [[0.25, 0, 0, -10], [0, 0.5, 0, -20], [0, 0, 10, 10], [0, 0, 0, 1]]
    )


@pytest.mark.parametrize(
    ("planes", "reason"),
    [
        ([], "no planes"),
        ([plane(0)], "one plane only"),
        ([plane(0), plane(1)], "two planes only"),
        ([plane(0), plane(1), plane(3)], "slice distance varies from 1.00 to 2.00 mm"),
        ([plane(0), plane(1, number=8), plane(1, number=9)], "several planes at one position"),
        ([plane(0), plane(1), plane(2, rows=5)], "images of unequal size"),
        ([plane(0), plane(1), plane(2, pixel_spacing=(0.5, 0.3))], "planes of unequal pixel spacing"),
        ([plane(0), plane(1), plane(2, image_position_patient=None)], "no usable position"),
        ([plane(0), plane(1), plane(2, pixel_spacing=(0.5, 0.0))], "no usable position"),
        ([plane(0), plane(1), plane(2, image_position_patient=(0.0, 0.0, float("nan")))], "no usable"),
        ([plane(0), plane(1), plane(2, image_orientation_patient=(1.0, 0, 0, 1.0, 0, 0))], "no usable"),
        (
            [plane(0), plane(1), plane(2, image_orientation_patient=(0.0, 1, 0, 0, 0, -1))],
            "planes of several orientations",
        ),
        (
            [
                plane(z, image_position_patient=(0.0, z * np.tan(np.radians(18.5)), z))
                for z in (0.0, 1.0, 2.0)
            ],
            "the stack leans 18.5 degrees",
        ),
        (
            [plane(z, image_position_patient=(x, 0.0, z)) for x, z in ((0.0, 0.0), (0.5, 1.0), (0.0, 2.0))],
            "planes lie up to 0.50 mm beside",
        ),
    ],
)
def test_planes_that_form_no_regular_volume_are_refused_with_the_reason(
    planes: list[InstanceRecord], reason: str
) -> None:
    fault = find_fault(planes)
    assert fault is not None
    assert fault.reason.startswith(reason)
    with pytest.raises(GeometryError, match=r"open the series as a stack of frames"):
        grid(planes)


def test_an_error_names_the_planes_around_the_gap() -> None:
    with pytest.raises(GeometryError, match=r"instances 1\.2\.5200, 1\.2\.5400"):
        grid([plane(0), plane(4), plane(1), plane(2)])


@pytest.mark.parametrize("decimals", [2, 3, 6])
def test_positions_written_with_few_decimals_still_form_a_volume(decimals: int) -> None:
    assert find_fault([plane(round(index * 0.625, decimals)) for index in range(40)]) is None


def test_a_drift_of_the_slice_distance_is_noticed() -> None:
    heights = np.cumsum(np.linspace(1.0, 1.009, 300))
    assert find_fault([plane(float(z), number=index + 1) for index, z in enumerate(heights)]) is not None


def test_orientations_are_named_as_a_radiologist_does() -> None:
    sagittal, coronal, oblique = (0.0, 1, 0, 0, 0, -1), (1.0, 0, 0, 0, 0, -1), (1.0, 0, 0, 0, 0.7071, 0.7071)
    names = [
        orientation_name(plane(0, image_orientation_patient=each)) for each in (sagittal, coronal, oblique)
    ]
    assert [*names, orientation_name(plane(0))] == ["sagittal", "coronal", "oblique", "axial"]


def test_a_plane_without_pixel_spacing_has_no_place() -> None:
    assert is_placed(plane(0))
    assert not is_placed(plane(0, pixel_spacing=None))
