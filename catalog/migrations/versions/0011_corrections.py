"""Corrections: patients merged, studies moved, values corrected, series deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of corrections."""
    op.create_table(
        "corrections",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("patient", ID),
        sa.Column("into", ID),
        sa.Column("before", sa.JSON, nullable=False),
        sa.Column("after", sa.JSON, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undoes", ID),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name="fk_corrections_patient"),
        sa.ForeignKeyConstraint(["into"], ["patients.id"], name="fk_corrections_into"),
        sa.ForeignKeyConstraint(["undoes"], ["corrections.id"], name="fk_corrections_undoes"),
        sa.PrimaryKeyConstraint("id", name="pk_corrections"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_corrections_subject", "corrections", ["subject"])
    op.create_table(
        "study_origins",
        sa.Column("study", ID, nullable=False, autoincrement=False),
        sa.Column("patient", ID, nullable=False),
        sa.ForeignKeyConstraint(["study"], ["studies.id"], name="fk_study_origins_study"),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name="fk_study_origins_patient"),
        sa.PrimaryKeyConstraint("study", name="pk_study_origins"),
    )
