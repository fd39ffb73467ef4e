"""The schema's history; `migrate` brings a catalog to this version."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from catalog.backup import back_up, how_back
from catalog.errors import SchemaError

HEAD = "0020"
"""The revision this version works with: the last file of `versions`."""

_ADVISORY_LOCK = 0x444943_4D
_LOG = logging.getLogger(__name__)


def migrate(engine: sa.Engine) -> None:
    """Create the tables, or bring those of an older version up, in one transaction.

    Several processes may open a catalog at once: one migrates, the others wait for it. An SQLite file of an
    older version is copied first (`catalog.backup`), and the log says where; a PostgreSQL database is its
    administrator's to copy.

    Raises
    ------
    SchemaError
        If the catalog was made by a newer workbench, or is something else.
    CatalogError
        If it cannot be copied; then nothing was changed.
    """
    try:
        with engine.connect().execution_options(reading=True) as connection:
            if _revision(connection) == HEAD:
                return
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            revision = _revision(connection)
            if revision != HEAD:
                _upgrade(connection, revision)
    except sa.exc.DatabaseError as error:
        if "not a database" not in str(error.orig):
            raise
        raise SchemaError(f"{engine.url.database} is no catalog, nor any SQLite database") from None


def _revision(connection: sa.Connection) -> str | None:
    """The revision of the schema; `None` where there are no tables yet."""
    tables = sa.inspect(connection).get_table_names()
    if "alembic_version" in tables:
        revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return revision
    if tables:
        raise SchemaError(f"{connection.engine.url.database} is a database, but no catalog of a workbench")
    return None


def _upgrade(connection: sa.Connection, revision: str | None) -> None:
    from alembic import command  # an open catalog does not need Alembic, and it takes a while to load
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaError(
            f"{connection.engine.url.database} has schema {revision}, this workbench knows up to {HEAD}: "
            "it was written by a newer one; update the workbench"
        )
    if revision is not None:
        _keep(connection, revision)
    command.upgrade(config, "head")


def file_of(connection: sa.Connection) -> Path | None:
    """The SQLite file of a connection; `None` where it is in memory, or no SQLite."""
    if connection.dialect.name != "sqlite":
        return None
    named = connection.scalar(sa.text("SELECT file FROM pragma_database_list WHERE name = 'main'"))
    return Path(named) if named else None


def _keep(connection: sa.Connection, revision: str) -> None:
    """Copy an SQLite file as it is; its one writer is this transaction, which has written nothing."""
    database = file_of(connection)
    if database is None:
        return
    backup = back_up(database, revision, datetime.now(UTC))
    _LOG.warning(
        "the catalog %s is brought from schema %s to %s; as it was it is kept at %s; %s",
        database, revision, HEAD, backup, how_back(database, backup),
    )  # fmt: skip
