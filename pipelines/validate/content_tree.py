"""Items of a structured report by their concepts (PS3.3 section C.17.3); no I/O."""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

type Concept = tuple[str, str]
"""Code Value and Coding Scheme Designator."""

ITEMS_AT_MOST = 1_000_000


def concept(item: Dataset, keyword: str = "ConceptNameCodeSequence") -> Concept:
    """Return a code of an item; two empty texts where it has none."""
    for code in item.get(keyword) or ():
        value = next(
            (code.get(each) for each in ("CodeValue", "LongCodeValue", "URNCodeValue") if code.get(each)), ""
        )
        return str(value), str(code.get("CodingSchemeDesignator") or "")
    return "", ""


def children(item: Dataset, wanted: Concept | None = None, relationship: str | None = None) -> list[Dataset]:
    """Return items right below one, those of a concept or a relationship where asked for."""
    below: Sequence[Dataset] = item.get("ContentSequence") or ()
    return [
        each
        for each in below
        if (wanted is None or concept(each) == wanted)
        and (relationship is None or str(each.get("RelationshipType")) == relationship)
    ]


def tree(ds: Dataset) -> Iterator[tuple[str, Dataset]]:
    """Yield every item with its place, as `1.3.2` (PS3.3 C.17.3.2.5), the root first."""
    waiting = [("1", ds)]
    count = 0
    while waiting and count < ITEMS_AT_MOST:
        place, item = waiting.pop()
        count += 1
        yield place, item
        below = list(enumerate(item.get("ContentSequence") or (), start=1))
        waiting += [(f"{place}.{number}", each) for number, each in reversed(below)]
