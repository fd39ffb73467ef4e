"""Queries against an oracle in memory, on both databases: the same answers, whatever values and words say."""

import contextlib
import fnmatch
import re
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
IMAGE_TYPES = ["ORIGINAL\\PRIMARY", "DERIVED", "A_B", "\\PRIMARY", "X\\\\P", None]
SEVERAL = [
    "0.5", "0.5\\1.5", "-1\\0\\1", "+1.0E0", ".5\\5.", "\\1.5", "1\\\\", "\\", " 0 \\x", "0x1", "1_0",
    "1e999\\-1e-999", "inf\\nan", 'a"\\1\\"', "1-1", "\n\\0.5", "]\\[", None,
]  # fmt: skip
"""What a column of several numbers may hold, and what a hostile header might put there."""
IDENTIFIERS = ("patient_id", "issuer_of_patient_id")
"""They have no NULL where a header has none."""


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Value]]:
    """Values of a few instances, two to a series."""
    made = []
    for number in range(draw(st.integers(0, 6))):
        of_series = {name: draw(WORDS) or None for name in NAMES} if number % 2 == 0 else {}
        own = [f"ab{number}", None]  # a patient each, as names that differ little are of one
        of_series |= {name: draw(st.sampled_from(own)) for name in IDENTIFIERS if number % 2 == 0}
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
            "image_type": draw(st.sampled_from(IMAGE_TYPES)),
            "window_center": draw(st.sampled_from(SEVERAL)),
            "rescale_type": draw(st.sampled_from(["HU", None])),
        }
        made.append(row)
    return made


@pytest.fixture(scope="module")
def catalog(shared_catalog: Catalog) -> Catalog:
    return shared_catalog


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


@settings(max_examples=40, deadline=None)
@given(rows=tables(), keys=st.lists(WORDS | st.lists(WORDS, max_size=2) | st.none(), min_size=1, max_size=3))
def test_text_matching_equals_the_oracle(
    catalog: Catalog, rows: list[dict[str, Value]], keys: list[Any]
) -> None:
    fill(catalog, rows)
    for key in (*keys, *(row["series_description"] for row in rows[::2])):
        found = {each.series_instance_uid for each in find_series(catalog, series_description=key)}

        assert found == uids([row for row in rows if matches(row["series_description"], key)])


@settings(max_examples=25, deadline=None)
@given(
    rows=tables(), name=st.sampled_from(IDENTIFIERS), ends=st.tuples(*[st.sampled_from(["a", "b", None])] * 2)
)
def test_a_range_of_identifiers_leaves_out_who_has_none(
    catalog: Catalog, rows: list[dict[str, Value]], name: str, ends: tuple[str | None, str | None]
) -> None:
    fill(catalog, rows)
    low, high = ends

    found = {each.series_instance_uid for each in find_series(catalog, **{name: ends})}

    assert found == uids(
        [
            row
            for row in rows
            if ends == (None, None)
            or (row[name] is not None and (low or "") <= str(row[name]) <= (high or "z") + "~")
        ]
    )


@settings(max_examples=25, deadline=None)
@given(rows=tables(), keys=st.lists(WORDS, min_size=1, max_size=3))
def test_names_are_matched_without_regard_to_case(
    catalog: Catalog, rows: list[dict[str, Value]], keys: list[str]
) -> None:
    fill(catalog, rows)
    for key in keys:
        found = {each.series_instance_uid for each in find_series(catalog, PatientName=key)}

        folded = [
            row for row in rows if matches(str(row["patient_name"] or "").casefold() or None, key.casefold())
        ]
        assert found == uids(folded)


LITERALS = st.sampled_from(
    ["''", "'ab'", "'A_B'", "'%'", "'_'", "'a''b'", "'\\'", "'DERIVED'", "'PRIMARY'", "'P'", "'HU'"]
)
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
    if name == "image_type":
        return f"{name} {comparison} {literal}", lambda row: compare_any(row[name], comparison, value)
    return f"{name} {comparison} {literal}", lambda row: compare(row[name], comparison, value)


def compare_any(ours: str | None, comparison: str, value: str) -> bool:
    """One of several texts is enough; those that stand one after the other are found in one text."""
    if comparison == "!=":
        return not compare_any(ours, "==", value)
    if comparison == "==" and "\\" in value:
        return ours is not None and (ours == value or f"\\{value}\\" in f"\\{ours}\\")
    return any(compare(each, comparison, value) for each in (ours or "").split("\\") if each)


