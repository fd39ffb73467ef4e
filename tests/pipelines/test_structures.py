import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from catalog.errors import GeometryError, HeaderError, NotFoundError, StepError
from pipelines.objects import structures
from pipelines.objects.structures import Contour, Structure, inside, read_structures, to_labels, to_mask

SQUARE = np.array([(2, 2), (8, 2), (8, 8), (2, 8)], float)


def item(**attributes: Any) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def write_structures(path: Path, contours: list[pydicom.Dataset]) -> Path:
    """Write two regions, number 7 with contours and number 9 with none."""
    ds = item(
        SOPClassUID=RTStructureSetStorage,
        SOPInstanceUID="2.25.1",
        StudyInstanceUID="2.25.2",
        SeriesInstanceUID="2.25.3",
        Modality="RTSTRUCT",
        StructureSetLabel="plan",
        StructureSetROISequence=[
            item(ROINumber=9, ROIName="empty"),
            item(
                ROINumber=7,
                ROIName="target",
                ReferencedFrameOfReferenceUID="2.25.4",
                ROIGenerationAlgorithm="MANUAL",
            ),
        ],
        ROIContourSequence=[
            item(ROIDisplayColor=[255, 0, 7], ContourSequence=contours, ReferencedROINumber=7)
        ],
        RTROIObservationsSequence=[item(ReferencedROINumber=7, RTROIInterpretedType="PTV")],
    )
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    return path


def contour_item(points: Any, kind: str = "CLOSED_PLANAR") -> pydicom.Dataset:
    image = item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="2.25.5")
    return item(
        ContourImageSequence=[image],
        ContourGeometricType=kind,
        NumberOfContourPoints=len(points) // 3,
        ContourData=list(points),
    )


@pytest.mark.parametrize("name", ["objects/rt_prostate_example/rtss.dcm", "objects/rt_small/rt.dcm"])
def test_real_regions_have_the_names_contours_and_points_of_the_answers(shared_data, name):
    answer = json.loads((shared_data / "answers" / "objects.json").read_text())[name]["rois"]
    found = [
        {
            "number": each.number,
            "name": each.name,
            "contours": len(each.contours),
            "points": sum(len(contour.points_lps_mm) for contour in each.contours),
        }
        for each in read_structures(shared_data / name).structures
    ]
    assert found == answer


def test_real_points_are_those_that_pydicom_reads(shared_data):
    path = shared_data / "objects/rt_prostate_example/rtss.dcm"
    ds = pydicom.dcmread(path)
    found = read_structures(path)
    drawn = {each.ReferencedROINumber: each for each in ds.ROIContourSequence}
    for each in found.structures:
        items = drawn[each.number].get("ContourSequence") or []
        for contour, read in zip(each.contours, items, strict=True):
            assert contour.points_lps_mm.ravel().tolist() == [float(x) for x in read.ContourData]
            assert contour.source_sop_instance_uids == (
                read.ContourImageSequence[0].ReferencedSOPInstanceUID,
            )


def test_a_region_has_its_attributes(tmp_path):
    path = write_structures(tmp_path / "rt.dcm", [contour_item([0, 0, 5, 1, 0, 5, 1, 1.5, 5])])
    found = read_structures(path)
    assert [each.name for each in found.structures] == ["empty", "target"]
    assert found.label == "plan"
    target = found["target"]
    assert (target.number, target.colour, target.interpreted_type) == (7, (255, 0, 7), "PTV")
    assert (target.frame_of_reference_uid, target.generation_algorithm) == ("2.25.4", "MANUAL")
    (contour,) = target.contours
    assert contour.points_lps_mm.tolist() == [[0, 0, 5], [1, 0, 5], [1, 1.5, 5]]
    assert contour.source_sop_instance_uids == ("2.25.5",)
    assert (found["empty"].contours, found["empty"].colour) == ((), None)
    with pytest.raises(NotFoundError, match="0 structures have that name"):
        _ = found["other"]


