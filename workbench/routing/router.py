"""Carries rules out for what was received: looks up what they ask, has them decide, writes what they say.

One round asks the rules about what came and is settled, records which series are stable, and asks the
rules that wait for that. It is one transaction after another, each of which may be done again: a kill between
any two of them leaves nothing undone and nothing twice.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import batched
from pathlib import Path

from catalog import receptions, routings, series_events
from catalog.database import Catalog
from catalog.deliveries import Origin
from catalog.errors import InvalidObjectError
from catalog.locks import shared
from catalog.outbox import Item
from catalog.receptions import Reception, Sender, Standing
from catalog.routings import Effect, Outcome
from catalog.series_events import SeriesEvent
from catalog.stability import Stable, Watched, judge
from workbench.routing.identity import MISSING, Deidentifier
from workbench.routing.notices import write_notice
from workbench.routing.rules import Action, Received, Rule, Step, Table, When, decide

type Wants = Callable[[Step, tuple[str, str, str]], bool]
"""Whether a step is to be done now, with SOP Instance UID, digest of the file, and destination."""

BATCH = 200
"""Objects in one transaction: those who note what comes wait for it."""
_FORWARDED = "forwarded as it was received; nobody judged it"


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of a bench."""

    received: Path
    """What rules are asked about."""
    outbox: Path
    notices: Path
    """What folders of notices are relative to."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did."""

    asked: int = 0
    """Objects that rules were asked about."""
    effects: tuple[Effect, ...] = ()
    events: tuple[SeriesEvent, ...] = ()
    """Series that were found stable."""


