"""What a screen shows of an array that came from DICOM, lazily: 8 bits by VOI LUT or window, and inversion.

Modality values stay what they are; this is for eyes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from catalog.errors import DecodeError
from pipelines.colour import Palette, View, padding_of, palette_of, view_of
from pipelines.display import Gray
from pipelines.instances import Instances
from pipelines.lookup import MODALITY_LUT, groups_of

_SHOWN_BY = frozenset(
    ("00280004", "00280120", "00280121", "00281050", "00281051", "00281056", "00283010", "20500020")
)
"""Photometric interpretation, padding, windows, VOI LUTs and presentation LUT shape."""


def shown(
    array: xr.DataArray, instances: Instances, frames: Sequence[tuple[str, int]], *, view: int = 0
) -> xr.DataArray:
    """Return 0 to 255 for the modality values of an array, lazily; a supplemental palette adds `channel`.

    Each plane is shown as its own header says. Padding is black, and no part of the range that is shown
    where the header has no window.

    Parameters
    ----------
    frames
        SOP Instance UID and frame index of each plane of the array, in their order.
    view
        Which of several VOI LUTs or windows, from 0.

    Raises
    ------
    DecodeError
        If a header has no such view, or it cannot be applied, or the array is in colour.
    """
    if "channel" in array.dims:
        raise DecodeError(f"array {array.name!r} is in colour, which is shown as it is")
    wanted = [instances.number(*each) for each in frames]
    all_numbers, first = groups_of(instances.described, _SHOWN_BY)
    kept, numbers = np.unique(all_numbers[wanted], return_inverse=True)
    headers = [instances.dataset(first[number]) for number in kept]
    views = [view_of(ds, view) for ds in headers]
    planes = array.coords["sop_instance_uid"]

    def along(values: Any) -> xr.DataArray:
        return xr.DataArray(np.reshape(values, planes.shape), dims=planes.dims)

    low, high = (along(line) for line in _padding(instances, headers, numbers, wanted))
    ends = _range(array, low, high) if any(each.function is None for each in views) else (0.0, 0.0)
    gray: xr.DataArray = xr.apply_ufunc(
        _shown, array, along(numbers), low, high, *ends,
        kwargs={"views": views}, dask="parallelized", output_dtypes=[np.uint8], keep_attrs=True,
    )  # fmt: skip
    gray.attrs.pop("units", None)
    if (
        headers[0].get("PixelPresentation") == "COLOR"
        and "RedPaletteColorLookupTableDescriptor" in headers[0]
    ):
        slopes, intercepts = (along(line) for line in _rescale(instances, wanted))
        return _supplemented(gray, (array - intercepts) / slopes, palette_of(headers[0]).eight_bits())
    return gray


def _rescale(
    instances: Instances, wanted: Sequence[int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    slopes, intercepts = (np.array(line, np.float32)[wanted] for line in instances.rescale)
    return slopes, intercepts


def _padding(
    instances: Instances, headers: Sequence[Any], numbers: npt.NDArray[np.intp], wanted: Sequence[int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Smallest and largest modality value of padding, a number for each plane; not a number where none is.

    Stored padding is not looked for behind a modality LUT, where other values may become the same.
    """
    ranges = [None if instances.lookup == MODALITY_LUT else padding_of(ds) for ds in headers]
    nothing = (float("nan"),) * 2
    stored = np.array([each or nothing for each in ranges], np.float32)[numbers]
    slopes, intercepts = _rescale(instances, wanted)
    ends = stored * slopes[:, np.newaxis] + intercepts[:, np.newaxis]
    return ends.min(axis=1), ends.max(axis=1)


def _range(array: xr.DataArray, low: xr.DataArray, high: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Center and width of the window that shows every value but padding."""
    values = array.where(~((array >= low) & (array <= high)))
    smallest, largest = values.min(), values.max()
    return (smallest + largest + 1) / 2, (largest - smallest + 1).clip(min=1)


def _shown(
    values: npt.NDArray[Any],
    numbers: npt.NDArray[np.intp],
    low: npt.NDArray[np.float32],
    high: npt.NDArray[np.float32],
    center: Any,
    width: Any,
    *,
    views: Sequence[View],
) -> Gray:
    if len(views) == 1:
        gray = views[0].apply(values, center=center, width=width)
    else:
        gray, of_value = np.empty(values.shape, np.uint8), np.broadcast_to(numbers, values.shape)
        for number in np.unique(numbers).tolist():
            of_view = of_value == number
            gray[of_view] = views[number].apply(values[of_view], center=center, width=width)
    is_padding = (values >= low) & (values <= high)
    return np.where(is_padding, np.uint8(0), gray)


def _supplemented(gray: xr.DataArray, stored: xr.DataArray, palette: Palette) -> xr.DataArray:
    """Gray with the colours of those stored values that a supplemental palette is for (PS3.3 C.7.6.19)."""
    coloured: xr.DataArray = xr.apply_ufunc(
        _coloured, gray, stored, kwargs={"palette": palette}, dask="parallelized", output_dtypes=[np.uint8],
        output_core_dims=[["channel"]], dask_gufunc_kwargs={"output_sizes": {"channel": 3}}, keep_attrs=True,
    )  # fmt: skip
    return coloured


def _coloured(gray: Gray, stored: npt.NDArray[Any], *, palette: Palette) -> Gray:
    colours: Gray = np.repeat(gray[..., np.newaxis], 3, axis=-1)
    indices = np.rint(stored).astype(np.int64)
    has_colour = indices >= palette.first
    colours[has_colour] = palette.apply(indices[has_colour])
    return colours
