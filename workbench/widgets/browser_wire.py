"""What a browser and its page have in common: small state, and messages about the lines that are visible.

State, both ways, are the traits of `BrowserWire`. Messages, with what they carry in brackets:

    page → kernel   lines (run, first, count)          some lines are wanted
    kernel → page   lines (run, first, lines, error)   they, as `told_line` has them, or why not
    page → kernel   fold (line, open)                  a heading opens or closes; all do, where `line` is null
    page → kernel   select (run, one, other, how, first, count)   the lines from one to another: see `HOW`
    kernel → page   selected (run, first, flags)       whether lines are, from `first` on; null: a part is
    page → kernel   pictures (rows)                    thumbnails of these series are wanted, and no others
    kernel → page   picture (row, reason; buffer)      one, PNG, and why it is none but a card
    page → kernel   open (run, line, fetch)            show this series, fetched where it lies elsewhere
    kernel → page   opened (line, elsewhere, error)    it is shown, or where it lies, or why it is not
    page → kernel   close ()                           show none
    page → kernel   refresh ()                         ask the catalog the same again

`run` counts what the numbers of lines refer to: with every answer to a question, every fold and every view
it is another, and what comes back for an earlier one is passed over. A page asks for lines that are visible,
and has two such questions under way at most: what it scrolls past in the meantime is never asked for.

They go by the kernel's messages, not by a route of the server: the catalog is the kernel's, with its address
and the credentials of its settings; Jupyter answers them in a thread of their own while a cell runs; and what
is asked for, which may be the name of a patient, stands in no URL and in no log.
"""

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from catalog.records import SeriesRecord
from workbench.tables import plain
from workbench.widgets.outline import PATIENT, SERIES, STUDY, Line
from workbench.widgets.wire import script

HOW = ("only", "add", "toggle")
"""Alone, with those that are selected already, or out where all of them are."""
MOST_LINES = 500
"""In one answer."""
MOST_PICTURES = 200
"""That are wanted at a time."""
MOST_VALUES = 100
"""Of a facet."""
_CHARACTERS = 200

_OF_PATIENT = ("patient_id", "patient_name", "patient_birth_date", "patient_sex")
_OF_STUDY = ("study_date", "study_description", "accession_number")
_FIELDS = {
    PATIENT: _OF_PATIENT,
    STUDY: _OF_STUDY,
    SERIES: (
        *_OF_PATIENT, *_OF_STUDY, "modality", "series_number", "series_description", "body_part_examined",
        "instances", "frames", "remote", "ours",
    ),
}  # fmt: skip


def told_line(
    line: Line, row: int, record: SeriesRecord | None, *, is_selected: bool | None
) -> dict[str, Any]:
    """What a page is told of a line: what its level has, texts on one line and of 200 characters at most."""
    told = {name: getattr(record, name) for name in _FIELDS[line.level]} if record is not None else {}
    return {
        "level": line.level,
        "row": row,
        "count": line.count,
        "open": line.is_open,
        "parent": line.parent,
        "selected": is_selected,
        "gone": record is None,
        **{name: _short(value) if isinstance(value, str) else value for name, value in told.items()},
    }


def _short(text: str) -> str:
    line = plain(" ".join(text.split()))
    return line if len(line) <= _CHARACTERS else line[: _CHARACTERS - 1] + "…"


class BrowserWire(anywidget.AnyWidget):
    """The widget of a browser; who wants one takes `workbench.widgets.browser.Browser`."""

    _esm = script("browser")

    asked = traitlets.Dict().tag(sync=True)
    """`workbench.widgets.asked.Asked`, as plain values."""
    told = traitlets.Dict().tag(sync=True)
    """What was found: `run`, how many `lines` and `series`, of how many (`all`), at which `line` the cursor
    lies, whether they are `grouped`. `answer` counts answers; `error` is what of a `field` is not understood.
    """
    facets = traitlets.Dict().tag(sync=True)
    """Facet to pairs of a value and how many series have it."""
    selected = traitlets.Int().tag(sync=True)
    """How many series are selected."""
    shown = traitlets.Bool().tag(sync=True)
    """Whether a viewer is open."""
    choices = traitlets.Int(0)
    """Counts how often something else was selected; Python alone has it."""
    openings = traitlets.Int(0)
    """Counts how often a viewer was opened or closed; likewise."""
    words = traitlets.Unicode().tag(sync=True)
    """The first series as a table in words, for where there is no browser."""

    def __init__(self, asked: dict[str, Any], words: str) -> None:
        super().__init__(asked=asked, words=words, told={}, facets={}, selected=0, shown=False)
        self.answers: dict[str, Callable[[dict[str, Any]], None]] = {}
        """Kind of a message to what answers it."""
        self.on_msg(self._came)

    def _came(self, _widget: Any, content: dict[str, Any], _buffers: list[bytes]) -> None:
        answer = self.answers.get(str(content.get("kind")))
        if answer is not None:
            answer(content)
