"""Mask by modality value."""

import xarray as xr


def threshold(volume: xr.DataArray, *, above: float, below: float | None = None) -> xr.DataArray:
    """Mask of the voxels strictly above one modality value and, if given, strictly below another.

    Parameters
    ----------
    volume
        Modality values of any shape, e.g. HU; lazy in, lazy out. NaN is never in the mask.
    above, below
        Bounds in the volume's unit; neither belongs to the mask.

    Returns
    -------
    xarray.DataArray
        Boolean, named `mask`, with the volume's shape, coordinates and attributes.
    """
    mask = volume > above
    if below is not None:
        mask = mask & (volume < below)
    return mask.rename("mask").assign_attrs(volume.attrs)
