"""Words that several rooms use: kinds of findings, what becomes of conflicts, who makes results."""

from enum import StrEnum

from catalog.errors import QuestionError

MANUFACTURER = "Imaging Workbench"
"""Manufacturer (0008,0070) of every result that a workbench makes."""

KINDS = {
    "deviation": "a departure of a header from the standard that is tolerated",
    "conflict": "a file with the SOP Instance UID of another and other bytes",
    "correction": "a file with the SOP Instance UID of another that says another patient, study or series",
    "cut_file": "a file that is not whole",
    "unreadable": "an image whose pixel data cannot be read",
    "several_patients": "a study that is known under another patient",
    "missing_slices": "gaps of whole slices between planes that are equally spaced otherwise",
    "unequal_spacing": "planes that are not equally spaced",
    "tilt": "a stack that leans from the slice normal",
    "duplicate_planes": "several images at one position, and nothing that tells them apart",
    "private_dialect": "a private form of pixel data that could not be unfolded",
    "unknown_private": "private elements of a creator that no dictionary knows",
}
"""Every kind of finding, and what it means."""
AT_INDEX = frozenset({"deviation", "conflict", "correction", "several_patients", "unknown_private"})
"""Kinds that the index finds; whether a series has another is known once it was ingested."""
UNCHECKED = "unchecked"
"""No kind, but what `finding` is of a series that was not ingested yet."""


class OnConflict(StrEnum):
    """What becomes of a received object whose SOP Instance UID is known with other bytes."""

    FIRST = "first"
    """The first counts; the sender is answered with success, and the new one is kept beside."""
    NEWEST = "newest"
    """The one that came last counts; the first is kept beside."""
    REFUSE = "refuse"
    """As `first`, and the sender is answered with status 0111, duplicate SOP instance."""


def kind_named(kind: str) -> str:
    """Return a kind of finding; raises `QuestionError` where there is none of that name."""
    if kind not in KINDS:
        raise QuestionError(f"there is no kind of finding {kind[:64]!r}; they are {', '.join(KINDS)}")
    return kind
