"""Of a bench: frozen selections."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from catalog import cohorts as frozen
from catalog.identifiers import is_uid
from catalog.records import CohortRecord
from workbench.bench.opened import now
from workbench.bench.questions import Questions
from workbench.cohorts import Cohort, all_cohorts, import_manifest, question_in
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
    ) -> Cohort:
        """Freeze series for good: their question, every instance with its digest, and the approval.

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

        Raises
        ------
        catalog.errors.CohortError
            If there is such a cohort, nothing to freeze, or the approval has ended.
        catalog.errors.QuestionError
            If the expression is not understood.
        catalog.errors.NotFoundError
            If one of the series is known only from elsewhere: its instances are not known.
        """
        if isinstance(found, str) and not is_uid(found):
            found = self.series(found)
        selected = selected_series(self.catalog, found)
        require_here(selected)
        record = frozen.freeze(
            self.catalog,
            name,
            [each.series_instance_uid for each in selected],
            question=question_in(found),
            approval=approval,
            expires=expires,
            now=now(),
        )
        return Cohort(self.catalog, record)

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
        return Cohort(self.catalog, frozen.find_cohort(self.catalog, name))

    def import_cohort(self, path: str | Path, *, name: str | None = None) -> Cohort:
        """Take in a cohort from its manifest; `cohort.resolve()` says what is missing here or different.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such file.
        catalog.errors.CohortError
            If it is no manifest, was altered, or another cohort has its name.
        """
        return import_manifest(self.catalog, path, name)