@pytest.mark.parametrize(
    ("points", "words"),
    [([1, 2], "contour 1 of ROI 7 has Contour Data"), ([0, 0, 5, 1, 0, 2e6], "beyond a kilometre")],
)
def test_points_that_are_none_are_refused_in_words(tmp_path, points, words):
    path = write_structures(tmp_path / "rt.dcm", [contour_item(points)])
    with pytest.raises(HeaderError, match=words):
        read_structures(path)


def test_text_in_place_of_points_is_refused_in_words(tmp_path):
    path = write_structures(tmp_path / "rt.dcm", [contour_item([123.25, 0, 5])])
    path.write_bytes(path.read_bytes().replace(b"123.25", b"12a.25"))
    with pytest.raises(HeaderError, match="not threes of numbers"):
        read_structures(path)


def test_a_file_cut_anywhere_gives_words(tmp_path):
    path = write_structures(tmp_path / "rt.dcm", [contour_item([0, 0, 5, 1, 0, 5, 1, 1.5, 5])])
    whole = path.read_bytes()
    for end in range(len(whole) - 40):
        path.write_bytes(whole[:end])
        try:
            found = read_structures(path)
        except HeaderError:
            continue
        assert sum(len(each.contours) for each in found.structures) <= 1  # cut between two elements


# --- inside ----------------------------------------------------------------------------------------------


def test_centres_on_an_edge_belong_to_the_side_of_the_larger_index():
    found = inside([SQUARE], 10, 10)
    assert np.argwhere(found).min(axis=0).tolist() == [2, 2]
    assert np.argwhere(found).max(axis=0).tolist() == [7, 7]
    assert found.sum() == 36


def test_neighbours_share_no_centre_and_leave_none_out():
    left, right = SQUARE, SQUARE + np.array([6, 0])
    assert not (inside([left], 10, 20) & inside([right], 10, 20)).any()
    assert np.array_equal(
        inside([left], 10, 20) | inside([right], 10, 20),
        inside([np.array([(2, 2), (14, 2), (14, 8), (2, 8)], float)], 10, 20),
    )


def test_a_contour_within_a_contour_is_a_hole_and_so_is_a_keyhole():
    hole = np.array([(4, 4), (4, 6), (6, 6), (6, 4)], float)
    keyhole = np.concatenate([SQUARE, SQUARE[:1], hole, hole[:1]])
    assert np.array_equal(inside([SQUARE, hole], 10, 10), inside([keyhole], 10, 10))
    assert inside([SQUARE, hole], 10, 10).sum() == 36 - 4


def test_what_lies_outside_the_image_is_cut_off():
    assert inside([SQUARE * 10 - 30], 6, 7).all()
    assert not inside([SQUARE + 100], 6, 7).any()
    assert not inside([SQUARE - 100], 6, 7).any()
    assert inside([SQUARE - (4, 0)], 10, 10).sum() == 6 * 4


coordinates = st.floats(-4, 14, allow_nan=False, width=32)
outlines = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=9).map(
    lambda points: np.array(points, float)
)


@given(st.lists(outlines, min_size=1, max_size=3), st.integers(1, 40))
def test_parity_is_that_of_a_ray_at_every_centre(polygons, at_once):
    # Off the whole numbers, so that no centre lies on an edge for the oracle.
    polygons = [np.round(each * 8) / 8 + (0.0371, 0.0573) for each in polygons]
    kept, structures.CROSSINGS_AT_ONCE = structures.CROSSINGS_AT_ONCE, at_once
    try:
        found = inside(polygons, 9, 11)
    finally:
        structures.CROSSINGS_AT_ONCE = kept
    for row in range(9):
        for column in range(11):
            crossings = sum(ray_crossings(each, column, row) for each in polygons)
            assert found[row, column] == crossings % 2, (row, column)


