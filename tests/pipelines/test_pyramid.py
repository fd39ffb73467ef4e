"""Coarser levels: known answers, what independent readers of OME-Zarr find, and what is noticed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr.io
import ome_zarr.reader
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from ome_zarr_models.v05.image import Image

from catalog.errors import ArrayError, NotFoundError
from catalog.records import ArrayRecord
from pipelines import phantoms, samples
from pipelines.axes.repeats import Axis
from pipelines.store import arrays
from pipelines.store.multiscales import Spaced, channel_first, halvings, multiscales
from pipelines.store.places import Place, at
from pipelines.store.pyramid import make_levels, mean, most_frequent, open_level
from pipelines.verify import verify_array
from pipelines.volumes import checked_block, open_array, stored_values
from pipelines.volumes import open_level as open_level_array


@pytest.fixture(params=["folder", "S3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "folder":
        return tmp_path / "bench" / "arrays"
    server = request.getfixturevalue("s3_server")
    return at(server.address(f"{tmp_path.parent.name}/{tmp_path.name}"))


@pytest.fixture
def series(indexed: Any, tmp_path: Path) -> Any:
    """A CT of 9 planes, 70 rows and 41 columns, 1 × 1 × 1.4 mm, noisy."""
    phantoms.write_series(
        tmp_path / "ct", planes=9, rows=70, columns=41, noise=20, distance=1.4, spacing=(1.0, 1.0)
    )
    (found,) = indexed(tmp_path / "ct")
    return found


def blocks_mean(values: Any, step: tuple[int, ...]) -> Any:
    """By hand: the mean of each block."""
    shape = [-(-size // each) for size, each in zip(values.shape, step, strict=True)]
    out = np.empty(shape)
    for index in np.ndindex(*shape):
        block = values[tuple(slice(i * s, (i + 1) * s) for i, s in zip(index, step, strict=True))]
        out[index] = block.astype(np.float64).mean()
    return out


@given(
    arrays_of.arrays(np.int16, arrays_of.array_shapes(min_dims=3, max_dims=3, max_side=5)),
    st.tuples(*[st.sampled_from([1, 2])] * 3),
)
def test_a_coarser_value_is_the_mean_of_those_it_was_made_of(values: Any, step: tuple[int, ...]) -> None:
    assert np.array_equal(mean(values, step), np.rint(blocks_mean(values, step)))
    assert mean(values, step).dtype == values.dtype


def test_the_most_frequent_index_stands_for_its_neighbours() -> None:
    indices = np.array([[[7, 7, 1, 2, 9], [7, 3, 2, 2, 9], [5, 5, 6, 8, 4]]], np.uint8)
    assert most_frequent(indices, (1, 2, 2)).tolist() == [[[7, 2, 9], [5, 6, 4]]]


def test_planes_are_halved_once_the_pixels_are_as_far_apart() -> None:
    spaced = Spaced(("z", "y", "x"), (2.5, 0.7, 0.7), (0, 0, 0), frozenset("zyx"))
    found = halvings((300, 512, 512), spaced, has_equal_planes=True, coarsest=64)
    assert found == [(1, 2, 2), (1, 4, 4), (2, 8, 8)]
    assert halvings((300, 512, 512), spaced, has_equal_planes=False, coarsest=64)[-1] == (1, 8, 8)
    assert halvings((300, 128, 99), spaced, has_equal_planes=True) == []


def test_levels_are_made_of_the_stored_values_in_their_type(series: Any, root: Any) -> None:
    series = replace(series, arrays_folder=root)
    record = series.array
    stored = stored_values(record).to_numpy()
    first, second = make_levels(record, coarsest=20)
    assert (first.factors, second.factors) == ((2, 2, 2), (4, 4, 4))
    opened = open_level(record, first)
    assert opened.dtype == stored.dtype
    assert np.array_equal(opened[:], np.rint(blocks_mean(stored, (2, 2, 2))))
    assert np.array_equal(open_level(record, second)[:], np.rint(blocks_mean(opened[:], (2, 2, 2))))
    assert verify_array(record, series.instances).mismatches == ()


def test_made_twice_is_made_once_and_the_array_stays_what_it_was(series: Any, root: Any) -> None:
    series = replace(series, arrays_folder=root)
    record = series.array
    levels = make_levels(record, coarsest=20)
    described = at(record.path).read("zarr.json", 1 << 24)
    assert make_levels(record, coarsest=20) == levels
    assert at(record.path).read("zarr.json", 1 << 24) == described
    checked_block(record)
    assert series.array == record


def test_a_level_opens_in_modality_values_where_it_lies(series: Any) -> None:
    record = series.array
    make_levels(record, coarsest=20)
    full, level = open_array(record), open_level_array(record, 1)
    assert level.shape == (5, 35, 21)
    np.testing.assert_allclose(level[1, 2, 3].to_numpy(), full[2:4, 4:6, 6:8].mean().to_numpy(), atol=0.5)
    middle = full.dicom.to_lps([6.5, 4.5, 2.5])
    np.testing.assert_allclose(level.dicom.to_lps([3, 2, 1]), middle, atol=1e-9)
    np.testing.assert_allclose(level.dicom.spacing_mm, (2.8, 2, 2))
    with pytest.raises(NotFoundError, match="no level 3"):
        open_level_array(record, 3)


# --- other readers ---------------------------------------------------------------------------------------


def read_by_ome_zarr(group: str) -> tuple[list[Any], dict[str, Any]]:
    """Levels and metadata as ome-zarr's own reader finds them."""
    location = ome_zarr.io.parse_url(group)
    assert location is not None
    (node, *_) = ome_zarr.reader.Reader(location)()
    return node.data, node.metadata


