"""An experiment to work with: subjects by time points, what is missing, volumes by visit, one lazy tree."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, overload

from markupsafe import Markup

from catalog.database import Catalog
from catalog.errors import NotFoundError, QuestionError
from catalog.experiments import ExperimentRecord, Joined, join, list_experiments
from catalog.records import SeriesRecord
from catalog.sheet import Cell, nearest, normalised, text_of_cell, unused
from catalog.visits import Problem, Visit, label
from workbench.contact_sheet import ContactSheet
from workbench.tables import SHOWN_ROWS, Table, html_table, plain, text_table

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

SHOWN_TIME_POINTS = 12
_PLURAL = {
    "animal": "animals", "patient": "patients", "patientid": "patients", "mouse": "mice", "pig": "pigs",
    "rat": "rats", "sheep": "sheep", "proband": "probands", "participant": "participants",
}  # fmt: skip
_COLUMNS = {"row": "row", "words": "what is wrong with it"}
_OF_SERIES = frozenset(each.name for each in fields(SeriesRecord))

type Open = Callable[[SeriesRecord, int | None], "xr.DataArray"]
"""Opens one part of a series; ingests it where it was not."""
type Draw = Callable[..., ContactSheet]
"""Draws pictures of series."""
type Openable = Callable[[SeriesRecord, bool], "list[xr.DataArray]"]
"""Opens every part of a series; ingests where it is said to."""


@dataclass(frozen=True, slots=True)
class ExperimentSeries(SeriesRecord):
    """One series of an experiment, with what the researcher's table says of it."""

    experiment: str = ""
    values: Mapping[str, Cell] = field(default_factory=dict, compare=False)
    """The row of the table, by column; numbers as numbers."""


