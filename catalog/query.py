"""Finds series and instances by attribute matching and `where` expressions.

A series that is known only from elsewhere (`catalog.remotes`) is found by what stands of its patient, study
and series. What it would take a file to know is unknown, and what is unknown is not true: neither
`SliceThickness < 1` nor `not SliceThickness < 1` finds it.
"""

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from itertools import batched, pairwise
from sys import intern
from typing import Any

import sqlalchemy as sa

from catalog.attributes import BY_COLUMN, BY_KEYWORD, Attribute, Kind, Level, snake_case
from catalog.checks import place_read, rots
from catalog.database import Catalog
from catalog.errors import NotFoundError, QuestionError
from catalog.keys import AreFew
from catalog.matching import TABLES, Condition, attribute_named, check_count, column_of, condition
from catalog.models import checks, deliveries, doubts, files, instances, patients, remotes, series, studies
from catalog.places import State
from catalog.records import InstanceRecord, PixelData, SeriesRecord, Value
from catalog.related import RELATED, TOLD_BY_INSTANCES, SeriesBelow
from catalog.saying import as_said, is_odd, odd_series, said_or_row, varied
from catalog.scan import openable
from catalog.texts import Candidates, are_few, asked_for, first, is_candidate, text_row
from catalog.tombstones import deleted_rows
from catalog.vocabulary import MANUFACTURER
from catalog.where import BESIDE, candidates_of, compile_where, names_in, narrowed

_LEVELS = tuple(Level)
_MODALITIES_IN_STUDY = "ModalitiesInStudy"
_FEW_SERIES = 5_000
"""To gather so many takes some milliseconds; of more, a walk through all finds a page sooner."""
_AT_ONCE = 500
"""Values in one IN list."""
_ROWS_AT_ONCE = 100_000
"""Numbers of rows that are looked for at once: 800 kB."""


@dataclass(frozen=True, slots=True)
class _Demand:
    """What is asked of a level, or of an instance below it."""

    level: Level
    condition: Condition
    elsewhere: Condition | None
    """What is asked of a series without a file; `None` where nothing of it could be true."""
    names_above: bool = False
    """Whether a patient or study is asked about, too."""
    candidates: Candidates | None = None
    """The series that an index of texts tells of; all that are meant are among them."""
    of_series: Callable[[AreFew], Condition] | None = None
    """What is true of every series that is meant, told without its instances."""
    said: Condition = field(default_factory=sa.true)
    """The same asked of an instance and what its file says, where that matters; it does for ..."""
    varied: frozenset[str] = frozenset()
    """... columns under which some files say something else than their rows."""
    halves: "tuple[_Demand, ...]" = ()
    """Demands that together are this one, and no series meets two of them: each has indexes of its own."""
    sum: "tuple[tuple[int, _Demand], ...]" = ()
    """Demands whose counts, added or subtracted, are the count of this one; likewise."""


def find_series(
    catalog: Catalog, *, where: str | None = None, limit: int | None = None, page: int = 1, **matching: Any
) -> list[SeriesRecord]:
    """Return the series with an instance that satisfies everything asked for, and that can still be read.

    Those known only from elsewhere, too; their `remote` says where they lie.

    Parameters
    ----------
    catalog
        An open catalog.
    where
        An expression, see `catalog.where`: `"SliceThickness <= 1.5"`.
    limit
        How many at most, so that the time does not depend on how many there are.
    page
        From 1: which so many of them.
    **matching
        Attributes by keyword or column name, see `catalog.matching`: `modality="CT"`.

    Returns
    -------
    list of SeriesRecord
        By patient, study date and time, series number; with a limit as they came into the catalog.

    Raises
    ------
    QuestionError
        If a name is unknown or a value cannot be compared; names the nearest.
    """
    if limit is not None:
        check_count("limit", limit)
        check_count("page", page)
    with catalog.reading() as connection:
        demands = _demands(connection, where, matching)
        lead = _lead(connection, demands)
        every = limit is None or limit > _FEW_SERIES
        asked = _select(
            Level.SERIES,
            demands,
            joined=_is_joined(Level.SERIES, demands),
            lead=lead,
            are_few=lambda listed: every or _are_few(connection, listed),
        )
        asked = asked.add_columns(series.c.id)
        if limit is not None and lead is None and len(halves := _halves(demands)) > 1:
            asked = _page_of(halves, limit, page)
        elif limit is not None:
            order = series.c.id if lead is None else text_row()
            asked = asked.order_by(order).limit(limit).offset((page - 1) * limit)
        statement = _records(asked, in_catalog_order=limit is not None)
        return [SeriesRecord(**row) for row in connection.execute(statement).mappings()]


