"""What is drawn goes out as a report, presentation state or structure set, and comes back as it was."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import phantoms
from pipelines.encode.algorithm import Person
from pipelines.encode.drawn_report import drawn_report
from pipelines.encode.drawn_state import drawn_state
from pipelines.encode.drawn_structures import drawn_structures
from pipelines.encode.part10 import write_object
from pipelines.encode.segmentation import segmentation
from pipelines.marks import Mark
from pipelines.objects.drawn import read_marks
from pipelines.objects.gridded import on_grid
from pipelines.objects.segmentations import read_segmentation
from pipelines.presentation.scene import Axis, Scene, to_positions

PLANES, ROWS, COLUMNS = 4, 40, 50
SAME_MM = 0.1
NOW = datetime(2026, 11, 30, tzinfo=UTC)


class Images:
    """Headers of planes anywhere in the patient, and what a viewer knows of them."""

    def __init__(self, turn: Sequence[float], spacing: tuple[float, float], distance: float) -> None:
        rotation, _ = np.linalg.qr(np.reshape(turn, (3, 3)))
        rows, columns = rotation[:, 0], rotation[:, 1]
        normal, origin = np.cross(rows, columns), np.array([-80.0, 120.5, -300.25])
        self.positions = [origin + normal * distance * plane for plane in range(PLANES)]
        self.headers = [self._header(plane, rows, columns, spacing, distance) for plane in range(PLANES)]
        self.scene = Scene(
            axes=(Axis("z", PLANES, "mm", ()),), rows=ROWS, columns=COLUMNS, samples=1, dtype="int16",
            modality="CT", unit="HU",
            positions_lps_mm=tuple((float(x), float(y), float(z)) for x, y, z in self.positions),
            orientation=(*rows.tolist(), *columns.tolist()), pixel_spacing=spacing, spacing_holds="patient",
            frame_of_reference_uid="2.25.7", series_instance_uid="2.25.8",
            sop_instance_uids=tuple(str(each.SOPInstanceUID) for each in self.headers), frame_numbers=(),
            is_volume=True, windows=(), is_inverted=False, seconds=(),
        )  # fmt: skip
        self.affine = np.eye(4)
        self.affine[:3, 0], self.affine[:3, 1] = rows * spacing[1], columns * spacing[0]
        self.affine[:3, 2], self.affine[:3, 3] = normal * distance, origin

    def _header(self, plane: int, rows: Any, columns: Any, spacing: Any, distance: float) -> pydicom.Dataset:
        ds = phantoms.header("CT")
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "2.25.9", "2.25.8", "2.25.7"
        ds.SOPInstanceUID, ds.SeriesNumber, ds.InstanceNumber = f"2.25.10{plane}", 1, plane + 1
        ds.Rows, ds.Columns, ds.PixelSpacing, ds.SliceThickness = ROWS, COLUMNS, list(spacing), distance
        ds.ImageOrientationPatient = [*rows.tolist(), *columns.tolist()]
        ds.ImagePositionPatient = self.positions[plane].tolist()
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 0, 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        return ds

    def points(self, plane: int, pixels: Any) -> tuple[tuple[float, float, float], ...]:
        return tuple((x, y, z) for x, y, z in to_positions(self.scene, plane, pixels).tolist())


IMAGES = st.builds(
    Images,
    st.lists(st.floats(-1, 1), min_size=9, max_size=9).filter(
        lambda turn: abs(np.linalg.det(np.reshape(turn, (3, 3)))) > 0.05
    ),
    st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)),
    st.floats(0.5, 8),
)
COLUMN, ROW = st.floats(12, COLUMNS - 13), st.floats(12, ROWS - 13)
PIXEL = st.tuples(COLUMN, ROW)
COUNTS = {"length": 2, "arrow": 2, "angle": 3, "bidirectional": 4, "cobb": 4, "probe": 1}
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=30).map(str.strip)


@st.composite
def marks(draw: Any) -> tuple[Images, Mark]:
    """One mark of any kind on a plane of images that lie anywhere."""
    images, plane = draw(IMAGES), draw(st.integers(0, PLANES - 1))
    kind = draw(
        st.sampled_from([*COUNTS, "ellipse", "circle", "rectangle", "freehand", "spline", "livewire"])
    )
    column, row = draw(PIXEL)
    reach = st.floats(0.5, 10)
    outline: Any = ()
    is_closed = False
    if kind in COUNTS:
        count = COUNTS[kind]
        pixels = draw(st.lists(PIXEL, min_size=count, max_size=count, unique=True))
    elif kind == "circle":
        mm = draw(reach) * min(images.scene.pixel_spacing)  # type: ignore[type-var]
        turn = draw(st.floats(0, 6.28))
        row_mm, column_mm = images.scene.pixel_spacing  # type: ignore[misc]
        pixels = [(column, row), (column + mm * np.cos(turn) / column_mm, row + mm * np.sin(turn) / row_mm)]
    elif kind == "ellipse":
        right, down = draw(reach), draw(reach)
        pixels = [(column, row + down), (column, row - down), (column - right, row), (column + right, row)]
    elif kind == "rectangle":
        wide, high = draw(reach), draw(reach)
        pixels = [(column, row), (column + wide, row), (column, row + high), (column + wide, row + high)]
    else:
        is_closed = kind != "freehand" or draw(st.booleans())
        outline = draw(st.lists(PIXEL, min_size=4, max_size=40, unique=True))
        pixels = [] if kind == "freehand" and is_closed else [outline[0], outline[-1]]
    return images, Mark(
        kind, images.points(plane, pixels), images.points(plane, outline), is_closed, (plane,),
        text=draw(TEXT), area_mm2=1.5, length_mm=1.0, angle_deg=30.0, mean=4.5, unit="HU",
    )  # fmt: skip


def report(images: Images, mark: Mark) -> Any:
    return drawn_report([mark], images.scene, images.headers, author="Rot^Anna")


def state(images: Images, mark: Mark) -> Any:
    return drawn_state([mark], images.scene, images.headers, author="Rot^Anna")


def structures(images: Images, mark: Mark) -> Any:
    return drawn_structures([mark], images.scene, images.headers, author="Rot^Anna", now=NOW)


def again(images: Images, ds: Any) -> list[Mark]:
    with tempfile.TemporaryDirectory() as folder:
        write_object(ds, Path(folder) / "object.dcm")
        return read_marks(Path(folder) / "object.dcm", images.scene)


def outline_of(mark: Mark) -> np.ndarray:
    """What a mark looks like: where its line runs."""
    points = np.array(mark.points).reshape(-1, 3)
    turn = np.linspace(0, 2 * np.pi, 90)[:, np.newaxis]
    match mark.kind:
        case "ellipse":
            centre = points.mean(axis=0)
            return centre + np.cos(turn) * (points[0] - centre) + np.sin(turn) * (points[3] - centre)
        case "circle":
            return np.array([[*points[0], np.linalg.norm(points[1] - points[0])]])
    return np.concatenate([points, np.array(mark.outline).reshape(-1, 3)])


@pytest.mark.parametrize("form", [report, state, structures])
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=marks())
def test_a_mark_comes_back_as_it_was_drawn(form: Callable[..., Any], drawn: tuple[Images, Mark]) -> None:
    images, mark = drawn
    (back,) = again(images, form(images, mark))
    is_line = mark.kind in ("spline", "livewire")  # of which the line comes back, not its control points
    assert back.kind == ("freehand" if is_line else mark.kind)
    assert (back.uid, back.index, back.is_closed) == (mark.uid, mark.index, mark.is_closed)
    assert back.author == "Rot^Anna"
    if is_line:
        mark = replace(mark, kind="freehand", points=())
    assert np.abs(outline_of(back) - outline_of(mark)).max() <= SAME_MM
    if form is report:
        assert back.text == mark.text


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(images=IMAGES, ends=st.lists(st.tuples(COLUMN, ROW), min_size=2, max_size=2, unique=True))
def test_a_line_through_several_planes_comes_back_from_the_patient(
    images: Images, ends: list[tuple[float, float]]
) -> None:
    points = images.points(0, ends[:1]) + images.points(3, ends[1:])
    mark = Mark("length", points, text="through")
    for form in (report, structures):
        (back,) = again(images, form(images, mark))
        assert (back.kind, back.index, back.text) == ("length", (), "through")
        assert np.abs(np.array(back.points) - np.array(points)).max() <= SAME_MM


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(images=IMAGES, row=st.floats(1, 5), radius=st.floats(6, 12))
def test_an_ellipse_that_reaches_beyond_the_image_comes_back_whole(
    images: Images, row: float, radius: float
) -> None:
    pixels = [(25, row + radius), (25, row - radius), (20, row), (30, row)]
    mark = Mark("ellipse", images.points(2, pixels), index=(2,), area_mm2=1.0)
    (back,) = again(images, report(images, mark))
    assert (back.kind, back.index) == ("ellipse", (2,))
    middle = np.array(mark.points).mean(axis=0)
    assert np.abs(np.array(back.points).mean(axis=0) - middle).max() <= SAME_MM
    lengths = [
        sorted(np.linalg.norm(np.array(each.points)[[0, 2]] - np.array(each.points)[[1, 3]], axis=1))
        for each in (mark, back)
    ]
    assert np.abs(np.subtract(*lengths)).max() <= SAME_MM


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(images=IMAGES, data=st.data())
def test_a_mask_comes_back_voxel_by_voxel_with_its_labels_and_names(images: Images, data: Any) -> None:
    labels = data.draw(st.lists(st.integers(1, 400), min_size=1, max_size=4, unique=True))
    values = np.zeros((PLANES, ROWS, COLUMNS), np.uint16)
    for label in labels:
        plane = data.draw(st.integers(0, PLANES - 1))
        row, column = data.draw(st.integers(0, ROWS - 1)), data.draw(st.integers(0, COLUMNS - 1))
        values[plane, row : row + 6, column : column + 9] = label
    spacing = np.linalg.norm(images.affine[:3, :3], axis=0)
    grid = xr.DataArray(
        values, dims=("z", "y", "x"), name="mask",
        coords={
            "sop_instance_uid": ("z", list(images.scene.sop_instance_uids)),
            **{
                dim: (dim, images.affine[at, 3] + np.arange(count) * spacing[at])
                for at, (dim, count) in enumerate(zip("xyz", (COLUMNS, ROWS, PLANES), strict=True))
            },
        },
        attrs={"affine_lps": images.affine, "frame_of_reference_uid": "2.25.7"},
    )  # fmt: skip
    there = [int(each) for each in np.unique(values) if each]
    names = {label: f"organ {label}" for label in there}
    ds = segmentation(grid, images.headers, algorithm=Person("Rot^Anna"), labels=names)
    with tempfile.TemporaryDirectory() as folder:
        write_object(ds, Path(folder) / "seg.dcm")
        back = on_grid(read_segmentation(Path(folder) / "seg.dcm"), grid).load()
    assert np.array_equal(back.values, values)
    assert back.attrs["labels"] == names
    assert back.coords.equals(grid.coords)
