"""The migrated schema is the one the code works with; foreign and newer catalogs are refused."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from catalog import migrations
from catalog.database import Catalog
from catalog.errors import SchemaError
from catalog.index import index_paths
from catalog.models import metadata
from catalog.query import find_series
from pipelines import phantoms


def is_of_ours(name: str | None, _kind: str, _parents: object) -> bool:
    """Not the words of documents, which each database keeps in tables of its own."""
    return not (name or "").startswith("document_terms")


def test_the_migrated_schema_equals_the_tables(catalog_url: str) -> None:
    catalog = Catalog(catalog_url)
    with catalog.reading() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": is_of_ours})
        assert context.get_current_revision() == migrations.HEAD
        assert compare_metadata(context, metadata) == []
    catalog.close()


def test_head_is_the_last_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))

    assert ScriptDirectory.from_config(config).get_current_head() == migrations.HEAD


def test_a_newer_catalog_is_refused_in_words(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.db")
    with catalog.transaction() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    catalog.close()

    with pytest.raises(
        SchemaError, match=r"has schema 9999, this workbench knows up to .*: it was written by a"
    ):
        Catalog(tmp_path / "catalog.db")


def test_another_database_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE birds (name TEXT)")
    connection.close()

    with pytest.raises(SchemaError, match="is a database, but no catalog of a workbench"):
        Catalog(tmp_path / "other.db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.db").write_text("this is a note, not a database" * 100)

    with pytest.raises(SchemaError, match="nor any SQLite database"):
        Catalog(tmp_path / "note.db")


def test_an_open_catalog_does_not_load_alembic(tmp_path: Path) -> None:
    Catalog(tmp_path / "catalog.db").close()
    code = (
        "import sys; from catalog.database import Catalog;"
        "Catalog(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )

    out = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "catalog.db"], capture_output=True, text=True, check=True
    )

    assert out.stdout == "False\n"


def test_two_processes_that_create_one_catalog_at_once_both_succeed(tmp_path: Path) -> None:
    code = (
        "import sys; from catalog.database import Catalog; import alembic.command;"
        "sys.stdin.readline(); Catalog(sys.argv[1]).close()"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "catalog.db"], stdin=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for each in both:
        each.communicate("go\n", timeout=60)

    assert [each.returncode for each in both] == [0, 0]
    test_the_migrated_schema_equals_the_tables(str(tmp_path / "catalog.db"))


FIRST = (
    "patients", "studies", "series", "instances", "files", "index_reports", "arrays", "runs", "run_items",
    "outputs", "deliveries", "stages",
)  # fmt: skip
"""Tables of the first schema; they have the columns they had."""
LATER_INDEXES = (
    "ix_series_modality",
    "ix_series_modality_body_part_examined",
    "ix_series_body_part_examined",
)
"""Indexes of theirs that came later."""
TRIGGERS = {
    "sqlite": ("SELECT name FROM sqlite_master WHERE type = 'trigger'", "DROP TRIGGER {}"),
    "postgresql": ("SELECT proname FROM pg_proc WHERE proname LIKE 'doubts%'", "DROP FUNCTION {} CASCADE"),
}


def make_first(opened: Catalog) -> None:
    """Leave a catalog as the first schema had it."""
    with opened.transaction() as connection:
        connection.execute(sa.text("DROP TABLE document_terms"))
        every, drop = TRIGGERS[connection.dialect.name]
        for name in connection.scalars(sa.text(every)).all():
            connection.execute(sa.text(drop.format(name)))
        for name in LATER_INDEXES:
            connection.execute(sa.text(f"DROP INDEX {name}"))
        for table in reversed(metadata.sorted_tables):
            if table.name not in FIRST:
                connection.execute(sa.text(f"DROP TABLE {table.name}"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))


KILLED = """
import os, signal, sys
import sqlalchemy as sa
from catalog.database import Catalog
left = int(sys.argv[2])
def count(connection, cursor, statement, *others):
    global left
    left -= statement.lstrip().startswith(("CREATE", "ALTER", "UPDATE"))
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
sa.event.listen(sa.Engine, "before_cursor_execute", count)
Catalog(sys.argv[1])
"""
"""A migration that is killed before its n-th statement that changes something."""


def test_a_migration_that_is_killed_in_the_middle_is_done_whole_by_the_next(
    catalog_url: str, ct: phantoms.Phantom
) -> None:
    opened = Catalog(catalog_url)
    index_paths(opened, [ct.paths[0].parent])
    before = find_series(opened)
    make_first(opened)
    opened.close()
    for statement in (1, 4, 12):
        ended = subprocess.run([sys.executable, "-c", KILLED, catalog_url, str(statement)], check=False)
        assert ended.returncode == -signal.SIGKILL

    opened = Catalog(catalog_url)
    assert find_series(opened) == before
    opened.close()
    test_the_migrated_schema_equals_the_tables(catalog_url)


def test_a_catalog_of_the_first_schema_keeps_its_rows_and_learns_the_rest_at_the_next_index(
    catalog_url: str, ct: phantoms.Phantom
) -> None:
    archive, said = ct.paths[0].parent, "ImageComments = 'as it was'"
    for path in ct.paths:
        ds = pydicom.dcmread(path)
        ds.ImageComments = "as it was"
        ds.save_as(path)
    opened = Catalog(catalog_url)
    index_paths(opened, [archive])
    make_first(opened)
    opened.close()

    opened = Catalog(catalog_url)
    before = find_series(opened)
    assert (len(before), find_series(opened, where=said)) == (1, [])
    report = index_paths(opened, [archive])
    assert (report.added, report.updated, report.rejected) == (0, len(ct.paths), ())
    assert find_series(opened) == find_series(opened, where=said) == before
    assert index_paths(opened, [archive]).unchanged == len(ct.paths)
    opened.close()