def find_rows(
    catalog: Catalog, where: str | None, matching: Mapping[str, Any], *, limit: int | None = None
) -> "array[int]":
    """Return the rows of the series that `find_series` finds, in the order in which they came.

    Raises
    ------
    QuestionError
        As `find_series`.
    """
    with catalog.reading() as connection:
        demands = _demands(connection, where, matching)
        lead = _lead(connection, demands)
        asked = _select(Level.SERIES, demands, joined=_is_joined(Level.SERIES, demands), lead=lead)
        order = series.c.id if lead is None else text_row()
        found = connection.execution_options(yield_per=_AT_ONCE * 20)
        return array("q", found.scalars(asked.add_columns(series.c.id).order_by(order).limit(limit)))


def find_placed(
    catalog: Catalog, where: str | None, matching: Mapping[str, Any], order: Sequence[sa.ColumnElement[Any]]
) -> "tuple[array[int], array[int], array[int]]":
    """Return, in an order, the row of each series that `find_series` finds, with its patient and study.

    Raises
    ------
    QuestionError
        As `find_series`.
    """
    rows = patients.c.id, studies.c.id, series.c.id
    places = array("q"), array("q"), array("q")
    with catalog.reading() as connection:
        demands = _demands(connection, where, matching)
        lead = _lead(connection, demands)
        asked = _select(Level.SERIES, demands, joined=True, lead=lead).add_columns(*rows).order_by(*order)
        found = connection.execution_options(yield_per=_AT_ONCE * 20).execute(asked)
        for some in found.partitions():
            for place, column in zip(places, zip(*some, strict=True), strict=True):
                place.extend(column)
    return places


def series_of_rows(catalog: Catalog, rows: Sequence[int]) -> dict[int, SeriesRecord]:
    """Return the series of rows that are there, by patient, study date and time, series number."""
    asked = sa.select(series.c.id).where(series.c.id.in_(list(rows)))
    statement = _records(asked, in_catalog_order=False).add_columns(_ASKED.c.id.label("row"))
    with catalog.reading() as connection:
        found = [dict(row) for row in connection.execute(statement).mappings()]
    return {row.pop("row"): SeriesRecord(**row) for row in found}


def count_series(catalog: Catalog, *, where: str | None = None, **matching: Any) -> int:
    """Return how many series there are of what is asked for, as `find_series`."""
    with catalog.reading() as connection:
        return sum(
            sign * connection.execute(asked.add_columns(sa.func.count())).scalar_one()
            for sign, asked in counting_series(connection, where, matching)
        )


def counting_series(
    connection: sa.Connection, where: str | None, matching: Mapping[str, Any], level: Level = Level.SERIES
) -> list[tuple[int, sa.Select[Any]]]:
    """Return statements over the series that are asked for, whose counts are added or, with -1, subtracted.

    All rows of an index are counted in no time; those that have no place are among the few that are doubted.

    Parameters
    ----------
    level
        Of the columns that will be added; the tables of levels above are joined only where they are needed.

    Raises
    ------
    QuestionError
        As `find_series`.
    """
    demands = _demands(connection, where, matching)
    lead = _lead(connection, demands)
    joined = _is_joined(level, demands)
    if any(each.level is Level.INSTANCE for each in demands):
        return [(1, _select(Level.SERIES, demands, joined=joined, lead=lead))]
    rows = _rows(Level.SERIES, joined=joined, lead=lead)
    hidden = sa.not_(sa.or_(_is_elsewhere(series), _has_place(series)))
    counted = []
    for sign, some in _sum(demands):
        every = sa.select().select_from(rows).where(*_led_by(lead), *(each.condition for each in some))
        doubted = every.where(series.c.id.in_(sa.select(doubts.c.series)), hidden)
        counted += [(sign, every), (-sign, doubted)]
    return counted


def _page_of(halves: Sequence[Sequence[_Demand]], limit: int, page: int) -> sa.Select[Any]:
    """The rows of a page of series in the order in which they came, of questions that find none twice."""
    found = []
    for demands in halves:
        joined = _is_joined(Level.SERIES, demands)
        asked = _select(Level.SERIES, demands, joined=joined).add_columns(series.c.id)
        some = asked.order_by(series.c.id).limit(limit * page).subquery()
        found.append(sa.select(some.c.id))
    rows = sa.union_all(*found).subquery()
    return sa.select(rows.c.id).order_by(rows.c.id).limit(limit).offset((page - 1) * limit)


