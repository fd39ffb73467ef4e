"""A decoder of videos that crashes, loops, waits or grows is an error; the session and the video live on.

To be told what to do at a frame, the child finds a PyAV that runs a program when it converts that frame, and
is the real one otherwise.
"""

import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from distributed import Client

from catalog.errors import DecodeError
from pipelines.video import decoders as module
from pipelines.video.decoders import ALLOWANCE, DECODERS, Allowance
from pipelines.video.frame_index import FrameIndex, Place
from pipelines.video.opening import Video, open_video

ROOT = Path(__file__).resolve().parents[2]
ROWS, COLUMNS, FRAMES, GROUP = 48, 64, 60, 12
HOSTILE = 30
"""The frame at which the program runs."""

type Processes = Callable[[], set[int]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A video whose frames have the gray of four times their number."""
    return written(tmp_path / "video.mp4")


def written(path: Path, rows: int = ROWS, columns: int = COLUMNS) -> Path:
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "8"})
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        stream.codec_context.gop_size = GROUP
        for number in range(FRAMES):
            frame = np.full((rows, columns, 3), 4 * number, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    return path


def numbers_in(frames: np.ndarray) -> list[int]:
    return np.rint(frames.mean(axis=(1, 2, 3)) / 4).astype(int).tolist()


@pytest.fixture
def at_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let decoders that are started from now on run a program when they convert the frame."""

    def run(program: str) -> None:
        library = tmp_path / "library"
        (library / "marker").mkdir(parents=True)
        (library / "marker" / "__init__.py").touch()
        (library / "av.py").write_text(
            f"""
import importlib.util, os, signal, sys
folder = {str(Path(av.__file__).parent)!r}
spec = importlib.util.spec_from_file_location(
    "av", folder + "/__init__.py", submodule_search_locations=[folder])
av = sys.modules["av"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(av)
Reformatter = av.video.reformatter.VideoReformatter
class Hostile:
    def __init__(self):
        self._real = Reformatter()
    def reformat(self, frame, **options):
        if frame.pts == {HOSTILE}:
{textwrap.indent(program, "            ")}
        return self._real.reformat(frame, **options)
av.video.reformatter.VideoReformatter = Hostile
"""
        )
        monkeypatch.syspath_prepend(library)
        monkeypatch.setattr(module, "LIBRARIES", ("marker", *module.LIBRARIES))

    return run


NO_CPU = replace(ALLOWANCE, cpu_seconds=0, cpu_seconds_of_pixel=0)


@pytest.mark.parametrize(
    ("program", "allowance", "reason"),
    [
        ("import ctypes; ctypes.string_at(0)", ALLOWANCE, r"crashed \(SIGSEGV\)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", ALLOWANCE, r"crashed \(SIGKILL\)"),
        ("os._exit(3)", ALLOWANCE, r"crashed \(exit code 3\)"),
        ("while True: pass", NO_CPU, "more than 0 s of processor time"),
        ("signal.pause()", replace(ALLOWANCE, wall_seconds=2, wall_of_cpu=0), "did not answer within 2 s"),
        ("bytearray(300 << 20)", ALLOWANCE, "wants more than 256 MiB of memory"),
        ("raise ValueError('no')", ALLOWANCE, "cannot be decoded: valueerror"),
    ],
    ids=["segfault", "killed", "exits", "loops", "waits", "grows", "raises"],
)
def test_a_decoder_that_dies_or_overruns_is_an_error_and_the_video_can_be_read_on(
    path: Path,
    at_frame: Callable[[str], None],
    decoders: Processes,
    program: str,
    allowance: Allowance,
    reason: str,
) -> None:
    at_frame(program)
    before = decoders()
    found = Video.open(path, allowance)
    with pytest.raises(DecodeError, match=f"{path}: .*{reason}"):
        found.read(20, 40)
    assert numbers_in(found.read(20, HOSTILE)) == [*range(20, HOSTILE)]
    assert numbers_in(found.read(HOSTILE + 1, FRAMES)) == [*range(HOSTILE + 1, FRAMES)]
    assert len(decoders() - before) == 1
    assert numbers_in(open_video(path)[3:5].to_numpy()) == [3, 4]


@pytest.mark.parametrize("mebibytes", [4, 8, 12])
def test_what_ffmpeg_wants_beyond_the_limit_of_memory_is_an_error(tmp_path: Path, mebibytes: int) -> None:
    found = Video.open(written(tmp_path / "large.mp4", 1088, 1920))
    assert numbers_in(found.read(5, 7)) == [5, 6]
    small = Video(
        found.stream, found.index, replace(ALLOWANCE, memory_bytes=4 << 20, memory_bytes_of_pixel=0)
    )
    found.close()
    with pytest.raises(DecodeError, match="wants more than 4 MiB of memory"):
        small.read(5, 7)


def test_a_child_has_its_file_open_for_reading_and_nothing_of_its_parent(
    path: Path, at_frame: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "secret"
    monkeypatch.setenv("PACS_PASSWORD", "secret")
    at_frame(
        textwrap.dedent(
            """
            links = {each: os.readlink(f"/proc/self/fd/{each}") for each in map(str, range(64))
                     if os.path.exists(f"/proc/self/fd/{each}")}
            modes = [open(f"/proc/self/fdinfo/{each}").read().split()[3][-1] for each in links
                     if links[each] == PATH]
            names = sorted({os.path.basename(each).split(":")[0].split()[0] for each in links.values()})
            from catalog.errors import DecodeError
            raise DecodeError(f"{names} {set(modes)} {'PACS_PASSWORD' in os.environ}")
            """
        ).replace("PATH", repr(str(path)))
    )
    with path.open("rb"), seen.open("wb"), pytest.raises(DecodeError) as raised:
        Video.open(path).read(HOSTILE, HOSTILE + 1)
    assert str(raised.value).endswith("['memfd', 'null', 'pipe', 'video.mp4'] {'0'} False")


# --- no more of them than needed -------------------------------------------------------------------------


def test_no_process_is_left_when_a_video_is_closed_or_forgotten(path: Path, decoders: Processes) -> None:
    before = decoders()
    found = open_video(path)
    found[7].compute()
    assert len(decoders() - before) == 1
    found.close()
    assert decoders() <= before
    assert numbers_in(found[7:8].to_numpy()) == [7]
    assert len(decoders() - before) == 1
    del found
    gc.collect()
    assert decoders() <= before


def test_what_is_no_video_leaves_no_process(tmp_path: Path, decoders: Processes) -> None:
    before = decoders()
    (tmp_path / "text").write_text("no video")
    with pytest.raises(DecodeError):
        open_video(tmp_path / "text")
    assert decoders() <= before


def test_many_videos_share_few_decoders(tmp_path: Path, path: Path, decoders: Processes) -> None:
    paths = [tmp_path / f"{number}.mp4" for number in range(2 * DECODERS)]
    for each in paths:
        each.hardlink_to(path)
    found = [Video.open(each) for each in paths]
    with ThreadPoolExecutor(8) as executor:
        for start in (50, 10, 30):
            for frames in executor.map(lambda each, start=start: each.read(start, start + 3), found * 2):
                assert numbers_in(frames) == [start, start + 1, start + 2]
    assert len(decoders()) <= DECODERS


def test_a_decoder_that_was_killed_while_idle_is_replaced(path: Path, decoders: Processes) -> None:
    before = decoders()
    found = Video.open(path)
    (child,) = decoders() - before
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert numbers_in(found.read(40, 42)) == [40, 41]


# --- with the process that started it --------------------------------------------------------------------

START = """
import os, signal, sys
from pathlib import Path
from pipelines.video.opening import Video
found = Video.open(sys.argv[1])
print(*(task.read_text().strip() for task in Path("/proc/self/task").glob("*/children")), flush=True)
"""


def is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize(
    "end", ["", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)", "raise SystemExit(2)"]
)
def test_a_decoder_ends_with_its_parent_however_that_ends(path: Path, end: str) -> None:
    command = [sys.executable, "-c", START + end, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr == ""
    child, ended = int(done.stdout), threading.Event()
    for _ in range(200):  # it ends when it notices that its pipe is closed
        if is_gone(child):
            return
        ended.wait(0.05)
    pytest.fail("the decoder is still there")


def test_after_a_fork_both_processes_decode(path: Path) -> None:
    code = (
        START
        + """
if (child := os.fork()) == 0:
    print(found.read(20, 21).shape, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(found.read(21, 22).shape)
"""
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[1:] == [f"(1, {ROWS}, {COLUMNS}, 3)"] * 2


def test_workers_of_dask_decode_in_children_of_their_own(path: Path, scheduler: str) -> None:
    with Client(scheduler):  # type: ignore[no-untyped-call]
        assert numbers_in(open_video(path).data.compute()) == [*range(FRAMES)]


def test_a_video_that_was_pickled_keeps_what_it_may_take(path: Path) -> None:
    found = Video.open(path, NO_CPU)
    assert pickle.loads(pickle.dumps(found)).allowance == NO_CPU


# --- what goes between the processes ---------------------------------------------------------------------

INDEX = FrameIndex(
    "h264", 48, 64, np.arange(5), np.array([0, 3]), np.array([0, 3]), (Place(0, 0, None), Place(9, 2, 700)),
    np.arange(5) / 25, 25.0, "",
)  # fmt: skip


def test_an_index_goes_between_processes_unchanged() -> None:
    again = FrameIndex.of(INDEX.described(), INDEX.flat())
    assert len(INDEX.flat()) == FrameIndex.flat_size(INDEX.described())
    assert again.places == INDEX.places
    assert again.described() == INDEX.described()
    assert np.array_equal(again.flat(), INDEX.flat())


@pytest.mark.parametrize(
    "change",
    [{"frames": 4}, {"groups": 0}, {"rows": 1 << 30}, {"rows": -1}, {"codec": 3}, {"frames": 1 << 40},
     {"rate": "fast"}, {"has_times": None}],
)  # fmt: skip
def test_what_is_no_index_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="index"):
        FrameIndex.of(INDEX.described() | change, INDEX.flat())


def test_groups_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="not in order"):
        FrameIndex.of(INDEX.described(), replace(INDEX, firsts=np.array([0, 7])).flat())
