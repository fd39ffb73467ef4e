"""Stores that came from outside: what names code to run or memory to take is refused in words."""

import ast
import copy
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from catalog.errors import ArrayError
from pipelines import phantoms
from pipelines.store import arrays
from pipelines.store.allowlist import fault_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def group(indexed: Any, ct: phantoms.Phantom) -> Path:
    (series,) = indexed(ct.paths[0].parent)
    return Path(series.array.path)


def metadata_of(group: Path) -> Any:
    return json.loads((group / "values" / "zarr.json").read_text())


def test_what_ingest_writes_is_allowed(group: Path) -> None:
    assert fault_of(metadata_of(group)) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda it: it.update(shape=[10**6] * 3), "claims more than 64 TiB"),
        (lambda it: it.update(shape=[-1, 32, 24]), "a shape or chunks that are not allowed"),
        (lambda it: it.update(shape=[8, True, 24]), "a shape or chunks that are not allowed"),
        (lambda it: it.update(shape=[1] * 40), "a shape or chunks that are not allowed"),
        (lambda it: it.update(shape="many"), "a shape or chunks that are not allowed"),
        (lambda it: grid(it).update(chunk_shape=[10**4] * 3), "claims chunks of more than 2 GiB"),
        (lambda it: grid(it).update(chunk_shape=[8, 32]), "a shape or chunks that are not allowed"),
        (lambda it: grid(it).update(chunk_shape=[0, 32, 24]), "a shape or chunks that are not allowed"),
        (lambda it: it.update(chunk_grid={"name": "rectilinear"}), "a shape or chunks that are not allowed"),
        (lambda it: it.update(chunk_grid=None), "a shape or chunks that are not allowed"),
        (lambda it: shard(it).update(chunk_shape=[3, 32, 24]), "shards that its chunks do not divide"),
        (lambda it: shard(it).update(chunk_shape=[1e9, 1, 1]), "a shape or chunks that are not allowed"),
        (
            lambda it: (grid(it).update(chunk_shape=[1000] * 3), shard(it).update(chunk_shape=[1] * 3)),
            "claims more than 1,048,576 chunks in a shard",
        ),
        (lambda it: it.update(data_type="object"), "a data type that is not allowed"),
        (lambda it: it.update(data_type="fixed_length_utf32"), "a data type that is not allowed"),
        (lambda it: it.update(data_type=["uint8"]), "a data type that is not allowed"),
        (lambda it: it.update(codecs=[{"name": "numcodecs.pickle"}]), "a codec that is not allowed"),
        (lambda it: it["codecs"].append({"name": "vlen-utf8"}), "a codec that is not allowed"),
    ],
    ids=[
        "10^18 elements",
        "negative",
        "a truth",
        "40 axes",
        "text",
        "TB chunks",
        "fewer axes",
        "no chunk",
        "another grid",
        "no grid",
        "odd shards",
        "not whole",
        "10^9 chunks",
        "object",
        "letters",
        "list of types",
        "pickle",
        "strings",
    ],
)
def test_what_is_not_allowed_is_refused_before_zarr_sees_it(
    group: Path, change: Callable[[Any], Any], reason: str
) -> None:
    metadata = metadata_of(group)
    change(metadata)
    (group / "values" / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(ArrayError, match=reason):
        arrays.open_values(group)


def grid(metadata: Any) -> Any:
    return metadata["chunk_grid"]["configuration"]


def shard(metadata: Any) -> Any:
    return metadata["codecs"][0]["configuration"]


class _Shell:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/opened-a-strangers-array"),)


@pytest.mark.parametrize("chunk", [b"", pickle.dumps(_Shell())])
def test_an_array_of_zarr_v2_with_a_pickle_filter_is_no_array_of_ours(tmp_path: Path, chunk: bytes) -> None:
    values = tmp_path / "values"
    values.mkdir()
    (values / ".zarray").write_text(
        json.dumps({
            "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": None, "order": "C",
            "fill_value": 0, "filters": [{"id": "pickle", "protocol": 5}],
        })
    )  # fmt: skip
    (values / "0").write_bytes(chunk)
    with pytest.raises(ArrayError, match="no such file"):
        arrays.open_values(tmp_path)
    with pytest.raises(ArrayError, match="no such file"):
        arrays.read_block(tmp_path)


def test_metadata_altered_anywhere_are_refused_or_harmless(group: Path) -> None:
    """Random values at random places; whatever is opened has the type and codecs that are allowed."""
    chance = random.Random(0)
    written = metadata_of(group)
    strange = [
        None,
        -1,
        0,
        2**70,
        1.5,
        "",
        "pickle",
        [],
        {},
        [[]],
        {"name": "pickle"},
        True,
        "NaN",
        [1, 2, 3],
    ]
    opened = 0
    for _ in range(400):
        metadata = copy.deepcopy(written)
        holder: Any = metadata
        while True:
            key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if isinstance(holder[key], dict | list) and holder[key] and chance.random() < 0.7:
                holder = holder[key]
            else:
                holder[key] = chance.choice(strange)
                break
        (group / "values" / "zarr.json").write_text(json.dumps(metadata))
        try:
            array = arrays.open_values(group)
        except ArrayError:
            continue
        opened += 1
        assert isinstance(array, zarr.Array)
        assert array.dtype == np.uint16 or array.dtype.kind in "uif"
    assert opened < 400


FORBIDDEN = {"pickle", "cloudpickle", "marshal", "shelve", "yaml", "dill", "joblib"}


def test_no_module_unpickles_or_evaluates_what_it_reads() -> None:
    """The syntax trees of all packages: no import of such a module, no call of eval or exec."""
    for path in (
        *ROOT.glob("catalog/**/*.py"),
        *ROOT.glob("pipelines/**/*.py"),
        *ROOT.glob("workbench/**/*.py"),
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [each.name.partition(".")[0] for each in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(node.module or "").partition(".")[0]]
            assert not FORBIDDEN & set(names), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path
