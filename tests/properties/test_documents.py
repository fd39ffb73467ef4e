"""Words and revisions of documents against oracles in memory, on both databases, whatever they say."""

import random
import unicodedata
from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from snowballstemmer import stemmer

from catalog import mentions, words
from catalog.database import Catalog
from catalog.documents import add_file, chain_documents, find_documents
from catalog.errors import QuestionError
from catalog.index import settle
from catalog.models import documents
from catalog.places import State
from catalog.query import find_series
from catalog.records import DocumentText, InstanceHeader
from catalog.revisions import Revision, chains, moment_of
from catalog.scan import Found

STUDY = "1.2.3"
WORDS = st.sampled_from([
    "Metastase", "Metastasen", "Lebermetastasen", "Leber", "LEBER", "Ödem", "Oedem", "odem", "Größe",
    "GROESSE", "lesion", "lesions", "T2", "T2-gewichtet", "1,5", "cm", "kein", "naïve", "ﬁbrose",
    "Fibrose", "漢字", "½",
])  # fmt: skip
HOSTILE = st.text(st.sampled_from("abÖß\"'*-_:^()&|!<>\\%\0\ud800 \n\u00ad"), max_size=12)
TEXTS = st.lists(WORDS | HOSTILE, max_size=8).map(" ".join)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def catalog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    url = str(tmp_path_factory.mktemp("documents") / "catalog.sqlite")
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").database()
    opened = Catalog(url)
    values = {"sop_instance_uid": "1.1", "series_instance_uid": "1.2", "study_instance_uid": STUDY}
    settle(
        opened, [Found("/a", "1", 1, 1)], [InstanceHeader("/a/1", 1, 1, "digest", "1.2", values, None)], {}
    )
    yield opened
    opened.close()


def fill(catalog: Catalog, found: list[DocumentText]) -> dict[int, int]:
    """Documents in the place of those before; the number of each to its place in the list."""
    with catalog.transaction() as connection:
        connection.execute(sa.text("DELETE FROM document_terms"))
        connection.execute(sa.delete(documents))
    numbers = {
        add_file(catalog, STUDY, f"/r/{at:03}", "text", "digest", each): at for at, each in enumerate(found)
    }
    chain_documents(catalog)
    return numbers


# --- an oracle that knows no database and no term --------------------------------------------------------


def plain(word: str) -> str:
    composed = unicodedata.normalize("NFKC", word).casefold()
    for umlaut, letters in (("ä", "ae"), ("ö", "oe"), ("ü", "ue")):
        composed = composed.replace(umlaut, letters)
    letters = unicodedata.normalize("NFKD", composed).casefold()
    return "".join(each for each in letters if each.isalnum())[:64]


def spoken(text: str) -> list[str]:
    """Words of a text that has no line ends within words."""
    parts = "".join(each if each.isalnum() else "\0" for each in text.replace("\u00ad", "")).split("\0")
    return [plain(each) for each in parts if plain(each)]


GERMAN, ENGLISH = stemmer("german"), stemmer("english")


def is_same(asked: str, word: str) -> bool:
    return GERMAN.stemWord(asked) == GERMAN.stemWord(word) or ENGLISH.stemWord(asked) == ENGLISH.stemWord(
        word
    )


@settings(max_examples=60)
@given(
    texts=st.lists(TEXTS, max_size=4),
    asked=st.lists(WORDS, min_size=1, max_size=2),
    form=st.sampled_from('=<>~"'),
)
def test_what_is_found_is_what_a_loop_over_the_texts_finds(
    catalog: Catalog, texts: list[str], asked: list[str], form: str
) -> None:
    texts = [words.kept(each).replace("\n", " ") for each in texts]
    texts = [each for each in texts if "\u00ad" not in each]
    numbers = fill(catalog, [DocumentText("read", text=each) for each in texts])
    one = [spoken(each) for each in asked]

    def run(wanted: list[str], said: list[str]) -> bool:
        return any(said[at : at + len(wanted)] == wanted for at in range(len(said)))

    def holds(said: list[str]) -> bool:
        if form == '"':
            return run([word for each in one for word in each], said)
        if form != "=":
            ((wanted, *more),) = [one[0]]
            if more:
                return True
            return {
                "<": any(word.startswith(wanted) for word in said),
                ">": any(GERMAN.stemWord(word).endswith(GERMAN.stemWord(wanted)) for word in said),
                "~": any(wanted in word for word in said),
            }[form]
        return all(
            any(is_same(each[0], word) for word in said) if len(each) == 1 else run(each, said)
            for each in one
        )

    if form in "<>~" and len(one[0]) > 1:
        return  # with a star at several words, see below
    forms = {"=": "{}", "<": "{}*", ">": "*{}", "~": "*{}*", '"': '"{}"'}
    question = forms[form].format(asked[0] if form in "<>~" else " ".join(asked))
    found = {numbers[each.document] for each in find_documents(catalog, question)}
    assert found == {at for at, text in enumerate(texts) if holds(spoken(text))}
    assert bool(find_series(catalog, where=f"report ~ '{question}'")) == bool(found)


