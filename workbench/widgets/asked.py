"""What a browser is asked for, as a question to the catalog: words, an expression, ticked values."""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from catalog.errors import QuestionError
from catalog.facets import SOURCE, STUDY_YEAR
from catalog.listing import ORDERS, PATIENT_ORDER
from catalog.records import Question
from workbench.question import question

LIST, GALLERY = "list", "gallery"
VIEWS = (LIST, GALLERY)
FACETS = {
    "modality": "Modality",
    "body_part_examined": "BodyPartExamined",
    STUDY_YEAR: "StudyDate",
    SOURCE: "source",
}
"""What can be ticked, with the name that it has in an expression."""

_WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+')


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for, and how it is shown; `from_page` takes what a page says."""

    text: str = ""
    """As a person types: `liver`, `Modality=CT`, `"two words"`."""
    where: str = ""
    """An expression of `catalog.where`."""
    chosen: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    """Facet to the values that are ticked; `None` for those without a value."""
    order: str = PATIENT_ORDER
    is_descending: bool = False
    view: str = LIST

    @property
    def is_grouped(self) -> bool:
        """Whether series stand below their studies and patients."""
        return self.view == LIST and self.order == PATIENT_ORDER

    def question(self, *, without: str = "") -> Question:
        """Return it as a question, of which one facet may be left out: its other values are counted so."""
        ticked = [
            _is_one_of(name, values) for name, values in self.chosen.items() if values and name != without
        ]
        parts = [*([f"({self.where})"] if self.where.strip() and ticked else []), *ticked]
        where = " and ".join(parts) if parts else self.where.strip() or None
        return Question(*question(_words(self.text), where))

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"chosen": {name: list(values) for name, values in self.chosen.items()}}

    def changed(self, **changes: Any) -> "Asked":
        """Return it with some things asked otherwise; raises as `from_page`."""
        return Asked.from_page(replace(self, **changes).as_json())

    @classmethod
    def from_page(cls, said: Mapping[str, Any]) -> "Asked":
        """Take what a page says.

        Raises
        ------
        QuestionError
            If there is no such facet, order or view, or a value is of another kind.
        """
        given = {each.name: said[each.name] for each in fields(cls) if each.name in said}
        for name, kind in (("text", str), ("where", str), ("chosen", Mapping), ("is_descending", bool)):
            if name in given and not isinstance(given[name], kind):
                raise QuestionError(f"{name} of a browser is no {type(given[name]).__name__}")
        chosen = {
            _one_of(name, FACETS, "facet"): tuple(None if each is None else str(each) for each in values)
            for name, values in given.get("chosen", {}).items()
        }
        asked = cls(**given | {"chosen": {name: values for name, values in chosen.items() if values}})
        _one_of(asked.order, ORDERS, "order")
        _one_of(asked.view, VIEWS, "view")
        return asked


def _one_of(name: str, known: Collection[str], what: str) -> str:
    if name not in known:
        raise QuestionError(f"there is no {what} {name!r:.40}; there are {', '.join(known)}")
    return name


def _words(text: str) -> list[str]:
    """Words as they are typed; those in quotes are one, and so is what a quote still lacks its end of."""
    words = (each.replace('"', "") for each in _WORD.findall(text))
    return [each for each in words if each]


def _is_one_of(facet: str, values: Collection[str | None]) -> str:
    """Return an expression that is true of the series with one of some values."""
    name = FACETS[facet]
    there = [each for each in values if each is not None]
    if facet == STUDY_YEAR:
        parts = [_in_year(each) for each in there]
    else:
        parts = [f"{name} in ({', '.join(map(_quoted, there))})"] if there else []
    if None in values:
        parts.append(f"{name} is empty")
    return f"({' or '.join(parts)})" if len(parts) > 1 else parts[0]


def _in_year(year: str) -> str:
    if not re.fullmatch("[0-9]{4}", year):
        raise QuestionError(f"{year!r:.20} is no year of four digits")
    following = f" and StudyDate < '{int(year) + 1}'" if year < "9999" else ""
    return f"(StudyDate >= '{year}'{following})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
