"""Readers of headers beside the session: child processes of this machine, or workers of a Dask cluster.

They get paths and return what they read, some batches ahead of the session, which alone writes. What none of
them could read, as it died or as the file is not there for it, the session reads itself: nothing is lost.
"""

import gc
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import LifoQueue
from struct import Struct
from typing import IO, Any, Protocol

from catalog.content import Contents
from catalog.headers import read_header
from catalog.records import Content, Document, InstanceHeader, PixelData, Unreadable, Value

FEWEST = 50
"""Files that are worth the way to another process."""
HELD_BYTES = 64 << 20
"""Of answers that wait to be written; while there are more, no further batch is given out."""

_LENGTH = Struct("<Q")
_ATTEMPTS = 2
_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from catalog.readers import serve
serve(sys.stdin.buffer, sys.stdout.buffer)
"""


class Answer(Protocol):
    """What will come of some paths, as futures of the standard library and of Dask give it."""

    def result(self) -> bytes:
        """Wait for the packed headers."""

    def done(self) -> bool:
        """Whether they are there."""

    def cancel(self) -> Any:
        """They are not wanted any more."""


type Headers = Mapping[str, InstanceHeader | Unreadable]
"""By path."""
type Submit = Callable[[list[str]], Answer]


def read_ahead[Batch](
    batches: Iterable[Batch], paths_of: Callable[[Batch], list[str]], submit: Submit, ahead: int
) -> Generator[tuple[Batch, Headers]]:
    """Give every batch with the headers that were read of it, in order.

    Parameters
    ----------
    batches
        What is to be read.
    paths_of
        The files of a batch that have to be.
    submit
        Gives paths to a reader.
    ahead
        How many batches may be given out before the first of them is needed.
    """
    waiting: deque[tuple[Batch, _Given | None]] = deque()
    try:
        for batch in batches:
            paths = paths_of(batch)
            waiting.append((batch, _Given(submit(paths)) if len(paths) >= FEWEST else None))
            while len(waiting) > ahead or sum(each.held() for _, each in waiting if each) > HELD_BYTES:
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    finally:
        for _, each in waiting:
            if each is not None:
                each.answer.cancel()


def _first[Batch](waiting: "deque[tuple[Batch, _Given | None]]") -> tuple[Batch, Headers]:
    batch, given = waiting.popleft()
    return batch, unpack(given.packed()) if given is not None else {}


class _Given:
    """What was given to a reader; its answer is fetched once."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self._packed: bytes | None = None

    def packed(self) -> bytes:
        """Wait for the answer; it is empty, whatever became of the reader."""
        if self._packed is None:
            try:
                self._packed = self.answer.result()
            except Exception:  # a cluster has errors of its own, and the session reads the files itself
                self._packed = b""
        return self._packed

    def held(self) -> int:
        """Bytes of an answer that is there."""
        return len(self.packed()) if self.answer.done() else 0


# --- in a reader -----------------------------------------------------------------------------------------


