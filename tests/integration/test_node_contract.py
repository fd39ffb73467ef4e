"""What holds for every node, by DIMSE and by DICOMweb, against one Orthanc that speaks both."""

import json
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import workbench
from catalog.errors import DeliveryError, NotFoundError, QuestionError, RefusedError, SettingsError
from catalog.headers import read_dataset
from catalog.identifiers import new_uid
from catalog.remotes import remote_of
from pipelines import phantoms
from workbench.cli import app
from workbench.doctor import examine
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import Node
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


def test_a_series_is_found_fetched_and_the_same(
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


def test_what_is_to_be_sent_there_is_refused_before_it_is_queued(
    tmp_path: Path, dicomweb: Web, ct: phantoms.Phantom
) -> None:
    with workbench.open(tmp_path / "bench", nodes={"WEB": dicomweb.web}) as bench:
        with pytest.raises(RefusedError, match="sends by DIMSE only"):
            bench.send(ct.paths, to="WEB", quiet=True)
        assert not list(bench.settings.outbox_folder.rglob("*.dcm"))
        with pytest.raises(NotFoundError):
            bench.node("OTHER")
