"""Of a bench: what was put right, and what was deleted."""

from typing import TYPE_CHECKING

from catalog.records import SeriesRecord
from workbench.bench.opened import Opened, now
from workbench.selection import uid_of

if TYPE_CHECKING:
    from catalog.corrections import Author, CorrectionRecord
    from workbench.corrections import Correction, Corrections


class Amendments(Opened):
    """Corrects, deletes, and undoes; every line of it has an author and a reason."""

    def merge_patients(self, source: str, into: str, *, why: str) -> "Correction":
        """Put every study of one patient under another, those that arrive later too; files stay.

        Parameters
        ----------
        source, into
            Patient IDs; where several patients have one, a Study Instance UID of the one that is meant.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such patient.
        catalog.errors.CorrectionError
            If several have the ID, both are one, or there is no reason.
        """
        from catalog.corrections import merge_patients

        return self._correction(merge_patients(self.catalog, source, into, self._author(why)))

    def move_study(self, uid: str, to_patient: str, *, why: str) -> "Correction":
        """Put one study under another patient, what arrives of it later too; else as `merge_patients`."""
        from catalog.corrections import move_study

        return self._correction(move_study(self.catalog, uid, to_patient, self._author(why)))

    def correct(self, patient: str, *, why: str, **values: str) -> "Correction":
        """Give a patient another `patient_id`, `patient_name` and the like; else as `merge_patients`."""
        from catalog.corrections import correct_patient

        return self._correction(correct_patient(self.catalog, patient, self._author(why), values))

    def delete(self, uid: str | SeriesRecord, *, why: str) -> "Correction":
        """Leave a series or study out of every question; files and arrays stay, no index brings it back.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such series or study with a file here.
        catalog.errors.CorrectionError
            If it is deleted already, or there is no reason.
        """
        from catalog.corrections import delete

        return self._correction(delete(self.catalog, uid_of(uid), self._author(why)))

    def restore(self, uid: str | SeriesRecord, *, why: str) -> "Correction":
        """Bring a deleted series or study back, with what arrived of it meanwhile.

        Raises
        ------
        catalog.errors.NotFoundError
            If it is not deleted.
        """
        from catalog.corrections import restore

        return self._correction(restore(self.catalog, uid_of(uid), self._author(why)))

    def undo(self, number: int, *, why: str) -> "Correction":
        """Undo a correction by its number; undoing that makes it hold again.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such correction.
        catalog.errors.CorrectionError
            If it was undone already, or a later one builds upon it.
        """
        from catalog.corrections import undo

        return self._correction(undo(self.catalog, number, self._author(why)))

    @property
    def corrections(self) -> "Corrections":
        """Every correction: what, before, after, who, why, when."""
        from catalog.corrections import list_corrections
        from workbench.corrections import Corrections

        return Corrections([self._correction(each) for each in list_corrections(self.catalog)])

    def _author(self, why: str) -> "Author":
        from workbench.corrections import author

        return author(why, now())

    def _correction(self, record: "CorrectionRecord") -> "Correction":
        from workbench.corrections import Correction

        return Correction.of(record, lambda number, why: self.undo(number, why=why))
