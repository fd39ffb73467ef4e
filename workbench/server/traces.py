"""Tiles of the curves of waveforms, by any number of threads."""

from collections.abc import Callable

import xarray as xr

from catalog.errors import QuestionError
from catalog.records import ArrayRecord
from pipelines.presentation.strips import is_waveform, tile_of, traces
from pipelines.volumes import open_array
from workbench.server.opened import Opened

KEPT_ARRAYS = 16
"""Waveforms that stay open."""


class Traces:
    """Reads tiles of waveforms.

    Parameters
    ----------
    record_of
        Finds the record of an array by its key; may raise `catalog.errors.NotFoundError`.
    """

    def __init__(self, record_of: Callable[[str], ArrayRecord]) -> None:
        self._record_of = record_of
        self._opened = Opened(self._open, KEPT_ARRAYS)

    def tile(self, key: str, level: int, tile: int) -> bytes:
        """Return `pipelines.presentation.strips.tile_of` as bytes, float32, little-endian.

        Raises
        ------
        catalog.errors.WorkbenchError
            If the array cannot be found or read, is no waveform, or has no such tile.
        """
        return tile_of(self._opened(key), level, tile).astype("<f4").tobytes()

    def _open(self, key: str) -> xr.DataArray:
        array = open_array(self._record_of(key))
        if not is_waveform(array):
            raise QuestionError("strips are of waveforms; planes of images have a route of their own")
        return traces(array).drop_vars("time")
