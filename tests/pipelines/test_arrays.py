"""The layout in Zarr: what other programs find, and what is refused on opening."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarrs import ZarrsCodecPipeline

from catalog.errors import ArrayError
from pipelines import phantoms
from pipelines.store import arrays


def test_other_viewers_find_an_ome_zarr_image_in_millimetres(indexed: Any, ct: phantoms.Phantom) -> None:
    (series,) = indexed(ct.paths[0].parent)
    root = zarr.open_group(series.array.path, mode="r")
    ome: Any = root.attrs["ome"]
    assert ome["version"] == "0.5"
    (image,) = ome["multiscales"]
    assert image["axes"] == [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    (level,) = image["datasets"]
    scale, translation = level["coordinateTransformations"]
    assert scale["scale"] == pytest.approx([2.5, 0.8, 0.7])
    assert translation["translation"] == pytest.approx([30, -20, -10])
    values: Any = root[level["path"]]
    assert values.metadata.dimension_names == ("z", "y", "x")
    assert np.array_equal(values[:], ct.stored)  # by zarr-python's own codecs, without ours


def test_the_block_says_where_each_plane_comes_from(indexed: Any, ct: phantoms.Phantom) -> None:
    (series,) = indexed(ct.paths[0].parent)
    block = arrays.read_block(Path(series.array.path))
    assert block.planes.sop_instance_uids == ct.sop_instance_uids
    assert block.planes.frame_indices == (0,) * 8
    np.testing.assert_allclose(block.planes.positions_lps_mm, [(-10, -20, 30 + 2.5 * z) for z in range(8)])
    assert block.planes.source_digests == block.planes.stored_digests
    assert (block.kind, block.units, block.modality, block.part) == ("volume", "HU", "CT", 0)


def test_on_a_disk_zarrs_writes_and_reads_and_never_zarr_python(
    indexed: Any, ct: phantoms.Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    (series,) = indexed(ct.paths[0].parent)
    for way in ("read", "write"):
        monkeypatch.setattr(BatchedCodecPipeline, way, _unwanted)
    opened = arrays.open_values(Path(series.array.path))  # written by then, and read back
    pipeline = opened.async_array.codec_pipeline
    assert isinstance(pipeline, ZarrsCodecPipeline)
    assert pipeline.impl is not None
    assert np.array_equal(arrays.read(Path(series.array.path), opened, slice(None)), ct.stored)


async def _unwanted(*_: Any, **__: Any) -> None:
    raise AssertionError("zarr-python's own codec pipeline was used")


def altered(group: Path, change: Any) -> None:
    path = group / "values" / "zarr.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))


def sharding(metadata: Any) -> Any:
    return metadata["codecs"][0]["configuration"]


@pytest.mark.parametrize(
    "change",
    [
        lambda metadata: metadata.update(data_type="string"),
        lambda metadata: metadata.update(data_type={"name": "numpy.void"}),
        lambda metadata: metadata.update(codecs=[{"name": "numcodecs.pickle"}]),
        lambda metadata: metadata.update(codecs="bytes"),
        lambda metadata: metadata.update(codecs=[{"name": 5}]),
        lambda metadata: sharding(metadata)["codecs"].append({"name": "numcodecs.pickle"}),
        lambda metadata: sharding(metadata)["codecs"].append("numcodecs.pickle"),
        lambda metadata: sharding(metadata).update(index_codecs=[{"name": "gzip"}]),
        lambda metadata: metadata["codecs"][0].pop("configuration"),
        lambda metadata: metadata["codecs"][0].update(configuration=[]),
        lambda metadata: metadata.update(storage_transformers=[{"name": "x"}]),
        lambda metadata: metadata.update(node_type="group"),
        lambda metadata: metadata.update(zarr_format=2),
    ],
    ids=[
        "text",
        "void type",
        "pickle",
        "codecs are text",
        "a number for a name",
        "pickle in a shard",
        "a bare name in a shard",
        "gzip for the index",
        "no configuration",
        "configuration is a list",
        "storage transformer",
        "a group",
        "Zarr v2",
    ],
)
def test_a_type_or_codec_that_is_not_on_the_list_is_refused_before_zarr_sees_it(
    indexed: Any, ct: phantoms.Phantom, change: Any
) -> None:
    (series,) = indexed(ct.paths[0].parent)
    group = Path(series.array.path)
    arrays.open_values(group)
    altered(group, change)
    with pytest.raises(ArrayError, match=r"not allowed|no Zarr v3 array"):
        arrays.open_values(group)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe", b'{"attributes": {}}'])
def test_a_damaged_group_is_an_error_that_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "zarr.json").write_bytes(content)
    with pytest.raises(ArrayError, match="ingest its series again"):
        arrays.read_block(tmp_path)
    with pytest.raises(ArrayError, match="ingest its series again"):
        arrays.read_block(tmp_path / "absent")


@pytest.mark.parametrize(
    "key",
    [
        (), slice(2, 5), 3, -1, (slice(None), 4), (slice(1, 8, 3), slice(None), slice(5, 2)),
        (np.int64(2), slice(None), slice(-3, None)), (1, 2, 3), ([0, 2, 5],), (slice(None), np.array([1, 7])),
    ],
)  # fmt: skip
def test_what_is_read_is_what_numpy_selects(indexed: Any, ct: phantoms.Phantom, key: Any) -> None:
    (series,) = indexed(ct.paths[0].parent)
    read = arrays.read(series.array.path, arrays.open_values(series.array.path), key)
    assert read.dtype == ct.stored.dtype
    assert np.array_equal(read, ct.stored[key])
