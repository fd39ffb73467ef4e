"""Which series, arrays and files are meant by what a person hands over: UIDs, records, outputs, paths."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from catalog.arrays import all_arrays, arrays_of
from catalog.checks import held
from catalog.corrections import deleted_series, is_deleted
from catalog.database import Catalog
from catalog.errors import NotFoundError, QuestionError
from catalog.identifiers import is_uid
from catalog.query import find_series
from catalog.records import ArrayRecord, OutputRecord, SeriesRecord
from catalog.runs import find_output
from catalog.signatures import VIDEO, look_of
from workbench.tables import Table, plain

type Selection = str | SeriesRecord | Iterable[str | SeriesRecord] | None
"""Series by UID or record, several of them, or `None` for every series of the catalog."""


def selected_series(catalog: Catalog, series: Selection) -> list[SeriesRecord]:
    """Return the series that are meant, each once; raises for what is none.

    Raises
    ------
    NotFoundError
        If a UID is not known.
    QuestionError
        If something is no UID and no record.
    """
    if series is None:
        return find_series(catalog)
    if isinstance(series, str | SeriesRecord):
        series = [series]
    if not isinstance(series, Iterable):
        raise QuestionError(f"series are given as {_SERIES}, or a list of them, not as {named_kind(series)}")
    selected = [_record(catalog, each) for each in series]
    return list({each.series_instance_uid: each for each in selected}.values())


def one_series(catalog: Catalog, series: object, wanted_by: str) -> SeriesRecord:
    """Return the one series that is meant.

    Raises
    ------
    QuestionError
        If it is no UID and no record; says what `wanted_by` takes.
    NotFoundError
        If its UID is not known, or it was deleted since it was found.
    """
    if not isinstance(series, str | SeriesRecord):
        raise QuestionError(f"{wanted_by} takes one series: {_SERIES}, not {named_kind(series)}")
    if isinstance(series, SeriesRecord) and is_deleted(catalog, series.series_instance_uid):
        raise NotFoundError(_deleted(series.series_instance_uid))
    return _record(catalog, series)


_SERIES = "a Series Instance UID or a row of bench.series()"


def named_kind(value: object) -> str:
    """What kind of thing somebody handed over, for an error."""
    if value is None:
        return "nothing"
    return "Table" if isinstance(value, Table) else type(value).__name__


def _record(catalog: Catalog, series: object) -> SeriesRecord:
    if isinstance(series, SeriesRecord):
        return series
    if not isinstance(series, str):
        raise QuestionError(f"a series is given as {_SERIES}, not as {named_kind(series)}")
    return _by_uid(catalog, series)


def _by_uid(catalog: Catalog, uid: str) -> SeriesRecord:
    found = find_series(catalog, series_instance_uid=uid)
    if len(found) != 1 or found[0].series_instance_uid != uid:
        raise NotFoundError(_deleted(uid) if is_deleted(catalog, uid) else _no_series(uid))
    return found[0]


def _deleted(uid: str) -> str:
    return (
        f"series {uid} was deleted, alone or with its study; bench.restore(uid, why='…') of what was deleted "
        "brings it back, bench.corrections lists that"
    )


def elsewhere(series: SeriesRecord) -> str:
    """Say where the pixels of a series without a file lie, and how they come here."""
    return f"its pixels are not here but at {series.remote}; bench.fetch(series) gets them"


def uid_of(series: SeriesRecord | str) -> str:
    """Series Instance UID of a series; another UID as it is."""
    return series.series_instance_uid if isinstance(series, SeriesRecord) else series


def away(catalog: Catalog, selected: Sequence[SeriesRecord]) -> list[SeriesRecord]:
    """Series that are known only from elsewhere, also those that a node was just found to have."""
    remote = [each for each in selected if each.remote]
    here = held(catalog, [each.series_instance_uid for each in remote]) if remote else {}
    return [each for each in remote if each.series_instance_uid not in here]


def require_here(catalog: Catalog, selected: Sequence[SeriesRecord]) -> None:
    """Refuse series that are known only from elsewhere; one that was fetched since it was found is here.

    Raises
    ------
    NotFoundError
        If there is one; says how many, and where the first lies.
    """
    absent = away(catalog, selected)
    if absent:
        first = absent[0]
        raise NotFoundError(
            f"{len(absent):,} of {len(selected):,} series have no file here, "
            f"{first.series_instance_uid} the first: {elsewhere(first)}"
        )


def _no_series(uid: str) -> str:
    """Say why there is no such series, also where a path was given for it."""
    with suppress(OSError, ValueError):  # it may be too long for a path, or hold what no path may
        if not is_uid(uid) and Path(uid).exists():
            if _look_of(Path(uid)) == VIDEO:
                return f"{uid} is no series but {VIDEO}, without index and ingest"
            return f"{uid} is a path; `workbench index` it, then `workbench series` lists what there is"
    return f"no series {uid} in the catalog; `workbench series` lists what there is"


def _look_of(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return look_of(file.read(1024))


def arrays_in(catalog: Catalog, series: Selection) -> list[ArrayRecord]:
    """Return the arrays of the series that are meant; raises as `selected_series`."""
    if series is None:
        gone = deleted_series(catalog)
        return [each for each in all_arrays(catalog) if each.series_instance_uid not in gone]
    return [
        array
        for each in selected_series(catalog, series)
        for array in arrays_of(catalog, each.series_instance_uid)
    ]


def files_of(
    catalog: Catalog, objects: Iterable[OutputRecord | str | Path] | OutputRecord | str | Path
) -> Iterator[Path]:
    """Files of DICOM objects: outputs of runs (arrays are passed over), their SOP Instance UIDs, or paths.

    Raises
    ------
    NotFoundError
        If one is neither a file nor an object of a run.
    QuestionError
        If something is none of these.
    """
    if isinstance(objects, OutputRecord | str | Path):
        objects = [objects]
    if not isinstance(objects, Iterable):
        raise QuestionError(
            f"objects are given as {_OBJECTS}, or a list of them, not as {named_kind(objects)}"
        )
    for each in objects:
        if isinstance(each, OutputRecord):
            if each.sop_instance_uid is not None:
                yield Path(each.path)
        elif not isinstance(each, str | Path):
            raise QuestionError(f"an object is given as {_OBJECTS}, not as {named_kind(each)}")
        elif isinstance(each, str) and is_uid(each):
            output = find_output(catalog, each)
            if output is None:
                raise NotFoundError(f"no run made an object {each}; `workbench run … --json` lists them")
            yield Path(output.path)
        elif _is_file(each):
            yield Path(each)
        else:
            raise NotFoundError(
                f"{plain(str(each)):.200} is neither a file nor the SOP Instance UID of a run's object"
            )


_OBJECTS = "an output of a run, its SOP Instance UID or the path of a DICOM file"


def _is_file(path: str | Path) -> bool:
    with suppress(OSError, ValueError):  # it may be too long for a path, or hold what no path may
        return Path(path).is_file()
    return False
