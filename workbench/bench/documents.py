"""Of a bench: reports of studies."""

from pathlib import Path
from typing import TYPE_CHECKING

from catalog.documents import make_due
from workbench.bench.archive import Archive
from workbench.documents import Documents, DocumentsRead, Studies, add_report, search

if TYPE_CHECKING:
    pass


class Reports(Archive):
    """Finds reports by what they say, and takes more of them."""

    def documents(
        self,
        words: str | None = None,
        studies: Studies = None,
        *,
        revisions: bool = False,
        limit: int | None = 200,
    ) -> Documents:
        """Reports of studies, the newest first: PDF, CDA, structured reports, files that were added.

        `bench.series("report ~ 'Metastase' and SliceThickness <= 1.5")` finds series by them.

        Parameters
        ----------
        words
            What they say, in any form of the words: `"Leber Metastase"`, `"leber*"`, `"*metastase"`, and in
            double quotes words one after another (`catalog.words`); every document when left out.
        studies
            Study Instance UIDs, or series that were found, for those of their studies.
        revisions
            Show what was superseded, too; `bench.documents(…)[0].revisions` are those of one document.
        limit
            How many at most.

        Raises
        ------
        catalog.errors.QuestionError
            If there is no word to look for, or more than can be asked for.
        """
        return search(self.catalog, words, studies, every_revision=revisions, limit=limit)

    def refresh_documents(self, *, quiet: bool = False) -> DocumentsRead:
        """Read the text of every document again, also of those that could not be read before."""
        make_due(self.catalog)
        return self._read_documents(quiet=quiet)

    def add_report(
        self,
        study_instance_uid: str,
        path: str | Path,
        *,
        title: str = "",
        date: str = "",
        identifier: str = "",
    ) -> Documents:
        """Take in a report that is no DICOM: a file of text, PDF or CDA. The same file again replaces it.

        Parameters
        ----------
        title
            Name of the file when left out.
        date
            `20260131`; reports with the same `identifier` in a study are revisions, the newest is valid.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such study, or no such file.
        catalog.errors.HeaderError
            If the file cannot be read.
        """
        return add_report(
            self.catalog, study_instance_uid, path, title=title, date=date, identifier=identifier
        )
