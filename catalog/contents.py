"""What headers say beside the columns, into the tables: of a series once, and how its instances differ."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import sqlalchemy as sa

from catalog.among import among
from catalog.bulk import insert_rows
from catalog.creators import of_documents
from catalog.key_rows import insert_new, rows_of_keys
from catalog.models import header_keys, header_values, header_varying, instance_headers, instances
from catalog.records import Content, Document, Scalar, Value, Values, difference
from catalog.said import Said, differing, mark, rows_say, said_in
from catalog.saying import COLUMN_OF_KEY, VARYING, key_of_column


@dataclass(frozen=True, slots=True)
class Written:
    """An instance whose row is there."""

    instance: int
    series: int
    """Rows of both."""
    content: Content | None
    """`None` of a header that could not be searched, which has no row then, and answers nothing."""
    values: Mapping[str, Value]
    """By column, those of its patient, study and series too."""


def forget_contents(connection: sa.Connection, rows: Sequence[int]) -> None:
    """Take away the content of instances that will be written anew."""
    if rows:
        connection.execute(instance_headers.delete().where(among(instance_headers.c.instance, rows)))


def write_contents(
    connection: sa.Connection, written: Sequence[Written]
) -> tuple[dict[int, set[str]], set[int]]:
    """Write the content of instances whose rows are there; what they had before is forgotten already.

    Returns the private creators that no dictionary knows, of each series, in what was written; and the series
    of which a file says something else than the rows of its patient, study and series, or nothing.

    Parameters
    ----------
    connection
        In a transaction that holds the rows of their series.
    written
        What each consists of.
    """
    found = [(each.instance, each.series, each.content) for each in written if each.content is not None]
    bases, marks = _bases(connection, {series for _, series, _ in found})
    new: dict[int, dict[str, Values]] = {}
    for _, series, content in found:
        if series not in bases:
            bases[series] = new[series] = content.document()
    otherwise, marked = _otherwise(connection, [each for each in written if each.content], marks, set(new))
    alike: dict[tuple[int, int], Mapping[str, Values | None]] = {}
    deltas: dict[int, dict[str, Values | None]] = {}
    for instance, series, content in found:
        at = (series, id(content.like))
        if at not in alike:
            alike[at] = difference(content.like, bases[series])
        deltas[instance] = _delta(content, bases[series], alike[at]) | otherwise[instance]
    keys = {key for each in new.values() for key in each} | {key for each in deltas.values() for key in each}
    ids = rows_of_keys(connection, keys | {key for _, key, _ in marked})
    values = [row for series in new for row in _rows(series, new[series], ids)]
    values += [mark(series, ids[key], value) for series, key, value in marked]
    insert_rows(connection, header_values, values, key=("series", "key", "place"))
    varying = {(ids[key], series) for instance, series, _ in found for key in deltas[instance]}
    insert_new(
        connection, header_varying, [{"key": key, "series": series} for key, series in sorted(varying)]
    )
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
    odd = {each for each, _, _ in marked}
    odd |= {series for instance, series, _ in found if otherwise[instance]}
    return of_documents(chain(new.items(), differing)), odd | {each for each in marks if marks[each]}


def _delta(content: Content, base: Document, alike: Mapping[str, Values | None]) -> dict[str, Values | None]:
    """What an instance has otherwise than its series, `alike` being what the header it refers to has."""
    delta = {key: values for key, values in alike.items() if key not in content.differing}
    return delta | {key: values for key, values in content.differing.items() if values != base.get(key)}


type _Mark = tuple[int, str, Scalar | None]
"""Row of a series, and what its files say under the key of a column, unless they say it themselves."""


def _otherwise(
    connection: sa.Connection, written: Sequence[Written], marks: Mapping[int, Said], new: set[int]
) -> tuple[dict[int, dict[str, Values | None]], list[_Mark]]:
    """What each instance says of its patient, study and series otherwise than those, and its series does.

    The first header of a series of which nothing is known says it for the others; those marks come, too.
    """
    rows = rows_say(connection, {each.series for each in written})
    new = new - _with_headers(connection, new)
    marked: list[_Mark] = []
    found: dict[int, dict[str, Values | None]] = {}
    as_before: tuple[Any, ...] = ()
    before: dict[str, Values | None] = {}
    for each in written:
        now = (each.series, *map(each.values.get, VARYING))
        if now != as_before:
            said = said_in(each.values)
            if each.series in new:
                new.remove(each.series)
                first = {name: value for name, value in said.items() if value != rows[each.series][name]}
                rows[each.series] |= first
                marked += [(each.series, key_of_column(name), value) for name, value in first.items()]
            as_before, before = now, differing(said, rows[each.series] | marks.get(each.series, {}))
        found[each.instance] = before
    return found, marked


def _with_headers(connection: sa.Connection, series: Iterable[int]) -> set[int]:
    """Those series of which the content of an instance was written before."""
    joined = instances.join(instance_headers, instance_headers.c.instance == instances.c.id)
    statement = sa.select(instances.c.series).select_from(joined)
    return set(connection.scalars(statement.where(among(instances.c.series, series)).distinct()))


def _bases(
    connection: sa.Connection, series: Iterable[int]
) -> tuple[dict[int, dict[str, Values]], dict[int, Said]]:
    """The documents that series have already, and what they say of columns."""
    found: dict[int, dict[str, Values]] = {}
    marks: dict[int, Said] = {}
    rows = connection.execute(
        sa.select(header_values.c.series, header_keys.c.key, header_values.c.number, header_values.c.text)
        .join(header_keys, header_keys.c.id == header_values.c.key)
        .where(among(header_values.c.series, series))
        .order_by(header_values.c.series, header_values.c.key, header_values.c.place)
    )
    for each, key, number, text in rows:
        if key in COLUMN_OF_KEY:
            marks.setdefault(each, {})[COLUMN_OF_KEY[key]] = number if text is None else text
            continue
        document = found.setdefault(each, {})
        document[key] = (*document.get(key, ()), number if text is None else text)
    return found, marks


def _rows(series: int, document: Document, ids: Mapping[str, int]) -> Iterable[dict[str, Any]]:
    for key, values in document.items():
        for place, value in enumerate(values):
            number, text = _columns(value)
            yield {"series": series, "key": ids[key], "place": place, "number": number, "text": text}


def _columns(value: Scalar) -> tuple[float | None, str | None]:
    return (None, value) if isinstance(value, str) else (float(value), None)
