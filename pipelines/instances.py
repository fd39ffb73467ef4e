"""The instances behind an array: their attributes, read from beside the values when somebody asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd
import xarray as xr
from pydicom import Dataset

from catalog.errors import ArrayError, NotFoundError
from pipelines.store import arrays
from pipelines.store.dicom_json import Described
from pipelines.store.places import at

PER_FRAME = (
    "FrameTimeVector",
    "EnergyWindowVector",
    "DetectorVector",
    "PhaseVector",
    "RotationVector",
    "RRIntervalVector",
    "TimeSlotVector",
    "SliceVector",
    "AngularViewVector",
    "TimeSliceVector",
    "PositionerPrimaryAngleIncrement",
    "PositionerSecondaryAngleIncrement",
    "TableVerticalIncrement",
    "TableLateralIncrement",
    "TableLongitudinalIncrement",
)
"""Attributes that hold one value for each frame of a multi-frame image."""


@dataclass(frozen=True, slots=True)
class Instances:
    """Attributes of the instances of one array."""

    described: Described
    planes: Mapping[tuple[str, int], int]
    """SOP Instance UID and frame index, from 0, to the number of the plane."""
    rescale: tuple[tuple[float, ...], tuple[float, ...]]
    """Slope and intercept of each plane."""
    lookup: str
    """Of `Block`."""

    def dataset(self, plane: int | None = None) -> Dataset:
        """Return what all instances share and, where a plane is given, all of what its instance says."""
        return self.described.dataset(plane)

    def table(self, wanted: Sequence[tuple[str, int]]) -> pd.DataFrame:
        """Return what varies, a row for each of the wanted planes.

        Raises
        ------
        NotFoundError
            If one of them is no plane of the array.
        """
        columns = self.described.table([self.number(*each) for each in wanted])
        names = pd.MultiIndex.from_tuples(
            [(uid, frame + 1) for uid, frame in wanted], names=["sop_instance_uid", "frame_number"]
        )
        columns |= self._vectors(wanted)
        return pd.DataFrame(columns, index=names)

    def number(self, sop_instance_uid: str, frame_index: int) -> int:
        """Number of a plane in the array."""
        try:
            return self.planes[sop_instance_uid, frame_index]
        except KeyError:
            raise NotFoundError(
                f"frame {frame_index + 1} of {sop_instance_uid} is not in the array"
            ) from None

    def _vectors(self, wanted: Sequence[tuple[str, int]]) -> dict[str, list[Any]]:
        """Those of a single multi-frame instance, by frame."""
        if len({uid for uid, _ in self.planes}) > 1:
            return {}
        ds, frames = self.dataset(), len(self.planes)
        vectors = {keyword: ds.get(keyword) for keyword in PER_FRAME}
        return {
            keyword: [values[frame] for _, frame in wanted]
            for keyword, values in vectors.items()
            if isinstance(values, Sequence) and not isinstance(values, str) and len(values) == frames > 1
        }


def instances_behind(array: xr.DataArray) -> Instances:
    """Read what an array that was opened from the store was made from.

    Raises
    ------
    ArrayError
        If it did not come from the store, lost its attributes, or the store was altered since.
    """
    path, digest = (array.attrs.get(name) for name in ("path", "metadata_digest"))
    if not path or not digest:
        raise ArrayError(
            f"array {array.name!r} does not know where it was opened from: its attributes were dropped"
        )
    return _read(str(path), str(digest))


@lru_cache(maxsize=8)
def _read(path: str, metadata_digest: str) -> Instances:
    group = at(path)
    if arrays.metadata_digest(group) != metadata_digest:
        raise ArrayError(
            f"the metadata of {group} were altered since they were written; ingest its series again"
        )
    if arrays.is_object(group):  # all of it is one instance
        return Instances(arrays.read_described(group), {}, ((), ()), "")
    block = arrays.read_block(group)
    planes = block.planes
    pairs = zip(planes.sop_instance_uids, planes.frame_indices, strict=True)
    return Instances(
        arrays.read_described(group),
        {pair: number for number, pair in enumerate(pairs)},
        (planes.rescale_slopes, planes.rescale_intercepts),
        block.lookup,
    )
