"""Series that are known from elsewhere."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "remotes",
        sa.Column("id", ID, nullable=False),
        sa.Column("series", ID, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("instances", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("collection", sa.Text),
        sa.Column("analysis_result", sa.Text),
        sa.Column("license", sa.Text),
        sa.Column("doi", sa.Text),
        sa.Column("digest", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["series"], ["series.id"], name="fk_remotes_series", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_remotes"),
        sa.UniqueConstraint("series", "source", name="uq_remotes_series_source"),
    )
    op.create_index("ix_remotes_source", "remotes", ["source"])
