"""Data sets that `catalog.guard` walked, for it to compare others with before it walks them; no I/O."""

from collections.abc import Mapping
from typing import NamedTuple

from catalog.elements import PIXEL_DATA, Elements, Form
from catalog.encoding import OPENINGS, Encoding
from catalog.window import Window

FORM_LIMIT = 256 << 10
"""The longest data set before its pixel data that others are compared with."""
_FORMS = 32
"""How many others a data set is compared with."""


class Element(NamedTuple):
    """One element as its bytes stand in the file."""

    vr: bytes
    """Empty where the encoding does not write it."""
    value: bytes | None
    """`None` where it is longer than `VALUE_LIMIT` or of undefined length."""


class Known(NamedTuple):
    """A data set that was walked to its pixel data, and its wanted elements."""

    form: Form
    elements: Mapping[int, Element]


class Forms:
    """Data sets that were walked, the last few, for `scan` of others with the same tags wanted.

    Where every byte is the same but those of values, the walk would take the same steps, and is not taken.
    """

    def __init__(self) -> None:
        self._known: list[Known] = []

    def find(self, window: Window, encoding: Encoding) -> tuple[Known, Elements] | None:
        """Return one of the same form as what begins in the window, and the elements that differ."""
        if self._known:
            window.advance(0, self._known[-1].form.length + 12)
        data, opening = window.data, OPENINGS[encoding]
        for known in reversed(self._known):
            form = known.form
            if (
                form.encoding == encoding
                and form.length + 12 <= len(data)
                and opening(data, form.length)[0] in PIXEL_DATA
                and (changed := form.differing(data[: form.length])) is not None
            ):
                self._known.remove(known)
                self._known.append(known)
                return known, changed
        return None

    def add(self, form: Form, elements: Mapping[int, Element]) -> None:
        """Keep one more, and let go of the one that was not found for the longest time."""
        self._known.append(Known(form, elements))
        del self._known[:-_FORMS]
