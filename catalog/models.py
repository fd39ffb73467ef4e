"""The tables; the four levels take their columns from `catalog.attributes`. They stay in `catalog`."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from catalog.attributes import INSTANCE, PATIENT, SERIES, STUDY, Attribute, Kind

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_TYPES: dict[Kind, type[sa.types.TypeEngine[Any]]] = {
    Kind.TEXT: sa.Text,
    Kind.NUMBERS: sa.Text,
    Kind.INTEGER: sa.BigInteger,
    Kind.REAL: sa.Double,
}


class NoTimeZoneError(ValueError, sa.exc.DontWrapMixin):
    """A time without a time zone is no moment."""


class Moment(sa.TypeDecorator[datetime]):
    """A moment, in UTC; SQLite keeps no time zone, so it is given back its own."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Bring what is written to UTC."""
        if value is not None and value.tzinfo is None:
            raise NoTimeZoneError(f"A time without a time zone cannot be kept: {value.isoformat()}")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Say that what is read is in UTC."""
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


_PATH = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # in the order of its characters
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _columns(attributes: tuple[Attribute, ...], *, required: tuple[str, ...]) -> list[sa.Column[Any]]:
    return [
        sa.Column(each.column, _TYPES[each.kind](), nullable=each.column not in required)
        for each in attributes
    ]


patients = sa.Table(
    "patients",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    *_columns(PATIENT, required=("patient_id", "issuer_of_patient_id")),
    # Patient ID, issuer and name; without an ID also the study
    sa.Column("identity", sa.Text, nullable=False),
    sa.UniqueConstraint("identity"),
    sa.Index(None, "patient_id"),
)

studies = sa.Table(
    "studies",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("patient", _ID, sa.ForeignKey("patients.id"), nullable=False, index=True),
    *_columns(STUDY, required=("study_instance_uid",)),
    sa.UniqueConstraint("study_instance_uid"),
    sa.Index(None, "study_date"),
    sa.Index(None, "accession_number"),
)

series = sa.Table(
    "series",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("study", _ID, sa.ForeignKey("studies.id"), nullable=False, index=True),
    *_columns(SERIES, required=("series_instance_uid",)),
    sa.UniqueConstraint("series_instance_uid"),
    sa.Index(None, "modality"),
    sa.Index(None, "modality", "body_part_examined"),
    sa.Index(None, "body_part_examined"),
)

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("series", _ID, sa.ForeignKey("series.id"), nullable=False, index=True),
    *_columns(INSTANCE, required=("sop_instance_uid",)),
    sa.Column("transfer_syntax_uid", sa.Text, nullable=False),
    sa.Column("header_digest", sa.Text, nullable=False),
    sa.Column("deviations", sa.Text, nullable=False, default="", server_default=""),
    sa.UniqueConstraint("sop_instance_uid"),
)

# Beside the columns (`catalog.content`): what the first header of a series says, and how others differ.

header_keys = sa.Table(
    "header_keys",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),  # 00189087, 52009229.00189117.00189087
    sa.UniqueConstraint("key"),
)

header_values = sa.Table(
    "header_values",
    metadata,
    sa.Column("series", _ID, sa.ForeignKey("series.id"), primary_key=True),
    sa.Column("key", _ID, sa.ForeignKey("header_keys.id"), primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),  # among the values of the key
    sa.Column("number", sa.Double, nullable=True),
    sa.Column("text", sa.Text, nullable=True),
    sa.Index(None, "key", "number"),
    sa.Index(None, "key", "text"),
    sqlite_with_rowid=False,
)

header_varying = sa.Table(
    "header_varying",
    metadata,
    sa.Column("key", _ID, sa.ForeignKey("header_keys.id"), primary_key=True),
    sa.Column("series", _ID, sa.ForeignKey("series.id"), primary_key=True),
    sqlite_with_rowid=False,
)

instance_headers = sa.Table(
    "instance_headers",
    metadata,
    sa.Column("instance", _ID, sa.ForeignKey("instances.id"), primary_key=True, autoincrement=False),
    # id of the key to its values, or to null where this instance has none; no row where nothing was searched
    sa.Column("header", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
)

series_spans = sa.Table(
    "series_spans",
    metadata,
    # of a column of instances with numbers, by its tag (`catalog.spans`); it may be wider than they are now
    sa.Column("tag", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("series", _ID, sa.ForeignKey("series.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("low", sa.Double, nullable=False),
    sa.Column("high", sa.Double, nullable=False),
    sa.Index(None, "tag", "low", "high"),
    sqlite_with_rowid=False,
)

files = sa.Table(
    "files",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("folder", _PATH, nullable=False),
    sa.Column("name", _PATH, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # one of catalog.places.State
    sa.Column("reason", sa.Text, nullable=False, default="", server_default=""),
    sa.Column("instance", _ID, sa.ForeignKey("instances.id"), nullable=True, index=True),
    sa.Column("pixel_tag", sa.BigInteger, nullable=True),
    sa.Column("pixel_vr", sa.Text, nullable=True),
    sa.Column("pixel_offset", sa.BigInteger, nullable=True),
    sa.Column("pixel_length", sa.BigInteger, nullable=True),
    sa.Column("content_digest", sa.Text, nullable=True),  # of the whole file, once something needed it
    sa.UniqueConstraint("folder", "name"),
)

remotes = sa.Table(
    "remotes",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("series", _ID, sa.ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    sa.Column("source", sa.Text, nullable=False, index=True),  # idc, or a node
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("instances", sa.BigInteger, nullable=True),  # as far as the source tells
    sa.Column("bytes", sa.BigInteger, nullable=True),
    # what a public source says of a series beside its attributes
    sa.Column("collection", sa.Text, nullable=True),
    sa.Column("analysis_result", sa.Text, nullable=True),
    sa.Column("license", sa.Text, nullable=True),
    sa.Column("doi", sa.Text, nullable=True),
    sa.Column("digest", sa.Text, nullable=False),  # of all that the source told, its attributes too
    sa.UniqueConstraint("series", "source"),
)

doubts = sa.Table(
    "doubts",
    metadata,
    # written by triggers: a series that may have no place; no foreign key, as one too many does no harm
    sa.Column("series", _ID, primary_key=True, autoincrement=False),
)

index_reports = sa.Table(
    "index_reports",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("finished", Moment(), nullable=False),
    sa.Column("report", sa.JSON, nullable=False),
)

arrays = sa.Table(
    "arrays",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("series", _ID, sa.ForeignKey("series.id"), nullable=False, index=True),
    sa.Column("part", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("record", sa.JSON, nullable=False),  # the ArrayRecord, field by field
    sa.Column("input_digest", sa.Text, nullable=False),
    sa.Column("series_digest", sa.Text, nullable=False, server_default=""),  # see catalog.arrays
    sa.UniqueConstraint("series", "part"),
)

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("series", _ID, sa.ForeignKey("series.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("part", sa.Integer, nullable=True),
    sa.Column("instance", _ID, sa.ForeignKey("instances.id", ondelete="CASCADE"), nullable=True, index=True),
    sa.Column("origin", sa.Text, nullable=False),  # index or ingest: who makes it anew
    sa.Column("kind", sa.Text, nullable=False, index=True),  # one of catalog.vocabulary.KINDS
    sa.Column("words", sa.Text, nullable=False),
)

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("study", _ID, sa.ForeignKey("studies.id"), nullable=False, index=True),
    sa.Column("instance", _ID, sa.ForeignKey("instances.id", ondelete="CASCADE"), nullable=True),
    sa.Column("path", _PATH, nullable=True),  # of a report that was given as a file, and is no instance
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),  # of the header, or of that file
    sa.Column("state", sa.Text, nullable=False, index=True),  # due, read, empty, failed
    sa.Column("reason", sa.Text, nullable=False, default="", server_default=""),
    sa.Column("title", sa.Text, nullable=False, default="", server_default=""),
    sa.Column("status", sa.Text, nullable=False, default="", server_default=""),
    sa.Column("moment", sa.Text, nullable=False, default="", server_default=""),
    sa.Column("created", sa.Text, nullable=False, default="", server_default=""),
    sa.Column("number", sa.BigInteger, nullable=True),
    sa.Column("identifier", sa.Text, nullable=False, default="", server_default=""),
    sa.Column("predecessors", sa.JSON, nullable=False, default=(), server_default="[]"),
    sa.Column("text", sa.Text, nullable=False, default="", server_default=""),
    sa.Column("folded", sa.Text, nullable=False, default="", server_default=""),
    # of its revisions: the lowest number of their rows, and the place among them; none until it is chained
    sa.Column("chain", _ID, nullable=True),
    sa.Column("place", sa.Integer, nullable=True),
    sa.Column("remark", sa.Text, nullable=False, default="", server_default=""),
    sa.UniqueConstraint("instance"),
    sa.UniqueConstraint("study", "path"),
    sa.Index(None, "chain", "place"),
)
# Their words are in `document_terms`, which each database makes in its own way (`catalog.mentions`).

checks = sa.Table(
    "checks",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    # of a file or of an array, which is known by its path as its row is made anew with every ingest
    sa.Column("file", _ID, sa.ForeignKey("files.id", ondelete="CASCADE"), nullable=True),
    sa.Column("array_path", sa.Text, nullable=True),
    sa.Column("size", sa.BigInteger, nullable=True),  # as they were: it holds as long as the file has them
    sa.Column("mtime_ns", sa.BigInteger, nullable=True),
    sa.Column("checked", Moment(), nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False, index=True),  # sound, rot, changed, vanished, unreadable
    sa.Column("reason", sa.Text, nullable=False, default="", server_default=""),
    sa.UniqueConstraint("file"),
    sa.UniqueConstraint("array_path"),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("code_digest", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("environment", sa.JSON, nullable=False),
    sa.Column("started", Moment(), nullable=False),
    sa.Column("finished", Moment(), nullable=True),
    sa.UniqueConstraint("run"),
)

run_items = sa.Table(
    "run_items",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("run", _ID, sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("series_instance_uid", sa.Text, nullable=False, index=True),
    sa.Column("part", sa.Integer, nullable=False),
    sa.Column("key", sa.Text, nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("seconds", sa.Double, nullable=False, default=0.0),
    sa.Column("measurements", sa.JSON, nullable=False),
)

outputs = sa.Table(
    "outputs",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("run_item", _ID, sa.ForeignKey("run_items.id"), nullable=False, index=True),
    sa.Column("run", sa.Text, nullable=False),  # that made it; an earlier one where the item was reused
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("sop_instance_uid", sa.Text, nullable=True, index=True),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("sop_instance_uid", sa.Text, nullable=False),
    sa.Column("sop_class_uid", sa.Text, nullable=False),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_attempt", Moment(), nullable=False),
    sa.Column("transaction_uid", sa.Text, nullable=True, index=True),
    sa.Column("claimed_until", Moment(), nullable=True),  # the lease of the sender at work
    sa.Column("validated", sa.Text, nullable=False, server_default=""),  # by whom, in words
    sa.Column("study_instance_uid", sa.Text, nullable=False, server_default="", index=True),
    sa.Column("series_instance_uid", sa.Text, nullable=False, server_default="", index=True),
    sa.Column("is_result", sa.Boolean, nullable=False, server_default=sa.false()),  # no acquired image
    sa.Column("origin", sa.Text, nullable=False, server_default=""),  # one of catalog.deliveries.Origin
    sa.UniqueConstraint("sop_instance_uid", "node"),
)

stages = sa.Table(
    "stages",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("delivery", _ID, sa.ForeignKey("deliveries.id"), nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("at", Moment(), nullable=False),
    sa.Column("text", sa.Text, nullable=False, default=""),
)

cohorts = sa.Table(
    "cohorts",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("question", sa.Text, nullable=False),  # as JSON; empty where there is none
    sa.Column("question_digest", sa.Text, nullable=False),
    sa.Column("approval", sa.Text, nullable=False),
    sa.Column("expires", sa.Date, nullable=True),
    sa.Column("frozen", Moment(), nullable=False),
    sa.Column("series", sa.BigInteger, nullable=False),
    sa.Column("instances", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("hashed", sa.BigInteger, nullable=False, server_default="0"),  # instances with a content_digest
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),  # of catalog.manifest
    sa.UniqueConstraint("name"),
)

cohort_items = sa.Table(
    "cohort_items",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("cohort", _ID, sa.ForeignKey("cohorts.id"), nullable=False),
    sa.Column("series_instance_uid", _PATH, nullable=False),  # UIDs: an import may know no such row here
    sa.Column("sop_instance_uid", _PATH, nullable=False),
    sa.Column("header_digest", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=True),  # of its file; none where version 1 was frozen
    sa.Column("content_digest", sa.Text, nullable=False, server_default=""),  # of it; empty where not read
    sa.UniqueConstraint("cohort", "sop_instance_uid"),
    sa.Index(None, "cohort", "series_instance_uid", "sop_instance_uid"),
)

experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("recorded", Moment(), nullable=False),
    sa.Column("columns", sa.JSON, nullable=False),  # names, in the order of the table
    sa.Column("meaning", sa.JSON, nullable=False),  # one of catalog.sheet.MEANINGS to column
    sa.Column("notes", sa.JSON, nullable=False),
    sa.UniqueConstraint("name"),
)

experiment_rows = sa.Table(
    "experiment_rows",
    metadata,
    sa.Column("experiment", _ID, sa.ForeignKey("experiments.id"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),  # the heading is row 1
    sa.Column("cells", sa.JSON, nullable=False),  # as they were written
    sqlite_with_rowid=False,
)

corrections = sa.Table(
    "corrections",
    metadata,
    sa.Column("id", _ID, primary_key=True),  # its number, which only grows
    sa.Column("kind", sa.Text, nullable=False),  # merge, move, correct, delete, undo
    sa.Column("subject", sa.Text, nullable=False, index=True),  # UID of a study or series; else empty
    sa.Column("patient", _ID, sa.ForeignKey("patients.id"), nullable=True),
    sa.Column("into", _ID, sa.ForeignKey("patients.id"), nullable=True),
    sa.Column("before", sa.JSON, nullable=False),
    sa.Column("after", sa.JSON, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", Moment(), nullable=False),
    sa.Column("undoes", _ID, sa.ForeignKey("corrections.id"), nullable=True),
    sa.Column("active", sa.Boolean, nullable=False),
    sqlite_autoincrement=True,
)

study_origins = sa.Table(
    "study_origins",
    metadata,
    sa.Column("study", _ID, sa.ForeignKey("studies.id"), primary_key=True, autoincrement=False),
    # that its headers name, where a correction put it under another
    sa.Column("patient", _ID, sa.ForeignKey("patients.id"), nullable=False),
)

receptions = sa.Table(
    "receptions",
    metadata,
    sa.Column("id", _ID, primary_key=True),  # in the order in which they were noted
    sa.Column("at", Moment(), nullable=False),
    sa.Column("node", sa.Text, nullable=False),  # its name here; empty where it has none
    sa.Column("calling_ae_title", sa.Text, nullable=False),
    sa.Column("called_ae_title", sa.Text, nullable=False),
    # the place it was given in `files`; of what was here already that row is gone
    sa.Column("folder", _PATH, nullable=False),
    sa.Column("name", _PATH, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),  # of the whole file
    sa.Column("sop_instance_uid", sa.Text, nullable=False, index=True),  # empty where it cannot be read
    sa.Column("series_instance_uid", sa.Text, nullable=False),
    sa.Column("routed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("event", _ID, sa.ForeignKey("series_events.id"), nullable=True, index=True),
    sa.Index(
        "ix_receptions_due", "id", sqlite_where=sa.text("routed = 0"), postgresql_where=sa.text("NOT routed")
    ),
    sa.Index(
        "ix_receptions_open",
        "series_instance_uid",
        "id",
        sqlite_where=sa.text("event IS NULL"),
        postgresql_where=sa.text("event IS NULL"),
    ),
    sqlite_autoincrement=True,
)

series_events = sa.Table(
    "series_events",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("at", Moment(), nullable=False),
    sa.Column("series_instance_uid", sa.Text, nullable=False),
    sa.Column("reception", _ID, nullable=False),  # the last one that it covers
    sa.Column("instances", sa.BigInteger, nullable=False),  # of the series, here by then
    sa.Column("rule", sa.Text, nullable=False),  # that made it, in words
    sa.Column("routed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("series_instance_uid", "reception"),
    sa.Index(
        "ix_series_events_due",
        "id",
        sqlite_where=sa.text("routed = 0"),
        postgresql_where=sa.text("NOT routed"),
    ),
    sqlite_autoincrement=True,
)

routings = sa.Table(
    "routings",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("at", Moment(), nullable=False),
    sa.Column("rule", sa.Text, nullable=False, index=True),
    sa.Column("sop_instance_uid", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),  # of the file that was received
    sa.Column("node", sa.Text, nullable=False),  # where it was to go; empty where nowhere
    sa.Column("outcome", sa.Text, nullable=False, index=True),  # one of catalog.routings.Outcome
    sa.Column("words", sa.Text, nullable=False),
    sa.Column("delivery", _ID, sa.ForeignKey("deliveries.id"), nullable=True),
    sa.UniqueConstraint("sop_instance_uid", "digest", "node", "rule"),
)


annotations = sa.Table(
    "annotations",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("uid", sa.Text, nullable=False),  # of the mark, the same in all its revisions
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("series_instance_uid", sa.Text, nullable=False),  # UIDs: marks outlive the rows of an index
    sa.Column("part", sa.Integer, nullable=False),
    sa.Column("sop_instance_uid", sa.Text, nullable=False),  # empty on a section through several images
    sa.Column("created", Moment(), nullable=False),  # the first revision
    sa.Column("changed", Moment(), nullable=False),
    sa.Column("writer", sa.Text, nullable=False),  # the viewer that wrote it
    sa.Column("drawn", sa.JSON(none_as_null=True), nullable=True),  # null once it was removed
    sa.Column("is_current", sa.Boolean, nullable=False),
    sa.UniqueConstraint("series_instance_uid", "part", "uid", "author", "revision"),
)


def upserting(dialect: sa.Dialect, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Return an insert of the database's own kind, which may do something else where a row is there."""
    if dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)
