"""Queries against an oracle in memory: the same answers, whatever stands in the values and the questions."""

import contextlib
import fnmatch
import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.index import settle
from catalog.models import files, instances, patients, series, studies
from catalog.query import find_instances, find_series
from catalog.records import InstanceHeader, Value
from catalog.scan import Found

ALPHABET = "aAbBäÄ漢*?[]%_\\'\"; -^="
WORDS = st.text(ALPHABET, max_size=4).map(lambda text: text.strip(" "))
NAMES = ("patient_name", "series_description", "modality")


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Value]]:
    """Values of a few instances, two to a series."""
    made = []
    for number in range(draw(st.integers(0, 6))):
        of_series = {name: draw(WORDS) or None for name in NAMES} if number % 2 == 0 else {}
        row: dict[str, Value] = dict(made[-1]) if number % 2 else {}
        row |= of_series
        row |= {
            "sop_instance_uid": f"1.{number}",
            "series_instance_uid": f"2.{number // 2}",
            "study_instance_uid": f"3.{number // 2}",
            "study_date": draw(st.sampled_from(["20240101", "20240131", "20240201", None]))
            if number % 2 == 0
            else row["study_date"],
            "instance_number": draw(st.none() | st.integers(-3, 3)),
            "slice_thickness": draw(st.none() | st.sampled_from([0.5, 1.0, 1.5])),
            "image_type": draw(st.sampled_from(["ORIGINAL\\PRIMARY", "DERIVED", "A_B", None])),
        }
        made.append(row)
    return made


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    opened = Catalog(tmp_path_factory.mktemp("query") / "catalog.db")
    yield opened
    opened.close()


def fill(catalog: Catalog, rows: list[dict[str, Value]]) -> None:
    with catalog.transaction() as connection:
        for table in (files, instances, series, studies, patients):
            connection.execute(sa.delete(table))
    headers = [
        InstanceHeader(
            f"/a/{n}", 1, 1, f"digest {n}", "1.2", {k: v for k, v in row.items() if v is not None}, None
        )
        for n, row in enumerate(rows)
    ]
    found = [Found("/a", str(n), 1, 1) for n in range(len(rows))]
    settle(catalog, found, headers, {})


def matches(value: Value, key: Any) -> bool:
    """PS3.4 section C.2.2.2 over one text in Python's own words; names are compared elsewhere."""
    if key is None or (isinstance(key, str) and key.strip() in ("", "*", "**")):
        return True
    if isinstance(key, list):
        return any(matches(value, each) for each in key)
    if value is None:
        return False
    if "*" in key or "?" in key:
        pattern = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in key)
        return re.fullmatch(pattern, str(value), re.DOTALL) is not None
    return value == key


def uids(rows: list[dict[str, Value]]) -> set[Value]:
    return {row["series_instance_uid"] for row in rows}


@settings(max_examples=80, deadline=None)
@given(rows=tables(), key=WORDS | st.lists(WORDS, max_size=2) | st.none(), data=st.data())
def test_text_matching_equals_the_oracle(
    catalog: Catalog, rows: list[dict[str, Value]], key: Any, data: st.DataObject
) -> None:
    fill(catalog, rows)
    present = [row["series_description"] for row in rows if row["series_description"]]
    if present and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(present))

    found = {each.series_instance_uid for each in find_series(catalog, series_description=key)}

    assert found == uids([row for row in rows if matches(row["series_description"], key)])


@settings(max_examples=50, deadline=None)
@given(rows=tables(), key=WORDS)
def test_names_are_matched_without_regard_to_case(
    catalog: Catalog, rows: list[dict[str, Value]], key: str
) -> None:
    fill(catalog, rows)

    found = {each.series_instance_uid for each in find_series(catalog, PatientName=key)}

    folded = [
        row for row in rows if matches(str(row["patient_name"] or "").casefold() or None, key.casefold())
    ]
    assert found == uids(folded)