def _demands(connection: sa.Connection, where: str | None, matching: Mapping[str, Any]) -> list[_Demand]:
    """What is asked of series."""
    names = {attribute_named(name).column for name in matching}
    named = names_in(where) if where is not None and where.strip() else set()
    otherwise = varied(connection, names | named)
    demands = _conditions(matching, otherwise)
    if where is not None and where.strip():
        demands.append(_where(where, otherwise))
    return _heard(Level.SERIES, demands)


def _heard(level: Level, demands: list[_Demand]) -> list[_Demand]:
    """Ask files, where some say something else than their rows; all that is asked, of one instance.

    Of series the rows decide, but for those few of which a file says something else.
    """
    asked = [each for each in demands if each.varied]
    if not asked:
        return demands
    others = [each for each in demands if not each.varied]
    names = frozenset[str]().union(*(each.varied for each in asked))
    if level is Level.SERIES and all(each.level is not Level.INSTANCE for each in others):
        return [_of_rows_or_files(asked, names), *others]
    found = others
    for each in asked:
        found.append(replace(each, level=Level.INSTANCE, condition=each.said, elsewhere=each.elsewhere))
        if is_above(each.level, level):
            may_be = sa.or_(each.condition, _has_odd(level, each.varied))
            at = min(each.level, level, key=_LEVELS.index) if level is not Level.INSTANCE else Level.SERIES
            found.append(_Demand(at, may_be, may_be, each.names_above))
    return found


def _of_rows_or_files(asked: Sequence[_Demand], names: frozenset[str]) -> _Demand:
    """All that is asked of series and of what is above them as one demand."""
    rows = sa.and_(*(each.condition for each in asked))
    said = [each.said for each in asked]
    of_file = _has_below(series, tuple(TABLES.values()), _PLACE, _IS_PLACE, *said)
    of_rows = sa.and_(rows, sa.or_(sa.not_(is_odd(series.c.id, names)), _is_elsewhere(series)))
    candidates = next((each.candidates for each in asked if each.candidates is not None), None)
    if candidates is not None:
        is_all = candidates.is_all and len(asked) == 1
        candidates = replace(candidates, others=tuple(odd_series(names)), is_all=is_all)
    is_odd_here = series.c.id.in_(sa.union_all(*odd_series(names)))
    of_files = sa.and_(is_odd_here, of_file)
    found_elsewhere = sa.func.coalesce(sa.and_(rows, _is_elsewhere(series)), sa.false())
    whole = _Demand(
        Level.SERIES,
        sa.or_(of_rows, of_files),
        rows,
        any(each.names_above for each in asked),
        candidates,
    )
    by_file = replace(whole, condition=sa.and_(of_files, sa.not_(found_elsewhere)))
    not_by_row = sa.and_(rows, is_odd_here, sa.not_(_is_elsewhere(series)))
    return replace(
        whole,
        halves=(replace(whole, condition=of_rows), by_file),
        sum=((1, replace(whole, condition=rows)), (-1, replace(whole, condition=not_by_row)), (1, by_file)),
    )


def _halves(demands: Sequence[_Demand]) -> list[list[_Demand]]:
    """Questions that together are one, and find no series twice."""
    at = next((number for number, each in enumerate(demands) if each.halves), None)
    if at is None:
        return [list(demands)]
    return [[*demands[:at], half, *demands[at + 1 :]] for half in demands[at].halves]


def _sum(demands: Sequence[_Demand]) -> list[tuple[int, list[_Demand]]]:
    """Questions whose counts, added or subtracted, are that of one."""
    at = next((number for number, each in enumerate(demands) if each.sum), None)
    if at is None:
        return [(1, list(demands))]
    return [(sign, [*demands[:at], each, *demands[at + 1 :]]) for sign, each in demands[at].sum]


def _has_odd(level: Level, names: frozenset[str]) -> Condition:
    """Whether a file below a row says something else under some columns."""
    odd = sa.union_all(*odd_series(names))
    if level is Level.PATIENT:
        above = sa.select(studies.c.patient).join(series, series.c.study == studies.c.id)
        return patients.c.id.in_(above.where(series.c.id.in_(odd)))
    if level is Level.STUDY:
        return studies.c.id.in_(sa.select(series.c.study).where(series.c.id.in_(odd)).correlate(None))
    return series.c.id.in_(odd)


def _is_joined(level: Level, demands: Iterable[_Demand]) -> bool:
    return level is not Level.SERIES or any(each.names_above for each in demands)


