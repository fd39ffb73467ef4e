"""Words that several rooms use: the kinds of findings, and the name under which results are made."""

from catalog.errors import QuestionError

MANUFACTURER = "Imaging Workbench"
"""Manufacturer (0008,0070) of every result that a workbench makes."""

KINDS = {
    "deviation": "a departure of a header from the standard that is tolerated",
    "conflict": "a file with the SOP Instance UID of another and other bytes",
    "cut_file": "a file that is not whole",
    "unreadable": "an image whose pixel data cannot be read",
    "several_patients": "a study that is known under another patient",
    "missing_slices": "gaps of whole slices between planes that are equally spaced otherwise",
    "unequal_spacing": "planes that are not equally spaced",
    "tilt": "a stack that leans from the slice normal",
    "duplicate_planes": "several images at one position, and nothing that tells them apart",
    "private_dialect": "a private form of pixel data that could not be unfolded",
}
"""Every kind of finding, and what it means."""


def kind_named(kind: str) -> str:
    """Return a kind of finding; raises `QuestionError` where there is none of that name."""
    if kind not in KINDS:
        raise QuestionError(f"there is no kind of finding {kind[:64]!r}; they are {', '.join(KINDS)}")
    return kind
