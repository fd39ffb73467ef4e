"""The migrated schema is the one the code works with; foreign databases are refused."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from catalog import migrations
from catalog.database import Catalog
from catalog.errors import SchemaError
from catalog.models import metadata


def is_of_ours(name: str | None, _kind: str, _parents: object) -> bool:
    """Not the words of documents and texts of series, which each database keeps in tables of its own."""
    return not (name or "").startswith(("document_terms", "series_texts"))


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
