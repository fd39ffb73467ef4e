"""What holds for every node, by DIMSE and by DICOMweb, against one Orthanc that speaks both."""

import json
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import workbench
from catalog.errors import (
    DeliveryError,
    LimitedError,
    NotFoundError,
    QuestionError,
    RefusedError,
    SettingsError,
)
from catalog.headers import read_dataset
from catalog.identifiers import new_uid
from catalog.remotes import remote_of
from pipelines import phantoms
from workbench.cli import app
from workbench.doctor import examine
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.limits import Limits
from workbench.pacs.node import Node
from workbench.pacs.posting import post
from workbench.pacs.web.node import WebNode

pytestmark = pytest.mark.pacs
PLANES = 4

type Web = Any


@pytest.fixture(params=["dimse", "web"])
def node(request: pytest.FixtureRequest, dicomweb: Web) -> Node:
    """The same server in both ways."""
    found: Node = getattr(dicomweb, request.param)
    return found


def upload(web: WebNode, *paths: Path) -> None:
    """Put files into Orthanc by its own interface: what it keeps is byte for byte what was given."""
    for path in paths:
        request = urllib.request.Request(
            f"{web.scheme}://{web.host}:{web.port}/instances", path.read_bytes(),
            {"Authorization": "Basic dTpw", "Expect": ""},
        )  # fmt: skip
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["Status"] == "Success"


@pytest.fixture
def ct(tmp_path: Path, dicomweb: Web) -> phantoms.Phantom:
    """A small series in a study of its own, on the server."""
    made = phantoms.write_series(
        tmp_path / "ct", planes=PLANES, study=new_uid(), patient_id=new_uid()[-20:],
        patient_name="Prüfung^Ümit",
    )  # fmt: skip
    upload(dicomweb.web, *made.paths)
    return made


def uids_of(ct: phantoms.Phantom) -> tuple[str, str]:
    head = read_dataset(ct.paths[0])
    return str(head.StudyInstanceUID), str(head.SeriesInstanceUID)


def test_a_node_that_is_there_answers(node: Node, tmp_path: Path) -> None:
    node.echo()
    with workbench.open(tmp_path / "bench", nodes={"PACS": node}) as bench:
        bench.nodes["PACS"].echo()
        assert bench.nodes["PACS"].address == "pacs://PACS"


def test_the_same_records_come_by_qido_as_by_c_find(dicomweb: Web, ct: phantoms.Phantom) -> None:
    study, _ = uids_of(ct)
    question = {"StudyInstanceUID": study}
    by_dimse, by_web = (list(each.survey(question)) for each in (dicomweb.dimse, dicomweb.web))
    assert by_dimse == by_web
    assert by_web[0].values["patient_name"] == "Prüfung^Ümit"
    assert (by_web[0].instances, by_web[0].address) == (PLANES, "pacs://ORTHANC")


@pytest.mark.parametrize(
    "question",
    [
        {"patient_id": "{patient}"},
        {"PatientID": "{patient}*"},
        {"PatientID": "{patient:.6}*", "Modality": "C?"},
        {"PatientID": "{patient}", "StudyDate": "19000101-"},
        {"PatientID": "{patient}", "StudyDate": "-19000101"},
        {"SeriesInstanceUID": "{series}", "StudyInstanceUID": "1.2.3\\{study}"},
        {"PatientID": "{patient}", "Modality": "MR"},
        {"PatientID": "no such patient"},
    ],
)
def test_matching_is_that_of_the_standard_whichever_way_it_is_asked(
    dicomweb: Web, ct: phantoms.Phantom, question: dict[str, str]
) -> None:
    study, series = uids_of(ct)
    patient = str(read_dataset(ct.paths[0]).PatientID)
    asked = {
        name: value.format(study=study, series=series, patient=patient) for name, value in question.items()
    }
    by_dimse, by_web = (list(each.survey(asked)) for each in (dicomweb.dimse, dicomweb.web))
    assert by_dimse == by_web
    wanted = not any(each in question.values() for each in ("-19000101", "MR", "no such patient"))
    assert len(by_web) == wanted


