"""What a screen shows of an array that came from DICOM, lazily: 8 bits by VOI LUT or window, and inversion.

Modality values stay what they are; this is for eyes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.delayed import delayed

from catalog.errors import DecodeError
from pipelines.instances import Instances
from pipelines.presentation.colour import Palette, View, padding_of, palette_of, view_of
from pipelines.presentation.display import Gray
from pipelines.presentation.lookup import MODALITY_LUT, groups_of
from pipelines.presentation.overlays import Bits, Overlay, overlays_of, varying

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


def overlays(
    array: xr.DataArray, instances: Instances, frames: Sequence[tuple[str, int]]
) -> tuple[xr.DataArray, ...]:
    """Return the overlays of the planes of an array, one boolean array a group, on whole planes, lazily.

    Parameters
    ----------
    frames
        SOP Instance UID and frame index of each plane of the array, in their order.

    Raises
    ------
    DecodeError
        If an overlay contradicts itself.
    """
    wanted = [instances.number(*each) for each in frames]
    numbers, first = groups_of(instances.described, varying(instances.described))
    headers = {number: instances.dataset(first[number]) for number in np.unique(numbers[wanted]).tolist()}
    found = {number: {each.group: each for each in overlays_of(ds)} for number, ds in headers.items()}
    ds = instances.dataset(wanted[0])
    shape = (int(ds.Rows), int(ds.Columns))
    planes = array.coords["sop_instance_uid"]
    on_planes = [
        (found[int(numbers[plane])], frame) for plane, (_, frame) in zip(wanted, frames, strict=True)
    ]
    return tuple(
        _overlay(group, on_planes, planes, shape)
        for group in sorted({group for groups in found.values() for group in groups})
    )


def _overlay(
    group: int,
    on_planes: Sequence[tuple[Mapping[int, Overlay], int]],
    planes: xr.DataArray,
    shape: tuple[int, int],
) -> xr.DataArray:
    drawn: list[Any] = [
        da.from_delayed(delayed(_drawn)(groups.get(group), frame, shape), shape, np.bool_)  # type: ignore[no-untyped-call]
        for groups, frame in on_planes
    ]
    whole = da.stack(drawn).reshape(*planes.shape, *shape)  # type: ignore[no-untyped-call]  # dask leaves it untyped
    overlay = next(groups[group] for groups, _ in on_planes if group in groups)
    attributes = {
        "group": f"{group:04X}",
        "label": overlay.label,
        "description": overlay.description,
        "type": overlay.type,
        "subtype": overlay.subtype,
        "origin": list(overlay.origin),
    }
    return xr.DataArray(
        whole,
        dims=(*planes.dims, "y", "x"),
        coords={name: each for name, each in planes.coords.items() if set(each.dims) <= set(planes.dims)},
        attrs={name: value for name, value in attributes.items() if value},
        name=f"overlay_{group:04X}",
    )


def _drawn(overlay: Overlay | None, frame: int, shape: tuple[int, int]) -> Bits:
    return np.zeros(shape, np.bool_) if overlay is None else overlay.on(frame, shape)
