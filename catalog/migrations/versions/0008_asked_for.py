"""Indexes of what series are asked for by: pages in their order, and counts."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the indexes."""
    op.create_index("ix_series_modality_body_part_examined", "series", ["modality", "body_part_examined"])
    op.create_index("ix_series_body_part_examined", "series", ["body_part_examined"])
