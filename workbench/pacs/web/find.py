"""Asks a DICOMweb node at any level (QIDO-RS, PS3.18 section 10.6)."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from catalog.attributes import Level
from workbench.pacs.descent import Told, descend, patients_of
from workbench.pacs.matching import COUNTS, LEVELS, RETURNED, UNIQUE, Inquiry
from workbench.pacs.web import rows
from workbench.pacs.web.client import Client
from workbench.pacs.web.node import WebNode
from workbench.pacs.web.qido import search

_PATHS = {
    Level.STUDY: "/studies",
    Level.SERIES: "/studies/{study_instance_uid}/series",
    Level.INSTANCE: "/studies/{study_instance_uid}/series/{series_instance_uid}/instances",
}
_RETURNED = {
    **{level: RETURNED[level] for level in _PATHS},
    Level.STUDY: (*(each for each in RETURNED[Level.PATIENT] if each.vr != "IS"), *RETURNED[Level.STUDY]),
}
_EXPECTED = {Level.SERIES: COUNTS[Level.STUDY][0].column, Level.INSTANCE: COUNTS[Level.SERIES][0].column}
"""What the entity above says of how many there are below it."""


def answers(
    node: WebNode,
    inquiry: Inquiry,
    *,
    fuzzy: bool = False,
    heard: Callable[[str], None] | None = None,
    above_at_most: int | None = None,
) -> Generator[Told]:
    """Yield what a node finds; patients are those of its studies.

    Parameters
    ----------
    fuzzy, heard
        As `workbench.pacs.web.qido.search` takes them.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer, refuses, or finds more than one question may.
    """
    with Client(node) as client:

        def ask(level: Level, asked: Inquiry, above: Told) -> Iterator[Told]:
            keys = asked.at(Level.PATIENT, level) if level is Level.STUDY else asked.at(level)
            count = above.get(_EXPECTED.get(level, ""))
            found = search(
                client, _PATHS[level].format(**above), UNIQUE[level].tag, matching=keys,
                returned=[each.tag for each in _RETURNED[level]], fuzzy=fuzzy, heard=heard,
                expected=count if isinstance(count, int) and not any(keys.values()) else None,
            )  # fmt: skip
            with closing(found):
                for row in found:
                    yield rows.values(row, _RETURNED[level])

        if inquiry.level is Level.PATIENT:
            yield from patients_of(descend(ask, inquiry, [Level.STUDY]))
            return
        path = LEVELS[1 : LEVELS.index(inquiry.level) + 1]
        yield from descend(ask, inquiry, path, above_at_most=above_at_most)
