"""Batches from a node: by accession numbers, by days, killed and gone on with, and what is missing."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from pydicom import dcmread

import workbench
from catalog.errors import NotFoundError, QuestionError
from catalog.identifiers import new_uid
from catalog.locks import alone
from catalog.records import RemoteSeries
from pipelines import phantoms
from workbench.cli import app
from workbench.harvest.journal import JOURNAL
from workbench.harvest.report import GapReport
from workbench.pacs import dimse
from workbench.pacs.association import associate, contexts_for
from workbench.pacs.dimse_node import DimseNode
from workbench.session import Bench

type Peer = Any

PLANES = 3
SECRET = "ACC-9317"
"""An accession number that may be in tables alone."""


def send(
    node: DimseNode, folder: Path, accession: str, *, patient_id: str, day: str = "20260105", at: str = "1000"
) -> str:
    """Send a small series of a study of its own; return its UID."""
    ct = phantoms.write_series(folder, planes=PLANES, study=new_uid(), patient_id=patient_id)
    heads = []
    for path in ct.paths:
        ds = dcmread(path)
        ds.AccessionNumber, ds.StudyDate, ds.StudyTime = accession, day, at
        ds.save_as(path)
        heads.append(ds)
    pairs = [(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for ds in heads]
    with associate(node, contexts_for(pairs)) as association:
        for path, ds in zip(ct.paths, heads, strict=True):
            dimse.store(
                association, path, sop_class_uid=str(ds.SOPClassUID),
                sop_instance_uid=str(ds.SOPInstanceUID),
                transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
            )  # fmt: skip
    return str(heads[0].SeriesInstanceUID)


def open_bench(home: Path, peer: Peer, node: DimseNode | None = None) -> Bench:
    nodes = {"PACS": node or peer.node}
    return workbench.open(
        home, nodes=nodes, listen_port=peer.listen.port, ae_title=peer.node.calling_ae_title
    )


def rows(report: GapReport) -> dict[str, tuple[Any, ...]]:
    return {each.item: (each.received, each.hashed, each.indexed, each.reason) for each in report}


def test_a_table_of_accession_numbers_comes_and_what_does_not_has_a_reason(
    tmp_path: Path, peer: Peer
) -> None:
    own = new_uid()[-8:]  # tests share the node
    for number, (accession, patient) in enumerate(
        [(f"{own}A", "P1"), (f"{own}B", "P1"), (f"{own}C", "P2"), (f"{own}C", "P3")]
    ):
        send(peer.node, tmp_path / f"{number}", accession, patient_id=patient)
    table = pd.DataFrame({"AccessionNumber": [f"{own}{each}" for each in ("A", "B", "C", "D", "A")] + ["*"]})
    with open_bench(tmp_path / "bench", peer) as bench:
        report = bench.harvest("thorax", table, ingest=True, quiet=True)
        whole = (PLANES, PLANES, PLANES, "")
        found = rows(report)
        assert (found[f"{own}A"], found[f"{own}B"]) == (whole, whole)
        assert "it is of 2 patients at the node" in found[f"{own}C"][3]
        assert found[f"{own}D"][3] == "the node knows no such study"
        assert found[""][3] == "its accession_number has a wildcard or a backslash"
        assert {each.ingested for each in report if each.series_instance_uid} == {PLANES}
        assert not report.is_complete
        assert "2 of 2 series complete · 3 without a series" in report.line()
        assert report.to_pandas()["missing"].sum() == 0
        assert "thorax" not in report._repr_html_()
        assert f"{own}D" in report._repr_html_()
        assert list(bench.harvest_report("thorax")) == list(report)
        narrowed = pd.DataFrame({"AccessionNumber": [f"{own}C"], "PatientID": ["P3"]})
        assert bench.harvest("thorax", narrowed, quiet=True).is_complete
        assert [each.patient_id for each in bench.series(accession_number=f"{own}C")] == ["P3"]


def test_days_come_one_after_the_other_and_a_second_run_fetches_nothing(
    tmp_path: Path, start_embedded: Any
) -> None:
    peer = start_embedded()
    sent = {
        day: send(peer.node, tmp_path / day, day, patient_id=day, day=day)
        for day in ("20260101", "20260102", "20260104")
    }
    with open_bench(tmp_path / "bench", peer) as bench:
        report = bench.harvest("january", study_date="20260101-20260103", Modality="CT", quiet=True)
        assert report.is_complete
        assert {each.series_instance_uid for each in report} == {sent["20260101"], sent["20260102"]}
        received = {
            path: path.stat().st_mtime_ns for path in (tmp_path / "bench" / "received").rglob("*.dcm")
        }
        assert len(received) == 2 * PLANES
        assert bench.harvest("january", quiet=True).is_complete
        assert {path: path.stat().st_mtime_ns for path in received} == received
        sorted(received)[0].unlink()
        bench.index(tmp_path / "bench" / "received", quiet=True)
        gap = bench.harvest_report("january").amiss
        assert [(each.missing, each.indexed) for each in gap] == [(1, PLANES - 1)]
        assert gap[0].reason == "1 of its instances are here no more"
        assert bench.harvest("january", quiet=True).is_complete


def test_an_orthanc_that_limits_its_answers_is_asked_in_parts_of_the_day(
    tmp_path: Path, start_orthanc: Any
) -> None:
    peer = start_orthanc(LimitFindResults=2)
    sent = {
        send(peer.node, tmp_path / at, at, patient_id=at, at=at)
        for at in ("000000", "034500", "101500.25", "160000", "235959")
    }
    with open_bench(tmp_path / "bench", peer) as bench:
        report = bench.harvest("day", study_date="20260105", quiet=True)
        assert {each.series_instance_uid for each in report if each.series_instance_uid} == sent
        assert report.is_complete
        assert "asked for in parts of the day" in next(each.note for each in report if each.note)


class Boastful(DimseNode):
    """A node that tells of more than it has."""

    __slots__ = ()

    def survey(self, matching: Mapping[str, str]) -> Iterator[RemoteSeries]:
        for each in DimseNode.survey(self, matching):
            yield replace(each, instances=PLANES + 2)


def test_a_node_that_tells_of_more_than_it_gives_is_not_complete(tmp_path: Path, pacs: Peer) -> None:
    own = new_uid()[-8:]
    send(pacs.node, tmp_path / "ct", own, patient_id="P1")
    node = Boastful(pacs.node.ae_title, pacs.node.host, pacs.node.port)
    with open_bench(tmp_path / "bench", pacs, node) as bench:
        report = bench.harvest("boast", pd.DataFrame({"AccessionNumber": [own]}), quiet=True)
        (row,) = report
        assert (row.expected, row.indexed, row.missing) == (PLANES + 2, PLANES, 2)
        assert row.reason == f"the node told of {PLANES + 2} instances and gave {PLANES}"
        assert "2 instances missing" in report.line()


KILLED = """
import os, signal, sys
import workbench
from workbench.harvest.journal import Journal
from workbench.pacs.dimse_node import DimseNode
home, ae_title, host, port, listen, table, kill, before = sys.argv[1:]
add, count = Journal.add, 0
def counted(self, event):
    global count
    count += 1
    if before == "before" and count == int(kill):
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, event)
    if count == int(kill):
        os.kill(os.getpid(), signal.SIGKILL)
