"""Arrays that were damaged or altered: said in words, never the end of a whole run, and mended by ingest."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.errors import ArrayError
from catalog.records import ArrayRecord
from pipelines import phantoms
from pipelines.ingest import ingest_series
from pipelines.objects.arrays import ObjectBlock
from pipelines.store import arrays
from pipelines.verify import verify_array
from pipelines.volumes import open_array
from tests.pipelines.test_dose import write_dose

MUTATIONS = 60
"""Of each file."""
OTHER: tuple[Any, ...] = (
    "", "x", 0, -1, 1.5, 10**30, -(10**30), 1e308, True, None, [], [[]], [None], ["x"], {}, {"a": 1},
)  # fmt: skip
FILES = ("zarr.json", "values/zarr.json", "dicom.json", "dicom_frames.json")


@pytest.fixture(params=["images", "dose"])
def series(request: pytest.FixtureRequest, indexed: Any, tmp_path: Path) -> Any:
    folder = tmp_path / "a"
    if request.param == "images":
        phantoms.write_series(folder, planes=5)
    else:
        folder.mkdir()
        write_dose(folder / "dose.dcm")
    (found,) = indexed(folder)
    return found


def flip(array: ArrayRecord) -> Path:
    """Flip a bit in the first chunk of an array, which stays as long as it is."""
    shard = next(each for each in sorted(Path(array.path).glob("values/c/**/*")) if each.is_file())
    content = bytearray(shard.read_bytes())
    content[20] ^= 1
    shard.write_bytes(content)
    return shard


def test_a_damaged_chunk_is_an_error_that_names_the_group_and_what_to_do(series: Any) -> None:
    array = series.array
    flip(array)
    with pytest.raises(
        ArrayError, match=r"a chunk is damaged \(.+\); `workbench ingest UID --anew`"
    ) as raised:
        _ = open_array(array).values
    assert str(raised.value).startswith(f"{array.path}/values ")


def test_what_verify_finds_in_a_chunk_is_mended_by_ingesting_anew(series: Any) -> None:
    array, before = series.array, open_array(series.array).values
    shard = flip(array)
    (found,) = verify_array(array, series.instances).mismatches
    assert found.path == str(shard)
    assert "values cannot be read: a chunk is damaged" in found.what
    assert f"`workbench ingest {array.series_instance_uid} --anew`" in found.what
    (mended,) = ingest_series(series.series, series.instances, series.arrays_folder, anew=True).arrays
    assert mended == array
    assert verify_array(mended, series.instances).mismatches == ()
    np.testing.assert_array_equal(open_array(mended).values, before)


def test_altered_metadata_are_not_taken_over_by_the_next_ingest(series: Any) -> None:
    array = series.array
    path = Path(array.path) / "zarr.json"
    content = json.loads(path.read_text())
    block = next(iter(content["attributes"].values()))
    block.get("attributes", block)["affine_lps"][0][3] += 50
    path.write_text(json.dumps(content))
    again = ingest_series(series.series, series.instances, series.arrays_folder, known=[array])
    assert again.arrays == (array,)
    assert verify_array(array, series.instances).mismatches == ()


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in parsed JSON with each of its keys."""
    for key in list(content) if isinstance(content, dict) else range(len(content)):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from places(content[key])


def mutated(path: Path, check: Callable[[], None]) -> None:
    """Replace a value, or shorten a list, at many places one after the other, and restore the file."""
    written = path.read_bytes()
    random = np.random.default_rng(len(written))
    for _ in range(MUTATIONS):
        content = json.loads(written)
        found = list(places(content))
        holder, key = found[random.integers(len(found))]
        if isinstance(holder, list) and random.integers(2):
            holder.pop(key)
        else:
            holder[key] = OTHER[random.integers(len(OTHER))]
        path.write_text(json.dumps(content, indent=1))
        if path.read_bytes() != written:
            check()
    path.write_bytes(written)


@pytest.mark.parametrize("name", FILES)
def test_metadata_of_any_form_are_a_mismatch_and_an_error_in_words(series: Any, name: str) -> None:
    array = series.array
    group = Path(array.path)

    def check() -> None:
        assert verify_array(array, series.instances, threads=1).mismatches
        with pytest.raises(ArrayError):
            open_array(array)
        for read in (arrays.read_block, ObjectBlock.read, arrays.read_levels, arrays.read_described):
            with suppress(ArrayError):
                read(group)

    mutated(group / name, check)


@pytest.mark.parametrize("name", ["zarr.json", "values/zarr.json"])
def test_metadata_of_any_form_never_end_an_ingest_that_has_no_row_of_them(series: Any, name: str) -> None:
    array = series.array

    def check() -> None:
        for adopted in series.ingest().arrays:
            verify_array(adopted, series.instances, threads=1)
            with suppress(ArrayError):
                open_array(adopted)

    mutated(Path(array.path) / name, check)
