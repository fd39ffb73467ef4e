"""A decoder that crashes, loops, waits or grows is an error of its frame; session and next frame live on.

What the child runs here is the frame itself: `builtins:exec` is a codec whose frames are programs.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from distributed import Client

from catalog.errors import CodecMissingError, DecodeError
from pipelines.decoding.codecs import Call, Limits
from pipelines.decoding.jail import Jail

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(memory_bytes=200 << 20, cpu_seconds=20, wall_seconds=60)
FRAME = Call("numpy:frombuffer", b"a frame", {"dtype": "u1"}, 100)


def program(text: str) -> Call:
    return Call("builtins:exec", text.encode(), {}, 100)


def results_of(jail: Jail, *calls: Call, limits: Limits = LIMITS) -> list[Any]:
    """What came of each call: bytes of its array, or the error."""
    results: dict[int, Any] = {}

    def take(number: int, result: Any) -> None:
        results[number] = result if isinstance(result, DecodeError) else result.tobytes()

    jail.run(calls, limits, take)
    return [results[number] for number in range(len(calls))]


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    opened = Jail(2)
    yield opened
    opened.close()


SEGFAULT = "import ctypes; ctypes.string_at(0)"
DESCRIPTORS = """
import os
links = {}
for each in range(64):
    if os.path.exists(f"/proc/self/fd/{each}"):
        links[each] = os.readlink(f"/proc/self/fd/{each}").split(":")[0]
        if links[each] == "pipe":
            ANSWERS = each
        elif links[each] != "/dev/null":
            MEMORY = each
"""
"""What a child has open; of its two pipes the later one is for answers."""


@pytest.mark.parametrize(
    ("text", "limits", "reason"),
    [
        (SEGFAULT, LIMITS, r"crashed \(SIGSEGV\)"),
        ("import os; os.kill(os.getpid(), 9)", LIMITS, r"crashed \(SIGKILL\)"),
        ("import os; os._exit(3)", LIMITS, r"crashed \(exit code 3\)"),
        ("while True: pass", Limits(200 << 20, 1, 60), "more than 1 s of processor time"),
        ("import signal; signal.pause()", Limits(200 << 20, 20, 0.5), r"did not answer within 0\.5 s"),
        ("while True: os.write(ANSWERS, bytes(4096))", LIMITS, "can be understood"),
        ("os.write(ANSWERS, b'nonsense' + bytes([10]))", LIMITS, "can be understood"),
        ("os.write(ANSWERS, b'[[' * 50_000 + bytes([10]))", LIMITS, "can be understood"),
        ("os.ftruncate(MEMORY, 0)", LIMITS, "Operation not permitted"),
    ],
    ids=[
        "segfault",
        "killed",
        "exits",
        "loops",
        "waits",
        "endless answer",
        "no JSON",
        "deep JSON",
        "shortens",
    ],
)
def test_a_child_that_dies_or_overruns_is_the_error_of_its_frame_alone(
    jail: Jail, text: str, limits: Limits, reason: str
) -> None:
    assert results_of(jail, FRAME) == [b"a frame"]  # warm, so that the time is that of the frame
    (error,) = results_of(jail, program(DESCRIPTORS + text), limits=limits)
    with pytest.raises(DecodeError, match=reason):
        raise error
    assert results_of(jail, FRAME) == [b"a frame"]


def test_of_frames_that_go_together_only_the_one_that_crashes_is_lost(jail: Jail) -> None:
    first, crash, last = results_of(jail, FRAME, program(SEGFAULT), FRAME)
    assert (first, last) == (b"a frame", b"a frame")
    assert "SIGSEGV" in str(crash)


def test_a_frame_is_refused_the_memory_it_has_no_claim_to(jail: Jail) -> None:
    (error,) = results_of(jail, program("bytearray(300 << 20)"))
    if sys.platform == "linux":
        assert "wants more than 200 MiB of memory" in str(error)
    assert results_of(jail, program("bytearray(100 << 20)"), FRAME)[1] == b"a frame"


def test_a_child_knows_nothing_of_its_parent(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_PASSWORD", "secret")
    descriptor = os.open(ROOT / "README.md", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    fresh = Jail(1)
    try:
        environment, files, place = results_of(
            fresh,
            program("raise ValueError(sorted(os.environ))"),
            program(DESCRIPTORS + "raise ValueError(sorted(set(links.values())))"),
            program("raise ValueError([os.getcwd(), os.getsid(0) == os.getpid()])"),
        )
    finally:
        fresh.close()
        os.close(descriptor)
    assert "OMP_NUM_THREADS" in str(environment)
    assert "PASSWORD" not in str(environment)
    assert str(files) == "['/dev/null', '/memfd', 'pipe']"
    assert str(place) == "['/', True]"


def test_a_child_writes_no_file(jail: Jail, tmp_path: Path) -> None:
    target = tmp_path / "file"
    (error,) = results_of(jail, program(f"with open({str(target)!r}, 'w') as file:\n    file.write('text')"))
    assert "File too large" in str(error)
    assert target.read_text() == ""


@pytest.mark.parametrize(
    "function", ["imagecodecs:nothing_decode", "imagecodecs:jpegxs_decode", "nobody:decode"]
)
def test_a_missing_codec_is_named_with_the_package(jail: Jail, function: str) -> None:
    (error,) = results_of(jail, Call(function, b"", {}, 100))
    assert isinstance(error, CodecMissingError)
    assert f"pip install --upgrade {function.partition(':')[0]}" in str(error)


def test_an_array_larger_than_the_frame_or_not_of_numbers_is_an_error(jail: Jail) -> None:
    larger = Call("numpy:frombuffer", bytes(101), {"dtype": "u1"}, 100)
    text = Call("numpy:frombuffer", b"abcd", {"dtype": "S2"}, 100)
    assert all(isinstance(each, DecodeError) for each in results_of(jail, larger, text))


def test_many_frames_of_many_threads_come_back_to_who_sent_them(jail: Jail) -> None:
    def decoded(number: int) -> bool:
        calls = [
            Call("numpy:frombuffer", bytes([number, each]) * 2000, {"dtype": "u1"}, 4000)
            for each in range(130)
        ]
        return results_of(jail, *calls) == [call.encoded for call in calls]

    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(decoded, range(40)))


def test_a_large_frame_leaves_no_memory_behind() -> None:
    alone = Jail(1)
    resident = program("raise ValueError(int(open('/proc/self/statm').read().split()[1]) * 4096)")
    try:
        (before,) = results_of(alone, resident)
        size = 100 << 20
        (large,) = results_of(alone, Call("numpy:frombuffer", bytes(size), {"dtype": "u1"}, size))
        (after,) = results_of(alone, resident)
    finally:
        alone.close()
    assert large == bytes(size)
    assert int(str(after)) < int(str(before)) + (40 << 20)


# --- with the process that started it --------------------------------------------------------------------

START = """
import os, signal, sys
from pipelines.decoding.codecs import Call, Limits
from pipelines.decoding.jail import JAIL
limits = Limits(200 << 20, 20, 60)
def take(number, result):
    print(result, flush=True)
