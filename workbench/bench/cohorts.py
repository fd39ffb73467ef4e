"""Of a bench: frozen selections."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from catalog import cohorts as frozen
from catalog.identifiers import is_uid
from catalog.records import CohortRecord
from workbench.bench.opened import now
from workbench.bench.questions import Questions
from workbench.cohorts import Cohort, all_cohorts, import_manifest, question_in, read_whole
from workbench.selection import Selection, require_here, selected_series
from workbench.tables import Table

if TYPE_CHECKING:
    pass


class Cohorts(Questions):
    """Freezes selections, and opens what was frozen."""

    def freeze(
        self,
        name: str,
        found: Selection = None,
        *,
        approval: str = "",
        expires: date | str | None = None,
        whole_files: bool = True,
        quiet: bool = False,
    ) -> Cohort:
        """Freeze series for good: their question, every instance with its digests, and the approval.

        Files of this machine that were never read as a whole are read now, so that other pixels under the
        same header are seen later; what is read is not read for another cohort, nor for a first scrub.

        Parameters
        ----------
        name
            One that no cohort has yet: what is frozen is never changed.
        found
            What `bench.series` or `bench.find` found, any other series, or a `where` expression.
        approval
            Number of the ethics committee or of a consent.
        expires
            Its last day; later nothing is run on the cohort and none of its rows opened. A series that is
            given by its UID is used outside the cohort, and not refused.
        whole_files
            `False` freezes by headers and sizes, without reading the files, as what lies in buckets is.

        Raises
        ------
        catalog.errors.CohortError
            If there is such a cohort, nothing to freeze, the approval has ended, or files are no longer as
            they were indexed.
        catalog.errors.QuestionError
            If the expression is not understood.
        catalog.errors.NotFoundError
            If one of the series is known only from elsewhere: its instances are not known.
        """
        if isinstance(found, str) and not is_uid(found):
            found = self.series(found)
        selected = selected_series(self.catalog, found)
        require_here(self.catalog, selected)
        uids = [each.series_instance_uid for each in selected]
        frozen.may_freeze(self.catalog, name, approval=approval, expires=expires, today=now().date())
        if whole_files:
            read_whole(self.catalog, name, uids, quiet=quiet)
        record = frozen.freeze(
            self.catalog,
            name,
            uids,
            question=question_in(found),
            approval=approval,
            expires=expires,
            now=now(),
        )
        return Cohort(self.catalog, record, self.settings)

    @property
    def cohorts(self) -> Table[CohortRecord]:
        """Every cohort."""
        return all_cohorts(self.catalog)

    def cohort(self, name: str) -> Cohort:
        """Return a cohort by its name, its digest checked.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is none of that name.
        catalog.errors.CohortError
            If its rows are not those that were frozen.
        """
        return Cohort(self.catalog, frozen.find_cohort(self.catalog, name), self.settings)

    def import_cohort(self, path: str | Path, *, name: str | None = None) -> Cohort:
        """Take in a cohort from its manifest; `cohort.resolve()` says what is missing here or different.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such file.
        catalog.errors.CohortError
            If it is no manifest, was altered, or another cohort has its name.
        """
        return import_manifest(self.catalog, path, name, settings=self.settings)
