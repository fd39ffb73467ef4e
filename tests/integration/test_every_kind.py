"""One result of every kind goes to Orthanc: validated, stored, committed, read back, identical."""

from pathlib import Path
from typing import Any

import pydicom
import pytest

import workbench
from catalog import outbox
from pipelines.validate.programs import programs_version
from tests.results import KINDS, Results, make_results
from workbench.reports import Receipts

pytestmark = pytest.mark.pacs

STAGES = ["queued", "validated", "sending", "stored", "committed", "confirmed"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def receipts(results: Results, orthanc: Any, tmp_path_factory: pytest.TempPathFactory) -> Receipts:
    listening = {"listen_host": orthanc.listen.host, "listen_port": orthanc.listen.port}
    with workbench.open(tmp_path_factory.mktemp("bench"), **listening) as bench:
        return bench.send(list(results.paths.values()), to=orthanc.node, quiet=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_receipt_says_committed_read_back_identical(
    results: Results, receipts: Receipts, kind: str
) -> None:
    (receipt,) = (each for each in receipts if each.kind == kind)
    assert [stage.name for stage in receipt.stages] == STAGES, str(receipt)
    words = {stage.name: stage.text for stage in receipt.stages}
    version = programs_version()
    assert words["validated"].startswith(f"by dciodvfy {version}, dcentvfy {version}, own checks ")
    assert words["stored"] == "stored (status 0000)"
    assert words["committed"] == "the node took responsibility for the instance"
    assert words["confirmed"] == "read back by C-GET, identical"
    assert receipt.sop_instance_uid == results.objects[kind].SOPInstanceUID


def test_what_is_not_fit_is_not_queued_and_the_rest_goes_on(
    results: Results, orthanc: Any, tmp_path: Path
) -> None:
    ds = pydicom.dcmread(results.paths["GSPS"])
    ds.GraphicAnnotationSequence[0].GraphicLayer = "GHOST"
    ds.save_as(tmp_path / "gsps.dcm")
    listening = {"listen_host": orthanc.listen.host, "listen_port": orthanc.listen.port}
    with workbench.open(tmp_path / "bench", **listening) as bench:
        sent = bench.send([tmp_path / "gsps.dcm", results.paths["PDF"]], to=orthanc.node, quiet=True)
        queued = [each.sop_instance_uid for each in outbox.deliveries(bench.catalog)]
        kept = list(bench.settings.outbox_folder.glob("*.dcm"))
    refused, confirmed = sent
    assert (refused.state, confirmed.state) == ("refused", "confirmed")
    assert "annotation 1 is on layer GHOST, which GraphicLayerSequence does not define" in refused.reason
    assert refused.next_step == "mend what is named and make it again; nothing was queued"
    assert queued == [results.objects["PDF"].SOPInstanceUID]
    assert len(kept) == 1
    assert not sent.succeeded
    assert "refused" in sent.line()
    assert sent.as_json()["deliveries"][0]["state"] == "refused"
    assert "GHOST" in refused._repr_html_()