JAIL.run([Call("builtins:exec", b"import os; raise ValueError(os.getpid())", {}, 100)], limits, take)
"""


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"


@pytest.mark.parametrize(
    "end", ["", "os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)", "raise SystemExit(2)"]
)
def test_a_child_ends_with_its_parent_however_that_ends(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + end], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stderr == ""
    child = int(done.stdout)
    ended = threading.Event()
    for _ in range(200):  # it ends when it notices that its pipe is closed
        if is_gone(child):
            return
        ended.wait(0.05)
    pytest.fail("the child is still there")


def test_after_a_fork_both_processes_decode() -> None:
    code = (
        START
        + """
if (child := os.fork()) == 0:
    JAIL.run([Call("numpy:frombuffer", b"ab", {"dtype": "u1"}, 100)], limits, take)
    os._exit(0)
os.waitpid(child, 0)
JAIL.run([Call("numpy:frombuffer", b"cd", {"dtype": "u1"}, 100)], limits, take)
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[1:] == ["[97 98]", "[ 99 100]"]


def test_an_interrupted_wait_leaves_a_jail_that_decodes() -> None:
    code = (
        START
        + """
import threading
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    JAIL.run([Call("builtins:exec", b"import signal; signal.pause()", {}, 100)], limits, take)
except KeyboardInterrupt:
    JAIL.run([Call("numpy:frombuffer", b"ab", {"dtype": "u1"}, 100)], limits, take)
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[1:] == ["[97 98]"]


def test_workers_of_dask_decode_in_children_of_their_own(scheduler: str) -> None:
    def decoded(encoded: bytes) -> Any:
        from pipelines.decoding import jail

        found: list[Any] = []
        call = Call("imagecodecs:jpegls_decode", encoded, {}, 4096)
        jail.JAIL.run([call], LIMITS, lambda _, result: found.append(np.array(result)))
        return found[0]

    image = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    with Client(scheduler) as client:  # type: ignore[no-untyped-call]
        future = client.submit(decoded, bytes(imagecodecs.jpegls_encode(image)))  # type: ignore[no-untyped-call]
        assert np.array_equal(future.result(), image)  # type: ignore[no-untyped-call]
