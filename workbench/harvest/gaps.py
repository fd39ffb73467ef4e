"""The gap report of a harvest: what was expected, what came of it, and why the rest did not. No I/O."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workbench.harvest.answers import Expected
from workbench.harvest.plan import Item
from workbench.harvest.state import State, instances_of, is_due, is_whole

NOT_ASKED = "not asked for yet"


@dataclass(frozen=True, slots=True)
class Here:
    """What is on this bench of one series, in instances."""

    received: int = 0
    """Files."""
    indexed: int = 0
    """In the catalog, with a file."""
    hashed: int = 0
    """Of the indexed: read back from the disk as a whole, their digest on record."""
    rotten: int = 0
    """Of the indexed: read back with other bytes than were received."""
    ingested: int = 0
    """In arrays."""


@dataclass(frozen=True, slots=True)
class Gap:
    """One series that was expected, or one item that none is known of."""

    item: str
    """Accession number or UID of the table's row, or the day."""
    row: int | None
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    modality: str = ""
    expected: int | None = None
    """As its node told, else as it gave."""
    received: int = 0
    hashed: int = 0
    indexed: int = 0
    ingested: int = 0
    missing: int | None = None
    """Expected and not in the catalog; `None` where nobody knows how many there are."""
    reason: str = ""
    """What is amiss; empty where nothing is."""
    note: str = ""
    """What a reader should know, though nothing is known to be amiss."""


def gaps(state: State, here: Mapping[str, Here]) -> tuple[Gap, ...]:
    """Return a row for each series that was expected, and for each item without any; those amiss first.

    Parameters
    ----------
    here
        What is on this bench, by Series Instance UID.
    """
    rows = [*_refused(state), *_items(state)]
    rows += [
        _of_series(state, item, each, here.get(uid, Here())) for uid, (item, each) in state.expected.items()
    ]
    return tuple(sorted(rows, key=lambda each: (not each.reason, not each.note)))


def _refused(state: State) -> Iterator[Gap]:
    for row, reason in state.plan.refused if state.plan else ():
        yield Gap("", row, reason=reason)


def _items(state: State) -> Iterator[Gap]:
    for item in state.plan.items if state.plan else ():
        answer = state.answers.get(item.key)
        if answer is None:
            yield Gap(item.label, item.row, reason=NOT_ASKED)
        elif answer.reason or answer.note:
            yield Gap(item.label, item.row, reason=answer.reason, note=answer.note)
        elif is_due(state, item):
            yield Gap(item.label, item.row, reason="it was asked for before the day was over")


def _of_series(state: State, item: Item, expected: Expected, here: Here) -> Gap:
    count = instances_of(state, expected)
    return Gap(
        item.label,
        item.row,
        expected.study_instance_uid,
        expected.series_instance_uid,
        expected.modality,
        count,
        here.received,
        here.hashed,
        here.indexed,
        here.ingested,
        None if count is None else max(count - here.indexed, 0),
        _reason(state, expected, here),
    )


def _reason(state: State, expected: Expected, here: Here) -> str:
    """The first thing that is amiss with a series, in the order in which it comes here."""
    said = state.done.get(expected.series_instance_uid)
    if not is_whole(state, expected, here.indexed):
        return "not fetched yet" if said is None else said or _why_not_whole(state, expected, here)
    if here.rotten:
        return f"{here.rotten:,} files have other bytes than were received; workbench scrub"
    if said is None:
        return "not gone through to the end yet"
    if not said and here.hashed < here.indexed:
        return f"{here.indexed - here.hashed:,} files are not hashed; workbench scrub"
    return said


def _why_not_whole(state: State, expected: Expected, here: Here) -> str:
    """Of a series that was gone through to the end."""
    if here.received > here.indexed:
        return f"{here.received - here.indexed:,} files cannot be taken up; workbench index --last"
    given = state.fetched.get(expected.series_instance_uid, here.indexed)
    if here.indexed < given:
        return f"{given - here.indexed:,} of its instances are here no more"
    if expected.instances is not None and here.indexed:
        return f"the node told of {expected.instances:,} instances and gave {here.indexed:,}"
    return "nothing of it is here"
