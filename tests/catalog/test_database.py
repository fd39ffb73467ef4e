"""A catalog that cannot be read or written says so in words, without what its statements hold."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from catalog.database import Catalog
from catalog.errors import CatalogError, SettingsError
from catalog.models import index_reports


def _fill(catalog: Catalog, content: str, count: int = 1) -> None:
    with catalog.transaction() as connection:
        rows = [{"finished": datetime.now(UTC), "report": {"text": content}} for _ in range(count)]
        connection.execute(index_reports.insert(), rows)


def test_a_damaged_catalog_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    catalog = Catalog(path)
    _fill(catalog, "x" * 100, count=1000)
    catalog.close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CatalogError, match=r"catalog\.sqlite is damaged; put back a copy"):
        Catalog(path)


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be opened; its folder must exist"):
        Catalog(tmp_path / "nowhere" / "catalog.sqlite")


def test_a_full_disk_is_a_sentence_and_nothing_is_half_written(sqlite_catalog: Catalog) -> None:
    with sqlite_catalog.transaction() as connection:
        pages = connection.scalar(sa.text("PRAGMA page_count"))
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(CatalogError, match="its disk is full"):
        _fill(sqlite_catalog, "x" * 10_000, count=10)
    with sqlite_catalog.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(index_reports)) == 0


def test_errors_do_not_repeat_the_values_of_a_statement(catalog: Catalog) -> None:
    with pytest.raises(sa.exc.IntegrityError) as caught, catalog.transaction() as connection:
        connection.execute(
            sa.text("INSERT INTO files (folder, name) VALUES (:folder, NULL)"), {"folder": "Geheim^Gerda"}
        )
    assert "Gerda" not in str(caught.value)


@pytest.mark.parametrize("address", ["mysql://host/name", "https://host/name"])
def test_an_address_of_something_else_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="SQLite file or a postgresql://"):
        Catalog(address)
