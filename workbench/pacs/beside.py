"""A process that runs beside a receiver: started again where it ends by itself, ended with it."""

import subprocess
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from workbench.pacs.journal import Journal

AGAIN_SECONDS = 5.0
"""After which a process that ended by itself is started again."""
END_SECONDS = 25.0
"""How long it may take to end; then it is killed."""


class Beside:
    """Runs a command while it is a context.

    Parameters
    ----------
    command
        It must end on SIGTERM, and when its standard input ends: then this process is gone.
    """

    def __init__(self, command: Sequence[str], journal: Journal) -> None:
        self._command, self._journal = command, journal
        self._end = threading.Event()

    def __enter__(self) -> Self:
        self._process = self._started()
        self._thread = threading.Thread(target=self._watch, name="beside", daemon=True)
        self._thread.start()
        return self

    def end(self) -> None:
        """Tell it to end, and wait for nothing: it ends while its receiver does."""
        self._end.set()
        self._process.terminate()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _started(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, stdin=subprocess.PIPE)

    def _watch(self) -> None:
        while not self._end.wait(AGAIN_SECONDS):
            if self._process.poll() not in (None, 0):  # with 0 it was told to end, as Ctrl-C tells all
                self._journal.say("process ended", code=self._process.returncode)
                self._process = self._started()
