"""Elements without a column against an oracle in memory, on both databases, whatever stands in them.

A header's keys have texts and numbers; the first header of a series is kept once, and how others differ.
"""

from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalog.database import Catalog
from catalog.errors import QuestionError
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
from catalog.query import find_series
from catalog.records import Content, InstanceHeader, Values, difference
from catalog.scan import Found

NAMES = {
    "ImageComments": "00204000", "0029,1010": "00291010",
    "RequestAttributesSequence.0029,1010": "00400275.00291010",
}  # fmt: skip
"""What is asked for, and the key that has it alone: the last is in the second, too."""
PIECES = (
    "a", "A", "ab", "%", "_", "/", "\\",
    "'", '"', "''", "*", "?", "[a]", "ä", "Ä", "ß", "SS", "ſ", "ﬁ", "İ", "漢", "🫀",
    ";--", " or 1=1", "\n", "x" * 500, "\x1b", "{", "NULL", "1", "1e3", "-0",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map(
    lambda each: "".join(each).strip()[:500]
)
STORED = TEXTS.filter(bool)
NUMBERS = st.sampled_from([-1, 0, 1, 1000, 0.5])
VALUES = st.lists(STORED | NUMBERS, min_size=1, max_size=3, unique_by=str).map(tuple)
DOCUMENTS = st.dictionaries(st.sampled_from(sorted(NAMES.values())), VALUES, max_size=3)
ARCHIVES = st.lists(st.lists(DOCUMENTS, min_size=1, max_size=3), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def catalog(shared_catalog: Catalog) -> Catalog:
    return shared_catalog


def fill(catalog: Catalog, made: list[list[dict[str, Values]]]) -> dict[str, dict[str, Values]]:
    """Series of some documents in the place of those before; the documents by SOP Instance UID."""
    with catalog.transaction() as connection:
        for table in (
            files, instance_headers, header_varying, header_values, header_keys, instances, series,
            studies, patients,
        ):  # fmt: skip
            connection.execute(sa.delete(table))
    headers, documents = [], {}
    for number, of_series in enumerate(made):
        for place, document in enumerate(of_series):
            uid = f"1.4.{number}.{place}"
            values = {
                "patient_id": "P", "study_instance_uid": "1.3", "series_instance_uid": f"1.2.{number}",
                "sop_instance_uid": uid,
            }  # fmt: skip
            content = Content(of_series[0], difference(document, of_series[0]))
            headers.append(InstanceHeader(f"/a/{uid}", 1, 1, uid, "1.2", values, None, content=content))
            documents[uid] = document
    settle(catalog, [Found("/a", each.path[3:], 1, 1) for each in headers], headers, {})
    return documents


def lower(text: str, *, folds: bool) -> str:
    return text.casefold() if folds else text.lower()


def under(document: dict[str, Values], name: str) -> list[Any]:
    """Values under the key that a name stands for, in sequences too."""
    return [
        each
        for key, values in document.items()
        if key == NAMES[name] or key.endswith(f".{NAMES[name]}")
        for each in values
    ]


def series_of(uids: set[str]) -> set[str]:
    """Series of some instances: one that is as asked is enough."""
    return {f"1.2.{uid.split('.')[2]}" for uid in uids}


COMPARE: dict[str, Any] = {
    "==": lambda value, asked: value == asked,
    "~": lambda value, asked: asked in value,
    "in": lambda value, asked: value == asked,
}
DENIED = {"!=": "==", "!~": "~", "not in": "in"}
QUESTIONS = st.tuples(
    st.sampled_from(sorted(NAMES)),
    st.sampled_from([*COMPARE, *DENIED]),
    TEXTS | st.just("\0") | st.just("\ud800"),
)


def text_of(question: tuple[str, str, str]) -> str:
    name, comparison, asked = question
    quoted = "'" + asked.replace("'", "''") + "'"
    return f"{name} {comparison} {f'({quoted})' if comparison.endswith('in') else quoted}"


def is_so(document: dict[str, Values], question: tuple[str, str, str], *, folds: bool) -> bool:
    name, comparison, asked = question
    if comparison in DENIED:
        return not is_so(document, (name, DENIED[comparison], asked), folds=folds)
    texts = [each for each in under(document, name) if isinstance(each, str)]
    if comparison == "~":
        texts, asked = [lower(each, folds=folds) for each in texts], lower(asked, folds=folds)
    return any(COMPARE[comparison](each, asked) for each in texts)


@settings(max_examples=60, deadline=None)
@given(made=ARCHIVES, asked=st.lists(QUESTIONS, min_size=1, max_size=6))
@example(
    made=[[{"00204000": ("Straße",)}, {"00204000": ("STRASSE",)}, {}]],
    asked=[("ImageComments", each, "ße") for each in ("~", "!~", "==")],
)
def test_hostile_texts_under_any_key_are_found_as_the_oracle_finds_them(
    catalog: Catalog, made: list[list[dict[str, Values]]], asked: list[tuple[str, str, str]]
) -> None:
    documents, folds = fill(catalog, made), catalog.engine.dialect.name == "sqlite"
    for each in asked:
        expected = {uid for uid, document in documents.items() if is_so(document, each, folds=folds)}
        found = {one.series_instance_uid for one in find_series(catalog, where=text_of(each))}

        assert found == series_of(expected), each


@settings(max_examples=30, deadline=None)
@given(
    made=ARCHIVES,
    name=st.sampled_from(sorted(NAMES)),
    sign=st.sampled_from(["==", "!=", "<", ">="]),
    asked=NUMBERS,
)
def test_numbers_under_any_key_are_compared_with_numbers_alone(
    catalog: Catalog, made: list[list[dict[str, Values]]], name: str, sign: str, asked: float
) -> None:
    documents = fill(catalog, made)
    compare = {"==": float.__eq__, "<": float.__lt__, ">=": float.__ge__}

    def holds(document: dict[str, Values]) -> bool:
        numbers = [float(each) for each in under(document, name) if not isinstance(each, str)]
        return any(compare["==" if sign == "!=" else sign](each, float(asked)) for each in numbers) != (
            sign == "!="
        )

    found = {each.series_instance_uid for each in find_series(catalog, where=f"{name} {sign} {asked}")}

    assert found == series_of({uid for uid, document in documents.items() if holds(document)})


HOSTILE = st.text(st.characters() | st.sampled_from("'\"%_\\;*?[]()\0-,."), max_size=40)


@settings(max_examples=60, deadline=None)
@given(text=HOSTILE)
@example(text="x" * 10_000)
@example(text="00291010) or 1=1; DROP TABLE header_values --")
def test_a_hostile_name_or_text_is_refused_or_harmless(catalog: Catalog, text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    for where in (
        f"{text} == 1",
        f"ImageComments.{text} ~ 'a'",
        f"0029,1010 ~ {quoted}",
        f"{quoted} is present",
    ):
        with suppress(QuestionError):
            find_series(catalog, where=where)
    with catalog.reading() as connection:
        connection.execute(sa.select(header_values).limit(1))  # the tables are still there
