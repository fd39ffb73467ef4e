"""Cohorts keep size and digest of whole files; private creators that no dictionary knows are findings."""

from itertools import batched

import sqlalchemy as sa
from alembic import op

from catalog.creators import KIND, WORDS, is_creator, unknown_in

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the columns; of what was frozen before, only headers are known."""
    op.add_column("cohort_items", sa.Column("size", sa.BigInteger, nullable=True))
    op.add_column("cohort_items", sa.Column("content_digest", sa.Text, nullable=False, server_default=""))
    op.add_column("cohorts", sa.Column("hashed", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("cohorts", sa.Column("version", sa.Integer, nullable=False, server_default="1"))
    take_over(op.get_bind())


def take_over(connection: sa.Connection) -> None:
    """Put the unknown creators that first headers of series name on record."""
    keys = [
        row.id
        for row in connection.execute(sa.text("SELECT id, key FROM header_keys"))
        if is_creator(row.key)
    ]
    values = sa.table("header_values", *map(sa.column, ("series", "key", "text")))
    found: set[tuple[int, str]] = set()
    for some in batched(keys, 500):
        rows = connection.execute(sa.select(values.c.series, values.c.text).where(values.c.key.in_(some)))
        found |= {
            (row.series, each) for row in rows for each in unknown_in({"00090010": (row.text or "",)}) if each
        }
    findings = sa.table("findings", *map(sa.column, ("series", "origin", "kind", "words")))
    made = [
        {"series": series, "origin": "index", "kind": KIND, "words": WORDS.format(creator)}
        for series, creator in sorted(found)
    ]
    if made:
        connection.execute(sa.insert(findings), made)
