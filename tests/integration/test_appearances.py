"""How a presentation state has an image shown: turned as DCMTK's dcmp2pgm does; it knows no shutter."""

import itertools
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import workbench
from catalog.errors import HeaderError
from catalog.headers import read_dataset
from catalog.identifiers import new_uid
from pipelines import phantoms
from pipelines.encode.part10 import write_object
from pipelines.encode.presentation_state import presentation_state
from pipelines.objects.appearances import read_appearance
from pipelines.presentation.appearance import Appearance
from pipelines.presentation.scene import Scene, scene_of

pytestmark = pytest.mark.pacs

ROWS, COLUMNS = 24, 40


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, Scene, Any]:
    """A plane that is no square, in which no pixel is like another by chance; its scene, its values."""
    phantom = phantoms.write_series(tmp_path / "archive", rows=ROWS, columns=COLUMNS, planes=3)
    ds = pydicom.dcmread(phantom.paths[0])
    values = np.random.default_rng(1).permutation(ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype("<u2")
    ds.PixelRepresentation, ds.RescaleIntercept, ds.RescaleSlope = 0, 0, 1
    ds.PixelData = values.tobytes()
    ds.save_as(phantom.paths[0])
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(tmp_path / "archive", quiet=True)
        scene = scene_of(bench.volume(bench.series()[0]))
    return phantom.paths[0], scene, values


def state_of(image: Path, appearance: Appearance, path: Path, change: Callable[[Dataset], None]) -> Path:
    ds = presentation_state([read_dataset(image)], [], appearance=appearance)
    change(ds)
    write_object(ds, path)
    return path


def rendered(image: Path, state: Path) -> Any:
    """By dcmp2pgm, 8 bits a pixel."""
    out = state.with_suffix(".pgm")
    subprocess.run(["dcmp2pgm", "-q", "-p", state, image, out], check=True)
    kind, width, height, most, rest = out.read_bytes().split(maxsplit=4)
    assert (kind, most) == (b"P5", b"255")
    return np.frombuffer(rest, np.uint8).reshape(int(height), int(width))


def shown(values: Any, appearance: Appearance) -> Any:
    """By what was read; the smallest of the values is 1 after the window."""
    assert appearance.window is not None
    center, width = appearance.window
    out = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    out = (1 - out if appearance.is_inverted else out) * 255
    out = np.rot90(out, -appearance.rotation // 90)
    return out[:, ::-1] if appearance.is_flipped else out


def inside(polygon: Any, rows: Any, columns: Any) -> Any:
    crossed = np.zeros(rows.shape, bool)
    for (x0, y0), (x1, y1) in itertools.pairwise([*polygon, polygon[0]]):
        if y0 != y1:
            between = (y0 <= rows) != (y1 <= rows)
            crossed ^= between & (columns < x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
    return crossed


@pytest.fixture(autouse=True)
def _dcmtk(missing: Callable[[str], NoReturn]) -> None:
    if shutil.which("dcmp2pgm") is None:
        missing("dcmp2pgm is not installed: apt-get install dcmtk")


@pytest.mark.parametrize("is_inverted", [False, True])
@pytest.mark.parametrize("is_flipped", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_turned_flipped_and_inverted_as_it_was_written(
    image: Any, tmp_path: Path, rotation: int, is_flipped: bool, is_inverted: bool
) -> None:
    path, scene, values = image
    wanted = Appearance((500.0, 701.0), is_inverted, rotation, is_flipped)
    state = state_of(path, wanted, tmp_path / "state.dcm", lambda _ds: None)
    found = read_appearance(state, scene)
    assert found == wanted
    assert np.abs(rendered(path, state) - shown(values, wanted)).max() <= 1


@pytest.mark.parametrize(
    ("rotation", "is_flipped", "corners"),
    [
        (0, False, ((5, 3), (20, 9))),
        (90, False, ((5, 9), (20, 3))),
        (270, True, ((5, 3), (20, 9))),
        (180, False, ((20, 9), (5, 3))),
    ],
)
def test_a_part_is_seen(image: Any, tmp_path: Path, rotation: int, is_flipped: bool, corners: Any) -> None:
    path, scene, _ = image

    def change(ds: Dataset) -> None:
        (item,) = ds.DisplayedAreaSelectionSequence
        item.DisplayedAreaTopLeftHandCorner, item.DisplayedAreaBottomRightHandCorner = map(list, corners)

    wanted = Appearance((500.0, 701.0), None, rotation, is_flipped)
    state = state_of(path, wanted, tmp_path / "state.dcm", change)
    found = read_appearance(state, scene)
    assert found is not None
    assert found.area == (4, 2, 20, 9)
    assert (found.rotation, found.is_flipped) == (rotation, is_flipped)


def rectangle(ds: Dataset) -> None:
    ds.ShutterLeftVerticalEdge, ds.ShutterRightVerticalEdge = 5, 30
    ds.ShutterUpperHorizontalEdge, ds.ShutterLowerHorizontalEdge = 3, 20


def circle(ds: Dataset) -> None:
    ds.CenterOfCircularShutter, ds.RadiusOfCircularShutter = [12, 20], 9


def polygon(ds: Dataset) -> None:
    ds.VerticesOfThePolygonalShutter = [2, 4, 3, 35, 22, 20]


SHAPES: dict[str, Callable[[Dataset], None]] = {
    "RECTANGULAR": rectangle, "CIRCULAR": circle, "POLYGONAL": polygon,
}  # fmt: skip


@pytest.mark.parametrize("shapes", [["RECTANGULAR"], ["CIRCULAR"], ["POLYGONAL"], [*SHAPES]], ids="-".join)
def test_a_shutter_hides_what_is_outside_any_of_its_shapes(
    image: Any, tmp_path: Path, shapes: list[str]
) -> None:
    path, scene, _ = image
    rows, columns = np.indices((ROWS, COLUMNS)) + 1
    answers = {
        "RECTANGULAR": (columns >= 5) & (columns <= 30) & (rows >= 3) & (rows <= 20),
        "CIRCULAR": (rows - 12) ** 2 + (columns - 20) ** 2 < 9**2,
        "POLYGONAL": inside([(4, 2), (35, 3), (20, 22)], rows, columns),
    }

    def change(ds: Dataset) -> None:
        ds.ShutterShape, ds.ShutterPresentationValue = shapes, 0
        for each in shapes:
            SHAPES[each](ds)

    state = state_of(path, Appearance((500.0, 2001.0)), tmp_path / "state.dcm", change)
    found = read_appearance(state, scene)
    assert found is not None
    seen = np.logical_and.reduce([inside(each, rows - 0.5, columns - 0.5) for each in found.shutter])
    wanted = np.logical_and.reduce([answers[each] for each in shapes])
    assert (seen != wanted).sum() <= (0 if shapes == ["RECTANGULAR"] else 6), "but for what is cut in half"
    assert 0 < seen.sum() < seen.size


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("ImageRotation", 45, "Image Rotation (0070,0042) is 0, 90, 180 or 270"),
        ("ShutterLeftVerticalEdge", None, "ShutterLeftVerticalEdge"),
        ("VerticesOfThePolygonalShutter", [1, 2, 3, 4], "three corners"),
    ],
)
def test_what_no_image_can_be_shown_like_is_refused_in_words(
    image: Any, tmp_path: Path, keyword: str, value: Any, words: str
) -> None:
    path, scene, _ = image

    def change(ds: Dataset) -> None:
        ds.ShutterShape, ds.ShutterPresentationValue = [*SHAPES], 0
        for each in SHAPES.values():
            each(ds)
        setattr(ds, keyword, value)

    with pytest.raises(HeaderError, match=re.escape(words)):
        read_appearance(state_of(path, Appearance(), tmp_path / "state.dcm", change), scene)


def test_a_state_of_other_images_says_nothing(image: Any, tmp_path: Path) -> None:
    other = phantoms.write_series(tmp_path / "other", study=new_uid())
    state = state_of(other.paths[0], Appearance((1.0, 2.0)), tmp_path / "state.dcm", lambda _ds: None)
    assert read_appearance(state, image[1]) is None
