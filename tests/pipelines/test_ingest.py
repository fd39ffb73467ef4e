"""Series into Zarr: twice is once, a bad file is a value, memory is bounded, readers see old or new."""

import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import zarr
from pydicom import uid

from catalog.identifiers import folder_name
from pipelines import ingest, phantoms
from pipelines.volumes import open_array, stored_values


def tree(folder: Path) -> dict[str, int]:
    """Every file below a folder with the time it was written."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize(
    "transfer_syntax",
    [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.JPEG2000Lossless, uid.JPEGLSLossless],
)
def test_a_series_becomes_a_volume_whatever_its_transfer_syntax(
    indexed: Any, tmp_path: Path, transfer_syntax: str
) -> None:
    phantom = phantoms.write_series(tmp_path / "a", transfer_syntax=transfer_syntax, planes=40)
    (series,) = indexed(tmp_path / "a")
    record = series.array
    assert (record.kind, record.dims, record.shape) == ("volume", ("z", "y", "x"), (40, 32, 24))
    assert (record.label, record.reason, record.sources) == ("", "", 40)
    np.testing.assert_allclose(record.affine_lps, phantom.affine_lps)
    assert np.array_equal(stored_values(record), phantom.stored)
    is_native = uid.UID(transfer_syntax).is_encapsulated is False
    assert (record.source_digest == record.stored_digest) == is_native


def test_the_same_input_again_is_returned_as_it_is(indexed: Any, ct: phantoms.Phantom) -> None:
    (series,) = indexed(ct.paths[0].parent)
    first = series.ingest()
    before = tree(series.arrays_folder)
    shuffled = replace(series, instances=series.instances[::-1])
    assert shuffled.ingest() == first
    assert tree(series.arrays_folder) == before


def test_a_changed_header_makes_a_new_group_and_leaves_the_old_one_to_its_readers(
    indexed: Any, ct: phantoms.Phantom
) -> None:
    (series,) = indexed(ct.paths[0].parent)
    old = series.array
    ds = pydicom.dcmread(ct.paths[0])
    ds.RescaleIntercept = -1000
    ds.save_as(ct.paths[0])
    (series,) = indexed(ct.paths[0].parent)
    new = series.array
    assert new.path != old.path
    assert np.array_equal(open_array(old), ct.modality_values)
    assert np.array_equal(open_array(new)[0], ct.modality_values[0] + 24)


@pytest.mark.parametrize("damage", ["shard is gone", "shard is cut", "metadata are cut", "values are bare"])
def test_a_damaged_group_is_written_anew(indexed: Any, ct: phantoms.Phantom, damage: str) -> None:
    (series,) = indexed(ct.paths[0].parent)
    record = series.array
    group = Path(record.path)
    shard = group / "values/c/0/0/0"
    match damage:
        case "shard is gone":
            shard.unlink()
        case "shard is cut":
            shard.write_bytes(shard.read_bytes()[:-1])
        case "metadata are cut":
            (group / "zarr.json").write_text("{")
        case _:
            (group / "values/zarr.json").unlink()
    assert series.array == record
    assert np.array_equal(open_array(record), ct.modality_values)
    assert [path.name for path in group.parent.iterdir() if path.is_dir()] == [group.name]


def test_what_an_interrupted_run_left_is_removed_by_the_next(indexed: Any, ct: phantoms.Phantom) -> None:
    (series,) = indexed(ct.paths[0].parent)
    leftover = series.arrays_folder / folder_name(ct.series_instance_uid) / ".partial-0-0123" / "values"
    leftover.mkdir(parents=True)
    (leftover / "zarr.json").write_text("{}")
    record = series.array
    names = {path.name for path in Path(record.path).parent.iterdir()}
    assert names == {".lock", Path(record.path).name}


def test_a_run_that_is_killed_leaves_no_group_that_can_be_mistaken_for_a_whole_one(
    indexed: Any, tmp_path: Path
) -> None:
    phantoms.write_series(tmp_path / "a", planes=70, rows=64, columns=64)
    (series,) = indexed(tmp_path / "a")
    code = """
        import os, pickle, signal, sys
        from pathlib import Path
        from pipelines.store import arrays
        from pipelines import ingest
        series, instances, folder = pickle.load(sys.stdin.buffer)
        def die(done, total):
            if done:
                os.kill(os.getpid(), signal.SIGKILL)
        ingest.ingest_series(series, instances, folder, threads=1, progress=die)
    """
    given = pickle.dumps((series.series, series.instances, series.arrays_folder))
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], input=given, check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = series.arrays_folder / folder_name(series.series.series_instance_uid)
    assert [path.name[:9] for path in folder.iterdir() if path.is_dir()] == [".partial-"]
    assert series.ingest().arrays[0].kind == "volume"
    assert [path.name[:2] for path in folder.iterdir() if path.is_dir()] == ["0-"]


def test_two_runs_of_one_series_wait_for_each_other(indexed: Any, tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "a", planes=70)
    (series,) = indexed(tmp_path / "a")
    results: list[ingest.Ingested] = []
    runs = [threading.Thread(target=lambda: results.append(series.ingest())) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(results) == 3
    assert results[0] == results[1] == results[2]


def test_progress_counts_every_frame_of_the_series(indexed: Any, tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "a", planes=40)
    (series,) = indexed(tmp_path / "a")
    for _ in range(2):
        steps: list[tuple[int, int | None]] = []
        ingest.ingest_series(
            series.series,
            series.instances,
            series.arrays_folder,
            progress=lambda done, total, steps=steps: steps.append((done, total)),
        )
        assert steps == sorted(steps)
        assert steps[-1] == (40, 40)


# --- bad files are values --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut", "changed", "gone"])
def test_one_bad_file_is_rejected_by_name_and_the_rest_is_no_longer_called_regular(
    indexed: Any, ct: phantoms.Phantom, fault: str
) -> None:
    (series,) = indexed(ct.paths[0].parent)
    path = ct.paths[3]
    content = bytearray(path.read_bytes())
    if fault == "gone":
        path.unlink()
    elif fault == "cut":
        path.write_bytes(content[:-100])
    else:
        content[200] ^= 1
        path.write_bytes(content)
    result = series.ingest()
    (rejected,) = result.rejected
    assert rejected.path == str(path)
    assert rejected.sop_instance_uid == ct.sop_instance_uids[3]
    assert {"gone": "no such file"}.get(fault, fault) in rejected.reason
    (stack,) = result.arrays
    assert (stack.kind, stack.shape[0]) == ("stack", 7)
    assert stack.reason == "slice distance varies from 2.50 to 5.00 mm"
    assert np.array_equal(stored_values(stack), np.delete(ct.stored, 3, axis=0))


def test_a_bad_file_at_the_end_leaves_a_shorter_volume(indexed: Any, ct: phantoms.Phantom) -> None:
    (series,) = indexed(ct.paths[0].parent)
    ct.paths[-1].write_bytes(b"")
    result = series.ingest()
    assert [(record.kind, record.shape[0]) for record in result.arrays] == [("volume", 7)]
    assert len(result.rejected) == 1


def test_a_series_without_images_has_no_arrays_and_says_why(indexed: Any, shared_data: Path) -> None:
    (series,) = indexed(shared_data / "objects" / "pdf")
    result = series.ingest()
    assert result.arrays == ()
    (rejected,) = result.rejected
    assert rejected.reason.startswith("a document is no array; write its Encapsulated Document (0042,0011)")


def test_everything_broken_goes_through_without_an_exception(indexed: Any, shared_data: Path) -> None:
    for series in indexed(shared_data / "broken"):
        result = series.ingest()
        in_arrays = sum(record.sources for record in result.arrays)
        assert in_arrays + len(result.rejected) == len(series.instances)
        assert all(each.reason and each.path for each in result.rejected)
        assert all(
            record.kind == "stack" for record in result.arrays if "series_" in series.instances[0].path
        )


def test_arrays_of_zeros_and_of_one_pixel_are_written_and_read_back(indexed: Any, tmp_path: Path) -> None:
    zeros = phantoms.write_series(tmp_path / "a", stored=np.zeros((40, 1, 1), np.uint16))
    (series,) = indexed(tmp_path / "a")
    assert np.array_equal(open_array(series.array), zeros.modality_values)


def test_a_disk_that_gives_other_bytes_back_is_noticed_before_anything_is_published(
    indexed: Any, ct: phantoms.Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    (series,) = indexed(ct.paths[0].parent)
    read = zarr.Array.get_basic_selection

    def read_otherwise(values: Any, key: Any, *, out: Any) -> None:
        read(values, key, out=out)
        out.as_numpy_array()[0, 0, 0] ^= 1

    monkeypatch.setattr(zarr.Array, "get_basic_selection", read_otherwise)
    with pytest.raises(OSError, match="reads back otherwise"):
        series.ingest()
    folder = series.arrays_folder / folder_name(ct.series_instance_uid)
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.parametrize("transfer_syntax", [uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless])
def test_frames_that_are_promised_and_not_there_take_no_memory(
    indexed: Any, tmp_path: Path, transfer_syntax: str
) -> None:
    phantom = phantoms.write_series(tmp_path / "a", planes=1, transfer_syntax=transfer_syntax)
    header = pydicom.dcmread(phantom.paths[0])
    header.NumberOfFrames = 1_000_000
    header.save_as(phantom.paths[0])
    (series,) = indexed(tmp_path / "a")
    tracemalloc.start()
    ingested = series.ingest()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ingested.arrays == ()
    assert "1000000 frames" in ingested.rejected[0].reason
    assert peak < 20_000_000


def test_a_disk_that_takes_no_more_ends_the_ingest_in_words(indexed: Any, tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "a", planes=4, rows=256, columns=256)
    (series,) = indexed(tmp_path / "a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"(?i)file too large"):
            series.ingest()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(series.arrays_folder.rglob(".partial-*"))
    assert series.array.kind == "volume"


def test_zarr_is_left_configured_as_it_was(indexed: Any, ct: phantoms.Phantom) -> None:
    before = zarr.config.get("codec_pipeline.path")
    (series,) = indexed(ct.paths[0].parent)
    open_array(series.array).compute()
    assert zarr.config.get("codec_pipeline.path") == before


@pytest.mark.slow
def test_two_gigabytes_are_ingested_within_one(indexed: Any, tmp_path: Path) -> None:
    phantom = phantoms.write_series(tmp_path / "seed", planes=3, rows=1024, columns=1024)
    ds = pydicom.dcmread(phantom.paths[0])
    ds.NumberOfFrames = frames = 1024
    ds.PixelData = b""
    ds["PixelData"].VR = "OW"
    path = tmp_path / "large" / "large.dcm"
    path.parent.mkdir()
    ds.save_as(path, enforce_file_format=True)
    header = path.read_bytes()
    size = frames * 1024 * 1024 * 2
    with path.open("wb") as file:  # a sparse file: 2 GiB of zeros, with one frame of values in the middle
        file.write(header[:-4] + (size).to_bytes(4, "little"))
        file.seek(len(header) + size // 2)
        file.write(phantom.stored[1].tobytes())
        file.truncate(len(header) + size)
    (series,) = indexed(path)
    code = """
        import pickle, sys
        from pathlib import Path
        from pipelines.ingest import ingest_series
        result = ingest_series(*pickle.load(sys.stdin.buffer), threads=2)
        assert result.arrays[0].shape == (1024, 1024, 1024), result.rejected
        # not ru_maxrss, which also counts what the process was forked from
        (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
        print(peak.split()[1])
    """
    given = pickle.dumps((series.series, series.instances, series.arrays_folder))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=given,
        capture_output=True,
        check=True,
        env=os.environ,
    )
    assert int(done.stdout) < 1_000_000  # KiB
