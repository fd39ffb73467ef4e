"""When each file and array was last read again, and what was found."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "checks",
        sa.Column("id", ID, nullable=False),
        sa.Column("file", ID),
        sa.Column("array_path", sa.Text),
        sa.Column("size", sa.BigInteger),
        sa.Column("mtime_ns", sa.BigInteger),
        sa.Column("checked", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, server_default="", nullable=False),
        sa.ForeignKeyConstraint(["file"], ["files.id"], name="fk_checks_file", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_checks"),
        sa.UniqueConstraint("file", name="uq_checks_file"),
        sa.UniqueConstraint("array_path", name="uq_checks_array_path"),
    )
    op.create_index("ix_checks_checked", "checks", ["checked"])
    op.create_index("ix_checks_state", "checks", ["state"])
