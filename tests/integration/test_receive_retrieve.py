"""C-GET and C-MOVE by `workbench receive` (PS3.4 C.4.2, C.4.3), to DCMTK: bytes as they lie, no others."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom import build_role
from pynetdicom.dsutils import split_dataset
from pynetdicom.presentation import build_context

from catalog.identifiers import new_uid
from pipelines import phantoms
from tests.conftest import _free_port
from tests.peers.calling import calling
from workbench.pacs import dimse
from workbench.pacs.association import associate, contexts_for
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress
from workbench.pacs.retrieving import INSTANCES_AT_MOST, Counts, question_of
from workbench.pacs.sop_classes import STUDY_ROOT_GET, STUDY_ROOT_MOVE

CT = "1.2.840.10008.5.1.4.1.1.2"


def data_set(path: Path) -> bytes:
    return path.read_bytes()[split_dataset(path)[1] :]


def by_uid(paths: list[Path]) -> dict[str, bytes]:
    return {str(split_dataset(path)[0].MediaStorageSOPInstanceUID): data_set(path) for path in paths}


class Bench:
    """A home in which VIEWER may retrieve and CT may store; SINK is where C-MOVE may go."""

    def __init__(self, home: Path, start_receive: Callable[..., Any]) -> None:
        self.sink_port = _free_port()
        home.mkdir()
        place = f'host = "127.0.0.1"\nport = {self.sink_port}\n'
        (home / "workbench.toml").write_text(
            f'[nodes.VIEWER]\nae_title = "VIEWER"\nmay = ["find", "retrieve"]\n{place}'
            f'[nodes.CT]\nae_title = "CT"\n{place}[nodes.SINK]\nae_title = "SINK"\nmay = []\n{place}'
        )
        self.receiving = start_receive(home, anyone=False)
        self.address = ("-aec", "WORKBENCH", "127.0.0.1", str(self.receiving.port))

    @property
    def node(self) -> DimseNode:
        return DimseNode("WORKBENCH", "127.0.0.1", self.receiving.port, calling_ae_title="VIEWER")

    def lines(self) -> list[dict[str, Any]]:
        return [line for line in self.receiving.lines() if line["event"] == "retrieval"]


@pytest.fixture(scope="module")
def bench(start_receive: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("retrieve") / "bench", start_receive)


@pytest.fixture(scope="module")
def dcmtk(missing: Callable[[str], NoReturn]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        found = shutil.which(program, path="/usr/bin")
        if found is None:
            missing(f"{program} is not there: apt-get install dcmtk")
        return subprocess.run(
            [found, *arguments], capture_output=True, text=True, env={"TCP_NODELAY": "1"}, timeout=120
        )

    return run


@pytest.fixture(scope="module")
def ct(bench: Bench, dcmtk: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> phantoms.Phantom:
    """A series that the bench has received."""
    made = phantoms.write_series(tmp_path_factory.mktemp("ct") / "ct", planes=6, study=new_uid())
    assert dcmtk("dcmsend", "-aet", "CT", *bench.address, *made.paths).returncode == 0
    bench.receiving.settle()
    return made


def keys(ct: phantoms.Phantom, level: str) -> list[str]:
    header = pydicom.dcmread(ct.paths[0], stop_before_pixels=True)
    named = {
        "PATIENT": {"PatientID": header.PatientID},
        "STUDY": {"StudyInstanceUID": header.StudyInstanceUID},
        "SERIES": {
            "StudyInstanceUID": header.StudyInstanceUID,
            "SeriesInstanceUID": header.SeriesInstanceUID,
        },
        "IMAGE": {
            "StudyInstanceUID": header.StudyInstanceUID,
            "SeriesInstanceUID": header.SeriesInstanceUID,
            "SOPInstanceUID": "\\".join(ct.sop_instance_uids),
        },
    }[level]
    given = {"QueryRetrieveLevel": level, **named}
    return [part for name, value in given.items() for part in ("-k", f"{name}={value}")]


@pytest.mark.pacs
@pytest.mark.parametrize(
    ("model", "level"),
    [("-P", "PATIENT"), ("-S", "STUDY"), ("-S", "SERIES"), ("-P", "IMAGE"), ("-S", "IMAGE")],
)
def test_P2_getscu_gets_the_data_sets_bit_for_bit(
    bench: Bench, dcmtk: Callable[..., Any], ct: phantoms.Phantom, tmp_path: Path, model: str, level: str
) -> None:
    done = dcmtk(
        "getscu", "-v", model, "+B", "-od", tmp_path, "-aet", "VIEWER", *keys(ct, level), *bench.address
    )
    assert done.returncode == 0, done.stderr
    came = by_uid([path for path in tmp_path.iterdir() if path.is_file()])
    assert by_uid(list(ct.paths)).items() <= came.items()
    assert level == "PATIENT" or len(came) == len(ct.paths)
    told = bench.lines()[-1]
    assert (told["node"], told["service"], told["failed"]) == ("VIEWER", "C-GET", 0)


@pytest.mark.pacs
@pytest.mark.parametrize(("model", "level"), [("-P", "PATIENT"), ("-S", "STUDY"), ("-S", "IMAGE")])
def test_P2_movescu_has_the_data_sets_sent_to_a_node_bit_for_bit(
    bench: Bench, dcmtk: Callable[..., Any], ct: phantoms.Phantom, tmp_path: Path, model: str, level: str
) -> None:
    with storescp(bench.sink_port, tmp_path):
        done = dcmtk(
            "movescu", "-v", model, "-aet", "VIEWER", "-aem", "SINK", *keys(ct, level), *bench.address
        )
    assert done.returncode == 0, done.stderr
    came = by_uid(list(tmp_path.iterdir()))
    assert by_uid(list(ct.paths)).items() <= came.items()
    assert level == "PATIENT" or len(came) == len(ct.paths)


class storescp:
    """DCMTK's storescp while it is a context: it keeps bytes as they come."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.folder = port, folder

    def __enter__(self) -> None:
        program = shutil.which("storescp", path="/usr/bin")
        assert program is not None
        command = [program, "+xa", "+B", "-aet", "SINK", "-od", str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, env={"TCP_NODELAY": "1"}, stderr=subprocess.DEVNULL)
        node = DimseNode("SINK", "127.0.0.1", self.port)
        until = time.monotonic() + 30
        while True:
            try:
                node.echo()
            except Exception:  # it does not listen yet
                assert time.monotonic() < until
            else:
                return

    def __exit__(self, *_raised: object) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.pacs
