r"""Attribute matching of the query/retrieve services (PS3.4 section C.2.2.2), as SQL with bound values only.

| kind      | written                                            | for                                |
| --------- | -------------------------------------------------- | ---------------------------------- |
| universal | `None`, an empty text, `*`                         | every attribute                    |
| list      | a list or set; a text `1.2\1.3`                     | every attribute; UIDs              |
| range     | a tuple `(low, high)`; a text `low-high`           | ordered attributes; DA, TM and DT  |
| wildcard  | a text with `*` and `?`                            | texts that are no date, time, UID  |
| single    | anything else                                      | every attribute                    |

A person's name is compared without regard to case, all else with it. A single value and a range match any of
several values of an attribute, numbers as numbers; a wildcard sees them as one text with backslashes between,
and a text with backslashes finds the values of which it consists one after the other: `0.8\0.7`.
"""

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from catalog.attributes import ATTRIBUTES, TRANSFER_SYNTAX_UID, Attribute, Kind, Level
from catalog.errors import QuestionError
from catalog.models import instances, patients, series, studies
from catalog.multiplicity import any_number, any_text, is_number

type Condition = sa.ColumnElement[bool]
type Compare = Callable[[sa.ColumnElement[Any]], Condition]
"""Whether a value is as it was asked for."""

TABLES = {
    Level.PATIENT: patients,
    Level.STUDY: studies,
    Level.SERIES: series,
    Level.INSTANCE: instances,
}
TEXT_LIMIT = 10_000
"""The longest text a question may compare with."""
LIST_LIMIT = 30_000
"""How many exact values a list may have."""
PATTERN_LIMIT = 200
"""How many wildcards, ranges, names and other values that are not simply equal."""

_BY_NAME: Mapping[str, Attribute] = {
    name: each for each in (*ATTRIBUTES, TRANSFER_SYNTAX_UID) for name in (each.keyword, each.column)
}
_EMPTY_WITHOUT_VALUE = frozenset({"patient_id", "issuer_of_patient_id"})
_ORDERED_TEXTS = frozenset({"DA", "TM", "DT"})
_NO_WILDCARDS = _ORDERED_TEXTS | {"UI"}
_DATE_TIME = r"\d{4,14}(?:\.\d{1,6})?(?:\+\d{4}|-(?:0\d|1[0-2])\d\d(?!\d))?"
_DATE = re.compile(r"\d{8}")
_DATE_BOUND = re.compile(r"\d{4}(\d\d(\d\d)?)?")
_OLD_DATE = re.compile(r"(\d{4})\.(\d\d)(?:\.(\d\d))?")
_AGE, _AGE_BOUND = re.compile(r"\d{1,3}[DWMY]"), re.compile(r"\d{3}[DWMY]")
_RANGES = {
    "DA": re.compile(r"([\d.]*)-([\d.]*)"),
    "TM": re.compile(r"([\d.:]*)-([\d.:]*)"),
    "DT": re.compile(rf"((?:{_DATE_TIME})?)-((?:{_DATE_TIME})?)"),
}


def attribute_named(name: str) -> Attribute:
    """Return an attribute by its keyword or column name.

    Raises
    ------
    QuestionError
        If the catalog keeps no such attribute; names the nearest.
    """
    if not isinstance(name, str):
        raise QuestionError(f"an attribute is named by a text, not by {type(name).__name__}")
    found = _BY_NAME.get(name)
    if found is None:
        nearest = _nearest(name)
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        raise QuestionError(f"the catalog keeps no attribute {name[:64]!r}{hint}")
    return found


def _nearest(name: str) -> list[str]:
    folded = name.casefold()
    same = [each for each in _BY_NAME if each.casefold() == folded]
    alike = [each for each in _BY_NAME if each.islower() == name.islower()]
    return same[:1] or difflib.get_close_matches(name, alike, n=3, cutoff=0.5)


def column_of(attribute: Attribute) -> sa.Column[Any]:
    """Return the column of an attribute."""
    return TABLES[attribute.level].c[attribute.column]