def _lead(connection: sa.Connection, demands: Sequence[_Demand]) -> Candidates | None:
    """The candidates to look at one by one, where that is quicker than going through all series.

    When they are many, other demands may have a better index, and a walk soon has a page full. Without
    others all of them are looked at in any case, and for a page in its order until it is full.
    """
    found = next((each.candidates for each in demands if each.candidates is not None), None)
    if found is None:
        return None
    is_alone = found.is_all and len(demands) == 1
    return found if is_alone or (found.match and are_few(connection, found)) else None


def _are_few(connection: sa.Connection, listed: sa.CompoundSelect[int]) -> bool:
    """Whether a list of series is short enough to be gathered for a page of them."""
    some = sa.select(sa.literal(1)).select_from(listed.subquery()).limit(_FEW_SERIES + 1)
    return (connection.scalar(sa.select(sa.func.count()).select_from(some.subquery())) or 0) <= _FEW_SERIES


def _led_by(lead: Candidates | None) -> list[Condition]:
    return [] if lead is None else [is_candidate(lead)]


def _is_ours() -> sa.ColumnElement[bool]:
    """Whether results of a series went out from here, or it says that a workbench made it."""
    sent = sa.exists().where(
        deliveries.c.series_instance_uid == series.c.series_instance_uid, deliveries.c.is_result
    )
    made = sa.func.coalesce(series.c.manufacturer, "") == MANUFACTURER
    return sa.or_(made, sent.correlate(series))


_ASKED = sa.table("asked", sa.column("id", sa.BigInteger))


def _records(asked: sa.Select[Any], *, in_catalog_order: bool) -> sa.Select[Any]:
    """The fields of `SeriesRecord` for the rows of series that a statement selects."""
    return _records_asked(in_catalog_order).add_cte(asked.cte(_ASKED.name))


@cache
def _records_asked(in_catalog_order: bool) -> sa.Select[Any]:
    """The part that every question has: to build it takes ten times as long as to answer a small one."""
    asked = _ASKED
    names = [each.name for each in fields(SeriesRecord) if each.name in BY_COLUMN]
    of_instance = sa.case((instances.c.rows.is_not(None), sa.func.coalesce(instances.c.number_of_frames, 1)))
    counts = (
        sa.select(
            instances.c.series,
            sa.func.count().label("instances"),
            sa.func.coalesce(sa.func.sum(of_instance), 0).label("frames"),
        )
        .where(instances.c.series.in_(sa.select(asked.c.id)), _has_place(instances))
        .group_by(instances.c.series)
        .subquery()
    )
    first = sa.select(sa.func.min(_REMOTE.c.id)).where(_REMOTE.c.series == series.c.id).scalar_subquery()
    as_they_came = (asked.c.id,)  # not of the table, whose order could be taken for a way to find them
    by_patient = (
        patients.c.patient_id,
        studies.c.study_date.nulls_last(),
        studies.c.study_time.nulls_last(),
        studies.c.study_instance_uid,
        series.c.series_number.nulls_last(),
        series.c.series_instance_uid,
    )
    return (
        sa.select(
            *(column_of(BY_COLUMN[name]) for name in names),
            sa.func.coalesce(counts.c.instances, remotes.c.instances, 0).label("instances"),
            sa.func.coalesce(counts.c.frames, 0).label("frames"),
            sa.case((counts.c.series.is_(None), remotes.c.address), else_="").label("remote"),
            _is_ours().label("ours"),
        )
        .select_from(asked)
        .join(series, series.c.id == asked.c.id)
        .join(studies, studies.c.id == series.c.study)
        .join(patients, patients.c.id == studies.c.patient)
        .outerjoin(counts, counts.c.series == series.c.id)
        .outerjoin(remotes, remotes.c.id == first)
        .order_by(*(as_they_came if in_catalog_order else by_patient))
    )


def find_instances(catalog: Catalog, **matching: Any) -> list[InstanceRecord]:
    """Return the instances that match and can still be read, by series and instance number.

    Of several places of one instance it is the first; one that a scrub found rotten comes last.

    Raises
    ------
    QuestionError
        If a name is unknown or a value cannot be compared; names the nearest.
    """
    with catalog.reading() as connection:
        statement = (
            _select(Level.INSTANCE, _filed(connection, Level.INSTANCE, matching))
            .add_columns(
                *(column_of(BY_COLUMN[name]) for name in _INSTANCE_FIELDS),
                *(instances.c[name] for name in ("transfer_syntax_uid", "header_digest", "deviations")),
                *(files.c[name] for name in _PLACE_COLUMNS),
                checks.c.reason.label("rot"),
            )
            .join(files, files.c.id == place_read())
            .outerjoin(checks, rots(checks, files))
            .order_by(
                studies.c.study_instance_uid,
                series.c.series_instance_uid,
                instances.c.instance_number.nulls_last(),
                instances.c.sop_instance_uid,
            )
        )
        return [_instance(row) for row in connection.execute(statement).mappings()]


