"""What is scheduled, of DCMTK's worklist server and of one that answers as a script says."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from catalog.errors import QuestionError, RefusedError
from tests.peers.answering import STUDY_ROOT, answering
from workbench.cli import app
from workbench.pacs.dimse_node import DimseNode

STEPS = [("7", "Müller^Zoë", "CT", "20260131", "0915"), ("8", "Weiß^Jürgen", "MR", "20260131", "0800"),
         ("9", "Meier^Anna", "CT", "20260202", "1000")]  # fmt: skip


def entry(patient: str, name: str, modality: str, day: str, at: str) -> Dataset:
    """One entry of a worklist, with the types that the standard demands (PS3.4 table K.6-1)."""
    ds, step = Dataset(), Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.AccessionNumber, ds.ReferringPhysicianName = f"A{patient}", "Arzt^Überweisender"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = name, patient, "19700101", "O"
    ds.StudyInstanceUID = f"1.2.3.{patient}"
    ds.RequestedProcedureID, ds.RequestedProcedureDescription = f"R{patient}", "Schädel nativ"
    step.ScheduledStationAETitle, step.Modality = "SCANNER", modality
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = day, at
    step.ScheduledPerformingPhysicianName = "Ärztin^Eine"
    step.ScheduledProcedureStepDescription, step.ScheduledProcedureStepID = "Schädel", f"S{patient}"
    ds.ScheduledProcedureStepSequence = [step]
    return ds


@pytest.fixture(scope="module")
def ris(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Iterator[DimseNode]:
    program = shutil.which("wlmscpfs")
    if program is None:
        missing("wlmscpfs is not installed: apt-get install dcmtk, or as root tests/install_system.sh")
    folder = tmp_path_factory.mktemp("ris")
    (folder / "RIS").mkdir()
    (folder / "RIS" / "lockfile").touch()
    for number, each in enumerate(STEPS):
        ds = entry(*each)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
            "1.2.276.0.7230010.3.1.0.1",
            f"1.2.{number}",
        )
        ds.save_as(folder / "RIS" / f"{number}.wl", enforce_file_format=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "-s", "-dfp", str(folder), "-csk", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "TCP_NODELAY": "1"})
    node = DimseNode("RIS", "127.0.0.1", port, connection_seconds=10)
    try:
        for _ in range(100_000):  # until it listens
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            assert process.poll() is None
        yield node
    finally:
        process.kill()
        process.wait(timeout=30)


@pytest.mark.pacs
def test_a_worklist_is_read_with_its_names_in_the_order_of_its_steps(ris: DimseNode) -> None:
    found = ris.worklist()
    assert [each.patient_name for each in found] == ["Weiß^Jürgen", "Müller^Zoë", "Meier^Anna"]
    assert (found[0].accession_number, found[0].study_instance_uid) == ("A8", "1.2.3.8")
    assert (found[0].modality, found[0].scheduled_station_ae_title) == ("MR", "SCANNER")
    assert found[0].requested_procedure_description == "Schädel nativ"
    assert "Müller^Zoë" in repr(found)
    assert "3 steps" in repr(found)
    assert list(found.to_pandas().scheduled_procedure_step_id) == ["S8", "S7", "S9"]


@pytest.mark.pacs
@pytest.mark.parametrize(
    ("matching", "patients"),
    [
        ({"Modality": "CT"}, ["7", "9"]),
        ({"scheduled_procedure_step_start_date": "20260131"}, ["8", "7"]),
        ({"ScheduledProcedureStepStartDate": "202602-"}, ["9"]),
        ({"ScheduledProcedureStepStartDate": "20260101-20260131", "Modality": "CT"}, ["7"]),
        ({"PatientName": "M*"}, ["7", "9"]),
        ({"PatientName": "Müller*"}, ["7"]),
        ({"PatientID": "8", "ScheduledStationAETitle": "SCANNER"}, ["8"]),
        ({"PatientID": "nobody"}, []),
    ],
)
def test_steps_are_matched_as_the_standard_has_it(
    ris: DimseNode, matching: dict[str, Any], patients: list[str]
) -> None:
    assert [each.patient_id for each in ris.worklist(**matching)] == patients


@pytest.mark.pacs
def test_the_command_line_lists_what_is_scheduled(
    ris: DimseNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "workbench.toml").write_text(
        f'[nodes.RIS]\nae_title = "RIS"\nhost = "127.0.0.1"\nport = {ris.port}\n'
    )
    asked = ["worklist", "RIS", "Modality=MR", "--home", str(tmp_path)]
    app([*asked, "--json"], standalone_mode=False)
    (step,) = json.loads(capsys.readouterr().out)["steps"]
    assert (step["patient_name"], step["scheduled_procedure_step_start_time"]) == ("Weiß^Jürgen", "0800")
    app(asked, standalone_mode=False)
    assert "Weiß^Jürgen" in capsys.readouterr().out


def test_the_question_has_every_key_and_those_of_the_step_in_their_sequence() -> None:
    with answering([entry(*STEPS[0])]) as peer:
        peer.node.worklist(Modality="CT", PatientName="Zoë*")
        (asked,) = peer.asked
        (step,) = asked.ScheduledProcedureStepSequence
        assert (step.Modality, asked.PatientName, asked.AccessionNumber) == ("CT", "Zoë*", "")
        assert "Modality" not in asked
        assert "QueryRetrieveLevel" not in asked
        assert step.ScheduledProcedureStepStartDate == ""


def test_an_answer_without_a_step_or_with_two_is_read() -> None:
    bare, double = entry(*STEPS[0]), entry(*STEPS[1])
    del bare.ScheduledProcedureStepSequence
    double.ScheduledProcedureStepSequence.append(entry(*STEPS[2]).ScheduledProcedureStepSequence[0])
    with answering([bare, double]) as peer:
        found = [(each.patient_id, each.scheduled_procedure_step_id) for each in peer.node.worklist()]
        assert found == [("7", ""), ("8", "S8"), ("8", "S9")]


def test_a_long_worklist_is_bounded_and_says_so() -> None:
    with answering([entry(str(each), "A^B", "CT", "20260131", "0800") for each in range(20)]) as peer:
        found = peer.node.worklist(limit=5)
        assert len(found) == 5
        assert "there are more than 5" in repr(found)


def test_a_node_without_a_worklist_and_a_wrong_name_are_told() -> None:
    with answering([], models=[STUDY_ROOT]) as peer:
        with pytest.raises(RefusedError, match="accepts none of what was proposed"):
            peer.node.worklist()
        with pytest.raises(QuestionError, match="did you mean ScheduledProcedureStepStartDate"):
            peer.node.worklist(ScheduledProcedureStartDate="20260131")
