"""Frozen selections and their instances."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables of cohorts."""
    op.create_table(
        "cohorts",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("question_digest", sa.Text, nullable=False),
        sa.Column("approval", sa.Text, nullable=False),
        sa.Column("expires", sa.Date),
        sa.Column("frozen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("series", sa.BigInteger, nullable=False),
        sa.Column("instances", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cohorts"),
        sa.UniqueConstraint("name", name="uq_cohorts_name"),
    )
    op.create_table(
        "cohort_items",
        sa.Column("id", ID, nullable=False),
        sa.Column("cohort", ID, nullable=False),
        sa.Column("series_instance_uid", UID, nullable=False),
        sa.Column("sop_instance_uid", UID, nullable=False),
        sa.Column("header_digest", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["cohort"], ["cohorts.id"], name="fk_cohort_items_cohort"),
        sa.PrimaryKeyConstraint("id", name="pk_cohort_items"),
        sa.UniqueConstraint("cohort", "sop_instance_uid", name="uq_cohort_items_cohort_sop_instance_uid"),
    )
    op.create_index(
        "ix_cohort_items_cohort_series_instance_uid_sop_instance_uid",
        "cohort_items",
        ["cohort", "series_instance_uid", "sop_instance_uid"],
    )
