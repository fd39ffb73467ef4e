"""The gap report of a harvest as a person sees it: a line, a table, JSON for machines."""

from collections.abc import Sequence
from typing import Any

from catalog.records import as_dict
from workbench.harvest.gaps import Gap
from workbench.harvest.state import State
from workbench.reports import counted, line
from workbench.tables import Table

COLUMNS = {
    "item": "asked for", "row": "row", "modality": "modality", "expected": "expected", "received": "received",
    "hashed": "hashed", "indexed": "indexed", "ingested": "ingested", "missing": "missing",
    "reason": "reason", "note": "note", "series_instance_uid": "series instance uid",
}  # fmt: skip
ONLY_SOMETIMES = ("row", "note", "ingested")
"""Columns that are shown where a row has something in them."""


class GapReport(Table[Gap]):
    """What was expected of a harvest, and what came of it; what is amiss stands first."""

    def __init__(self, name: str, state: State, found: Sequence[Gap]) -> None:
        self.name = name
        self._state = state
        shown = {
            field: heading
            for field, heading in COLUMNS.items()
            if field not in ONLY_SOMETIMES or any(getattr(each, field) for each in found)
        }
        super().__init__(tuple(found), shown, noun="rows", note=self._counts(found))

    @property
    def amiss(self) -> tuple[Gap, ...]:
        """Rows that something is amiss with."""
        return tuple(each for each in self if each.reason)

    @property
    def is_complete(self) -> bool:
        """Whether all that was expected is here."""
        return (
            bool(self._state.plan and (self._state.plan.items or self._state.plan.refused)) and not self.amiss
        )

    def as_json(self) -> dict[str, Any]:
        """The report as `workbench harvest --json` prints it."""
        rows = [as_dict(each) for each in self]
        return {"harvest": self.name, "complete": self.is_complete, "rows": rows}

    def line(self) -> str:
        """One line: how many series were expected, and what came of them."""
        series = sum(bool(each.series_instance_uid) for each in self)
        return line("harvest", series, "series", self._counts(self.records))

    def _counts(self, found: Sequence[Gap]) -> str:
        plan = self._state.plan
        items = plan.items if plan else ()
        asked = sum(each.key in self._state.answers for each in items)
        series = [each for each in found if each.series_instance_uid]
        whole = sum(not each.reason for each in series)
        missing = sum(each.missing or 0 for each in series)
        without = sum(bool(each.reason) for each in found) - (len(series) - whole)
        parts = (
            f"{asked:,} of {len(items):,} asked for",
            f"{whole:,} of {len(series):,} series complete",
            counted((missing, "instances missing")),
            f"{without:,} without a series" if without else "",
        )
        return " · ".join(filter(None, parts))
