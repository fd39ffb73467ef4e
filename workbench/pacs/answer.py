"""What one answer of a C-FIND says, as values of columns; its texts in the character set they are in."""

from collections.abc import Iterable, Sequence

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from catalog.attributes import Attribute, Kind
from catalog.records import Value
from catalog.values import IN_CHARACTER_SET, character_set, decoded

_CHARACTER_SET = 0x00080005
_PADDING = " \0"
_UTF_8 = ("utf8",)

type Encodings = tuple[str, ...]
"""Python's names, as `catalog.values.character_set` gives them; empty where an answer names none."""


def values(answer: Dataset, attributes: Iterable[Attribute], around: Encodings = ()) -> dict[str, Value]:
    """What an answer says of attributes, by column; what it does not say, or cannot be read, is not there.

    Parameters
    ----------
    around
        Of an item, the character set of the answer it is in.
    """
    encodings = encodings_of(answer) or around
    found = {each.column: _value(answer, each, encodings) for each in attributes}
    return {name: value for name, value in found.items() if value is not None}


def encodings_of(answer: Dataset) -> Encodings:
    """The character set that an answer names; empty where it names none."""
    try:
        said = answer.get(_CHARACTER_SET)
        terms = said.value if said is not None else None
    except Exception:  # whatever pydicom stumbles over in the bytes of a peer names none
        return ()
    if not terms:
        return ()
    text = "\\".join(map(str, terms)) if isinstance(terms, MultiValue | list) else str(terms)
    return character_set(text.encode("ascii", "replace"), lambda _words: None)


def _value(answer: Dataset, attribute: Attribute, encodings: Encodings) -> Value:
    try:
        text = _text(answer, attribute, encodings)
    except Exception:  # as above
        return None
    if not text:
        return None
    match attribute.kind:
        case Kind.INTEGER:
            return _number(text, int)
        case Kind.REAL:
            return _number(text, float)
        case Kind.TEXT | Kind.NUMBERS:
            return text


def _text(answer: Dataset, attribute: Attribute, encodings: Encodings) -> str:
    """The text of an element, its values joined by backslashes as in a file."""
    element = answer.get_item(Tag(attribute.tag))
    if element is None:
        return ""
    vr = (element.VR or "").encode()
    if vr in (b"", b"UN"):
        vr = attribute.vr.encode()
    if vr in IN_CHARACTER_SET and isinstance(element, RawDataElement):
        return _stripped(in_words(element.value or b"", encodings).split("\\"))
    value = answer[Tag(attribute.tag)].value
    several = list(map(str, value)) if isinstance(value, MultiValue | list) else [str(value or "")]
    if vr in IN_CHARACTER_SET and not encodings:  # pydicom took its bytes for those of Latin-1
        several = [in_words(each.encode("latin_1", "replace"), ()) for each in several]
    return _stripped(several)


def in_words(value: bytes, encodings: Sequence[str]) -> str:
    """A text in the character set that is named; in none, UTF-8 where it is that, as many nodes forget it."""
    if encodings:
        return decoded(value, encodings)[0]
    text, is_clean = decoded(value, _UTF_8)
    return text if is_clean else value.decode("latin_1")


def _stripped(several: Iterable[str]) -> str:
    texts = [each.strip(_PADDING) for each in several]
    return "\\".join(texts) if any(texts) else ""


def _number[Number: (int, float)](text: str, kind: type[Number]) -> Number | None:
    try:
        return kind(text.partition("\\")[0])
    except ValueError:
        return None