Journal.add = counted
node = DimseNode(ae_title, host, int(port))
with workbench.open(home, nodes={"PACS": node}, listen_port=int(listen)) as bench:
    bench.harvest("killed", table, quiet=True)
"""


@pytest.mark.parametrize(
    ("kill", "when"), [(1, "after"), (2, "after"), (3, "after"), (4, "before"), (6, "after")]
)
def test_killed_in_the_middle_it_goes_on_and_fetches_nothing_twice(
    tmp_path: Path, pacs: Peer, kill: int, when: str
) -> None:
    own = new_uid()[-8:]
    for each in ("A", "B"):
        send(pacs.node, tmp_path / each, own + each, patient_id=own)
    table = tmp_path / "accession.csv"
    table.write_text(f"accession_number\n{own}A\n{own}B\n")
    home, node = tmp_path / "bench", pacs.node
    words = [home, node.ae_title, node.host, node.port, pacs.listen.port, table, kill, when]
    died = subprocess.run([sys.executable, "-c", KILLED, *map(str, words)], check=False)
    assert died.returncode == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in (home / "received").rglob("*.dcm")}
    with open_bench(home, pacs) as bench:
        report = bench.harvest("killed", table, quiet=True)
        assert report.is_complete
        assert [each.hashed for each in report] == [PLANES, PLANES]
        assert len(bench.series(patient_id=own)) == 2
    assert len(list((home / "received").rglob("*.dcm"))) == 2 * PLANES
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_ctrl_c_loses_nothing(tmp_path: Path, pacs: Peer) -> None:
    own = new_uid()[-8:]
    send(pacs.node, tmp_path / "ct", own, patient_id="P1")
    table = pd.DataFrame({"AccessionNumber": [own]})
    calls = iter(range(2))  # the node is asked; the next look at the clock is before the fetch

    def now() -> datetime:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return datetime(2026, 2, 1, 22, tzinfo=UTC)

    with open_bench(tmp_path / "bench", pacs) as bench:
        with pytest.raises(KeyboardInterrupt):
            bench.harvest("stopped", table, hours="20:00-06:00", quiet=True, now=now)
        (row,) = bench.harvest_report("stopped")
        assert (row.expected, row.received) == (PLANES, 0)
        noon = datetime(2026, 2, 1, 12, tzinfo=UTC)
        assert not bench.harvest("stopped", wait=False, quiet=True, now=lambda: noon).is_complete
        assert bench.harvest("stopped", hours="", quiet=True).is_complete


def test_a_dicomweb_node_is_harvested_in_the_same_way(tmp_path: Path, dicomweb: Any) -> None:
    own = new_uid()[-8:]
    send(dicomweb.dimse, tmp_path / "ct", own, patient_id="P1")
    with workbench.open(tmp_path / "bench", nodes={"WEB": dicomweb.web}) as bench:
        report = bench.harvest("web", pd.DataFrame({"AccessionNumber": [own]}), quiet=True)
        (row,) = report
        assert report.is_complete
        assert (row.expected, row.received, row.hashed, row.missing) == (PLANES, PLANES, PLANES, 0)


def test_the_command_line_harvests_and_tells_what_is_missing(
    tmp_path: Path, pacs: Peer, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    own = new_uid()[-8:]
    send(pacs.node, tmp_path / "ct", own, patient_id="P1")
    home, node = tmp_path / "bench", pacs.node
    home.mkdir()
    (home / "workbench.toml").write_text(
        f'[nodes.PACS]\nae_title = "{node.ae_title}"\nhost = "{node.host}"\nport = {node.port}\n'
    )
    table = tmp_path / "accession.csv"
    table.write_text(f"Auftrag\n{own}\n{SECRET}\n")

    def says(*words: str) -> Any:
        code = app(["harvest", "typed", *words, "--home", str(home)], standalone_mode=False)
        return code or 0, capsys.readouterr()

    code, said = says("--table", str(table), "--match", "Auftrag=accession_number", "--rate", "100")
    assert code == 1
    assert "1 of 1 series complete" in said.out
    assert f"{SECRET}" in said.out  # in the table that the person asked for
    assert SECRET not in said.err + caplog.text
    code, said = says("--report", "--json")
    assert (code, json.loads(said.out)["complete"]) == (1, False)
    table.write_text(f"accession_number\n{own}\n")
    code, said = says("--table", str(table))
    assert (code, said.out.count("\n")) == (0, 1)
    assert (home / "harvests" / "typed" / JOURNAL).stat().st_mode & 0o077 == 0
    with pytest.raises(typer.BadParameter, match="NAME=VALUE"):
        says("StudyDate")


def test_what_cannot_be_harvested_says_so(tmp_path: Path, pacs: Peer, free_port: int) -> None:
    nobody = DimseNode("NOBODY", "127.0.0.1", free_port)
    with workbench.open(tmp_path / "bench", nodes={"PACS": pacs.node, "NOBODY": nobody}) as bench:
        table = pd.DataFrame({"AccessionNumber": ["1"]})
        with pytest.raises(NotFoundError, match="no harvest lung; there is none yet"):
            bench.harvest("lung")
        with pytest.raises(NotFoundError, match="no harvest lung"):
            bench.harvest_report("lung")
        with pytest.raises(QuestionError, match=r"say which node is asked.*PACS, NOBODY"):
            bench.harvest("lung", table)
        with pytest.raises(NotFoundError, match="no node 'OTHER'"):
            bench.harvest("lung", table, node="OTHER")
        with pytest.raises(QuestionError, match="a table or a question, not both"):
            bench.harvest("lung", table, node="PACS", modality="CT")
        with pytest.raises(QuestionError, match="the days of its studies"):
            bench.harvest("lung", node="PACS", modality="CT")
        with pytest.raises(QuestionError, match="the name of a harvest"):
            bench.harvest("../lung", table, node="PACS")
        with pytest.raises(QuestionError, match="hours are such as"):
            bench.harvest("lung", table, node="PACS", hours="night")
        with pytest.raises(QuestionError, match="rate is in megabytes"):
            bench.harvest("lung", table, node="PACS", rate=0)
        with (
            alone(tmp_path / "bench" / "harvests" / "lung"),
            pytest.raises(QuestionError, match="another process is at harvest lung"),
        ):
            bench.harvest("lung", table, node="PACS")