def is_there(attribute: Attribute, column: sa.ColumnElement[Any] | None = None) -> Condition:
    """Whether an attribute has a value, or what is given instead; two columns without NULL are empty then."""
    column = column_of(attribute) if column is None else column
    return column != "" if attribute.column in _EMPTY_WITHOUT_VALUE else column.is_not(None)


def condition(
    attribute: Attribute, value: Any, column: sa.ColumnElement[Any] | None = None
) -> Condition | None:
    """Return what a matching key demands; `None` where it matches everything.

    Parameters
    ----------
    column
        What is compared instead of the column of the attribute.

    Raises
    ------
    QuestionError
        If the value cannot be compared with the attribute.
    """
    column = column_of(attribute) if column is None else column
    for is_meant, build in _KINDS:
        if is_meant(attribute, value):
            return build(attribute, value, column)
    return _single(attribute, value, column)


def is_storable(text: str) -> bool:
    """Whether a column could hold a text: without NUL, and encodable."""
    return not re.search("[\0\ud800-\udfff]", text)


def check_count(name: str, number: object) -> None:
    """Refuse what is no whole number from 1, as a limit or a page is.

    Raises
    ------
    QuestionError
        If it is none.
    """
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < _LARGEST:
        raise QuestionError(f"{name} is a whole number from 1, not {number!r:.40}")


_LARGEST = 2**31


def text_of(attribute: Attribute, value: Any) -> str:
    """Return a value to compare a text with; numbers are taken as they are written, dates as 20260131."""
    if attribute.vr == "DA":
        value = _date_as_kept(value)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        text = str(value).strip(" ")
        if len(text) <= TEXT_LIMIT:
            return text
        raise QuestionError(
            f"{attribute.keyword} is compared with a text of more than {TEXT_LIMIT} characters"
        )
    raise QuestionError(f"{attribute.keyword} is text and cannot be compared with {type(value).__name__}")


def _date_as_kept(value: Any) -> Any:
    """A date as columns have it: `catalog.values` reads the old form, `2026.01.31`, as 20260131."""
    if isinstance(value, date):
        return value.strftime("%Y%m%d").zfill(8)
    found = _OLD_DATE.fullmatch(value.strip(" ")) if isinstance(value, str) else None
    return "".join(found.groups("")) if found else value


def date_text_of(attribute: Attribute, value: Any, *, is_bound: bool = False) -> str:
    """Return a text to compare with as `text_of`, of a date or an age one that it may be (PS3.5 section 6.2).

    Parameters
    ----------
    is_bound
        The end of a range, which may leave out the day, or month and day.
    """
    text = text_of(attribute, value)
    if attribute.vr == "AS" and not (_AGE_BOUND if is_bound else _AGE).fullmatch(text):
        raise QuestionError(
            f"{attribute.keyword} is compared with {text[:64]!r}, which is no age; ages are written "
            "like 045Y, in years (Y), months (M), weeks (W) or days (D), and compare as texts"
        )
    if attribute.vr == "DA" and not (_DATE_BOUND if is_bound else _DATE).fullmatch(text):
        raise QuestionError(
            f"{attribute.keyword} is compared with {text[:64]!r}, which is no date; dates are written "
            "20260131, ranges 20260101-20260131"
        )
    return text


def number_of(attribute: Attribute, value: Any) -> int | float:
    """Return a value to compare a number with."""
    number = math.nan
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            number = float(value)
    if math.isnan(number):
        raise QuestionError(f"{attribute.keyword} is a number and cannot be compared with something else")
    if abs(number) >= _TOO_LARGE:
        raise QuestionError(
            f"{attribute.keyword} is compared with {str(value)[:64]}, which is no number below 2^63"
        )
    return int(number) if number == int(number) else number


_TOO_LARGE = 2.0**63


class casefold(FunctionElement[str]):
    """A text without regard to case; a function of ours in SQLite, `lower` in PostgreSQL."""

    type = sa.Text()
    inherit_cache = True


