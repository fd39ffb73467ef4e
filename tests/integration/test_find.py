"""A node is asked at every level, in both models and both ways; what it has is fetched."""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

import workbench
from catalog.errors import QuestionError, RefusedError, TooManyAnswersError
from catalog.headers import read_dataset
from catalog.identifiers import new_uid
from catalog.records import InstanceRecord, PatientRecord, SeriesRecord, StudyRecord
from pipelines import phantoms
from tests.conftest import _free_port
from tests.peers.answering import PATIENT_ROOT, STUDY_ROOT, answering
from workbench.cli import app
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import Node

PLANES = 3
NAME = "Prüfung^Ümit"

type Web = Any


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory, dicomweb: Web) -> Iterator[phantoms.Phantom]:
    """A series of a study and a patient of its own, at the server."""
    made = phantoms.write_series(
        tmp_path_factory.mktemp("ct"),
        planes=PLANES,
        study=new_uid(),
        patient_id=new_uid()[-20:],
        patient_name=NAME,
    )
    with workbench.open(tmp_path_factory.mktemp("scanner"), listen_port=dicomweb.listen.port) as scanner:
        assert scanner.send(made.paths, to=dicomweb.dimse, quiet=True).succeeded
    return made


@pytest.fixture(params=["dimse", "web"])
def node(request: pytest.FixtureRequest, dicomweb: Web) -> Node:
    found: Node = getattr(dicomweb, request.param)
    return found


pytestmark = pytest.mark.pacs


def test_every_level_is_asked_and_becomes_records_that_lie_there(node: Node, ct: phantoms.Phantom) -> None:
    head = read_dataset(ct.paths[0])
    patient = str(head.PatientID)
    (person,) = node.find("patient", PatientID=patient)
    (study,) = node.find("study", PatientID=patient)
    (series,) = node.find("series", PatientID=patient, Modality="CT")
    instances = node.find("instance", PatientID=patient)
    assert isinstance(person, PatientRecord)
    assert isinstance(study, StudyRecord)
    assert isinstance(series, SeriesRecord)
    assert all(isinstance(each, InstanceRecord) for each in instances)
    assert person.patient_name == study.patient_name == series.patient_name == NAME
    assert study.study_instance_uid == series.study_instance_uid == str(head.StudyInstanceUID)
    assert (study.modalities, study.series, study.instances) == (("CT",), 1, PLANES)
    assert (series.series_instance_uid, series.instances) == (str(head.SeriesInstanceUID), PLANES)
    assert {each.sop_instance_uid for each in instances} == set(ct.sop_instance_uids)  # type: ignore[union-attr]
    assert person.remote == study.remote == series.remote == instances[0].path == node.address  # type: ignore[union-attr]
    assert NAME in repr(node.find("study", PatientID=patient))
    assert list(instances.to_pandas().instance_number.sort_values()) == [1, 2, 3]


def test_either_way_gives_the_same_records(dicomweb: Web, ct: phantoms.Phantom) -> None:
    patient = str(read_dataset(ct.paths[0]).PatientID)
    for level in ("study", "series", "instance"):
        asked = [list(each.find(level, PatientID=patient)) for each in (dicomweb.dimse, dicomweb.web)]
        key = "sop_instance_uid" if level == "instance" else "study_instance_uid"
        one, other = (sorted(some, key=lambda each: str(getattr(each, key))) for some in asked)
        assert one == other


def test_both_information_models_find_the_same(dicomweb: Web, ct: phantoms.Phantom) -> None:
    patient = str(read_dataset(ct.paths[0]).PatientID)
    for level in ("patient", "study", "series", "instance"):
        of_study, of_patient = (
            list(dicomweb.dimse.find(level, root=root, PatientID=patient)) for root in ("study", "patient")
        )
        assert len(of_study) == len(of_patient) == (PLANES if level == "instance" else 1)
        if level in ("series", "instance"):
            assert of_study == of_patient


def test_a_name_beyond_ascii_is_asked_and_answered(dicomweb: Web, ct: phantoms.Phantom) -> None:
    patient = str(read_dataset(ct.paths[0]).PatientID)
    for character_set in ("ISO_IR 192", "ISO_IR 100"):
        node = replace(dicomweb.dimse, character_set=character_set)
        (found,) = node.find("study", PatientName="prüfung^*", PatientID=patient)
        assert found.patient_name == NAME
    with pytest.raises(QuestionError, match="ISO_IR 100 lacks"):
        node.find("study", PatientName="山田*")


