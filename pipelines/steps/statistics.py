"""Moments of a volume's modality values."""

from typing import Any

import xarray as xr

from pipelines import measure
from pipelines.blocks import planes_of


def statistics(volume: xr.DataArray, *, above: float | None = None) -> list[dict[str, Any]]:
    """Count, volume, mean, standard deviation and range of a volume, a few planes in memory at a time.

    Parameters
    ----------
    volume
        Modality values, planes along its first axis.
    above
        Only voxels strictly above this modality value are measured; all of them when left out.

    Returns
    -------
    list of dict
        Rows with `name`, `value` and `unit`; see `pipelines.measure.rows`.
    """
    moments = measure.Moments()
    for (values,) in planes_of(volume):
        moments += measure.Moments.of(values if above is None else values[values > above])
    unit = volume.attrs.get("units") or "1"
    return measure.rows(moments, unit=unit, affine_lps=volume.attrs.get("affine_lps"))
