r"""The `where` expression: a small language over the attributes the catalog keeps, compiled to bound SQL.

    Modality in ('CT', 'PT') and SliceThickness <= 1.5 and not (ImageType ~ 'LOCALIZER' or StudyDate is empty)

Names are keywords or column names, or tags, private ones too: `0018,9087 > 800`. What the catalog keeps in
no column is looked for in the whole header, in its sequences as well, and so are numbers of an instance, as
those of a frame stand in sequences; one value that is as asked is enough, also of a column that has several:
`PixelSpacing < 0.7`, `ImageType == 'ORIGINAL'`, and in one text `ImageType == 'ORIGINAL\PRIMARY'`. A path
tells sequences apart: `ContrastBolusAgentSequence.CodeMeaning ~ 'gado'`.

What files of one series say differently of their patient, study and series is asked of each file, and one
that is as asked is enough: `SequenceName == 'ep_b1000'`; where a file says nothing, their rows answer for it.

Of a header the first 500 characters of a text are searched, 10,000 values of an element, and 16 levels of
sequences; pixel data, overlays, curves, icons, contours, original attributes and binary values are not
(`catalog.content`).

`==`, `=`, `!=`, `<`, `<=`, `>`, `>=` compare; `~` and `!~` ask whether a text contains another, without
regard to case; `in (…)` and `not in (…)` ask for one of several; `is empty` and `is present` need no value.
Texts stand in single or double quotes, doubled inside. An absent value equals nothing and contains nothing:
`==`, `<`, `~`, `in` are false of it, `!=`, `!~`, `not in` are true. Dates are written 20260131; ages 045Y,
and compared as texts: `PatientAge > '045Y'` is right of those that are given in years.

`finding` is no attribute but what is wrong with the series (`catalog.vocabulary`): `finding == 'tilt'` asks
for a kind, `finding ~ 'mm apart'` looks into kinds and words, `finding != 'missing_slices'` is true of series
that have none. Slices are counted when a series is ingested: before, neither that nor its contrary is true,
and so it is with every kind that the index does not tell, with `is empty` and with words. `finding ==
'unchecked'` is true of those series, not of reports, plans and the like, which have no array.

Nor are `source`, `collection`, `analysis_result`, `license` and `doi`: what a source elsewhere says of a
series (`catalog.remotes`).

`report` is what the documents of a study say: `report ~ 'Metastase'` is true of series whose study has a
valid report with these words, in any form (`catalog.words`); `report is present` where there is a report.
"""

import operator
from collections.abc import Callable, Collection, Mapping
from functools import cache, lru_cache, partial
from itertools import accumulate
from typing import Any

import sqlalchemy as sa
from lark import Lark, Token, Transformer, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from catalog.attributes import Attribute, Kind, Level
from catalog.errors import QuestionError
from catalog.keys import AreFew, Compare, attribute_of, has_value, is_of_file_meta, key_of, may_have_value
from catalog.matching import (
    Condition,
    attribute_named,
    casefold,
    column_of,
    date_text_of,
    has_text,
    holds,
    is_storable,
    is_there,
    number_of,
    text_of,
)
from catalog.mentions import is_reported
from catalog.models import arrays, findings, instances, remotes, series
from catalog.multiplicity import any_number, any_text, is_number
from catalog.saying import as_said, is_odd, odd_series
from catalog.spans import reaching, spanned
from catalog.texts import INDEXED, Candidates, containing, either, every
from catalog.vocabulary import AT_INDEX, UNCHECKED, kind_named

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


def compile_where(
    expression: str, *, has_file: bool = True, varied: Collection[str] = frozenset()
) -> Condition:
    """Return the condition on the tables of the four levels that an expression stands for.

    Parameters
    ----------
    has_file
        Whether it is asked of an instance with its file; else of a series of which no file is known. What
        only a file could tell is neither true nor false then, and neither is its contrary.
    varied
        Columns of patient, study and series, for which it is asked of an instance what its file says, as
        `catalog.saying.varied` tells; of the others, and without a file, the rows say it.

    Raises
    ------
    QuestionError
        If it cannot be understood; says what and where.
    """
    if len(expression) > LENGTH_LIMIT:
        raise QuestionError(f"the where expression is longer than {LENGTH_LIMIT} characters")
    try:
        compiler = _Compiler(varied) if has_file else _Elsewhere()
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


