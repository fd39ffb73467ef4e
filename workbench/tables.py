"""Tables to look at: HTML without script in a notebook, aligned text elsewhere, a DataFrame on request."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

from markupsafe import Markup

from catalog.identifiers import is_uid
from catalog.records import as_dict

if TYPE_CHECKING:
    import pandas as pd

SHOWN_ROWS = 20
"""How many rows a table shows before it says how many more there are."""
TEXT_CHARACTERS = 64
"""How many characters a cell shows on a terminal; a UID, valid or not, has no more."""
HTML_CHARACTERS = 160
"""How many characters a cell shows in a notebook."""

_CELL = "padding:2px 10px 2px 0;text-align:{align};white-space:nowrap"
_FOOTER = Markup('<div style="opacity:0.7;margin-top:4px">{}</div>')
_TABLE = Markup("<div><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>{}</div>")


class Table[R](Sequence[R]):
    """A sequence of records that shows itself as a table.

    Parameters
    ----------
    records
        Frozen dataclasses or mappings; of a list as it is now.
    columns
        Field name to the heading it is shown under; the others come with `to_pandas`.
    noun
        What a record is, in the plural: "14 series".
    note
        What a reader should know below the table, for example what was filtered away.
    """

    def __init__(
        self, records: Sequence[R], columns: Mapping[str, str], *, noun: str, note: str = ""
    ) -> None:
        self.records = tuple(records) if isinstance(records, list) else records
        self.columns = dict(columns)
        self.noun = noun
        self.note = note

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> "Table[R]": ...
    def __getitem__(self, index: int | slice) -> "R | Table[R]":
        if isinstance(index, slice):
            return Table(self.records[index], self.columns, noun=self.noun)
        return self.records[index]

    def __iter__(self) -> Iterator[R]:
        return iter(self.records)

    def __repr__(self) -> str:
        return self._as_text(SHOWN_ROWS)

    def _repr_html_(self) -> str:
        return html_table(
            list(self.columns.values()), self._shown(SHOWN_ROWS), footer=self._footer(SHOWN_ROWS)
        )

    def as_text(self) -> str:
        """Every row, for a terminal or a pipe."""
        return self._as_text(len(self.records))

    def to_pandas(self) -> "pd.DataFrame":
        """One row a record, every field a column."""
        import pandas as pd

        return pd.DataFrame([_fields(record) for record in self.records])

    def _as_text(self, rows: int) -> str:
        if not self.records:
            return self._footer(rows)
        return text_table(list(self.columns.values()), self._shown(rows), footer=self._footer(rows))

    def _shown(self, rows: int) -> list[list[Any]]:
        shown = islice(self.records, rows)
        return [[row.get(column) for column in self.columns] for row in map(self._row, shown)]

    def _row(self, record: R) -> Mapping[str, Any]:
        return _fields(record)

    def _footer(self, rows: int) -> str:
        count = f"{len(self.records):,} {unit_of(len(self.records), self.noun)}"
        hidden = len(self.records) - rows
        parts = [count, f"{hidden:,} not shown" if hidden > 0 else "", self.note]
        return " · ".join(part for part in parts if part)


_SINGULAR = {
    "arrays": "array", "cohorts": "cohort", "differences": "difference", "documents": "document",
    "corrections": "correction",
    "experiments": "experiment",
    "files": "file",
    "findings": "finding", "frames": "frame",
    "instances without one": "instance without one",
    "measurements": "measurement", "mismatches": "mismatch", "objects": "object", "outputs": "output",
    "instances": "instance", "patients": "patient", "steps": "step", "studies": "study",
    "priors": "prior", "rows": "row",
    "receipts": "receipt", "regions": "region", "reports": "report", "values": "value",
    "things to look at": "thing to look at", "visits missing": "visit missing",
}  # fmt: skip


def unit_of(count: int, plural: str) -> str:
    """Return the word for what is counted: `1 array`, `2 arrays`, `1 series`."""
    return _SINGULAR.get(plural, plural) if count == 1 else plural


def plain(text: str) -> str:
    """One line, with Python's escapes for what a terminal would obey or cannot show."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _fields(record: Any) -> dict[str, Any]:
    return dict(record) if isinstance(record, Mapping) else as_dict(record)


def _text(value: Any, characters: int = TEXT_CHARACTERS) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, tuple | list):
        return " × ".join(map(str, value))
    text = " ".join(str(value).split())  # line breaks end here, and so do control characters below
    text = "".join(each for each in text if each.isprintable())
    if len(text) <= characters or is_uid(text):  # a UID is there to be copied
        return text
    if text.startswith("/"):  # the end of a path says more than its beginning
        return "…" + text[1 - characters :]
    return text[: characters - 1] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text_table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, footer: str = "") -> str:
    """Aligned text, numbers to the right."""
    cells = [[_text(value) for value in row] for row in rows]
    widths = [max([len(heading), *(len(row[at]) for row in cells)]) for at, heading in enumerate(headings)]
    right = _numeric_columns(len(headings), rows)

    def line(row: Sequence[str]) -> str:
        placed = [
            each.rjust(width) if to_right else each.ljust(width)
            for each, width, to_right in zip(row, widths, right, strict=True)
        ]
        return "  ".join(placed).rstrip()

    lines = [line(headings), line(["─" * width for width in widths]), *(line(row) for row in cells)]
    return "\n".join([*lines, footer] if footer else lines)


def html_table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, footer: str = "") -> str:
    """A table without script or class names, every text escaped; colours come from the notebook's theme."""
    below = _FOOTER.format(footer) if footer else Markup("")
    if not rows:
        return str(below)
    right = _numeric_columns(len(headings), rows)
    styles = [_CELL.format(align="right" if to_right else "left") for to_right in right]
    head = Markup("").join(
        Markup('<th style="{}">{}</th>').format(style, heading)
        for style, heading in zip(styles, headings, strict=True)
    )
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                Markup('<td style="{}">{}</td>').format(style, _text(value, HTML_CHARACTERS))
                for style, value in zip(styles, row, strict=True)
            )
        )
        for row in rows
    )
    return str(_TABLE.format(head, body, below))


def _numeric_columns(count: int, rows: Sequence[Sequence[Any]]) -> list[bool]:
    return [{_is_number(row[at]) for row in rows if row[at] is not None} == {True} for at in range(count)]
