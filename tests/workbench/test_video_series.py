"""A video among the series: left as it is, or stored as chunks; a plain file beside DICOM."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pydicom
import pytest
import xarray as xr
from pydicom import uid
from typer.testing import CliRunner

from catalog.errors import DecodeError, NotFoundError
from pipelines.samples import SAMPLES, VIDEO_FRAMES, VIDEO_RATE
from pipelines.video.opening import open_video
from workbench.cli import app
from workbench.session import Bench


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Endoscopy in H.264: a bright spot that goes once round."""
    folder = tmp_path / "archive"
    folder.mkdir()
    next(each for each in SAMPLES if each.name == "video").write(folder)
    (found,) = folder.iterdir()
    return found


@pytest.fixture
def series(bench: Bench, path: Path) -> str:
    bench.index(path, quiet=True)
    return str(pydicom.dcmread(path).SeriesInstanceUID)


def spot(frame: xr.DataArray) -> complex:
    """Where the brightest pixels are, from the middle of the picture; the imaginary axis goes down."""
    y, x = np.nonzero(frame.values.sum(axis=2) > 600)
    return complex(x.mean() - 80, y.mean() - 64)


def assert_goes_round(video: xr.DataArray) -> None:
    assert video.dims == ("time", "y", "x", "channel")
    assert np.allclose(video.time, np.arange(VIDEO_FRAMES) / VIDEO_RATE)
    for number in (60, 3, 30):
        expected = 40 * np.exp(2j * np.pi * number / VIDEO_FRAMES)
        assert abs(spot(video[number]) - expected) < 1.5


def test_a_video_is_left_as_it_is_and_opens_lazily(bench: Bench, series: str, path: Path) -> None:
    report = bench.ingest(series, quiet=True)
    assert report.rejected == ()
    assert [(each.kind, each.path) for each in report] == [("video", str(path))]
    assert "1 video left as it is" in report.line()
    assert "video left as it is (workbench ingest UID --video chunks stores its frames)" in report.reasons()
    written = [each for each in bench.settings.arrays_folder.rglob("*") if each.is_file()]
    assert sum(each.stat().st_size for each in written) < 4096
    video = bench.volume(series)
    assert video.chunks is not None
    assert_goes_round(video)
    verified = bench.verify(series, quiet=True)
    assert (verified.frames, verified.mismatches) == (VIDEO_FRAMES, ())


def test_asked_for_chunks_it_is_stored_frame_by_frame_and_stays_so(bench: Bench, series: str) -> None:
    left = bench.volume(series)
    (array,) = bench.ingest(series, video="chunks", quiet=True)
    assert array.kind == "video frames"
    assert array.shape == left.shape
    stored = bench.volume(series)
    assert_goes_round(stored)
    assert np.array_equal(stored, left)
    assert stored.attrs["codec"] == left.attrs["codec"] == "h264"
    assert list(bench.arrays(series)) == [array]
    verified = bench.verify(series, quiet=True)
    assert (verified.frames, verified.mismatches) == (VIDEO_FRAMES, ())
    files = {each: each.stat().st_mtime_ns for each in Path(array.path).rglob("*")}
    assert list(bench.ingest(series, video="chunks", quiet=True)) == [array]
    assert {each: each.stat().st_mtime_ns for each in Path(array.path).rglob("*")} == files
    assert [each.kind for each in bench.ingest(series, video="left", quiet=True)] == ["video"]


