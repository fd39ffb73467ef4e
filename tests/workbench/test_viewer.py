"""Of the viewer what needs no browser: what it knows of an array, its state, measurements, its server."""

from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import xarray as xr
from nbconvert import HTMLExporter

import workbench
from catalog.errors import NotFoundError, QuestionError
from pipelines import phantoms
from pipelines.marks import Mark
from pipelines.presentation.scene import plane_bytes, scene_of
from workbench.server import shelf
from workbench.server.planes import Planes

pytest.importorskip("anywidget", reason="pip install 'imaging-workbench[lab]'")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


@pytest.fixture
def bench(tmp_path: Path, ct: phantoms.Phantom) -> Any:
    with workbench.open(tmp_path / "bench") as opened:
        opened.index(ct.paths[0].parent, quiet=True)
        yield opened


def test_a_viewer_begins_in_the_middle_with_a_window_of_the_modality(bench: Any) -> None:
    viewer = bench.view(bench.series()[0])
    assert viewer.position == {"z": 4}
    assert viewer.window == (40, 400)
    viewer.window = "lung"
    assert viewer.window == (-600, 1500)
    assert viewer.layout == "stack"
    assert viewer.scene.dtype == "int16"
    assert viewer.scene.pixel_spacing == pytest.approx((0.8, 0.7))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("layout", "5d", "there is no layout"),
        ("tool", "hammer", "there is no tool"),
        ("window", "kidney", "there is no window"),
        ("window", (40, 0), "at least 1"),
        ("position", {"z": 8}, "from 0 to 7"),
        ("position", {"time": 0}, "there is no axis"),
    ],
)
def test_a_state_that_cannot_be_says_what_can(bench: Any, name: str, value: Any, words: str) -> None:
    viewer = bench.view(bench.series()[0])
    with pytest.raises(QuestionError, match=words):
        setattr(viewer, name, value)


@pytest.mark.parametrize(
    ("dtype", "sent"), [(bool, "uint8"), ("int8", "float32"), ("uint16", "uint16"), ("float64", "float32")]
)
def test_no_value_is_changed_by_the_type_it_is_sent_in(bench: Any, dtype: Any, sent: str) -> None:
    values = np.arange(-2, 10).clip(0 if np.dtype(dtype).kind in "bu" else -2).astype(dtype).reshape(3, 4)
    viewer = bench.view(xr.DataArray(values, dims=("y", "x"), name="mask"))
    assert viewer.scene.dtype == sent
    plane = plane_bytes(viewer.array, viewer.scene, [0])
    assert np.array_equal(np.frombuffer(plane, sent).reshape(3, 4), values)


def test_what_is_no_image_says_so(bench: Any) -> None:
    with pytest.raises(QuestionError, match="rows and columns"):
        bench.view(xr.DataArray(np.zeros(3), dims="z", name="profile"))


def test_whatever_cannot_show_a_widget_has_a_picture_and_words(bench: Any) -> None:
    bundle = bench.view(bench.series()[0])._repr_mimebundle_()[0]
    assert bundle["image/png"].startswith("iVBOR")
    assert "still picture" in bundle["text/plain"]
    shown = nbformat.v4.new_output("display_data", bundle)
    cell = nbformat.v4.new_code_cell("viewer", outputs=[shown])
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert "run the cell in JupyterLab to look at it" in page
    assert f"data:image/png;base64,{bundle['image/png'][:40]}" in page


def test_whoever_asks_hears_what_changes(bench: Any) -> None:
    viewer = bench.view(bench.series()[0])
    heard = []
    names = ("annotations", "position", "layout", "window", "tool", "segments", "curves")
    for name in names:
        viewer.on_change(name, lambda _viewer, name=name: heard.append(name))
    viewer.position = {"z": 1}
    viewer.window = (41, 401)
    viewer.tool = "length"
    viewer.layout = "mpr"
    viewer.segments = [{"number": 1, "label": "one", "color": (1, 2, 3)}]
    viewer.annotations = [Mark("probe", ((-9.0, -19.0, 35.0),), index=(2,))]
    assert set(heard) == {*names} - {"curves"}  # of a series that has no time
    with pytest.raises(QuestionError, match="there is no state 'colour'"):
        viewer.on_change("colour", heard.append)


MARKS = [
    ("ellipse", [(12, 22, 3), (12, 10, 3), (5, 16, 3), (19, 16, 3)], np.pi * 6 * 0.8 * 7 * 0.7),
    ("circle", [(12, 16, 3), (12, 22, 3)], np.pi * (6 * 0.8) ** 2),
    ("rectangle", [(4.5, 5.5, 3), (14.5, 5.5, 3), (4.5, 20.5, 3), (14.5, 20.5, 3)], 10 * 0.7 * 15 * 0.8),
]


