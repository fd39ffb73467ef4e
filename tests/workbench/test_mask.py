"""The mask of a viewer: painted by the messages of a browser, set from Python, and there again."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import xarray as xr

import workbench
from catalog.errors import ExportError, GeometryError, QuestionError
from pipelines import phantoms
from workbench.widgets.viewer import Viewer

pytest.importorskip("anywidget", reason="pip install 'imaging-workbench[lab]'")

ROWS, COLUMNS = 32, 24
NOTHING = b""


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


@pytest.fixture
def bench(tmp_path: Path, ct: phantoms.Phantom) -> Any:
    with workbench.open(tmp_path / "bench") as opened:
        opened.index(ct.paths[0].parent, quiet=True)
        yield opened


class Page:
    """The other end of a viewer's messages."""

    def __init__(self, viewer: Any) -> None:
        self.viewer, self.heard = viewer, []
        viewer.widget.send = lambda content, buffers=(): self.heard.append((content, *map(bytes, buffers)))

    def says(self, kind: str, *buffers: bytes, **content: Any) -> list[Any]:
        """Send a message; return what came back."""
        self.heard.clear()
        data = {"method": "custom", "content": {"kind": kind, **content}}
        self.viewer.widget._handle_msg({"content": {"data": data}, "buffers": list(buffers)})
        return list(self.heard)

    def sets(self, **state: Any) -> None:
        data = {"method": "update", "state": state, "buffer_paths": []}
        self.viewer.widget._handle_msg({"content": {"data": data}, "buffers": []})


def shown_to(bench: Any, author: str = "Dr. Rot") -> Any:
    return bench.view(bench.series()[0], author=author)


def viewer_of(values: np.ndarray, dims: tuple[str, ...] = ("z", "y", "x")) -> Any:
    return Viewer(xr.DataArray(values, dims=dims))


def plane(label: int = 3, size: int = 5) -> np.ndarray:
    values = np.zeros((ROWS, COLUMNS), np.uint8)
    values[4 : 4 + size, 6:13] = label
    return values


def test_a_stroke_is_in_python_and_there_again_when_the_series_is_opened_again(bench: Any) -> None:
    viewer = shown_to(bench)
    answer = Page(viewer).says("mask", plane().tobytes(), index=[], plane=2, run="r1")
    assert answer == [({"kind": "mask-saved", "run": "r1", "index": [], "plane": 2},)]
    for mask in (viewer.mask, shown_to(bench).mask):
        assert mask.dims == viewer.array.dims
        assert mask.dtype == np.uint8
        assert mask.coords.equals(viewer.array.coords)
        assert np.array_equal(mask[2], plane())
        assert int((mask > 0).sum()) == 35
    assert not shown_to(bench, "Dr. Blau").mask.any()


def test_the_page_gets_the_plane_it_wants_and_nothing_for_one_without_labels(bench: Any) -> None:
    page = Page(shown_to(bench))
    page.says("mask", plane().tobytes(), index=[], plane=2, run=1)
    assert page.says("mask-wanted", plane=2) == [
        ({"kind": "mask", "plane": 2, "index": []}, plane().tobytes())
    ]
    assert page.says("mask-wanted", plane=3) == [({"kind": "mask", "plane": 3, "index": []}, NOTHING)]
    page.says("mask", NOTHING, index=[], plane=2, run=2)
    assert page.says("mask-wanted", plane=2)[0][1] == NOTHING
    assert not page.viewer.mask.any()


@pytest.mark.parametrize(
    ("given", "buffer", "words"),
    [
        ({"plane": 8}, plane().tobytes(), "no plane"),
        ({"plane": -1}, plane().tobytes(), "no plane"),
        ({"plane": "2"}, plane().tobytes(), "number of a plane"),
        ({}, plane().tobytes(), "number of a plane"),
        ({"plane": 2}, b"123", "not 3"),
        ({"plane": 2, "index": 7}, plane().tobytes(), "TypeError"),
    ],
)
def test_what_is_no_plane_says_so_and_changes_nothing(
    bench: Any, given: dict[str, Any], buffer: bytes, words: str
) -> None:
    page = Page(shown_to(bench))
    ((answer,),) = page.says("mask", buffer, run=1, **given)
    assert words in answer["error"]
    assert not page.viewer.mask.any()
    if len(buffer) > 3 and given:  # without a plane all are wanted
        assert words in page.says("mask-wanted", **given)[0][0]["error"]


