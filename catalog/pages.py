"""The series that a question finds, however many: their rows are known, records are read when wanted."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, overload

from catalog.database import Catalog
from catalog.errors import NotFoundError
from catalog.query import count_series, find_rows, series_of_rows
from catalog.records import SeriesRecord

FEW = 10_000
"""So many are read at once, and sorted by patient."""
PAGE = 1_000
"""Records that are read together, and kept until others are wanted."""


class Pages(Sequence[SeriesRecord]):
    """Series by their rows, eight bytes each, in the order in which they came into the catalog.

    What is written later changes the records that are read then. Which series they are is looked up when
    one beyond the first is wanted; from then on nothing changes it.

    Parameters
    ----------
    first
        Rows of the first series.
    count
        How many there are.
    every
        Looks up the rows of all.
    """

    def __init__(
        self, catalog: Catalog, first: "array[int]", count: int, every: "Callable[[], array[int]]"
    ) -> None:
        self._catalog, self._rows, self._count, self._every = catalog, first, count, every
        self._page, self._kept = -1, list[SeriesRecord | None]()

    def __len__(self) -> int:
        return self._count

    def _known(self, until: int) -> "array[int]":
        """Rows of at least so many series, as far as there are."""
        if until > len(self._rows) < self._count:
            self._rows = self._every()
            self._count = len(self._rows)
        return self._rows

    @overload
    def __getitem__(self, index: int) -> SeriesRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SeriesRecord]: ...
    def __getitem__(self, index: int | slice) -> SeriesRecord | Sequence[SeriesRecord]:
        if isinstance(index, slice):
            rows = self._known(self._count)[index]
            part = Pages(self._catalog, rows, len(rows), lambda: rows)
            return part if len(part) > FEW else tuple(part)
        at = range(self._count)[index]
        if at // PAGE != self._page:
            self._kept, self._page = self._read(at // PAGE), at // PAGE
        found = self._kept[at % PAGE]
        if found is None:
            raise NotFoundError("the catalog has this series no longer; ask the question again")
        return found

    def __iter__(self) -> Iterator[SeriesRecord]:
        page = 0
        while page * PAGE < self._count:
            yield from (each for each in self._read(page) if each is not None)
            page += 1

    def _read(self, page: int) -> list[SeriesRecord | None]:
        rows = self._known(min((page + 1) * PAGE, self._count))[page * PAGE : (page + 1) * PAGE]
        found = series_of_rows(self._catalog, rows)
        return [found.get(row) for row in rows]


def found_series(catalog: Catalog, where: str | None, matching: Mapping[str, Any]) -> Sequence[SeriesRecord]:
    """Return the series that are asked for: few by patient, study date and series number, many as `Pages`.

    Raises
    ------
    QuestionError
        As `catalog.query.find_series`.
    """
    rows = find_rows(catalog, where, matching, limit=FEW + 1)
    if len(rows) > FEW:
        count = count_series(catalog, where=where, **matching)
        return Pages(catalog, rows, count, partial(find_rows, catalog, where, matching))
    return list(series_of_rows(catalog, rows).values())