LITERALS = st.sampled_from(["''", "'ab'", "'A_B'", "'%'", "'_'", "'a''b'", "'\\'", "'DERIVED'"])
NUMBERS = st.sampled_from(["-1", "0", "1", "1.5", "0.5"])
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def text_atom(name: str, comparison: str, literal: str) -> tuple[str, Any]:
    value = literal[1:-1].replace("''", "'")
    if comparison in ("~", "!~"):
        return (
            f"{name} {comparison} {literal}",
            lambda row: (
                (row[name] is not None and value.casefold() in row[name].casefold()) == (comparison == "~")
            ),
        )
    return f"{name} {comparison} {literal}", lambda row: compare(row[name], comparison, value)


def compare(ours: Any, comparison: str, value: Any) -> bool:
    if ours is None:
        return comparison == "!="
    return {
        "==": ours == value, "!=": ours != value, "<": ours < value,
        "<=": ours <= value, ">": ours > value, ">=": ours >= value,
    }[comparison]  # fmt: skip


ATOMS = st.one_of(
    st.builds(
        text_atom,
        st.sampled_from(["series_description", "image_type", "patient_name"]),
        st.sampled_from((*COMPARISONS, "~", "!~")),
        LITERALS,
    ),
    st.builds(
        lambda name, comparison, number: (
            f"{name} {comparison} {number}",
            lambda row: compare(row[name], comparison, float(number)),
        ),
        st.sampled_from(["instance_number", "slice_thickness"]),
        st.sampled_from(COMPARISONS),
        NUMBERS,
    ),
    st.builds(
        lambda name, empty: (
            f"{name} is {'empty' if empty else 'present'}",
            lambda row: (row[name] is None) == empty,
        ),
        st.sampled_from(["modality", "slice_thickness"]),
        st.booleans(),
    ),
    st.just(
        (
            "instance_number not in (1, 2)",
            lambda row: row["instance_number"] not in (1, 2),
        )
    ),
)


def joined(word: str, left: tuple[str, Any], right: tuple[str, Any]) -> tuple[str, Any]:
    text = f"({left[0]} {word} {right[0]})"
    if word == "and":
        return text, lambda row: left[1](row) and right[1](row)
    return text, lambda row: left[1](row) or right[1](row)


EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds(joined, st.sampled_from(["and", "or"]), inner, inner),
        inner.map(lambda each: (f"not {each[0]}", lambda row: not each[1](row))),
    ),
    max_leaves=6,
)


@settings(max_examples=120, deadline=None)
@given(rows=tables(), expression=EXPRESSIONS)
def test_where_equals_the_oracle(
    catalog: Catalog, rows: list[dict[str, Value]], expression: tuple[str, Any]
) -> None:
    fill(catalog, rows)
    text, holds = expression

    found = {each.series_instance_uid for each in find_series(catalog, where=text)}

    assert found == uids([row for row in rows if holds(row)])


HOSTILE = st.text(st.characters() | st.sampled_from("'\"%_\\;*?[]\0-"), max_size=40)


@settings(max_examples=100, deadline=None)
@given(text=HOSTILE, name=st.sampled_from(["PatientName", "Modality", "StudyDate", "Rows", "SOPInstanceUID"]))
def test_hostile_values_are_harmless(catalog: Catalog, text: str, name: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    for ask in (
        lambda: find_series(catalog, **{name: text}),
        lambda: find_series(catalog, **{name: [text, text]}),
        lambda: find_instances(catalog, **{name: (text, text)}),
        lambda: find_series(catalog, where=text),
        lambda: find_series(catalog, where=f"PatientName == {quoted} or PatientName ~ {quoted}"),
        lambda: find_series(catalog, **{text: "x"}),
    ):
        with contextlib.suppress(QuestionError):
            ask()
    with catalog.reading() as connection:
        connection.execute(sa.select(patients))  # the tables are still there


def test_the_oracle_of_wildcards_agrees_with_fnmatch() -> None:
    for pattern in ("a*", "?b", "*", "a?c*"):
        for text in ("", "a", "ab", "abc", "abcd"):
            assert matches(text or None, pattern) == (
                pattern == "*" or (text != "" and fnmatch.fnmatchcase(text, pattern))
            )
