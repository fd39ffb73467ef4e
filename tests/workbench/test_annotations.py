"""What is drawn in a viewer is saved as it is drawn, and there again; driven by the messages of a browser."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import workbench
from catalog.errors import CatalogError, QuestionError
from catalog.strokes import STROKE
from pipelines import phantoms
from pipelines.marks import Mark
from workbench.bench import viewing

pytest.importorskip("anywidget", reason="pip install 'imaging-workbench[lab]'")

LINE = {
    "uid": "8b8f2c1e-0a52-4f6e-9b57-1a9f6d9f0d11", "kind": "length", "outline": [], "is_closed": False,
    "points": [[-10.0, -20.0, 35.0], [-3.0, -20.0, 35.0]], "index": [2], "normal": [0, 0, 1], "text": "",
}  # fmt: skip


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


@pytest.fixture
def bench(tmp_path: Path, ct: phantoms.Phantom) -> Any:
    with workbench.open(tmp_path / "bench") as opened:
        opened.index(ct.paths[0].parent, quiet=True)
        yield opened


def shown_to(bench: Any, author: str | None = None) -> Any:
    return bench.view(bench.series()[0], author=author)


def says(viewer: Any, *marks: dict[str, Any]) -> None:
    """What the browser sends when something was drawn there."""
    data = {"method": "update", "state": {"marks": list(marks)}, "buffer_paths": []}
    viewer.widget._handle_msg({"content": {"data": data}, "buffers": []})


def moved(mm: float, mark: dict[str, Any] = LINE) -> dict[str, Any]:
    return mark | {"points": [[x + mm, y, z] for x, y, z in mark["points"]]}


def named(mark: dict[str, Any], uid: str) -> dict[str, Any]:
    return mark | {"uid": uid}


def test_what_is_drawn_is_there_again_when_the_series_is_opened_again(bench: Any) -> None:
    first = shown_to(bench, "Dr. Rot")
    says(first, LINE)
    again = shown_to(bench, "Dr. Rot")
    assert again.widget.marks == [LINE]
    (mark,) = again.annotations
    assert (mark.author, mark.length_mm, mark.sop_instance_uid) == (
        "Dr. Rot", pytest.approx(7.0), again.array.dicom.sources[2],
    )  # fmt: skip
    assert mark.created == mark.changed
    says(again)
    assert len(shown_to(bench, "Dr. Rot").annotations) == 0


DRAWS = """
import os, sys, workbench
bench = workbench.open(sys.argv[1])
viewer = bench.view(bench.series()[0])
state = {"marks": [{**eval(sys.argv[2])}]}
viewer.widget._handle_msg({"content": {"data": {"method": "update", "state": state}}, "buffers": []})
os.kill(os.getpid(), 9)
"""


def test_a_kernel_that_is_killed_after_a_stroke_has_lost_nothing(bench: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRAWS, bench.settings.home, repr(LINE)], env=os.environ, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert shown_to(bench).widget.marks == [LINE]


def test_strokes_that_two_threads_tell_of_are_saved_in_the_order_in_which_they_are_shown(bench: Any) -> None:
    viewer = shown_to(bench)
    second = named(LINE, "0a6d6a52-5f0e-4a27-8a8f-0c53f6a1a0c2")
    with ThreadPoolExecutor(2) as hands:  # a cell that draws, and messages of the browser
        for told in [
            hands.submit(says, viewer, moved(mm, mark)) for mm in range(40) for mark in (LINE, second)
        ]:
            told.result()
    assert len(viewer.widget.marks) == 1
    assert shown_to(bench).widget.marks == viewer.widget.marks


def test_marks_of_others_are_shown_with_whose_they_are_and_stay_as_they_are(bench: Any) -> None:
    says(shown_to(bench, "Dr. Rot"), LINE)
    viewer = shown_to(bench, "Dr. Blau")
    assert viewer.widget.author == "Dr. Blau"
    assert viewer.widget.whose == {LINE["uid"]: "Dr. Rot"}
    says(viewer, moved(9))
    assert viewer.widget.marks == [LINE]
    says(viewer)
    assert viewer.widget.marks == [LINE]
    viewer.annotations = [Mark("probe", ((-9.0, -19.0, 35.0),), index=(2,))]
    assert [each.author for each in viewer.annotations] == ["Dr. Blau", "Dr. Rot"]
    assert shown_to(bench, "Dr. Rot").annotations.to_pandas().author.tolist() == ["Dr. Rot", "Dr. Blau"]


def test_a_front_end_that_alters_what_it_draws_is_not_answered_for_ever(bench: Any) -> None:
    says(shown_to(bench, "Dr. Rot"), LINE)
    viewer = shown_to(bench, "Dr. Blau")
    for _ in range(3):
        says(viewer, moved(9))
    assert viewer.widget.marks == [moved(9)]
    assert bench.annotations()["points"][0] == LINE["points"]


def test_a_copy_of_somebody_elses_mark_is_ones_own(bench: Any) -> None:
    says(shown_to(bench, "Dr. Rot"), LINE)
    viewer = shown_to(bench, "Dr. Blau")
    says(viewer, LINE, named(moved(1), "copy"))
    assert [(each.uid, each.author) for each in viewer.annotations] == [
        (LINE["uid"], "Dr. Rot"), ("copy", "Dr. Blau"),
    ]  # fmt: skip


def test_two_kernels_of_one_person_that_changed_one_mark_are_both_shown(bench: Any) -> None:
    says(shown_to(bench), LINE)
    one, other = shown_to(bench), shown_to(bench)
    says(one, moved(1))
    says(other, moved(2))
    assert len(other.widget.marks) == 2
    one.refresh()
    for viewer in (one, other):
        assert sorted(each["points"][0][0] for each in viewer.widget.marks) == [-9.0, -8.0]


def test_a_removal_is_kept_with_what_was_removed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, clock = shown_to(bench, "Dr. Rot"), viewing.now
    says(viewer, LINE)
    monkeypatch.setattr(viewer._drawings, "_now", lambda: clock() + STROKE)
    says(viewer, moved(1))
    says(viewer)
    states = bench.annotations(revisions=True)
    assert states.kind.tolist()[:2] == ["length", "length"]
    assert states.points.tolist()[2] is None
    assert states.author.unique().tolist() == ["Dr. Rot"]
    assert len(bench.annotations()) == 0


def test_a_bench_lists_the_marks_of_all_series_or_of_some(bench: Any) -> None:
    says(shown_to(bench, "Dr. Rot"), LINE, named(LINE, "2"))
    says(shown_to(bench, "Dr. Blau"), named(LINE, "3"))
    found = bench.annotations(bench.series()[0], author="Dr. Rot")
    assert found.uid.tolist() == [LINE["uid"], "2"]
    assert found.points[0] == LINE["points"]
    assert found.series_instance_uid.unique().tolist() == [bench.series()[0].series_instance_uid]
    assert len(bench.annotations()) == 3
    bench.delete(bench.series()[0], why="test")
    assert len(bench.annotations()) == 0


def test_a_mark_that_cannot_be_saved_says_why_and_the_others_are(bench: Any) -> None:
    viewer = shown_to(bench)
    says(viewer, LINE, named(moved(float("nan")), "2"))
    assert "no number" in viewer.widget.unsaved
    assert bench.annotations().uid.tolist() == [LINE["uid"]]
    with pytest.raises(QuestionError, match="no number"):
        viewer.annotations = [Mark("probe", ((float("nan"), 0.0, 0.0),), index=(2,))]
    says(viewer, LINE)
    assert viewer.widget.unsaved == ""


def test_what_could_not_be_saved_is_saved_with_the_next_stroke(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = shown_to(bench)
    with monkeypatch.context() as broken:
        broken.setattr(viewer._drawings, "_catalog", Unwritable())
        says(viewer, LINE)
        assert viewer.widget.unsaved == "not saved: the disk is full"
        assert viewer.widget.marks == [LINE]
    says(viewer, LINE, named(LINE, "2"))
    assert viewer.widget.unsaved == ""
    assert bench.annotations().uid.tolist() == [LINE["uid"], "2"]


class Unwritable:
    def transaction(self) -> Any:
        raise CatalogError("the disk is full")


def test_marks_on_an_array_that_is_in_no_catalog_stay_in_the_viewer(bench: Any) -> None:
    viewer = bench.view(xr.DataArray(np.zeros((4, 5)), dims=("y", "x"), name="map"))
    viewer.annotations = [Mark("probe", ((1.0, 2.0, 0.0),), index=(0,))]
    assert viewer.annotations[0].author == ""
    assert len(bench.annotations()) == 0


def test_the_author_is_the_user_of_jupyterhub_unless_settings_or_the_person_say_otherwise(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "hub-user")
    assert shown_to(bench).widget.author == "hub-user"
    with workbench.open(bench.settings.home, author="Dr. Gelb") as other:
        assert shown_to(other).widget.author == "Dr. Gelb"
    assert shown_to(bench, "Dr. Rot").widget.author == "Dr. Rot"
    with pytest.raises(QuestionError, match="an author is a name"):
        shown_to(bench, " ")
