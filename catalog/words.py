"""Words of reports, and questions about them: the same for every database, German and English; no I/O.

A word is folded: case, accents and ligatures disappear, `ß` is `ss` and `ä` is `ae`, so that `Ödem`, `OEDEM`
and `oedem` are one word. It is found by its stem in German or in English: `Metastasen` by `Metastase`,
`lesions` by `lesion`. What is asked for:

| written                 | finds documents with                                          |
| ----------------------- | ------------------------------------------------------------- |
| `Leber Metastase`       | every one of the words, in any form and order                 |
| `leber*`                | a word that begins so: `Lebermetastase`                       |
| `*metastase`            | a word that ends so, in any form: `Lebermetastasen`           |
| `*meta*`                | a word that holds it; slower, as no index helps               |
| `"keine Metastasen"`    | exactly these words, one after another                        |
| `T2-gewichtet`, `1,5`   | its parts one after another, as if in quotes                  |

A database keeps `terms` of a text, each a letter that says what it is and a word, and asks for them with
`sqlite_match` or `postgresql_match`; where order matters, `runs` say what has to stand in `folded`.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from threading import Lock
from typing import Any

from catalog.errors import QuestionError

TEXT_LIMIT = 1_000_000
"""Characters of a text that are kept."""
WORD_LIMIT = 64
"""Characters of a word that count, once folded."""
TERMS_BYTES = 800_000
"""Terms of one text take together no more: a tsvector of PostgreSQL has at most a mebibyte."""
QUESTION_LIMIT = 1_000
"""Characters of a question ..."""
ASKED_LIMIT = 50
"""... and its words."""

_WORD, _GERMAN, _ENGLISH, _BACKWARDS = "wger"
_TOKEN = re.compile(r"[^\W_]+(?:(?:\u00ad|(?<=[^\W\d_])[-‐]\s*\n\s*(?=[a-zäöüß]))[^\W_]+)*")
"""Letters and digits; a word that a line breaks in two is one."""
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_PART = re.compile(r'"([^"]*)"?|([^\s"]+)')
_SNIPPET = 70
"""Characters on either side of a hit."""
_STEMMING = Lock()  # a stemmer works on one word at a time


# --- words of a text -------------------------------------------------------------------------------------


def kept(text: str) -> str:
    """Return a text as it is kept: composed (NFC), and without what no database holds or no one sees."""
    composed = unicodedata.normalize("NFC", text[: 4 * TEXT_LIMIT].replace("\r\n", "\n").replace("\r", "\n"))
    visible = "".join(
        each for each in composed if each in "\n\t\u00ad" or unicodedata.category(each) not in _UNKEPT
    )
    return visible[:TEXT_LIMIT]


_UNKEPT = frozenset({"Cc", "Cs"})


@lru_cache(50_000)
def fold(word: str) -> str:
    """Return a word without case, accents and anything that is no letter or digit."""
    folded = unicodedata.normalize("NFKC", word).casefold().translate(_UMLAUTS)
    plain = unicodedata.normalize("NFKD", folded).casefold()
    return "".join(each for each in plain if each.isalnum())[:WORD_LIMIT]


@dataclass(frozen=True, slots=True)
class Token:
    """One word of a text and where it stands."""

    word: str
    start: int
    end: int


def tokens(text: str) -> Iterator[Token]:
    """Words of a text in their order, folded."""
    for found in _TOKEN.finditer(text):
        if word := fold(found.group()):
            yield Token(word, found.start(), found.end())


def folded(text: str) -> str:
    """All words of a text with a space before and after each; empty where there is none."""
    words = " ".join(each.word for each in tokens(text))
    return f" {words} " if words else ""


def terms(text: str) -> list[str]:
    """What a database indexes of a text, each once; of very many words the first."""
    found: dict[str, None] = {}
    size = 0
    for each in dict.fromkeys(token.word for token in tokens(text)):
        for term in _terms_of(each):
            size += len(term.encode()) if term not in found else 0
            found[term] = None
        if size > TERMS_BYTES:
            break
    return list(found)


def _terms_of(word: str) -> tuple[str, str, str, str]:
    german = _stem("german", word)
    return _WORD + word, _GERMAN + german, _ENGLISH + _stem("english", word), _BACKWARDS + german[::-1]


@lru_cache(50_000)
def _stem(language: str, word: str) -> str:
    with _STEMMING:
        stem: str = _stemmer(language).stemWord(word)
    return stem or word


@cache
def _stemmer(language: str) -> Any:
    from snowballstemmer.english_stemmer import EnglishStemmer  # type: ignore[import-untyped]
    from snowballstemmer.german_stemmer import GermanStemmer  # type: ignore[import-untyped]

    return GermanStemmer() if language == "german" else EnglishStemmer()


# --- questions -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that a text has to have."""

    terms: tuple[str, ...] = ()
    """One of these at least ..."""
    is_prefix: bool = False
    """... or one that begins so."""
    run: str = ""
    """What has to stand in the folded text."""

    def is_in(self, own: tuple[str, ...]) -> bool:
        """Whether one of the terms of a word is asked for."""
        return any(term.startswith(self.terms) if self.is_prefix else term in self.terms for term in own)


