"""Corrections of what the archive says: patients merged, studies moved, values corrected, series deleted.

Files stay as they are. Each correction is one row of a log, written in the transaction that makes it; what
holds is the log applied, in order, to what the headers say. The index applies it to what it writes, so that
files that are read again, or arrive later, are corrected as well. Undoing is a correction, too.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import Any, SupportsIndex

import sqlalchemy as sa

from catalog.among import among
from catalog.attributes import PATIENT, Level
from catalog.database import Catalog
from catalog.errors import CorrectionError, NotFoundError, QuestionError
from catalog.matching import is_storable
from catalog.models import (
    corrections,
    files,
    instances,
    patients,
    remotes,
    series,
    studies,
    study_origins,
    upserting,
)
from catalog.places import State
from catalog.said import keep, series_below
from catalog.tombstones import DELETE, deleted_rows, doubt_deleted

MERGE, MOVE, CORRECT, UNDO = "merge", "move", "correct", "undo"
LONGEST = 1000
"""Characters of a reason or a value."""
_TOGETHER = 10_000
"""Studies of one statement."""
CORRECTABLE = tuple(each.column for each in PATIENT)


@dataclass(frozen=True, slots=True)
class CorrectionRecord:
    """One correction, as it is in the log."""

    number: int
    """Later ones have larger numbers."""
    kind: str
    """`merge`, `move`, `correct`, `delete` or `undo`."""
    subject: str
    """Study or Series Instance UID; empty for patients."""
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    who: str
    why: str
    at: datetime
    undoes: int | None
    active: bool
    """Whether it holds; one that was undone does not."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who corrects, why and when."""

    who: str
    why: str
    at: datetime

    def __post_init__(self) -> None:
        if not isinstance(self.why, str) or not self.why.strip() or not _fits(self.why):
            raise CorrectionError(
                f"a correction needs its reason in words, {LONGEST:,} characters at most: why='typing error'"
            )


def _fits(text: str) -> bool:
    return len(text) <= LONGEST and is_storable(text)


# --- what can be done ------------------------------------------------------------------------------------


def merge_patients(catalog: Catalog, source: str, into: str, author: Author) -> CorrectionRecord:
    """Put every study of one patient under another, those that arrive later too.

    Parameters
    ----------
    source, into
        Patient IDs, or a Study Instance UID of the patient that is meant.

    Raises
    ------
    NotFoundError
        If there is no such patient.
    CorrectionError
        If several have the ID, or both are one.
    """
    with catalog.transaction() as connection:
        _hold_index(connection)
        one, other = _patient(connection, source), _patient(connection, into)
        if one == other:
            raise CorrectionError("both are one patient already")
        values = {"patient": one, "into": other}
        made = _record(
            connection, MERGE, "", author, _said(connection, one), _said(connection, other), values
        )
        _place_studies(connection)
        return made


def move_study(catalog: Catalog, study: str, to_patient: str, author: Author) -> CorrectionRecord:
    """Put one study under another patient, instances of it that arrive later too.

    Raises
    ------
    NotFoundError
        If there is no such study or patient.
    CorrectionError
        If it is there already, or several patients have the ID.
    """
    with catalog.transaction() as connection:
        _hold_index(connection)
        of_study = sa.select(studies.c.patient).where(studies.c.study_instance_uid == _asked(study))
        now = connection.scalar(of_study)
        if now is None:
            raise NotFoundError(
                f"no study {_shown(study)} in the catalog; `workbench series` lists what there is"
            )
        other = _patient(connection, to_patient)
        if now == other:
            raise CorrectionError(f"study {study} is of this patient already")
        values = {"patient": now, "into": other}
        made = _record(
            connection, MOVE, study, author, _said(connection, now), _said(connection, other), values
        )
        _place_studies(connection)
        return made


def correct_patient(
    catalog: Catalog, patient: str, author: Author, values: Mapping[str, str]
) -> CorrectionRecord:
    """Give a patient another ID, name, birth date, sex or species.

    Raises
    ------
    NotFoundError
        If there is no such patient.
    CorrectionError
        If there is no such value, or nothing would change.
    """
    for name, value in values.items():
        if name not in CORRECTABLE:
            raise CorrectionError(f"{name[:64]!r} cannot be corrected; {', '.join(CORRECTABLE)} can")
        if not isinstance(value, str) or not _fits(value):
            raise CorrectionError(f"{name} is a text of {LONGEST:,} characters at most")
    with catalog.transaction() as connection:
        _hold_index(connection)
        row = _patient(connection, patient)
        said = _said(connection, row)
        before = {name: said[name] for name in values}
        if before == dict(values) or not values:
            raise CorrectionError("nothing would change; give what is to be another: patient_name='…'")
        made = _record(connection, CORRECT, "", author, before, dict(values), {"patient": row})
        _value_patients(connection, [row])
        return made


