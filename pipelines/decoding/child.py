"""A child process with limits of memory and time, in which native code meets the bytes of files.

Its program is `pipelines.decoding.cell`: a bare Python with nothing of its parent's environment and no open
files but those it is given. It answers one request after another, each a line of JSON, and shares a
memory with its parent for what is large. Children are borrowed from a bounded number of them for all
threads of a process, and end with it.
"""

import atexit
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import BoundedSemaphore, Lock
from time import monotonic
from typing import Any, Protocol

from catalog.errors import DecodeError, words_of
from pipelines.decoding.codecs import Limits

ANSWER_LIMIT = 256 << 10
"""The longest answer that is read from a child."""
START_SECONDS = 60
"""How long a child may take to start on a busy machine, before its first request."""
KEPT_BYTES = 32 << 20
"""How much of the shared memory a child keeps from one request to the next."""

_NO_ANSWER = "the decoder gave no answer that can be understood"
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES),  # glibc: what one frame took serves the next
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
}


class ChildLostError(DecodeError):
    """A child died or was ended for what it took; the text is the reason."""


# --- one child -------------------------------------------------------------------------------------------


class Child:
    """One child process with the memory it shares."""

    def __init__(
        self, libraries: Sequence[str], answerer: Sequence[str] = (), descriptors: Sequence[int] = ()
    ) -> None:
        """Start a process.

        Parameters
        ----------
        libraries
            What it can import besides the standard library.
        answerer
            What answers its requests, `module:name`, and the arguments to make it with; without, calls of
            libraries are made.
        descriptors
            Open files that it is given.
        """
        self._is_new, self._is_forgotten = True, False
        self._memory: mmap.mmap | None = None
        self._shared = _shared_memory()
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("cell.py")),
                    str(self._shared), json.dumps(_folders(libraries)), *answerer,
                ],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                pass_fds=(self._shared, *descriptors), cwd="/", start_new_session=True,
                env=_ENVIRONMENT | {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            )  # fmt: skip
        except OSError as error:
            os.close(self._shared)
            raise DecodeError(f"no process to decode in can be started: {words_of(error)}") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    @property
    def process_id(self) -> int:
        """Number of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def room(self, size: int) -> mmap.mmap:
        """Return the shared memory, of that size or larger; raises `DecodeError` where there is none."""
        if self._memory is None or len(self._memory) < size:
            size = max(1 << 20, 1 << (size - 1).bit_length())
            try:
                os.ftruncate(self._shared, size)
                self._memory = mmap.mmap(self._shared, size)
            except OSError as error:
                raise DecodeError(f"no memory for a frame: {words_of(error)}") from None
        return self._memory

    def ask(self, request: dict[str, Any], limits: Limits, times: int = 1) -> Any:
        """Return the answer to a request, which may take so many times what the limits say.

        Raises
        ------
        ChildLostError
            If the child died, took longer, or answers no JSON; it has to be ended.
        """
        size = len(self.room(1))
        limited = {"memory_bytes": limits.memory_bytes, "cpu_seconds": limits.cpu_seconds * times}
        if self._is_new:
            self._line(START_SECONDS, limits)  # an empty one: it has started
            self._is_new = False
        try:
            os.write(self._requests.fileno(), json.dumps({"size": size} | limited | request).encode() + b"\n")
        except OSError:
            raise ChildLostError(self._last_words(limits)) from None
        line = self._line(limits.wall_seconds * times, limits)
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise ChildLostError(_NO_ANSWER) from None

    def release(self) -> None:
        """Give memory back that was needed for a large frame; what lies in it must not be used any more."""
        if self._memory is not None and len(self._memory) > KEPT_BYTES and hasattr(mmap, "MADV_REMOVE"):
            self._memory.madvise(mmap.MADV_REMOVE)

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
        if self._is_forgotten:
            return
        self._is_forgotten = True
        self._process.returncode = self._process.returncode or 0  # nobody is to wait for it
        self._memory = None
        self._requests.close()
        self._answers.close()
        os.close(self._shared)


def no_answer() -> ChildLostError:
    """What is wrong with an answer that is none to the request."""
    return ChildLostError(_NO_ANSWER)


def fault_in(answer: Any, limits: Limits) -> DecodeError | None:
    """Why there is no result, where an answer says so."""
    match answer:
        case {"memory": _}:
            return DecodeError(f"the decoder wants more than {limits.memory_bytes >> 20} MiB of memory")
        case {"error": str(reason)}:
            return DecodeError(reason)
    return None


def _shared_memory() -> int:
    """An empty file without a name, in memory where the system can; a child cannot make it shorter."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    import fcntl

    descriptor = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return descriptor


