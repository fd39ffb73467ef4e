"""A flipped byte anywhere in the archive or in Zarr is found and named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid

from catalog.records import ArrayRecord
from pipelines import phantoms
from pipelines.store.mismatch import Mismatch
from pipelines.verify import verify_array

POSITIONS = 40
"""How many bytes of each file are flipped, spread at random over it."""


def flipped(path: Path, check: Callable[[int], None], *, start: int = 0, stop: int | None = None) -> None:
    """Flip one bit of one byte at many positions, one after the other, and restore it."""
    content = path.read_bytes()
    random = np.random.default_rng(len(content))
    positions = {start, (stop or len(content)) - 1, *random.integers(start, stop or len(content), POSITIONS)}
    for position in sorted(positions):
        altered = bytearray(content)
        altered[position] ^= 1 << int(random.integers(8))
        path.write_bytes(altered)
        check(int(position))
    path.write_bytes(content)


@pytest.fixture(params=[uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless])
def series(request: pytest.FixtureRequest, indexed: Any, tmp_path: Path) -> Any:
    phantoms.write_series(tmp_path / "a", transfer_syntax=request.param, planes=5)
    (found,) = indexed(tmp_path / "a")
    return found


def test_an_untouched_array_has_no_mismatch(series: Any) -> None:
    verified = verify_array(series.array, series.instances)
    assert (verified.frames, verified.mismatches) == (5, ())


def only(array: ArrayRecord, series: Any, position: int) -> Mismatch:
    mismatches = verify_array(array, series.instances, threads=1).mismatches
    assert len(mismatches) >= 1, f"byte {position} was flipped and not found"
    assert {each.path for each in mismatches} == {mismatches[0].path}
    return mismatches[0]


def test_a_flipped_byte_of_the_pixel_data_names_the_file_and_the_frame(series: Any) -> None:
    array, instance = series.array, sorted(series.instances, key=lambda each: each.path)[2]
    assert instance.pixel_data is not None

    def check(position: int) -> None:
        found = only(array, series, position)
        assert (found.path, found.frame_index) == (instance.path, 2)
        assert found.sop_instance_uid == instance.sop_instance_uid
        assert found.what

    flipped(Path(instance.path), check, start=instance.pixel_data.offset)


def test_a_flipped_byte_of_the_header_names_the_file(series: Any) -> None:
    array, instance = series.array, sorted(series.instances, key=lambda each: each.path)[1]
    assert instance.pixel_data is not None

    def check(position: int) -> None:
        found = only(array, series, position)
        assert found.path == instance.path
        assert found.what == "changed since it was indexed; run the index again"

    flipped(Path(instance.path), check, stop=instance.pixel_data.offset - 12)


def test_a_flipped_byte_of_a_chunk_names_the_shard(series: Any) -> None:
    array = series.array
    shard = Path(array.path) / "values/c/0/0/0"

    def check(position: int) -> None:
        found = only(array, series, position)
        assert found.path == str(shard)
        assert found.frame_index is not None

    flipped(shard, check)


@pytest.mark.parametrize("name", ["zarr.json", "values/zarr.json"])
def test_a_flipped_byte_of_the_metadata_names_their_file(series: Any, name: str) -> None:
    array = series.array

    def check(position: int) -> None:
        mismatches = verify_array(array, series.instances, threads=1).mismatches
        assert mismatches, f"byte {position} was flipped and not found"
        assert mismatches[0].path == str(Path(array.path) / name)
        assert mismatches[0].what == "metadata differ from those that were written"

    flipped(Path(array.path) / name, check)


def test_lost_files_are_named(series: Any) -> None:
    array = series.array
    shard = Path(array.path) / "values/c/0/0/0"
    Path(series.instances[0].path).unlink()
    shard.unlink()
    found = verify_array(array, series.instances[:-1]).mismatches
    assert {each.path for each in found} == {series.instances[0].path, str(shard), ""}
    assert {each.what for each in found} == {
        "cannot be read: no such file or directory",
        "planes 0 to 4 are missing",
        "the catalog has no place of this instance any more",
    }


def test_a_series_that_was_indexed_anew_with_other_headers_is_told_apart(
    indexed: Any, tmp_path: Path
) -> None:
    import pydicom

    phantom = phantoms.write_series(tmp_path / "a")
    (series,) = indexed(tmp_path / "a")
    array = series.array
    ds = pydicom.dcmread(phantom.paths[0])
    ds.RescaleIntercept = -1000
    ds.save_as(phantom.paths[0])
    (again,) = indexed(tmp_path / "a")
    (mismatch,) = verify_array(array, again.instances).mismatches
    assert mismatch.what.startswith("the headers in the catalog are not those that were ingested")
