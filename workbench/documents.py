"""Reports of studies: read at the index, found by what they say, each with its revisions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

from catalog.database import Catalog
from catalog.documents import (
    Due,
    add_file,
    chain_documents,
    count_due,
    due_documents,
    find_documents,
    record_texts,
    revisions_of,
    text_of,
)
from catalog.errors import HeaderError, NotFoundError, QuestionError
from catalog.fetch import Fetched, Local
from catalog.matching import check_count, is_storable
from catalog.query import find_instances
from catalog.records import DocumentRecord, DocumentText, Progress, SeriesRecord, as_dict, no_progress
from workbench.tables import Table

AT_ONCE = 32
"""Documents that are read and recorded together."""
COLUMNS = {
    "date": "date",
    "kind": "kind",
    "title": "title",
    "snippet": "says",
    "revision": "revision",
    "status": "status",
    "note": "note",
    "study_instance_uid": "study instance uid",
}

type Studies = str | SeriesRecord | Iterable[str | SeriesRecord] | None
"""Studies by UID, or those of series that were found; `None` for every one."""


class Document:
    """One document; its fields are those of `catalog.records.DocumentRecord`."""

    def __init__(self, catalog: Catalog, record: DocumentRecord) -> None:
        self._catalog = catalog
        self.record = record

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.record, name)

    def __repr__(self) -> str:
        record = self.record
        of = f", revision {record.revision} of {record.revisions}" if record.revisions > 1 else ""
        return f"<document {record.kind} {record.date}{of} of study {record.study_instance_uid}>"

    @property
    def text(self) -> str:
        """All of its text; empty where none could be read, `reason` says why."""
        return text_of(self._catalog, self.record.document)

    @property
    def revisions(self) -> "Documents":
        """All its revisions that are there, itself among them; the valid one is the last."""
        return Documents(self._catalog, revisions_of(self._catalog, self.record.document))

    def as_row(self) -> dict[str, Any]:
        """As a table shows it."""
        record = self.record
        superseded = "" if record.is_valid else "superseded"
        notes = "; ".join(each for each in (superseded, record.reason, record.remark) if each)
        of = f"{record.revision} of {record.revisions}" if record.revisions > 1 else ""
        return as_dict(record) | {"revision": of, "note": notes or record.state.replace("read", "")}


class Documents(Table[Document]):
    """Documents of studies, the newest first."""

    def __init__(self, catalog: Catalog, found: Sequence[DocumentRecord], *, note: str = "") -> None:
        super().__init__([Document(catalog, each) for each in found], COLUMNS, noun="documents", note=note)

    def _row(self, record: Document) -> Mapping[str, Any]:
        return record.as_row()

    def to_pandas(self) -> Any:
        """One row a document, every field a column."""
        import pandas as pd

        return pd.DataFrame([as_dict(each.record) for each in self])

    def as_json(self) -> list[dict[str, Any]]:
        """The table as `workbench documents --json` prints it."""
        return [as_dict(each.record) for each in self]


def search(
    catalog: Catalog, words: str | None, of: Studies, *, every_revision: bool, limit: int | None
) -> Documents:
    """Find documents; raises `QuestionError` where what is asked for cannot be understood."""
    if words is not None and not isinstance(words, str):
        raise QuestionError(f"documents are looked for with words in a text, not {type(words).__name__}")
    if limit is not None:
        check_count("limit", limit)
    asked = words if words is not None and words.strip() else None
    found = find_documents(
        catalog,
        asked,
        study_instance_uids=_studies(of),
        every_revision=every_revision,
        limit=None if limit is None else limit + 1,
    )
    note = f"the newest {limit:,}, there are more" if limit is not None and len(found) > limit else ""
    return Documents(catalog, found[:limit], note=note)


def _studies(of: Studies) -> set[str] | None:
    if of is None:
        return None
    several = [of] if isinstance(of, str | SeriesRecord) else of
    if not isinstance(several, Iterable):
        raise QuestionError("studies are given by UID, or as rows of bench.series(), or a list of them")
    return {each.study_instance_uid if isinstance(each, SeriesRecord) else str(each) for each in several}


# --- reading ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DocumentsRead:
    """What one pass over documents that were due did."""

    states: Mapping[str, int]
    seconds: float

    @property
    def documents(self) -> int:
        """How many it looked at."""
        return sum(self.states.values())

    def __bool__(self) -> bool:
        return self.documents > 0


def read_due(
    catalog: Catalog, fetched: Fetched, *, threads: int, progress: Progress = no_progress
) -> DocumentsRead:
    """Read the text of documents that are due and chain their revisions; goes on where one before ended."""
    started, total = monotonic(), count_due(catalog)
    states: Counter[str] = Counter()
    if total:
        progress(0, total)
        with ThreadPoolExecutor(threads) as pool:
            for due in due_documents(catalog, at_most=AT_ONCE):
                read = _read(catalog, fetched, due, pool)
                record_texts(catalog, read)
                states.update(found.state for _, found in read)
                progress(sum(states.values()), max(total, sum(states.values())))
    chain_documents(catalog)
    return DocumentsRead(dict(states), monotonic() - started)


def _read(
    catalog: Catalog, fetched: Fetched, due: Sequence[Due], pool: ThreadPoolExecutor
) -> list[tuple[Due, DocumentText]]:
    from pipelines.documents.extraction import read_document  # loads pydicom, which most runs do not need

    instances = find_instances(catalog, sop_instance_uid=[each.sop_instance_uid for each in due])
    local: AbstractContextManager[Local] = fetched.local(instances)
    with local as there:
        paths = {each.sop_instance_uid: each.path for each in there.instances}

        def read(each: Due) -> DocumentText:
            if reason := there.failures.get(each.sop_instance_uid):
                return DocumentText("due", f"cannot be read now: it {reason}")
            return read_document(paths[each.sop_instance_uid])

        wanted = [each for each in due if each.sop_instance_uid in paths]
        return list(zip(wanted, pool.map(read, wanted), strict=True))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file may have
        return False


def _is_date(text: str) -> bool:
    try:
        return bool(datetime.strptime(text, "%Y%m%d"))  # noqa: DTZ007 (a day has no zone)
    except ValueError:
        return False


def add_report(
    catalog: Catalog, study_instance_uid: str, path: str | Path, *, title: str, date: str, identifier: str
) -> Documents:
    """Take in a report that is a file of its own; see `Bench.add_report`."""
    from catalog.revisions import moment_of
    from catalog.scan import storable
    from pipelines.documents.extraction import read_report

    for name, said in {"title": title, "identifier": identifier}.items():
        if not isinstance(said, str) or not is_storable(said):
            raise QuestionError(f"the {name} of a report is a text without NUL or halves of characters")
    if not isinstance(study_instance_uid, str) or not isinstance(path, str | Path):
        raise QuestionError("a report is added by a Study Instance UID and the path of its file")
    where = Path(path).expanduser().absolute()
    if not _is_file(where):
        raise NotFoundError(f"{where} is no file; a report is one of text, PDF or CDA")
    moment = moment_of(str(date), None)
    if date and not _is_date(moment[:8]):
        raise QuestionError("the date of a report is one of the calendar, written 20260131")
    kind, its_digest, found = read_report(where)
    if found.state == "failed":
        raise HeaderError(f"{where}: {found.reason}")
    found = replace(found, title=title or where.stem, moment=moment, identifier=identifier)
    number = add_file(catalog, study_instance_uid, storable(str(where)), kind, its_digest, found)
    chain_documents(catalog)
    return Documents(catalog, [each for each in revisions_of(catalog, number) if each.document == number])
