"""Of the browser what needs no page: what is asked, the lines it has, what is selected and opened."""

from array import array
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench
from catalog.errors import QuestionError
from catalog.interruption import Interruption
from catalog.listing import Listing
from catalog.query import series_of_rows
from catalog.records import RemoteSeries, Value
from catalog.remotes import record_remotes
from workbench.session import Bench
from workbench.widgets.asked import Asked
from workbench.widgets.newest import Newest
from workbench.widgets.outline import PATIENT, SERIES, STUDY, Folds, Outline

pytest.importorskip("anywidget", reason="pip install 'imaging-workbench[lab]'")

REMOTE = 40


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


@pytest.fixture
def filled(any_bench: Bench, archive: Path) -> Bench:
    """Three series with files, and forty elsewhere."""
    any_bench.index(archive, quiet=True)
    told = []
    for n in range(REMOTE):
        values: dict[str, Value] = {
            "series_instance_uid": f"1.2.{n}", "study_instance_uid": f"1.3.{n // 4}",
            "patient_id": f"R{n // 8}", "modality": ("CT", "PT")[n % 2], "series_number": n % 4,
            "study_date": f"20{n // 4:02}0615", "series_description": f"<i>{n}</i>",
        }  # fmt: skip
        told.append(RemoteSeries(values, "idc", f"s3://bucket/{n}", n))
    record_remotes(any_bench.catalog, "idc", told)
    return any_bench


class Page:
    """The other side of the wire: says what a page would, and hears what is answered."""

    def __init__(self, bench: Bench, *words: str, **asked: Any) -> None:
        self.browser = bench.browse(*words, **asked)
        self.heard: list[tuple[dict[str, Any], list[bytes]]] = []
        self.browser.wire.send = lambda content, buffers=(): self.heard.append((content, [*buffers]))
        self.browser.wait()

    @property
    def told(self) -> dict[str, Any]:
        return dict(self.browser.wire.told)

    def ask(self, **changes: Any) -> dict[str, Any]:
        self.browser.wire.asked = self.browser.wire.asked | changes
        self.browser.wait()
        return self.told

    def say(self, kind: str, **content: Any) -> list[dict[str, Any]]:
        before = len(self.heard)
        self.browser.wire._came(None, {"kind": kind, "run": self.told["run"], **content}, [])
        self.browser.wait()
        return [content for content, _ in self.heard[before:]]

    def lines(self, first: int = 0, count: int = 200) -> list[dict[str, Any]]:
        (answer,) = self.say("lines", first=first, count=count)
        return list(answer["lines"])

    def select(self, one: int, other: int, how: str = "only") -> list[bool | None]:
        (answer,) = self.say("select", one=one, other=other, how=how, first=0, count=200)
        return list(answer["flags"])

    def selected(self) -> set[str]:
        return {each.series_instance_uid for each in self.browser.selection}


# --- what is asked ---------------------------------------------------------------------------------------


def test_what_is_typed_and_ticked_is_one_question() -> None:
    chosen = {"modality": ("CT", None), "study_year": ("2020",), "source": ("o'hara",)}
    asked = Asked(text='liver "two words" Modality=CT', where="Rows > 1 or Columns > 1", chosen=chosen)
    question = asked.question()
    assert question.matching == {"Modality": "CT"}
    assert question.where is not None
    assert question.where.endswith(
        "((Rows > 1 or Columns > 1) and (Modality in ('CT') or Modality is empty) and "
        "(StudyDate >= '2020' and StudyDate < '2021') and source in ('o''hara'))"
    )
    assert "PatientName ~ 'two words'" in question.where
    assert asked.question(without="source").where == question.where.replace(" and source in ('o''hara')", "")
    assert Asked(where=" ").question().where is None
    assert Asked(text='"lung').question() == Asked(text="lung").question()  # while it is typed
    assert Asked.from_page(asked.as_json()) == asked


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"order": "weight"}, "no order 'weight'"),
        ({"view": "map"}, "no view 'map'"),
        ({"chosen": {"shoe": ["43"]}}, "no facet 'shoe'"),
        ({"text": 7}, "text of a browser is no int"),
    ],
)
def test_what_no_page_would_ask_is_refused_in_words(said: dict[str, Any], words: str) -> None:
    with pytest.raises(QuestionError, match=words):
        Asked.from_page(said)
    with pytest.raises(QuestionError, match="no year"):
        Asked(chosen={"study_year": ("2020' or 1",)}).question()


# --- lines -----------------------------------------------------------------------------------------------