def test_what_python_sets_goes_to_the_page(bench: Any) -> None:
    viewer = shown_to(bench)
    page = Page(viewer)
    viewer.mask = (viewer.array > 100).rename("sphere")
    clear, *planes, turn = page.heard
    assert turn == ({"kind": "mask-turn", "turn": 1},)
    assert clear == ({"kind": "mask-clear", "index": []},)
    assert planes[0][0]["planes"][0] == viewer.position["z"]
    values = np.zeros(viewer.array.shape, np.uint8)
    for content, *buffers in planes:
        for number, buffer in zip(content["planes"], buffers, strict=True):
            values[number] = np.frombuffer(buffer, np.uint8).reshape(ROWS, COLUMNS)
    assert np.array_equal(values, viewer.array.values > 100)
    assert viewer.widget.segments == [
        {"number": 1, "label": "sphere", "color": list(viewer.segments[0]["color"])}
    ]
    page.heard.clear()
    viewer.mask = viewer.mask
    assert page.heard == []


def test_what_python_set_is_undone_and_done_again_as_often_as_the_page_wants(bench: Any) -> None:
    viewer = shown_to(bench)
    page = Page(viewer)
    page.says("mask", np.full(ROWS * COLUMNS, 3, np.uint8).tobytes(), plane=5)
    viewer.segments = [{"number": 3, "label": "drawn"}]
    states = [(viewer.mask.values.copy(), viewer.segments)]
    for threshold in (100, 50):
        viewer.mask = (viewer.array > threshold).rename(f"above {threshold}").astype(np.uint16) * threshold
        states.append((viewer.mask.values.copy(), viewer.segments))

    def assert_is(number: int) -> None:
        values, segments = states[number]
        assert np.array_equal(viewer.mask.values, values)
        assert viewer.segments == viewer.widget.segments == segments

    for turn, undone, number in ((2, True, 1), (1, True, 0), (1, False, 1), (2, False, 2), (2, True, 1)):
        heard = page.says("mask-turn", turn=turn, undone=undone)
        assert_is(number)
        assert heard[0][0]["kind"] == "mask-clear"
        assert page.says("mask-turn", turn=turn, undone=undone) == []  # another page of the same viewer
        assert_is(number)
    again = shown_to(bench)
    assert np.array_equal(again.mask.values, states[1][0])
    for wrong in ({"turn": 7, "undone": True}, {"turn": "x", "undone": True}, {}):
        (answer,) = page.says("mask-turn", **wrong)
        assert answer[0]["error"]
    assert_is(1)


def test_masks_that_are_kept_to_be_undone_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.widgets.turns.LARGEST_BYTES", 2_000)
    viewer = viewer_of(np.zeros((4, 32, 32), np.int16))
    page, rng = Page(viewer), np.random.default_rng(0)
    for _ in range(4):
        viewer.mask = rng.integers(0, 200, viewer.array.shape, np.uint8)
    (answer,) = page.says("mask-turn", turn=2, undone=True)
    assert "not kept any more" in answer[0]["error"]
    assert page.says("mask-turn", turn=4, undone=True)


def test_every_plane_of_a_large_mask_comes_in_few_messages() -> None:
    viewer = viewer_of(np.zeros((5000, 2, 2), np.int16))
    page = Page(viewer)
    viewer.mask = np.ones(viewer.array.shape, np.uint8)
    clear, *pushed, _turn = page.heard
    wanted = page.says("mask-wanted", index=[])
    for messages in (pushed, wanted):
        assert len(messages) == 157  # Jupyter's server drops more than 3,000
        numbers = [number for content, *_ in messages for number in content["planes"]]
        assert numbers[0] == viewer.position["z"] == 2500
        assert sorted(numbers) == list(range(5000))
    assert clear[0]["kind"] == "mask-clear"


