"""Earlier studies of a patient come before somebody wants to see them."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

import workbench
from catalog.errors import NotFoundError, QuestionError
from catalog.identifiers import new_uid
from pipelines import phantoms
from workbench.cli import app
from workbench.pacs import dimse
from workbench.pacs.association import associate, contexts_for
from workbench.pacs.dimse_node import DimseNode

type Peer = Any

PLANES = 3


def write(folder: Path, patient_id: str, day: str, part: str = "CHEST") -> list[Path]:
    """Write a small series of a study of its own."""
    ct = phantoms.write_series(folder, planes=PLANES, study=new_uid(), patient_id=patient_id)
    for path in ct.paths:
        ds = dcmread(path)
        ds.StudyDate, ds.BodyPartExamined = day, part
        ds.save_as(path)
    return list(ct.paths)


def send(node: DimseNode, paths: list[Path]) -> str:
    """Send them; return the UID of the study."""
    heads = [dcmread(path) for path in paths]
    pairs = [(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for ds in heads]
    with associate(node, contexts_for(pairs)) as association:
        for path, ds in zip(paths, heads, strict=True):
            dimse.store(
                association, path, sop_class_uid=str(ds.SOPClassUID),
                sop_instance_uid=str(ds.SOPInstanceUID),
                transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
            )  # fmt: skip
    return str(heads[0].StudyInstanceUID)


def test_priors_of_a_study_come_the_likest_first_and_once(
    tmp_path: Path, peer: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    patient = f"PRIOR-{new_uid()[-8:]}"
    days = {"20200101": "CHEST", "20210101": "HEAD", "20220101": "CHEST", "20270101": "CHEST"}
    sent = {day: send(peer.node, write(tmp_path / day, patient, day, part)) for day, part in days.items()}
    present = write(tmp_path / "present", patient, "20260601")
    home = tmp_path / "bench"
    home.mkdir()
    node = peer.node
    (home / "workbench.toml").write_text(
        f'listen_port = {peer.listen.port}\nae_title = "{node.calling_ae_title}"\n'
        f'[nodes.PACS]\nae_title = "{node.ae_title}"\nhost = "{node.host}"\nport = {node.port}\n'
    )
    with workbench.open(home) as bench:
        bench.index(present[0].parent, quiet=True)
        study = bench.series()[0].study_instance_uid
        came = bench.prefetch(study, priors=2, quiet=True)
        assert [each.study_instance_uid for each in came] == [sent["20220101"], sent["20200101"]]
        assert [(each.state, each.instances, each.prior_of) for each in came] == [
            ("fetched", PLANES, study)
        ] * 2
        assert len(bench.series(patient_id=patient, where="InstanceNumber >= 0")) == 3
        assert bench.volume(bench.series(study_instance_uid=sent["20220101"])[0]).shape[0] == PLANES
        more = bench.prefetch(f"PatientID == '{patient}' and StudyDate == 20260601", priors=3, quiet=True)
        assert [each.state for each in more] == ["here before", "here before", "fetched"]
        assert "1 fetched · 2 here before" in more.line()
        assert len(bench.prefetch(sent["20200101"], quiet=True)) == 0
        assert "1 of 1 studies without a prior" in bench.prefetch(sent["20200101"], quiet=True).line()
    assert not app(["prefetch", study, "--home", str(home), "--json"], standalone_mode=False)
    assert [each["state"] for each in json.loads(capsys.readouterr().out)] == ["here before"] * 2


def test_what_cannot_be_prefetched_says_so(tmp_path: Path, pacs: Peer) -> None:
    present = write(tmp_path / "present", "NOBODY", "20260601")
    with workbench.open(tmp_path / "bench", nodes={"A": pacs.node, "B": pacs.node}) as bench:
        bench.index(present[0].parent, quiet=True)
        uid = bench.series()[0].series_instance_uid
        with pytest.raises(QuestionError, match=r"say which node is asked.*A, B"):
            bench.prefetch(uid)
        with pytest.raises(QuestionError, match="priors is a number from 1 on"):
            bench.prefetch(uid, priors=0, node="A")
        with pytest.raises(NotFoundError, match=r"no series and no study 1\.2\.3"):
            bench.prefetch("1.2.3", node="A")
        with pytest.raises(NotFoundError, match="no node 'C'"):
            bench.prefetch(uid, node="C")
        assert len(bench.prefetch(uid, node="A", quiet=True)) == 0
