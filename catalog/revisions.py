"""Chains of revisions of documents, and which of each is valid; no I/O.

Documents are revisions of one another where one names the other among its Predecessor Documents (0040,A360),
also through one that is not there, or where they have the same HL7 Instance Identifier (0040,E001) in the
same study: so reports arrive whose every revision is an encapsulated PDF of its own.

Valid is the newest of those that no other names as its predecessor. Newer is what has the later Content Date
and Time, then the later Instance Creation Date and Time, then the higher Instance Number; what has none is
older than what has one. UIDs decide where all are equal, so that the order of arrival never does. What
contradicts itself is shown by the same rule, and said in words.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

LOOP = "revisions name each other as predecessors"
SEVERAL = "several revisions are superseded by none; the newest is valid"
EQUAL = "the newest revisions have the same date, time and number"
EARLIER = "a revision is dated before one that it supersedes"
ABSENT = "a predecessor is not in the catalog"


@dataclass(frozen=True, slots=True)
class Revision:
    """What tells how a document is chained."""

    document: int
    name: str
    """Its SOP Instance UID; of a file that was given, its path."""
    study: int
    identifier: str = ""
    """(0040,E001) HL7 Instance Identifier."""
    predecessors: tuple[str, ...] = ()
    """SOP Instance UIDs of (0040,A360) Predecessor Documents Sequence."""
    moment: str = ""
    """Content Date and Time, as `moment_of` has it ..."""
    created: str = ""
    """... and Instance Creation Date and Time."""
    number: int | None = None

    @property
    def age(self) -> tuple[str, str, int]:
        """What is greater of a newer one."""
        return self.moment, self.created, -1 if self.number is None else self.number


@dataclass(frozen=True, slots=True)
class Chain:
    """Revisions of one document; a document without another is a chain of one."""

    documents: tuple[int, ...]
    """The valid one is the last."""
    remark: str
    """What contradicts itself, in words; empty where nothing does."""


def moment_of(date: str | None, time: str | None) -> str:
    """Return a date and a time (DA, TM) as a text that sorts; empty without a date (PS3.5 section 6.2)."""
    day = re.sub(r"[.\-/ ]", "", date or "")
    if not re.fullmatch(r"\d{8}", day, re.ASCII):
        return ""
    whole, _, fraction = (time or "").replace(":", "").strip().partition(".")
    if not re.fullmatch(r"\d{0,6}", whole, re.ASCII) or not re.fullmatch(r"\d{0,6}", fraction, re.ASCII):
        whole = fraction = ""
    return f"{day}{whole.ljust(6, '0')}.{fraction.ljust(6, '0')}"


def chains(revisions: Iterable[Revision]) -> list[Chain]:
    """Put the documents of one patient into chains, whatever the order in which they are given."""
    ordered = sorted(revisions, key=lambda each: (*each.age, each.name))
    groups: dict[object, list[Revision]] = defaultdict(list)
    roots = _roots(ordered)
    for each in ordered:
        groups[roots[each.document]].append(each)
    return [_chain(group) for group in groups.values()]


def _roots(revisions: Sequence[Revision]) -> dict[int, object]:
    """What stands for the chain of each document."""
    above: dict[object, object] = {}

    def root(of: object) -> object:
        while (parent := above.setdefault(of, of)) != of:
            above[of] = of = above[parent]
        return of

    for each in revisions:
        own = ("name", each.name)
        for uid in each.predecessors:
            above[root(("name", uid))] = root(own)
        if each.identifier:
            above[root((each.study, each.identifier))] = root(own)
    return {each.document: root(("name", each.name)) for each in revisions}


def _chain(members: Sequence[Revision]) -> Chain:
    """Order one chain; `members` are sorted by age."""
    places = {each.name: place for place, each in enumerate(members)}
    before = [
        {places[uid] for uid in each.predecessors if uid in places and uid != each.name} for each in members
    ]
    waiting = [0] * len(members)  # for so many successors
    for each in before:
        for place in each:
            waiting[place] += 1
    tips = [place for place, count in enumerate(waiting) if not count]
    order, is_loop = _order(before, waiting, tips)
    remarks = {
        LOOP: is_loop or any(each.name in each.predecessors for each in members),
        SEVERAL: _are_several([members[place] for place in tips]),
        EQUAL: len(tips) > 1 and members[tips[-1]].age == members[tips[-2]].age,
        EARLIER: _is_earlier(members, before),
        ABSENT: any(uid not in places for each in members for uid in each.predecessors),
    }
    said = "; ".join(words for words, is_so in remarks.items() if is_so)
    return Chain(tuple(members[place].document for place in reversed(order)), said)


def _order(before: Sequence[set[int]], waiting: Sequence[int], tips: Sequence[int]) -> tuple[list[int], bool]:
    """Places, the valid one first, each after all that supersede it; and whether some are in a loop."""
    left, is_loop = list(waiting), False
    ready = [-place for place in tips]
    heapify(ready)
    order: list[int] = []
    is_placed = [False] * len(before)
    newest = len(before) - 1
    while len(order) < len(before):
        while not ready:  # whoever is left is superseded: the newest goes first
            if not is_placed[newest]:
                is_loop = True
                ready.append(-newest)
            newest -= 1
        place = -heappop(ready)
        if is_placed[place]:
            continue
        is_placed[place] = True
        order.append(place)
        for each in before[place]:
            left[each] -= 1
            if left[each] == 0 and not is_placed[each]:
                heappush(ready, -each)
    return order, is_loop


def _are_several(tips: Sequence[Revision]) -> bool:
    """Whether more than one is left, and no identifier that they share says what they are."""
    return len(tips) > 1 and (
        any(not each.identifier for each in tips) or len({(each.study, each.identifier) for each in tips}) > 1
    )


def _is_earlier(members: Sequence[Revision], before: Sequence[set[int]]) -> bool:
    return any(
        members[place].moment > each.moment > ""
        for each, places in zip(members, before, strict=True)
        for place in places
    )
