"""A viewer in a cell: the browser draws, Python has the values and the state."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any, SupportsIndex

import pandas as pd
import xarray as xr

from catalog.durable import write
from catalog.errors import ExportError, QuestionError, WorkbenchError
from catalog.headers import read_header
from catalog.records import ArrayRecord, Unreadable
from pipelines.curves import columns_of
from pipelines.marks import Mark, mark_of
from pipelines.presentation.appearance import Appearance
from pipelines.presentation.scene import Scene
from pipelines.store.masks import StoredPlanes
from workbench.outgoing import Drawn, Outgoing
from workbench.tables import Table
from workbench.widgets.brush import Brush
from workbench.widgets.chart import Chart
from workbench.widgets.drawings import Drawings
from workbench.widgets.links import Linked
from workbench.widgets.lying import LYING, Lying, one_of
from workbench.widgets.overlays import Open, Overlaid
from workbench.widgets.painting import KernelPlanes, Painting
from workbench.widgets.post import Post
from workbench.widgets.wire import FASTEST, LAYOUTS, SLABS, TOOLS, Wire, outside

if TYPE_CHECKING:
    from workbench.reports import Receipts

_COLUMNS = {
    "kind": "kind", "where": "where", "text": "text", "length_mm": "length mm", "angle_deg": "angle °",
    "area_mm2": "area mm²", "mean": "mean", "standard_deviation": "sd", "minimum": "min", "maximum": "max",
    "unit": "unit", "holds": "mm hold", "author": "author", "created": "created", "changed": "changed",
}  # fmt: skip


class Viewer(Lying, Overlaid, Linked):
    """Shows an array in a cell; what is set here the picture follows, and what is done there stands here.

    Parameters
    ----------
    array
        (…, y, x) or (…, y, x, channel), as `Bench.volume` gives it, or what was computed of it.
    record
        Where the same values lie in Zarr, whole: then planes come from the Jupyter server, also while the
        kernel is at work. `None` for what lies in the kernel's memory alone.
    drawings
        Where marks are saved as they are drawn; without it they stay in the viewer.
    planes
        Where the mask is kept as it is painted; likewise.
    outgoing
        Writes what is drawn as DICOM objects; without it nothing of it goes out.
    opening
        Opens other series of the bench, to be laid over this one.
    patient
        What the banner says, by what it is, as `pipelines.presentation.banner` has it.

    Raises
    ------
    catalog.errors.QuestionError
        If the array is no image.
    """

    def __init__(
        self,
        array: xr.DataArray,
        record: ArrayRecord | None = None,
        drawings: Drawings | None = None,
        planes: StoredPlanes | None = None,
        outgoing: Outgoing | None = None,
        opening: Open | None = None,
        patient: Mapping[str, str] | None = None,
    ) -> None:
        self.array = array
        """What is shown."""
        self.widget = Wire(array, record)
        """As ipywidgets know it, to be laid out beside others."""
        self._brush = Brush(
            self.widget, Painting(array, self.scene, KernelPlanes() if planes is None else planes)
        )
        self._chart = Chart(self.widget, array)
        self._outgoing = outgoing
        self._open = opening
        self._patient = dict(patient or {})
        self.widget.banner = self._patient
        self.widget.nodes = list(outgoing.nodes) if outgoing is not None else []
        self._post = Post(self.widget, self.send)
        self._drawings = drawings
        self._showing = 0
        """The thread that shows what is saved, of which nothing is to be saved."""
        if drawings is not None:
            self.widget.author = drawings.author
            self._show(drawings.shown)
            self.widget.observe(self._keep, "marks")

    def _repr_mimebundle_(self, **given: Any) -> Any:
        """The widget, and for whatever cannot show one a still picture and words."""
        bundle, *metadata = self.widget._repr_mimebundle_(**given)  # type: ignore[misc]  # a dict and perhaps another
        words = f"{self!r}: a still picture; run the cell in JupyterLab to look at it"
        return (outside(bundle, words, self.widget.still), *metadata)

    def __repr__(self) -> str:
        return f"<viewer of {self.array.name}: {self.layout}, {self._where()}, {len(self.annotations)} marks>"

    @property
    def scene(self) -> Scene:
        """What the viewer knows of the array."""
        return self.widget.described

    @property
    def banner(self) -> bool:
        """Whether name, birth date, sex, ID and study stand above the images; hidden, they are in no page.

        A notebook that is saved with the state of its widgets has them in it as long as they are shown.
        """
        return bool(self.widget.banner)

    @banner.setter
    def banner(self, wanted: bool) -> None:
        self.widget.banner = self._patient if wanted else {}

    @property
    def layout(self) -> str:
        """`stack`, `mpr` (axial, coronal, sagittal, 3D) or `3d`; what is no regular volume has the first."""
        return str(self.widget.arrangement)

    @layout.setter
    def layout(self, name: str) -> None:
        allowed = LAYOUTS if self.scene.is_volume and self.scene.samples == 1 else LAYOUTS[:1]
        self.widget.arrangement = one_of(name, allowed, "layout")

    @property
    def tool(self) -> str:
        """What the primary mouse button does."""
        return str(self.widget.tool)

    @tool.setter
    def tool(self, name: str) -> None:
        self.widget.tool = one_of(name, TOOLS, "tool")

    @property
    def window(self) -> tuple[float, float]:
        """Center and width, in modality values (PS3.3 C.11.2.1.2); a name of `scene.windows` sets it, too.

        Of fractions, as SUV or a map has them, exactly from `center - width / 2` to `center + width / 2`
        (PS3.3 C.11.2.1.3.2).

        A VOI LUT and a sigmoid of the header are windows whose curve is not linear: by their name they are
        taken with it, by numbers a window is linear.
        """
        center, width = self.widget.window
        return center, width

    @window.setter
    def window(self, wanted: tuple[float, float] | str) -> None:
        curve: list[float] = []
        if isinstance(wanted, str):
            named = {each.name: each for each in reversed(self.scene.windows)}
            of_name = named[one_of(wanted, tuple(named), "window")]
            wanted, curve = (of_name.center, of_name.width), list(of_name.curve)
        center, width = (float(each) for each in wanted)
        if not width >= 1 and not self.scene.dtype.startswith("float"):
            raise QuestionError(f"Window Width (0028,1051) must be at least 1, got {width:g}")
        if not width > 0:
            raise QuestionError(f"the width of a window is above 0, not {width:g}")
        with self.widget.hold_sync():
            self.widget.window, self.widget.curve = (center, width), curve

    @property
    def inverted(self) -> bool:
        """Whether the smallest value is white."""
        return bool(self.widget.inverted)

    @inverted.setter
    def inverted(self, wanted: bool) -> None:
        self.widget.inverted = wanted

    @property
    def position(self) -> dict[str, int]:
        """The plane that is shown: its index, from 0, along each axis before rows and columns."""
        return dict(zip((each.name for each in self.scene.axes), self.widget.index, strict=True))

    @position.setter
    def position(self, wanted: Mapping[str, int]) -> None:
        index = self.position
        sizes = {each.name: each.size for each in self.scene.axes}
        for name, number in wanted.items():
            size = sizes[one_of(name, tuple(sizes), "axis")]
            if not 0 <= number < size:
                raise QuestionError(f"{name} runs from 0 to {size - 1}, not {number}")
            index[name] = int(number)
        self.widget.index = list(index.values())

    @property
    def slab(self) -> tuple[float, str]:
        """Thickness of sections, mm, and which of the values along it is shown; 0 mm is a plane.

        `maximum` (a MIP), `average` or `minimum`; `"mip"` and `"plane"` set it, too.
        """
        thickness, kind = self.widget.slab
        return thickness, kind

    @slab.setter
    def slab(self, wanted: tuple[float, str] | str) -> None:
        if isinstance(wanted, str):
            depth = math.ceil(_diagonal_mm(self.scene))
            wanted = {"mip": (depth, "maximum"), "plane": (0, "maximum")}[
                one_of(wanted, ("mip", "plane"), "slab")
            ]
        thickness, kind = float(wanted[0]), one_of(wanted[1], SLABS, "slab")
        if not 0 <= thickness < math.inf:
            raise QuestionError(f"a slab is 0 mm thick or more, not {thickness:g}")
        self.widget.slab = thickness, kind

    @property
    def playing(self) -> bool:
        """Whether a cine runs: along time where there is a time axis, else along the planes."""
        return bool(self.widget.playing)

    @playing.setter
    def playing(self, wanted: bool) -> None:
        self.widget.playing = wanted

    @property
    def frames_per_second(self) -> float | None:
        """How fast a cine runs; `None` for the times at which the frames were taken, where they are known."""
        return self.widget.rate or None

    @frames_per_second.setter
    def frames_per_second(self, wanted: float | None) -> None:
        if wanted is not None and not 0 < wanted <= FASTEST:
            raise QuestionError(f"a cine runs at up to {FASTEST:g} frames a second, not {wanted:g}")
        self.widget.rate = wanted or 0.0

    @property
    def annotations(self) -> Table[Mark]:
        """What is drawn, each measured on the values of the array: a table; set it to draw from Python.

        On a series of the catalog each mark is saved as it is drawn, with its author and the time. Marks of
        other authors are here, too; they are theirs, and stay as they are.
        """
        marks = [self._with_author(mark_of(each, self.array, self.scene)) for each in self.widget.marks]
        return Table(marks, _COLUMNS, noun="marks", note=self.widget.unsaved)

    @annotations.setter
    def annotations(self, wanted: Iterable[Mark]) -> None:
        self.widget.marks = [each.as_json() for each in wanted]
        if self.widget.unsaved:
            raise QuestionError(self.widget.unsaved)

    @property
    def curves(self) -> pd.DataFrame:
        """How the mean inside each outline and probe runs over time: a row a frame, a column a mark.

        The index is time in the unit of the array's axis (`.index.name`), else the number of the frame; empty
        for an array without an axis `time`.
        """
        curves = self._chart.curves()
        name = f"time / {curves[0].unit}" if curves and curves[0].unit else "frame"
        index = pd.Index(curves[0].seconds if curves else (), name=name, dtype=float)
        return pd.DataFrame(columns_of(curves), index=index, dtype=float)

    @property
    def mask(self) -> xr.DataArray:
        """What is painted: a label for every voxel of the array, 0 where there is none; set it to paint.

        On a series of the catalog it is the author's, and kept in the folder of the bench with each stroke.
        Set it to booleans or whole numbers of the shape of the array; the attribute `labels` names them.
        """
        return self._brush.painting.mask

    @mask.setter
    def mask(self, wanted: xr.DataArray) -> None:
        self._brush.replace(wanted)

    @property
    def segments(self) -> list[dict[str, Any]]:
        """What the labels of the mask mean: `number`, `label` and `color` of each; set it to name them."""
        return self._brush.painting.segments

    @segments.setter
    def segments(self, wanted: Iterable[Mapping[str, Any]]) -> None:
        self._brush.painting.segments = list(wanted)
        self.widget.segments = self._brush.painting.segments

    def grow(self, at: Mapping[str, int], low: float, high: float, *, segment: int = 1) -> int:
        """Paint what hangs together with a voxel, of those with values from `low` to `high`; return how many.

        Planes of a volume hang together by faces, frames of a time axis do not. What has a label keeps it.

        Parameters
        ----------
        at
            Index of the voxel along each axis, from 0: `{"z": 40, "y": 200, "x": 180}`; an axis that is left
            out is where the viewer is.
        low, high
            In the unit of the array.

        Raises
        ------
        catalog.errors.QuestionError
            If there is no such voxel, or its value is not in the range.
        """
        place = self.position
        for name in at:
            one_of(name, (*place, "y", "x"), "axis")
            if isinstance(at[name], bool) or not isinstance(at[name], SupportsIndex):
                raise QuestionError(f"{name} is a whole number from 0, not {at[name]!r}")
        index = tuple(int(number) for number in (place | dict(at)).values())[: len(place)]
        if not {"y", "x"} <= set(at):
            raise QuestionError("a region grows from a row and a column: give y and x")
        return self._brush.grow(index, (int(at["y"]), int(at["x"])), float(low), float(high), segment)

    def interpolate(self, *, segment: int = 1) -> int:
        """Paint a segment on the planes between those that have it; return how many voxels that are.

        Shape-based interpolation (Raya and Udupa 1990), at the time or echo that is shown; what has a label
        keeps it.

        Raises
        ------
        catalog.errors.QuestionError
            If no plane lies between two that have the segment.
        """
        return self._brush.interpolate(tuple(self.widget.index[:-1]), segment)

    def refresh(self) -> None:
        """Show what others, and other kernels, drew on this series since it was opened."""
        if self._drawings is not None:
            with self._drawings.turn:
                self._keep()
                self._drawings.look()
                self._show(self._drawings.shown)

    def _with_author(self, mark: Mark) -> Mark:
        record = self._drawings.record(mark.uid) if self._drawings is not None else None
        if self._drawings is None or record is None:
            return mark
        author = self._drawings.whose.get(mark.uid, self._drawings.author)
        return replace(mark, author=author, created=record.created, changed=record.changed)

    def _keep(self, _change: Any = None) -> None:
        """Save what is drawn; what could not be is said in the picture, and saved with the next change."""
        if self._drawings is None or self._showing == get_ident():
            return
        with self._drawings.turn:  # messages of the browser come beside cells that run
            drawn = self.widget.marks
            try:
                shown, self.widget.unsaved = self._drawings.keep(drawn)
            except WorkbenchError as error:
                self.widget.unsaved = f"not saved: {error}"
            else:
                if self.widget.marks is drawn:  # else what was drawn meanwhile is kept next
                    self._show(shown)

    def _show(self, marks: Sequence[Mapping[str, Any]]) -> None:
        assert self._drawings is not None
        self.widget.whose = self._drawings.whose
        self._showing = get_ident()
        try:
            self.widget.marks = [dict(each) for each in marks]
        finally:
            self._showing = 0

    def on_change(self, name: str, call: Callable[["Viewer"], object]) -> None:
        """Call a function with this viewer whenever `annotations`, `window`, `position` or others change."""
        traits = {"annotations": "marks", "position": "index", "layout": "arrangement"}
        known = (
            *traits, "window", "inverted", "tool", "slab", "camera", "playing", "overlays",
            "segments", "curves",
        )  # fmt: skip
        self.widget.observe(lambda _change: call(self), traits.get(one_of(name, known, "state"), name))

    def screenshot(self, seconds: float = 10.0) -> bytes:
        """Return what the cell shows, marks included, as PNG.

        Raises
        ------
        catalog.errors.QuestionError
            If no browser shows it, or none answers in time.
        """
        return self.widget.screenshot(seconds)

    def export(self, form: str, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """Write what is drawn here as a file, which `bench.send` takes where it is a DICOM object.

        Parameters
        ----------
        form
            `sr` (marks with what they measure), `gsps` (marks on their images), `rtstruct` (marks in the
            patient), `seg` (the mask), `nifti` (the mask) or `png` (the picture of the cell).
        path
            Of the file; a folder of the bench where it is left out, which `nifti` and `png` do not have.

        Raises
        ------
        catalog.errors.EncodeError
            If nothing is drawn, or it cannot be encoded in this form.
        catalog.errors.QuestionError
            If there is no such form, the array is of no series of the catalog, or there is no path.
        catalog.errors.ExportError, catalog.errors.GeometryError
            If there is such a file already, or the mask cannot be written as NIfTI.
        """
        target = Path(path).expanduser() if path is not None else None
        if form in ("nifti", "png"):
            return self._export_picture(form, target, overwrite=overwrite)
        made = self._written(form)
        if target is None:
            return made
        _check_free(target, overwrite=overwrite)
        write(target, made.read_bytes())
        return target

    def load(self, path: str | Path) -> None:
        """Take in what an object has: marks (report, presentation state, structure set) or a mask.

        Marks become the author's, but those that are here already; what lies on other images is passed over.
        The mask of a segmentation takes the place of the one that is here. A presentation state of these
        images has the planes lie as it says, too: window, shades, turned and flipped, the part that is seen,
        and a shutter.

        Raises
        ------
        catalog.errors.HeaderError
            If the file is none of these.
        catalog.errors.GeometryError, catalog.errors.StepError
            If voxels of a segmentation are no voxels of this array, or its segments overlap.
        """
        from pipelines.objects.appearances import PRESENTATION_STATES, read_appearance
        from pipelines.objects.drawn import read_marks
        from pipelines.objects.gridded import on_grid
        from pipelines.objects.segmentations import SEGMENTATIONS, read_segmentation

        header = read_header(Path(path))
        kind = None if isinstance(header, Unreadable) else header.values.get("sop_class_uid")
        if kind in SEGMENTATIONS:
            self.mask = on_grid(read_segmentation(path), self.array)
            return
        found = read_marks(path, self.scene)
        appearance = read_appearance(path, self.scene) if kind in PRESENTATION_STATES else None
        here = {each.uid: each for each in self.annotations}
        self.annotations = [*here.values(), *(each for each in found if each.uid not in here)]
        if appearance is not None:
            self._appear(appearance)

    @property
    def _appearance(self) -> Appearance:
        """How the planes are shown, as far as a presentation state says it of whole images."""
        lying = dict(LYING) | self.camera.get("planes", {})
        is_flipped = lying["flip_horizontal"] != lying["flip_vertical"]
        turned = (
            lying["rotation"] + 180 * lying["flip_vertical"]
        )  # up and down is left and right, turned by half
        if turned % 90:
            turned = 0
        return Appearance(self.window, self.inverted, _turned(int(turned), is_flipped=is_flipped), is_flipped)

    def _appear(self, appearance: Appearance) -> None:
        """Have the planes shown so."""
        is_flipped = appearance.is_flipped
        turned = _turned(appearance.rotation, is_flipped=is_flipped)
        lying = dict(LYING) | {"rotation": turned, "flip_horizontal": is_flipped}
        if appearance.area is not None:
            lying["area"] = appearance.area
        with self.widget.hold_sync():
            if appearance.window is not None:
                self.window = appearance.window
            if appearance.is_inverted is not None:
                self.inverted = appearance.is_inverted
            self.camera = {"planes": lying}
            self.shutter = appearance.shutter

    def send(self, to: str, form: str = "sr") -> "Receipts":
        """Send what is drawn here to a node, in one of the forms of `export`; a receipt says how far it came.

        What was sent before and is unchanged is the same object: it is not sent twice.

        Raises
        ------
        catalog.errors.EncodeError, catalog.errors.QuestionError
            As `export`.
        catalog.errors.NotFoundError
            If there is no such node.
        """
        made = self._written(form)
        assert self._outgoing is not None
        return self._outgoing.send([made], to)

    def _written(self, form: str) -> Path:
        if self._outgoing is None:
            raise QuestionError("an array of no series has nothing to refer to; show a series and draw there")
        own = self._outgoing.author
        return self._outgoing.write(
            form,
            Drawn(
                [each for each in self.annotations if each.author in (own, "")],
                self.scene,
                lambda: self.mask,
                self._brush.painting.colours,
                self._appearance,
            ),
        )

    def _export_picture(self, form: str, target: Path | None, *, overwrite: bool) -> Path:
        if target is None:
            raise QuestionError(f"a {form} needs the path of its file: viewer.export({form!r}, 'name')")
        if form == "nifti":
            from pipelines.export import to_nifti

            return to_nifti(self.mask, target, overwrite=overwrite)
        _check_free(target, overwrite=overwrite)
        write(target, self.screenshot())
        return target

    def _where(self) -> str:
        return ", ".join(f"{name} {number}" for name, number in self.position.items())


def _diagonal_mm(scene: Scene) -> float:
    """Longest way through the planes."""
    spacing = scene.pixel_spacing or (1.0, 1.0)
    ends = scene.positions_lps_mm[:1] + scene.positions_lps_mm[-1:]
    depth = math.dist(*ends) if len(ends) == 2 else 0.0
    return math.hypot(depth, scene.rows * spacing[0], scene.columns * spacing[1])


def _turned(degrees: int, *, is_flipped: bool) -> int:
    """A state turns, then flips; a camera turns clockwise what is flipped already. From one to the other."""
    return (-degrees if is_flipped else degrees) % 360


def _check_free(target: Path, *, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        raise ExportError(f"{target} is there already; give another name, or say to overwrite it")