@dataclass(slots=True)
class Router:
    """Asks rules about what was received; one at a time for a bench.

    Parameters
    ----------
    now
        The clock on the wall, with its time zone.
    monotonic
        Seconds of a clock that only runs forward, for series that become stable.
    """

    catalog: Catalog
    table: Table
    places: Places
    deidentifier: Deidentifier | None
    quiet_seconds: float
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    _watched: dict[str, Watched] = field(default_factory=dict)

    def round(self) -> Round:
        """Do what is due.

        Raises
        ------
        catalog.errors.CatalogError, OSError
            If it cannot be done now; what was done is on record, and the next round goes on.
        """
        asked, effects = self._received()
        events = self._watch()
        for event in series_events.due(self.catalog, self.places.received):
            effects += self._stable(event)
        return Round(asked, tuple(effects), tuple(events))

    def again(self) -> list[Effect]:
        """Ask once more about what was refused: whatever was missing may be there now."""
        effects: list[Effect] = []
        last = 0
        while batch := routings.refused(self.catalog, limit=BATCH, after=last):
            last = batch[-1].number
            wants = _of({(each.sop_instance_uid, each.digest, each.node) for each in batch})
            uids = dict.fromkeys(each.sop_instance_uid for each in batch)
            came = [found for uid in uids for found in receptions.received(self.catalog, uid)]
            with shared(self.places.outbox):
                made = self._effects(came, wants)
                effects += routings.record(self.catalog, made, self.now())
        return effects

    def _received(self) -> tuple[int, list[Effect]]:
        """Ask about what came and is settled."""
        asked, effects = 0, list[Effect]()
        while batch := receptions.due(self.catalog, self.places.received, limit=BATCH):
            with shared(self.places.outbox):  # until its row is there, what was made is no leftover
                made = self._effects(batch, lambda step, _: step.when is When.RECEIVED)
                numbers = [each.number for each in batch]
                effects += routings.record(self.catalog, made, self.now(), numbers=numbers)
            asked += len(batch)
        return asked, effects

    def _watch(self) -> list[SeriesEvent]:
        """Record which series are stable."""
        events, watched = [], {}
        for each in series_events.open_series(self.catalog, self.places.received):
            uid = each.series_instance_uid
            said = judge(each, self._watched.get(uid), self.monotonic(), self.quiet_seconds)
            if isinstance(said, Stable):
                events.append(series_events.record(self.catalog, uid, each.last, said.rule, self.now()))
            else:
                watched[uid] = said
        self._watched = watched
        return events

    def _stable(self, event: SeriesEvent) -> list[Effect]:
        """Ask the rules that wait for stable series about one."""
        came = receptions.of_event(self.catalog, event.number)
        effects: list[Effect] = []
        with shared(self.places.outbox):
            for batch in batched(came, BATCH):
                made = self._effects(batch, lambda step, _: step.when is When.STABLE, event)
                effects += routings.record(self.catalog, made, self.now())
        routings.record(self.catalog, (), self.now(), event=event.number)
        return effects

    # --- one batch ---------------------------------------------------------------------------------------

    def _effects(
        self, batch: Sequence[Reception], wants: Wants, event: SeriesEvent | None = None
    ) -> list[Effect]:
        """What rules do about objects, of which only some is wanted now."""
        readable = [each for each in batch if each.sop_instance_uid]
        uids = list(dict.fromkeys(each.sop_instance_uid for each in readable))
        if not uids or not self.table.rules:
            return []
        there = receptions.standing(self.catalog, self.places.received, uids)
        asked = self.facts(readable)
        done = routings.done(self.catalog, uids)
        effects: list[Effect] = []
        for each in readable:
            file = there.get((each.sop_instance_uid, each.digest))
            if file is None:  # in conflict, in quarantine or deleted: nobody can say that it is meant
                continue
            for step in decide(self.table.rules, asked[each.number]):
                key = (file.sop_instance_uid, file.digest, step.to)
                if wants(step, key) and key not in done:
                    effect = self._effect(step, each, file, event)
                    effects.append(effect)
                    if step.action is not Action.NOTIFY:
                        done.add(key)
        return effects

    def facts(self, batch: Sequence[Reception]) -> dict[int, Received]:
        """Look up what rules ask about objects, by the number of the reception."""
        uids = list(dict.fromkeys(each.sop_instance_uid for each in batch))
        past = receptions.past(self.catalog, uids)
        true_of = {rule.name: receptions.true_of(self.catalog, rule.where, uids) for rule in self._asking}
        return {
            each.number: Received(
                each.sender.node,
                each.sender.calling_ae_title,
                each.sender.called_ae_title,
                each.at.astimezone(),
                frozenset(name for name, found in true_of.items() if each.sop_instance_uid in found),
                self._were(past[each.sop_instance_uid].senders),
                past[each.sop_instance_uid].made_here,
            )
            for each in batch
        }

    @property
    def _asking(self) -> list[Rule]:
        return [rule for rule in self.table.rules if rule.where]

    def _were(self, senders: Iterable[Sender]) -> frozenset[str]:
        found = (self.table.were(each.node, each.calling_ae_title) for each in senders)
        return frozenset().union(*found)

    def _effect(self, step: Step, reception: Reception, file: Standing, event: SeriesEvent | None) -> Effect:
        def effect(outcome: Outcome, words: str = "", item: Item | None = None, node: str = "") -> Effect:
            return Effect(step.rule, file.sop_instance_uid, file.digest, node, outcome, words, item)

        match step.action:
            case Action.STORE:
                return effect(Outcome.STORED)
            case Action.HOLD:
                return effect(Outcome.HELD, step.words, node=step.to)
            case Action.NOTIFY:
                self._notify(step, reception, file, event)
                return effect(Outcome.NOTIFIED)
            case Action.FORWARD:
                return effect(Outcome.QUEUED, _FORWARDED, _as_it_is(file, step.to), step.to)
            case Action.DEIDENTIFY:
                if self.deidentifier is None:
                    return effect(Outcome.REFUSED, MISSING, node=step.to)
                try:
                    item = self.deidentifier.item(file, step.to, self.places.outbox)
                except InvalidObjectError as error:
                    return effect(Outcome.REFUSED, str(error), node=step.to)
                return effect(Outcome.QUEUED, item.validated, item, step.to)

    def _notify(self, step: Step, reception: Reception, file: Standing, event: SeriesEvent | None) -> None:
        folder = self.places.notices / Path(step.to).expanduser()
        details: dict[str, str | int] = {
            "study_instance_uid": file.study_instance_uid,
            "series_instance_uid": file.series_instance_uid,
        }
        if event is not None:
            details |= {"instances": event.instances, "why": event.rule, "at": event.at.isoformat()}
            write_notice(folder, When.STABLE, event.number, step.rule, details)
            return
        details |= {"sop_instance_uid": file.sop_instance_uid, "sop_class_uid": file.sop_class_uid}
        details |= {"node": reception.sender.node, "at": reception.at.isoformat(), "path": file.path}
        write_notice(folder, When.RECEIVED, reception.number, step.rule, details)


def _of(keys: Collection[tuple[str, str, str]]) -> Wants:
    return lambda _step, key: key in keys


def _as_it_is(file: Standing, node: str) -> Item:
    """What was received never changes where it lies: it is queued without a copy."""
    return Item(
        Path(file.path),
        node,
        file.sop_instance_uid,
        file.sop_class_uid,
        file.digest,
        _FORWARDED,
        file.study_instance_uid,
        file.series_instance_uid,
        origin=Origin.RECEIVED,
    )
