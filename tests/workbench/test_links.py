"""Viewers that move together, and the banner, as Python has them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import workbench
from catalog.errors import NotFoundError, QuestionError
from catalog.records import SeriesRecord
from pipelines import phantoms
from pipelines.presentation.banner import banner_of

pytest.importorskip("anywidget", reason="pip install 'imaging-workbench[lab]'")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    """Two CT of one frame of reference and different planes, and one of another, 100 mm higher."""
    archive, common = tmp_path / "archive", {"study": "one", "patient_name": "Müller^Änne^Maria"}
    phantoms.write_series(archive / "a", description="thick", planes=8, distance=5.0, **common)
    phantoms.write_series(archive / "b", description="thin", planes=30, distance=1.5, seed=1, **common)
    phantoms.write_series(archive / "c", description="prior", planes=12, distance=5.0, origin=(0, 0, 130))
    with workbench.open(tmp_path / "bench") as opened:
        opened.index(archive, quiet=True)
        yield opened


def view(bench: Any, description: str) -> Any:
    return bench.view(next(each for each in bench.series() if each.series_description == description))


def height(viewer: Any) -> float:
    """Of the plane that is shown, mm."""
    return float(viewer.scene.positions_lps_mm[viewer.position["z"]][2])


def test_by_a_common_frame_of_reference_both_show_the_same_place(bench: Any) -> None:
    thick, thin = view(bench, "thick"), view(bench, "thin")
    link = thick.link(thin)
    assert link.by == "frame of reference"
    for plane in range(8):
        thick.position = {"z": plane}
        assert abs(height(thin) - height(thick)) <= 1.5 / 2
        assert thick.position == {"z": plane}  # does not come back as another
    for plane in range(24):
        thin.position = {"z": plane}
        assert abs(height(thin) - height(thick)) <= 5.0 / 2
        assert thin.position == {"z": plane}
    thin.position = {"z": 29}  # beyond the end of the other
    assert thick.position == {"z": 7}


def test_by_a_transform_both_show_the_place_that_it_says(bench: Any) -> None:
    thick, prior = view(bench, "thick"), view(bench, "prior")
    transform = np.eye(4)
    transform[2, 3] = -90  # from the prior's mm to those of the other
    assert thick.link(prior, transform=transform).by == "transform"
    thick.position = {"z": 4}
    assert height(prior) - 90 == height(thick)
    with pytest.raises(QuestionError, match="4 × 4"):
        thick.link(prior, transform=np.eye(3))


def test_else_both_keep_the_distance_that_they_had_in_mm(bench: Any) -> None:
    thin, prior = view(bench, "thin"), view(bench, "prior")
    thin.position, prior.position = {"z": 10}, {"z": 3}
    assert thin.link(prior).by == "offset"
    apart = height(prior) - height(thin)
    thin.position = {"z": 20}  # 15 mm further
    assert prior.position == {"z": 6}
    assert height(prior) - height(thin) == pytest.approx(apart)


def test_images_without_a_place_move_by_the_number_of_planes(bench: Any) -> None:
    first, second = (workbench.widgets.viewer.Viewer(xr.DataArray(np.zeros((9, 4, 4)), dims=("t", "y", "x")))
                     for _ in range(2))  # fmt: skip
    first.position, second.position = {"t": 2}, {"t": 5}
    link = first.link(second)
    assert first.widget.linked == second.widget.linked == link.by == "number"
    first.position = {"t": 4}
    assert second.position == {"t": 7}
    second.position = {"t": 8}
    assert first.position == {"t": 5}
    with pytest.raises(QuestionError, match="has not"):
        first.link(second, transform=np.eye(4))
    with pytest.raises(QuestionError, match="to itself"):
        first.link(first)
    first.position = {"t": 1}
    assert second.position == {"t": 4}, "what cannot be leaves the link that is there"
    third = workbench.widgets.viewer.Viewer(first.array)
    third.link(first)
    link.release()
    assert [each.widget.linked for each in (first, second, third)] == ["number", "", "number"]
    first.unlink()
    assert not any(each.widget.linked or each.widget.links for each in (first, second, third))


def test_window_and_zoom_are_shared_where_that_is_asked_for_and_an_unlinked_viewer_moves_alone(
    bench: Any,
) -> None:
    thick, thin = view(bench, "thick"), view(bench, "thin")
    thick.link(thin)
    thick.window = (1, 2)
    assert thin.window != (1, 2)
    thick.link(thin, window=True, camera=True)  # takes the place of the link before
    assert len(thick.widget.links) == 1
    assert thin.window == (1, 2)
    thin.window = (3, 4)
    thin.camera = {"planes": {"zoom": 2}}
    assert thick.window == (3, 4)
    assert thick.camera["planes"]["zoom"] == 2
    thick.widget.set_state({"window": [5, 9], "curve": [0.0, 0.7, 1.0]})  # a VOI LUT that the page took
    assert thin.window == (5, 9)
    assert thin.widget.curve == [0.0, 0.7, 1.0]
    thin.window = (3, 4)
    assert thick.widget.curve == []
    thick.unlink()
    thick.window, thick.position = (5, 6), {"z": 0}
    assert thin.window == (3, 4)
    assert thin.position != {"z": 0}


@pytest.mark.parametrize("other", [3, None, "thin"])
def test_what_is_no_viewer_is_not_linked(bench: Any, other: Any) -> None:
    with pytest.raises(QuestionError, match="linked to another viewer of images"):
        view(bench, "thick").link(other)
    with pytest.raises(QuestionError, match="view takes a series or an array of it, not int"):
        bench.view(3)


def test_three_viewers_in_a_row_follow_each_other(bench: Any) -> None:
    thick, thin, prior = (view(bench, each) for each in ("thick", "thin", "prior"))
    thick.link(thin)
    thin.link(prior)
    before = height(prior) - height(thin)
    thick.position = {"z": 2}
    assert abs(height(thin) - height(thick)) <= 1.5 / 2
    assert abs(height(prior) - height(thin) - before) <= 5 / 2


def test_two_series_are_compared_in_one_cell(bench: Any) -> None:
    found = {each.series_description: each for each in bench.series()}
    pair = bench.compare(found["thick"], found["thin"])
    assert pair.link.by == "frame of reference"
    assert "beside" in repr(pair)
    bundle = pair._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(bundle)


def frame(bench: Any, description: str) -> str:
    return str(view(bench, description).scene.frame_of_reference_uid)


def test_a_prior_of_another_frame_of_reference_lies_where_the_newest_registration_says(
    bench: Any, tmp_path: Path
) -> None:
    archive, frames = tmp_path / "registrations", (frame(bench, "thick"), frame(bench, "prior"))
    for days, height_mm in ((1, -50.0), (9, -90.0), (2, -70.0)):
        matrix = np.eye(4)
        matrix[2, 3] = height_mm  # from the prior's mm to those of the other
        phantoms.write_registration(
            archive / f"{days}.dcm", frames[0], {frames[1]: [matrix]},
            label=f"DAY {days}", created=f"2026030{days}120000",
        )  # fmt: skip
    phantoms.write_registration(archive / "other.dcm", "1.2.3", {"1.2.4": [matrix]}, created="20270101")
    bench.index(archive, quiet=True)
    found = {each.series_description: each for each in bench.series() if each.modality == "CT"}
    pair = bench.compare(found["thick"], found["prior"])
    assert pair.link.by == "registration DAY 9"
    pair.left.position = {"z": 4}
    assert height(pair.right) - 90 == height(pair.left)
    pair = bench.compare(found["prior"], found["thick"])  # the other way round
    pair.right.position = {"z": 4}
    assert height(pair.left) - 90 == height(pair.right)
    assert bench.compare(found["thick"], found["thin"]).link.by == "frame of reference"
    assert bench.compare(found["thick"], found["prior"], transform=np.eye(4)).link.by == "transform"


def test_a_registration_is_a_transform_of_links_and_overlays(bench: Any, tmp_path: Path) -> None:
    frames = frame(bench, "thick"), frame(bench, "prior")
    matrix = np.eye(4)
    matrix[2, 3] = -90
    phantoms.write_registration(tmp_path / "r" / "one.dcm", frames[0], {frames[1]: [matrix]})
    phantoms.write_registration(tmp_path / "r" / "two.dcm", "1.2.3", {"1.2.4": [matrix]})
    bench.index(tmp_path / "r", quiet=True)
    found = [bench.registration(each) for each in bench.series(modality="REG")]
    known, other = sorted(found, key=lambda each: each.frame_of_reference_uid == "1.2.3")
    thick, prior = view(bench, "thick"), view(bench, "prior")
    assert thick.link(prior, transform=known).by == "registration KNOWN"
    thick.position = {"z": 4}
    assert height(prior) - 90 == height(thick)
    with pytest.raises(QuestionError, match="registration"):
        thick.overlay(prior.array)
    laid = thick.overlay(prior.array, transform=known)
    assert np.array(laid.transform)[2, 3] == -90
    assert prior.overlay(thick.array, transform=known).transform[2][3] == 90
    for refused in (
        lambda: thick.link(prior, transform=other),
        lambda: thick.overlay(prior.array, transform=other),
    ):
        with pytest.raises(NotFoundError, match="not those of both arrays"):
            refused()
    with pytest.raises(
        NotFoundError, match="has no registration; `workbench series Modality=REG` lists them"
    ):
        bench.registration(thick.scene.series_instance_uid)


def test_a_registration_that_cannot_be_read_is_said_and_passed_over(bench: Any, tmp_path: Path) -> None:
    frames = frame(bench, "thick"), frame(bench, "prior")
    phantoms.write_registration(tmp_path / "r" / "one.dcm", frames[0], {frames[1]: [np.zeros((4, 4))]})
    bench.index(tmp_path / "r", quiet=True)
    found = {each.series_description: each for each in bench.series() if each.modality == "CT"}
    with pytest.warns(UserWarning, match="passed over: .*one.dcm"):
        pair = bench.compare(found["thick"], found["prior"])
    assert pair.link.by == "offset"


def test_the_banner_says_who_it_is_and_hidden_it_is_nowhere(bench: Any) -> None:
    viewer = view(bench, "thick")
    assert viewer.banner
    said = viewer.widget.banner
    assert said["name"] == "Müller, Änne Maria"
    assert said["study date"] == "2026-01-05"
    assert said["series"] == "thick"
    assert "Müller" not in repr(viewer)
    viewer.banner = False
    assert not viewer.banner
    assert "Müller" not in str(
        {name: value for name, value in viewer.widget.get_state().items() if name != "still"}
    )
    viewer.banner = True
    assert viewer.widget.banner == said
    assert not bench.view(viewer.array).banner  # of an array nothing is known


def test_a_banner_takes_names_and_dates_as_they_come() -> None:
    record = SeriesRecord("1.2", "1.3", "7", patient_name="Yamada^Tarou=山田^太郎", patient_birth_date="1950")
    assert banner_of(record) == {
        "name": "Yamada, Tarou / 山田, 太郎",
        "birth date": "1950",
        "patient ID": "7",
    }
    assert banner_of(SeriesRecord("1.2", "1.3", ""))["name"] == "no name"
