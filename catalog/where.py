"""The `where` expression: a small language over the attributes the catalog keeps, compiled to bound SQL.

    Modality in ('CT', 'PT') and SliceThickness <= 1.5 and not (ImageType ~ 'LOCALIZER' or StudyDate is empty)

Names are keywords or column names, or tags, private ones too: `0018,9087 > 800`. What the catalog keeps in
no column is looked for in the whole header, in its sequences as well, and so are numbers of an instance, as
those of a frame stand in sequences; one value that is as asked is enough. A path tells sequences apart:
`ContrastBolusAgentSequence.CodeMeaning ~ 'gado'`.

`==`, `=`, `!=`, `<`, `<=`, `>`, `>=` compare; `~` and `!~` ask whether a text contains another, without
regard to case; `in (…)` and `not in (…)` ask for one of several; `is empty` and `is present` need no value.
Texts stand in single or double quotes, doubled inside. An absent value equals nothing and contains nothing:
`==`, `<`, `~`, `in` are false of it, `!=`, `!~`, `not in` are true.

`finding` is no attribute but what is wrong with the series (`catalog.vocabulary`): `finding == 'tilt'` asks
for a kind, `finding ~ 'mm apart'` looks into kinds and words, `finding != 'missing_slices'` is true of series
that have none.

Nor are `source`, `collection`, `analysis_result`, `license` and `doi`: what a source elsewhere says of a
series (`catalog.remotes`).

`report` is what the documents of a study say: `report ~ 'Metastase'` is true of series whose study has a
valid report with these words, in any form (`catalog.words`); `report is present` where there is a report.
"""

import operator
from collections.abc import Callable, Mapping
from functools import cache, lru_cache, partial
from itertools import accumulate
from typing import Any

import sqlalchemy as sa
from lark import Lark, Token, Transformer, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from catalog.attributes import Attribute, Kind, Level
from catalog.errors import QuestionError
from catalog.keys import attribute_of, has_value, key_of
from catalog.matching import (
    Condition,
    attribute_named,
    casefold,
    column_of,
    date_text_of,
    is_storable,
    number_of,
    text_of,
)
from catalog.mentions import is_reported
from catalog.models import findings, instances, remotes, series
from catalog.texts import INDEXED, Candidates, containing, either, every
from catalog.vocabulary import kind_named

LENGTH_LIMIT = 10_000
"""Characters of an expression."""
COMPARISON_LIMIT = 200
"""Values it compares with."""
NESTING_LIMIT = 10
"""Parentheses inside one another; the parser of SQLite has a stack of 100, of which each takes some."""

_GRAMMAR = (
    r"""
?start: disjunction
?disjunction: conjunction ("or"i conjunction)*
?conjunction: negation ("and"i negation)*
?negation: NOT+ primary -> negation
    | primary
?primary: "(" disjunction ")"
    | name COMPARISON value -> comparison
    | name CONTAINS value -> contains
    | name "in"i values -> one_of
    | name NOT "in"i values -> none_of
    | name "is"i "empty"i -> is_empty
    | name "is"i "present"i -> is_present
?name: NAME | PATH
values: "(" value ("," value)* ")"
?value: STRING | NUMBER
NOT: "not"i
COMPARISON: "==" | "=" | "!=" | "<=" | ">=" | "<" | ">"
CONTAINS: "~" | "!~"
PATH.2: /((WORD|TAG)\.)*TAG|((WORD|TAG)\.)+WORD/i
NAME: /WORD/i
NUMBER: /[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?/i
STRING: /'([^']|'')*'/ | /"([^"]|"")*"/
%import common.WS
%ignore WS
""".replace("TAG", r"(\(HEX,HEX\)|HEX,HEX)")
    .replace("HEX", "[0-9a-f]{4}")
    .replace("WORD", "[a-z_][a-z0-9_]*")
)
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EXPECTED = {
    "NAME": "an attribute",
    "COMPARISON": "a comparison such as == or <=",
    "STRING": "a text in quotes",
    "NUMBER": "a number",
    "RPAR": "a closing parenthesis",
    "$END": "the end",
}


