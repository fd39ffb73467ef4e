"""Of a bench: what its catalog is asked."""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from catalog.corrections import deleted_series
from catalog.errors import QuestionError
from catalog.facets import count_facets
from catalog.findings import find_findings
from catalog.pages import FEW, found_series
from catalog.query import count_series, find_series
from catalog.records import FacetCount, Question, SeriesRecord
from catalog.vocabulary import UNCHECKED
from catalog.where import FINDING, names_in
from workbench.bench.opened import Opened
from workbench.contact_sheet import FoundSeries
from workbench.question import question
from workbench.reports import INDEX_FIRST, Findings
from workbench.selection import Selection, selected_series
from workbench.tables import Table

if TYPE_CHECKING:
    pass

SERIES_COLUMNS = {
    "patient_id": "patient id",
    "patient_name": "name",
    "study_date": "date",
    "modality": "modality",
    "series_number": "no.",
    "series_description": "series",
    "body_part_examined": "body part",
    "instances": "instances",
    "series_instance_uid": "series instance uid",
}

FACET_COLUMNS = {"attribute": "attribute", "value": "value", "series": "series"}
ELSEWHERE = {"remote": "elsewhere"}
"""The column of series whose pixels are not here; only where there are some."""
OURS = {"ours": "our result"}
"""The column of results of ours that came back; only where there are some."""
UNKNOWN_UNTIL_INGESTED = f"of series that were not ingested much is unknown: finding == {UNCHECKED!r}"
"""What is said beside the answer to a question about findings."""


class Questions(Opened):
    """Finds series, counts them, and says what is wrong with them."""

    def series(
        self, where: str | None = None, *, limit: int | None = None, page: int = 1, **matching: Any
    ) -> FoundSeries:
        """Find series: DICOM matching on attributes, and an expression over them.

        `.contact_sheet()` of what is found draws a picture of each. Of more than ten thousand series the
        records are read when they are wanted, in the order in which they came into the catalog; fewer are
        sorted by patient.

        Parameters
        ----------
        where
            For example `"SliceThickness <= 1.5 and not SeriesDescription ~ 'scout'"`; a series is found when
            one of its instances satisfies it. `finding` is what is wrong with it, see `findings`: of what
            only an ingest tells neither `==` nor `!=` is true before it.
        limit, page
            How many at most, and which so many of them, from 1: the first thousand of a million are there at
            once, in the order in which they came into the catalog. `count` says how many there are.
        **matching
            Attribute (`modality` or `Modality`) to a value, a wildcard (`"CT*"`), a range of dates
            (`"20260101-20260131"`) or a list of values (PS3.4 C.2.2.2).

        Raises
        ------
        catalog.errors.QuestionError
            If an attribute or the expression is not understood, or there is a page without a limit.
        """
        if where is not None and not isinstance(where, str):
            raise QuestionError(f"where is an expression in a text, not {type(where).__name__}")
        if limit is None and page != 1:
            raise QuestionError("a page is one of so many series each; say how many: limit=200, page=2")
        found: Sequence[SeriesRecord]
        if limit is None:
            found = found_series(self.catalog, where, matching)
        else:
            found = find_series(self.catalog, where=where, limit=limit, page=page, **matching)
        note = "" if found or where or matching or page != 1 else INDEX_FIRST
        note = " · ".join(filter(None, (note, _told_of(where))))
        if limit is not None and len(found) == limit:
            note = f"page {page}, more with page={page + 1}"
        return self._table(found, Question(where, matching) if limit is None else None, note)

    def _table(
        self, found: Sequence[SeriesRecord], question: Question | None = None, note: str = ""
    ) -> FoundSeries:
        """Series as a table, with the columns that they fill."""
        return FoundSeries(
            found,
            SERIES_COLUMNS
            | (ELSEWHERE if any(each.remote for each in islice(found, FEW)) else {})
            | (OURS if any(each.ours for each in islice(found, FEW)) else {}),
            catalog=self.catalog,
            settings=self.settings,
            question=question,
            note=note,
        )

    def count(self, where: str | None = None, **matching: Any) -> int:
        """How many series `series` would find."""
        return count_series(self.catalog, where=where, **matching)

    def facets(self, *attributes: str, where: str | None = None, **matching: Any) -> Table[FacetCount]:
        """How many series have each value of attributes, of those that `series` would find.

        Raises
        ------
        catalog.errors.QuestionError
            If an attribute is not known or one of an instance, or the question is not understood.
        """
        found = count_facets(self.catalog, *attributes, where=where, **matching)
        return Table(found, FACET_COLUMNS, noun="values")

    def find(
        self, *words: str, where: str | None = None, limit: int | None = None, page: int = 1
    ) -> FoundSeries:
        """Find series as a person types: `Modality=CT` matches, any other word is looked for in the texts.

        An attribute that is given several times matches any of the values.

        Raises
        ------
        catalog.errors.QuestionError
            If an attribute or the expression is not understood.
        """
        expression, matching = question(words, where)
        return self.series(expression, limit=limit, page=page, **matching)

    def findings(self, series: Selection = None, *, kind: str | None = None) -> Findings:
        """What is wrong with series: deviations, conflicts; once ingested, missing slices, tilt and the like.

        `bench.series("finding != 'missing_slices'")` finds the series that were ingested and have none,
        `bench.series("finding == 'unchecked'")` those that were not ingested; what has no pixel data, such as
        a report, needs no ingest for that.

        Raises
        ------
        catalog.errors.QuestionError
            If there is no such kind of finding.
        """
        uids = None
        if series is not None:
            uids = [each.series_instance_uid for each in selected_series(self.catalog, series)]
        found = find_findings(self.catalog, kind=kind, series_instance_uids=uids)
        gone = deleted_series(self.catalog) if found else set()
        return Findings([each for each in found if each.series_instance_uid not in gone])


def _told_of(where: str | None) -> str:
    """What is to be said beside the answer to a question: where it may be other than somebody thinks."""
    names = names_in(where) if where and where.strip() else set()
    told = []
    if FINDING.column in names and UNCHECKED not in (where or ""):
        told.append(UNKNOWN_UNTIL_INGESTED)
    if not all(map(str.islower, names)):  # the key of an element that has no column
        from catalog.content import LIMITS

        told.append(LIMITS)
    return " · ".join(told)