def find_encodings(
    catalog: Catalog, *, limit: int | None = None, **matching: Any
) -> list[tuple[str, str, str]]:
    """Return SOP Instance UID, SOP Class UID and transfer syntax of what `find_instances` finds.

    Series by series, by instance number; it takes little memory for each.

    Raises
    ------
    QuestionError
        As `find_instances`.
    """
    with catalog.reading() as connection:
        statement = (
            _select(Level.INSTANCE, _filed(connection, Level.INSTANCE, matching))
            .add_columns(
                instances.c.sop_instance_uid, instances.c.sop_class_uid, instances.c.transfer_syntax_uid
            )
            .order_by(instances.c.series, instances.c.instance_number.nulls_last(), instances.c.id)
            .limit(limit)
        )
        return [
            (uid, intern(sop_class or ""), intern(syntax))
            for uid, sop_class, syntax in connection.execute(statement)
        ]


def instances_of(catalog: Catalog, series_instance_uid: str) -> list[InstanceRecord]:
    """Return the instances of one series that can still be read, by instance number.

    Raises
    ------
    NotFoundError
        If the catalog has no such series.
    """
    statement = sa.select(series.c.id).where(series.c.series_instance_uid == series_instance_uid)
    with catalog.reading() as connection:
        if connection.scalar(statement) is None:
            raise NotFoundError(f"no series {series_instance_uid} in the catalog; index its files first")
    return find_instances(catalog, series_instance_uid=[series_instance_uid])


def contents(catalog: Catalog, uids: Collection[str] | None = None) -> dict[str, list[str]]:
    """Return what each series consists of, in texts: UID, header digest, size and time of its instances.

    Parameters
    ----------
    uids
        Series Instance UIDs; of every series when left out.
    """
    instance = (series.c.series_instance_uid, instances.c.sop_instance_uid, instances.c.header_digest)
    statement = (
        sa.select(*instance, sa.func.max(files.c.size), sa.func.max(files.c.mtime_ns))
        .join(instances, instances.c.series == series.c.id)
        .join(files, files.c.instance == instances.c.id)
        .where(files.c.state == State.INDEXED.value)
        .group_by(*instance)
        .order_by(series.c.series_instance_uid, instances.c.sop_instance_uid)
    )
    of_series = series.c.series_instance_uid
    some = [None] if uids is None else list(batched(sorted(set(uids)), _AT_ONCE))
    found: dict[str, list[str]] = {}
    with catalog.reading() as connection:
        for each in some:
            asked = statement if each is None else statement.where(of_series.in_(each))
            for uid, *texts in connection.execute(asked):
                found.setdefault(uid, []).extend(map(str, texts))
    return found


def find_level(
    catalog: Catalog, level: Level, matching: Mapping[str, Any], *, columns: Iterable[str]
) -> Iterator[dict[str, Value]]:
    """Yield one row for each matching entity of a level, as C-FIND answers (PS3.4 section C.4.1).

    The first come before the others are looked for. Between them nothing is held but the numbers of rows, and
    no transaction is open, however long whoever takes them takes. What is deleted meanwhile is left out.

    Parameters
    ----------
    catalog
        An open catalog.
    level
        Patient, study, series or instance.
    matching
        Keys of any level, by keyword or column name. `ModalitiesInStudy` is met by any series of the study.
    columns
        What to return, by keyword or column name, of this level and those above; and what is told by the
        series below (`catalog.related`), by keyword.

    Returns
    -------
    iterator of dict
        Values by column name; that of what is told by series is made like one, `modalities_in_study`.

    Raises
    ------
    QuestionError
        If a name is unknown, or of a level below, or a value cannot be compared; names the nearest. At once.
    """
    names = list(columns)
    told = {name: _told_of(name, level) for name in names if name in RELATED}
    asked = [attribute_named(name) for name in names if name not in RELATED]
    for name, of in [*told.items(), *((each.keyword, each.level) for each in asked)]:
        if not is_above(of, level):
            raise QuestionError(f"{name} is of the level {of.value}, which is below {level.value}")
    row = TABLES[level].c.id
    with catalog.reading() as connection:
        of_file = level is Level.INSTANCE
        otherwise = _otherwise(connection, [each.column for each in asked]) if of_file else ()
        matched = _select(level, _level_demands(connection, level, matching)).add_columns(row).order_by(row)
    columns_asked = (
        (said_or_row(each) if each.column in otherwise else column_of(each)).label(each.column)
        for each in asked
    )
    answered = (
        sa.select(*columns_asked)
        .add_columns(*(TABLES[of].c.id.label(_row_of(of)) for of in dict.fromkeys([*told.values(), level])))
        .select_from(_rows(level, joined=True))
        .where(_is_there(level, ()))
        .order_by(row)
    )
    return _answers(catalog, _rows_matched(catalog, matched, row), answered, told, level)


