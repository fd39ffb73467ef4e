"""Tables of what is received: rules and what they did, events of series, who sent what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.quarantine import Quarantined
from catalog.receptions import Reception
from catalog.records import as_dict
from catalog.routings import Routing
from catalog.series_events import SeriesEvent
from workbench.routing.rules import Explanation, Rule
from workbench.tables import Table

_MADE = ("queued", "held", "refused", "stored", "notified")


@dataclass(frozen=True, slots=True)
class RuleAtWork:
    """One rule, and how often it did what."""

    name: str
    when: str
    asks: str
    does: str
    queued: int
    held: int
    refused: int
    stored: int
    notified: int


class RouteTable(Table[RuleAtWork]):
    """One row a rule, in their order."""

    def __init__(self, rules: Sequence[Rule], counts: Mapping[tuple[str, str], int]) -> None:
        rows = [
            RuleAtWork(
                rule.name,
                str(rule.when),
                rule.asks,
                rule.does,
                **{each: counts.get((rule.name, each), 0) for each in _MADE},
            )
            for rule in rules
        ]
        refused = sum(each.refused for each in rows)
        note = "no rules yet: what is received is kept; add tables [[routes]] to workbench.toml"
        if rows:
            note = f"{refused:,} refused: see bench.routings()" if refused else ""
        columns = {"name": "rule", "when": "when", "asks": "asks", "does": "does"}
        super().__init__(rows, columns | {each: each for each in _MADE}, noun="rules", note=note)

    def as_json(self) -> list[dict[str, Any]]:
        """The rows for machines."""
        return [as_dict(each) for each in self]


class Did(Table[Routing]):
    """One row an instance and destination: what a rule did, the last first."""

    def __init__(self, found: Sequence[Routing]) -> None:
        columns = {"at": "at", "rule": "rule", "sop_instance_uid": "sop instance uid", "node": "node"}
        super().__init__(found, columns | {"outcome": "outcome", "words": "words"}, noun="routings")

    def as_json(self) -> list[dict[str, Any]]:
        """The rows for machines."""
        return [as_dict(each) for each in self]

    def _row(self, record: Routing) -> Mapping[str, Any]:
        return {**as_dict(record), "at": f"{record.at.astimezone():%Y-%m-%d %H:%M:%S}"}


class Explained(Table[Explanation]):
    """One row a rule: whether it fits an object, and why."""

    def __init__(self, found: Sequence[Explanation]) -> None:
        super().__init__(found, {"rule": "rule", "fits": "fits", "why": "why"}, noun="rules")

    def as_json(self) -> list[dict[str, Any]]:
        """The rows for machines."""
        return [as_dict(each) for each in self]


class Events(Table[SeriesEvent]):
    """One row an event, the last first."""

    def __init__(self, found: Sequence[SeriesEvent], *, note: str = "") -> None:
        columns = {"number": "number", "at": "at", "series_instance_uid": "series instance uid"}
        columns |= {"instances": "instances", "rule": "rule", "is_open": "more came since"}
        super().__init__(found, columns, noun="events", note=note)

    def as_json(self) -> list[dict[str, Any]]:
        """The rows for machines."""
        return [as_dict(each) for each in self]

    def _row(self, record: SeriesEvent) -> Mapping[str, Any]:
        at = f"{record.at.astimezone():%Y-%m-%d %H:%M:%S}"
        return {**as_dict(record), "at": at, "is_open": "yes" if record.is_open else ""}


class Receptions(Table[Reception]):
    """One row a time an instance came, the first first."""

    def __init__(self, found: Sequence[Reception]) -> None:
        columns = {
            "at": "at",
            "node": "node",
            "calling_ae_title": "calling",
            "state": "state",
            "path": "path",
        }
        super().__init__(found, columns, noun="receptions")

    def as_json(self) -> list[dict[str, Any]]:
        """The rows for machines."""
        return [as_dict(each) for each in self]

    def _row(self, record: Reception) -> Mapping[str, Any]:
        at = f"{record.at.astimezone():%Y-%m-%d %H:%M:%S}"
        return {**as_dict(record), **as_dict(record.sender), "at": at}


class Quarantine(Table[Quarantined]):
    """One row an object that was refused and kept, the last first."""

    def __init__(self, found: Sequence[Quarantined], *, note: str = "") -> None:
        columns = {"at": "at", "sender": "from", "sop_class": "class", "reason": "reason", "path": "path"}
        super().__init__(found, columns, noun="objects", note=note)

    def as_json(self) -> list[dict[str, Any]]:
        """The rows for machines."""
        return [as_dict(each) for each in self]

    def _row(self, record: Quarantined) -> Mapping[str, Any]:
        from pydicom.uid import UID

        at = f"{record.at.astimezone():%Y-%m-%d %H:%M:%S}" if record.at else ""
        sender = record.node or record.calling_ae_title
        return {**as_dict(record), "at": at, "sender": sender, "sop_class": UID(record.sop_class_uid).name}
