"""Multipart answers (RFC 2046 section 5.1, PS3.18 section 8.6), parsed as they come, in bounded memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

LARGEST_HEAD = 16 * 1024
"""Bytes of the headers of one part, and of what stands before the first and after the last."""

_BOUNDARY = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ")


@dataclass(frozen=True, slots=True)
class Begin:
    """A part begins."""

    content_type: str
    """As the part says, without parameters, in lower case; empty where it says nothing."""


@dataclass(frozen=True, slots=True)
class End:
    """The part that began last is whole."""


type Event = Begin | bytes | End
"""Bytes are the next of the part that began last."""


class Multipart:
    """Follows one multipart body; `feed` it, and ask `closed` at its end.

    Raises
    ------
    ValueError
        If there can be no such boundary.
    """

    def __init__(self, boundary: str) -> None:
        marks = boundary.encode("ascii")
        if not 1 <= len(marks) <= 70 or not _BOUNDARY.issuperset(marks) or boundary.endswith(" "):
            raise ValueError("no boundary")
        self._mark = b"\r\n--" + marks
        self._waiting = bytearray(b"\r\n")  # the first boundary may begin the body
        self._step: Callable[[], tuple[Event, ...] | None] = self._in_preamble
        self._passed = 0
        self.closed = False
        """Whether the closing boundary came: without it the body was cut short."""

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield what the next bytes of the body bring.

        Raises
        ------
        ValueError
            If they are no multipart body, or headers are longer than they may be.
        """
        self._waiting += piece
        while (events := self._step()) is not None:
            yield from events

    # Each step takes what it can of what is waiting, or returns None where it needs more.

    def _in_preamble(self) -> tuple[Event, ...] | None:
        at = self._waiting.find(self._mark)
        if at >= 0:
            del self._waiting[: at + len(self._mark)]
            self._step = self._after_mark
            return ()
        self._pass(len(self._waiting) - len(self._mark) + 1)
        return None

    def _after_mark(self) -> tuple[Event, ...] | None:
        if self._waiting.startswith(b"--"):
            self.closed = True
            self._step = self._in_epilogue
            return ()
        at = self._waiting.find(b"\r\n", 0, LARGEST_HEAD)
        if at < 0:
            self._more()
            return None
        if self._waiting[:at].strip(b" \t"):
            raise ValueError("something follows a boundary on its line")
        del self._waiting[:at]  # the line's end stays: a part without headers begins with an empty line
        self._step = self._in_head
        return ()

    def _in_head(self) -> tuple[Event, ...] | None:
        at = self._waiting.find(b"\r\n\r\n", 0, LARGEST_HEAD)
        if at < 0:
            self._more()
            return None
        head = bytes(self._waiting[:at])
        del self._waiting[: at + 2]  # the last line's end stays: a part may be empty
        self._step = self._at_body
        return (Begin(_content_type(head)),)

    def _at_body(self) -> tuple[Event, ...] | None:
        """The empty line's end is the first part of the boundary where the part is empty."""
        if len(self._waiting) < len(self._mark):
            return None
        if self._waiting.startswith(self._mark):
            return self._end(0)
        del self._waiting[:2]
        self._step = self._in_body
        return ()

    def _in_body(self) -> tuple[Event, ...] | None:
        at = self._waiting.find(self._mark)
        if at >= 0:
            return self._end(at)
        sure = len(self._waiting) - len(self._mark) + 1
        if sure <= 0:
            return None
        content = bytes(self._waiting[:sure])
        del self._waiting[:sure]
        return (content,)

    def _in_epilogue(self) -> None:
        self._pass(len(self._waiting))

    def _end(self, at: int) -> tuple[Event, ...]:
        content = bytes(self._waiting[:at])
        del self._waiting[: at + len(self._mark)]
        self._step = self._after_mark
        return (content, End()) if content else (End(),)

    def _more(self) -> None:
        """Wait for the rest of a head."""
        if len(self._waiting) >= LARGEST_HEAD:
            raise ValueError("the headers of a part do not end")

    def _pass(self, count: int) -> None:
        if count > 0:
            self._passed += count
            del self._waiting[:count]
        if self._passed > LARGEST_HEAD:
            raise ValueError("too much stands before its first part, or after its last")


def _content_type(head: bytes) -> str:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-type":
            return value.partition(b";")[0].strip().lower().decode("ascii", "replace")
    return ""