@compiles(casefold, "sqlite")
def _casefold_sqlite(element: casefold, compiler: SQLCompiler, **kw: Any) -> str:
    return f"casefold({compiler.process(element.clauses, **kw)})"


@compiles(casefold)
def _casefold(element: casefold, compiler: SQLCompiler, **kw: Any) -> str:
    return f"lower({compiler.process(element.clauses, **kw)})"


def holds(folded: sa.ColumnElement[str], text: str) -> Condition:
    """Whether a folded text contains another, which the database folds as it did the first."""
    pattern = sa.literal(f"%{text.translate(_LITERAL_LIKE)}%")
    return folded.like(casefold(pattern), escape="/")


class wildcard(FunctionElement[bool]):
    """Column, pattern for GLOB, pattern for LIKE: SQLite's LIKE disregards case, PostgreSQL has no GLOB."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(wildcard, "sqlite")
def _wildcard_sqlite(element: wildcard, compiler: SQLCompiler, **kw: Any) -> str:
    column, glob, _ = element.clauses
    return f"({compiler.process(column, **kw)} GLOB {compiler.process(glob, **kw)})"


@compiles(wildcard)
def _wildcard(element: wildcard, compiler: SQLCompiler, **kw: Any) -> str:
    column, _, like = element.clauses
    return f"({compiler.process(column, **kw)} LIKE {compiler.process(like, **kw)} ESCAPE '/')"


_LIKE = str.maketrans({"%": "/%", "_": "/_", "/": "//", "*": "%", "?": "_"})
_GLOB = str.maketrans({"[": "[[]"})


def _is_universal(_attribute: Attribute, value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip() in ("", "*", "**"))


def _is_list(attribute: Attribute, value: Any) -> bool:
    return isinstance(value, list | set | frozenset) or (
        attribute.vr == "UI" and isinstance(value, str) and "\\" in value
    )


def _is_range(attribute: Attribute, value: Any) -> bool:
    if isinstance(value, tuple):
        return True
    pattern = _RANGES.get(attribute.vr)
    if pattern is None or not isinstance(value, str):
        return False
    single = attribute.vr == "DT" and re.fullmatch(_DATE_TIME, value.strip())
    return not single and pattern.fullmatch(value.strip()) is not None


def _is_wildcard(attribute: Attribute, value: Any) -> bool:
    return (
        isinstance(value, str)
        and attribute.kind is Kind.TEXT
        and attribute.vr not in _NO_WILDCARDS
        and ("*" in value or "?" in value)
    )


def _everything(_attribute: Attribute, _value: Any, _column: sa.ColumnElement[Any]) -> None:
    return None


def _any_of(attribute: Attribute, value: Any, column: sa.ColumnElement[Any]) -> Condition | None:
    each_of = value.split("\\") if isinstance(value, str) else list(value)
    if any(_is_universal(attribute, each) for each in each_of):
        return None
    exact = attribute.vr != "PN" and not attribute.many
    special = [any(is_meant(attribute, each) for is_meant, _ in _KINDS) for each in each_of]
    equal = [each for each, odd in zip(each_of, special, strict=True) if exact and not odd]
    others = [each for each, odd in zip(each_of, special, strict=True) if odd or not exact]
    if len(equal) > LIST_LIMIT or len(others) > PATTERN_LIMIT:
        raise QuestionError(f"{attribute.keyword} is asked for with too many values: {len(each_of):,}")
    conditions = [condition(attribute, each, column) for each in others]
    return sa.or_(_one_of(attribute, equal, column), *(each for each in conditions if each is not None))


def _one_of(attribute: Attribute, values: Sequence[Any], column: sa.ColumnElement[Any]) -> Condition:
    if attribute.kind in (Kind.INTEGER, Kind.REAL):
        return column.in_([number_of(attribute, each) for each in values])
    texts = [date_text_of(attribute, each) for each in values]
    return column.in_([each for each in texts if is_storable(each)])


def _between(attribute: Attribute, value: Any, column: sa.ColumnElement[Any]) -> Condition | None:
    if isinstance(value, str):
        found = _RANGES[attribute.vr].fullmatch(value.strip())
        value = found.groups() if found else ()
    if len(value) != 2:
        raise QuestionError(f"{attribute.keyword} wants a range of two ends, (low, high)")
    low, high = (None if each == "" else each for each in value)
    if low is None and high is None:
        return None
    is_within = (_within_texts if attribute.kind is Kind.TEXT else _within_numbers)(attribute, low, high)
    if attribute.many:
        return (
            any_number(column, is_within) if attribute.kind is Kind.NUMBERS else any_text(column, is_within)
        )
    if attribute.column in _EMPTY_WITHOUT_VALUE:
        return sa.and_(is_within(column), is_there(attribute, column))
    return is_within(column)


def _within_numbers(attribute: Attribute, low: Any, high: Any) -> Compare:
    least, most = (None if each is None else number_of(attribute, each) for each in (low, high))

    def is_within(number: sa.ColumnElement[Any]) -> Condition:
        bounds = [number >= least] if least is not None else []
        return sa.and_(*bounds, *([number <= most] if most is not None else []))

    return is_within


def _within_texts(attribute: Attribute, low: Any, high: Any) -> Compare:
    first, last = (
        None if each is None else date_text_of(attribute, each, is_bound=True) for each in (low, high)
    )
    if not is_storable((first or "") + (last or "")):
        return lambda _text: sa.false()

    def is_within(text: sa.ColumnElement[Any]) -> Condition:
        bounds = [text >= first] if first is not None else []
        # a bound of lower precision includes what it begins: 202601 ends with January
        return sa.and_(*bounds, *([text <= last + "~"] if last is not None else []))

    return is_within


def _wildcards(attribute: Attribute, value: Any, column: sa.ColumnElement[Any]) -> Condition | None:
    text = re.sub(r"\*+", "*", text_of(attribute, value))
    if not is_storable(text):
        return sa.false()
    parts: list[sa.ColumnElement[Any]] = [
        column,
        sa.literal(text.translate(_GLOB)),
        sa.literal(text.translate(_LIKE)),
    ]
    return wildcard(*map(casefold, parts)) if attribute.vr == "PN" else wildcard(*parts)


def _single(attribute: Attribute, value: Any, column: sa.ColumnElement[Any]) -> Condition:
    if attribute.kind is Kind.NUMBERS and is_number(value):
        number = number_of(attribute, value)
        return any_number(column, lambda each: each == number)
    if attribute.kind in (Kind.INTEGER, Kind.REAL):
        return column == number_of(attribute, value)
    text = date_text_of(attribute, value)
    if not is_storable(text):
        return sa.false()
    if attribute.vr == "PN":
        return casefold(column) == casefold(sa.literal(text))
    return has_text(column, text) if attribute.many else column == text


def has_text(column: sa.ColumnElement[Any], text: str) -> Condition:
    """Whether a column of several values is a text, or has it among them."""
    escaped = text.translate(_GLOB).replace("*", "[*]").replace("?", "[?]")
    return sa.or_(
        column == text,
        wildcard(
            sa.literal("\\") + column + sa.literal("\\"),
            sa.literal(f"*\\{escaped}\\*"),
            sa.literal("%\\" + text.translate(_LITERAL_LIKE) + "\\%"),
        ),
    )


_LITERAL_LIKE = str.maketrans({"%": "/%", "_": "/_", "/": "//"})
type _Build = Callable[[Attribute, Any, sa.ColumnElement[Any]], Condition | None]
_KINDS: tuple[tuple[Callable[[Attribute, Any], bool], _Build], ...] = (
    (_is_universal, _everything),
    (_is_list, _any_of),
    (_is_range, _between),
    (_is_wildcard, _wildcards),
)
"""The kinds in the order they are tried; what is none of them is a single value."""
