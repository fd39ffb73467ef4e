"""Every kind of series has a small picture, from one frame of its files or one plane of its array."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import workbench
from catalog.arrays import arrays_of
from catalog.query import instances_of
from catalog.records import SeriesRecord
from pipelines import phantoms
from pipelines.kinds import VIDEO
from pipelines.presentation.display import resized
from pipelines.presentation.lettering import ADVANCE, LINE, lettered, wrapped
from pipelines.presentation.thumbnail import PIXELS, Thumbnail, thumbnail
from pipelines.samples import SAMPLES, series_of, write_samples
from workbench.session import Bench


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples") / "archive")


@pytest.fixture(scope="module")
def bench(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with workbench.open(tmp_path_factory.mktemp("bench")) as opened:
        opened.index(samples, quiet=True)
        yield opened


def drawn(bench: Bench, series: SeriesRecord) -> Thumbnail:
    uid = series.series_instance_uid
    return thumbnail(instances_of(bench.catalog, uid), arrays_of(bench.catalog, uid), series.modality)


def shades(found: Thumbnail) -> int:
    """How many values differ from the corner's."""
    differs = found.picture != found.picture[0, 0]
    return int(np.count_nonzero(differs))


@pytest.mark.parametrize("name", [each.name for each in SAMPLES])
def test_every_kind_has_a_picture_from_its_files_and_from_its_arrays(
    bench: Bench, samples: Path, name: str
) -> None:
    uid = series_of(samples).get(name)
    if uid is None:
        pytest.skip("PyAV is not installed: pip install 'imaging-workbench[video]'")
    (series,) = bench.series(series_instance_uid=uid)
    from_file = drawn(bench, series)
    assert from_file.picture.shape[:2] == (PIXELS, PIXELS)
    assert (from_file.reason, from_file.is_lasting) == ("", True)
    assert shades(from_file) > 100
    arrays = [each for each in bench.ingest(series, quiet=True) if each.kind != VIDEO.name]
    if arrays:
        away = [replace(each, path=f"{each.path}-away") for each in instances_of(bench.catalog, uid)]
        from_array = thumbnail(away, arrays, series.modality)
        assert (from_array.reason, from_array.picture.shape) == ("", from_file.picture.shape)
        assert shades(from_array) > 100


def test_real_images_of_every_modality_have_a_picture(shared_data: Path, tmp_path: Path) -> None:
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(shared_data / "modalities", quiet=True)
        found = bench.series()
        assert len(found) == 11
        for series in found:
            picture = drawn(bench, series)
            assert picture.reason == ""
            gray = picture.picture if picture.picture.ndim == 2 else picture.picture.mean(axis=-1)
            assert gray.std() > 15, series.modality


def test_what_is_no_picture_is_drawn_or_has_a_card(shared_data: Path, tmp_path: Path) -> None:
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(shared_data / "objects", quiet=True)
        found = {series.modality: drawn(bench, series) for series in bench.series()}
    assert {"SR", "PR", "RTPLAN", "RTSTRUCT", "RWV", "SEG", "ECG"} <= found.keys()
    assert {each.reason for each in found.values()} == {""}
    assert min(map(shades, found.values())) > 100
    assert np.array_equal(found["SR"].picture[0, 0], found["PR"].picture[0, 0])  # a card's colour
    assert not np.array_equal(found["SR"].picture, found["PR"].picture)


def test_a_volume_shows_its_middle_plane_whichever_way_it_is_read(tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "archive", planes=9, rows=32, columns=32, spacing=(1.0, 1.0), noise=0.0)
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(tmp_path / "archive", quiet=True)
        (series,) = bench.series()
        from_file = drawn(bench, series).picture
        bench.ingest(quiet=True)
        assert np.array_equal(drawn(bench, series).picture, from_file)
    assert from_file[PIXELS // 2, PIXELS // 2] == 255  # the sphere is in the middle plane alone as large
    assert from_file[0, 0] == 0


def test_pixels_that_are_not_square_are_shown_in_true_proportion(tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "archive", rows=20, columns=20, spacing=(2.0, 1.0), radius_mm=4.0)
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(tmp_path / "archive", quiet=True)
        picture = drawn(bench, bench.series()[0]).picture
    black = np.flatnonzero(~picture.any(axis=0))
    assert len(black) >= PIXELS // 2  # twice as high as wide
    assert {0, PIXELS - 1} <= set(black.tolist())


def test_an_array_that_is_damaged_is_no_reason_to_have_no_picture(tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "archive")
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(tmp_path / "archive", quiet=True)
        (series,) = bench.series()
        (array,) = bench.ingest(quiet=True)
        shutil.rmtree(array.path)
        assert drawn(bench, series).reason == ""


def test_a_file_that_is_cut_has_a_reason_that_names_no_path(tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "archive" / "Doe^Jane", planes=1)
    (path,) = (each for each in (tmp_path / "archive").rglob("*") if each.is_file())
    path.write_bytes(path.read_bytes()[:-100])
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(tmp_path / "archive", quiet=True)
        found = drawn(bench, bench.series()[0])
        assert found.reason.startswith("pixel data are cut")
        assert "Doe" not in found.reason
        assert found.is_lasting
        assert shades(found) > 100
        path.unlink()
        gone = drawn(bench, bench.series()[0])
        assert not gone.is_lasting  # it may come back
        assert "Doe" not in gone.reason
        assert "no such file" in gone.reason


def test_a_header_without_sense_is_a_reason_too(tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "archive", planes=1)
    with workbench.open(tmp_path / "bench") as bench:
        bench.index(tmp_path / "archive", quiet=True)
        (series,) = bench.series()
        (instance,) = instances_of(bench.catalog, series.series_instance_uid)
        found = thumbnail([replace(instance, samples_per_pixel=2)], (), "<b>CT")
    assert "samples per pixel" in found.reason
    assert thumbnail([], (), None).reason == "none of its files can be read any more"


def test_pictures_are_made_smaller_by_means_and_larger_by_interpolation() -> None:
    image = np.array([[0, 100], [200, 100]], np.uint8)
    assert resized(image, 1, 1).tolist() == [[100]]
    assert resized(image, 1, 2).tolist() == [[100, 100]]
    assert resized(image, 2, 4).tolist() == [[0, 25, 75, 100], [200, 175, 125, 100]]
    assert resized(image[..., np.newaxis].repeat(3, axis=-1), 5, 3).shape == (5, 3, 3)


def test_letters_stand_for_every_text() -> None:
    assert lettered("").shape == (LINE, 0)
    assert lettered("CT").shape == (LINE, 2 * ADVANCE)
    assert np.array_equal(lettered("Müller"), lettered("Muller"))
    assert np.array_equal(lettered("I")[:7, 1:4] > 0, [[1, 1, 1], *[[0, 1, 0]] * 5, [1, 1, 1]])
    assert lettered("胸").any()
    every = "".join(map(chr, range(33, 127)))
    shapes = {lettered(letter).tobytes() for letter in every}
    assert len(shapes) == len(every)
    assert wrapped("a structured report", 12, 2) == ["a structured", "report"]
    assert wrapped("a structured report", 13, 1) == ["a structured…"]
    assert wrapped(" ", 12, 3) == []
