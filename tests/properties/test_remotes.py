"""What sources elsewhere tell, written as sets, is what one series after the other would give."""

import random
from collections.abc import Mapping, Sequence
from itertools import batched
from pathlib import Path

import pytest
import sqlalchemy as sa

from catalog.attributes import PATIENT, SERIES, STUDY, Attribute
from catalog.database import Catalog
from catalog.index import index_paths
from catalog.models import doubts, patients, remotes, series, studies
from catalog.records import RemoteSeries, Value
from catalog.remotes import record_columns
from catalog.told import columns_of
from catalog.upsert import identity
from pipelines import phantoms

type Row = dict[str, Value]


class OneByOne:
    """The truth: what one series after the other makes of patients, studies and series, in dictionaries."""

    def __init__(self, rows: Sequence[Row], here: Value) -> None:
        self.here = here
        self.levels: dict[str, dict[Value, Row]] = {"patient": {}, "study": {}, "series": {}}
        self.told: dict[Value, RemoteSeries] = {}
        for row in rows:
            self._write(row, row["identity"])

    def record(self, told: Sequence[RemoteSeries], batch: int) -> tuple[int, int, int, int]:
        """Added, updated, unchanged and withdrawn."""
        counts = {"added": 0, "updated": 0, "unchanged": 0}
        for some in batched(told, batch):
            last = {each.values["series_instance_uid"]: each for each in some}
            for each in some:
                uid = each.values["series_instance_uid"]
                known = self.told.get(uid)
                if last[uid] is not each or each == known:
                    counts["unchanged"] += 1
                    continue
                counts["added" if known is None else "updated"] += 1
                self.told[uid] = each
                self._write(each.values, identity(each.values))
        gone = self.told.keys() - {each.values["series_instance_uid"] for each in told}
        for uid in gone:
            del self.told[uid]
        return (*counts.values(), len(gone))

    def _write(self, values: Mapping[str, Value], patient: Value) -> None:
        study, overwrite = values["study_instance_uid"], values["study_instance_uid"] != self.here
        required = {"patient_id": "", "issuer_of_patient_id": ""}
        for level, key, said in (
            ("patient", patient, required | _said(values, PATIENT)),
            ("study", study, _said(values, STUDY) | {"of": patient}),
            ("series", values["series_instance_uid"], _said(values, SERIES) | {"of": study}),
        ):
            row = self.levels[level].get(key, {})
            self.levels[level][key] = row | said if overwrite else said | row

    def rows(self) -> dict[Value, Row]:
        found = {}
        for uid, of_series in self.levels["series"].items():
            study = self.levels["study"][of_series["of"]]
            found[uid] = self.levels["patient"][study["of"]] | study | of_series | {"of": study["of"]}
        return found


def _said(values: Mapping[str, Value], attributes: Sequence[Attribute]) -> Row:
    names = (each.column for each in attributes)
    return {name: values[name] for name in names if values.get(name) is not None}


def rows_of(catalog: Catalog) -> dict[Value, Row]:
    levels = ((patients, PATIENT), (studies, STUDY), (series, SERIES))
    columns = [table.c[each.column] for table, attributes in levels for each in attributes]
    statement = sa.select(patients.c.identity, *columns).select_from(series).join(studies).join(patients)
    with catalog.reading() as connection:
        found = [
            {name: value for name, value in row.items() if value is not None}
            for row in connection.execute(statement).mappings()
        ]
    return {row["series_instance_uid"]: row for row in found}


def sources_of(catalog: Catalog) -> dict[Value, tuple[str, int | None]]:
    statement = sa.select(series.c.series_instance_uid, remotes.c.address, remotes.c.instances)
    with catalog.reading() as connection:
        found = connection.execute(statement.join(remotes, remotes.c.series == series.c.id))
        return {row[0]: (row[1], row[2]) for row in found}


def telling(dice: random.Random, here: str) -> list[RemoteSeries]:
    """Series of few patients and studies, in any order, which contradict each other and leave out much."""
    made = []
    for _ in range(dice.randint(0, 40)):
        values: Row = {
            "series_instance_uid": f"1.2.{dice.randint(1, 25)}",
            "study_instance_uid": dice.choice([here, "1.1.1", "1.1.2", "1.1.3"]),
        }
        texts = {
            "patient_id": ["P1", "P2", "PHANTOM", ""], "patient_name": ["A^B", "a^b", "C"],
            "patient_sex": ["M", "F"], "study_date": ["20260101", "20260102"], "accession_number": ["1", "2"],
            "modality": ["CT", "MR"], "series_number": [1, 2], "patient_weight": [70.5, 71.0],
            "laterality": ["L", "R", "it's\\ \"ä漢🫀"],
        }  # fmt: skip
        values |= {name: dice.choice(some) for name, some in texts.items() if dice.random() < 0.6}
        address = f"s3://bucket/{dice.randint(1, 3)}"
        made.append(RemoteSeries(values, "idc", address, dice.choice([None, 5])))
    return made


@pytest.mark.parametrize("seed", range(12))
def test_sets_give_what_one_series_after_the_other_gives(catalog: Catalog, tmp_path: Path, seed: int) -> None:
    phantoms.write_series(tmp_path / "archive", planes=2, patient_id="P1", rows=4, columns=4)
    index_paths(catalog, [tmp_path / "archive"])
    (file,) = rows_of(catalog).values()
    dice = random.Random(seed)
    model = OneByOne([file], file["study_instance_uid"])
    for _ in range(4):
        told, batch = telling(dice, str(file["study_instance_uid"])), dice.choice([1, 3, 100])
        report = record_columns(catalog, "idc", map(columns_of, batched(told, batch)), complete=True)
        counts = (report.added, report.updated, report.unchanged, report.withdrawn)
        assert counts == model.record(told, batch)
        assert {
            uid: {name: value for name, value in row.items() if name != "identity"} | {"of": row["identity"]}
            for uid, row in rows_of(catalog).items()
        } == model.rows()
        assert sources_of(catalog) == {
            uid: (each.address, each.instances) for uid, each in model.told.items()
        }
    with catalog.reading() as connection:
        lost = connection.scalar(
            sa.select(sa.func.count()).where(
                series.c.id.not_in(sa.select(remotes.c.series)),
                series.c.series_instance_uid != file["series_instance_uid"],
                series.c.id.not_in(sa.select(doubts.c.series)),
            )
        )
        assert lost == 0
