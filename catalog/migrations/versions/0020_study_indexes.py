"""A rare date of studies and an accession number are found by an index, not by a look at each series."""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Create the indexes."""
    op.create_index("ix_studies_study_date", "studies", ["study_date"])
    op.create_index("ix_studies_accession_number", "studies", ["accession_number"])
