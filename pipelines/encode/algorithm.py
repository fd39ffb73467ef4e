"""What made a result: the step, its version and parameters, the run, and the equipment it ran on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version as distribution_version
from typing import TYPE_CHECKING, Any, TypedDict

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from catalog import vocabulary
from catalog.errors import EncodeError

if TYPE_CHECKING:  # highdicom takes a while to import, and every run has an algorithm
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import AlgorithmIdentification

MANUFACTURER = MODEL = vocabulary.MANUFACTURER
DEVICE_UID = "2.25.313871645367149356140965361244290471179"
"""Of the software as an observing device (TID 1004), the same on every bench."""

SCHEME = "99IWB"
"""Coding scheme of what has no code in the standard (PS3.16 section 8.2)."""
STEP = Code("step", SCHEME, "Function on volumes")

LABEL = "label "
"""Before the label of a mask in Segment Description (0062,0006)."""

LONG_STRING = 64
"""Characters of an LO value (PS3.5 table 6.2-1)."""
_LONG_TEXT = 10_240


@dataclass(frozen=True, slots=True)
class Algorithm:
    """The step that made a result, as it is written into every object.

    Raises
    ------
    EncodeError
        If a text is empty or longer than the standard lets it be.
    """

    name: str
    """Algorithm Name (0066,0036), Segment Algorithm Name (0062,0009)."""
    version: str
    """Algorithm Version (0066,0031)."""
    run: str
    """Of the run the result belongs to; it stands in Content Description and in the tracking identifiers."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Algorithm Parameters (0066,0032)."""

    def __post_init__(self) -> None:
        for what, text in (("name", self.name), ("version", self.version), ("run", self.run)):
            if not 0 < len(text) <= LONG_STRING or "\\" in text:
                raise EncodeError(
                    f"an algorithm's {what} must be 1 to {LONG_STRING} characters without backslash, "
                    f"it is {len(text)} long; give the step a shorter name"
                )

    @property
    def description(self) -> str:
        """Series Description (0008,103E): `threshold, run 7f3a9c01`, cut to fit."""
        return shortened(f"{self.name}, run {self.run[:8]}")

    def identification(self) -> "AlgorithmIdentificationSequence":
        """Algorithm Identification Macro (PS3.3 table 10-19)."""
        from highdicom import AlgorithmIdentificationSequence

        sequence = AlgorithmIdentificationSequence(
            name=self.name, family=STEP, version=self.version, source=MANUFACTURER
        )
        if self.parameters:
            sequence[0].AlgorithmParameters = ", ".join(self._parameters())[:_LONG_TEXT]
        return sequence

    def content_items(self) -> "AlgorithmIdentification":
        """Algorithm Identification (PS3.16 TID 4019)."""
        from highdicom.sr import AlgorithmIdentification

        return AlgorithmIdentification(
            name=self.name, version=self.version, parameters=self._parameters() or None
        )

    def _parameters(self) -> list[str]:
        return [f"{name}={value}" for name, value in sorted(self.parameters.items())]


@dataclass(frozen=True, slots=True)
class Person:
    """Who drew a result by hand, where no algorithm made it."""

    name: str

    @property
    def description(self) -> str:
        """Series Description (0008,103E)."""
        return "Annotations"


def shortened(text: str, length: int = LONG_STRING) -> str:
    """Cut a text to the length of its value representation; a backslash would be a second value."""
    text = text.replace("\\", "/")
    return text if len(text) <= length else text[: length - 1] + "…"


def person_name(author: str) -> str:
    """Return an author as a Person Name (PS3.5 section 6.2): without what divides its groups."""
    name = shortened(author.translate({ord("\\"): "/", ord("="): "-"}), LONG_STRING - 1)
    return name if "^" in name else f"{name}^"


def coded(code: Code) -> Dataset:
    """Item of a code sequence (PS3.3 table 8.8-1)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code[:3]
    return item


@cache
def software_version() -> str:
    """Version of the installed workbench."""
    return distribution_version("imaging-workbench")


class Equipment(TypedDict):
    """The workbench as the equipment that made an object (PS3.3 C.7.5.1, C.7.5.2), as highdicom takes it."""

    manufacturer: str
    manufacturer_model_name: str
    software_versions: str
    device_serial_number: str


def equipment() -> Equipment:
    """Say that this software made an object."""
    return Equipment(
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=software_version(),
        device_serial_number=DEVICE_UID,
    )


def coding_schemes() -> "list[CodingSchemeIdentificationItem]":
    """Items of Coding Scheme Identification Sequence (0008,0110) for our own codes."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return [
        CodingSchemeIdentificationItem(
            SCHEME, name="Imaging Workbench", responsible_organization=MANUFACTURER
        )
    ]