class Experiment(Sequence[ExperimentSeries]):
    """A researcher's table joined to series: a sequence of its series, for `bench.run` and `bench.freeze`.

    Parameters
    ----------
    record, joined
        As `catalog.experiments` has them.
    open_part, open_parts, draw
        Of its series.
    """

    def __init__(
        self, record: ExperimentRecord, joined: Joined, *, open_part: Open, open_parts: Openable, draw: Draw
    ) -> None:
        self.record, self.arranged = record, joined.arranged
        self._open_part, self._open_parts, self._draw = open_part, open_parts, draw
        names = [each.name for each in fields(SeriesRecord)]
        self._series = {
            uid: ExperimentSeries(
                **{name: getattr(found, name) for name in names},
                experiment=record.name,
                values=self.arranged.values[uid],
            )
            for uid, found in joined.series.items()
        }

    @property
    def name(self) -> str:
        """The name it was recorded under."""
        return self.record.name

    def __len__(self) -> int:
        return len(self._series)

    @overload
    def __getitem__(self, index: int) -> ExperimentSeries: ...
    @overload
    def __getitem__(self, index: slice) -> list[ExperimentSeries]: ...
    def __getitem__(self, index: int | slice) -> "ExperimentSeries | list[ExperimentSeries]":
        return list(self._series.values())[index]

    # --- what a person sees --------------------------------------------------------------------------

    def line(self) -> str:
        """`12 animals × 3 time points, 2 visits missing`."""
        arranged = self.arranged
        subjects = f"{len(arranged.subjects):,} {self._noun(len(arranged.subjects))}"
        if self._has_time_points:
            count = len(arranged.time_points)
            subjects += f" × {count:,} time point{'' if count == 1 else 's'}"
        missing = len(arranged.missing)
        lost = f"{missing:,} visit{'' if missing == 1 else 's'} missing" if missing else "no visit missing"
        wrong = len(self.problems)
        said = f" · {wrong:,} thing{'' if wrong == 1 else 's'} to look at: .problems" if wrong else ""
        return f"{subjects}, {lost}{said}"

    def __repr__(self) -> str:
        return self._text(SHOWN_ROWS)

    def as_text(self) -> str:
        """Every subject, for a terminal or a pipe."""
        return self._text(len(self.arranged.subjects))

    def _text(self, rows: int) -> str:
        table = text_table(*self._grid(rows), footer=self._below(rows))
        return f"experiment {self.name}: {self.line()}\n{table}"

    def _repr_html_(self) -> str:
        title = Markup("<div>experiment {}: {}</div>").format(self.name, self.line())
        return str(title + Markup(html_table(*self._grid(SHOWN_ROWS), footer=self._below(SHOWN_ROWS))))

    def _grid(self, rows: int) -> tuple[list[str], list[list[Any]]]:
        """Headings and rows: a subject a row, a time point a column, how many series a visit has."""
        shown = self.arranged.time_points[:SHOWN_TIME_POINTS]
        points = [text_of_cell(each) for each in shown] if self._has_time_points else ["series"]
        has_arms = any(each.arm is not None for each in self.arranged.visits)
        headings = [*(["arm"] if has_arms else []), self._heading("subject"), *points]
        visits = self._visits()
        lines: list[list[Any]] = []
        for subject in self.arranged.subjects[:rows]:
            of_it = [visits[label(subject), label(each)] for each in shown]
            arms = list(dict.fromkeys(text_of_cell(each.arm) for each in of_it if each.arm is not None))
            cells: list[Any] = [len(each.series) or "missing" for each in of_it]
            lines.append([*([", ".join(arms)] if has_arms else []), subject, *cells])
        return headings, lines

    def _below(self, rows: int) -> str:
        hidden = len(self.arranged.subjects) - rows
        more = len(self.arranged.time_points) - SHOWN_TIME_POINTS
        named = [self._named(each) for each in self.arranged.missing[:10]]
        if len(self.arranged.missing) > 10:
            named.append("…")
        parts = (
            f"{hidden:,} {self._noun(hidden)} not shown" if hidden > 0 else "",
            f"{more:,} time points not shown" if more > 0 else "",
            f"missing: {'; '.join(named)}" if named else "",
        )
        return " · ".join(part for part in parts if part)

    def _named(self, visit: Visit) -> str:
        point = f" {text_of_cell(visit.time_point)}" if self._has_time_points else ""
        return plain(f"{self._heading('subject')} {text_of_cell(visit.subject)}{point}")

    def _heading(self, role: str) -> str:
        return self.record.meaning.get(role, role.replace("_", " "))

    def _noun(self, count: int) -> str:
        plural = _PLURAL.get(normalised(self._heading("subject")), "subjects")
        if count != 1:
            return plural
        return {"mice": "mouse", "sheep": "sheep"}.get(plural, plural.removesuffix("s"))

    @property
    def _has_time_points(self) -> bool:
        return "time_point" in self.record.meaning

    @property
    def missing(self) -> Table[Mapping[str, Any]]:
        """Visits without a series, and why."""
        subject, point, arm = (self._heading(role) for role in ("subject", "time_point", "arm"))
        rows = [
            {arm: each.arm, subject: each.subject, point: each.time_point, "reason": each.reason}
            for each in self.arranged.missing
        ]
        has_arms = any(each.arm is not None for each in self.arranged.missing)
        shown = [*([arm] if has_arms else []), subject, *([point] if self._has_time_points else []), "reason"]
        return Table(rows, {name: name for name in shown}, noun="visits missing")

    @property
    def problems(self) -> Table[Problem]:
        """What could not be taken as it stands: rows that match nothing, series that are claimed twice."""
        sheet = self.record.sheet
        notes = [
            Problem(None, words) for words in (*sheet.notes, *unused(sheet.columns, self.record.meaning))
        ]
        return Table([*self.arranged.problems, *notes], _COLUMNS, noun="things to look at")

    @property
    def table(self) -> "pd.DataFrame":
        """The researcher's own table as it was written, every column and row."""
        import pandas as pd

        return pd.DataFrame(list(self.record.sheet.rows), columns=list(self.record.sheet.columns))

    def to_pandas(self) -> "pd.DataFrame":
        """One row a series: its UID, study, and every column of the table, numbers as numbers."""
        import pandas as pd

        rows: list[dict[str, Any]] = [
            {name: cell for name, cell in each.values.items() if name not in _UIDS}
            | {"series_instance_uid": each.series_instance_uid, "modality": each.modality}
            for each in self
        ]
        return pd.DataFrame(rows)

    def as_json(self) -> dict[str, Any]:
        """The experiment as `workbench experiment --json` prints it."""
        return {
            "experiment": self.name,
            "meaning": dict(self.record.meaning),
            "subjects": list(self.arranged.subjects),
            "time_points": list(self.arranged.time_points) if self._has_time_points else [],
            "visits": [
                {
                    "arm": each.arm, "subject": each.subject, "time_point": each.time_point,
                    "series_instance_uids": list(each.series), "rows": list(each.rows), "reason": each.reason,
                }
                for each in self.arranged.visits
            ],
            "problems": [{"row": each.row, "words": each.words} for each in self.problems],
        }  # fmt: skip

    def contact_sheet(self, **how: Any) -> ContactSheet:
        """Draw a page of pictures, one a series; `columns`, `size`, `page`, `quiet` as of `bench.series()`.

        Raises
        ------
        catalog.errors.QuestionError
            If there is no such page, or a number is out of range.
        """
        return self._draw(list(self), **how)

    # --- volumes -------------------------------------------------------------------------------------

    def sel(self, part: int | None = None, **labels: Any) -> "xr.DataArray":
        """Open the one volume of a visit lazily; ingested if need be.

        Parameters
        ----------
        part
            Which one, where the series holds several volumes.
        **labels
            Columns of the table, or `subject`, `time_point`, `arm`, and what a series is found by, such as
            `modality` or `series_description`: `sel(animal=7, time_point="after")`.

        Raises
        ------
        catalog.errors.QuestionError
            If a name is no column; names the nearest.
        catalog.errors.NotFoundError
            If there is no such visit, it is missing, or several series are as asked; lists those.
        """
        named = {self._column(name): value for name, value in labels.items()}
        fitting = [each for each in self if all(_is(each, name, value) for name, value in named.items())]
        if len(fitting) > 1:
            lines = "".join(f"\n   {_line(each)}" for each in fitting[:20])
            raise NotFoundError(
                f"{len(fitting):,} series are as asked; add a column, or what tells them apart, such as "
                f"series_description= or series_instance_uid=:{lines}"
            )
        if not fitting:
            raise NotFoundError(self._why_none(named))
        return _labelled(self._open_part(fitting[0], part), fitting[0])

    def _column(self, name: str) -> str:
        """The column that is meant; what a series is found by where there is none."""
        known = {normalised(each): each for each in self.record.sheet.columns}
        known |= {normalised(role): column for role, column in self.record.meaning.items() if role == name}
        filled = {normalised(column): column for each in self for column in each.values}
        found = (filled | known).get(normalised(name))
        if found is None and name in _OF_SERIES:
            return name
        if found is None:
            there = list(self.record.sheet.columns)
            raise QuestionError(
                f"the table has no column {name[:64]!r}{nearest(name, there)}; it has "
                f"{', '.join(there)[:300]}"
            )
        return found

    def _why_none(self, named: Mapping[str, Any]) -> str:
        subject, point = self._heading("subject"), self._heading("time_point")
        if subject in named:
            asked = [each for each in self.arranged.visits if label(each.subject) == label(named[subject])]
            if not asked:
                return f"no {subject} of the table is as asked; experiment.table has them"
            asked = [
                each for each in asked if point not in named or label(each.time_point) == label(named[point])
            ]
            if not asked:
                points = ", ".join(text_of_cell(each) for each in self.arranged.time_points[:20])
                return f"no {point} of the table is as asked; there are {points}"
            missing = [each for each in asked if not each.series]
            if missing:
                return f"this visit is missing: {missing[0].reason}; experiment.missing lists all"
        return "no series of the experiment is as asked; experiment.to_pandas() has them"

    def tree(self, *, ingest: bool = True) -> "xr.DataTree":
        """Open all visits as one lazy tree: `tree["sham/7/after"]`, with the table's columns as coordinates.

        A visit of several series, or one of several volumes, has a group each below it. What has no volume
        says so in its attribute `reason`.

        Parameters
        ----------
        ingest
            Whether what was not ingested is ingested now; else its group says so.
        """
        import xarray as xr

        nodes: dict[str, xr.Dataset] = {}
        for visit in self.arranged.visits:
            where = "/".join(map(_step, self._path(visit)))
            opened: dict[str, xr.Dataset] = {}
            reasons = [visit.reason] if visit.reason else []
            for uid in visit.series:
                try:
                    arrays = self._open_parts(self._series[uid], ingest)
                except NotFoundError as error:
                    reasons.append(str(error))
                    continue
                for number, array in enumerate(arrays):
                    name = f"{uid}-{number}" if len(arrays) > 1 else uid
                    opened[name] = _dataset(_labelled(array, self._series[uid]))
            attrs = {f"{name}": text_of_cell(cell) for name, cell in visit.values.items() if cell is not None}
            attrs |= {"reason": "; ".join(reasons)} if reasons else {}
            if len(opened) == 1:
                (only,) = opened.values()
                nodes[where] = only.assign_attrs(attrs)
                continue
            nodes[where] = xr.Dataset(attrs=attrs)
            nodes |= {f"{where}/{name}": each for name, each in opened.items()}
        tree: xr.DataTree = xr.DataTree.from_dict(nodes, name=self.name)
        return tree

    def _path(self, visit: Visit) -> list[str]:
        has_arms = any(each.arm is not None for each in self.arranged.visits)
        arm = [text_of_cell(visit.arm) or "no arm"] if has_arms else []
        point = [text_of_cell(visit.time_point)] if self._has_time_points else []
        return [*arm, text_of_cell(visit.subject), *point]

    def _visits(self) -> dict[tuple[Hashable, Hashable], Visit]:
        return {(label(each.subject), label(each.time_point)): each for each in self.arranged.visits}


