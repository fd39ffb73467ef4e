"""Addresses of a host by its name: where that cannot be looked up now, it is again when somebody calls."""

import socket
import threading
import time
from collections.abc import Callable, Container

from catalog.errors import words_of

AGAIN_SECONDS = 15.0
"""After which a name is looked up again that could not be."""

type LookUp = Callable[[str], frozenset[str]]
"""Returns the addresses of a host; may raise OSError."""
type Tell = Callable[[str], None]
"""Told why a host cannot be looked up; an empty text where it can be again."""


def look_up(host: str) -> frozenset[str]:
    """Return the addresses of a host.

    Raises
    ------
    OSError
        If it cannot be looked up.
    """
    return frozenset(str(each[4][0]) for each in socket.getaddrinfo(host, None))


class Addresses(Container[str]):
    """Those of one host, for any number of threads; looked up at once, and until that succeeded.

    Parameters
    ----------
    clock
        Seconds of a monotonic clock.
    """

    def __init__(
        self,
        host: str,
        tell: Tell,
        *,
        look_up: LookUp = look_up,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._tell, self._look_up, self._clock = host, tell, look_up, clock
        self._known: frozenset[str] | None = None
        self._looking = threading.Lock()
        if words := self._look():
            tell(words)

    def __contains__(self, address: object) -> bool:
        """Whether it is one of them, as far as is known."""
        if self._known is None and self._looking.acquire(blocking=False):
            try:
                if self._clock() >= self._again and not self._look():
                    self._tell("")
            finally:
                self._looking.release()
        return address in (self._known or ())

    def _look(self) -> str:
        """Look the name up; return why that failed, or an empty text."""
        try:
            self._known = self._look_up(self._host)
        except OSError as error:
            return words_of(error)
        except UnicodeError:
            return "it is no name of a host"
        finally:
            self._again = self._clock() + AGAIN_SECONDS
        return ""
