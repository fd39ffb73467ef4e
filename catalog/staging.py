"""Writes series told of elsewhere as sets: a temporary table of them, and statements that select from it."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from catalog.attributes import PATIENT, SERIES, STUDY
from catalog.bulk import fill, without_triggers
from catalog.models import instances, patients, remotes, series, studies, upserting
from catalog.texts import Condition, Then, index_texts
from catalog.told import SAID, Sifted

told = sa.Table(
    "told",
    sa.MetaData(),  # of the connection that wants it, not of the schema
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("identity", sa.Text),
    sa.Column("digest", sa.Text),
    # whether a file here tells of its study: rows then keep what they say, and are only filled in
    sa.Column("fills", sa.Boolean, nullable=False, server_default=sa.false()),
    *(
        sa.Column(each.column, table.c[each.column].type)
        for table, attributes in ((patients, PATIENT), (studies, STUDY), (series, SERIES))
        for each in attributes
    ),
    *(sa.Column(name, remotes.c[name].type) for name in SAID),
    prefixes=["TEMPORARY"],
)
"""What a source tells, a series a row, in the order it was told; each series once."""


def stage(connection: sa.Connection, sifted: Sifted) -> None:
    """Put series into the table; what was in it is thrown away."""
    connection.execute(sa.schema.CreateTable(told, if_not_exists=True))
    postgresql = connection.dialect.name == "postgresql"
    connection.exec_driver_sql("TRUNCATE told" if postgresql else "DELETE FROM told")
    names = _staged(sifted)
    values = [sifted.columns[name] for name in names]
    rows = zip(range(len(sifted.digests)), sifted.identities, sifted.digests, *values, strict=True)
    fill(connection, told.name, ["number", "identity", "digest", *names], rows)
    if postgresql:
        connection.exec_driver_sql("ANALYZE told")  # or it plans as for a few rows


def known(connection: sa.Connection, source: str) -> list[tuple[int | None, bool]]:
    """Of each series that the catalog has: the row of `remotes` of a source, and whether it told the same."""
    of_source = sa.and_(remotes.c.series == series.c.id, remotes.c.source == source)
    there = Then(told, series, series.c.series_instance_uid == told.c.series_instance_uid)
    found = connection.execute(
        sa.select(remotes.c.id, remotes.c.digest == told.c.digest).select_from(
            there.outerjoin(remotes, of_source)
        )
    )
    return [(row[0], bool(row[1])) for row in found]


def forget_unchanged(connection: sa.Connection, source: str) -> None:
    """Take out of the table what the source told before in the same words."""
    before = (
        sa.select(remotes.c.digest)
        .select_from(series)
        .join(remotes, remotes.c.series == series.c.id)
        .where(series.c.series_instance_uid == told.c.series_instance_uid, remotes.c.source == source)
        .correlate(told)
    )
    connection.execute(sa.delete(told).where(before.scalar_subquery() == told.c.digest))


def write(connection: sa.Connection, source: str, sifted: Sifted, *, are_new: bool) -> None:
    """Write what is in the table into patients, studies, series and remotes, in this order.

    Where no instance of a study is here, the source is right, and the last it tells of several counts.
    Elsewhere what is there stays, and the first it tells fills in what is lacking.

    Parameters
    ----------
    are_new
        Whether the catalog had none of the series. In SQLite, where nobody else can have written one since,
        they are written without a look for each, and their texts are indexed together.
    """
    names = _staged(sifted)
    both = (False, True) if _mark_filling(connection) else (False,)
    for fills in both:
        _write_grouped(connection, patients, "identity", names, fills=fills)
        _write_grouped(connection, studies, "study_instance_uid", names, fills=fills)
    if are_new and connection.dialect.name == "sqlite":
        _add_series(connection, names)
        columns, selected = _of_remotes(source)
        connection.execute(sa.insert(remotes).from_select(columns, selected))
        return
    for fills in both:
        columns, selected = _of_series(names, told.c.fills == fills)
        _upsert(connection, series, "series_instance_uid", columns, selected, fills=fills)
    columns, selected = _of_remotes(source)
    insert = upserting(connection.dialect, remotes).from_select(columns, selected)
    changed = {name: insert.excluded[name] for name in columns if name not in ("series", "source")}
    connection.execute(insert.on_conflict_do_update(index_elements=["series", "source"], set_=changed))


def _add_series(connection: sa.Connection, names: Sequence[str]) -> None:
    """Insert series, and do at once what their triggers do for each.

    None of them is doubted, as each gets its place elsewhere in the same transaction.
    """
    last = connection.scalar(sa.select(sa.func.max(series.c.id))) or 0
    columns, selected = _of_series(names)
    with without_triggers(connection):
        connection.execute(sa.insert(series).from_select(columns, selected))
    index_texts(connection, after=last)


def _staged(sifted: Sifted) -> list[str]:
    return [name for name in sifted.columns if name in told.c]


def _mark_filling(connection: sa.Connection) -> bool:
    """Mark the series of studies that a file here tells of; whether there are such."""
    with_instances = (
        sa.select(sa.literal(1))
        .select_from(series)
        .join(instances, instances.c.series == series.c.id)
        .where(series.c.study == studies.c.id)
        .correlate(studies)
        .exists()
    )
    uid = studies.c.study_instance_uid
    here = sa.select(uid).where(uid.in_(sa.select(told.c.study_instance_uid)), with_instances)
    marking = sa.update(told).where(told.c.study_instance_uid.in_(here)).values(fills=sa.true())
    return connection.execute(marking).rowcount > 0


def _write_grouped(
    connection: sa.Connection, table: sa.Table, key: str, names: Sequence[str], *, fills: bool
) -> None:
    """Write patients or studies: of each column the first or the last value that their series tell."""
    chosen = sa.func.min if fills else sa.func.max
    attributes = PATIENT if table is patients else STUDY
    columns = [
        each.column
        for each in attributes
        if each.column != key and (each.column in names or not table.c[each.column].nullable)
    ]
    number = told.c.number
    numbers = {name: chosen(number).filter(told.c[name].is_not(None)).label(f"of_{name}") for name in columns}
    of_key = (
        sa.select(
            told.c[key],
            sa.func.min(number).label("first"),
            chosen(number).label("of_parent"),
            *numbers.values(),
        )
        .where(told.c.fills == fills)
        .group_by(told.c[key])
        .subquery("of_key")
    )
    its = told.alias("its")
    values: dict[str, sa.ColumnElement[object]] = {key: of_key.c[key]}
    for name in columns:
        value = sa.select(its.c[name]).where(its.c.number == of_key.c[f"of_{name}"]).scalar_subquery()
        values[name] = value if table.c[name].nullable else sa.func.coalesce(value, "")
    if table is studies:
        parent = sa.select(patients.c.id).join(its, its.c.identity == patients.c.identity)
        values["patient"] = parent.where(its.c.number == of_key.c.of_parent).scalar_subquery()
    selected = sa.select(*values.values()).select_from(of_key).where(sa.true()).order_by(of_key.c.first)
    _upsert(connection, table, key, list(values), selected, fills=fills)


def _of_series(names: Sequence[str], *conditions: Condition) -> tuple[list[str], sa.Select[Any]]:
    """Columns of `series`, and what selects them in the order in which they were told."""
    columns = [each.column for each in SERIES if each.column in names]
    selected = (
        sa.select(studies.c.id, *(told.c[name] for name in columns))
        .select_from(told)
        .join(studies, studies.c.study_instance_uid == told.c.study_instance_uid)
        .where(sa.true(), *conditions)
        .order_by(told.c.number)
    )
    return ["study", *columns], selected


def _of_remotes(source: str) -> tuple[list[str], sa.Select[Any]]:
    """Columns of `remotes`, and what selects them in the order in which they were told."""
    columns = [*SAID, "digest"]
    selected = (
        sa.select(series.c.id, sa.literal(source), *(told.c[name] for name in columns))
        .select_from(told)
        .join(series, series.c.series_instance_uid == told.c.series_instance_uid)
        .where(sa.true())
        .order_by(told.c.number)
    )
    return ["series", "source", *columns], selected


def _upsert(
    connection: sa.Connection,
    table: sa.Table,
    key: str,
    names: Sequence[str],
    selected: sa.SelectBase,
    *,
    fills: bool,
) -> None:
    insert = upserting(connection.dialect, table).from_select(list(names), selected)
    changed = {
        name: sa.func.coalesce(table.c[name], insert.excluded[name])
        if fills
        else sa.func.coalesce(insert.excluded[name], table.c[name])
        for name in names
        if name != key
    }
    connection.execute(insert.on_conflict_do_update(index_elements=[key], set_=changed))
