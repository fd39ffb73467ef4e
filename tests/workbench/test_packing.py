"""Planes packed for a slow line are the same planes."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.server.packing import ITEMS, packed


def unpacked(given: bytes, itemsize: int) -> bytes:
    """As `extensions/src/packing.ts` does."""
    values = np.frombuffer(gzip.decompress(given), np.uint8)
    return values.reshape(itemsize, -1).T.tobytes()


@given(st.binary(max_size=400), st.sampled_from(ITEMS))
def test_what_is_packed_comes_out_the_same(values: bytes, itemsize: int) -> None:
    values = values[: len(values) // itemsize * itemsize]
    assert unpacked(packed(values, itemsize), itemsize) == values


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_noisy_plane_of_ct_takes_half_the_bytes_or_less(dtype: str) -> None:
    values = np.random.default_rng(1).normal(40, 15, (512, 512)).astype("int16").astype(dtype)
    assert len(packed(values.tobytes(), values.itemsize)) < values.nbytes / 2
