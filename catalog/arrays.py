"""Keeps the records of arrays: which parts of a series lie in Zarr, and what went into them."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from catalog.database import Catalog
from catalog.errors import NotFoundError
from catalog.models import arrays, series
from catalog.records import ArrayRecord, as_dict


def record_arrays(catalog: Catalog, series_instance_uid: str, parts: Sequence[ArrayRecord]) -> None:
    """Put these parts in the place of all that a series had, in one transaction.

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
                    }
                    for each in parts
                ],
            )


def arrays_of(catalog: Catalog, series_instance_uid: str) -> list[ArrayRecord]:
    """Return the parts of a series in their order; none where it is not ingested."""
    return _records(
        catalog, _in_order().join(series).where(series.c.series_instance_uid == series_instance_uid)
    )


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
        return [_record(each) for each in connection.scalars(statement)]


def _record(fields: dict[str, Any]) -> ArrayRecord:
    affine = fields["affine_lps"]
    return ArrayRecord(
        **fields
        | {
            "dims": tuple(fields["dims"]),
            "shape": tuple(fields["shape"]),
            "affine_lps": None if affine is None else tuple(tuple(row) for row in affine),
        }
    )
