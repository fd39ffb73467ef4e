"""34: whatever a catalog cannot do just now, on either kind of database: a viewer that asks gets a status."""

from contextlib import ExitStack

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from catalog.database import Catalog
from catalog.errors import CatalogError
from workbench.pacs.queries import answers


def test_34_what_the_catalog_cannot_answer_is_a_status_of_C_FIND(catalog: Catalog) -> None:
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = ""
    with catalog.transaction() as connection:
        connection.execute(sa.text("ALTER TABLE studies RENAME TO elsewhere"))
    told = list(answers(catalog, asked, "WORKBENCH", lambda: False, with_patients=False))
    assert told == [(0xC000, None)]


def test_34_too_many_questions_at_a_time_are_told_in_words(catalog: Catalog) -> None:
    catalog.engine.pool._timeout = 0.01  # type: ignore[attr-defined]
    most = catalog.engine.pool.size() + catalog.engine.pool._max_overflow  # type: ignore[attr-defined]
    with ExitStack() as stack:
        for _ in range(most):
            stack.enter_context(catalog.reading())
        with pytest.raises(CatalogError, match="asked by too many at once"):
            stack.enter_context(catalog.reading())
