"""Series that may have lost their last place, noted by triggers, so that others need not be looked at."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OF_INSTANCE = "(SELECT series FROM instances WHERE id = OLD.instance)"
WAS_PLACE = "OLD.instance IS NOT NULL AND OLD.state = 'indexed'"
LOST = "(NEW.state <> 'indexed' OR NEW.instance IS NULL OR NEW.instance <> OLD.instance)"
TRIGGERS = (
    ("series", "INSERT", "1 = 1", "NEW.id"),
    ("files", "UPDATE", f"{WAS_PLACE} AND {LOST}", OF_INSTANCE),
    ("files", "DELETE", WAS_PLACE, OF_INSTANCE),
    ("instances", "UPDATE", "OLD.series <> NEW.series", "OLD.series"),
    ("instances", "DELETE", "1 = 1", "OLD.series"),
    ("remotes", "UPDATE", "OLD.series <> NEW.series", "OLD.series"),
    ("remotes", "DELETE", "1 = 1", "OLD.series"),
)
"""Table, event, when, and the series that may have lost its last place."""


def upgrade() -> None:
    """Create the table, all series in it, and what keeps it."""
    op.create_table(
        "doubts",
        sa.Column("series", ID, nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("series", name="pk_doubts"),
    )
    op.create_index("ix_series_modality", "series", ["modality"])
    op.execute("INSERT INTO doubts SELECT id FROM series")
    of_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, event, when, series in TRIGGERS:
        name = f"doubts_{table}_{event.lower()}"
        if of_sqlite:
            op.execute(f"DROP TRIGGER IF EXISTS {name}")
            op.execute(
                f"CREATE TRIGGER {name} AFTER {event} ON {table} WHEN {when} BEGIN "
                f"INSERT INTO doubts SELECT doubted.series FROM (SELECT {series} AS series) AS doubted "
                "WHERE doubted.series IS NOT NULL "
                "AND NOT EXISTS (SELECT 1 FROM doubts WHERE doubts.series = doubted.series); END"
            )
        else:
            op.execute(
                f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"INSERT INTO doubts SELECT doubted.series FROM (SELECT {series} AS series) AS doubted "
                "WHERE doubted.series IS NOT NULL "
                "ON CONFLICT (series) DO UPDATE SET series = EXCLUDED.series; RETURN NULL; END $$"
            )
            op.execute(
                f"CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {table} "
                f"FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {name}()"
            )
