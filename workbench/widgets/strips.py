"""A viewer of waveforms in a cell: the page draws strips, Python has the samples and the state.

State, both ways, are the traits of `StripWire`. Messages, with what they carry in brackets:

    page → kernel   tile (id, level, tile)         of a curve that lies in the kernel alone
    kernel → page   tile (id, error; buffer)       as `pipelines.presentation.strips.tile_of`, or why not
    kernel → page   shot (key)                     a picture is wanted; it comes through the server
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anywidget
import traitlets
import xarray as xr

from catalog.errors import QuestionError, WorkbenchError
from catalog.records import ArrayRecord
from pipelines.objects.waveform_annotations import WaveformAnnotation
from pipelines.presentation.paper import SECONDS, describe, drawing
from pipelines.presentation.strips import Strips, strips_of, tile_of, traces
from workbench.server.shelf import put
from workbench.tables import Table
from workbench.widgets.wire import awaited_shot, outside, script, words_of

SLOWEST, FASTEST = 0.001, 400.0
"""Of the paper, mm/s: a day on one screen, a beat on one."""
FLATTEST, STEEPEST = 0.01, 1000.0
"""Of the curves, mm/mV."""
_COLUMNS = {"text": "annotation", "start_s": "from s", "stop_s": "to s", "channels": "channels"}


@dataclass(frozen=True, slots=True)
class Said:
    """An annotation of the waveform, with the channels by their names."""

    text: str
    start_s: float | None
    stop_s: float | None
    channels: str


class StripWire(anywidget.AnyWidget):
    """The widget of strips; who shows a waveform takes `StripViewer`."""

    _esm = script("viewer")

    strips = traitlets.Dict().tag(sync=True)
    """`pipelines.presentation.strips.Strips`, as plain values."""
    key = traitlets.Unicode().tag(sync=True)
    """By which the Jupyter server knows the array; empty where it lies in the kernel alone."""
    still = traitlets.Bytes().tag(sync=True)
    """A picture, SVG, for where there is no viewer."""
    start = traitlets.Float().tag(sync=True)
    """Time at the left edge, s."""
    speed = traitlets.Float(25.0, min=SLOWEST, max=FASTEST).tag(sync=True)
    """mm/s."""
    gain = traitlets.Float(10.0, min=FLATTEST, max=STEEPEST).tag(sync=True)
    """mm/mV; what is no voltage grows with it."""

    def __init__(
        self, array: xr.DataArray, described: Strips, record: ArrayRecord | None, still: str
    ) -> None:
        self._array = array
        super().__init__(
            strips=described.as_json(),
            key=put(record) if record is not None else "",
            still=still.encode(),
            start=described.start_s,
            speed=described.paper.mm_per_s,
            gain=described.paper.mm_per_mv,
        )
        self.on_msg(self._came)

    def _came(self, _widget: Any, content: dict[str, Any], _buffers: list[bytes]) -> None:
        if content.get("kind") != "tile":
            return
        answer = {"kind": "tile", "id": content.get("id")}
        try:
            tile = tile_of(self._array, int(content["level"]), int(content["tile"]))
        except (WorkbenchError, KeyError, ValueError, TypeError) as error:
            self.send(answer | {"error": words_of(error)})
            return
        self.send(answer, [tile.astype("<f4").tobytes()])


class StripViewer:
    """Shows a waveform as strips; what is set here the picture follows, and what is done there stands here.

    Parameters
    ----------
    array
        (channel, time), as `Bench.volume` gives it, or what was computed of it.
    record
        Where the same samples lie in Zarr; `None` for what lies in the kernel's memory alone.
    annotations
        What the object says of its curves.
    note
        What a reader should know of them.

    Raises
    ------
    catalog.errors.QuestionError
        If the array is no waveform.
    """

    def __init__(
        self,
        array: xr.DataArray,
        record: ArrayRecord | None = None,
        annotations: Sequence[WaveformAnnotation] = (),
        note: str = "",
    ) -> None:
        self.array = array
        """What is shown."""
        self.strips = strips_of(array, annotations, note)
        """What the viewer knows of it."""
        self._annotations = tuple(annotations)
        self._still = drawing(array, self.strips)
        self.widget = StripWire(traces(array), self.strips, record, self._still)
        """As ipywidgets know it, to be laid out beside others."""

    def _repr_mimebundle_(self, **given: Any) -> Any:
        """The widget, and for whatever cannot show one a still picture and words."""
        bundle, *metadata = self.widget._repr_mimebundle_(**given)  # type: ignore[misc]  # a dict and perhaps another
        words = f"{self!r}: a still picture; run the cell in JupyterLab to look at it"
        return (outside(bundle, words, self._still), *metadata)

    def __repr__(self) -> str:
        words = describe(self.strips, min(SECONDS, self.strips.samples / self.strips.frequency_hz))
        return f"<{words}>"

    @property
    def position(self) -> float:
        """Time at the left edge of the strips, s, as the coordinate `time`."""
        return float(self.widget.start)

    @position.setter
    def position(self, wanted: float) -> None:
        first, last = self.strips.start_s, self.strips.stop_s
        if not first <= wanted < last:
            raise QuestionError(f"the recording runs from {first:g} to {last:g} s; {wanted:g} is not in it")
        self.widget.start = float(wanted)

    @property
    def speed(self) -> float:
        """How fast the paper runs, mm/s."""
        return float(self.widget.speed)

    @speed.setter
    def speed(self, wanted: float) -> None:
        self.widget.speed = _within(wanted, SLOWEST, FASTEST, "mm/s")

    @property
    def gain(self) -> float:
        """How far a millivolt goes, mm; what is no voltage grows and shrinks with it."""
        return float(self.widget.gain)

    @gain.setter
    def gain(self, wanted: float) -> None:
        self.widget.gain = _within(wanted, FLATTEST, STEEPEST, "mm/mV")

    @property
    def annotations(self) -> Table[Said]:
        """What the object says of its curves (Waveform Annotation Sequence): a table."""
        names = [each.name for each in self.strips.channels]
        rows = [
            Said(each.text, each.start_s, each.stop_s, _named(each.channels, names))
            for each in self._annotations
        ]
        return Table(rows, _COLUMNS, noun="annotations", note=self.strips.note)

    def on_change(self, name: str, call: Callable[["StripViewer"], object]) -> None:
        """Call a function with this viewer whenever `position`, `speed` or `gain` changes."""
        known = {"position": "start", "speed": "speed", "gain": "gain"}
        if name not in known:
            raise QuestionError(f"there is no state {name!r}; there are {', '.join(known)}")
        self.widget.observe(lambda _change: call(self), known[name])

    def screenshot(self, seconds: float = 10.0) -> bytes:
        """Return what the cell shows as PNG.

        Raises
        ------
        catalog.errors.QuestionError
            If no browser shows it, or none answers in time.
        """
        return awaited_shot(self.widget, seconds)


def _named(channels: Sequence[int], names: Sequence[str]) -> str:
    """Names of the channels that are there; `all` for none."""
    return ", ".join(names[each] for each in channels if each < len(names)) or "all"


def _within(value: float, least: float, most: float, unit: str) -> float:
    if not least <= value <= most:
        raise QuestionError(f"from {least:g} to {most:g} {unit}, not {value:g}")
    return float(value)
