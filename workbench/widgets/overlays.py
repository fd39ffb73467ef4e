"""What is laid over the images of a viewer: other arrays, each where it lies in the patient."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import xarray as xr

from catalog.errors import QuestionError
from catalog.records import ArrayRecord, SeriesRecord
from pipelines.objects.registrations import Transform, matrix_of
from pipelines.objects.structures import Structure, to_labels
from pipelines.presentation.fusion import (
    LARGEST_BYTES,
    Matrix,
    as_matrix,
    is_of_labels,
    placed,
    single,
)
from pipelines.presentation.scene import Scene, scene_of
from workbench.server.shelf import put
from workbench.tables import Table
from workbench.widgets.wire import Wire

COLORMAPS = ("hot", "jet", "viridis", "cool", "gray", "labels")
"""As `extensions/src/colormaps.ts` has them; of `labels` each number has a colour of its own."""
_COLUMNS = {
    "name": "name", "colormap": "colours", "opacity": "opacity", "window": "window", "unit": "unit",
    "is_shown": "shown",
}  # fmt: skip

type Opened = tuple[xr.DataArray, ArrayRecord | None]
type Open = Callable[[str | SeriesRecord, int | None], Opened]
"""Opens a series of the bench, and says where its values lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """An array that is laid over the images; `dataclasses.replace` makes another state of it."""

    name: str
    """By which it is known in its viewer."""
    array: xr.DataArray = field(repr=False, compare=False)
    """(z, y, x), on a grid of its own."""
    colormap: str = "hot"
    opacity: float = 0.5
    """From 0, not to be seen, to 1, nothing below is seen."""
    window: tuple[float, float] = (0.0, 1.0)
    """Center and width: colours run from center - width / 2, below which nothing is drawn, to center + width
    / 2 (LINEAR_EXACT, PS3.3 C.11.2.1.3.2)."""
    is_shown: bool = True
    transform: Matrix | None = None
    """From its LPS mm to those of what is shown; `None` where both are the same."""
    uid: str = field(default_factory=lambda: uuid4().hex, repr=False)
    """By which the page knows it."""
    record: ArrayRecord | None = field(default=None, repr=False, compare=False)
    """Where the same values lie in Zarr."""

    def __post_init__(self) -> None:
        if self.colormap not in COLORMAPS:
            raise QuestionError(f"there is no colormap {self.colormap!r}; there are {', '.join(COLORMAPS)}")
        if not 0 <= self.opacity <= 1:
            raise QuestionError(f"an opacity goes from 0 to 1, not {self.opacity:g}")
        if not self.window[1] > 0:
            raise QuestionError(f"the width of a window is above 0, not {self.window[1]:g}")

    @property
    def unit(self) -> str:
        """Of its values; empty where it is not known."""
        return str(self.array.attrs.get("units") or "")