def test_of_a_mask_over_time_the_page_is_given_what_it_shows() -> None:
    viewer = viewer_of(np.zeros((3, 4, 2, 2), np.int16), ("time", "z", "y", "x"))
    page = Page(viewer)
    viewer.mask = np.ones(viewer.array.shape, np.uint8)
    (clear,), (planes, *_), _turn = page.heard
    assert clear == {"kind": "mask-clear", "index": [1]}
    assert (planes["index"], sorted(planes["planes"])) == ([1], [0, 1, 2, 3])
    ((planes, *buffers),) = page.says("mask-wanted", index=[2])
    assert (planes["index"], sorted(planes["planes"])) == ([2], [0, 1, 2, 3])
    assert buffers == [b"\1" * 4] * 4


def test_labels_that_a_browser_cannot_tell_apart_stay_what_they_were(bench: Any) -> None:
    viewer = shown_to(bench)
    values = np.zeros(viewer.array.shape, np.uint16)
    values[2, 4, 4:7] = (256, 1000, 7)
    viewer.mask = values
    page = Page(viewer)
    shown = np.frombuffer(page.says("mask-wanted", plane=2)[0][1], np.uint8).reshape(ROWS, COLUMNS).copy()
    assert shown[4, 4:7].tolist() == [255, 255, 7]
    shown[4, 4] = 9
    page.says("mask", shown.tobytes(), plane=2, run=1)
    assert viewer.mask.values[2, 4, 4:7].tolist() == [9, 1000, 7]
    assert shown_to(bench).mask.dtype == np.uint16


def test_segments_have_names_and_colours_that_are_kept(bench: Any) -> None:
    viewer = shown_to(bench)
    page = Page(viewer)
    page.sets(segments=[{"number": 2, "label": "liver", "color": "#ff8000"}, {"number": 1, "label": "lung"}])
    first, second = viewer.segments
    assert (first["label"], second["label"], second["color"]) == ("lung", "liver", [255, 128, 0])
    assert shown_to(bench).widget.segments == viewer.widget.segments == viewer.segments
    page.sets(segments=[{"number": 0, "label": "nothing"}])
    assert "number from 1" in viewer.widget.unsaved
    assert viewer.widget.segments == [first, second]
    viewer.mask = (xr.zeros_like(viewer.mask) + 7).assign_attrs(labels={7: "spleen"})
    viewer.mask = xr.zeros_like(viewer.mask)  # what labels mean outlasts their last voxel
    assert [each["label"] for each in shown_to(bench).segments] == ["lung", "liver", "spleen"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda mask: mask.values[:3], "shape"),
        (lambda mask: mask.rename(z="frame"), "dimensions"),
        (lambda mask: mask.assign_coords(z=mask.z + 1.0), "elsewhere along z"),
        (lambda mask: mask.astype(float), "whole numbers"),
        (lambda mask: mask.astype(np.int32) - 1, "labels go from 0"),
        (lambda mask: mask.astype(np.int32) + 70_000, "to 70000"),
    ],
)
def test_what_is_no_mask_of_the_array_says_why(bench: Any, change: Any, words: str) -> None:
    viewer = shown_to(bench)
    with pytest.raises(QuestionError, match=words):
        viewer.mask = change(viewer.mask)


PAINTS = """
import os, sys, workbench
bench = workbench.open(sys.argv[1])
viewer = bench.view(bench.series()[0], author="Dr. Rot")
for number in range(200):
    plane = bytes([number % 7 + 1]) * (32 * 24)
    content = {"kind": "mask", "plane": 3, "index": [], "run": number}
    message = {"content": {"data": {"method": "custom", "content": content}}, "buffers": [plane]}
    viewer.widget._handle_msg(message)
    print(number, flush=True)
"""


