"""What the programs call an error and we do not: a short table, each row with its reason."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

DCIODVFY, DCENTVFY = "dciodvfy", "dcentvfy"
"""Programs of dicom3tools: an object against its definition, objects of a patient against each other."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """One error that keeps nobody from sending."""

    program: str
    pattern: str
    """Found somewhere in the error, as a regular expression."""
    reason: str


ALLOWED: Sequence[Allowed] = (
    Allowed(
        DCIODVFY,
        r"Laterality\(0020,0060\) - Missing attribute for Type 2C",
        "Laterality is wanted only where the body part is paired (PS3.3 C.7.3.1), which dciodvfy cannot "
        "know: it asks for it in every object made from a source that has none",
    ),
    Allowed(
        DCIODVFY,
        r"has same value as FrameOfReferenceUID",
        "a reference repeats UIDs of the source that are the same, which no result can put right",
    ),
    Allowed(
        DCENTVFY,
        r"^Missing SOPInstanceUID that was referenced",
        "dcentvfy is shown some of the sources, not all; own checks see that all references are listed",
    ),
)


def split(program: str, errors: Sequence[str]) -> tuple[list[str], list[Allowed]]:
    """Return the errors that count, and the rows of the table that took the others."""
    faults: list[str] = []
    taken: dict[Allowed, None] = {}
    for error in errors:
        row = next(
            (each for each in ALLOWED if each.program == program and re.search(each.pattern, error)), None
        )
        if row is None:
            faults.append(error)
        else:
            taken[row] = None
    return faults, list(taken)
