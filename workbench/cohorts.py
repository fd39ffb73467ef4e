"""Cohorts to work with: a frozen selection as a table of series, what changed since, manifest and Parquet."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, overload

from catalog.changes import changes, compared, series_to_read
from catalog.cohorts import items_of, leaves, list_cohorts, manifest_of, series_of, take_in
from catalog.database import Catalog
from catalog.durable import sync, write_parts
from catalog.errors import ApprovalError, CohortError, ExportError, NotFoundError
from catalog.manifest import question_text
from catalog.records import CohortChange, CohortItem, CohortRecord, Compared, Question, SeriesRecord, as_dict
from workbench.contact_sheet import ContactSheet, FoundSeries, draw_sheet
from workbench.progress import bar
from workbench.reports import counted
from workbench.selection import Selection, selected_series
from workbench.settings import Settings
from workbench.tables import Table

if TYPE_CHECKING:
    import pandas as pd

STATES = ("missing", "deleted", "unreadable", "changed", "removed", "added")
COHORT_COLUMNS = {
    "name": "cohort", "series": "series", "instances": "instances", "approval": "approval",
    "expires": "expires", "frozen": "frozen",
}  # fmt: skip
SERIES_COLUMNS = {
    "modality": "modality", "study_date": "date", "series_description": "series",
    "body_part_examined": "body part", "instances": "instances", "series_instance_uid": "series instance uid",
}  # fmt: skip
CHANGE_COLUMNS = {
    "state": "state", "reason": "reason", "series_instance_uid": "series instance uid",
    "sop_instance_uid": "sop instance uid",
}  # fmt: skip
_BY_NOTHING = Compared(0, 0)
_CHUNK = 2**18
_ROWS = 50_000
"""Instances in one row group of Parquet."""


@dataclass(frozen=True, slots=True)
class FrozenSeries(SeriesRecord):
    """One series of a cohort, as it is now; it knows under which approval it is used."""

    cohort: str = ""
    approval: str = ""
    expires: date | None = None


class Changes(Table[CohortChange]):
    """What is no longer as it was frozen, a row an instance; empty where all is as it was."""

    def __init__(
        self, record: CohortRecord, found: Sequence[CohortChange], by: Compared = _BY_NOTHING
    ) -> None:
        note = " · ".join(filter(None, (_counts(found), _by(by))))
        super().__init__(found, CHANGE_COLUMNS, noun="differences", note=note)
        self.record, self.by = record, by

    @property
    def counts(self) -> dict[str, int]:
        """How many instances there are of each state."""
        return {state: sum(each.state == state for each in self) for state in STATES}

    def line(self) -> str:
        """One line: the cohort, and what became of it."""
        what = _counts(self.records) or "as it was frozen"
        instances, series = f"{self.record.instances:,} instances", f"{self.record.series:,} series"
        return f" cohort   {self.record.name}: {instances} of {series} · {what}{_by(self.by, ' · ')}"

    def as_json(self) -> dict[str, Any]:
        """The table as `workbench cohort diff --json` prints it."""
        by = {"whole_file": self.by.whole_file, "header": self.by.header}
        found = [as_dict(each) for each in self]
        return {"cohort": self.record.name, **self.counts, "compared_by": by, "differences": found}


def _by(by: Compared, before: str = "") -> str:
    """In words, by what instances were compared."""
    words = counted((by.whole_file, "by whole file"), (by.header, "by header and size"))
    return f"{before}compared: {words}" if words else ""


def _counts(found: Sequence[CohortChange]) -> str:
    return counted(*((sum(each.state == state for each in found), state) for state in STATES))


class Cohort(Sequence[FrozenSeries]):
    """A frozen selection: a sequence of its series that can be read here, for `bench.run` and `bench.volume`.

    Parameters
    ----------
    catalog
        An open catalog.
    record
        The cohort, as `catalog.cohorts.find_cohort` returns it.
    settings
        Of the bench, which keeps pictures.
    """

    def __init__(self, catalog: Catalog, record: CohortRecord, settings: Settings) -> None:
        self.record = record
        self._catalog, self._settings = catalog, settings
        self._series: tuple[FrozenSeries, ...] | None = None

    def __getattr__(self, name: str) -> Any:
        """Name, question, approval, expires, frozen, instances and digest are those of the record."""
        if name in _RECORD_FIELDS:
            return getattr(self.record, name)
        raise AttributeError(f"a cohort has no {name!r}")

    def __len__(self) -> int:
        return len(self._rows())

    @overload
    def __getitem__(self, index: int) -> FrozenSeries: ...
    @overload
    def __getitem__(self, index: slice) -> Table[FrozenSeries]: ...
    def __getitem__(self, index: int | slice) -> "FrozenSeries | Table[FrozenSeries]":
        return self.series()[index]

    def __repr__(self) -> str:
        return f"{self._title()}\n{self.series()!r}"

    def _repr_html_(self) -> str:
        from markupsafe import escape

        return f"<div>{escape(self._title())}</div>{self.series()._repr_html_()}"

    def as_text(self) -> str:
        """Every series, for a terminal or a pipe."""
        return f"{self._title()}\n{self.series().as_text()}"

    def as_json(self) -> dict[str, Any]:
        """The cohort as `workbench cohort show --json` prints it."""
        return as_dict(self.record) | {
            "series_instance_uids": [each.series_instance_uid for each in self._rows()]
        }

    def series(self) -> Table[FrozenSeries]:
        """Its series that can be read here, as they are now; also after the approval has ended."""
        absent = self.record.series - len(self._rows())
        note = f"{absent:,} more cannot be read here: cohort.diff()" if absent else ""
        return Table(self._rows(), SERIES_COLUMNS, noun="series", note=note)

    def contact_sheet(self, **how: Any) -> ContactSheet:
        """Draw a page of pictures, one a series; `columns`, `size`, `page`, `quiet` as of `bench.series()`.

        Raises
        ------
        ApprovalError
            If its approval has ended.
        QuestionError
            If there is no such page, or a number is out of range.
        """
        allowed(self.record.name, self.record.approval, self.record.expires, datetime.now(UTC).date())
        return draw_sheet(self._catalog, self._settings, self._rows(), **how)

    def items(self) -> Iterator[CohortItem]:
        """Every instance that was frozen, with digests of its header and its file then."""
        return items_of(self._catalog, self.record.name)

    def diff(self, *, files: bool = True, whole: bool = False, quiet: bool = False) -> Changes:
        """Return what has changed since: added, removed, changed, unreadable or missing instances.

        Headers are compared, and whole files by their digests where the cohort has those: a file that this
        bench never read as a whole, or that was written since, is read once. `by` of the answer says how many
        instances were compared by what.

        Parameters
        ----------
        files
            Whether every file is looked at, too; else it is as of the last index, and none is read.
        whole
            Whether every file is read again: rot, and bytes that were changed behind size and time, are seen.
        """
        if files or whole:
            self._read(again=whole, quiet=quiet)
        return self._changes(look=files)

    def resolve(self, *, quiet: bool = False) -> Changes:
        """Return which of its instances are missing here, or different; the question is not asked again.

        Files are read and compared as `diff` does it.
        """
        self._read(quiet=quiet)
        return self._changes(asked=False)

    def _changes(self, **how: bool) -> Changes:
        return Changes(
            self.record, changes(self._catalog, self.record, **how), compared(self._catalog, self.record)
        )

    def _read(self, *, again: bool = False, quiet: bool = False) -> None:
        """Read whole files that are to be compared and were not read before; what differs is on record."""
        from catalog.hashing import hash_files  # with pydicom, which a question to the catalog does not load

        uids = series_to_read(self._catalog, self.record, again=again)
        with bar("cohort", "files", quiet=quiet) as progress:
            hash_files(self._catalog, uids, now=datetime.now(UTC), again=again, progress=progress)

    def check(self, today: date) -> None:
        """Refuse a cohort that may not be computed on, or is no longer what was frozen.

        Raises
        ------
        ApprovalError
            If its approval has ended.
        CohortError
            If instances are missing, others, or more than they were.
        """
        allowed(self.record.name, self.record.approval, self.record.expires, today)
        self._read()
        found = Changes(self.record, changes(self._catalog, self.record, asked=False, look=False))
        if found:
            raise CohortError(
                f"cohort {self.record.name!r} is no longer what was frozen: {found.note}; "
                "cohort.diff() lists them, and cohort.series() are those that are here now"
            )

    def to_pandas(self) -> "pd.DataFrame":
        """One row an instance, as it was frozen; `attrs` says of which cohort."""
        import pandas as pd

        names = [each.name for each in fields(CohortItem)]
        rows = ([getattr(each, name) for name in names] for each in self.items())
        frame = pd.DataFrame(rows, columns=names)
        frame = frame.astype({name: "Int64" if name == "size" else "str" for name in names})
        frame.attrs.update(self._told())
        return frame

    def to_manifest(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the cohort as one JSON file that another bench can import; see `catalog.manifest`.

        Raises
        ------
        ExportError
            If there is such a file, and it was not said to overwrite it.
        """
        target = _target(path, overwrite=overwrite)
        write_parts(target, manifest_of(self._catalog, self.record))
        return target

    def to_parquet(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write one row an instance as Parquet, the cohort in its metadata; DuckDB and others read it.

        Raises
        ------
        ExportError
            If pyarrow is not installed, or there is such a file and it was not said to overwrite it.
        """
        try:
            import pyarrow as pa  # type: ignore[import-untyped]
            import pyarrow.parquet as pq  # type: ignore[import-untyped]
        except ModuleNotFoundError:
            raise ExportError("Parquet needs pyarrow: pip install 'imaging-workbench[parquet]'") from None
        target = _target(path, overwrite=overwrite)
        names = [each.name for each in fields(CohortItem)]
        types = [pa.int64() if name == "size" else pa.string() for name in names]
        schema = pa.schema(list(zip(names, types, strict=True)), metadata=self._told())
        partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
        try:
            with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
                for some in batched(self.items(), _ROWS):
                    columns = [[getattr(each, name) for each in some] for name in names]
                    writer.write_table(pa.table(dict(zip(names, columns, strict=True)), schema=schema))
            sync(partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        sync(target.parent)
        return target

    def _rows(self) -> tuple[FrozenSeries, ...]:
        if self._series is None:
            approved: dict[str, Any] = {
                "cohort": self.record.name, "approval": self.record.approval, "expires": self.record.expires
            }  # fmt: skip
            found = series_of(self._catalog, self.record.name)
            self._series = tuple(FrozenSeries(**_values(each), **approved) for each in found)
        return self._series

    def _title(self) -> str:
        record = self.record
        until = f" until {record.expires}" if record.expires else ""
        parts = [
            f"cohort {record.name}, frozen {record.frozen:%Y-%m-%d %H:%M} UTC",
            f"{record.series:,} series, {record.instances:,} instances",
            _frozen_by(record),
            f"approval {record.approval}{until}" if record.approval else "no approval",
        ]
        return " · ".join(parts)

    def _told(self) -> dict[str, str]:
        record = self.record
        told = {
            "cohort": record.name, "digest": record.digest, "approval": record.approval,
            "expires": str(record.expires or ""), "frozen": record.frozen.isoformat(),
            "question": question_text(record.question) if leaves(record.question) else "",
        }  # fmt: skip
        return {f"workbench.{name}": text for name, text in told.items()}


def _frozen_by(record: CohortRecord) -> str:
    if record.hashed == record.instances:
        return "by whole files"
    return f"{record.hashed:,} by whole file, the others by header" if record.hashed else "by header"


_RECORD_FIELDS = frozenset(each.name for each in fields(CohortRecord)) - {"series"}


def _values(record: SeriesRecord) -> dict[str, Any]:
    return {each.name: getattr(record, each.name) for each in fields(record)}


def _target(path: str | Path, *, overwrite: bool) -> Path:
    target = Path(path)
    if target.is_dir():
        raise ExportError(f"{target} is a folder; give the name of a file in it")
    if target.exists() and not overwrite:
        raise ExportError(f"{target} is there already; give another name, or say to overwrite it")
    return target


# --- approval --------------------------------------------------------------------------------------------


def allowed(name: str, approval: str, expires: date | None, today: date) -> None:
    """Refuse what an approval no longer covers.

    Raises
    ------
    ApprovalError
        If its last day has passed.
    """
    if expires is not None and today > expires:
        raise ApprovalError(
            f"the approval {approval} of cohort {name!r} ended on {expires}: its list can be read, "
            "but nothing is run on it and none of its rows opened; "
            "freeze it under a new approval and another name"
        )


def check_approvals(series: object, today: date) -> None:
    """Refuse series of cohorts whose approval has ended; a cohort must also be what was frozen.

    Raises
    ------
    ApprovalError
        If an approval has ended.
    CohortError
        If a cohort is no longer what was frozen.
    """
    if isinstance(series, Cohort):
        series.check(today)
    for each in series if isinstance(series, list) else [series]:
        if isinstance(each, FrozenSeries):
            allowed(each.cohort, each.approval, each.expires, today)


def approved_series(catalog: Catalog, series: Selection, today: date) -> list[SeriesRecord]:
    """Return the series that are meant, as `selected_series`, where all of them may be computed on.

    Raises
    ------
    ApprovalError, CohortError
        As `check_approvals`, also for one that is given twice and once without its cohort.
    NotFoundError, QuestionError
        As `selected_series`.
    """
    if isinstance(series, Iterable) and not isinstance(series, str | SeriesRecord | Cohort):
        series = list(series)  # an iterator gives them once
    check_approvals(series, today)
    return selected_series(catalog, series)


# --- on a bench ------------------------------------------------------------------------------------------


def all_cohorts(catalog: Catalog) -> Table[CohortRecord]:
    """Every cohort of a catalog, as a table."""
    note = "bench.freeze(name, bench.series(…)) makes one"
    found = list_cohorts(catalog)
    return Table(found, COHORT_COLUMNS, noun="cohorts", note="" if found else note)


def read_whole(catalog: Catalog, name: str, uids: Sequence[str], *, quiet: bool = False) -> None:
    """Read the files of series that were never read as a whole, before they are frozen.

    Raises
    ------
    CohortError
        If some are no longer as they were indexed.
    """
    from catalog.hashing import hash_files  # with pydicom, which a question to the catalog does not load

    with bar("freeze", "files", quiet=quiet) as progress:
        bad = hash_files(catalog, uids, now=datetime.now(UTC), progress=progress)
    if bad:
        raise CohortError(
            f"cohort {name!r} is not frozen, as {len(bad):,} of its files are not as they were indexed; the "
            f"first is {bad[0].path}: {bad[0].reason}"
        )


def question_in(found: object) -> Question | None:
    """Return the question that found these series, where it is known."""
    if isinstance(found, FoundSeries):
        return found.question
    return Question() if found is None else None


def import_manifest(
    catalog: Catalog, path: str | Path, name: str | None = None, *, settings: Settings
) -> Cohort:
    """Take in the cohort of a manifest.

    Raises
    ------
    NotFoundError
        If there is no such file.
    CohortError
        If it is no manifest, was altered, or another cohort has its name.
    """
    source = Path(path)
    if not source.is_file():
        raise NotFoundError(f"{source} is no file; `workbench cohort export NAME --manifest FILE` writes one")
    try:
        with source.open(encoding="utf-8") as file:
            return Cohort(catalog, take_in(catalog, _chunks(file), name=name), settings)
    except UnicodeDecodeError:
        raise CohortError(f"{source} is no manifest of a cohort: it is no text in UTF-8") from None


def _chunks(file: TextIO) -> Iterator[str]:
    while chunk := file.read(_CHUNK):
        yield chunk
