"""Which series were deleted, alone or with their study: what the log of corrections says, as a statement.

A series that is known from elsewhere keeps its address there; questions pass it over, whatever its source
tells of it later. It is among the doubted ones (`catalog.doubts`), so that no other need be looked up here.
"""

import sqlalchemy as sa

from catalog.models import corrections, doubts, series, studies, upserting

DELETE = "delete"


def deleted_rows() -> sa.CompoundSelect[int]:
    """Rows of the series whose deletion holds."""
    log = corrections.alias()
    holds = sa.and_(log.c.active, log.c.kind == DELETE)
    its, of_study, study = series.alias(), series.alias(), studies.alias()
    return sa.union_all(
        sa.select(its.c.id).join(log, log.c.subject == its.c.series_instance_uid).where(holds),
        sa.select(of_study.c.id)
        .join(study, study.c.id == of_study.c.study)
        .join(log, log.c.subject == study.c.study_instance_uid)
        .where(holds),
    )


def doubt_deleted(connection: sa.Connection) -> None:
    """Have every deleted series looked at, as if it may have lost its last place."""
    rows = deleted_rows().subquery().select().where(sa.true())  # SQLite would take ON for that of a join
    insert = upserting(connection.dialect, doubts).from_select(["series"], rows)
    connection.execute(insert.on_conflict_do_nothing())
