"""An iterator whose next item is made in a thread, from when it is told to begin until it is wanted."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self


class Ahead[T]:
    """Items as they come, of which one may be begun while the one before is used.

    The thread takes the interpreter where it can have it: begin when what follows leaves it, such as long
    statements of a database. An error in it is raised where the item is wanted; leaving the body waits for
    the item that is being made.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._thread = ThreadPoolExecutor(1, "ahead")
        self._begun: Future[T] | None = None

    def begin(self) -> None:
        """Have the next item made; once, however often it is said."""
        if self._begun is None:
            self._begun = self._thread.submit(self._made)

    def _made(self) -> T:
        try:
            return next(self._items)
        except StopIteration:  # a future cannot bear it
            raise _EndError from None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        self.begin()
        assert self._begun is not None
        begun, self._begun = self._begun, None
        try:
            return begun.result()
        except _EndError:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.shutdown()


class _EndError(Exception):
    """There is no next item."""