def narrowed(
    expression: str, are_few: AreFew = lambda _listed: True, *, varied: Collection[str] = frozenset()
) -> Condition:
    """Return what is true of every series that an expression is true of, told without its instances.

    Of a series without a file, too. It is true of others as well, of all where nothing narrows them down: a
    condition on the tables above the instances, which an index can answer.

    Parameters
    ----------
    are_few
        Asked of each index whether it tells of few; the condition is true of the same in either case.
    varied
        As for `compile_where`.
    """
    condition: Condition = _OfSeries(are_few, varied).transform(_tree(expression))
    return condition


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
    """Turns the tree into SQL, from the leaves up; every condition is true or false, but for `finding`."""

    def __init__(self, varied: Collection[str] = frozenset()) -> None:
        super().__init__()
        self._varied = varied

    def _said(
        self, attribute: Attribute, is_so: Callable[[sa.ColumnElement[Any] | None], Condition]
    ) -> Condition:
        """Ask the column of an attribute, or what a file says of it, where some say something else."""
        return as_said(attribute, is_so) if attribute.column in self._varied else is_so(None)

    def NAME(self, name: Token) -> Token:
        """Refuse a name under which no header has anything."""
        if is_of_file_meta(key_of(str(name)) or ""):
            raise _at(
                name, f"{name} is file meta information, which is not searched; {_INSTEAD_OF_FILE_META}"
            )
        return name

    PATH = NAME

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
        if attribute.kind is Kind.NUMBERS and comparison not in ("==", "=") and value.type != "NUMBER":
            raise _at(value, f"{name} holds numbers and is ordered by one, without quotes")
        compare = _COMPARE[str(comparison)]
        return self._said(attribute, lambda column: _present(attribute, name, value, compare, column))

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
        condition = self._said(attribute, lambda column: _present(attribute, name, value, _contains, column))
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
            return _once_checked(_finding(sa.true()))
        if attribute is REPORT:
            return is_reported(None)
        if attribute in BESIDE.values():
            return _elsewhere(attribute, _is_anything)
        return self._said(
            attribute,
            lambda column: _or_of_a_frame(attribute, is_there(attribute, column), _is_anything),
        )


class _Elsewhere(_Compiler):
    """The same for a series without a file: SQL's own unknown stands for what a file would tell."""

    def comparison(self, children: list[Token]) -> Condition:
        condition = super().comparison(children)
        name, comparison, value = children
        if comparison != "!=" and key_of(str(name)) is None and _attribute(name) is FINDING:
            return sa.true() if _text(value) == UNCHECKED else _UNKNOWN
        return condition if comparison == "!=" or _is_told(name) else _UNKNOWN

    def contains(self, children: list[Token]) -> Condition:
        condition = super().contains(children)
        return condition if _is_told(children[0]) else _UNKNOWN

    def is_present(self, children: list[Token]) -> Condition:
        return super().is_present(children) if _is_told(children[0]) else _UNKNOWN


