"""Private creators that no dictionary knows (PS3.5 section 7.8.1): a finding of their series.

What a series has in common is kept once, and so is this: creators are looked for in what is written of its
first header and of how others differ, so that a series costs one look at the keys of one header.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cache

import sqlalchemy as sa

from catalog.models import findings, header_keys, header_values, instance_headers, instances
from catalog.records import Values

KIND = "unknown_private"
WORDS = "private elements of {!r}, whom no dictionary knows"

_READ = frozenset({"Image Private Header"})
"""Creators that are in no dictionary, and whose elements are read here."""


def is_creator(key: str) -> bool:
    """Whether a key of the header is that of a private creator, in a sequence too."""
    return key[-8:-4] >= "0009" and key[-5] in "13579BDF" and key[-4:-2] == "00" and key[-2:] >= "10"


def unknown_in(document: Mapping[str, Values | None]) -> set[str]:
    """Return the private creators that a document names and no dictionary knows."""
    named = (values for key, values in document.items() if values and is_creator(key))
    return {text for values in named for each in values if not _is_known(text := str(each))}


@cache
def _known() -> frozenset[str]:
    from pydicom._private_dict import private_dictionaries  # which a question to the catalog does not load

    return frozenset(each.casefold() for each in _READ.union(private_dictionaries))


def _is_known(creator: str) -> bool:
    return creator.casefold() in _known()


def record_creators(
    connection: sa.Connection, named: Mapping[int, Collection[str]], changed: Collection[int]
) -> None:
    """Put findings of series on record, within a transaction, and take away those that no file says any more.

    Parameters
    ----------
    named
        Row of each series that was written, and the unknown creators in what was written of it.
    changed
        Series of which an instance was read again, that was there before.
    """
    rows = connection.execute(
        sa.select(findings.c.series, findings.c.words).where(
            findings.c.series.in_(named), findings.c.kind == KIND
        )
    ).all()
    there = {(row.series, row.words) for row in rows}
    wanted = {(series, WORDS.format(each)) for series, creators in named.items() for each in creators}
    for series in {series for series, _ in there}.intersection(changed):
        still = {(series, WORDS.format(each)) for each in _said(connection, series)}
        for _, words in {each for each in there - still if each[0] == series}:
            connection.execute(
                findings.delete().where(
                    findings.c.series == series, findings.c.kind == KIND, findings.c.words == words
                )
            )
    if new := sorted(wanted - there):
        connection.execute(
            findings.insert(),
            [{"series": series, "origin": "index", "kind": KIND, "words": words} for series, words in new],
        )


def _said(connection: sa.Connection, series: int) -> set[str]:
    """The unknown creators that any instance of a series names today."""
    keys = {row.id: row.key for row in connection.execute(sa.select(header_keys)) if is_creator(row.key)}
    base: dict[str, tuple[str, ...]] = {}
    for row in connection.execute(sa.select(header_values).where(header_values.c.series == series)):
        if row.key in keys and row.text is not None:
            base[keys[row.key]] = (*base.get(keys[row.key], ()), row.text)
    of_series = (
        sa.select(instance_headers.c.header)
        .join(instances, instances.c.id == instance_headers.c.instance)
        .where(instances.c.series == series)
    )
    found: set[str] = set()
    for header in connection.scalars(of_series):
        own = {keys[int(number)]: values for number, values in header.items() if int(number) in keys}
        found |= unknown_in(base | own)
    return found


def of_documents(documents: Iterable[tuple[int, Mapping[str, Values | None]]]) -> dict[int, set[str]]:
    """Return the unknown creators of each series in what is written of it."""
    found: dict[int, set[str]] = {}
    for series, document in documents:
        found.setdefault(series, set()).update(unknown_in(document))
    return found