_UIDS = ("series_instance_uid", "modality")


def _is(series: ExperimentSeries, name: str, value: Any) -> bool:
    cell = series.values[name] if name in series.values else getattr(series, name, None)
    return label(cell) == label(value)


def _line(series: ExperimentSeries) -> str:
    parts = (series.modality, series.series_number, series.series_description, series.series_instance_uid)
    return plain(" · ".join(str(part) for part in parts if part is not None))


def _labelled(volume: "xr.DataArray", series: ExperimentSeries) -> "xr.DataArray":
    """With the columns of its row as coordinates; those whose name is taken stay attributes."""
    taken = {*volume.dims, *volume.coords, str(volume.name)}
    cells = {name: cell for name, cell in series.values.items() if cell is not None}
    coords = {name: cell for name, cell in cells.items() if name not in taken and "/" not in name}
    attrs = {f"experiment_{name}": cell for name, cell in cells.items() if name not in coords}
    return volume.assign_coords(coords).assign_attrs(experiment=series.experiment, **attrs)


def _dataset(volume: "xr.DataArray") -> "xr.Dataset":
    name = str(volume.name or "values")
    made: xr.Dataset = volume.to_dataset(name=name)
    return made


def _step(text: str) -> str:
    """The name of a group: a slash would make two of it, and dots alone lead to itself or the one above."""
    return f"({text})" if text in (".", "..") else text.replace("/", "∕") or "none"


def about(series: Iterable[object]) -> dict[str, Mapping[str, Cell]]:
    """Return what tables say of series that are of an experiment, by Series Instance UID."""
    return {each.series_instance_uid: each.values for each in series if isinstance(each, ExperimentSeries)}


def opened(
    catalog: Catalog, record: ExperimentRecord, *, open_part: Open, open_parts: Openable, draw: Draw
) -> Experiment:
    """An experiment with the series that are here now."""
    joined = join(catalog, record)
    return Experiment(record, joined, open_part=open_part, open_parts=open_parts, draw=draw)


def all_experiments(catalog: Catalog) -> Table[Mapping[str, Any]]:
    """Every experiment of a catalog, as a table."""
    rows = [
        {
            "name": each.name, "rows": len(each.sheet.rows), "columns": ", ".join(each.sheet.columns),
            "recorded": each.recorded,
        }
        for each in list_experiments(catalog)
    ]  # fmt: skip
    shown = {"name": "experiment", "rows": "rows", "columns": "columns", "recorded": "recorded"}
    note = "" if rows else "bench.experiment(name, table=…) records one"
    return Table(rows, shown, noun="experiments", note=note)
