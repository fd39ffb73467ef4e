"""Who sent what, which series are stable, what rules did with it, and where deliveries come from."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PATH = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables; of what was received before nobody knows who sent it, and no rule looks at it."""
    op.add_column("deliveries", sa.Column("origin", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "series_events",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("series_instance_uid", sa.Text, nullable=False),
        sa.Column("reception", ID, nullable=False),
        sa.Column("instances", sa.BigInteger, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("routed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("id", name="pk_series_events"),
        sa.UniqueConstraint(
            "series_instance_uid", "reception", name="uq_series_events_series_instance_uid_reception"
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "receptions",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("node", "calling_ae_title", "called_ae_title")
        ),
        sa.Column("folder", PATH, nullable=False),
        sa.Column("name", PATH, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("digest", "sop_instance_uid", "series_instance_uid")
        ),
        sa.Column("routed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("event", ID, nullable=True),
        sa.ForeignKeyConstraint(["event"], ["series_events.id"], name="fk_receptions_event"),
        sa.PrimaryKeyConstraint("id", name="pk_receptions"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "routings",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("rule", "sop_instance_uid", "digest", "node", "outcome", "words")
        ),
        sa.Column("delivery", ID, nullable=True),
        sa.ForeignKeyConstraint(["delivery"], ["deliveries.id"], name="fk_routings_delivery"),
        sa.PrimaryKeyConstraint("id", name="pk_routings"),
        sa.UniqueConstraint(
            "sop_instance_uid",
            "digest",
            "node",
            "rule",
            name="uq_routings_sop_instance_uid_digest_node_rule",
        ),
    )
    for table, columns in (
        ("receptions", ("sop_instance_uid", "event")),
        ("routings", ("rule", "outcome")),
    ):
        for name in columns:
            op.create_index(f"ix_{table}_{name}", table, [name])
    _partial("ix_receptions_due", "receptions", ["id"], "routed = 0", "NOT routed")
    _partial("ix_receptions_open", "receptions", ["series_instance_uid", "id"], "event IS NULL")
    _partial("ix_series_events_due", "series_events", ["id"], "routed = 0", "NOT routed")


def _partial(name: str, table: str, columns: list[str], sqlite: str, postgresql: str = "") -> None:
    op.create_index(
        name,
        table,
        columns,
        sqlite_where=sa.text(sqlite),
        postgresql_where=sa.text(postgresql or sqlite),
    )
