import numpy as np
import pytest
import xarray as xr

from catalog.errors import ArrayError
from pipelines.runs.derived import folder_digest, open_derived, write_derived


@pytest.fixture
def mask() -> xr.DataArray:
    return xr.DataArray(
        np.arange(24).reshape(2, 3, 4) > 5, dims=("z", "y", "x"), name="mask",
        coords={"z": [0.0, 2.5], "sop_instance_uid": ("z", ["1.1", "1.2"])},
        attrs={"units": "HU", "affine_lps": np.eye(4), "part": np.int64(0)},
    )  # fmt: skip


@pytest.mark.parametrize("chunked", [False, True])
def test_an_array_comes_back_as_it_was_with_its_texts(mask, tmp_path, chunked):
    digest = write_derived(mask.chunk(z=1) if chunked else mask, tmp_path / "a" / "mask.zarr")
    again = open_derived(tmp_path / "a" / "mask.zarr")
    assert again.chunks is not None
    assert np.array_equal(again, mask)
    assert again["sop_instance_uid"].values.tolist() == ["1.1", "1.2"]
    assert again["z"].values.tolist() == [0.0, 2.5]
    assert again.attrs == {"units": "HU", "affine_lps": np.eye(4).tolist(), "part": 0}
    assert digest == folder_digest(tmp_path / "a" / "mask.zarr")


def test_writing_again_replaces_what_was_there(mask, tmp_path):
    first = write_derived(mask, tmp_path / "mask.zarr")
    (tmp_path / "mask.zarr.partial").mkdir()  # left by a run that was killed
    assert write_derived(~mask, tmp_path / "mask.zarr") != first
    assert write_derived(mask, tmp_path / "mask.zarr") == first
    assert [path.name for path in tmp_path.iterdir()] == ["mask.zarr"]


def test_a_changed_byte_changes_the_digest(mask, tmp_path):
    digest = write_derived(mask, tmp_path / "mask.zarr")
    chunk = next(
        path for path in (tmp_path / "mask.zarr" / "mask").rglob("*") if path.is_file() and path.name == "0"
    )
    chunk.write_bytes(chunk.read_bytes() + b"?")
    assert folder_digest(tmp_path / "mask.zarr") != digest


def test_an_attribute_that_zarr_cannot_keep_is_named(mask, tmp_path):
    with pytest.raises(ArrayError, match="attribute owner of the result is a object"):
        write_derived(mask.assign_attrs(owner=object()), tmp_path / "mask.zarr")


def test_an_array_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ArrayError, match="no array can be opened"):
        open_derived(tmp_path / "mask.zarr")