def test_what_is_found_is_fetched_and_opened(
    node: Node, dicomweb: Web, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    patient = str(read_dataset(ct.paths[0]).PatientID)
    with workbench.open(tmp_path / "a", nodes={"PACS": node}, listen_port=dicomweb.listen.port) as bench:
        found = bench.nodes["PACS"].find("series", PatientID=patient)
        assert bench.count() == 0  # asking records nothing
        volume = bench.volume(found[0])  # type: ignore[arg-type]
        assert volume.shape[0] == PLANES
    for level in ("patient", "study", "instance"):
        with workbench.open(
            tmp_path / level, nodes={"PACS": node}, listen_port=dicomweb.listen.port
        ) as bench:
            found = bench.nodes["PACS"].find(level, PatientID=patient)
            assert bench.fetch(found, quiet=True).as_json()["added"] == PLANES


def test_the_command_line_asks_too(
    dicomweb: Web, ct: phantoms.Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patient = str(read_dataset(ct.paths[0]).PatientID)
    home = tmp_path / "bench"
    home.mkdir()
    (home / "workbench.toml").write_text(
        f'[nodes.PACS]\nae_title = "ORTHANC"\nhost = "127.0.0.1"\nport = {dicomweb.dimse.port}\n'
    )
    asked = [
        "find",
        "PACS",
        "series",
        f"PatientID={patient}",
        "Modality=CT",
        "Modality=MR",
        "--home",
        str(home),
    ]
    app([*asked, "--json"], standalone_mode=False)
    (found,) = json.loads(capsys.readouterr().out)["series"]
    assert (found["patient_name"], found["remote"], found["instances"]) == (NAME, "pacs://PACS", PLANES)
    app(asked, standalone_mode=False)
    shown = capsys.readouterr().out
    assert NAME in shown
    assert "1 series" in shown


def study(number: int, **told: Any) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = "STUDY"
    ds.StudyInstanceUID = f"1.2.{number}"
    for name, value in told.items():
        setattr(ds, name, value)
    return ds


def test_a_wide_question_is_bounded_and_the_table_says_so() -> None:
    with answering([study(each) for each in range(1, 30)]) as peer:
        found = peer.node.find("study", limit=10)
        assert len(found) == 10
        assert "there are more than 10; ask a narrower question" in repr(found)
        assert len(peer.node.find("study", limit=29)) == 29
        assert "more than" not in repr(peer.node.find("study", limit=29))


def test_below_too_many_studies_nobody_is_asked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.pacs.dimse_node.ANSWERS", 20)
    with (
        answering([study(each) for each in range(1, 30)]) as peer,
        pytest.raises(TooManyAnswersError, match="more than 20 studies match, and their series"),
    ):
        peer.node.find("series", limit=5)


def test_a_node_that_ends_at_its_own_limit_is_told() -> None:
    with (
        answering([study(1)], final=0xA700) as peer,
        pytest.raises(TooManyAnswersError, match="more than the node can answer"),
    ):
        peer.node.find("study")


def test_a_key_that_the_node_passes_over_is_told() -> None:
    told = [study(1, PatientID="7"), study(2, PatientID="8"), study(3, PatientID="9")]
    with answering(told) as peer:
        assert "PEER does not match PatientID: 2 have another" in repr(peer.node.find("study", PatientID="7"))


def test_patients_of_a_node_without_patient_root_are_those_of_its_studies() -> None:
    told = [study(1, PatientID="7"), study(2, PatientID="7"), study(3, PatientID="8")]
    with answering(told, models=[STUDY_ROOT]) as peer:
        found = {each.patient_id: each.studies for each in peer.node.find("patient")}  # type: ignore[union-attr]
        assert found == {"7": 2, "8": 1}
        assert peer.models == [STUDY_ROOT]


def test_a_node_with_patient_root_alone_is_asked_from_its_patients() -> None:
    person = Dataset()
    person.QueryRetrieveLevel, person.PatientID = "PATIENT", "7"
    with answering([person, study(1)], models=[PATIENT_ROOT]) as peer:
        (found,) = peer.node.find("study", PatientID="7", StudyDate="20260101-")
        assert (found.patient_id, found.study_instance_uid) == ("7", "1.2.1")  # type: ignore[union-attr]
        first, second = peer.asked
        assert (first.QueryRetrieveLevel, first.PatientID) == ("PATIENT", "7")
        assert (second.QueryRetrieveLevel, second.PatientID, second.StudyDate) == ("STUDY", "7", "20260101-")
        assert "PatientName" not in second
        with pytest.raises(RefusedError, match="accepts none"):
            peer.node.find("study", root="study")


def test_a_sequence_goes_out_with_one_item_and_a_list_of_uids_as_one_key() -> None:
    with answering([study(1)]) as peer:
        peer.node.find(
            "study", ProcedureCodeSequence={"CodeValue": "CT7"}, StudyInstanceUID=["1.2.1", "1.2.9"]
        )
        (asked,) = peer.asked
        assert asked.ProcedureCodeSequence[0].CodeValue == "CT7"
        assert list(asked.StudyInstanceUID) == ["1.2.1", "1.2.9"]
        assert asked.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize(
    ("term", "text", "encoding"),
    [
        ("ISO_IR 192", "Müller^Zoë", "utf8"),
        ("ISO_IR 100", "Müller^Zoë", "latin_1"),
        ("ISO_IR 144", "Люкceмбypг", "iso8859_5"),
        (None, "Müller^Zoë", "utf8"),  # as wlmscpfs and others forget to say
        (None, "Müller^Zoë", "latin_1"),
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎", "iso2022_jp"),
    ],
)
def test_answers_are_read_in_the_character_set_they_are_in(
    term: str | None, text: str, encoding: str
) -> None:
    answer = study(1)
    if term is not None:
        answer.SpecificCharacterSet = term.split("\\")
    raw = text.encode(encoding)
    raw += b" " * (len(raw) % 2)
    answer[Tag(0x00100010)] = RawDataElement(Tag(0x00100010), "PN", len(raw), raw, 0, True, True)
    with answering([answer]) as peer:
        (found,) = peer.node.find("study")
        assert found.patient_name == text  # type: ignore[union-attr]


def test_fuzzy_and_a_worklist_are_refused_where_there_is_none(dicomweb: Web) -> None:
    with pytest.raises(QuestionError, match="fuzzy matching is for DICOMweb nodes alone"):
        dicomweb.dimse.find("study", fuzzy=True)
    with pytest.raises(RefusedError, match="no Modality Worklist"):
        dicomweb.web.worklist()
    with pytest.raises(QuestionError, match="root is study or patient"):
        dicomweb.dimse.find("study", root="series")


# --- DCMTK's dcmqrscp, which is strict about hierarchy and levels ------------------------------------------


@pytest.fixture(scope="module")
def dcmqrscp(
    ct: phantoms.Phantom, tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]
) -> Iterator[DimseNode]:
    """A dcmqrscp with the same series, filled by its own index tool."""
    programs = [shutil.which(each) for each in ("dcmqrscp", "dcmqridx")]
    if None in programs:
        missing("dcmqrscp is not installed: apt-get install dcmtk, or as root tests/install_system.sh")
    folder = tmp_path_factory.mktemp("dcmqrscp")
    for path in ct.paths:
        shutil.copy(path, folder)
    port = _free_port()
    (folder / "config").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMTK {folder} RW (200, 1024mb) ANY\nAETable END\n"
    )
    files = [str(each) for each in sorted(folder.glob("*.dcm"))]
    subprocess.run([str(programs[1]), str(folder), *files], check=True)
    process = subprocess.Popen([str(programs[0]), "-c", str(folder / "config")], env={"TCP_NODELAY": "1"})
    try:
        while True:  # until it listens
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            assert process.poll() is None
        yield DimseNode("DCMTK", "127.0.0.1", port, name="ORTHANC", answer_seconds=20)
    finally:
        process.kill()
        process.wait(timeout=30)


