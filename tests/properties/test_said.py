"""What files say of their patient, study and series is found, each value of it, against an oracle in memory.

Files are indexed, read again with other values, and taken away; a file that says nothing under a column is
answered for by the row, which says what one of the files says that are left.
"""

from collections.abc import Callable
from operator import eq
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.attributes import BY_COLUMN, Level
from catalog.database import Catalog
from catalog.index import settle
from catalog.models import (
    files,
    header_keys,
    header_values,
    header_varying,
    instance_headers,
    instances,
    patients,
    series,
    studies,
)
from catalog.query import count_series, find_instances, find_level, find_series
from catalog.records import Content, InstanceHeader, Value
from catalog.scan import Found
from catalog.upsert import mark_vanished

TEXTS = ("patient_sex", "study_description", "accession_number", "series_description", "scanning_sequence")
NUMBERS = ("patient_weight", "series_number")
LEVELS = {name: BY_COLUMN[name].level for name in TEXTS + NUMBERS}
WORDS = ["a", "B", "ab\\c", "c", None]
WEIGHTS = [1, 2, None]

type Told = dict[str, Value]
type Instance = tuple[int, int, Told, float]
"""Number of its series and its own, what it says, and a value of its own column."""

SAID = st.fixed_dictionaries(
    {name: st.sampled_from(WORDS) for name in TEXTS} | {name: st.sampled_from(WEIGHTS) for name in NUMBERS}
)
INSTANCES = st.tuples(st.integers(0, 3), st.integers(0, 2), SAID, st.sampled_from([0.5, 1.5]))
STEPS = st.one_of(
    st.tuples(st.just("index"), st.lists(INSTANCES, min_size=1, max_size=4)),
    st.tuples(st.just("remove"), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=3)),
)


def compare(ours: Value, comparison: str, value: Any) -> bool:
    """One of several values is enough; an absent one equals nothing."""
    if comparison == "!=":
        return not compare(ours, "=", value)
    if ours is None:
        return False
    if comparison == "~":
        return value.casefold() in str(ours).casefold()
    if comparison == "<":
        return any(each < value for each in str(ours).split("\\")) if isinstance(value, str) else ours < value
    return value in str(ours).split("\\") or value == ours if isinstance(ours, str) else ours == value


def atom(name: str, comparison: str, value: Any) -> tuple[str, Callable[[Told], bool]]:
    if isinstance(value, str) and name != "scanning_sequence" and comparison != "~":
        return f"{name} {comparison} '{value}'", lambda told: compare_whole(told[name], comparison, value)
    literal = f"'{value}'" if isinstance(value, str) else str(value)
    return f"{name} {comparison} {literal}", lambda told: compare(told[name], comparison, value)


def compare_whole(ours: Any, comparison: str, value: str) -> bool:
    if ours is None:
        return comparison == "!="
    return {"=": ours == value, "!=": ours != value, "<": ours < value}[comparison]


ATOMS = st.one_of(
    st.builds(
        atom, st.sampled_from(TEXTS), st.sampled_from(["=", "!=", "<", "~"]), st.sampled_from(["a", "B", "c"])
    ),
    st.builds(atom, st.sampled_from(NUMBERS), st.sampled_from(["=", "!=", "<"]), st.sampled_from([1, 2])),
    st.builds(
        lambda name, empty: (
            f"{name} is {'empty' if empty else 'present'}",
            lambda told: (told[name] is None) == empty,
        ),
        st.sampled_from(TEXTS + NUMBERS),
        st.booleans(),
    ),
    st.just(("SliceThickness < 1", lambda told: told["slice_thickness"] < 1)),
)


def joined(word: str, left: Any, right: Any) -> Any:
    if word == "and":
        return f"({left[0]} and {right[0]})", lambda told: left[1](told) and right[1](told)
    return f"({left[0]} or {right[0]})", lambda told: left[1](told) or right[1](told)


EXPRESSIONS: st.SearchStrategy[Any] = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds(joined, st.sampled_from(["and", "or"]), inner, inner),
        inner.map(lambda each: (f"not {each[0]}", lambda told: not each[1](told))),
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def catalog(shared_catalog: Catalog) -> Catalog:
    return shared_catalog


def emptied(catalog: Catalog) -> None:
    with catalog.transaction() as connection:
        for table in (
            files, instance_headers, header_varying, header_values, header_keys, instances, series, studies,
            patients,
        ):  # fmt: skip
            connection.execute(sa.delete(table))


