"""What a viewer and its picture in the browser have in common: small state, and planes as buffers.

State, both ways, are the traits of `Wire`. Messages, with what they carry in brackets:

    page → kernel   plane (id, index, overlay)     a plane of what lies in the kernel alone; of what is laid
                                                   over the images, where `overlay` has its `uid`
    kernel → page   plane (id, error; buffer)      its values, or why there are none
    kernel → page   shot (key)                     a picture is wanted; it comes through the server
    page → kernel   mask (index, plane, run; buffer)   a plane of the mask after a stroke
    kernel → page   mask-saved (index, plane, run, error)   it is durable, or why it is not
    page → kernel   mask-wanted (index, plane)     a plane of the mask is wanted; else all with labels
    kernel → page   mask (index, plane, error; buffer)  that plane
    kernel → page   mask-planes (index, planes; buffers)  planes with labels, also of what Python has set
    kernel → page   mask-clear (index)             Python has set another mask: forget every plane
    kernel → page   mask-turn (turn)               that was a step, to be undone
    page → kernel   mask-turn (turn, undone)       undo it, or do it again
    page → kernel   mask-grow (index, point, low, high, segment)   paint what hangs together with a point
    page → kernel   mask-interpolate (index, segment)   paint a segment between the planes that have it
    kernel → page   mask-made (index, planes, done, error; buffers)   planes of one step that was painted here
    page → kernel   send (node, form, run)         what is drawn is to go to a node
    kernel → page   receipt (node, form, run, html, text, error)   how far it came, or why it did not

`index` of a mask is that of the axes before the planes, `plane` the number of the plane along the last; where
`index` is left out it is the one that is shown. A plane of a mask is a byte a pixel, the number of its
segment, row by row; an empty buffer is a plane without labels. After `mask-clear` come the planes of its
`index` that Python has set, the one that is shown first; others the page asks for when it shows them. `run`
comes back as it was sent. Many planes come in messages of `PLANES_AT_ONCE`, a buffer each: Jupyter's server
drops more than 3,000 messages in three seconds. Of what is painted in the kernel `done` is in the last, and
all of them are undone together.

Marks of other authors are in `marks` like those of one's own; `whose` has their UIDs and the authors' names.
They are not to be changed: Python puts them back. What a page sends is saved at once where the series is of a
catalog; `unsaved` says why it could not be.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from threading import RLock
from typing import Any

import anywidget
import traitlets
import xarray as xr

from catalog.errors import QuestionError, WorkbenchError
from catalog.records import ArrayRecord
from pipelines.blocks import HERE
from pipelines.presentation.display import to_png
from pipelines.presentation.preview import preview
from pipelines.presentation.scene import Scene, plane_bytes, scene_of
from pipelines.presentation.windows import Window
from workbench.server.shelf import await_picture, expect, put

STILL_TILE = 320
"""Rows and columns of each plane of the still picture, in pixels."""
VIEWS = {"stack": ("planes",), "mpr": ("axial", "coronal", "sagittal"), "3d": ()}
"""The images of each layout, as `extensions/src/layouts.ts` has them."""
LAYOUTS = tuple(VIEWS)
FASTEST = 240.0
"""Frames a second of a cine."""
PLANES_AT_ONCE = 32
"""Planes of a mask in one message."""
TOOLS = (
    "window", "scroll", "pan", "zoom", "crosshairs", "length", "bidirectional", "angle", "cobb", "probe",
    "ellipse", "circle", "rectangle", "freehand", "spline", "livewire", "arrow",
    "brush", "eraser", "threshold", "scissors", "round scissors", "cut away", "fill", "region",
)  # fmt: skip
"""As `extensions/src/tools.ts` names them."""
_STILL = "application/vnd.imaging-workbench.still+json"
SLABS = ("maximum", "average", "minimum")
"""Which of the values along a slab is shown."""


def _still(array: xr.DataArray, *, is_stored: bool) -> bytes:
    """The middle plane alone: other sections would read all of a large series."""
    middle = {name: size // 2 for name, size in array.sizes.items() if name not in ("y", "x", "channel")}
    plane = array.isel(middle)
    return to_png(preview(plane.compute(scheduler=HERE) if is_stored else plane, tile=STILL_TILE))


type Answer = Callable[[dict[str, Any], list[bytes]], None]
"""Takes the content and the buffers of a message."""


def words_of(error: Exception) -> str:
    """What a page is told of an error: words of ours, or the kind of another."""
    return str(error) if isinstance(error, WorkbenchError) else type(error).__name__


def script(name: str) -> str:
    """Return what anywidget has the browser run for a widget, the finding of the extension before it."""
    parts = (Path(__file__).with_name(f"{each}.js") for each in ("found", name))
    return "\n".join(each.read_text(encoding="utf-8") for each in parts)


def outside(bundle: Mapping[str, Any], words: str, picture: bytes | str | None = None) -> dict[str, Any]:
    """Add to what a cell has of a widget what is shown where there is none: a picture, PNG or SVG, and words.

    Our extension shows them until there is the widget (`extensions/src/still.ts`): a notebook that was saved
    has them when its kernel is gone. A page that is made of a notebook has both, too.
    """
    found: dict[str, Any] = {_STILL: {}, "text/plain": words}
    if picture is not None:
        kind = "image/png" if isinstance(picture, bytes) else "image/svg+xml"
        raw = picture if isinstance(picture, bytes) else picture.encode()
        found[kind] = b64encode(raw).decode() if isinstance(picture, bytes) else picture
        source = f"data:{kind};base64,{b64encode(raw).decode()}"
        found["text/html"] = f'<img src="{source}" alt=""><p>{escape(words)}</p>'
    return {**bundle, **found}


def awaited_shot(widget: anywidget.AnyWidget, seconds: float) -> bytes:
    """Ask the browser for a picture; it comes through the server, as a kernel at work hears nothing."""
    key = expect()
    widget.send({"kind": "shot", "key": key})
    picture = await_picture(key, seconds)
    if picture is None:
        raise QuestionError(
            f"no browser answered within {seconds:g} seconds: the viewer takes a picture where it is "
            "shown, in JupyterLab with its extension"
        )
    return picture


class Wire(anywidget.AnyWidget):
    """The widget of a viewer; who shows an array takes `workbench.widgets.viewer.Viewer`."""

    _esm = script("viewer")

    scene = traitlets.Dict().tag(sync=True)
    """`pipelines.presentation.scene.Scene`, as plain values."""
    key = traitlets.Unicode().tag(sync=True)
    """By which the Jupyter server knows the array; empty where it lies in the kernel alone."""
    still = traitlets.Bytes().tag(sync=True)
    """A picture, PNG, for where there is no viewer."""
    index = traitlets.List(traitlets.Int()).tag(sync=True)
    window = traitlets.Tuple(traitlets.Float(), traitlets.Float()).tag(sync=True)
    curve = traitlets.List(traitlets.Float()).tag(sync=True)
    """What is shown of values from one end of the window to the other, 0 to 1; empty where linear."""
    arrangement = traitlets.Enum(LAYOUTS, LAYOUTS[0]).tag(sync=True)
    tool = traitlets.Enum(TOOLS, TOOLS[0]).tag(sync=True)
    inverted = traitlets.Bool().tag(sync=True)
    slab = traitlets.Tuple(traitlets.Float(), traitlets.Enum(SLABS)).tag(sync=True)
    """Thickness of sections, mm, and which value is shown; 0 is a plane."""
    camera = traitlets.Dict().tag(sync=True)
    """How each view lies in its cell, by the name of the view; `area`, a part of the planes in pixels that is
    to be seen, becomes `zoom` and `pan` where it is shown."""
    shutter = traitlets.List(traitlets.List()).tag(sync=True)
    """Polygons, column and row of each corner in pixels: outside of any of them planes are black."""
    playing = traitlets.Bool(False).tag(sync=True)
    segments = traitlets.List(traitlets.Dict()).tag(sync=True)
    """What is painted: `number`, `label` and `color` (red, green, blue) of each segment."""
    segment = traitlets.Int(1).tag(sync=True)
    """Number of the segment that is painted."""
    brush = traitlets.Float(5.0, min=0.1, max=200.0).tag(sync=True)
    """Radius of the brush, mm."""
    rate = traitlets.Float(0.0, min=0.0, max=FASTEST).tag(sync=True)
    """Frames a second of the cine; 0 for the times at which they were taken."""
    marks = traitlets.List(traitlets.Dict()).tag(sync=True)
    """What is drawn, as `extensions/src/marks.ts` has it."""
    author = traitlets.Unicode().tag(sync=True)
    """Who draws here; empty where marks are not saved."""
    whose = traitlets.Dict().tag(sync=True)
    """UID of each mark of somebody else to the author's name."""
    banner = traitlets.Dict().tag(sync=True)
    """Words about the patient and what was made, by what they are; empty where they are hidden."""
    overlays = traitlets.List(traitlets.Dict()).tag(sync=True)
    """What is laid over the images, the lowest first, as `workbench.widgets.overlays` makes it; a page
    changes `colormap`, `opacity`, `window` and `is_shown` of each."""
    measured = traitlets.Dict().tag(sync=True)
    """UID of each mark to what it measures: `length` and `area` in mm, `angle` in degrees, `mean`."""
    curves = traitlets.List(traitlets.Dict()).tag(sync=True)
    """`pipelines.curves.Curve` of what is drawn, as plain values."""
    linked = traitlets.Unicode().tag(sync=True)
    """By what another viewer shows the same place (`widgets.links.Link.by`); empty where none does."""
    nodes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """Names of the nodes that what is drawn may be sent to."""
    unsaved = traitlets.Unicode().tag(sync=True)
    """Why a mark could not be saved, in words; empty where all are."""

    def __init__(self, array: xr.DataArray, record: ArrayRecord | None) -> None:
        self.described = scene_of(array)
        first = self.described.windows[0] if self.described.windows else Window(128, 256, "")
        super().__init__(
            scene=self.described.as_json(),
            key=put(record) if record is not None else "",
            still=_still(array, is_stored=record is not None),
            index=[each // 2 for each in self.described.shape],
            window=(first.center, first.width),
            curve=list(first.curve),
            inverted=self.described.is_inverted,
            slab=(0.0, SLABS[0]),
        )
        self.arrays: dict[str, tuple[xr.DataArray, Scene]] = {"": (array, self.described)}
        """What planes are given of: what is shown, and by its `uid` what is laid over it."""
        self.laid: dict[str, Any] = {}
        """By its `uid`, each `workbench.widgets.overlays.Overlay` as Python had set it."""
        self.turn = RLock()
        """Of what a page and a cell set at once: Jupyter answers pages beside cells that run."""
        self.links: list[Any] = []
        """Each `workbench.widgets.links.Link` to another viewer."""
        self.answers: dict[str, Answer] = {"plane": self._give}
        """Kind of a message to what answers it."""
        self.on_msg(self._came)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what a page says; of what is not taken as it was said the page hears what there is."""
        with self.turn:
            super().set_state(sync_data)
            said = sync_data.get("overlays")
            if said is not None and said != self.overlays:
                self.send_state("overlays")

    @traitlets.validate("overlays")
    def _laid_still(self, proposal: Any) -> list[dict[str, Any]]:
        """A page may say how something lies that Python has taken away meanwhile: it stays away."""
        return [each for each in proposal["value"] if each.get("uid") in self.laid]

    def screenshot(self, seconds: float) -> bytes:
        """Ask the browser for a picture."""
        return awaited_shot(self, seconds)

    def _came(self, _widget: Any, content: dict[str, Any], buffers: list[bytes]) -> None:
        answer = self.answers.get(str(content.get("kind")))
        if answer is not None:
            answer(content, buffers)

    def _give(self, content: dict[str, Any], _buffers: list[bytes]) -> None:
        """Give the browser a plane of what lies in the kernel alone."""
        answer = {"kind": "plane", "id": content.get("id")}
        try:
            array, scene = self.arrays[str(content.get("overlay") or "")]
            plane = plane_bytes(array, scene, [int(each) for each in content.get("index", ())])
        except (WorkbenchError, LookupError, ValueError, TypeError) as error:
            self.send(answer | {"error": words_of(error)})
            return
        self.send(answer, [plane])