@settings(max_examples=60)
@given(texts=st.lists(TEXTS, min_size=1, max_size=3), question=HOSTILE | st.text(max_size=30) | TEXTS)
def test_hostile_questions_and_texts_do_no_harm(catalog: Catalog, texts: list[str], question: str) -> None:
    kept = [words.kept(each) for each in texts]
    numbers = fill(catalog, [DocumentText("read", text=each) for each in kept])
    try:
        found = find_documents(catalog, question)
    except QuestionError:
        assert not list(words.tokens(words.kept(question)))
        return
    for each in found:
        marked = words.snippet(kept[numbers[each.document]], words.parse(question))
        assert each.snippet == marked
        assert "«" in marked


@pytest.mark.parametrize("question", ["a" * 10_000, " ".join(f"w{at}" for at in range(60)), "***", '""', ""])
def test_what_has_no_word_or_too_many_is_refused(catalog: Catalog, question: str) -> None:
    with pytest.raises(QuestionError):
        find_documents(catalog, question)


def test_a_text_of_a_million_characters_is_indexed_as_far_as_a_tsvector_goes(catalog: Catalog) -> None:
    text = words.kept(" ".join(f"wort{at}" for at in range(200_000)))
    assert len(text) == words.TEXT_LIMIT
    fill(catalog, [DocumentText("read", text=text)])
    assert len(find_documents(catalog, "wort1 wort9000")) == 1
    assert not find_documents(catalog, "wort99000")


@given(word=st.text(max_size=80))
def test_folding_twice_is_folding_once(word: str) -> None:
    assert words.fold(words.fold(word)) == words.fold(word)


def test_a_word_that_a_line_breaks_is_one() -> None:
    assert words.folded("Metas-\n  tasen, T2-\ngewichtet, Le\u00adber") == " metastasen t2 gewichtet leber "


# --- revisions -------------------------------------------------------------------------------------------


@st.composite
def revisions(draw: st.DrawFn) -> list[Revision]:
    count = draw(st.integers(1, 7))
    names = [f"1.{at}" for at in range(count)]
    return [
        Revision(
            at,
            name,
            draw(st.sampled_from([1, 2])),
            draw(st.sampled_from(["", "a", "b"])),
            tuple(draw(st.lists(st.sampled_from([*names, "9.9"]), max_size=2, unique=True))),
            draw(st.sampled_from(["", "2026", "2027"])),
            "",
            draw(st.none() | st.integers(0, 2)),
        )
        for at, name in enumerate(names)
    ]


@given(found=revisions(), seed=st.integers(0, 99))
def test_chains_are_the_same_in_whatever_order_documents_come(found: list[Revision], seed: int) -> None:
    shuffled = random.Random(seed).sample(found, len(found))
    one, other = chains(found), chains(shuffled)
    assert sorted(one, key=str) == sorted(other, key=str)
    assert sorted(each for chain in one for each in chain.documents) == list(range(len(found)))
    for chain in one:
        members = [found[at] for at in chain.documents]
        named = {uid for each in members for uid in each.predecessors if uid != each.name}
        tips = [each for each in members if each.name not in named]
        if tips:  # valid is the newest that none supersedes
            assert members[-1] == max(tips, key=lambda each: (*each.age, each.name))
        else:
            assert "name each other" in chain.remark


@settings(max_examples=25)
@given(found=revisions(), seed=st.integers(0, 99))
def test_documents_that_arrive_one_by_one_end_as_one_state(
    catalog: Catalog, found: list[Revision], seed: int
) -> None:
    states = []
    for order in (found, random.Random(seed).sample(found, len(found))):
        fill(catalog, [])
        for each in order:
            text = DocumentText(
                "read", moment=each.moment, number=each.number, identifier=each.identifier,
                predecessors=tuple(f"/r/{uid}" for uid in each.predecessors),
            )  # fmt: skip
            add_file(catalog, STUDY, f"/r/{each.name}", "text", "digest", text)
            chain_documents(catalog)
        rows = find_documents(catalog, every_revision=True)
        fields = [replace(each, document=0) for each in rows]
        states.append(sorted(fields, key=lambda each: str(each.path)))
        assert len(find_documents(catalog)) == sum(each.is_valid for each in rows)
    assert states[0] == states[1]


@pytest.mark.parametrize(
    ("date", "time", "moment"),
    [
        ("20230921", "134757", "20230921134757.000000"),
        ("2023.09.21", "13:47", "20230921134700.000000"),
        ("20230921", "1347.5", "20230921134700.500000"),
        ("20230921", "noon", "20230921000000.000000"),
        ("٢٠٢٣٠٩٢١", None, ""),
        ("", "134757", ""),
        (None, None, ""),
    ],
)
def test_a_moment_sorts_as_a_text(date: str | None, time: str | None, moment: str) -> None:
    assert moment_of(date, time) == moment


def test_the_state_that_is_asked_for_is_that_of_places() -> None:
    assert State.INDEXED.value == mentions.INDEXED