@st.composite
def listings(draw: st.DrawFn) -> Listing:
    """Studies and patients that lie side by side, of several sizes."""
    sizes = draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), max_size=4))
    patients, studies = array("q"), array("q")
    for patient, of_patient in enumerate(sizes):
        for study, count in enumerate(of_patient):
            patients.extend([100 + patient] * count)
            studies.extend([200 + 10 * patient + study] * count)
    return Listing(patients, studies, array("q", range(300, 300 + len(studies))))


@st.composite
def folds(draw: st.DrawFn) -> Folds:
    headings = st.one_of(
        st.tuples(st.just(PATIENT), st.integers(100, 103)), st.tuples(st.just(STUDY), st.integers(200, 233))
    )
    return Folds(draw(st.booleans()), draw(st.frozensets(headings, max_size=6)))


def naive(listing: Listing, folded: Folds) -> list[tuple[int, int, int, bool]]:
    """Level, row, count of series and whether it is open, one after the other."""
    rows = list(zip(listing.patients, listing.studies, listing.series, strict=True))
    found: list[tuple[int, int, int, bool]] = []
    for patient, in_patient in groupby(rows, lambda each: each[0]):
        some = list(in_patient)
        is_open = folded.all_closed == ((PATIENT, patient) in folded.otherwise)
        found.append((PATIENT, patient, len(some), is_open))
        for study, in_study in groupby(some if is_open else (), lambda each: each[1]):
            below = list(in_study)
            is_open = folded.all_closed == ((STUDY, study) in folded.otherwise)
            found.append((STUDY, study, len(below), is_open))
            found += [(SERIES, each, 1, False) for _, _, each in below if is_open]
    return found


@given(listings(), folds())
def test_series_stand_below_their_studies_and_patients_where_these_are_open(
    listing: Listing, folded: Folds
) -> None:
    outline = Outline.grouped(listing, folded)
    lines = outline.lines(0, 1000)
    assert naive(listing, folded) == [
        (line.level, outline.row(at), line.count, line.is_open) for at, line in enumerate(lines)
    ]
    for at, line in enumerate(lines):
        above = [other for other in range(at) if lines[other].level < line.level]
        assert line.parent == (above[-1] if above else None)
    for row in listing.series:  # each series is some line, or below a closed one
        at = outline.line_of(row) or 0
        assert row in outline.series_from(at, at)


@given(listings(), folds(), st.data())
def test_a_range_selects_the_series_that_can_be_seen_in_it_and_closed_headings(
    listing: Listing, folded: Folds, data: st.DataObject
) -> None:
    outline = Outline.grouped(listing, folded)
    if not len(outline):
        return
    one, other = data.draw(st.tuples(*[st.integers(0, len(outline) - 1)] * 2))
    low, high = min(one, other), max(one, other)
    meant = set()
    for at, line in enumerate(outline.lines(0, 1000)):
        if low <= at <= high and (low == high or not line.is_open):
            meant |= set(listing.series[line.place : line.place + line.count])
    chosen = outline.series_from(one, other)
    assert set(chosen.tolist()) == meant
    flags = outline.selected(chosen).of(0, 1000)
    for line, flag in zip(outline.lines(0, 1000), flags, strict=True):
        inside = [row in meant for row in listing.series[line.place : line.place + line.count]]
        assert flag == (True if all(inside) else (None if any(inside) else False))


def test_a_heading_that_is_opened_and_closed_again_is_as_before() -> None:
    for all_closed in (False, True):
        before = Folds(all_closed)
        changed = before.with_heading(STUDY, 7, is_open=all_closed)
        assert changed != before
        assert changed.with_heading(STUDY, 7, is_open=not all_closed) == before


# --- a browser -------------------------------------------------------------------------------------------


def test_lines_come_by_window_with_what_their_level_has(filled: Bench) -> None:
    page = Page(filled)
    total = len(filled.series())
    assert (page.told["series"], page.told["all"]) == (total, total)
    lines = page.lines()
    assert len(lines) == page.told["lines"]
    assert [each["level"] for each in lines[:3]] == [PATIENT, STUDY, SERIES]
    assert sum(each["level"] == SERIES for each in lines) == total
    (middle,) = page.lines(first=20, count=1)
    assert middle == lines[20]
    remote = next(each for each in lines if each.get("series_description") == "<i>5</i>")
    assert (remote["remote"], remote["instances"], remote["modality"]) == ("s3://bucket/5", 5, "PT")
    assert page.ask(view="gallery")["lines"] == total
    assert {each["level"] for each in page.lines()} == {SERIES}
    assert page.say("lines", run=page.told["run"] - 1, first=0, count=10) == []  # of another outline
    assert [each["study_date"] for each in page.lines()[:2]] != ["20090615"] * 2
    page.ask(order="date", is_descending=True, view="list")
    dates = [each["study_date"] or "" for each in page.lines()]
    assert all(one >= other for one, other in pairwise(each for each in dates if each))


