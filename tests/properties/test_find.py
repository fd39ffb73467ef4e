"""Words as a person types them, hostile ones too, against an oracle in memory, on both databases."""

import random
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalog.attributes import BY_KEYWORD, SEARCHED
from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.query import count_series, find_series
from catalog.records import RemoteSeries, Value
from catalog.remotes import record_remotes
from workbench.question import question

PIECES = (
    "Liver", "liver", "pig", "T1", "%", "_", "\\", "'", '"', "O'Neil", "*", "?", "[a]", "äÄ", "漢", ";--",
    "AND", "NEAR(", "NOT", "(", ")", "x:", "^", "+", "-", "{", "​", "🫀", "or 1", "==", "\t",
)  # fmt: skip
COLUMNS = tuple(BY_KEYWORD[keyword].column for keyword in SEARCHED)
DATE = "study_date"


def rows() -> list[dict[str, Value]]:
    """Sixty series with hostile texts, each of its own study and patient; the same in every run."""
    made, dice = [], random.Random(13)
    for number in range(60):
        row: dict[str, Value] = {
            column: " ".join(dice.choices(PIECES, k=dice.randint(1, 3))).strip() or None
            for column in COLUMNS
            if column != DATE and dice.random() < 0.5
        }
        row |= {"series_instance_uid": f"1.2.{number}", "study_instance_uid": f"1.3.{number}"}
        made.append(
            row
            | {"patient_id": f"{row.get('patient_id') or ''}/{number}", DATE: f"202601{number % 28 + 1:02}"}
        )
    return made


def mentions(row: dict[str, Value], word: str) -> bool:
    """Whether a text of a series contains a word, without regard to case."""
    sought = word.strip(" ").casefold()
    return any(sought in str(row[column]).casefold() for column in COLUMNS if row.get(column) is not None)


WORDS = st.lists(
    st.one_of(
        st.sampled_from(PIECES),
        st.lists(st.sampled_from(PIECES), min_size=2, max_size=3).map(" ".join),
        st.text(st.sampled_from("aÄiloT1'\"%_*?\\[]()^-+;: "), min_size=1, max_size=4),
    ).filter(lambda word: "=" not in word),
    min_size=1,
    max_size=3,
)  # fmt: skip


def test_what_words_find_equals_the_oracle(catalog: Catalog) -> None:
    known = rows()
    assert (
        record_remotes(catalog, "idc", [RemoteSeries(row, "idc", "s3://bucket/x") for row in known]).added
        == 60
    )

    @settings(max_examples=120, deadline=None)
    @given(WORDS)
    @example(["O'Neil"])
    @example(["' or 1"])
    @example(['"NEAR('])
    def equal(words: list[str]) -> None:
        where, matching = question(words, None)
        found = {each.series_instance_uid for each in find_series(catalog, where=where, **matching)}
        wanted = {row["series_instance_uid"] for row in known if all(mentions(row, word) for word in words)}
        assert found == wanted
        assert count_series(catalog, where=where, **matching) == len(wanted)
        page = find_series(catalog, where=where, limit=5, **matching)
        assert len(page) == min(5, len(wanted))
        assert {each.series_instance_uid for each in page} <= wanted

    equal()


@pytest.mark.parametrize("word", ["a\0b", "\ud800", "x" * 10_000, "'" * 5_000, "\0"])
def test_words_that_no_text_can_hold_find_nothing_or_are_refused(catalog: Catalog, word: str) -> None:
    record_remotes(catalog, "idc", [RemoteSeries(row, "idc", "s3://bucket/x") for row in rows()])
    where, matching = question([word], None)
    with suppress(QuestionError):
        assert find_series(catalog, where=where, **matching) == []
    assert count_series(catalog) == 60
