"""What was opened by a key, the last few of it, for any number of threads."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock


class Opened[T]:
    """Opens what a key names, and keeps those that were asked for last.

    Parameters
    ----------
    open_
        Opens one; what it raises goes to whoever asked, and nothing is kept.
    most
        How many are kept.
    """

    def __init__(self, open_: Callable[[str], T], most: int) -> None:
        self._open, self._most = open_, most
        self._kept: OrderedDict[str, T] = OrderedDict()
        self._lock = Lock()

    def __call__(self, key: str) -> T:
        """Return what a key names."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = self._open(key)  # slow: others need not wait for it
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found
