"""The table of rules for what is received, and which of them say what: pure, whoever asks the catalog.

A rule fits an object by who sent it, by the hour at which it came, and by a question to the catalog. All
rules that fit hold, in their order, until one that says `store`. Of those that send an object to one node the
strictest holds: where one demands that the identity is removed, the object itself never goes there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from workbench.harvest.windows import window_of

NAME_LENGTH = 64
"""Characters of a rule's name."""


class When(StrEnum):
    """When a rule is carried out."""

    RECEIVED = "received"
    """As soon as an object is settled."""
    STABLE = "stable"
    """When the series of the object is stable."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table; what is left out asks for nothing.

    Raises
    ------
    ValueError
        If it says nothing, contradicts itself, or its hours are none.
    """

    name: str
    """What people and the record call it."""
    when: When = When.RECEIVED
    """Whether it is carried out for each object as it comes, or when its series is stable."""
    sent_by: tuple[str, ...] = ()
    """Nodes by their name in the settings, or calling AE titles."""
    called: tuple[str, ...] = ()
    """AE titles under which this bench was called."""
    where: str = ""
    """What must be true of the object, in the language of `catalog.where`."""
    hours: str = ""
    """Hours of the day in which it came: `20:00-06:00`."""
    forward: tuple[str, ...] = ()
    """Nodes it goes to."""
    deidentify: bool = False
    """Whether it goes there only after the identity of its patient was removed."""
    notify: str = ""
    """A folder that gets a file for each object, or for each stable series."""
    store: bool = False
    """Whether it is only kept: rules below are not asked."""

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or len(self.name) > NAME_LENGTH:
            raise ValueError(f"a rule has a name of 1 to {NAME_LENGTH} printable characters")
        if self.when not in tuple(When):
            raise ValueError(f"{self.name}: when is {' or '.join(When)}, not {self.when!r:.40}")
        object.__setattr__(self, "when", When(self.when))
        if not (self.forward or self.notify or self.store):
            raise ValueError(f"{self.name} does nothing: give it forward, notify or store")
        if self.store and self.forward:
            raise ValueError(f"{self.name} both forwards and only stores")
        if self.deidentify and not self.forward:
            raise ValueError(f"{self.name} de-identifies for nobody: give it forward")
        if self.hours:
            window_of(self.hours)

    @property
    def does(self) -> str:
        """What it does, in words."""
        parts = []
        if self.forward:
            how = "de-identifies and forwards" if self.deidentify else "forwards"
            parts.append(f"{how} to {', '.join(self.forward)}")
        if self.notify:
            parts.append("notifies")
        if self.store:
            parts.append("stores, and asks no rule below")
        return " and ".join(parts)

    @property
    def asks(self) -> str:
        """What it asks of an object, in words."""
        parts = [f"from {' or '.join(self.sent_by)}"] if self.sent_by else []
        parts += [f"to {' or '.join(self.called)}"] if self.called else []
        parts += [each for each in (self.where, self.hours) if each]
        return ", ".join(parts) or "everything"


@dataclass(frozen=True, slots=True)
class Received:
    """What rules ask about one object; the edge has looked it up."""

    node: str = ""
    """Name of the node that sent it; empty where it has none."""
    calling_ae_title: str = ""
    called_ae_title: str = ""
    at: datetime | None = None
    """When it came, by the clock on the wall."""
    true_of: frozenset[str] = frozenset()
    """Names of the rules whose `where` is true of it."""
    was_at: frozenset[str] = frozenset()
    """Names of the nodes that ever sent it here."""
    made_here: bool = False
    """Whether it went out from this bench as a result, or without a patient's identity."""


class Action(StrEnum):
    """What is done."""

    FORWARD = "forward"
    DEIDENTIFY = "deidentify"
    """And forward."""
    NOTIFY = "notify"
    STORE = "store"
    HOLD = "hold"
    """It does not go where a rule sends it, as it was there."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is to be done with one object."""

    rule: str
    action: Action
    when: When
    to: str = ""
    """Node, or folder of notices."""
    words: str = ""


def why_not(rule: Rule, received: Received) -> str:
    """Say why a rule does not fit an object; empty where it does."""
    who = {each for each in (received.node, received.calling_ae_title) if each}
    if rule.sent_by and who.isdisjoint(rule.sent_by):
        return f"it came from {' '.join(sorted(who)) or 'nobody that is known'}"
    if rule.called and received.called_ae_title not in rule.called:
        return f"{received.called_ae_title or 'nobody'} was called"
    if rule.hours and (received.at is None or not window_of(rule.hours).holds(received.at)):
        return f"it came at {received.at:%H:%M}" if received.at else "nobody knows when it came"
    if rule.where and rule.name not in received.true_of:
        return f"{rule.where} is not true of it"
    return ""