class Overlaid:
    """The part of a viewer that lays other arrays over what it shows."""

    widget: Wire
    array: xr.DataArray
    _open: Open | None = None

    @property
    def overlays(self) -> Table[Overlay]:
        """What is laid over the images, the lowest first; set it to have other states, or others, there."""
        said = {each["uid"]: each for each in self.widget.overlays}
        found = [_as_said(each, said[each.uid]) for each in self._laid.values() if each.uid in said]
        return Table(found, _COLUMNS, noun="overlays")

    @overlays.setter
    def overlays(self, wanted: Iterable[Overlay]) -> None:
        laid = {each.uid: each for each in wanted}
        names = [each.name for each in laid.values()]
        if len(set(names)) < len(names):
            raise QuestionError("two overlays of one viewer cannot have the same name")
        scenes = {uid: scene_of(each.array) for uid, each in laid.items()}
        said = [self._said(each, scenes[each.uid]) for each in laid.values()]
        with self.widget.turn:
            for uid in set(self._laid) - set(laid):
                self.widget.arrays.pop(uid, None)
            self.widget.arrays |= {uid: (each.array, scenes[uid]) for uid, each in laid.items()}
            self.widget.laid = laid
            self.widget.overlays = said

    def overlay(
        self,
        what: str | SeriesRecord | xr.DataArray,
        *,
        colormap: str | None = None,
        opacity: float = 0.5,
        window: tuple[float, float] | None = None,
        name: str = "",
        transform: Transform | None = None,
        part: int | None = None,
    ) -> Overlay:
        """Lay a series or an array over the images, where it lies in the patient, on its own grid.

        PET or a dose over CT, a map over what it was made of, labels of another series. Values between voxels
        are interpolated linearly, labels (booleans and whole numbers) are not. One of the same name goes.

        Parameters
        ----------
        what
            A series, or an array (z, y, x) with an affine: `bench.volume(pet).dicom.suv()` is PET in SUV.
        colormap
            One of `COLORMAPS`; left out, `labels` for labels and `hot` for all else.
        opacity
            From 0 to 1.
        window
            Center and width; the colours begin at its lower end, below which nothing is drawn.
        name
            Shown in the cell; left out, the modality or the name of the array.
        transform
            From its LPS mm to those of what is shown, where both lie in different frames of reference: 4 × 4,
            or what `bench.registration` gives.
        part
            Which one, where the series holds several arrays.

        Raises
        ------
        catalog.errors.QuestionError
            If it is in colour, has axes to pick from, is too large, or lies in another frame of reference.
        catalog.errors.GeometryError
            If it has no place in the patient: the reason, in words.
        catalog.errors.NotFoundError
            If a registration does not tell where both lie.
        catalog.errors.WorkbenchError
            As `Bench.volume`, for a series.
        """
        array, record = self._opened(what, part)
        volume = single(array)
        if volume.size * scene_itemsize(volume) > LARGEST_BYTES:
            raise QuestionError(
                f"array {volume.name!r} has {volume.size:,} voxels; a page holds 512 MiB of what is laid "
                "over its images: cut out a part, or take a coarser level"
            )
        shown = self.widget.described
        matrix = None
        if transform is not None:
            matrix = as_matrix(matrix_of(transform, scene_of(volume), shown))
        placed(volume, shown, matrix)
        if volume.dims != array.dims:
            record = None
        if record is None:
            volume = volume.compute()  # planes that are asked for are not computed anew each
        labels = is_of_labels(volume)
        made = Overlay(
            name=name or str(volume.attrs.get("modality") or volume.name or "overlay"),
            array=volume,
            colormap=colormap or ("labels" if labels else "hot"),
            opacity=float(opacity),
            window=_window(window, volume),
            transform=matrix,
            record=record,
        )
        self.overlays = [each for each in self.overlays if each.name != made.name] + [made]
        return made

    def overlay_structures(
        self, structures: Iterable[Structure], *, name: str = "regions", opacity: float = 0.4
    ) -> list[Overlay]:
        """Lay the regions of a structure set over the images, with their names and colours.

        Those that overlap lie over each other, each layer under a name of its own: `regions`, `regions 2`;
        what lay there under such names goes.

        Parameters
        ----------
        structures
            As `bench.structures(series)` has them, or some of these.

        Raises
        ------
        catalog.errors.GeometryError
            If the images have no regular grid, or a region lies in another frame of reference, or between the
            planes.
        catalog.errors.QuestionError
            If none of them encloses a voxel, or the array has axes to pick from.
        """
        layers = to_labels(structures, single(self.array))
        if not layers:
            raise QuestionError("none of these regions encloses a voxel of the images that are shown")
        of_that_name = re.compile(rf"{re.escape(name)}( \d+)?")
        self.overlays = [each for each in self.overlays if not of_that_name.fullmatch(each.name)]
        return [
            self.overlay(each, name=name if number == 1 else f"{name} {number}", opacity=opacity)
            for number, each in enumerate(layers, start=1)
        ]

    def remove_overlay(self, name: str) -> None:
        """Take away what was laid over the images under a name.

        Raises
        ------
        catalog.errors.QuestionError
            If there is none.
        """
        left = [each for each in self.overlays if each.name != name]
        if len(left) == len(self.overlays):
            names = ", ".join(repr(each.name) for each in self.overlays) or "none"
            raise QuestionError(f"there is no overlay {name!r}; there are {names}")
        self.overlays = left

    @property
    def _laid(self) -> dict[str, Overlay]:
        return self.widget.laid

    def _opened(self, what: str | SeriesRecord | xr.DataArray, part: int | None) -> Opened:
        if isinstance(what, xr.DataArray):
            return what, None
        if self._open is None:
            raise QuestionError("this viewer shows an array of no bench; lay over bench.volume(series)")
        return self._open(what, part)

    def _said(self, each: Overlay, scene: Scene) -> dict[str, Any]:
        """As the page takes it."""
        numbers = each.array.attrs.get("labels") or {}
        labels = {str(number): str(label) for number, label in numbers.items()}
        colors = each.array.attrs.get("colors") or {}
        return {
            "uid": each.uid,
            "name": each.name,
            "key": put(each.record) if each.record is not None else "",
            "scene": scene.as_json(),
            "affine": placed(each.array, self.widget.described, each.transform),
            "is_of_labels": is_of_labels(each.array),
            "labels": labels,
            "colors": {str(number): list(color) for number, color in colors.items()},
            **_state(each),
        }


def scene_itemsize(array: xr.DataArray) -> int:
    """Bytes that a voxel takes in a page, at most."""
    return min(array.dtype.itemsize, 4)


def _state(each: Overlay) -> dict[str, Any]:
    """What a person may change in the cell."""
    return {
        "colormap": each.colormap,
        "opacity": each.opacity,
        "window": list(each.window),
        "is_shown": each.is_shown,
    }


def _as_said(each: Overlay, said: Mapping[str, Any]) -> Overlay:
    center, width = said["window"]
    return replace(
        each,
        colormap=said["colormap"],
        opacity=float(said["opacity"]),
        window=(float(center), float(width)),
        is_shown=bool(said["is_shown"]),
    )


def _window(wanted: tuple[float, float] | None, array: xr.DataArray) -> tuple[float, float]:
    if wanted is not None:
        center, width = (float(each) for each in wanted)
        return center, width
    first = scene_of(array).windows[0]
    return float(first.center), float(first.width)