def index(catalog: Catalog, at: int, some: list[Instance]) -> None:
    """Read files, again where they are known; two series are of a study, two studies of a patient."""
    last = {(number, own): (told, thickness) for number, own, told, thickness in some}
    headers, found = [], []
    for (number, own), (told, thickness) in last.items():
        values: Told = {
            "patient_id": "P",
            "study_instance_uid": f"1.{number // 2}",
            "series_instance_uid": f"2.{number}",
            "sop_instance_uid": f"3.{number}.{own}",
            "slice_thickness": thickness,
        }
        values |= {name: value for name, value in told.items() if value is not None}
        document = {"00181160": (f"{own}",)}
        headers.append(
            InstanceHeader(
                f"/a/{number}-{own}", at, at, f"{at}-{number}-{own}", "1.2", values, None,
                content=Content(document, {}),
            )
        )  # fmt: skip
        found.append(Found("/a", f"{number}-{own}", at, at))
    rows = places(catalog)
    settle(catalog, found, headers, {key: rows[key] for key in rows.keys() & {("/a", e.name) for e in found}})


def places(catalog: Catalog) -> dict[tuple[str, str], Any]:
    from catalog.index import _known

    with catalog.reading() as connection:
        names = sorted(connection.scalars(sa.select(files.c.name)))
        return _known(connection, [Found("/a", name, 1, 1) for name in names])


def remove(catalog: Catalog, some: list[tuple[int, int]]) -> None:
    with catalog.transaction() as connection:
        names = [f"{number}-{own}" for number, own in some]
        rows = list(connection.scalars(sa.select(files.c.id).where(files.c.name.in_(names))))
        mark_vanished(connection, rows)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=5), asked=st.lists(EXPRESSIONS, min_size=1, max_size=5))
def test_every_value_that_a_file_says_is_found_and_no_other(
    catalog: Catalog, steps: list[Any], asked: list[Any]
) -> None:
    emptied(catalog)
    there: dict[tuple[int, int], Told] = {}
    for at, (step, some) in enumerate(steps, 1):
        if step == "index":
            index(catalog, at, some)
            there |= {(number, own): told | {"slice_thickness": value} for number, own, told, value in some}
        else:
            remove(catalog, some)
            there = {key: told for key, told in there.items() if key not in some}

    rows = row_of(catalog)
    for key, row in rows.items():
        for name, level in LEVELS.items():
            of_row = {
                told[name]
                for other, told in there.items()
                if level is Level.PATIENT
                or (other[0] // 2 == key // 2 if level is Level.STUDY else other[0] == key)
            }
            assert row[name] in of_row - {None} or (row[name] is None and of_row == {None}), (name, of_row)

    effective = {
        key: {
            name: rows[key[0]][name] if value is None and name in LEVELS else value
            for name, value in told.items()
        }
        for key, told in there.items()
    }
    for where, is_so in asked:
        wanted = {f"2.{number}" for (number, _), told in effective.items() if is_so(told)}
        found = {each.series_instance_uid for each in find_series(catalog, where=where)}
        assert found == wanted, where
        assert count_series(catalog, where=where) == len(wanted)
        assert {each.series_instance_uid for each in find_series(catalog, where=where, limit=9)} == wanted
    for name in LEVELS:
        for value in {told[name] for told in effective.values()} - {None}:
            matching = {name: value}
            is_so = has_text if name == "scanning_sequence" else eq
            matches = {key for key, told in effective.items() if is_so(told[name], value)}
            assert {each.series_instance_uid for each in find_series(catalog, **matching)} == {
                f"2.{number}" for number, _ in matches
            }
            uids = {f"3.{number}.{own}" for number, own in matches}
            assert {each.sop_instance_uid for each in find_instances(catalog, **matching)} == uids
            columns = ["SOPInstanceUID", BY_COLUMN[name].keyword]
            answers = list(find_level(catalog, Level.INSTANCE, matching, columns=columns))
            assert {each["sop_instance_uid"] for each in answers} == uids
            if name != "scanning_sequence":
                assert {each[name] for each in answers} == {value}
            studies_found = find_level(catalog, Level.STUDY, matching, columns=["StudyInstanceUID"])
            assert {each["study_instance_uid"] for each in studies_found} == {
                f"1.{number // 2}" for number, _ in matches
            }


def has_text(ours: Value, value: Value) -> bool:
    return ours is not None and f"\\{value}\\" in f"\\{ours}\\"


def row_of(catalog: Catalog) -> dict[int, Told]:
    columns = [BY_COLUMN[name].keyword for name in LEVELS]
    found = find_level(catalog, Level.SERIES, {}, columns=["SeriesInstanceUID", *columns])
    return {int(str(each["series_instance_uid"])[2:]): each for each in found}