def test_what_is_ticked_narrows_and_the_counts_tell_what_else_there_is(filled: Bench) -> None:
    page = Page(filled)
    facets = dict(page.browser.wire.facets)
    assert {tuple(each) for each in facets["modality"]} == {("PT", 20), ("CT", 22), ("MR", 1)}
    assert [None, 3] in facets["source"]
    assert facets["study_year"][0] > facets["study_year"][1]
    told = page.ask(chosen={"modality": ["PT"], "study_year": ["2003", "2004"]})
    assert told["series"] == 4
    facets = dict(page.browser.wire.facets)
    assert dict(facets["modality"]) == {"PT": 4, "CT": 4}
    assert dict(facets["study_year"])["2005"] == 2
    question = page.browser.question
    assert [*page.browser.found] == [*filled.series(question.where, **question.matching)]
    told = page.ask(chosen={"modality": ["XX"]})
    assert told["series"] == 0
    assert ["XX", 0] in page.browser.wire.facets["modality"]  # so that it can be ticked off again


def test_what_is_not_understood_is_said_at_its_field_and_what_was_found_stays(filled: Bench) -> None:
    page = Page(filled)
    run = page.told["run"]
    assert page.ask(where="Modalit == 'CT'")["field"] == "where"
    assert "did you mean Modality" in page.told["error"]
    answer = page.told["answer"]
    assert page.ask(where="Modalit == 'CT' ")["answer"] > answer  # also where it is the same words
    told = page.ask(where="", text="Modalit=CT")
    assert (told["field"], told["run"]) == ("text", run)
    assert page.ask(text="Modality=MR")["error"] == ""
    assert page.told["series"] == 1
    with pytest.raises(QuestionError, match="did you mean"):
        filled.browse(where="Modalit == 'CT'")
    with pytest.raises(QuestionError, match="did you mean"):
        page.browser.ask(where="Modalit == 'CT'")
    page.browser.ask(text="brain", where="Modality == 'MR'")
    page.browser.wait()
    assert (page.told["series"], page.told["error"]) == (1, "")


def test_what_is_selected_comes_back_as_the_table_of_series(filled: Bench) -> None:
    page = Page(filled)
    told: list[int] = []
    page.browser.on_change("selection", lambda browser: told.append(len(browser.selection)))
    lines = page.lines()
    places = [at for at, each in enumerate(lines) if each["level"] == SERIES]
    assert page.select(places[0], places[0])[places[0]] is True
    page.select(places[2], places[2], "toggle")
    page.select(places[5], places[4], "add")
    page.select(places[4], places[4], "toggle")
    assert type(page.browser.selection) is type(filled.series())
    assert page.selected() == {series_of(filled, lines[places[at]]["row"]) for at in (0, 2, 5)}
    flags = page.select(0, 0)  # a patient is all of its series
    assert len(page.selected()) == lines[0]["count"]
    assert flags[0] is True
    page.ask(text="<i>7</i>")  # and stays selected when something else is asked for
    assert len(page.selected()) == lines[0]["count"]
    page.say("select", how="none", first=0, count=0)
    assert page.selected() == set()
    assert told == [1, 2, 4, 3, lines[0]["count"], 0]
    page.browser.selection = filled.series(modality="PT")
    assert len(page.selected()) == 20
    with pytest.raises(QuestionError, match="1 of these series"):
        page.browser.selection = ["1.2.3.4"]


def series_of(bench: Bench, row: int) -> str:
    return series_of_rows(bench.catalog, [row])[row].series_instance_uid


def test_what_is_selected_is_frozen_and_opened_like_any_series(filled: Bench) -> None:
    page = Page(filled, "Modality=MR")
    page.select(0, page.told["lines"] - 1)
    assert filled.volume(page.browser.selection[0]).shape == (8, 32, 24)
    cohort = filled.freeze("brains", page.browser.selection, quiet=True)
    assert len(cohort) == len(page.browser.selection) == 1