def _folders(libraries: Sequence[str]) -> list[str]:
    """Where the libraries are."""
    found = [spec.submodule_search_locations for name in libraries if (spec := find_spec(name))]
    return list(dict.fromkeys(str(Path(each[0]).parent) for each in found if each))


# --- a bounded number of them ----------------------------------------------------------------------------


class Inmate(Protocol):
    """What is borrowed: a child, alone or with what is known of it."""

    @property
    def child(self) -> Child:
        """The process."""


class Children[C: Inmate]:
    """At most so many children of this process, for all its threads to borrow."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._has_hooks = False
        self._empty()

    def _empty(self) -> None:
        self._lock, self._permits = Lock(), BoundedSemaphore(self._size)
        self._busy = 0
        self._idle: list[C] = []
        self._all: list[C] = []
        self._unwanted: deque[Callable[[C], bool]] = deque()

    @contextmanager
    def borrowed(self, start: Callable[[], C], choose: Callable[[Sequence[C]], C | None]) -> Iterator[C]:
        """Lend one that is chosen of those without work, oldest first, or a new one; an error ends it."""
        with self._permits:
            try:
                inmate = self._taken(start, choose)
                try:
                    yield inmate
                except BaseException:
                    with self._lock:
                        self._all = [each for each in self._all if each is not inmate]
                    inmate.child.end()
                    raise
                with self._lock:
                    self._idle.append(inmate)
            finally:
                with self._lock:
                    self._busy -= 1
        self._sweep()

    def _taken(self, start: Callable[[], C], choose: Callable[[Sequence[C]], C | None]) -> C:
        with self._lock:
            self._busy += 1
            leaving = [each for each in self._idle if not each.child.is_alive()]  # killed, with nothing to do
            self._idle = [each for each in self._idle if each not in leaving]
            chosen = choose(self._idle)
            if chosen is None:  # the oldest make room
                excess = max(len(self._idle) + self._busy - self._size, 0)
                leaving += self._idle[:excess]
            self._idle = [each for each in self._idle if each is not chosen and each not in leaving]
            self._all = [each for each in self._all if each not in leaving]
        for each in leaving:
            each.child.end()
        return self._started(start) if chosen is None else chosen

    def _started(self, start: Callable[[], C]) -> C:
        inmate = start()
        with self._lock:
            self._all.append(inmate)
            if not self._has_hooks:
                self._has_hooks = True
                atexit.register(self.close)
                os.register_at_fork(after_in_child=self._forget)
        return inmate

    def end_idle(self, is_unwanted: Callable[[C], bool]) -> None:
        """End those without work that nobody will want again; may be called while garbage is collected."""
        self._unwanted.append(is_unwanted)
        self._sweep()

    def _sweep(self) -> None:
        """Whoever holds the lock at this moment, perhaps below on this very stack, sweeps after it."""
        while self._unwanted and self._lock.acquire(blocking=False):
            leaving: list[C] = []
            try:
                with suppress(IndexError):
                    is_unwanted = self._unwanted.popleft()
                    leaving = [each for each in self._idle if is_unwanted(each)]
                    self._idle = [each for each in self._idle if each not in leaving]
                    self._all = [each for each in self._all if each not in leaving]
            finally:
                self._lock.release()
            for each in leaving:
                each.child.end()

    def close(self) -> None:
        """End all children."""
        with self._lock:
            inmates, self._idle, self._all = self._all, [], []
        for each in inmates:
            each.child.end()

    def _forget(self) -> None:
        """In a process that was forked off: the children are its parent's, it starts its own."""
        for each in self._all:
            each.child.forget()
        self._empty()
