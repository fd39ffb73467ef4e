"""Processes that are killed at a system call of theirs, by strace, once for each call that a dry run made.

An interpreter that has imported everything forks a child for each run, which waits until strace is attached:
calls are counted from where its work begins, and a run costs a fraction of a second.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

_SERVER = r"""
import ctypes, json, os, signal, sys
exec(sys.argv[1])
for line in sys.stdin:
    arguments, gate, output = json.loads(line)
    child = os.fork()
    if not child:
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))  # whoever may: strace is no parent
        at_gate, into = os.open(gate, os.O_RDWR), os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(1, f"{os.getpid()}\n".encode())
        os.dup2(into, 1)
        os.read(at_gate, 1)  # until strace is there
        try:
            work(*arguments)
            os._exit(0)
        except BaseException:
            import traceback
            os.write(2, traceback.format_exc().encode())
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_KILLED = -9


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    said: str
    """What it wrote to its standard output."""
    calls: Counter[str]
    """System calls, of the thread that made the most of them: strace counts by thread."""


class Victims:
    """Children of one interpreter.

    Parameters
    ----------
    code
        Imports, and a function `work` of texts.
    calls
        Names of system calls that are counted.
    """

    def __init__(self, strace: str, code: str, calls: Sequence[str], folder: Path) -> None:
        self._strace, self._calls, self._folder = strace, calls, folder
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER, code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._runs = 0

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()

    def run(self, arguments: Sequence[str], *options: str) -> Ended:
        """Do the work once, under strace with some options."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._runs += 1
        own = self._folder / str(self._runs)
        own.mkdir()
        gate, said, trace = own / "gate", own / "said", own / "trace"
        os.mkfifo(gate)
        self._server.stdin.write(json.dumps([list(arguments), str(gate), str(said)]) + "\n")
        self._server.stdin.flush()
        child = int(self._server.stdout.readline())
        command = [self._strace, "-f", "-p", str(child), "-o", trace, "-e", f"trace={','.join(self._calls)}"]
        with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            assert "attached" in (line := tracer.stderr.readline()), line
            opened = os.open(gate, os.O_WRONLY)
            os.write(opened, b"\n")
            os.close(opened)
            code = int(self._server.stdout.readline())
            tracer.stderr.read()
        made = Counter(re.findall(r"^(\d+) +(\w+)\(", trace.read_text(), re.MULTILINE))
        most: Counter[str] = Counter()
        for (_, call), count in made.items():
            most[call] = max(most[call], count)
        return Ended(code, said.read_text(), most)

    def killed(self, fresh: Callable[[], Sequence[str]], call: str, point: int) -> Ended:
        """Kill it at the n-th call; where a run makes fewer than the one before, at the last that it makes.

        Parameters
        ----------
        fresh
            Makes everything anew, and returns the arguments of the work.
        """
        while True:
            ended = self.run(fresh(), "-e", f"inject={call}:signal=KILL:when={point}")
            if ended.code == _KILLED:
                return ended
            assert ended.code == 0, "it ends by itself, or is killed"
            assert 0 < ended.calls[call] < point, f"{call} {point} was made, and it was not killed"
            point = ended.calls[call]


def points(count: int, most: int) -> list[int]:
    """The first and last of so many calls, and some between, at even distances; there is one at least."""
    assert count > 0
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + round(each * (count - 1) / (most - 1)) for each in range(most)})


@contextmanager
def victims(strace: str, code: str, calls: Sequence[str]) -> Iterator[Victims]:
    """Have an interpreter for runs of some code, while the block runs."""
    with TemporaryDirectory() as folder:
        made = Victims(strace, code, calls, Path(folder))
        try:
            yield made
        finally:
            made.close()