def _rows_matched(catalog: Catalog, matched: sa.Select[Any], row: sa.Column[int]) -> "Iterator[array[int]]":
    """Yield the numbers of rows that match: few, so that an answer begins, then many at a time."""
    last, limit = 0, _AT_ONCE
    while True:
        with catalog.reading() as connection:
            found = array("q", connection.scalars(matched.where(row > last).limit(limit)))
        yield found
        if len(found) < limit:
            return
        last, limit = found[-1], _ROWS_AT_ONCE


def _answers(
    catalog: Catalog,
    matched: "Iterable[array[int]]",
    answered: sa.Select[Any],
    told: Mapping[str, Level],
    level: Level,
) -> Iterator[dict[str, Value]]:
    """Yield what is asked for of rows; a batch of them at a time is in memory."""
    for some in (batch for rows in matched for batch in batched(rows, _AT_ONCE)):
        with catalog.reading() as connection:
            statement = answered.where(TABLES[level].c.id.in_(some))
            answers = [dict(each) for each in connection.execute(statement).mappings()]
            if told:
                _tell(connection, told, answers)
        if level not in told.values():
            for each in answers:
                del each[_row_of(level)]
        yield from answers


def is_above(level: Level, other: Level) -> bool:
    """Whether a level is the same as another one, or above it."""
    return _LEVELS.index(level) <= _LEVELS.index(other)


def _told_of(name: str, level: Level) -> Level:
    """Of which entity something is told to rows of a level; what is of an instance, its series tells."""
    return RELATED[name].level or (level if is_above(level, Level.SERIES) else Level.SERIES)


def _row_of(level: Level) -> str:
    return f"row of {level.value}"


def _tell(connection: sa.Connection, told: Mapping[str, Level], rows: Sequence[dict[str, Any]]) -> None:
    """Add to a batch of rows what series tell, with one question for each level of what it is told."""
    for level in dict.fromkeys(told.values()):
        entities = [row.pop(_row_of(level)) for row in rows]
        with_classes = any(of is level and name in TOLD_BY_INSTANCES for name, of in told.items())
        below = _series_below(connection, level, set(entities), with_classes=with_classes)
        for name in (name for name, of in told.items() if of is level):
            values = {entity: RELATED[name].of(of_it) for entity, of_it in below.items()}
            for row, entity in zip(rows, entities, strict=True):
                row[snake_case(name)] = values[entity]


def _series_below(
    connection: sa.Connection, level: Level, entities: Collection[int], *, with_classes: bool
) -> dict[int, list[SeriesBelow]]:
    entity = TABLES[level].c.id
    classes: dict[int, set[str]] = {}
    if with_classes:
        of_instances = (
            _select(Level.INSTANCE, ())
            .add_columns(series.c.id, instances.c.sop_class_uid)
            .where(entity.in_(entities), instances.c.sop_class_uid.is_not(None))
            .distinct()
        )
        for number, sop_class_uid in connection.execute(of_instances):
            classes.setdefault(number, set()).add(sop_class_uid)
    statement = (
        _select(Level.SERIES, ())
        .add_columns(
            entity, studies.c.id, series.c.id, series.c.modality, _INSTANCES_HERE, _INSTANCES_ELSEWHERE
        )
        .where(entity.in_(entities))
    )
    found: dict[int, list[SeriesBelow]] = {each: [] for each in entities}
    for row, study, number, modality, here, elsewhere in connection.execute(statement):
        of_it = frozenset(classes.get(number, ()))
        found[row].append(SeriesBelow(study, modality, here or elsewhere or 0, here > 0, of_it))
    return found


_FILED_UNDER = frozenset({"patient_id", "issuer_of_patient_id"})
"""What services of a PACS find by the rows alone: their answers, and what is fetched, is filed under it."""


def _otherwise(connection: sa.Connection, names: Iterable[str]) -> frozenset[str]:
    """Columns under which files say something else than their rows, for the services of a PACS."""
    return varied(connection, {*names} - _FILED_UNDER)


