"""Experiments: researchers' tables, joined to series."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of experiments."""
    op.create_table(
        "experiments",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("recorded", sa.DateTime(timezone=True), nullable=False),
        sa.Column("columns", sa.JSON, nullable=False),
        sa.Column("meaning", sa.JSON, nullable=False),
        sa.Column("notes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_experiments"),
        sa.UniqueConstraint("name", name="uq_experiments_name"),
    )
    op.create_table(
        "experiment_rows",
        sa.Column("experiment", ID, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("cells", sa.JSON, nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name="fk_experiment_rows_experiment"),
        sa.PrimaryKeyConstraint("experiment", "number", name="pk_experiment_rows"),
        sqlite_with_rowid=False,
    )
