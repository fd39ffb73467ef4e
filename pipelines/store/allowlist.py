"""What a stored array may be that came from anywhere: types, codecs and sizes that are opened; no I/O.

Zarr metadata name the code that is run on the chunks, and numbers that memory is taken for; what is not on
the list is refused before Zarr sees it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

CODECS = frozenset({"bytes", "blosc", "crc32c", "sharding_indexed"})
TYPES = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"})
DIMENSIONS = 8
"""How many axes an array may have."""
ARRAY_BYTES = 1 << 46
"""How large it may be: 64 TiB."""
CHUNK_BYTES = 2 << 30
"""How large a chunk or a shard may be; ours hold a slab of planes, or one plane of at most 1 GiB."""
INNER_CHUNKS = 1 << 20
"""How many chunks a shard may have: its index has 16 bytes for each."""


def fault_of(metadata: Mapping[str, Any]) -> str:
    """Why an array with this `zarr.json` is not opened, as the rest of a sentence; empty if it is."""
    if metadata.get("node_type") != "array" or metadata.get("zarr_format") != 3:
        return "is no Zarr v3 array"
    data_type = metadata.get("data_type")
    if not isinstance(data_type, str) or data_type not in TYPES:
        return "has a data type that is not allowed"
    if not set(_names(metadata.get("codecs"))) <= CODECS or metadata.get("storage_transformers"):
        return f"uses a codec that is not allowed; allowed are {sorted(CODECS)}"
    return _fault_of_sizes(metadata, np.dtype(data_type).itemsize)


def _names(codecs: Any, depth: int = 0) -> Iterator[str]:
    """Names of all codecs, those inside a shard too; anything unexpected yields one that is not allowed."""
    if not isinstance(codecs, list) or depth > 2:
        yield "unknown"
        return
    for codec in codecs:
        name = codec.get("name") if isinstance(codec, dict) else None
        yield name if isinstance(name, str) else "unknown"
        if name == "sharding_indexed":
            configuration = codec.get("configuration")
            for inner in ("codecs", "index_codecs"):
                inside = configuration.get(inner) if isinstance(configuration, dict) else None
                yield from _names(inside, depth + 1)


def _fault_of_sizes(metadata: Mapping[str, Any], itemsize: int) -> str:
    shape = _counts(metadata.get("shape"))
    grid = metadata.get("chunk_grid")
    outer = _counts(_within(grid, "configuration", "chunk_shape"))
    if shape is None or outer is None or len(outer) != len(shape) or _within(grid, "name") != "regular":
        return "has a shape or chunks that are not allowed"
    if math.prod(shape) * itemsize > ARRAY_BYTES:
        return f"claims more than {ARRAY_BYTES >> 40} TiB"
    if math.prod(outer) * itemsize > CHUNK_BYTES:
        return f"claims chunks of more than {CHUNK_BYTES >> 30} GiB"
    for codec in metadata["codecs"]:
        if codec["name"] == "sharding_indexed":
            inner = _counts(_within(codec, "configuration", "chunk_shape"))
            if inner is None or len(inner) != len(outer):
                return "has a shape or chunks that are not allowed"
            if any(whole % part for whole, part in zip(outer, inner, strict=True)):
                return "has shards that its chunks do not divide"
            if math.prod(outer) // math.prod(inner) > INNER_CHUNKS:
                return f"claims more than {INNER_CHUNKS:,} chunks in a shard"
    return ""


def _within(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _counts(value: Any) -> Sequence[int] | None:
    """Positive whole numbers, one for each of a few axes."""
    if not isinstance(value, list) or not 1 <= len(value) <= DIMENSIONS:
        return None
    if not all(type(each) is int and each > 0 for each in value):
        return None
    return value
