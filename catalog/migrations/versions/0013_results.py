"""Deliveries know who judged the object, whether it is a result, and its study and series."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the columns; deliveries that are there belong to no study that is known."""
    for name in ("validated", "study_instance_uid", "series_instance_uid"):
        op.add_column("deliveries", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column("deliveries", sa.Column("is_result", sa.Boolean, nullable=False, server_default=sa.false()))
    for name in ("study_instance_uid", "series_instance_uid"):
        op.create_index(f"ix_deliveries_{name}", "deliveries", [name])
