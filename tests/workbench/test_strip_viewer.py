"""Of strips what needs no browser: state, annotations, still picture, tiles from kernel and server."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import workbench
from catalog.errors import NotFoundError, QuestionError
from pipelines.presentation.strips import tile_of
from workbench.server import shelf
from workbench.server.traces import Traces

pytest.importorskip("anywidget", reason="pip install 'imaging-workbench[lab]'")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


@pytest.fixture
def bench(tmp_path: Path, shared_data: Path) -> Any:
    with workbench.open(tmp_path / "bench") as opened:
        opened.index(shared_data / "objects" / "waveform", quiet=True)
        yield opened


def test_an_ecg_is_shown_as_strips_with_what_its_object_says(bench: Any) -> None:
    series = bench.series()[0]
    viewer = bench.view(series, 0)
    assert (viewer.position, viewer.speed, viewer.gain) == (0, 25, 10)
    assert [each.name for each in viewer.strips.channels[:2]] == ["Lead I (Einthoven)", "Lead II"]
    said = viewer.annotations
    assert len(said) == 77
    assert [said[2].text, said[2].start_s, said[2].channels] == ["RR Interval 982 ms", None, "all"]
    assert viewer.annotations.to_pandas().start_s.max() < 10
    assert len(bench.view(series, 1).annotations) == 0
    with pytest.raises(NotFoundError, match="choose one of"):
        bench.view(series)


def test_an_array_ingested_before_annotations_were_read_says_what_to_do(bench: Any) -> None:
    from workbench.bench.viewing import _said_of

    array = bench.volume(bench.series()[0], 0)
    assert _said_of(array.drop_attrs()) == (
        [],
        "ingested before annotations were read; bench.ingest(series, anew=True) reads them",
    )


def test_whatever_cannot_show_strips_has_a_drawing_and_words(bench: Any) -> None:
    viewer = bench.view(bench.series()[0], 0)
    bundle = viewer._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    assert bundle["image/svg+xml"].startswith("<svg")
    assert "12 strips, 25 mm/s, 10 mm/mV: 10 s" in bundle["text/plain"]
    assert "SINUSALE" not in bundle["image/svg+xml"]  # free text stays in the notebook that is open
    assert bytes(viewer.widget.still).decode() == bundle["image/svg+xml"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("position", 10, r"from 0 to 10 s; 10 is not in it"),
        ("position", -1, "not in it"),
        ("speed", 0, r"from 0.001 to 400 mm/s, not 0"),
        ("gain", float("nan"), "mm/mV, not nan"),
    ],
)
def test_a_state_that_cannot_be_says_what_can(bench: Any, name: str, value: float, words: str) -> None:
    viewer = bench.view(bench.series()[0], 0)
    with pytest.raises(QuestionError, match=words):
        setattr(viewer, name, value)


def test_what_is_set_is_told_to_who_listens(bench: Any) -> None:
    viewer = bench.view(bench.series()[0], 0)
    heard: list[float] = []
    viewer.on_change("position", lambda each: heard.append(each.position))
    viewer.position = 2.5
    assert heard == [2.5]
    with pytest.raises(QuestionError, match="there are position, speed, gain"):
        viewer.on_change("window", print)


def test_the_server_gives_the_same_tiles_as_the_kernel_and_of_waveforms_alone(
    bench: Any, shared_data: Path
) -> None:
    viewer = bench.view(bench.series()[0], 0)
    traces = Traces(shelf.take)
    for level, tile in ((0, 0), (0, 9), (3, 1), (10, 0)):
        expected = tile_of(viewer.array, level, tile)
        given = np.frombuffer(traces.tile(viewer.widget.key, level, tile), "<f4").reshape(expected.shape)
        assert np.array_equal(given, expected)
    with pytest.raises(QuestionError, match="there is no tile 10 at level 0: it has 10"):
        traces.tile(viewer.widget.key, 0, 10)
    bench.index(shared_data / "volumes" / "mr_t1_sag_siemens_jpegll_96", quiet=True)
    image = bench.view(next(each for each in bench.series() if each.modality == "MR"))
    with pytest.raises(QuestionError, match="strips are of waveforms"):
        traces.tile(image.widget.key, 0, 0)


def test_what_lies_in_the_kernel_alone_goes_to_the_page_by_messages_and_errors_in_words(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = bench.view(bench.volume(bench.series()[0], 0) * 2)
    assert viewer.widget.key == ""
    sent: list[Any] = []
    monkeypatch.setattr(viewer.widget, "send", lambda *given: sent.append(given))
    viewer.widget._came(None, {"kind": "tile", "id": 1, "level": 2, "tile": 0}, [])
    viewer.widget._came(None, {"kind": "tile", "id": 2, "level": 2, "tile": 99}, [])
    viewer.widget._came(None, {"kind": "tile", "id": 3}, [])
    viewer.widget._came(None, {"kind": "something"}, [])
    (answer, buffers), (wrong,), (bare,) = sent
    assert answer == {"kind": "tile", "id": 1}
    assert np.array_equal(np.frombuffer(buffers[0], "<f4"), tile_of(viewer.array, 2, 0).ravel())
    assert wrong == {"kind": "tile", "id": 2, "error": "there is no tile 99 at level 2: it has 3"}
    assert bare == {"kind": "tile", "id": 3, "error": "KeyError"}


def test_a_mean_over_time_is_no_waveform_and_no_image(bench: Any) -> None:
    with pytest.raises(QuestionError):
        bench.view(bench.volume(bench.series()[0], 0).mean("time"))
    with pytest.raises(QuestionError, match="strips are drawn of"):
        bench.view(xr.DataArray(np.zeros((2, 0)), dims=("channel", "time")))
