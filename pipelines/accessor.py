"""`volume.dicom`: where a volume lies in the patient and what it was made from, whatever was cut out of it.

The geometry follows the coordinates: after `volume[10:20, ::2, ::-1]` the affine is that of the remaining
voxels. Indices are in the order (column, row, plane), that is (x, y, z), as in `affine_lps`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from pydicom import Dataset

from catalog.errors import ArrayError, GeometryError, HeaderError, NotFoundError
from pipelines.axes.lattice import Raster
from pipelines.axes.regions import Region, cut_out, regions
from pipelines.axes.resampling import Spacing, resampled, sampling
from pipelines.instances import instances_behind
from pipelines.presentation.colour import icc_profile
from pipelines.presentation.display import window
from pipelines.presentation.icc import profile_description
from pipelines.presentation.shown import overlays, shown

type Numbers = npt.NDArray[np.float64]

_AXES = ("x", "y", "z")
_RELATIVE_TOLERANCE = 1e-6
"""How evenly coordinates must be spaced, as a part of their distance."""
_OF_A_STACK = ("reason", "image_orientation_patient", "pixel_spacing", "affine_lps", "direction")
"""Attributes that a regular volume made of planes does not take over."""


@xr.register_dataarray_accessor("dicom")  # type: ignore[no-untyped-call]  # xarray leaves it untyped
class DicomAccessor:
    """Geometry and provenance of a `DataArray` that came from DICOM."""

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    @property
    def affine_lps(self) -> Numbers:
        """4 × 4, from (column, row, plane) index to LPS mm of the voxel's centre.

        Raises
        ------
        GeometryError
            If the array is a stack, lost its attributes or coordinates, or its voxels are no regular grid.
        """
        full = self._array.attrs.get("affine_lps")
        if full is None:
            raise GeometryError(self._no_affine())
        affine = np.array(full, np.float64)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        cut = affine.copy()
        for axis, dim in enumerate(_AXES):
            start, step = self._line(dim, origin=affine[axis, 3], spacing=spacing[axis])
            cut[:3, axis] = affine[:3, axis] * step
            cut[:3, 3] += affine[:3, axis] * start
        return cut

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of voxels along z, y and x: slices, rows, columns."""
        x, y, z = np.linalg.norm(self.affine_lps[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def positions_lps_mm(self) -> Numbers:
        """Position of the first pixel of each plane that is left, LPS mm; shape (planes, 3).

        Those of a stack, too, as far as its planes have a place in the patient.

        Raises
        ------
        GeometryError
            If they have none, or coordinates or attributes were lost.
        """
        return self._planes()[0]

    @property
    def raster(self) -> Raster:
        """Rows, columns, direction cosines and pixel spacing that all planes share, as far as they are left.

        Errors as `positions_lps_mm`.
        """
        return self._planes()[1]

    def to_regular(self, spacing_mm: Spacing = None, *, fill_value: float = float("nan")) -> xr.DataArray:
        """Resample parallel planes, linearly and lazily, into a regular volume with an exact affine.

        Gantry tilt is undone as a shear; unequal distances are interpolated along the stack. Nothing is
        smoothed before a coarser grid is read out. The planes are no longer those of the instances, so
        `sources` is gone; the attribute `resampled` says what was done. A regular volume comes back as it is.

        Parameters
        ----------
        spacing_mm
            Along z, y and x, or one number for all; left out, the median distance of the planes and their
            own pixel spacing.
        fill_value
            Of voxels beyond the edges of the planes.

        Raises
        ------
        GeometryError
            If the array is no row of three or more parallel planes with a place in the patient, each at a
            position of its own.
        """
        array = self._array
        if spacing_mm is None and "affine_lps" in array.attrs and self._is_regular():
            return array
        if array.ndim != 3 or array.dims[1:] != ("y", "x"):
            raise GeometryError(f"array {array.name!r} has dimensions {array.dims}; pick one row of planes")
        positions, raster = self._planes()
        order = np.argsort(positions @ raster.normal, kind="stable")
        in_order = bool((np.diff(order) == 1).all())
        grid = sampling(positions[order], raster, spacing_mm)
        values = array.data if in_order else array.data[order]
        attrs = {name: value for name, value in array.attrs.items() if name not in _OF_A_STACK}
        reason = array.attrs.get("reason", "asked for another spacing")
        attrs["resampled"] = f"linearly from {len(order)} planes ({reason}); outside is {fill_value:g}"
        return xr.DataArray(
            resampled(values, grid, fill_value=fill_value),
            dims=grid.lattice.dims,
            coords=grid.lattice.coordinates(),
            attrs=attrs | grid.lattice.attributes(),
            name=array.name,
        )

    def to_lps(self, index: npt.ArrayLike) -> Numbers:
        """Positions in the patient, LPS mm, of (column, row, plane) indices; any shape (..., 3)."""
        affine = self.affine_lps
        return np.asarray(np.asarray(index, np.float64) @ affine[:3, :3].T + affine[:3, 3])

    def to_index(self, position_lps_mm: npt.ArrayLike) -> Numbers:
        """Indices (column, row, plane), with fractions, of positions in the patient; any shape (..., 3)."""
        affine = self.affine_lps
        offsets = np.asarray(position_lps_mm, np.float64) - affine[:3, 3]
        return np.asarray(offsets @ np.linalg.inv(affine[:3, :3]).T)

    @property
    def frame_of_reference_uid(self) -> str | None:
        """UID under which positions of two series may be compared (0020,0052)."""
        return self._array.attrs.get("frame_of_reference_uid")

    @property
    def series_instance_uid(self) -> str | None:
        """UID of the series the array came from (0020,000E)."""
        return self._array.attrs.get("series_instance_uid")

    @property
    def sources(self) -> tuple[str, ...]:
        """SOP Instance UID of each plane that is left, in their order."""
        if "sop_instance_uid" not in self._array.coords:
            raise GeometryError(f"array {self._array.name!r} no longer knows its source instances")
        return tuple(str(each) for each in np.ravel(self._array.coords["sop_instance_uid"].values))

    @property
    def attributes(self) -> Dataset:
        """Attributes that all source instances share, as the archive has them; read from the store.

        Pixel data, icons, private binary and what is very long are left out. Where there is one source
        instance these are all of its attributes. They may identify the patient.

        Raises
        ------
        ArrayError
            If the array did not come from the store, or the store was altered since.
        """
        return instances_behind(self._array).dataset()

    @property
    def frame_attributes(self) -> pd.DataFrame:
        """Attributes that differ between the planes that are left, a row for each plane; read from the store.

        Columns are keywords, or tags of private attributes; an attribute of several values has tuples.
        Errors as `attributes`.
        """
        return instances_behind(self._array).table(self._frames())

    def shown(self, view: int = 0) -> xr.DataArray:
        """Return 8 bits for the screen, lazily, each plane as its header wants it (PS3.3 C.11.2).

        A VOI LUT or window of the header, or the full range where it has none; MONOCHROME1 and Presentation
        LUT Shape INVERSE are inverted, padding is black. Colours of a supplemental palette come out along
        `channel`; an array in colour comes back as it is.

        Parameters
        ----------
        view
            Which of several VOI LUTs or windows, from 0.

        Raises
        ------
        DecodeError
            If the header has no such view, or it cannot be applied.
        """
        if "channel" in self._array.dims:
            return self._array
        return shown(self._array, instances_behind(self._array), self._frames(), view=view)

    def overlays(self) -> tuple[xr.DataArray, ...]:
        """Return the overlays of the planes that are left: one boolean array a group 60xx, lazily.

        They cover whole planes, whatever of rows and columns was cut out. Attributes say label, description,
        type (`G` graphics, `R` region of interest) and origin (row and column, from 1); an overlay of other
        frames is empty on this one. Those that old devices kept in unused bits of the pixels are there, too.

        Raises
        ------
        DecodeError
            If an overlay contradicts itself.
        """
        return overlays(self._array, instances_behind(self._array), self._frames())

    @property
    def regions(self) -> tuple[Region, ...]:
        """Regions of an ultrasound image and what their pixels measure: cm, s, cm/s (PS3.3 C.8.5.5).

        Those that all images share, or those of the one image that is left.

        Raises
        ------
        HeaderError
            If a region lacks what the standard requires of it or contradicts itself.
        """
        return regions(self.header)

    def region(self, number: int) -> xr.DataArray:
        """Return one of `regions`, from 0, as an array, lazily: its pixels, with y and x in its own units.

        Units are those of the file, `cm`, `s`, `cm/s` and so on, and stand in the coordinates' attributes;
        zero lies where the file has its reference pixel. A direction without a unit has no coordinate.
        Attributes say `spatial_format` and `data_type`. Rows and columns must be those that were opened.

        Raises
        ------
        NotFoundError
            If the image has no such region.
        HeaderError
            If regions contradict themselves, or this one reaches beyond the image.
        ArrayError
            If rows or columns were cut out before.
        """
        array, header = self._array, self.header
        found = regions(header)
        if not 0 <= number < len(found):
            numbers = (
                f"they count from 0 to {len(found) - 1}" if found else "pick one image of several by isel"
            )
            raise NotFoundError(
                f"array {array.name!r} has {len(found) or 'no'} ultrasound regions; {numbers}, not {number}"
            )
        if (array.sizes.get("y"), array.sizes.get("x")) != (header.get("Rows"), header.get("Columns")):
            raise ArrayError(
                f"rows or columns of array {array.name!r} were cut out; take the region of the array as it "
                "was opened, then cut"
            )
        return cut_out(array, found[number])

    @property
    def icc_profile(self) -> bytes | None:
        """ICC profile of the images, or of the first optical path that has one; `None` for none."""
        return icc_profile(self.attributes)

    @property
    def icc_description(self) -> str:
        """What the ICC profile calls itself; empty where there is none."""
        return profile_description(self.icc_profile or b"")

    @property
    def header(self) -> Dataset:
        """Attributes of the one image that is left, or those that several share; errors as `attributes`."""
        behind, left = instances_behind(self._array), set(self.sources)
        return behind.dataset(behind.number(*self._frames()[0]) if len(left) == 1 else None)

    def _frames(self) -> list[tuple[str, int]]:
        """SOP Instance UID and frame index, from 0, of each plane that is left."""
        if "object_sop_instance_uid" in self._array.attrs:
            raise ArrayError(
                f"array {self._array.name!r} is an object of its own, no planes of images; "
                "dicom.attributes has its header, dicom.window(center, width) shows it"
            )
        numbers = self._array.coords.get("frame_number")
        frames = [1] * len(self.sources) if numbers is None else np.ravel(numbers.values).tolist()
        return [(uid, int(frame) - 1) for uid, frame in zip(self.sources, frames, strict=True)]

    def suv(self, by: str = "BW") -> xr.DataArray:
        """Return standardized uptake values of a PET volume, lazily.

        SUV = activity concentration (Bq/ml) × body weight (g) / injected activity (Bq), the latter decayed
        from the injection to the time that the concentration is corrected to. It takes Units (0054,1001),
        Corrected Image (0028,0051), Decay Correction (0054,1102), Patient's Weight (0010,1030),
        Radionuclide Total Dose (0018,1074), Half Life (0018,1075) and Start DateTime (0018,1078) or Start
        Time (0018,1072), and the dates and times of series and acquisition; `pipelines.pet.uptake.suv_factor`
        says how, and what else counts.

        Parameters
        ----------
        by
            A word of SUV Type (0054,1006): `BW` body weight, `LBMJAMES128` and `LBMJANMA` lean body mass
            (with Patient's Size (0010,1020) and Sex (0010,0040)), `BSA` body surface area (with Size).

        Raises
        ------
        HeaderError
            If the values have no uptake: the text names every attribute that is missing.
        ArrayError
            If the array did not come from the store, or the store was altered since.
        """
        from pipelines.pet.uptake import as_suv, suv_factor  # here, as what uptake imports registers this

        if "suv_factor" in self._array.attrs:
            raise HeaderError(
                f"array {self._array.name!r} is uptake already, in {self._array.attrs['units']}"
            )
        behind = instances_behind(self._array)
        ds = behind.dataset(behind.number(*self._frames()[0]))
        return as_suv(self._array, suv_factor(ds, by), by)

    def window(self, center: float, width: float) -> xr.DataArray:
        """Return 8 bits for the screen by a linear VOI window, lazily (PS3.3 C.11.2.1.2.1)."""
        shown: xr.DataArray = xr.apply_ufunc(
            window,
            self._array,
            kwargs={"center": center, "width": width},
            dask="parallelized",
            output_dtypes=[np.uint8],
            keep_attrs=True,
        )
        shown.attrs.pop("units", None)
        return shown

    def _no_affine(self) -> str:
        name, attrs = repr(self._array.name), self._array.attrs
        if "x_lps_mm" in self._array.coords:
            return (
                f"array {name} is no regular volume: {attrs.get('reason')}; its planes keep their positions "
                "as coordinates, and array.dicom.to_regular() resamples them"
            )
        reason = attrs.get("reason", "its attributes were dropped")
        return f"array {name} has no place in the patient: {reason}"

    def _is_regular(self) -> bool:
        try:
            return bool(self.affine_lps.size)
        except GeometryError:
            return False

    def _planes(self) -> tuple[Numbers, Raster]:
        """Positions of the planes that are left, and what their pixels have in common."""
        coords, attrs = self._array.coords, self._array.attrs
        if "affine_lps" in attrs:
            affine = np.array(attrs["affine_lps"], np.float64)
            spacing = np.linalg.norm(affine[:3, :3], axis=0)
            axes = affine[:3, :3] / spacing
            if "z" not in coords:
                raise GeometryError(f"array {self._array.name!r} lost its coordinate z")
            offsets = np.atleast_1d(coords["z"].values) - affine[2, 3]
            positions = affine[:3, 3] + np.outer(offsets, axes[:, 2])
            origin = affine[:2, 3]
        elif {"x_lps_mm", "y_lps_mm", "z_lps_mm"} <= {str(each) for each in coords}:
            positions = np.stack([np.atleast_1d(coords[f"{axis}_lps_mm"].values) for axis in "xyz"], axis=-1)
            if "pixel_spacing" not in attrs:
                raise GeometryError(
                    f"array {self._array.name!r}: its planes are not parallel, or of unequal size"
                )
            spacing = np.array(attrs["pixel_spacing"], np.float64)[::-1]
            axes = np.reshape(attrs["image_orientation_patient"], (2, 3)).T
            origin = np.zeros(2)
        else:
            raise GeometryError(self._no_affine())
        lines = [
            self._line(dim, origin=origin[axis], spacing=spacing[axis]) for axis, dim in enumerate(_AXES[:2])
        ]
        for axis, (start, _) in enumerate(lines):
            positions = positions + axes[:, axis] * spacing[axis] * start
        (_, x), (_, y) = lines
        raster = Raster(
            self._array.sizes.get("y", 1),
            self._array.sizes.get("x", 1),
            (*(axes[:, 0] * np.sign(x)).tolist(), *(axes[:, 1] * np.sign(y)).tolist()),
            (float(spacing[1] * abs(y)), float(spacing[0] * abs(x))),
        )
        return positions, raster

    def _line(self, dim: str, *, origin: float, spacing: float) -> tuple[float, float]:
        """Index of the first voxel along a dimension, in the array as it was opened, and the step."""
        if dim not in self._array.coords:
            raise GeometryError(f"array {self._array.name!r} lost its coordinate {dim}")
        indices: Any = (np.atleast_1d(self._array.coords[dim].values).astype(np.float64) - origin) / spacing
        if len(indices) == 0:
            raise GeometryError(f"array {self._array.name!r} is empty along {dim}")
        if len(indices) == 1:
            return float(indices[0]), 1.0
        steps = np.diff(indices)
        step = float((indices[-1] - indices[0]) / (len(indices) - 1))
        if step == 0 or np.abs(steps - step).max() > _RELATIVE_TOLERANCE * max(1.0, len(indices)):
            raise GeometryError(f"array {self._array.name!r} is not evenly spaced along {dim}")
        return float(indices[0]), step
