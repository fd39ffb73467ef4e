"""The schema's history; `migrate` brings a catalog to this version."""

import sqlalchemy as sa

from catalog.models import metadata


def migrate(engine: sa.Engine) -> None:
    """Create or upgrade the tables."""
    metadata.create_all(engine)
