"""Series that lie in archives: the same arrays, pictures and answers as from a folder."""

import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.store import S3Store

import workbench
from catalog.checks import Soundness
from pipelines import phantoms
from tests.conftest import S3Server
from workbench.session import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with workbench.open(tmp_path / "bench", threads=2) as opened:
        yield opened


def packed(folder: Path, target: Path) -> Path:
    """An archive of the kind of its name, of all files of a folder."""
    paths = sorted(each for each in folder.rglob("*") if each.is_file())
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in paths:
                archive.write(path, f"DICOM/{path.name}")
    else:
        with tarfile.open(target, "w:gz") as archive:
            for path in paths:
                archive.add(path, f"DICOM/{path.name}")
    return target


@pytest.mark.parametrize("name", ["disk.zip", "disk.tar.gz"])
@pytest.mark.parametrize("series", ["ct_head_tilt_ge_28", "mr_t1_sag_siemens_jpegll_96"])
def test_a_real_series_in_an_archive_gives_the_arrays_of_its_folder(
    bench: Bench, tmp_path: Path, shared_data: Path, name: str, series: str
) -> None:
    folder = shared_data / "volumes" / series / "dicom"
    archive = packed(folder, tmp_path / name)
    with workbench.open(tmp_path / "other", threads=2) as other:
        other.index(folder, quiet=True)
        of_folder = other.ingest(quiet=True)

    bench.index(archive, quiet=True)
    of_archive = bench.ingest(quiet=True)

    assert not of_archive.rejected
    assert [each.stored_digest for each in of_archive] == [each.stored_digest for each in of_folder]
    assert [each.source_digest for each in of_archive] == [each.source_digest for each in of_folder]
    verified = bench.verify(quiet=True)
    assert verified.frames > 0
    assert verified.mismatches == ()


def test_everything_that_reads_pixels_reads_them_from_an_archive(
    bench: Bench, tmp_path: Path, scheduler: str
) -> None:
    phantom = phantoms.write_series(tmp_path / "files", planes=8)
    archive = packed(tmp_path / "files", tmp_path / "disk.zip")
    shutil.rmtree(tmp_path / "files")
    bench.index(archive, quiet=True)

    sheet = bench.series().contact_sheet(quiet=True)
    assert "no picture" not in sheet._repr_html_()
    np.testing.assert_array_equal(bench.volume(phantom.series_instance_uid), phantom.modality_values)
    cohort = bench.freeze("all", bench.series())
    assert list(cohort.diff()) == []
    with workbench.open(tmp_path / "bench", scheduler=scheduler) as other:
        run = other.run("threshold", above=150, quiet=True)
    assert {each.kind for each in run.outputs if each.sop_instance_uid} == {"SEG", "SR"}
    for _ in range(2):
        report = bench.scrub(rate=1e9, quiet=True)
        assert [*report] == []
        assert (report.files, report.arrays) == (8, 1)

    status = archive.stat()
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    assert {each.state for each in cohort.diff()} == {"changed"}
    assert {each.state for each in bench.scrub(rate=1e9, quiet=True)} == {Soundness.CHANGED}
    archive.unlink()
    assert {each.state for each in cohort.diff()} == {"unreadable"}


def test_an_entry_whose_bytes_rot_is_found_and_never_opened(any_bench: Bench, tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "files", planes=4)
    archive = tmp_path / "disk.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((tmp_path / "files").iterdir()):
            file.write(path, path.name)
    any_bench.index(archive, quiet=True)
    status = archive.stat()
    content = bytearray(archive.read_bytes())
    content[content.index(b"0001.dcm") + 1900] ^= 1  # of the pixel data
    archive.write_bytes(content)
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns))

    report = any_bench.ingest(quiet=True)
    assert [(Path(each.path).name, each.path.startswith(f"{archive}!")) for each in report.rejected] == [
        ("0001.dcm", True)
    ]
    assert "its checksum is another" in report.rejected[0].reason

    (rot,) = any_bench.scrub(rate=1e9, quiet=True)
    assert (rot.state, Path(rot.path).name) == (Soundness.ROT, "0001.dcm")


