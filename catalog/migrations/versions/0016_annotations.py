"""What people drew on series, every revision of it, with its author."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the table; what was drawn before was nowhere kept."""
    op.create_table(
        "annotations",
        sa.Column("id", ID, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("uid", "author")),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("series_instance_uid", sa.Text, nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        *(sa.Column(name, MOMENT, nullable=False) for name in ("created", "changed")),
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("drawn", sa.JSON, nullable=True),
        sa.Column("is_current", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_annotations"),
        sa.UniqueConstraint(
            "series_instance_uid",
            "part",
            "uid",
            "author",
            "revision",
            name="uq_annotations_series_instance_uid_part_uid_author_revision",
        ),
    )