def ray_crossings(polygon: np.ndarray, x: float, y: float) -> int:
    """Edges that a ray from a point to smaller x crosses, one by one."""
    count = 0
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (y0 > y) != (y1 > y):
            count += bool(x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x)
    return count


@given(st.integers(3, 40), st.floats(2, 20), st.floats(0, 6.2))
def test_a_star_is_filled_as_matplotlib_fills_it(corners, radius, turn):
    angles = turn + np.arange(corners) * 2 * np.pi / corners
    lengths = radius * np.where(np.arange(corners) % 2, 1.0, 0.45)
    star = np.stack([25.013 + lengths * np.cos(angles), 24.017 + lengths * np.sin(angles)], axis=1)
    rows, columns = np.mgrid[:50, :52]
    oracle = Outline(np.vstack([star, star[:1]]), closed=True).contains_points(
        np.stack([columns.ravel(), rows.ravel()], axis=1)
    )
    assert np.count_nonzero(inside([star], 50, 52) != oracle.reshape(50, 52)) == 0


# --- masks -----------------------------------------------------------------------------------------------


def grid(affine: np.ndarray, shape: tuple[int, int, int], uid: str | None = "2.25.4") -> xr.DataArray:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    lines = {
        dim: affine[axis, 3] + np.arange(shape[2 - axis]) * spacing[axis] for axis, dim in enumerate("xyz")
    }
    return xr.DataArray(
        np.zeros(shape, np.float32),
        dims=("z", "y", "x"),
        coords=lines,
        attrs={"affine_lps": affine.tolist(), "frame_of_reference_uid": uid, "units": "HU"},
        name="ct",
    )


def affine_of(orientation: Any, spacing: tuple[float, float, float], origin: Any) -> np.ndarray:
    row, column = np.reshape(np.array(orientation, float), (2, 3))
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row, column, np.cross(row, column)], axis=1) * spacing[::-1]
    affine[:3, 3] = origin
    return affine


def structure(*contours: np.ndarray, kind: str = "CLOSED_PLANAR") -> Structure:
    drawn = tuple(Contour(kind, each, ()) for each in contours)
    return Structure(7, "target", None, drawn, "2.25.4", "", "")


def circle(affine: np.ndarray, plane: float, radius: float, centre: tuple[float, float]) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    columns, rows = centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)
    index = np.stack([columns, rows, np.full_like(rows, plane), np.ones_like(rows)])
    return (affine @ index)[:3].T


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (0.6, 0.8, 0, 0, 0, -1)])
def test_a_tube_is_drawn_where_it_lies_in_the_patient(orientation):
    affine = affine_of(orientation, (2.5, 0.8, 0.7), (-10, -20, 30))
    volume = grid(affine, (6, 40, 50))
    outer = [circle(affine, plane, 12.3, (22.1, 18.2)) for plane in (1, 2, 4)]
    inner = [circle(affine, 2, 5.2, (20.1, 17.3))]
    found = to_mask(structure(*outer, *inner), volume)
    rows, columns = np.mgrid[:40, :50]
    disc = (columns - 22.1) ** 2 + (rows - 18.2) ** 2 < 12.3**2
    hole = (columns - 20.1) ** 2 + (rows - 17.3) ** 2 < 5.2**2
    empty = np.zeros_like(disc)
    expected = np.stack([empty, disc, disc & ~hole, empty, disc, empty])
    assert np.count_nonzero(found.values != expected) <= 2  # 400 corners are not quite a circle
    assert found.dtype == bool
    assert (found.attrs["contours_drawn"], found.attrs["contours_outside"]) == (4, 0)
    assert "units" not in found.attrs
    assert np.allclose(found.dicom.affine_lps, affine)


def test_contours_outside_the_volume_are_counted():
    affine = affine_of((1, 0, 0, 0, 1, 0), (2, 1, 1), (0, 0, 0))
    drawn = structure(
        circle(affine, -1, 3, (5, 5)), circle(affine, 1, 3, (5, 5)), circle(affine, 9, 3, (5, 5))
    )
    found = to_mask(drawn, grid(affine, (3, 10, 10)))
    assert found.any(("y", "x")).values.tolist() == [False, True, False]
    assert (found.attrs["contours_drawn"], found.attrs["contours_outside"]) == (1, 2)