def test_2_who_may_not_retrieve_gets_nothing_and_where_nobody_is_known_nothing_goes(
    bench: Bench, dcmtk: Callable[..., Any], ct: phantoms.Phantom, tmp_path: Path
) -> None:
    asked = keys(ct, "STUDY")
    refused = dcmtk("getscu", "-d", "-S", "-od", tmp_path, "-aet", "CT", *asked, *bench.address)
    assert "0x0124" in refused.stderr + refused.stdout
    refused = dcmtk("movescu", "-d", "-S", "-aet", "CT", "-aem", "SINK", *asked, *bench.address)
    assert "0x0124" in refused.stderr + refused.stdout
    unknown = dcmtk("movescu", "-d", "-S", "-aet", "VIEWER", "-aem", "NOBODY", *asked, *bench.address)
    assert "0xa801" in (unknown.stderr + unknown.stdout).lower()
    silent = dcmtk("movescu", "-d", "-S", "-aet", "VIEWER", "-aem", "SINK", *asked, *bench.address)
    assert "0xa702" in (silent.stderr + silent.stdout).lower(), "nobody listens there"
    every = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=*"]
    pattern = dcmtk("movescu", "-d", "-S", "-aet", "VIEWER", "-aem", "SINK", *every, *bench.address)
    assert "0xa900" in (pattern.stderr + pattern.stdout).lower(), "a retrieval names what it is about"
    assert not list(tmp_path.iterdir())


def asking(level: str, **keys: Any) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(made, name, value)
    return made