def delete(catalog: Catalog, uid: str, author: Author) -> CorrectionRecord:
    """Leave a series or study out of every question from now on; its files and arrays stay.

    Raises
    ------
    NotFoundError
        If there is none with a file here, or an address elsewhere.
    CorrectionError
        If it is deleted already.
    """
    with catalog.transaction() as connection:
        _hold_index(connection)
        kind = _kind_of(connection, uid)
        if kind is None:
            raise NotFoundError(
                f"no series or study {_shown(uid)} with a file or an address is in the catalog"
            )
        if _tombstone(connection, uid) is not None:
            raise CorrectionError(f"{kind} {uid} is deleted already; restore brings it back")
        made = _record(connection, DELETE, uid, author, {}, {}, {})
        bury(connection)
        return made


def restore(catalog: Catalog, uid: str, author: Author) -> CorrectionRecord:
    """Undo the deletion of a series or study.

    Raises
    ------
    NotFoundError
        If it is not deleted.
    """
    with catalog.reading() as connection:
        number = _tombstone(connection, uid)
    if number is None:
        raise NotFoundError(f"no deleted series or study {_shown(uid)}; `workbench corrections` lists them")
    return undo(catalog, number, author)


def undo(catalog: Catalog, number: int, author: Author) -> CorrectionRecord:
    """Undo a correction; undoing that makes it hold again.

    Raises
    ------
    NotFoundError
        If there is no such correction.
    QuestionError
        If it is no number.
    CorrectionError
        If it was undone already, or a later one builds upon it; names that.
    """
    number = _number(number)
    with catalog.transaction() as connection:
        _hold_index(connection)
        row = connection.execute(sa.select(corrections).where(corrections.c.id == number)).first()
        if row is None:
            raise NotFoundError(f"no correction {number}; `workbench corrections` lists them")
        if not row.active:
            raise CorrectionError(f"correction {number} does not hold any more; it was undone")
        meant = _meant(connection, row)
        later = connection.execute(
            sa.select(corrections)
            .where(corrections.c.active, corrections.c.kind != UNDO, corrections.c.id > meant.id)
            .order_by(corrections.c.id.desc())
        )
        for each in later:
            if _touched(each) & _touched(meant):
                raise CorrectionError(
                    f"correction {number} cannot be undone before correction {each.id}, which builds upon "
                    f"it; undo {each.id} first"
                )
        made = _record(
            connection, UNDO, meant.subject, author, dict(row.after), dict(row.before), {"undoes": number}
        )
        _set_active(connection, row)
        _place_studies(connection)
        _value_patients(connection, [meant.patient] if meant.kind == CORRECT else [], undone=True)
        bury(connection)
        _unbury(connection)
        return made


def _number(number: object) -> int:
    if not isinstance(number, SupportsIndex):
        raise QuestionError(
            f"a correction is undone by its number, not by {type(number).__name__}; bench.corrections has it"
        )
    found = operator.index(number)
    if isinstance(number, bool) or not 0 < found < 2**63:
        raise NotFoundError("no correction has this number; `workbench corrections` lists them")
    return found


def list_corrections(catalog: Catalog) -> list[CorrectionRecord]:
    """The whole log, in order."""
    with catalog.reading() as connection:
        return [_of_row(row) for row in connection.execute(sa.select(corrections).order_by(corrections.c.id))]


def deleted_series(catalog: Catalog) -> set[str]:
    """UIDs of the series that were deleted, alone or with their study."""
    with catalog.reading() as connection:
        statement = sa.select(series.c.series_instance_uid)
        return set(connection.scalars(statement.where(series.c.id.in_(deleted_rows()))))


def is_deleted(catalog: Catalog, series_instance_uid: str) -> bool:
    """Whether a series was deleted, alone or with its study."""
    of_series = series.c.series_instance_uid == _asked(series_instance_uid)
    statement = sa.select(series.c.id).where(of_series, series.c.id.in_(deleted_rows()))
    with catalog.reading() as connection:
        return connection.scalar(statement) is not None


# --- what the index does with it -------------------------------------------------------------------------


def reapply(connection: sa.Connection, sop_instance_uids: Sequence[str]) -> None:
    """Apply the log to what was just written of some instances; in the same transaction."""
    of_batch = sa.select(instances.c.series).where(among(instances.c.sop_instance_uid, sop_instance_uids))
    if reapply_studies(connection, sa.select(series.c.study).where(series.c.id.in_(of_batch)).distinct()):
        bury(connection, sop_instance_uids)


