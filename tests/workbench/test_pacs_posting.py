"""What stands in the outbox is a copy of its own, named by its digest."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from catalog.database import Catalog
from catalog.durable import file_digest
from catalog.errors import HeaderError
from pipelines import phantoms
from workbench.pacs.posting import post

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


def test_what_was_posted_stays_as_it_was_and_posting_again_mends_a_damaged_copy(
    catalog: Catalog, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    first = post(catalog, ct.paths[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
    kept = Path(first.path)
    assert file_digest(kept) == first.digest == kept.stem
    kept.write_bytes(b"damaged")
    again = post(catalog, ct.paths[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
    assert (again.delivery, file_digest(kept)) == (first.delivery, first.digest)


def test_a_file_that_is_no_dicom_is_not_posted(catalog: Catalog, tmp_path: Path) -> None:
    (path := tmp_path / "letter.txt").write_text("to whom it may concern")
    with pytest.raises(HeaderError, match="cannot be sent"):
        post(catalog, path, "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
    assert not (tmp_path / "outbox").exists()