def test_its_bytes_are_not_read_again_while_the_file_is_the_same(
    bench: Bench, series: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = bench.ingest(series, quiet=True)
    monkeypatch.setattr("pipelines.video.opening.open_video", pytest.fail)
    assert list(bench.ingest(series, quiet=True)) == [first]


@pytest.mark.parametrize("video", ["left", "chunks"])
def test_a_flipped_byte_of_a_video_names_its_file(bench: Bench, series: str, path: Path, video: Any) -> None:
    bench.ingest(series, video=video, quiet=True)
    content = path.read_bytes()
    for position in np.random.default_rng(0).integers(200, len(content), 8).tolist():
        altered = bytearray(content)
        altered[position] ^= 4
        path.write_bytes(altered)
        (found,) = bench.verify(series, quiet=True).mismatches
        assert (found.path, found.what) == (str(path), "bytes differ from those that were ingested")
    path.unlink()
    (found,) = bench.verify(series, quiet=True).mismatches
    assert (found.path, found.what) == (str(path), "cannot be read: no such file or directory")


def test_a_flipped_byte_of_its_chunks_names_the_chunk(bench: Bench, series: str) -> None:
    (array,) = bench.ingest(series, video="chunks", quiet=True)
    chunk = sorted(each for each in Path(array.path, "values/c").rglob("*") if each.is_file())[-1]
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 4
    chunk.write_bytes(content)
    assert {each.path for each in bench.verify(series, quiet=True).mismatches} == {str(chunk)}


def test_a_damaged_video_is_a_value_with_its_reason(bench: Bench, path: Path) -> None:
    ds = pydicom.dcmread(path)
    ds.PixelData = pydicom.encaps.encapsulate([bytes(4000)], has_bot=False)
    ds.save_as(path)
    bench.index(path, quiet=True)
    (rejected,) = bench.ingest(quiet=True).rejected
    assert rejected.path == str(path)
    assert rejected.reason
    assert str(path) not in rejected.reason


@pytest.mark.parametrize("transfer_syntax", [uid.MPEG2MPML, uid.MPEG4HP41, uid.HEVCMP51])
def test_every_transfer_syntax_of_videos_is_taken_for_a_video(
    bench: Bench, path: Path, transfer_syntax: str
) -> None:
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    ds.save_as(path)
    bench.index(path, quiet=True)
    (array,) = bench.ingest(quiet=True)
    assert array.kind == "video"
    assert array.reason == (
        "" if transfer_syntax == uid.MPEG4HP41 else bench.volume(ds.SeriesInstanceUID).attrs["reason"]
    )


def test_a_plain_video_file_opens_without_being_indexed(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "surgery.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=VIDEO_RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            frame = np.full((48, 64, 3), number * 20, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    found = bench.video(path)
    assert found.sizes == {"time": 10, "y": 48, "x": 64, "channel": 3}
    assert float(found[7].mean()) == pytest.approx(140, abs=4)
    with pytest.raises(DecodeError, match="cannot be opened"):
        bench.video(tmp_path / "nothing.mp4")
    (rejected,) = bench.index(path, quiet=True).rejected
    assert rejected.reason.endswith("a video, which bench.video(path) opens where it lies")
    for read in (bench.ingest, bench.volume):
        with pytest.raises(NotFoundError, match=r"surgery\.mp4 is no series but a video, which bench\.video"):
            read(str(path))
    with pytest.raises(NotFoundError, match="is a path; `workbench index` it"):
        bench.ingest(str(tmp_path))


def test_without_pyav_the_sentence_names_the_extra(bench: Bench, series: str, path: Path) -> None:
    code = (
        "import sys, workbench\n"
        "sys.modules['av'] = None\n"
        f"bench = workbench.open({str(bench.settings.home)!r})\n"
        "from catalog.errors import WorkbenchError\n"
        f"for act in (lambda: bench.volume({series!r}), lambda: bench.video({str(path)!r})):\n"
        "    try:\n        act()\n"
        "    except WorkbenchError as error:\n        sys.stdout.write(str(error) + '\\n')\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    sentence = "videos need PyAV: pip install 'imaging-workbench[video]'"
    assert done.stdout.splitlines() == [f"series {series} has no array: {sentence}", sentence]


def test_the_commands_take_it_too(bench: Bench, series: str) -> None:
    def typed(*words: str) -> Any:
        home = str(bench.settings.home)
        done = CliRunner().invoke(app, [*words, "--json", "--home", home])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    assert [each["modality"] for each in typed("series", "Modality=ES")] == ["ES"]
    for words, kind in (((), "video"), (("--video", "chunks"), "video frames"), ((), "video frames")):
        ingested = typed("ingest", series, *words)
        assert [each["kind"] for each in ingested["arrays"]] == [kind]
        assert ingested["rejected"] == []
        assert typed("verify", series) == {"frames": VIDEO_FRAMES, "mismatches": []}


def test_xarray_opens_it_by_the_uid_of_its_series(bench: Bench, series: str) -> None:
    bench.ingest(series, quiet=True)
    ds = xr.open_dataset(series, engine="workbench", home=bench.settings.home)
    assert_goes_round(ds["video"])


def test_a_part_that_is_not_there_is_named(bench: Bench, series: str) -> None:
    with pytest.raises(NotFoundError, match="is one array, there is no part 3 of it"):
        bench.volume(series, 3)


def test_the_frames_of_the_bench_are_those_of_the_file(bench: Bench, series: str, path: Path) -> None:
    assert np.array_equal(bench.volume(series)[::20], open_video(path)[::20])
