"""What headers say beside the columns, into the tables: of a series once, and how its instances differ."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import sqlalchemy as sa

from catalog.among import among
from catalog.bulk import insert_rows
from catalog.creators import of_documents
from catalog.models import header_keys, header_values, header_varying, instance_headers, upserting
from catalog.records import Content, Document, Scalar, Values, difference


def write_contents(
    connection: sa.Connection, written: Sequence[tuple[int, int, Content | None]]
) -> dict[int, set[str]]:
    """Write the content of instances whose rows are there; what they had before is replaced.

    Returns the private creators that no dictionary knows, of each series, in what was written.

    Parameters
    ----------
    connection
        In a transaction that holds the rows of their series.
    written
        Row of the instance, row of its series, and content; `None` of a header that could not be searched,
        which has no row then, and answers nothing.
    """
    its = [instance for instance, _, _ in written]
    connection.execute(instance_headers.delete().where(among(instance_headers.c.instance, its)))
    found = [(instance, series, content) for instance, series, content in written if content is not None]
    bases = _bases(connection, {series for _, series, _ in found})
    new: dict[int, dict[str, Values]] = {}
    for _, series, content in found:
        if series not in bases:
            bases[series] = new[series] = content.document()
    alike: dict[tuple[int, int], Mapping[str, Values | None]] = {}
    deltas: dict[int, dict[str, Values | None]] = {}
    for instance, series, content in found:
        at = (series, id(content.like))
        if at not in alike:
            alike[at] = difference(content.like, bases[series])
        deltas[instance] = _delta(content, bases[series], alike[at])
    keys = {key for each in new.values() for key in each} | {key for each in deltas.values() for key in each}
    ids = _ids(connection, keys)
    values = [row for series in new for row in _rows(series, new[series], ids)]
    insert_rows(connection, header_values, values, key=("series", "key", "place"))
    varying = {(ids[key], series) for instance, series, _ in found for key in deltas[instance]}
    _insert(connection, header_varying, [{"key": key, "series": series} for key, series in sorted(varying)])
    insert_rows(
        connection,
        instance_headers,
        [
            {"instance": instance, "header": {str(ids[key]): values for key, values in delta.items()}}
            for instance, delta in deltas.items()
        ],
        key=("instance",),
    )
    differing = ((series, deltas[instance]) for instance, series, _ in found)
    return of_documents(chain(new.items(), differing))


def _delta(content: Content, base: Document, alike: Mapping[str, Values | None]) -> dict[str, Values | None]:
    """What an instance has otherwise than its series, `alike` being what the header it refers to has."""
    delta = {key: values for key, values in alike.items() if key not in content.differing}
    return delta | {key: values for key, values in content.differing.items() if values != base.get(key)}


def _bases(connection: sa.Connection, series: Iterable[int]) -> dict[int, dict[str, Values]]:
    """The documents that series have already."""
    found: dict[int, dict[str, Values]] = {}
    rows = connection.execute(
        sa.select(header_values.c.series, header_keys.c.key, header_values.c.number, header_values.c.text)
        .join(header_keys, header_keys.c.id == header_values.c.key)
        .where(among(header_values.c.series, series))
        .order_by(header_values.c.series, header_values.c.key, header_values.c.place)
    )
    for each, key, number, text in rows:
        document = found.setdefault(each, {})
        document[key] = (*document.get(key, ()), number if text is None else text)
    return found


def _rows(series: int, document: Document, ids: Mapping[str, int]) -> Iterable[dict[str, Any]]:
    for key, values in document.items():
        for place, value in enumerate(values):
            number, text = _columns(value)
            yield {"series": series, "key": ids[key], "place": place, "number": number, "text": text}


def _columns(value: Scalar) -> tuple[float | None, str | None]:
    return (None, value) if isinstance(value, str) else (float(value), None)


def _ids(connection: sa.Connection, keys: Iterable[str]) -> dict[str, int]:
    """Rows of the keys; those that are new are entered."""
    wanted = sorted(keys)
    known = _known(connection, wanted)
    new = [{"key": key} for key in wanted if key not in known]
    _insert(connection, header_keys, new)
    return known | (_known(connection, [each["key"] for each in new]) if new else {})


def _known(connection: sa.Connection, keys: Sequence[str]) -> dict[str, int]:
    rows = connection.execute(
        sa.select(header_keys.c.key, header_keys.c.id).where(among(header_keys.c.key, keys))
    )
    return {row.key: row.id for row in rows}


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, leaving those that are there."""
    if rows:
        connection.execute(upserting(connection.dialect, table).on_conflict_do_nothing(), rows)
