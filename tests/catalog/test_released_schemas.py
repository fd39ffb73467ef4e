"""A catalog of every released schema, with rows in all its tables, comes to this version's: nothing is lost.

`ROWS` has what each release could hold first, as it wrote it; `LEARNT` is what a later migration adds to it.
A new migration that makes a table needs rows here.
"""

import subprocess
import sys
from datetime import UTC, date, datetime
from functools import partial
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from catalog import migrations
from catalog.backup import backups
from catalog.corrections import list_corrections
from catalog.database import Catalog, _engine
from catalog.documents import find_documents
from catalog.errors import SchemaError
from catalog.findings import find_findings
from catalog.index import index_paths
from catalog.models import metadata
from catalog.places import State
from catalog.query import find_instances, find_series
from catalog.records import SeriesRecord
from pipelines import phantoms

type Row = dict[str, Any]

CONFIG = Config()
CONFIG.set_main_option("script_location", str(Path(migrations.__file__).parent))
REVISIONS = sorted(each.revision for each in ScriptDirectory.from_config(CONFIG).walk_revisions())

MOMENT = datetime(2026, 1, 5, 10, 15, 30, 123456, tzinfo=UTC)
CT_STORAGE, SR_STORAGE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"
EXPLICIT = "1.2.840.10008.1.2.1"
WHOSE = "its study is known under another patient"
DEVIATING = "Slice Thickness (0018,0050) is no number"


def _instance(number: int, series: int, sop_class_uid: str, deviations: str = "") -> Row:
    return {
        "id": number, "series": series, "sop_instance_uid": f"1.2.{number}", "sop_class_uid": sop_class_uid,
        "instance_number": number, "rows": 512, "slice_thickness": 1.25, "kvp": None,
        "image_position_patient": "0\\0\\-1e3", "transfer_syntax_uid": EXPLICIT,
        "header_digest": f"digest {number}", "deviations": deviations,
    }  # fmt: skip


def _file(number: int, instance: int | None, state: State, reason: str = "") -> Row:
    return {
        "id": number, "folder": "/archive/Käse 🧀", "name": f"{number}.dcm", "size": 2**40 + number,
        "mtime_ns": 1_767_607_530_123_456_789, "state": state.value, "reason": reason, "instance": instance,
        "pixel_tag": 0x7FE00010, "pixel_vr": "OW", "pixel_offset": 2**33, "pixel_length": None,
        "content_digest": None,
    }  # fmt: skip


