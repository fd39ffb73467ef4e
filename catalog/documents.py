"""Keeps the documents of studies: which there are, their text and words, and their chains of revisions.

The index notes what is a document; a pass of its own reads the text and records it, then puts revisions into
chains. Whatever ends the pass leaves documents that are due; the next one goes on there.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

import sqlalchemy as sa

from catalog.among import among
from catalog.database import Catalog
from catalog.errors import NotFoundError
from catalog.matching import is_storable
from catalog.mentions import is_there, is_valid, says
from catalog.models import documents, instances, patients, series, studies, upserting
from catalog.places import Instance
from catalog.records import DocumentRecord, DocumentText
from catalog.revisions import Revision, chains
from catalog.words import folded, parse, snippet, terms

DUE, READ, EMPTY, FAILED = "due", "read", "empty", "failed"
"""States of the text of a document."""
GONE = "a newer revision was here and is gone"
"""What is said of the newest revision that can still be read, where it was superseded."""
_AT_ONCE = 500
"""Values in one IN list."""
_PATIENTS = 200
"""Whose documents are chained in one transaction."""
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_KINDS = {f"{_STORAGE}104.1": "PDF", f"{_STORAGE}104.2": "CDA", f"{_STORAGE}88.59": ""}
_REPORTS = f"{_STORAGE}88."
_DROP_TERMS = sa.text("DELETE FROM document_terms WHERE rowid = :document")
_ADD_TERMS = sa.text("INSERT INTO document_terms (rowid, terms) VALUES (:document, :terms)")
_PUT_TERMS = sa.text(
    "INSERT INTO document_terms (document, terms) "
    "VALUES (:document, array_to_tsvector(CAST(:terms AS text[]))) "
    "ON CONFLICT (document) DO UPDATE SET terms = excluded.terms"
)


def kind_of_document(sop_class_uid: str) -> str:
    """`PDF`, `CDA` or `SR` of what is a document by its SOP class (PS3.4 table B.5-1); empty of what is none.

    A key object selection is a structured report by its form, but says hardly more than which images it has.
    """
    return _KINDS.get(sop_class_uid, "SR" if sop_class_uid.startswith(_REPORTS) else "")


# --- noting and reading ----------------------------------------------------------------------------------


def note_documents(connection: sa.Connection, written: Collection[Instance]) -> None:
    """Note which of the instances that were just written are documents, within a transaction."""
    headers = {each.sop_instance_uid: each.header for each in written if each.header is not None}
    kinds = {uid: kind_of_document(str(each.values.get("sop_class_uid"))) for uid, each in headers.items()}
    others = [each.id for each in written if each.id and kinds.get(each.sop_instance_uid) == ""]
    _forget(connection, others)
    noted = [uid for uid, kind in kinds.items() if kind]
    if not noted:
        return
    found = connection.execute(
        sa.select(instances.c.id, instances.c.sop_instance_uid, series.c.study)
        .join(series, instances.c.series == series.c.id)
        .where(among(instances.c.sop_instance_uid, noted))
        .order_by(instances.c.id)
    )
    rows = [
        {"instance": row.id, "study": row.study, "kind": kinds[row.sop_instance_uid],
         "digest": headers[row.sop_instance_uid].header_digest, "state": DUE}
        for row in found
    ]  # fmt: skip
    insert = upserting(connection.dialect, documents)
    is_same = documents.c.digest == insert.excluded.digest
    renewed: dict[str, Any] = {name: insert.excluded[name] for name in ("study", "kind", "digest")}
    renewed["state"] = sa.case((is_same, documents.c.state), else_=DUE)
    connection.execute(insert.on_conflict_do_update(index_elements=["instance"], set_=renewed), rows)


def _forget(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Instances that are no documents any more, if they were."""
    if not ids:
        return
    gone = list(connection.scalars(sa.select(documents.c.id).where(among(documents.c.instance, ids))))
    if gone and connection.dialect.name == "sqlite":
        connection.execute(_DROP_TERMS, [{"document": each} for each in gone])
    if gone:
        connection.execute(documents.delete().where(documents.c.id.in_(gone)))


@dataclass(frozen=True, slots=True)
class Due:
    """A document whose text is to be read."""

    document: int
    sop_instance_uid: str
    kind: str
    digest: str


def due_documents(catalog: Catalog, *, at_most: int) -> Iterator[list[Due]]:
    """Documents that were not read yet, so many at a time, each once."""
    last = 0
    statement = (
        sa.select(documents.c.id, instances.c.sop_instance_uid, documents.c.kind, documents.c.digest)
        .join(instances, documents.c.instance == instances.c.id)
        .where(documents.c.state == DUE, is_there())
        .order_by(documents.c.id)
        .limit(at_most)
    )
    while True:
        with catalog.reading() as connection:
            rows = connection.execute(statement.where(documents.c.id > last)).all()
        if not rows:
            return
        last = rows[-1].id
        yield [Due(*row) for row in rows]


def count_due(catalog: Catalog) -> int:
    """How many documents were not read yet."""
    with catalog.reading() as connection:
        statement = sa.select(sa.func.count()).select_from(documents)
        return connection.scalar(statement.where(documents.c.state == DUE, is_there())) or 0


