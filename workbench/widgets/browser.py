"""A browser in a cell: patients, studies and series of a catalog, found, looked through, selected, opened."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import batched
from threading import Lock
from typing import TYPE_CHECKING, Any

import ipywidgets  # type: ignore[import-untyped]
import numpy as np

from catalog.database import Catalog
from catalog.errors import QuestionError, WorkbenchError
from catalog.facets import STUDY_YEAR, count_facets
from catalog.interruption import Interruption
from catalog.listing import Listing, list_series
from catalog.pages import FEW, Pages, found_series
from catalog.query import count_series, find_series, series_of_rows
from catalog.records import Question, SeriesRecord
from catalog.where import names_in
from workbench.contact_sheet import FoundSeries
from workbench.settings import Settings
from workbench.tables import SHOWN_ROWS
from workbench.thumbnails import fetched_of, thumbnails_of
from workbench.widgets.asked import FACETS, Asked
from workbench.widgets.browser_wire import (
    HOW,
    MOST_LINES,
    MOST_PICTURES,
    MOST_VALUES,
    BrowserWire,
    told_line,
)
from workbench.widgets.newest import Newest
from workbench.widgets.outline import SERIES, Folds, Outline, Rows
from workbench.widgets.wire import outside, words_of

if TYPE_CHECKING:
    from workbench.widgets.strips import StripViewer
    from workbench.widgets.viewer import Viewer

_PICTURES_AT_ONCE = 4
_NOTHING = Listing(array("q"), array("q"), array("q"))


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the page shows: replaced as a whole, as several threads read it."""

    run: int
    asked: Asked
    outline: Outline
    folds: Folds