def read_packed(paths: Sequence[str], contents: Contents | None = None) -> bytes:
    """Read files and return their headers, packed; what this process cannot open is left out."""
    contents = contents or Contents()
    return pack(read_header(path, contents) for path in paths)


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer one list of paths after another until the pipe closes, as it does when the parent ends."""
    contents = Contents()
    gc.freeze()  # modules stay: to look through them now and then costs some hundredths of all
    while (request := _received(requests)) is not None:
        _send(answers, read_packed(json.loads(request), contents))


def pack(headers: Iterable[InstanceHeader | Unreadable]) -> bytes:
    """Put headers into bytes for another process of the same program; `unpack` undoes it.

    What a header refers to of its series is in them once, and so is what it has as the first one of it here.
    """
    documents: dict[int, tuple[int, Document]] = {}
    firsts: dict[Value, tuple[int, Mapping[str, Value]]] = {}
    rows: list[tuple[Any, ...]] = []
    for each in headers:
        if isinstance(each, Unreadable):
            if not each.reason.startswith("cannot be"):
                rows.append((each.path, each.reason))
            continue
        pixels, content, packed = each.pixel_data, each.content, None
        if content is not None:
            number, _ = documents.setdefault(id(content.like), (len(documents), content.like))
            packed = number, dict(content.differing)
        series = each.values["series_instance_uid"]
        first, values = firsts.setdefault(series, (len(firsts), each.values))
        rows.append(
            (
                each.path, each.size, each.mtime_ns, each.header_digest, each.transfer_syntax_uid,
                first, _otherwise(each.values, values),
                pixels and (pixels.tag, pixels.vr, pixels.offset, pixels.length), each.deviations, packed,
            )
        )  # fmt: skip
    told = [dict(document) for _, document in documents.values()]
    return json.dumps((told, [dict(values) for _, values in firsts.values()], rows)).encode()


def _otherwise(values: Mapping[str, Value], first: Mapping[str, Value]) -> dict[str, Value]:
    """What a header has otherwise than another; `None` is what it lacks. Equal values may be in it, too."""
    found = {name: value for name, value in values.items() if first.get(name) is not value}
    return found | dict.fromkeys(first.keys() - values.keys())


def unpack(packed: bytes) -> dict[str, InstanceHeader | Unreadable]:
    """Return the headers that were packed, by path; none of no bytes."""
    if not packed:
        return {}
    told, firsts, rows = json.loads(packed)
    documents = [_document(each) for each in told]
    found: dict[str, InstanceHeader | Unreadable] = {}
    for row in rows:
        if len(row) == 2:
            found[row[0]] = Unreadable(*row)
            continue
        path, size, mtime_ns, digest, transfer_syntax_uid, first, changed, pixels, deviations, content = row
        values = firsts[first] | changed
        if None in changed.values():
            values = {name: value for name, value in values.items() if value is not None}
        found[path] = InstanceHeader(
            path, size, mtime_ns, digest, transfer_syntax_uid, values,
            PixelData(*pixels) if pixels else None, tuple(deviations),
            Content(documents[content[0]], _document(content[1])) if content else None,
        )  # fmt: skip
    return found


def _document(told: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples, which is what values are."""
    return {key: None if values is None else tuple(values) for key, values in told.items()}


# --- children --------------------------------------------------------------------------------------------


@contextmanager
def children(count: int) -> Iterator[Submit]:
    """Have so many child processes to give paths to; they start when there is work, and end here.

    They are plain programs, as `multiprocessing` would import the caller's script again, in a session of
    their own: Ctrl-C reaches this process alone, which ends them.
    """
    idle: LifoQueue[_Child] = LifoQueue()
    for _ in range(count):
        idle.put(_Child())
    everyone = list(idle.queue)

    def ask(paths: list[str]) -> bytes:
        child = idle.get()
        try:
            return child.ask(paths)
        finally:
            idle.put(child)

    threads = ThreadPoolExecutor(count, "readers")
    try:
        yield lambda paths: threads.submit(ask, paths)
    finally:
        for child in everyone:
            child.kill()
        threads.shutdown(cancel_futures=True)
        for child in everyone:
            child.end()


class _Child:
    """One process; it is started anew when it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def ask(self, paths: list[str]) -> bytes:
        """Return the packed headers of files; none where the process dies again and again."""
        request = json.dumps(paths).encode()
        for _ in range(_ATTEMPTS):
            if self._is_closed:
                break
            with suppress(OSError):
                if self._process is None:
                    self._process = _started()
                answer = _asked(self._process, request)
                if answer is not None:
                    return answer
            self.end()
        return b""

    def kill(self) -> None:
        """End the process, whatever it does; the thread that waits for its answer gets none."""
        self._is_closed = True
        if (process := self._process) is not None:
            process.kill()

    def end(self) -> None:
        """End the process and close its pipes, where no other thread waits for it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):  # what was not sent yet cannot be
                    pipe.close()
            process.wait()


def _asked(process: subprocess.Popen[bytes], request: bytes) -> bytes | None:
    assert process.stdin is not None
    assert process.stdout is not None
    _send(process.stdin, request)
    return _received(process.stdout)


def _started() -> subprocess.Popen[bytes]:
    folders = [os.path.abspath(each) for each in sys.path]  # noqa: PTH100 (an empty one is where we are)
    return subprocess.Popen(
        [sys.executable, "-I", "-B", "-c", _PROGRAM, json.dumps(folders)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip


def _send(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def _received(pipe: IO[bytes]) -> bytes | None:
    """The next message; `None` where the other end is gone."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    message = pipe.read(length)
    return message if len(message) == length else None
