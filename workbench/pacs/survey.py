"""What a node tells of its series, as rows without a file; whichever way it was asked."""

from collections.abc import Iterable, Iterator

from catalog.attributes import PATIENT, SERIES, STUDY, Level
from catalog.records import RemoteSeries
from workbench.pacs.descent import Told
from workbench.pacs.matching import COUNTS

_KEPT = frozenset(each.column for each in (*PATIENT, *STUDY, *SERIES))
_COUNT = COUNTS[Level.SERIES][0].column


def as_remote(told: Iterable[Told], address: str) -> Iterator[RemoteSeries]:
    """Rows of the series that a node tells of, as the catalog records them."""
    for each in told:
        values = {name: value for name, value in each.items() if name in _KEPT}
        count = each.get(_COUNT)
        yield RemoteSeries(values, address, address, instances=count if isinstance(count, int) else None)