@pytest.mark.parametrize("root", ["study", "patient"])
def test_a_strict_node_answers_at_every_level_of_both_models(
    dcmqrscp: DimseNode, ct: phantoms.Phantom, root: str
) -> None:
    head = read_dataset(ct.paths[0])
    asked = {"PatientID": str(head.PatientID), "StudyDate": "19000101-"}
    (study,) = dcmqrscp.find("study", root=root, **asked)
    (series,) = dcmqrscp.find("series", root=root, Modality="CT", **asked)
    assert study.study_instance_uid == str(head.StudyInstanceUID)  # type: ignore[union-attr]
    assert series.series_instance_uid == str(head.SeriesInstanceUID)  # type: ignore[union-attr]
    assert series.patient_name == NAME  # type: ignore[union-attr]
    assert len(dcmqrscp.find("instance", root=root, **asked)) == PLANES
    (person,) = dcmqrscp.find("patient", root=root, PatientID=asked["PatientID"])
    assert person.patient_id == asked["PatientID"]  # type: ignore[union-attr]
    assert len(dcmqrscp.find("series", root=root, Modality="MR", **asked)) == 0
    uids = ["1.2.3", str(head.StudyInstanceUID)]
    assert len(dcmqrscp.find("study", root=root, PatientID=asked["PatientID"], StudyInstanceUID=uids)) == 1
