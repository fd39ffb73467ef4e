"""The regions of interest of a structure set as a table; polygons in LPS mm, masks on request."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, overload

import xarray as xr

from catalog.records import InstanceRecord
from pipelines.kinds import STRUCTURES
from pipelines.objects.structures import Structure, StructureSet, read_structures, to_mask
from workbench.objects import path_of_one
from workbench.tables import Table

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "number": "no.", "name": "region", "type": "type", "colour": "colour", "contours": "contours",
    "points": "points",
}  # fmt: skip


class Structures(Table[Structure]):
    """One structure set; a row each region of interest, `structures["Heart"].contours` its polygons.

    A region has its name, ROI Display Color, RT ROI Interpreted Type and contours of shape (points, 3), LPS
    mm; `structures.mask(volume, "Heart")` draws it on the planes of a volume.
    """

    def __init__(self, found: StructureSet) -> None:
        self.structure_set = found
        super().__init__(found.structures, COLUMNS, noun="regions", note=found.label)

    @overload
    def __getitem__(self, index: int | str) -> Structure: ...
    @overload
    def __getitem__(self, index: slice) -> Table[Structure]: ...
    def __getitem__(self, index: int | slice | str) -> Structure | Table[Structure]:
        """The region of a number of the row, or the one of a name; `NotFoundError` if there is not one."""
        return self.structure_set[index] if isinstance(index, str) else super().__getitem__(index)

    def mask(self, volume: xr.DataArray, name: str) -> xr.DataArray:
        """Draw the closed contours of a region on a volume's grid; boolean, shape (z, y, x).

        Raises
        ------
        catalog.errors.NotFoundError
            If there is not one region of this name.
        catalog.errors.GeometryError
            If the volume has no regular grid, another frame of reference, or planes between the contours.
        catalog.errors.StepError
            If the volume has other dimensions than (z, y, x).
        """
        return to_mask(self[name], volume)

    def to_pandas(self) -> "pd.DataFrame":
        """One row a region; its polygons stay in the records."""
        import pandas as pd

        return pd.DataFrame([self._row(each) for each in self.records])

    def _row(self, record: Structure) -> Mapping[str, Any]:
        return {
            "number": record.number,
            "name": record.name,
            "type": record.interpreted_type,
            "colour": "" if record.colour is None else "#{:02x}{:02x}{:02x}".format(*record.colour),
            "contours": len(record.contours),
            "points": sum(len(each.points_lps_mm) for each in record.contours),
            "generation_algorithm": record.generation_algorithm,
            "frame_of_reference_uid": record.frame_of_reference_uid,
        }


def read_structures_of(
    series_instance_uid: str, instances: Iterable[InstanceRecord], sop_instance_uid: str | None
) -> Structures:
    """Read the one structure set of a series, or the one of a SOP Instance UID.

    Raises
    ------
    NotFoundError
        If there is none, or several to choose from.
    HeaderError
        If the file is gone or damaged.
    """
    path = path_of_one(
        series_instance_uid, instances, STRUCTURES, sop_instance_uid, "structure set", "RTSTRUCT"
    )
    return Structures(read_structures(path))