def holding(rules: Iterable[Rule], received: Received) -> list[Rule]:
    """Return the rules that hold for an object, in their order."""
    found = []
    for rule in rules:
        if not why_not(rule, received):
            found.append(rule)
            if rule.store:
                break
    return found


def decide(rules: Sequence[Rule], received: Received) -> list[Step]:
    """Return everything that is to be done with an object, each destination once.

    A rule that is carried out at once comes before one that waits for the series.
    """
    hold = holding(rules, received)
    demanding = {node for rule in hold if rule.deidentify for node in rule.forward}
    steps: list[Step] = []
    served: set[str] = set()
    for rule in sorted(hold, key=lambda each: each.when is not When.RECEIVED):
        for node in rule.forward:
            if node in served or (node in demanding and not rule.deidentify):
                continue
            served.add(node)
            reason = why_held(node, received)
            action = Action.DEIDENTIFY if rule.deidentify else Action.FORWARD
            steps.append(Step(rule.name, Action.HOLD if reason else action, rule.when, node, reason))
        if rule.notify:
            steps.append(Step(rule.name, Action.NOTIFY, rule.when, rule.notify))
        if rule.store:
            steps.append(Step(rule.name, Action.STORE, rule.when))
    return steps


def why_held(node: str, received: Received) -> str:
    """Say why an object does not go to a node whatever rules say; empty where it may."""
    if received.made_here:
        return "it went out from this bench before and came back"
    if node in received.was_at:
        return f"it came from {node}"
    return ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one rule says of one object, and why."""

    rule: str
    fits: bool
    why: str


def explain(rules: Sequence[Rule], received: Received) -> list[Explanation]:
    """Say of every rule whether it holds for an object, and what it does or why it does not."""
    held = {each.name for each in holding(rules, received)}
    done: Mapping[str, list[Step]] = _by_rule(decide(rules, received))
    said = []
    for rule in rules:
        reason = why_not(rule, received)
        if reason:
            said.append(Explanation(rule.name, fits=False, why=reason))
        elif rule.name not in held:
            said.append(Explanation(rule.name, fits=False, why="a rule above stores it, and asks none below"))
        else:
            steps = [_words(step) for step in done.get(rule.name, ())]
            why = "; ".join(steps) or "a rule of the same destination says it already"
            said.append(Explanation(rule.name, fits=True, why=why))
    return said


def _by_rule(steps: Iterable[Step]) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for each in steps:
        found.setdefault(each.rule, []).append(each)
    return found


def _words(step: Step) -> str:
    later = " when its series is stable" if step.when is When.STABLE else ""
    match step.action:
        case Action.FORWARD:
            return f"goes to {step.to}{later}"
        case Action.DEIDENTIFY:
            return f"goes to {step.to} without its patient's identity{later}"
        case Action.NOTIFY:
            return f"a notice is written{later}"
        case Action.STORE:
            return "is kept, and no rule below is asked"
        case Action.HOLD:
            return f"does not go to {step.to}: {step.words}"


def faults(rules: Sequence[Rule], nodes: Iterable[str]) -> list[str]:
    """Say what is wrong with a table of rules, given the names of the nodes that objects can be sent to."""
    said, names, known = [], set[str](), set(nodes)
    for rule in rules:
        if rule.name in names:
            said.append(f"two rules are called {rule.name}")
        names.add(rule.name)
        said += [
            f"{rule.name} forwards to {node}, which is no node this bench can send to; nodes are "
            f"{', '.join(sorted(known)) or 'none yet'}"
            for node in rule.forward
            if node not in known
        ]
    return said


@dataclass(frozen=True, slots=True)
class Table:
    """The rules of a bench, checked against its nodes."""

    rules: tuple[Rule, ...] = ()
    ae_titles: Mapping[str, str] = field(default_factory=dict)
    """AE titles of the nodes by name: who has no name and calls by one may well be that system."""

    def were(self, node: str, calling_ae_title: str) -> frozenset[str]:
        """Return the names under which a sender may be known; who has one is that node and no other."""
        if node:
            return frozenset({node})
        return frozenset(name for name, title in self.ae_titles.items() if title == calling_ae_title)
