"""Corrections to look at and to undo: who put what right, why, and what it was before."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from catalog.corrections import Author, CorrectionRecord
from workbench.person import os_user
from workbench.tables import Table

COLUMNS = {
    "number": "no.", "kind": "correction", "subject": "of", "before": "before", "after": "after",
    "who": "who", "why": "why", "at": "when", "undoes": "undoes", "active": "holds",
}  # fmt: skip


@dataclass(frozen=True)
class Correction(CorrectionRecord):
    """One correction, which can be undone."""

    @classmethod
    def of(cls, record: CorrectionRecord, undo: "Callable[[int, str], Correction]") -> Self:
        """The same, with who undoes it."""
        made = cls(**{each.name: getattr(record, each.name) for each in fields(CorrectionRecord)})
        object.__setattr__(made, "_undo", undo)  # no value of it: it is in no table
        return made

    def undo(self, *, why: str) -> "Correction":
        """Undo it; that is a correction, too, and can be undone.

        Raises
        ------
        catalog.errors.CorrectionError
            If it was undone already, or a later one builds upon it.
        """
        undone: Correction = self._undo(self.number, why)  # type: ignore[attr-defined]
        return undone


class Corrections(Table[Correction]):
    """The log of a catalog, in order."""

    def __init__(self, found: list[Correction]) -> None:
        super().__init__(found, COLUMNS, noun="corrections")

    def as_json(self) -> list[dict[str, Any]]:
        """The log as `workbench corrections --json` prints it."""
        from catalog.records import as_dict

        return [as_dict(each) for each in self]


def author(why: str, now: datetime) -> Author:
    """The user of the operating system, who corrects now."""
    return Author(os_user(), why, now)
