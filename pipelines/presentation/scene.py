"""What a viewer has to know of an array to draw it, and one plane of it as bytes; values in, values out.

A viewer draws planes: the last two axes of an array, of which the axis before runs through a stack, and those
before that are chosen (time, echo). Values are modality values, as `pipelines.volumes.open_array` gives them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydicom import Dataset

import pipelines.accessor  # noqa: F401  # gives arrays their `dicom`
from catalog.errors import ArrayError, GeometryError, QuestionError, WorkbenchError
from pipelines.presentation.colour import view_of
from pipelines.presentation.windows import Window, exact, header_windows, preset_windows, windows_of_values

_PLANE = ("y", "x", "channel")


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis in front of rows and columns."""

    name: str
    size: int
    unit: str
    values: tuple[float | str, ...]
    """Of its coordinate; empty where it has none."""


@dataclass(frozen=True, slots=True)
class Scene:
    """An array as a viewer needs to know it; nothing in it tells of a patient."""

    axes: tuple[Axis, ...]
    """Those before rows and columns, in their order; the planes of a stack lie along the last."""
    rows: int
    columns: int
    samples: int
    """1, or 3 for red, green and blue."""
    dtype: str
    """Of the bytes of a plane: `uint8`, `int16`, `uint16` or `float32`, little-endian; windows of the last
    are exact (`pipelines.presentation.windows.exact`)."""
    modality: str
    unit: str
    """Of the values, `HU`; empty where it is not known."""
    positions_lps_mm: tuple[tuple[float, float, float], ...]
    """Of the first pixel of each plane along the last axis; empty for images without a place in a patient."""
    orientation: tuple[float, ...]
    """Cosines of rows, then of columns; empty likewise."""
    pixel_spacing: tuple[float, float] | None
    """Between rows, then between columns, mm; `None` where nothing says it."""
    spacing_holds: str
    """Where the spacing holds: `patient`, or in words for a projection."""
    frame_of_reference_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    """Of each plane, the last axis running fastest; one where all are of one instance, none where unknown."""
    frame_numbers: tuple[int, ...]
    """Of each plane, from 1, where instances have several frames; empty where each has one."""
    is_volume: bool
    """Whether planes form a regular grid, of which other sections can be made."""
    windows: tuple[Window, ...]
    """Those of the header first, then the known ones; the first is where a viewer begins."""
    is_inverted: bool
    """Whether the smallest value is white (PS3.3 C.7.6.3.1.2)."""
    seconds: tuple[float, ...]
    """When each plane along the last axis was taken, where it is time: how fast a cine runs."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes before rows and columns."""
        return tuple(each.size for each in self.axes)

    def as_json(self) -> dict[str, Any]:
        """As plain values, for the browser."""
        return asdict(self)


def scene_of(array: xr.DataArray) -> Scene:
    """Describe an array.

    Parameters
    ----------
    array
        (…, y, x) or (…, y, x, channel) with three channels, as `Bench.volume` gives it, or made of that.

    Raises
    ------
    QuestionError
        If it is no image: it has no rows and columns, or something other than colours behind them.
    """
    leading = _leading(array)
    header = _header(array)
    positions, orientation, spacing = _place(array)
    holds = "patient" if positions else ""
    if spacing is None:
        spacing = _spacing(array)
        holds = str(array.coords["x"].attrs.get("spacing", "")) if spacing is not None else ""
    dtype = _dtype(array, header)
    axes = tuple(_axis(array, name) for name in leading) or (Axis("frame", 1, "", ()),)
    last = axes[-1]
    return Scene(
        axes=axes,
        rows=array.sizes["y"],
        columns=array.sizes["x"],
        samples=array.sizes.get("channel", 1),
        dtype=dtype.name,
        modality=str(array.attrs.get("modality") or ""),
        unit=str(array.attrs.get("units") or ""),
        positions_lps_mm=positions,
        orientation=orientation,
        pixel_spacing=spacing,
        spacing_holds=holds,
        frame_of_reference_uid=str(array.attrs.get("frame_of_reference_uid") or ""),
        series_instance_uid=str(array.attrs.get("series_instance_uid") or ""),
        sop_instance_uids=_sources(array),
        frame_numbers=_frame_numbers(array),
        is_volume=bool(positions) and "z" in array.dims and "affine_lps" in array.attrs and last.size > 1,
        windows=_windows(array, header, is_of_fractions=dtype.kind == "f"),
        is_inverted=header is not None and "channel" not in array.dims and view_of(header).is_inverted,
        seconds=_numbers(last.values) if last.name == "time" and last.unit == "s" else (),
    )


