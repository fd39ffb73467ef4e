"""What is laid over the images of a viewer, as Python has it: where it lies, its state, what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import workbench
from catalog.errors import GeometryError, QuestionError
from pipelines import phantoms
from pipelines.presentation import fusion
from pipelines.samples.volumes import pet

pytest.importorskip("anywidget", reason="pip install 'imaging-workbench[lab]'")

PET_SPACING_MM = 3.0


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    """A CT and a PET of one frame of reference, on other grids, and a CT of another."""
    archive = tmp_path / "archive"
    pet(archive / "pet")
    phantoms.write_series(archive / "ct", study="samples", description="CT", origin=(20, 10, 40))
    phantoms.write_series(archive / "other", study="another", description="another CT")
    with workbench.open(tmp_path / "bench") as opened:
        opened.index(archive, quiet=True)
        yield opened


def series(bench: Any, description: str) -> Any:
    return next(each for each in bench.series() if each.series_description == description)


@pytest.fixture
def viewer(bench: Any) -> Any:
    return bench.view(series(bench, "CT"))


def test_a_series_is_laid_over_where_it_lies_and_the_server_gives_its_planes(bench: Any, viewer: Any) -> None:
    made = viewer.overlay(series(bench, "PET"))
    assert (made.name, made.colormap, made.unit) == ("PT", "hot", "BQML")
    (said,) = viewer.widget.overlays
    assert np.array_equal(said["affine"], np.diag([*[PET_SPACING_MM] * 3, 1]) + _shift(-10, -20, 30))
    assert len(said["key"]) == 32  # by which the server knows it
    assert not said["is_of_labels"]


def test_uptake_values_come_from_the_kernel_in_their_unit(bench: Any, viewer: Any) -> None:
    suv = bench.volume(series(bench, "PET")).dicom.suv()
    made = viewer.overlay(suv, window=(5, 10), name="PET")
    assert (made.unit, made.window) == ("g/ml{SUVbw}", (5, 10))
    (said,) = viewer.widget.overlays
    assert said["key"] == ""
    heard: list[Any] = []
    viewer.widget.send = lambda content, buffers=(): heard.append((content, *map(bytes, buffers)))
    asked = {"kind": "plane", "id": 7, "index": [10], "overlay": made.uid}
    viewer.widget._handle_msg({"content": {"data": {"method": "custom", "content": asked}}, "buffers": []})
    answer, plane = heard[0]
    assert answer == {"kind": "plane", "id": 7}
    assert np.array_equal(np.frombuffer(plane, "<f4"), suv.isel(z=10).values.ravel().astype("<f4"))
    asked["overlay"] = "another"
    viewer.widget._handle_msg({"content": {"data": {"method": "custom", "content": asked}}, "buffers": []})
    assert "error" in heard[1][0]


def test_a_transform_takes_what_lies_in_another_frame_of_reference_to_its_place(
    bench: Any, viewer: Any
) -> None:
    other = bench.volume(series(bench, "another CT"))
    with pytest.raises(QuestionError, match=r"another frame of reference.*give transform"):
        viewer.overlay(other)
    turned = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    viewer.overlay(other, transform=turned)
    (said,) = viewer.widget.overlays
    assert np.allclose(said["affine"], turned @ other.dicom.affine_lps)


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (np.eye(3), "4 × 4 numbers"),
        (np.full((4, 4), np.nan), "4 × 4 numbers"),
        ("left", "4 × 4 numbers"),
        (np.diag([1, 1, 0, 1]), "flat"),
        (np.diag([1, 1, 1, 2]), "last row"),
    ],
)
def test_what_is_no_transform_is_refused(bench: Any, viewer: Any, transform: Any, words: str) -> None:
    with pytest.raises(QuestionError, match=words):
        viewer.overlay(bench.volume(series(bench, "another CT")), transform=transform)


def test_what_cannot_be_laid_over_an_image_is_refused_in_words(
    bench: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = bench.volume(series(bench, "PET"))
    with pytest.raises(QuestionError, match="in colour"):
        viewer.overlay(volume.expand_dims(channel=3))
    with pytest.raises(QuestionError, match=r"pick one by isel\(time=…\)"):
        viewer.overlay(volume.expand_dims(time=2))
    with pytest.raises(GeometryError, match="no place in the patient"):
        viewer.overlay(xr.DataArray(np.zeros((3, 4, 5)), dims=("z", "y", "x")))
    with pytest.raises(GeometryError, match="evenly spaced"):
        viewer.overlay(volume.isel(z=[0, 1, 5]))
    with pytest.raises(QuestionError, match="no colormap 'rainbow'"):
        viewer.overlay(volume, colormap="rainbow")
    with pytest.raises(QuestionError, match="from 0 to 1"):
        viewer.overlay(volume, opacity=2)
    with pytest.raises(QuestionError, match="width of a window"):
        viewer.overlay(volume, window=(1, 0))
    nowhere = workbench.widgets.viewer.Viewer(xr.DataArray(np.zeros((4, 5)), dims=("y", "x")))
    with pytest.raises(QuestionError, match="nothing can be laid over it"):
        nowhere.overlay(volume)
    with pytest.raises(QuestionError, match="no bench"):
        nowhere.overlay("1.2.3")
    monkeypatch.setattr("workbench.widgets.overlays.LARGEST_BYTES", volume.size * 4 - 1)
    with pytest.raises(QuestionError, match="cut out a part"):
        viewer.overlay(volume)
    assert not len(viewer.overlays)


def test_its_state_is_a_list_of_records_that_python_sets_and_the_page_changes(
    bench: Any, viewer: Any
) -> None:
    first = viewer.overlay(series(bench, "PET"), name="PET")
    viewer.overlay(viewer.array > 100, name="bright")
    assert [(each.name, each.colormap) for each in viewer.overlays] == [("PET", "hot"), ("bright", "labels")]
    changed = [each | {"opacity": 0.25, "is_shown": each["name"] != "PET"} for each in viewer.widget.overlays]
    viewer.widget.set_state({"overlays": changed})
    assert [(each.opacity, each.is_shown) for each in viewer.overlays] == [(0.25, False), (0.25, True)]
    viewer.overlays = [replace(each, opacity=1, is_shown=True) for each in reversed(viewer.overlays)]
    assert [each["name"] for each in viewer.widget.overlays] == ["bright", "PET"]
    assert {each["opacity"] for each in viewer.widget.overlays} == {1}
    viewer.overlay(series(bench, "PET"), name="PET", colormap="jet")  # one of the same name goes
    assert [each.colormap for each in viewer.overlays] == ["labels", "jet"]
    with pytest.raises(QuestionError, match="the same name"):
        viewer.overlays = [*viewer.overlays, first]
    viewer.remove_overlay("PET")
    with pytest.raises(QuestionError, match="no overlay 'PET'; there are 'bright'"):
        viewer.remove_overlay("PET")
    viewer.overlays = []
    assert viewer.widget.overlays == []
    assert list(viewer.widget.arrays) == [""]


def test_what_a_page_says_late_does_not_bring_back_what_python_took_away(bench: Any, viewer: Any) -> None:
    viewer.overlay(series(bench, "PET"), name="PET")
    said = [dict(each) for each in viewer.widget.overlays]
    sent: list[Any] = []
    viewer.remove_overlay("PET")
    viewer.widget.send_state = lambda key=None: sent.append(key)
    viewer.widget.set_state({"overlays": [{**said[0], "is_shown": False}]})  # on its way meanwhile
    assert viewer.widget.overlays == []
    assert len(viewer.overlays) == 0
    assert set(sent) == {"overlays"}  # the page hears what there is


def test_segments_become_labels_with_their_names(tmp_path: Path, shared_data: Path) -> None:
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(shared_data / "objects" / "seg", quiet=True)
        viewer = bench.view(bench.series(modality="CT")[0])
        liver = next(each for each in bench.series() if each.series_description == "Liver Segmentation")
        made = viewer.overlay(liver)
        assert made.colormap == "labels"
        assert int((made.array > 0).sum()) == 107098
        assert viewer.widget.overlays[0]["labels"] == {"1": "Liver"}


def test_a_plane_that_was_cut_out_still_lies_where_it_was(bench: Any, viewer: Any) -> None:
    volume = bench.volume(series(bench, "PET"))
    plane = volume.isel(z=4, y=slice(10, None), x=slice(None, None, -1))
    affine = np.array(fusion.placed(fusion.single(plane), viewer.scene))
    index = (3, 2, 0, 1)  # column, row, plane of the cut
    assert np.allclose((affine @ index)[:3], volume.dicom.to_lps((volume.sizes["x"] - 1 - 3, 12, 4)))


def _shift(*offset: float) -> Any:
    out = np.zeros((4, 4))
    out[:3, 3] = offset
    return out