def compile_where(expression: str, *, has_file: bool = True) -> Condition:
    """Return the condition on the tables of the four levels that an expression stands for.

    Parameters
    ----------
    has_file
        Whether it is asked of an instance with its file; else of a series of which no file is known. What
        only a file could tell is neither true nor false then, and neither is its contrary.

    Raises
    ------
    QuestionError
        If it cannot be understood; says what and where.
    """
    if len(expression) > LENGTH_LIMIT:
        raise QuestionError(f"the where expression is longer than {LENGTH_LIMIT} characters")
    try:
        compiler = _Compiler() if has_file else _Elsewhere()
        condition: Condition = compiler.transform(_tree(expression))
    except UnexpectedInput as error:
        raise QuestionError(_words(expression, error)) from None
    except VisitError as error:
        raise error.orig_exc from None
    return condition


def candidates_of(expression: str) -> Candidates | None:
    """Return which series an expression may be true of, as an index tells; `None` where none does."""
    found: Candidates | None = _Narrowing().transform(_tree(expression))
    return found


def names_in(expression: str) -> set[str]:
    """Return the columns and the keys of the header that an expression names; raises as `compile_where`."""
    compile_where(expression)
    return {
        key_of(str(name)) or _attribute(name).column for name in _tokens(_tree(expression), "NAME", "PATH")
    }


@lru_cache(64)
def _tree(expression: str) -> Tree[Token]:
    depths = accumulate({"LPAR": 1, "RPAR": -1}.get(each.type, 0) for each in _parser().lex(expression))
    if max(depths, default=0) > NESTING_LIMIT:
        raise QuestionError(f"the where expression nests more than {NESTING_LIMIT} parentheses")
    tree = _parser().parse(expression)
    if len(_tokens(tree, "STRING", "NUMBER")) > COMPARISON_LIMIT:
        raise QuestionError(f"the where expression compares more than {COMPARISON_LIMIT} values")
    return tree


def _tokens(tree: Tree[Token], *types: str) -> list[Token]:
    return [each for each in tree.scan_values(lambda each: isinstance(each, Token)) if each.type in types]


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="contextual")


def _words(expression: str, error: UnexpectedInput) -> str:
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        found, at = f"{str(error.token)[:32]!r}", error.column
    elif isinstance(error, UnexpectedCharacters):
        found, at = f"{expression[error.pos_in_stream or 0]!r}", error.column
    else:
        found, at = "the end", len(expression) + 1
    expected = getattr(error, "expected", None) or getattr(error, "allowed", None) or ()
    names = [words for name, words in _EXPECTED.items() if name in expected]
    wanted = f", where {' or '.join(names)} should be" if names else ""
    hint = "; texts stand in quotes" if "STRING" in expected and isinstance(error, UnexpectedToken) else ""
    return f"the where expression has {found} at column {at}{wanted}{hint}"


