"""Arrays know of what state of their series they were made, so that one nothing happened to opens at once."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the column; what was ingested before is looked at once more."""
    op.add_column("arrays", sa.Column("series_digest", sa.Text, nullable=False, server_default=""))
