"""A contact sheet shows what was found; its pictures are made once and kept."""

import io
import json
import re
import shutil
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from typer.testing import CliRunner

from catalog.errors import ApprovalError, QuestionError
from pipelines import phantoms
from workbench.cli import app
from workbench.contact_sheet import PAGE, FoundSeries
from workbench.doctor import examine
from workbench.session import Bench
from workbench.thumbnails import read_kept

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def files(bench: Bench) -> dict[str, int]:
    """Name and time of each thumbnail that is kept."""
    found = bench.settings.thumbnails_folder.glob("*.png")
    return {each.name: each.stat().st_mtime_ns for each in found}


def pixels(png: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB"))


class Elements(HTMLParser):
    """Names of all elements, and the attributes of images."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))


@pytest.fixture
def bench(any_bench: Bench) -> Bench:
    return any_bench


def test_pictures_are_made_once_even_when_the_archive_is_gone(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    first = bench.series().contact_sheet(quiet=True)
    assert (len(first), first.reasons) == (3, {})
    kept = files(bench)
    assert len(kept) == 3
    shutil.rmtree(archive)  # the catalog does not know yet: what were decoded again would have a reason
    again = bench.series().contact_sheet(quiet=True)
    assert again._repr_png_() == first._repr_png_()
    assert files(bench) == kept


def test_a_series_that_changed_gets_a_new_picture_and_the_old_one_is_a_leftover(
    bench: Bench, tmp_path: Path
) -> None:
    phantoms.write_series(tmp_path / "one", planes=3)
    bench.index(tmp_path, quiet=True)
    bench.series().contact_sheet(quiet=True)
    (old,) = files(bench)
    next(each for each in (tmp_path / "one").rglob("*") if each.is_file()).unlink()
    bench.index(tmp_path / "one", quiet=True)
    bench.series().contact_sheet(quiet=True)
    assert len(files(bench)) == 2
    home = bench.settings.home
    (half := home / "thumbnails" / f"{old}.0a1b2c3d.partial").write_bytes(b"half")
    found = examine(home, now=NOW)
    assert "2 that no row names" in next(each.said for each in found if each.subject == "leftovers")
    examine(home, now=NOW, repair=True)
    assert old not in files(bench)
    assert len(files(bench)) == 1
    assert not half.exists()


def test_a_broken_series_keeps_its_reason_and_is_not_decoded_again(bench: Bench, tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "broken", planes=1)
    (path,) = (each for each in (tmp_path / "broken").rglob("*") if each.is_file())
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    bench.index(path, quiet=True)
    (series,) = bench.series()
    reasons = bench.series().contact_sheet(quiet=True).reasons
    assert reasons[series.series_instance_uid].startswith("pixel data are cut")
    kept = files(bench)
    path.unlink()
    sheet = bench.series().contact_sheet(quiet=True)
    assert (sheet.reasons, files(bench)) == (reasons, kept)
    assert "1 without a picture" in str(sheet)
    assert "no picture: pixel data are cut" in sheet._repr_html_()
    path.write_bytes(whole)
    bench.index(path, quiet=True)
    assert bench.series().contact_sheet(quiet=True).reasons == {}


def test_a_file_out_of_reach_has_a_card_that_is_not_kept(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    archive.rename(archive.with_name("elsewhere"))
    assert len(bench.series().contact_sheet(quiet=True).reasons) == 3
    assert files(bench) == {}
    archive.with_name("elsewhere").rename(archive)
    assert bench.series().contact_sheet(quiet=True).reasons == {}


def test_a_damaged_thumbnail_is_made_again(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    before = bench.series().contact_sheet(quiet=True)._repr_png_()
    for name in files(bench):
        path = bench.settings.thumbnails_folder / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        assert read_kept(path) is None
        path.write_bytes(content[:60])
        assert read_kept(path) is None
    assert bench.series().contact_sheet(quiet=True)._repr_png_() == before
    assert all(read_kept(bench.settings.thumbnails_folder / name) for name in files(bench))


def test_markup_in_a_description_is_text_and_there_is_no_script_and_no_link(
    bench: Bench, archive: Path
) -> None:
    phantoms.write_series(
        archive / "d", description='"><script>alert(1)</script>', series_number=4, seed=9, study="fourth"
    )
    bench.index(archive, quiet=True)
    sheet = bench.series().contact_sheet(quiet=True)
    html = sheet._repr_html_()
    elements = Elements(html)
    assert elements.names == {"div", "figure", "img", "figcaption", "br"}
    alts = {each["alt"] for each in elements.images}
    assert "CT, sphere <b>one</b>, 8 images" in alts
    assert 'CT, "><script>alert(1)</script>, 8 images' in alts
    assert all((each["src"] or "").startswith("data:image/png;base64,") for each in elements.images)
    assert "Müller" not in html
    assert "sphere <b>one</b>" in str(sheet)


def test_a_sheet_is_a_picture_with_as_many_columns_as_wanted(
    bench: Bench, archive: Path, tmp_path: Path
) -> None:
    bench.index(archive, quiet=True)
    sheet = bench.series().contact_sheet(columns=2, size=64, quiet=True)
    picture = pixels(sheet._repr_png_())
    assert picture.shape[1] == 2 * (64 + 8) + 8
    kept = pixels(next(bench.settings.thumbnails_folder.glob("*.png")).read_bytes())
    assert kept.shape == (256, 256, 3)
    assert sheet.save(tmp_path / "sheet.png").read_bytes() == sheet._repr_png_()
    html = sheet.save(tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert sheet._repr_html_() in html
    with pytest.raises(QuestionError, match=r"as \.png or \.html, not \.gif"):
        sheet.save(tmp_path / "sheet.gif")


def test_a_page_is_bounded(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    found = bench.series()
    many = FoundSeries(
        list(found.records) * 100, found.columns, catalog=bench.catalog, settings=bench.settings
    )
    first, second = (many.contact_sheet(page=page, size=32, quiet=True) for page in (1, 2))
    assert (len(first), len(second)) == (PAGE, 300 - PAGE)
    assert first.line() == "200 series · page 1 of 2, 300 series in all"
    for wrong in ({"page": 3}, {"page": 0}, {"size": 5000}, {"columns": 0}, {"size": "large"}):
        with pytest.raises(QuestionError, match="is a whole number from"):
            many.contact_sheet(**wrong)  # type: ignore[arg-type]  # on purpose


def test_nothing_found_is_a_sheet_too(bench: Bench) -> None:
    sheet = bench.series().contact_sheet(quiet=True)
    assert str(sheet) == "0 series"
    assert pixels(sheet._repr_png_()).size
    assert Elements(sheet._repr_html_()).images == []
    assert not bench.settings.thumbnails_folder.exists()


def test_a_part_of_what_was_found_can_be_looked_at(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    assert len(bench.series()[:2].contact_sheet(quiet=True)) == 2


def test_a_cohort_and_an_experiment_can_be_looked_at(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    cohort = bench.freeze("ct", bench.series(modality="CT"), quiet=True)
    sheet = cohort.contact_sheet(columns=1, quiet=True)
    assert (len(sheet), sheet.columns, sheet.reasons) == (2, 1, {})
    experiment = bench.experiment("one", pd.DataFrame({"patient_id": ["M1"]}))
    assert [each.modality for each in experiment.contact_sheet(quiet=True).series] == ["CT"]
    with pytest.raises(QuestionError, match="page is a whole number"):
        experiment.contact_sheet(page=2)
    ended = bench.freeze("ended", approval="1", expires=datetime.now(UTC).date(), quiet=True)
    object.__setattr__(ended.record, "expires", NOW.date().replace(year=2020))
    with pytest.raises(ApprovalError, match="ended"):
        ended.contact_sheet(quiet=True)


def test_the_command_line_writes_a_sheet(bench: Bench, archive: Path, tmp_path: Path) -> None:
    bench.index(archive, quiet=True)
    target = tmp_path / "sheet.png"
    words = ["series", "Modality=CT", "--home", str(bench.settings.home), "--contact-sheet", str(target)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert re.search(r"2 series\n\n wrote .*sheet.png", result.output)
    assert pixels(target.read_bytes()).shape[1] == 2 * (128 + 8) + 8
    result = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(result.stdout)["contact_sheet"] == str(target)
    result = CliRunner().invoke(app, [*words, "--page", "2"])
    assert result.exit_code == 1
    assert "page is a whole number from 1 to 1, not 2" in result.stderr
