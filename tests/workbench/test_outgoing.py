"""What is drawn goes out of a viewer: as a file, to a node with a receipt, and by the page's button."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import xarray as xr

import workbench
from catalog.errors import EncodeError, ExportError, HeaderError, NotFoundError, QuestionError
from pipelines import phantoms
from pipelines.marks import Mark
from workbench.pacs.embedded import start

pytest.importorskip("anywidget", reason="pip install 'imaging-workbench[lab]'")

FORMS = {"sr": "88.34", "gsps": "11.1", "rtstruct": "481.3", "seg": "66.4"}


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


@pytest.fixture
def bench(tmp_path: Path, ct: phantoms.Phantom) -> Any:
    with (
        start(tmp_path / "pacs", ae_title="ARCHIVE") as pacs,
        workbench.open(tmp_path / "bench", nodes={"PACS": pacs.node}) as opened,
    ):
        opened.index(ct.paths[0].parent, quiet=True)
        yield opened


@pytest.fixture
def viewer(bench: Any) -> Any:
    """A line, an ellipse and a mask."""
    viewer = drawn_by(bench, "Rot^Anna")
    values = np.zeros(viewer.array.shape, np.uint8)
    values[3, 4:9, 4:9] = 2
    viewer.mask = viewer.mask.copy(data=values).assign_attrs(labels={2: "lesion"})
    return viewer


def drawn_by(bench: Any, author: str) -> Any:
    viewer = bench.view(bench.series()[0], author=author)
    line, ellipse = (
        tuple(map(tuple, viewer.array.dicom.to_lps(pixels).tolist()))
        for pixels in ([(1, 1, 3), (9, 7, 3)], [(12, 22, 3), (12, 10, 3), (5, 16, 3), (19, 16, 3)])
    )
    viewer.annotations = [
        *viewer.annotations,
        Mark("length", line, index=(3,), text=f"by {author}"),
        Mark("ellipse", ellipse, index=(3,)),
    ]
    return viewer


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_sent_with_a_receipt_and_twice_is_once(bench: Any, viewer: Any, form: str) -> None:
    (receipt,) = viewer.send("PACS", form)
    assert receipt.state == "confirmed", str(receipt)
    assert "dciodvfy" in next(each.text for each in receipt.stages if each.name == "validated")
    ds = pydicom.dcmread(viewer.export(form))
    assert ds.SOPClassUID == f"1.2.840.10008.5.1.4.1.1.{FORMS[form]}"
    assert ds.SOPInstanceUID == receipt.sop_instance_uid
    (again,) = viewer.send("PACS", form)
    assert again.sop_instance_uid == receipt.sop_instance_uid
    assert len(bench.outbox()) == 1


def test_what_is_drawn_anew_is_another_object(viewer: Any) -> None:
    before = viewer.export("sr")
    viewer.annotations = list(viewer.annotations)[:1]
    assert viewer.export("sr") != before


@pytest.mark.parametrize("form", ["sr", "gsps", "rtstruct"])
def test_another_bench_takes_in_what_was_sent_as_it_was_drawn(
    viewer: Any, form: str, tmp_path: Path, ct: phantoms.Phantom
) -> None:
    viewer.window = (51, 333)
    path = viewer.export(form, tmp_path / "object.dcm")
    with workbench.open(tmp_path / "other") as other:
        other.index(ct.paths[0].parent, quiet=True)
        there = other.view(other.series()[0], author="Dr. Blau")
        assert there.window != (51, 333)
        there.load(path)
        there.load(path)
        assert (there.window == (51, 333)) == (form == "gsps")
        for mine, theirs in zip(viewer.annotations, there.annotations, strict=True):
            assert theirs.kind == mine.kind
            assert theirs.index == mine.index
            assert np.abs(np.subtract(theirs.points, mine.points)).max() <= 0.1
            assert theirs.mean == pytest.approx(mine.mean)
        assert there.annotations[0].text == "by Rot^Anna"
        assert other.annotations().author.tolist() == ["Dr. Blau"] * 2


def test_marks_of_others_stay_out_of_what_one_sends(bench: Any, viewer: Any) -> None:
    other = drawn_by(bench, "Dr. Blau")
    assert len(other.annotations) == 4
    ds = pydicom.dcmread(other.export("sr"))
    assert len(texts(ds)) == 1
    assert texts(ds)[0] == "by Dr. Blau"


def texts(ds: pydicom.Dataset) -> list[str]:
    found = [str(ds.TextValue)] if ds.get("ValueType") == "TEXT" and comment(ds) else []
    return found + [text for item in ds.get("ContentSequence") or () for text in texts(item)]


def comment(ds: pydicom.Dataset) -> bool:
    return bool(ds.ConceptNameCodeSequence[0].CodeValue == "121106")


def heard_by(viewer: Any) -> list[Any]:
    heard: list[Any] = []
    viewer.widget.send = lambda content, _buffers=(): heard.append(content)
    return heard


def presses_send(viewer: Any, **content: Any) -> None:
    data = {"method": "custom", "content": {"kind": "send", **content}}
    viewer.widget._handle_msg({"content": {"data": data}, "buffers": []})


def test_the_page_may_send_to_the_nodes_it_is_told_of_and_shows_the_receipt(viewer: Any) -> None:
    assert viewer.widget.nodes == ["PACS"]
    heard = heard_by(viewer)
    presses_send(viewer, node="PACS", form="seg", run="7")
    presses_send(viewer, node="PACS", form="sr", run="8")
    viewer._post.wait()
    by_run = {each["run"]: each for each in heard}
    assert {name: by_run["7"][name] for name in ("kind", "node", "form")} == {
        "kind": "receipt", "node": "PACS", "form": "seg",
    }  # fmt: skip
    assert "confirmed" in by_run["7"]["text"]
    assert "<table>" in by_run["7"]["html"]
    assert "on its way" in by_run["8"]["error"]


@pytest.mark.parametrize(
    ("node", "form", "words"),
    [("NOWHERE", "sr", "no node 'NOWHERE'"), ("PACS", "pdf", "no form 'pdf'"), (None, "sr", "no node ''")],
)
def test_what_the_page_cannot_send_says_why(viewer: Any, node: Any, form: str, words: str) -> None:
    heard = heard_by(viewer)
    presses_send(viewer, node=node, form=form)
    viewer._post.wait()
    assert words in heard[0]["error"]


def test_where_nothing_is_drawn_nothing_is_sent(bench: Any) -> None:
    viewer = bench.view(bench.series()[0])
    for form in ("sr", "gsps", "rtstruct"):
        with pytest.raises(EncodeError, match="draw one first"):
            viewer.send("PACS", form)
    with pytest.raises(EncodeError, match="mask is empty"):
        viewer.send("PACS", "seg")
    assert len(bench.outbox()) == 0


def test_files_are_not_overwritten_unasked_and_forms_need_what_they_need(
    bench: Any, viewer: Any, tmp_path: Path
) -> None:
    path = viewer.export("sr", tmp_path / "sr.dcm")
    with pytest.raises(ExportError, match="there already"):
        viewer.export("sr", path)
    assert viewer.export("sr", path, overwrite=True) == path
    with pytest.raises(QuestionError, match="path of its file"):
        viewer.export("nifti")
    with pytest.raises(NotFoundError, match="no node"):
        viewer.send("NOWHERE")
    with pytest.raises(HeaderError, match="not a report"):
        viewer.load(bench.settings.home.parent / "archive" / "ct" / "0000.dcm")
    alone = bench.view(xr.DataArray(np.zeros((4, 5)), dims=("y", "x"), name="map"))
    with pytest.raises(QuestionError, match="show a series"):
        alone.export("sr")
    assert alone.widget.nodes == []
