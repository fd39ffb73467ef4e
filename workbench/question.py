"""What a person types to find series, as matching and an expression of the catalog; no I/O."""

from collections.abc import Sequence

from catalog.attributes import SEARCHED
from catalog.errors import QuestionError


def question(words: Sequence[str], where: str | None) -> tuple[str | None, dict[str, str | list[str]]]:
    """Expression and matching of words like `Modality=CT` and `liver`, and of a `where` expression.

    An attribute that is given several times matches any of the values.

    Raises
    ------
    catalog.errors.QuestionError
        If a word is no text.
    """
    for word in words:
        if not isinstance(word, str):
            raise QuestionError(
                f"series are found by words, such as 'liver' or 'Modality=CT', not {_kind(word)}"
            )
    matching: dict[str, list[str]] = {}
    for name, equals, value in (word.partition("=") for word in words):
        if equals:
            matching.setdefault(name, []).append(value)
    mentioned = [_mentions(word) for word in words if "=" not in word]
    if where and mentioned:
        where = f"({where})"
    expression = " and ".join([*mentioned, *([where] if where else [])]) or None
    return expression, {name: values[0] if len(values) == 1 else values for name, values in matching.items()}


def _kind(value: object) -> str:
    return type(value).__name__


def _mentions(word: str) -> str:
    quoted = "'" + word.replace("'", "''") + "'"
    return "(" + " or ".join(f"{keyword} ~ {quoted}" for keyword in SEARCHED) + ")"
