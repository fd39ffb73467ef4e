"""Annotations as they are kept: every revision, whose it is, and both where two kernels changed one mark."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.annotations import Place, check_author, find_annotations, held, save
from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.strokes import STROKE, Change, Fate, Held, changes, fate, same

PLACE = Place("1.2.40", 0)
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = timedelta(minutes=1)


def line(uid: str = "2.25.1", x: float = 0.0, text: str = "") -> dict[str, Any]:
    return {
        "uid": uid, "kind": "length", "points": [[x, 1.0, 2.0], [3.0, 4.0, 5.0]], "text": text,
        "sop_instance_uid": "1.2.1",
    }  # fmt: skip


class Kernel:
    """One viewer of an author: what it knows to be saved, and what it has drawn."""

    def __init__(self, catalog: Catalog, author: str, writer: str) -> None:
        self.catalog, self.author, self.writer = catalog, author, writer
        self.known = held(catalog, PLACE, author)

    def draws(self, *marks: dict[str, Any], at: datetime) -> None:
        self.known = save(
            self.catalog, PLACE, self.author, self.known, marks, writer=self.writer, now=at
        )  # fmt: skip


def drawn(catalog: Catalog, **asked: Any) -> list[Any]:
    return [each.drawn for each in find_annotations(catalog, **asked)]


def test_a_mark_is_kept_with_its_author_and_times_and_every_state_it_had(catalog: Catalog) -> None:
    kernel = Kernel(catalog, "Dr. Müller", "a")
    kernel.draws(line(), at=NOON)
    kernel.draws(line(x=9.0, text="Käse 🧀"), at=NOON + LATER)
    kernel.draws(at=NOON + 2 * LATER)
    assert find_annotations(catalog) == []
    states = find_annotations(catalog, revisions=True)
    assert [each.drawn for each in states] == [line(), line(x=9.0, text="Käse 🧀"), None]
    assert [each.revision for each in states] == [1, 2, 3]
    assert {each.author for each in states} == {"Dr. Müller"}
    assert {each.created for each in states} == {NOON}
    assert [each.changed for each in states] == [NOON, NOON + LATER, NOON + 2 * LATER]
    assert {each.sop_instance_uid for each in states} == {"1.2.1"}
    kernel.draws(line(), at=NOON + 3 * LATER)  # the removal undone
    assert drawn(catalog) == [line()]
    assert [each.revision for each in find_annotations(catalog)] == [4]


def test_the_states_of_one_stroke_are_one_revision_and_what_is_drawn_again_alike_is_none(
    catalog: Catalog,
) -> None:
    kernel = Kernel(catalog, "me", "a")
    for step in range(50):
        kernel.draws(line(x=float(step)), at=NOON + step * STROKE / 50)
    kernel.draws(line(x=49.0 + 1e-5), at=NOON + LATER)
    assert drawn(catalog, revisions=True) == [line(x=49.0)]


def test_marks_of_others_are_theirs_also_under_the_same_uid(catalog: Catalog) -> None:
    Kernel(catalog, "me", "a").draws(line(), at=NOON)
    Kernel(catalog, "she", "b").draws(line(x=5.0), line("2.25.2"), at=NOON)
    assert drawn(catalog, author="me") == [line()]
    assert drawn(catalog, author="she") == [line(x=5.0), line("2.25.2")]
    assert len(drawn(catalog, series=["1.2.40"])) == 3
    assert drawn(catalog, series=["1.2.41"]) == []
    assert drawn(catalog, part=1) == []


def test_the_same_uid_on_another_array_is_another_mark(catalog: Catalog) -> None:
    Kernel(catalog, "me", "a").draws(line(), at=NOON)
    other = Place("1.2.40", 1)
    save(catalog, other, "me", {}, [line(x=7.0)], writer="a", now=NOON)
    assert drawn(catalog, part=0) == [line()]
    assert drawn(catalog, part=1) == [line(x=7.0)]


def test_what_two_kernels_made_of_one_mark_is_both_there(catalog: Catalog) -> None:
    Kernel(catalog, "me", "a").draws(line(), at=NOON)
    one, other = Kernel(catalog, "me", "b"), Kernel(catalog, "me", "c")
    one.draws(line(x=1.0), at=NOON + LATER)
    other.draws(line(x=2.0), at=NOON + LATER)
    first, second = drawn(catalog)
    assert first == line(x=1.0)
    assert second == line(second["uid"], x=2.0)
    assert second["uid"] != "2.25.1"
    assert other.known.keys() == {"2.25.1", second["uid"]}


def test_a_stroke_of_another_kernel_that_is_not_over_is_not_overwritten(catalog: Catalog) -> None:
    one = Kernel(catalog, "me", "a")
    one.draws(line(), at=NOON)
    other = Kernel(catalog, "me", "b")
    one.draws(line(x=1.0), at=NOON + STROKE / 4)
    other.draws(line(x=2.0), at=NOON + STROKE / 2)
    assert sorted(each["points"][0][0] for each in drawn(catalog)) == [1.0, 2.0]


def test_a_mark_that_one_kernel_removes_while_another_changes_it_stays(catalog: Catalog) -> None:
    Kernel(catalog, "me", "a").draws(line(), at=NOON)
    one, other = Kernel(catalog, "me", "b"), Kernel(catalog, "me", "c")
    one.draws(line(x=1.0), at=NOON + LATER)
    other.draws(at=NOON + LATER)
    assert drawn(catalog) == [line(x=1.0)]
    one.draws(at=NOON + 2 * LATER)
    other.draws(line(x=3.0), at=NOON + 2 * LATER)
    assert drawn(catalog) == [line(x=3.0)]


def test_twelve_kernels_that_draw_at_once_lose_nothing(catalog: Catalog) -> None:
    kernels = [Kernel(catalog, "me", f"writer {number}") for number in range(12)]

    def draw(number: int) -> None:
        own = [line(f"2.25.{number}{step}") for step in range(1, 5)]
        for count in range(1, 5):
            theirs = [each.drawn for uid, each in kernels[number].known.items() if each.drawn]
            uids = {each["uid"] for each in theirs}
            kernels[number].draws(
                *theirs, *(each for each in own[:count] if each["uid"] not in uids), at=NOON
            )

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(draw, range(12)))
    assert len({each["uid"] for each in drawn(catalog)}) == len(drawn(catalog)) == 48


@pytest.mark.parametrize("x", [float("nan"), float("inf")])
def test_a_position_that_is_no_number_is_not_saved(sqlite_catalog: Catalog, x: float) -> None:
    with pytest.raises(QuestionError, match="no number"):
        Kernel(sqlite_catalog, "me", "a").draws(line(x=x), at=NOON)


def test_a_mark_of_megabytes_is_not_saved(sqlite_catalog: Catalog) -> None:
    endless = line() | {"outline": [[0.1234567, 0.1, 0.1]] * 400_000}
    with pytest.raises(QuestionError, match="fewer points"):
        Kernel(sqlite_catalog, "me", "a").draws(endless, at=NOON)


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb", "a\0b"])
def test_an_author_has_a_name(name: str) -> None:
    with pytest.raises(QuestionError, match="an author is a name"):
        check_author(name)


# --- the pure part ---------------------------------------------------------------------------------------

STATES = st.one_of(st.none(), st.integers(0, 3).map(lambda x: line(x=float(x))))


def saved(state: dict[str, Any] | None, revision: int = 1, writer: str = "a") -> Held:
    return Held("2.25.1", revision, state, NOON, NOON, writer)


@given(before=STATES, now=STATES)
def test_a_change_is_found_exactly_where_something_is_other(before: Any, now: Any) -> None:
    found = changes({"2.25.1": saved(before, 3)}, [now] if now else [])
    assert bool(found) == (before != now)
    assert all(each == Change("2.25.1", now, 3) for each in found)


@given(there=STATES, wanted=STATES, known=st.integers(1, 3), writer=st.sampled_from("ab"))
def test_no_state_that_the_writer_did_not_know_of_is_ever_replaced(
    there: Any, wanted: Any, known: int, writer: str
) -> None:
    decided = fate(Change("2.25.1", wanted, known), saved(there, 3), writer=writer, now=NOON + STROKE / 2)
    if decided is Fate.REPLACE:
        assert (known, writer) == (3, "a")
    if known != 3 and there is not None and there != wanted:
        assert decided is (Fate.KEEP if wanted is None else Fate.BESIDE)
    if there == wanted:
        assert decided is Fate.KEEP


def test_the_same_is_what_a_browser_of_32_bits_gives_back() -> None:
    assert same([1.0, {"x": 123.45601}], [1, {"x": 123.456}])
    assert not same({"x": 1.0}, {"x": 1.01})
    assert not same({"x": 1.0}, {"x": 1.0, "y": 0})
    assert not same("12", ["1", "2"])
    assert not same([1.0], [1.0, 2.0])