class _Compiler(Transformer[Token, Condition]):
    """Turns the tree into SQL, from the leaves up; every condition is true or false, never unknown."""

    def disjunction(self, conditions: list[Condition]) -> Condition:
        return sa.or_(*conditions)

    def conjunction(self, conditions: list[Condition]) -> Condition:
        return sa.and_(*conditions)

    def negation(self, children: list[Any]) -> Condition:
        condition: Condition = children[-1]
        negations = children[:-1]
        return sa.not_(condition) if len(negations) % 2 else condition

    def values(self, values: list[Any]) -> list[Any]:
        return values

    def comparison(self, children: list[Token]) -> Condition:
        name, comparison, value = children
        if comparison == "!=":
            return sa.not_(self.comparison([name, Token("COMPARISON", "=="), value]))
        if (path := key_of(str(name))) is not None:
            return _in_header(path, value, _COMPARE[str(comparison)])
        attribute = _attribute(name)
        if attribute is REPORT:
            raise _at(name, "what reports say is asked with ~ or !~")
        if attribute is FINDING and comparison not in ("==", "="):
            raise _at(name, "findings have no order")
        if attribute.kind is Kind.NUMBERS and comparison not in ("==", "="):
            raise _at(name, f"{name} holds several numbers, which have no order")
        return _present(attribute, name, value, _COMPARE[str(comparison)])

    def contains(self, children: list[Token]) -> Condition:
        name, comparison, value = children
        if (path := key_of(str(name))) is not None:
            text = _text(value)
            found = has_value(path, None, partial(_contains, text=text))
            condition = found if is_storable(text) else sa.false()
            return sa.not_(condition) if comparison == "!~" else condition
        attribute = _attribute(name)
        if attribute.kind in (Kind.INTEGER, Kind.REAL):
            raise _at(name, f"{name} is a number and contains no text")
        condition = _present(attribute, name, value, _contains)
        return sa.not_(condition) if comparison == "!~" else condition

    def one_of(self, children: list[Any]) -> Condition:
        name, values = children
        return sa.or_(*(self.comparison([name, Token("COMPARISON", "=="), value]) for value in values))

    def none_of(self, children: list[Any]) -> Condition:
        name, _, values = children
        return sa.not_(self.one_of([name, values]))

    def is_empty(self, children: list[Token]) -> Condition:
        return sa.not_(self.is_present(children))

    def is_present(self, children: list[Token]) -> Condition:
        if (path := key_of(str(children[0]))) is not None:
            return has_value(path, _is_anything, _is_anything)
        attribute = _attribute(children[0])
        if attribute is FINDING:
            return _finding(sa.true())
        if attribute is REPORT:
            return is_reported(None)
        if attribute in BESIDE.values():
            return _elsewhere(attribute, _is_anything)
        is_there = column_of(attribute).is_not(None)
        if attribute.level is Level.INSTANCE and attribute.kind in (Kind.INTEGER, Kind.REAL):
            return sa.or_(is_there, has_value(f"{attribute.tag:08X}", _is_anything, None))
        return is_there


class _Elsewhere(_Compiler):
    """The same for a series without a file: SQL's own unknown stands for what a file would tell."""

    def comparison(self, children: list[Token]) -> Condition:
        condition = super().comparison(children)
        return condition if _is_told(children[0]) else _UNKNOWN

    def contains(self, children: list[Token]) -> Condition:
        condition = super().contains(children)
        return condition if _is_told(children[0]) else _UNKNOWN

    def is_present(self, children: list[Token]) -> Condition:
        return super().is_present(children) if _is_told(children[0]) else _UNKNOWN


class _Narrowing(Transformer[Token, Candidates | None]):
    """What an index knows of an expression: of texts that contain others, of nothing else."""

    def __default__(self, data: Any, children: Any, meta: Any) -> None:
        return None

    def disjunction(self, parts: list[Candidates | None]) -> Candidates | None:
        return either(parts)

    def conjunction(self, parts: list[Candidates | None]) -> Candidates | None:
        return every(parts)

    def contains(self, children: list[Token]) -> Candidates | None:
        name, comparison, value = children
        if comparison == "!~" or key_of(str(name)) is not None:
            return None
        attribute, text = _attribute(name), _text(value)
        if attribute.column not in INDEXED or not is_storable(text):
            return None
        return containing(text_of(attribute, text).casefold())


_UNKNOWN: Condition = sa.literal_column("NULL", sa.Boolean())


def _is_told(name: Token) -> bool:
    """Whether a series without a file has what a name stands for."""
    if key_of(str(name)) is not None:
        return False
    attribute = _attribute(name)
    return attribute is not FINDING and attribute.level is not Level.INSTANCE


def _contains(column: sa.ColumnElement[str], text: str) -> Condition:
    return casefold(column).contains(text.casefold(), autoescape=True)


def _is_anything(column: sa.ColumnElement[Any]) -> Condition:
    return column.is_not(None)


def _in_header(path: str, value: Token, compare: Callable[[Any, Any], Any]) -> Condition:
    """A comparison with any value under a key; numbers with numbers, texts with texts."""
    if value.type == "NUMBER":
        number = float(value)
        return has_value(path, lambda column: compare(column, number), None)
    text = _text(value)
    return has_value(path, None, lambda column: compare(column, text)) if is_storable(text) else sa.false()