def numbers_of(text: str | None) -> list[float]:
    """The numbers among several values, but those that are too large for anything."""
    number = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)
    found = [float(each) for each in (text or "").split("\\") if number.fullmatch(each)]
    return [each for each in found if abs(each) < 1e200]


def compare_number(ours: Value, comparison: str, number: float) -> bool:
    if not isinstance(ours, str):
        return compare(ours, comparison, number)
    found = numbers_of(ours)
    if comparison == "!=":
        return number not in found
    return any(compare(each, comparison, number) for each in found)


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
        st.sampled_from(["series_description", "image_type", "rescale_type", "patient_name", *IDENTIFIERS]),
        st.sampled_from((*COMPARISONS, "~", "!~")),
        LITERALS,
    ),
    st.builds(
        lambda name, comparison, number: (
            f"{name} {comparison} {number}",
            lambda row: compare_number(row[name], comparison, float(number)),
        ),
        st.sampled_from(["instance_number", "slice_thickness", "window_center"]),
        st.sampled_from(COMPARISONS),
        NUMBERS,
    ),
    st.builds(
        lambda name, empty: (
            f"{name} is {'empty' if empty else 'present'}",
            lambda row: (row[name] is None) == empty,
        ),
        st.sampled_from(
            ["modality", "slice_thickness", "window_center", "image_type", "rescale_type", *IDENTIFIERS]
        ),
        st.booleans(),
    ),
    st.builds(
        lambda name, uid: (f"{name} == '{uid}'", lambda _: uid == "1.2"),
        st.sampled_from(["TransferSyntaxUID", "transfer_syntax_uid", "0002,0010"]),
        st.sampled_from(["1.2", "1.2.840.10008.1.2.1"]),
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


@settings(max_examples=50, deadline=None)
@given(rows=tables(), expressions=st.lists(EXPRESSIONS, min_size=1, max_size=4))
def test_where_equals_the_oracle(
    catalog: Catalog, rows: list[dict[str, Value]], expressions: list[tuple[str, Any]]
) -> None:
    fill(catalog, rows)
    for text, holds in expressions:
        found = {each.series_instance_uid for each in find_series(catalog, where=text)}

        assert found == uids([row for row in rows if holds(row)]), text


ENDS = st.none() | st.sampled_from([-1, 0, 0.5, 1.0, "1.5", 40])


@settings(max_examples=40, deadline=None)
@given(rows=tables(), number=st.sampled_from([-1, 0, 0.5, 1.0, "1.50", "+1"]), ends=st.tuples(ENDS, ENDS))
def test_one_of_several_numbers_is_enough_for_a_key(
    catalog: Catalog, rows: list[dict[str, Value]], number: Any, ends: tuple[Any, Any]
) -> None:
    fill(catalog, rows)
    low, high = (
        float(each) if each is not None else inf for each, inf in zip(ends, (-9e99, 9e99), strict=True)
    )
    of_rows = [(row, numbers_of(row["window_center"])) for row in rows]  # type: ignore[arg-type]

    single = {each.series_instance_uid for each in find_series(catalog, window_center=number)}
    between = {each.series_instance_uid for each in find_series(catalog, WindowCenter=ends)}

    assert single == uids([row for row, found in of_rows if float(number) in found])
    assert between == uids(
        [row for row, found in of_rows if ends == (None, None) or any(low <= each <= high for each in found)]
    )


HOSTILE = st.text(st.characters() | st.sampled_from("'\"%_\\;*?[]\0-"), max_size=40)


@settings(max_examples=100, deadline=None)
@given(
    text=HOSTILE,
    name=st.sampled_from(
        ["PatientName", "Modality", "StudyDate", "Rows", "SOPInstanceUID", "WindowCenter", "PatientAge"]
    ),
)
def test_hostile_values_are_harmless(catalog: Catalog, text: str, name: str) -> None:
    uids_of = {"sop_instance_uid": "1.1", "series_instance_uid": "2.1", "study_instance_uid": "3.1"}
    fill(catalog, [uids_of | {"patient_name": "A", "window_center": "40\\400", "image_type": "ORIGINAL\\X"}])
    quoted = "'" + text.replace("'", "''") + "'"
    for ask in (
        lambda: find_series(catalog, **{name: text}),
        lambda: find_series(catalog, **{name: [text, text]}),
        lambda: find_instances(catalog, **{name: (text, text)}),
        lambda: find_series(catalog, where=text),
        lambda: find_series(catalog, where=f"WindowCenter == {quoted} or ImageType < {quoted}"),
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