def test_ome_zarr_and_the_models_find_every_level_in_millimetres(series: Any) -> None:
    record = series.array
    make_levels(record, coarsest=20)
    (image,) = Image.from_zarr(zarr.open_group(record.path, mode="r")).ome_attributes.multiscales
    assert [(axis.name, axis.type, axis.unit) for axis in image.axes] == [
        (name, "space", "millimeter") for name in "zyx"
    ]
    scales = [each.coordinateTransformations[0].scale for each in image.datasets]
    starts = [each.coordinateTransformations[1].translation for each in image.datasets]
    assert scales == [pytest.approx([1.4 * factor, factor, factor]) for factor in (1, 2, 4)]
    assert starts == [
        pytest.approx([30 + 0.7 * (factor - 1), -20 + (factor - 1) / 2, -10 + (factor - 1) / 2])
        for factor in (1, 2, 4)
    ]
    data, metadata = read_by_ome_zarr(record.path)
    assert [each.shape for each in data] == [(9, 70, 41), (5, 35, 21), (3, 18, 11)]
    assert np.array_equal(np.asarray(data[0]), stored_values(record))
    assert [axis["name"] for axis in metadata["axes"]] == ["z", "y", "x"]


@pytest.fixture(scope="module")
def of_every_kind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.write_samples(tmp_path_factory.mktemp("samples") / "all")


AXES = {
    "mr-dynamic": [("time", "time", "second"), *((name, "space", "millimeter") for name in "zyx")],
    "mr-diffusion": [("b_value", None, None), *((name, "space", "millimeter") for name in "zyx")],
    "angiogram": [("time", "time", "second"), ("y", "space", None), ("x", "space", None)],
    "photograph": [
        ("frame", None, None),
        ("channel", "channel", None),
        ("y", "space", None),
        ("x", "space", None),
    ],
}


@pytest.mark.parametrize("kind", AXES)
def test_time_curves_cine_and_colour_are_images_of_ome_zarr_too(
    kind: str, of_every_kind: Path, indexed: Any
) -> None:
    (found, *_) = indexed(of_every_kind / kind)
    record = found.ingest().arrays[0]
    make_levels(record, coarsest=20)
    (image,) = Image.from_zarr(zarr.open_group(record.path, mode="r")).ome_attributes.multiscales
    found_axes = [(axis.name, axis.type, axis.unit) for axis in image.axes]
    assert [each[:2] for each in found_axes] == [each[:2] for each in AXES[kind]]
    if kind.startswith("mr"):
        assert found_axes == AXES[kind]
    data, _ = read_by_ome_zarr(record.path)
    assert len(data) >= 2
    assert np.array_equal(
        np.asarray(data[0]), stored_values(record).to_numpy().transpose(channel_first(record.dims))
    )
    assert open_level_array(record, 1).dims == record.dims
    assert verify_array(record, found.instances).mismatches == ()


def test_indices_of_a_palette_are_not_averaged(of_every_kind: Path, indexed: Any) -> None:
    (found, *_) = indexed(of_every_kind / "palette")
    record = found.ingest().arrays[0]
    (level, *_) = make_levels(record)
    stored = stored_values(record).to_numpy()
    assert set(np.unique(open_level(record, level)[:])) <= set(np.unique(stored))
    assert verify_array(record, found.instances).mismatches == ()


def of(dims: tuple[str, ...], *axes: Axis) -> Any:
    spaced = Spaced.of(dims, affine_lps=None, pixel_spacing_mm=(0.5, 0.25), axes=axes)
    return multiscales(spaced, "values", ())


def test_two_axes_that_ome_zarr_does_not_know_are_custom_and_channel() -> None:
    axes = of(("b_value", "echo_time", "z", "y", "x"))["ome"]["multiscales"][0]["axes"]
    assert [axis.get("type") for axis in axes] == [None, "channel", "space", "space", "space"]


@pytest.mark.parametrize(
    "dims", [("echo_time", "time", "z", "y", "x"), ("a", "b", "c", "y", "x"), ("a", "b", "c", "z", "y", "x")]
)
def test_axes_without_a_form_in_ome_zarr_have_no_multiscales(dims: tuple[str, ...]) -> None:
    assert of(dims) == {}