def _filed(connection: sa.Connection, level: Level, matching: Mapping[str, Any]) -> list[_Demand]:
    """What is asked of a level by attributes alone."""
    otherwise = _otherwise(connection, {attribute_named(name).column for name in matching})
    return _heard(level, _conditions(matching, otherwise))


def _level_demands(connection: sa.Connection, level: Level, matching: Mapping[str, Any]) -> list[_Demand]:
    """What is asked of a level, where a key of it can be met by any series of the study (PS3.4 C.3.4)."""
    own = {name: value for name, value in matching.items() if name != _MODALITIES_IN_STUDY}
    demands = _filed(connection, level, own)
    of_series = condition(BY_KEYWORD["Modality"], matching.get(_MODALITIES_IN_STUDY))
    if of_series is None:
        return demands
    having = (
        _select(Level.SERIES, (), joined=False).add_columns(series.c.study).where(of_series).correlate(None)
    )
    of_study = studies.c.id.in_(having)
    return [*demands, _Demand(Level.STUDY, of_study, of_study, names_above=True)]


def _where(expression: str, otherwise: frozenset[str]) -> _Demand:
    """What an expression asks, of the level that has all it names: what is asked of a series need no file."""
    names = names_in(expression)
    differing = otherwise & names
    said, candidates = compile_where(expression, varied=differing), candidates_of(expression)
    levels = [
        BY_COLUMN[name].level if name in BY_COLUMN else Level.SERIES if name in BESIDE else Level.INSTANCE
        for name in names
    ]
    if Level.INSTANCE in levels:
        elsewhere = compile_where(expression, has_file=False)
        return _Demand(
            Level.INSTANCE,
            said,
            elsewhere,
            names_above=True,
            candidates=_with_odd(candidates, differing),
            of_series=partial(narrowed, expression, varied=differing),
        )
    names_above = {*levels} != {Level.SERIES}
    if not differing:
        return _Demand(Level.SERIES, said, said, names_above, candidates)
    rows = compile_where(expression)
    candidates = _with_odd(candidates, differing)
    return _Demand(Level.SERIES, rows, rows, names_above, candidates, said=said, varied=differing)


def _with_odd(candidates: Candidates | None, names: frozenset[str]) -> Candidates | None:
    """Series that may be meant, and those of which a file says something that no index of texts knows."""
    if candidates is None or not names:
        return candidates
    return replace(candidates, others=tuple(odd_series(names)))


def _conditions(matching: Mapping[str, Any], otherwise: frozenset[str]) -> list[_Demand]:
    found = []
    for name, value in matching.items():
        attribute = attribute_named(name)
        demanded = condition(attribute, value)
        if demanded is None:
            continue
        below = attribute.level is Level.INSTANCE
        differing = otherwise & {attribute.column}
        found.append(
            _Demand(
                attribute.level,
                demanded,
                None if below else demanded,
                names_above=attribute.level in (Level.PATIENT, Level.STUDY),
                candidates=_with_odd(asked_for(attribute, value), differing),
                said=_said(attribute, value) if differing else sa.true(),
                varied=differing,
            )
        )
    return found


def _said(attribute: Attribute, value: Any) -> Condition:
    """What a matching key demands of what an instance says."""

    def is_so(column: sa.ColumnElement[Any] | None) -> Condition:
        demanded = condition(attribute, value, column)
        return sa.true() if demanded is None else demanded

    return as_said(attribute, is_so)


def _select(
    level: Level,
    demands: Sequence[_Demand],
    *,
    joined: bool = True,
    lead: Candidates | None = None,
    are_few: AreFew = lambda _listed: True,
) -> sa.Select[Any]:
    """Rows of a level, joined with those above, of which one instance or series elsewhere is as demanded."""
    depth = _LEVELS.index(level)
    here = [each.condition for each in demands if _LEVELS.index(each.level) <= depth]
    below = [each for each in demands if _LEVELS.index(each.level) > depth]
    if level is Level.SERIES:
        here += [each.of_series(are_few) for each in below if each.of_series is not None]
    rows = _rows(level, joined=joined, lead=lead)
    return sa.select().select_from(rows).where(*_led_by(lead), *here, _is_there(level, below))


def _rows(level: Level, *, joined: bool, lead: Candidates | None = None) -> sa.FromClause:
    if lead is not None:
        return first([(each, each.c.id == _above(below)) for below, each in _ABOVE_SERIES] if joined else [])
    tables = [TABLES[each] for each in _LEVELS[: _LEVELS.index(level) + 1]]
    rows: sa.FromClause = patients if joined else TABLES[level]
    for above, table in pairwise(tables if joined else ()):
        rows = rows.join(table, _above(table) == above.c.id)
    return rows