@pytest.mark.parametrize(("kind", "handles", "area"), MARKS)
def test_an_area_is_measured_on_the_values_whose_centres_lie_inside(
    bench: Any, kind: str, handles: Any, area: float
) -> None:
    viewer = bench.view(bench.series()[0])
    points = tuple(tuple(each) for each in viewer.array.dicom.to_lps(handles))
    viewer.annotations = [Mark(kind, points, index=(3,))]
    (mark,) = viewer.annotations
    columns, rows = np.meshgrid(np.arange(24), np.arange(32))
    inside = {
        "ellipse": ((columns - 12) / 7) ** 2 + ((rows - 16) / 6) ** 2 <= 1,
        "circle": ((columns - 12) * 0.7) ** 2 + ((rows - 16) * 0.8) ** 2 <= (6 * 0.8) ** 2,
        "rectangle": (columns > 4.5) & (columns < 14.5) & (rows > 5.5) & (rows < 20.5),
    }[kind]
    values = viewer.array.isel(z=3).values[inside].astype(float)
    assert mark.pixels == inside.sum()
    assert mark.mean == pytest.approx(values.mean())
    assert mark.standard_deviation == pytest.approx(values.std())
    assert (mark.minimum, mark.maximum) == (values.min(), values.max())
    assert mark.area_mm2 == pytest.approx(area)
    assert mark.sop_instance_uid == viewer.array.dicom.sources[3]


def test_lines_and_angles_are_measured_in_the_patient(bench: Any) -> None:
    viewer = bench.view(bench.series()[0])
    line, angle = (
        tuple(tuple(each) for each in viewer.array.dicom.to_lps(handles))
        for handles in ([(0, 0, 2), (10, 0, 2)], [(10, 0, 2), (0, 0, 2), (0, 10, 2)])
    )
    viewer.annotations = [Mark("length", line, index=(2,)), Mark("angle", angle, index=(2,))]
    length, corner = viewer.annotations
    assert length.length_mm == pytest.approx(7.0)
    assert corner.angle_deg == pytest.approx(90.0)
    assert length.mean is None


def test_without_a_spacing_lengths_are_not_known_and_the_mark_says_so(bench: Any) -> None:
    image = xr.DataArray(np.arange(20.0).reshape(4, 5), dims=("y", "x"), name="photograph")
    viewer = bench.view(image)
    viewer.annotations = [
        Mark("length", ((0, 0, 0), (3, 0, 0)), index=(0,)),
        Mark("probe", ((3, 2, 0),), index=(0,)),
    ]
    line, probe = viewer.annotations
    assert (line.length_mm, line.holds) == (None, "pixels")
    assert probe.mean == 13.0


def test_the_server_gives_the_same_planes_as_the_kernel(bench: Any) -> None:
    viewer = bench.view(bench.series()[0])
    planes = Planes(shelf.take)
    for number in range(8):
        assert planes.plane(viewer.widget.key, [number]) == plane_bytes(viewer.array, viewer.scene, [number])
    with pytest.raises(QuestionError, match="no plane"):
        planes.plane(viewer.widget.key, [8])
    whole = np.frombuffer(planes.plane(viewer.widget.key, [5]), "<i2").reshape(32, 24)
    few = np.frombuffer(planes.plane(viewer.widget.key, [5], step=8), "<i2").reshape(4, 3)
    assert np.array_equal(few, whole[4::8, 4::8])


def test_a_plane_is_the_modality_values_row_by_row(bench: Any) -> None:
    array = bench.volume(bench.series()[0])
    scene = scene_of(array)
    values = np.frombuffer(plane_bytes(array, scene, [5]), "<i2").reshape(32, 24)
    assert np.array_equal(values, array.isel(z=5).values)


@pytest.mark.parametrize("key", ["0" * 32, "../../etc/passwd", "A" * 32, ""])
def test_a_key_that_no_notebook_put_there_opens_nothing(key: str) -> None:
    with pytest.raises(NotFoundError, match="run its cell again"):
        shelf.take(key)


def test_a_picture_comes_only_where_a_kernel_waits_for_it() -> None:
    with pytest.raises(NotFoundError, match="no kernel waits"):
        shelf.hand_in("0" * 32, b"png")
    key = shelf.expect()
    shelf.hand_in(key, b"png")
    assert shelf.await_picture(key, 0) == b"png"
    assert shelf.await_picture(shelf.expect(), 0) is None
