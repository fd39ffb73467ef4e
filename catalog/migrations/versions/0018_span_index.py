"""A rare number of instances is found by an index of the spans, not by a look at each series."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_series_spans_tag_low_high", "series_spans", ["tag", "low", "high"])
