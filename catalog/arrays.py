"""Keeps the records of arrays: which parts of a series lie in Zarr, and what went into them.

Beside them stands `series_digest`, of the state of the series that they were made of: as long as it is the
same, they need not be sorted out again. It is written with what it speaks of, in one transaction, and taken
before the first instance is read: whatever changes meanwhile makes another state.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from catalog.checks import rots
from catalog.database import Catalog
from catalog.errors import NotFoundError
from catalog.findings import record_ingested
from catalog.identifiers import digest_of_texts
from catalog.migrations import HEAD
from catalog.models import arrays, checks, files, instances, series
from catalog.places import State
from catalog.records import ArrayRecord, Finding, as_dict


def record_arrays(
    catalog: Catalog,
    series_instance_uid: str,
    parts: Sequence[ArrayRecord],
    found: Sequence[Finding] = (),
    *,
    series_digest: str = "",
) -> None:
    """Put these parts, and what ingest found, in the place of all that a series had, in one transaction.

    Parameters
    ----------
    series_digest
        Made of `state_of` where all of this follows from it; else empty.

    Raises
    ------
    NotFoundError
        If the catalog has no such series.
    """
    with catalog.transaction() as connection:
        row = connection.scalar(
            sa.select(series.c.id).where(series.c.series_instance_uid == series_instance_uid)
        )
        if row is None:
            raise NotFoundError(f"no series {series_instance_uid} in the catalog; index its files first")
        connection.execute(arrays.delete().where(arrays.c.series == row))
        if parts:
            connection.execute(
                arrays.insert(),
                [
                    {
                        "series": row,
                        "part": each.part,
                        "kind": each.kind,
                        "record": as_dict(each),
                        "input_digest": each.input_digest,
                        "series_digest": series_digest,
                    }
                    for each in parts
                ],
            )
        record_ingested(connection, row, found)


def state_of(catalog: Catalog, series_instance_uid: str) -> str:
    """Digest over the files of a series and their headers, as the catalog knows them.

    Empty where a file is known to be rotten, or none can be read. Columns of instances are what the header
    says; a file that changed has another size or time, in the eyes of the index as well.
    """
    statement = (
        sa.select(
            instances.c.sop_instance_uid,
            instances.c.header_digest,
            instances.c.transfer_syntax_uid,
            files.c.id,
            files.c.size,
            files.c.mtime_ns,
            checks.c.id,
        )
        .select_from(series)
        .join(instances, instances.c.series == series.c.id)
        .join(files, files.c.instance == instances.c.id)
        .outerjoin(checks, rots(checks, files))
        .where(series.c.series_instance_uid == series_instance_uid, files.c.state == State.INDEXED.value)
        .order_by(files.c.id)
    )
    with catalog.reading() as connection:
        *columns, rotten = list(zip(*connection.execute(statement), strict=True)) or [()]
    return "" if not rotten or any(rotten) else digest_of_texts([HEAD, *map(repr, columns)])


def arrays_of(catalog: Catalog, series_instance_uid: str) -> list[ArrayRecord]:
    """Return the parts of a series in their order; none where it is not ingested."""
    return _records(
        catalog, _in_order().join(series).where(series.c.series_instance_uid == series_instance_uid)
    )


def arrays_made_of(catalog: Catalog, series_instance_uid: str, series_digest: str) -> list[ArrayRecord]:
    """Return the parts of a series in their order, where they were made of this state of it; else none."""
    of_series = series.c.series_instance_uid == series_instance_uid
    made = _in_order().join(series).where(of_series, arrays.c.series_digest == series_digest)
    return _records(catalog, made) if series_digest else []


def all_arrays(catalog: Catalog) -> list[ArrayRecord]:
    """Return the parts of every series."""
    return _records(catalog, _in_order())


def one_part(parts: Sequence[ArrayRecord], number: int | None) -> ArrayRecord:
    """Return the part of one series that is meant: the only one, or that of a number.

    Raises
    ------
    NotFoundError
        If there are several to choose from, or none of that number.
    """
    if number is None and len(parts) == 1:
        return parts[0]
    for array in parts:
        if array.part == number:
            return array
    uid = parts[0].series_instance_uid
    if len(parts) == 1:
        raise NotFoundError(f"series {uid} is one array, there is no part {number} of it")
    choice = "; ".join(f"part={array.part}: {array.label or array.kind}" for array in parts)
    raise NotFoundError(f"series {uid} holds {len(parts)} parts, choose one of: {choice}")


def _in_order() -> sa.Select[tuple[Any]]:
    return sa.select(arrays.c.record).order_by(arrays.c.series, arrays.c.part)


def _records(catalog: Catalog, statement: sa.Select[tuple[Any]]) -> list[ArrayRecord]:
    with catalog.reading() as connection:
        return [array_record(each) for each in connection.scalars(statement)]


def array_record(fields: dict[str, Any]) -> ArrayRecord:
    """Return the record whose fields `records.as_dict` gave, also after a way through JSON."""
    affine = fields["affine_lps"]
    return ArrayRecord(
        **fields
        | {
            "dims": tuple(fields["dims"]),
            "shape": tuple(fields["shape"]),
            "affine_lps": None if affine is None else tuple(tuple(row) for row in affine),
        }
    )