def make_due(catalog: Catalog) -> None:
    """Have the text of every document of an instance read again, whatever came of it."""
    with catalog.transaction() as connection:
        connection.execute(documents.update().where(documents.c.instance.is_not(None)).values(state=DUE))


def record_texts(catalog: Catalog, read: Sequence[tuple[Due, DocumentText]]) -> None:
    """Record what was read of documents that are still what they were, in one transaction."""
    with catalog.transaction() as connection:
        for due, found in read:
            is_same = (documents.c.id == due.document, documents.c.digest == due.digest)
            if connection.execute(documents.update().where(*is_same).values(**_row(found))).rowcount:
                _put_terms(connection, due.document, found.text)


def _row(found: DocumentText) -> dict[str, Any]:
    names = ("state", "reason", "text", "title", "status", "moment", "created", "number", "identifier")
    row = {name: getattr(found, name) for name in names}
    return row | {
        "predecessors": list(found.predecessors),
        "folded": folded(found.text),
        "chain": None,
        "place": None,
    }


def _put_terms(connection: sa.Connection, document: int, text: str) -> None:
    found = terms(text)
    if connection.dialect.name == "sqlite":
        connection.execute(_DROP_TERMS, {"document": document})
        connection.execute(_ADD_TERMS, {"document": document, "terms": " ".join(found)})
    else:
        connection.execute(_PUT_TERMS, {"document": document, "terms": found})


def add_file(
    catalog: Catalog, study_instance_uid: str, path: str, kind: str, digest: str, found: DocumentText
) -> int:
    """Record a report that was given as a file, and return its number; the same file again replaces it.

    Raises
    ------
    NotFoundError
        If the catalog has no such study.
    """
    asked = study_instance_uid if is_storable(study_instance_uid) else ""
    with catalog.transaction() as connection:
        study = connection.scalar(sa.select(studies.c.id).where(studies.c.study_instance_uid == asked))
        if study is None:
            raise NotFoundError(f"no study {study_instance_uid[:64]} in the catalog; index its files first")
        row = {"study": study, "path": path, "kind": kind, "digest": digest} | _row(found)
        insert = upserting(connection.dialect, documents).values(row)
        replaced = {name: insert.excluded[name] for name in row if name not in ("study", "path")}
        connection.execute(insert.on_conflict_do_update(index_elements=["study", "path"], set_=replaced))
        document: int = connection.execute(
            sa.select(documents.c.id).where(documents.c.study == study, documents.c.path == path)
        ).scalar_one()
        _put_terms(connection, document, found.text)
    return document


# --- revisions -------------------------------------------------------------------------------------------


def chain_documents(catalog: Catalog) -> None:
    """Put documents into chains where some were read since; those of some patients in one transaction."""
    unchained = sa.and_(documents.c.chain.is_(None), documents.c.state != DUE)
    of_patients = (
        sa.select(studies.c.patient)
        .join(documents, documents.c.study == studies.c.id)
        .where(unchained)
        .distinct()
    )
    with catalog.reading() as connection:
        wanted = sorted(connection.scalars(of_patients))
    for some in batched(wanted, _PATIENTS):
        with catalog.transaction() as connection:
            # whoever chains them at the same time waits, and then sees what was written here
            locked = sa.select(patients.c.id).where(patients.c.id.in_(some)).order_by(patients.c.id)
            connection.execute(locked.with_for_update()).all()
            _chain(connection, some)


def _chain(connection: sa.Connection, of_patients: Sequence[int]) -> None:
    names = ("study", "identifier", "predecessors", "moment", "created", "number", "path", "chain", "place")
    statement = (
        sa.select(
            documents.c.id, studies.c.patient, instances.c.sop_instance_uid,
            documents.c.remark, *(documents.c[name] for name in names)
        )
        .join(studies, documents.c.study == studies.c.id)
        .outerjoin(instances, documents.c.instance == instances.c.id)
        .where(studies.c.patient.in_(of_patients), documents.c.state != DUE)
    )  # fmt: skip
    revisions: dict[int, list[Revision]] = {}
    before = {}
    for row in connection.execute(statement):
        before[row.id] = (row.chain, row.place, row.remark)
        revision = Revision(
            row.id, row.sop_instance_uid or row.path, row.study, row.identifier, tuple(row.predecessors),
            row.moment, row.created, row.number,
        )  # fmt: skip
        revisions.setdefault(row.patient, []).append(revision)
    rows = [
        {"its_id": document, "chain": min(chain.documents), "place": place, "remark": chain.remark}
        for each in revisions.values()
        for chain in chains(each)
        for place, document in enumerate(chain.documents)
    ]
    rows = [row for row in rows if before[row["its_id"]] != (row["chain"], row["place"], row["remark"])]
    if rows:
        connection.execute(documents.update().where(documents.c.id == sa.bindparam("its_id")), rows)


# --- finding ---------------------------------------------------------------------------------------------


