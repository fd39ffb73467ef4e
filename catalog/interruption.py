"""Ends what a thread asks of a catalog, from another thread: an answer that nobody waits for any more."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Lock

import sqlalchemy as sa

from catalog.errors import OvertakenError

_PATIENCE_SECONDS = 5.0
"""How long PostgreSQL is waited for that is to cancel a statement."""


class Interruption:
    """Whatever is read within `heeding` ends with `OvertakenError` once `interrupt` was called."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._connections: list[sa.Connection] = []
        self._is_over = False

    @contextmanager
    def heeding(self) -> Iterator[None]:
        """Have all that this thread reads end when it is interrupted."""
        token = _HEEDED.set(self)
        try:
            yield
        finally:
            _HEEDED.reset(token)

    def interrupt(self) -> None:
        """End the statement that is under way, and all that would follow."""
        with self._lock:
            self._is_over = True
            for connection in self._connections:
                _cancel(connection)

    @property
    def is_over(self) -> bool:
        """Whether it was interrupted."""
        return self._is_over

    @contextmanager
    def _holding(self, connection: sa.Connection) -> Iterator[None]:
        with self._lock:
            self.check()
            self._connections.append(connection)
        try:
            yield
        except sa.exc.OperationalError:
            self.check()
            raise
        finally:
            with self._lock:  # from here on another may have the connection
                self._connections.remove(connection)

    def check(self) -> None:
        """Raise if it was interrupted.

        Raises
        ------
        OvertakenError
            If it was.
        """
        if self._is_over:
            raise OvertakenError("another question was asked meanwhile")


_HEEDED: ContextVar[Interruption | None] = ContextVar("heeded", default=None)


@contextmanager
def interruptible(connection: sa.Connection) -> Iterator[None]:
    """End what a connection does when the interruption that this thread heeds wants it."""
    heeded = _HEEDED.get()
    if heeded is None:
        yield
        return
    with heeded._holding(connection):
        yield


def _cancel(connection: sa.Connection) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None
    with suppress(Exception):  # a connection that broke meanwhile has nothing to end
        if connection.dialect.name == "sqlite":
            driver.interrupt()
        else:
            driver.cancel_safe(timeout=_PATIENCE_SECONDS)
