"""What was sent can be taken back, and results that come back are known as such."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from typer.testing import CliRunner

import workbench
from catalog import outbox
from catalog.errors import DeliveryError, EncodeError, NotFoundError
from tests.peers.scripted import OUT_OF_RESOURCES, scripted
from tests.results import Results, make_results
from workbench.cli import app
from workbench.pacs.dimse_node import DimseNode
from workbench.session import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with workbench.open(tmp_path / "bench") as opened:
        yield opened


NOBODY = DimseNode("PACS", "127.0.0.1", 1, name="PACS", connection_seconds=1.0)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.mark.pacs
def test_a_result_is_taken_back_by_a_note_of_its_study_that_the_node_keeps(
    results: Results, orthanc: Any, tmp_path: Path
) -> None:
    listening = {"listen_host": orthanc.listen.host, "listen_port": orthanc.listen.port}
    with workbench.open(tmp_path / "bench", **listening) as bench:
        (sent,) = bench.send([results.paths["SEG"]], to=orthanc.node, quiet=True)
        withdrawn, note = bench.withdraw(sent, to=orthanc.node, why="the mask covers the table")
        assert (withdrawn.state, note.state, note.kind) == ("withdrawn", "confirmed", "KOS")
        assert withdrawn.next_step == "nothing: it was taken back"
        assert (
            withdrawn.stages[-1].text == f"rejected for quality reasons, by the note {note.sop_instance_uid}"
        )
        (kept,) = outbox.deliveries(bench.catalog, sop_instance_uids=[note.sop_instance_uid])
        ds = pydicom.dcmread(kept.path)
        with pytest.raises(DeliveryError, match=r"was withdrawn from .*; what is right needs a UID"):
            bench.send([results.paths["SEG"]], to=orthanc.node, quiet=True)
        both = [results.paths["SEG"], results.paths["SR"]]  # one in conflict keeps no other from going
        refused, other = bench.send(both, to=orthanc.node, quiet=True)
        assert (refused.state, other.state) == ("refused", "confirmed")
        assert "what is right needs a UID" in refused.reason
        with pytest.raises(DeliveryError, match=r"was withdrawn from .* before"):
            bench.withdraw(sent, to=orthanc.node, why="again")
    assert ds.ConceptNameCodeSequence[0].CodeValue == "113001"
    assert ds.StudyInstanceUID == results.objects["SEG"].StudyInstanceUID
    (evidence,) = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == sent.sop_instance_uid
    texts = [each.TextValue for each in ds.ContentSequence if each.ValueType == "TEXT"]
    assert "the mask covers the table" in texts


def test_what_never_went_out_is_taken_out_of_the_outbox_without_a_note(
    bench: Bench, results: Results
) -> None:
    (waiting,) = bench.send([results.paths["PDF"]], to=NOBODY, quiet=True)
    assert waiting.state == "queued"
    (withdrawn,) = bench.withdraw(waiting.sop_instance_uid, to=NOBODY, why="the wrong letter")
    assert (withdrawn.state, withdrawn.stages[-1].text) == ("withdrawn", "it never went out")
    assert [each.state for each in bench.outbox()] == ["withdrawn"]


def test_a_note_follows_what_may_have_arrived_though_nobody_said_so(bench: Bench, results: Results) -> None:
    with scripted(OUT_OF_RESOURCES) as pacs:
        (waiting,) = bench.send([results.paths["PDF"]], to=pacs.node(), quiet=True)
        assert waiting.state == "queued"
        withdrawn, note = bench.withdraw(waiting, to=pacs.node(), why="the wrong letter", reason="safety")
    assert (withdrawn.state, note.state) == ("withdrawn", "confirmed")
    assert pacs.order == [waiting.sop_instance_uid, note.sop_instance_uid]


def test_what_was_never_sent_and_reasons_that_are_none_are_told(bench: Bench, results: Results) -> None:
    with pytest.raises(NotFoundError, match=r"never queued 1\.2\.3 for PACS"):
        bench.withdraw("1.2.3", to=NOBODY, why="x")
    with scripted() as pacs:
        (sent,) = bench.send([results.paths["PDF"]], to=pacs.node(), quiet=True)
        with pytest.raises(
            EncodeError, match=r"'bad' is no reason .* take quality, safety, worklist, retention"
        ):
            bench.withdraw(sent, to=pacs.node(), why="x", reason="bad")
    assert [each.state for each in bench.outbox("PACS")] == ["confirmed"]


def test_the_commands_of_the_outbox(tmp_path: Path, results: Results) -> None:
    home, run = tmp_path / "bench", CliRunner()
    home.mkdir()
    with scripted(OUT_OF_RESOURCES) as pacs:
        table = f'[nodes.PACS]\nae_title = "SCRIPTED"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
        (home / "workbench.toml").write_text(table)
        of_bench = ["--home", str(home)]
        sent = run.invoke(app, ["send", str(results.paths["SC"]), "--to", "PACS", *of_bench])
        assert (sent.exit_code, "out of resources" in sent.output) == (1, True)
        assert run.invoke(app, ["deliver", *of_bench]).exit_code == 0, "nothing is due yet"
        listed = run.invoke(app, ["outbox", "--json", *of_bench])
        assert '"state": "queued"' in listed.output
        uid = str(results.objects["SC"].SOPInstanceUID)
        taken = run.invoke(app, ["withdraw", uid, "--to", "PACS", "--why", "blurred", *of_bench])
        assert taken.exit_code == 0, taken.output
    assert "withdrawn" in run.invoke(app, ["outbox", *of_bench]).output


# --- results that come back -------------------------------------------------------------------------------


def test_results_that_come_back_are_marked_and_are_no_new_input(
    bench: Bench, results: Results, tmp_path: Path
) -> None:
    with scripted() as pacs:
        bench.send([results.paths["SC"], results.paths["PM"]], to=pacs.node(), quiet=True)
        archive = tmp_path / "archive"
        archive.mkdir()
        for number, content in enumerate(pacs.kept.values()):
            ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
            ds.Manufacturer = "a PACS that puts itself here"
            ds.save_as(archive / f"{number}.dcm")
    for path in results.source.paths:
        (archive / path.name).write_bytes(path.read_bytes())
    bench.index(archive, quiet=True)
    marked = {each.modality: each.ours for each in bench.series()}
    assert marked == {"CT": False, "OT": True}
    everything = bench.ingest(quiet=True)
    assert {each.series_instance_uid for each in everything} == {results.source.series_instance_uid}


def test_a_result_of_another_bench_is_known_by_its_maker(
    bench: Bench, results: Results, tmp_path: Path
) -> None:
    bench.index(results.paths["SC"], quiet=True)
    (found,) = bench.series()
    assert found.ours
