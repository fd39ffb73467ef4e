"""What is wanted last is done; what was wanted before it, and is still under way, is given up."""

from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread

from catalog.errors import OvertakenError
from catalog.interruption import Interruption


class Newest:
    """One thread, as long as there is something to do.

    Parameters
    ----------
    name
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name, self._lock = name, Lock()
        self._thread: Thread | None = None
        self._next: Callable[[Interruption], None] | None = None
        self._heeded = Interruption()

    def do(self, job: Callable[[Interruption], None]) -> None:
        """Have something done; what the thread is at is interrupted, what waits for it is forgotten."""
        with self._lock:
            self._next = job
            if self._thread is not None:
                self._heeded.interrupt()
                return
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until there is nothing to do."""
        while (thread := self._thread) is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                job, self._next = self._next, None
                if job is None:
                    self._thread = None
                    return
                self._heeded = heeded = Interruption()
            with suppress(OvertakenError), heeded.heeding():
                job(heeded)
