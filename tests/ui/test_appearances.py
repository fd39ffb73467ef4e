"""A presentation state has planes lie in their cell as it says, and one that is written says how they lie."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

import workbench
from catalog.headers import read_dataset
from pipelines import phantoms
from pipelines.encode.part10 import write_object
from pipelines.encode.presentation_state import presentation_state
from pipelines.presentation.appearance import Appearance

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

BLOCK, DOWN, ACROSS = 8, 6, 10
ROWS, COLUMNS = BLOCK * DOWN, BLOCK * ACROSS
OPEN = """import json, workbench
from pipelines.marks import Mark
bench = workbench.open({home!r})
viewer = bench.view(bench.series()[0])
viewer"""


@pytest.fixture
def blocks(tmp_path: Path) -> tuple[Path, np.ndarray[Any, Any]]:
    """A plane of blocks, each of one value; no two are alike."""
    phantom = phantoms.write_series(tmp_path / "archive", rows=ROWS, columns=COLUMNS, planes=1)
    values = np.random.default_rng(7).permutation(DOWN * ACROSS).reshape(DOWN, ACROSS)
    ds = pydicom.dcmread(phantom.paths[0])
    ds.PixelRepresentation, ds.RescaleIntercept, ds.RescaleSlope, ds.PixelSpacing = 0, 0, 1, [1, 1]
    ds.PixelData = np.kron(values, np.ones((BLOCK, BLOCK))).astype("<u2").tobytes()
    ds.save_as(phantom.paths[0])
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(tmp_path / "archive", quiet=True)
        bench.volume(bench.series()[0])
    return phantom.paths[0], values


def seen(picture: bytes, blocks: tuple[int, int]) -> Any:
    """Brightness in the middle of each of so many blocks, which fill the picture as well as they can."""
    image = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), np.float64)
    height, width = image.shape
    down, across = blocks
    scale = min(height / down, width / across)
    rows = height / 2 + (np.arange(down) + 0.5 - down / 2) * scale
    columns = width / 2 + (np.arange(across) + 0.5 - across / 2) * scale
    return image[np.ix_(rows.astype(int), columns.astype(int))]


@pytest.mark.parametrize(
    ("rotation", "is_flipped", "is_inverted"),
    [(0, True, False), (90, False, True), (90, True, False), (270, True, False), (180, False, False)],
)
def test_planes_lie_as_a_presentation_state_says(
    open_notebook: Callable[..., Any],
    blocks: Any,
    tmp_path: Path,
    rotation: int,
    is_flipped: bool,
    is_inverted: bool,
) -> None:
    path, values = blocks
    wanted = Appearance((DOWN * ACROSS / 2, DOWN * ACROSS + 1.0), is_inverted, rotation, is_flipped)
    state = presentation_state([read_dataset(path)], [], appearance=wanted)
    first, last = [2, 1], [7, 4]  # blocks, of which the area and the shutter have their edges

    def change(ds: Dataset) -> None:
        (item,) = ds.DisplayedAreaSelectionSequence
        item.DisplayedAreaTopLeftHandCorner = [each * BLOCK + 1 for each in first]
        item.DisplayedAreaBottomRightHandCorner = [each * BLOCK for each in last]
        ds.ShutterShape, ds.ShutterPresentationValue = "RECTANGULAR", 0
        ds.ShutterLeftVerticalEdge, ds.ShutterRightVerticalEdge = 3 * BLOCK + 1, COLUMNS
        ds.ShutterUpperHorizontalEdge, ds.ShutterLowerHorizontalEdge = 1, 3 * BLOCK

    change(state)
    write_object(state, tmp_path / "state.dcm")
    notebook = open_notebook(OPEN.format(home=str(tmp_path / "bench")))
    notebook.run()
    notebook.viewers()
    notebook.python(f"viewer.load({str(tmp_path / 'state.dcm')!r}); print(0)")
    notebook.wait_for(
        "print(json.dumps(viewer.camera['planes']))",
        lambda now: "area" not in now,
    )
    shown = values / (DOWN * ACROSS) * 255
    shown = 255 - shown if is_inverted else shown
    shown[:, :3] = 0
    shown[3:] = 0
    shown = np.rot90(shown[first[1] : last[1], first[0] : last[0]], -rotation // 90)
    shown = shown[:, ::-1] if is_flipped else shown
    notebook.python(f"open({str(tmp_path / 'shot.png')!r}, 'wb').write(viewer.screenshot()); print(0)")
    notebook.shot(f"presentation-state-{rotation}-{is_flipped}")
    found = seen((tmp_path / "shot.png").read_bytes(), shown.shape)
    assert np.abs(found - shown).max() < 6

    notebook.python(
        "viewer.annotations = [Mark('probe', (viewer.scene.positions_lps_mm[0],), index=(0,))]; print(0)"
    )
    written = pydicom.dcmread(notebook.python("print(json.dumps(str(viewer.export('gsps'))))"))
    assert (written.ImageRotation, written.ImageHorizontalFlip) == (rotation, "Y" if is_flipped else "N")
    assert written.PresentationLUTShape == ("INVERSE" if is_inverted else "IDENTITY")

    notebook.page.get_by_label("whole image").click()
    notebook.wait_for("print(json.dumps(viewer.shutter))", lambda now: now == [])
    notebook.page.wait_for_selector("canvas.wb-shutter", state="detached")