ROWS: dict[str, dict[str, list[Row]]] = {
    "0001": {
        "patients": [
            {"id": 1, "patient_id": "P1", "issuer_of_patient_id": "", "patient_name": "Müller^Jürgen",
             "patient_species_description": None, "identity": "P1\n\nmüller^jürgen"},
            {"id": 2, "patient_id": "", "issuer_of_patient_id": "here", "identity": "\nhere\n\n1.2.30"},
        ],
        "studies": [
            {"id": 1, "patient": 1, "study_instance_uid": "1.2.30", "study_date": "20260105",
             "patient_weight": 71.25},
        ],
        "series": [
            {"id": 1, "study": 1, "series_instance_uid": "1.2.40", "modality": "CT", "series_number": 2,
             "body_part_examined": "CHEST", "magnetic_field_strength": None},
            {"id": 2, "study": 1, "series_instance_uid": "1.2.41", "modality": "SR"},
        ],
        "instances": [
            _instance(1, 1, CT_STORAGE), _instance(2, 1, CT_STORAGE, f"{DEVIATING}\n{WHOSE}"),
            _instance(3, 2, SR_STORAGE),
        ],
        "files": [
            _file(1, 1, State.INDEXED), _file(2, 2, State.INDEXED), _file(3, 3, State.INDEXED),
            _file(4, None, State.REJECTED, "no DICOM"), _file(5, 1, State.VANISHED),
            _file(6, 1, State.CONFLICT, "other bytes"),
        ],
        "index_reports": [{"id": 1, "finished": MOMENT, "report": {"added": 3, "rejected": [["a", "ü"]]}}],
        "arrays": [
            {"id": 1, "series": 1, "part": 0, "kind": "volume", "record": {"shape": [2, 512, 512]},
             "input_digest": "d"},
        ],
        "runs": [
            {"id": 1, "run": "r1", "step": "threshold", "code_digest": "c", "version": "1",
             "parameters": {"above": -0.5}, "environment": {}, "started": MOMENT, "finished": None},
        ],
        "run_items": [
            {"id": 1, "run": 1, "series_instance_uid": "1.2.40", "part": 0, "key": "k", "state": "done",
             "reason": "", "seconds": 0.1, "measurements": [{"name": "volume", "value": 1e-300}]},
        ],
        "outputs": [
            {"id": 1, "run_item": 1, "run": "r1", "kind": "segmentation", "path": "/out", "digest": "o",
             "sop_instance_uid": "1.2.99"},
        ],
        "deliveries": [
            {"id": 1, "sop_instance_uid": "1.2.99", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4",
             "node": "PACS", "path": "/out", "digest": "o", "state": "queued", "reason": "", "attempts": 2,
             "next_attempt": MOMENT, "transaction_uid": None, "claimed_until": MOMENT},
        ],
        "stages": [{"id": 1, "delivery": 1, "name": "queued", "at": MOMENT, "text": ""}],
    },
    "0002": {
        "header_keys": [{"id": 1, "key": "00181160"}, {"id": 2, "key": "52009229.00189117.00189087"}],
        "header_values": [
            {"series": 1, "key": 1, "place": 0, "number": None, "text": "WEDGE"},
            {"series": 1, "key": 2, "place": 0, "number": 800.5, "text": None},
            {"series": 1, "key": 2, "place": 1, "number": 0.0, "text": None},
        ],
        "header_varying": [{"key": 2, "series": 1}],
        "instance_headers": [{"instance": 1, "header": {}}, {"instance": 2, "header": {"2": [5, "ä"]}}],
    },
    "0003": {
        "checks": [
            {"id": 1, "file": 1, "array_path": None, "size": 2**40 + 1, "mtime_ns": -1, "checked": MOMENT,
             "state": "rot", "reason": "another digest"},
            {"id": 2, "file": None, "array_path": "/zarr/1", "size": None, "mtime_ns": None,
             "checked": MOMENT, "state": "sound", "reason": ""},
        ],
    },
    "0004": {
        "findings": [
            {"id": 1, "series": 1, "part": None, "instance": 2, "origin": "index", "kind": "deviation",
             "words": DEVIATING},
            {"id": 2, "series": 1, "part": None, "instance": 2, "origin": "index",
             "kind": "several_patients", "words": WHOSE},
        ],
    },
    "0005": {
        "cohorts": [
            {"id": 1, "name": "lung", "question": "{}", "question_digest": "q", "approval": "EK 12",
             "expires": date(2031, 2, 28), "frozen": MOMENT, "series": 1, "instances": 1, "digest": "c"},
        ],
        "cohort_items": [
            {"id": 1, "cohort": 1, "series_instance_uid": "1.2.40", "sop_instance_uid": "1.2.1",
             "header_digest": "digest 1"},
        ],
    },
    "0006": {
        "remotes": [
            {"id": 1, "series": 1, "source": "idc", "address": "s3://bucket/x", "instances": 2**40,
             "bytes": None, "collection": "tcga", "analysis_result": None, "license": "CC BY 4.0",
             "doi": None, "digest": "d"},
        ],
    },
    "0007": {
        "experiments": [
            {"id": 1, "name": "pig-liver", "recorded": MOMENT, "columns": ["Tier", "Tag"],
             "meaning": {"subject": "Tier"}, "notes": []},
        ],
        "experiment_rows": [{"experiment": 1, "number": 2, "cells": ["Schwein 7", ""]}],
    },
    "0008": {},
    "0009": {
        "documents": [
            {"id": 1, "study": 1, "instance": 3, "path": None, "kind": "SR", "digest": "digest 3",
             "state": "due", "reason": "", "title": "", "predecessors": [], "text": "", "chain": None},
        ],
    },
    "0010": {},  # its rows are written by triggers
    "0011": {
        "corrections": [
            {"id": 1, "kind": "move", "subject": "1.2.30", "patient": 2, "into": 1,
             "before": {"patient_id": ""}, "after": {"patient_id": "P1"}, "who": "Dr Who", "why": "mixed up",
             "at": MOMENT, "undoes": None, "active": True},
        ],
        "study_origins": [{"study": 1, "patient": 2}],
    },
    "0012": {},  # its rows are written by triggers
    "0013": {},  # columns of deliveries
    "0014": {
        "series_spans": [
            {"tag": tag, "series": series, "low": low, "high": high}
            for series, first, last in ((1, 1.0, 2.0), (2, 3.0, 3.0))
            for tag, low, high in (
                (0x00200013, first, last), (0x00280010, 512.0, 512.0), (0x00180050, 1.25, 1.25),
            )
        ],
    },
    "0015": {
        "series_events": [
            {"id": 1, "at": MOMENT, "series_instance_uid": "1.2.40", "reception": 1, "instances": 2,
             "rule": "no instance came for 60 seconds", "routed": True},
        ],
        "receptions": [
            {"id": 1, "at": MOMENT, "node": "SCANNER", "calling_ae_title": "SCAN",
             "called_ae_title": "WORKBENCH", "folder": "/archive/Käse 🧀", "name": "1.dcm",
             "digest": "digest 1", "sop_instance_uid": "1.2.1", "series_instance_uid": "1.2.40",
             "routed": False, "event": 1},
        ],
        "routings": [
            {"id": 1, "at": MOMENT, "rule": "all CT", "sop_instance_uid": "1.2.1", "digest": "digest 1",
             "node": "PACS", "outcome": "queued", "words": "", "delivery": 1},
        ],
    },
    "0016": {
        "annotations": [
            {"id": 1, "uid": "2.25.1", "author": "Dr. Müller", "revision": 2, "series_instance_uid": "1.2.40",
             "part": 0, "sop_instance_uid": "1.2.1", "created": MOMENT, "changed": MOMENT, "writer": "w",
             "drawn": {"uid": "2.25.1", "points": [[0.5, -1e-7, 3]], "text": "Käse 🧀"}, "is_current": True},
            {"id": 2, "uid": "2.25.2", "author": "Dr. Müller", "revision": 1, "series_instance_uid": "1.2.40",
             "part": 0, "sop_instance_uid": "", "created": MOMENT, "changed": MOMENT, "writer": "w",
             "drawn": None, "is_current": False},
        ],
    },
    "0017": {},  # columns of cohorts
    "0018": {},  # an index
    "0019": {},  # a column of arrays
    "0020": {},  # two indexes
}  # fmt: skip