def find_documents(
    catalog: Catalog,
    question: str | None = None,
    *,
    study_instance_uids: Collection[str] | None = None,
    every_revision: bool = False,
    limit: int | None = None,
) -> list[DocumentRecord]:
    """Return documents that can still be read and say something, the newest first.

    Parameters
    ----------
    question
        Words, see `catalog.words`; every document without.
    study_instance_uids
        Only of these studies.
    every_revision
        Those that were superseded, too.
    limit
        How many at most.

    Raises
    ------
    QuestionError
        If there is no word in the question, or more than can be asked for.
    """
    conditions = [is_there(), *([] if every_revision else [is_valid()])]
    conditions += [says(question)] if question is not None else []
    order = (documents.c.moment.desc(), documents.c.created.desc(), documents.c.id.desc())
    statement = _SELECTED.where(*conditions).order_by(*order).limit(limit)
    of_study = studies.c.study_instance_uid
    some: list[tuple[str, ...] | None] = [None]
    if study_instance_uids is not None:
        some = [*batched(sorted(set(filter(is_storable, study_instance_uids))), _AT_ONCE)]
    found: list[DocumentRecord] = []
    with catalog.reading() as connection:
        for uids in some:
            found += _records(
                connection, statement if uids is None else statement.where(of_study.in_(uids)), question
            )
    if len(some) > 1:
        found.sort(key=lambda each: (each.date, each.time, each.document), reverse=True)
    return found[:limit]


_SELECTED = (
    sa.select(documents, studies.c.study_instance_uid, patients.c.patient_id, instances.c.sop_instance_uid)
    .join(studies, documents.c.study == studies.c.id)
    .join(patients, studies.c.patient == patients.c.id)
    .outerjoin(instances, documents.c.instance == instances.c.id)
)


def _records(
    connection: sa.Connection, statement: sa.Select[Any], question: str | None
) -> list[DocumentRecord]:
    asked = parse(question) if question is not None else ()
    found = []
    for row in connection.execute(statement.execution_options(yield_per=20)).mappings():
        light = {name: row[name] for name in _SHOWN}  # a text may have a megabyte
        found.append(light | {"snippet": snippet(row["text"], asked)})
    of_chains = {each["chain"] for each in found if each["chain"] is not None}
    there, newest = _there(connection, of_chains), _newest(connection, of_chains)
    return [
        _record(each, there.get(each["chain"], [each["id"]]), newest.get(each["chain"], each["id"]))
        for each in found
    ]


_SHOWN = (
    "id", "study_instance_uid", "patient_id", "kind", "title", "moment", "status", "state", "reason",
    "chain", "remark", "sop_instance_uid", "path",
)  # fmt: skip


def _there(connection: sa.Connection, of_chains: Collection[int]) -> dict[int, list[int]]:
    """Documents of chains that can still be read, the valid one last."""
    found: dict[int, list[int]] = {}
    for some in batched(sorted(of_chains), _AT_ONCE):
        rows = connection.execute(
            sa.select(documents.c.chain, documents.c.id)
            .where(documents.c.chain.in_(some), is_there())
            .order_by(documents.c.chain, documents.c.place)
        )
        for row in rows:
            found.setdefault(row.chain, []).append(row.id)
    return found


def _newest(connection: sa.Connection, of_chains: Collection[int]) -> dict[int, int]:
    """The document of chains that superseded all others, whether it can still be read or not."""
    found: dict[int, int] = {}
    for some in batched(sorted(of_chains), _AT_ONCE):
        rows = connection.execute(
            sa.select(documents.c.chain, documents.c.id)
            .where(documents.c.chain.in_(some))
            .order_by(documents.c.chain, documents.c.place)
        )
        found |= {row.chain: row.id for row in rows}
    return found


def _record(row: Mapping[str, Any], there: Sequence[int], newest: int) -> DocumentRecord:
    revision = there.index(row["id"]) + 1
    remarks = (row["remark"], GONE if revision == len(there) and newest != row["id"] else "")
    return DocumentRecord(
        document=row["id"],
        date=row["moment"][:8],
        time=row["moment"][8:14],
        revision=revision,
        revisions=len(there),
        is_valid=revision == len(there),
        **{name: row[name] for name in _SHOWN if name not in ("id", "moment", "chain", "remark")},
        remark="; ".join(filter(None, remarks)),
        snippet=row["snippet"],
    )


def text_of(catalog: Catalog, document: int) -> str:
    """Return the text of a document; empty where none was read."""
    with catalog.reading() as connection:
        statement = sa.select(documents.c.text).where(documents.c.id == document)
        return connection.scalar(statement) or ""


def revisions_of(catalog: Catalog, document: int) -> list[DocumentRecord]:
    """Return all revisions of a document that are there, itself among them, the valid one last."""
    chain = sa.select(documents.c.chain).where(documents.c.id == document).scalar_subquery()
    is_of_chain = sa.or_(documents.c.id == document, documents.c.chain == chain)
    with catalog.reading() as connection:
        found = _records(connection, _SELECTED.where(is_of_chain, is_there()), None)
    return sorted(found, key=lambda each: each.revision)