class _OfSeries(_Compiler):
    """The same of a series without a look at its instances: what they alone could tell is taken for true."""

    def __init__(self, are_few: AreFew, varied: Collection[str]) -> None:
        super().__init__()
        self._rows, self._are_few, self._may_say = _Compiler(), are_few, varied
        self._may_have = partial(may_have_value, are_few)

    def _or_odd(self, name: Token, of_rows: Condition) -> Condition:
        """What is true of the rows of a series, or may be of what one of its files says instead."""
        names = [_attribute(name).column]
        if names[0] not in self._may_say:
            return of_rows
        listed = sa.union_all(*odd_series(names))
        is_listed = series.c.id.in_(listed) if self._are_few(listed) else is_odd(series.c.id, names)
        return sa.or_(of_rows, is_listed)

    def negation(self, children: list[Any]) -> Condition:
        condition: Condition = children[-1]
        return condition if len(children) % 2 else _MAYBE

    def comparison(self, children: list[Token]) -> Condition:
        name, comparison, value = children
        if _is_told(name):
            return self._or_odd(name, self._rows.comparison(children))
        if comparison == "!=":
            return _MAYBE
        path, compare = key_of(str(name)), _COMPARE[str(comparison)]
        if path is not None:
            return _in_header(path, value, compare, self._may_have)
        attribute = _attribute(name)
        if attribute.kind not in (Kind.INTEGER, Kind.REAL):
            return _MAYBE
        number = number_of(attribute, str(value))
        column = reaching(attribute, compare, number)
        return self._may_have(f"{attribute.tag:08X}", lambda each: compare(each, float(value)), None, column)

    def contains(self, children: list[Token]) -> Condition:
        name, comparison, value = children
        if _is_told(name):
            return self._or_odd(name, self._rows.contains(children))
        path, text = key_of(str(name)), _text(value)
        if path is None or comparison == "!~":
            return _MAYBE
        return self._may_have(path, None, partial(_contains, text=text)) if is_storable(text) else sa.false()

    def none_of(self, children: list[Any]) -> Condition:
        name = children[0]
        return self._or_odd(name, self._rows.none_of(children)) if _is_told(name) else _MAYBE

    def is_empty(self, children: list[Token]) -> Condition:
        name = children[0]
        return self._or_odd(name, self._rows.is_empty(children)) if _is_told(name) else _MAYBE

    def is_present(self, children: list[Token]) -> Condition:
        if _is_told(children[0]):
            return self._or_odd(children[0], self._rows.is_present(children))
        path = key_of(str(children[0]))
        if path is not None:
            return self._may_have(path, _is_anything, _is_anything)
        attribute = _attribute(children[0])
        if attribute.kind not in (Kind.INTEGER, Kind.REAL):
            return _MAYBE
        return self._may_have(f"{attribute.tag:08X}", _is_anything, None, spanned(attribute))


_MAYBE: Condition = sa.true()


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
        return containing(text_of(attribute, text))


_UNKNOWN: Condition = sa.literal_column("NULL", sa.Boolean())


def _is_told(name: Token) -> bool:
    """Whether a series without a file has what a name stands for."""
    if key_of(str(name)) is not None:
        return False
    attribute = _attribute(name)
    return attribute is not FINDING and attribute.level is not Level.INSTANCE


def _contains(column: sa.ColumnElement[str], text: str) -> Condition:
    return holds(casefold(column), text)


def _is_anything(column: sa.ColumnElement[Any]) -> Condition:
    return column.is_not(None)


type _Has = Callable[[str, Compare | None, Compare | None], Condition]


def _in_header(
    path: str, value: Token, compare: Callable[[Any, Any], Any], has: _Has = has_value
) -> Condition:
    """A comparison with any value under a key; numbers with numbers, texts with texts."""
    if value.type == "NUMBER":
        number = float(value)
        return has(path, lambda column: compare(column, number), None)
    text = _text(value)
    return has(path, None, lambda column: compare(column, text)) if is_storable(text) else sa.false()


def _text(value: Token) -> str:
    """What stands in quotes, or a number as it is written."""
    text = str(value)
    return text[1:-1].replace(text[0] * 2, text[0]) if value.type == "STRING" else text


_INSTEAD_OF_FILE_META = "ask for TransferSyntaxUID, SOPClassUID or SOPInstanceUID"
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


def _is_checked() -> Condition:
    """Whether the series of an instance was ingested, or has nothing that could become an array."""
    has_array = sa.select(sa.literal(1)).where(arrays.c.series == instances.c.series)
    was_ingested = sa.or_(has_array.correlate(instances).exists(), _finding(findings.c.origin == "ingest"))
    beside = instances.alias()
    is_of_arrays = sa.or_(beside.c.rows.is_not(None), beside.c.sop_class_uid.startswith(_WAVEFORMS))
    of_arrays = sa.select(sa.literal(1)).where(beside.c.series == instances.c.series, is_of_arrays)
    return sa.or_(was_ingested, sa.not_(of_arrays.correlate(instances).exists()))


_WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9."
"""What the SOP classes begin with that become arrays without rows and columns (PS3.4 table B.5-1)."""


def _once_checked(is_so: Condition) -> Condition:
    """What is found at ingest: true where it was found, false where it was looked for, else unknown."""
    return sa.or_(is_so, sa.and_(sa.not_(_is_checked()), _UNKNOWN))


def _finding_of(value: Token, text: str, compare: Callable[[Any, Any], Any]) -> Condition:
    if compare is _contains:
        is_so = _finding(sa.or_(_contains(findings.c.kind, text), _contains(findings.c.words, text)))
        return _once_checked(is_so)
    if text == UNCHECKED:
        return sa.not_(_is_checked())
    try:
        is_so = _finding(findings.c.kind == kind_named(text))
    except QuestionError as error:
        raise _at(value, f"{error}, or {UNCHECKED!r}") from None
    return is_so if text in AT_INDEX else _once_checked(is_so)


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
    attribute: Attribute,
    name: Token,
    value: Token,
    compare: Callable[[Any, Any], Any],
    column: sa.ColumnElement[Any] | None,
) -> Condition:
    """A comparison that is false where the attribute is absent; of its own column, where none is given."""
    text = _text(value)
    if attribute.kind in (Kind.INTEGER, Kind.REAL) and value.type != "NUMBER":
        raise _at(value, f"{name} is a number and is compared with one, without quotes")
    if attribute.kind is not Kind.TEXT and compare is not _contains and is_number(text):
        return _present_number(attribute, text, compare, column)
    if not is_storable(text):
        return sa.false()
    if attribute in _ASKED:
        return _ASKED[attribute](value, text, compare)
    if attribute in BESIDE.values():
        return _elsewhere(attribute, lambda column: compare(column, text_of(attribute, text)))
    asked = _comparable(attribute, value, text, compare)
    column = column_of(attribute) if column is None else column
    if not attribute.many or compare is _contains:
        is_so = sa.and_(is_there(attribute, column), compare(column, asked))
    elif compare is operator.eq:
        is_so = sa.and_(is_there(attribute, column), has_text(column, asked)) if asked else sa.false()
    else:
        is_so = any_text(column, lambda each: compare(each, asked))
    if attribute.kind is not Kind.TEXT:
        return is_so
    return _or_of_a_frame(attribute, is_so, lambda each: compare(each, asked))


def _present_number(
    attribute: Attribute,
    text: str,
    compare: Callable[[Any, Any], Any],
    column: sa.ColumnElement[Any] | None,
) -> Condition:
    column = column_of(attribute) if column is None else column
    number = number_of(attribute, text)
    if attribute.kind is Kind.NUMBERS:
        is_so = any_number(column, lambda each: compare(each, number))
    else:
        is_so = sa.and_(is_there(attribute, column), compare(column, number))
    return _or_of_a_frame(attribute, is_so, lambda each: compare(each, float(text)))


_TEXTS_OF_FRAMES = frozenset({"RescaleType"})
"""Texts of an instance that an enhanced object has in its functional groups, as it has numbers."""


def _or_of_a_frame(attribute: Attribute, of_instance: Condition, is_so: Compare) -> Condition:
    """What is true of an instance by its column, or by what a sequence says of its frames."""
    is_text = attribute.kind is Kind.TEXT
    if attribute.level is not Level.INSTANCE or (is_text and attribute.keyword not in _TEXTS_OF_FRAMES):
        return of_instance
    asked = (None, is_so) if is_text else (is_so, None)
    return sa.or_(of_instance, has_value(f"{attribute.tag:08X}", *asked))


def _comparable(attribute: Attribute, value: Token, text: str, compare: Callable[[Any, Any], Any]) -> str:
    if compare is _contains:
        return text_of(attribute, text)
    try:
        return date_text_of(attribute, text, is_bound=compare not in (operator.eq, operator.ne))
    except QuestionError as error:
        raise _at(value, str(error)) from None


def _at(token: Token, words: str) -> QuestionError:
    return QuestionError(f"{words} (column {token.column} of the where expression)")