LEARNT = {"0004": ["findings"], "0009": ["documents"], "0014": ["series_spans"]}
"""Tables that a migration fills from what is there, with just the rows above."""
DOUBTED = {1, 2}
"""Series, all of them: by the migration 0010, and by its triggers from then on."""


def rows_of(revision: str, *, learnt: bool) -> dict[str, list[Row]]:
    """What a catalog of a release holds, or is to hold once it has learnt what later ones find in it."""
    found = {
        name: [dict(row) for row in rows]
        for introduced, tables in ROWS.items()
        for name, rows in tables.items()
        if introduced <= revision or (learnt and name in LEARNT.get(introduced, ()))
    }
    if learnt and revision < "0002":  # read again, as nothing beside the columns was kept
        for row in found["files"]:
            row["mtime_ns"] = -1 if row["state"] == State.INDEXED.value else row["mtime_ns"]
    return found


def make(url: str, revision: str, rows: dict[str, list[Row]] | None = None) -> None:
    """Make a catalog of a release, by the statements it was made by then, and fill it."""
    engine = _engine(url)
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        command.upgrade(config, revision)
        for name, some in (rows_of(revision, learnt=False) if rows is None else rows).items():
            for row in some:
                connection.execute(_table(name, row).insert().values(row))
            if connection.dialect.name == "postgresql" and "id" in metadata.tables[name].c:
                last = f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}"
                connection.execute(sa.text(last))  # as if the rows had been numbered by it
    engine.dispose()


def _table(name: str, row: Row) -> sa.TableClause:
    """A table with the columns of a row alone: later ones need not be there."""
    return sa.table(name, *(sa.column(each, metadata.tables[name].c[each].type) for each in row))


