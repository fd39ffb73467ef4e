"""Asks a node at any level of either information model (C-FIND; PS3.4 C.4.1, C.6)."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

from pydicom.charset import python_encoding
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from catalog.attributes import Attribute, Level
from catalog.errors import QuestionError
from workbench.pacs import dimse
from workbench.pacs.answer import values
from workbench.pacs.association import associate, service
from workbench.pacs.descent import Told, descend, patients_of
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.matching import LEVELS, RETURNED, UNIQUE, Inquiry, Key, Keys, beyond_ascii
from workbench.pacs.sop_classes import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from workbench.pacs.wire.association import Association

_NAMES = {Level.PATIENT: "PATIENT", Level.STUDY: "STUDY", Level.SERIES: "SERIES", Level.INSTANCE: "IMAGE"}
"""Query/Retrieve Level (0008,0052)."""
_MODELS = {
    "study": (STUDY_ROOT_FIND, (Level.STUDY, Level.SERIES, Level.INSTANCE)),
    "patient": (PATIENT_ROOT_FIND, LEVELS),
}
"""Information models by their root, with their levels (PS3.4 C.6.1, C.6.2)."""
ROOTS = tuple(_MODELS)


def answers(
    node: DimseNode, inquiry: Inquiry, *, root: str | None = None, above_at_most: int | None = None
) -> Generator[Told]:
    """Yield what a node finds, on one association, which ends when the answers are left.

    Parameters
    ----------
    root
        `study` or `patient`; the one that the node accepts when left out, Study Root first where both have
        the level. Of Study Root patients are those of its studies.

    Raises
    ------
    catalog.errors.QuestionError
        If a text cannot be said in the character set of the node; before it is asked.
    catalog.errors.DeliveryError
        If the node does not answer, refuses, or finds more than one question may.
    """
    check_repertoire(node.character_set, inquiry.keys)
    if root not in (None, *ROOTS):
        raise QuestionError(f"root is study or patient, not {str(root)[:32]!r}")
    first = sorted(ROOTS, key=lambda each: inquiry.level not in _MODELS[each][1])
    roots = [each for each in first if root in (None, each)]
    with associate(node, [service(_MODELS[each][0]) for each in roots]) as association:
        chosen = _accepted(association, roots)
        model, levels = _MODELS[chosen]

        def ask(level: Level, asked: Inquiry, above: Told) -> Iterator[Told]:
            identifier = _identifier(node, chosen, level, asked, above)
            with closing(dimse.matches(association, identifier, model)) as found:
                for answer in found:
                    yield values(answer, _returned(chosen, level))

        if inquiry.level not in levels:
            yield from patients_of(descend(ask, inquiry, levels[:1]))
            return
        path = levels[: levels.index(inquiry.level) + 1]
        yield from descend(ask, inquiry, path, above_at_most=above_at_most)


def _accepted(association: Association, roots: Sequence[str]) -> str:
    accepted = {context.abstract_syntax for context in association.agreed.accepted.values()}
    return next((each for each in roots if _MODELS[each][0] in accepted), roots[0])


def _returned(root: str, level: Level) -> tuple[Attribute, ...]:
    """Of Study Root, attributes of the patient are those of the study (PS3.4 C.6.2.1)."""
    if root == "study" and level is Level.STUDY:
        return (*(each for each in RETURNED[Level.PATIENT] if each.vr != "IS"), *RETURNED[level])
    return RETURNED[level]


def _identifier(node: DimseNode, root: str, level: Level, inquiry: Inquiry, above: Told) -> Dataset:
    identifier = Dataset()
    identifier.SpecificCharacterSet = node.character_set
    identifier.QueryRetrieveLevel = _NAMES[level]
    of_level = [Level.PATIENT, level] if root == "study" and level is Level.STUDY else [level]
    keys: dict[Attribute, Key] = dict.fromkeys(_returned(root, level), "") | inquiry.at(*of_level)
    for upper in LEVELS[: LEVELS.index(level)]:
        unique = UNIQUE[upper]
        if unique.column in above and unique not in keys:
            keys[unique] = str(above[unique.column])
    fill(identifier, keys)
    return identifier


def fill(identifier: Dataset, keys: Keys) -> None:
    """Add keys to an identifier as they were asked for."""
    for attribute, key in keys.items():
        if isinstance(key, str) and attribute.vr != "SQ":
            # pydicom would tell the log of a wildcard, and its value
            identifier.add(DataElement(attribute.tag, attribute.vr, key or None, validation_mode=IGNORE))
            continue
        item = Dataset()
        fill(item, {} if isinstance(key, str) else key)
        identifier.add(DataElement(attribute.tag, "SQ", [item] if len(item) else []))


def check_repertoire(term: str, keys: Keys) -> None:
    """Raise a QuestionError where a character set lacks a character: a `?` for it would be a wildcard."""
    for text in beyond_ascii(keys.values()):
        try:
            text.encode(python_encoding[term])
        except UnicodeEncodeError:
            raise QuestionError(
                f"the question has characters that {term} lacks, the character_set of this node; ask with ? "
                "in their place, or by ID"
            ) from None