class Browser:
    """Shows what a catalog has; what is selected there is here, and what is asked here is shown there.

    Parameters
    ----------
    asked
        What is asked for at first.
    table
        Makes the table of series that were found.
    view
        Opens a viewer of a series.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        asked: Asked,
        *,
        table: Callable[[Sequence[SeriesRecord]], FoundSeries],
        view: Callable[[SeriesRecord], "Viewer | StripViewer"],
    ) -> None:
        self._catalog, self._settings, self._table, self._view = catalog, settings, table, view
        self._lock = Lock()
        self._shown = _Shown(0, asked, Outline.flat(_NOTHING), Folds())
        self._chosen: Rows = np.zeros(0, np.int64)
        self._cursor: int | None = None
        self._said: tuple[Question, str, bool] | None = None
        self._questions, self._pictures, self._openings = (
            Newest("questions"),
            Newest("pictures"),
            Newest("openings"),
        )
        self.viewer: Viewer | StripViewer | None = None
        """Of the series that was opened last."""
        self.wire = BrowserWire(asked.as_json(), self._words(asked))
        self.widget = ipywidgets.VBox([self.wire])
        """As ipywidgets know it, to be laid out beside others."""
        self.wire.answers |= {
            "lines": self._give,
            "fold": self._fold,
            "select": self._select,
            "pictures": self._draw,
            "open": self._open,
            "close": lambda _content: self.close_viewer(),
            "refresh": lambda _content: self.refresh(),
        }
        self.wire.observe(lambda _change: self._questions.do(self._ask), "asked")
        self._questions.do(self._ask)

    # --- in Python -------------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **given: Any) -> Any:
        """The widget, and for whatever cannot show one a still table."""
        bundle = self.widget._repr_mimebundle_(**given)
        table = self._first(self.asked)
        return outside(bundle, repr(table)) | {"text/html": table._repr_html_()}

    def __repr__(self) -> str:
        return f"<browser: {self.wire.selected:,} series selected>"

    @property
    def asked(self) -> Asked:
        """What is asked for, and how it is shown; `ask` changes it."""
        return Asked.from_page(self.wire.asked)

    def ask(self, **changes: Any) -> None:
        """Ask for something else: `text`, `where`, `chosen`, `order`, `is_descending`, `view`.

        Raises
        ------
        catalog.errors.QuestionError
            If it is not understood.
        """
        asked = self.asked.changed(**changes)
        question = asked.question()
        count_series(self._catalog, where=question.where, **question.matching)
        self.wire.asked = asked.as_json()

    def refresh(self) -> None:
        """Ask the catalog the same again: what came meanwhile is shown."""
        self._said = None
        self._questions.do(self._ask)

    def wait(self) -> None:
        """Wait until what was asked for is answered, and what was opened is open."""
        for each in (self._questions, self._pictures, self._openings):
            each.wait()

    @property
    def question(self) -> Question:
        """What is asked, as `bench.series(question.where, **question.matching)` takes it."""
        return self.asked.question()

    @property
    def found(self) -> FoundSeries:
        """Every series that the question finds, as `bench.series` gives them."""
        question = self.question
        return self._table(found_series(self._catalog, question.where, question.matching))

    @property
    def selection(self) -> FoundSeries:
        """The series that are selected, as `bench.series` gives them; set it to select from Python.

        They stay selected when something else is asked for.
        """
        rows = array("q", self._chosen.tolist())
        if len(rows) > FEW:
            return self._table(Pages(self._catalog, rows, len(rows), lambda: rows))
        return self._table(list(series_of_rows(self._catalog, rows).values()))

    @selection.setter
    def selection(self, wanted: Sequence[SeriesRecord | str]) -> None:
        uids = [each if isinstance(each, str) else each.series_instance_uid for each in wanted]
        listed = list_series(self._catalog, None, {"series_instance_uid": uids}) if uids else _NOTHING
        if len(listed) != len(set(uids)):
            raise QuestionError(f"{len(set(uids)) - len(listed):,} of these series are not in the catalog")
        self._choose(np.unique(np.asarray(listed.series, np.int64)))
        self._publish(self._shown.outline, self._shown.asked, self._shown.folds)

    def on_change(self, name: str, call: Callable[["Browser"], object]) -> None:
        """Call a function with this browser whenever its `selection`, `question` or `viewer` changes."""
        traits = {"selection": "choices", "question": "asked", "viewer": "openings"}
        if name not in traits:
            raise QuestionError(f"there is no state {name!r:.40}; there are {', '.join(traits)}")
        self.wire.observe(lambda _change: call(self), traits[name])

    def close_viewer(self) -> None:
        """Close the viewer that is open."""
        self.widget.children = (self.wire,)
        self.viewer, self.wire.shown = None, False
        self.wire.openings += 1

    def _first(self, asked: Asked) -> FoundSeries:
        try:
            question = asked.question()
            some = find_series(self._catalog, where=question.where, limit=SHOWN_ROWS, **question.matching)
        except QuestionError as error:
            table = self._table([])
            table.note = str(error)
            return table
        table = self._table(some)
        table.note = "the first of them; run the cell in JupyterLab to look through all"
        return table

    def _words(self, asked: Asked) -> str:
        return repr(self._first(asked))

    # --- questions -------------------------------------------------------------------------------------

    def _ask(self, heeded: Interruption) -> None:
        """Answer what is asked: the lines first, then how often each value occurs."""
        field = "text"
        try:
            asked = self.asked
            question = asked.question()
            if asked.where.strip():
                field = "where"
                names_in(asked.where)
                field = "text"
            said = question, asked.order, asked.is_descending
            listing = self._shown.outline.listing
            if said != self._said:
                self._said = None
                listing = list_series(
                    self._catalog, *_apart(question), order=asked.order, is_descending=asked.is_descending
                )
                self._said = said
            heeded.check()
            folds = self._shown.folds
            self._publish(_outlined(listing, asked, folds), asked, folds)
            self._count(asked, heeded)
        except QuestionError as error:
            self._tell(error=str(error), field=field)
        except WorkbenchError as error:
            heeded.check()
            self._tell(error=str(error), field="")

    def _publish(self, outline: Outline, asked: Asked, folds: Folds) -> None:
        """Have the page show other lines."""
        at = outline.line_of(self._cursor) if self._cursor is not None else None
        with self._lock:
            self._shown = _Shown(self._shown.run + 1, asked, outline, folds)
        self._tell(
            run=self._shown.run,
            lines=len(outline),
            series=len(outline.listing),
            all=count_series(self._catalog),
            line=at,
            grouped=asked.is_grouped,
            error="",
            field="",
        )

    def _tell(self, **told: Any) -> None:
        answer = self.wire.told.get("answer", 0) + 1  # the page waits for one, be it the same as before
        self.wire.told = {**self.wire.told, **told, "answer": answer}

    def _count(self, asked: Asked, heeded: Interruption) -> None:
        counted = {}
        for name in FACETS:
            heeded.check()
            where, matching = _apart(asked.question(without=name))
            found = count_facets(self._catalog, name, where=where, most=MOST_VALUES, **matching)
            values = [[each.value, each.series] for each in found]
            if name == STUDY_YEAR:
                values = sorted((each for each in values if _is_year(each[0])), reverse=True)
            there = {value for value, _ in values}
            counted[name] = values + [[each, 0] for each in asked.chosen.get(name, ()) if each not in there]
        self.wire.facets = counted

    def _fold(self, content: dict[str, Any]) -> None:
        shown, at, is_open = self._shown, content.get("line"), bool(content.get("open"))
        if not shown.asked.is_grouped:
            return
        if at is None:
            folds = Folds(all_closed=not is_open)
        elif content.get("run") == shown.run and 0 <= int(at) < len(shown.outline):
            line = shown.outline.line(int(at))
            if line.level == SERIES:
                return
            folds = shown.folds.with_heading(line.level, shown.outline.row(int(at)), is_open=is_open)
            self._cursor = shown.outline.listing.series[line.place]
        else:
            return
        self._publish(_outlined(shown.outline.listing, shown.asked, folds), shown.asked, folds)

    # --- what is visible -------------------------------------------------------------------------------

    def _give(self, content: dict[str, Any]) -> None:
        shown = self._shown
        if content.get("run") != shown.run:
            return
        first, count = int(content.get("first", 0)), min(int(content.get("count", 0)), MOST_LINES)
        lines = shown.outline.lines(first, count)
        rows = [shown.outline.listing.series[each.place] for each in lines]
        said: dict[str, Any] = {"kind": "lines", "run": shown.run, "first": first}
        try:
            records = series_of_rows(self._catalog, rows)
        except WorkbenchError as error:
            self.wire.send(said | {"lines": [], "error": words_of(error)})
            return
        flags = shown.outline.selected(self._chosen).of(first, count)
        told = [
            told_line(line, row, records.get(row), is_selected=flag)
            for line, row, flag in zip(lines, rows, flags, strict=True)
        ]
        self.wire.send(said | {"lines": told, "error": ""})

    def _draw(self, content: dict[str, Any]) -> None:
        rows = [int(each) for each in content.get("rows", ())][:MOST_PICTURES]
        self._pictures.do(lambda heeded: self._drawn(rows, heeded))

    def _drawn(self, rows: Sequence[int], heeded: Interruption) -> None:
        """Send thumbnails, in the order in which they are wanted, until others are."""
        for some in batched(rows, _PICTURES_AT_ONCE):
            heeded.check()
            found = _by_row(self._catalog, some)
            try:
                kept = thumbnails_of(
                    self._catalog,
                    [each for each in found.values() if not each.remote],
                    self._settings.thumbnails_folder,
                    threads=self._settings.cores,
                    fetched=fetched_of(self._catalog, self._settings),
                )
            except OSError as error:
                for row in found:
                    self.wire.send({"kind": "picture", "row": row, "reason": words_of(error)})
                continue
            for row, record in found.items():
                picture = kept.get(record.series_instance_uid)
                if picture is not None:
                    self.wire.send({"kind": "picture", "row": row, "reason": picture.reason}, [picture.png])

    # --- what a person does ----------------------------------------------------------------------------

    def _select(self, content: dict[str, Any]) -> None:
        shown, how = self._shown, content.get("how")
        if content.get("run") != shown.run or (how not in HOW and how != "none"):
            return
        first, count = int(content.get("first", 0)), min(int(content.get("count", 0)), MOST_LINES)
        if how == "none":
            self._choose(np.zeros(0, np.int64))
        else:
            one, other = int(content.get("one", 0)), int(content.get("other", 0))
            if not 0 <= other < len(shown.outline):
                return
            rows = shown.outline.series_from(one, other)
            self._cursor = shown.outline.listing.series[shown.outline.line(other).place]
            self._choose(_with(self._chosen, rows, str(how)))
        flags = shown.outline.selected(self._chosen).of(first, count)
        self.wire.send({"kind": "selected", "run": shown.run, "first": first, "flags": flags})

    def _choose(self, rows: Rows) -> None:
        if not np.array_equal(self._chosen, rows):
            self._chosen, self.wire.selected = rows, len(rows)
            self.wire.choices += 1

    def _open(self, content: dict[str, Any]) -> None:
        shown, at = self._shown, int(content.get("line", -1))
        if content.get("run") != shown.run or not 0 <= at < len(shown.outline):
            return
        if shown.outline.line(at).level != SERIES:
            return
        row, fetch = shown.outline.row(at), bool(content.get("fetch"))
        self._openings.do(lambda heeded: self._opened(at, row, heeded, fetch=fetch))

    def _opened(self, at: int, row: int, heeded: Interruption, *, fetch: bool) -> None:
        said: dict[str, Any] = {"kind": "opened", "line": at, "elsewhere": "", "error": ""}
        found = _by_row(self._catalog, [row])
        if row not in found:
            said["error"] = "the catalog has this series no longer; ask again"
        elif found[row].remote and not fetch:
            said["elsewhere"] = found[row].remote
        else:
            try:
                viewer = self._view(found[row])
            except (WorkbenchError, OSError) as error:
                heeded.check()
                said["error"] = words_of(error)
            else:
                self.viewer = viewer
                self.widget.children = (self.wire, viewer.widget)
                self.wire.shown = True
                self.wire.openings += 1
        self.wire.send(said)


def _apart(question: Question) -> tuple[str | None, dict[str, Any]]:
    return question.where, dict(question.matching)


def _outlined(listing: Listing, asked: Asked, folds: Folds) -> Outline:
    return Outline.grouped(listing, folds) if asked.is_grouped else Outline.flat(listing)


def _by_row(catalog: Catalog, rows: Sequence[int]) -> dict[int, SeriesRecord]:
    """Series by their rows, in the order in which these are given."""
    found = series_of_rows(catalog, rows)
    return {row: found[row] for row in rows if row in found}


def _with(chosen: Rows, rows: Rows, how: str) -> Rows:
    """Rows that are chosen after some were, see `HOW`."""
    if how == "only":
        return np.unique(rows)
    if how == "toggle" and np.isin(rows, chosen).all():
        return np.setdiff1d(chosen, rows)
    return np.union1d(chosen, rows)


def _is_year(value: object) -> bool:
    return isinstance(value, str) and len(value) == 4 and value.isascii() and value.isdigit()