def test_1_a_series_is_found_fetched_and_the_same(
    node: Node, dicomweb: Web, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    study, uid = uids_of(ct)
    with workbench.open(tmp_path / "bench", nodes={"PACS": node}, listen_port=dicomweb.listen.port) as bench:
        assert bench.index("pacs://PACS", study_instance_uid=study).as_json()["added"] == 1
        (found,) = bench.series(series_instance_uid=uid)
        told = remote_of(bench.catalog, uid)
        assert told is not None
        assert told.source == told.address == found.remote == "pacs://PACS"
        fetched = bench.fetch([found], quiet=True)
        assert (fetched.as_json()["added"], fetched.as_json()["rejected"]) == (PLANES, [])
        received = sorted((bench.settings.home / "received").rglob("*.*"))
        assert len(received) == PLANES
        sent = {str(read_dataset(path).SOPInstanceUID): path for path in ct.paths}
        for path in received:
            theirs = read_dataset(path)
            assert theirs == read_dataset(sent[str(theirs.SOPInstanceUID)])
            assert not [uid for uid in (*ct.sop_instance_uids, uid) if uid in str(path)]
        assert bench.fetch([found], quiet=True).as_json()["added"] == 0  # twice is once
        assert bench.index("pacs://PACS", study_instance_uid=study).as_json()["unchanged"] == 1


def test_by_wado_the_files_are_byte_for_byte_those_of_the_node(
    dicomweb: Web, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    study, series = uids_of(ct)
    files = dicomweb.web.retrieve(study, series, tmp_path / "received", dicomweb.listen)
    assert sorted(path.read_bytes() for path in files) == sorted(path.read_bytes() for path in ct.paths)


def test_a_series_that_is_not_there_is_said_to_be_not_there(
    node: Node, dicomweb: Web, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match=r"does not find the instances of series 1\.2\.3\.4"):
        node.retrieve("1.2.3", "1.2.3.4", tmp_path, dicomweb.listen)
    assert not list(tmp_path.rglob("*.dcm"))


def test_what_is_of_an_instance_is_no_question_to_a_node(node: Node) -> None:
    with pytest.raises(QuestionError, match="SliceThickness is of the level of instances"):
        node.survey({"slice_thickness": "1"})


def test_a_node_that_is_not_there_is_said_to_be_out_of_reach(free_port: int) -> None:
    for nobody in (
        DimseNode("NOBODY", "127.0.0.1", free_port, connection_seconds=2),
        WebNode(f"http://127.0.0.1:{free_port}/dicom-web", name="NOBODY", connection_seconds=2),
    ):
        with pytest.raises(DeliveryError, match=r"NOBODY.*cannot be reached"):
            nobody.echo()


def test_whoever_has_no_token_or_a_wrong_one_is_told(dicomweb: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG", "Basic d3Jvbmc6d3Jvbmc=")
    url = dicomweb.web.url
    with pytest.raises(RefusedError, match="does not know who asks; check token_variable"):
        WebNode(url, token_variable="WRONG").echo()
    with pytest.raises(SettingsError, match="the environment variable NONE has no token"):
        WebNode(url, token_variable="NONE").echo()


def test_the_command_line_and_the_doctor_know_a_node_of_the_web(
    tmp_path: Path, dicomweb: Web, ct: phantoms.Phantom, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "bench"
    home.mkdir()
    web = dicomweb.web
    (home / "workbench.toml").write_text(
        f'[nodes.ARCHIVE]\nurl = "{web.url}"\ntoken_variable = "{web.token_variable}"\n'
    )

    def workbench_says(*words: str) -> Any:
        app([*words, "--home", str(home), "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    study, uid = uids_of(ct)
    question = (f"StudyInstanceUID={study}", "StudyDate=19000101-")
    assert workbench_says("index", "pacs://ARCHIVE", *question)["added"] == 1
    assert workbench_says("fetch", uid)["added"] == PLANES
    findings = {each.subject: each for each in examine(home, now=datetime.now(UTC))}
    assert findings["node ARCHIVE"].said == f"{web.url} answers"


def test_what_is_sent_is_stored_read_back_and_identical(
    node: Node, dicomweb: Web, objects: dict[str, Any], tmp_path: Path
) -> None:
    with workbench.open(tmp_path / "bench", nodes={"PACS": node}, listen_port=dicomweb.listen.port) as bench:
        receipts = bench.send([each.path for each in objects.values()], to="PACS", quiet=True)
        assert [each.state for each in receipts] == ["confirmed"] * len(objects)
        for each in receipts:
            assert [stage.name for stage in each.stages][:4] == ["queued", "validated", "sending", "stored"]
            assert "identical" in each.stages[-1].text
            assert ("committed" in each.times) == isinstance(node, DimseNode)
        again = bench.send([each.path for each in objects.values()], to="PACS", quiet=True)
        assert [each.stages for each in again] == [each.stages for each in receipts]  # twice is once
    kept = {str(read_dataset(path).SOPInstanceUID) for path in _fetched(dicomweb, objects, tmp_path)}
    assert kept == {each.sop_instance_uid for each in objects.values()}


def _fetched(dicomweb: Web, objects: dict[str, Any], folder: Path) -> list[Path]:
    series = {
        (str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID))
        for ds in (read_dataset(each.path) for each in objects.values())
    }
    return [
        path
        for study, uid in series
        for path in dicomweb.web.retrieve(study, uid, folder / "kept", dicomweb.listen)
    ]


def test_a_receipt_of_a_node_of_the_web_says_that_nothing_was_committed(
    dicomweb: Web, objects: dict[str, Any], tmp_path: Path
) -> None:
    with workbench.open(tmp_path / "bench", nodes={"WEB": dicomweb.web}) as bench:
        (receipt,) = bench.send([objects["SR"].path], to="WEB", quiet=True)
        assert receipt.stages[-1].text == (
            "read back by WADO-RS, identical; DICOMweb has no storage commitment"
        )
        with pytest.raises(NotFoundError):
            bench.node("OTHER")


def test_what_is_due_goes_to_nodes_of_both_kinds(
    dicomweb: Web, objects: dict[str, Any], tmp_path: Path, free_port: int
) -> None:
    there = {"WEB": dicomweb.web, "DIMSE": dicomweb.dimse}
    with workbench.open(tmp_path / "bench", nodes=there, listen_port=dicomweb.listen.port) as bench:
        for name in there:
            post(
                bench.catalog, objects["SEG"].path, name,
                outbox_folder=bench.settings.outbox_folder, now=datetime.now(UTC),
            )  # fmt: skip
        delivered = {each.node: each.state for each in bench.deliver()}
        assert delivered == {"WEB": "confirmed", "DIMSE": "confirmed"}


def test_what_cannot_be_reached_waits_in_the_outbox(
    objects: dict[str, Any], tmp_path: Path, free_port: int
) -> None:
    nobody = {
        "WEB": WebNode(f"http://127.0.0.1:{free_port}/dicom-web", connection_seconds=2),
        "DIMSE": DimseNode("NOBODY", "127.0.0.1", free_port, connection_seconds=2),
    }
    with workbench.open(tmp_path / "bench", nodes=nobody) as bench:
        for name in nobody:
            (receipt,) = bench.send([objects["SEG"].path], to=name, quiet=True)
            assert (receipt.state, "sending" in receipt.times) == ("queued", False)
            assert "cannot be reached" in receipt.reason


def test_with_one_association_at_a_time_everything_is_done(
    node: Node, dicomweb: Web, objects: dict[str, Any], tmp_path: Path
) -> None:
    limited = replace(node, limits=Limits(associations=1, wait_seconds=1, rate_objects=1000))  # type: ignore[type-var]
    listen = dicomweb.listen.port
    with workbench.open(tmp_path / "bench", nodes={"PACS": limited}, listen_port=listen) as bench:
        sent = bench.send([each.path for each in objects.values()], to="PACS", quiet=True)
        assert sent.succeeded
        study = str(read_dataset(objects["CT"].path).StudyInstanceUID)
    with workbench.open(tmp_path / "other", nodes={"PACS": limited}, listen_port=listen) as bench:
        found = bench.nodes["PACS"].find("series", StudyInstanceUID=study, Modality="CT")
        assert bench.volume(found[0]).shape[0] == 1  # type: ignore[arg-type]
        bench.index("pacs://PACS", StudyInstanceUID=study, quiet=True)
        rows = pd.DataFrame({"StudyInstanceUID": [study]})
        assert bench.harvest("one", rows, node="PACS", quiet=True).is_complete


def test_outside_the_hours_of_a_node_what_is_sent_waits_and_is_told(
    node: Node, objects: dict[str, Any], tmp_path: Path
) -> None:
    begin = datetime.now().astimezone() + timedelta(hours=2)
    hours = f"{begin:%H:%M}-{begin + timedelta(hours=1):%H:%M}"
    closed = replace(node, limits=Limits(hours=hours))  # type: ignore[type-var]
    with workbench.open(tmp_path / "bench", nodes={"PACS": closed}) as bench:
        receipts = bench.send([objects["SR"].path], to="PACS", quiet=True)
        assert [each.state for each in receipts] == ["queued"]
        assert [stage.name for stage in receipts[0].stages] == ["queued"]
        assert f"PACS is asked {hours} alone" in repr(receipts)
        assert f"PACS is asked {hours} alone" in repr(bench.deliver())
        with pytest.raises(LimitedError, match="begins in"):
            bench.index("pacs://PACS", quiet=True)
        assert bench.harvest("night", pd.DataFrame({"StudyInstanceUID": ["1.2"]}), node="PACS", wait=False)
        bench.nodes["PACS"].find("study", PatientID="nobody")  # a question of a person is put at any time
