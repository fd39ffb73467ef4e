"""How far a harvest is: the events of its journal one after the other, and what is due then. No I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from workbench.harvest.answers import Answer, Expected
from workbench.harvest.plan import Item, Plan, is_over

type Event = Mapping[str, Any]
"""One line of the journal: a plan, the answer to an item, what was fetched, what is done."""


@dataclass(frozen=True, slots=True)
class State:
    """What a journal says."""

    plan: Plan | None = None
    """The last one: a new table takes the place of the old."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """The last of each item, by its key."""
    fetched: Mapping[str, int] = field(default_factory=dict)
    """Instances that were here of series when their node had given all it has of them."""
    done: Mapping[str, str] = field(default_factory=dict)
    """Series that were gone through to the end, with what went wrong; empty where nothing did."""

    @property
    def expected(self) -> dict[str, tuple[Item, Expected]]:
        """Every series that items of the plan found, once, by its UID, with the first such item."""
        found: dict[str, tuple[Item, Expected]] = {}
        for item in self.plan.items if self.plan else ():
            for each in self.answers[item.key].series if item.key in self.answers else ():
                found.setdefault(each.series_instance_uid, (item, each))
        return found


def planned(plan: Plan) -> Event:
    """The event of a plan."""
    return {"plan": plan.as_json()}


def answered(item: Item, answer: Answer) -> Event:
    """The event of an answer."""
    return {"answered": item.key, **answer.as_json()}


def fetched(series_instance_uid: str, instances: int) -> Event:
    """The event of a series that its node gave all of."""
    return {"fetched": series_instance_uid, "instances": instances}


def finished(series_instance_uid: str, reason: str = "") -> Event:
    """The event of a series that was gone through to the end."""
    return {"finished": series_instance_uid, "reason": reason}


def state_of(events: Iterable[Event], before: State | None = None) -> State:
    """Return what events say, after those before; one of a kind that is not known is passed over."""
    before = before or State()
    plan, answers = before.plan, dict(before.answers)
    counts, done = dict(before.fetched), dict(before.done)
    for event in events:
        if "plan" in event:
            plan = Plan.of_json(event["plan"])
        elif "answered" in event:
            answers[event["answered"]] = Answer.of_json(event)
        elif "fetched" in event:
            counts[event["fetched"]] = event["instances"]
        elif "finished" in event:
            done[event["finished"]] = event["reason"]
    return State(plan, answers, counts, done)


def is_due(state: State, item: Item) -> bool:
    """Whether a node is to be asked for an item: never yet, in vain, or before the day was over."""
    answer = state.answers.get(item.key)
    return answer is None or bool(answer.reason) or not is_over(item, date.fromisoformat(answer.on))


def is_whole(state: State, expected: Expected, here: int) -> bool:
    """Whether the instances of a series are all here, as far as anybody knows how many there are."""
    count = instances_of(state, expected)
    return count is not None and here >= max(count, 1)


def instances_of(state: State, expected: Expected) -> int | None:
    """How many instances a series has: as its node told, else as it gave; `None` where it did neither."""
    if expected.instances is not None:
        return expected.instances
    return state.fetched.get(expected.series_instance_uid)
