"""34: whatever a catalog cannot do just now, on either kind of database: who asks gets a status.

What is sent meanwhile is answered by a failure and leaves nothing; what was answered by a success is there.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from catalog.arrivals import Arrival, Status, Taken, unsettled
from catalog.database import Catalog
from catalog.errors import CatalogError
from catalog.intake import Intake
from catalog.query import find_instances
from pipelines import phantoms
from tests.conftest import PostgreSQL
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


# --- objects that come while the database is away --------------------------------------------------------


def give(intake: Intake, path: Path, *, settled: bool = False) -> Taken:
    with intake.incoming() as incoming:
        incoming.write(path.read_bytes())
        return intake.take(incoming, settled=settled)


def kept(intake: Intake) -> set[bytes]:
    return {path.read_bytes() for path in intake.folder.rglob("*.dcm")}


def known(catalog: Catalog) -> set[bytes]:
    return {Path(each.path).read_bytes() for each in find_instances(catalog)}


@dataclass
class Outage:
    """A PostgreSQL that is stopped and started, and an intake that lives on."""

    server: PostgreSQL
    catalog: Catalog
    intake: Intake


@pytest.fixture
def outage(own_postgresql: PostgreSQL, tmp_path: Path) -> Iterator[Outage]:
    with (
        closing(Catalog(own_postgresql.database())) as catalog,
        Intake(catalog, tmp_path / "received") as intake,
    ):
        yield Outage(own_postgresql, catalog, intake)


@pytest.mark.postgresql
def test_34_P1_what_was_answered_by_success_before_an_outage_is_settled_after_it_without_a_restart(
    outage: Outage, ct: phantoms.Phantom
) -> None:
    address = outage.catalog.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg.connect(address)) as holder:
        holder.execute("LOCK TABLE patients IN ACCESS EXCLUSIVE MODE")  # it is noted, and cannot be settled
        for path in ct.paths:
            assert give(outage.intake, path).status is Status.STORED
        assert not outage.intake.settle(0.5)
        outage.server.stop()
    outage.server.start()
    assert outage.intake.settle(60)
    assert known(outage.catalog) == kept(outage.intake) == {path.read_bytes() for path in ct.paths}


@pytest.mark.postgresql
def test_34_P1_what_came_during_an_outage_is_refused_and_leaves_nothing_and_comes_again(
    outage: Outage, ct: phantoms.Phantom
) -> None:
    first, *others = ct.paths
    assert give(outage.intake, first).status is Status.STORED
    outage.server.stop()
    for path in others:
        with pytest.raises(CatalogError):
            give(outage.intake, path)
    assert unsettled(outage.intake.folder), "whether they were noted nobody can say just now"
    outage.server.start()
    assert outage.intake.settle(60)
    assert known(outage.catalog) == kept(outage.intake) == {first.read_bytes()}
    for path in others:
        assert give(outage.intake, path, settled=True).status is Status.STORED
    assert known(outage.catalog) == {path.read_bytes() for path in ct.paths}


class CutOff(Intake):
    """The answer of the database gets lost: it has noted what it seems to have failed at."""

    def _note(self, batch: Sequence[Arrival]) -> None:
        super()._note(batch)
        raise CatalogError("the connection is lost")


def test_34_P1_what_was_noted_by_a_commit_without_an_answer_is_a_success_and_is_settled(
    catalog: Catalog, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    with CutOff(catalog, tmp_path / "received") as intake:
        for path in ct.paths:
            assert give(intake, path, settled=True).status is Status.STORED
        assert not unsettled(intake.folder)
    assert known(catalog) == {path.read_bytes() for path in ct.paths}
