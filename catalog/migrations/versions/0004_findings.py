"""What is wrong with a series, as rows; deviations that are on record are taken over."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
AT_ONCE = 1000
INSTANCES = sa.table("instances", *map(sa.column, ("id", "series", "deviations")))
COLUMNS = ("series", "instance", "origin", "kind", "words")


def upgrade() -> None:
    """Create the table and fill it with the deviations of the instances."""
    op.create_table(
        "findings",
        sa.Column("id", ID, nullable=False),
        sa.Column("series", ID, nullable=False),
        sa.Column("part", sa.Integer),
        sa.Column("instance", ID),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["series"], ["series.id"], name="fk_findings_series", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["instance"], ["instances.id"], name="fk_findings_instance", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_findings"),
    )
    op.create_index("ix_findings_series", "findings", ["series"])
    op.create_index("ix_findings_instance", "findings", ["instance"])
    op.create_index("ix_findings_kind", "findings", ["kind"])
    _take_over(op.get_bind())


def _take_over(connection: sa.Connection) -> None:
    findings, last = sa.table("findings", *map(sa.column, COLUMNS)), 0
    deviating = sa.select(INSTANCES).where(INSTANCES.c.deviations != "").order_by(INSTANCES.c.id)
    while rows := connection.execute(deviating.where(INSTANCES.c.id > last).limit(AT_ONCE)).all():
        last = rows[-1].id
        found = [
            {"series": row.series, "instance": row.id, "origin": "index", "words": words,
             "kind": "several_patients" if words.endswith("is known under another patient") else "deviation"}
            for row in rows
            for words in row.deviations.split("\n")
        ]  # fmt: skip
        connection.execute(findings.insert(), found)