def test_a_stack_of_equal_planes_has_its_pixel_spacing() -> None:
    (image,) = of(("time", "y", "x"), Axis("time", "s", (0.0, 0.5, 1.0)))["ome"]["multiscales"]
    assert image["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [0.5, 0.5, 0.25]}]
    assert image["axes"][1] == {"name": "y", "type": "space", "unit": "millimeter"}


# --- what is noticed -------------------------------------------------------------------------------------


def change_listed(group: Place, change: Callable[[Any], None]) -> None:
    content = json.loads(group.read("zarr.json", 1 << 24))
    change(content["attributes"])
    group.write("zarr.json", json.dumps(content, indent=1).encode())


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["ome"]["multiscales"][0]["datasets"].pop(),
        lambda found: found["ome"]["multiscales"][0]["axes"][0].update(unit="meter"),
        lambda found: found["ome"]["multiscales"][0]["datasets"][1].update(path="elsewhere"),
        lambda found: found["imaging_workbench_levels"].pop(),
        lambda found: found["imaging_workbench_levels"][0].update(factors=[1, 1, 1]),
        lambda found: found["imaging_workbench_levels"].append({}),
        lambda found: found["imaging_workbench_levels"][0].update(name="../elsewhere"),
        lambda found: found["imaging_workbench_levels"][0].update(more=1),
        lambda found: found["imaging_workbench"].update(units="mmHg"),
        lambda found: found.update(more=1),
    ],
    ids=[
        "dataset",
        "unit",
        "path",
        "level",
        "factors",
        "damaged level",
        "another folder",
        "field",
        "block",
        "attribute",
    ],
)
def test_a_listing_that_was_tampered_with_is_noticed_on_opening(
    series: Any, change: Callable[[Any], None]
) -> None:
    record = series.array
    make_levels(record, coarsest=20)
    change_listed(at(record.path), change)
    with pytest.raises(ArrayError, match="altered"):
        open_array(record)
    assert verify_array(record, series.instances).mismatches


def test_every_flipped_byte_of_a_listing_is_noticed(series: Any) -> None:
    record = series.array
    make_levels(record, coarsest=20)
    path = Path(record.path) / "zarr.json"
    content = path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(content), 60):
        altered = bytearray(content)
        altered[position] ^= 0x20
        path.write_bytes(altered)
        assert arrays.metadata_digest(record.path) != record.metadata_digest, position
    path.write_bytes(content)
    assert arrays.metadata_digest(record.path) == record.metadata_digest


def test_a_lost_or_altered_level_is_noticed(series: Any, tmp_path: Path) -> None:
    record = series.array
    level, *_ = make_levels(record, coarsest=20)
    shard = Path(record.path) / level.name / "values/c/0/0/0"
    content = shard.read_bytes()
    other = np.zeros((5, 35, 21), "u2")
    values = zarr.open_array(shard.parents[3], mode="r+")
    values[:] = other + 1
    shard.write_bytes(shard.read_bytes().ljust(len(content), b"\0"))
    (found,) = verify_array(record, series.instances).mismatches
    assert found.path == str(Path(record.path) / level.name)
    shard.unlink()
    with pytest.raises(ArrayError, match="missing or cut"):
        open_level_array(record, 1)
    (found,) = verify_array(record, series.instances).mismatches
    assert "missing" in found.what
    np.testing.assert_array_equal(open_array(record).shape, record.shape)  # the array itself is whole


def test_levels_that_were_interrupted_are_not_listed_and_are_made_again(
    series: Any, root: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = replace(series, arrays_folder=root)
    record = series.array
    before = sorted(each.place.name for each in at(record.path).holdings())

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(arrays, "list_levels", full)
        with pytest.raises(OSError, match="no space"):
            make_levels(record, coarsest=20)
    assert sorted(each.place.name for each in at(record.path).holdings()) == before
    assert arrays.read_levels(record.path) == ()
    checked_block(record)
    assert len(make_levels(record, coarsest=20)) == 2


def test_an_altered_array_gets_no_levels(series: Any) -> None:
    record: ArrayRecord = series.array
    change_listed(at(record.path), lambda found: found["imaging_workbench"].update(units="mmHg"))
    with pytest.raises(ArrayError, match="altered"):
        make_levels(record)


def test_times_that_are_not_even_are_frames_without_a_unit() -> None:
    (image,) = of(("time", "y", "x"), Axis("time", "s", (0.0, 0.5, 2.0)))["ome"]["multiscales"]
    assert image["axes"][0] == {"name": "time", "type": "time"}
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"][0] == 1
    (image,) = of(("time", "y", "x"), Axis("time", "s", (0.0, 0.0333, 0.06661)))["ome"]["multiscales"]
    assert image["axes"][0]["unit"] == "second"
