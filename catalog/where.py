"""The `where` expression: a small language over the attributes the catalog keeps, compiled to bound SQL.

    Modality in ('CT', 'PT') and SliceThickness <= 1.5 and not (ImageType ~ 'LOCALIZER' or StudyDate is empty)

Names are keywords or column names. `==`, `=`, `!=`, `<`, `<=`, `>`, `>=` compare; `~` and `!~` ask whether a
text contains another, without regard to case; `in (…)` and `not in (…)` ask for one of several; `is
empty` and `is present` need no value. Texts stand in single or double quotes, doubled inside. An absent value
equals nothing and contains nothing: `==`, `<`, `~`, `in` are false of it, `!=`, `!~`, `not in` are true.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

import sqlalchemy as sa
from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from catalog.attributes import Attribute, Kind
from catalog.errors import QuestionError
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

LENGTH_LIMIT = 10_000
"""Characters of an expression."""
COMPARISON_LIMIT = 200
"""Values it compares with."""
NESTING_LIMIT = 12
"""Parentheses inside one another; the parser of SQLite has a stack of 100, of which each takes some."""

_GRAMMAR = r"""
?start: disjunction
?disjunction: conjunction ("or"i conjunction)*
?conjunction: negation ("and"i negation)*
?negation: NOT+ primary -> negation
    | primary
?primary: "(" disjunction ")"
    | NAME COMPARISON value -> comparison
    | NAME CONTAINS value -> contains
    | NAME "in"i values -> one_of
    | NAME NOT "in"i values -> none_of
    | NAME "is"i "empty"i -> is_empty
    | NAME "is"i "present"i -> is_present
values: "(" value ("," value)* ")"
?value: STRING | NUMBER
NOT: "not"i
COMPARISON: "==" | "=" | "!=" | "<=" | ">=" | "<" | ">"
CONTAINS: "~" | "!~"
NAME: /[a-z_][a-z0-9_]*/i
NUMBER: /[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?/i
STRING: /'([^']|'')*'/ | /"([^"]|"")*"/
%import common.WS
%ignore WS
"""
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


def compile_where(expression: str) -> Condition:
    """Return the condition on the tables of the four levels that an expression stands for.

    Raises
    ------
    QuestionError
        If it cannot be understood; says what and where.
    """
    if len(expression) > LENGTH_LIMIT:
        raise QuestionError(f"the where expression is longer than {LENGTH_LIMIT} characters")
    try:
        _check_size([token.type for token in _parser().lex(expression)])
        condition: Condition = _Compiler().transform(_parser().parse(expression))
    except UnexpectedInput as error:
        raise QuestionError(_words(expression, error)) from None
    except VisitError as error:
        raise error.orig_exc from None
    return condition


def attributes_in(expression: str) -> set[str]:
    """Return the columns an expression names; raises as `compile_where`."""
    compile_where(expression)
    return {_attribute(token).column for token in _parser().lex(expression) if token.type == "NAME"}


def _check_size(tokens: Sequence[str]) -> None:
    depths = accumulate({"LPAR": 1, "RPAR": -1}.get(token, 0) for token in tokens)
    if max(depths, default=0) > NESTING_LIMIT:
        raise QuestionError(f"the where expression nests more than {NESTING_LIMIT} parentheses")
    if tokens.count("STRING") + tokens.count("NUMBER") > COMPARISON_LIMIT:
        raise QuestionError(f"the where expression compares more than {COMPARISON_LIMIT} values")


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="basic")


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
        attribute = _attribute(name)
        if attribute.kind is Kind.NUMBERS and comparison not in ("==", "="):
            raise _at(name, f"{name} holds several numbers, which have no order")
        return _present(attribute, name, value, _COMPARE[str(comparison)])

    def contains(self, children: list[Token]) -> Condition:
        name, comparison, value = children
        attribute = _attribute(name)
        if attribute.kind in (Kind.INTEGER, Kind.REAL):
            raise _at(name, f"{name} is a number and contains no text")
        condition = _present(attribute, name, value, _contains)
        return sa.not_(condition) if comparison == "!~" else condition

    def one_of(self, children: list[Any]) -> Condition:
        name, values = children
        return sa.or_(*(_present(_attribute(name), name, value, operator.eq) for value in values))

    def none_of(self, children: list[Any]) -> Condition:
        name, _, values = children
        return sa.not_(self.one_of([name, values]))

    def is_empty(self, children: list[Token]) -> Condition:
        return column_of(_attribute(children[0])).is_(None)

    def is_present(self, children: list[Token]) -> Condition:
        return column_of(_attribute(children[0])).is_not(None)


def _contains(column: sa.ColumnElement[str], text: str) -> Condition:
    return casefold(column).contains(text.casefold(), autoescape=True)


def _attribute(name: Token) -> Attribute:
    try:
        return attribute_named(str(name))
    except QuestionError as error:
        raise _at(name, str(error)) from None


def _present(
    attribute: Attribute, name: Token, value: Token, compare: Callable[[Any, Any], Any]
) -> Condition:
    """A comparison that is false where the attribute is absent."""
    column = column_of(attribute)
    if attribute.kind in (Kind.INTEGER, Kind.REAL):
        if value.type != "NUMBER":
            raise _at(value, f"{name} is a number and is compared with one, without quotes")
        return sa.and_(column.is_not(None), compare(column, number_of(attribute, str(value))))
    text = str(value)
    if value.type == "STRING":
        text = text[1:-1].replace(text[0] * 2, text[0])
    if not is_storable(text):
        return sa.false()
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