def reapply_studies(connection: sa.Connection, of_studies: sa.Select[Any]) -> bool:
    """Apply the log to what was just written of some studies and their patients; whether there is a log."""
    if connection.scalar(sa.select(corrections.c.id).where(corrections.c.active).limit(1)) is None:
        return False
    for some in batched(list(connection.scalars(of_studies)), _TOGETHER):
        _place_studies(connection, some)
        of_patients = sa.select(studies.c.patient).where(studies.c.id.in_(some))
        origins = sa.select(study_origins.c.patient).where(study_origins.c.study.in_(some))
        _value_patients(connection, list(connection.scalars(of_patients.union(origins))))
    return True


def bury(connection: sa.Connection, sop_instance_uids: Sequence[str] | None = None) -> None:
    """Mark the places of what was deleted; of all, those elsewhere included, or of some instances."""
    of_deleted = sa.select(instances.c.id).where(instances.c.series.in_(deleted_rows()))
    if sop_instance_uids is not None:
        of_deleted = of_deleted.where(among(instances.c.sop_instance_uid, sop_instance_uids))
    connection.execute(
        files.update()
        .where(files.c.state == State.INDEXED.value, files.c.instance.in_(of_deleted))
        .values(state=State.DELETED.value)
    )
    if sop_instance_uids is None:
        doubt_deleted(connection)


def _unbury(connection: sa.Connection) -> None:
    there = sa.select(instances.c.id).where(instances.c.series.not_in(deleted_rows()))
    connection.execute(
        files.update()
        .where(files.c.state == State.DELETED.value, files.c.instance.in_(there))
        .values(state=State.INDEXED.value)
    )


def _place_studies(connection: sa.Connection, written: Iterable[int] | None = None) -> None:
    """Put studies under the patients that the log gives them; some, or all that it may concern.

    What the headers name is kept in `study_origins` as soon as it is another.
    """
    log = connection.execute(
        sa.select(corrections).where(corrections.c.active, corrections.c.kind.in_([MERGE, MOVE]))
        .order_by(corrections.c.id)
    ).all()  # fmt: skip
    statement = sa.select(
        studies.c.id, studies.c.study_instance_uid, studies.c.patient, study_origins.c.patient.label("origin")
    ).outerjoin(study_origins, study_origins.c.study == studies.c.id)
    if written is None:
        named = {each.patient for each in log} | {each.into for each in log}
        moved = [each.subject for each in log if each.kind == MOVE]
        statement = statement.where(
            sa.or_(
                study_origins.c.patient.is_not(None),
                studies.c.patient.in_(named),
                studies.c.study_instance_uid.in_(moved),
            )
        )
    else:
        statement = statement.where(studies.c.id.in_(list(written)))
    for row in connection.execute(statement).all():
        origin = row.patient if row.origin is None else row.origin
        wanted = _fold(log, row.study_instance_uid, origin)
        if written is not None and row.origin is not None and row.patient not in (wanted, origin):
            origin = row.patient  # its headers were changed, and name another patient now
            wanted = _fold(log, row.study_instance_uid, origin)
        if origin != row.origin and (row.origin is not None or wanted != origin):
            insert = upserting(connection.dialect, study_origins).values(study=row.id, patient=origin)
            connection.execute(
                insert.on_conflict_do_update(index_elements=["study"], set_={"patient": origin})
            )
        if wanted != row.patient:
            one, other = (_said(connection, each) for each in (row.patient, wanted))
            keep(connection, series_below(Level.STUDY, row.id), one, other)
            connection.execute(studies.update().where(studies.c.id == row.id).values(patient=wanted))


def _fold(log: Sequence[sa.Row[Any]], study: str, patient: int) -> int:
    for each in log:
        if each.subject == study if each.kind == MOVE else each.patient == patient:
            patient = each.into
    return patient


def _value_patients(connection: sa.Connection, rows: Sequence[int], *, undone: bool = False) -> None:
    """Give patients the values that the log gives them; where some were `undone`, those from before it."""
    if not rows:
        return
    log = connection.execute(
        sa.select(corrections)
        .where(corrections.c.kind == CORRECT, corrections.c.patient.in_(rows))
        .order_by(corrections.c.id)
    ).all()
    values: dict[int, dict[str, Any]] = {}
    for each in log:
        of_patient = values.setdefault(each.patient, {})
        for name, before in each.before.items() if undone else ():
            of_patient.setdefault(name, before)
        of_patient |= each.after if each.active else {}
    for row, of_patient in values.items():
        if of_patient:
            keep(connection, series_below(Level.PATIENT, row), _said(connection, row), of_patient)
            connection.execute(patients.update().where(patients.c.id == row).values(**of_patient))


