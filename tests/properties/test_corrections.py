"""Whatever is corrected, undone and indexed again in whatever order, the catalog says what the log says."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from catalog import corrections
from catalog.corrections import Author
from catalog.database import Catalog
from catalog.errors import CorrectionError, NotFoundError
from catalog.index import index_paths
from catalog.query import find_series
from pipelines import phantoms

BY = Author("anna", "because", datetime(2026, 11, 24, tzinfo=UTC))
OWNERS = {"1": "A", "2": "A", "3": "B", "4": "C"}
STUDIES, PEOPLE = st.sampled_from(sorted(OWNERS)), st.sampled_from(["A", "B", "C"])


class Corrected(RuleBasedStateMachine):
    """The model replays what holds, one after the other, on a dictionary."""

    url: ClassVar[str]
    folder: ClassVar[Path]
    uids: ClassVar[dict[str, str]]

    def __init__(self) -> None:
        super().__init__()
        self.temporary = TemporaryDirectory()
        self.catalog = Catalog(self.url or str(Path(self.temporary.name) / "catalog.sqlite"))
        self.log: list[tuple[int, str, Any, Any]] = []
        self.undoes: dict[int, int] = {}

    @initialize()
    def indexed(self) -> None:
        with self.catalog.transaction() as connection:
            for table in ("corrections", "study_origins"):
                connection.exec_driver_sql(f"DELETE FROM {table}")  # one server, many catalogs in turn
            if self.url:
                connection.exec_driver_sql("TRUNCATE patients, studies, series, instances, files CASCADE")
        index_paths(self.catalog, [self.folder])

    def holds(self, number: int) -> bool:
        return not any(self.holds(later) for later, of in self.undoes.items() if of == number)

    def model(self) -> tuple[dict[str, str], dict[str, str], set[str]]:
        owners, names, gone = dict(OWNERS), {}, set[str]()
        for number, kind, one, other in self.log:
            if not self.holds(number):
                continue
            if kind == "merge":
                owners = {study: other if owner == one else owner for study, owner in owners.items()}
            elif kind == "move":
                owners[one] = other
            elif kind == "name":
                names[one] = other
            else:
                gone.add(one)
        return owners, names, gone

    def study_of(self, person: str) -> str | None:
        return next((self.uids[each] for each, owner in self.model()[0].items() if owner == person), None)

    @rule(one=PEOPLE, other=PEOPLE)
    def merge(self, one: str, other: str) -> None:
        source, into = self.study_of(one), self.study_of(other)
        if source is None or into is None or one == other:
            return
        made = corrections.merge_patients(self.catalog, source, into, BY)
        self.log.append((made.number, "merge", one, other))

    @rule(study=STUDIES, person=PEOPLE)
    def move(self, study: str, person: str) -> None:
        into = self.study_of(person)
        if into is None or self.model()[0][study] == person:
            return
        made = corrections.move_study(self.catalog, self.uids[study], into, BY)
        self.log.append((made.number, "move", study, person))

    @rule(person=PEOPLE, name=st.sampled_from(["X", "Y"]))
    def rename(self, person: str, name: str) -> None:
        named = self.study_of(person)
        if named is None or self.model()[1].get(person, person) == name:
            return
        made = corrections.correct_patient(self.catalog, named, BY, {"patient_name": name})
        self.log.append((made.number, "name", person, name))

    @rule(study=STUDIES)
    def delete(self, study: str) -> None:
        if study in self.model()[2]:
            with pytest.raises(CorrectionError):
                corrections.delete(self.catalog, self.uids[study], BY)
            return
        made = corrections.delete(self.catalog, self.uids[study], BY)
        self.log.append((made.number, "delete", study, None))

    @rule(back=st.integers(0, 6))
    def undo(self, back: int) -> None:
        numbers = sorted([each[0] for each in self.log] + list(self.undoes))
        if not numbers:
            with pytest.raises(NotFoundError):
                corrections.undo(self.catalog, 1, BY)
            return
        number = numbers[max(0, len(numbers) - 1 - back)]
        try:
            made = corrections.undo(self.catalog, number, BY)
        except CorrectionError:
            return  # in words; the catalog stays as the model has it
        assert self.holds(number)
        self.undoes[made.number] = number

    @rule(study=STUDIES, number=st.integers(2, 3))
    def more_arrives(self, study: str, number: int) -> None:
        added = self.folder.parent / "later" / study / str(number)
        if not added.exists():
            phantoms.write_series(
                added, planes=1, rows=8, columns=8, patient_id=OWNERS[study], patient_name=OWNERS[study],
                study=study, series_number=number,
            )  # fmt: skip
        index_paths(self.catalog, [added, self.folder])

    @invariant()
    def the_catalog_says_what_the_log_says(self) -> None:
        owners, names, gone = self.model()
        there = {
            (each.study_description, each.patient_id, each.patient_name) for each in find_series(self.catalog)
        }
        assert there == {
            (study, owner, names.get(owner, owner)) for study, owner in owners.items() if study not in gone
        }

    def teardown(self) -> None:
        self.catalog.close()
        self.temporary.cleanup()


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def test_any_order_of_corrections_and_undoing_ends_as_it_should(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgresql").database() if database == "postgresql" else ""
    folder = tmp_path / "archive"
    uids = {
        study: phantoms.write_series(
            folder / study, planes=1, rows=8, columns=8, patient_id=owner, patient_name=owner, study=study
        ).study_instance_uid
        for study, owner in OWNERS.items()
    }
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        type("OnThisCatalog", (Corrected,), {"url": url, "folder": folder, "uids": uids}),
        settings=settings(max_examples=15, stateful_step_count=15, deadline=None),
    )