def test_a_kernel_that_is_killed_while_it_paints_leaves_whole_strokes(bench: Any) -> None:
    shown_to(bench)  # ingested
    for strokes in (1, 40, 90):
        with subprocess.Popen(
            [sys.executable, "-c", PAINTS, bench.settings.home],
            env=os.environ, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(strokes)]
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
        last = int((rest or said)[-1])
        labels = np.unique(shown_to(bench).mask.values[3])
        assert labels.tolist() in ([last % 7 + 1], [(last + 1) % 7 + 1])


def test_what_a_killed_kernel_left_beside_a_plane_is_no_plane(bench: Any) -> None:
    Page(shown_to(bench)).says("mask", plane(2).tobytes(), index=[], plane=3)
    (written,) = (bench.settings.home / "masks").rglob("c/3/0/0")
    written.with_name("0.0123abcd.partial").write_bytes(b"half")
    assert np.array_equal(np.unique(shown_to(bench).mask.values[3]), [0, 2])


def test_an_array_that_is_in_no_catalog_has_its_mask_in_the_viewer(bench: Any) -> None:
    image = xr.DataArray(np.zeros((ROWS, COLUMNS)), dims=("y", "x"), name="map")
    viewer = bench.view(image)
    Page(viewer).says("mask", plane(5).tobytes(), plane=0, run=1)
    assert np.array_equal(viewer.mask, plane(5))
    assert viewer.mask.dims == ("y", "x")
    assert not (bench.settings.home / "masks").exists()


def test_a_mask_of_several_volumes_is_painted_at_the_one_that_is_shown(bench: Any) -> None:
    series = xr.DataArray(
        np.zeros((3, 4, ROWS, COLUMNS), np.int16), dims=("time", "z", "y", "x"), name="perfusion"
    )
    viewer = bench.view(series)
    page = Page(viewer)
    page.says("mask", plane(1).tobytes(), index=[2], plane=1, run=1)
    page.sets(index=[1, 0])
    page.says("mask", plane(2).tobytes(), plane=3, run=2)
    assert np.array_equal(viewer.mask[2, 1], plane(1))
    assert np.array_equal(viewer.mask[1, 3], plane(2))
    assert int((viewer.mask > 0).sum()) == 70


def test_a_region_grows_from_a_point_of_the_page_and_comes_to_it_plane_by_plane() -> None:
    values = np.zeros((50, ROWS, COLUMNS), np.int16)
    values[5:45, 8:12, 3:9] = 100
    values[10, 20:25, 3:9] = 100  # touches nothing
    viewer = Viewer(xr.DataArray(values, dims=("z", "y", "x")))
    page = Page(viewer)
    page.sets(index=[20])
    grown = page.says("mask-grow", index=[], point=[4.2, 9.9, 20], low=50, high=150, segment=2)
    made = [content for content, *_ in grown if content["kind"] == "mask-made"]
    assert [each["done"] for each in made] == [False, True]
    assert sorted(plane for each in made for plane in each["planes"]) == list(range(5, 45))
    assert all(len(buffer) == ROWS * COLUMNS for _, *buffers in grown for buffer in buffers)
    wanted = np.zeros(values.shape, np.uint8)
    wanted[5:45, 8:12, 3:9] = 2
    assert np.array_equal(viewer.mask, wanted)
    assert [each["number"] for each in viewer.segments] == [2]


