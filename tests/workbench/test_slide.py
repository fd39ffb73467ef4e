"""A whole slide on a bench: it is left in the archive, and opened from there."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from catalog.errors import NotFoundError
from pipelines.samples import SAMPLES
from pipelines.slides.levels import open_slide
from workbench.cli import app
from workbench.session import Bench

SENTENCE = (
    "a whole slide is no array; its tiles are chunks already and stay in the archive: "
    "bench.slide(series) opens its levels"
)


@pytest.fixture
def slide(bench: Bench, tmp_path: Path) -> str:
    """Series of a slide of three levels that was indexed."""
    folder = tmp_path / "slide"
    folder.mkdir()
    next(each for each in SAMPLES if each.name == "slide").write(folder)
    bench.index(folder, quiet=True)
    (found,) = bench.series(modality="SM")
    return found.series_instance_uid


def test_a_slide_opens_from_the_bench_as_from_its_files(bench: Bench, slide: str, tmp_path: Path) -> None:
    opened, of_files = bench.slide(slide), open_slide((tmp_path / "slide").iterdir())
    assert list(opened["level"].children) == ["0", "1", "2"]
    for level in "012":
        np.testing.assert_array_equal(opened[f"level/{level}/image"], of_files[f"level/{level}/image"])
    assert opened["level/0/image"].shape == (512, 512, 3)


def test_ingest_leaves_a_slide_where_it_is_and_says_so_in_one_sentence(bench: Bench, slide: str) -> None:
    report = bench.ingest(slide, quiet=True)
    assert (len(report), report.rejected, report.without) == (0, (), {})
    assert report.left == {slide: SENTENCE}
    assert "1 left in the archive" in report.line()
    assert report.reasons() == f"\n   {slide}: {SENTENCE}"
    assert report.as_json()["left"] == [{"series_instance_uid": slide, "reason": SENTENCE}]
    assert list(bench.settings.arrays_folder.rglob("zarr.json")) == []
    assert len(bench.verify(slide, quiet=True)) == 0


def test_the_command_succeeds_on_a_slide(bench: Bench, slide: str) -> None:
    done = CliRunner().invoke(app, ["ingest", slide, "--home", str(bench.settings.home)])
    assert (done.exit_code, SENTENCE in done.output) == (0, True)


def test_a_volume_of_a_slide_is_one_sentence_that_says_what_to_call(bench: Bench, slide: str) -> None:
    with pytest.raises(NotFoundError) as refused:
        bench.volume(slide)
    assert str(refused.value) == f"series {slide} has no array: {SENTENCE}"


def test_a_slide_of_what_is_none_says_what_to_call(bench: Bench, archive: Path) -> None:
    bench.index(archive / "a", quiet=True)
    (found,) = bench.series()
    with pytest.raises(NotFoundError, match=r"is no whole slide; bench\.volume\(series\) opens it"):
        bench.slide(found)
