"""The ten lines of the README, and what a bench says when they go wrong."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
import xarray as xr

import workbench
from catalog.errors import HeaderError, NotFoundError, QuestionError, StepError
from catalog.records import RemoteSeries
from catalog.remotes import record_remotes
from pipelines import phantoms, samples
from workbench.demo import start_node
from workbench.pacs.dimse_node import DimseNode
from workbench.session import Bench

NOBODY = DimseNode("NOBODY", "127.0.0.1", 1)


def test_a_bench_indexes_searches_and_opens_a_volume_lazily(bench: Bench, ct: phantoms.Phantom) -> None:
    indexed = bench.index(ct.paths[0].parent, quiet=True)
    assert (indexed.report.added, indexed.rejected) == (8, ())
    (found,) = bench.series(modality="CT", where="SliceThickness <= 2.5")
    assert found.series_instance_uid == ct.series_instance_uid
    volume = bench.volume(found)
    assert volume.dims == ("z", "y", "x")
    assert volume.chunks is not None
    np.testing.assert_array_equal(volume.to_numpy(), ct.modality_values)
    np.testing.assert_allclose(volume.dicom.affine_lps, ct.affine_lps, atol=1e-9)
    assert volume.attrs["units"] == "HU"


def test_altered_geometry_is_not_taken_over_by_ingesting_again(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    (before,) = bench.arrays()
    group = Path(before.path) / "zarr.json"
    content = json.loads(group.read_text())
    content["attributes"]["imaging_workbench"]["affine_lps"][0][3] += 50
    group.write_text(json.dumps(content, indent=1))
    assert bench.verify(quiet=True).mismatches
    volume = bench.volume(ct.series_instance_uid)
    np.testing.assert_allclose(volume.dicom.affine_lps, ct.affine_lps, atol=1e-9)
    assert not bench.verify(quiet=True).mismatches


def test_altered_geometry_is_not_believed_when_its_files_are_gone(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    (before,) = bench.arrays()
    group = Path(before.path) / "zarr.json"
    written = group.read_bytes()
    content = json.loads(written)
    content["attributes"]["imaging_workbench"]["affine_lps"][0][3] += 50
    group.write_text(json.dumps(content, indent=1))
    for each in ct.paths:
        each.rename(each.with_suffix(".away"))
    for _ in range(3):  # its row is gone after the first
        assert not bench.ingest(quiet=True)
    group.write_bytes(written)
    assert [*bench.ingest(quiet=True)] == [before]


def test_a_damaged_chunk_is_mended_by_ingesting_anew_and_not_before(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    (array,) = bench.arrays()
    shard = next(each for each in Path(array.path).glob("values/c/**/*") if each.is_file())
    content = bytearray(shard.read_bytes())
    content[20] ^= 1
    shard.write_bytes(content)
    bench.ingest(quiet=True)
    assert bench.verify(quiet=True).mismatches
    bench.ingest(ct.series_instance_uid, anew=True, quiet=True)
    assert not bench.verify(quiet=True).mismatches
    np.testing.assert_array_equal(bench.volume(ct.series_instance_uid).to_numpy(), ct.modality_values)


def test_the_same_volume_opens_through_xarray(
    bench: Bench, ct: phantoms.Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    monkeypatch.setenv("WORKBENCH_HOME", str(bench.settings.home))
    dataset = xr.open_dataset(ct.series_instance_uid, engine="workbench")
    (name,) = dataset.data_vars
    np.testing.assert_array_equal(dataset[name].to_numpy(), ct.modality_values)


def test_matching_and_expression_both_narrow_and_words_look_everywhere(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    assert len(bench.series()) == 3
    assert len(bench.series(modality="CT")) == 2
    assert len(bench.series(series_description="sphere*", where="SliceThickness < 2")) == 1
    assert len(bench.series(modality=["CT", "MR"], study_date="20260101-20260131")) == 3
    assert len(bench.find("müller")) == 1
    assert len(bench.find("sphere", "Modality=CT")) == 2
    assert len(bench.find("o'brien")) == 0


def test_a_question_that_is_not_understood_says_what_and_names_the_nearest(bench: Bench) -> None:
    with pytest.raises(QuestionError, match="SliceThickness"):
        bench.series(where="SliceThicknes < 2")
    with pytest.raises(QuestionError, match=r"[Mm]odality"):
        bench.series(modalty="CT")


def test_a_second_ingest_keeps_what_is_there(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    first = bench.ingest(quiet=True)
    second = bench.ingest(quiet=True)
    assert list(first) == list(second)


def test_a_new_plane_makes_a_new_array(bench: Bench, tmp_path: Path) -> None:
    phantom = phantoms.write_series(tmp_path / "archive", planes=6)
    last = phantom.paths[-1].rename(tmp_path / "later.dcm")
    bench.index(tmp_path / "archive", quiet=True)
    assert bench.volume(phantom.series_instance_uid).sizes["z"] == 5
    last.rename(tmp_path / "archive" / "later.dcm")
    bench.index(tmp_path / "archive", quiet=True)
    assert bench.volume(phantom.series_instance_uid).sizes["z"] == 6


def test_verify_is_quiet_when_all_is_equal_and_names_a_flipped_byte(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    bench.ingest(quiet=True)
    good = bench.verify(quiet=True)
    assert (good.frames, good.mismatches) == (8, ())
    content = bytearray(ct.paths[3].read_bytes())
    content[-1] ^= 1
    ct.paths[3].write_bytes(content)
    bad = bench.verify(quiet=True)
    assert {Path(each.path).name for each in bad.mismatches} == {"0003.dcm"}
    assert ct.sop_instance_uids[3] in {each.sop_instance_uid for each in bad.mismatches}


def test_unknown_series_steps_nodes_and_objects_are_errors_in_words(
    bench: Bench, tmp_path: Path, ct: phantoms.Phantom
) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    with pytest.raises(NotFoundError, match=r"1\.2\.3"):
        bench.volume("1.2.3")
    with pytest.raises(StepError, match="threshold"):
        bench.run("treshold", quiet=True)
    with pytest.raises(NotFoundError, match=r"nodes\.PACS"):
        bench.send([], to="PACS", quiet=True)
    with (
        workbench.open(tmp_path / "empty") as empty,
        pytest.raises(NotFoundError, match="nothing was indexed"),
    ):
        empty.last_index()
    with pytest.raises(NotFoundError, match="neither a file"):
        bench.send(["nothing.dcm"], to=NOBODY, quiet=True)
    with pytest.raises(NotFoundError, match="nowhere"):
        bench.index(tmp_path / "nowhere", quiet=True)
    text = tmp_path / "text.dcm"
    text.write_text("not DICOM")
    with pytest.raises(HeaderError, match=r"text\.dcm cannot be sent"):
        bench.send([text], to=NOBODY, quiet=True)


def test_a_run_sends_its_objects_to_the_embedded_pacs(tmp_path: Path, archive: Path, scheduler: str) -> None:
    with workbench.open(tmp_path / "bench", scheduler=scheduler) as bench:
        bench.index(archive, quiet=True)
        run = bench.run("threshold", bench.series(modality="CT"), above=150, quiet=True)
        assert run.succeeded, run
        again = bench.run("threshold", bench.series(modality="CT"), above=150, quiet=True)
        assert {each.state for each in again} == {"reused"}
        with start_node(bench) as pacs:
            receipts = bench.send(run.outputs, to=pacs.node, quiet=True)
            assert len(receipts) == 4
            assert receipts.succeeded, receipts
            assert bench.send(run.outputs, to=pacs.node, quiet=True).succeeded
        assert all({"stored", "committed", "confirmed"} <= set(each.times) for each in receipts)
        assert set(run.table.columns) >= {"series_instance_uid", "name", "value", "unit", "run"}


def test_a_series_of_several_parts_is_refused_alike_by_the_bench_and_by_xarray(
    bench: Bench, tmp_path: Path
) -> None:
    first = phantoms.write_series(tmp_path / "a", planes=4)
    uid = first.series_instance_uid
    for path in phantoms.write_series(tmp_path / "b", planes=3, rows=8, description="other").paths:
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID = uid
        ds.save_as(path)
    bench.index(tmp_path / "a", tmp_path / "b", quiet=True)
    with pytest.raises(NotFoundError, match="holds 2 parts, choose one of: part=0") as by_bench:
        bench.volume(uid)
    with pytest.raises(NotFoundError) as by_xarray:
        xr.open_dataset(uid, engine="workbench", home=bench.settings.home)
    assert str(by_xarray.value) == str(by_bench.value)


def test_what_is_no_series_level_or_video_is_a_sentence(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.index(ct.paths[0].parent, quiet=True)
    uid = ct.series_instance_uid
    one = "takes one series: a Series Instance UID or a row of bench.series\\(\\), not "
    wrong: Any = bench.series()
    for ask, words in (
        (lambda: bench.volume(wrong), f"volume {one}Table"),
        (lambda: bench.volume(wrong[0:0]), f"volume {one}Table"),
        (lambda: bench.volume(None), f"volume {one}nothing"),  # type: ignore[arg-type]
        (lambda: bench.slide(5), f"slide {one}int"),  # type: ignore[arg-type]
        (lambda: bench.structures(5), f"structures {one}int"),  # type: ignore[arg-type]
        (lambda: bench.level(uid, "a"), "level takes a number from 0 on, not str"),  # type: ignore[arg-type]
        (lambda: bench.ingest(5), "series are given as a Series Instance UID"),  # type: ignore[arg-type]
        (lambda: bench.ingest([5]), "a series is given as a Series Instance UID"),  # type: ignore[list-item]
        (lambda: bench.ingest(uid, video="foo"), "video is 'chunks', 'left' or None, not 'foo'"),  # type: ignore[arg-type]
        (lambda: bench.series(5), "where is an expression in a text, not int"),  # type: ignore[arg-type]
        (lambda: bench.video(None), "video takes the path of a file, not NoneType"),  # type: ignore[arg-type]
    ):
        with pytest.raises(QuestionError, match=words):
            ask()
    with pytest.raises(NotFoundError, match="is a folder"):
        bench.video(bench.settings.home)


def test_a_bench_without_series_says_what_to_do_next(bench: Bench) -> None:
    for said in (
        repr(bench.series()),
        bench.ingest(quiet=True).line(),
        bench.run("statistics", quiet=True).line(),
    ):
        assert "workbench index FOLDER" in said
    assert "workbench ingest --all" in bench.verify(quiet=True).line()
    assert "workbench index" not in repr(bench.series(modality="CT"))


def test_one_array_of_a_kind_is_counted_as_one(bench: Bench, tmp_path: Path) -> None:
    archive = samples.write_samples(tmp_path / "samples")
    bench.index(archive / "dose", archive / "parametric-map", archive / "ecg", archive / "ct", quiet=True)
    assert "1 volume · 1 dose · 1 parametric map · 2 waveforms" in bench.ingest(quiet=True).line()


def test_nothing_is_frozen_or_computed_of_a_series_that_is_elsewhere(bench: Bench, archive: Path) -> None:
    bench.index(archive, quiet=True)
    values = {"series_instance_uid": "1.2.3", "study_instance_uid": "1.2", "modality": "CT"}
    record_remotes(bench.catalog, "idc", [RemoteSeries(values, "idc", "s3://bucket/1", 50)])
    every = bench.series()
    words = rf"1 of {len(every)} series have no file here, 1\.2\.3 the first: .*s3://bucket/1; bench\.fetch"
    with pytest.raises(NotFoundError, match=words):
        bench.freeze("all", every)
    with pytest.raises(NotFoundError, match=words):
        bench.run("threshold", every, above=0, quiet=True)
    assert len(bench.cohorts) == 0
    ran = bench.run("threshold", above=0, quiet=True)  # of every series: those that are here
    assert {each.series_instance_uid for each in ran} == {
        each.series_instance_uid for each in every if not each.remote
    }


def test_a_series_from_elsewhere_is_shown_with_its_place_and_not_ingested(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:  # keys of other tests
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # where nobody listens
    values = {"series_instance_uid": "1.2.1", "study_instance_uid": "1.1", "modality": "CT"}
    record_remotes(bench.catalog, "idc", [RemoteSeries(values, "idc", "s3://bucket/1", 50)])
    found = bench.series(modality="CT")
    assert "elsewhere" in repr(found)
    assert "s3://bucket/1" in repr(found)
    report = bench.ingest(found, quiet=True)
    assert "not here but at s3://bucket/1; bench.fetch(series) gets them" in report.reasons()
    assert bench.ingest(quiet=True).reasons() == ""
    with pytest.raises(ConnectionError, match="s3://bucket/1"):  # it is fetched then
        bench.volume(found[0])


def test_an_index_of_the_idc_is_read_like_an_archive(bench: Bench, shared_data: Path, tmp_path: Path) -> None:
    whole = pq.read_table(shared_data / "catalog" / "idc_series_sample.parquet")
    pq.write_table(whole.slice(0, 30), tmp_path / "idc.parquet")
    assert "30 series" in bench.index(tmp_path / "idc.parquet", quiet=True).line()
    assert "30 unchanged" in bench.index(tmp_path / "idc.parquet", quiet=True).line()
    assert len(bench.series(where="source == 'idc'")) == 30


def test_a_part_of_the_index_of_the_idc_withdraws_nothing(
    bench: Bench, shared_data: Path, tmp_path: Path
) -> None:
    whole = pq.read_table(shared_data / "catalog" / "idc_series_sample.parquet")
    for name, rows in {"whole": 30, "part": 10}.items():
        pq.write_table(whole.slice(0, rows), tmp_path / f"{name}.parquet")
        told = bench.index(tmp_path / f"{name}.parquet", quiet=True)
        assert "withdrawn" not in told.line()
    assert bench.count() == 30
