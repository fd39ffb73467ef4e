"""The cut of an array into slabs, shards and chunks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.store.layout import SLAB_BYTES, Layout, block_bytes


@pytest.mark.parametrize(
    ("shape", "itemsize", "kind", "chunk", "shard"),
    [
        ((300, 512, 512), 2, "volume", (32, 64, 64), (32, 512, 512)),
        ((96, 128, 128), 2, "volume", (32, 64, 64), (32, 128, 128)),
        ((3, 220, 320), 2, "volume", (3, 110, 160), (3, 220, 320)),
        ((150, 150, 150), 1, "volume", (32, 75, 75), (32, 150, 150)),
        ((8, 1, 1), 2, "volume", (8, 1, 1), (8, 1, 1)),
        ((96, 512, 512, 3), 1, "stack", (1, 512, 512, 3), (32, 512, 512, 3)),
        ((1, 4096, 3328), 2, "stack", (1, 512, 555), (1, 4096, 3330)),
        ((10, 4096, 4096), 2, "volume", (1, 128, 128), (1, 4096, 4096)),
        ((1000, 15, 64, 64), 2, "volume", (8, 15, 64, 64), (272, 15, 64, 64)),
        ((2, 10, 40, 512, 512), 2, "volume", (1, 1, 32, 64, 64), (1, 1, 32, 512, 512)),
    ],
)
def test_chunks_divide_the_array_evenly(
    shape: tuple[int, ...], itemsize: int, kind: str, chunk: tuple[int, ...], shard: tuple[int, ...]
) -> None:
    layout = Layout(shape, itemsize, kind)
    assert (layout.chunk, layout.shard) == (chunk, shard)


SHAPES = st.one_of(
    st.tuples(st.just("volume"), st.lists(st.integers(1, 40), min_size=3, max_size=5)),
    st.tuples(st.just("stack"), st.lists(st.integers(1, 70), min_size=3, max_size=4)),
)


@given(SHAPES, st.sampled_from([1, 2, 4, 8]))
def test_slabs_cover_every_plane_once_and_in_order(given_shape: tuple[str, list[int]], itemsize: int) -> None:
    kind, lengths = given_shape
    layout = Layout(tuple(lengths), itemsize, kind)
    numbers = np.arange(layout.planes).reshape(layout.shape[: layout.plane_axis + 1])
    seen: list[int] = []
    for slab in layout.slabs():
        selected = numbers[slab.index[: layout.plane_axis + 1]]
        assert selected.ravel().tolist() == list(range(slab.start, slab.stop))
        assert selected.shape + layout.plane_shape == slab.shape
        assert math.prod(slab.shape) * itemsize <= max(SLAB_BYTES, layout.plane_bytes)
        seen += selected.ravel().tolist()
    assert seen == list(range(layout.planes))
    assert all(outer % inner == 0 for inner, outer in zip(layout.chunk, layout.shard, strict=True))
    assert len({slab.shard for slab in layout.slabs()}) == sum(1 for _ in layout.slabs())


def test_single_planes_of_a_chunk_are_compressed_apart_unless_they_are_very_small_or_large() -> None:
    assert block_bytes((32, 64, 64), 2) == 64 * 64 * 2
    assert block_bytes((32, 24, 20), 2) == 9 * 24 * 20 * 2
    assert block_bytes((1, 512, 512), 2) == 0
