"""C-FIND by `workbench receive` (PS3.4 C.4.1), asked by DCMTK: what series tell, character sets, failures."""

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom.presentation import build_context

from catalog.database import Catalog
from catalog.identifiers import new_uid
from catalog.records import RemoteSeries
from catalog.remotes import record_remotes
from pipelines import phantoms
from tests.peers.calling import calling
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.sop_classes import STUDY_ROOT_FIND

pytestmark = pytest.mark.pacs

MODELS = pytest.mark.parametrize("model", ["-P", "-S"])


def homed(home: Path) -> Path:
    """A home in which VIEWER may ask and store."""
    home.mkdir()
    (home / "workbench.toml").write_text(
        '[nodes.VIEWER]\nae_title = "VIEWER"\nhost = "127.0.0.1"\nport = 104\nmay = ["store", "find"]\n'
    )
    return home


class Asked:
    """A bench with a patient of two studies, CT with MR and CT alone, that findscu asks."""

    def __init__(self, receiving: Any, folder: Path, program: str) -> None:
        self._folder, self.program = folder, program
        self._numbers = count()
        self.address = ("-aet", "VIEWER", "-aec", "WORKBENCH", "127.0.0.1", str(receiving.port))

    def find(self, model: str, level: str, *keys: str | bytes) -> tuple[list[Dataset], str]:
        """What was answered, and what findscu said of it."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        given = [f"QueryRetrieveLevel={level}", *keys]
        arguments = [os.fsencode(part) for key in given for part in ("-k", key)]
        done = subprocess.run(
            [self.program, "-v", model, "-X", "-od", folder, *arguments, *self.address],
            capture_output=True, env={"TCP_NODELAY": "1"}, timeout=120, check=False,
        )  # fmt: skip
        found = [pydicom.dcmread(path, force=True) for path in sorted(folder.glob("rsp*.dcm"))]
        return found, (done.stdout + done.stderr).decode(errors="replace")


@pytest.fixture(scope="module")
def asked(
    start_receive: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    missing: Callable[[str], NoReturn],
) -> Asked:
    program = shutil.which("findscu", path="/usr/bin")
    if program is None:
        missing("findscu is not there: apt-get install dcmtk")
    folder = tmp_path_factory.mktemp("find")
    both, alone = new_uid(), new_uid()
    written = [
        phantoms.write_series(folder / name, planes=planes, study=study, modality=modality,
                              patient_name="Müller^Änne", patient_id="TWO STUDIES", seed=seed)
        for seed, (name, planes, study, modality) in enumerate(
            [("ct", 3, both, "CT"), ("mr", 2, both, "MR"), ("other", 4, alone, "CT")]
        )
    ]  # fmt: skip
    receiving = start_receive(homed(folder / "bench"), anyone=False)
    asking = Asked(receiving, folder, program)
    paths = [path for each in written for path in each.paths]
    subprocess.run(["/usr/bin/dcmsend", *asking.address, *paths], check=True, timeout=120)
    receiving.settle()
    return asking


@MODELS
def test_a_study_says_its_modalities_and_how_much_there_is_of_it_and_its_patient(
    asked: Asked, model: str
) -> None:
    found, said = asked.find(
        model, "STUDY", "PatientID=TWO STUDIES", "ModalitiesInStudy", "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances", "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances", "RetrieveAETitle", "InstanceAvailability", "SOPClassesInStudy",
    )  # fmt: skip
    told = [
        (
            each["ModalitiesInStudy"].value,
            each.NumberOfStudyRelatedSeries,
            each.NumberOfStudyRelatedInstances,
            each.NumberOfPatientRelatedStudies,
            each.NumberOfPatientRelatedSeries,
            each.NumberOfPatientRelatedInstances,
            each.RetrieveAETitle,
            each.InstanceAvailability,
            each.SOPClassesInStudy,
        )
        for each in found
    ]
    ct, mr = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
    of_the_patient = (2, 3, 9, "WORKBENCH", "ONLINE")
    assert told == [
        (["CT", "MR"], 2, 5, *of_the_patient, [ct, mr]),
        ("CT", 1, 4, *of_the_patient, ct),
    ]
    assert "Unsupported" not in said


@MODELS
@pytest.mark.parametrize(
    ("key", "counts"),
    [("MR", [2]), ("CT", [2, 1]), ("M*", [2]), ("?T", [2, 1]), ("MR\\PT", [2]), ("PT", []), ("", [2, 1])],
)
def test_a_study_is_met_by_any_of_its_modalities(
    asked: Asked, model: str, key: str, counts: list[int]
) -> None:
    found, _ = asked.find(model, "STUDY", f"ModalitiesInStudy={key}", "NumberOfStudyRelatedSeries")
    assert [each.NumberOfStudyRelatedSeries for each in found] == counts


@MODELS
def test_series_and_instances_are_asked_by_the_modalities_of_their_study(asked: Asked, model: str) -> None:
    keys = ("ModalitiesInStudy=MR", "NumberOfSeriesRelatedInstances", "InstanceAvailability")
    for level, counts in (("SERIES", [3, 2]), ("IMAGE", [3, 3, 3, 2, 2])):
        found, _ = asked.find(model, level, *keys)
        assert [each.NumberOfSeriesRelatedInstances for each in found] == counts
        assert {each.InstanceAvailability for each in found} == {"ONLINE"}
        assert [each["ModalitiesInStudy"].value for each in found] == [["CT", "MR"]] * len(counts)


@MODELS
@pytest.mark.parametrize(
    "key", ["PerformingPhysicianName", "NumberOfStudyRelatedSeries=2", "Modality", "SOPInstanceUID"]
)
def test_a_key_that_is_not_supported_is_said_to_be_so(asked: Asked, model: str, key: str) -> None:
    """Unknown, not matched, or of a level below: each answer is 0xFF01, and has what there is."""
    found, said = asked.find(model, "STUDY", "PatientID=TWO STUDIES", key)
    assert len(found) == 2
    assert said.count("Pending: WarningUnsupportedOptionalKeys") == 2, said
    keyword = key.partition("=")[0]
    assert [keyword in each for each in found] == ["=" in key] * 2


@pytest.mark.parametrize(
    ("character_set", "encoding"),
    [("ISO_IR 100", "latin-1"), ("ISO_IR 192", "utf-8"), ("ISO 2022 IR 6\\ISO 2022 IR 100", None)],
)
@pytest.mark.parametrize("name", ["Müller^Änne", "müll*", "*^ÄNNE"])
def test_a_name_is_found_in_the_character_set_of_the_question(
    asked: Asked, character_set: str, encoding: str | None, name: str
) -> None:
    wire = name.encode(encoding) if encoding else b"\x1b-A" + name.replace("^", "^\x1b-A").encode("latin-1")
    keys = (f"SpecificCharacterSet={character_set}", b"PatientName=" + wire)
    found, said = asked.find("-P", "PATIENT", *keys, "PatientID")
    assert [(str(each.PatientName), each.PatientID) for each in found] == [("Müller^Änne", "TWO STUDIES")]
    assert "Unsupported" not in said


def test_what_was_just_acknowledged_is_found(asked: Asked, tmp_path: Path) -> None:
    for number in range(3):
        made = phantoms.write_series(
            tmp_path / str(number), planes=2, study=new_uid(), patient_id="JUST SENT", seed=number
        )
        subprocess.run(["/usr/bin/dcmsend", *asked.address, *made.paths], check=True, timeout=120)
        found, _ = asked.find("-S", "IMAGE", f"SeriesInstanceUID={made.series_instance_uid}")
        assert len(found) == 2


def test_study_root_has_no_patients_as_a_level(asked: Asked) -> None:
    """As for retrieval."""
    found, said = asked.find("-S", "PATIENT", "PatientID=TWO STUDIES")
    assert found == []
    assert "Error: DataSetDoesNotMatchSOPClass" in said
    assert "Releasing Association" in said
    found, _ = asked.find("-S", "STUDY", "PatientID=TWO STUDIES", "PatientName")
    assert [str(each.PatientName) for each in found] == ["Müller^Änne"] * 2


def test_a_catalog_that_cannot_be_read_is_a_status_and_the_association_goes_on(
    start_receive: Callable[..., Any], asked: Asked, tmp_path: Path
) -> None:
    receiving = start_receive(homed(tmp_path / "bench"), anyone=False)
    damaged = Asked(receiving, tmp_path, asked.program)
    for path in receiving.home.glob("catalog.sqlite*"):
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
    found, said = damaged.find("-S", "STUDY", "StudyInstanceUID")
    assert found == []
    assert "Failed: UnableToProcess" in said
    assert "Releasing Association" in said


MATCHES = 20_000


def test_a_cancel_ends_a_question_with_many_matches_at_once(
    start_receive: Callable[..., Any], tmp_path: Path
) -> None:
    home = homed(tmp_path / "bench")
    with closing(Catalog(home / "catalog.sqlite")) as catalog:
        record_remotes(
            catalog,
            "idc",
            [
                RemoteSeries(
                    {"series_instance_uid": f"1.2.{each}", "study_instance_uid": "1.1", "patient_id": "P"},
                    "idc", "s3://bucket", 1, 1,
                )
                for each in range(MATCHES)
            ],
        )  # fmt: skip
    receiving = start_receive(home, anyone=False)
    node = DimseNode("WORKBENCH", "127.0.0.1", receiving.port, calling_ae_title="VIEWER")
    question = Dataset()
    question.QueryRetrieveLevel = "SERIES"
    question.SeriesInstanceUID = question.ModalitiesInStudy = None
    statuses = []
    with calling(node, [build_context(STUDY_ROOT_FIND)]) as association:
        for status, _ in association.send_c_find(question, STUDY_ROOT_FIND, msg_id=7):
            statuses.append(status.Status)
            if len(statuses) == 1:
                association.send_c_cancel(7, None, STUDY_ROOT_FIND)
    assert statuses[-1] == 0xFE00
    assert len(statuses) < MATCHES // 2  # what is in the network's buffers has gone out