def plane_bytes(array: xr.DataArray, scene: Scene, index: Sequence[int]) -> bytes:
    """Return the values of one plane, rows by columns (by samples), in the type that the scene names.

    Parameters
    ----------
    index
        Along each axis of the scene, from 0.

    Raises
    ------
    QuestionError
        If there is no such plane.
    """
    check_index(scene, index)
    where = {
        each.name: number for each, number in zip(scene.axes, index, strict=True) if each.name in array.dims
    }
    plane = array.isel(where).transpose("y", "x", ..., missing_dims="ignore")
    return plane.to_numpy().astype(np.dtype(scene.dtype).newbyteorder("<"), copy=False).tobytes()


def check_index(scene: Scene, index: Sequence[int]) -> None:
    """Raise QuestionError unless a scene has such a plane."""
    fits = len(index) == len(scene.axes) and all(
        0 <= number < each.size for number, each in zip(index, scene.axes, strict=True)
    )
    if not fits:
        sizes = " × ".join(f"{each.size} {each.name}" for each in scene.axes)
        raise QuestionError(f"there is no plane {tuple(index)}; planes are numbered from 0 in {sizes}")


def to_pixels(scene: Scene, plane: int, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(column, row) of positions on a plane of the last axis, pixel centres at whole numbers; shape (n, 2).

    Parameters
    ----------
    points
        Shape (n, 3): LPS mm, or (column, row, plane) × spacing where images have no place in the patient.
    """
    offsets = np.asarray(points, np.float64).reshape(-1, 3) - _origin(scene, plane)
    return np.asarray(offsets @ _steps(scene, inverse=True).T, np.float64)


def to_positions(scene: Scene, plane: int, pixels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Positions of (column, row) on a plane of the last axis: the inverse of `to_pixels`; shape (n, 3)."""
    given = np.asarray(pixels, np.float64).reshape(-1, 2)
    return np.asarray(_origin(scene, plane) + given @ _steps(scene), np.float64)


def _origin(scene: Scene, plane: int) -> npt.NDArray[np.float64]:
    if scene.positions_lps_mm:
        return np.array(scene.positions_lps_mm[plane])
    return np.array((0.0, 0.0, 0.0 if scene.axes[-1].name == "time" else float(plane)))


def _steps(scene: Scene, *, inverse: bool = False) -> npt.NDArray[np.float64]:
    """From one column to the next and from one row to the next, shape (2, 3); or what undoes them."""
    row_mm, column_mm = scene.pixel_spacing or (1.0, 1.0)
    mm = np.array([[column_mm], [row_mm]])
    axes = np.reshape(scene.orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (2, 3))
    return np.asarray(axes / mm if inverse else axes * mm)


def _leading(array: xr.DataArray) -> list[str]:
    dims = [str(each) for each in array.dims]
    if not {"y", "x"} <= set(dims):
        raise QuestionError(
            f"array {array.name!r} has dimensions {tuple(dims)}; a viewer draws rows and columns (y, x)"
        )
    if "channel" in dims and array.sizes["channel"] != 3:
        raise QuestionError(
            f"array {array.name!r} has {array.sizes['channel']} channels; a viewer draws one value or red, "
            "green and blue: pick one by isel(channel=…)"
        )
    return [each for each in dims if each not in _PLANE]


def _header(array: xr.DataArray) -> Dataset | None:
    """Header of the middle plane, where the array still knows it: windows may differ from plane to plane."""
    try:
        middle = array.isel({name: array.sizes[name] // 2 for name in _leading(array)})
        header: Dataset = middle.dicom.header
        view_of(header)
    except WorkbenchError:
        return None
    return header


def _place(
    array: xr.DataArray,
) -> tuple[tuple[tuple[float, float, float], ...], tuple[float, ...], tuple[float, float] | None]:
    try:
        positions, raster = array.dicom.positions_lps_mm, array.dicom.raster
    except (ArrayError, GeometryError):
        return (), (), None
    rows, columns = raster.pixel_spacing
    return tuple((x, y, z) for x, y, z in positions.tolist()), tuple(raster.orientation), (rows, columns)


def _spacing(array: xr.DataArray) -> tuple[float, float] | None:
    """Distance of pixels by the coordinates in mm, of an image without a place in the patient."""
    steps = []
    for dim in ("y", "x"):
        coordinate = array.coords.get(dim)
        if coordinate is None or coordinate.attrs.get("units") != "mm" or coordinate.size < 2:
            return None
        steps.append(abs(float(coordinate[1] - coordinate[0])))
    return steps[0], steps[1]


def _axis(array: xr.DataArray, name: str) -> Axis:
    coordinate = array.coords.get(name)
    if coordinate is None or coordinate.dims != (name,):
        return Axis(name, array.sizes[name], "", ())
    unit = str(coordinate.attrs.get("units") or "")
    return Axis(name, array.sizes[name], unit, tuple(coordinate.values.tolist()))


def _numbers(values: Sequence[float | str]) -> tuple[float, ...]:
    return tuple(float(each) for each in values)


def _dtype(array: xr.DataArray, header: Dataset | None) -> np.dtype[Any]:
    """The smallest type that holds every modality value that the header allows, else float32."""
    if "channel" in array.dims or array.dtype in (np.bool_, np.uint8):
        return np.dtype(np.uint8)
    if array.dtype in (np.int16, np.uint16):
        return array.dtype
    slope, intercept = (array.encoding.get(name) for name in ("scale_factor", "add_offset"))
    bits = header.get("BitsStored") if header is not None else None
    if slope != 1 or intercept is None or float(intercept) != round(intercept) or not isinstance(bits, int):
        return np.dtype(np.float32)
    signed = np.dtype(array.encoding["dtype"]).kind == "i"
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    for each in (np.uint8, np.int16, np.uint16):
        limits = np.iinfo(each)
        if limits.min <= least + intercept and most + intercept <= limits.max:
            return np.dtype(each)
    return np.dtype(np.float32)


def _sources(array: xr.DataArray) -> tuple[str, ...]:
    if "sop_instance_uid" not in array.coords:
        return ()
    sources = tuple(str(each) for each in np.ravel(array.coords["sop_instance_uid"].values))
    return sources[:1] if len(set(sources)) == 1 else sources


def _frame_numbers(array: xr.DataArray) -> tuple[int, ...]:
    numbers = array.coords.get("frame_number")
    return () if numbers is None else tuple(int(each) for each in np.ravel(numbers.values))


def _windows(array: xr.DataArray, header: Dataset | None, *, is_of_fractions: bool) -> tuple[Window, ...]:
    if "channel" in array.dims:
        return ()
    said = exact if is_of_fractions else lambda window: window
    found = [said(each) for each in header_windows(header)] if header is not None else []
    known = preset_windows(*(str(array.attrs.get(name) or "") for name in ("modality", "units")))
    found += [each for each in known if each not in found]
    if not found:
        middle = array.isel({name: array.sizes[name] // 2 for name in _leading(array)}).to_numpy()
        found = [said(each) for each in windows_of_values(middle)]
    return tuple(found)