# --- rows ------------------------------------------------------------------------------------------------


def _hold_index(connection: sa.Connection) -> None:
    """Wait until whoever writes files is done, and let nobody begin: SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE patients, studies, files IN SHARE ROW EXCLUSIVE MODE"))


def _asked(named: object) -> str:
    """A text that the database can be asked for; what is none stands for nothing there is."""
    return named if isinstance(named, str) and is_storable(named) else ""


def _shown(named: object) -> str:
    """What was asked for, as an error shows it."""
    return str(named)[:64].encode("unicode_escape").decode()


def _patient(connection: sa.Connection, named: str) -> int:
    """Row of the patient with an ID or a study; one that has a study."""
    text = _asked(named)
    by_study = connection.scalar(sa.select(studies.c.patient).where(studies.c.study_instance_uid == text))
    if by_study is not None:
        return int(by_study)
    has_study = sa.select(studies.c.patient)
    rows = list(
        connection.scalars(
            sa.select(patients.c.id).where(patients.c.patient_id == text, patients.c.id.in_(has_study))
        )
    )
    if not rows:
        raise NotFoundError("no patient with a study has this ID; `workbench series` lists what there is")
    if len(rows) > 1:
        raise CorrectionError(
            f"{len(rows)} patients have this ID, with other names or issuers; give a Study Instance UID of "
            "the one that is meant"
        )
    return int(rows[0])


def _said(connection: sa.Connection, patient: int) -> dict[str, Any]:
    columns = [patients.c[name] for name in CORRECTABLE]
    row = connection.execute(sa.select(*columns).where(patients.c.id == patient)).one()
    return dict(zip(CORRECTABLE, row, strict=True))


def _kind_of(connection: sa.Connection, uid: str) -> str | None:
    text = _asked(uid)
    has_file = (
        sa.select(sa.literal(1))
        .select_from(files.join(instances, instances.c.id == files.c.instance))
        .where(instances.c.series == series.c.id)
        .correlate(series)
        .exists()
    )
    has_address = sa.select(sa.literal(1)).where(remotes.c.series == series.c.id).correlate(series).exists()
    joined = series.join(studies, studies.c.id == series.c.study)
    for kind, column in (("series", series.c.series_instance_uid), ("study", studies.c.study_instance_uid)):
        statement = sa.select(series.c.id).select_from(joined).where(column == text)
        if connection.scalar(statement.where(sa.or_(has_file, has_address)).limit(1)):
            return kind
    return None


def _tombstone(connection: sa.Connection, uid: str) -> int | None:
    number: int | None = connection.scalar(
        sa.select(corrections.c.id).where(
            corrections.c.active, corrections.c.kind == DELETE, corrections.c.subject == _asked(uid)
        )
    )
    return number


def _record(
    connection: sa.Connection, kind: str, subject: str, author: Author, before: Mapping[str, Any],
    after: Mapping[str, Any], values: Mapping[str, Any],
) -> CorrectionRecord:  # fmt: skip
    row = {
        "kind": kind, "subject": subject, "before": dict(before), "after": dict(after), "who": author.who,
        "why": author.why.strip(), "at": author.at, "active": True, **values,
    }  # fmt: skip
    key = connection.execute(sa.insert(corrections).values(row)).inserted_primary_key
    return _of_row(
        connection.execute(sa.select(corrections).where(corrections.c.id == (key[0] if key else 0))).one()
    )


def _meant(connection: sa.Connection, row: sa.Row[Any]) -> sa.Row[Any]:
    """The correction that a chain of undoing is about."""
    while row.undoes is not None:
        row = connection.execute(sa.select(corrections).where(corrections.c.id == row.undoes)).one()
    return row


def _set_active(connection: sa.Connection, row: sa.Row[Any]) -> None:
    """End a correction; what it had undone holds again, and so on."""
    holds = False
    while True:
        connection.execute(corrections.update().where(corrections.c.id == row.id).values(active=holds))
        if row.undoes is None:
            return
        row = connection.execute(sa.select(corrections).where(corrections.c.id == row.undoes)).one()
        holds = not holds


def _touched(row: sa.Row[Any]) -> set[tuple[str, Any]]:
    """What a correction is about; two that share some of it stand in their order."""
    if row.kind == DELETE:
        return {(DELETE, row.subject)}
    if row.kind == CORRECT:
        return {(CORRECT, row.patient)}
    about = {("patient", row.patient), ("patient", row.into)}
    return about | ({("study", row.subject)} if row.subject else set())


def _of_row(row: sa.Row[Any]) -> CorrectionRecord:
    return CorrectionRecord(
        row.id, row.kind, row.subject, row.before, row.after, row.who, row.why, row.at, row.undoes, row.active
    )
