"""Videos: every frame carries its number as bars of black and white, which lossy coding leaves readable."""

import os
import pickle
import random
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import av
import numpy as np
import pytest
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset

from catalog.errors import CodecMissingError, DecodeError
from pipelines import phantoms
from pipelines.decoding.fragments import Reader
from pipelines.decoding.pixels import VIDEO_CODECS
from pipelines.video import opening as video
from pipelines.video.bitstream import Bitstream
from pipelines.video.decoders import DECODERS
from pipelines.video.opening import Video, open_video

ROWS, COLUMNS, BARS = 64, 96, 12
RATE = 25
QUIET = {"x265-params": "log-level=none"}

CONTAINERS = [
    ("mp4", "libx264"), ("mp4", "libx265"), ("mov", "mpeg2video"),
    ("mpegts", "libx264"), ("mpegts", "libx265"), ("mpegts", "mpeg2video"),
    ("vob", "mpeg2video"), ("mpeg2video", "mpeg2video"), ("h264", "libx264"), ("hevc", "libx265"),
]  # fmt: skip
"""FFmpeg's names of containers (the last three are none) and encoders; those of x265 have open groups."""


def numbered(number: int) -> np.ndarray[Any, Any]:
    """A frame with the bits of a number as bars of 8 columns."""
    bits = np.array([number >> bit & 1 for bit in range(BARS)], np.uint8) * 255
    return np.broadcast_to(bits.repeat(COLUMNS // BARS)[None, :, None], (ROWS, COLUMNS, 3)).copy()


def number_in(frame: np.ndarray[Any, Any]) -> int:
    bars = frame[8:-8].reshape(ROWS - 16, BARS, COLUMNS // BARS, 3)[:, :, 2:-2].mean(axis=(0, 2, 3))
    return sum(int(bar > 128) << bit for bit, bar in enumerate(bars))


def encoded(
    container: str, codec: str, *, frames: int = 100, group: int = 12, options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None, steps: Any = lambda number: number,
    pixels: str = "yuv420p", picture: Callable[[int], np.ndarray[Any, Any]] = numbered,
) -> bytes:  # fmt: skip
    with TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        with av.open(str(path), "w", format=container, options=muxing or {}) as output:
            stream = output.add_stream(codec, rate=RATE)
            stream.width, stream.height, stream.pix_fmt = COLUMNS, ROWS, pixels
            context = stream.codec_context
            context.gop_size, context.options = group, QUIET | (options or {})
            if codec == "mpeg2video":
                context.max_b_frames = 2
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
                frame.pts = steps(number)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        return path.read_bytes()


def plain(folder: Path, content: bytes) -> Path:
    path = folder / "video"
    path.write_bytes(content)
    return path


def dicom(
    folder: Path, content: bytes, transfer_syntax: str, *, fragment: int | None = None, **attributes: object
) -> Path:
    """A Video Endoscopic Image with the stream in one fragment or in fragments of so many bytes."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = uid.VideoEndoscopicImageStorage, "1.2.826.0.1.3680043.8.498.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.3.1", "1.2.3.2", "ES"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.NumberOfFrames = ROWS, COLUMNS, 3, 100
    ds.PhotometricInterpretation, ds.PlanarConfiguration, ds.PixelRepresentation = "YBR_PARTIAL_420", 0, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    size = fragment or len(content)
    parts = [b"", *(content[start : start + size] for start in range(0, len(content), size))]
    parts[-1] += bytes(sum(map(len, parts)) % 2)
    ds.PixelData = b"".join(b"\xfe\xff\x00\xe0" + len(part).to_bytes(4, "little") + part for part in parts)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    path = folder / "video.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


# --- random access ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_every_frame_is_found_in_any_order(tmp_path: Path, container: str, codec: str) -> None:
    opened = open_video(plain(tmp_path, encoded(container, codec)))
    assert opened.dims == ("time", "y", "x", "channel")
    assert (opened.shape, opened.dtype) == ((100, ROWS, COLUMNS, 3), np.uint8)
    assert "reason" not in opened.attrs
    assert np.allclose(opened.time, np.arange(100) / RATE)
    assert opened.time.attrs["units"] == "s"
    order = list(range(100))
    random.Random(0).shuffle(order)
    assert [number_in(opened[number].to_numpy()) for number in order] == order
    assert [number_in(frame) for frame in opened.to_numpy()] == list(range(100))


def test_times_are_those_of_the_stream_and_need_not_be_even(tmp_path: Path) -> None:
    content = encoded("mp4", "libx264", frames=30, steps=lambda number: number + 10 * (number >= 20))
    opened = open_video(plain(tmp_path, content))
    assert np.allclose(opened.time, [*np.arange(20) / RATE, *np.arange(30, 40) / RATE])
    assert opened.attrs["time_source"] == "presentation times of the stream"


def test_a_frame_is_decoded_from_the_key_frame_before_it_and_no_earlier(tmp_path: Path) -> None:
    content = bytearray(encoded("mp4", "libx264", frames=200))
    index = Video.open(plain(tmp_path, bytes(content))).index
    group = index.group(150)
    assert 138 < index.firsts[group] <= 150
    first, start = index.places[0].offset, index.places[group].offset
    assert first is not None
    assert start is not None
    content[first:start] = bytes(start - first)
    damaged = Video(Bitstream.of(plain(tmp_path, bytes(content))), index)
    assert number_in(damaged[150]) == 150
    with pytest.raises(DecodeError, match="is damaged or depends on one"):
        damaged.read(20, 21)


@pytest.mark.parametrize(
    "key",
    [
        5, -1, slice(3, 9), slice(None, None, 7), slice(20, 4, -3), [4, 2, 2, 30], np.array([9, 8]),
        (slice(2, 5), slice(0, 10), 3), (7, slice(None), slice(None, None, 2), 0), (slice(4, 4),),
    ],
)  # fmt: skip
def test_keys_mean_what_they_mean_for_an_array(tmp_path: Path, key: Any) -> None:
    found = Video.open(plain(tmp_path, encoded("mp4", "libx264", frames=40)))
    whole = found.read(0, 40)
    assert np.array_equal(found[key], whole[key])


def test_dask_threads_give_the_same_frames_with_few_decoders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoders: Callable[[], set[int]]
) -> None:
    monkeypatch.setattr(video, "CHUNK_BYTES", 5 * ROWS * COLUMNS * 3)  # smaller than a group of pictures
    path = plain(tmp_path, encoded("mp4", "libx264", frames=120))
    opened = open_video(path)
    assert sum(opened.chunks[0]) == 120
    assert max(opened.chunks[0]) <= 5
    alone = opened.data.compute(scheduler="synchronous")
    together = opened.data.compute(scheduler="threads", num_workers=12)
    assert np.array_equal(alone, together)
    assert [number_in(frame) for frame in together] == list(range(120))
    assert 1 <= len(decoders()) <= DECODERS


def test_chunks_are_whole_groups_of_pictures_where_they_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "CHUNK_BYTES", 30 * ROWS * COLUMNS * 3)
    path = plain(tmp_path, encoded("mpegts", "mpeg2video", frames=100))
    starts = np.cumsum((0, *open_video(path).chunks[0]))[:-1]
    assert set(starts) <= set(Video.open(path).index.firsts)
    assert len(starts) < 6


def test_a_video_goes_to_a_worker_without_its_decoders(tmp_path: Path) -> None:
    found = Video.open(plain(tmp_path, encoded("mp4", "libx264")))
    first = found.read(30, 32)
    sent = pickle.dumps(found)
    assert len(sent) < 20_000
    assert np.array_equal(pickle.loads(sent).read(30, 32), first)


def test_a_long_video_is_never_in_memory(tmp_path: Path) -> None:
    found = Video.open(plain(tmp_path, encoded("mp4", "libx264", frames=2000, group=50)))
    frame_bytes = ROWS * COLUMNS * 3
    tracemalloc.start()
    try:
        numbers = [number_in(frame) for start in range(0, 2000, 8) for frame in found.read(start, start + 8)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert numbers == list(range(2000))
    assert peak < 60 * frame_bytes


# --- in DICOM --------------------------------------------------------------------------------------------


def test_every_transfer_syntax_of_the_standard_is_known() -> None:
    assert {*uid.MPEGTransferSyntaxes} == {*VIDEO_CODECS}


@pytest.mark.parametrize(
    ("transfer_syntax", "container", "codec"),
    [
        (uid.MPEG2MPML, "vob", "mpeg2video"),
        (uid.MPEG2MPHL, "mpegts", "mpeg2video"),
        (uid.MPEG4HP41, "mp4", "libx264"),
        (uid.MPEG4HP422D, "mpegts", "libx264"),
        (uid.HEVCMP51, "mp4", "libx265"),
    ],
)
def test_a_video_in_dicom_has_the_frames_of_the_plain_one(
    tmp_path: Path, transfer_syntax: str, container: str, codec: str
) -> None:
    content = encoded(container, codec)
    opened = open_video(dicom(tmp_path, content, transfer_syntax))
    assert np.array_equal(opened, open_video(plain(tmp_path, content)))
    assert np.allclose(opened.time, np.arange(100) / RATE)
    assert opened.attrs["modality"] == "ES"
    assert opened.attrs["transfer_syntax_uid"] == transfer_syntax
    assert opened.attrs["series_instance_uid"] == "1.2.3.2"
    assert "reason" not in opened.attrs


def test_10_bits_become_8(tmp_path: Path) -> None:
    content = encoded("mp4", "libx265", frames=20, pixels="yuv420p10le")
    opened = open_video(dicom(tmp_path, content, uid.HEVCM10P51, NumberOfFrames=20))
    assert [number_in(frame) for frame in opened.to_numpy()] == list(range(20))
    assert opened.dtype == np.uint8
    assert int(opened.max()) > 240
    assert "reason" not in opened.attrs


@pytest.mark.parametrize("fragment", [1, 188, 1001, 4096])
def test_fragments_of_any_size_are_one_stream(tmp_path: Path, fragment: int) -> None:
    content = encoded("mp4", "libx264", frames=100)
    opened = open_video(dicom(tmp_path, content, uid.MPEG4HP41F, fragment=fragment))
    assert [number_in(opened[number].to_numpy()) for number in (99, 0, 50)] == [99, 0, 50]


def test_joined_fragments_read_like_a_file(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(10_000)
    stream = Bitstream.of(dicom(tmp_path, content, uid.MPEG4HP41F, fragment=333))
    with Reader(stream.open(), stream.fragments) as reader:
        assert reader.read() == content
        assert reader.seek(-5, os.SEEK_END) == 9_995
        assert reader.read(100) == content[-5:]
        assert reader.read(1) == b""
        for start in (0, 332, 333, 9_000):
            reader.seek(start)
            assert reader.read(700) == content[start : start + 700]
        reader.seek(50_000)
        assert reader.read(1) == b""


@pytest.mark.parametrize(
    ("attributes", "step_s", "source"),
    [
        ({"FrameTime": 20}, 0.02, "FrameTime (0018,1063)"),
        ({"CineRate": 10}, 0.1, "CineRate (0018,0040)"),
        ({}, 0.04, "frame rate of the stream"),
    ],
)
def test_a_stream_without_times_takes_those_of_the_header(
    tmp_path: Path, attributes: dict[str, object], step_s: float, source: str
) -> None:
    opened = open_video(dicom(tmp_path, encoded("mpeg2video", "mpeg2video"), uid.MPEG2MPML, **attributes))
    assert np.allclose(opened.time, np.arange(100) * step_s)
    assert opened.attrs["time_source"] == source


def test_what_contradicts_the_header_is_in_the_reason(tmp_path: Path) -> None:
    path = dicom(tmp_path, encoded("mp4", "libx264"), uid.HEVCMP51, NumberOfFrames=1, Rows=1080)
    assert open_video(path).attrs["reason"].split("; ") == [
        "the transfer syntax is for hevc, the stream is h264",
        "Number of Frames (0028,0008) promises 1, the stream has 100",
        f"the header says 1080 rows and {COLUMNS} columns, the stream {ROWS} and {COLUMNS}",
    ]


# --- colour ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_colours_are_converted_as_the_stream_is_tagged(tmp_path: Path, matrix: str) -> None:
    colours = np.array([[200, 40, 40], [40, 180, 60], [50, 60, 220], [128, 128, 128]], np.uint8)
    image = np.broadcast_to(colours.repeat(COLUMNS // 4, 0)[None], (ROWS, COLUMNS, 3)).copy()
    weights = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114)}[matrix]
    path = plain(tmp_path, tagged(image, matrix, weights))
    shown = open_video(path)[1].to_numpy()[ROWS // 2, COLUMNS // 8 :: COLUMNS // 4]
    assert np.abs(shown.astype(int) - colours).max() <= 4


def tagged(image: np.ndarray[Any, Any], matrix: str, weights: tuple[float, float]) -> bytes:
    """A video whose planes are made here, by the definition of its matrix (ITU-T H.273), limited range."""
    red, blue = weights
    rgb = image.astype(float) / 255
    luma = rgb @ [red, 1 - red - blue, blue]
    cb, cr = (rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)
    planes = [16 + 219 * luma, *(128 + 224 * each[::2, ::2] for each in (cb, cr))]
    flat = np.concatenate([np.rint(plane).astype(np.uint8).reshape(-1, COLUMNS) for plane in planes])
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = COLUMNS, ROWS, "yuv420p"
        stream.codec_context.options = {"crf": "1", "x264-params": f"colormatrix={matrix}"}
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(flat, format="yuv420p")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()


def colourful(number: int) -> np.ndarray[Any, Any]:
    """Red goes across, green down, blue with time."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    planes = x * 255 / COLUMNS, y * 255 / ROWS, np.full((ROWS, COLUMNS), number * 12)
    return np.stack(planes, axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("container", "codec", "pixels"),
    [
        ("mpegts", "mpeg2video", "yuv420p"), ("mpegts", "mpeg2video", "yuv422p"),
        ("mp4", "libx264", "yuv420p"), ("mp4", "libx264", "yuv422p"), ("mp4", "libx264", "yuv420p10le"),
        ("mp4", "libx265", "yuv420p"), ("mp4", "libx265", "yuv420p10le"),
    ],
)  # fmt: skip
def test_debians_ffmpeg_sees_the_same_frames(
    tmp_path: Path, missing: Callable[[str], NoReturn], container: str, codec: str, pixels: str
) -> None:
    if shutil.which("ffmpeg") is None:
        missing("ffmpeg decodes videos, too: install it (Debian: apt install ffmpeg)")
    path = plain(tmp_path, encoded(container, codec, frames=20, pixels=pixels, picture=colourful))
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    other = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.uint8)
    opened = open_video(path).to_numpy().astype(int)
    assert opened.std(axis=(0, 1, 2)).min() > 50
    assert np.abs(opened - other.reshape(opened.shape)).max() <= 4


# --- damage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "codec"), [("mpegts", "libx264"), ("vob", "mpeg2video"), ("h264", "libx264")]
)
def test_a_cut_stream_gives_the_frames_up_to_the_cut(tmp_path: Path, container: str, codec: str) -> None:
    content = encoded(container, codec)
    found = Video.open(plain(tmp_path, content[: len(content) * 2 // 3]))
    assert 30 < found.shape[0] < 90
    assert [number_in(found[number]) for number in range(found.shape[0] - 3)] == [*range(found.shape[0] - 3)]


def test_a_cut_mp4_whose_table_comes_first_says_why_it_ends(tmp_path: Path) -> None:
    content = encoded("mp4", "libx264", muxing={"movflags": "faststart"})
    opened = open_video(plain(tmp_path, content[: len(content) * 2 // 3]))
    assert 30 < len(opened) < 90
    assert opened.attrs["reason"].endswith("frames are left out: what they need is missing, cut or damaged")
    numbers = range(len(opened))
    assert [number_in(opened[number].to_numpy()) for number in numbers] == [*numbers]


def test_a_stream_that_begins_within_a_group_starts_at_its_first_key_frame(tmp_path: Path) -> None:
    content = encoded("mpegts", "mpeg2video")
    second = Video.open(plain(tmp_path, content)).index
    cut = content[: 188 * 3] + content[188 * 10 :]
    found = Video.open(plain(tmp_path, cut))
    first = int(second.firsts[1])
    assert [number_in(found[number]) for number in range(found.shape[0])] == [*range(first, 100)]
    assert "frames are left out: what they need is missing" in found.index.reason


def test_recordings_that_were_joined_keep_their_order(tmp_path: Path) -> None:
    content = encoded("mpegts", "mpeg2video", frames=40)
    found = Video.open(plain(tmp_path, content + content))
    numbers = [number_in(found[number]) for number in range(found.shape[0])]
    assert numbers == [*range(37), 39, *range(40)]  # whether the packet before the seam is whole nobody knows
    assert found.index.reason == "2 frames are left out: what they need is missing, cut or damaged"
    assert not found.index.has_times


def test_packets_that_lost_a_part_leave_out_their_frames_up_to_the_next_key_frame(tmp_path: Path) -> None:
    content = encoded("mpegts", "mpeg2video")
    index = Video.open(plain(tmp_path, content)).index
    start = index.places[3].offset
    assert start is not None
    hole = start + 188 * 12
    found = Video.open(plain(tmp_path, content[:hole] + content[hole + 188 * 2 :]))
    numbers = [number_in(found[number]) for number in range(found.shape[0])]
    assert numbers == sorted(numbers)
    assert {*range(int(index.firsts[3])), *range(int(index.firsts[4]), 100)} <= {*numbers}
    assert 80 < len(numbers) < 100
    assert np.allclose(found.index.times_s, np.array(numbers) / RATE)
    assert "frames are left out: what they need is missing, cut or damaged" in found.index.reason


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_stream_gives_right_frames_or_errors_in_words(
    tmp_path: Path, container: str, codec: str, seed: int
) -> None:
    content, chance = bytearray(encoded(container, codec, frames=60)), random.Random(seed)
    for _ in range(4):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    try:
        found = Video.open(plain(tmp_path, bytes(content)))
    except DecodeError:
        return
    outcomes = [outcome_of(found, number) for number in range(found.shape[0])]
    assert any(outcomes)


def outcome_of(found: Video, number: int) -> bool:
    try:
        return found.read(number, number + 1).shape == (1, ROWS, COLUMNS, 3)
    except DecodeError:
        return False


def test_damage_ends_with_its_group_of_pictures(tmp_path: Path) -> None:
    content = bytearray(encoded("mp4", "libx264"))
    index = Video.open(plain(tmp_path, bytes(content))).index
    start = index.places[2].offset
    assert start is not None
    content[start + 12 : start + 60] = b"\xff" * 48
    found = Video.open(plain(tmp_path, bytes(content)))
    first, after = int(index.firsts[2]), int(index.firsts[3])
    assert number_in(found[first - 1]) == first - 1
    with pytest.raises(DecodeError, match=f"frame {first + 2} of 100 is damaged"):
        found.read(first + 1, first + 2)
    assert number_in(found[after]) == after


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        random.Random(0).randbytes(50_000),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile other.mp4\n",
    ],
)
def test_what_is_no_video_is_refused_and_no_other_file_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.mp4").write_bytes(encoded("mp4", "libx264", frames=5))
    with pytest.raises(DecodeError, match=str(tmp_path)):
        open_video(plain(tmp_path, content))


def test_a_picture_or_a_sound_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"has no stream of MPEG-2, H\.264 or HEVC"):
        open_video(plain(tmp_path, encoded("mp4", "mjpeg", frames=3, options={"strict": "-1"})))


def test_dicom_without_a_video_is_refused_with_the_reason(tmp_path: Path) -> None:
    phantom = phantoms.write_series(tmp_path / "ct", planes=3)
    with pytest.raises(DecodeError, match="has transfer syntax Explicit VR Little Endian, which is none of"):
        open_video(phantom.paths[0])
    with pytest.raises(DecodeError, match="cannot be read: is a directory"):
        open_video(tmp_path)
    with pytest.raises(DecodeError, match="cannot be opened: no such file"):
        open_video(tmp_path / "absent")


def test_a_cut_dicom_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = dicom(tmp_path, encoded("mp4", "libx264"), uid.MPEG4HP41)
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(DecodeError, match="pixel data are cut: a fragment of"):
        open_video(path)


def test_a_dicom_video_without_a_byte_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="a video without a byte"):
        open_video(dicom(tmp_path, b"", uid.MPEG4HP41, fragment=1))


def test_a_file_that_changed_since_it_was_opened_is_refused(tmp_path: Path) -> None:
    path = plain(tmp_path, encoded("mp4", "libx264", frames=20))
    opened = open_video(path)
    path.write_bytes(encoded("mp4", "libx264", frames=30))
    with pytest.raises(DecodeError, match="changed since it was opened; open it again"):
        opened[3].compute()


def test_without_pyav_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plain(tmp_path, encoded("mp4", "libx264", frames=3))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(CodecMissingError, match=r"pip install 'imaging-workbench\[video\]'"):
        open_video(path)
