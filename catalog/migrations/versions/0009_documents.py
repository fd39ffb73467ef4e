"""Reports and their words; instances that are documents are noted, and read at the next index."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PATH = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
STORAGE = "1.2.840.10008.5.1.4.1.1."


def upgrade() -> None:
    """Create the tables and note the documents that are there."""
    op.create_table(
        "documents",
        sa.Column("id", ID, nullable=False),
        sa.Column("study", ID, nullable=False),
        sa.Column("instance", ID),
        sa.Column("path", PATH),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("kind", "digest", "state")),
        *(
            sa.Column(name, sa.Text, nullable=False, server_default="")
            for name in ("reason", "title", "status", "moment", "created")
        ),
        sa.Column("number", sa.BigInteger),
        sa.Column("identifier", sa.Text, nullable=False, server_default=""),
        sa.Column("predecessors", sa.JSON, nullable=False, server_default="[]"),
        sa.Column("text", sa.Text, nullable=False, server_default=""),
        sa.Column("folded", sa.Text, nullable=False, server_default=""),
        sa.Column("chain", ID),
        sa.Column("place", sa.Integer),
        sa.Column("remark", sa.Text, nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["study"], ["studies.id"], name="fk_documents_study"),
        sa.ForeignKeyConstraint(
            ["instance"], ["instances.id"], name="fk_documents_instance", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
        sa.UniqueConstraint("instance", name="uq_documents_instance"),
        sa.UniqueConstraint("study", "path", name="uq_documents_study_path"),
    )
    op.create_index("ix_documents_study", "documents", ["study"])
    op.create_index("ix_documents_state", "documents", ["state"])
    op.create_index("ix_documents_chain_place", "documents", ["chain", "place"])
    _create_terms(op.get_bind())
    _note(op.get_bind())


def _create_terms(connection: sa.Connection) -> None:
    """Words are taken as they are given (`ascii` splits at spaces alone), and no place of them is kept."""
    if connection.dialect.name == "sqlite":
        op.execute("DROP TABLE IF EXISTS document_terms")
        op.execute(
            "CREATE VIRTUAL TABLE document_terms USING fts5(terms, tokenize = 'ascii', detail = 'none')"
        )
        return
    op.execute("DROP TABLE IF EXISTS document_terms")
    op.execute(
        "CREATE TABLE document_terms (document bigint PRIMARY KEY REFERENCES documents (id) "
        "ON DELETE CASCADE, terms tsvector NOT NULL)"
    )
    op.execute("CREATE INDEX ix_document_terms_terms ON document_terms USING gin (terms)")


def _note(connection: sa.Connection) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO documents (study, instance, kind, digest, state) "
            "SELECT series.study, instances.id, CASE instances.sop_class_uid "
            "WHEN :pdf THEN 'PDF' WHEN :cda THEN 'CDA' ELSE 'SR' END, instances.header_digest, 'due' "
            "FROM instances JOIN series ON instances.series = series.id "
            "WHERE instances.sop_class_uid IN (:pdf, :cda) OR (instances.sop_class_uid LIKE :reports "
            "AND instances.sop_class_uid <> :key_objects) ORDER BY instances.id"
        ),
        {
            "pdf": f"{STORAGE}104.1",
            "cda": f"{STORAGE}104.2",
            "reports": f"{STORAGE}88.%",
            "key_objects": f"{STORAGE}88.59",
        },
    )