def parse(question: str) -> tuple[Asked, ...]:
    """Return what a question asks for, all of which a document must have.

    Raises
    ------
    QuestionError
        If it has no word, or more than can be asked for.
    """
    if len(question) > QUESTION_LIMIT:
        raise QuestionError(f"words to look for have more than {QUESTION_LIMIT:,} characters")
    asked = [each for part in _PART.finditer(kept(question)) for each in _asked(*part.groups())]
    if not asked:
        raise QuestionError("there is no word to look for in reports; give some letters or digits")
    if len(asked) > ASKED_LIMIT:
        raise QuestionError(f"more than {ASKED_LIMIT} words are looked for at once")
    return tuple(dict.fromkeys(asked))


def _asked(quoted: str | None, written: str | None) -> Iterator[Asked]:
    text = quoted if written is None else written
    words = [each.word for each in tokens(text or "")]
    if not words:
        return
    begins, ends = (written or "").startswith("*"), (written or "").endswith("*")
    if written is None or len(words) > 1 or (begins and ends):
        yield from _in_order(words, begins=begins, ends=ends)
    elif ends:
        yield Asked((_WORD + words[0],), is_prefix=True)
    elif begins:
        yield Asked((_BACKWARDS + _stem("german", words[0])[::-1],), is_prefix=True)
    else:
        yield Asked((_GERMAN + _stem("german", words[0]), _ENGLISH + _stem("english", words[0])))


def _in_order(words: list[str], *, begins: bool, ends: bool) -> Iterator[Asked]:
    """A run of words; those that are whole are looked up in the index first."""
    yield from (Asked((_WORD + word,)) for word in words[begins : len(words) - ends])
    yield Asked(run=("" if begins else " ") + " ".join(words) + ("" if ends else " "))


def runs(question: tuple[Asked, ...]) -> list[str]:
    """What has to stand in the folded text, beside the terms of the index."""
    return [each.run for each in question if each.run]


def sqlite_match(question: tuple[Asked, ...]) -> str:
    """The terms of a question for FTS5; empty where it asks for none."""
    return " AND ".join(
        "(" + " OR ".join(f'"{term}"{"*" if each.is_prefix else ""}' for term in each.terms) + ")"
        for each in question
        if each.terms
    )


def postgresql_match(question: tuple[Asked, ...]) -> str:
    """The terms of a question as a tsquery; empty where it asks for none."""
    return " & ".join(
        "(" + " | ".join(f"'{term}'{':*' if each.is_prefix else ''}" for term in each.terms) + ")"
        for each in question
        if each.terms
    )


# --- hits ------------------------------------------------------------------------------------------------


def hits(text: str, question: tuple[Asked, ...], *, near: int | None = None) -> Iterator[tuple[int, int]]:
    """Where the words that are asked for stand in a text: start and end of each.

    Parameters
    ----------
    near
        Characters after the first hit in which others are looked for; in the whole text when left out.
    """
    there = list(tokens(text))
    covered = _covered(there, runs(question))
    of_terms = [each for each in question if each.terms and (each.is_prefix or each.terms[0][0] != _WORD)]
    last = len(text)
    for number, token in enumerate(there):
        if token.start > last:
            return
        if number in covered or any(each.is_in(_terms_of(token.word)) for each in of_terms):
            yield token.start, token.end
            last = last if near is None else min(last, token.end + near)


def _covered(there: list[Token], wanted: list[str]) -> set[int]:
    """Numbers of the tokens in which runs stand."""
    text = "".join([" ", *(f"{each.word} " for each in there)]) if wanted else ""
    starts = list(accumulate((len(each.word) + 1 for each in there), initial=1))
    covered: set[int] = set()
    for run in wanted:
        at = text.find(run)
        while at >= 0:
            first, last = at + run.startswith(" "), at + len(run) - run.endswith(" ") - 1
            covered |= set(range(bisect_right(starts, first) - 1, bisect_right(starts, last)))
            at = text.find(run, at + 1)
    return covered


def snippet(text: str, question: tuple[Asked, ...], *, mark: tuple[str, str] = ("«", "»")) -> str:
    """Return the surroundings of the first hit, hits marked; the beginning where there is none."""
    found = list(hits(text, question, near=_SNIPPET))
    first = found[0] if found else (0, 0)
    start, end = max(first[0] - _SNIPPET, 0), min(first[1] + _SNIPPET, len(text))
    parts, at = ["…" if start else ""], start
    for hit_start, hit_end in found:
        if hit_start >= at and hit_end <= end:
            parts += [text[at:hit_start], mark[0], text[hit_start:hit_end], mark[1]]
            at = hit_end
    parts += [text[at:end], "…" if end < len(text) else ""]
    return " ".join("".join(parts).split())
