"""What makes no sense is refused in words that say what it is and what to do, on either database."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import workbench
from catalog.errors import (
    CatalogError,
    ExportError,
    JournalError,
    NotFoundError,
    QuestionError,
    SheetError,
)
from catalog.records import RemoteSeries
from catalog.remotes import record_remotes
from pipelines import phantoms
from workbench.cli import app
from workbench.harvest.journal import JOURNAL
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.web.node import WebNode
from workbench.session import Bench
from workbench.sheets import read_sheet

UNSTORABLE = ["1.2\0", "1.2\ud800", "\udc80"]
"""Texts that no column holds: with NUL, or half of a character."""


@pytest.fixture
def bench(any_bench: Bench) -> Bench:
    return any_bench


def test_an_empty_path_is_not_the_current_folder(
    bench: Bench, ct: phantoms.Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ct.paths[0].parent)
    with pytest.raises(NotFoundError, match=r"empty path names no folder; give '\.'"):
        bench.index("", quiet=True)
    assert bench.count() == 0
    assert bench.index(".", quiet=True).report.added == len(ct.paths)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (5, "path or an address, not int"),
        (None, "path or an address, not NoneType"),
        (b"/tmp", "path or an address, not bytes"),
    ],
)
def test_what_is_read_is_a_path_or_an_address(bench: Bench, given: Any, words: str) -> None:
    with pytest.raises(QuestionError, match=words):
        bench.index(given, quiet=True)


@pytest.mark.parametrize("workers", ["a", 0, -1, 1.5, True])
def test_workers_are_counted(bench: Bench, tmp_path: Path, workers: Any) -> None:
    with pytest.raises(QuestionError, match="workers is a whole number from 1"):
        bench.index(tmp_path, workers=workers, quiet=True)


@pytest.mark.parametrize("address", ["ftp://me:secret@host/x", "gs://bucket/x", "file://host/x"])
def test_an_address_of_another_kind_is_named_with_those_that_are_read(bench: Bench, address: str) -> None:
    with pytest.raises(NotFoundError, match=r"s3://.*http.*pacs://NODE can be read") as raised:
        bench.index(address, quiet=True)
    assert str(raised.value).startswith(f"no {address.partition('://')[0]}:// address is read")
    assert "secret" not in str(raised.value)


def test_the_address_of_a_file_is_its_path(bench: Bench, tmp_path: Path) -> None:
    made = phantoms.write_series(tmp_path / "with blank", planes=3)
    assert bench.index((tmp_path / "with blank").as_uri(), quiet=True).report.added == len(made.paths)


@pytest.mark.parametrize(
    ("name", "begins", "kind"),
    [
        ("x.7z", b"7z\xbc\xaf\x27\x1c\0\4", "7z"),
        ("x.rar", b"Rar!\x1a\7\1\0", "RAR"),
        ("x.zst", b"\x28\xb5\x2f\xfd\4", "Zstandard"),
    ],
)
def test_an_archive_that_is_not_read_is_named(
    bench: Bench, tmp_path: Path, name: str, begins: bytes, kind: str
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / name).write_bytes(begins + bytes(range(256)))
    (rejected,) = bench.index(tmp_path / "files", quiet=True).rejected
    assert f"a {kind} archive, which is not read; unpack it" in rejected.reason


@pytest.mark.parametrize("number", [2**63, 2**70, -1, 0, True])
def test_a_number_that_no_correction_has_is_not_undone(bench: Bench, number: int) -> None:
    with pytest.raises(NotFoundError, match="`workbench corrections` lists them"):
        bench.undo(number, why="a test")


@pytest.mark.parametrize("number", ["a", "1", 1.5, None])
def test_a_correction_is_undone_by_its_number(bench: Bench, number: Any) -> None:
    with pytest.raises(QuestionError, match=f"by its number, not by {type(number).__name__}"):
        bench.undo(number, why="a test")


def test_the_command_line_undoes_no_huge_number(bench: Bench) -> None:
    words = ["corrections", "--undo", "9" * 21, "--why", "x", "--home", str(bench.settings.home)]
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert result.stderr == "workbench: no correction has this number; `workbench corrections` lists them\n"


@pytest.mark.parametrize("uid", [*UNSTORABLE, 5])
def test_a_study_that_no_column_holds_is_not_found(bench: Bench, archive: Path, uid: Any) -> None:
    bench.index(archive, quiet=True)
    for ask in (
        lambda: bench.move_study(uid, "M1", why="a test"),
        lambda: bench.move_study(bench.series()[0].study_instance_uid, uid, why="a test"),
        lambda: bench.merge_patients(uid, "M1", why="a test"),
        lambda: bench.delete(uid, why="a test"),
        lambda: bench.restore(uid, why="a test"),
    ):
        with pytest.raises(NotFoundError, match=r"lists|is in the catalog") as raised:
            ask()
        assert str(raised.value).isprintable()


def test_a_study_of_such_a_uid_has_no_documents_and_gets_none(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    report = ct.paths[0].parent.parent / "report.txt"
    report.write_text("no finding")
    bench.add_report(ct.study_instance_uid, report)
    assert len(bench.documents(studies=UNSTORABLE)) == 0
    assert len(bench.documents(studies=[*UNSTORABLE, ct.study_instance_uid])) == 1
    for uid in UNSTORABLE:
        with pytest.raises(NotFoundError, match="no study"):
            bench.add_report(uid, report)
        for name in ("title", "identifier"):
            with pytest.raises(QuestionError, match=f"the {name} of a report is a text"):
                bench.add_report(ct.study_instance_uid, report, **{name: uid})
        with pytest.raises(NotFoundError, match="is no file"):
            bench.add_report(ct.study_instance_uid, f"/{uid}")
    for given in ((5, report), (ct.study_instance_uid, 5)):
        with pytest.raises(QuestionError, match="a Study Instance UID and the path"):
            bench.add_report(*given)  # type: ignore[arg-type]


@pytest.mark.parametrize("date", ["2026-13-99", "20260230", "20269", "today", 20261399])
def test_a_report_is_of_a_day_of_the_calendar(bench: Bench, ct: phantoms.Phantom, date: Any) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    report = ct.paths[0].parent.parent / "report.txt"
    report.write_text("no finding")
    with pytest.raises(QuestionError, match="calendar, written 20260131"):
        bench.add_report(ct.study_instance_uid, report, date=date)
    assert bench.add_report(ct.study_instance_uid, report, date="2026-01-31")[0].date == "20260131"


@pytest.mark.parametrize("limit", ["a", -1, 0, 1.5, 2**70])
def test_a_limit_is_a_number_from_one(bench: Bench, limit: Any) -> None:
    with pytest.raises(QuestionError, match="limit is a whole number from 1"):
        bench.documents(limit=limit)


def test_other_kinds_of_nonsense_are_sentences(bench: Bench, tmp_path: Path, ct: phantoms.Phantom) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    with pytest.raises(QuestionError, match="found by words, such as 'liver' or 'Modality=CT', not int"):
        bench.find(5)  # type: ignore[arg-type]
    for name in ("rate", "hours", "limit"):
        with pytest.raises(QuestionError, match=f"{name} is a number above 0, not '5'"):
            bench.scrub(quiet=True, **{name: "5"})  # type: ignore[arg-type]
    (tmp_path / "pigs.csv").write_text("Tier,Datum,PatientID\n1,20260101,P1\n")
    with pytest.raises(SheetError, match=r"match=\{'Tier-Nr': 'subject'\}; it is no str"):
        bench.experiment("pigs", tmp_path / "pigs.csv", match="Datum")  # type: ignore[arg-type]
    cohort = bench.freeze("all", quiet=True)
    for write in (cohort.to_manifest, cohort.to_parquet):
        with pytest.raises(ExportError, match="is a folder; give the name of a file"):
            write(tmp_path, overwrite=True)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql:///b1?foo=bar",
        "postgresql://me:secret@127.0.0.1:1/b1?foo=bar",
        "postgresql://me@127.0.0.1:1/b1?foo=bar&password=secret",
        "postgresql://me:secret@127.0.0.1:1/b1",
    ],
)
def test_an_address_of_a_catalog_that_cannot_be_is_a_sentence_without_a_password(
    address: str, tmp_path: Path
) -> None:
    with pytest.raises(CatalogError, match="cannot be used") as raised:
        workbench.open(address, home=tmp_path / "bench")
    assert "secret" not in str(raised.value)
    assert ("foo" in str(raised.value)) == ("foo" in address)


def test_a_page_without_a_limit_is_refused(bench: Bench) -> None:
    for find in (bench.series, bench.find):
        with pytest.raises(QuestionError, match="say how many: limit=200"):
            find(page=2)


def test_a_deleted_series_says_that_it_was_deleted(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    bench.ingest(quiet=True)
    found = bench.series()[0]
    bench.delete(found, why="a test")
    for series in (found, found.series_instance_uid):
        with pytest.raises(NotFoundError, match=r"was deleted, alone or with its study; bench.restore"):
            bench.volume(series)
    bench.restore(found, why="a test")
    assert bench.volume(found).size


def test_a_series_elsewhere_has_a_card_that_says_so(bench: Bench) -> None:
    values = {"study_instance_uid": "1.2", "series_instance_uid": "1.2.3", "modality": "CT"}
    record_remotes(bench.catalog, "idc", [RemoteSeries(values, "idc", "s3://bucket/series")])
    sheet = bench.series().contact_sheet(quiet=True)
    words = "its pixels are not here but at s3://bucket/series; bench.fetch(series) gets them"
    assert sheet.reasons == {"1.2.3": words}


def test_subjects_of_dots_have_groups_of_their_own(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    (patient,) = {each.patient_id for each in bench.series(modality="MR")}
    table = pd.DataFrame({"subject": [".", ".."], "patient_id": ["M1", patient], "visit": ["..", "a"]})
    tree = bench.experiment("dots", table).tree()
    assert {"(.)", "(..)"} == set(tree.children)
    assert set(tree["(.)"].children) == {"(..)", "a"}


@pytest.mark.parametrize("text", ['1,"P1,a\n2,P2,b\n3,P3,c\n', '1,"P1,a', '1,P1,a\n2,P2,"b\n\n'])
def test_a_quote_that_is_never_closed_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pigs.csv"
    path.write_text(f"animal,patient_id,note\n{text}")
    row = 2 + text.partition('"')[0].count("\n")
    with pytest.raises(SheetError, match=f"a quote in row {row} is never closed"):
        read_sheet(path)
    path.write_text('animal,patient_id,note\n1,P1,"two\nlines"\n2,P2,5" wide\n3,P3,""\n')
    assert [row[2] for row in read_sheet(path).rows] == ["two\nlines", '5" wide', None]


def test_an_empty_file_is_no_new_catalog_of_a_bench_that_has_arrays(
    tmp_path: Path, ct: phantoms.Phantom
) -> None:
    home = tmp_path / "bench"
    home.mkdir()
    (home / "catalog.sqlite").touch()
    with workbench.open(home) as bench:
        bench.index(ct.paths[0].parent, quiet=True)
        bench.ingest(quiet=True)
    (home / "catalog.sqlite").write_bytes(b"")
    with pytest.raises(CatalogError, match="is empty, although this bench has arrays; put back a copy"):
        workbench.open(home)
    (home / "catalog.sqlite").unlink()
    workbench.open(home).close()


# --- nodes -----------------------------------------------------------------------------------------------


@pytest.fixture
def with_node(bench: Bench) -> Bench:
    """A bench that knows a node, which is not there: what makes no sense is refused before it is asked."""
    nodes = {"PACS": DimseNode("PACS", "127.0.0.1", 9), "WEB": WebNode("http://127.0.0.1:9/dicom-web")}
    bench.settings = bench.settings.model_copy(update={"nodes": nodes})
    return bench


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (lambda bench: bench.send(3, to="PACS"), QuestionError, "a list of them, not as int"),
        (lambda bench: bench.send(None, to="PACS"), QuestionError, "not as nothing"),
        (lambda bench: bench.send([3.5], to="PACS"), QuestionError, "path of a DICOM file, not as float"),
        (lambda bench: bench.send("x" * 5_000, to="PACS"), NotFoundError, "neither a file nor"),
        (lambda bench: bench.send("a\0b", to="PACS"), NotFoundError, "is neither a file"),
        (lambda bench: bench.send([], to=3), NotFoundError, r"no node 3; .* has PACS"),
        (lambda bench: bench.send([], to=None), NotFoundError, "no node None"),
        (
            lambda bench: bench.nodes["X"],
            NotFoundError,
            r"no node 'X'; .* has PACS, WEB. Add a table \[nodes.X",
        ),
        (lambda bench: bench.nodes[3], NotFoundError, "no node 3;"),
        (lambda bench: bench.node([]), NotFoundError, r"no node \[\]"),
        (lambda bench: bench.deliver(3), QuestionError, "nodes are given by name, .* not as int"),
        (lambda bench: bench.deliver("X"), NotFoundError, "no node 'X'"),
        (lambda bench: bench.withdraw(3, to="PACS", why="x"), QuestionError, "SOP Instance UID, not int"),
        (lambda bench: bench.withdraw("1.2", to=3, why="x"), NotFoundError, "no node 3"),
    ],
)
def test_what_is_no_object_or_no_node_is_told_so(
    with_node: Bench, act: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        act(with_node)


@pytest.mark.parametrize("limit", [-1, 0, 1.5, "many", True, None])
def test_answers_of_a_node_are_counted(with_node: Bench, limit: Any) -> None:
    asked = [each.find for each in with_node.nodes.values()] + [with_node.nodes["PACS"].worklist]
    for each in asked:
        with pytest.raises(QuestionError, match="limit is a whole number from 1"):
            each(limit=limit)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rate": "fast"}, "megabytes a second, above 0, not 'fast'"),
        ({"rate": -1}, "above 0"),
        ({"answers": "all"}, "answers is a whole number from 1, not 'all'"),
        ({"answers": 0}, "answers is a whole number from 1"),
        ({"hours": 3}, "hours are such as"),
    ],
)
def test_a_harvest_is_put_in_numbers(with_node: Bench, settings: Any, words: str) -> None:
    with pytest.raises(QuestionError, match=words):
        with_node.harvest("x", node="PACS", study_date="20260101", quiet=True, **settings)


def test_a_table_without_a_row_is_no_harvest(with_node: Bench) -> None:
    with pytest.raises(SheetError, match="the table has no rows"):
        with_node.harvest("empty", pd.DataFrame({"accession_number": []}), node="PACS", quiet=True)
    with pytest.raises(NotFoundError, match="no harvest empty"):
        with_node.harvest_report("empty")


@pytest.mark.parametrize(
    "line", [b"no JSON", b"[]", b'{"plan": {}}', b'{"plan": 3}', b'{"fetched": "1.2"}', b"\xff\xfe"]
)
def test_a_journal_that_is_none_is_named_with_its_line(with_node: Bench, line: bytes) -> None:
    folder = with_node.settings.home / "harvests" / "lung"
    folder.mkdir(parents=True)
    (folder / JOURNAL).write_bytes(b'{"fetched":"1.2","instances":3}\n' + line + b"\n")
    for act in (
        lambda: with_node.harvest_report("lung"),
        lambda: with_node.harvest("lung", quiet=True),
        lambda: with_node.harvest("lung", node="PACS", study_date="20260101", quiet=True),
    ):
        with pytest.raises(JournalError, match=r"line 2 of .*journal.jsonl is not what .*put back a copy"):
            act()
    said = CliRunner().invoke(app, ["harvest", "lung", "--report", "--home", str(with_node.settings.home)])
    assert said.exit_code == 1
    assert "line 2" in said.output


def test_a_journal_that_cannot_be_opened_says_why(with_node: Bench) -> None:
    (with_node.settings.home / "harvests" / "lung" / JOURNAL).mkdir(parents=True)
    with pytest.raises(JournalError, match=r"journal.jsonl cannot be read: is a directory"):
        with_node.harvest_report("lung")