def _is_there(level: Level, demands: Sequence[_Demand]) -> Condition:
    """Whether a row has an instance or a series elsewhere that is as demanded."""
    table = TABLES[level]
    elsewhere = [each.elsewhere for each in demands if each.elsewhere is not None]
    if not demands:
        there = _has_place(table)
        if level is not Level.INSTANCE:
            there = sa.or_(_is_elsewhere(table), there)
        return sa.or_(_BEYOND_DOUBT, there) if level is Level.SERIES else there
    there = _has_below(
        table, tuple(TABLES.values()), _PLACE, _IS_PLACE, *(each.condition for each in demands)
    )
    if level is not Level.INSTANCE and len(elsewhere) == len(demands):
        return sa.or_(there, _has_below(table, (patients, studies, series), _REMOTE, _is_kept(), *elsewhere))
    return there


_ABOVE_SERIES = ((series, studies), (studies, patients))
_PLACE, _REMOTE = files.alias(), remotes.alias()
_IS_PLACE = _PLACE.c.state == State.INDEXED.value


_IS_DOUBTED = sa.select(sa.literal(1)).where(doubts.c.series == series.c.id).correlate(series).exists()
_BEYOND_DOUBT = sa.not_(_IS_DOUBTED)


@cache
def _has_place(table: sa.Table) -> Condition:
    """Whether a row has an instance that can still be read; made once, as SQLAlchemy takes its time."""
    return _has_below(table, tuple(TABLES.values()), _PLACE, _IS_PLACE)


@cache
def _is_elsewhere(table: sa.Table) -> Condition:
    """Whether a row has a series that is known from elsewhere."""
    return _has_below(table, (patients, studies, series), _REMOTE, _is_kept())


def _is_kept() -> Condition:
    """Whether a series elsewhere was not deleted."""
    return _REMOTE.c.series.not_in(deleted_rows())


def _has_below(
    table: sa.Table, chain: Sequence[sa.Table], last: sa.FromClause, *conditions: Condition
) -> Condition:
    """Whether a row of a level has rows below it, down to the last table, that satisfy conditions."""
    at = chain.index(table) + 1
    below: list[sa.FromClause] = [*chain[at:], last]
    joined = below[0]
    for above, each in pairwise(below):
        joined = joined.join(each, _above(each) == above.c.id)
    return (
        sa.select(sa.literal(1))
        .select_from(joined)
        .where(_above(below[0]) == table.c.id, *conditions)
        .correlate(*chain[:at])
        .exists()
    )


def _above(table: sa.FromClause) -> sa.ColumnElement[int]:
    """The column of a table that holds the row above; every table has one such foreign key at most."""
    return next(column for column in table.c if column.foreign_keys)


_INSTANCES_HERE = (
    sa.select(sa.func.count())
    .select_from(instances)
    .where(instances.c.series == series.c.id, _has_place(instances))
    .correlate(series)
    .scalar_subquery()
)
_INSTANCES_ELSEWHERE = (
    sa.select(_REMOTE.c.instances)
    .where(_REMOTE.c.series == series.c.id)
    .order_by(_REMOTE.c.id)
    .limit(1)
    .correlate(series)
    .scalar_subquery()
)


_INSTANCE_FIELDS = tuple(each.name for each in fields(InstanceRecord) if each.name in BY_COLUMN)
_PLACE_COLUMNS = ("folder", "name", "pixel_tag", "pixel_vr", "pixel_offset", "pixel_length")


def _instance(row: sa.RowMapping) -> InstanceRecord:
    values = {name: _field(name, row[name]) for name in _INSTANCE_FIELDS}
    pixel_data = None
    if row["pixel_tag"] is not None:
        pixel_data = PixelData(row["pixel_tag"], row["pixel_vr"], row["pixel_offset"], row["pixel_length"])
    return InstanceRecord(
        **values | {"sop_class_uid": values["sop_class_uid"] or ""},
        transfer_syntax_uid=row["transfer_syntax_uid"],
        path=openable(f"{row['folder'].rstrip('/')}/{row['name']}"),
        header_digest=row["header_digest"],
        pixel_data=pixel_data,
        deviations=tuple(row["deviations"].split("\n")) if row["deviations"] else (),
        rot=row["rot"] or "",
    )


def _field(name: str, value: Any) -> Any:
    if BY_COLUMN[name].kind is not Kind.NUMBERS or value is None:
        return value
    return tuple(float(each) for each in value.split("\\") if each)
