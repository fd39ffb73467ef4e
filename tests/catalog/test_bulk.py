"""Many rows at once have the end state of the same rows one by one, on both databases."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import bulk
from catalog.bulk import insert_rows
from catalog.database import Catalog
from catalog.index import index_paths
from catalog.models import files, header_keys, metadata
from pipelines import phantoms

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "folder": st.sampled_from(["/a", "/b"]),
            "name": st.sampled_from("pqrstuv"),
            "size": st.integers(0, 2**63 - 1),
            "mtime_ns": st.integers(0, 2**63 - 1),
            "state": TEXTS,
            "reason": st.one_of(TEXTS, st.sampled_from(["\\N", "\\.", "a\tb\nc\r", "\\", "NULL", ""])),
            "instance": st.none(),
            "pixel_vr": st.none() | TEXTS,
        }
    ),
    max_size=20,
)


def everything(catalog: Catalog) -> dict[str, list[Any]]:
    """Rows of every table the index writes."""
    with catalog.reading() as connection:
        return {
            name: sorted(map(repr, connection.execute(sa.select(metadata.tables[name]))))
            for name in sorted(set(metadata.tables) - {"index_reports"})
        }


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=ROWS, rows=ROWS)
def test_many_rows_are_as_the_same_rows_one_by_one(
    catalog: Catalog, before: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    with pytest.MonkeyPatch.context() as patch, catalog.transaction() as connection:
        patch.setattr(bulk, "MANY", 1)
        connection.execute(files.delete())
        expected: dict[tuple[str, str], dict[str, Any]] = {}
        for some in (before, rows):
            insert_rows(connection, files, some, key=("folder", "name"), update=True)
            expected |= {(row["folder"], row["name"]): row for row in some}
        columns = [files.c[name] for name in (before or rows or [{"name": ""}])[0]]
        found = connection.execute(sa.select(*columns)).mappings()
        assert {(row["folder"], row["name"]): dict(row) for row in found} == expected


def test_rows_get_their_numbers_in_their_order(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MANY", 1)
    keys = [{"key": str(each * 7919 % 1000)} for each in range(1000)]
    with catalog.transaction() as connection:
        insert_rows(connection, header_keys, keys)
        found = connection.scalars(sa.select(header_keys.c.key).order_by(header_keys.c.id)).all()
    assert found == [each["key"] for each in keys]


def test_what_is_there_already_stays_or_is_an_error_without_its_values(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MANY", 1)
    rows = [{"key": "Geheim^Gerda"}, {"key": "other"}]
    with catalog.transaction() as connection:
        insert_rows(connection, header_keys, rows, key=("key",))
        insert_rows(connection, header_keys, rows, key=("key",))
    with pytest.raises(sa.exc.IntegrityError) as caught, catalog.transaction() as connection:
        insert_rows(connection, header_keys, rows)
    assert "Gerda" not in str(caught.value)


def test_a_value_that_cannot_be_copied_is_an_error_of_the_database_without_it(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MANY", 1)
    row: dict[str, Any] = {
        "folder": "/a",
        "name": "Gerda",
        "size": "Geheim",
        "mtime_ns": 0,
        "state": "indexed",
    }
    if catalog.engine.dialect.name == "sqlite":  # it takes a text where a number should be
        row["state"] = None
    with pytest.raises(sa.exc.DBAPIError) as caught, catalog.transaction() as connection:
        insert_rows(connection, files, [row], key=("folder", "name"), update=True)
    assert "Gerda" not in str(caught.value)
    index_paths(catalog, [])


def test_an_index_writes_the_same_rows_with_copy_and_without(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive"
    for number in range(3):
        phantoms.write_series(archive / f"s{number}", planes=6, seed=number, patient_id=f"P{number}")
    (archive / "notes.txt").write_text("no DICOM")
    found = []
    for many in (10**9, 1):
        monkeypatch.setattr(bulk, "MANY", many)
        index_paths(catalog, [archive])
        index_paths(catalog, [archive])
        found.append(everything(catalog))
        with catalog.transaction() as connection:
            if catalog.engine.dialect.name == "sqlite":
                for table in reversed(metadata.sorted_tables):
                    connection.execute(table.delete())
            else:
                names = ", ".join(sorted(metadata.tables))
                connection.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    assert found[0] == found[1]