def test_headings_fold_and_the_cursor_stays_where_it_was(filled: Bench) -> None:
    page = Page(filled)
    lines = page.lines()
    heading = next(at for at, each in enumerate(lines) if each["level"] == STUDY and each["count"] == 4)
    page.say("fold", line=heading, open=False)
    assert (page.told["lines"], page.told["line"]) == (len(lines) - 4, heading)
    assert page.lines()[heading]["open"] is False
    page.say("fold", line=None, open=False)
    assert {each["level"] for each in page.lines()} == {PATIENT}
    page.say("fold", line=0, open=True)
    assert {each["level"] for each in page.lines()} == {PATIENT, STUDY}
    page.say("fold", line=None, open=True)
    assert [each["row"] for each in page.lines()] == [each["row"] for each in lines]


def test_pictures_come_for_what_is_here_and_for_nothing_else(filled: Bench) -> None:
    page = Page(filled, view="gallery")
    lines = page.lines()
    page.say("pictures", rows=[each["row"] for each in lines] + [10**9])
    pictures = [(content, buffers) for content, buffers in page.heard if content["kind"] == "picture"]
    here = {each["row"] for each in lines if not each["remote"]}
    assert {content["row"] for content, _ in pictures} == here
    assert all(buffers[0].startswith(b"\x89PNG") for _, buffers in pictures)
    assert len([*filled.settings.thumbnails_folder.glob("*.png")]) == len(here) == 3


def test_a_series_opens_and_one_elsewhere_is_not_fetched_unasked(filled: Bench) -> None:
    page = Page(filled, view="gallery")
    lines = page.lines()
    remote = next(at for at, each in enumerate(lines) if each["remote"])
    (answer,) = page.say("open", line=remote, fetch=False)
    assert answer["elsewhere"] == lines[remote]["remote"]
    assert page.browser.viewer is None
    here = next(at for at, each in enumerate(lines) if not each["remote"])
    (answer,) = page.say("open", line=here, fetch=False)
    assert (answer["elsewhere"], answer["error"]) == ("", "")
    assert page.browser.viewer is not None
    assert page.browser.widget.children == (page.browser.wire, page.browser.viewer.widget)
    page.say("close")
    assert page.browser.widget.children == (page.browser.wire,)
    assert page.browser.viewer is None


def test_whatever_cannot_show_a_widget_has_a_table_in_words(filled: Bench) -> None:
    browser = filled.browse("sphere")
    bundle = browser._repr_mimebundle_()
    assert "sphere &lt;b&gt;one&lt;/b&gt;" in bundle["text/html"]
    assert "sphere two" in bundle["text/plain"]
    assert "sphere two" in browser.wire.words
    assert "in JupyterLab" in bundle["text/plain"]
    browser.wait()


def test_what_came_meanwhile_is_shown_when_it_is_asked_again(filled: Bench) -> None:
    page = Page(filled)
    before = page.told
    values: dict[str, Value] = {"series_instance_uid": "1.2.777", "study_instance_uid": "1.3.0"}
    record_remotes(filled.catalog, "pacs://MAIN", [RemoteSeries(values, "pacs://MAIN", "pacs://MAIN")])
    page.say("refresh")
    assert page.told["series"] == before["series"] + 1
    assert page.told["run"] != before["run"]


# --- what is overtaken -----------------------------------------------------------------------------------


def test_of_what_is_wanted_in_a_hurry_the_last_is_done_and_the_first_given_up() -> None:
    newest, begun, given, done = Newest("test"), Event(), Event(), list[str]()

    def slow(heeded: Interruption) -> None:
        begun.set()
        assert given.wait(30)
        heeded.check()
        done.append("slow")

    def quick(name: str) -> Callable[[Interruption], None]:
        return lambda heeded: done.append(f"{name}, interrupted: {heeded.is_over}")

    newest.do(slow)
    assert begun.wait(30)
    for name in ("second", "third", "last"):
        newest.do(quick(name))
    given.set()
    newest.wait()
    assert done == ["last, interrupted: False"]
    newest.do(quick("another"))
    newest.wait()
    assert done[1:] == ["another, interrupted: False"]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Bench]:
    with workbench.open(tmp_path / "empty") as opened:
        yield opened


def test_an_empty_catalog_has_no_lines(empty: Bench) -> None:
    page = Page(empty)
    assert (page.told["lines"], page.told["error"]) == (0, "")
    assert page.lines() == []
    assert page.say("select", one=0, other=0, how="only", first=0, count=10) == []
    assert np.array_equal(page.browser._chosen, [])