def _text(value: Token) -> str:
    """What stands in quotes, or a number as it is written."""
    text = str(value)
    return text[1:-1].replace(text[0] * 2, text[0]) if value.type == "STRING" else text


FINDING = Attribute("finding", 0, "LO", Level.SERIES, Kind.TEXT)
"""Stands for what is wrong with a series, which has a table of its own."""
REPORT = Attribute("report", 0, "UT", Level.STUDY, Kind.TEXT)
"""Stands for what the documents of a study say."""
_OWN = {each.column: each for each in (FINDING, REPORT)}


BESIDE = {
    name: Attribute(name, 0, "LO", Level.SERIES, Kind.TEXT)
    for name in ("source", "collection", "analysis_result", "license", "doi")
}
"""What a source elsewhere says of a series beside its attributes, in a table of its own."""


def _elsewhere(attribute: Attribute, condition: Callable[[sa.ColumnElement[str]], Condition]) -> Condition:
    """Whether something holds for what a source elsewhere says of a series."""
    said = remotes.alias()
    return series.c.id.in_(sa.select(said.c.series).where(condition(said.c[attribute.column])))


def _finding(condition: Condition) -> Condition:
    """Whether the series of an instance has a finding for which something holds."""
    of_series = sa.select(sa.literal(1)).where(findings.c.series == instances.c.series, condition)
    return of_series.correlate(instances).exists()


def _finding_of(value: Token, text: str, compare: Callable[[Any, Any], Any]) -> Condition:
    if compare is _contains:
        return _finding(sa.or_(_contains(findings.c.kind, text), _contains(findings.c.words, text)))
    try:
        return _finding(findings.c.kind == kind_named(text))
    except QuestionError as error:
        raise _at(value, str(error)) from None


def _reported(value: Token, text: str, _compare: Callable[[Any, Any], Any]) -> Condition:
    try:
        return is_reported(text)
    except QuestionError as error:
        raise _at(value, str(error)) from None


_ASKED = {FINDING: _finding_of, REPORT: _reported}


def _attribute(name: Token) -> Attribute:
    if name.casefold() in _OWN:
        return _OWN[name.casefold()]
    if name.casefold() in BESIDE:
        return BESIDE[name.casefold()]
    try:
        return attribute_named(attribute_of(str(name)))
    except QuestionError as error:
        raise _at(name, str(error)) from None


def _present(
    attribute: Attribute, name: Token, value: Token, compare: Callable[[Any, Any], Any]
) -> Condition:
    """A comparison that is false where the attribute is absent."""
    if attribute.kind in (Kind.INTEGER, Kind.REAL):
        if value.type != "NUMBER":
            raise _at(value, f"{name} is a number and is compared with one, without quotes")
        column = column_of(attribute)
        is_so = sa.and_(column.is_not(None), compare(column, number_of(attribute, str(value))))
        if attribute.level is not Level.INSTANCE:
            return is_so
        return sa.or_(is_so, _in_header(f"{attribute.tag:08X}", value, compare))  # of a frame, in a sequence
    text = _text(value)
    if not is_storable(text):
        return sa.false()
    if attribute in _ASKED:
        return _ASKED[attribute](value, text, compare)
    if attribute in BESIDE.values():
        return _elsewhere(attribute, lambda column: compare(column, text_of(attribute, text)))
    column = column_of(attribute)
    return sa.and_(column.is_not(None), compare(column, _comparable(attribute, value, text, compare)))


def _comparable(attribute: Attribute, value: Token, text: str, compare: Callable[[Any, Any], Any]) -> str:
    if compare is _contains:
        return text_of(attribute, text)
    try:
        return date_text_of(attribute, text, is_bound=compare not in (operator.eq, operator.ne))
    except QuestionError as error:
        raise _at(value, str(error)) from None


def _at(token: Token, words: str) -> QuestionError:
    return QuestionError(f"{words} (column {token.column} of the where expression)")
