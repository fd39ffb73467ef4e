"""`volume.dicom`: where a volume lies in the patient and what it was made from, whatever was cut out of it.

The geometry follows the coordinates: after `volume[10:20, ::2, ::-1]` the affine is that of the remaining
voxels. Indices are in the order (column, row, plane), that is (x, y, z), as in `affine_lps`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from catalog.errors import GeometryError
from pipelines.display import window

type Numbers = npt.NDArray[np.float64]

_AXES = ("x", "y", "z")
_RELATIVE_TOLERANCE = 1e-6
"""How evenly coordinates must be spaced, as a part of their distance."""


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
            reason = self._array.attrs.get("reason", "its attributes were dropped")
            raise GeometryError(f"array {self._array.name!r} has no place in the patient: {reason}")
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