def test_a_region_grows_from_python_leaves_other_labels_and_stays_at_its_time() -> None:
    viewer = Viewer(xr.DataArray(np.full((4, ROWS, COLUMNS), 7.0), dims=("time", "y", "x")))
    mask = np.zeros(viewer.array.shape, np.uint8)
    mask[1, :, :4] = 3
    viewer.mask = mask
    assert viewer.grow({"time": 1, "y": 5, "x": 10}, 6, 8) == ROWS * (COLUMNS - 4)
    assert np.array_equal(viewer.mask[1, 0], [3] * 4 + [1] * (COLUMNS - 4))
    assert not viewer.mask[2].any()


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ({"y": 3, "x": 3}, "the value there is outside of 100 to 200"),
        ({"y": ROWS, "x": 3}, f"there is no pixel in row {ROWS} and column 3"),
        ({"z": 9, "y": 3, "x": 3}, "there is no plane"),
        ({"z": 0, "y": 3}, "give y and x"),
        ({"w": 0}, "w"),
        ({"y": "a", "x": 3}, "y is a whole number from 0, not 'a'"),
        ({"y": 3, "x": 2.5}, "x is a whole number from 0, not 2.5"),
    ],
)
def test_where_no_region_grows_words_say_why(at: dict[str, Any], words: str) -> None:
    viewer = Viewer(xr.DataArray(np.zeros((3, ROWS, COLUMNS), np.int16), dims=("z", "y", "x")))
    with pytest.raises(QuestionError, match=words):
        viewer.grow(at, 100, 200)
    assert not viewer.mask.any()


@pytest.mark.parametrize("point", [None, [1, 2], ["x", 0, 0], [1e9, 0, 0], [float("nan"), 0, 0]])
def test_a_point_that_is_none_is_answered_in_words(point: Any) -> None:
    viewer = Viewer(xr.DataArray(np.zeros((3, ROWS, COLUMNS), np.int16), dims=("z", "y", "x")))
    ((answer,),) = Page(viewer).says("mask-grow", index=[], point=point, low=-1, high=1, segment=1)
    assert answer["error"]
    assert not viewer.mask.any()


def test_planes_between_those_that_are_drawn_are_painted_from_both_sides(bench: Any) -> None:
    viewer = shown_to(bench)
    page = Page(viewer)
    square = np.zeros((ROWS, COLUMNS), np.uint8)
    square[4:20, 4:20] = 3
    page.says("mask", square.tobytes(), index=[], plane=1)
    page.says("mask", square.tobytes(), index=[], plane=4)
    ((made, *planes),) = page.says("mask-interpolate", index=[], segment=3)
    assert (made["planes"], made["done"]) == ([2, 3], True)
    assert planes == [square.tobytes()] * 2
    assert np.array_equal(viewer.mask[1:5], [square] * 4)
    with pytest.raises(QuestionError, match="segment 3 has no gap"):
        viewer.interpolate(segment=3)
    assert np.array_equal(shown_to(bench).mask[1:5], [square] * 4)  # kept like a stroke


def test_a_mask_that_is_damaged_does_not_keep_the_series_from_being_looked_at(bench: Any) -> None:
    Page(shown_to(bench)).says("mask", plane().tobytes(), plane=2, run=1)
    (damaged,) = (bench.settings.home / "masks").rglob("zarr.json")
    damaged.write_text("{}")
    with pytest.warns(UserWarning, match="not kept"):
        viewer = shown_to(bench)
    assert viewer.position == {"z": 4}


def test_a_mask_goes_to_nifti_and_a_seg_brings_it_back(bench: Any, tmp_path: Path) -> None:
    viewer = shown_to(bench)
    labels = np.zeros(viewer.array.shape, np.uint8)
    labels[2], labels[5, 3:9, 3:9] = plane(3), 9
    viewer.mask = viewer.mask.copy(data=labels).assign_attrs(labels={3: "liver", 9: "vessel"})
    image = nibabel.load(viewer.export("nifti", tmp_path / "mask.nii.gz"))
    assert np.array_equal(np.asarray(image.dataobj), labels.T)
    with pytest.raises(ExportError, match="there already"):
        viewer.export("nifti", tmp_path / "mask.nii.gz")
    seg = viewer.export("seg")
    assert viewer.export("seg") == seg
    other = shown_to(bench, "Dr. Blau")
    other.load(seg)
    assert np.array_equal(other.mask, labels)
    assert [each["label"] for each in other.segments] == ["liver", "vessel"]
    with pytest.raises(GeometryError, match="pixels"):
        bench.view(viewer.array[:, :8]).load(seg)