def test_copies_are_named_by_digests_and_the_least_recently_used_go(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        phantoms.write_series(tmp_path / f"{seed}", planes=4, seed=seed)
        packed(tmp_path / f"{seed}", tmp_path / f"{seed}.zip")
    size = sum(each.stat().st_size for each in (tmp_path / "1").iterdir())
    with workbench.open(tmp_path / "bench", threads=2, fetched_gb=2.5 * size / 1e9) as bench:
        bench.index(*(tmp_path / f"{seed}.zip" for seed in (1, 2, 3)), quiet=True)
        first, second, third = bench.series()
        bench.ingest(quiet=True)
        for each in (first, second, first, third, third):
            bench.verify(each, quiet=True)
        folder = bench.settings.fetched_folder
        held = [each for each in folder.iterdir() if each.suffix == ".dcm"]
        assert all(len(each.stem) == 64 for each in held)
        assert len(held) == 10 or sum(each.stat().st_size for each in held) <= 2.5 * size
        before = {each.name: each.stat().st_mtime_ns for each in held}
        bench.verify(third, quiet=True)
        bench.verify(first, quiet=True)
        after = {each.name: each.stat().st_mtime_ns for each in folder.iterdir() if each.suffix == ".dcm"}
        assert sum(after.get(name) == time for name, time in before.items()) >= 8
    (tmp_path / "bench" / "fetched" / "half.dcm.partial").write_bytes(b"left by a crash")
    with workbench.open(tmp_path / "bench", threads=2, fetched_gb=0) as bench:
        bench.verify(first, quiet=True)
        assert len([each for each in folder.iterdir() if each.name != ".lock"]) == 4


def test_a_series_of_an_archive_that_is_ingested_is_not_fetched_again(bench: Bench, tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "files", planes=4)
    bench.index(packed(tmp_path / "files", tmp_path / "disk.zip"), quiet=True)
    written = bench.ingest(quiet=True)
    copies = list(bench.settings.fetched_folder.glob("*.dcm"))
    for each in copies:
        each.unlink()

    assert len(copies) == 4
    assert tuple(bench.ingest(quiet=True)) == tuple(written)
    assert not list(bench.settings.fetched_folder.glob("*.dcm"))


def test_a_bench_whose_archive_is_gone_says_so(bench: Bench, tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "files", planes=4)
    archive = packed(tmp_path / "files", tmp_path / "disk.zip")
    bench.index(archive, quiet=True)
    zipfile.ZipFile(archive, "w").close()

    report = bench.ingest(quiet=True)

    assert {each.reason for each in report.rejected} == {"is no longer in its archive"}


def test_a_series_known_from_a_bucket_is_fetched(
    bench: Bench, tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    phantom = phantoms.write_series(tmp_path / "files", planes=4)
    store = S3Store("bench", client_options={"allow_http": True})
    for path in phantom.paths:
        obstore.put(store, f"idc/series/{path.name}", path.read_bytes())
    index = {
        "SeriesInstanceUID": [phantom.series_instance_uid], "StudyInstanceUID": [phantom.study_instance_uid],
        "PatientID": ["PHANTOM"], "Modality": ["CT"], "instanceCount": [4],
        "series_aws_url": ["s3://bench/idc/series/*"],
    }  # fmt: skip
    pq.write_table(pa.table(index), tmp_path / "idc.parquet")
    assert bench.index(tmp_path / "idc.parquet", quiet=True).report.added == 1
    (found,) = bench.series(where="source = 'idc'")
    assert (found.remote, found.instances) == ("s3://bench/idc/series", 4)

    report = bench.fetch(phantom.series_instance_uid, quiet=True).report

    assert report.added == 4
    np.testing.assert_array_equal(bench.volume(phantom.series_instance_uid), phantom.modality_values)
    assert bench.verify(quiet=True).mismatches == ()
