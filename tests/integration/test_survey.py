"""A PACS as a source: rows of its series without a file, and the files when they are wanted."""

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import typer

import workbench
from catalog.durable import file_digest
from catalog.errors import DeliveryError, NotFoundError, QuestionError
from catalog.headers import read_dataset
from catalog.identifiers import new_uid
from catalog.records import RemoteSeries
from catalog.remotes import record_remotes, remote_of
from pipelines import phantoms
from workbench.cli import app
from workbench.elsewhere import ShortWarning
from workbench.pacs import dimse
from workbench.pacs.association import associate, contexts_for
from workbench.pacs.dimse_node import DimseNode
from workbench.session import Bench

type Peer = Any

PLANES = 4


def fill(node: DimseNode, folder: Path, study: str, patient_id: str = "SURVEY") -> phantoms.Phantom:
    """Send a small CT series of a study of its own to a node, by C-STORE."""
    ct = phantoms.write_series(
        folder, planes=PLANES, study=study, patient_id=patient_id, patient_name="Prüfung^Ümit"
    )
    put(node, ct.paths)
    return ct


def put(node: DimseNode, paths: Sequence[Path]) -> None:
    """Send files to a node, by C-STORE."""
    heads = [read_dataset(path) for path in paths]
    pairs = [(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for ds in heads]
    with associate(node, contexts_for(pairs)) as association:
        for path, ds in zip(paths, heads, strict=True):
            dimse.store(
                association, path, sop_class_uid=str(ds.SOPClassUID),
                sop_instance_uid=str(ds.SOPInstanceUID),
                transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
            )  # fmt: skip


def open_bench(home: Path, peer: Peer) -> Bench:
    return workbench.open(
        home, nodes={"PACS": peer.node}, listen_port=peer.listen.port, ae_title=peer.node.calling_ae_title
    )


def test_series_of_a_node_are_found_without_a_file_and_fetched_bit_for_bit(
    tmp_path: Path, peer: Peer
) -> None:
    ct = fill(peer.node, tmp_path / "ct", new_uid())
    head = read_dataset(ct.paths[0])
    with open_bench(tmp_path / "bench", peer) as bench:
        report = bench.index("pacs://PACS", study_instance_uid=str(head.StudyInstanceUID))
        assert (report.as_json()["added"], report.as_json()["rejected"]) == (1, [])
        found = bench.series(modality="CT", patient_id="SURVEY")
        assert [each.series_instance_uid for each in found] == [str(head.SeriesInstanceUID)]
        assert found[0].patient_name == "Prüfung^Ümit"
        assert found[0].series_description == str(head.SeriesDescription)
        told = remote_of(bench.catalog, found[0].series_instance_uid)
        assert told is not None
        assert told.address == found[0].remote == "pacs://PACS"
        left = bench.ingest(found, quiet=True).reasons()  # of several, none is fetched unasked
        assert "pacs://PACS; bench.fetch(series) gets them" in left
        fetched = bench.fetch(found, quiet=True)
        assert (fetched.as_json()["added"], fetched.as_json()["rejected"]) == (PLANES, [])
        again = bench.series(patient_id="SURVEY")
        assert (len(again), again[0].instances) == (1, PLANES)
        received = sorted((bench.settings.home / "received").rglob("*.dcm"))
        sent = {str(read_dataset(path).SOPInstanceUID): path for path in ct.paths}
        for path in received:
            theirs = read_dataset(path)
            assert theirs == read_dataset(sent[str(theirs.SOPInstanceUID)])
        bench.ingest(again, quiet=True)
        assert bench.verify(again, quiet=True).mismatches == ()
        assert bench.fetch(again, quiet=True).as_json()["added"] == 0  # twice is once


def test_a_node_that_is_asked_again_adds_nothing_and_takes_away_what_it_lost(
    tmp_path: Path, start_embedded: Any
) -> None:
    peer = start_embedded()
    fill(peer.node, tmp_path / "one", new_uid(), "FIRST")
    fill(peer.node, tmp_path / "two", new_uid(), "SECOND")
    with open_bench(tmp_path / "bench", peer) as bench:
        assert bench.index("pacs://PACS").as_json()["added"] == 2
        assert bench.index("pacs://PACS").as_json()["unchanged"] == 2
        assert bench.index("pacs://PACS", PatientID="FIR*").as_json()["unchanged"] == 1
        emptied = start_embedded()
        with open_bench(tmp_path / "bench", emptied) as later:
            assert later.index("pacs://PACS").as_json()["withdrawn"] == 2
            assert len(later.series()) == 0


def test_a_fetch_by_C_GET_needs_no_port(tmp_path: Path, start_embedded: Any) -> None:
    peer = start_embedded()
    fill(peer.node, tmp_path / "ct", new_uid())
    with (
        socket.create_server((peer.listen.host, peer.listen.port)),
        open_bench(tmp_path / "bench", peer) as bench,
    ):
        bench.index("pacs://PACS")
        assert bench.fetch(bench.series(), quiet=True).as_json()["added"] == PLANES


def test_what_a_node_cannot_be_asked_says_so(tmp_path: Path, peer: Peer, free_port: int) -> None:
    nobody = DimseNode("NOBODY", "127.0.0.1", free_port, connection_seconds=2)
    with workbench.open(tmp_path / "bench", nodes={"PACS": peer.node, "NOBODY": nobody}) as bench:
        with pytest.raises(QuestionError, match="SliceThickness is of the level of instances"):
            bench.index("pacs://PACS", slice_thickness="1")
        with pytest.raises(QuestionError, match="pacs:// names none"):
            bench.index("pacs://")
        with pytest.raises(NotFoundError, match="no node 'OTHER'"):
            bench.index("pacs://OTHER")
        with pytest.raises(DeliveryError, match="cannot be reached"):
            bench.index("pacs://NOBODY")
        with pytest.raises(QuestionError, match="only a node is asked"):
            bench.index(tmp_path, modality="CT")


def test_a_series_the_node_lost_meanwhile_is_not_half_fetched(tmp_path: Path, start_embedded: Any) -> None:
    peer, emptied = start_embedded(), start_embedded()
    fill(peer.node, tmp_path / "ct", new_uid())
    with open_bench(tmp_path / "bench", peer) as bench:
        bench.index("pacs://PACS")
    with open_bench(tmp_path / "bench", emptied) as later:
        found = later.series()
        with pytest.raises(DeliveryError, match="does not find the instances"):
            later.fetch(found, quiet=True)
        assert [each.remote for each in later.series()] == ["pacs://PACS"]
        assert not list((later.settings.home / "received").rglob("*.dcm"))


def test_one_series_that_does_not_come_keeps_no_other_from_coming(
    tmp_path: Path, start_embedded: Any
) -> None:
    peer, other = start_embedded(), start_embedded()
    studies = sorted(new_uid() for _ in range(3))
    for number, study in enumerate(studies):
        fill(peer.node, tmp_path / f"ct{number}", study)
        if number != 1:
            fill(other.node, tmp_path / f"ct{number}", study)
    with open_bench(tmp_path / "bench", peer) as bench:
        bench.index("pacs://PACS")
    with open_bench(tmp_path / "bench", other) as later:
        found = later.series()
        with pytest.raises(DeliveryError, match="does not find the instances"):
            later.fetch(found, quiet=True)
        assert sorted(each.remote for each in later.series()) == ["", "", "pacs://PACS"]


def test_P3_what_a_node_has_changed_since_lies_beside_what_was_fetched(
    tmp_path: Path, start_embedded: Any
) -> None:
    first, second = start_embedded(), start_embedded()
    ct = fill(first.node, tmp_path / "ct", new_uid())
    for path in ct.paths:
        ds = pydicom.dcmread(path)
        ds.PixelData = bytes(len(ds.PixelData))
        ds.PatientComments = "corrected"
        ds.save_as(path)
    put(second.node, ct.paths)
    with open_bench(tmp_path / "bench", first) as bench:
        bench.index("pacs://PACS")
        bench.fetch(bench.series(), quiet=True)
        received = bench.settings.home / "received"
        before = {path: file_digest(path) for path in received.rglob("*.dcm")}
        values = bench.volume(bench.series()[0]).values.copy()
    with open_bench(tmp_path / "bench", second) as later:
        for _ in range(2):  # and again: nothing more
            later.fetch(later.nodes["PACS"].find("series"), quiet=True)
            after = {path: file_digest(path) for path in received.rglob("*.dcm")}
            assert {path: after[path] for path in before} == before
            assert len(after) == 2 * PLANES
        assert later.series()[0].instances == PLANES
        assert len([each for each in later.findings() if each.kind == "conflict"]) == PLANES
        assert np.array_equal(later.volume(later.series()[0]).values, values)


def test_names_of_received_files_are_digests(tmp_path: Path, pacs: Peer) -> None:
    ct = fill(pacs.node, tmp_path / "ct", new_uid(), "PATHS")
    with open_bench(tmp_path / "bench", pacs) as bench:
        bench.index("pacs://PACS", patient_id="PATHS")
        bench.fetch(bench.series(patient_id="PATHS"), quiet=True)
        received = sorted((bench.settings.home / "received").rglob("*.dcm"))
        assert len(received) == len({file_digest(each) for each in received}) == PLANES
        uids = {*ct.sop_instance_uids, str(read_dataset(ct.paths[0]).SeriesInstanceUID)}
        assert not [uid for uid in uids for path in received if uid in str(path)]


def test_the_command_line_asks_a_node_and_fetches(
    tmp_path: Path, pacs: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    ct = fill(pacs.node, tmp_path / "ct", new_uid(), "TYPED")
    uid = str(read_dataset(ct.paths[0]).SeriesInstanceUID)
    home = tmp_path / "bench"
    home.mkdir()
    node = pacs.node
    (home / "workbench.toml").write_text(
        f'[nodes.PACS]\nae_title = "{node.ae_title}"\nhost = "{node.host}"\nport = {node.port}\n'
    )

    def workbench_says(*words: str) -> Any:
        app([*words, "--home", str(home), "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    assert workbench_says("index", "pacs://PACS", "PatientID=TYPED")["added"] == 1
    assert workbench_says("series", "PatientID=TYPED")[0]["remote"] == "pacs://PACS"
    assert workbench_says("fetch", uid)["added"] == PLANES
    with pytest.raises(typer.BadParameter, match="a node matches NAME=VALUE"):
        workbench_says("index", "pacs://PACS", "TYPED")


def test_a_node_named_like_another_source_takes_nothing_of_it_away(
    tmp_path: Path, start_embedded: Any
) -> None:
    values = {"series_instance_uid": "1.2.3", "study_instance_uid": "1.2"}
    with workbench.open(tmp_path / "bench", nodes={"idc": start_embedded().node}) as bench:
        record_remotes(bench.catalog, "idc", [RemoteSeries(values, "idc", "s3://bucket/1", 50)])
        assert bench.index("pacs://idc").as_json()["withdrawn"] == 0
        assert [each.remote for each in bench.series()] == ["s3://bucket/1"]


def test_a_series_that_is_opened_is_fetched_first_and_its_pixels_are_those_of_the_node(
    tmp_path: Path, peer: Peer
) -> None:
    ct = fill(peer.node, tmp_path / "ct", new_uid(), "OPENED")
    uid = str(read_dataset(ct.paths[0]).SeriesInstanceUID)
    with open_bench(tmp_path / "bench", peer) as bench:
        bench.index("pacs://PACS", series_instance_uid=uid)
        found = bench.series(series_instance_uid=uid)[0]
        assert found.remote == "pacs://PACS"
        volume = bench.volume(uid)
        assert volume.shape[0] == PLANES
        np.testing.assert_allclose(volume.to_numpy(), ct.modality_values)
        assert bench.series(series_instance_uid=uid)[0].remote == ""
        assert bench.verify(uid, quiet=True).mismatches == ()
        assert len(bench.freeze("opened", [found])) == 1  # found before it was fetched


@pytest.mark.parametrize("how", ["record", "fetch", "level", "pyramid"])
def test_whatever_opens_one_series_fetches_it(tmp_path: Path, pacs: Peer, how: str) -> None:
    fill(pacs.node, tmp_path / "ct", new_uid(), f"BY-{how}")
    with open_bench(tmp_path / "bench", pacs) as bench:
        bench.index("pacs://PACS", patient_id=f"BY-{how}")
        record = bench.series(patient_id=f"BY-{how}")[0]
        match how:
            case "record":
                assert bench.ingest(record, quiet=True).left == {}
            case "fetch":
                assert bench.ingest([record], fetch=True, quiet=True).left == {}
            case "level":
                assert bench.level(record, 0).shape[0] == PLANES
            case "pyramid":
                bench.pyramid(record)
        assert len(bench.arrays(record)) == 1


def test_a_series_whose_node_is_away_or_unknown_says_so_when_it_is_opened(
    tmp_path: Path, start_embedded: Any, free_port: int
) -> None:
    peer = start_embedded()
    fill(peer.node, tmp_path / "ct", new_uid(), "AWAY")
    with open_bench(tmp_path / "bench", peer) as bench:
        bench.index("pacs://PACS")
    away = DimseNode("PACS", "127.0.0.1", free_port, connection_seconds=2)
    with workbench.open(tmp_path / "bench", nodes={"PACS": away}) as bench:
        with pytest.raises(DeliveryError, match=r"PACS .* cannot be reached"):
            bench.volume(bench.series()[0])
        assert len(bench.series()) == 1
    with (
        workbench.open(tmp_path / "bench") as bench,
        pytest.raises(NotFoundError, match=r"no node 'PACS'.*Add a table \[nodes\.PACS\]"),
    ):
        bench.volume(bench.series()[0])


def test_fewer_instances_than_the_node_told_of_are_said(tmp_path: Path, start_embedded: Any) -> None:
    peer = start_embedded()
    ct = fill(peer.node, tmp_path / "ct", new_uid(), "FEWER")
    head = read_dataset(ct.paths[0])
    values = {
        "study_instance_uid": str(head.StudyInstanceUID),
        "series_instance_uid": str(head.SeriesInstanceUID),
    }
    told = RemoteSeries(values, "pacs://PACS", "pacs://PACS", PLANES + 3)
    with open_bench(tmp_path / "bench", peer) as bench:
        record_remotes(bench.catalog, "pacs://PACS", [told])
        words = rf"pacs://PACS told of {PLANES + 3} instances, {PLANES} are here"
        with pytest.warns(ShortWarning, match=words):
            assert bench.volume(values["series_instance_uid"]).shape[0] == PLANES
        report = bench.fetch(values["series_instance_uid"], quiet=True)
        assert [each.path for each in report.short] == [values["series_instance_uid"]]
        assert f"told of {PLANES + 3} instances" in report.line()
        assert report.as_json()["short"][0]["reason"] == report.short[0].reason