def held(connection: sa.Connection, rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """All rows of the tables, with the columns that the given rows have."""
    return {
        name: sorted(
            (dict(row) for some in given[:1] for row in connection.execute(_select(name, some)).mappings()),
            key=str,
        )
        for name, given in rows.items()
    }


def _select(name: str, row: Row) -> sa.Select[Any]:
    table = _table(name, row)
    return sa.select(*table.c).select_from(table)


def check(url: str, revision: str) -> None:
    """Open the catalog and compare every row, and what it answers."""
    catalog = Catalog(url)
    expected = rows_of(revision, learnt=True)
    columns = {name: set().union(*rows) for name, rows in expected.items()}
    whole = {
        name: sorted((dict.fromkeys(columns[name]) | row for row in rows), key=str)
        for name, rows in expected.items()
    }
    with catalog.reading() as connection:
        assert migrations._revision(connection) == migrations.HEAD
        there = held(connection, whole)
        for name, rows in whole.items():
            in_order = list(rows[0])
            assert there[name] == sorted(({key: row[key] for key in in_order} for row in rows), key=str), name
        assert set(connection.scalars(sa.select(metadata.tables["doubts"].c.series))) == DOUBTED
        empty = metadata.tables.keys() - whole.keys() - {"doubts"}
        for name in empty:
            assert connection.scalar(sa.select(sa.func.count()).select_from(metadata.tables[name])) == 0, name
    _ask(catalog, revision)
    catalog.close()


def _ask(catalog: Catalog, revision: str) -> None:
    ct = SeriesRecord(
        "1.2.40", "1.2.30", "P1", "Müller^Jürgen", study_date="20260105", modality="CT", series_number=2,
        body_part_examined="CHEST", instances=2, frames=2,
    )  # fmt: skip
    assert find_series(catalog, modality="CT", where="SliceThickness < 1.5") == [ct]
    assert find_series(catalog, where="finding == 'several_patients'") == [ct]
    assert find_series(catalog, where="PatientName ~ 'MÜLL' and BodyPartExamined ~ 'hest'") == [ct]
    said = find_series(catalog, where="FilterType = 'WEDGE'")
    assert said == ([ct] if revision >= "0002" else [])
    assert [each.sop_instance_uid for each in find_instances(catalog, modality="CT")] == ["1.2.1", "1.2.2"]
    assert {each.kind for each in find_findings(catalog)} == {"deviation", "several_patients"}
    assert [each.kind for each in find_documents(catalog)] == ["SR"]
    assert len(list_corrections(catalog)) == (revision >= "0011")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a catalog can be made, on either kind of database, and nothing is yet."""
    if request.param == "sqlite":
        return str(tmp_path / "released.sqlite")
    made: str = request.getfixturevalue("postgresql").database(template="template0")
    return made


def test_every_release_and_every_table_has_rows_here() -> None:
    named = {name for tables in ROWS.values() for name in tables}

    assert list(ROWS) == REVISIONS
    assert named | {"doubts"} == metadata.tables.keys()


class CutError(Exception):
    """A migration that goes no further."""


def interrupt(url: str, revision: str, at: int) -> bool:
    """Migrate, and fail before a statement that writes; whether there was one. Nothing is left of it then."""
    left = at

    def count(_c: object, _cursor: object, statement: str, *_others: object) -> None:
        nonlocal left
        left -= not statement.lstrip().startswith(("SELECT", "PRAGMA", "BEGIN"))
        if not left:
            raise CutError("cut")  # whose words SQLAlchemy looks at

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    try:
        Catalog(url).close()
    except CutError:
        pass
    else:
        return False
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)
    engine, rows = _engine(url), rows_of(revision, learnt=False)
    with engine.begin() as connection:
        assert migrations._revision(connection) == revision
        assert {name: len(found) for name, found in held(connection, rows).items()} == {
            name: len(found) for name, found in rows.items()
        }
    engine.dispose()
    return True


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_catalog_of_a_release_becomes_one_of_this_version_however_often_that_was_interrupted(
    empty_url: str, revision: str
) -> None:
    make(empty_url, revision)

    interrupted = list(takewhile(partial(interrupt, empty_url, revision), accumulate(range(1, 99, 3))))
    assert bool(interrupted) == (revision != migrations.HEAD)
    check(empty_url, revision)
    check(empty_url, revision)  # the second opening changes nothing


def test_a_catalog_of_the_first_schema_learns_the_rest_at_the_next_index(
    sqlite_catalog: Catalog, empty_url: str, ct: phantoms.Phantom
) -> None:
    archive, said = ct.paths[0].parent, "ImageComments = 'as it was'"
    for path in ct.paths:
        ds = pydicom.dcmread(path)
        ds.ImageComments = "as it was"
        ds.save_as(path)
    index_paths(sqlite_catalog, [archive])
    with sqlite_catalog.reading() as connection:
        rows = {
            name: [dict(row) for row in connection.execute(sa.select(metadata.tables[name])).mappings()]
            for name in ROWS["0001"]
        }
    make(empty_url, "0001", rows)

    opened = Catalog(empty_url)
    before = find_series(opened)
    assert (len(before), find_series(opened, where=said)) == (1, [])
    report = index_paths(opened, [archive])
    assert (report.added, report.updated, report.rejected) == (0, len(ct.paths), ())
    assert find_series(opened) == find_series(opened, where=said) == before
    assert index_paths(opened, [archive]).unchanged == len(ct.paths)
    opened.close()


def test_triggers_of_a_migrated_catalog_notice_a_series_that_lost_its_last_place(empty_url: str) -> None:
    make(empty_url, "0001")
    catalog = Catalog(empty_url)
    with catalog.transaction() as connection:
        connection.execute(sa.text("DELETE FROM doubts"))
        connection.execute(sa.text("UPDATE files SET state = 'vanished' WHERE instance = 3"))

    assert [each.modality for each in find_series(catalog)] == ["CT"]
    catalog.close()


@pytest.mark.parametrize("revision", ["0012-of-tomorrow", "9999", ""])
def test_a_newer_catalog_is_refused_in_words_and_left_as_it_is(empty_url: str, revision: str) -> None:
    make(empty_url, migrations.HEAD)
    engine = _engine(empty_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :new"), {"new": revision})

    for _ in range(2):
        with pytest.raises(SchemaError, match="it was written by a newer one; update the workbench"):
            Catalog(empty_url)
    rows = rows_of(migrations.HEAD, learnt=False)
    with engine.begin() as connection:
        assert migrations._revision(connection) == revision
        assert {name: len(found) for name, found in held(connection, rows).items()} == {
            name: len(found) for name, found in rows.items()
        }
    engine.dispose()


KILLED = """
import os, signal, sqlite3, sys
import sqlalchemy as sa
import alembic.command
from catalog.database import Catalog

path, start = sys.argv[1:]
left = 0

def count(connection, cursor, statement, *others):
    global left
    left -= not statement.lstrip().startswith(("SELECT", "PRAGMA", "BEGIN"))
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

sa.event.listen(sa.Engine, "before_cursor_execute", count)
for killed in range(1, 1000):
    child = os.fork()
    if not child:
        left = killed
        Catalog(path).close()
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended == 0:
        break
    assert ended == -signal.SIGKILL, ended
    opened = sqlite3.connect(path)
    assert opened.execute("SELECT version_num FROM alembic_version").fetchall() == [(start,)]
    assert opened.execute("SELECT count(*) FROM files").fetchall() == [(6,)]
    opened.close()
print(killed - 1)
"""
"""A migration that is killed before each of its statements in turn; prints how many it has."""


@pytest.mark.parametrize(("revision", "least"), [("0001", 60), ("0016", 9)])
def test_a_migration_that_is_killed_before_any_of_its_statements_is_done_whole_by_the_next(
    tmp_path: Path, revision: str, least: int
) -> None:
    path = str(tmp_path / "catalog.sqlite")
    make(path, revision)

    out = subprocess.run(
        [sys.executable, "-c", KILLED, path, revision], capture_output=True, text=True, check=False
    )

    assert out.returncode == 0, out.stderr
    assert int(out.stdout) >= least
    check(path, revision)
    assert [each.revision for each in backups(Path(path))] == [revision]  # one, of however many attempts
