"""Walk lazy arrays of one grid together, a few planes in memory at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.base import compute
from dask.local import get_sync

PLANES = 32
"""Of an array that is not chunked."""
HERE = get_sync
"""Scheduler that computes in the thread that asks; where it is given by its name, `synchronous`, or not at
all, dask loads `distributed` first to look for a client: 0.15 s of a fresh process."""


def planes_of(*arrays: xr.DataArray) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """Yield the same planes of every array, computed together: what they share is decoded once.

    Parameters
    ----------
    *arrays
        Of one shape; the planes lie along the first axis, and the first array's chunks are the steps.
    """
    first = arrays[0]
    chunks = first.chunks[0] if first.chunks else _steps(first.shape[0])
    start = 0
    for length in chunks:
        part = slice(start, start + length)
        computed = compute(*(array.data[part] for array in arrays))  # type: ignore[no-untyped-call]  # dask's
        yield tuple(np.asarray(each) for each in computed)
        start += length


def _steps(planes: int) -> list[int]:
    return [min(PLANES, planes - start) for start in range(0, planes, PLANES)]
