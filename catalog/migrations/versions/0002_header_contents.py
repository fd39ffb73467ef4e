"""What headers say beside the columns; files that were indexed before are read again at the next index."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, and forget when the files were changed."""
    op.create_table(
        "header_keys",
        sa.Column("id", ID, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_header_keys"),
        sa.UniqueConstraint("key", name="uq_header_keys_key"),
    )
    op.create_table(
        "header_values",
        sa.Column("series", ID, nullable=False),
        sa.Column("key", ID, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("number", sa.Double),
        sa.Column("text", sa.Text),
        sa.ForeignKeyConstraint(["series"], ["series.id"], name="fk_header_values_series"),
        sa.ForeignKeyConstraint(["key"], ["header_keys.id"], name="fk_header_values_key"),
        sa.PrimaryKeyConstraint("series", "key", "place", name="pk_header_values"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_header_values_key_number", "header_values", ["key", "number"])
    op.create_index("ix_header_values_key_text", "header_values", ["key", "text"])
    op.create_table(
        "header_varying",
        sa.Column("key", ID, nullable=False),
        sa.Column("series", ID, nullable=False),
        sa.ForeignKeyConstraint(["key"], ["header_keys.id"], name="fk_header_varying_key"),
        sa.ForeignKeyConstraint(["series"], ["series.id"], name="fk_header_varying_series"),
        sa.PrimaryKeyConstraint("key", "series", name="pk_header_varying"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "instance_headers",
        sa.Column("instance", ID, nullable=False),
        sa.Column("header", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(["instance"], ["instances.id"], name="fk_instance_headers_instance"),
        sa.PrimaryKeyConstraint("instance", name="pk_instance_headers"),
    )
    op.execute("UPDATE files SET mtime_ns = -1 WHERE state = 'indexed'")