def test_open_contours_and_points_have_no_inside():
    affine = affine_of((1, 0, 0, 0, 1, 0), (2, 1, 1), (0, 0, 0))
    for kind in ("OPEN_PLANAR", "POINT"):
        assert not to_mask(structure(circle(affine, 1, 3, (5, 5)), kind=kind), grid(affine, (3, 9, 9))).any()


def test_contours_between_planes_and_across_them_are_refused():
    affine = affine_of((1, 0, 0, 0, 1, 0), (2, 1, 1), (0, 0, 0))
    volume = grid(affine, (3, 10, 10))
    with pytest.raises(GeometryError, match="lies across or between the planes"):
        to_mask(structure(circle(affine, 1.5, 3, (5, 5))), volume)
    with pytest.raises(GeometryError, match="lies across or between the planes"):
        to_mask(structure(np.array([(1, 1, 0), (5, 1, 2), (5, 5, 4)], float)), volume)


def test_another_frame_of_reference_and_other_dimensions_are_refused():
    affine = affine_of((1, 0, 0, 0, 1, 0), (2, 1, 1), (0, 0, 0))
    drawn = structure(circle(affine, 1, 3, (5, 5)))
    with pytest.raises(GeometryError, match="another frame of reference"):
        to_mask(drawn, grid(affine, (3, 10, 10), "2.25.99"))
    with pytest.raises(StepError, match="dimensions"):
        to_mask(drawn, grid(affine, (3, 10, 10)).isel(z=0))


def test_the_real_square_with_a_hole_is_drawn_on_its_ct(shared_data):
    folder = shared_data / "objects" / "rt_small"
    ds = pydicom.dcmread(folder / "ct_1.dcm", stop_before_pixels=True)
    (region,) = read_structures(folder / "rt.dcm").structures
    spacing = (1.0, *(float(each) for each in ds.PixelSpacing))
    z = region.contours[0].points_lps_mm[0, 2]
    origin = (*(float(each) for each in ds.ImagePositionPatient[:2]), z)
    volume = grid(affine_of(ds.ImageOrientationPatient, spacing, origin), (1, ds.Rows, ds.Columns), None)
    found = to_mask(region, volume)
    square, hole = (polygon_area(each.points_lps_mm) for each in region.contours)
    assert found.attrs["contours_drawn"] == 2
    assert float(found.sum()) * spacing[1] * spacing[2] == pytest.approx(square - hole, rel=0.03)


def polygon_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def test_regions_that_overlap_are_labels_in_arrays_of_their_own():
    affine = affine_of((1, 0, 0, 0, 1, 0), (2, 1, 1), (0, 0, 0))
    volume = grid(affine, (3, 20, 20))
    large, small, beside = (
        replace(structure(circle(affine, 1, radius, center)), name=name, colour=colour)
        for name, radius, center, colour in (
            ("PTV", 6, (8, 8), (255, 0, 0)), ("GTV", 3, (8, 8), None), ("cord", 2, (17, 17), (0, 0, 255)),
        )
    )  # fmt: skip
    empty = structure(circle(affine, 1, 3, (5, 5)), kind="POINT")
    first, second = to_labels([large, small, empty, beside], volume)
    assert first.attrs["labels"] == {1: "PTV", 4: "cord"}
    assert first.attrs["colors"] == {1: (255, 0, 0), 4: (0, 0, 255)}
    assert (second.attrs["labels"], second.attrs["colors"]) == ({2: "GTV"}, {})
    np.testing.assert_array_equal(first.values == 1, to_mask(large, volume).values)
    np.testing.assert_array_equal(second.values == 2, to_mask(small, volume).values)
    assert np.allclose(first.dicom.affine_lps, affine)
