"""Decoders run in child processes, where a crash or a runaway of one ends a child and nothing else.

A child (`pipelines.cell`) is a bare Python with numpy: nothing of its parent's environment, no open files,
limits of memory and of processor time, and a time by which it has to answer. Frames go to it and come back
through memory that both share. Children are started when there is work for them, at most one for each core,
serve all threads of a process, and end with it.
"""

import atexit
import json
import math
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import BoundedSemaphore, Lock
from time import monotonic
from typing import Any

import numpy as np

from catalog.errors import CodecMissingError, DecodeError, words_of
from pipelines.codecs import Call, Limits
from pipelines.pixels import Stored

CALLS_AT_ONCE = 64
"""How many calls are made with one request, which fits into a pipe."""
ANSWER_LIMIT = 256 << 10
"""The longest answer that is read from a child."""
START_SECONDS = 60
"""How long a child may take to start on a busy machine, before its first call."""
KEPT_BYTES = 32 << 20
"""How much of the shared memory a child keeps from one request to the next."""
LIBRARIES = ("numpy", "imagecodecs")
"""What a child can import besides the standard library."""

_ALIGNMENT = 64
_NO_ANSWER = "the decoder gave no answer that can be understood"
_NUMBERS = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<f4", "<f8"})
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES),  # glibc: what one frame took serves the next
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
}


type Take = Callable[[int, Stored | DecodeError], None]
"""Given the number of a call and its array, which is another one's when it returns, or why there is none."""


class ChildLostError(DecodeError):
    """A child died or was ended for what it took; the text is the reason."""


class Jail:
    """Children to run decoders in; for all threads of a process."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._has_hooks = False
        self._empty()

    def _empty(self) -> None:
        self._lock, self._permits = Lock(), BoundedSemaphore(self._size)
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()

    def run(self, calls: Sequence[Call], limits: Limits, take: Take) -> None:
        """Make calls in one child, one after another, and give what came of each to `take`.

        A reason that is a `CodecMissingError` says that the library or the function is not installed, one
        that is a `ChildLostError` that the child died or exceeded a limit. Raises `DecodeError` where no
        child can be started.
        """
        for start in range(0, len(calls), CALLS_AT_ONCE):
            numbers = range(start, min(start + CALLS_AT_ONCE, len(calls)))
            try:
                self._run(calls, numbers, limits, take)
            except ChildLostError as error:
                if len(numbers) == 1:
                    take(start, error)
                    continue
                for number in numbers:  # it was the fault of one of them
                    try:
                        self._run(calls, (number,), limits, take)
                    except ChildLostError as fault:
                        take(number, fault)

    def _run(self, calls: Sequence[Call], numbers: Sequence[int], limits: Limits, take: Take) -> None:
        with self._child() as child:
            results = child.run([calls[number] for number in numbers], limits)
            for number, result in zip(numbers, results, strict=True):
                take(number, result)
            child.release()

    @contextmanager
    def _child(self) -> Iterator["_Child"]:
        with self._permits:
            child = self._taken()
            try:
                yield child
            except BaseException:
                child.end()
                with self._lock:
                    self._all.discard(child)
                raise
            with self._lock:
                self._idle.append(child)

    def _taken(self) -> "_Child":
        """The child that was used last, as it is warm, or a new one."""
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.is_alive():
                    return child
                child.end()  # killed while it had nothing to do
                self._all.discard(child)
        child = _Child()
        with self._lock:
            self._all.add(child)
            if not self._has_hooks:
                self._has_hooks = True
                atexit.register(self.close)
                os.register_at_fork(after_in_child=self._forget)
        return child

    def close(self) -> None:
        """End all children."""
        with self._lock:
            children, self._idle, self._all = self._all, [], set()
        for child in children:
            child.end()

    def _forget(self) -> None:
        """In a process that was forked off: the children are its parent's, it starts its own."""
        for child in self._all:
            child.forget()
        self._empty()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


JAIL = Jail(_cores())
"""That of this process; no child is started before the first call."""


# --- one child -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the shared memory a frame is and its array will be."""

    start: int
    at: int


