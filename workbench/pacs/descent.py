"""A hierarchical query: what was found above is asked again below (PS3.4 C.4.1.3.1). No I/O."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from catalog.attributes import PATIENT, Level
from catalog.errors import TooManyAnswersError
from catalog.records import Value
from workbench.pacs.matching import COUNTS, PLURALS, UNIQUE, Inquiry

type Told = Mapping[str, Value]
"""What a node tells of one entity, and of those above it, by column."""
type Ask = Callable[[Level, Inquiry, Told], Iterator[Told]]
"""Asks a node for the entities of a level below one above; the keys of levels further above are in it."""


def descend(
    ask: Ask, inquiry: Inquiry, path: Sequence[Level], *, above_at_most: int | None = None
) -> Iterator[Told]:
    """Yield what is found of an inquiry.

    Parameters
    ----------
    ask
        Puts one question.
    path
        Levels from the one that is asked first to that of the inquiry.
    above_at_most
        Entities of one level below each of which is asked; as many as there are when left out.

    Raises
    ------
    catalog.errors.TooManyAnswersError
        If there are more of them.
    """
    return _below({}, ask, inquiry, path, above_at_most)


def _below(
    above: Told, ask: Ask, inquiry: Inquiry, path: Sequence[Level], above_at_most: int | None
) -> Iterator[Told]:
    level, *further = path
    found = ({**above, **each} for each in ask(level, inquiry, above))
    if not further:
        yield from found
        return
    entities = []
    for each in found:  # all of them first: an association bears one question, and pages shift
        if not each.get(UNIQUE[level].column):
            yield each  # it names nothing (PS3.4 C.2.2.1): whoever asked sees that something is left out
            continue
        entities.append(each)
        if above_at_most is not None and len(entities) > above_at_most:
            raise TooManyAnswersError(
                f"more than {above_at_most:,} {PLURALS[level]} match, and their "
                f"{PLURALS[path[-1]]} are asked for one after the other; ask a narrower question"
            )
    for each in entities:
        yield from _below(each, ask, inquiry, further, above_at_most)


def patients_of(studies: Iterable[Told]) -> Iterator[Told]:
    """The patients of studies, each once, with counts; where a node is not asked for patients themselves."""
    found: dict[tuple[Value, ...], dict[str, Value]] = {}
    for each in studies:
        identity = tuple(each.get(name) for name in _IDENTITY)
        patient = found.setdefault(identity, {})
        for attribute in PATIENT:
            if patient.get(attribute.column) is None and attribute.column in each:
                patient[attribute.column] = each[attribute.column]
        patient[_STUDIES] = int(patient.get(_STUDIES) or 0) + 1
    yield from found.values()


_IDENTITY = ("patient_id", "issuer_of_patient_id", "patient_name")
_STUDIES = COUNTS[Level.PATIENT][0].column
