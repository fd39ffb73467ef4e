"""Has a patient's identity removed by a function of the user's; nothing goes out that still shows it.

What the function makes is made once for each received file: after a crash the same object goes out, not one
more with other UIDs.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from catalog.attributes import BY_COLUMN
from catalog.deliveries import Origin
from catalog.durable import file_digest
from catalog.errors import InvalidObjectError, SettingsError, StepError
from catalog.headers import read_header
from catalog.identifiers import digest
from catalog.outbox import Item
from catalog.receptions import Standing
from catalog.records import Unreadable
from catalog.vocabulary import MANUFACTURER
from pipelines.encode.part10 import write_object
from pipelines.runs.code import find_step

type Deidentify = Callable[[Path, Path], None]
"""Reads a DICOM file and writes another, without the identity of its patient (PS3.15 annex E)."""

MISSING = (
    "its rule demands that the patient's identity is removed, and nothing here does that: set deidentifier = "
    "'package.module:function' in workbench.toml, then `workbench route --again`"
)
_IDENTITY = ("patient_id", "patient_name", "study_instance_uid", "series_instance_uid", "sop_instance_uid")
"""What must be another, where the original has it."""
_MAKER = "109104", "DCM", "De-identifying Equipment"  # PS3.16 CID 7005; value, scheme and meaning


@dataclass(frozen=True, slots=True)
class Deidentifier:
    """What removes identities: the function, and its name, which tells its results from another's."""

    function: Deidentify
    name: str

    def item(self, original: Standing, node: str, folder: Path) -> Item:
        """Return what is to be queued for a node in the place of an original.

        Parameters
        ----------
        folder
            Of the outbox; its lock is held.

        Raises
        ------
        catalog.errors.InvalidObjectError
            If nothing was made, or it still shows who the patient is; then there is no file.
        """
        name = digest(f"{original.digest} {node} {self.name}".encode())
        target = folder / f"{name}.dcm"
        if not target.is_file():
            self._make(Path(original.path), target)
        made = read_header(target)
        if isinstance(made, Unreadable):  # it was read when it was written: the disk, or somebody, did that
            raise InvalidObjectError(f"what was made of it at {target} {made.reason}")
        values = made.values
        return Item(
            target,
            node,
            str(values["sop_instance_uid"]),
            str(values["sop_class_uid"]),
            file_digest(target),
            f"its patient's identity was removed by {self.name}",
            str(values["study_instance_uid"]),
            str(values["series_instance_uid"]),
            origin=Origin.DEIDENTIFIED,
        )

    def _make(self, original: Path, target: Path) -> None:
        _refuse_twice(original)
        partial = target.with_name(f"{target.name}.00000000.partial")
        partial.unlink(missing_ok=True)
        try:
            self.function(original, partial)
            _check(original, partial)
            ds = pydicom.dcmread(partial)
            _sign(ds)
            write_object(ds, target)
        except InvalidObjectError:
            raise
        except Exception as error:  # of the user's function; its text may hold what must not be told
            raise InvalidObjectError(f"{self.name} failed with {type(error).__name__}") from None
        finally:
            with suppress(OSError):
                partial.unlink()


def deidentifier_of(entry: str) -> Deidentifier | None:
    """Find the function that the settings name; `None` where they name none.

    Parameters
    ----------
    entry
        `package.module:function`, or `path/to/file.py:function`; the module or file is executed.

    Raises
    ------
    catalog.errors.SettingsError
        If there is no such function.
    """
    if not entry:
        return None
    try:
        return Deidentifier(find_step(entry), entry)
    except StepError as error:
        raise SettingsError(f"deidentifier: {error}") from None


def _refuse_twice(original: Path) -> None:
    """Two benches that send to each other would make more and more of one object."""
    ds = pydicom.dcmread(original, stop_before_pixels=True, specific_tags=["ContributingEquipmentSequence"])
    for each in ds.get("ContributingEquipmentSequence", ()):
        purposes = each.get("PurposeOfReferenceCodeSequence", ())
        if each.get("Manufacturer") == MANUFACTURER and any(
            purpose.get("CodeValue") == _MAKER[0] for purpose in purposes
        ):
            raise InvalidObjectError("a bench removed its patient's identity before")


def _check(original: Path, made: Path) -> None:
    before, after = read_header(original), read_header(made)
    if isinstance(before, Unreadable):
        raise InvalidObjectError(f"the original {before.reason}")
    if isinstance(after, Unreadable):
        raise InvalidObjectError(f"what was made of it {after.reason}")
    same = [
        BY_COLUMN[column].keyword
        for column in _IDENTITY
        if before.values.get(column) and before.values.get(column) == after.values.get(column)
    ]
    if same:
        raise InvalidObjectError(f"what was made of it still has its {', '.join(same)}")


def _sign(ds: Dataset) -> None:
    """Say by whom the identity was removed (PS3.3 section C.12.1.1.5)."""
    purpose, equipment = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = _MAKER
    equipment.PurposeOfReferenceCodeSequence = [purpose]
    equipment.Manufacturer = MANUFACTURER
    ds.ContributingEquipmentSequence = [*ds.get("ContributingEquipmentSequence", ()), equipment]