class _Child:
    """One child process with the memory it shares."""

    def __init__(self) -> None:
        self._is_new = True
        self._memory: mmap.mmap | None = None
        self._shared = _shared_memory()
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("cell.py")),
                    str(self._shared), json.dumps(_folders()),
                ],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                pass_fds=(self._shared,), cwd="/", start_new_session=True,
                env=_ENVIRONMENT | {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            )  # fmt: skip
        except OSError as error:
            os.close(self._shared)
            raise DecodeError(f"no process to decode in can be started: {words_of(error)}") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def run(self, calls: Sequence[Call], limits: Limits) -> list[Stored | DecodeError]:
        """Make calls; arrays are those in the shared memory, until `release`; raises `ChildLostError`."""
        places, size = _places(calls)
        memory = self._with_room(size)
        for call, place in zip(calls, places, strict=True):
            memory[place.start : place.start + len(call.encoded)] = call.encoded
        request = {
            "size": len(memory),
            "memory_bytes": limits.memory_bytes,
            "cpu_seconds": limits.cpu_seconds * len(calls),
            "calls": [_wire(call, place) for call, place in zip(calls, places, strict=True)],
        }
        if self._is_new:
            self._line(START_SECONDS, limits)  # an empty one: it has started
            self._is_new = False
        try:
            os.write(self._requests.fileno(), json.dumps(request).encode() + b"\n")
        except OSError:
            raise ChildLostError(self._last_words(limits)) from None
        answers = self._answered(len(calls), limits)
        return [
            _result(answer, memory, call, place, limits)
            for answer, call, place in zip(answers, calls, places, strict=True)
        ]

    def release(self) -> None:
        """Give memory back that was needed for a large frame; what `run` gave must not be used any more."""
        if self._memory is not None and len(self._memory) > KEPT_BYTES and hasattr(mmap, "MADV_REMOVE"):
            self._memory.madvise(mmap.MADV_REMOVE)

    def _with_room(self, size: int) -> mmap.mmap:
        if self._memory is None or len(self._memory) < size:
            size = max(1 << 20, 1 << (size - 1).bit_length())
            try:
                os.ftruncate(self._shared, size)
                self._memory = mmap.mmap(self._shared, size)
            except OSError as error:
                raise DecodeError(f"no memory for a frame: {words_of(error)}") from None
        return self._memory

    def _answered(self, calls: int, limits: Limits) -> list[Any]:
        line = self._line(limits.wall_seconds * calls, limits)
        try:
            answers = json.loads(line)
        except (ValueError, RecursionError):
            answers = None
        if not isinstance(answers, list) or len(answers) != calls:
            raise ChildLostError(_NO_ANSWER)
        return answers

    def _line(self, seconds: float, limits: Limits) -> bytes:
        deadline = monotonic() + seconds
        line, waiting = b"", select.poll()
        waiting.register(self._answers, select.POLLIN)
        while not line.endswith(b"\n"):
            if not waiting.poll(max(deadline - monotonic(), 0) * 1000):
                raise ChildLostError(f"the decoder did not answer within {seconds:g} s")
            part = os.read(self._answers.fileno(), ANSWER_LIMIT)
            if not part:
                raise ChildLostError(self._last_words(limits))
            line += part
            if len(line) > ANSWER_LIMIT:
                raise ChildLostError(_NO_ANSWER)
        return line

    def _last_words(self, limits: Limits) -> str:
        """Why the child ended."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "the decoder closed its pipe"
        if code == -signal.SIGXCPU:
            return f"the decoder took more than {limits.cpu_seconds} s of processor time"
        return f"the decoder crashed ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self.forget()

    def forget(self) -> None:
        """Close what this process holds of the child."""
        self._process.returncode = self._process.returncode or 0  # nobody is to wait for it
        self._memory = None
        self._requests.close()
        self._answers.close()
        os.close(self._shared)


def _shared_memory() -> int:
    """An empty file without a name, in memory where the system can; a child cannot make it shorter."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    import fcntl

    descriptor = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return descriptor


def _folders() -> list[str]:
    """Where the libraries are."""
    found = [spec.submodule_search_locations for name in LIBRARIES if (spec := find_spec(name))]
    return list(dict.fromkeys(str(Path(each[0]).parent) for each in found if each))


def _places(calls: Sequence[Call]) -> tuple[list[_Place], int]:
    """Places of frames and arrays, and the size of the memory that holds them."""
    places, end = [], 0
    for call in calls:
        at = _aligned(end + len(call.encoded))
        places.append(_Place(end, at))
        end = _aligned(at + call.most_bytes)
    return places, max(end, _ALIGNMENT)


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def _wire(call: Call, place: _Place) -> dict[str, Any]:
    return {
        "function": call.function,
        "options": dict(call.options),
        "fills": call.fills,
        "most": call.most_bytes,
        "start": place.start,
        "length": len(call.encoded),
        "at": place.at,
    }


def _result(
    answer: Any, memory: mmap.mmap, call: Call, place: _Place, limits: Limits
) -> Stored | DecodeError:
    """The array of an answer, checked as input from outside is."""
    match answer:
        case {"missing": _}:
            library = call.function.partition(":")[0]
            return CodecMissingError(f"needs {library} with {call.function}: pip install --upgrade {library}")
        case {"memory": _}:
            return DecodeError(f"the decoder wants more than {limits.memory_bytes >> 20} MiB of memory")
        case {"error": str(reason)}:
            return DecodeError(reason)
        case {"shape": list(shape), "dtype": str(dtype)} if dtype in _NUMBERS:
            if len(shape) <= 4 and all(isinstance(each, int) and each >= 0 for each in shape):
                count = math.prod(shape)
                if count * np.dtype(dtype).itemsize <= call.most_bytes:
                    return np.frombuffer(memory, dtype, count, place.at).reshape(shape)
    return DecodeError("the decoder gave something else than a frame of numbers")