@pytest.mark.pacs
def test_an_instance_in_a_transfer_syntax_that_was_not_accepted_fails_alone(
    bench: Bench, ct: phantoms.Phantom, dcmtk: Callable[..., Any], tmp_path: Path
) -> None:
    """No transcoding: what is kept in JPEG 2000 is not sent as something else."""
    study = pydicom.dcmread(ct.paths[0]).StudyInstanceUID
    other = pydicom.dcmread(ct.paths[0])
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = new_uid()
    other.SeriesInstanceUID = new_uid()
    other.compress(pydicom.uid.RLELossless)
    other.save_as(tmp_path / "rle.dcm")
    assert dcmtk("dcmsend", "-aet", "CT", *bench.address, tmp_path / "rle.dcm").returncode == 0
    bench.receiving.settle()
    came: list[str] = []
    answers = get(bench, asking("STUDY", StudyInstanceUID=study), came)
    status, identifier = answers[-1]
    assert status.Status == 0xB000
    assert identifier.FailedSOPInstanceUIDList == other.SOPInstanceUID
    assert (status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (6, 1)
    assert sorted(came) == sorted(ct.sop_instance_uids)
    remaining = [each.NumberOfRemainingSuboperations for each, _ in answers[:-1]]
    assert remaining == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.pacs
def test_a_series_in_several_transfer_syntaxes_is_got_as_it_lies(
    bench: Bench, start_orthanc: Callable[..., Any], tmp_path: Path
) -> None:
    """Each encoding is proposed in a context of its own: of one with several a node takes one alone."""
    made = several_syntaxes(tmp_path / "made")
    scanner = replace(bench.node, calling_ae_title="CT")
    orthanc = start_orthanc().node
    for to, by, settle in ((scanner, bench.node, bench.receiving.settle), (orthanc, orthanc, lambda: None)):
        send(to, made)
        settle()
        header = pydicom.dcmread(made[0])
        series = header.StudyInstanceUID, header.SeriesInstanceUID
        came = by.retrieve(*series, tmp_path / by.name, ListenAddress())
        assert by_uid(list(came)) == by_uid(made)
        assert syntaxes_of(came) == syntaxes_of(made)
    assert bench.lines()[-1]["service"] == "C-GET"


def several_syntaxes(folder: Path) -> list[Path]:
    """A series whose instances are each in a transfer syntax of their own."""
    study, series = new_uid(), new_uid()
    made = phantoms.write_series(folder, planes=4, study=study).paths
    syntaxes = (
        ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, DeflatedExplicitVRLittleEndian,
    )  # fmt: skip
    for path, syntax in zip(made, syntaxes, strict=True):
        each = pydicom.dcmread(path)
        each.SeriesInstanceUID = series
        if syntax == RLELossless:
            each.compress(syntax)
        else:
            each.file_meta.TransferSyntaxUID = syntax
        each.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    return list(made)


def send(node: DimseNode, paths: Sequence[Path]) -> None:
    metas = [split_dataset(path)[0] for path in paths]
    pairs = [(str(each.MediaStorageSOPClassUID), str(each.TransferSyntaxUID)) for each in metas]
    with associate(node, contexts_for(pairs)) as association:
        for path, meta in zip(paths, metas, strict=True):
            dimse.store(
                association, path, sop_class_uid=str(meta.MediaStorageSOPClassUID),
                sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
                transfer_syntax_uid=str(meta.TransferSyntaxUID),
            )  # fmt: skip


def syntaxes_of(paths: Sequence[Path]) -> dict[str, str]:
    metas = [split_dataset(path)[0] for path in paths]
    return {str(each.MediaStorageSOPInstanceUID): str(each.TransferSyntaxUID) for each in metas}


def get(bench: Bench, identifier: Dataset, came: list[str], *, cancel_after: int = 0) -> list[Any]:
    from pynetdicom import evt

    def store(event: Any) -> int:
        came.append(str(event.request.AffectedSOPInstanceUID))
        if len(came) == cancel_after:
            event.assoc.send_c_cancel(1, None, STUDY_ROOT_GET)
        return 0x0000

    contexts = [build_context(STUDY_ROOT_GET), build_context(CT, ExplicitVRLittleEndian)]
    roles = [build_role(UID(CT), scp_role=True)]
    handlers: list[Any] = [(evt.EVT_C_STORE, store)]
    with calling(bench.node, contexts, roles=roles, handlers=handlers) as association:
        return list(association.send_c_get(identifier, STUDY_ROOT_GET, msg_id=1))


@pytest.mark.pacs
def test_a_cancel_ends_it_and_says_how_much_is_left(bench: Bench, ct: phantoms.Phantom) -> None:
    series = pydicom.dcmread(ct.paths[0]).SeriesInstanceUID
    came: list[str] = []
    status, _ = get(bench, asking("SERIES", SeriesInstanceUID=series), came, cancel_after=2)[-1]
    if status.Status == 0x0000:
        pytest.skip("all had gone before the cancel came")
    assert status.Status == 0xFE00
    done, left = status.NumberOfCompletedSuboperations, status.NumberOfRemainingSuboperations
    assert done == len(came)
    assert done + left == len(ct.paths)


@pytest.mark.pacs
def test_a_large_instance_costs_no_memory(bench: Bench, ct: phantoms.Phantom) -> None:
    assert get(bench, asking("STUDY", StudyInstanceUID="1.2.3"), [])[-1][0].Status == 0x0000
    large = pydicom.dcmread(ct.paths[0])
    large.SOPInstanceUID = large.file_meta.MediaStorageSOPInstanceUID = new_uid()
    large.SeriesInstanceUID = new_uid()
    large.add_new(0x00091001, "OB", bytes(200 << 20))
    scanner = DimseNode("WORKBENCH", "127.0.0.1", bench.receiving.port, calling_ae_title="CT")
    with calling(scanner, [build_context(CT, ExplicitVRLittleEndian)]) as association:
        assert association.send_c_store(large).Status == 0x0000
    bench.receiving.settle()
    before = peak_mib(bench)
    came: list[str] = []
    identifier = asking("SERIES", SeriesInstanceUID=large.SeriesInstanceUID)
    assert get(bench, identifier, came)[-1][0].Status == 0x0000
    assert came == [large.SOPInstanceUID]
    assert peak_mib(bench) - before < 50


def peak_mib(bench: Bench) -> float:
    status = Path(f"/proc/{bench.receiving.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@pytest.mark.pacs
def test_what_lies_in_an_archive_is_sent_too(bench: Bench, tmp_path: Path) -> None:
    made = phantoms.write_series(tmp_path / "ct", planes=3, study=new_uid())
    archive = Path(shutil.make_archive(str(tmp_path / "disk"), "zip", tmp_path / "ct"))
    indexed = subprocess.run(
        [sys.executable, "-m", "workbench", "index", archive, "--home", bench.receiving.home],
        check=False,
        capture_output=True,
    )
    assert indexed.returncode == 0, indexed.stderr
    study = pydicom.dcmread(made.paths[0]).StudyInstanceUID
    came: list[str] = []
    assert get(bench, asking("STUDY", StudyInstanceUID=study), came)[-1][0].Status == 0x0000
    assert sorted(came) == sorted(made.sop_instance_uids)


@pytest.mark.pacs
def test_what_a_search_does_not_show_is_not_sent(
    bench: Bench, ct: phantoms.Phantom, dcmtk: Callable[..., Any], tmp_path: Path
) -> None:
    gone = phantoms.write_series(tmp_path / "gone", planes=2, study=new_uid())
    assert dcmtk("dcmsend", "-aet", "CT", *bench.address, *gone.paths).returncode == 0
    bench.receiving.settle()
    study = pydicom.dcmread(gone.paths[0]).StudyInstanceUID
    came: list[str] = []
    assert len(get(bench, asking("STUDY", StudyInstanceUID=study), came)) == 3
    deleted = subprocess.run(
        [
            sys.executable, "-m", "workbench", "delete", study, "--why", "consent withdrawn",
            "--home", bench.receiving.home,
        ],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert deleted.returncode == 0, deleted.stderr
    came.clear()
    ((status, _),) = get(bench, asking("STUDY", StudyInstanceUID=study), came)
    assert (status.Status, status.NumberOfCompletedSuboperations, came) == (0x0000, 0, [])


@pytest.mark.pacs
@pytest.mark.parametrize(
    "identifier",
    [
        asking("STUDY"),
        asking("PATIENT", PatientID="1"),  # not a level of Study Root
        asking("NONE", StudyInstanceUID="1.2"),
        asking("IMAGE", StudyInstanceUID="1.2"),
        asking("STUDY", StudyInstanceUID=["1.2.3"] * 20_000),
    ],
    ids=range(5),
)
def test_a_question_that_is_none_is_refused(bench: Bench, identifier: Dataset) -> None:
    status, _ = get(bench, identifier, [])[-1]
    assert status.Status == 0xA900
    with calling(bench.node, [build_context(STUDY_ROOT_MOVE)]) as association:
        status, _ = list(association.send_c_move(identifier, "SINK", STUDY_ROOT_MOVE))[-1]
    assert status.Status == 0xA900


@pytest.mark.parametrize("patient_id", ["*", "P?", "", ["A", "B*"]])
def test_a_patient_is_named_and_not_guessed(patient_id: Any) -> None:
    from catalog.errors import QuestionError

    with pytest.raises(QuestionError):
        question_of(asking("PATIENT", PatientID=patient_id), with_patients=True)


def test_counts_say_how_it_ended() -> None:
    table: dict[tuple[int | None, ...], tuple[int, int, int, int]] = {
        (): (0x0000, 0, 0, 0),
        (0, 0): (0x0000, 2, 0, 0),
        (0, 0xB000): (0xB000, 1, 1, 0),
        (0, 0xA700): (0xB000, 1, 0, 1),
        (0xC000, None): (0xA702, 0, 0, 2),
    }
    for statuses, told in table.items():
        counts = Counts(len(statuses))
        for number, status in enumerate(statuses):
            counts.count(f"1.2.{number}", status)
        assert (counts.status, counts.completed, counts.warning, counts.failed) == told
        assert counts.remaining == 0


def test_the_list_of_failures_fits_into_a_value() -> None:
    counts = Counts(INSTANCES_AT_MOST)
    for _ in range(INSTANCES_AT_MOST):
        counts.count("1." * 31 + "99", None)
    assert counts.failed == INSTANCES_AT_MOST
    assert len("\\".join(counts.failed_uids)) < 65_534
